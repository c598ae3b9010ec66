/* Lanes, scopes and flows: made at first use, given up when empty, remapped when the configuration changes.
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "relay/delivery/lane_pairs.h"
#include "relay/metrics_table.h"
#include "router/pair.h"

static struct metric_cell *cell(struct lane *l, enum metric_row row)
{
    const char *labels[] = {l->provider, l->pool};
    return metrics_cell(l->owner->delivery->shard->node->metrics, row, labels);
}

static void lane_index(struct lane *l)
{
    const struct router_config *router = &l->owner->settings->router;
    l->pool_index = router_pool_find(router, span_str(l->pool));
    l->provider_index = router_provider_find(router, span_str(l->provider));
    l->home = lanes_partition(l->owner->delivery->shard->node->lanes, l->pool, l->provider, l->shard);
    lane_pairs_tell(l);
}

struct lane *lane_get(struct owner *o, const char *pool, const char *provider, uint32_t shard)
{
    char name[512];
    int n = snprintf(name, sizeof(name), "%s/%s/%u", pool, provider, shard);
    struct span key = span_of(name, n < (int)sizeof(name) ? (size_t)n : sizeof(name) - 1);
    struct lane *l = map_get(&o->lanes, key);
    if (l)
        return l;
    l = calloc(1, sizeof(*l));
    ENSURE(l);
    l->owner = o;
    l->pool = strdup(pool);
    l->provider = strdup(provider);
    ENSURE(l->pool && l->provider);
    l->shard = shard;
    l->home = -1;
    list_init(&l->want_room);
    lane_index(l);
    l->delivered = cell(l, M_DELIVERED);
    l->deferred = cell(l, M_DEFERRED);
    l->bounced = cell(l, M_BOUNCED);
    l->expired = cell(l, M_EXPIRED);
    const char *by_provider[] = {provider};
    l->seconds = metrics_cell(o->delivery->shard->node->metrics, M_DELIVERY_SECONDS, by_provider);
    map_put(&o->lanes, key, l);
    return l;
}

bool lane_has_left(const struct lane *l)
{
    if (l->pool_index >= 0 && l->shard >= l->owner->settings->router.pools[l->pool_index].shards)
        return true; /* the pool has fewer shards now */
    if (l->home < 0 || l->home == (int)l->owner->number)
        return false;
    /* It may have come back by a table that this thread was not told of yet: reroute asks that one. */
    return lanes_partition(l->owner->delivery->shard->node->lanes, l->pool, l->provider, l->shard) !=
           (int)l->owner->number;
}

void lane_memory_freed(struct lane *l)
{
    struct list *node = list_pop_front(&l->want_room);
    if (node)
        flow_enter_ring(CONTAINER_OF(node, struct flow, retry_node));
}

/* ---- scopes ---- */

static void run_deferred(struct loop_defer *d)
{
    scope_run(CONTAINER_OF(d, struct scope, run));
}

static void warm_timer_fired(struct loop_timer *t)
{
    scope_wake(CONTAINER_OF(t, struct scope, warm_timer));
}

static void timer_fired(struct loop_timer *t)
{
    struct scope *s = CONTAINER_OF(t, struct scope, timer);
    s->blocked = false;
    scope_run(s);
}

static void scope_limits(struct scope *s)
{
    struct lane *l = s->lane;
    if (!s->limits && l->pool_index >= 0 && l->provider_index >= 0)
        s->limits =
            router_scope_ref(l->owner->router, l->pool_index, l->provider_index, l->shard, span_str(s->site));
    if (router_write_wanted(l->owner->router, ROUTER_WRITE_DUE, clock_wall_ms()))
        l->owner->events.want_flush(l->owner); /* the first grants of its pairs */
}

struct scope *scope_get(struct lane *l, const char *site)
{
    struct scope *s = map_get(&l->scopes, span_str(site));
    if (s) {
        scope_limits(s);
        return s;
    }
    s = calloc(1, sizeof(*s));
    ENSURE(s);
    s->lane = l;
    s->site = strdup(site);
    ENSURE(s->site);
    list_init(&s->ring);
    list_init(&s->resting);
    list_init(&s->idle);
    list_init(&s->starved_node);
    loop_timer_init(&s->timer, l->owner->delivery->shard->loop, timer_fired);
    loop_timer_init(&s->warm_timer, l->owner->delivery->shard->loop, warm_timer_fired);
    scope_limits(s);
    map_put(&l->scopes, span_str(site), s);
    return s;
}

void scope_wake(struct scope *s)
{
    s->blocked = false;
    loop_defer(s->lane->owner->delivery->shard->loop, &s->run, run_deferred);
}

/* ---- flows ---- */

