#include "lib/base/base64.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void base64_vectors(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"},
                                           {"\xff\xfe\xfb", "//77"}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct buf b = BUF_INIT;
        char out[16];
        size_t n;
        base64_encode(&b, span_str(pairs[i][0]));
        assert_string_equal(buf_cstr(&b), pairs[i][1]);
        assert_int_equal(base64_decode(buf_span(&b), out, sizeof out, &n), RM_OK);
        assert_true(span_eq(span_of(out, n), span_str(pairs[i][0])));
        if (n > 0) {
            assert_int_equal(base64_decode(buf_span(&b), out, n - 1, &n), RM_EINVAL);
        }
        buf_fini(&b);
    }
    static const char *const bad[] = {
        "Zg", "Zg=", "Zg===", "Z===", "====", "Zh==", "Zm9=", "Zm 9v", "Zg==Zg==", "Zm9\n", "Zm-_"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char out[16];
        size_t n;
        assert_int_equal(base64_decode(span_str(bad[i]), out, sizeof out, &n), RM_EINVAL);
    }
}

static void in_place(void **state)
{
    (void)state;
    char s[] = "Zm9vYmFy";
    size_t n;
    assert_int_equal(base64_decode(span_str(s), s, sizeof s, &n), RM_OK);
    assert_memory_equal(s, "foobar", 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_vectors),
        cmocka_unit_test(in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
