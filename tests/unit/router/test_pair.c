/* What answers do to pairs, and what decisions make of it: suspension, pace, warm-up, fault, senders,
 * records. */
#include "router/pace.h"
#include "tests/unit/router/pair_rig.h"

enum { S = 1000000 };

static struct router_query any(void)
{
    return (struct router_query){.now_us = 0};
}

/* ---- reactions ---- */

static void test_a_single_bounce_never_suspends(void **state)
{
    (void)state;
    for (int c = 0; c < ANSWER_CLASSES; c++) {
        struct pair_rig *r = pair_rig_new(1, (struct router_limits){0});
        pair_rig_start(r);
        struct router_answer a = {.class = (enum answer_class)c, .blame = BLAME_SOURCE, .hard = true};
        assert_false(pair_rig_answer(r, 0, "t", a));
        assert_int_equal(pair_rig_view(r, 0).suspended_until_ms, 0);
        assert_int_equal(pair_rig_send(r, any()), 0);
        pair_rig_free(r);
    }
}

static void test_a_blocklist_suspends_the_pair_alone(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(2, (struct router_limits){0});
    pair_rig_start(r);
    struct router_scope *elsewhere = router_scope_ref(r->s, 0, 0, 0, span_str("mx.test"));
    assert_true(pair_rig_answer(r, 0, "t", LISTED));
    assert_false(pair_rig_answer(r, 0, "t", LISTED)); /* the next answers in hand: no second alert */
    for (int i = 0; i < 10; i++)
        assert_int_equal(pair_rig_send(r, any()), 1);
    struct router_decision d = {.source = -1};
    router_decide(r->s, elsewhere, &(struct router_query){.now_us = r->now_us, .sticky = span_str("s0")}, &d);
    assert_int_equal(d.source, 0); /* at another provider it still sends */
    struct router_pair_view v = pair_rig_view(r, 0);
    assert_string_equal(v.why, "zen.spamhaus.org");
    assert_int_equal(v.alert_ms, r->wall_ms);
    assert_int_equal(v.suspended_until_ms - r->wall_ms, RIG_DAY_MS);
    d = pair_rig_decide(r, (struct router_query){.sticky = span_str("s0")});
    assert_int_equal(d.cause, ROUTER_BACKOFF);
    assert_int_equal(d.until_us - r->now_us, RIG_DAY_MS * 1000ull);
    pair_rig_flush(r, ROUTER_WRITE_LAST);
    pair_rig_crash(r);
    pair_rig_start(r); /* it outlives a restart */
    assert_int_equal(pair_rig_send(r, any()), 1);
    assert_true(router_pair_clear(r->s, span_str("s0"), span_str("big")));
    assert_false(router_pair_clear(r->s, span_str("s0"), span_str("big")));
    assert_false(router_pair_clear(r->s, span_str("nobody"), span_str("big")));
    assert_int_equal(pair_rig_send(r, (struct router_query){.sticky = span_str("s0")}), 0);
    pair_rig_free(r);
}

static void test_a_suspension_ends_and_the_pace_comes_back(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(1, (struct router_limits){.rate_count = 100, .rate_per_us = S});
    pair_rig_start(r);
    pair_rig_answer(r, 0, "t", LISTED);
    pair_rig_pass(r, RIG_DAY_MS * 1000ull - 1000);
    assert_int_equal(pair_rig_send(r, any()), -1);
    pair_rig_pass(r, 1000);
    assert_int_equal(pair_rig_send(r, any()), 0);
    assert_true(pair_rig_view(r, 0).rate <= 0.1);
    for (int minutes = 0; minutes < 30; minutes++) {
        pair_rig_answer(r, 0, "t", ACCEPTED);
        pair_rig_pass(r, 60ull * S);
    }
    assert_float_equal(pair_rig_view(r, 0).rate, 0, 0); /* not slowed down any more */
    pair_rig_free(r);
}

/* Forgiven and soon refused again, a pair is left alone twice as long each time; refused still, as long as
 * before. */
static void test_relapses_double_a_suspension(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(1, (struct router_limits){0});
    pair_rig_start(r);
    uint64_t days[] = {1, 1, 2, 4, 7, 7};
    for (size_t i = 0; i < sizeof(days) / sizeof(days[0]); i++) {
        pair_rig_answer(r, 0, "t", LISTED);
        pair_rig_answer(r, 0, "t", LISTED); /* in hand: the same suspension */
        assert_int_equal(pair_rig_view(r, 0).suspended_until_ms - r->wall_ms, days[i] * RIG_DAY_MS);
        pair_rig_pass(r, days[i] * RIG_DAY_MS * 1000ull);
        if (i)
            pair_rig_answer(r, 0, "t", i % 2 ? ACCEPTED : BAD_MAILBOX);
        pair_rig_flush(r, ROUTER_WRITE_LAST);
        if (i == 0) {
            pair_rig_crash(r);
            pair_rig_start(r);
        }
    }
    pair_rig_crash(r);
    pair_rig_start(r); /* it is not forgotten by a restart */
    pair_rig_answer(r, 0, "t", ACCEPTED);
    pair_rig_answer(r, 0, "t", LISTED);
    assert_int_equal(pair_rig_view(r, 0).suspended_until_ms - r->wall_ms, 7ull * RIG_DAY_MS);
    pair_rig_pass(r, 16ull * RIG_DAY_MS * 1000);
    pair_rig_answer(r, 0, "t", LISTED); /* but by time */
    assert_int_equal(pair_rig_view(r, 0).suspended_until_ms - r->wall_ms, RIG_DAY_MS);
    pair_rig_free(r);
}

