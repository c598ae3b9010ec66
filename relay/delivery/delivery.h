/*
 * Delivery of one shard: the partitions it owns, their lanes and queues, the connections to receivers.
 * All on the shard's loop thread unless a function says otherwise.
 */
#ifndef REMUDA_RELAY_DELIVERY_DELIVERY_H
#define REMUDA_RELAY_DELIVERY_DELIVERY_H

#include "relay/node.h"

struct admin_query;
struct delivery;

/* Uses shard->loop, log, dns, dests and settings, which must exist. */
struct delivery *delivery_new(struct shard *shard);
/* After delivery_drain's callback. */
void delivery_free(struct delivery *d);

/* The ownership callbacks of the shard's log client lead here. */
void delivery_gained(struct delivery *d, uint32_t partition, uint64_t epoch);
void delivery_losing(struct delivery *d, uint32_t partition);
void delivery_lost(struct delivery *d, uint32_t partition);
/* Some of the records that rows have waited for can be read. */
void delivery_fetched(struct delivery *d, uint32_t partition);
/* Partitions gained and not yet recovered. */
int delivery_recovering(const struct delivery *d);

/* shard->settings has been swapped. */
void delivery_reconfigure(struct delivery *d);
/* node->lanes has a newer table. */
void delivery_lanes_changed(struct delivery *d);

/*
 * Stops starting attempts, lets those that run come to their end for at most bound_ms, writes what is
 * gathered, closes connections and partitions; then calls done(arg) once.
 */
void delivery_drain(struct delivery *d, uint64_t bound_ms, void (*done)(void *arg), void *arg);

/* After that: every owner that has its partition from here knows that no connection is left. */
bool delivery_told(const struct delivery *d);

/* Answers an admin query about live state (relay/api/query.h): what admin_start takes as ask. On the loop of
 * q->shard. */
void delivery_query_posted(struct admin_query *q);

#endif
