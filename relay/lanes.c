/*
 * The lane table and the control log. Tables are appended in change() alone, and become the one in use only
 * by being read back (read_on), where the first of two that were made at once counts. Old tables are kept
 * until the end, so that a reader never holds a freed one.
 */
#include "relay/lanes.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "proto/codec.h"
#include "relay/lane_table.h"
#include "relay/pair_homes.h"

enum { TRIES = 10, PAUSE_US = 500 };

struct lanes {
    pthread_mutex_t lock; /* of all but now */
    struct log *log;
    struct log_client *client;
    uint64_t next;       /* offset in control to read from */
    uint32_t partitions; /* of a table that waits until the log has so many */
    struct lane_table *_Atomic now;
    atomic_uint_fast64_t changes;
    struct map totals;          /* names of providers whose lanes move together, by the last configuration */
    pthread_mutex_t homes_lock; /* held for moments only */
    struct pair_homes *homes;
};

static void wake_nobody(void *arg)
{
    (void)arg;
}

/* ---- reading ---- */

static void fold_table(struct lanes *l, const struct lane_table *t)
{
    pthread_mutex_lock(&l->homes_lock);
    (void)pair_homes_table(l->homes, t);
    pthread_mutex_unlock(&l->homes_lock);
    atomic_fetch_add(&l->changes, 1);
}

static int take_release(struct lanes *l, uint64_t offset, struct span value)
{
    struct arena a = ARENA_INIT;
    const Remuda__Control *record = control_decode(&a, value);
    pthread_mutex_lock(&l->homes_lock);
    bool counts = record && record->release && pair_homes_release(l->homes, offset, record->release);
    pthread_mutex_unlock(&l->homes_lock);
    if (counts)
        atomic_fetch_add(&l->changes, 1);
    arena_fini(&a);
    return RM_OK;
}

/* A table counts when it is the next version of the one before it that counts; the first that is there does
 * as it is. RM_EAGAIN: one for more partitions than can be used here yet, and it stays the next to read. */
static int take(struct lanes *l, uint64_t offset, struct span value)
{
    struct lane_table *t, *now = atomic_load(&l->now);
    int err = lane_table_decode(value, log_partitions(l->log), &t);
    if (err == RM_ENOTFOUND)
        return take_release(l, offset, value); /* a record of another kind */
    if (err != RM_OK)
        return err;
    if (now->offset && t->version != now->version + 1) {
        lane_table_free(t);
        return RM_OK;
    }
    if (t->partitions > log_partitions(l->log)) {
        l->partitions = t->partitions;
        lane_table_free(t);
        log_grown(l->log, l->partitions);
        return RM_EAGAIN;
    }
    t->offset = offset;
    t->older = now;
    lane_table_follow(t, now);
    fold_table(l, t);
    atomic_store(&l->now, t);
    return RM_OK;
}

static int read_on(struct lanes *l)
{
    struct log_reader *r;
    struct span value;
    int err = log_read_begin(l->log, &r);
    if (err != RM_OK)
        return err;
    while (err == RM_OK && log_read_next(r, LOG_CONTROL, 0, &l->next, &value)) {
        err = take(l, l->next, value);
        l->next += err != RM_EAGAIN;
    }
    log_read_end(r);
    return err;
}

/* Waits for partitions that others have added. */
static int read_all(struct lanes *l)
{
    int err = read_on(l);
    while (err == RM_EAGAIN) {
        err = log_grow(l->log, l->partitions);
        if (err == RM_OK)
            err = read_on(l);
    }
    return err;
}

/* The table at this place in the log was found to follow the one before it. */
static bool counts(const struct lanes *l, uint64_t offset)
{
    const struct lane_table *t = atomic_load(&l->now);
    while (t && t->offset > offset)
        t = t->older;
    return t && t->offset == offset;
}

/* ---- changing ---- */

struct appended {
    int status;
    uint64_t offset;
};

static void stored(void *arg, struct log_batch *b, int status)
{
    struct appended *a = arg;
    a->status = status;
    a->offset = status == RM_OK ? log_batch_offset(b, 0) : 0;
}

static struct appended append(struct lanes *l, const struct lane_table *t)
{
    struct buf packed = BUF_INIT;
    struct appended a = {.status = RM_ECLOSED};
    lane_table_encode(t, &packed);
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_append(b, LOG_CONTROL, 0, buf_span(&packed), NULL, NULL);
    buf_fini(&packed);
    log_submit(l->client, b, stored, &a);
    log_client_flush(l->client);
    return a;
}

/* RM_OK: changed; RM_EAGAIN: there was nothing to change; else why not. */
typedef int (*edit_fn)(struct lane_table *t, void *arg);

/* Two that change without end must not meet again and again: each waits a time of its own, up to twice as
 * long after each loss, a quarter of a second at most. */
