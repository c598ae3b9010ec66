/*
 * What is learned of pairs and tenants, as objects: made at first use, matched with the configuration, moved
 * from day to day, listed for writing. What answers do to them is learn.c's, their records are keep.c's.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/err.h"
#include "router/reputation.h"
#include "router/state_private.h"

enum { KEY_MOST = 160, GRANT_MOST = 100, HOUR_MS = 3600000, DAY_HOURS = 24 };

static const double rate_floor_default = 0.1; /* six messages a minute */

static struct span key_of(const char *left, struct span right, char out[KEY_MOST])
{
    int n = snprintf(out, KEY_MOST, "%s/%.*s", left, (int)right.len, right.ptr);
    ENSURE(n > 0 && n < KEY_MOST);
    return span_of(out, (size_t)n);
}

void router_text_set(char **slot, struct span text)
{
    char *copy = text.len ? strndup(text.ptr, text.len) : NULL;
    ENSURE(copy || !text.len);
    free(*slot);
    *slot = copy;
}

void router_kept_init(struct kept *k, int kind)
{
    k->kind = kind;
    list_init(&k->dirty);
    list_init(&k->flight);
}

void router_keep(struct router_state *s, struct kept *k, bool urgent)
{
    if (urgent) {
        list_remove(&k->dirty);
        list_push_back(&s->urgent, &k->dirty);
    } else if (list_empty(&k->dirty)) {
        list_push_back(&s->dirty, &k->dirty);
    }
}

/* ---- of the configuration ---- */

const struct warmup_schedule *router_warmup_of(const struct router_config *c, int source, int provider)
{
    const struct router_source *src = &c->sources[source];
    if (src->warmup)
        return src->warmup;
    if (src->pool >= 0 && src->pool < c->n_pools && c->pools[src->pool].warmup)
        return c->pools[src->pool].warmup;
    return c->providers[provider].warmup;
}

struct pace_bounds router_pace_bounds(const struct router_config *c, int provider)
{
    const struct router_limits *l = &c->providers[provider].limits;
    bool limited = l->rate_count && l->rate_per_us;
    return (struct pace_bounds){.floor = l->rate_floor > 0 ? l->rate_floor : rate_floor_default,
                                .ceiling = limited ? l->rate_count * 1e6 / (double)l->rate_per_us : 0,
                                .connections = l->connections};
}

void router_standing_derive(struct standing *st)
{
    st->cap = warmup_cap(st->schedule, st->warmup.stage);
    st->hour_cap = warmup_hour_cap(st->schedule, st->warmup.stage);
    st->capped = st->cap != UINT64_MAX;
    double score = reputation_score(&st->tally) * SCORE_ONE;
    st->score = score < 1 ? 1 : (uint32_t)score;
}

/* The same volume in another schedule; a pair that was warm stays it. */
static void change_schedule(struct standing *st)
{
    const struct warmup_schedule *next = st->schedule;
    if (!next || next->n_caps == 0 || (st->schedule_name && strcmp(st->schedule_name, next->name) == 0))
        return;
    if (st->schedule_name)
        st->warmup.stage = st->capped ? warmup_stage_for(next, st->cap) : (uint32_t)next->n_caps;
    st->warmup.accepted = st->warmup.refused = 0;
    router_text_set(&st->schedule_name, span_str(next->name));
}

void router_standing_bind(struct router_state *s, struct standing *st, int source, int provider)
{
    st->configured = source >= 0 && provider >= 0;
    st->schedule = st->configured ? router_warmup_of(s->config, source, provider) : NULL;
    change_schedule(st);
    router_standing_derive(st);
    if (s->day)
        router_standing_roll(s, st);
}

void router_standings_configure(struct router_state *s)
{
    struct map sources = MAP_INIT;
    size_t at = 0;
    struct span key;
    void *value;
    for (intptr_t i = 0; i < s->config->n_sources; i++)
        map_put(&sources, span_str(s->config->sources[i].name), (void *)(i + 1));
    while (map_next(&s->standings, &at, &key, &value)) {
        struct standing *st = value;
        int source = (int)(intptr_t)map_get(&sources, span_str(st->source)) - 1;
        router_standing_bind(s, st, source, router_provider_find(s->config, span_str(st->provider)));
    }
    map_fini(&sources);
}

