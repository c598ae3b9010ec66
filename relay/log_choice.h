/* Which of the logs' backends this relay runs on, as its settings say. */
#ifndef REMUDA_RELAY_LOG_CHOICE_H
#define REMUDA_RELAY_LOG_CHOICE_H

#include "lib/base/logger.h"
#include "queue/log.h"
#include "relay/config/settings.h"

/* Opens it below settings->data; what is wrong is logged (logger may be NULL). Errors as the backend's open.
 */
int log_choice_open(const struct settings *s, const struct log_options *common, struct logger *logger,
                    struct log **out) MUST_CHECK;

/* A process beside the node itself: the local copy of a log in a cluster is another, in data/NAME. It
 * follows the small logs. */
int log_choice_open_beside(const struct settings *s, const char *name, const struct log_options *common,
                           struct logger *logger, struct log **out) MUST_CHECK;
/* Which log it is, in words: no two have the same. */
void log_choice_name(const struct settings *s, char *out, size_t room);

#endif
