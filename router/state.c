/*
 * What decisions are made from: lanes, scopes and their pairs, provider-wide totals. Changes to them are made
 * here and only here; choosing is decide.c's.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/err.h"
#include "router/state_private.h"

enum { SWEEP = 4 }; /* idle scopes looked at for each one that comes or goes */

/* What a site's answers did to its pace is forgotten when nothing went there for so long. */
static const uint64_t site_pace_kept_us = 3600ull * 1000000;

static void *zeroed(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);
    ENSURE(p);
    return p;
}

static struct bucket_rule rule_of(const struct router_limits *limits, uint64_t started_us)
{
    if (limits->rate_count == 0 || limits->rate_per_us == 0)
        return (struct bucket_rule){0, 0, 0};
    uint64_t fiftieth = limits->rate_count / 50,
             moment = (uint64_t)limits->rate_count * 20000 / limits->rate_per_us;
    uint64_t burst = 1 + (moment < fiftieth ? moment : fiftieth);
    uint64_t refill = limits->rate_count - burst + 1;
    uint64_t step = ((limits->rate_per_us << BUCKET_SHIFT) + refill - 1) / refill;
    uint64_t slack = (burst - 1) * step;
    uint64_t floor = started_us ? (started_us << BUCKET_SHIFT) + slack + step : 0;
    return (struct bucket_rule){.step = step, .slack = slack, .floor = floor};
}

struct bucket_rule *router_rules_new(const struct router_config *c, uint64_t started_us)
{
    struct bucket_rule *rules = zeroed((size_t)c->n_providers, sizeof(*rules));
    for (int i = 0; i < c->n_providers; i++)
        rules[i] = rule_of(&c->providers[i].limits, started_us);
    return rules;
}

void router_state_started(struct router_state *s, uint64_t now_us)
{
    s->started_us = now_us;
    free(s->rules);
    s->rules = router_rules_new(s->config, now_us);
}

struct router_state *router_state_new(const struct router_config *config)
{
    struct router_state *s = zeroed(1, sizeof(*s));
    s->config = config;
    s->totals = zeroed((size_t)config->n_providers, sizeof(*s->totals));
    list_init(&s->idle);
    list_init(&s->urgent);
    list_init(&s->dirty);
    list_init(&s->flight);
    s->rules = router_rules_new(config, s->started_us);
    return s;
}

void router_state_epoch(struct router_state *s, uint64_t epoch)
{
    s->epoch = epoch;
    s->version = epoch << 32;
}

static void scope_free(struct router_state *s, struct router_scope *scope)
{
    for (int i = 0; i < scope->lane->n; i++) {
        free(scope->pairs[i].pace);
        router_opened_unbind(&scope->pairs[i]);
    }
    list_remove(&scope->in_lane);
    list_remove(&scope->idle);
    map_remove(&s->scopes, span_of(scope->key, scope->key_len));
    free(scope->pairs);
    free(scope);
}

static void lane_free(struct router_lane *l)
{
    free(l->pool);
    free(l->provider);
    free(l->sources);
    free(l->seed);
    free(l->standings);
    free(l->hashes);
    free(l);
}

void router_state_free(struct router_state *s)
{
    if (!s)
        return;
    size_t at = 0;
    struct span key;
    void *value;
    while (map_next(&s->lanes, &at, &key, &value)) {
        struct router_lane *l = value;
        while (!list_empty(&l->scopes))
            scope_free(s, CONTAINER_OF(l->scopes.next, struct router_scope, in_lane));
        lane_free(l);
    }
    map_fini(&s->lanes);
    map_fini(&s->scopes);
    router_standings_free(s);
    router_opened_free_all(s);
    free(s->rules);
    free(s->totals);
    free(s);
}

int *router_lane_sources(const struct router_config *c, const struct router_lane *l, int *n)
{
    int pool = router_pool_find(c, span_str(l->pool));
    *n = 0;
    if (pool < 0 || l->provider_index < 0)
        return zeroed(1, sizeof(int));
    const struct router_pool *p = &c->pools[pool];
    int *out = zeroed((size_t)p->n_members, sizeof(int));
    for (int i = 0; i < p->n_members && *n < ROUTER_LANE_SOURCES_MOST; i++)
        if (c->sources[p->members[i]].shard == l->shard)
            out[(*n)++] = p->members[i];
    return out;
}

void router_lane_learned(struct router_state *s, struct router_lane *l)
{
    const struct router_config *c = s->config;
    free(l->standings);
    free(l->hashes);
    l->standings = zeroed((size_t)l->n, sizeof(struct standing *));
    l->hashes = zeroed((size_t)l->n, sizeof(*l->hashes));
    for (int i = 0; i < l->n; i++) {
        const char *name = c->sources[l->sources[i]].name;
        l->hashes[i] = hash64(name, strlen(name));
        l->standings[i] = router_standing_get(s, name, l->provider);
        router_standing_bind(s, l->standings[i], l->sources[i], l->provider_index);
    }
    l->members = (uint32_t)hash64(l->hashes, (size_t)l->n * sizeof(*l->hashes));
    l->crowd = router_crowd_get(s, l->provider);
}

