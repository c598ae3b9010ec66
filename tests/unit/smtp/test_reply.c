/* Replies, read in any fragments and written; the EHLO answer. */
#include "lib/smtp/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "lib/smtp/ehlo.h"

/* Feeds text in pieces of `step` octets; the status of the last call, and how much of text was taken. */
static enum smtp_reply_status feed(struct smtp_reply_parser *p, struct span text, size_t step, size_t *taken,
                                   struct smtp_reply *out)
{
    enum smtp_reply_status status = SMTP_REPLY_MORE;
    *taken = 0;
    while (status == SMTP_REPLY_MORE && *taken < text.len) {
        size_t n = text.len - *taken < step ? text.len - *taken : step, used;
        status = smtp_reply_parse(p, span_of(text.ptr + *taken, n), &used, out);
        *taken += used;
    }
    return status;
}

static void expect(const char *wire, int code, const char *text, struct smtp_enhanced e)
{
    for (size_t step = 1; step <= strlen(wire) + 1; step++) {
        struct buf b = BUF_INIT;
        struct smtp_reply_parser p;
        struct smtp_reply r;
        size_t taken;
        smtp_reply_parser_init(&p, &b);
        assert_int_equal(feed(&p, span_str(wire), step, &taken, &r), SMTP_REPLY_DONE);
        assert_int_equal(taken, strlen(wire));
        assert_int_equal(r.code, code);
        assert_true(span_eq(r.text, span_str(text)));
        assert_true(r.enhanced.class == e.class && r.enhanced.subject == e.subject &&
                    r.enhanced.detail == e.detail);
        assert_false(smtp_reply_parser_busy(&p));
        buf_fini(&b);
    }
}

static void reads(void **state)
{
    (void)state;
    struct smtp_enhanced none = {0};
    expect("250 OK\r\n", 250, "OK", none);
    expect("250\r\n", 250, "", none);
    expect("250 \r\n", 250, "", none);
    expect("220 bare LF is a line end\n", 220, "bare LF is a line end", none);
    expect("550-5.1.1 No such\r\n550 5.1.1 user\r\n", 550, "5.1.1 No such\n5.1.1 user",
           SMTP_ENHANCED(5, 1, 1));
    expect("421-\r\n421 4.7.0 wait\r\n", 421, "\n4.7.0 wait", SMTP_ENHANCED(4, 7, 0));
    expect("250 5.1.1 wrong class\r\n", 250, "5.1.1 wrong class", none);
    expect("550 5.7.1\r\n", 550, "5.7.1", SMTP_ENHANCED(5, 7, 1));
    expect("550 a\rb\x01"
           "c\td\x7f\r\n",
           550, "a?b?c\td?", none);
    expect("550 caf\xc3\xa9 \xff \xc3\r\n", 550, "caf\xc3\xa9 ? ?", none);
}

static void pipelined(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct smtp_reply_parser p;
    struct smtp_reply r;
    struct span in = SPAN_LIT("250 2.1.0 one\r\n250-two\r\n250 more\r\n35");
    size_t used;
    smtp_reply_parser_init(&p, &b);
    assert_int_equal(smtp_reply_parse(&p, in, &used, &r), SMTP_REPLY_DONE);
    assert_true(span_eq(r.text, SPAN_LIT("2.1.0 one")));
    in = span_of(in.ptr + used, in.len - used);
    assert_int_equal(smtp_reply_parse(&p, in, &used, &r), SMTP_REPLY_DONE);
    assert_true(span_eq(r.text, SPAN_LIT("two\nmore")));
    assert_int_equal(r.enhanced.class, 0);
    in = span_of(in.ptr + used, in.len - used);
    assert_int_equal(smtp_reply_parse(&p, in, &used, &r), SMTP_REPLY_MORE);
    assert_true(smtp_reply_parser_busy(&p));
    assert_int_equal(smtp_reply_parse(&p, SPAN_LIT("4 go\r\n"), &used, &r), SMTP_REPLY_DONE);
    assert_int_equal(r.code, 354);
    buf_fini(&b);
}

static void refuse(struct span wire)
{
    struct buf b = BUF_INIT;
    struct smtp_reply_parser p;
    struct smtp_reply r;
    size_t taken;
    smtp_reply_parser_init(&p, &b);
    assert_int_equal(feed(&p, wire, 100, &taken, &r), SMTP_REPLY_ERROR);
    assert_non_null(p.trouble);
    assert_int_equal(smtp_reply_parse(&p, SPAN_LIT("250 ok\r\n"), &taken, &r), SMTP_REPLY_ERROR);
    buf_fini(&b);
}

