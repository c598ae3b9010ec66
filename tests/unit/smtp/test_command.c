/* Command lines, MAIL and RCPT with their parameters, BDAT, HELO, AUTH. */
#include "lib/smtp/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct arena arena;

static int arena_up(void **state)
{
    (void)state;
    arena_init(&arena);
    return 0;
}

static int arena_down(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static enum smtp_verb verb(struct span line)
{
    struct smtp_command c;
    smtp_command_parse(line, &c);
    return c.verb;
}

static void every_verb(void **state)
{
    (void)state;
    for (int v = SMTP_VERB_UNKNOWN + 1; v < SMTP_VERB_COUNT; v++) {
        assert_int_equal(verb(span_str(smtp_verb_name((enum smtp_verb)v))), v);
    }
    struct smtp_command c;
    smtp_command_parse(SPAN_LIT("mAiL  FROM:<a@b> SIZE=1  "), &c);
    assert_int_equal(c.verb, SMTP_VERB_MAIL);
    assert_true(span_eq(c.args, SPAN_LIT("FROM:<a@b> SIZE=1")));
    assert_true(span_eq(c.word, SPAN_LIT("mAiL")));
}

static void no_verb(void **state)
{
    (void)state;
    assert_int_equal(verb(SPAN_LIT("")), SMTP_VERB_UNKNOWN);
    assert_int_equal(verb((struct span){NULL, 0}), SMTP_VERB_UNKNOWN);
    assert_int_equal(verb(SPAN_LIT("UNKNOWN")), SMTP_VERB_UNKNOWN);
    assert_int_equal(verb(SPAN_LIT("MAILFROM:<a@b>")), SMTP_VERB_UNKNOWN);
    assert_int_equal(verb(SPAN_LIT("NOOP\0x")), SMTP_VERB_UNKNOWN);
    assert_int_equal(verb(SPAN_LIT("NOOP \nQUIT")), SMTP_VERB_UNKNOWN);
    assert_int_equal(verb(SPAN_LIT("NOOP \rQUIT")), SMTP_VERB_UNKNOWN);
    assert_int_equal(verb(SPAN_LIT("GET / HTTP/1.1")), SMTP_VERB_UNKNOWN);
}

static enum smtp_fault mail(const char *args, unsigned flags, struct smtp_mail *m)
{
    return smtp_mail_parse(&arena, span_str(args), flags, m);
}

static enum smtp_fault mail_fault(const char *args)
{
    struct smtp_mail m;
    return mail(args, 0, &m);
}

static void mail_paths(void **state)
{
    (void)state;
    struct smtp_mail m;
    static const char *const pairs[][2] = {
        {"FROM:<a@b.example>", "a@b.example"},
        {"from: <a@b.example>", "a@b.example"},
        {"FROM:a@b.example", "a@b.example"},
        {"FROM: a@b.example SIZE=1", "a@b.example"},
        {"FROM:<@x.example,@y.example:a@b.example>", "a@b.example"},
        {"FROM:<\"a>b\"@c>", "\"a>b\"@c"},
        {"FROM:<\"a\\\">b\"@c>", "\"a\\\">b\"@c"},
        {"FROM:<a@[IPv6:::1]>", "a@[IPv6:::1]"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        assert_int_equal(mail(pairs[i][0], 0, &m), SMTP_FAULT_NONE);
        assert_true(span_eq(m.path, span_str(pairs[i][1])));
    }
    assert_int_equal(mail("FROM:<>", SMTP_PARSE_STRICT, &m), SMTP_FAULT_NONE);
    assert_int_equal(m.path.len, 0);
    assert_int_equal(mail("FROM:a@b", SMTP_PARSE_STRICT, &m), SMTP_FAULT_SENDER);
}

static void mail_path_faults(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "FROM:",       "FROM:<a@b",    "FROM:<a@b>x", "FROM:<<a@b>>",    "FROM:< a@b>",
        "FROM:<a@b >", "FROM:<@x:>",   "FROM:<@x>",   "FROM:<@x,y:a@b>", "FROM:<a>",
        "FROM:<a@b>>", "FROM:<@:a@b>", "FROM:a@b>",   "FROM:<@x@y:a@b>",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (mail_fault(bad[i]) != SMTP_FAULT_SENDER) {
            fail_msg("not refused: %s", bad[i]);
        }
    }
    assert_int_equal(mail_fault(""), SMTP_FAULT_SYNTAX);
    assert_int_equal(mail_fault("TO:<a@b>"), SMTP_FAULT_SYNTAX);
    assert_int_equal(mail_fault("FROM <a@b>"), SMTP_FAULT_SYNTAX);
}

static void mail_params(void **state)
{
    (void)state;
    struct smtp_mail m;
    assert_int_equal(
        mail("FROM:<a@b> SIZE=12345 body=8bitmime SMTPUTF8 RET=HDRS ENVID=QQ+2B1+3D AUTH=e+2Bx@y "
             "REQUIRETLS",
             SMTP_PARSE_REQUIRETLS, &m),
        SMTP_FAULT_NONE);
    assert_true(m.has_size && m.size == 12345);
    assert_int_equal(m.body, SMTP_BODY_8BITMIME);
    assert_true(m.smtputf8 && m.requiretls);
    assert_int_equal(m.ret, SMTP_RET_HDRS);
    assert_true(m.has_envid && span_eq(m.envid, SPAN_LIT("QQ+1=")));
    assert_true(m.has_auth && span_eq(m.auth, SPAN_LIT("e+x@y")));
    assert_int_equal(mail("FROM:<> AUTH=<> RET=FULL BODY=7BIT", 0, &m), SMTP_FAULT_NONE);
    assert_true(m.has_auth && m.auth.len == 0);
    assert_int_equal(m.ret, SMTP_RET_FULL);
    assert_int_equal(m.body, SMTP_BODY_7BIT);
    assert_int_equal(mail("FROM:<a@b> BODY=BINARYMIME", SMTP_PARSE_BINARYMIME, &m), SMTP_FAULT_NONE);
    assert_int_equal(m.body, SMTP_BODY_BINARYMIME);
}

static void mail_param_faults(void **state)
{
    (void)state;
    static const char *const malformed[] = {
        "SIZE",
        "SIZE=",
        "SIZE=x",
        "SIZE=-1",
        "SIZE=99999999999999999999",
        "BODY=9BIT",
        "BODY",
        "SMTPUTF8=1",
        "RET=BOTH",
        "ENVID=",
        "ENVID=a+0Ab",
        "ENVID=+",
        "ENVID=a=b",
        "AUTH=",
        "AUTH=a+00",
        "ENVID=+C3+BC",
        "BODY=BINARYMIME",
        "ENVID=+0D+0A",
        "SIZE=000000000000000000001",
    };
    char args[80];
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        snprintf(args, sizeof args, "FROM:<a@b> %s", malformed[i]);
        if (mail_fault(args) != SMTP_FAULT_PARAM_SYNTAX) {
            fail_msg("not refused: %s", args);
        }
    }
    assert_int_equal(mail_fault("FROM:<a@b> SIZE=1 size=1"), SMTP_FAULT_PARAM_DUPLICATE);
    assert_int_equal(mail_fault("FROM:<a@b> XVERP"), SMTP_FAULT_PARAM_UNKNOWN);
    assert_int_equal(mail_fault("FROM:<a@b> NOTIFY=NEVER"), SMTP_FAULT_PARAM_UNKNOWN);
    assert_int_equal(mail_fault("FROM:<a@b> REQUIRETLS"), SMTP_FAULT_PARAM_UNKNOWN);
    assert_int_equal(mail_fault("FROM:<a@b> ="), SMTP_FAULT_PARAM_UNKNOWN);
    struct smtp_mail m;
    assert_int_equal(mail("FROM:<a@b> SIZE=1", SMTP_PARSE_ROUTE_ONLY, &m), SMTP_FAULT_PARAM_UNKNOWN);
    assert_int_equal(mail("FROM:<a@b>", SMTP_PARSE_ROUTE_ONLY, &m), SMTP_FAULT_NONE);
    char envid[200] = "FROM:<a@b> ENVID=";
    memset(envid + 17, 'e', 100);
    assert_int_equal(mail_fault(envid), SMTP_FAULT_NONE);
    envid[117] = 'e';
    assert_int_equal(mail_fault(envid), SMTP_FAULT_PARAM_SYNTAX);
}

