/* Patterns: matches, groups, errors, and that none takes for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/pattern.h"

static struct pattern *make(const char *text)
{
    struct pattern *p;
    char why[100];
    if (pattern_new(span_str(text), &p, why, sizeof(why)))
        fail_msg("%s: %s", text, why);
    return p;
}

static void test_matching(void **state)
{
    (void)state;
    struct pattern_scratch *s = pattern_scratch_new();
    struct pattern *p = make("blocked (?:by|using) (?<list>[a-z.]+)|refused");
    struct span subject = SPAN_LIT("it was BLOCKED using zen.example; bye");
    assert_true(pattern_match(p, s, subject));
    assert_true(span_eq(pattern_group(p, s, "list", subject), SPAN_LIT("zen.example")));
    assert_int_equal(pattern_group(p, s, "other", subject).len, 0);
    assert_true(pattern_match(p, s, SPAN_LIT("refused")));
    assert_int_equal(pattern_group(p, s, "list", SPAN_LIT("refused")).len, 0);
    assert_false(pattern_match(p, s, SPAN_LIT("")));
    assert_int_equal(pattern_least(p), 7);
    pattern_free(p);
    pattern_scratch_free(s);
}

static void test_errors_say_where(void **state)
{
    (void)state;
    struct pattern *p;
    char why[100];
    assert_int_equal(pattern_new(SPAN_LIT("a(b"), &p, why, sizeof(why)), RM_EINVAL);
    assert_null(p);
    assert_non_null(strstr(why, "at octet 3"));
}

static void test_effort_is_bounded(void **state)
{
    (void)state;
    struct pattern_scratch *s = pattern_scratch_new();
    struct pattern *p = make("(?:a+)+$");
    char text[60];
    memset(text, 'a', sizeof(text));
    text[59] = 'b';
    assert_false(pattern_match(p, s, span_of(text, sizeof(text)))); /* 2^59 ways */
    pattern_free(p);
    pattern_scratch_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matching),
        cmocka_unit_test(test_errors_say_where),
        cmocka_unit_test(test_effort_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
