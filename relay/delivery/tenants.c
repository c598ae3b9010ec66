/* Decisions about tenants: read from the control log, applied to routers and to what waits. */
#include "relay/delivery/tenants.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/codec.h"

enum { KEY_ROOM = 160 };

struct tenants {
    uint64_t next;  /* of control */
    struct map map; /* "tenant/provider" -> struct decision */
};

static struct span key_of(struct span tenant, struct span provider, char room[KEY_ROOM])
{
    int n =
        snprintf(room, KEY_ROOM, "%.*s/%.*s", (int)tenant.len, tenant.ptr, (int)provider.len, provider.ptr);
    return span_of(room, n < 0 ? 0 : n < KEY_ROOM ? (size_t)n : KEY_ROOM - 1);
}

struct tenants *tenants_new(void)
{
    struct tenants *t = calloc(1, sizeof(*t));
    ENSURE(t);
    return t;
}

static void decision_free(struct decision *d)
{
    if (!d)
        return;
    arena_fini(&d->arena);
    free(d);
}

void tenants_free(struct tenants *t)
{
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(&t->map, &pos, &key, &value))
        decision_free(value);
    map_fini(&t->map);
    free(t);
}

uint64_t tenants_followed(const struct delivery *d)
{
    return d->tenants->next;
}

struct decision *tenants_find(const struct delivery *d, struct span tenant, struct span provider)
{
    char room[KEY_ROOM];
    return d->tenants->map.count ? map_get(&d->tenants->map, key_of(tenant, provider, room)) : NULL;
}

struct decision *tenants_next(const struct delivery *d, size_t *pos)
{
    struct span key;
    void *value;
    return map_next(&d->tenants->map, pos, &key, &value) ? value : NULL;
}

const struct settings_quarantine *tenants_settings(const struct owner *o, const char *tenant)
{
    const struct settings_tenant *t = map_get(&o->tenants, span_str(tenant));
    return t ? &t->quarantine : &o->settings->quarantine;
}

/* ---- where its mail goes ---- */

enum tenant_verdict tenants_holds(const struct decision *d, const struct settings_quarantine *s)
{
    if (!d || d->d->action == REMUDA__TENANT_ACTION__TENANT_FINE)
        return TENANT_FINE;
    return d->d->action == REMUDA__TENANT_ACTION__TENANT_QUARANTINE && s->pool >= 0 ? TENANT_QUARANTINE
                                                                                    : TENANT_SLOW;
}

static enum tenant_verdict holds(const struct owner *o, const struct decision *d)
{
    return d ? tenants_holds(d, tenants_settings(o, d->d->tenant)) : TENANT_FINE;
}

static const char *bound_pool(const struct owner *o, const char *tenant, const char *provider)
{
    const struct decision *d = tenants_find(o->delivery, span_str(tenant), span_str(provider));
    if (holds(o, d) != TENANT_QUARANTINE)
        return NULL;
    return o->settings->router.pools[tenants_settings(o, tenant)->pool].name;
}

const char *tenants_pool(const struct sub *s)
{
    return bound_pool(s->owner, s->message->record->tenant, s->lane->provider);
}

static const char *own_pool(const struct lane *l, const char *tenant)
{
    const struct owner *o = l->owner;
    const struct settings_tenant *t = map_get(&o->tenants, span_str(tenant));
    const struct decision *d = tenants_find(o->delivery, span_str(tenant), span_str(l->provider));
    if (!t || !t->n_pools || l->pool_index < 0 || l->pool_index != t->quarantine.pool || !d ||
        holds(o, d) == TENANT_QUARANTINE)
        return NULL;
    for (int i = 0; i < t->n_pools; i++)
        if (t->pools[i] == l->pool_index)
            return NULL;
    return o->settings->router.pools[t->pools[0]].name;
}

const char *tenants_pool_back(const struct sub *s)
{
    return own_pool(s->lane, s->message->record->tenant);
}

/* ---- what waits ---- */

static bool must_leave(const struct flow *f)
{
    const struct lane *l = f->scope->lane;
    const char *pool = bound_pool(l->owner, f->tenant, l->provider);
    if (!pool)
        pool = own_pool(l, f->tenant);
    return pool && strcmp(pool, l->pool) != 0;
}

/* True when something of it may still wait there. */
static bool move_out(struct flow *f)
{
    if (!must_leave(f))
        return false;
    for (uint32_t n = f->n_ready; n > 0 && f->n_ready; n--)
        place_begin(CONTAINER_OF(f->ready.next, struct sub, node));
    for (uint32_t n = f->n_aside; n > 0 && f->n_aside; n--)
        place_begin(CONTAINER_OF(f->aside.next, struct sub, node));
    if (f->disk)
        (void)flow_refill(f);
    return f->n_ready || f->n_aside || f->disk || f->n_loading;
}

