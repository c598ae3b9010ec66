/* A version of the lane table: its lanes, its stored form, what a configuration adds to it. */
#include "relay/lane_table.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/codec.h"

static struct span lane_name(char buf[512], const char *pool, const char *provider, uint32_t shard)
{
    int n = snprintf(buf, 512, "%s/%s/%u", pool, provider, shard);
    return span_of(buf, n < 512 ? (size_t)n : 511);
}

struct lane_home *lane_table_find(const struct lane_table *t, const char *pool, const char *provider,
                                  uint32_t shard)
{
    char name[512];
    return map_get(&t->by_name, lane_name(name, pool, provider, shard));
}

void lane_table_add(struct lane_table *t, const char *pool, const char *provider, uint32_t shard,
                    uint32_t partition)
{
    char name[512];
    struct lane_home *h = calloc(1, sizeof(*h));
    ENSURE(h);
    h->partition = partition;
    h->pool = strdup(pool);
    h->provider = strdup(provider);
    ENSURE(h->pool && h->provider);
    h->shard = shard;
    map_put(&t->by_name, lane_name(name, pool, provider, shard), h);
    t->load[partition]++;
}

void lane_table_move(struct lane_table *t, struct lane_home *h, uint32_t partition)
{
    t->load[h->partition]--;
    t->load[partition]++;
    h->partition = partition;
}

static void source_free(struct source_home *h)
{
    free(h->source);
    free(h->pool);
    free(h);
}

bool lane_table_assign(struct lane_table *t, const char *source, const char *pool, uint32_t shard)
{
    const struct source_home *was = map_get(&t->sources, span_str(source));
    if (was && was->shard == shard && strcmp(was->pool, pool) == 0)
        return false;
    struct source_home *h = calloc(1, sizeof(*h));
    ENSURE(h);
    h->source = strdup(source);
    h->pool = strdup(pool);
    ENSURE(h->source && h->pool);
    h->shard = shard;
    struct source_home *old = map_put(&t->sources, span_str(source), h);
    if (old)
        source_free(old);
    return true;
}

struct lane_table *lane_table_new(uint32_t partitions)
{
    struct lane_table *t = calloc(1, sizeof(*t));
    ENSURE(t);
    t->partitions = partitions;
    t->load = calloc(partitions, sizeof(*t->load));
    ENSURE(t->load);
    return t;
}

struct lane_table *lane_table_copy(const struct lane_table *t)
{
    struct lane_table *copy = lane_table_new(t->partitions);
    size_t pos = 0;
    struct span key;
    void *value;
    copy->version = t->version;
    while (map_next(&t->by_name, &pos, &key, &value)) {
        const struct lane_home *h = value;
        lane_table_add(copy, h->pool, h->provider, h->shard, h->partition);
    }
    for (pos = 0; map_next(&t->sources, &pos, &key, &value);) {
        const struct source_home *h = value;
        (void)lane_table_assign(copy, h->source, h->pool, h->shard);
    }
    return copy;
}

void lane_table_free(struct lane_table *t)
{
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(&t->by_name, &pos, &key, &value)) {
        struct lane_home *h = value;
        free(h->pool);
        free(h->provider);
        free(h);
    }
    for (pos = 0; map_next(&t->sources, &pos, &key, &value);)
        source_free(value);
    map_fini(&t->by_name);
    map_fini(&t->sources);
    free(t->load);
    free(t);
}

void lane_table_follow(struct lane_table *t, const struct lane_table *before)
{
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(&t->by_name, &pos, &key, &value)) {
        struct lane_home *h = value;
        const struct lane_home *was = map_get(&before->by_name, key);
        h->since = was && was->partition == h->partition ? was->since : t->version;
    }
}

const char **lane_table_providers(const struct lane_table *t, size_t *n)
{
    struct map seen = MAP_INIT;
    const char **names = calloc(t->by_name.count + 1, sizeof(*names));
    size_t pos = 0;
    struct span key;
    void *value;
    ENSURE(names);
    *n = 0;
    while (map_next(&t->by_name, &pos, &key, &value)) {
        struct lane_home *h = value;
        if (!map_put(&seen, span_str(h->provider), h))
            names[(*n)++] = h->provider;
    }
    map_fini(&seen);
    return names;
}