static void test_what_was_sent_before_outlives_a_restart(void **state)
{
    (void)state;
    double rates[2];
    for (int restart = 0; restart < 2; restart++) {
        struct pair_rig *r = pair_rig_new(1, (struct router_limits){0});
        pair_rig_start(r);
        for (int i = 0; i < 12000; i++) { /* 20 a second */
            pair_rig_send(r, any());
            pair_rig_answer(r, 0, "t", ACCEPTED);
            pair_rig_pass(r, S / 20);
        }
        pair_rig_answer(r, 0, "t", SLOW_DOWN);
        pair_rig_pass(r, 31ull * S);
        pair_rig_answer(r, 0, "t", SLOW_DOWN);
        pair_rig_flush(r, ROUTER_WRITE_LAST);
        if (restart) {
            pair_rig_crash(r);
            pair_rig_start(r);
        }
        for (int i = 0; i < 4; i++) {
            pair_rig_pass(r, 31ull * S);
            pair_rig_answer(r, 0, "t", ACCEPTED);
        }
        rates[restart] = pair_rig_view(r, 0).rate;
        pair_rig_free(r);
    }
    assert_true(rates[0] > 7);
    assert_float_equal(rates[0], rates[1], 0.5);
}

static void test_being_blocked_without_a_list_suspends_by_proof(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(1, (struct router_limits){0});
    pair_rig_start(r);
    struct router_answer refused = {
        .class = ANSWER_POLICY_IP, .blame = BLAME_SOURCE, .hard = true, .rule = "x"};
    int n = 0;
    while (!pair_rig_answer(r, 0, "t", refused))
        assert_true(++n < 40);
    assert_in_range(n, 19, 19);
    assert_string_equal(pair_rig_view(r, 0).why, "x");
    pair_rig_free(r);
}

/* "554 5.7.1 Client host refused, poor reputation": soft, because another source may be luckier. */
static void test_refused_for_its_name_is_blocked_and_stopped(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(1, (struct router_limits){0});
    pair_rig_start(r);
    struct router_answer refused = {.class = ANSWER_REPUTATION,
                                    .blame = BLAME_SOURCE,
                                    .reaction = REACT_STOP_PAIR,
                                    .refused = true,
                                    .rule = "reputation"};
    uint64_t wait_ms = 60000;
    for (int i = 0; i < 3; i++, wait_ms *= 2) {
        pair_rig_answer(r, 0, "t", refused);
        assert_in_range(pair_rig_view(r, 0).stopped_ms, wait_ms - 1, wait_ms);
        pair_rig_pass(r, wait_ms * 1000);
    }
    assert_true(pair_rig_view(r, 0).counts->n[TALLY_HOUR][TALLY_BLOCKED] > 2.5);
    int n = 3;
    while (!pair_rig_answer(r, 0, "t", refused))
        assert_true(++n < 40);
    assert_string_equal(pair_rig_view(r, 0).why, "reputation");
    pair_rig_free(r);
}

static int sent_in(struct pair_rig *r, int seconds)
{
    int n = 0;
    for (int i = 0; i < seconds * 100; i++) {
        while (pair_rig_send(r, any()) >= 0)
            n++;
        r->now_us += S / 100;
        r->wall_ms += 10;
    }
    router_tick(r->s, r->now_us, r->wall_ms);
    return n;
}

static void test_slow_down_is_felt_within_limits(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(1, (struct router_limits){.rate_count = 50, .rate_per_us = S});
    pair_rig_start(r);
    assert_in_range(sent_in(r, 60), 2900, 3000);
    pair_rig_answer(r, 0, "t", SLOW_DOWN);
    double rate = pair_rig_view(r, 0).rate;
    assert_true(rate > 10 && rate < 26); /* half of what was observed */
    int slow = sent_in(r, 20);
    assert_true(slow <= rate * 20 + 1 && slow > rate * 18);
    pair_rig_flush(r, ROUTER_WRITE_LAST);
    pair_rig_crash(r);
    pair_rig_start(r);
    assert_float_equal(pair_rig_view(r, 0).rate, rate, 1e-9); /* and remembered */
    pair_rig_free(r);
}

