/*
 * Addresses that mail must not be sent to because it would come back: those of this host's interfaces and of
 * all configured sources, wherever they are reached. Immutable; any thread.
 */
#ifndef REMUDA_RELAY_DELIVERY_OWN_H
#define REMUDA_RELAY_DELIVERY_OWN_H

#include "lib/net/addr.h"
#include "relay/node.h"

struct own;

/* Never NULL. What the system does not tell is reported to the node's logger and missing. */
struct own *own_load(const struct shard *shard);
void own_free(struct own *own); /* NULL allowed */
bool own_has(const struct own *own, const struct addr *a);

#endif