/* ---- more partitions ---- */

bool lane_table_grow(struct lane_table *t, uint32_t partitions)
{
    if (partitions <= t->partitions)
        return false;
    t->load = realloc(t->load, partitions * sizeof(*t->load));
    ENSURE(t->load);
    memset(t->load + t->partitions, 0, (partitions - t->partitions) * sizeof(*t->load));
    t->partitions = partitions;
    return true;
}

static uint32_t least_loaded(const struct lane_table *t)
{
    uint32_t best = 0;
    for (uint32_t p = 1; p < t->partitions; p++)
        if (t->load[p] < t->load[best])
            best = p;
    return best;
}

/* One that may move, of a partition that has the most lanes of those that have such a one. */
static struct lane_home *most_crowded(const struct lane_table *t, const struct map *fixed)
{
    struct lane_home *best = NULL;
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(&t->by_name, &pos, &key, &value)) {
        struct lane_home *h = value;
        if ((!best || t->load[h->partition] > t->load[best->partition]) &&
            !map_get(fixed, span_str(h->provider)))
            best = h;
    }
    return best;
}

int lane_table_spread(struct lane_table *t, const struct map *fixed)
{
    for (int moved = 0;; moved++) {
        struct lane_home *h = most_crowded(t, fixed);
        uint32_t to = least_loaded(t);
        if (!h || t->load[h->partition] < t->load[to] + 2)
            return moved;
        lane_table_move(t, h, to);
    }
}

/* ---- stored form ---- */

int lane_table_decode(struct span value, uint32_t partitions, struct lane_table **out)
{
    struct arena a = ARENA_INIT;
    const Remuda__Control *record = control_decode(&a, value);
    const Remuda__LaneTable *stored = record ? record->lanes : NULL;
    if (!stored) {
        arena_fini(&a);
        return record ? RM_ENOTFOUND : RM_ECORRUPT;
    }
    if (stored->partitions)
        partitions = stored->partitions;
    if (partitions > LOG_PARTITIONS_MOST) {
        arena_fini(&a);
        return RM_ECORRUPT;
    }
    struct lane_table *t = lane_table_new(partitions);
    int err = RM_OK;
    t->version = stored->version;
    for (size_t i = 0; i < stored->n_lanes; i++) {
        const Remuda__LaneHome *h = stored->lanes[i];
        if (h->partition >= partitions)
            err = RM_ECORRUPT;
        else
            lane_table_add(t, h->pool, h->provider, h->shard, h->partition);
    }
    for (size_t i = 0; i < stored->n_sources; i++)
        (void)lane_table_assign(t, stored->sources[i]->source, stored->sources[i]->pool,
                                stored->sources[i]->shard);
    arena_fini(&a);
    if (err != RM_OK) {
        lane_table_free(t);
        return err;
    }
    *out = t;
    return RM_OK;
}

static Remuda__LaneHome **pack_lanes(struct arena *a, const struct lane_table *t)
{
    size_t i = 0, pos = 0;
    Remuda__LaneHome **list = arena_alloc(a, (t->by_name.count + 1) * sizeof(*list));
    struct span key;
    void *value;
    while (map_next(&t->by_name, &pos, &key, &value)) {
        const struct lane_home *h = value;
        Remuda__LaneHome *out = list[i++] = arena_alloc(a, sizeof(*out));
        remuda__lane_home__init(out);
        out->pool = h->pool;
        out->provider = h->provider;
        out->shard = h->shard;
        out->partition = h->partition;
    }
    return list;
}

