/* The records of what is learned: loaded before the first decision, written in batches, grants on time. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/err.h"
#include "proto/codec.h"
#include "router/state_private.h"
#include "router/tenant.h"

enum { KEY_MOST = 200 };

/* ---- counts ---- */

static void counts_fill(const struct tally *t, struct tally *copy, Remuda__Counts *out)
{
    remuda__counts__init(out);
    *copy = *t;
    out->at_s = t->at_s;
    out->hour = copy->n[TALLY_HOUR];
    out->day = copy->n[TALLY_DAY];
    out->week = copy->n[TALLY_WEEK];
    out->n_hour = out->n_day = out->n_week = TALLY_CLASSES;
}

static void counts_take(struct tally *t, const Remuda__Counts *c)
{
    *t = (struct tally){0};
    if (!c || c->n_hour != TALLY_CLASSES || c->n_day != TALLY_CLASSES || c->n_week != TALLY_CLASSES)
        return;
    t->at_s = c->at_s;
    memcpy(t->n[TALLY_HOUR], c->hour, sizeof(t->n[TALLY_HOUR]));
    memcpy(t->n[TALLY_DAY], c->day, sizeof(t->n[TALLY_DAY]));
    memcpy(t->n[TALLY_WEEK], c->week, sizeof(t->n[TALLY_WEEK]));
}

/* ---- one record ---- */

static char *text(const char *t)
{
    return (char *)(uintptr_t)(t ? t : "");
}

static ProtobufCBinaryData taken_span(const uint8_t taken[ROUTER_TAKEN_BYTES])
{
    static const uint8_t none[ROUTER_TAKEN_BYTES];
    bool some = memcmp(taken, none, sizeof(none)) != 0;
    return (ProtobufCBinaryData){.len = some ? ROUTER_TAKEN_BYTES : 0, .data = (uint8_t *)(uintptr_t)taken};
}

static void taken_set(uint8_t taken[ROUTER_TAKEN_BYTES], const ProtobufCBinaryData *id)
{
    if (id->len == ROUTER_TAKEN_BYTES)
        memcpy(taken, id->data, ROUTER_TAKEN_BYTES);
}

static void fill_pace(const struct router_state *s, const struct pace *p, uint64_t wall_ms,
                      Remuda__PairState *out)
{
    if (!p)
        return;
    out->pace = p->rate;
    out->pace_from = p->from;
    out->connections = p->connections;
    out->stops = p->stops;
    int64_t until_ms = (int64_t)(p->until_us / 1000) + s->wall_offset_ms;
    out->stopped_until_ms = p->until_us && until_ms > (int64_t)wall_ms ? (uint64_t)until_ms : 0;
}

static void pair_pack(const struct router_state *s, const struct standing *st, uint64_t wall_ms,
                      struct buf *out)
{
    Remuda__PairState r = REMUDA__PAIR_STATE__INIT;
    Remuda__Counts counts;
    struct tally copy;
    r.source = st->source;
    r.provider = st->provider;
    r.version = s->version;
    r.format = ROUTER_PAIR_FORMAT;
    r.day = st->warmup.day;
    r.used = st->warmup.used;
    r.granted = st->capped ? (st->asked > st->warmup.used ? st->asked : st->warmup.used) : 0;
    r.epoch = s->epoch;
    r.schedule = text(st->schedule_name);
    r.stage = st->warmup.stage;
    r.cap = st->capped ? st->cap : 0;
    r.last_used_day = st->warmup.last_used_day;
    r.accepted = st->warmup.accepted;
    r.refused = st->warmup.refused;
    r.hour = st->hour;
    r.hour_from = st->hour_from;
    counts_fill(&st->tally, &copy, &counts);
    r.counts = &counts;
    fill_pace(s, st->pace, wall_ms, &r);
    r.suspended_until_ms = st->suspended_until_ms;
    r.suspended_for_ms = st->suspended_for_ms;
    r.relapses = st->relapses;
    r.why = text(st->why);
    r.alert_ms = st->alert_ms;
    r.mark = text(st->mark);
    r.written_ms = wall_ms;
    r.seen_day = st->kept.seen_day;
    r.home = st->home;
    r.given = st->given;
    r.taken = taken_span(st->taken);
    proto_pack(out, &r.base);
}

static void tenant_pack(const struct router_state *s, const struct tenant_standing *t, uint64_t wall_ms,
                        struct buf *out)
{
    Remuda__TenantState r = REMUDA__TENANT_STATE__INIT;
    Remuda__Counts counts;
    struct tally copy;
    r.tenant = t->tenant;
    r.provider = t->provider;
    r.format = ROUTER_PAIR_FORMAT;
    r.epoch = s->epoch;
    counts_fill(&t->tally, &copy, &counts);
    r.counts = &counts;
    r.written_ms = wall_ms;
    r.seen_day = t->kept.seen_day;
    r.taken = taken_span(t->taken);
    proto_pack(out, &r.base);
}