static struct router_lane *lane_get(struct router_state *s, int pool, int provider, uint32_t shard)
{
    const struct router_config *c = s->config;
    char key[160];
    const char *pool_name = c->pools[pool].name, *provider_name = c->providers[provider].name;
    int len = snprintf(key, sizeof(key), "%s/%s/%" PRIu32, pool_name, provider_name, shard);
    ENSURE(len > 0 && (size_t)len < sizeof(key));
    struct router_lane *l = map_get(&s->lanes, span_of(key, (size_t)len));
    if (l)
        return l;
    l = zeroed(1, sizeof(*l));
    l->pool = strdup(pool_name);
    l->provider = strdup(provider_name);
    ENSURE(l->pool && l->provider);
    l->shard = shard;
    l->provider_index = provider;
    l->sources = router_lane_sources(c, l, &l->n);
    l->seed = zeroed((size_t)l->n, sizeof(*l->seed));
    list_init(&l->scopes);
    router_lane_learned(s, l);
    map_put(&s->lanes, span_of(key, (size_t)len), l);
    return l;
}

/* Turns the lane's own rotation by one, among the enabled sources. */
static void turn_seed(const struct router_config *c, struct router_lane *l)
{
    int best = -1;
    int32_t sum = 0;
    for (int i = 0; i < l->n; i++) {
        const struct router_source *source = &c->sources[l->sources[i]];
        if (!source->enabled)
            continue;
        int32_t weight = router_slot_weight(c, l, i);
        l->seed[i] += weight;
        sum += weight;
        if (best < 0 || l->seed[i] > l->seed[best])
            best = i;
    }
    if (best >= 0)
        l->seed[best] -= sum;
}

static bool scope_is_blank(const struct router_scope *scope, uint64_t now_us)
{
    for (int i = 0; i < scope->lane->n; i++) {
        const struct pair *p = &scope->pairs[i];
        if (p->connections || p->full_at > now_us << BUCKET_SHIFT)
            return false;
        if (p->pace && (now_us < p->pace->increased_us + site_pace_kept_us || now_us < p->pace->until_us))
            return false;
    }
    return true;
}

/* Frees some of the unreferenced scopes whose state says nothing any more; the others go to the end. */
static void sweep(struct router_state *s)
{
    for (int i = 0; i < SWEEP && !list_empty(&s->idle); i++) {
        struct router_scope *scope = CONTAINER_OF(s->idle.next, struct router_scope, idle);
        list_remove(&scope->idle);
        if (scope_is_blank(scope, s->latest_us))
            scope_free(s, scope);
        else
            list_push_back(&s->idle, &scope->idle);
    }
}

static struct router_scope *scope_new(struct router_state *s, struct router_lane *l, struct span key)
{
    struct router_scope *scope = zeroed(1, sizeof(*scope) + key.len);
    scope->lane = l;
    scope->pairs = zeroed((size_t)l->n, sizeof(*scope->pairs));
    for (int i = 0; i < l->n; i++)
        scope->pairs[i].rotation = l->seed[i];
    turn_seed(s->config, l);
    memcpy(scope->key, key.ptr, key.len);
    scope->key_len = (uint32_t)key.len;
    list_push_back(&l->scopes, &scope->in_lane);
    list_init(&scope->idle);
    map_put(&s->scopes, key, scope);
    for (int i = 0; i < l->n; i++)
        router_opened_bind(s, scope, i);
    return scope;
}

struct router_scope *router_scope_ref(struct router_state *s, int pool, int provider, uint32_t shard,
                                      struct span site)
{
    char key[sizeof(void *) + ROUTER_SITE_MOST];
    struct router_lane *l = lane_get(s, pool, provider, shard);
    ENSURE(site.len < ROUTER_SITE_MOST);
    memcpy(key, &l, sizeof(l));
    if (site.len)
        memcpy(key + sizeof(l), site.ptr, site.len);
    struct span whole = span_of(key, sizeof(l) + site.len);
    struct router_scope *scope = map_get(&s->scopes, whole);
    if (!scope)
        scope = scope_new(s, l, whole);
    list_remove(&scope->idle);
    scope->refs++;
    sweep(s);
    return scope;
}

void router_scope_unref(struct router_state *s, struct router_scope *scope)
{
    ENSURE(scope->refs > 0);
    if (--scope->refs == 0)
        list_push_front(&s->idle, &scope->idle);
    sweep(s);
}

const int *router_scope_sources(const struct router_scope *scope, int *n)
{
    *n = scope->lane->n;
    return scope->lane->sources;
}

uint32_t router_scope_members(const struct router_scope *scope)
{
    return scope->lane->members;
}

int router_lane_slot(const struct router_lane *l, int source)
{
    for (int i = 0; i < l->n; i++)
        if (l->sources[i] == source)
            return i;
    return -1;
}

