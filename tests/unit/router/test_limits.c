/* Limits under random use: never more connections, never more tokens in any window, across references and
 * reloads. */
#include "tests/unit/router/rig.h"

#include <stdlib.h>

#include "router/pair.h"

enum { STEPS = 100000, HISTORY = 4096 };

/* What the limits say, kept by other means than the router's: all times of tokens, all open connections. */
struct model {
    uint64_t times[RIG_SOURCES][HISTORY];
    int n[RIG_SOURCES];
    uint32_t open[RIG_SOURCES];
};

/* The newest token and the one rate_count before it are at least a window apart. */
static void model_token(struct model *m, int source, uint64_t now, const struct router_limits *limits)
{
    int n = m->n[source]++;
    m->times[source][n % HISTORY] = now;
    if (n >= (int)limits->rate_count)
        assert_true(now - m->times[source][(n - (int)limits->rate_count) % HISTORY] >= limits->rate_per_us);
}

static void check_random_use(struct router_limits limits, int sources, uint64_t seed)
{
    struct rig *r = calloc(1, sizeof(*r));
    struct model *m = calloc(1, sizeof(*m));
    rig_init(r, sources, limits);
    struct router_state *s = router_state_new(&r->config);
    struct router_scope *scope = router_scope_ref(s, 0, 0, 0, span_str("mx.test"));
    uint64_t now = 1000000;
    for (int i = 0; i < STEPS; i++) {
        now += rig_random(&seed) % (2 * limits.rate_per_us / limits.rate_count / (uint64_t)sources + 2);
        uint32_t dice = rig_random(&seed) % 100;
        int any = (int)(rig_random(&seed) % (uint32_t)sources);
        if (dice < 60) {
            struct router_decision d = {.source = -1};
            router_decide(s, scope, &(struct router_query){.now_us = now}, &d);
            if (d.source >= 0) {
                router_take(s, scope, &d, now);
                model_token(m, d.source, now, &limits);
                m->open[d.source]++;
            } else if (d.cause == ROUTER_RATE) {
                assert_true(d.until_us > now);
            }
        } else if (dice < 75 && m->open[any]) {
            if (router_take_next(s, scope, any, now))
                model_token(m, any, now, &limits);
        } else if (m->open[any]) {
            router_connection_closed(s, scope, any);
            m->open[any]--;
        }
        if (dice == 99) { /* let go of it and come back; another snapshot of the same configuration */
            router_scope_unref(s, scope);
            scope = router_scope_ref(s, 0, 0, 0, span_str("mx.test"));
            router_state_configure(s, &r->config);
        }
        for (int k = 0; k < sources; k++) {
            assert_true(m->open[k] <= limits.connections);
            assert_int_equal(router_connections(s, scope, k), m->open[k]);
        }
    }
    router_state_free(s);
    free(r);
    free(m);
}

static void test_random_use_never_exceeds(void **state)
{
    (void)state;
    check_random_use((struct router_limits){.connections = 3, .rate_count = 100, .rate_per_us = 1000000}, 4,
                     11);
    check_random_use((struct router_limits){.connections = 10, .rate_count = 7, .rate_per_us = 1000000}, 3,
                     12);
    check_random_use((struct router_limits){.connections = 500, .rate_count = 3000, .rate_per_us = 60000000},
                     2, 13);
    check_random_use((struct router_limits){.connections = 1, .rate_count = 1, .rate_per_us = 3}, 5, 14);
}

static void test_rate_is_reached(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1, (struct router_limits){.rate_count = 1000, .rate_per_us = 1000000});
    struct router_state *s = router_state_new(&r.config);
    struct router_scope *scope = router_scope_ref(s, 0, 1, 0, span_str(""));
    int taken = 0;
    for (uint64_t now = 5000000; now < 15000000; now += 10000) /* a timer of ten milliseconds */
        while (router_take_next(s, scope, 0, now))
            taken++;
    assert_in_range(taken, 9750, 10000);
    router_state_free(s);
}

static void test_bucket_outlives_the_scope(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1, (struct router_limits){.rate_count = 1, .rate_per_us = 10000000});
    struct router_state *s = router_state_new(&r.config);
    struct router_scope *scope = router_scope_ref(s, 0, 0, 0, span_str("a"));
    assert_true(router_take_next(s, scope, 0, 1000));
    router_scope_unref(s, scope);
    for (int i = 0; i < 100; i++) { /* others come and go, and sweep */
        char site[16];
        snprintf(site, sizeof(site), "b%d", i);
        router_scope_unref(s, router_scope_ref(s, 0, 0, 0, span_str(site)));
    }
    scope = router_scope_ref(s, 0, 0, 0, span_str("a"));
    assert_false(router_take_next(s, scope, 0, 10000999));
    assert_true(router_take_next(s, scope, 0, 10001000));
    router_state_free(s);
}

