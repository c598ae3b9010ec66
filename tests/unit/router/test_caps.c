/*
 * I6 for caps: whatever order decisions, answers, writes, days, crashes and takeovers come in, no pair sends
 * more in a day or in a clock hour than its warm-up allows.
 */
#include "tests/unit/router/pair_rig.h"

enum { SOURCES = 3, STEPS = 100000 };

static const uint64_t caps[] = {5, 20, 60, 150, 400, 1000, 5000};
static const struct warmup_schedule schedule = {
    .name = "short", .caps = caps, .n_caps = 7, .hourly_percent = 40};

/* What was really sent, counted by other means than the router's. */
struct sent {
    uint64_t day, hour, of_day, of_hour;
};

static void count_sent(struct pair_rig *r, struct sent *sent, int source)
{
    struct sent *n = &sent[source];
    uint64_t day = r->wall_ms / RIG_DAY_MS, hour = r->wall_ms / RIG_HOUR_MS;
    if (day != n->day)
        n->of_day = 0;
    if (hour != n->hour)
        n->of_hour = 0;
    n->day = day;
    n->hour = hour;
    struct router_pair_view v = pair_rig_view(r, source);
    assert_true(++n->of_day <= v.cap);
    assert_true(++n->of_hour <= v.hour_cap);
}

static void step(struct pair_rig *r, struct sent *sent, uint64_t *seed)
{
    uint32_t dice = rig_random(seed) % 1000;
    if (dice < 600) {
        int source = pair_rig_send(r, (struct router_query){.now_us = 0});
        if (source < 0)
            return;
        count_sent(r, sent, source);
        pair_rig_answer(r, source, "t", rig_random(seed) % 40 ? ACCEPTED : SLOW_DOWN);
    } else if (dice < 680) {
        int source = (int)(rig_random(seed) % SOURCES);
        if (router_take_next(r->s, r->scope, source, r->now_us))
            count_sent(r, sent, source);
    } else if (dice < 780) {
        router_write(r->s, ROUTER_WRITE_DUE, r->wall_ms, store_put, r->store);
    } else if (dice < 880) {
        store_land(r->store, true);
        router_written(r->s);
    } else if (dice < 990) {
        pair_rig_pass(r, rig_random(seed) % 400 * 1000000ull);
    } else if (dice < 993) {
        pair_rig_pass(r, rig_random(seed) % 30 * RIG_HOUR_MS * 1000ull);
    } else if (dice < 995) {
        router_state_configure(r->s, &r->rig.config);
    } else { /* a crash or a takeover: what was under way is durable, or is not */
        store_land(r->store, rig_random(seed) % 2);
        if (dice > 997) {
            router_written(r->s);
            pair_rig_flush(r, ROUTER_WRITE_LAST);
        }
        pair_rig_crash(r);
        pair_rig_start(r);
    }
}

static void test_caps_hold_whatever_happens(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct pair_rig *r = pair_rig_new(SOURCES, (struct router_limits){0});
        for (int i = 0; i < SOURCES; i++)
            r->rig.sources[i].warmup = &schedule;
        struct sent sent[SOURCES] = {{0}};
        uint64_t random = seed * 77, all = 0, most_stage = 0;
        pair_rig_start(r);
        for (int i = 0; i < STEPS; i++) {
            uint64_t before = sent[0].of_day;
            step(r, sent, &random);
            all += sent[0].of_day > before;
            uint64_t stage = pair_rig_view(r, 0).stage;
            most_stage = stage > most_stage ? stage : most_stage;
        }
        assert_true(all > 1000 && most_stage >= 2); /* it really sent, and moved on */
        pair_rig_free(r);
    }
}

/* All of a day's cap can be had, with writes as often as grants ask for them. */
static void test_cap_is_reached(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(1, (struct router_limits){0});
    r->rig.sources[0].warmup = warmup_stages();
    pair_rig_start(r);
    assert_int_equal(pair_rig_send(r, (struct router_query){.now_us = 0}), -1); /* no grant yet */
    assert_true(pair_rig_flush(r, ROUTER_WRITE_DUE));
    int sent = 0, writes = r->store->puts;
    for (int hour = 0; hour < 10; hour++) {
        for (int i = 0; i < 500; i++) {
            sent += pair_rig_send(r, (struct router_query){.now_us = 0}) >= 0;
            if (router_write_wanted(r->s, ROUTER_WRITE_DUE, r->wall_ms))
                pair_rig_flush(r, ROUTER_WRITE_DUE);
        }
        assert_int_equal(sent, hour < 5 ? 40 * (hour + 1) : 200);
        struct router_decision d = pair_rig_decide(r, (struct router_query){.now_us = 0});
        assert_int_equal(d.cause, ROUTER_CAP);
        uint64_t wait = d.until_us - r->now_us;
        assert_int_equal(wait, (hour < 4 ? 1 : 15 - hour) * RIG_HOUR_MS * 1000ull); /* it is 9 o'clock */
        pair_rig_pass(r, RIG_HOUR_MS * 1000ull);
    }
    assert_in_range(r->store->puts - writes, 50, 250); /* grants of two, not a write for each message */
    pair_rig_free(r);
}

