/* Where a message may go by its tenant: pools in order, quarantine, schedules of retries. */
#include "relay/simulate/side_private.h"

#include <stdlib.h>

#include "lib/base/err.h"

enum { POOLS_MOST = 31, ABSENT = 1 };

const struct settings_tenant *side_tenant(struct side *s, uint32_t tenant)
{
    struct span key = span_of((const char *)&tenant, sizeof(tenant));
    void *known = map_get(&s->tenants, key);
    if (known)
        return known == (void *)(uintptr_t)ABSENT ? NULL : known;
    const struct settings_tenant *found = NULL;
    for (int i = 0; i < s->settings->n_tenants; i++)
        if (strcmp(s->settings->tenants[i].name, names_text(s->w.names, tenant)) == 0)
            found = &s->settings->tenants[i];
    map_put(&s->tenants, key, found ? (void *)(uintptr_t)found : (void *)(uintptr_t)ABSENT);
    return found && found->n_pools ? found : NULL;
}

/* By the recorded name when the configuration has it; what was of no known provider is looked at anew. */
int side_provider(struct side *s, uint32_t provider, struct span domain, struct span mx_host)
{
    const struct router_config *c = &s->settings->router;
    struct span name = span_str(names_text(s->w.names, provider));
    struct span key = span_of((const char *)&provider, sizeof(provider));
    intptr_t known = (intptr_t)map_get(&s->providers, key);
    if (!known) {
        known = router_provider_find(c, name) + 2;
        map_put(&s->providers, key, (void *)known);
    }
    int found = (int)known - 2;
    if (found > ROUTER_OTHER)
        return found;
    char host[256];
    const char *hosts[] = {host};
    bool fits = mx_host.len > 0 && mx_host.len < sizeof(host);
    if (fits) {
        memcpy(host, mx_host.ptr, mx_host.len);
        host[mx_host.len] = '\0';
    }
    return router_classify(c, domain, hosts, fits);
}

const struct retry_schedule *side_schedule(struct side *s, const struct replayed *m, const struct passage *p)
{
    const struct settings_tenant *t = side_tenant(s, m->tenant);
    if (t && t->retry)
        return t->retry;
    const char *name = s->settings->router.providers[p->provider].retry;
    for (int i = 0; name && i < s->settings->n_retries; i++)
        if (strcmp(s->settings->retries[i].name, name) == 0)
            return &s->settings->retries[i];
    return retry_default();
}

/* ---- quarantine ---- */

struct verdict *side_verdict(struct side *s, uint32_t tenant, int provider)
{
    uint32_t parts[2] = {tenant, (uint32_t)provider};
    struct span key = span_of((const char *)parts, sizeof(parts));
    struct verdict *v = map_get(&s->verdicts, key);
    if (v)
        return v;
    v = calloc(1, sizeof(*v));
    ENSURE(v);
    v->tenant = tenant;
    v->provider = provider;
    map_put(&s->verdicts, key, v);
    return v;
}

void side_judge(struct side *s)
{
    struct router_state *state = router_virtual_state(s->router);
    size_t at = 0;
    struct span key;
    void *value;
    while (map_next(&s->verdicts, &at, &key, &value)) {
        struct verdict *v = value;
        const struct settings_tenant *t = side_tenant(s, v->tenant);
        struct span tenant = span_str(names_text(s->w.names, v->tenant));
        struct span provider = span_str(s->settings->router.providers[v->provider].name);
        const struct settings_quarantine *q = t ? &t->quarantine : &s->settings->quarantine;
        v->now = tenant_verdict(state, tenant, provider, &q->bounds, v->now, NULL);
        bool slow = v->now == TENANT_SLOW || (v->now == TENANT_QUARANTINE && q->pool < 0);
        router_tenant_hold(state, tenant, provider, slow, router_virtual_us(s->now_ms));
    }
}

static int quarantine_pool(struct side *s, uint32_t message)
{
    const struct replayed *m = side_message(s, message);
    const struct settings_tenant *t = side_tenant(s, m->tenant);
    if (!t || t->quarantine.pool < 0)
        return -1;
    int provider = m->passages[s->number].provider;
    return side_verdict(s, m->tenant, provider)->now == TENANT_QUARANTINE ? t->quarantine.pool : -1;
}

int side_pool(struct side *s, uint32_t message)
{
    const struct replayed *m = side_message(s, message);
    const struct passage *p = &m->passages[s->number];
    int pool = quarantine_pool(s, message);
    if (pool >= 0)
        return pool;
    const struct settings_tenant *t = side_tenant(s, m->tenant);
    return t && p->pool == t->quarantine.pool ? t->pools[0] : p->pool;
}

/* ---- the next pool: as reroute_next_pool (relay/delivery/reroute.c) ---- */

static bool has_source(const struct router_config *c, int pool)
{
    for (int i = 0; i < c->pools[pool].n_members; i++)
        if (c->sources[c->pools[pool].members[i]].enabled)
            return true;
    return false;
}

static bool is_worth(const struct router_config *c, const struct passage *p, int pool, int place)
{
    return pool != p->pool && !(p->left >> place & 1) && has_source(c, pool);
}

int side_next_pool(struct side *s, uint32_t message, uint32_t *bit)
{
    const struct router_config *c = &s->settings->router;
    const struct replayed *m = side_message(s, message);
    const struct passage *p = &m->passages[s->number];
    const struct settings_tenant *t = side_tenant(s, m->tenant);
    int n = t->n_pools < POOLS_MOST ? t->n_pools : POOLS_MOST, from = n;
    if (quarantine_pool(s, message) >= 0)
        return -1;
    for (int i = 0; i < n; i++)
        if (t->pools[i] == p->pool)
            from = i;
    *bit = 1u << from;
    for (int i = 1; i <= n; i++) {
        int place = (from == n ? i - 1 : from + i) % n;
        if (is_worth(c, p, t->pools[place], place))
            return t->pools[place];
    }
    int fallback = c->pools[p->pool].fallback;
    return fallback >= 0 && is_worth(c, p, fallback, n) ? fallback : -1;
}