static void test_fewer_connections_and_stops(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(1, (struct router_limits){.connections = 8});
    pair_rig_start(r);
    for (int i = 0; i < 8; i++) {
        struct router_decision d = pair_rig_decide(r, any());
        assert_int_equal(d.source, 0);
        router_take(r->s, r->scope, &d, r->now_us);
    }
    struct router_answer fewer = {
        .class = ANSWER_CONNECTIONS, .blame = BLAME_US, .reaction = REACT_FEWER_CONNECTIONS};
    pair_rig_answer(r, 0, "t", fewer);
    router_connection_closed(r->s, r->scope, 0);
    assert_int_equal(pair_rig_decide(r, any()).cause, ROUTER_CONNECTIONS); /* 7 open, 7 accepted */
    router_connection_closed(r->s, r->scope, 0);
    struct router_decision d = pair_rig_decide(r, any());
    assert_int_equal(d.source, 0);
    router_take(r->s, r->scope, &d, r->now_us);
    assert_int_equal(pair_rig_decide(r, any()).cause, ROUTER_CONNECTIONS);
    struct router_answer stop = {
        .class = ANSWER_RATE, .blame = BLAME_SOURCE, .reaction = REACT_STOP_PAIR, .wait_ms = 4 * 3600000};
    pair_rig_answer(r, 0, "t", stop);
    assert_false(router_take_next(r->s, r->scope, 0, r->now_us)); /* also over what is open */
    d = pair_rig_decide(r, any());
    assert_int_equal(d.cause, ROUTER_BACKOFF);
    assert_int_equal(d.until_us - r->now_us, 4 * 3600000ull * 1000);
    pair_rig_free(r);
}

static void test_greylisting_punishes_nobody(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(1, (struct router_limits){0});
    pair_rig_start(r);
    double score = pair_rig_view(r, 0).score;
    struct router_answer grey = {
        .class = ANSWER_GREYLIST, .blame = BLAME_NOBODY, .reaction = REACT_SAME_SOURCE};
    for (int i = 0; i < 1000; i++)
        pair_rig_answer(r, 0, "t", grey);
    pair_rig_pass(r, 61ull * S);
    assert_float_equal(pair_rig_view(r, 0).score, score, 1e-9);
    assert_float_equal(pair_rig_view(r, 0).rate, 0, 0);
    pair_rig_free(r);
}

/* ---- other: sites apart ---- */

static void test_a_site_slows_down_alone(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(1, (struct router_limits){.rate_count = 100, .rate_per_us = S});
    pair_rig_start(r);
    struct router_scope *a = router_scope_ref(r->s, 0, 0, 0, span_str("a"));
    struct router_scope *b = router_scope_ref(r->s, 0, 0, 0, span_str("b"));
    struct router_answer stop = {.class = ANSWER_RATE, .blame = BLAME_SOURCE, .reaction = REACT_STOP_PAIR};
    router_answered(
        r->s, a, &(struct router_report){.source = 0, .answer = &stop, .recipients = 1, .now_us = r->now_us});
    struct router_decision d = {.source = -1};
    router_decide(r->s, a, &(struct router_query){.now_us = r->now_us}, &d);
    assert_int_equal(d.cause, ROUTER_BACKOFF);
    router_decide(r->s, b, &(struct router_query){.now_us = r->now_us}, &d);
    assert_int_equal(d.source, 0);
    router_state_configure(r->s, &r->rig.config);
    router_scope_unref(r->s, a);
    for (int i = 0; i < 50; i++) { /* others come and go */
        char site[16];
        snprintf(site, sizeof(site), "c%d", i);
        router_scope_unref(r->s, router_scope_ref(r->s, 0, 0, 0, span_str(site)));
    }
    a = router_scope_ref(r->s, 0, 0, 0, span_str("a"));
    router_decide(r->s, a, &(struct router_query){.now_us = r->now_us}, &d);
    assert_int_equal(d.cause, ROUTER_BACKOFF); /* it outlives references and a reload */
    pair_rig_free(r);
}

/* ---- faults ---- */

enum { SOURCES = 4, TENANTS = 4 };

/* An hour as usual, then ten minutes in which where(source, tenant) is deferred. */
static void run_fault(struct pair_rig *r, bool (*where)(int source, int tenant))
{
    static const char *const tenants[TENANTS] = {"ant", "bee", "cat", "dog"};
    uint64_t seed = 9;
    for (int second = 0; second < 4200; second++) {
        for (int i = 0; i < SOURCES; i++) {
            int t = (int)(rig_random(&seed) % TENANTS);
            bool bad = second >= 3600 && where(i, t) && rig_random(&seed) % 10 < 8;
            pair_rig_answer(r, i, tenants[t], bad ? SLOW_DOWN : ACCEPTED);
        }
        pair_rig_pass(r, S);
    }
    pair_rig_pass(r, 60ull * S);
}

static bool everywhere(int source, int tenant)
{
    return source >= 0 && tenant >= 0;
}

static bool on_source_two(int source, int tenant)
{
    return source == 2 && tenant >= 0;
}

static bool of_tenant_one(int source, int tenant)
{
    return source >= 0 && tenant == 1;
}

