/* The figures of a simulation as JSON: what `--json` prints, and what the tables for people are made of. */
#include <stdlib.h>

#include "lib/base/err.h"
#include "relay/simulate/simulate.h"

static json_t *number(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static void set(json_t *object, const char *key, uint64_t n)
{
    json_object_set_new(object, key, number(n));
}

/* [old, new] */
static void set_both(json_t *object, const char *key, const uint64_t both[SIDES])
{
    json_object_set_new(object, key, json_pack("[o,o]", number(both[SIDE_OLD]), number(both[SIDE_NEW])));
}

static json_t *times(const struct histogram *h)
{
    json_t *v = json_object();
    set(v, "messages", h->n);
    set(v, "median_ms", histogram_percentile(h, 50));
    set(v, "p95_ms", histogram_percentile(h, 95));
    set(v, "most_ms", h->most);
    return v;
}

static void set_fates(json_t *v, uint64_t fates[SIDES][FATES])
{
    static const char *const words[FATES] = {[FATE_WAITING] = "waiting",
                                             [FATE_DELIVERED] = "delivered",
                                             [FATE_BOUNCED] = "bounced",
                                             [FATE_EXPIRED] = "expired",
                                             [FATE_REFUSED] = "refused"};
    for (int f = 0; f < FATES; f++) {
        const uint64_t both[SIDES] = {fates[SIDE_OLD][f], fates[SIDE_NEW][f]};
        set_both(v, words[f], both);
    }
}

static int by_text(const void *a, const void *b)
{
    return strcmp(json_string_value(json_object_get(*(json_t *const *)a, "sort")),
                  json_string_value(json_object_get(*(json_t *const *)b, "sort")));
}

/* The list in the order of its members' "sort", which goes. */
static json_t *sorted(json_t *list)
{
    size_t n = json_array_size(list);
    json_t **all = calloc(n + 1, sizeof(*all)), *out = json_array();
    ENSURE(all);
    for (size_t i = 0; i < n; i++)
        all[i] = json_array_get(list, i);
    qsort(all, n, sizeof(*all), by_text);
    for (size_t i = 0; i < n; i++) {
        json_object_del(all[i], "sort");
        json_array_append(out, all[i]);
    }
    json_decref(list);
    free(all);
    return out;
}

static json_t *providers(const struct simulation *s)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < s->n_providers; i++) {
        struct provider_change *p = s->providers[i];
        if (!p)
            continue;
        json_t *v =
            json_pack("{s:s, s:s}", "sort", names_text(&s->names, i), "provider", names_text(&s->names, i));
        set(v, "messages", p->messages);
        set(v, "moved", p->moved);
        set(v, "changed", p->changed);
        set_fates(v, p->fates);
        set_both(v, "waited_ms", p->waited_ms);
        json_object_set_new(v, "took_old", times(&p->took[SIDE_OLD]));
        json_object_set_new(v, "took_new", times(&p->took[SIDE_NEW]));
        json_object_set_new(v, "later", times(&p->later));
        json_object_set_new(v, "sooner", times(&p->sooner));
        json_array_append_new(list, v);
    }
    return sorted(list);
}

static json_t *moves(const struct simulation *s)
{
    json_t *list = json_array();
    size_t at = 0;
    struct span key;
    void *value;
    while (map_next(&s->moves, &at, &key, &value)) {
        const struct move *m = value;
        char sort[400];
        const char *provider = names_text(&s->names, m->provider), *from = names_text(&s->names, m->from),
                   *to = names_text(&s->names, m->to);
        snprintf(sort, sizeof(sort), "%s\n%s\n%s", provider, from, to);
        json_t *v =
            json_pack("{s:s, s:s, s:s, s:s}", "sort", sort, "provider", provider, "from", from, "to", to);
        set(v, "messages", m->messages);
        json_array_append_new(list, v);
    }
    return sorted(list);
}

static const struct pair_use *find_use(const struct side *side, const struct pair_use *like)
{
    size_t at = 0;
    const struct pair_use *u;
    while ((u = side_next_pair(side, &at)) && (u->source != like->source || u->provider != like->provider))
        ;
    return u;
}