static void mail_utf8(void **state)
{
    (void)state;
    assert_int_equal(mail_fault("FROM:<\xc3\xbc@b>"), SMTP_FAULT_SENDER_UTF8);
    assert_int_equal(mail_fault("FROM:<\xc3\xbc@b> SMTPUTF8"), SMTP_FAULT_NONE);
    assert_int_equal(mail_fault("FROM:<\xc3@b> SMTPUTF8"), SMTP_FAULT_SENDER);
}

static enum smtp_fault rcpt(const char *args, unsigned flags, struct smtp_rcpt *r)
{
    return smtp_rcpt_parse(span_str(args), flags, r);
}

static void rcpt_good(void **state)
{
    (void)state;
    struct smtp_rcpt r;
    assert_int_equal(rcpt("TO:<a@b> NOTIFY=success,FAILURE,DELAY ORCPT=rfc822;a+2Bx@b", 0, &r),
                     SMTP_FAULT_NONE);
    assert_int_equal(r.notify, SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_FAILURE | SMTP_NOTIFY_DELAY);
    assert_true(span_eq(r.orcpt, SPAN_LIT("rfc822;a+2Bx@b")));
    assert_int_equal(rcpt("TO:<a@b> NOTIFY=NEVER", 0, &r), SMTP_FAULT_NONE);
    assert_int_equal(r.notify, SMTP_NOTIFY_NEVER);
    assert_int_equal(rcpt("TO:<Postmaster>", 0, &r), SMTP_FAULT_NONE);
    assert_int_equal(r.address.domain.len, 0);
    assert_int_equal(rcpt("to: a@b", 0, &r), SMTP_FAULT_NONE);
    assert_int_equal(rcpt("TO:<\xc3\xbc@b> ORCPT=utf-8;\xc3\xbc@b", SMTP_PARSE_UTF8, &r), SMTP_FAULT_NONE);
}

