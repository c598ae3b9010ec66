/* Delivery reports: when they are wanted, and what stands in them. tests/unit/mail/dsn_parses.py reads the
 * same reports with an independent parser. */
#include "lib/mail/dsn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "lib/mail/quoted.h"
#include "lib/smtp/address.h"
#include "lib/smtp/command.h"
#include "lib/smtp/stuff.h"

static void wanted(void **state)
{
    (void)state;
    unsigned n = SMTP_NOTIFY_NEVER, s = SMTP_NOTIFY_SUCCESS, f = SMTP_NOTIFY_FAILURE, d = SMTP_NOTIFY_DELAY;
    assert_true(mail_dsn_wanted(0, MAIL_DSN_FAILED, false));
    assert_true(mail_dsn_wanted(0, MAIL_DSN_EXPIRED, true));
    assert_true(mail_dsn_wanted(0, MAIL_DSN_DELAYED, false));
    assert_false(mail_dsn_wanted(0, MAIL_DSN_RELAYED, false));
    assert_false(mail_dsn_wanted(0, MAIL_DSN_DELIVERED, false));
    for (int a = MAIL_DSN_FAILED; a <= MAIL_DSN_RELAYED; a++) {
        assert_false(mail_dsn_wanted(n, (enum mail_dsn_action)a, false));
    }
    assert_false(mail_dsn_wanted(s, MAIL_DSN_FAILED, false));
    assert_false(mail_dsn_wanted(f, MAIL_DSN_DELAYED, false));
    assert_true(mail_dsn_wanted(d, MAIL_DSN_DELAYED, false));
    assert_false(mail_dsn_wanted(d, MAIL_DSN_EXPIRED, false));
    assert_true(mail_dsn_wanted(s, MAIL_DSN_RELAYED, false));
    assert_false(mail_dsn_wanted(s, MAIL_DSN_RELAYED, true));
    assert_true(mail_dsn_wanted(s | f, MAIL_DSN_DELIVERED, true));
}

#define ORIGINAL "Subject: hello\r\nFrom: a@x\r\n\r\nbody\r\n.dot\r\nno end"

static struct mail_dsn_recipient failed(void)
{
    return (struct mail_dsn_recipient){
        .orcpt = "rfc822;Bob+2Bx@y.example",
        .address = "bob@y.example",
        .action = MAIL_DSN_FAILED,
        .code = 550,
        .status = {5, 1, 1},
        .text = "5.1.1 No such user\n5.1.1 ask the postmaster",
        .remote_mta = "mx.y.example",
        .last_attempt_ms = 1795468084000,
    };
}

static struct mail_dsn report(const struct mail_dsn_recipient *r, size_t n)
{
    return (struct mail_dsn){
        .id = "01hfabc",
        .reporting_mta = "relay.example.net",
        .to = "a@x.example",
        .original_id = "01hforig",
        .envid = "QQ314159",
        .arrival_ms = 1795468000000,
        .now_ms = 1795468084000,
        .recipients = r,
        .n_recipients = n,
        .original = SPAN_LIT(ORIGINAL),
        .original_whole = true,
    };
}

/* What holds for every report: lines end in CRLF, are not too long, and without need nothing is over 127. */
static struct mail_dsn_made write(struct buf *out, const struct mail_dsn *d)
{
    buf_clear(out);
    struct mail_dsn_made made = mail_dsn_write(out, d);
    assert_false(smtp_has_bare(buf_span(out)));
    struct span rest = buf_span(out);
    while (rest.len > 0) {
        assert_true(span_cut(&rest, '\n').len <= 999);
    }
    assert_int_equal(!smtp_is_ascii(buf_span(out)) && !made.eight_bit, 0);
    assert_null(memchr(out->data, '\0', out->len));
    return made;
}

static void has(struct buf *b, const char *what)
{
    if (strstr(buf_cstr(b), what) == NULL) {
        fail_msg("missing: %s\nin:\n%s", what, buf_cstr(b));
    }
}

