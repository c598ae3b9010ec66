/* The decision: rotation, limits, stickiness, idle connections, what binds. */
#include "tests/unit/router/rig.h"

#include "router/pair.h"

#include "lib/base/buf.h"
#include "router/explain.h"

static struct router_decision decide(struct router_state *s, struct router_scope *scope,
                                     struct router_query q)
{
    struct router_decision d = {.source = -1};
    router_decide(s, scope, &q, &d);
    return d;
}

static void put_nothing(void *arg, struct span key, struct span value)
{
    (void)arg;
    (void)key;
    (void)value;
}

static void test_rotation_is_even_and_by_weight(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 3, (struct router_limits){0});
    r.sources[0].weight = 5;
    int got[3] = {0};
    struct router_state *s = router_state_new(&r.config);
    struct router_scope *scope = router_scope_ref(s, 0, 1, 0, span_str(""));
    char order[8] = {0};
    for (int i = 0; i < 700; i++) {
        struct router_decision d = decide(s, scope, (struct router_query){.now_us = 1});
        router_take(s, scope, &d, 1);
        got[d.source]++;
        if (i < 7)
            order[i] = (char)('a' + d.source);
    }
    assert_string_equal(order, "aabacaa"); /* smooth: as nginx documents it for 5, 1, 1 */
    assert_int_equal(got[0], 500);
    assert_int_equal(got[1], 100);
    assert_int_equal(got[2], 100);
    router_state_free(s);
}

static void test_many_sites_with_one_message_spread_too(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 4, (struct router_limits){0});
    struct router_state *s = router_state_new(&r.config);
    int got[4] = {0};
    for (int i = 0; i < 1000; i++) {
        char site[32];
        snprintf(site, sizeof(site), "mx%d.test", i);
        struct router_scope *scope = router_scope_ref(s, 0, 0, 0, span_str(site));
        struct router_decision d = decide(s, scope, (struct router_query){.now_us = 1});
        router_take(s, scope, &d, 1);
        got[d.source]++;
        router_connection_closed(s, scope, d.source);
        router_scope_unref(s, scope);
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(got[i], 250);
    router_state_free(s);
}

static void test_deciding_changes_nothing(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 5, (struct router_limits){.connections = 2, .rate_count = 10, .rate_per_us = 1000000});
    struct router_state *s = router_state_new(&r.config), *other = router_state_new(&r.config);
    struct router_scope *a = router_scope_ref(s, 0, 1, 0, span_str("")),
                        *b = router_scope_ref(other, 0, 1, 0, span_str(""));
    for (int i = 0; i < 9; i++) {
        struct router_query q = {.now_us = 100000u * (uint64_t)(i + 1)};
        struct router_decision d = decide(s, a, q);
        for (int k = 0; k < 3; k++)
            assert_int_equal(decide(s, a, q).source, d.source);
        struct router_decision twin = decide(other, b, q);
        assert_int_equal(twin.source, d.source);
        assert_int_equal(twin.runner_up, d.runner_up);
        router_take(s, a, &d, q.now_us);
        router_take(other, b, &twin, q.now_us);
    }
    router_state_free(s);
    router_state_free(other);
}

static void test_sticky_wins_waits_and_falls_back(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 3, (struct router_limits){.connections = 1});
    struct router_state *s = router_state_new(&r.config);
    struct router_scope *scope = router_scope_ref(s, 0, 1, 0, span_str(""));
    struct router_query q = {.now_us = 1, .sticky = span_str("s2")};
    struct router_decision d = decide(s, scope, q);
    assert_int_equal(d.source, 2);
    router_take(s, scope, &d, 1);
    d = decide(s, scope, q);
    assert_int_equal(d.source, -1);
    assert_int_equal(d.cause, ROUTER_CONNECTIONS);
    assert_int_equal(d.until_us, 0);
    r.sources[2].enabled = false;
    assert_int_not_equal(decide(s, scope, q).source, -1);
    r.sources[2].enabled = true;
    const int excluded[] = {2};
    q.excluded = excluded;
    q.n_excluded = 1;
    assert_int_equal(decide(s, scope, q).source, 0);
    q = (struct router_query){.now_us = 1, .sticky = span_str("s2"), .cut_off = excluded, .n_cut_off = 1};
    assert_int_equal(decide(s, scope, q).source, 0); /* nobody waits for a dead egress */
    q = (struct router_query){.now_us = 1, .sticky = span_str("gone")};
    assert_int_equal(decide(s, scope, q).source, 0);
    router_state_free(s);
}

