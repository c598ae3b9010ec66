/* When a backlog will be gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/api/forecast.h"

enum { HOUR_MS = 3600000, DAY_MS = 24 * HOUR_MS };

static struct forecast of(struct forecast_lane l)
{
    l.now_ms = 100ull * DAY_MS + 18ull * HOUR_MS;
    if (!l.waiting_all)
        l.waiting_all = l.waiting;
    return forecast_of(&l);
}

static void throughput_and_limits(void **state)
{
    (void)state;
    struct forecast f = of((struct forecast_lane){.waiting = 100, .usable = 1, .uncapped = 1, .gone = 10});
    assert_int_equal(f.basis, FORECAST_THROUGHPUT);
    assert_in_range(f.in_ms, 10000, 10001);
    f = of((struct forecast_lane){.waiting = 100, .usable = 1, .uncapped = 1, .gone = 10, .rate = 2});
    assert_int_equal(f.basis, FORECAST_RATE);
    assert_in_range(f.in_ms, 50000, 50001);
    f = of((struct forecast_lane){.waiting = 100, .usable = 1, .uncapped = 1, .gone = 1, .rate = 2});
    assert_int_equal(f.basis, FORECAST_THROUGHPUT);
}

static void caps_take_days(void **state)
{
    (void)state;
    /* 40 today, then 100 a day: the last 60 go until 14:24 of tomorrow. */
    struct forecast f =
        of((struct forecast_lane){.waiting = 100, .usable = 1, .cap_left = 40, .cap_day = 100, .gone = 50});
    assert_int_equal(f.basis, FORECAST_CAP);
    assert_int_equal(f.in_ms, 6 * HOUR_MS + DAY_MS * 6 / 10);
    f = of((struct forecast_lane){.waiting = 40, .usable = 1, .cap_left = 40, .cap_day = 100, .gone = 4});
    assert_int_equal(f.basis, FORECAST_THROUGHPUT);
    /* A source without a cap takes what is over it. */
    f = of((struct forecast_lane){.waiting = 100, .usable = 2, .uncapped = 1, .cap_day = 100, .gone = 4});
    assert_int_equal(f.basis, FORECAST_THROUGHPUT);
    /* A tenant's ten share the lane's caps with everybody's. */
    f = of((struct forecast_lane){
        .waiting = 10, .waiting_all = 140, .usable = 1, .cap_left = 40, .cap_day = 100});
    assert_int_equal(f.in_ms, 6 * HOUR_MS + DAY_MS);
}

static void what_is_not_known_is_said(void **state)
{
    (void)state;
    assert_int_equal(of((struct forecast_lane){.gone = 3}).basis, FORECAST_NOTHING_WAITS);
    assert_int_equal(of((struct forecast_lane){.waiting = 1, .gone = 3}).basis, FORECAST_NO_SOURCE);
    assert_int_equal(of((struct forecast_lane){.waiting = 1, .usable = 1, .uncapped = 1}).basis,
                     FORECAST_UNKNOWN);
    struct forecast f = of((struct forecast_lane){.waiting = 1,
                                                  .usable = 1,
                                                  .uncapped = 1,
                                                  .gone = 10,
                                                  .last_retry_ms = 100ull * DAY_MS + 19ull * HOUR_MS});
    assert_int_equal(f.basis, FORECAST_RETRY);
    assert_int_equal(f.in_ms, HOUR_MS);
}

static void the_later_lane_counts(void **state)
{
    (void)state;
    struct forecast none = {FORECAST_NOTHING_WAITS, 0}, soon = {FORECAST_RATE, 5}, late = {FORECAST_CAP, 9},
                    never = {FORECAST_NO_SOURCE, 0};
    assert_int_equal(forecast_later(none, soon).basis, FORECAST_RATE);
    assert_int_equal(forecast_later(late, soon).basis, FORECAST_CAP);
    assert_int_equal(forecast_later(soon, late).basis, FORECAST_CAP);
    assert_int_equal(forecast_later(late, never).basis, FORECAST_NO_SOURCE);
    assert_int_equal(forecast_later(never, none).basis, FORECAST_NO_SOURCE);
    assert_int_equal(forecast_later(none, none).basis, FORECAST_NOTHING_WAITS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(throughput_and_limits),
        cmocka_unit_test(caps_take_days),
        cmocka_unit_test(what_is_not_known_is_said),
        cmocka_unit_test(the_later_lane_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
