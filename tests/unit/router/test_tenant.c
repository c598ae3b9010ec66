/* Tenants: judged by proof, slowed down alone, and given back what they had. */
#include "tests/unit/router/pair_rig.h"

#define BLAMED                                                                                               \
    ((struct router_answer){.class = ANSWER_CONTENT, .blame = BLAME_TENANT, .reaction = REACT_SLOW_TENANT})

static const uint64_t second_us = 1000000;

static struct span bee(void)
{
    return span_str("bee");
}

static struct span big(void)
{
    return span_str("big");
}

static enum tenant_verdict judge(double recipients, double bad, double complaints, enum tenant_verdict before)
{
    struct tenant_window w = {.recipients = recipients, .bad_mailbox = bad, .complaint = complaints};
    struct tenant_counts c = {w, w};
    return tenant_judge(&c, &tenant_bounds_default, before, NULL);
}

static void test_small_numbers_prove_nothing(void **state)
{
    (void)state;
    assert_int_equal(judge(1, 1, 0, TENANT_FINE), TENANT_FINE);
    assert_int_equal(judge(99, 99, 99, TENANT_FINE), TENANT_FINE); /* below the minimum */
    assert_int_equal(judge(100, 8, 0, TENANT_FINE), TENANT_FINE);  /* 8 %, but not for certain over 5 % */
    assert_int_equal(judge(1000, 0, 1, TENANT_FINE), TENANT_FINE); /* one complaint */
    assert_int_equal(judge(100, 100, 0, TENANT_FINE), TENANT_QUARANTINE);
}

static void test_slowed_before_quarantined(void **state)
{
    (void)state;
    assert_int_equal(judge(1000, 40, 0, TENANT_FINE), TENANT_FINE);
    assert_int_equal(judge(1000, 70, 0, TENANT_FINE), TENANT_SLOW);
    assert_int_equal(judge(1000, 130, 0, TENANT_FINE), TENANT_QUARANTINE);
    assert_int_equal(judge(10000, 0, 10, TENANT_FINE), TENANT_FINE); /* 0.1 %: not for certain over it */
    assert_int_equal(judge(10000, 0, 20, TENANT_FINE), TENANT_SLOW);
    assert_int_equal(judge(10000, 0, 70, TENANT_FINE), TENANT_QUARANTINE);
}

/* Whatever the counts, a verdict that holds never ends for more trouble, and more trouble is never milder. */
static void test_hysteresis(void **state)
{
    (void)state;
    assert_int_equal(judge(1000, 95, 0, TENANT_FINE), TENANT_SLOW);
    assert_int_equal(judge(1000, 95, 0, TENANT_QUARANTINE), TENANT_QUARANTINE);
    assert_int_equal(judge(1000, 45, 0, TENANT_QUARANTINE), TENANT_QUARANTINE);
    assert_int_equal(judge(1000, 30, 0, TENANT_QUARANTINE), TENANT_FINE);
    assert_int_equal(judge(1000, 45, 0, TENANT_SLOW), TENANT_SLOW);
    assert_int_equal(judge(1000, 45, 0, TENANT_FINE), TENANT_FINE);
    assert_int_equal(judge(1000, 30, 0, TENANT_SLOW), TENANT_FINE);
    assert_int_equal(judge(50, 50, 0, TENANT_QUARANTINE), TENANT_FINE); /* it has faded */
    struct tenant_counts quiet = {.day = {20, 0, 0, 0, 0}, .week = {900, 200, 0, 0, 0}};
    assert_int_equal(tenant_judge(&quiet, &tenant_bounds_default, TENANT_QUARANTINE, NULL),
                     TENANT_QUARANTINE); /* a day's silence proves nothing */
    for (int before = TENANT_FINE; before <= TENANT_QUARANTINE; before++)
        for (int bad = 1; bad < 1000; bad++) {
            enum tenant_verdict now = judge(1000, bad, 0, (enum tenant_verdict)before);
            assert_true(judge(1000, bad - 1, 0, (enum tenant_verdict)before) <= now);
            assert_true(judge(1000, bad, 0, now) == now); /* it does not flap */
        }
}

/* What an earlier verdict was based on can be taken off later: all fades alike. */
static void test_counts_fade_alike(void **state)
{
    (void)state;
    struct tally all = {0}, later = {0};
    tally_add(&all, TALLY_BAD_MAILBOX, 200, 1000000);
    struct tenant_counts base = tenant_counts_of(&all, 1000000);
    tally_add(&all, TALLY_ACCEPTED, 50, 1050000);
    tally_add(&later, TALLY_ACCEPTED, 50, 1050000);
    struct tenant_counts now = tenant_counts_of(&all, 1090000);
    now = tenant_counts_plus(now, tenant_counts_faded(base, 90000), -1);
    struct tenant_counts rest = tenant_counts_of(&later, 1090000);
    assert_float_equal(now.day.recipients, rest.day.recipients, 1e-3);
    assert_float_equal(now.week.recipients, rest.week.recipients, 1e-3);
    assert_float_equal(now.day.bad_mailbox, 0, 1e-3);
    assert_true(now.day.bad_mailbox >= 0);
}

/* ---- pace ---- */

static bool may(const struct pair_rig *r, const char *tenant)
{
    uint64_t until;
    return router_tenant_may(r->s, span_str(tenant), big(), r->now_us, &until);
}

