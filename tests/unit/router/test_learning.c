/* What is learned from answers, each part alone: decayed counts, the score, warm-up days, pace, contrast. */
#include "tests/unit/router/rig.h"

#include "router/contrast.h"
#include "router/pace.h"
#include "router/reputation.h"
#include "router/warmup.h"

enum { DAY_S = 86400, T0 = 1700000000 };

/* ---- counts and score ---- */

static void add_random(struct tally *t, uint64_t *seed, uint64_t now)
{
    tally_add(t, (enum tally_class)(rig_random(seed) % TALLY_CLASSES), rig_random(seed) % 50, now);
}

static void test_score_is_bounded_and_monotone(void **state)
{
    (void)state;
    uint64_t seed = 7;
    struct tally t = {0};
    for (int i = 0; i < 100000; i++) {
        uint64_t now = T0 + (uint64_t)i * (rig_random(&seed) % 400);
        add_random(&t, &seed, now);
        double score = reputation_score(&t);
        assert_true(score > 0 && score < 1);
        struct tally more = t;
        tally_add(&more, TALLY_ACCEPTED, 1, now);
        assert_true(reputation_score(&more) >= score);
        more = t;
        tally_add(&more, (enum tally_class)(1 + rig_random(&seed) % (TALLY_CLASSES - 1)), 1, now);
        assert_true(reputation_score(&more) <= score);
    }
}

static void test_score_forgets(void **state)
{
    (void)state;
    struct tally t = {0};
    assert_float_equal(reputation_score(&t), 0.9, 1e-9);
    tally_add(&t, TALLY_BLOCKED, 10000, T0);
    assert_true(reputation_score(&t) < 0.01);
    double last = reputation_score(&t);
    for (int day = 1; day < 200; day++) {
        tally_decay(&t, T0 + (uint64_t)day * DAY_S);
        assert_true(reputation_score(&t) >= last);
        last = reputation_score(&t);
    }
    assert_float_equal(last, 0.9, 0.001);
    tally_decay(&t, T0); /* a clock that goes back */
    assert_float_equal(reputation_score(&t), last, 0);
}

static void test_small_numbers_prove_nothing(void **state)
{
    (void)state;
    struct tally t = {0};
    tally_add(&t, TALLY_BAD_MAILBOX, 1, T0);
    assert_true(reputation_score(&t) > 0.75);
    assert_false(reputation_is_blocked(&t));
    for (int i = 0; i < 18; i++)
        tally_add(&t, TALLY_BLOCKED, 1, T0);
    assert_false(reputation_is_blocked(&t));
    tally_add(&t, TALLY_BLOCKED, 1, T0);
    assert_true(reputation_is_blocked(&t));
    double doubt = reputation_doubt(&t);
    tally_add(&t, TALLY_ACCEPTED, 1000, T0);
    assert_true(reputation_doubt(&t) < doubt);
}

/* The worked example of docs/ROUTER.md. */
static void test_worked_example(void **state)
{
    (void)state;
    struct tally t = {0};
    tally_add(&t, TALLY_ACCEPTED, 900, T0);
    tally_add(&t, TALLY_DEFERRED, 60, T0);
    tally_add(&t, TALLY_BAD_MAILBOX, 20, T0);
    assert_float_equal(reputation_score(&t), 918.0 / 1040, 1e-9);
    tally_decay(&t, T0 + 3600);
    double hour = (18 + 450.0) / (20 + 450 + 60), keep_day = 0.97153, keep_week = 0.99588;
    double day = (18 + 900 * keep_day) / (20 + 1020 * keep_day);
    double week = (18 + 900 * keep_week) / (20 + 1020 * keep_week);
    assert_float_equal(reputation_score(&t), 0.5 * hour + 0.3 * day + 0.2 * week, 1e-5);
}

static void test_bounds_of_shares(void **state)
{
    (void)state;
    assert_float_equal(share_low(0, 10), 0, 0);
    assert_float_equal(share_high(10, 10), 1, 0);
    assert_float_equal(share_low(0, 0), 0, 0);
    assert_float_equal(share_high(0, 0), 1, 0);
    for (int n = 1; n < 2000; n *= 3)
        for (int k = 0; k <= n; k++) {
            double p = (double)k / n;
            assert_true(share_low(k, n) <= p && p <= share_high(k, n));
            assert_true(share_low(k * 4, n * 4) >= share_low(k, n));
        }
}