bool scope_is_out(const struct scope *s)
{
    const struct owner *o = s->lane->owner;
    return s->limits &&
           router_scope_outage(o->router, s->limits, s->cause, loop_now_us(o->delivery->shard->loop));
}

enum router_verdict flow_verdict(const struct flow *f)
{
    return f->paused ? ROUTER_TENANT : f->scope->cause;
}

const char *flow_cause(const struct flow *f)
{
    enum router_verdict v = flow_verdict(f);
    return router_verdict_text(v == ROUTER_CHOSEN ? ROUTER_CONNECTIONS : v);
}

const char *sub_cause(const struct sub *s)
{
    return s->state == SUB_ASIDE ? router_verdict_text(ROUTER_WARMING) : flow_cause(s->flow);
}

static void pause_over(struct loop_timer *t)
{
    flow_unpause(CONTAINER_OF(t, struct flow, pause));
}

struct flow *flow_get(struct scope *s, const char *tenant)
{
    struct flow *f = map_get(&s->flows, span_str(tenant));
    if (f)
        return f;
    f = calloc(1, sizeof(*f));
    ENSURE(f);
    f->scope = s;
    f->waits = lane_waits(s->lane, tenant);
    f->tenant = strdup(tenant);
    ENSURE(f->tenant);
    list_init(&f->ring_node);
    list_init(&f->retry_node);
    list_init(&f->ready);
    list_init(&f->parked);
    list_init(&f->aside);
    loop_timer_init(&f->pause, s->lane->owner->delivery->shard->loop, pause_over);
    map_put(&s->flows, span_str(tenant), f);
    return f;
}

void flow_enter_ring(struct flow *f)
{
    list_remove(&f->retry_node);
    if (f->paused)
        return; /* its timer brings it back */
    if (f->resting)
        list_remove(&f->ring_node);
    f->resting = false;
    if (list_empty(&f->ring_node))
        list_push_back(&f->scope->ring, &f->ring_node);
    if (!f->scope->running && !f->scope->blocked)
        scope_wake(f->scope);
}

void flow_pause(struct flow *f, uint64_t until_us)
{
    uint64_t now = loop_now_us(f->scope->lane->owner->delivery->shard->loop);
    list_remove(&f->ring_node);
    f->resting = false;
    f->paused = true;
    loop_timer_start(&f->pause, until_us > now ? (until_us - now + 999) / 1000 : 1);
    flow_shed(f);
}

void flow_unpause(struct flow *f)
{
    loop_timer_stop(&f->pause);
    f->paused = false;
    if (f->n_ready || f->n_aside || f->disk)
        flow_enter_ring(f);
}

void flow_room_freed(struct flow *f)
{
    if (f->disk && !f->n_ready && !list_empty(&f->retry_node))
        flow_enter_ring(f);
}

static void flow_free(struct flow *f)
{
    list_remove(&f->ring_node);
    list_remove(&f->retry_node);
    loop_timer_stop(&f->pause);
    free(f->tenant);
    free(f);
}

static void scope_free(struct scope *s)
{
    struct owner *o = s->lane->owner;
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(&s->flows, &pos, &key, &value))
        flow_free(value);
    map_fini(&s->flows);
    loop_timer_stop(&s->timer);
    loop_timer_stop(&s->warm_timer);
    loop_defer_cancel(o->delivery->shard->loop, &s->run);
    list_remove(&s->starved_node);
    if (s->limits)
        router_scope_unref(o->router, s->limits);
    free(s->site);
    free(s);
}

static bool flows_empty(const struct scope *s)
{
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(&s->flows, &pos, &key, &value)) {
        const struct flow *f = value;
        if (f->in_memory || f->n_loading || f->disk || f->n_rows)
            return false;
    }
    return true;
}

void scope_free_if_idle(struct scope *s)
{
    if (s->n_links || s->site[0] == '\0' || !flows_empty(s))
        return;
    map_remove(&s->lane->scopes, span_str(s->site));
    scope_free(s);
}

/* ---- all of them ---- */

static void lane_free(struct lane *l)
{
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(&l->scopes, &pos, &key, &value))
        scope_free(value);
    map_fini(&l->scopes);
    pos = 0;
    while (map_next(&l->waits, &pos, &key, &value))
        free(value);
    map_fini(&l->waits);
    free(l->pool);
    free(l->provider);
    free(l);
}

void owner_lanes_free(struct owner *o)
{
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(&o->lanes, &pos, &key, &value))
        lane_free(value);
    map_fini(&o->lanes);
}

void owner_lanes_reconfigure(struct owner *o)
{
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(&o->lanes, &pos, &key, &value)) {
        struct lane *l = value;
        lane_index(l);
        size_t at = 0;
        void *scope;
        while (map_next(&l->scopes, &at, &key, &scope)) {
            scope_limits(scope);
            scope_wake(scope);
        }
    }
}
