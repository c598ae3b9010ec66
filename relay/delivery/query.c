/*
 * Answers to the admin listener about live state: what the lanes hold, and what the router would decide now.
 * `explain` runs the same router_decide as live sending, on the state as it is, and changes nothing.
 */
#include <stdlib.h>

#include "lib/smtp/address.h"
#include "relay/api/json.h"
#include "relay/api/query.h"
#include "relay/delivery/delivery_private.h"
#include "relay/delivery/query_private.h"
#include "relay/delivery/tenants.h"
#include "router/pair.h"

/* ---- lanes ---- */

static void count_scope(const struct scope *s, uint32_t *memory, uint32_t *in_hand)
{
    size_t pos = 0;
    struct span key;
    void *value;
    *memory = 0;
    *in_hand = 0;
    while (map_next(&s->flows, &pos, &key, &value)) {
        const struct flow *f = value;
        *memory += f->n_ready + f->n_aside;
        *in_hand += f->in_memory - f->n_ready - f->n_aside;
    }
}

static void add_scope(json_t *out, const struct lane *l, const struct scope *s)
{
    uint32_t memory, in_hand;
    count_scope(s, &memory, &in_hand);
    if (!memory && !in_hand && !s->n_links)
        return;
    json_array_append_new(out, json_pack("{s:s, s:s, s:i, s:i, s:s, s:i, s:i, s:i}", "pool", l->pool,
                                         "provider", l->provider, "shard", (int)l->shard, "partition",
                                         (int)l->owner->number, "scope", s->site, "memory", (int)memory,
                                         "in_hand", (int)in_hand, "connections", (int)s->n_links));
}

static void answer_lanes(struct delivery *d, struct admin_query *q)
{
    q->answer = json_array();
    LIST_FOREACH(it, &d->owners)
    {
        struct owner *o = CONTAINER_OF(it, struct owner, node);
        if (o->lost)
            continue;
        size_t pos = 0, at;
        struct span key;
        void *lane, *scope;
        while (map_next(&o->lanes, &pos, &key, &lane))
            for (at = 0; map_next(&((struct lane *)lane)->scopes, &at, &key, &scope);)
                add_scope(q->answer, lane, scope);
    }
    admin_query_done(q);
}

/* ---- explain ---- */

struct explain {
    struct admin_query *query;
    struct delivery *delivery;
    struct dest_waiter waiter;
    struct dest *dest;
    int tenant;
    char sender_domain[SMTP_DOMAIN_BUF];
};

struct owner *query_owner(struct delivery *d, int partition)
{
    LIST_FOREACH(it, &d->owners)
    {
        struct owner *o = CONTAINER_OF(it, struct owner, node);
        if ((int)o->number == partition && !o->lost)
            return o;
    }
    return NULL;
}

static uint32_t waiting_in(struct owner *o, const char *pool, const char *provider, uint32_t shard,
                           const char *site)
{
    struct lane *l = lane_get(o, pool, provider, shard);
    struct scope *s = map_get(&l->scopes, span_str(site));
    uint32_t memory = 0, in_hand = 0;
    if (s)
        count_scope(s, &memory, &in_hand);
    return memory;
}

static json_t *candidate_json(const struct owner *o, const struct router_scope *scope,
                              const struct router_candidate *c, const struct router_source *s)
{
    json_t *row =
        json_pack("{s:s, s:s, s:f, s:f, s:s, s:i}", "source", s->name, "address", s->address, "weight",
                  c->weight, "score", c->score, "verdict", router_verdict_text(c->verdict), "connections",
                  (int)router_connections(o->router, scope, c->source));
    struct router_pair_view v;
    if (!router_pair_find(o->router, span_str(s->name), router_scope_provider(scope),
                          loop_now_us(o->delivery->shard->loop), &v))
        return row;
    json_object_set_new(row, "cap", v.cap == UINT64_MAX ? json_null() : json_integer((json_int_t)v.cap));
    json_object_set_new(row, "used", json_integer((json_int_t)v.used));
    json_object_set_new(row, "pace", json_real(router_scope_pace(scope, c->source)));
    json_object_set_new(row, "why", json_string(v.suspended_until_ms ? v.why : ""));
    return row;
}

static json_t *candidates_json(const struct owner *o, const struct router_scope *scope,
                               const struct router_decision *d)
{
    json_t *list = json_array();
    for (int i = 0; i < d->n_candidates; i++) {
        const struct router_candidate *c = &d->candidates[i];
        const struct router_source *s = &o->settings->router.sources[c->source];
        json_array_append_new(list, candidate_json(o, scope, c, s));
    }
    return list;
}

