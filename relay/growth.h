/* Adding partitions to the log of a relay that runs. */
#ifndef REMUDA_RELAY_GROWTH_H
#define REMUDA_RELAY_GROWTH_H

#include <stdint.h>

#include "lib/base/err.h"

struct node;

/*
 * Until the log has so many: in the log, and then in the lane table, so that every node takes them up and new
 * lanes may be put there. RM_EINVAL: it has more already. Waits: not on a shard's thread. Errors are those of
 * lanes_grow; after any the same may be asked for again.
 */
int growth_run(struct node *node, uint32_t partitions) MUST_CHECK;

#endif
