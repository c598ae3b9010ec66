/* One version of the lane table as a value: for relay/lanes.c alone. */
#ifndef REMUDA_RELAY_LANE_TABLE_H
#define REMUDA_RELAY_LANE_TABLE_H

#include "lib/base/map.h"
#include "relay/lanes.h"

struct lane_home {
    uint32_t partition;
    char *pool, *provider;
    uint32_t shard;
    uint64_t since; /* version by which it is there */
};

struct source_home {
    char *source, *pool;
    uint32_t shard;
};

struct lane_table {
    struct lane_table *older;
    uint64_t version;
    uint64_t offset; /* in control; 0: in none yet */
    uint32_t partitions;
    struct map by_name; /* "pool/provider/shard" -> struct lane_home */
    struct map sources; /* name -> struct source_home; also those that no configuration has any more */
    uint32_t *load;     /* lanes per partition */
};

struct lane_table *lane_table_new(uint32_t partitions);
struct lane_table *lane_table_copy(const struct lane_table *t);
void lane_table_free(struct lane_table *t);

struct lane_home *lane_table_find(const struct lane_table *t, const char *pool, const char *provider,
                                  uint32_t shard);
void lane_table_add(struct lane_table *t, const char *pool, const char *provider, uint32_t shard,
                    uint32_t partition);
void lane_table_move(struct lane_table *t, struct lane_home *h, uint32_t partition);
/* True when that is a change. */
bool lane_table_assign(struct lane_table *t, const char *source, const char *pool, uint32_t shard);

/* The stored form, a record of control; partitions counts where it does not say how many there are.
 * RM_ENOTFOUND: it is of another kind; RM_ECORRUPT: it does not decode, or names a partition that there is
 * not. */
int lane_table_decode(struct span value, uint32_t partitions, struct lane_table **out) MUST_CHECK;
void lane_table_encode(const struct lane_table *t, struct buf *out);
/* t follows before: lanes that stay are there since then. */
void lane_table_follow(struct lane_table *t, const struct lane_table *before);
/* Names of all providers that it has lanes of; the array is the caller's, the names the table's. */
const char **lane_table_providers(const struct lane_table *t, size_t *n);

/* True when these are more than it had. */
bool lane_table_grow(struct lane_table *t, uint32_t partitions);
/* Moves the fewest lanes after which no partition has two more than another; those of the providers in fixed
 * stay. Returns how many. */
int lane_table_spread(struct lane_table *t, const struct map *fixed);

/* What a configuration needs; true when something was changed. */
bool lane_table_complete(struct lane_table *t, const struct router_config *config);

#endif