/* ---- loading ---- */

static void take_pace(const struct router_state *s, struct standing *st, const Remuda__PairState *r,
                      uint64_t wall_ms)
{
    int provider = router_provider_find(s->config, span_str(st->provider));
    free(st->pace);
    st->pace = NULL;
    if (!(r->pace > 0) || provider < 0 || provider == ROUTER_OTHER)
        return;
    struct pace_bounds b = router_pace_bounds(s->config, provider);
    st->pace = calloc(1, sizeof(*st->pace));
    ENSURE(st->pace);
    pace_init(st->pace, &b);
    if (r->pace < st->pace->rate)
        st->pace->rate = r->pace;
    st->pace->from = r->pace_from > 0 ? r->pace_from : 0;
    st->pace->connections = r->connections >= 0 ? r->connections : 0;
    st->pace->stops = r->stops;
    if (r->stopped_until_ms > wall_ms)
        st->pace->until_us = (uint64_t)((int64_t)r->stopped_until_ms - s->wall_offset_ms) * 1000;
}

static void take_standing(struct standing *st, const Remuda__PairState *r)
{
    st->warmup.stage = r->stage <= WARMUP_STAGES_MOST ? r->stage : WARMUP_STAGES_MOST;
    st->warmup.last_used_day = r->last_used_day;
    router_text_set(&st->schedule_name, span_str(r->schedule));
    st->cap = r->cap ? r->cap : UINT64_MAX;
    st->capped = r->cap != 0;
    counts_take(&st->tally, r->counts);
    router_text_set(&st->mark, span_str(r->mark));
}

static void bind_by_name(struct router_state *s, struct standing *st)
{
    router_standing_bind(s, st, router_source_find(s->config, span_str(st->source)),
                         router_provider_find(s->config, span_str(st->provider)));
}

/* What it says cannot be read: nothing goes under a cap today, and warm-up begins anew. */
static void distrust(struct router_state *s, struct standing *st, uint64_t wall_ms)
{
    st->warmup = (struct warmup){.day = (uint32_t)(wall_ms / 86400000), .used = UINT32_MAX};
    st->granted = st->asked = UINT32_MAX;
    bind_by_name(s, st);
}

bool router_load_pair(struct router_state *s, const Remuda__PairState *r, uint64_t wall_ms)
{
    if (!r || !r->source[0] || !r->provider[0])
        return false;
    struct standing *st = router_standing_get(s, r->source, r->provider);
    st->home = r->home;
    st->given = r->given;
    st->elsewhere = st->given > st->home;
    if (r->format > ROUTER_PAIR_FORMAT) {
        distrust(s, st, wall_ms);
        return false;
    }
    take_standing(st, r);
    st->kept.seen_day = r->seen_day;
    st->warmup.day = (uint32_t)r->day;
    st->warmup.accepted = r->accepted;
    st->warmup.refused = r->refused;
    /* What was granted may have been sent before the end that nobody wrote down. */
    st->warmup.used = r->granted > r->used ? r->granted : r->used;
    st->granted = st->asked = st->warmup.used;
    /* And all of it in this hour. */
    uint64_t hour = wall_ms / 3600000;
    st->hour = r->hour > hour ? r->hour : hour;
    st->hour_from = r->hour >= hour ? r->hour_from : r->used;
    st->suspended_until_ms = r->suspended_until_ms;
    st->suspended_for_ms = r->suspended_for_ms;
    st->relapses = r->relapses < ROUTER_RELAPSES_MOST ? r->relapses : ROUTER_RELAPSES_MOST;
    st->alert_ms = r->alert_ms;
    taken_set(st->taken, &r->taken);
    router_text_set(&st->why, span_str(r->why));
    take_pace(s, st, r, wall_ms);
    bind_by_name(s, st);
    return true;
}

bool router_load_tenant(struct router_state *s, const Remuda__TenantState *r)
{
    if (!r || !r->tenant[0] || !r->provider[0] || r->format > ROUTER_PAIR_FORMAT)
        return false;
    struct tenant_standing *t = router_tenant_get(s, span_str(r->tenant), r->provider);
    counts_take(&t->tally, r->counts);
    t->kept.seen_day = r->seen_day;
    taken_set(t->taken, &r->taken);
    return true;
}