static double tenant_deferred(const struct pair_rig *r, const char *tenant)
{
    struct tenant_view v;
    tenant_verdict(r->s, span_str(tenant), span_str("big"), &tenant_bounds_default, TENANT_FINE, &v);
    return v.counts.day.deferred;
}

static void test_the_providers_trouble_blames_nobody(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(SOURCES, (struct router_limits){0});
    pair_rig_start(r);
    run_fault(r, everywhere);
    for (int i = 0; i < SOURCES; i++) {
        struct router_pair_view v = pair_rig_view(r, i);
        assert_true(v.counts->n[TALLY_DAY][TALLY_DEFERRED] < 30); /* of 480: until it was certain */
        assert_true(v.score > 0.9);
        assert_true(v.rate > 0); /* but all go slower */
    }
    assert_true(tenant_deferred(r, "bee") < 5);
    pair_rig_free(r);
}

static bool is_outage(struct pair_rig *r, enum router_verdict cause)
{
    return router_scope_outage(r->s, r->scope, cause, r->now_us);
}

/* Attempt after attempt meets the receiver's trouble, whichever source it comes from. */
static void test_an_outage_is_no_want_of_room(void **state)
{
    (void)state;
    struct router_answer out = {.class = ANSWER_NETWORK, .blame = BLAME_PROVIDER};
    struct pair_rig *r = pair_rig_new(2, (struct router_limits){0});
    pair_rig_start(r);
    assert_false(is_outage(r, ROUTER_BACKOFF));
    for (int i = 0; i < PACE_TROUBLES; i++)
        pair_rig_answer(r, 0, "bee", out);
    assert_false(is_outage(r, ROUTER_BACKOFF)); /* from the other it may work */
    for (int i = 0; i < PACE_TROUBLES; i++)
        pair_rig_answer(r, 1, "bee", out);
    assert_true(is_outage(r, ROUTER_BACKOFF));
    assert_true(is_outage(r, ROUTER_CONNECTIONS)); /* while one finds out */
    pair_rig_answer(r, 1, "bee", ACCEPTED);
    assert_false(is_outage(r, ROUTER_BACKOFF));
    pair_rig_free(r);
}

static void test_trouble_with_everybody_is_no_want_of_room(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(SOURCES, (struct router_limits){0});
    pair_rig_start(r);
    run_fault(r, everywhere);
    assert_true(is_outage(r, ROUTER_RATE));
    assert_true(is_outage(r, ROUTER_BACKOFF));
    assert_false(is_outage(r, ROUTER_CAP)); /* that is room */
    assert_false(is_outage(r, ROUTER_CONNECTIONS));
    pair_rig_pass(r, RIG_DAY_MS * 1000ull);
    assert_false(is_outage(r, ROUTER_RATE));
    pair_rig_free(r);
    r = pair_rig_new(SOURCES, (struct router_limits){0});
    pair_rig_start(r);
    run_fault(r, on_source_two);
    assert_false(is_outage(r, ROUTER_RATE));
    pair_rig_free(r);
}

static void test_a_sources_trouble_is_its_own(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(SOURCES, (struct router_limits){0});
    pair_rig_start(r);
    run_fault(r, on_source_two);
    for (int i = 0; i < SOURCES; i++) {
        struct router_pair_view v = pair_rig_view(r, i);
        double deferred = v.counts->n[TALLY_DAY][TALLY_DEFERRED];
        assert_true(i == 2 ? deferred > 350 : deferred < 1);
        assert_true(i == 2 ? v.score < 0.88 : v.score > 0.95);
    }
    assert_true(tenant_deferred(r, "bee") < 5);
    pair_rig_free(r);
}

static void test_a_tenants_trouble_is_its_own(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(SOURCES, (struct router_limits){0});
    pair_rig_start(r);
    run_fault(r, of_tenant_one);
    for (int i = 0; i < SOURCES; i++)
        assert_true(pair_rig_view(r, i).score > 0.95);
    assert_true(tenant_deferred(r, "bee") > 300);
    assert_true(tenant_deferred(r, "ant") < 5);
    pair_rig_free(r);
}

