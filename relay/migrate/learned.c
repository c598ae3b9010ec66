/*
 * What was learned of pairs and tenants goes as records of their own into the mail log of the partitions that
 * have them from now on, ahead of all mail: the owner there takes each over once for a migration. What has
 * gone is emptied here, so that a pair counts in one place. (Steps send and erase of
 * tests/model/migrate.pml.)
 */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/map.h"
#include "proto/codec.h"
#include "relay/migrate/migrate_private.h"
#include "router/tally.h"

enum { RECORD_BYTES = 512 * 1024 };

/* One of the newest records of a key in all partitions: of tenants their sum. */
struct learned {
    struct arena arena;
    Remuda__PairState *pair;
    Remuda__TenantState *tenant;
    Remuda__TransferTo to;
    bool sent;
};

struct all {
    struct migrate *m;
    struct map by_key; /* of the state log -> struct learned */
    uint64_t now_s;
};

/* ---- gathering ---- */

static void learned_free(struct learned *l)
{
    if (!l)
        return;
    arena_fini(&l->arena);
    free(l);
}

static void counts_to_tally(const Remuda__Counts *c, struct tally *out, uint64_t now_s)
{
    *out = (struct tally){0};
    if (!c)
        return;
    const double *from[TALLY_WINDOWS] = {c->hour, c->day, c->week};
    for (int w = 0; w < TALLY_WINDOWS; w++)
        memcpy(out->n[w], from[w], sizeof(out->n[w]));
    out->at_s = c->at_s;
    tally_decay(out, now_s);
}

/* Both were decoded, so each has no counts or all of them. */
static void add_counts(Remuda__TenantState *sum, const Remuda__TenantState *more, uint64_t now_s)
{
    struct tally a, b;
    if (!sum->counts || !more->counts) {
        sum->counts = sum->counts ? sum->counts : more->counts;
        return;
    }
    counts_to_tally(sum->counts, &a, now_s);
    counts_to_tally(more->counts, &b, now_s);
    double *to[TALLY_WINDOWS] = {sum->counts->hour, sum->counts->day, sum->counts->week};
    for (int w = 0; w < TALLY_WINDOWS; w++)
        for (int c = 0; c < TALLY_CLASSES; c++)
            to[w][c] = a.n[w][c] + b.n[w][c];
    sum->counts->at_s = a.at_s > b.at_s ? a.at_s : b.at_s;
    if (more->seen_day > sum->seen_day)
        sum->seen_day = more->seen_day;
}

/* What an earlier move has left, and what another partition has now, says nothing. */
static bool counts(const Remuda__PairState *p)
{
    return p->written_ms && p->given <= p->home;
}

/* False: what is known already is the one that counts, or takes it in. */
static bool replaces(const struct all *all, struct learned *known, struct learned *l)
{
    if (!known)
        return true;
    if (l->pair)
        return l->pair->written_ms > known->pair->written_ms;
    /* The arena of what is dropped goes with it: the sum is made in the one that stays. */
    Remuda__Counts *had = known->tenant->counts;
    add_counts(l->tenant, known->tenant, all->now_s);
    return l->tenant->counts != had;
}

static void take(struct all *all, struct span key, struct span value)
{
    struct learned *l = calloc(1, sizeof(*l));
    ENSURE(l);
    if (key.len > 5 && memcmp(key.ptr, "pair:", 5) == 0)
        l->pair = pair_decode(&l->arena, value);
    else
        l->tenant = tenant_decode(&l->arena, value);
    struct learned *known = map_get(&all->by_key, key);
    if ((!l->pair && !l->tenant) || (l->pair && !counts(l->pair)) || !replaces(all, known, l)) {
        learned_free(l);
        return;
    }
    map_put(&all->by_key, key, l);
    learned_free(known);
}

typedef void (*state_fn)(void *arg, struct span key, struct span value);

static void each_with_prefix(struct log_reader *r, uint32_t partition, struct span prefix, state_fn fn,
                             void *arg)
{
    struct buf from = BUF_INIT;
    struct span key, value;
    buf_add_span(&from, prefix);
    while (log_read_key_next(r, LOG_STATE, partition, buf_span(&from), &key, &value) &&
           key.len > prefix.len && memcmp(key.ptr, prefix.ptr, prefix.len) == 0) {
        fn(arg, key, value);
        buf_clear(&from);
        buf_add_span(&from, key);
        buf_add_char(&from, '\0'); /* the next key that can be */
    }
    buf_fini(&from);
}