static json_t *pair(const struct simulation *s, const struct pair_use *before, const struct pair_use *after)
{
    static const struct pair_use none;
    const struct pair_use *any = before ? before : after, *o = before ? before : &none,
                          *n = after ? after : &none;
    char sort[300];
    const char *provider = names_text(&s->names, any->provider), *source = names_text(&s->names, any->source);
    snprintf(sort, sizeof(sort), "%s\n%s", provider, source);
    json_t *v = json_pack("{s:s, s:s, s:s}", "sort", sort, "provider", provider, "source", source);
    set_both(v, "attempts", (uint64_t[]){o->attempts, n->attempts});
    set_both(v, "delivered", (uint64_t[]){o->delivered, n->delivered});
    set_both(v, "deferred", (uint64_t[]){o->deferred, n->deferred});
    set_both(v, "bounced", (uint64_t[]){o->bounced, n->bounced});
    set_both(v, "cap_hours", (uint64_t[]){o->cap_hours, n->cap_hours});
    set_both(v, "cap_days", (uint64_t[]){o->cap_days, n->cap_days});
    return v;
}

static json_t *pairs(const struct simulation *s)
{
    json_t *list = json_array();
    size_t at = 0;
    const struct pair_use *u;
    while ((u = side_next_pair(s->sides[SIDE_OLD], &at)))
        json_array_append_new(list, pair(s, u, find_use(s->sides[SIDE_NEW], u)));
    for (at = 0; (u = side_next_pair(s->sides[SIDE_NEW], &at));)
        if (!find_use(s->sides[SIDE_OLD], u))
            json_array_append_new(list, pair(s, NULL, u));
    return sorted(list);
}

static json_t *tenants(const struct simulation *s)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < s->n_tenants; i++) {
        const struct tenant_change *t = s->tenants[i];
        if (!t)
            continue;
        const char *name = names_text(&s->names, i);
        json_t *v = json_pack("{s:s, s:s}", "sort", name, "tenant", name);
        set(v, "messages", t->messages);
        set(v, "moved", t->moved);
        set(v, "later", t->later);
        set(v, "changed", t->changed);
        set_both(v, "waited_ms", t->waited_ms);
        json_array_append_new(list, v);
    }
    return sorted(list);
}

static json_t *causes(const struct simulation *s)
{
    json_t *v = json_object();
    for (int c = ROUTER_CHOSEN + 1; c < ROUTER_VERDICTS; c++) {
        const uint64_t both[SIDES] = {side_held_ms(s->sides[SIDE_OLD], (enum router_verdict)c),
                                      side_held_ms(s->sides[SIDE_NEW], (enum router_verdict)c)};
        if (both[SIDE_OLD] || both[SIDE_NEW])
            set_both(v, router_verdict_text((enum router_verdict)c), both);
    }
    return v;
}

static void set_sides(json_t *v, const struct simulation *s, const char *key,
                      uint64_t (*figure)(const struct side *))
{
    const uint64_t both[SIDES] = {figure(s->sides[SIDE_OLD]), figure(s->sides[SIDE_NEW])};
    set_both(v, key, both);
}

json_t *simulate_json(const struct simulation *s)
{
    json_t *v = json_object();
    set(v, "events", s->events);
    set(v, "first_ms", s->first_ms);
    set(v, "last_ms", s->last_ms);
    set(v, "messages", s->replayed);
    set(v, "unrouted", s->unrouted);
    set(v, "days_later", (s->world.wall_ms - s->world.base_ms) / 86400000);
    set(v, "pairs_known", s->pairs_loaded);
    set(v, "pairs_refused", s->pairs_refused);
    set(v, "recorded", s->known);
    set(v, "as_recorded", s->as_recorded);
    set_sides(v, s, "attempts", side_attempts);
    set_sides(v, s, "drawn", side_drawn);
    set_sides(v, s, "overflowed", side_overflowed);
    set_sides(v, s, "quarantined", side_quarantined);
    json_object_set_new(v, "waited_ms", causes(s));
    json_object_set_new(v, "providers", providers(s));
    json_object_set_new(v, "moved", moves(s));
    json_object_set_new(v, "sources", pairs(s));
    json_object_set_new(v, "tenants", tenants(s));
    return v;
}
