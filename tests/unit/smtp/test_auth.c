/* PLAIN, and the xtext family. */
#include "lib/smtp/auth.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "lib/smtp/xtext.h"

static void plain(void **state)
{
    (void)state;
    struct smtp_auth_plain p;
    assert_int_equal(smtp_auth_plain_parse(SPAN_LIT("\0tim\0tanstaaf"), &p), RM_OK);
    assert_int_equal(p.authzid.len, 0);
    assert_true(span_eq(p.user, SPAN_LIT("tim")) && span_eq(p.password, SPAN_LIT("tanstaaf")));
    assert_int_equal(smtp_auth_plain_parse(SPAN_LIT("z\0u\0p"), &p), RM_OK);
    assert_true(span_eq(p.authzid, SPAN_LIT("z")));
    assert_int_equal(smtp_auth_plain_parse(SPAN_LIT(""), &p), RM_EINVAL);
    assert_int_equal(smtp_auth_plain_parse(SPAN_LIT("u"), &p), RM_EINVAL);
    assert_int_equal(smtp_auth_plain_parse(SPAN_LIT("u\0p"), &p), RM_EINVAL);
    assert_int_equal(smtp_auth_plain_parse(SPAN_LIT("\0\0p"), &p), RM_EINVAL);
    assert_int_equal(smtp_auth_plain_parse(SPAN_LIT("\0u\0"), &p), RM_EINVAL);
    assert_int_equal(smtp_auth_plain_parse(SPAN_LIT("\0u\0p\0x"), &p), RM_EINVAL);
    assert_true(smtp_auth_cancelled(SPAN_LIT("*")));
    assert_false(smtp_auth_cancelled(SPAN_LIT("**")));
}

static void xtext(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    struct buf b = BUF_INIT;
    struct span out;
    char all[256];
    for (size_t i = 0; i < sizeof all; i++) {
        all[i] = (char)i;
    }
    smtp_xtext_encode(&b, span_of(all, sizeof all));
    assert_true(smtp_xtext_valid(buf_span(&b)));
    assert_int_equal(smtp_xtext_decode(&a, buf_span(&b), &out), RM_OK);
    assert_true(span_eq(out, span_of(all, sizeof all)));
    static const char *const bad[] = {"+", "+4", "+4G", "a=b", "a b", "\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(smtp_xtext_valid(span_str(bad[i])));
        assert_int_equal(smtp_xtext_decode(&a, span_str(bad[i]), &out), RM_EINVAL);
    }
    buf_fini(&b);
    arena_fini(&a);
}

static void orcpt(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    struct span type, address;
    assert_int_equal(smtp_orcpt_decode(&a, SPAN_LIT("rfc822;a+2Bb@c"), &type, &address), RM_OK);
    assert_true(span_eq(type, SPAN_LIT("rfc822")) && span_eq(address, SPAN_LIT("a+b@c")));
    assert_int_equal(smtp_orcpt_decode(&a, SPAN_LIT("utf-8;j\\x{FC}rgen\\x{2B}x@c"), &type, &address), RM_OK);
    assert_true(span_eq(address, SPAN_LIT("j\xc3\xbcrgen+x@c")));
    assert_int_equal(smtp_orcpt_decode(&a, SPAN_LIT("utf-8;\xc3\xbc\\x{1F434}@c"), &type, &address), RM_OK);
    assert_true(span_eq(address, SPAN_LIT("\xc3\xbc\xf0\x9f\x90\xb4@c")));
    static const char *const bad[] = {"",           "rfc822",          "rfc822;",      ";a",        "r fc;a",
                                      "rfc822;a=b", "utf-8;\\x{D800}", "utf-8;\\x{0}", "utf-8;\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(smtp_orcpt_decode(&a, span_str(bad[i]), &type, &address), RM_EINVAL);
    }
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),
        cmocka_unit_test(xtext),
        cmocka_unit_test(orcpt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