static void gather_one(void *arg, struct span key, struct span value)
{
    take(arg, key, value);
}

/* A pair that is between two partitions stands in control alone; one that has arrived was written later. */
static void gather_release(struct all *all, struct span value)
{
    struct arena a = ARENA_INIT;
    struct buf packed = BUF_INIT;
    const Remuda__Control *c = control_decode(&a, value);
    for (size_t i = 0; c && c->release && i < c->release->n_pairs; i++) {
        Remuda__PairState *p = c->release->pairs[i];
        const char *key = arena_printf(&a, "pair:%s/%s", p->source, p->provider);
        p->home = p->given = 0;
        buf_clear(&packed);
        proto_pack(&packed, &p->base);
        take(all, span_str(key), buf_span(&packed));
    }
    buf_fini(&packed);
    arena_fini(&a);
}

static int gather(struct all *all)
{
    struct log_reader *r;
    struct span value;
    int err = log_read_begin(all->m->from, &r);
    if (err != RM_OK)
        return err;
    for (uint64_t at = 0; log_read_next(r, LOG_CONTROL, 0, &at, &value); at++)
        gather_release(all, value);
    for (uint32_t p = 0; p < log_partitions(all->m->from); p++) {
        each_with_prefix(r, p, SPAN_LIT("pair:"), gather_one, all);
        each_with_prefix(r, p, SPAN_LIT("tenant:"), gather_one, all);
    }
    log_read_end(r);
    return RM_OK;
}

/* ---- sending ---- */

static void pack(const struct learned *l, struct arena *a, ProtobufCBinaryData *out)
{
    struct buf packed = BUF_INIT;
    proto_pack(&packed, l->pair ? &l->pair->base : &l->tenant->base);
    out->len = packed.len;
    out->data = (uint8_t *)arena_dup_span(a, buf_span(&packed));
    buf_fini(&packed);
}

static int send(struct migrate *m, Remuda__LearnedState *learned, Remuda__TransferTo *to)
{
    Remuda__Record record = REMUDA__RECORD__INIT;
    Remuda__Submission s = REMUDA__SUBMISSION__INIT, *list[] = {&s};
    struct buf head = BUF_INIT;
    record.kind = REMUDA__RECORD_KIND__RECORD_STATE;
    record.id.data = m->migration.id.bytes;
    record.id.len = sizeof(m->migration.id.bytes);
    record.accepted_ms = clock_wall_ms();
    record.table_version = lanes_version(m->lanes);
    record.learned = learned;
    s.pool = to->pool;
    s.provider = to->provider;
    s.shard = to->shard;
    record.submissions = list;
    record.n_submissions = 1;
    mail_frame_record(&head, &record);
    struct log_batch *b = log_batch_new(LOG_INTAKE);
    log_batch_append(b, LOG_MAIL, to->partition, buf_span(&head), NULL, NULL);
    buf_fini(&head);
    return migrate_write(m, m->there, b);
}

static void count(struct migrate *m, struct learned *l)
{
    l->sent = true;
    m->moved.pairs += l->pair != NULL;
    m->moved.tenants += l->tenant != NULL;
}

/* All for this partition that have not gone, as many as one record bears; their number. */
static int send_some(struct all *all, uint32_t partition, size_t *n)
{
    struct arena a = ARENA_INIT;
    Remuda__LearnedState learned = REMUDA__LEARNED_STATE__INIT;
    Remuda__TransferTo to = REMUDA__TRANSFER_TO__INIT;
    size_t pos = 0, bytes = 0;
    struct span key;
    void *value;
    learned.pairs = arena_alloc(&a, sizeof(*learned.pairs) * (all->by_key.count + 1));
    learned.tenants = arena_alloc(&a, sizeof(*learned.tenants) * (all->by_key.count + 1));
    while (bytes < RECORD_BYTES && map_next(&all->by_key, &pos, &key, &value)) {
        struct learned *l = value;
        if (l->sent || l->to.partition != partition)
            continue;
        ProtobufCBinaryData *out =
            l->pair ? &learned.pairs[learned.n_pairs++] : &learned.tenants[learned.n_tenants++];
        pack(l, &a, out);
        bytes += out->len;
        to = l->to;
        count(all->m, l);
    }
    *n = learned.n_pairs + learned.n_tenants;
    int err = *n ? send(all->m, &learned, &to) : RM_OK;
    arena_fini(&a);
    return err;
}