static void rcpt_faults(void **state)
{
    (void)state;
    struct smtp_rcpt r;
    assert_int_equal(rcpt("TO:<>", 0, &r), SMTP_FAULT_RECIPIENT);
    assert_int_equal(rcpt("TO:<a>", 0, &r), SMTP_FAULT_RECIPIENT);
    assert_int_equal(rcpt("FROM:<a@b>", 0, &r), SMTP_FAULT_SYNTAX);
    assert_int_equal(rcpt("TO:<\xc3\xbc@b>", 0, &r), SMTP_FAULT_RECIPIENT_UTF8);
    static const char *const malformed[] = {
        "NOTIFY=",    "NOTIFY=NEVER,DELAY", "NOTIFY=X",         "NOTIFY=DELAY,",    "ORCPT=rfc822",
        "ORCPT=;a@b", "ORCPT=rfc822;",      "ORCPT=rfc822;a=b", "ORCPT=rfc822;+G0", "ORCPT=utf-8;\xc3\xbc@b"};
    char args[80];
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        snprintf(args, sizeof args, "TO:<a@b> %s", malformed[i]);
        assert_int_equal(rcpt(args, 0, &r), SMTP_FAULT_PARAM_SYNTAX);
    }
    assert_int_equal(rcpt("TO:<a@b> NOTIFY=DELAY NOTIFY=DELAY", 0, &r), SMTP_FAULT_PARAM_DUPLICATE);
    assert_int_equal(rcpt("TO:<a@b> SIZE=1", 0, &r), SMTP_FAULT_PARAM_UNKNOWN);
}