/* A process that dies after a full window and starts again at once: no window over both sees more. */
static void test_rate_holds_across_a_start(void **state)
{
    (void)state;
    enum { WINDOW = 1000000, COUNT = 50 };
    struct rig r;
    rig_init(&r, 1, (struct router_limits){.rate_count = COUNT, .rate_per_us = WINDOW});
    uint64_t taken_at[4 * COUNT] = {0};
    int n = 0;
    for (int life = 0; life < 3; life++) {
        struct router_state *s = router_state_new(&r.config);
        uint64_t start = 5000000 + (uint64_t)life * 700000;
        if (life)
            router_state_started(s, start);
        struct router_scope *scope = router_scope_ref(s, 0, 0, 0, span_str("a"));
        for (uint64_t now = start; now < start + 700000; now += 500)
            while (router_take_next(s, scope, 0, now))
                taken_at[n++] = now;
        router_state_free(s);
    }
    assert_true(n > 2 * COUNT * 7 / 10);
    for (int i = 0; i + COUNT < n; i++)
        assert_true(taken_at[i + COUNT] - taken_at[i] >= WINDOW);
}

static void test_reconfigure_keeps_counts_by_name(void **state)
{
    (void)state;
    struct rig a, b;
    struct router_limits limits = {.connections = 1, .rate_count = 1, .rate_per_us = 1000000};
    rig_init(&a, 3, limits);
    rig_init(&b, 3, limits);
    for (int i = 0; i < 3; i++) /* the other way round, and s0 gone */
        b.members[i] = 2 - i;
    b.pool.n_members = 2;
    struct router_state *s = router_state_new(&a.config);
    struct router_scope *scope = router_scope_ref(s, 0, 1, 0, span_str(""));
    struct router_decision d = {.source = -1};
    router_decide(s, scope, &(struct router_query){.now_us = 10, .sticky = span_str("s2")}, &d);
    router_take(s, scope, &d, 10);
    router_state_configure(s, &b.config);
    int n;
    assert_int_equal(router_scope_sources(scope, &n)[0], 2);
    assert_int_equal(n, 2);
    assert_int_equal(router_connections(s, scope, 2), 1);
    assert_int_equal(router_connections(s, scope, 1), 0);
    assert_false(router_take_next(s, scope, 2, 11));
    b.pool.name = "renamed";
    router_state_configure(s, &b.config);
    struct rig c;
    rig_init(&c, 3, limits);
    c.pool.name = "elsewhere";
    router_state_configure(s, &c.config);
    router_decide(s, scope, &(struct router_query){.now_us = 10}, &d);
    assert_int_equal(d.source, -1);
    assert_int_equal(d.cause, ROUTER_NO_SOURCE);
    router_connection_closed(s, scope, 2);
    router_scope_unref(s, scope);
    router_state_free(s);
}

/* A pair that comes from another partition has sent there until just now: what both have sent together is
 * within the rate, also of all sources together. */
static void check_a_pair_that_comes(struct router_limits limits)
{
    struct rig *r = calloc(1, sizeof(*r));
    struct model *m = calloc(1, sizeof(*m));
    rig_init(r, 1, limits);
    uint64_t now = 1000000;
    for (int home = 0; home < 4; home++) {
        struct router_state *s = router_state_new(&r->config);
        struct router_scope *scope = router_scope_ref(s, 0, 1, 0, span_str(""));
        struct router_decision d;
        router_pair_here(s, "s0", "big", false, now);
        d.candidates = NULL;
        router_decide(s, scope, &(struct router_query){.now_us = now}, &d);
        assert_true(d.source < 0 && d.cause == ROUTER_MOVING && d.until_us == 0);
        assert_false(router_take_next(s, scope, 0, now));
        assert_true(router_pair_here(s, "s0", "big", true, now));
        assert_false(router_pair_here(s, "s0", "big", true, now));
        for (int sent = 0; sent < 150; now += 1000) {
            router_decide(s, scope, &(struct router_query){.now_us = now}, &d);
            if (d.source < 0)
                continue;
            router_take(s, scope, &d, now);
            model_token(m, 0, now, &limits);
            sent++;
        }
        router_scope_unref(s, scope);
        router_state_free(s);
    }
    free(m);
    free(r);
}

static void test_a_pair_that_comes_begins_empty(void **state)
{
    (void)state;
    check_a_pair_that_comes((struct router_limits){.rate_count = 100, .rate_per_us = 1000000});
    check_a_pair_that_comes((struct router_limits){.rate_count = 100, .rate_per_us = 1000000, .total = true});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_use_never_exceeds),
        cmocka_unit_test(test_rate_is_reached),
        cmocka_unit_test(test_bucket_outlives_the_scope),
        cmocka_unit_test(test_rate_holds_across_a_start),
        cmocka_unit_test(test_reconfigure_keeps_counts_by_name),
        cmocka_unit_test(test_a_pair_that_comes_begins_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