static void pause_after(int losses)
{
    uint64_t seed[2] = {clock_boot_us(), (uint64_t)(uintptr_t)&losses};
    (void)usleep((useconds_t)(hash64(seed, sizeof(seed)) % ((uint64_t)PAUSE_US << losses)));
}

/* Another node's table may have come first: the change is made anew, to that one. */
static int change(struct lanes *l, edit_fn edit, void *arg)
{
    for (int i = 0; i < TRIES; i++) {
        int err = read_all(l);
        if (err != RM_OK)
            return err;
        struct lane_table *t = lane_table_copy(atomic_load(&l->now));
        err = edit(t, arg);
        t->version++;
        struct appended a = {.status = err};
        if (err == RM_OK)
            a = append(l, t);
        lane_table_free(t);
        if (a.status != RM_OK)
            return a.status == RM_EAGAIN && err == RM_EAGAIN ? RM_OK : a.status;
        err = read_all(l);
        if (err != RM_OK || counts(l, a.offset))
            return err;
        pause_after(i);
    }
    return RM_EAGAIN;
}

struct need {
    const struct router_config *config;
    uint32_t partitions;
};

static int complete(struct lane_table *t, void *arg)
{
    const struct need *need = arg;
    bool grown = lane_table_grow(t, need->partitions);
    return lane_table_complete(t, need->config) || grown ? RM_OK : RM_EAGAIN;
}

static void note_totals(struct lanes *l, const struct router_config *config)
{
    map_fini(&l->totals);
    map_init(&l->totals);
    for (int i = 0; i < config->n_providers; i++)
        if (config->providers[i].limits.total)
            map_put(&l->totals, span_str(config->providers[i].name), l);
}

int lanes_load(struct log *log, const struct router_config *config, struct lanes **out)
{
    struct lanes *l = calloc(1, sizeof(*l));
    ENSURE(l && pthread_mutex_init(&l->lock, NULL) == 0 && pthread_mutex_init(&l->homes_lock, NULL) == 0);
    l->log = log;
    l->homes = pair_homes_new();
    l->client = log_client_new(log, wake_nobody, NULL);
    atomic_store(&l->now, lane_table_new(log_partitions(log)));
    int err = lanes_update(l, config);
    if (err != RM_OK) {
        lanes_free(l);
        l = NULL;
    }
    *out = l;
    return err;
}

int lanes_update(struct lanes *l, const struct router_config *config)
{
    pthread_mutex_lock(&l->lock);
    note_totals(l, config);
    struct need need = {config, log_partitions(l->log)};
    int err = change(l, complete, &need);
    pthread_mutex_unlock(&l->lock);
    return err;
}

int lanes_follow(struct lanes *l)
{
    if (pthread_mutex_trylock(&l->lock) != 0)
        return RM_OK; /* a change is under way, and reads it too */
    int err = read_on(l);
    pthread_mutex_unlock(&l->lock);
    return err == RM_EAGAIN ? RM_OK : err;
}

static int grow(struct lane_table *t, void *partitions)
{
    uint32_t n = *(const uint32_t *)partitions;
    if (n < t->partitions)
        return RM_EINVAL;
    return lane_table_grow(t, n) ? RM_OK : RM_EAGAIN;
}

int lanes_grow(struct lanes *l, uint32_t partitions)
{
    pthread_mutex_lock(&l->lock);
    int err = log_grow(l->log, partitions);
    if (err == RM_OK)
        err = change(l, grow, &partitions);
    pthread_mutex_unlock(&l->lock);
    return err;
}

struct spread {
    const struct map *fixed;
    int moved;
};

static int spread(struct lane_table *t, void *arg)
{
    struct spread *s = arg;
    s->moved = lane_table_spread(t, s->fixed);
    return s->moved ? RM_OK : RM_EAGAIN;
}

int lanes_spread(struct lanes *l, int *moved)
{
    pthread_mutex_lock(&l->lock);
    struct spread s = {&l->totals, 0};
    int err = change(l, spread, &s);
    pthread_mutex_unlock(&l->lock);
    *moved = s.moved;
    return err;
}

struct order {
    const struct lane_order *order;
    bool together; /* with all lanes of its provider */
    int64_t from;  /* -1: not looked at yet */
    int moved;
};

static void move_one(struct lane_table *t, struct order *o, struct lane_home *h)
{
    if (h->partition == o->order->to)
        return;
    lane_table_move(t, h, o->order->to);
    o->moved++;
}

static int move(struct lane_table *t, void *arg)
{
    struct order *o = arg;
    struct lane_home *h = lane_table_find(t, o->order->pool, o->order->provider, o->order->shard);
    size_t pos = 0;
    struct span key;
    void *value;
    if (!h)
        return RM_ENOTFOUND;
    if (o->order->to >= t->partitions)
        return RM_EINVAL;
    if (o->from >= 0 && h->partition != o->from)
        return RM_EREFUSED; /* another node has moved it at the same time */
    o->from = h->partition;
    o->moved = 0;
    move_one(t, o, h);
    while (o->together && map_next(&t->by_name, &pos, &key, &value))
        if (strcmp(((struct lane_home *)value)->provider, o->order->provider) == 0)
            move_one(t, o, value);
    return o->moved ? RM_OK : RM_EAGAIN;
}