static void lacks(struct buf *b, const char *what)
{
    if (strstr(buf_cstr(b), what) != NULL) {
        fail_msg("unwanted: %s\nin:\n%s", what, buf_cstr(b));
    }
}

static void a_failure(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct mail_dsn_recipient r = failed();
    struct mail_dsn d = report(&r, 1);
    struct mail_dsn_made made = write(&b, &d);
    assert_false(made.eight_bit || made.smtputf8);
    has(&b, "From: Mail Delivery System <MAILER-DAEMON@relay.example.net>\r\nTo: <a@x.example>\r\n");
    has(&b, "Auto-Submitted: auto-replied\r\n");
    has(&b, "Message-ID: <01hfabc@relay.example.net>\r\n");
    has(&b, "    mx.y.example said:\r\n        550 5.1.1 No such user\r\n        550 5.1.1 ask the "
            "postmaster\r\n");
    has(&b, "\r\n\r\nReporting-MTA: dns; relay.example.net\r\nOriginal-Envelope-Id: QQ314159\r\n");
    has(&b, "Arrival-Date: Mon, 23 Nov 2026 21:06:40 +0000\r\n\r\n");
    has(&b,
        "\r\n\r\nOriginal-Recipient: rfc822; Bob+x@y.example\r\nFinal-Recipient: rfc822; bob@y.example\r\n"
        "Action: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.y.example\r\n"
        "Diagnostic-Code: smtp; 550-5.1.1 No such user 550 5.1.1 ask the postmaster\r\n"
        "Last-Attempt-Date: Mon, 23 Nov 2026 21:08:04 +0000\r\n\r\n--=_report-01hfabc\r\n");
    has(&b, "Content-Type: text/rfc822-headers\r\n\r\nSubject: hello\r\nFrom: "
            "a@x\r\n\r\n--=_report-01hfabc--\r\n");
    lacks(&b, "body");
    lacks(&b, "Will-Retry");
    buf_fini(&b);
}

static void returns_all(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct mail_dsn_recipient r = failed();
    struct mail_dsn d = report(&r, 1);
    d.full = true;
    write(&b, &d);
    has(&b, "Content-Type: message/rfc822\r\n\r\n" ORIGINAL "\r\n\r\n--=_report-01hfabc--\r\n");
    d.original_whole = false;
    write(&b, &d);
    has(&b, "text/rfc822-headers");
    d.original = (struct span){NULL, 0};
    write(&b, &d);
    lacks(&b, "rfc822-headers");
    buf_fini(&b);
}

static void actions(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct mail_dsn_recipient r[3] = {
        {.address = "late@y", .action = MAIL_DSN_EXPIRED, .text = "no mail server of y answered"},
        {.address = "slow@y",
         .action = MAIL_DSN_DELAYED,
         .code = 451,
         .text = "4.7.1 greylisted",
         .status = {4, 7, 1},
         .retry_until_ms = 1795468084000},
        {.address = "on@y", .action = MAIL_DSN_RELAYED, .code = 250, .text = "ok", .remote_mta = "mx.y"},
    };
    struct mail_dsn d = report(r, 3);
    write(&b, &d);
    has(&b, "Subject: Undelivered: your message could not be delivered in time\r\n");
    has(&b, "Action: failed\r\nStatus: 4.4.7\r\nDiagnostic-Code: X-Remuda; no mail server of y answered\r\n");
    has(&b, "Action: delayed\r\nStatus: 4.7.1\r\nDiagnostic-Code: smtp; 451 4.7.1 greylisted\r\n"
            "Will-Retry-Until: Mon, 23 Nov 2026 21:08:04 +0000\r\n");
    has(&b, "Action: relayed\r\nStatus: 2.0.0\r\n");
    has(&b, "    mx.y answered:\r\n        250 ok\r\n");
    d.recipients = r + 1;
    d.n_recipients = 1;
    write(&b, &d);
    has(&b, "Subject: Delayed: your message is still being tried\r\n");
    has(&b, "Will be tried until: Mon, 23 Nov 2026 21:08:04 +0000");
    buf_fini(&b);
}

