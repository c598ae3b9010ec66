/*
 * What the router knows from configuration: sources, pools, providers. Immutable; built by the loader of
 * relay/config and part of its snapshot. Indexes into the arrays are the handles used everywhere.
 */
#ifndef REMUDA_ROUTER_CONFIG_H
#define REMUDA_ROUTER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/span.h"
#include "router/warmup.h"

enum { ROUTER_SOURCES_MOST = 4096, ROUTER_LANE_SOURCES_MOST = 256, ROUTER_SHARDS_MOST = 64 };

struct router_source {
    const char *name;
    const char *address;                  /* the IP address it binds, as text */
    const char *ehlo;                     /* the name it says in EHLO */
    int egress;                           /* index of the egress it is reached through; -1: this machine */
    bool enabled;                         /* false: drained by the operator */
    int pool;                             /* index of its only pool, -1 for none */
    uint32_t weight;                      /* within the pool, 1..1000 */
    uint32_t shard;                       /* within the pool */
    const struct warmup_schedule *warmup; /* NULL: the pool's, else the provider's */
};

struct router_pool {
    const char *name;
    uint32_t shards;    /* 1..ROUTER_SHARDS_MOST */
    int fallback;       /* pool that takes what this one cannot, -1 for none */
    const int *members; /* source indexes, in configuration order */
    int n_members;
    const struct warmup_schedule *warmup; /* of its sources; NULL: the provider's */
};

/* 0 means: no limit. */
struct router_limits {
    uint32_t connections;    /* open at once, per source (or in all, when total) */
    uint32_t per_connection; /* messages over one connection */
    uint32_t rate_count;     /* messages ... */
    uint64_t rate_per_us;    /* ... per this many microseconds, per source */
    bool total;              /* connections and rate are for all sources together */
    double rate_floor;       /* messages a second below which no answer slows a pair; 0: pace_floor_default */
};

struct router_provider {
    const char *name;
    const char *const *mx_suffixes; /* ".google.com": lower case, leading dot, no trailing one */
    int n_mx_suffixes;
    const char *const *domains; /* recipient domains decided by name alone (yahoo.co.jp) */
    int n_domains;
    struct router_limits limits;
    bool tls_required;
    uint64_t idle_ms;                     /* an idle connection is closed after this */
    const char *retry;                    /* name of a retry schedule, NULL for the default */
    const struct warmup_schedule *warmup; /* of sources and pools that name none; NULL: none */
};

/* providers[ROUTER_OTHER] is always "other": its limits hold per (source, site). */
enum { ROUTER_OTHER = 0 };

struct router_config {
    const struct router_source *sources;
    int n_sources;
    const struct router_pool *pools;
    int n_pools;
    const struct router_provider *providers;
    int n_providers;
};

/* Index by name, -1 when there is none. */
int router_source_find(const struct router_config *c, struct span name);
int router_pool_find(const struct router_config *c, struct span name);
int router_provider_find(const struct router_config *c, struct span name);

/*
 * The provider of a recipient domain (A-label, lower case): by name first, else by its MX hosts, when every
 * host (lower case, no trailing dot) ends in a suffix of the same provider; the longest match wins per host.
 * ROUTER_OTHER otherwise, and when n_hosts is 0.
 */
int router_classify(const struct router_config *c, struct span domain, const char *const *hosts, int n_hosts);

/*
 * The site of an MX set: its hosts lower-cased, without duplicates, sorted, joined by "|"; over 160 bytes it
 * is cut and ends in "#" and 16 hex digits of the whole's hash. Writes a NUL-terminated name into out.
 */
enum { ROUTER_SITE_MOST = 180 };
void router_site(const char *const *hosts, int n_hosts, char out[ROUTER_SITE_MOST]);

#endif
