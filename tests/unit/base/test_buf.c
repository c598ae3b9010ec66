/* Growable buffers: growth, formatted text, drops, handing out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/base/buf.h"

static void test_grows(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    for (int i = 0; i < 10000; i++)
        buf_add_char(&b, (char)('a' + i % 26));
    assert_int_equal(b.len, 10000);
    for (int i = 0; i < 10000; i++)
        assert_int_equal(b.data[i], 'a' + i % 26);
    buf_add(&b, NULL, 0);
    assert_int_equal(b.len, 10000);
    buf_clear(&b);
    assert_int_equal(b.len, 0);
    assert_true(b.cap >= 10000);
    buf_fini(&b);
    assert_null(b.data);
    assert_int_equal(b.cap, 0);
}

static void test_reserve_promises_room(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    buf_add_str(&b, "head");
    memset(buf_reserve(&b, 5000), 'x', 5000);
    b.len += 5000;
    assert_memory_equal(b.data, "headxxx", 7);
    buf_fini(&b);
}

static void test_printf(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    for (int i = 0; i < 100; i++)
        buf_printf(&b, "%d,%s;", i, "some text");
    assert_true(span_istarts(buf_span(&b), SPAN_LIT("0,some text;1,some text;")));
    assert_true(span_iends(buf_span(&b), SPAN_LIT("99,some text;")));
    buf_fini(&b);
}

static void test_drop(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    buf_drop(&b, 0);
    buf_add_span(&b, SPAN_LIT("abcdef"));
    buf_drop(&b, 2);
    assert_true(span_eq(buf_span(&b), SPAN_LIT("cdef")));
    buf_drop(&b, 4);
    assert_int_equal(b.len, 0);
    buf_fini(&b);
}

static void test_take(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    assert_string_equal(buf_cstr(&b), "");
    buf_add_str(&b, "text");
    assert_string_equal(buf_cstr(&b), "text");
    assert_int_equal(b.len, 4);
    char *s = buf_take(&b);
    assert_string_equal(s, "text");
    assert_null(b.data);
    free(s);
    s = buf_take(&b);
    assert_string_equal(s, "");
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grows),  cmocka_unit_test(test_reserve_promises_room),
        cmocka_unit_test(test_printf), cmocka_unit_test(test_drop),
        cmocka_unit_test(test_take),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
