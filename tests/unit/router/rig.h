/* Configurations for the router's tests: pools of n sources, and providers with limits set by the test. */
#ifndef REMUDA_TESTS_UNIT_ROUTER_RIG_H
#define REMUDA_TESTS_UNIT_ROUTER_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "router/decide.h"

enum { RIG_SOURCES = 256 };

struct rig {
    struct router_source sources[RIG_SOURCES];
    char names[RIG_SOURCES][16];
    int members[RIG_SOURCES];
    struct router_pool pool;
    struct router_provider providers[2]; /* other, big */
    struct router_config config;
};

static inline void rig_init(struct rig *r, int n, struct router_limits limits)
{
    *r = (struct rig){
        .pool = {.name = "main", .shards = 1, .fallback = -1, .members = r->members, .n_members = n}};
    for (int i = 0; i < n; i++) {
        snprintf(r->names[i], sizeof(r->names[i]), "s%d", i);
        r->sources[i] = (struct router_source){
            .name = r->names[i], .address = "192.0.2.1", .ehlo = "x.test", .enabled = true, .weight = 1};
        r->members[i] = i;
    }
    r->providers[0] = (struct router_provider){.name = "other", .limits = limits};
    r->providers[1] = (struct router_provider){.name = "big", .limits = limits};
    r->config = (struct router_config){.sources = r->sources,
                                       .n_sources = n,
                                       .pools = &r->pool,
                                       .n_pools = 1,
                                       .providers = r->providers,
                                       .n_providers = 2};
}

/* xorshift: the tests' own repeatable randomness. */
static inline uint32_t rig_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return (uint32_t)(*seed >> 32);
}

#endif