/* What has no place there stays here. */
static void place_all(struct all *all)
{
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(&all->by_key, &pos, &key, &value)) {
        struct learned *l = value;
        int home = l->pair ? migrate_home_of_pair(all->m, l->pair->source, l->pair->provider, &l->to)
                           : migrate_home_of_tenant(all->m, l->tenant->tenant, l->tenant->provider, &l->to);
        if (home >= 0)
            continue;
        l->sent = true;
        if (l->pair)
            fprintf(all->m->o.out,
                    "%s at %s is not in the other configuration: what was learned stays here\n",
                    l->pair->source, l->pair->provider);
    }
}

static int send_all(struct all *all)
{
    int err = RM_OK;
    place_all(all);
    for (uint32_t p = 0; p < log_partitions(all->m->to); p++)
        for (size_t n = 1; n && err == RM_OK;)
            err = send_some(all, p, &n);
    return err;
}

/* ---- erasing ---- */

/* Of a pair only where it belongs by the lane table of this log stays. */
static void empty_pair(struct log_batch *b, uint32_t partition, struct span key, struct span value)
{
    struct arena a = ARENA_INIT;
    const Remuda__PairState *had = pair_decode(&a, value);
    Remuda__PairState p = REMUDA__PAIR_STATE__INIT;
    struct buf packed = BUF_INIT;
    if (had && had->written_ms) {
        p.source = had->source;
        p.provider = had->provider;
        p.format = had->format;
        p.epoch = had->epoch;
        p.home = had->home;
        p.given = had->given;
        proto_pack(&packed, &p.base);
        log_batch_put(b, LOG_STATE, partition, key, buf_span(&packed));
    }
    buf_fini(&packed);
    arena_fini(&a);
}

struct erasing {
    struct all *all;
    struct log_batch *batch;
    uint32_t partition;
};

/* The copy of a tenant's counts for who judges it. */
static void erase_evidence(const struct erasing *e, struct span key)
{
    char copy[LOG_KEY_MOST];
    struct span names = span_of(key.ptr + strlen("tenant:"), key.len - strlen("tenant:"));
    int n = snprintf(copy, sizeof(copy), "%u:%.*s", e->partition, SPAN_FMT(names));
    if (n > 0 && n < (int)sizeof(copy))
        log_batch_erase(e->batch, LOG_EVIDENCE, 0, span_of(copy, (size_t)n));
}

static void erase_one(void *arg, struct span key, struct span value)
{
    struct erasing *e = arg;
    const struct learned *l = map_get(&e->all->by_key, key);
    if (!l || !l->to.pool || !l->to.pool[0])
        return;
    if (l->pair) {
        empty_pair(e->batch, e->partition, key, value);
        return;
    }
    log_batch_erase(e->batch, LOG_STATE, e->partition, key);
    erase_evidence(e, key);
}

static int erase_all(struct all *all)
{
    int err = RM_OK;
    for (uint32_t p = 0; p < log_partitions(all->m->from) && err == RM_OK; p++) {
        struct erasing e = {.all = all, .batch = log_batch_new(LOG_OWNER), .partition = p};
        struct log_reader *r;
        err = log_read_begin(all->m->from, &r);
        if (err == RM_OK) {
            each_with_prefix(r, p, SPAN_LIT("pair:"), erase_one, &e);
            each_with_prefix(r, p, SPAN_LIT("tenant:"), erase_one, &e);
            log_read_end(r);
        }
        if (err == RM_OK && log_batch_ops(e.batch) > 0)
            err = migrate_write(all->m, all->m->here, e.batch);
        else
            log_batch_free(e.batch);
    }
    return err;
}

int migrate_learned(struct migrate *m)
{
    struct all all = {.m = m, .now_s = clock_wall_ms() / 1000};
    size_t pos = 0;
    struct span key;
    void *value;
    int err = gather(&all);
    if (err == RM_OK)
        err = send_all(&all);
    if (err == RM_OK)
        err = erase_all(&all);
    while (map_next(&all.by_key, &pos, &key, &value))
        learned_free(value);
    map_fini(&all.by_key);
    return err;
}
