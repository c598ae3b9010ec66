/* The answer to `remuda why`: the counters of each lane as they are, and what its sources may send at most.
 * What that means is the admin's business (relay/api/admin_why.c). */
#include "relay/api/query.h"
#include "relay/delivery/delivery_private.h"
#include "relay/delivery/query_private.h"
#include "router/pair.h"

static json_t *causes_json(const struct waits *w, uint64_t now)
{
    json_t *list = json_array();
    for (int i = 0; i < WAIT_CAUSES; i++) {
        enum wait_cause c = (enum wait_cause)i;
        double lately = waits_seconds(w, c, WAIT_LATELY, now), hour = waits_seconds(w, c, WAIT_HOUR, now);
        if (w->cells[c].n || hour > 0)
            json_array_append_new(list,
                                  json_pack("{s:s, s:I, s:f, s:f}", "cause", wait_cause_text(c), "waiting",
                                            (json_int_t)w->cells[c].n, "lately", lately, "hour", hour));
    }
    return list;
}

static json_t *rates_json(const struct waits *w, const struct wait_count *c, uint64_t now)
{
    return json_pack("[f, f]", waits_rate(w, c, WAIT_LATELY, now), waits_rate(w, c, WAIT_HOUR, now));
}

static json_t *tenants_json(const struct lane *l, uint64_t now)
{
    json_t *list = json_array();
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(&l->waits, &pos, &key, &value)) {
        const struct waits *w = value;
        json_t *phases = json_object();
        for (int p = 0; p < WAIT_PHASES; p++)
            json_object_set_new(phases, wait_phase_text((enum wait_phase)p),
                                json_real(waits_phase_seconds(w, (enum wait_phase)p, now)));
        json_array_append_new(list,
                              json_pack("{s:s%, s:o, s:o, s:o, s:o}", "tenant", key.ptr, key.len, "causes",
                                        causes_json(w, now), "arrived", rates_json(w, &w->arrived, now),
                                        "gone", rates_json(w, &w->gone, now), "phases", phases));
    }
    return list;
}

/* What the sources of a lane may send at most. */
struct most {
    json_int_t sources, usable, uncapped;
    uint64_t cap_left, cap_day;
    double rate; /* a second */
    bool unlimited;
};

static double rate_of(const struct router_limits *limits, double pace)
{
    double rate = limits->rate_count ? (double)limits->rate_count * 1e6 / (double)limits->rate_per_us : 0;
    return pace > 0 && (rate <= 0 || pace < rate) ? pace : rate;
}

static void count_source(struct most *m, const struct owner *o, const struct lane *l, int source)
{
    const struct router_config *c = &o->settings->router;
    struct router_pair_view v = {.cap = UINT64_MAX};
    uint64_t now = loop_now_us(o->delivery->shard->loop);
    m->sources++;
    bool known =
        router_pair_find(o->router, span_str(c->sources[source].name), span_str(l->provider), now, &v);
    if (!c->sources[source].enabled || (known && v.suspended_until_ms))
        return;
    m->usable++;
    if (v.cap == UINT64_MAX)
        m->uncapped++;
    else {
        m->cap_day += v.cap;
        m->cap_left += v.cap > v.used ? v.cap - v.used : 0;
    }
    double rate = rate_of(&c->providers[l->provider_index].limits, v.rate);
    m->rate += rate;
    m->unlimited = m->unlimited || rate <= 0;
}

/* For other the limits are each site's: there is no rate of the lane. */
static json_t *limits_json(const struct owner *o, const struct lane *l)
{
    const struct router_config *c = &o->settings->router;
    struct most m = {0};
    if (l->pool_index < 0 || l->provider_index < 0)
        return json_object();
    const struct router_pool *pool = &c->pools[l->pool_index];
    const struct router_limits *limits = &c->providers[l->provider_index].limits;
    for (int i = 0; i < pool->n_members; i++)
        if (c->sources[pool->members[i]].shard == l->shard)
            count_source(&m, o, l, pool->members[i]);
    bool none = m.unlimited || l->provider_index == ROUTER_OTHER;
    double rate = none ? 0 : limits->total ? rate_of(limits, 0) : m.rate;
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:f}", "sources", m.sources, "usable", m.usable, "uncapped",
                     m.uncapped, "cap_left", (json_int_t)m.cap_left, "cap_day", (json_int_t)m.cap_day, "rate",
                     rate);
}

static json_t *lane_json(const struct owner *o, const struct lane *l, uint64_t now)
{
    return json_pack("{s:s, s:s, s:i, s:i, s:o, s:o}", "pool", l->pool, "provider", l->provider, "shard",
                     (int)l->shard, "partition", (int)o->number, "limits", limits_json(o, l), "tenants",
                     tenants_json(l, now));
}

static bool all_counted(const struct delivery *d)
{
    LIST_FOREACH(it, &d->owners)
    {
        const struct owner *o = CONTAINER_OF(it, struct owner, node);
        if (!o->rows_counted && !o->lost)
            return false;
    }
    return true;
}

static json_t *names_json(const struct delivery *d)
{
    const struct settings *s = d->shard->settings;
    json_t *providers = json_array(), *pools = json_array(), *tenants = json_array();
    for (int i = 0; i < s->router.n_providers; i++)
        json_array_append_new(providers, json_string(s->router.providers[i].name));
    for (int i = 0; i < s->router.n_pools; i++)
        json_array_append_new(pools, json_string(s->router.pools[i].name));
    for (int i = 0; i < s->n_tenants; i++)
        json_array_append_new(tenants, json_string(s->tenants[i].name));
    return json_pack("{s:b, s:o, s:o, s:o}", "counted", all_counted(d), "providers", providers, "pools",
                     pools, "tenants", tenants);
}

void query_waits(struct delivery *d, struct admin_query *q)
{
    uint64_t now = loop_now_us(d->shard->loop);
    q->answer = json_array();
    json_array_append_new(q->answer, names_json(d));
    LIST_FOREACH(it, &d->owners)
    {
        struct owner *o = CONTAINER_OF(it, struct owner, node);
        if (o->lost)
            continue;
        park_flows(o);
        size_t pos = 0;
        struct span key;
        void *lane;
        while (map_next(&o->lanes, &pos, &key, &lane))
            json_array_append_new(q->answer, lane_json(o, lane, now));
    }
    admin_query_done(q);
}