struct tenant_counts tenant_counts_stored(const Remuda__TenantState *r, uint64_t at_s)
{
    struct tally t;
    counts_take(&t, r->format <= ROUTER_PAIR_FORMAT ? r->counts : NULL);
    return tenant_counts_of(&t, at_s);
}

bool router_pair_import(struct router_state *s, const Remuda__PairState *r, uint64_t wall_ms)
{
    int source = router_source_find(s->config, span_str(r->source));
    int provider = router_provider_find(s->config, span_str(r->provider));
    if (source < 0 || provider < 0 || r->format > ROUTER_PAIR_FORMAT)
        return false;
    struct standing *st = router_standing_get(s, r->source, r->provider);
    struct warmup today = st->warmup;
    take_standing(st, r);
    st->warmup.day = today.day;
    st->warmup.used = today.used; /* what this relay has sent today stays sent */
    if (r->day == wall_ms / 86400000 && r->used > st->warmup.used)
        st->warmup.used = r->used;
    st->warmup.accepted = today.accepted;
    st->warmup.refused = today.refused;
    router_standing_bind(s, st, source, provider);
    router_keep(s, &st->kept, true);
    s->version++;
    return true;
}

bool router_pair_export(const struct router_state *s, struct span source, struct span provider,
                        uint64_t wall_ms, struct buf *out)
{
    const struct standing *st = router_standing_find(s, source, provider);
    if (st)
        pair_pack(s, st, wall_ms, out);
    return st != NULL;
}

/* ---- writing ---- */

/* What was granted for nothing: given back before a stop, so that it does not count as used. */
static void give_grants_back(struct router_state *s)
{
    size_t at = 0;
    struct span key;
    void *value;
    while (map_next(&s->standings, &at, &key, &value)) {
        struct standing *st = value;
        if (st->asked > st->warmup.used && st->warmup.day == s->day) {
            st->asked = st->granted = st->warmup.used;
            router_keep(s, &st->kept, false);
        }
    }
}

bool router_write_wanted(const struct router_state *s, enum router_write what, uint64_t wall_ms)
{
    if (!list_empty(&s->flight))
        return false;
    bool some = !list_empty(&s->dirty);
    if (what == ROUTER_WRITE_LAST)
        return some || !list_empty(&s->urgent);
    return !list_empty(&s->urgent) ||
           (some && (wall_ms >= s->written_ms + WRITE_EVERY_MS || wall_ms < s->written_ms));
}

static void put_one(const struct router_state *s, const struct kept *k, uint64_t wall_ms, router_put_cb put,
                    void *arg)
{
    char key[KEY_MOST];
    struct buf value = BUF_INIT;
    int n;
    if (k->kind == KEPT_OPENED) {
        const struct opened *o = CONTAINER_OF(k, const struct opened, kept);
        n = snprintf(key, sizeof(key), "open:%s", o->key);
        router_opened_pack(s, o, &value);
    } else if (k->kind == KEPT_PAIR) {
        const struct standing *st = CONTAINER_OF(k, const struct standing, kept);
        n = snprintf(key, sizeof(key), "pair:%s/%s", st->source, st->provider);
        if (!k->gone)
            pair_pack(s, st, wall_ms, &value);
    } else {
        const struct tenant_standing *t = CONTAINER_OF(k, const struct tenant_standing, kept);
        n = snprintf(key, sizeof(key), "tenant:%s/%s", t->tenant, t->provider);
        if (!k->gone)
            tenant_pack(s, t, wall_ms, &value);
    }
    ENSURE(n > 0 && n < KEY_MOST);
    put(arg, span_of(key, (size_t)n), buf_span(&value));
    buf_fini(&value);
}

static void write_one(struct router_state *s, struct kept *k, uint64_t wall_ms, router_put_cb put, void *arg)
{
    if (k->kind == KEPT_PAIR) {
        struct standing *st = CONTAINER_OF(k, struct standing, kept);
        st->writing = st->asked;
        st->writing_day = st->warmup.day;
    } else if (k->kind == KEPT_OPENED) {
        struct opened *o = CONTAINER_OF(k, struct opened, kept);
        o->writing = o->asked;
    }
    put_one(s, k, wall_ms, put, arg);
}

static void write_list(struct router_state *s, struct list *from, uint64_t wall_ms, router_put_cb put,
                       void *arg)
{
    struct list *node;
    while ((node = list_pop_front(from))) {
        struct kept *k = CONTAINER_OF(node, struct kept, dirty);
        list_push_back(&s->flight, &k->flight);
        write_one(s, k, wall_ms, put, arg);
    }
}

