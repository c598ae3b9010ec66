/* A changed configuration over live state: what still exists, by name, keeps its counts. */
#include <stdlib.h>

#include "lib/base/err.h"
#include "router/state_private.h"

/* Slots of the new lane to slots of the old one, -1 for what is new. */
struct mapping {
    int from[ROUTER_LANE_SOURCES_MOST];
    int *sources;
    int n;
};

static void match(const struct router_config *old, const struct router_config *new,
                  const struct router_lane *l, struct mapping *m)
{
    for (int i = 0; i < m->n; i++) {
        const char *name = new->sources[m->sources[i]].name;
        m->from[i] = -1;
        for (int k = 0; k < l->n; k++)
            if (strcmp(old->sources[l->sources[k]].name, name) == 0)
                m->from[i] = k;
    }
}

/* A bucket that a slower rate had set far ahead is not farther than empty by the new one. */
static uint64_t at_most_empty(const struct bucket_rule *r, uint64_t full_at, uint64_t now_us)
{
    uint64_t most = (now_us << BUCKET_SHIFT) + r->slack + r->step;
    return r->step && full_at > most ? most : full_at;
}

static void move_pairs(const struct router_state *s, struct router_scope *scope, const struct mapping *m)
{
    struct pair *pairs = calloc((size_t)(unsigned)m->n + 1, sizeof(*pairs));
    ENSURE(pairs);
    for (int i = 0; i < m->n; i++) {
        if (m->from[i] < 0)
            continue;
        pairs[i] = scope->pairs[m->from[i]];
        scope->pairs[m->from[i]].pace = NULL;
        scope->pairs[m->from[i]].opened = NULL;
        pairs[i].full_at =
            at_most_empty(&s->rules[scope->lane->provider_index], pairs[i].full_at, s->latest_us);
    }
    for (int i = 0; i < scope->lane->n; i++) {
        free(scope->pairs[i].pace);
        router_opened_unbind(&scope->pairs[i]);
    }
    free(scope->pairs);
    scope->pairs = pairs;
    memset(scope->able, 0, sizeof(scope->able)); /* slots have changed */
}

static void move_lane(struct router_state *s, struct router_lane *l, const struct router_config *old)
{
    struct mapping m;
    l->provider_index = router_provider_find(s->config, span_str(l->provider));
    m.sources = router_lane_sources(s->config, l, &m.n);
    match(old, s->config, l, &m);
    int32_t *seed = malloc(sizeof(*seed) * ((size_t)(unsigned)m.n + 1));
    ENSURE(seed);
    for (int i = 0; i < m.n; i++)
        seed[i] = m.from[i] >= 0 ? l->seed[m.from[i]] : 0;
    LIST_FOREACH(it, &l->scopes)
    move_pairs(s, CONTAINER_OF(it, struct router_scope, in_lane), &m);
    free(l->seed);
    free(l->sources);
    l->seed = seed;
    l->sources = m.sources;
    l->n = m.n;
    router_lane_learned(s, l);
}

static void move_totals(struct router_state *s, const struct router_config *old)
{
    int n = s->config->n_providers;
    struct total *totals = calloc((size_t)(unsigned)n + 1, sizeof(*totals));
    ENSURE(totals);
    for (int i = 0; i < n; i++) {
        int from = router_provider_find(old, span_str(s->config->providers[i].name));
        if (from < 0)
            continue;
        totals[i].full_at = at_most_empty(&s->rules[i], s->totals[from].full_at, s->latest_us);
    }
    free(s->totals);
    s->totals = totals;
}

/* Connections of all sources together are those of the pairs that are left. */
static void recount_lane(struct router_state *s, const struct router_lane *l)
{
    LIST_FOREACH(it, &l->scopes)
    for (int i = 0; i < l->n; i++)
        s->totals[l->provider_index].connections +=
            CONTAINER_OF(it, struct router_scope, in_lane)->pairs[i].connections;
}

void router_state_configure(struct router_state *s, const struct router_config *config)
{
    const struct router_config *old = s->config;
    size_t at = 0;
    struct span key;
    void *value;
    s->config = config;
    free(s->rules);
    s->rules = router_rules_new(config, s->started_us);
    move_totals(s, old);
    router_standings_configure(s);
    while (map_next(&s->lanes, &at, &key, &value)) {
        move_lane(s, value, old);
        recount_lane(s, value);
    }
    router_opened_configure(s);
    s->version++;
}