/* ---- warm-up ---- */

static struct warmup_schedule geometric(uint64_t caps[WARMUP_STAGES_MOST])
{
    return (struct warmup_schedule){.name = "geometric",
                                    .caps = caps,
                                    .n_caps = warmup_geometric(480, 1.4, 1000000, caps),
                                    .hourly_percent = 20};
}

static void test_schedules(void **state)
{
    (void)state;
    uint64_t caps[WARMUP_STAGES_MOST];
    struct warmup_schedule g = geometric(caps);
    assert_int_equal(caps[0] / 24, 20); /* SendGrid's 20, 28, 39, 55 an hour */
    assert_int_equal(caps[1] / 24, 28);
    assert_int_equal(caps[3] / 24, 54);
    assert_true(caps[g.n_caps - 1] >= 1000000 && caps[g.n_caps - 2] < 1000000);
    assert_int_equal(warmup_stages()->n_caps, 29);
    assert_int_equal(warmup_cap(warmup_stages(), 28), 10000000);
    assert_true(warmup_cap(warmup_stages(), 29) == UINT64_MAX);
    assert_true(warmup_cap(NULL, 0) == UINT64_MAX);
    assert_int_equal(warmup_hour_cap(&g, 0), 96);
    assert_int_equal(warmup_stage_for(&g, 700), 1);
    assert_int_equal(warmup_stage_for(&g, UINT64_MAX - 1), (uint32_t)g.n_caps - 1);
}

static struct warmup after(struct warmup w, const struct warmup_schedule *s, uint32_t days)
{
    warmup_roll(&w, s, w.day + days);
    return w;
}

static void test_days_that_count(void **state)
{
    (void)state;
    uint64_t caps[WARMUP_STAGES_MOST];
    struct warmup_schedule g = geometric(caps);
    struct warmup w = {.stage = 3, .day = 20000, .last_used_day = 19999, .used = 660};
    w.accepted = 650;
    w.refused = 10;
    assert_int_equal(after(w, &g, 1).stage, 4);
    assert_int_equal(after(w, &g, 1).used, 0);
    assert_int_equal(after(w, &g, 1).last_used_day, 20000);
    w.used = 650; /* under half of 1317 */
    assert_int_equal(after(w, &g, 1).stage, 3);
    w.used = 1300;
    w.accepted = 180;
    w.refused = 15; /* 92 %, but of so few that 90 % is not certain */
    assert_int_equal(after(w, &g, 1).stage, 3);
    w.accepted = 800;
    w.refused = 200;
    assert_int_equal(after(w, &g, 1).stage, 2);
    w.stage = 0;
    assert_int_equal(after(w, &g, 1).stage, 0);
    struct warmup small = {
        .day = 20000, .used = 10, .accepted = 10}; /* a stage of ten: three days prove it */
    const uint64_t tens[] = {10, 10};
    struct warmup_schedule ten = {.name = "ten", .caps = tens, .n_caps = 2, .hourly_percent = 20};
    for (uint32_t day = 1; day <= 3; day++) {
        small = after(small, &ten, 1);
        assert_int_equal(small.stage, day == 3);
        small.used = 10;
        small.accepted += 10;
    }
    w = (struct warmup){.stage = 3, .day = 20000, .last_used_day = 19999, .refused = 1, .used = 1};
    assert_int_equal(after(w, &g, 1).stage, 3); /* one refusal proves nothing */
}