/* ---- made at first use ---- */

struct standing *router_standing_get(struct router_state *s, const char *source, const char *provider)
{
    char room[KEY_MOST];
    struct span key = key_of(source, span_str(provider), room);
    struct standing *st = map_get(&s->standings, key);
    if (st) {
        st->kept.gone = false;
        return st;
    }
    st = calloc(1, sizeof(*st));
    ENSURE(st);
    router_kept_init(&st->kept, KEPT_PAIR);
    st->kept.seen_day = s->day;
    st->source = strdup(source);
    st->provider = strdup(provider);
    ENSURE(st->source && st->provider);
    st->cap = UINT64_MAX;
    map_put(&s->standings, key, st);
    return st;
}

struct standing *router_standing_find(const struct router_state *s, struct span source, struct span provider)
{
    char room[KEY_MOST];
    int n = snprintf(room, sizeof(room), "%.*s/%.*s", (int)source.len, source.ptr, (int)provider.len,
                     provider.ptr);
    return n > 0 && n < KEY_MOST ? map_get(&s->standings, span_of(room, (size_t)n)) : NULL;
}

struct tenant_standing *router_tenant_get(struct router_state *s, struct span tenant, const char *provider)
{
    char room[KEY_MOST];
    int n = snprintf(room, sizeof(room), "%.*s/%s", (int)tenant.len, tenant.ptr, provider);
    ENSURE(n > 0 && n < KEY_MOST);
    struct span key = span_of(room, (size_t)n);
    struct tenant_standing *t = map_get(&s->tenants, key);
    if (t) {
        t->kept.gone = false;
        return t;
    }
    t = calloc(1, sizeof(*t));
    ENSURE(t);
    router_kept_init(&t->kept, KEPT_TENANT);
    t->kept.seen_day = s->day;
    t->tenant = strndup(tenant.ptr, tenant.len);
    t->provider = strdup(provider);
    ENSURE(t->tenant && t->provider);
    map_put(&s->tenants, key, t);
    return t;
}

struct tenant_standing *router_tenant_find(const struct router_state *s, struct span tenant,
                                           struct span provider)
{
    char room[KEY_MOST];
    int n = snprintf(room, sizeof(room), "%.*s/%.*s", (int)tenant.len, tenant.ptr, (int)provider.len,
                     provider.ptr);
    return n > 0 && n < KEY_MOST ? map_get(&s->tenants, span_of(room, (size_t)n)) : NULL;
}

struct crowd *router_crowd_get(struct router_state *s, const char *provider)
{
    struct crowd *c = map_get(&s->crowds, span_str(provider));
    if (c)
        return c;
    c = calloc(1, sizeof(*c));
    ENSURE(c);
    map_put(&s->crowds, span_str(provider), c);
    return c;
}

static void standing_free(struct standing *st)
{
    list_remove(&st->kept.dirty);
    list_remove(&st->kept.flight);
    free(st->source);
    free(st->provider);
    free(st->schedule_name);
    free(st->pace);
    free(st->why);
    free(st->mark);
    free(st);
}

static void tenant_free(struct tenant_standing *t)
{
    list_remove(&t->kept.dirty);
    list_remove(&t->kept.flight);
    free(t->tenant);
    free(t->provider);
    free(t->pace);
    free(t);
}

void router_standings_free(struct router_state *s)
{
    size_t at = 0;
    struct span key;
    void *value;
    while (map_next(&s->standings, &at, &key, &value))
        standing_free(value);
    for (at = 0; map_next(&s->tenants, &at, &key, &value);)
        tenant_free(value);
    for (at = 0; map_next(&s->crowds, &at, &key, &value);)
        free(value);
    map_fini(&s->standings);
    map_fini(&s->tenants);
    map_fini(&s->crowds);
}