static void test_a_crash_spends_the_grant(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(1, (struct router_limits){0});
    r->rig.sources[0].warmup = warmup_stages();
    pair_rig_start(r);
    pair_rig_flush(r, ROUTER_WRITE_DUE);
    uint64_t granted = pair_rig_view(r, 0).granted;
    assert_int_equal(granted, 2);
    pair_rig_crash(r);
    pair_rig_start(r);
    assert_int_equal(pair_rig_view(r, 0).used, granted);
    pair_rig_flush(r, ROUTER_WRITE_DUE);
    pair_rig_send(r, (struct router_query){.now_us = 0});
    pair_rig_flush(r, ROUTER_WRITE_LAST); /* a stop in good order gives the rest back */
    uint64_t used = pair_rig_view(r, 0).used;
    pair_rig_crash(r);
    pair_rig_start(r);
    assert_int_equal(pair_rig_view(r, 0).used, used);
    pair_rig_free(r);
}

static void test_pairs_without_a_cap_take_no_grant(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(2, (struct router_limits){0});
    pair_rig_start(r);
    pair_rig_flush(r, ROUTER_WRITE_DUE);
    int puts = r->store->puts;
    for (int i = 0; i < 1000; i++) {
        assert_true(pair_rig_send(r, (struct router_query){.now_us = 0}) >= 0);
        pair_rig_flush(r, ROUTER_WRITE_DUE);
    }
    assert_int_equal(r->store->puts, puts);
    pair_rig_pass(r, 11000000);
    pair_rig_flush(r, ROUTER_WRITE_DUE);
    assert_int_equal(r->store->puts, puts + 2); /* what has changed, in one batch */
    pair_rig_free(r);
}

/* Without a tick no day is known: nothing goes under a cap. */
static void test_nothing_before_the_first_tick(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(1, (struct router_limits){0});
    r->rig.sources[0].warmup = warmup_stages();
    r->s = router_state_new(&r->rig.config);
    r->scope = router_scope_ref(r->s, 0, 1, 0, span_str(""));
    pair_rig_flush(r, ROUTER_WRITE_DUE);
    assert_int_equal(pair_rig_send(r, (struct router_query){.now_us = 0}), -1);
    pair_rig_free(r);
}

/* Asked just after midnight, before the tick has begun the day: it is a moment, not another day. */
static void test_a_used_cap_ends_at_midnight(void **state)
{
    (void)state;
    static const uint64_t two[] = {2, 4};
    static const struct warmup_schedule small = {
        .name = "small", .caps = two, .n_caps = 2, .hourly_percent = 100};
    struct pair_rig *r = pair_rig_new(1, (struct router_limits){0});
    r->rig.sources[0].warmup = &small;
    pair_rig_start(r);
    for (int i = 0; i < 4; i++) {
        pair_rig_flush(r, ROUTER_WRITE_DUE);
        pair_rig_send(r, (struct router_query){.now_us = 0});
    }
    struct router_decision d = pair_rig_decide(r, (struct router_query){.now_us = 0});
    assert_int_equal(d.cause, ROUTER_CAP);
    assert_int_equal(d.until_us - r->now_us, 15 * RIG_HOUR_MS * 1000ull);
    r->now_us = d.until_us;
    r->wall_ms += 15 * RIG_HOUR_MS;
    d = pair_rig_decide(r, (struct router_query){.now_us = 0});
    assert_int_equal(d.cause, ROUTER_CAP);
    assert_in_range(d.until_us - r->now_us, 1, 1000000);
    pair_rig_free(r);
}

static void test_clock_set_back_spends_nothing_twice(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(1, (struct router_limits){0});
    r->rig.sources[0].warmup = &schedule;
    pair_rig_start(r);
    int sent = 0;
    for (int i = 0; i < 50; i++) { /* back and forth over midnight */
        r->wall_ms = 20001ull * RIG_DAY_MS + (i % 2 ? 2000 : 0) - 1000;
        pair_rig_pass(r, 1000);
        pair_rig_flush(r, ROUTER_WRITE_DUE);
        sent += pair_rig_send(r, (struct router_query){.now_us = 0}) >= 0;
    }
    assert_in_range(sent, 2, 5 * 2);
    pair_rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_caps_hold_whatever_happens),
        cmocka_unit_test(test_cap_is_reached),
        cmocka_unit_test(test_a_crash_spends_the_grant),
        cmocka_unit_test(test_pairs_without_a_cap_take_no_grant),
        cmocka_unit_test(test_nothing_before_the_first_tick),
        cmocka_unit_test(test_a_used_cap_ends_at_midnight),
        cmocka_unit_test(test_clock_set_back_spends_nothing_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
