/* The relay's own addresses, read once for each configuration. */
#include "relay/delivery/own.h"

#include <stdlib.h>

struct own {
    struct addr_own *interfaces; /* NULL: unknown */
    int n;
    struct addr sources[];
};

struct own *own_load(const struct shard *shard)
{
    const struct router_config *router = &shard->settings->router;
    struct own *own = calloc(1, sizeof(*own) + (size_t)router->n_sources * sizeof(struct addr));
    ENSURE(own);
    int err = addr_own_load(&own->interfaces);
    if (err != RM_OK)
        logger_log(shard->node->logger, LOG_WARN, "delivery.own_addresses_unknown",
                   LF_STR("error", rm_strerror(err)));
    for (int i = 0; i < router->n_sources; i++)
        own->n += addr_parse(span_str(router->sources[i].address), &own->sources[own->n]);
    return own;
}

void own_free(struct own *own)
{
    if (!own)
        return;
    addr_own_free(own->interfaces);
    free(own);
}

bool own_has(const struct own *own, const struct addr *a)
{
    for (int i = 0; i < own->n; i++)
        if (addr_same_ip(&own->sources[i], a))
            return true;
    return own->interfaces && addr_own_has(own->interfaces, a);
}
