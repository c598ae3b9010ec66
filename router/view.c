/* Looking at pairs and tenants, and what an operator does to them. */
#include <stdio.h>

#include "lib/base/err.h"
#include "router/reputation.h"
#include "router/state_private.h"

const struct router_config *router_state_config(const struct router_state *s)
{
    return s->config;
}

static void view_of(const struct router_state *s, const struct standing *st, uint64_t now_us,
                    struct router_pair_view *out)
{
    uint64_t wall_ms = router_wall_ms(s, now_us);
    *out = (struct router_pair_view){
        .source = st->source,
        .provider = st->provider,
        .schedule = st->schedule ? st->schedule->name : "none",
        .stage = st->warmup.stage,
        .stages = st->schedule ? (uint32_t)st->schedule->n_caps : 0,
        .cap = st->cap,
        .hour_cap = st->hour_cap,
        .used = st->warmup.day == s->day ? st->warmup.used : 0,
        .granted = st->granted,
        .days_left = warmup_days_left(st->schedule, &st->warmup),
        .score = reputation_score(&st->tally),
        .doubt = reputation_doubt(&st->tally),
        .suspended_until_ms = st->suspended_until_ms > wall_ms ? st->suspended_until_ms : 0,
        .alert_ms = st->alert_ms,
        .why = st->why ? st->why : "",
        .mark = st->mark ? st->mark : "",
        .counts = &st->tally,
        .configured = st->configured,
        .elsewhere = st->elsewhere,
    };
    if (!st->pace)
        return;
    out->rate = st->pace->rate;
    out->connections = (uint32_t)st->pace->connections;
    out->stopped_ms = st->pace->until_us > now_us ? (st->pace->until_us - now_us) / 1000 : 0;
}

bool router_pair_next(const struct router_state *s, size_t *pos, uint64_t now_us,
                      struct router_pair_view *out)
{
    struct span key;
    void *value;
    while (map_next(&s->standings, pos, &key, &value)) {
        if (((const struct standing *)value)->elsewhere)
            continue;
        view_of(s, value, now_us, out);
        return true;
    }
    return false;
}

bool router_pair_find(const struct router_state *s, struct span source, struct span provider, uint64_t now_us,
                      struct router_pair_view *out)
{
    const struct standing *st = router_standing_find(s, source, provider);
    if (st)
        view_of(s, st, now_us, out);
    return st != NULL;
}

/* Also one that nothing was sent by yet, if its names are configured. */
static struct standing *find_or_make(struct router_state *s, struct span source, struct span provider)
{
    int src = router_source_find(s->config, source), p = router_provider_find(s->config, provider);
    if (src < 0 || p < 0)
        return router_standing_find(s, source, provider);
    struct standing *st = router_standing_get(s, s->config->sources[src].name, s->config->providers[p].name);
    router_standing_bind(s, st, src, p);
    return st;
}

bool router_pair_mark_warm(struct router_state *s, struct span source, struct span provider,
                           struct span reason)
{
    struct standing *st = find_or_make(s, source, provider);
    if (!st || !st->schedule || st->schedule->n_caps == 0)
        return false;
    st->warmup.stage = (uint32_t)st->schedule->n_caps;
    router_text_set(&st->mark, reason);
    router_standing_derive(st);
    router_keep(s, &st->kept, true);
    s->version++;
    return true;
}

bool router_pair_clear(struct router_state *s, struct span source, struct span provider)
{
    struct standing *st = router_standing_find(s, source, provider);
    if (!st || (!st->alert_ms && !st->suspended_until_ms))
        return false;
    st->suspended_until_ms = st->alert_ms = 0;
    st->relapses = 0;
    router_text_set(&st->why, span_str(NULL));
    router_keep(s, &st->kept, true);
    s->version++;
    return true;
}

bool router_warms_up(const struct router_scope *scope, int source)
{
    int slot = router_lane_slot(scope->lane, source);
    return slot >= 0 && scope->lane->standings[slot]->capped;
}

struct span router_scope_provider(const struct router_scope *scope)
{
    return span_str(scope->lane->provider);
}

double router_scope_pace(const struct router_scope *scope, int source)
{
    int slot = router_lane_slot(scope->lane, source);
    const struct pace *pace = slot < 0 ? NULL : *router_pace_of(scope, slot);
    return pace ? pace->rate : 0;
}

/* ---- whose fault it is that a scope waits ---- */

static bool is_enabled(const struct router_state *s, const struct router_lane *l, int slot)
{
    return l->sources[slot] >= 0 && s->config->sources[l->sources[slot]].enabled &&
           !l->standings[slot]->elsewhere;
}

static bool all_meet_trouble(const struct router_state *s, const struct router_scope *scope)
{
    const struct router_lane *l = scope->lane;
    bool any = false;
    for (int i = 0; i < l->n; i++) {
        const struct pace *pace = *router_pace_of(scope, i);
        bool trouble = pace && pace_is_outage(pace);
        if (is_enabled(s, l, i) && !trouble && !l->standings[i]->capped)
            return false;
        any |= is_enabled(s, l, i) && trouble;
    }
    return any;
}

/* For each of them, by what happens to the others. */
static bool all_by_contrast(const struct router_state *s, const struct router_scope *scope, uint64_t now_s)
{
    const struct router_lane *l = scope->lane;
    struct contrast all = l->crowd->contrast;
    bool any = false;
    contrast_decay(&all, now_s);
    for (int i = 0; i < l->n; i++) {
        struct contrast own = l->standings[i]->contrast;
        if (!is_enabled(s, l, i))
            continue;
        contrast_decay(&own, now_s);
        if (contrast_judge(&all, &own, &own) != FAULT_PROVIDER)
            return false;
        any = true;
    }
    return any;
}

bool router_scope_outage(const struct router_state *s, const struct router_scope *scope,
                         enum router_verdict cause, uint64_t now_us)
{
    if (scope->lane->provider_index < 0)
        return false;
    if (all_meet_trouble(s, scope))
        return true;
    bool slowed = cause == ROUTER_BACKOFF || cause == ROUTER_RATE;
    return slowed && scope->lane->provider_index != ROUTER_OTHER &&
           all_by_contrast(s, scope, router_wall_ms(s, now_us) / 1000);
}