static void test_quick_days_count_twice(void **state)
{
    (void)state;
    uint64_t caps[WARMUP_STAGES_MOST];
    struct warmup_schedule g = geometric(caps);
    struct warmup w = {.stage = 3, .day = 20000, .last_used_day = 19999, .used = 1200, .accepted = 1190};
    assert_int_equal(after(w, &g, 1).stage, 4);
    g.quick = true;
    assert_int_equal(after(w, &g, 1).stage, 5);
    w.used = 1180; /* under nine tenths of 1317 */
    assert_int_equal(after(w, &g, 1).stage, 4);
    w.used = 1317;
    w.refused = 300;
    assert_int_equal(after(w, &g, 1).stage, 2);
    w = (struct warmup){.stage = (uint32_t)g.n_caps - 2, .day = 20000, .used = 900000, .accepted = 900000};
    assert_int_equal(after(w, &g, 1).stage, (uint32_t)g.n_caps - 1);
    const uint64_t steep[] = {100, 200, 400, 800};
    struct warmup_schedule s = {.name = "s", .caps = steep, .n_caps = 4, .quick = true, .hourly_percent = 20};
    w = (struct warmup){.day = 20000, .used = 100, .accepted = 100};
    assert_int_equal(after(w, &s, 1).stage, 1); /* four times as much is not dared */
}

static void test_silence_steps_back(void **state)
{
    (void)state;
    uint64_t caps[WARMUP_STAGES_MOST];
    struct warmup_schedule g = geometric(caps);
    struct warmup w = {.stage = 10, .day = 20000, .last_used_day = 19999, .used = 1};
    assert_int_equal(after(w, &g, 7).stage, 10);
    assert_int_equal(after(w, &g, 8).stage, 9);
    assert_int_equal(after(w, &g, 15).stage, 8);
    assert_int_equal(after(w, &g, 31).stage, 0);
    struct warmup daily = w; /* rolled every day instead of once: the same */
    for (int i = 1; i <= 15; i++)
        daily = after(daily, &g, 1);
    assert_int_equal(daily.stage, 8);
    assert_int_equal(daily.day, 20015);
    struct warmup full = {.stage = (uint32_t)g.n_caps, .day = 20000, .used = 5};
    assert_int_equal(after(full, &g, 8).stage, (uint32_t)g.n_caps - 1);
    assert_int_equal(after(full, NULL, 8).stage, (uint32_t)g.n_caps);
}

static void test_thousand_days(void **state)
{
    (void)state;
    uint64_t caps[WARMUP_STAGES_MOST], seed = 3;
    struct warmup_schedule g = geometric(caps);
    struct warmup w = {0};
    g.quick = true;
    warmup_roll(&w, &g, 20000);
    for (uint32_t day = 20001; day < 21000; day++) {
        uint32_t before = w.stage;
        uint64_t cap = warmup_cap(&g, before);
        uint64_t wanted = rig_random(&seed) % 3000000;
        w.used = wanted < cap ? wanted : cap;
        uint64_t refused = w.used * (rig_random(&seed) % 16) / 100;
        w.refused += refused;
        w.accepted += w.used - refused;
        warmup_roll(&w, &g, day);
        assert_true(w.stage <= before + 2 && w.stage + 1 >= before);
        if (w.stage > before + 1)
            assert_true(warmup_cap(&g, w.stage) <= 2 * cap);
        assert_true(w.stage <= (uint32_t)g.n_caps);
    }
}

/* ---- pace ---- */

static void test_pace_moves_within_bounds(void **state)
{
    (void)state;
    uint64_t seed = 5, now = 1000000;
    struct pace_bounds b = {.floor = 0.1, .ceiling = 50, .connections = 20};
    struct pace p;
    pace_init(&p, &b);
    for (int i = 0; i < 100000; i++) {
        double rate = p.rate;
        uint32_t connections = pace_connections(&p), dice = rig_random(&seed) % 100;
        now += rig_random(&seed) % 5000000;
        if (dice < 30)
            pace_slower(&p, &b, rig_random(&seed) % 60, now);
        else if (dice < 40)
            pace_fewer(&p, &b, 1 + rig_random(&seed) % 20, now);
        else
            pace_accepted(&p, &b, now);
        assert_true(p.rate >= b.floor && p.rate <= b.ceiling);
        assert_true(pace_connections(&p) >= 1);
        assert_true(dice < 30 ? p.rate <= rate : p.rate >= rate);
        if (dice >= 30 && dice < 40)
            assert_true(pace_connections(&p) <= connections);
    }
}