static void test_idle_connection_is_preferred_and_needs_no_slot(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 3, (struct router_limits){.connections = 1});
    struct router_state *s = router_state_new(&r.config);
    struct router_scope *scope = router_scope_ref(s, 0, 1, 0, span_str(""));
    struct router_decision d = decide(s, scope, (struct router_query){.now_us = 1});
    router_take(s, scope, &d, 1);
    assert_int_equal(d.source, 0);
    const uint8_t idle[3] = {1, 0, 0};
    d = decide(s, scope, (struct router_query){.now_us = 1, .idle = idle});
    assert_int_equal(d.source, 0);
    assert_true(d.reuse);
    assert_int_equal(d.runner_up, 1);
    router_take(s, scope, &d, 1);
    assert_int_equal(router_connections(s, scope, 0), 1);
    router_state_free(s);
}

static void test_what_binds_is_told(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2, (struct router_limits){.connections = 1, .rate_count = 1, .rate_per_us = 1000000});
    struct router_state *s = router_state_new(&r.config);
    struct router_scope *scope = router_scope_ref(s, 0, 1, 0, span_str(""));
    for (int i = 0; i < 2; i++) {
        struct router_decision d = decide(s, scope, (struct router_query){.now_us = 100});
        router_take(s, scope, &d, 100);
    }
    struct router_candidate candidates[2];
    struct router_decision d = {.candidates = candidates};
    router_decide(s, scope, &(struct router_query){.now_us = 200}, &d);
    assert_int_equal(d.cause, ROUTER_CONNECTIONS);
    router_connection_closed(s, scope, 1);
    router_decide(s, scope, &(struct router_query){.now_us = 200}, &d);
    assert_int_equal(d.cause, ROUTER_RATE);
    assert_int_equal(d.until_us, 1000100);
    assert_int_equal(candidates[0].verdict, ROUTER_CONNECTIONS);
    assert_int_equal(candidates[1].verdict, ROUTER_RATE);
    struct buf text = BUF_INIT;
    router_explain(&r.config, s, scope, &d, 200, &text);
    assert_non_null(strstr(buf_cstr(&text), "held: rate"));
    assert_non_null(strstr(buf_cstr(&text), "until in 1.000 s"));
    buf_fini(&text);
    router_decide(s, scope, &(struct router_query){.now_us = 1000100}, &d);
    assert_int_equal(d.source, 1);
    router_give_back(s, scope, 0);
    r.sources[0].enabled = r.sources[1].enabled = false;
    router_decide(s, scope, &(struct router_query){.now_us = 1000100}, &d);
    assert_int_equal(d.cause, ROUTER_NO_SOURCE);
    const int both[] = {0, 1};
    r.sources[0].enabled = r.sources[1].enabled = true;
    router_decide(s, scope, &(struct router_query){.now_us = 1000100, .excluded = both, .n_excluded = 2}, &d);
    assert_int_equal(d.cause, ROUTER_EXCLUDED);
    router_decide(s, scope, &(struct router_query){.now_us = 1000100, .cut_off = both, .n_cut_off = 2}, &d);
    assert_int_equal(d.source, -1);
    assert_int_equal(d.cause, ROUTER_EGRESS);
    assert_int_equal(d.until_us, 0);
    /* The one that the caller would rather not have is then the better cause: it may relent. */
    struct router_query either = {
        .now_us = 1000100, .cut_off = both, .n_cut_off = 1, .excluded = both + 1, .n_excluded = 1};
    router_decide(s, scope, &either, &d);
    assert_int_equal(d.cause, ROUTER_EXCLUDED);
    router_state_free(s);
}

/* One source has used its day's cap, the other its connections: a connection ends before the day does. */
static void test_a_connection_is_waited_for_rather_than_a_day(void **state)
{
    (void)state;
    static const uint64_t caps[] = {5};
    static const struct warmup_schedule five = {
        .name = "five", .caps = caps, .n_caps = 1, .hourly_percent = 100};
    const uint64_t day_ms = 86400000, now_us = 1000000000, wall_ms = 20000 * day_ms + day_ms / 2;
    struct rig r;
    rig_init(&r, 2, (struct router_limits){.connections = 2});
    r.sources[0].warmup = &five;
    struct router_state *s = router_state_new(&r.config);
    router_tick(s, now_us, wall_ms);
    struct router_scope *scope = router_scope_ref(s, 0, 1, 0, span_str(""));
    struct router_query q = {.now_us = now_us};
    struct router_decision d = {.source = -1};
    for (int i = 0; i < 40; i++) { /* what the capped one takes is over at once, the other's stays open */
        router_write(s, ROUTER_WRITE_DUE, wall_ms, put_nothing, NULL);
        router_written(s);
        router_decide(s, scope, &q, &d);
        if (d.source < 0)
            break;
        router_take(s, scope, &d, now_us);
        if (d.source == 0)
            router_connection_closed(s, scope, 0);
    }
    assert_int_equal(d.source, -1);
    assert_int_equal(d.cause, ROUTER_CONNECTIONS);
    assert_int_equal(d.until_us, now_us + day_ms / 2 * 1000); /* the cap's end is told too */
    router_connection_closed(s, scope, 1);
    router_decide(s, scope, &q, &d);
    assert_int_equal(d.source, 1);
    router_scope_unref(s, scope);
    router_state_free(s);
}