static void test_tenants_are_judged_by_proof_with_hysteresis(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(1, (struct router_limits){0});
    pair_rig_start(r);
    struct span t = span_str("bee"), p = span_str("big");
    const struct tenant_bounds *b = &tenant_bounds_default;
    for (int i = 0; i < 60; i++)
        pair_rig_answer(r, 0, "bee", BAD_MAILBOX);
    assert_int_equal(tenant_verdict(r->s, t, p, b, TENANT_FINE, NULL), TENANT_FINE); /* too few */
    for (int i = 0; i < 340; i++)
        pair_rig_answer(r, 0, "bee", ACCEPTED); /* 15 % */
    assert_int_equal(tenant_verdict(r->s, t, p, b, TENANT_FINE, NULL), TENANT_QUARANTINE);
    for (int i = 0; i < 240; i++)
        pair_rig_answer(r, 0, "bee", ACCEPTED); /* 9.4 %: not proven over, not proven under */
    assert_int_equal(tenant_verdict(r->s, t, p, b, TENANT_FINE, NULL), TENANT_SLOW);
    assert_int_equal(tenant_verdict(r->s, t, p, b, TENANT_QUARANTINE, NULL), TENANT_QUARANTINE);
    for (int i = 0; i < 360; i++)
        pair_rig_answer(r, 0, "bee", ACCEPTED); /* 6 %: certainly under the bound, not under half of it */
    assert_int_equal(tenant_verdict(r->s, t, p, b, TENANT_QUARANTINE, NULL), TENANT_QUARANTINE);
    pair_rig_pass(r, 5ull * RIG_DAY_MS * 1000);
    pair_rig_answer(r, 0, "bee", ACCEPTED); /* of the day almost nothing is left, of the week enough */
    assert_int_equal(tenant_verdict(r->s, t, p, b, TENANT_QUARANTINE, NULL), TENANT_QUARANTINE);
    assert_int_equal(tenant_verdict(r->s, t, p, b, TENANT_FINE, NULL), TENANT_FINE);
    for (int i = 0; i < 2000; i++)
        pair_rig_answer(r, 0, "bee", ACCEPTED);
    assert_int_equal(tenant_verdict(r->s, t, p, b, TENANT_QUARANTINE, NULL), TENANT_FINE);
    assert_int_equal(tenant_verdict(r->s, span_str("nobody"), p, b, TENANT_FINE, NULL), TENANT_FINE);
    for (int i = 0; i < 40; i++)
        router_complained(r->s, &(struct router_late){span_str("s0"), p, t, r->wall_ms});
    assert_int_equal(tenant_verdict(r->s, t, p, b, TENANT_FINE, NULL), TENANT_QUARANTINE);
    assert_float_equal(pair_rig_view(r, 0).counts->n[TALLY_DAY][TALLY_COMPLAINT], 40, 0.01);
    pair_rig_free(r);
}

static void test_mail_refused_for_the_tenants_sake_is_proof(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(1, (struct router_limits){0});
    pair_rig_start(r);
    struct router_answer spam = {.class = ANSWER_CONTENT, .blame = BLAME_TENANT, .hard = true};
    struct tenant_view v;
    for (int i = 0; i < 200; i++)
        pair_rig_answer(r, 0, "bee", i % 5 ? ACCEPTED : spam);
    enum tenant_verdict verdict =
        tenant_verdict(r->s, span_str("bee"), span_str("big"), &tenant_bounds_default, TENANT_FINE, &v);
    assert_int_equal(verdict, TENANT_QUARANTINE);
    assert_true(v.refused_low > 0.1 && v.refused_low < 0.2);
    pair_rig_free(r);
}

/* ---- choosing ---- */

static void test_a_bad_name_gets_less(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(2, (struct router_limits){0});
    pair_rig_start(r);
    for (int i = 0; i < 200; i++) {
        pair_rig_answer(r, 0, "t", ACCEPTED);
        pair_rig_answer(r, 1, "t", i % 2 ? ACCEPTED : BAD_MAILBOX);
    }
    int n[2] = {0};
    for (int i = 0; i < 1000; i++)
        n[pair_rig_send(r, any())]++;
    double expected = pair_rig_view(r, 1).score / (pair_rig_view(r, 0).score + pair_rig_view(r, 1).score);
    assert_true(n[1] > 0 && n[1] < 400);
    assert_in_range(n[1], (int)(1000 * expected) - 10, (int)(1000 * expected) + 10);
    pair_rig_free(r);
}

static const uint64_t small_caps[] = {20, 40};
static const struct warmup_schedule small = {
    .name = "small", .caps = small_caps, .n_caps = 2, .hourly_percent = 100};

static void test_warm_sources_take_the_overflow(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(2, (struct router_limits){0});
    r->rig.sources[0].warmup = &small;
    pair_rig_start(r);
    int n[2] = {0};
    for (int i = 0; i < 500; i++) {
        pair_rig_flush(r, ROUTER_WRITE_DUE);
        n[pair_rig_send(r, any())]++;
    }
    assert_int_equal(n[0], 20);
    assert_int_equal(n[1], 480);
    struct router_candidate shown[2];
    struct router_decision d = {.candidates = shown};
    router_decide(r->s, r->scope, &(struct router_query){.now_us = r->now_us}, &d);
    assert_int_equal(shown[0].verdict, ROUTER_CAP);
    assert_int_equal(shown[1].verdict, ROUTER_CHOSEN);
    assert_true(shown[1].score > 0.89 && shown[1].score < 0.91);
    pair_rig_free(r);
}

