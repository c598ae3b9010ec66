/* What counts as winning: a clear gain, nothing worse, and no metric that the scenario has not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "bench/world_model/verdict.h"

static const double other[METRICS] = {[METRIC_HOUR] = 4, [METRIC_DAY] = 2,      [METRIC_BLOCKED] = 100,
                                      [METRIC_FULL] = 9, [METRIC_INNOCENT] = 3, [METRIC_INNOCENT_LOST] = 1};

/* The verdict when one metric has another value and all others are the same. */
static const char *with(enum metric m, double value)
{
    double mine[METRICS];
    memcpy(mine, other, sizeof(mine));
    mine[m] = value;
    struct verdict v = verdict_of(mine, other);
    return verdict_text(&v);
}

static void test_noise_is_neither(void **state)
{
    (void)state;
    assert_string_equal(with(METRIC_HOUR, 4), "even");
    assert_string_equal(with(METRIC_HOUR, 4.19), "even");
    assert_string_equal(with(METRIC_HOUR, 3.1), "even");
    assert_string_equal(with(METRIC_BLOCKED, 124), "even");
    assert_string_equal(with(METRIC_FULL, 10), "even");
    assert_string_equal(with(METRIC_FULL, 8), "even");
}

static void test_each_metric_decides(void **state)
{
    (void)state;
    static const struct {
        enum metric m;
        double lost, won;
    } rows[] = {{METRIC_HOUR, 4.21, 3}, {METRIC_DAY, 2.11, 1.5},      {METRIC_BLOCKED, 125, 75},
                {METRIC_FULL, 10.5, 7}, {METRIC_INNOCENT, 3.16, 2.2}, {METRIC_INNOCENT_LOST, 1.06, 0.7}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_string_equal(with(rows[i].m, rows[i].lost), "loses");
        assert_string_equal(with(rows[i].m, rows[i].won), "wins");
    }
}

static void test_a_gain_does_not_hide_a_loss(void **state)
{
    (void)state;
    double mine[METRICS] = {1, 1, 0, 1, 4, 0};
    struct verdict v = verdict_of(mine, other);
    assert_string_equal(verdict_text(&v), "mixed");
    assert_true(v.better[METRIC_HOUR] && v.worse[METRIC_INNOCENT] && !v.better[METRIC_INNOCENT]);
}

static void test_small_differences_of_small_numbers_are_noise(void **state)
{
    (void)state;
    static const double none[METRICS] = {0.04, 0, 0, -1, -1, -1};
    static const double little[METRICS] = {0, 0.05, 24, -1, -1, -1};
    struct verdict v = verdict_of(none, little), w = verdict_of(little, none);
    assert_true(v.better[METRIC_BLOCKED]);
    assert_false(v.better[METRIC_HOUR] || v.better[METRIC_DAY]);
    assert_string_equal(verdict_text(&w), "even");
}

/* No new sources, no culprit: not compared. */
static void test_what_a_scenario_has_not_is_left_out(void **state)
{
    (void)state;
    struct scenario s = {.days = 30};
    struct result r = {.full_day = -1, .all = {.submitted = 1000, .within_hour = 900, .within_day = 990}};
    double mine[METRICS];
    verdict_metrics(&r, &s, mine);
    assert_float_equal(mine[METRIC_HOUR], 10, 1e-9);
    assert_float_equal(mine[METRIC_DAY], 1, 1e-9);
    assert_true(mine[METRIC_FULL] < 0 && mine[METRIC_INNOCENT] < 0);
    r.has_new = true;
    verdict_metrics(&r, &s, mine);
    assert_float_equal(mine[METRIC_FULL], 30, 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_noise_is_neither),
        cmocka_unit_test(test_each_metric_decides),
        cmocka_unit_test(test_a_gain_does_not_hide_a_loss),
        cmocka_unit_test(test_small_differences_of_small_numbers_are_noise),
        cmocka_unit_test(test_what_a_scenario_has_not_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