static void bdat(void **state)
{
    (void)state;
    struct smtp_bdat b;
    assert_int_equal(smtp_bdat_parse(SPAN_LIT("86"), &b), SMTP_FAULT_NONE);
    assert_true(b.size == 86 && !b.last);
    assert_int_equal(smtp_bdat_parse(SPAN_LIT("0  last"), &b), SMTP_FAULT_NONE);
    assert_true(b.size == 0 && b.last);
    static const char *const bad[] = {
        "", "LAST", "-1", "1 FIRST", "1 LAST x", "1LAST", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(smtp_bdat_parse(span_str(bad[i]), &b), SMTP_FAULT_BDAT);
    }
}

static void helo(void **state)
{
    (void)state;
    struct span name;
    assert_int_equal(smtp_helo_parse(SPAN_LIT(" mx.example.com "), SMTP_PARSE_STRICT, &name),
                     SMTP_FAULT_NONE);
    assert_true(span_eq(name, SPAN_LIT("mx.example.com")));
    assert_int_equal(smtp_helo_parse(SPAN_LIT("[192.0.2.1]"), SMTP_PARSE_STRICT, &name), SMTP_FAULT_NONE);
    assert_int_equal(smtp_helo_parse(SPAN_LIT("192.0.2.1)("), SMTP_PARSE_STRICT, &name),
                     SMTP_FAULT_HELO_NAME);
    assert_int_equal(smtp_helo_parse(SPAN_LIT("my_pc!"), 0, &name), SMTP_FAULT_NONE);
    assert_int_equal(smtp_helo_parse(SPAN_LIT(""), 0, &name), SMTP_FAULT_HELO_NAME);
    assert_int_equal(smtp_helo_parse(SPAN_LIT("a b"), 0, &name), SMTP_FAULT_HELO_NAME);
    assert_int_equal(smtp_helo_parse(SPAN_LIT("b\xc3\xbc.example"), 0, &name), SMTP_FAULT_HELO_NAME);
}

static void auth(void **state)
{
    (void)state;
    struct smtp_auth a;
    assert_int_equal(smtp_auth_parse(SPAN_LIT("PLAIN AGEAYg=="), &a), SMTP_FAULT_NONE);
    assert_true(a.has_initial && span_eq(a.initial, SPAN_LIT("AGEAYg==")));
    assert_int_equal(smtp_auth_parse(SPAN_LIT("LOGIN"), &a), SMTP_FAULT_NONE);
    assert_false(a.has_initial);
    assert_int_equal(smtp_auth_parse(SPAN_LIT("EXTERNAL ="), &a), SMTP_FAULT_NONE);
    assert_true(a.has_initial && a.initial.len == 0);
    assert_int_equal(smtp_auth_parse(SPAN_LIT(""), &a), SMTP_FAULT_SYNTAX);
    assert_int_equal(smtp_auth_parse(SPAN_LIT("PLAIN a b"), &a), SMTP_FAULT_SYNTAX);
}

static void fault_replies(void **state)
{
    (void)state;
    for (int f = SMTP_FAULT_NONE + 1; f < SMTP_FAULT_COUNT; f++) {
        const struct smtp_fault_reply *r = smtp_fault_reply((enum smtp_fault)f);
        assert_in_range(r->code, 500, 559);
        assert_int_equal(r->enhanced.class, 5);
        assert_non_null(r->text);
    }
    assert_int_equal(smtp_fault_reply(SMTP_FAULT_PARAM_UNKNOWN)->code, 555);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_verb),    cmocka_unit_test(no_verb),
        cmocka_unit_test(mail_paths),    cmocka_unit_test(mail_path_faults),
        cmocka_unit_test(mail_params),   cmocka_unit_test(mail_param_faults),
        cmocka_unit_test(mail_utf8),     cmocka_unit_test(rcpt_good),
        cmocka_unit_test(rcpt_faults),   cmocka_unit_test(bdat),
        cmocka_unit_test(helo),          cmocka_unit_test(auth),
        cmocka_unit_test(fault_replies),
    };
    return cmocka_run_group_tests(tests, arena_up, arena_down);
}