/* Its tombstone is durable. */
void router_kept_drop(struct router_state *s, struct kept *k)
{
    char room[KEY_MOST];
    ENSURE(k->kind != KEPT_OPENED);
    if (k->kind == KEPT_PAIR) {
        struct standing *st = CONTAINER_OF(k, struct standing, kept);
        map_remove(&s->standings, key_of(st->source, span_str(st->provider), room));
        standing_free(st);
    } else {
        struct tenant_standing *t = CONTAINER_OF(k, struct tenant_standing, kept);
        map_remove(&s->tenants, key_of(t->tenant, span_str(t->provider), room));
        router_tenant_pace_free(s, t);
        tenant_free(t);
    }
}

/* ---- caps ---- */

uint64_t router_standing_hour_used(const struct standing *st, uint64_t wall_ms)
{
    if (wall_ms / HOUR_MS > st->hour)
        return 0;
    return st->warmup.used > st->hour_from ? st->warmup.used - st->hour_from : 0;
}

static uint64_t grant_of(uint64_t cap)
{
    uint64_t share = cap / 100;
    return share < 1 ? 1 : share < GRANT_MOST ? share : GRANT_MOST;
}

void router_standing_ask(struct router_state *s, struct standing *st)
{
    if (!st->capped || !st->configured || st->elsewhere || !s->day || st->warmup.day != s->day)
        return;
    uint64_t grant = grant_of(st->cap), ahead = st->asked > st->warmup.used ? st->asked - st->warmup.used : 0;
    if (st->asked >= st->cap || ahead * 2 > grant)
        return;
    uint64_t from = st->asked > st->warmup.used ? st->asked : st->warmup.used;
    st->asked = from + grant < st->cap ? from + grant : st->cap;
    router_keep(s, &st->kept, true);
}

void router_standing_spend(struct router_state *s, struct standing *st, uint64_t now_us)
{
    uint64_t hour = router_wall_ms(s, now_us) / HOUR_MS;
    if (hour > st->hour) {
        st->hour = hour;
        st->hour_from = st->warmup.used;
    }
    st->warmup.used++;
    st->kept.seen_day = s->day;
    if (st->capped)
        router_standing_ask(s, st);
    router_keep(s, &st->kept, false);
}

/* Not soon after midnight: it may have been counted on the day before. */
void router_standing_unspend(const struct router_state *s, struct standing *st)
{
    uint64_t of_day = router_wall_ms(s, s->latest_us) % (DAY_HOURS * (uint64_t)HOUR_MS);
    if (of_day > HOUR_MS / 2 && st->warmup.used > st->hour_from)
        st->warmup.used--;
}

void router_standing_roll(struct router_state *s, struct standing *st)
{
    struct warmup *w = &st->warmup;
    if (s->day + 1 < w->day) { /* the clock was wrong when it was written: what was used stays used */
        w->day = s->day;
        st->hour = (uint64_t)s->day * DAY_HOURS;
        router_keep(s, &st->kept, false);
    }
    if (w->day < s->day) {
        warmup_roll(w, st->schedule, s->day);
        st->granted = st->asked = 0;
        st->hour_from = 0;
        router_standing_derive(st);
        if (w->last_used_day)
            router_keep(s, &st->kept, false);
    }
    router_standing_ask(s, st);
}

void router_standing_plan(struct standing *st, uint64_t wall_ms)
{
    uint64_t minutes = DAY_HOURS * 60 - wall_ms / (HOUR_MS / 60) % (DAY_HOURS * 60);
    st->rest = st->capped ? st->cap * minutes / (DAY_HOURS * 60) : 0;
}

int32_t router_slot_weight(const struct router_config *c, const struct router_lane *l, int slot)
{
    const struct standing *st = l->standings[slot];
    uint64_t weight = (uint64_t)c->sources[l->sources[slot]].weight * st->score;
    if (st->capped) {
        uint64_t left = st->warmup.used < st->cap ? st->cap - st->warmup.used : 0;
        uint64_t rest = st->rest ? st->rest : st->cap;
        weight = left < rest ? weight * left / rest : weight;
    }
    return weight ? (int32_t)weight : 1;
}
