/* What comes back is understood: samples of every form, and what must not pass for a bounce. */
#include "lib/mail/report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/base/buf.h"
#include "lib/mail/mime.h"

/* The samples stand beside this file. */
static struct buf sample(const char *name, bool crlf)
{
    char path[1024];
    const char *slash = strrchr(__FILE__, '/');
    struct buf out = BUF_INIT;
    snprintf(path, sizeof(path), "%.*s/reports/%s.eml", (int)(slash - __FILE__), __FILE__, name);
    FILE *f = fopen(path, "r");
    if (!f)
        fail_msg("no sample %s", path);
    for (int c; (c = fgetc(f)) != EOF;) {
        if (c == '\n' && crlf)
            buf_add_char(&out, '\r');
        buf_add_char(&out, (char)c);
    }
    fclose(f);
    return out;
}

struct expected {
    const char *address;
    enum mail_report_action action;
    int code;
    const char *status;
    const char *text; /* the beginning */
};

struct sample {
    const char *name;
    enum mail_report_kind kind;
    const char *form;
    bool original;
    struct expected recipients[3];
};

#define FAILED    MAIL_REPORT_FAILED
#define DELAYED   MAIL_REPORT_DELAYED
#define DELIVERED MAIL_REPORT_DELIVERED

static const struct sample samples[] = {
    {"postfix",
     MAIL_REPORT_DELIVERY,
     "rfc3464",
     true,
     {{"nobody@example.org", FAILED, 550, "5.1.1",
       "5.1.1 <nobody@example.org>: Recipient address rejected: User unknown in local recipient table"},
      {"slow@example.org", DELAYED, 0, "4.4.1", "connect to backend.example.org"}}},
    {"postfix-plain",
     MAIL_REPORT_DELIVERY,
     "postfix",
     false,
     {{"full@example.org", FAILED, 552, "5.2.2", "5.2.2 The mailbox is over its quota"},
      {"nobody@example.org", FAILED, 0, "", "unknown user"}}},
    {"postfix-warning",
     MAIL_REPORT_DELIVERY,
     "postfix",
     false,
     {{"slow@example.org", DELAYED, 0, "", "connect to mx1.example.org"}}},
    {"relayed",
     MAIL_REPORT_DELIVERY,
     "rfc3464",
     false,
     {{"a@example.org", DELIVERED, 0, "2.0.0", "250 2.0.0 OK"}}},
    {"office365",
     MAIL_REPORT_DELIVERY,
     "rfc3464",
     true,
     {{"gone@contoso.example", FAILED, 550, "5.1.10", "5.1.10 RESOLVER.ADR.RecipientNotFound"}}},
    {"qmail",
     MAIL_REPORT_DELIVERY,
     "qmail",
     true,
     {{"nobody@example.org", FAILED, 550, "5.1.1", "5.1.1 <nobody@example.org>... User unknown"},
      {"second@example.org", FAILED, 0, "5.1.1", "Sorry, no mailbox here by that name. (#5.1.1)"}}},
    {"exim",
     MAIL_REPORT_DELIVERY,
     "exim",
     true,
     {{"nobody@example.org", FAILED, 550, "5.1.1",
       "5.1.1 <nobody@example.org>: Recipient address rejected"}}},
    {"exim-warning",
     MAIL_REPORT_DELIVERY,
     "exim",
     false,
     {{"slow@example.org", DELAYED, 0, "", "Delay reason: Connection timed out"}}},
    {"exchange2000",
     MAIL_REPORT_DELIVERY,
     "exchange",
     true,
     {{"jane@corp.example", FAILED, 0, "5.1.1", "on 12/03/2024 10:11 The e-mail account does not exist"}}},
    {"exchange2010",
     MAIL_REPORT_DELIVERY,
     "exchange",
     false,
     {{"jane@corp.example", FAILED, 550, "5.1.1", "5.1.1 RESOLVER.ADR.RecipNotFound; not found"}}},
    {"domino",
     MAIL_REPORT_DELIVERY,
     "domino",
     false,
     {{"jane@corp.example", FAILED, 0, "", "because: User jane (jane@corp.example) not listed"}}},
    {"sendmail",
     MAIL_REPORT_DELIVERY,
     "sendmail",
     false,
     {{"nobody@old.example", FAILED, 550, "5.1.1", "5.1.1 <nobody@old.example>... User unknown"}}},
    {"vacation", MAIL_REPORT_AUTOMATIC, "automatic", false, {{NULL}}},
    {"receipt", MAIL_REPORT_AUTOMATIC, "automatic", false, {{NULL}}},
    {"yahoo-arf", MAIL_REPORT_COMPLAINT, "arf", true, {{"jane@yahoo.example", FAILED, 0, "", ""}}},
    {"jmrp", MAIL_REPORT_COMPLAINT, "jmrp", true, {{"jane@hotmail.example", FAILED, 0, "", ""}}},
    {"auth-failure", MAIL_REPORT_AUTOMATIC, "arf", false, {{"jane@example.org", FAILED, 0, "", ""}}},
    {"letter", MAIL_REPORT_NONE, "", false, {{NULL}}},
};

static void check_recipient(const char *name, const struct mail_report_recipient *r, const struct expected *e)
{
    char status[SMTP_ENHANCED_BUF];
    assert_string_equal(r->address, e->address);
    assert_int_equal(r->action, e->action);
    assert_int_equal(r->code, e->code);
    assert_string_equal(smtp_enhanced_text(r->status, status), e->status);
    if (strncmp(r->text, e->text, strlen(e->text)) != 0)
        fail_msg("%s: \"%s\" does not begin with \"%s\"", name, r->text, e->text);
}

