/* Mailboxes and domains: RFC 5321 4.1.2 and its limits, RFC 6531, IDNA. */
#include "lib/smtp/address.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static enum smtp_address_status parse(const char *s, unsigned flags)
{
    struct smtp_address a;
    return smtp_address_parse(span_str(s), flags, &a);
}

static void accepts(void **state)
{
    (void)state;
    static const char *const good[] = {
        "a@b",
        "user@example.com",
        "first.last+tag=x@sub.example.com",
        "!#$%&'*+-/=?^_`{|}~@example.com",
        "\"quoted local\"@example.com",
        "\"a@b\"@example.com",
        "\"a\\\"b\\\\\"@example.com",
        "\"\"@example.com",
        "u@[192.0.2.1]",
        "u@[IPv6:2001:db8::1]",
        "u@under_score.example",
        "u@xn--bcher-kva.example",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(parse(good[i], 0), SMTP_ADDRESS_OK);
    }
}

static void refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",        "user",          "user@",    "@example.com",    "a..b@x",      ".a@x",
        "a.@x",    "a b@x",         "a@b@c",    "a@x..y",          "a@.x",        "a@x.",
        "a@-x",    "a@x-",          "a@x y",    "a@[192.0.2]",     "a@[IPv6:zz]", "a@[192.0.2.1",
        "a@[x:y]", "\"a@x",         "\"a\"b@x", "\"a\r\"@x",       "a\x01@x",     "a<b@x",
        "a@x>",    "postmaster",    "\"a\\",    "\xff@x",          "a@\xc3(",     "a@[]",
        "a,b@x",   "\"a\\\x01\"@x", "a@x!y",    "a@[2001:db8::1]",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (parse(bad[i], SMTP_ADDRESS_UTF8) == SMTP_ADDRESS_OK) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
}

static void parts(void **state)
{
    (void)state;
    struct smtp_address a;
    assert_int_equal(smtp_address_parse(SPAN_LIT("\"x@y\"@[192.0.2.1]"), 0, &a), SMTP_ADDRESS_OK);
    assert_true(span_eq(a.local, SPAN_LIT("\"x@y\"")) && a.quoted);
    assert_true(span_eq(a.domain, SPAN_LIT("[192.0.2.1]")) && a.literal);
    assert_int_equal(smtp_address_parse(SPAN_LIT("PostMaster"), SMTP_ADDRESS_POSTMASTER, &a),
                     SMTP_ADDRESS_OK);
    assert_int_equal(a.domain.len, 0);
    assert_int_equal(parse("other", SMTP_ADDRESS_POSTMASTER), SMTP_ADDRESS_SYNTAX);
}

static void utf8(void **state)
{
    (void)state;
    struct smtp_address a;
    assert_int_equal(parse("j\xc3\xbcrgen@example.com", 0), SMTP_ADDRESS_NEEDS_UTF8);
    assert_int_equal(parse("a@b\xc3\xbc"
                           "cher.example",
                           0),
                     SMTP_ADDRESS_NEEDS_UTF8);
    assert_int_equal(smtp_address_parse(SPAN_LIT("j\xc3\xbcrgen@example.com"), SMTP_ADDRESS_UTF8, &a),
                     SMTP_ADDRESS_OK);
    assert_true(a.utf8);
}

static void lengths(void **state)
{
    (void)state;
    char s[400];
    memset(s, 'a', sizeof s);
    memcpy(s + 64, "@x", 3);
    assert_int_equal(parse(s, 0), SMTP_ADDRESS_OK);
    memset(s, 'a', sizeof s);
    memcpy(s + 65, "@x", 3);
    assert_int_equal(parse(s, 0), SMTP_ADDRESS_LENGTH);
    /* 254 octets are the most between < and >, and labels end at 63 */
    memset(s, 'a', sizeof s);
    s[1] = '@';
    s[2 + 63] = s[2 + 127] = s[2 + 191] = '.';
    s[254] = '\0';
    assert_int_equal(parse(s, 0), SMTP_ADDRESS_OK);
    s[254] = 'a';
    s[255] = '\0';
    assert_int_equal(parse(s, 0), SMTP_ADDRESS_LENGTH);
    memset(s, 'a', sizeof s);
    s[1] = '@';
    s[2 + 64] = '\0';
    assert_int_equal(parse(s, 0), SMTP_ADDRESS_SYNTAX);
}

static void canonical_domains(void **state)
{
    (void)state;
    char out[SMTP_DOMAIN_BUF];
    static const char *const pairs[][2] = {
        {"Example.COM", "example.com"},
        {"example.com.", "example.com"},
        {"b\xc3\xbc"
         "cher.example",
         "xn--bcher-kva.example"},
        {"B\xc3\x9c"
         "CHER.example",
         "xn--bcher-kva.example"},
        {"fa\xc3\x9f.example", "xn--fa-hia.example"}, /* not transitional: the sharp s stays */
        {"\xe4\xbe\x8b\xe3\x80\x82\xe4\xbe\x8b", "xn--fsq.xn--fsq"},
        {"[IPv6:2001:DB8::1]", "[ipv6:2001:db8::1]"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        assert_int_equal(smtp_domain_ascii(span_str(pairs[i][0]), out), RM_OK);
        assert_string_equal(out, pairs[i][1]);
    }
    static const char *const bad[] = {"", ".", "a..b", "-a", "a b", "\xc3\x28.x", "[x]", "a\xe2\x80\xae.x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(smtp_domain_ascii(span_str(bad[i]), out), RM_EINVAL);
    }
}

static bool same(const char *x, const char *y)
{
    struct smtp_address a, b;
    unsigned flags = SMTP_ADDRESS_UTF8 | SMTP_ADDRESS_POSTMASTER;
    assert_int_equal(smtp_address_parse(span_str(x), flags, &a), SMTP_ADDRESS_OK);
    assert_int_equal(smtp_address_parse(span_str(y), flags, &b), SMTP_ADDRESS_OK);
    return smtp_address_same(&a, &b);
}

static void sameness(void **state)
{
    (void)state;
    assert_true(same("a@Example.com", "a@example.COM"));
    assert_false(same("A@example.com", "a@example.com"));
    assert_true(same("\"a.b\"@x", "a.b@x"));
    assert_true(same("\"a\\b\"@x", "ab@x"));
    assert_false(same("ab@x", "abc@x"));
    assert_true(same("PostMaster@x", "postmaster@X"));
    assert_true(same("postmaster", "POSTMASTER"));
    assert_false(same("postmaster", "postmaster@x"));
    assert_true(same("a@b\xc3\xbc"
                     "cher.x",
                     "a@xn--bcher-kva.x"));
}

static void utf8_validity(void **state)
{
    (void)state;
    assert_true(smtp_utf8_valid(SPAN_LIT("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xb4")));
    static const char *const bad[] = {
        "\x80", "\xc0\xaf", "\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe0\x80\xaf", "\xf5\x80\x80\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(smtp_utf8_valid(span_str(bad[i])));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts),  cmocka_unit_test(refuses),       cmocka_unit_test(parts),
        cmocka_unit_test(utf8),     cmocka_unit_test(lengths),       cmocka_unit_test(canonical_domains),
        cmocka_unit_test(sameness), cmocka_unit_test(utf8_validity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
