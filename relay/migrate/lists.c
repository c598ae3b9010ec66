/* Suppression lists, tenants' quotas, decisions about tenants and dead records: written into the other log
 * where they are not there yet, so that it does no harm to do it again. They stay here too. */
#include <stdlib.h>

#include "lib/base/map.h"
#include "proto/codec.h"
#include "relay/migrate/migrate_private.h"

enum { BATCH_BYTES = 512 * 1024 };

static int write_full(struct migrate *m, struct log_batch **b, size_t most)
{
    if (log_batch_bytes(*b) < most)
        return RM_OK;
    struct log_batch *full = *b;
    *b = log_batch_new(LOG_OWNER);
    return migrate_write(m, m->there, full);
}

/* What is left of the batch. */
static int write_rest(struct migrate *m, struct log_batch *b, int err)
{
    if (err == RM_OK && log_batch_ops(b) > 0)
        return migrate_write(m, m->there, b);
    log_batch_free(b);
    return err;
}

/* Both logs at once. */
static int read_both(const struct migrate *m, struct log_reader **here, struct log_reader **there)
{
    int err = log_read_begin(m->from, here);
    if (err != RM_OK)
        return err;
    err = log_read_begin(m->to, there);
    if (err != RM_OK)
        log_read_end(*here);
    return err;
}

/* ---- suppression, and what was claimed of tenants' limits: tables that are copied ---- */

typedef bool (*wanted_fn)(struct log_reader *there, struct span key, struct span value);

static uint64_t expires(struct span value)
{
    Remuda__Suppression *s = remuda__suppression__unpack(NULL, value.len, (const uint8_t *)value.ptr);
    uint64_t until = s ? s->expires_ms : 1;
    if (s)
        remuda__suppression__free_unpacked(s, NULL);
    return until ? until : UINT64_MAX;
}

/* There is none there, or one that ends sooner. */
static bool suppression_wanted(struct log_reader *there, struct span key, struct span value)
{
    struct span known;
    return log_read_key(there, LOG_SUPPRESSION, 0, key, &known) != RM_OK || expires(known) < expires(value);
}

/* Its holder is gone: it says the same wherever it stands. */
static bool claim_wanted(struct log_reader *there, struct span key, struct span value)
{
    (void)value;
    return log_read_key(there, LOG_QUOTA, 0, key, &value) != RM_OK;
}

struct copy {
    struct migrate *m;
    enum log_name name;
    wanted_fn wanted;
    struct buf from;   /* the smallest key that was not looked at */
    uint64_t n_copied; /* gathered */
};

/* The next piece; false at the end. */
static bool gather(struct copy *c, struct log_batch *b, int *err)
{
    struct log_reader *here, *there;
    struct span key, value;
    bool more = true;
    *err = read_both(c->m, &here, &there);
    if (*err != RM_OK)
        return false;
    while (log_batch_bytes(b) < BATCH_BYTES &&
           (more = log_read_key_next(here, c->name, 0, buf_span(&c->from), &key, &value))) {
        if (c->wanted(there, key, value)) {
            log_batch_put(b, c->name, 0, key, value);
            c->n_copied++;
        }
        buf_clear(&c->from);
        buf_add_span(&c->from, key);
        buf_add_char(&c->from, '\0');
    }
    log_read_end(here);
    log_read_end(there);
    return more;
}

static int copy_table(struct copy *c)
{
    bool more = true;
    int err = RM_OK;
    while (more && err == RM_OK) {
        struct log_batch *b = log_batch_new(LOG_OWNER);
        more = gather(c, b, &err);
        err = write_rest(c->m, b, err);
    }
    buf_fini(&c->from);
    return err;
}

int migrate_suppression(struct migrate *m)
{
    struct copy c = {.m = m, .name = LOG_SUPPRESSION, .wanted = suppression_wanted};
    int err = copy_table(&c);
    m->moved.suppressed += c.n_copied;
    return err;
}

int migrate_claims(struct migrate *m)
{
    struct copy c = {.m = m, .name = LOG_QUOTA, .wanted = claim_wanted};
    int err = copy_table(&c);
    m->moved.claims += c.n_copied;
    return err;
}

/* ---- decisions about tenants ---- */

struct decision {
    struct arena arena;
    Remuda__TenantDecision *tenant;
};

static void decision_free(struct decision *d)
{
    if (!d)
        return;
    arena_fini(&d->arena);
    free(d);
}

static void take_decision(struct map *newest, struct span value)
{
    struct decision *d = calloc(1, sizeof(*d));
    ENSURE(d);
    const Remuda__Control *record = control_decode(&d->arena, value);
    d->tenant = record ? record->tenant : NULL;
    if (!d->tenant) {
        decision_free(d);
        return;
    }
    const char *key = arena_printf(&d->arena, "%s/%s", d->tenant->tenant, d->tenant->provider);
    decision_free(map_put(newest, span_str(key), d));
}

