/*
 * The lane table: lane (pool, provider, shard) -> partition, and source -> pool and shard, explicit and
 * versioned, kept in the control log. Lanes that the configuration adds get the partition with the fewest
 * lanes (all lanes of a provider with total limits get the same one); existing lanes stay where they are
 * until they are moved. Nothing is ever taken out of it: a source that comes back is known.
 *
 * A pair of source and provider is used where its lane is, but not before the partition that had it has
 * released it: also told by control, and so the same on every node that has read as far.
 *
 * Each version follows the one before it: of two that nodes append at once the first counts, and the other is
 * void for every reader; its author reads that, and makes its change anew. Asking is lock-free for any
 * thread. A table also says how many partitions there are: a node takes up one with more when its log has
 * them.
 */
#ifndef REMUDA_RELAY_LANES_H
#define REMUDA_RELAY_LANES_H

#include "queue/log.h"
#include "router/config.h"

struct lanes;

/*
 * Reads the tables of the control log, adds the lanes that config needs and, when it had to, appends the next
 * version and waits until that is durable. RM_ECORRUPT: a table does not decode. RM_EAGAIN: others kept
 * changing it at the same time.
 */
int lanes_load(struct log *log, const struct router_config *config, struct lanes **out) MUST_CHECK;
/* The same for a reload; readers see the new table at once. Any thread. */
int lanes_update(struct lanes *l, const struct router_config *config) MUST_CHECK;
/* Takes up what other nodes have appended: call a few times a second and compare lanes_changes. Any thread.
 */
int lanes_follow(struct lanes *l) MUST_CHECK;
void lanes_free(struct lanes *l);

struct lane_order {
    const char *pool, *provider;
    uint32_t shard;
    uint32_t to; /* partition */
};
/*
 * Appends the table with the lane in another partition, and all lanes of its provider with it when that one's
 * limits are for all sources together; *moved says how many (0: they are there already). Waits until it is
 * durable: not on a loop's thread. RM_ENOTFOUND: no such lane; RM_EINVAL: no such partition; RM_EREFUSED:
 * another node has moved the lane at the same time; else what the log said.
 */
int lanes_move(struct lanes *l, const struct lane_order *order, int *moved) MUST_CHECK;

/*
 * Adds partitions to the log (log_grow), then appends the table by which lanes may be in them, and with which
 * all nodes take them up; no lane moves. Waits: not on a loop's thread. RM_EINVAL: there are more already.
 */
int lanes_grow(struct lanes *l, uint32_t partitions) MUST_CHECK;
/* Moves as few lanes as it takes until no partition has two more than another, in one version; *moved says
 * how many. Those of a provider with limits for all sources together stay. Waits, and fails, as lanes_move.
 */
int lanes_spread(struct lanes *l, int *moved) MUST_CHECK;

/* Partition of a lane by names (as records carry them); -1 when the table has no such lane. */
int lanes_partition(const struct lanes *l, const char *pool, const char *provider, uint32_t shard);
uint64_t lanes_version(const struct lanes *l);

/* Grows with every table and every release that counts. */
uint64_t lanes_changes(const struct lanes *l);

struct lane_entry {
    const char *pool, *provider;
    uint32_t shard, partition;
    uint64_t since;         /* version by which it is there */
    uint32_t pairs, moving; /* of its sources; of these, those that another partition has not released yet */
};
/* All lanes, in no order; names live as long as l. Any thread. */
void lanes_each(struct lanes *l, void (*tell)(void *arg, const struct lane_entry *e), void *arg);

/* A pair of source and provider. */
struct lanes_pair {
    const char *source, *provider; /* live as long as l */
    uint32_t holder;               /* the partition that has it */
    uint64_t version;              /* by which it has it */
    uint64_t at;                   /* offset in control of the release to it; 0: the pair began there */
    uint64_t next;                 /* version by which the holder is to give it away; 0: it stays */
    uint32_t to;                   /* where it goes in the end, when it does */
};
/* False: the table does not know the source or the provider. Any thread. */
bool lanes_pair(struct lanes *l, const char *source, const char *provider, struct lanes_pair *out);
/* All pairs that a partition has and that came or go; tell must not call back. Any thread. */
void lanes_pairs_moving(struct lanes *l, uint32_t holder, void (*tell)(void *arg, const struct lanes_pair *p),
                        void *arg);
/* All pairs of the provider are the partition's, and stay. Any thread. */
bool lanes_gathered(struct lanes *l, const char *provider, uint32_t partition);

/* The shard of a pool for a (sender domain, recipient domain): sticky, by the shards' summed weights. */
uint32_t lanes_pool_shard(const struct router_config *config, int pool, struct span sender_domain,
                          struct span recipient_domain);

#endif
