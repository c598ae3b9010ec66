/* The header section, seen whole and cut off; Received fields and dates. */
#include "lib/mail/header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

#include "lib/mail/date.h"
#include "lib/mail/received.h"
#include "lib/smtp/address.h"

#define MESSAGE                                                                                              \
    "Received: from a\r\n\tby b; Mon, 1 Jan 2024 00:00:00 +0000\r\n"                                         \
    "RECEIVED : from c\r\n"                                                                                  \
    "Message-Id:\r\n <1@x>\r\n"                                                                              \
    "From: A <a@x>\r\n"                                                                                      \
    "Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n"                                                               \
    "From: second\r\n"                                                                                       \
    "Subject: folded\r\n  twice\r\n\tand again\r\n"                                                          \
    "X-Received: no\r\n"                                                                                     \
    "Auto-Submitted: no\r\n"

static void scans(void **state)
{
    (void)state;
    struct mail_header_info i;
    struct span m = SPAN_LIT(MESSAGE "\r\nReceived: in the body\r\n");
    mail_header_scan(m, &i);
    assert_int_equal(i.received, 2);
    assert_int_equal(i.fields, 9);
    assert_true(span_eq(i.message_id, SPAN_LIT("<1@x>")));
    assert_true(span_eq(i.from, SPAN_LIT("A <a@x>")));
    assert_true(span_eq(i.date, SPAN_LIT("Mon, 1 Jan 2024 00:00:00 +0000")));
    assert_true(span_eq(i.auto_submitted, SPAN_LIT("no")));
    assert_int_equal(i.header_bytes, sizeof MESSAGE - 1);
    assert_int_equal(i.body_at, sizeof MESSAGE - 1 + 2);
    assert_true(i.complete && !i.eight_bit);
    struct buf b = BUF_INIT;
    mail_header_unfold(&b, i.subject);
    assert_string_equal(buf_cstr(&b), "folded  twice\tand again");
    buf_fini(&b);
}

/* However the bytes are cut off, nothing beyond them is read and nothing is claimed that is not there. */
static void cut_off(void **state)
{
    (void)state;
    struct span m = SPAN_LIT(MESSAGE "\r\nbody");
    for (size_t n = 0; n <= sizeof MESSAGE - 1 + 1; n++) {
        struct mail_header_info i;
        char *exact = test_malloc(n + 1);
        memcpy(exact, m.ptr, n);
        mail_header_scan(span_of(exact, n), &i);
        assert_false(i.complete);
        assert_true(i.header_bytes <= n && i.body_at <= n);
        test_free(exact);
    }
}

static void odd_sections(void **state)
{
    (void)state;
    struct mail_header_info i;
    mail_header_scan(SPAN_LIT(""), &i);
    assert_false(i.complete);
    mail_header_scan(SPAN_LIT("\r\nFrom: x\r\n"), &i);
    assert_true(i.complete && i.fields == 0 && i.body_at == 2);
    mail_header_scan(SPAN_LIT("no field\r\nFrom: x\r\n"), &i);
    assert_true(i.complete && i.fields == 0 && i.body_at == 0);
    mail_header_scan(SPAN_LIT("A: b\r\nno field\r\n"), &i);
    assert_true(i.complete && i.fields == 1 && i.body_at == 6 && i.header_bytes == 6);
    mail_header_scan(SPAN_LIT(" folded first\r\nA: b\r\n"), &i);
    assert_int_equal(i.fields, 0);
    mail_header_scan(SPAN_LIT("A:\r\nB: \xc3\xbc\r\n\r\n"), &i);
    assert_true(i.fields == 2 && i.eight_bit);
    mail_header_scan(SPAN_LIT("A: b\n\nbody \xff"), &i);
    assert_true(i.fields == 1 && i.body_at == 6 && !i.eight_bit);
    mail_header_scan(SPAN_LIT(":x\r\n"), &i);
    assert_int_equal(i.fields, 0);
}

static void finds(void **state)
{
    (void)state;
    struct mail_field f;
    assert_true(mail_header_find(SPAN_LIT(MESSAGE "\r\n"), "subject", &f));
    assert_true(span_eq(f.raw, SPAN_LIT("Subject: folded\r\n  twice\r\n\tand again\r\n")));
    assert_true(span_eq(f.name, SPAN_LIT("Subject")));
    assert_false(mail_header_find(SPAN_LIT(MESSAGE "\r\nTo: x\r\n"), "To", &f));
}

static void dates(void **state)
{
    (void)state;
    char out[MAIL_DATE_BUF];
    assert_string_equal(mail_date_format(0, out), "Thu, 01 Jan 1970 00:00:00 +0000");
    assert_string_equal(mail_date_format(1795468084999, out), "Mon, 23 Nov 2026 21:08:04 +0000");
    assert_string_equal(mail_date_format(1709210096000, out), "Thu, 29 Feb 2024 12:34:56 +0000");
    assert_string_equal(mail_date_format(UINT64_MAX, out), "Fri, 31 Dec 9999 23:59:59 +0000");
}