static void refuses(void **state)
{
    (void)state;
    refuse(SPAN_LIT("hello\r\n"));
    refuse(SPAN_LIT("\r\n"));
    refuse(SPAN_LIT("\n"));
    refuse(SPAN_LIT("99 x\r\n"));
    refuse(SPAN_LIT("150 x\r\n"));
    refuse(SPAN_LIT("650 x\r\n"));
    refuse(SPAN_LIT("250x\r\n"));
    refuse(SPAN_LIT("2500 x\r\n"));
    refuse(SPAN_LIT("250-a\r\n251 b\r\n"));
    static char big[5000];
    memset(big, '2', sizeof big);
    refuse(span_of(big, sizeof big));
    struct buf many = BUF_INIT;
    for (int i = 0; i < 101; i++) {
        buf_add_str(&many, "250-x\r\n");
    }
    refuse(buf_span(&many));
    buf_fini(&many);
}

static void limits_are_usable(void **state)
{
    (void)state;
    struct buf many = BUF_INIT, b = BUF_INIT;
    struct smtp_reply_parser p;
    struct smtp_reply r;
    size_t taken;
    for (int i = 0; i < 99; i++) {
        buf_add_str(&many, "250-");
        for (int k = 0; k < 400; k++) {
            buf_add_str(&many, "0123456789");
        }
        buf_add_str(&many, "\r\n");
    }
    buf_add_str(&many, "250 end\r\n");
    smtp_reply_parser_init(&p, &b);
    assert_int_equal(feed(&p, buf_span(&many), 777, &taken, &r), SMTP_REPLY_DONE);
    assert_int_equal(r.text.len, 99 * 4001 + 3);
    buf_fini(&many);
    buf_fini(&b);
}

static void writes(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    smtp_reply_write(&b, 250, SMTP_ENHANCED(2, 1, 5), SPAN_LIT("ok\nmore"));
    assert_string_equal(buf_cstr(&b), "250-2.1.5 ok\r\n250 2.1.5 more\r\n");
    buf_clear(&b);
    smtp_reply_write(&b, 354, SMTP_ENHANCED_NONE, SPAN_LIT("a\rb\x01"));
    assert_string_equal(buf_cstr(&b), "354 a?b?\r\n");
    buf_clear(&b);
    smtp_reply_write(&b, 250, SMTP_ENHANCED_NONE, (struct span){NULL, 0});
    assert_string_equal(buf_cstr(&b), "250 \r\n");
    buf_clear(&b);
    char big[2000];
    memset(big, 'x', sizeof big);
    smtp_reply_write(&b, 550, SMTP_ENHANCED(5, 0, 0), span_of(big, sizeof big));
    assert_int_equal(b.len, 502);
    buf_fini(&b);
}

static void enhanced(void **state)
{
    (void)state;
    struct smtp_enhanced e;
    char text[SMTP_ENHANCED_BUF];
    assert_int_equal(smtp_enhanced_parse(SPAN_LIT("5.123.999 x"), &e), 9);
    assert_string_equal(smtp_enhanced_text(e, text), "5.123.999");
    static const char *const bad[] = {"",        "5.1",      "3.1.1 x", "5..1 x", "5.1.1x",
                                      "5.1.1.1", "5.1234.1", "5.1.",    "51.1.1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(smtp_enhanced_parse(span_str(bad[i]), &e), 0);
    }
    assert_string_equal(smtp_enhanced_text(smtp_enhanced_or_default(SMTP_ENHANCED_NONE, 451), text), "4.0.0");
}

static void ehlo(void **state)
{
    (void)state;
    struct smtp_ehlo e;
    struct smtp_reply r = {
        .code = 250,
        .text = SPAN_LIT("mx.example.net at your service\nPIPELINING\nsize 35882577\n8BITMIME\n"
                         "SMTPUTF8\nDSN\nSTARTTLS\nCHUNKING\nENHANCEDSTATUSCODES\n"
                         "AUTH PLAIN XOAUTH2 LOGIN\nAUTH=LOGIN\nREQUIRETLS\n"
                         "LIMITS RCPTMAX=50 MAILMAX=7 X=y RCPTDOMAINMAX=1\nX-OTHER 1\n\nBINARYMIME")};
    smtp_ehlo_parse(&r, &e);
    assert_int_equal(e.extensions, 0xfff);
    assert_int_equal(e.size_most, 35882577);
    assert_int_equal(e.auth, SMTP_AUTH_PLAIN | SMTP_AUTH_LOGIN);
    assert_int_equal(e.limit_rcpt, 50);
    assert_int_equal(e.limit_mail, 7);
    assert_int_equal(e.limit_rcpt_domains, 1);
    assert_string_equal(e.name, "mx.example.net");
    r.text = SPAN_LIT("PIPELINING");
    smtp_ehlo_parse(&r, &e); /* the first line is the greeting */
    assert_int_equal(e.extensions, 0);
    r.text = SPAN_LIT("x\nSIZE\nSIZEX 4");
    smtp_ehlo_parse(&r, &e);
    assert_int_equal(e.extensions, SMTP_EXT_SIZE);
    assert_int_equal(e.size_most, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads),   cmocka_unit_test(pipelined),
        cmocka_unit_test(refuses), cmocka_unit_test(limits_are_usable),
        cmocka_unit_test(writes),  cmocka_unit_test(enhanced),
        cmocka_unit_test(ehlo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