int lanes_move(struct lanes *l, const struct lane_order *order, int *moved)
{
    pthread_mutex_lock(&l->lock);
    struct order o = {order, map_get(&l->totals, span_str(order->provider)) != NULL, -1, 0};
    int err = change(l, move, &o);
    pthread_mutex_unlock(&l->lock);
    *moved = o.moved;
    return err;
}

void lanes_free(struct lanes *l)
{
    if (!l)
        return;
    struct lane_table *t = atomic_load(&l->now);
    while (t) {
        struct lane_table *older = t->older;
        lane_table_free(t);
        t = older;
    }
    log_client_free(l->client);
    pair_homes_free(l->homes);
    map_fini(&l->totals);
    pthread_mutex_destroy(&l->homes_lock);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* ---- asking ---- */

static const struct lane_table *in_use(const struct lanes *l)
{
    return atomic_load_explicit(&l->now, memory_order_acquire);
}

int lanes_partition(const struct lanes *l, const char *pool, const char *provider, uint32_t shard)
{
    const struct lane_home *h = lane_table_find(in_use(l), pool, provider, shard);
    return h ? (int)h->partition : -1;
}

uint64_t lanes_version(const struct lanes *l)
{
    return in_use(l)->version;
}

uint64_t lanes_changes(const struct lanes *l)
{
    return atomic_load(&l->changes);
}

static void count_pairs(const struct lanes *l, const struct lane_table *t, struct lane_entry *e)
{
    size_t pos = 0;
    struct span key;
    void *value;
    struct lanes_pair p;
    while (map_next(&t->sources, &pos, &key, &value)) {
        const struct source_home *s = value;
        if (s->shard != e->shard || strcmp(s->pool, e->pool) != 0 ||
            !pair_homes_find(l->homes, s->source, e->provider, &p))
            continue;
        e->pairs++;
        e->moving += p.next != 0;
    }
}

void lanes_each(struct lanes *l, void (*tell)(void *arg, const struct lane_entry *e), void *arg)
{
    const struct lane_table *t = in_use(l);
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(&t->by_name, &pos, &key, &value)) {
        const struct lane_home *h = value;
        struct lane_entry e = {h->pool, h->provider, h->shard, h->partition, h->since, 0, 0};
        pthread_mutex_lock(&l->homes_lock);
        count_pairs(l, t, &e);
        pthread_mutex_unlock(&l->homes_lock);
        tell(arg, &e);
    }
}

bool lanes_pair(struct lanes *l, const char *source, const char *provider, struct lanes_pair *out)
{
    pthread_mutex_lock(&l->homes_lock);
    bool found = pair_homes_find(l->homes, source, provider, out);
    pthread_mutex_unlock(&l->homes_lock);
    return found;
}

void lanes_pairs_moving(struct lanes *l, uint32_t holder, void (*tell)(void *arg, const struct lanes_pair *p),
                        void *arg)
{
    size_t pos = 0;
    struct lanes_pair p;
    pthread_mutex_lock(&l->homes_lock);
    while (pair_homes_next(l->homes, &pos, &p))
        if (p.holder == holder && (p.at || p.next))
            tell(arg, &p);
    pthread_mutex_unlock(&l->homes_lock);
}

bool lanes_gathered(struct lanes *l, const char *provider, uint32_t partition)
{
    size_t pos = 0;
    struct lanes_pair p;
    bool all = true;
    pthread_mutex_lock(&l->homes_lock);
    while (all && pair_homes_next(l->homes, &pos, &p))
        all = strcmp(p.provider, provider) != 0 || (p.holder == partition && !p.next);
    pthread_mutex_unlock(&l->homes_lock);
    return all;
}

/* Weighted rendezvous-free choice: the hash of the pair falls into one shard's share of the summed weights.
 */
uint32_t lanes_pool_shard(const struct router_config *c, int pool, struct span sender_domain,
                          struct span recipient_domain)
{
    const struct router_pool *p = &c->pools[pool];
    if (p->shards <= 1)
        return 0;
    uint64_t total = 0, sums[ROUTER_SHARDS_MOST] = {0};
    for (int i = 0; i < p->n_members; i++) {
        const struct router_source *s = &c->sources[p->members[i]];
        sums[s->shard] += s->enabled ? s->weight : 0;
        total += s->enabled ? s->weight : 0;
    }
    if (total == 0)
        return 0;
    uint64_t parts[2] = {hash64(sender_domain.ptr, sender_domain.len),
                         hash64(recipient_domain.ptr, recipient_domain.len)};
    uint64_t at = hash64(parts, sizeof(parts)) % total;
    uint32_t shard = 0;
    while (shard + 1 < p->shards && at >= sums[shard])
        at -= sums[shard++];
    return shard;
}