/* Of each tenant and provider the newest. */
static int read_decisions(struct log *log, struct map *newest)
{
    struct log_reader *r;
    struct span value;
    int err = log_read_begin(log, &r);
    if (err != RM_OK)
        return err;
    for (uint64_t at = 0; log_read_next(r, LOG_CONTROL, 0, &at, &value); at++)
        take_decision(newest, value);
    log_read_end(r);
    return RM_OK;
}

static void decisions_free(struct map *decisions)
{
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(decisions, &pos, &key, &value))
        decision_free(value);
    map_fini(decisions);
}

static void add_decision(struct log_batch *b, Remuda__TenantDecision *tenant)
{
    Remuda__Control record = REMUDA__CONTROL__INIT;
    struct buf packed = BUF_INIT;
    record.tenant = tenant;
    proto_pack(&packed, &record.base);
    log_batch_append(b, LOG_CONTROL, 0, buf_span(&packed), NULL, NULL);
    buf_fini(&packed);
}

int migrate_decisions(struct migrate *m)
{
    struct map here = MAP_INIT, there = MAP_INIT;
    struct log_batch *b = log_batch_new(LOG_OWNER);
    size_t pos = 0;
    struct span key;
    void *value;
    int err = read_decisions(m->from, &here);
    if (err == RM_OK)
        err = read_decisions(m->to, &there);
    while (err == RM_OK && map_next(&here, &pos, &key, &value)) {
        const struct decision *d = value, *known = map_get(&there, key);
        if (known && known->tenant->time_ms >= d->tenant->time_ms)
            continue;
        add_decision(b, d->tenant);
        m->moved.decisions++;
        err = write_full(m, &b, BATCH_BYTES);
    }
    decisions_free(&here);
    decisions_free(&there);
    return write_rest(m, b, err);
}

/* ---- dead records ---- */

struct place {
    uint64_t offset, hash;     /* of the value; its partition may be another now */
    uint8_t from[MSGID_BYTES]; /* of the log that it was in first */
};

static struct place place_of(const Remuda__DeadRecord *d, const struct migration *m)
{
    struct place p = {.offset = d->offset, .hash = hash64(d->value.data, d->value.len)};
    if (d->from.len == sizeof(p.from))
        memcpy(p.from, d->from.data, sizeof(p.from));
    else if (m)
        memcpy(p.from, m->id.bytes, sizeof(p.from));
    return p;
}

static struct span place_span(const struct place *p)
{
    return span_of((const char *)p, sizeof(*p));
}

static Remuda__DeadRecord *dead_decode(struct arena *a, struct span value)
{
    ProtobufCAllocator in_arena = arena_allocator(a);
    return remuda__dead_record__unpack(&in_arena, value.len, (const uint8_t *)value.ptr);
}

/* Those that have come already. */
static void read_dead(struct log_reader *r, struct map *known)
{
    struct span value;
    for (uint64_t at = 0; log_read_next(r, LOG_DEAD, 0, &at, &value); at++) {
        struct arena a = ARENA_INIT;
        const Remuda__DeadRecord *d = dead_decode(&a, value);
        if (d && d->from.len) {
            struct place p = place_of(d, NULL);
            map_put(known, place_span(&p), known);
        }
        arena_fini(&a);
    }
}

static void add_dead(struct migrate *m, struct log_batch *b, struct span value, struct map *known)
{
    struct arena a = ARENA_INIT;
    Remuda__DeadRecord *d = dead_decode(&a, value);
    struct place p = d ? place_of(d, &m->migration) : (struct place){0};
    if (d && !map_get(known, place_span(&p))) {
        struct buf packed = BUF_INIT;
        d->from.data = p.from;
        d->from.len = sizeof(p.from);
        d->partition %= log_partitions(m->to); /* where a replay goes */
        proto_pack(&packed, &d->base);
        log_batch_append(b, LOG_DEAD, 0, buf_span(&packed), NULL, NULL);
        buf_fini(&packed);
        m->moved.dead++;
    }
    arena_fini(&a);
}

/* One by one, each durable before the next: their chunks go ahead of them. */
int migrate_dead(struct migrate *m)
{
    struct map known = MAP_INIT;
    struct log_reader *here, *there;
    struct span value;
    int err = read_both(m, &here, &there);
    if (err != RM_OK)
        return err;
    read_dead(there, &known);
    log_read_end(there);
    log_read_end(here);
    for (uint64_t at = 0; err == RM_OK; at++) {
        struct log_batch *b = log_batch_new(LOG_OWNER);
        err = log_read_begin(m->from, &here);
        bool more = err == RM_OK && log_read_next(here, LOG_DEAD, 0, &at, &value);
        if (more)
            add_dead(m, b, value, &known);
        if (err == RM_OK)
            log_read_end(here);
        err = write_rest(m, b, err);
        if (!more)
            break;
    }
    map_fini(&known);
    return err;
}