void router_write(struct router_state *s, enum router_write what, uint64_t wall_ms, router_put_cb put,
                  void *arg)
{
    if (what == ROUTER_WRITE_LAST && list_empty(&s->flight))
        give_grants_back(s);
    if (what == ROUTER_WRITE_LAST && list_empty(&s->flight))
        router_opened_settle(s);
    if (!router_write_wanted(s, what, wall_ms))
        return;
    write_list(s, &s->urgent, wall_ms, put, arg);
    if (what == ROUTER_WRITE_DUE && wall_ms >= s->written_ms && wall_ms < s->written_ms + WRITE_EVERY_MS)
        return;
    write_list(s, &s->dirty, wall_ms, put, arg);
    s->written_ms = wall_ms;
}

/* ---- taking over from another log ---- */

static void tally_merge(struct tally *t, const struct tally *more)
{
    struct tally m = *more;
    uint64_t at_s = m.at_s > t->at_s ? m.at_s : t->at_s;
    tally_decay(t, at_s);
    tally_decay(&m, at_s);
    for (int w = 0; w < TALLY_WINDOWS; w++)
        for (int c = 0; c < TALLY_CLASSES; c++)
            t->n[w][c] += m.n[w][c];
}

/* What was here goes on top of what came: used of the same day, and of this hour. */
static void add_own(struct standing *st, const struct standing *own, uint64_t wall_ms)
{
    bool same_hour = own->hour == wall_ms / 3600000;
    tally_merge(&st->tally, &own->tally);
    if (own->kept.seen_day > st->kept.seen_day)
        st->kept.seen_day = own->kept.seen_day;
    if (own->suspended_until_ms > st->suspended_until_ms)
        st->suspended_until_ms = own->suspended_until_ms;
    if (own->warmup.day == st->warmup.day) {
        st->warmup.used += own->warmup.used;
        st->warmup.accepted += own->warmup.accepted;
        st->warmup.refused += own->warmup.refused;
        st->hour_from += same_hour && own->hour_from < own->warmup.used ? own->hour_from : own->warmup.used;
    }
    st->granted = st->asked = st->warmup.used;
}

bool router_pair_receive(struct router_state *s, const Remuda__PairState *r, const struct router_receipt *t)
{
    struct standing *st = router_standing_get(s, r->source, r->provider);
    if (memcmp(st->taken, t->id, sizeof(st->taken)) == 0)
        return true;
    struct standing own = *st; /* its texts are st's: only numbers are read */
    bool known = router_load_pair(s, r, t->wall_ms);
    memcpy(st->taken, t->id, sizeof(st->taken));
    if (known)
        add_own(st, &own, t->wall_ms);
    st->home = own.home; /* versions of this log's lane table */
    st->given = own.given;
    st->elsewhere = own.elsewhere;
    router_standing_derive(st);
    router_standing_ask(s, st);
    router_keep(s, &st->kept, true);
    s->version++;
    put_one(s, &st->kept, t->wall_ms, t->put, t->arg);
    return known;
}

bool router_tenant_receive(struct router_state *s, const Remuda__TenantState *r,
                           const struct router_receipt *t)
{
    if (r->format > ROUTER_PAIR_FORMAT)
        return false;
    struct tenant_standing *ts = router_tenant_get(s, span_str(r->tenant), r->provider);
    if (memcmp(ts->taken, t->id, sizeof(ts->taken)) == 0)
        return true;
    struct tally came;
    counts_take(&came, r->counts);
    tally_merge(&ts->tally, &came);
    memcpy(ts->taken, t->id, sizeof(ts->taken));
    if (r->seen_day > ts->kept.seen_day)
        ts->kept.seen_day = r->seen_day;
    router_keep(s, &ts->kept, false);
    put_one(s, &ts->kept, t->wall_ms, t->put, t->arg);
    return true;
}

bool router_written(struct router_state *s)
{
    struct list *node;
    bool freed = false;
    while ((node = list_pop_front(&s->flight))) {
        struct kept *k = CONTAINER_OF(node, struct kept, flight);
        if (k->gone) {
            router_kept_drop(s, k);
            continue;
        }
        if (k->kind == KEPT_OPENED) {
            freed = router_opened_written(s, CONTAINER_OF(k, struct opened, kept)) || freed;
            continue;
        }
        if (k->kind != KEPT_PAIR)
            continue;
        struct standing *st = CONTAINER_OF(k, struct standing, kept);
        if (st->writing_day != st->warmup.day || st->writing <= st->granted)
            continue;
        freed = freed || st->warmup.used >= st->granted;
        st->granted = st->writing;
        s->version++;
    }
    return freed;
}
