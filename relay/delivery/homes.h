/*
 * Pairs of source and provider that come to a partition and go from it (I6). By the lane table a pair has one
 * partition; by control it is the holder's until that one has released it.
 *
 *   the holder: no connection of the pair is open -> its record says that it is given away, with what was
 * spent (a) -> that is durable, and read back with no newer claim before it, so that every later owner of the
 *     partition finds it -> a Release with the record goes into control (b); again until it is read there
 *   the next one: reads the release -> writes the record into its own state -> that is durable: the pair is
 * used
 *
 * Each step is known by the version of the table that makes it, so a pair that moves twice makes both moves,
 * one after the other, and a release that was told twice counts once. Knows neither lanes nor connections:
 * those are lane_pairs.c's. tests/model/limit.pml checks the steps. All on the partition's owner's thread.
 */
#ifndef REMUDA_RELAY_DELIVERY_HOMES_H
#define REMUDA_RELAY_DELIVERY_HOMES_H

#include "relay/lanes.h"
#include "router/pair.h"

struct homes;

/* All borrowed. */
struct homes_options {
    uint32_t partition;
    struct lanes *lanes;
    struct log *log;
    struct log_client *client;
    struct router_state *router; /* with what state[p] holds loaded */
    /* A connection is open that counts against the pair's limits, or may become one. */
    bool (*in_use)(void *arg, const char *source, const char *provider);
    /* What the release at that offset of control says of the pair cannot be read, or is of a newer version.
     */
    void (*trouble)(void *arg, const char *source, const char *provider, uint64_t at);
    void *arg;
};
struct homes *homes_new(const struct homes_options *o);
void homes_free(struct homes *h);

/* Takes, gives and releases what can be now. After it router_write may have records to put. */
void homes_look(struct homes *h, uint64_t now_us, uint64_t wall_ms);
/* Something waits for a connection to end, a record to become durable or a release to be read: look again.
 * (When lanes_changes has grown, look too.) */
bool homes_unsettled(const struct homes *h);
/* All that router_write had is in the flush that begins; that flush is durable, and read back. One at a time.
 */
void homes_flush(struct homes *h);
void homes_flushed(struct homes *h);
/* The pair may be used here now. */
bool homes_here(const struct homes *h, const char *source, const char *provider);

#endif