static Remuda__SourceHome **pack_sources(struct arena *a, const struct lane_table *t)
{
    size_t i = 0, pos = 0;
    Remuda__SourceHome **list = arena_alloc(a, (t->sources.count + 1) * sizeof(*list));
    struct span key;
    void *value;
    while (map_next(&t->sources, &pos, &key, &value)) {
        const struct source_home *h = value;
        Remuda__SourceHome *out = list[i++] = arena_alloc(a, sizeof(*out));
        remuda__source_home__init(out);
        out->source = h->source;
        out->pool = h->pool;
        out->shard = h->shard;
    }
    return list;
}

void lane_table_encode(const struct lane_table *t, struct buf *out)
{
    struct arena a = ARENA_INIT;
    Remuda__LaneTable stored = REMUDA__LANE_TABLE__INIT;
    stored.version = t->version;
    stored.partitions = t->partitions;
    stored.lanes = pack_lanes(&a, t);
    stored.n_lanes = t->by_name.count;
    stored.sources = pack_sources(&a, t);
    stored.n_sources = t->sources.count;
    Remuda__Control record = REMUDA__CONTROL__INIT;
    record.lanes = &stored;
    proto_pack(out, &record.base);
    arena_fini(&a);
}

/* ---- adding what the configuration needs ---- */

/* All lanes of a provider with limits for all sources together share a partition. */
static uint32_t choose(const struct lane_table *t, const struct router_provider *provider)
{
    size_t pos = 0;
    struct span key;
    void *value;
    while (provider->limits.total && map_next(&t->by_name, &pos, &key, &value)) {
        const struct lane_home *h = value;
        if (strcmp(h->provider, provider->name) == 0)
            return h->partition;
    }
    return least_loaded(t);
}

static bool add_missing(struct lane_table *t, const struct router_config *c)
{
    bool added = false;
    for (int pool = 0; pool < c->n_pools; pool++)
        for (int i = 0; i < c->n_providers; i++)
            for (uint32_t shard = 0; shard < c->pools[pool].shards; shard++) {
                const char *p = c->pools[pool].name, *v = c->providers[i].name;
                if (lane_table_find(t, p, v, shard))
                    continue;
                lane_table_add(t, p, v, shard, choose(t, &c->providers[i]));
                added = true;
            }
    return added;
}

/* Sources have lanes of providers that only the table knows any more, too: their pairs are not forgotten. */
static bool add_former(struct lane_table *t, const struct router_config *c)
{
    bool added = false;
    size_t n;
    const char **providers = lane_table_providers(t, &n);
    for (size_t i = 0; i < n; i++)
        for (int pool = 0; pool < c->n_pools; pool++)
            for (uint32_t shard = 0; shard < c->pools[pool].shards; shard++) {
                if (lane_table_find(t, c->pools[pool].name, providers[i], shard))
                    continue;
                lane_table_add(t, c->pools[pool].name, providers[i], shard, least_loaded(t));
                added = true;
            }
    free(providers);
    return added;
}

static bool assign_sources(struct lane_table *t, const struct router_config *c)
{
    bool changed = false;
    for (int i = 0; i < c->n_sources; i++) {
        const struct router_source *s = &c->sources[i];
        if (s->pool >= 0 && lane_table_assign(t, s->name, c->pools[s->pool].name, s->shard))
            changed = true;
    }
    return changed;
}

/* A provider whose limits are for all sources together now, and were not when its lanes got their homes. */
static bool gather_totals(struct lane_table *t, const struct router_config *c)
{
    size_t pos = 0;
    struct span key;
    void *value;
    bool moved = false;
    while (map_next(&t->by_name, &pos, &key, &value)) {
        struct lane_home *h = value;
        int provider = router_provider_find(c, span_str(h->provider));
        if (provider < 0 || !c->providers[provider].limits.total)
            continue;
        uint32_t to = choose(t, &c->providers[provider]);
        if (h->partition == to)
            continue;
        lane_table_move(t, h, to);
        moved = true;
    }
    return moved;
}

bool lane_table_complete(struct lane_table *t, const struct router_config *config)
{
    bool moved = gather_totals(t, config);
    bool added = add_missing(t, config), former = add_former(t, config);
    return assign_sources(t, config) || moved || added || former;
}
