/*
 * Which pairs of the owner's lanes may be used, by what homes.c knows: the router is told, connections of the
 * others end. On the owner's loop.
 */
#ifndef REMUDA_RELAY_DELIVERY_LANE_PAIRS_H
#define REMUDA_RELAY_DELIVERY_LANE_PAIRS_H

#include "relay/delivery/delivery_private.h"

/* After learn_load; before the first lane. */
void lane_pairs_init(struct owner *o);
/* A lane begins, or its sources may be others now. */
void lane_pairs_tell(struct lane *l);
/* The table, the releases or the configuration have changed; connections have ended; a flush is durable. */
void lane_pairs_look(struct owner *o);
/* A few times a second. */
void lane_pairs_tick(struct owner *o);
/* A flush begins; it is durable. */
void lane_pairs_flush(struct owner *o);
void lane_pairs_flushed(struct owner *o);

#endif
