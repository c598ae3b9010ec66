/*
 * How many files and sockets the process may have open. Shells and services usually start a program with a
 * soft limit of 1024, which would be fewer connections than the settings allow.
 */
#ifndef REMUDA_RELAY_DESCRIPTORS_H
#define REMUDA_RELAY_DESCRIPTORS_H

#include "lib/base/logger.h"
#include "relay/config/settings.h"

/* Raises the soft limit to what the settings need, as far as the hard one allows; warns when that is less.
 * Never lowers it. Any thread, at a start or reload. */
void descriptors_raise(const struct settings *s, struct logger *logger);

#endif
