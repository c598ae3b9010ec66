/* Borrowed bytes: comparisons, trims, cuts, numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/span.h"

static void test_compare(void **state)
{
    (void)state;
    assert_true(span_eq(SPAN_LIT("ab"), SPAN_LIT("ab")));
    assert_false(span_eq(SPAN_LIT("ab"), SPAN_LIT("aB")));
    assert_true(span_eq(span_str(NULL), SPAN_LIT("")));
    assert_true(span_ieq(SPAN_LIT("Example.ORG"), SPAN_LIT("eXAMPLE.org")));
    assert_false(span_ieq(SPAN_LIT("a["), SPAN_LIT("a{")));
    assert_true(span_istarts(SPAN_LIT("MAIL FROM:<>"), SPAN_LIT("mail from:")));
    assert_false(span_istarts(SPAN_LIT("MA"), SPAN_LIT("mail")));
    assert_true(span_iends(SPAN_LIT("mx.Google.COM"), SPAN_LIT(".google.com")));
    assert_false(span_iends(SPAN_LIT("com"), SPAN_LIT(".com")));
}

static void test_trim(void **state)
{
    (void)state;
    assert_true(span_eq(span_trim(SPAN_LIT(" \t a b\t ")), SPAN_LIT("a b")));
    assert_int_equal(span_trim(SPAN_LIT(" \t ")).len, 0);
    assert_int_equal(span_trim(SPAN_LIT("")).len, 0);
    assert_true(span_eq(span_trim(SPAN_LIT("a\n")), SPAN_LIT("a\n")));
}

static void test_cut(void **state)
{
    (void)state;
    struct span rest = SPAN_LIT("a,,b");
    assert_true(span_eq(span_cut(&rest, ','), SPAN_LIT("a")));
    assert_true(span_eq(span_cut(&rest, ','), SPAN_LIT("")));
    assert_non_null(rest.ptr);
    assert_true(span_eq(span_cut(&rest, ','), SPAN_LIT("b")));
    assert_null(rest.ptr);
    assert_int_equal(span_cut(&rest, ',').len, 0);
    rest = SPAN_LIT("a,");
    span_cut(&rest, ',');
    assert_non_null(rest.ptr);
    assert_int_equal(rest.len, 0);
}

static void test_number(void **state)
{
    (void)state;
    uint64_t n;
    assert_true(span_u64(SPAN_LIT("0"), &n) && n == 0);
    assert_true(span_u64(SPAN_LIT("18446744073709551615"), &n) && n == UINT64_MAX);
    assert_false(span_u64(SPAN_LIT("18446744073709551616"), &n));
    assert_false(span_u64(SPAN_LIT("99999999999999999999"), &n));
    assert_false(span_u64(SPAN_LIT(""), &n));
    assert_false(span_u64(SPAN_LIT("-1"), &n));
    assert_false(span_u64(SPAN_LIT("+1"), &n));
    assert_false(span_u64(SPAN_LIT(" 1"), &n));
    assert_false(span_u64(SPAN_LIT("1a"), &n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_trim),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