static void check_sample(const struct sample *s, bool crlf)
{
    struct arena a = ARENA_INIT;
    struct buf text = sample(s->name, crlf);
    struct mail_report r;
    mail_report_read(&a, buf_span(&text), &r);
    if (r.kind != s->kind || strcmp(r.form, s->form) != 0)
        fail_msg("%s: kind %d, form %s", s->name, (int)r.kind, r.form);
    size_t n = 0;
    while (n < 3 && s->recipients[n].address)
        n++;
    if (r.n_recipients != n)
        fail_msg("%s: %zu recipients instead of %zu", s->name, r.n_recipients, n);
    for (size_t i = 0; i < n; i++)
        check_recipient(s->name, &r.recipients[i], &s->recipients[i]);
    assert_int_equal(r.original.ptr != NULL, s->original);
    buf_fini(&text);
    arena_fini(&a);
}

static void understands(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        check_sample(&samples[i], false);
        check_sample(&samples[i], true);
    }
}

static void details(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    struct buf text = sample("postfix", true);
    struct mail_report r;
    mail_report_read(&a, buf_span(&text), &r);
    assert_string_equal(r.envid, "QQ314159");
    assert_string_equal(r.recipients[0].original, "no+body@example.org");
    assert_string_equal(r.recipients[1].original, "");
    assert_memory_equal(r.original.ptr, "Return-Path: <3abc@", 19);
    buf_fini(&text);
    text = sample("yahoo-arf", true);
    mail_report_read(&a, buf_span(&text), &r);
    assert_string_equal(r.feedback_type, "abuse");
    buf_fini(&text);
    arena_fini(&a);
}

/* However it is cut off, nothing beyond is read. */
static void cut_off(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        struct buf text = sample(samples[i].name, true);
        for (size_t n = 0; n < text.len; n += 7) {
            struct arena a = ARENA_INIT;
            struct mail_report r;
            char *exact = test_malloc(n + 1);
            memcpy(exact, text.data, n);
            mail_report_read(&a, span_of(exact, n), &r);
            test_free(exact);
            arena_fini(&a);
        }
        buf_fini(&text);
    }
}

static void parts(void **state)
{
    (void)state;
    struct mail_part p[MAIL_PARTS_MOST];
    struct buf out = BUF_INIT;
    assert_int_equal(mail_parts(SPAN_LIT("A: b\r\n\r\nbody"), p), 1);
    assert_true(span_eq(p[0].body, SPAN_LIT("body")) && span_eq(p[0].type, SPAN_LIT("text/plain")));
    assert_int_equal(mail_parts(SPAN_LIT(""), p), 1);
    struct span nested =
        SPAN_LIT("Content-Type: multipart/mixed; boundary=\"a b\"\n\npreamble\n--a b\n"
                 "Content-Type: multipart/x; foo=1; boundary=in\n\n--in\n\none\n--in \n\ntwo\n--in--\n"
                 "--a b\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n\nYW\nJj\n--a b--\nx");
    assert_int_equal(mail_parts(nested, p), 3);
    assert_true(span_eq(p[0].body, SPAN_LIT("one")) && span_eq(p[1].body, SPAN_LIT("two")));
    mail_part_decode(&p[2], 100, &out);
    assert_string_equal(buf_cstr(&out), "abc");
    buf_clear(&out);
    (void)mail_parts(SPAN_LIT("Content-Transfer-Encoding: quoted-printable\n\na=3Db =\r\nc=zz"), p);
    mail_part_decode(&p[0], 100, &out);
    assert_string_equal(buf_cstr(&out), "a=b czz");
    buf_clear(&out);
    mail_part_decode(&p[0], 2, &out);
    assert_int_equal(out.len, 2);
    buf_clear(&out);
    assert_true(mail_parameter(SPAN_LIT("x/y; A=\"q\\\"r\"; b=2"), "a", &out));
    assert_string_equal(buf_cstr(&out), "q\"r");
    assert_false(mail_parameter(SPAN_LIT("x/y; a; bb=2"), "b", &out));
    buf_fini(&out);
}

/* As deep and as many as one likes: it stays bounded. */
static void bounded(void **state)
{
    (void)state;
    struct mail_part p[MAIL_PARTS_MOST];
    struct buf deep = BUF_INIT, many = BUF_INIT;
    for (int i = 0; i < 100; i++)
        buf_printf(&deep, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i);
    assert_int_equal(mail_parts(buf_span(&deep), p), 1);
    buf_add_str(&many, "Content-Type: multipart/mixed; boundary=b\n\n");
    for (int i = 0; i < 1000; i++)
        buf_add_str(&many, "--b\n\nx\n");
    assert_int_equal(mail_parts(buf_span(&many), p), MAIL_PARTS_MOST);
    struct arena a = ARENA_INIT;
    struct mail_report r;
    struct buf status = BUF_INIT;
    buf_add_str(&status, "Content-Type: message/delivery-status\n\n");
    for (int i = 0; i < 1000; i++)
        buf_printf(&status, "Final-Recipient: rfc822; r%d@x.example\nAction: failed\n\n", i);
    mail_report_read(&a, buf_span(&status), &r);
    assert_int_equal(r.n_recipients, MAIL_REPORT_RECIPIENTS_MOST);
    arena_fini(&a);
    buf_fini(&deep);
    buf_fini(&many);
    buf_fini(&status);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(understands), cmocka_unit_test(details), cmocka_unit_test(cut_off),
        cmocka_unit_test(parts),       cmocka_unit_test(bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
