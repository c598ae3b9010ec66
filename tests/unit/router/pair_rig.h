/* A router under warm-up with a state log that can lose what was not durable, for the tests of pairs. */
#ifndef REMUDA_TESTS_UNIT_ROUTER_PAIR_RIG_H
#define REMUDA_TESTS_UNIT_ROUTER_PAIR_RIG_H

#include "tests/unit/router/rig.h"

#include <stdlib.h>

#include "lib/base/map.h"
#include "proto/codec.h"
#include "router/pair.h"
#include "router/tenant.h"

enum { RIG_DAY_MS = 86400000, RIG_HOUR_MS = 3600000, STORE_KEYS = 600 };

/* What is durable, and what is on its way. */
struct store {
    struct {
        char key[200];
        struct buf value, flight;
        bool flying;
    } rows[STORE_KEYS];
    int n;
    int puts;
};

static inline void store_put(void *arg, struct span key, struct span value)
{
    struct store *s = arg;
    int i = 0;
    while (i < s->n && !span_eq(span_str(s->rows[i].key), key))
        i++;
    assert_true(i < STORE_KEYS && key.len < sizeof(s->rows[i].key));
    if (i == s->n) {
        s->n++;
        memcpy(s->rows[i].key, key.ptr, key.len);
    }
    buf_clear(&s->rows[i].flight);
    buf_add_span(&s->rows[i].flight, value);
    s->rows[i].flying = true;
    s->puts++;
}

/* The flush under way became durable, or was lost. */
static inline void store_land(struct store *s, bool durable)
{
    for (int i = 0; i < s->n; i++) {
        if (s->rows[i].flying && durable) {
            buf_clear(&s->rows[i].value);
            buf_add_span(&s->rows[i].value, buf_span(&s->rows[i].flight));
        }
        s->rows[i].flying = false;
    }
}

static inline bool store_closed(void *arg, uint64_t epoch)
{
    (void)arg, (void)epoch;
    return false;
}

static inline void store_load(const struct store *s, struct router_state *state, uint64_t wall_ms)
{
    for (int i = 0; i < s->n; i++) {
        struct arena a = ARENA_INIT;
        if (s->rows[i].value.len && strncmp(s->rows[i].key, "pair:", 5) == 0)
            assert_true(router_load_pair(state, pair_decode(&a, buf_span(&s->rows[i].value)), wall_ms));
        else if (s->rows[i].value.len && strncmp(s->rows[i].key, "open:", 5) == 0)
            router_load_open(state, span_str(s->rows[i].key + 5),
                             open_decode(&a, buf_span(&s->rows[i].value)), wall_ms, store_closed, NULL);
        else if (s->rows[i].value.len)
            assert_true(router_load_tenant(state, tenant_decode(&a, buf_span(&s->rows[i].value))));
        arena_fini(&a);
    }
}

static inline void store_fini(struct store *s)
{
    for (int i = 0; i < s->n; i++) {
        buf_fini(&s->rows[i].value);
        buf_fini(&s->rows[i].flight);
    }
    free(s);
}

struct pair_rig {
    struct rig rig;
    struct store *store;
    struct router_state *s;
    struct router_scope *scope;
    uint64_t now_us, wall_ms;
    uint64_t epoch;
    uint64_t lost_ms; /* set before pair_rig_start: the log is shared */
};

static inline void pair_rig_start(struct pair_rig *r)
{
    r->s = router_state_new(&r->rig.config);
    router_state_epoch(r->s, ++r->epoch);
    if (r->lost_ms)
        router_state_shared(r->s, r->lost_ms);
    router_tick(r->s, r->now_us, r->wall_ms);
    store_load(r->store, r->s, r->wall_ms);
    router_tick(r->s, r->now_us, r->wall_ms);
    r->scope = router_scope_ref(r->s, 0, 1, 0, span_str(""));
}

/* n sources; the provider "big" has the limits. Set warmup of sources before pair_rig_start. */
static inline struct pair_rig *pair_rig_new(int n, struct router_limits limits)
{
    struct pair_rig *r = calloc(1, sizeof(*r));
    rig_init(&r->rig, n, limits);
    r->store = calloc(1, sizeof(*r->store));
    r->now_us = 1000000000;
    r->wall_ms = 20000ull * RIG_DAY_MS + 9 * RIG_HOUR_MS;
    return r;
}

/* As a crash: what is in memory is gone. */
static inline void pair_rig_crash(struct pair_rig *r)
{
    router_state_free(r->s);
    r->s = NULL;
}

static inline void pair_rig_free(struct pair_rig *r)
{
    router_state_free(r->s);
    store_fini(r->store);
    free(r);
}

static inline void pair_rig_pass(struct pair_rig *r, uint64_t us)
{
    r->now_us += us;
    r->wall_ms += us / 1000;
    router_tick(r->s, r->now_us, r->wall_ms);
}

static inline bool pair_rig_flush(struct pair_rig *r, enum router_write what)
{
    router_write(r->s, what, r->wall_ms, store_put, r->store);
    store_land(r->store, true);
    return router_written(r->s);
}

static inline struct router_decision pair_rig_decide(struct pair_rig *r, struct router_query q)
{
    struct router_decision d = {.source = -1};
    q.now_us = r->now_us;
    router_decide(r->s, r->scope, &q, &d);
    return d;
}

/* One message over a connection of its own: the source, or -1. */
static inline int pair_rig_send(struct pair_rig *r, struct router_query q)
{
    struct router_decision d = pair_rig_decide(r, q);
    if (d.source >= 0) {
        router_take(r->s, r->scope, &d, r->now_us);
        router_connection_closed(r->s, r->scope, d.source);
    }
    return d.source;
}

static inline bool pair_rig_answer(struct pair_rig *r, int source, const char *tenant, struct router_answer a)
{
    return router_answered(r->s, r->scope,
                           &(struct router_report){.source = source,
                                                   .tenant = span_str(tenant),
                                                   .answer = &a,
                                                   .recipients = 1,
                                                   .now_us = r->now_us});
}

static inline struct router_pair_view pair_rig_view(const struct pair_rig *r, int source)
{
    struct router_pair_view v;
    assert_true(router_pair_find(r->s, span_str(r->rig.names[source]), span_str("big"), r->now_us, &v));
    return v;
}

#define ACCEPTED ((struct router_answer){.class = ANSWER_ACCEPTED})
#define SLOW_DOWN                                                                                            \
    ((struct router_answer){.class = ANSWER_RATE, .blame = BLAME_SOURCE, .reaction = REACT_SLOW_PAIR})
#define BAD_MAILBOX                                                                                          \
    ((struct router_answer){.class = ANSWER_BAD_MAILBOX, .blame = BLAME_RECIPIENT, .hard = true})
#define LISTED                                                                                               \
    ((struct router_answer){.class = ANSWER_BLOCKLIST,                                                       \
                            .blame = BLAME_SOURCE,                                                           \
                            .reaction = REACT_SUSPEND_PAIR,                                                  \
                            .list = "zen.spamhaus.org"})

#endif