static void saw(struct router_state *s, uint64_t now_us)
{
    if (now_us > s->latest_us)
        s->latest_us = now_us;
    s->version++;
}

/* One attempt: a token of the pair's bucket, by its pace, and of the provider's where limits are total. */
static void take_token(struct router_state *s, struct router_scope *scope, int slot, uint64_t now_us)
{
    int provider = scope->lane->provider_index;
    const struct pace *pace = *router_pace_of(scope, slot);
    const struct bucket_rule *limit = &s->rules[provider];
    struct bucket_rule slower;
    struct pair *p = &scope->pairs[slot];
    if (s->config->providers[provider].limits.total) {
        struct total *t = &s->totals[provider];
        t->full_at = router_bucket_take(limit, t->full_at, now_us);
        if (!pace)
            return;
    }
    const struct bucket_rule *rule = router_slot_rule(limit, pace, &slower);
    p->full_at = router_bucket_take(rule, router_slot_full_at(scope, slot, rule), now_us);
}

/* How fast it really goes: what a first "slow down" is measured by. */
static void count_recent(struct pair *p, uint64_t now_us)
{
    uint32_t now_s = (uint32_t)(now_us / 1000000);
    if (p->recent_s != now_s)
        p->recent *= exp2f(-(float)(now_s - p->recent_s) / RECENT_HALF_LIFE_S);
    p->recent += 1;
    p->recent_s = now_s;
}

static void begin_attempt(struct router_state *s, struct router_scope *scope, int slot, uint64_t now_us)
{
    take_token(s, scope, slot, now_us);
    count_recent(&scope->pairs[slot], now_us);
    router_standing_spend(s, scope->lane->standings[slot], now_us);
}

/* Debts of many messages can be large where weights are. */
static int32_t within(int64_t credit)
{
    return credit > INT32_MAX ? INT32_MAX : credit < INT32_MIN ? INT32_MIN : (int32_t)credit;
}

static void turn_rotation(const struct router_state *s, struct router_scope *scope, const uint64_t *rotating,
                          int chosen)
{
    const struct router_lane *l = scope->lane;
    int64_t sum = 0;
    for (int i = 0; i < l->n; i++) {
        if (!(rotating[i / 64] >> (i % 64) & 1))
            continue;
        int32_t weight = router_slot_weight(s->config, l, i);
        scope->pairs[i].rotation = within(scope->pairs[i].rotation + (int64_t)weight);
        sum += weight;
    }
    scope->pairs[chosen].rotation = within(scope->pairs[chosen].rotation - sum);
}

void router_take(struct router_state *s, struct router_scope *scope, const struct router_decision *d,
                 uint64_t now_us)
{
    int slot = router_lane_slot(scope->lane, d->source);
    ENSURE(slot >= 0);
    int provider = scope->lane->provider_index;
    turn_rotation(s, scope, d->rotating, slot);
    memcpy(scope->able, d->able, sizeof(scope->able));
    begin_attempt(s, scope, slot, now_us);
    if (!d->reuse) {
        scope->pairs[slot].connections++;
        s->totals[provider].connections++;
        router_opened_count(router_opened_of(s, scope, slot), 1);
    }
    saw(s, now_us);
}

bool router_take_next(struct router_state *s, struct router_scope *scope, int source, uint64_t now_us)
{
    int slot = router_lane_slot(scope->lane, source);
    if (slot < 0 || !s->config->sources[source].enabled || !router_slot_may_continue(s, scope, slot, now_us))
        return false;
    scope->able[slot / 64] |= 1ull << (slot % 64);
    turn_rotation(s, scope, scope->able, slot);
    begin_attempt(s, scope, slot, now_us);
    saw(s, now_us);
    return true;
}

void router_give_back(struct router_state *s, struct router_scope *scope, int source)
{
    int slot = router_lane_slot(scope->lane, source);
    if (slot < 0)
        return;
    int provider = scope->lane->provider_index;
    uint64_t step = s->rules[provider].step;
    bool total = s->config->providers[provider].limits.total;
    uint64_t *full_at = total ? &s->totals[provider].full_at : &scope->pairs[slot].full_at;
    *full_at = *full_at > step ? *full_at - step : 0;
    router_standing_unspend(s, scope->lane->standings[slot]);
    s->version++;
}

void router_connection_closed(struct router_state *s, struct router_scope *scope, int source)
{
    int slot = router_lane_slot(scope->lane, source);
    if (slot < 0 || scope->pairs[slot].connections == 0)
        return;
    struct total *total = &s->totals[scope->lane->provider_index];
    scope->pairs[slot].connections--;
    ENSURE(total->connections > 0);
    total->connections--;
    router_opened_count(router_opened_of(s, scope, slot), -1);
    s->version++;
}

uint32_t router_connections(const struct router_state *s, const struct router_scope *scope, int source)
{
    (void)s;
    int slot = router_lane_slot(scope->lane, source);
    return slot < 0 ? 0 : scope->pairs[slot].connections;
}