/* Sends as fast as it may for so many seconds, each answered; returns how many. */
static int send_for(struct pair_rig *r, const char *tenant, int seconds, double most_a_second)
{
    int sent = 0;
    uint64_t step = (uint64_t)(1e6 / most_a_second);
    for (uint64_t end = r->now_us + (uint64_t)seconds * second_us; r->now_us < end; pair_rig_pass(r, step)) {
        if (!may(r, tenant))
            continue;
        router_tenant_take(r->s, span_str(tenant), big(), r->now_us);
        pair_rig_answer(r, 0, tenant, ACCEPTED);
        sent++;
    }
    return sent;
}

static void test_blame_slows_the_tenant_alone(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(1, (struct router_limits){0});
    pair_rig_start(r);
    assert_int_equal(send_for(r, "bee", 300, 20), 6000);
    pair_rig_answer(r, 0, "bee", BLAMED);
    assert_float_equal(router_tenant_pace(r->s, bee(), big()), 10, 1);
    assert_true(pair_rig_view(r, 0).rate == 0); /* the source goes on */
    for (int i = 0; i < 10; i++)
        pair_rig_answer(r, 0, "bee", BLAMED);
    assert_float_equal(router_tenant_pace(r->s, bee(), big()), 10, 1); /* once in half a minute */
    int sent = send_for(r, "bee", 20, 100);
    assert_in_range(sent, 180, 230);
    assert_false(may(r, "bee") && may(r, "bee") && send_for(r, "bee", 1, 1000) > 30);
    for (int i = 0; i < 100; i++) {
        assert_true(may(r, "ant"));
        router_tenant_take(r->s, span_str("ant"), big(), r->now_us);
    }
    pair_rig_free(r);
}

static void test_the_pace_has_a_floor_and_comes_back(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(1, (struct router_limits){.rate_floor = 0.5});
    pair_rig_start(r);
    send_for(r, "bee", 300, 20);
    for (int i = 0; i < 20; i++) {
        pair_rig_answer(r, 0, "bee", BLAMED);
        pair_rig_pass(r, 31 * second_us);
    }
    assert_float_equal(router_tenant_pace(r->s, bee(), big()), 0.5, 0.001);
    send_for(r, "bee", 300, 20);
    double half = router_tenant_pace(r->s, bee(), big());
    assert_true(half > 7 && half < 13);
    send_for(r, "bee", 400, 20);
    assert_true(router_tenant_pace(r->s, bee(), big()) == 0); /* as if nothing had been */
    assert_int_equal(send_for(r, "bee", 10, 20), 200);
    pair_rig_free(r);
}

/* A receiver that refuses nearly all mail of a domain gets one message an hour of it, not all to be bounced.
 */
static void test_a_refused_domain_stops_the_tenant(void **state)
{
    (void)state;
    const struct router_answer refused = {
        .class = ANSWER_POLICY_DOMAIN, .blame = BLAME_TENANT, .hard = true, .reaction = REACT_SLOW_TENANT};
    struct pair_rig *r = pair_rig_new(1, (struct router_limits){0});
    pair_rig_start(r);
    send_for(r, "bee", 30, 1);
    uint64_t until = 0;
    for (int i = 0; i < 25; i++) /* of 30 and 25: not most of it */
        pair_rig_answer(r, 0, "bee", refused);
    router_tenant_may(r->s, bee(), big(), r->now_us, &until);
    assert_true(until < r->now_us + 30 * second_us);
    for (int i = 0; i < 60; i++)
        pair_rig_answer(r, 0, "bee", refused);
    for (uint64_t wait = 60; wait < 10000; wait *= 2) {
        assert_false(router_tenant_may(r->s, bee(), big(), r->now_us, &until));
        assert_int_equal((until - r->now_us) / second_us, wait < 3600 ? wait : 3600);
        assert_true(may(r, "ant"));
        pair_rig_pass(r, until - r->now_us);
        assert_true(may(r, "bee"));
        router_tenant_take(r->s, bee(), big(), r->now_us);
        pair_rig_answer(r, 0, "bee", refused);
    }
    pair_rig_pass(r, 3600 * second_us);
    pair_rig_answer(r, 0, "bee", ACCEPTED);
    pair_rig_pass(r, 20 * second_us);
    assert_true(may(r, "bee"));
    pair_rig_free(r);
}

static void test_the_verdict_holds_it_at_half(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(1, (struct router_limits){0});
    pair_rig_start(r);
    send_for(r, "bee", 300, 20);
    router_tenant_hold(r->s, bee(), big(), true, r->now_us);
    send_for(r, "bee", 1200, 20);
    router_tenant_hold(r->s, bee(), big(), true, r->now_us); /* said again */
    assert_float_equal(router_tenant_pace(r->s, bee(), big()), 10, 1);
    router_tenant_hold(r->s, bee(), big(), false, r->now_us);
    send_for(r, "bee", 600, 20);
    assert_true(router_tenant_pace(r->s, bee(), big()) == 0);
    router_tenant_hold(r->s, bee(), big(), false, r->now_us);
    router_tenant_hold(r->s, span_str("new"), big(), true, r->now_us); /* never sent anything */
    assert_true(router_tenant_pace(r->s, span_str("new"), big()) > 0);
    router_tenant_hold(r->s, span_str("new"), span_str("no such provider"), true, r->now_us);
    pair_rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_numbers_prove_nothing),
        cmocka_unit_test(test_slowed_before_quarantined),
        cmocka_unit_test(test_hysteresis),
        cmocka_unit_test(test_counts_fade_alike),
        cmocka_unit_test(test_blame_slows_the_tenant_alone),
        cmocka_unit_test(test_the_pace_has_a_floor_and_comes_back),
        cmocka_unit_test(test_a_refused_domain_stops_the_tenant),
        cmocka_unit_test(test_the_verdict_holds_it_at_half),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