/* A day's mail of which a new source may have its whole share: it gets it, and not before its time. */
static void test_a_cap_is_spent_over_the_day(void **state)
{
    (void)state;
    static const uint64_t caps[] = {240, 480};
    static const struct warmup_schedule schedule = {
        .name = "half", .caps = caps, .n_caps = 2, .hourly_percent = 100};
    struct pair_rig *r = pair_rig_new(2, (struct router_limits){0});
    r->rig.sources[1].warmup = &schedule;
    r->wall_ms = 20000ull * RIG_DAY_MS;
    pair_rig_start(r);
    int sent[2] = {0};
    for (int i = 0; i < 480; i++) { /* 20 an hour, half of them are the cap */
        pair_rig_flush(r, ROUTER_WRITE_DUE);
        int source = pair_rig_send(r, any());
        assert_true(source >= 0);
        sent[source]++;
        if (i == 239)
            assert_in_range(sent[1], 105, 125);
        pair_rig_pass(r, 180ull * S);
    }
    assert_in_range(sent[1], 220, 240);
    pair_rig_free(r);
}

static void test_one_attempt_on_a_warming_source(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(3, (struct router_limits){0});
    r->rig.sources[0].warmup = r->rig.sources[1].warmup = warmup_stages();
    pair_rig_start(r);
    for (int i = 0; i < 50; i++) {
        pair_rig_flush(r, ROUTER_WRITE_DUE);
        assert_int_equal(pair_rig_send(r, (struct router_query){.tried = true}), 2);
    }
    /* Greylisted by one: goes back there all the same. */
    assert_int_equal(pair_rig_send(r, (struct router_query){.tried = true, .sticky = span_str("s0")}), 0);
    r->rig.sources[2].enabled = false; /* without a warm one it goes from where it can */
    pair_rig_flush(r, ROUTER_WRITE_DUE);
    assert_true(pair_rig_send(r, (struct router_query){.tried = true}) >= 0);
    pair_rig_free(r);
}

static void test_marked_warm(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(1, (struct router_limits){0});
    r->rig.sources[0].warmup = &small;
    pair_rig_start(r);
    assert_int_equal(pair_rig_view(r, 0).days_left, 2);
    assert_int_equal(pair_rig_send(r, any()), -1);
    assert_true(router_pair_mark_warm(r->s, span_str("s0"), span_str("big"), span_str("came warm")));
    assert_false(router_pair_mark_warm(r->s, span_str("s9"), span_str("big"), span_str("x")));
    for (int i = 0; i < 100; i++)
        assert_int_equal(pair_rig_send(r, any()), 0);
    pair_rig_flush(r, ROUTER_WRITE_DUE);
    pair_rig_crash(r);
    pair_rig_start(r);
    assert_string_equal(pair_rig_view(r, 0).mark, "came warm");
    assert_true(pair_rig_view(r, 0).cap == UINT64_MAX);
    pair_rig_free(r);
}

static void test_senders_keep_to_few_sources_where_there_is_room(void **state)
{
    (void)state;
    enum { N = 50, DOMAINS = 400 };
    struct pair_rig *r = pair_rig_new(N, (struct router_limits){.connections = 1});
    pair_rig_start(r);
    int used[N] = {0}, all = 0;
    for (int d = 0; d < DOMAINS; d++) {
        char domain[32];
        bool met[N] = {false};
        int sources = 0;
        snprintf(domain, sizeof(domain), "sender%d.example", d);
        for (int i = 0; i < 12; i++) {
            int at = pair_rig_send(r, (struct router_query){.sender = span_str(domain)});
            sources += !met[at];
            met[at] = true;
            used[at]++;
        }
        all += sources;
    }
    assert_in_range(all, 2 * DOMAINS, 4 * DOMAINS);
    for (int i = 0; i < N; i++)
        assert_in_range(used[i], 60, 96 + 40); /* all get their part: 96 on average */
    int open = 0;
    for (struct router_decision d;
         (d = pair_rig_decide(r, (struct router_query){.sender = span_str("x.example")})).source >= 0; open++)
        router_take(r->s, r->scope, &d, r->now_us);
    assert_int_equal(open, N); /* with no room there the others take it */
    pair_rig_free(r);
}

static void test_weight_counts_before_the_senders_sources(void **state)
{
    (void)state;
    enum { N = 6, DOMAINS = 2, MESSAGES = 6000 };
    static const char *const domains[DOMAINS] = {"one.example", "two.example"};
    struct pair_rig *r = pair_rig_new(N, (struct router_limits){0});
    r->rig.sources[5].weight = 3;
    pair_rig_start(r);
    int used[N] = {0};
    for (int i = 0; i < MESSAGES; i++)
        used[pair_rig_send(r, (struct router_query){.sender = span_str(domains[i / 50 % DOMAINS])})]++;
    for (int i = 0; i < N; i++) { /* of eight shares one each, and three */
        int share = MESSAGES / 8 * (i == 5 ? 3 : 1);
        assert_in_range(used[i], share - 120, share + 120);
    }
    pair_rig_free(r);
}

/* ---- records ---- */