static bool each_flow(struct owner *o, bool (*act)(struct flow *f))
{
    size_t pos = 0, at, i;
    struct span key;
    void *lane, *scope, *flow;
    bool any = false;
    while (map_next(&o->lanes, &pos, &key, &lane))
        for (at = 0; map_next(&((struct lane *)lane)->scopes, &at, &key, &scope);)
            for (i = 0; map_next(&((struct scope *)scope)->flows, &i, &key, &flow);)
                any = act(flow) || any;
    return any;
}

static bool wake(struct flow *f)
{
    if (f->paused)
        flow_unpause(f);
    return false;
}

/* A move may make lanes and flows: those of the lanes that are there are looked at, one lane after the other.
 */
static bool move_out_of_all(struct owner *o)
{
    size_t n = 0, pos = 0, all = o->lanes.count, at, i;
    struct span key;
    void *value, *scope, *flow;
    bool any = false;
    struct lane **lanes = calloc(all + 1, sizeof(*lanes));
    ENSURE(lanes);
    while (map_next(&o->lanes, &pos, &key, &value))
        lanes[n++] = value;
    for (size_t k = 0; k < n; k++)
        for (at = 0; map_next(&lanes[k]->scopes, &at, &key, &scope);)
            for (i = 0; map_next(&((struct scope *)scope)->flows, &i, &key, &flow);)
                any = move_out(flow) || any;
    free(lanes);
    return any;
}

/* ---- following ---- */

static void apply(struct owner *o, const struct decision *d)
{
    router_tenant_hold(o->router, span_str(d->d->tenant), span_str(d->d->provider),
                       holds(o, d) == TENANT_SLOW, loop_now_us(o->delivery->shard->loop));
    o->moving_out = true;
}

void tenants_apply_all(struct owner *o)
{
    size_t pos = 0;
    struct decision *d;
    while ((d = tenants_next(o->delivery, &pos)))
        apply(o, d);
    if (o->moving_out)
        each_flow(o, wake);
}

static struct tenant_counts counts_of(const Remuda__TenantEvidence *e)
{
    struct tenant_counts c = {0};
    c.day = (struct tenant_window){e->recipients, e->bad_mailbox, e->complaint, e->refused, e->deferred};
    if (e->week)
        c.week = (struct tenant_window){e->week->recipients, e->week->bad_mailbox, e->week->complaint,
                                        e->week->refused, 0};
    return c;
}

/* NULL: it is no decision. */
static struct decision *read_one(struct span value)
{
    struct decision *d = calloc(1, sizeof(*d));
    ENSURE(d);
    arena_init(&d->arena);
    const Remuda__Control *record = control_decode(&d->arena, value);
    d->d = record ? record->tenant : NULL;
    if (!d->d) {
        decision_free(d);
        return NULL;
    }
    if (d->d->ignored) {
        d->ignored = counts_of(d->d->ignored);
        d->ignored_s = d->d->ignored->time_ms / 1000;
    }
    return d;
}

static void take(struct delivery *d, uint64_t offset, struct decision *new)
{
    char room[KEY_ROOM];
    struct span key = key_of(span_str(new->d->tenant), span_str(new->d->provider), room);
    decision_free(map_put(&d->tenants->map, key, new));
    LIST_FOREACH(it, &d->owners)
    {
        struct owner *o = CONTAINER_OF(it, struct owner, node);
        if (o->lost)
            continue;
        apply(o, new);
        each_flow(o, wake);
        if (o->judge)
            judge_tell(o, offset, new->d);
    }
}

static bool is_appending(const struct delivery *d)
{
    LIST_FOREACH(it, &d->owners)
    if (judge_is_appending(CONTAINER_OF(it, struct owner, node)))
        return true;
    return false;
}

void tenants_follow(struct delivery *d)
{
    struct log_reader *r;
    struct span value;
    if (is_appending(d))
        return;
    if (log_read_begin(d->shard->node->log, &r) != RM_OK)
        return; /* the next tick tries again */
    for (uint64_t at = d->tenants->next; log_read_next(r, LOG_CONTROL, 0, &at, &value); at++) {
        struct decision *new = read_one(value);
        d->tenants->next = at + 1;
        if (new)
            take(d, at, new);
    }
    log_read_end(r);
}

void tenants_tick(struct owner *o)
{
    if (o->judge)
        judge_tick(o);
    if (o->moving_out && o->recovered && owner_may_start(o))
        o->moving_out = move_out_of_all(o);
}