/* A receiver's words are anybody's: they may imitate fields, boundaries, and be as long as a reply may be. */
static void hostile_words(void **state)
{
    (void)state;
    struct buf b = BUF_INIT, words = BUF_INIT;
    struct mail_dsn_recipient r = failed();
    struct mail_dsn d = report(&r, 1);
    r.text = "x\r\n--=_report-01hfabc--\r\n\r\nFinal-Recipient: rfc822; other@z\n.\nend";
    write(&b, &d);
    lacks(&b, "\r\nFinal-Recipient: rfc822; other@z");
    const char *first = strstr(buf_cstr(&b), "\r\n--=_report-01hfabc--");
    assert_int_equal(first + strlen("\r\n--=_report-01hfabc--\r\n") - b.data, b.len);
    for (int i = 0; i < 4000; i++) {
        buf_add_str(&words, i % 2 ? "\xc3\xbc" : "w");
    }
    r.text = buf_cstr(&words);
    write(&b, &d);
    has(&b, "Content-Transfer-Encoding: quoted-printable\r\n");
    assert_true(smtp_is_ascii(buf_span(&b)));
    r.text = "bad \xff utf-8 \x01";
    write(&b, &d);
    has(&b, "bad ? utf-8 ?");
    buf_fini(&words);
    buf_fini(&b);
}

static void internationalised(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct mail_dsn_recipient r = failed();
    r.address = "j\xc3\xbcrgen@y.example";
    r.orcpt = "utf-8;j\\x{FC}rgen@y.example";
    struct mail_dsn d = report(&r, 1);
    d.smtputf8 = true;
    struct mail_dsn_made made = write(&b, &d);
    assert_true(made.smtputf8 && made.eight_bit);
    has(&b, "Content-Type: message/global-delivery-status\r\n");
    has(&b, "Original-Recipient: utf-8; j\xc3\xbcrgen@y.example\r\nFinal-Recipient: utf-8; "
            "j\xc3\xbcrgen@y.example\r\n");
    has(&b, "Content-Type: message/global-headers\r\n");
    d.full = true;
    write(&b, &d);
    has(&b, "Content-Type: message/global\r\n");
    r = failed(); /* nothing in it needs UTF-8: the old form, which everybody reads */
    made = write(&b, &d);
    assert_false(made.smtputf8);
    has(&b, "Content-Type: message/delivery-status\r\n");
    buf_fini(&b);
}

static void eight_bit_originals(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct mail_dsn_recipient r = failed();
    r.orcpt = "utf-8;j\\x{FC}rgen@y.example"; /* stays encoded in a report that is not SMTPUTF8 */
    struct mail_dsn d = report(&r, 1);
    d.original = SPAN_LIT("Subject: \xe9\r\n\r\nbody \xe9\r\n");
    struct mail_dsn_made made = write(&b, &d);
    assert_false(made.eight_bit);
    has(&b, "Content-Transfer-Encoding: quoted-printable\r\n\r\nSubject: =E9\r\n");
    has(&b, "Original-Recipient: utf-8; j\\x{FC}rgen@y.example\r\n");
    d.full = true;
    made = write(&b, &d);
    assert_true(made.eight_bit && !made.smtputf8);
    has(&b, "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: \xe9\r\n");
    buf_fini(&b);
}

static void quoted(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    mail_quoted_add(&b, SPAN_LIT("a=b \r\n\xc3\xbc\t\nend"));
    assert_string_equal(buf_cstr(&b), "a=3Db=20\r\n=C3=BC=09\r\nend");
    buf_clear(&b);
    char s[200];
    memset(s, '=', sizeof s);
    mail_quoted_add(&b, span_of(s, sizeof s));
    struct span rest = buf_span(&b);
    while (rest.len > 0) {
        assert_true(span_cut(&rest, '\n').len <= 77);
    }
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wanted),
        cmocka_unit_test(a_failure),
        cmocka_unit_test(returns_all),
        cmocka_unit_test(actions),
        cmocka_unit_test(hostile_words),
        cmocka_unit_test(internationalised),
        cmocka_unit_test(eight_bit_originals),
        cmocka_unit_test(quoted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