static json_t *name_or_null(const struct owner *o, int source)
{
    return source < 0 ? json_null() : json_string(o->settings->router.sources[source].name);
}

static json_t *hosts_json(const struct dest *d)
{
    json_t *list = json_array();
    for (int i = 0; i < d->n_hosts; i++)
        json_array_append_new(list, json_string(d->hosts[i].name));
    return list;
}

/* What holds for the tenant at the provider, and what it means for a decision made now. */
static void apply_tenant(const struct explain *e, struct owner *o, struct router_decision *d, json_t *row)
{
    struct span tenant = span_str(o->settings->tenants[e->tenant].name),
                provider = span_str(e->dest->provider_name);
    const struct decision *held = tenants_find(e->delivery, tenant, provider);
    enum tenant_verdict verdict = tenants_holds(held, &o->settings->tenants[e->tenant].quarantine);
    double pace = router_tenant_pace(o->router, tenant, provider);
    uint64_t until;
    if (verdict != TENANT_FINE)
        json_object_set_new(row, "decided", json_tenant_decision(held->d));
    json_object_set_new(row, "tenant_state", json_string(tenant_verdict_text(verdict)));
    json_object_set_new(row, "tenant_pace", json_real(pace));
    if (router_tenant_may(o->router, tenant, provider, loop_now_us(e->delivery->shard->loop), &until))
        return;
    d->source = d->runner_up = -1;
    d->cause = ROUTER_TENANT;
    d->until_us = until;
}

static void explain_lane(struct explain *e, int rank, struct owner *o, int pool, uint32_t shard)
{
    const struct router_config *router = &o->settings->router;
    const char *pool_name = router->pools[pool].name;
    struct router_candidate shown[ROUTER_LANE_SOURCES_MOST];
    struct router_decision d = {.candidates = shown};
    struct router_scope *scope =
        router_scope_ref(o->router, pool, e->dest->provider, shard, span_str(e->dest->site));
    uint64_t now = loop_now_us(e->delivery->shard->loop);
    int unfit[ROUTER_LANE_SOURCES_MOST], cut_off[ROUTER_LANE_SOURCES_MOST];
    struct router_query q = {.now_us = now,
                             .sender = span_str(e->sender_domain),
                             .excluded = unfit,
                             .n_excluded = dispatch_unfit(o, scope, e->dest, unfit),
                             .cut_off = cut_off,
                             .n_cut_off = dispatch_cut_off(o, scope, cut_off)};
    router_decide(o->router, scope, &q, &d);
    json_t *row = json_pack("{s:i, s:s, s:s, s:s, s:i, s:i, s:s, s:o, s:b}", "rank", rank, "tenant",
                            o->settings->tenants[e->tenant].name, "pool", pool_name, "provider",
                            e->dest->provider_name, "shard", (int)shard, "partition", (int)o->number, "site",
                            e->dest->site, "hosts", hosts_json(e->dest), "route", e->dest->from_route);
    apply_tenant(e, o, &d, row);
    json_object_set_new(row, "source", name_or_null(o, d.source));
    json_object_set_new(row, "cause", json_string(router_verdict_text(d.cause)));
    json_object_set_new(row, "until_ms",
                        json_integer(d.until_us > now ? (json_int_t)(d.until_us - now) / 1000 : 0));
    json_object_set_new(row, "runner_up", name_or_null(o, d.runner_up));
    json_object_set_new(row, "state_version", json_integer((json_int_t)d.state_version));
    json_object_set_new(row, "waiting",
                        json_integer(waiting_in(o, pool_name, e->dest->provider_name, shard, e->dest->site)));
    json_object_set_new(row, "candidates", candidates_json(o, scope, &d));
    json_array_append_new(e->query->answer, row);
    router_scope_unref(o->router, scope);
}

static void explain_pool(struct explain *e, int rank, int pool)
{
    const struct shard *shard = e->delivery->shard;
    const struct router_config *router = &shard->settings->router;
    uint32_t at = lanes_pool_shard(router, pool, span_str(e->sender_domain), span_str(e->dest->domain));
    int partition = lanes_partition(shard->node->lanes, router->pools[pool].name, e->dest->provider_name, at);
    struct owner *o = query_owner(e->delivery, partition);
    if (o)
        explain_lane(e, rank, o, pool, at);
}

