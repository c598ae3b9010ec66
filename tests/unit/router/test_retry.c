/* Schedules and the waits that replies ask for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "router/retry.h"

enum { MINUTE = 60000, HOUR = 60 * MINUTE };

static void test_default_steps(void **state)
{
    (void)state;
    static const uint64_t minutes[] = {5, 10, 20, 40, 80, 120, 120, 120};
    const struct retry_schedule *s = retry_default();
    for (uint32_t i = 0; i < 8; i++) {
        uint64_t wait = minutes[i] * MINUTE, tenth = wait / 10;
        assert_int_equal(retry_wait_ms(s, i + 1, 0, 0), wait - tenth);
        assert_int_equal(retry_wait_ms(s, i + 1, 0, UINT32_MAX), wait + tenth);
        uint64_t middle = retry_wait_ms(s, i + 1, 0, 1u << 31);
        assert_in_range(middle, wait - 1, wait + 1);
    }
    assert_int_equal(retry_wait_ms(s, 1000000, 0, 0), 108ull * MINUTE);
    assert_int_equal(s->lifetime_ms, 72ull * HOUR);
}

static void test_asked_wait_is_honoured_within_a_day(void **state)
{
    (void)state;
    const struct retry_schedule *s = retry_default();
    assert_int_equal(retry_wait_ms(s, 1, 3ull * HOUR, 0), 3ull * HOUR);
    assert_int_equal(retry_wait_ms(s, 1, 1000, 0), 270000);
    assert_int_equal(retry_wait_ms(s, 1, 100ull * HOUR, 0), 24ull * HOUR);
}

static const struct {
    const char *text;
    uint64_t ms;
} replies[] = {
    {"Greylisted, please try again in 300 seconds", 300000},
    {"4.7.1 Greylisting in action, please come back in 00:04:59", 299000},
    {"retry in 00:04:59", 299000},
    {"4.2.0 <a@b.test>: Recipient address rejected: Greylisted for 5 minutes", 300000},
    {"greylisted for 300 seconds", 300000},
    {"Try again in 1 hour", HOUR},
    {"Please retry in 5 min", 300000},
    {"too many messages; wait 30s before you resend", 30000},
    {"try again after 10 minutes", 600000},
    {"4.7.0 Try again later, closing connection.", 0},
    {"4.3.2 try again later (in reply to 192.0.2.10)", 0},
    {"mailbox full, 20 messages in 5 minutes", 0},
    {"try again later. id 0a1b2c 14:22", 0},
    {"", 0},
};

static void test_waits_in_replies(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++)
        if (retry_asked_ms(span_str(replies[i].text)) != replies[i].ms)
            fail_msg("%s: %llu", replies[i].text,
                     (unsigned long long)retry_asked_ms(span_str(replies[i].text)));
}

static void test_attempts_by_age(void **state)
{
    (void)state;
    static const struct {
        uint64_t minutes;
        uint32_t attempts;
    } cases[] = {{0, 1}, {4, 1}, {5, 2}, {14, 2}, {15, 3}, {35, 4}, {155, 6}, {100000, 6}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(retry_attempts_by(retry_default(), cases[i].minutes * MINUTE), cases[i].attempts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_steps),
        cmocka_unit_test(test_asked_wait_is_honoured_within_a_day),
        cmocka_unit_test(test_waits_in_replies),
        cmocka_unit_test(test_attempts_by_age),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