static void test_export_and_import(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(2, (struct router_limits){0}),
                    *other = pair_rig_new(2, (struct router_limits){0});
    r->rig.sources[0].warmup = other->rig.sources[0].warmup = warmup_stages();
    pair_rig_start(r);
    pair_rig_start(other);
    for (int day = 0; day < 3; day++) {
        for (int i = 0; i < 2000; i++) {
            pair_rig_flush(r, ROUTER_WRITE_DUE);
            if (pair_rig_send(r, (struct router_query){.sticky = span_str("s0")}) == 0)
                pair_rig_answer(r, 0, "t", ACCEPTED);
            pair_rig_pass(r, 40ull * S);
        }
        pair_rig_pass(r, 20ull * RIG_HOUR_MS * 1000);
    }
    struct router_pair_view v = pair_rig_view(r, 0);
    assert_true(v.stage >= 2);
    struct buf packed = BUF_INIT;
    struct arena a = ARENA_INIT;
    assert_true(router_pair_export(r->s, span_str("s0"), span_str("big"), r->wall_ms, &packed));
    assert_false(router_pair_export(r->s, span_str("s7"), span_str("big"), r->wall_ms, &packed));
    Remuda__PairState *record = pair_decode(&a, buf_span(&packed));
    assert_non_null(record);
    assert_true(router_pair_import(other->s, record, other->wall_ms));
    assert_int_equal(pair_rig_view(other, 0).stage, v.stage);
    assert_float_equal(pair_rig_view(other, 0).score, v.score, 1e-9);
    record->source = "unknown";
    assert_false(router_pair_import(other->s, record, other->wall_ms));
    buf_fini(&packed);
    arena_fini(&a);
    pair_rig_free(r);
    pair_rig_free(other);
}

static bool decodes(const Remuda__PairState *record)
{
    struct buf packed = BUF_INIT;
    struct arena a = ARENA_INIT;
    proto_pack(&packed, &record->base);
    bool good = pair_decode(&a, buf_span(&packed)) != NULL;
    buf_fini(&packed);
    arena_fini(&a);
    return good;
}

static void test_records_out_of_bounds_do_not_decode(void **state)
{
    (void)state;
    Remuda__PairState good = REMUDA__PAIR_STATE__INIT, bad;
    Remuda__Counts counts = REMUDA__COUNTS__INIT;
    double four[] = {1, 2, 3, 4}, five[] = {1, 2, 3, 4, -1};
    good.source = "s0";
    good.provider = "big";
    assert_true(decodes(&good));
    bad = good;
    bad.source = "";
    assert_false(decodes(&bad));
    bad = good;
    bad.pace = 1e300;
    assert_false(decodes(&bad));
    bad = good;
    bad.pace_from = -1;
    assert_false(decodes(&bad));
    bad = good;
    bad.suspended_for_ms = UINT64_MAX;
    assert_false(decodes(&bad));
    bad = good;
    bad.relapses = 65;
    assert_false(decodes(&bad));
    bad = good;
    bad.connections = -1;
    assert_false(decodes(&bad));
    bad = good;
    bad.stopped_until_ms = UINT64_MAX;
    assert_false(decodes(&bad));
    bad = good;
    bad.counts = &counts;
    counts.hour = counts.day = counts.week = four;
    counts.n_hour = counts.n_day = counts.n_week = 4;
    assert_false(decodes(&bad));
    counts.hour = counts.day = counts.week = five;
    counts.n_hour = counts.n_day = counts.n_week = 5;
    assert_false(decodes(&bad));
    five[4] = 5;
    assert_true(decodes(&bad));
}

static void test_a_newer_record_is_distrusted(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(1, (struct router_limits){0});
    r->rig.sources[0].warmup = warmup_stages();
    r->s = router_state_new(&r->rig.config);
    router_tick(r->s, r->now_us, r->wall_ms);
    Remuda__PairState record = REMUDA__PAIR_STATE__INIT;
    record.source = "s0";
    record.provider = "big";
    record.format = ROUTER_PAIR_FORMAT + 1;
    assert_false(router_load_pair(r->s, &record, r->wall_ms));
    assert_false(router_load_pair(r->s, NULL, r->wall_ms));
    r->scope = router_scope_ref(r->s, 0, 1, 0, span_str(""));
    pair_rig_flush(r, ROUTER_WRITE_DUE);
    assert_int_equal(pair_rig_send(r, any()), -1);
    pair_rig_free(r);
}

static void test_removed_sources_age_out(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(2, (struct router_limits){0});
    pair_rig_start(r);
    for (int i = 0; i < 10; i++)
        pair_rig_answer(r, pair_rig_send(r, any()), "t", ACCEPTED);
    pair_rig_flush(r, ROUTER_WRITE_LAST);
    r->rig.pool.n_members = r->rig.config.n_sources = 1; /* s1 is gone */
    router_state_configure(r->s, &r->rig.config);
    pair_rig_pass(r, 80ull * RIG_DAY_MS * 1000);
    pair_rig_flush(r, ROUTER_WRITE_LAST);
    struct router_pair_view v;
    assert_true(router_pair_find(r->s, span_str("s1"), span_str("big"), r->now_us, &v));
    assert_false(v.configured);
    pair_rig_pass(r, 12ull * RIG_DAY_MS * 1000);
    pair_rig_flush(r, ROUTER_WRITE_LAST);
    assert_false(router_pair_find(r->s, span_str("s1"), span_str("big"), r->now_us, &v));
    assert_true(router_pair_find(r->s, span_str("s0"), span_str("big"), r->now_us, &v));
    pair_rig_crash(r);
    pair_rig_start(r);
    assert_false(router_pair_find(r->s, span_str("s1"), span_str("big"), r->now_us, &v));
    pair_rig_free(r);
}