/* A connection in use takes one message after the other: what it takes counts as its source's turns. */
static void test_messages_over_a_connection_in_use_are_turns(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 3, (struct router_limits){0});
    struct router_state *s = router_state_new(&r.config);
    struct router_scope *scope = router_scope_ref(s, 0, 1, 0, span_str(""));
    struct router_query q = {.now_us = 1};
    struct router_decision d = {.source = -1};
    router_decide(s, scope, &q, &d);
    router_take(s, scope, &d, 1);
    int busy = d.source, sent[3] = {0};
    for (int i = 0; i < 29; i++)
        assert_true(router_take_next(s, scope, busy, 1));
    for (int i = 0; i < 60; i++) {
        router_decide(s, scope, &q, &d);
        router_take(s, scope, &d, 1);
        sent[d.source]++;
    }
    assert_int_equal(sent[busy], 0);
    assert_int_equal(sent[(busy + 1) % 3], 30);
    router_scope_unref(s, scope);
    router_state_free(s);
}

static void test_total_forgets_sources_that_left(void **state)
{
    (void)state;
    struct rig a, b;
    struct router_limits limits = {.connections = 2, .total = true};
    rig_init(&a, 2, limits);
    rig_init(&b, 2, limits);
    b.members[0] = 1;
    b.pool.n_members = 1;
    struct router_state *s = router_state_new(&a.config);
    struct router_scope *scope = router_scope_ref(s, 0, 1, 0, span_str(""));
    for (int i = 0; i < 2; i++) {
        struct router_decision d = decide(s, scope, (struct router_query){.now_us = 1});
        router_take(s, scope, &d, 1);
    }
    assert_int_equal(decide(s, scope, (struct router_query){.now_us = 1}).cause, ROUTER_TOTAL_CONNECTIONS);
    router_state_configure(s, &b.config);
    assert_int_equal(decide(s, scope, (struct router_query){.now_us = 1}).source, 1);
    router_connection_closed(s, scope, 0);
    router_connection_closed(s, scope, 1);
    assert_int_equal(router_connections(s, scope, 1), 0);
    router_state_free(s);
}

static void test_total_limits_bind_all_sources(void **state)
{
    (void)state;
    struct rig r;
    rig_init(
        &r, 4,
        (struct router_limits){.connections = 2, .rate_count = 3, .rate_per_us = 3000000, .total = true});
    struct router_state *s = router_state_new(&r.config);
    struct router_scope *scope = router_scope_ref(s, 0, 1, 0, span_str(""));
    uint64_t now = 0;
    for (int i = 0; i < 2; i++) {
        struct router_decision d = decide(s, scope, (struct router_query){.now_us = now});
        assert_int_equal(d.source, i);
        router_take(s, scope, &d, now);
        assert_int_equal(decide(s, scope, (struct router_query){.now_us = now}).cause,
                         i ? ROUTER_TOTAL_CONNECTIONS : ROUTER_TOTAL_RATE);
        now += 1000000;
    }
    router_connection_closed(s, scope, -1); /* what is not in the lane changes nothing */
    assert_int_equal(decide(s, scope, (struct router_query){.now_us = now}).cause, ROUTER_TOTAL_CONNECTIONS);
    router_connection_closed(s, scope, 0);
    assert_int_equal(decide(s, scope, (struct router_query){.now_us = now}).source, 2);
    router_state_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rotation_is_even_and_by_weight),
        cmocka_unit_test(test_many_sites_with_one_message_spread_too),
        cmocka_unit_test(test_deciding_changes_nothing),
        cmocka_unit_test(test_sticky_wins_waits_and_falls_back),
        cmocka_unit_test(test_idle_connection_is_preferred_and_needs_no_slot),
        cmocka_unit_test(test_what_binds_is_told),
        cmocka_unit_test(test_total_forgets_sources_that_left),
        cmocka_unit_test(test_a_connection_is_waited_for_rather_than_a_day),
        cmocka_unit_test(test_messages_over_a_connection_in_use_are_turns),
        cmocka_unit_test(test_total_limits_bind_all_sources),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