/* The tenant's pools in their order; in quarantine its quarantine pool alone. */
static void explain_pools(struct explain *e)
{
    const struct settings_tenant *t = &e->delivery->shard->settings->tenants[e->tenant];
    const struct decision *held =
        tenants_find(e->delivery, span_str(t->name), span_str(e->dest->provider_name));
    e->query->answer = json_array();
    if (tenants_holds(held, &t->quarantine) == TENANT_QUARANTINE)
        explain_pool(e, 0, t->quarantine.pool);
    else
        for (int i = 0; i < t->n_pools; i++)
            explain_pool(e, i, t->pools[i]);
}

static void explain_finish(struct explain *e)
{
    struct admin_query *q = e->query;
    if (e->dest->status == DEST_OK)
        explain_pools(e);
    else
        snprintf(q->error, sizeof(q->error), "the destination %s cannot be resolved: %s", e->dest->domain,
                 e->dest->trouble[0] ? e->dest->trouble : "DNS failed");
    dest_unref(e->dest);
    free(e);
    admin_query_done(q);
}

static void explain_ready(struct dest_waiter *w)
{
    explain_finish(CONTAINER_OF(w, struct explain, waiter));
}

static int find_tenant(const struct settings *s, const struct admin_query *q, struct span sender_domain)
{
    for (int i = 0; i < s->n_tenants; i++) {
        bool named = q->tenant[0] != '\0';
        if (named ? strcmp(s->tenants[i].name, q->tenant) == 0
                  : settings_tenant_may_send(&s->tenants[i], sender_domain))
            return i;
    }
    return -1;
}

/* NULL: *why says what does not parse. */
static struct explain *explain_new(struct delivery *d, struct admin_query *q)
{
    struct smtp_address from, to;
    char domain[SMTP_DOMAIN_BUF];
    if (smtp_address_parse(span_str(q->to), SMTP_ADDRESS_UTF8, &to) != SMTP_ADDRESS_OK ||
        smtp_domain_ascii(to.domain, domain) != RM_OK) {
        snprintf(q->error, sizeof(q->error), "the recipient does not parse as an address");
        return NULL;
    }
    struct explain *e = calloc(1, sizeof(*e));
    ENSURE(e);
    list_init(&e->waiter.node);
    if (q->from[0] && (smtp_address_parse(span_str(q->from), SMTP_ADDRESS_UTF8, &from) != SMTP_ADDRESS_OK ||
                       smtp_domain_ascii(from.domain, e->sender_domain) != RM_OK)) {
        snprintf(q->error, sizeof(q->error), "the sender does not parse as an address");
        free(e);
        return NULL;
    }
    e->tenant = find_tenant(d->shard->settings, q, span_str(e->sender_domain));
    if (e->tenant < 0) {
        snprintf(q->error, sizeof(q->error), "no tenant %s",
                 q->tenant[0] ? "of this name" : "may send from this domain");
        free(e);
        return NULL;
    }
    e->query = q;
    e->delivery = d;
    e->dest = dest_get(d->shard->dests, span_str(domain));
    return e;
}

static void answer_tenant(struct delivery *d, struct admin_query *q)
{
    const struct settings *s = d->shard->settings;
    q->answer = json_array();
    for (int i = 0; i < s->n_tenants; i++)
        if (strcmp(s->tenants[i].name, q->tenant) == 0)
            json_array_append_new(q->answer, json_string(q->tenant));
    admin_query_done(q);
}

void delivery_query_posted(struct admin_query *q)
{
    struct delivery *d = q->shard->delivery;
    switch (q->kind) {
    case ADMIN_QUERY_LANES:
        answer_lanes(d, q);
        return;
    case ADMIN_QUERY_WAITS:
        query_waits(d, q);
        return;
    case ADMIN_QUERY_PAIRS:
        query_pairs(d, q);
        return;
    case ADMIN_QUERY_MARK_WARM:
    case ADMIN_QUERY_CLEAR:
    case ADMIN_QUERY_IMPORT:
        query_change_pair(d, q);
        return;
    case ADMIN_QUERY_TENANT:
        answer_tenant(d, q);
        return;
    case ADMIN_QUERY_TENANTS:
        query_tenants(d, q);
        return;
    case ADMIN_QUERY_TENANT_LIFT:
    case ADMIN_QUERY_TENANT_KEEP:
        query_change_tenant(d, q);
        return;
    case ADMIN_QUERY_EXPLAIN:
        break;
    }
    struct explain *e = explain_new(d, q);
    if (!e) {
        admin_query_done(q);
    } else if (e->dest->status == DEST_PENDING) {
        e->waiter.ready = explain_ready;
        dest_wait(e->dest, &e->waiter);
    } else {
        explain_finish(e);
    }
}
