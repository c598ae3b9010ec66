/* The counters behind `remuda why`. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/delivery/waits.h"

enum { S = 1000000 };

static void assert_close(double a, double b, double within)
{
    if (fabs(a - b) > within)
        fail_msg("%f is not %f", a, b);
}

static void waiting_time_is_how_many_times_how_long(void **state)
{
    (void)state;
    struct waits w;
    waits_init(&w, 5 * S);
    waits_add(&w, WAIT_RETRY, 10, 5 * S);
    waits_add(&w, (enum wait_cause)ROUTER_CAP, 1, 5 * S);
    assert_close(waits_seconds(&w, WAIT_RETRY, WAIT_HOUR, 6 * S), 10, 0.01);
    assert_close(waits_seconds(&w, (enum wait_cause)ROUTER_CAP, WAIT_HOUR, 6 * S), 1, 0.001);
    waits_add(&w, WAIT_RETRY, -10, 6 * S);
    assert_close(waits_seconds(&w, WAIT_RETRY, WAIT_HOUR, 7 * S), 10, 0.02);
    assert_int_equal(w.cells[WAIT_RETRY].n, 0);
    waits_add(&w, WAIT_RETRY, -1, 7 * S); /* more than there are: none */
    assert_int_equal(w.cells[WAIT_RETRY].n, 0);
}

static void the_past_fades_at_two_speeds(void **state)
{
    (void)state;
    struct waits w;
    waits_init(&w, 0);
    waits_add(&w, WAIT_DNS, 100, 0);
    waits_add(&w, WAIT_DNS, -100, 1 * S);
    assert_close(waits_seconds(&w, WAIT_DNS, WAIT_LATELY, (WAIT_LATELY_S + 1ull) * S), 100 / M_E, 0.1);
    assert_close(waits_seconds(&w, WAIT_DNS, WAIT_HOUR, (WAIT_HOUR_S + 1ull) * S), 100 / M_E, 0.1);
    /* What waits for ever under a cause comes to n times the memory, and no further. */
    waits_add(&w, WAIT_TURN, 3, 0);
    assert_close(waits_seconds(&w, WAIT_TURN, WAIT_LATELY, 40ull * WAIT_LATELY_S * S), 3 * WAIT_LATELY_S,
                 0.1);
}

/* However often it is looked at or told of nothing: the same. */
static void steps_do_not_change_the_sum(void **state)
{
    (void)state;
    struct waits one, many;
    waits_init(&one, 0);
    waits_init(&many, 0);
    waits_add(&one, WAIT_IN_HAND, 7, 0);
    waits_add(&many, WAIT_IN_HAND, 7, 0);
    for (uint64_t t = 1; t < 10000; t++)
        waits_add(&many, WAIT_IN_HAND, 0, t * S / 7);
    for (int m = 0; m < WAIT_MEMORIES; m++)
        assert_close(waits_seconds(&many, WAIT_IN_HAND, (enum wait_memory)m, 3000ull * S),
                     waits_seconds(&one, WAIT_IN_HAND, (enum wait_memory)m, 3000ull * S), 1e-6);
}

static void rates_are_of_the_time_seen(void **state)
{
    (void)state;
    struct waits w;
    waits_init(&w, 0);
    for (uint64_t i = 0; i < 600; i++)
        waits_gone(&w, i * S / 10); /* ten a second for a minute */
    assert_close(waits_rate(&w, &w.gone, WAIT_LATELY, 60ull * S), 10, 0.1);
    assert_close(waits_rate(&w, &w.gone, WAIT_HOUR, 60ull * S), 10, 0.1);
    assert_close(waits_rate(&w, &w.arrived, WAIT_LATELY, 60ull * S), 0, 0);
    /* Nothing more for ten memories: all but forgotten. */
    assert_true(waits_rate(&w, &w.gone, WAIT_LATELY, (60ull + 10 * WAIT_LATELY_S) * S) < 0.001);
}

static void every_cause_has_its_word(void **state)
{
    (void)state;
    for (int c = 0; c < WAIT_CAUSES; c++)
        assert_int_equal(wait_cause_of(wait_cause_text((enum wait_cause)c)), c);
    assert_int_equal(wait_cause_of("cap"), ROUTER_CAP);
    assert_int_equal(wait_cause_of("retry"), WAIT_RETRY);
    assert_int_equal(wait_cause_of("a word of another version"), WAIT_OTHER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waiting_time_is_how_many_times_how_long),
        cmocka_unit_test(the_past_fades_at_two_speeds),
        cmocka_unit_test(steps_do_not_change_the_sum),
        cmocka_unit_test(rates_are_of_the_time_seen),
        cmocka_unit_test(every_cause_has_its_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