static void test_pace_decreases_once_and_recovers(void **state)
{
    (void)state;
    const uint64_t s = 1000000;
    struct pace_bounds b = {.floor = 0.1, .ceiling = 100};
    struct pace p;
    pace_init(&p, &b);
    for (int i = 0; i < 1000; i++) /* a burst of answers to what was in hand */
        pace_slower(&p, &b, 20, 100 * s + (uint64_t)i);
    assert_float_equal(p.rate, 10, 1e-9); /* half of what was really sent */
    pace_accepted(&p, &b, 129 * s);
    assert_float_equal(p.rate, 10, 1e-9);
    pace_accepted(&p, &b, 131 * s);
    assert_float_equal(p.rate, 11, 1e-9); /* and a twentieth of it more each time, not of the ceiling */
    uint64_t now = 131 * s;
    while (!pace_is_full(&p, &b, now))
        pace_accepted(&p, &b, now += s);
    assert_in_range(now / s, 1000, 1700); /* five minutes back to 20/s, then 5 % each time */
}

/* Whatever came before, one accepted message adds no more than a twentieth of what had been sent. */
static void test_pace_never_leaps(void **state)
{
    (void)state;
    const uint64_t s = 1000000;
    struct pace_bounds b = {.floor = 0.1};
    struct pace p;
    pace_init(&p, &b);
    for (uint64_t now = 100 * s; now < 1000 * s; now += 31 * s)
        pace_slower(&p, &b, 8, now);
    assert_float_equal(p.rate, 0.1, 1e-9);
    uint64_t now = 2000 * s, back = 0;
    for (int i = 0; i < 200; i++, now += 30 * s) {
        double before = p.rate;
        pace_accepted(&p, &b, now);
        assert_true(p.rate <= before + (before > 8 ? before : 8) / 20 + 1e-9);
        back = !back && p.rate >= 8 ? now : back;
    }
    assert_in_range(back / s, 2000 + 500, 2000 + 700); /* ten minutes until it is where it was */
    assert_true(p.rate > 100);
    pace_to_floor(&p, &b, 0, now); /* back from a suspension */
    pace_accepted(&p, &b, now + 3600 * s);
    assert_true(p.rate < 1000.0 / PACE_STEPS + 0.2);
}

/* A burst of 200 meets a receiver that takes 20: each refusal takes one away, no round of halvings is needed.
 */
static void test_connections_fall_to_what_is_accepted(void **state)
{
    (void)state;
    const uint64_t s = 1000000, allowed = 20;
    struct pace_bounds b = {.floor = 0.1};
    struct pace p;
    pace_init(&p, &b);
    uint64_t now = 100 * s;
    for (uint32_t open = 200; open > allowed; open--)
        pace_fewer(&p, &b, open, now++);
    assert_int_equal(pace_connections(&p), allowed);
    int refused = 0;
    for (int i = 0; i < 24 * 3600; i++) { /* and tried ever more seldom */
        pace_accepted(&p, &b, now += s);
        if (pace_connections(&p) > allowed) {
            pace_fewer(&p, &b, pace_connections(&p), now);
            refused++;
        }
        assert_in_range(pace_connections(&p), allowed, allowed + 1);
    }
    assert_in_range(refused, 10, 40);   /* a day's; once in 30 s would be thousands */
    for (int i = 0; i < 24 * 3600; i++) /* it has become generous */
        pace_accepted(&p, &b, now += s);
    assert_int_equal(pace_connections(&p), UINT32_MAX);
}

/* Sends for so many hours, as fast as it may, to a receiver that takes limit a second (0: any number) and of
 * that all but refused percent. Returns the share refused in the second half. */
static double play(struct pace *p, const struct pace_bounds *b, double limit, uint32_t refused, int hours)
{
    uint64_t seed = 11, now = 1000000000, end = now + (uint64_t)hours * 3600000000ull, half = (now + end) / 2;
    double tokens = 1, sent = 0, no = 0, recent = 4;
    while (now < end) {
        double rate = p->rate < 4 ? p->rate : 4; /* as much as there is to send */
        uint64_t step = (uint64_t)(1e6 / rate);
        tokens = tokens + limit / rate < 1 ? tokens + limit / rate : 1;
        bool takes = (limit <= 0 || tokens >= 1) && rig_random(&seed) % 100 >= refused;
        tokens -= takes ? 1 : 0;
        recent += (rate - recent) / 100;
        if (takes)
            pace_accepted(p, b, now);
        else
            pace_slower(p, b, recent, now);
        sent += now > half;
        no += now > half && !takes;
        now += step;
    }
    return no / sent;
}