/* Against the C library, over all years, at odd times of the day. */
static void dates_of_all_years(void **state)
{
    (void)state;
    char out[MAIL_DATE_BUF], want[64];
    for (uint64_t s = 0; s < UINT64_C(253402300799); s += 1234567) {
        time_t t = (time_t)s;
        struct tm tm;
        assert_non_null(gmtime_r(&t, &tm));
        strftime(want, sizeof want, "%a, %d %b %Y %H:%M:%S +0000", &tm);
        assert_string_equal(mail_date_format(s * 1000, out), want);
    }
}

static void assert_lines(struct span text, size_t most)
{
    while (text.len > 0) {
        struct span line = span_cut(&text, '\n');
        assert_true(line.len > 0 && line.ptr[line.len - 1] == '\r');
        assert_true(line.len - 1 <= most);
        assert_null(memchr(line.ptr, '\r', line.len - 1));
    }
}

static void received(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct mail_received r = {.helo = "client.example",
                              .client_name = "c.example",
                              .client_address = "192.0.2.1",
                              .by = "relay.example.net",
                              .id = "01hf",
                              .rcpt = "a@b.example",
                              .tls_version = "TLSv1.3",
                              .tls_cipher = "TLS_AES_256_GCM_SHA384",
                              .esmtp = true,
                              .authenticated = true,
                              .wall_ms = 0};
    mail_received_add(&b, &r);
    assert_string_equal(buf_cstr(&b),
                        "Received: from client.example (c.example [192.0.2.1]) by relay.example.net\r\n"
                        "\twith ESMTPSA (TLSv1.3 TLS_AES_256_GCM_SHA384) id 01hf for <a@b.example>;\r\n"
                        "\tThu, 01 Jan 1970 00:00:00 +0000\r\n");
    buf_clear(&b);
    r = (struct mail_received){
        .client_address = "2001:db8::1", .by = "r", .id = "1", .helo = "evil)\r\nX: y (\xff"};
    mail_received_add(&b, &r);
    assert_string_equal(buf_cstr(&b),
                        "Received: from evil???X:?y??? ([IPv6:2001:db8::1]) by r with SMTP id 1;\r\n"
                        "\tThu, 01 Jan 1970 00:00:00 +0000\r\n");
    assert_lines(buf_span(&b), 78);
    buf_fini(&b);
}

static void protocols(void **state)
{
    (void)state;
    struct mail_received r = {0};
    assert_string_equal(mail_received_protocol(&r), "SMTP");
    r.esmtp = true;
    assert_string_equal(mail_received_protocol(&r), "ESMTP");
    r.tls_version = "TLSv1.3";
    assert_string_equal(mail_received_protocol(&r), "ESMTPS");
    r.smtputf8 = true;
    assert_string_equal(mail_received_protocol(&r), "UTF8SMTPS");
    r.authenticated = true;
    assert_string_equal(mail_received_protocol(&r), "UTF8SMTPSA");
}

/* It would be all that keeps the message from hosts without SMTPUTF8. */
static void received_without_an_address_outside_of_ascii(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct mail_received r = {
        .helo = "h", .by = "b", .id = "1", .rcpt = "r@m\xc3\xbcller.example", .smtputf8 = true};
    mail_received_add(&b, &r);
    for (size_t i = 0; i < b.len; i++)
        assert_false(b.data[i] & 0x80);
    assert_null(memmem(b.data, b.len, " for ", 5));
    buf_fini(&b);
}

static void long_received(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    char helo[256], rcpt[300];
    memset(helo, 'h', sizeof helo);
    helo[255] = '\0';
    memset(rcpt, 'r', sizeof rcpt);
    memcpy(rcpt + 252, "@x", 3);
    struct mail_received r = {.helo = helo, .by = helo, .id = "1", .rcpt = rcpt, .smtputf8 = true};
    mail_received_add(&b, &r);
    assert_lines(buf_span(&b), 300);
    struct mail_field f;
    assert_true(mail_header_find(buf_span(&b), "Received", &f));
    assert_int_equal(f.raw.len, b.len);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scans),         cmocka_unit_test(cut_off),
        cmocka_unit_test(odd_sections),  cmocka_unit_test(finds),
        cmocka_unit_test(dates),         cmocka_unit_test(dates_of_all_years),
        cmocka_unit_test(received),      cmocka_unit_test(protocols),
        cmocka_unit_test(long_received), cmocka_unit_test(received_without_an_address_outside_of_ascii),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