/* Same inputs, same decisions, same records. */
static void test_it_is_deterministic(void **state)
{
    (void)state;
    struct pair_rig *r[2];
    uint64_t seed[2] = {21, 21};
    for (int k = 0; k < 2; k++) {
        r[k] = pair_rig_new(5, (struct router_limits){.rate_count = 10, .rate_per_us = S});
        r[k]->rig.sources[1].warmup = warmup_stages();
        pair_rig_start(r[k]);
    }
    for (int i = 0; i < 20000; i++) {
        struct router_decision d[2];
        for (int k = 0; k < 2; k++) {
            d[k] = pair_rig_decide(r[k], (struct router_query){.sender = span_str("a.example")});
            if (d[k].source >= 0) {
                router_take(r[k]->s, r[k]->scope, &d[k], r[k]->now_us);
                router_connection_closed(r[k]->s, r[k]->scope, d[k].source);
                pair_rig_answer(r[k], d[k].source, "t", rig_random(&seed[k]) % 9 ? ACCEPTED : SLOW_DOWN);
            }
            pair_rig_pass(r[k], rig_random(&seed[k]) % 3 * S);
            pair_rig_flush(r[k], ROUTER_WRITE_DUE);
        }
        assert_int_equal(d[0].source, d[1].source);
        assert_int_equal(d[0].state_version, d[1].state_version);
        assert_int_equal(d[0].until_us, d[1].until_us);
    }
    for (int i = 0; i < r[0]->store->n; i++)
        assert_true(span_eq(buf_span(&r[0]->store->rows[i].value), buf_span(&r[1]->store->rows[i].value)));
    pair_rig_free(r[0]);
    pair_rig_free(r[1]);
}

/* State versions of a later claim are above those of an earlier one. */
static void test_versions_grow_over_claims(void **state)
{
    (void)state;
    struct pair_rig *r = pair_rig_new(1, (struct router_limits){0});
    uint64_t last = 0;
    for (int life = 0; life < 3; life++) {
        pair_rig_start(r);
        for (int i = 0; i < 100; i++) {
            uint64_t version = pair_rig_decide(r, any()).state_version;
            assert_true(version > last);
            last = version;
            pair_rig_send(r, any());
        }
        pair_rig_crash(r);
    }
    pair_rig_start(r);
    pair_rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_single_bounce_never_suspends),
        cmocka_unit_test(test_a_blocklist_suspends_the_pair_alone),
        cmocka_unit_test(test_a_suspension_ends_and_the_pace_comes_back),
        cmocka_unit_test(test_relapses_double_a_suspension),
        cmocka_unit_test(test_what_was_sent_before_outlives_a_restart),
        cmocka_unit_test(test_being_blocked_without_a_list_suspends_by_proof),
        cmocka_unit_test(test_slow_down_is_felt_within_limits),
        cmocka_unit_test(test_fewer_connections_and_stops),
        cmocka_unit_test(test_greylisting_punishes_nobody),
        cmocka_unit_test(test_a_site_slows_down_alone),
        cmocka_unit_test(test_the_providers_trouble_blames_nobody),
        cmocka_unit_test(test_an_outage_is_no_want_of_room),
        cmocka_unit_test(test_trouble_with_everybody_is_no_want_of_room),
        cmocka_unit_test(test_a_sources_trouble_is_its_own),
        cmocka_unit_test(test_a_tenants_trouble_is_its_own),
        cmocka_unit_test(test_tenants_are_judged_by_proof_with_hysteresis),
        cmocka_unit_test(test_mail_refused_for_the_tenants_sake_is_proof),
        cmocka_unit_test(test_a_bad_name_gets_less),
        cmocka_unit_test(test_warm_sources_take_the_overflow),
        cmocka_unit_test(test_a_cap_is_spent_over_the_day),
        cmocka_unit_test(test_one_attempt_on_a_warming_source),
        cmocka_unit_test(test_marked_warm),
        cmocka_unit_test(test_senders_keep_to_few_sources_where_there_is_room),
        cmocka_unit_test(test_weight_counts_before_the_senders_sources),
        cmocka_unit_test(test_refused_for_its_name_is_blocked_and_stopped),
        cmocka_unit_test(test_export_and_import),
        cmocka_unit_test(test_records_out_of_bounds_do_not_decode),
        cmocka_unit_test(test_a_newer_record_is_distrusted),
        cmocka_unit_test(test_removed_sources_age_out),
        cmocka_unit_test(test_it_is_deterministic),
        cmocka_unit_test(test_versions_grow_over_claims),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