/* A receiver that refuses two fifths however slowly one sends does not mean the rate. One that has a limit,
 * or refuses nearly all, does. */
static void test_a_useless_decrease_is_not_repeated(void **state)
{
    (void)state;
    struct pace_bounds b = {.floor = 0.01};
    struct pace p;
    pace_init(&p, &b);
    play(&p, &b, 0, 40, 6);
    assert_true(p.rate > 1);
    pace_init(&p, &b);
    assert_true(play(&p, &b, 1, 0, 6) < 0.1);
    assert_true(p.rate > 0.4 && p.rate < 1.5);
    pace_init(&p, &b);
    play(&p, &b, 0, 90, 6);
    assert_true(p.rate < 0.2);
}

static void test_an_outage_is_waited_out(void **state)
{
    (void)state;
    const uint64_t s = 1000000;
    struct pace_bounds b = {.connections = 20};
    struct pace p;
    pace_init(&p, &b);
    uint64_t now = 100 * s;
    for (int i = 1; i < PACE_TROUBLES; i++)
        pace_trouble(&p, now);
    assert_int_equal(p.until_us, 0);
    pace_works(&p); /* it says something between: no outage */
    for (int i = 1; i < PACE_TROUBLES; i++)
        pace_trouble(&p, now);
    assert_int_equal(p.until_us, 0);
    for (uint64_t wait = PACE_TROUBLE_S; wait < 2000; wait *= 2) {
        pace_trouble(&p, now);
        pace_trouble(&p, now + 1); /* an attempt that had begun before */
        assert_int_equal((p.until_us - now) / s, wait < PACE_TROUBLE_MOST_S ? wait : PACE_TROUBLE_MOST_S);
        assert_int_equal(pace_connections(&p), 1); /* one finds out for all */
        now = p.until_us;
    }
    pace_accepted(&p, &b, now);
    assert_true(pace_is_full(&p, &b, now));
    assert_int_equal(pace_connections(&p), UINT32_MAX);
}

static void test_stops_double(void **state)
{
    (void)state;
    const uint64_t s = 1000000;
    struct pace_bounds b = {.ceiling = 10};
    struct pace p;
    pace_init(&p, &b);
    uint64_t now = 100 * s;
    for (uint64_t wait = 60; wait < 20000; wait *= 2) {
        pace_stop(&p, 0, now);
        pace_stop(&p, 0, now + 1); /* the next answer in hand */
        assert_int_equal(p.until_us - now, (wait < 3600 ? wait : 3600) * s);
        now = p.until_us;
    }
    pace_accepted(&p, &b, now);
    pace_stop(&p, 0, now);
    assert_int_equal(p.until_us - now, 60 * s);
    pace_stop(&p, 4 * 3600 * s, now);
    assert_int_equal(p.until_us - now, 4 * 3600 * s);
}

/* ---- contrast ---- */

enum { SOURCES = 4, TENANTS = 5 };

struct world {
    struct contrast all, sources[SOURCES], tenants[TENANTS];
};

/* percent[source][tenant] of the answers are deferrals, for a while. */
static void run_world(struct world *w, int percent[SOURCES][TENANTS], uint64_t from_s, int minutes)
{
    uint64_t seed = 11;
    for (int i = 0; i < minutes * 60; i++)
        for (int s = 0; s < SOURCES; s++) {
            int t = (int)(rig_random(&seed) % TENANTS);
            bool bad = (int)(rig_random(&seed) % 100) < percent[s][t];
            uint64_t now = from_s + (uint64_t)i;
            contrast_add(&w->all, bad, 1, now);
            contrast_add(&w->sources[s], bad, 1, now);
            contrast_add(&w->tenants[t], bad, 1, now);
        }
    uint64_t end = from_s + (uint64_t)minutes * 60;
    contrast_decay(&w->all, end);
    for (int s = 0; s < SOURCES; s++)
        contrast_decay(&w->sources[s], end);
    for (int t = 0; t < TENANTS; t++)
        contrast_decay(&w->tenants[t], end);
}

