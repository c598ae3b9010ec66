/* Where what comes from the one log belongs in the other, by the other's configuration and lane table. */
#include "lib/base/span.h"
#include "relay/migrate/migrate_private.h"

static const struct router_config *there(const struct migrate *m)
{
    return &m->o.to->router;
}

static char *name(const char *s)
{
    return (char *)(uintptr_t)s;
}

/* The pool of the same name; without it the tenant's first. */
static int pool_of(const struct migrate *m, const char *pool, const char *tenant)
{
    int found = router_pool_find(there(m), span_str(pool));
    for (int i = 0; found < 0 && i < m->o.to->n_tenants; i++)
        if (strcmp(m->o.to->tenants[i].name, tenant) == 0 && m->o.to->tenants[i].n_pools > 0)
            found = m->o.to->tenants[i].pools[0];
    return found < 0 ? 0 : found;
}

static int provider_of(const struct migrate *m, const char *provider)
{
    int found = router_provider_find(there(m), span_str(provider));
    return found < 0 ? ROUTER_OTHER : found; /* its owner classifies anew */
}

static int home(const struct migrate *m, int pool, int provider, uint32_t shard, Remuda__TransferTo *to)
{
    to->pool = name(there(m)->pools[pool].name);
    to->provider = name(there(m)->providers[provider].name);
    to->shard = shard;
    int partition = lanes_partition(m->lanes, to->pool, to->provider, shard);
    to->partition = partition < 0 ? 0 : (uint32_t)partition;
    return partition;
}

void migrate_place(void *arg, const Remuda__Record *record, const Remuda__Submission *submission,
                   Remuda__TransferTo *to)
{
    const struct migrate *m = arg;
    int pool = pool_of(m, to->pool, record->tenant);
    const char *at = strrchr(record->sender, '@');
    uint32_t shard =
        lanes_pool_shard(there(m), pool, span_str(at ? at + 1 : ""), span_str(submission->domain));
    (void)home(m, pool, provider_of(m, to->provider), shard,
               to); /* in no table: the owner of 0 hands it on */
}

int migrate_home_of_pair(const struct migrate *m, const char *source, const char *provider,
                         Remuda__TransferTo *to)
{
    int s = router_source_find(there(m), span_str(source));
    int p = router_provider_find(there(m), span_str(provider));
    if (s < 0 || p < 0 || there(m)->sources[s].pool < 0)
        return -1;
    return home(m, there(m)->sources[s].pool, p, there(m)->sources[s].shard, to);
}

int migrate_home_of_tenant(const struct migrate *m, const char *tenant, const char *provider,
                           Remuda__TransferTo *to)
{
    int p = router_provider_find(there(m), span_str(provider));
    return p < 0 ? -1 : home(m, pool_of(m, "", tenant), p, 0, to);
}