static void usual(struct world *w)
{
    int percent[SOURCES][TENANTS];
    for (int i = 0; i < SOURCES * TENANTS; i++)
        percent[i / TENANTS][i % TENANTS] = 3;
    *w = (struct world){0};
    run_world(w, percent, T0, 600);
}

static void scenario(int source, int tenant, enum fault mine, enum fault others)
{
    struct world w;
    int percent[SOURCES][TENANTS];
    usual(&w);
    for (int s = 0; s < SOURCES; s++)
        for (int t = 0; t < TENANTS; t++)
            percent[s][t] = (source < 0 || s == source) && (tenant < 0 || t == tenant) ? 70 : 3;
    run_world(&w, percent, T0 + 36000, 10);
    for (int s = 0; s < SOURCES; s++)
        for (int t = 0; t < TENANTS; t++) {
            bool hit = (source < 0 || s == source) && (tenant < 0 || t == tenant);
            enum fault f = contrast_judge(&w.all, &w.sources[s], &w.tenants[t]);
            if (hit)
                assert_int_equal(f, mine);
            else
                assert_true(f == others || f == FAULT_UNKNOWN);
        }
}

static void test_fault_of_the_provider(void **state)
{
    (void)state;
    scenario(-1, -1, FAULT_PROVIDER, FAULT_PROVIDER);
}

static void test_fault_of_a_source(void **state)
{
    (void)state;
    scenario(2, -1, FAULT_SOURCE, FAULT_UNKNOWN);
}

static void test_fault_of_a_tenant(void **state)
{
    (void)state;
    scenario(-1, 1, FAULT_TENANT, FAULT_UNKNOWN);
}

/* What all others have had all day, one has now too: it is not its doing, though only for it is it new. */
static void test_as_bad_as_the_others_is_no_fault(void **state)
{
    (void)state;
    struct world w = {0};
    int percent[SOURCES][TENANTS];
    for (int i = 0; i < SOURCES * TENANTS; i++)
        percent[i / TENANTS][i % TENANTS] = i % TENANTS == 4 ? 3 : 50;
    run_world(&w, percent, T0, 600);
    for (int s = 0; s < SOURCES; s++)
        percent[s][4] = 50;
    run_world(&w, percent, T0 + 36000, 10);
    for (int s = 0; s < SOURCES; s++)
        assert_int_equal(contrast_judge(&w.all, &w.sources[s], &w.tenants[4]), FAULT_UNKNOWN);
}

static void test_no_contrast_no_fault(void **state)
{
    (void)state;
    struct world w;
    usual(&w);
    for (int s = 0; s < SOURCES; s++)
        for (int t = 0; t < TENANTS; t++)
            assert_int_equal(contrast_judge(&w.all, &w.sources[s], &w.tenants[t]), FAULT_UNKNOWN);
    struct contrast only = {0};
    for (int i = 0; i < 100; i++)
        contrast_add(&only, true, 1, T0);
    assert_int_equal(contrast_judge(&only, &only, &only), FAULT_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_score_is_bounded_and_monotone),
        cmocka_unit_test(test_score_forgets),
        cmocka_unit_test(test_small_numbers_prove_nothing),
        cmocka_unit_test(test_worked_example),
        cmocka_unit_test(test_bounds_of_shares),
        cmocka_unit_test(test_schedules),
        cmocka_unit_test(test_days_that_count),
        cmocka_unit_test(test_silence_steps_back),
        cmocka_unit_test(test_thousand_days),
        cmocka_unit_test(test_pace_moves_within_bounds),
        cmocka_unit_test(test_pace_decreases_once_and_recovers),
        cmocka_unit_test(test_pace_never_leaps),
        cmocka_unit_test(test_a_useless_decrease_is_not_repeated),
        cmocka_unit_test(test_an_outage_is_waited_out),
        cmocka_unit_test(test_quick_days_count_twice),
        cmocka_unit_test(test_connections_fall_to_what_is_accepted),
        cmocka_unit_test(test_stops_double),
        cmocka_unit_test(test_fault_of_the_provider),
        cmocka_unit_test(test_fault_of_a_source),
        cmocka_unit_test(test_fault_of_a_tenant),
        cmocka_unit_test(test_as_bad_as_the_others_is_no_fault),
        cmocka_unit_test(test_no_contrast_no_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
