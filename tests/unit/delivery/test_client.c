/* A client's connection apart from attempts: coming up, HELO, STARTTLS by policy, idling, QUIT, and every way
 * to fail on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/delivery/client_rig.h"

#define EHLO     "EHLO mta1.example.net\r\n"
#define GREETING "220 mx.example ESMTP\r\n"
#define WITH_TLS "250-mx.example\r\n250-PIPELINING\r\n250 STARTTLS\r\n"

/* ---- coming up ---- */

static void it_comes_up_after_ehlo(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, TLS_POLICY_OPPORTUNISTIC);
    assert_int_equal(r.deadline_ms, r.limits.greeting_ms);
    assert_int_equal(client_stage(r.client), STAGE_GREETING);
    rig_hear(&r, "220-mx.example\r\n220 ESMTP\r\n");
    assert_true(rig_said(&r, EHLO));
    assert_int_equal(r.deadline_ms, r.limits.ehlo_ms);
    assert_int_equal(r.ups, 0);
    rig_hear(&r, "250-mx.example\r\n250-DSN\r\n250 SIZE 5000\r\n");
    assert_int_equal(r.ups, 1);
    assert_true(client_idle(r.client));
    assert_int_equal(r.deadline_ms, 0);
    assert_int_equal(client_extensions(r.client), SMTP_EXT_DSN | SMTP_EXT_SIZE);
    assert_true(client_greeting_us(r.client) > 0);
    assert_true(rig_said(&r, ""));
    rig_fini(&r);
}

static void helo_follows_a_refused_ehlo_and_offers_nothing(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, TLS_POLICY_OPPORTUNISTIC);
    rig_hear(&r, GREETING "502 what\r\n");
    assert_true(rig_said(&r, EHLO "HELO mta1.example.net\r\n"));
    rig_hear(&r, "250-mx.example\r\n250 STARTTLS\r\n");
    assert_int_equal(r.ups, 1);
    assert_int_equal(client_extensions(r.client), 0);
    rig_fini(&r);
}

static void a_name_of_any_length_is_said_as_one_line(void **state)
{
    (void)state;
    char name[1001];
    struct settings_delivery limits = {0};
    struct rig r;
    rig_init(&r, TLS_POLICY_NONE);
    client_free(r.client);
    memset(name, 'a', 1000);
    name[1000] = 0;
    struct client_options o = {.ehlo = name, .limits = &limits};
    struct client_env env = {
        .write = rig_write, .flushed = rig_flushed, .deadline = rig_deadline, .now_us = rig_now, .arg = &r};
    r.client = client_new(&o, &env);
    client_connected(r.client);
    assert_int_equal(client_input(r.client, span_str(GREETING)), strlen(GREETING));
    assert_int_equal(r.out.len, 5 + 255 + 2);
    rig_fini(&r);
}

/* ---- STARTTLS ---- */

static void tls_makes_everything_said_before_void(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, TLS_POLICY_OPPORTUNISTIC);
    rig_hear(&r, GREETING WITH_TLS);
    assert_true(rig_said(&r, EHLO "STARTTLS\r\n"));
    /* What comes in the clear behind the answer is left to the connection, which throws it away. */
    assert_int_equal(client_input(r.client, span_str("220 go\r\n250 injected\r\n")), 8);
    assert_int_equal(r.tls_starts, 1);
    assert_int_equal(r.deadline_ms, r.limits.tls_ms);
    assert_int_equal(client_input(r.client, span_str("250 injected\r\n")), 0);
    client_tls_up(r.client);
    assert_true(rig_said(&r, EHLO));
    assert_int_equal(r.ups, 0);
    rig_hear(&r, "250-mx.example\r\n250 STARTTLS\r\n");
    assert_int_equal(r.ups, 1);
    assert_int_equal(client_extensions(r.client), SMTP_EXT_STARTTLS);
    assert_true(client_tls_us(r.client) > 0);
    assert_true(rig_said(&r, ""));
    rig_fini(&r);
}

static void a_policy_of_no_tls_does_not_ask(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, TLS_POLICY_NONE);
    rig_hear(&r, GREETING WITH_TLS);
    assert_true(rig_said(&r, EHLO));
    assert_int_equal(r.ups, 1);
    rig_fini(&r);
}

static void refused_starttls_goes_on_in_the_clear_unless_required(void **state)
{
    static const char *const answers[] = {"454 4.7.0 not now\r\n", "502 no\r\n"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct rig r;
        rig_init(&r, TLS_POLICY_OPPORTUNISTIC);
        rig_hear(&r, GREETING WITH_TLS);
        rig_hear(&r, answers[i]);
        assert_int_equal(r.ups, 1);
        assert_int_equal(r.tls_starts, 0);
        assert_true(client_extensions(r.client) & SMTP_EXT_PIPELINING);
        rig_fini(&r);
        rig_init(&r, TLS_POLICY_REQUIRED);
        rig_hear(&r, GREETING WITH_TLS);
        rig_hear(&r, answers[i]);
        assert_int_equal(r.ups, 0);
        assert_int_equal(r.closes, 1);
        assert_int_equal(client_failure(r.client)->reply.code, atoi(answers[i]));
        assert_int_equal(client_failure(r.client)->stage, STAGE_STARTTLS);
        rig_fini(&r);
    }
}

static void required_tls_fails_where_it_is_not_offered(void **state)
{
    static const char *const answers[] = {RIG_PIPELINING, "502 EHLO?\r\n250 hello\r\n"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct rig r;
        rig_init(&r, TLS_POLICY_REQUIRED);
        rig_hear(&r, GREETING);
        rig_hear(&r, answers[i]);
        const struct session_failure *f = client_failure(r.client);
        assert_true(f->failed && !f->tls_broke);
        assert_int_equal(f->reply.code, 0);
        assert_non_null(strstr(f->trouble, "TLS is required"));
        assert_int_equal(r.closes, 1);
        assert_int_equal(r.ups, 0);
        rig_fini(&r);
    }
}

/* ---- every stage, every trouble ---- */

enum trouble { SAYS_4XX, SAYS_5XX, SAYS_421, CLOSES, STALLS, TALKS_GARBAGE, TROUBLES };

static void make_trouble(struct rig *r, enum trouble t)
{
    switch (t) {
    case SAYS_4XX:
        rig_hear(r, "450-4.3.2 try\r\n450 4.3.2 later\r\n");
        break;
    case SAYS_5XX:
        rig_hear(r, "554 5.7.1 go away\r\n");
        break;
    case SAYS_421:
        rig_hear(r, "421 4.3.2 closing\r\n");
        break;
    case CLOSES:
        rig_lose(r, "closed by peer");
        break;
    case STALLS:
        rig_time_out(r);
        break;
    default:
        rig_hear(r, "SSH-2.0-OpenSSH_9.2\r\n");
        break;
    }
}

static void reach(struct rig *r, enum session_stage stage, bool under_tls)
{
    rig_init(r, TLS_POLICY_OPPORTUNISTIC);
    if (stage > STAGE_GREETING)
        rig_hear(r, GREETING);
    if (stage > STAGE_EHLO || under_tls)
        rig_hear(r, WITH_TLS);
    if (stage > STAGE_STARTTLS || under_tls)
        rig_hear(r, "220 go\r\n");
    if (under_tls)
        client_tls_up(r->client);
    assert_int_equal(client_stage(r->client), stage);
}

/* What the trouble must be called; NULL: the answer is kept instead. */
static const char *name_of(enum trouble t, const struct rig *before)
{
    static char text[40];
    snprintf(text, sizeof(text), "timed out after %d s", (int)(before->deadline_ms / 1000));
    return t == CLOSES          ? "closed by peer"
           : t == STALLS        ? text
           : t == TALKS_GARBAGE ? "reply without a code"
                                : NULL;
}

static void fails_at(enum session_stage stage, enum trouble t, bool under_tls)
{
    struct rig r;
    reach(&r, stage, under_tls);
    const char *name = name_of(t, &r);
    make_trouble(&r, t);
    const struct session_failure *f = client_failure(r.client);
    assert_int_equal(r.closes, 1);
    assert_int_equal(r.ups, 0);
    assert_true(f->failed);
    assert_int_equal(f->stage, stage);
    if (name)
        assert_string_equal(f->trouble, name);
    else
        assert_int_equal(f->reply.code, t == SAYS_4XX ? 450 : t == SAYS_5XX ? 554 : 421);
    if (t == SAYS_4XX) {
        assert_string_equal(f->reply.text, "4.3.2 try\n4.3.2 later");
        assert_string_equal(f->reply.enhanced, "4.3.2");
    }
    assert_int_equal(f->tls_broke, (stage == STAGE_TLS || under_tls) && (t == CLOSES || t == STALLS));
    /* Nothing more is taken or told. */
    make_trouble(&r, CLOSES);
    assert_int_equal(client_input(r.client, span_str(GREETING)), strlen(GREETING));
    assert_int_equal(r.closes, 1);
    rig_fini(&r);
}

static void every_trouble_before_the_first_mail_fails_the_session(void **state)
{
    (void)state;
    for (int t = 0; t < TROUBLES; t++) {
        fails_at(STAGE_GREETING, (enum trouble)t, false);
        if (t != SAYS_5XX) /* HELO is tried */
            fails_at(STAGE_EHLO, (enum trouble)t, false);
        if (t != SAYS_5XX)
            fails_at(STAGE_EHLO, (enum trouble)t, true);
        if (t != SAYS_4XX && t != SAYS_5XX) /* it goes on in the clear */
            fails_at(STAGE_STARTTLS, (enum trouble)t, false);
    }
    fails_at(STAGE_TLS, CLOSES, false);
    fails_at(STAGE_TLS, STALLS, false);
}

static void refused_helo_fails_with_its_answer(void **state)
{
    (void)state;
    struct rig r;
    reach(&r, STAGE_EHLO, false);
    rig_hear(&r, "500 what\r\n550 5.7.1 nor this\r\n");
    assert_int_equal(client_failure(r.client)->reply.code, 550);
    assert_int_equal(r.closes, 1);
    rig_fini(&r);
}

static void endless_input_ends_the_session(void **state)
{
    (void)state;
    struct rig r;
    char line[1001];
    memset(line, 'x', 1000);
    line[1000] = 0;
    reach(&r, STAGE_GREETING, false);
    for (int i = 0; i < 10 && !r.closes; i++)
        rig_hear(&r, line);
    assert_string_equal(client_failure(r.client)->trouble, "reply line too long");
    rig_fini(&r);
    reach(&r, STAGE_GREETING, false);
    for (int i = 0; i < 200 && !r.closes; i++)
        rig_hear(&r, "220-and\r\n");
    assert_string_equal(client_failure(r.client)->trouble, "reply of too many lines");
    rig_fini(&r);
}

/* A host that comes up only to close would otherwise be taken for a good one, again and again. */
static void a_session_that_ends_before_up_was_told_has_failed(void **state)
{
    static const char *const answers[] = {RIG_PIPELINING "421 changed my mind\r\n", RIG_PIPELINING "?\r\n",
                                          RIG_PIPELINING};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct rig r;
        reach(&r, STAGE_EHLO, false);
        client_input(r.client, span_str(answers[i]));
        client_lost(r.client, "closed by peer");
        rig_end_turn(&r);
        assert_int_equal(r.ups, 0);
        assert_true(client_failure(r.client)->failed);
        assert_int_equal(r.closes, 1);
        rig_fini(&r);
    }
}

/* ---- idle, QUIT ---- */

static void an_idle_session_that_ends_has_not_failed(void **state)
{
    static const enum trouble ways[] = {SAYS_421, CLOSES, TALKS_GARBAGE, SAYS_5XX};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct rig r;
        rig_up_with(&r, RIG_PIPELINING);
        make_trouble(&r, ways[i]);
        assert_false(client_failure(r.client)->failed);
        assert_false(client_idle(r.client));
        assert_int_equal(r.closes, 1);
        struct parcel p;
        parcel_init(&p, 1, SPAN_LIT("x\r\n"));
        rig_give(&r, &p);
        assert_int_equal(r.n_done, 1);
        assert_int_equal(p.attempt.end, ATTEMPT_NOT_STARTED);
        parcel_fini(&p);
        rig_fini(&r);
    }
}

static void quit_when_idle_waits_for_the_answer_or_any_end(void **state)
{
    (void)state;
    for (int t = 0; t < TROUBLES; t++) {
        struct rig r;
        rig_up_with(&r, RIG_PIPELINING);
        client_quit(r.client);
        client_quit(r.client);
        rig_end_turn(&r);
        assert_true(rig_said(&r, "QUIT\r\n"));
        assert_int_equal(r.deadline_ms, r.limits.quit_ms);
        assert_int_equal(r.closes, 0);
        if (t == SAYS_4XX)
            rig_hear(&r, "221 bye\r\n");
        else
            make_trouble(&r, (enum trouble)t);
        assert_int_equal(r.closes, 1);
        assert_false(client_failure(r.client)->failed);
        rig_fini(&r);
    }
}

static void quit_before_up_closes_at_once(void **state)
{
    (void)state;
    struct rig r;
    reach(&r, STAGE_EHLO, false);
    client_quit(r.client);
    rig_end_turn(&r);
    assert_int_equal(r.closes, 1);
    assert_int_equal(r.ups, 0);
    assert_false(client_failure(r.client)->failed);
    rig_fini(&r);
}

static void idle_sessions_hold_no_reply_and_keep_half_a_line(void **state)
{
    (void)state;
    struct rig r;
    struct parcel p;
    rig_up_with(&r, RIG_PIPELINING);
    rig_hear(&r, "42");
    rig_hear(&r, "1 bye");
    assert_int_equal(r.closes, 0);
    rig_hear(&r, "\r\n");
    assert_int_equal(r.closes, 1);
    rig_fini(&r);
    /* The parser begins anew after the buffer was given back. */
    rig_up_with(&r, RIG_PIPELINING);
    parcel_init(&p, 1, SPAN_LIT("x\r\n"));
    rig_give(&r, &p);
    rig_hear(&r, "250 ok\r\n");
    rig_hear(&r, "250 ok\r\n");
    rig_hear(&r, "354 go\r\n");
    rig_hear(&r, "250 done\r\n");
    assert_int_equal(p.attempt.end, ATTEMPT_ANSWERED);
    assert_string_equal(p.attempt.replies[0].text, "done");
    parcel_fini(&p);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_comes_up_after_ehlo),
        cmocka_unit_test(helo_follows_a_refused_ehlo_and_offers_nothing),
        cmocka_unit_test(a_name_of_any_length_is_said_as_one_line),
        cmocka_unit_test(tls_makes_everything_said_before_void),
        cmocka_unit_test(a_policy_of_no_tls_does_not_ask),
        cmocka_unit_test(refused_starttls_goes_on_in_the_clear_unless_required),
        cmocka_unit_test(required_tls_fails_where_it_is_not_offered),
        cmocka_unit_test(every_trouble_before_the_first_mail_fails_the_session),
        cmocka_unit_test(refused_helo_fails_with_its_answer),
        cmocka_unit_test(endless_input_ends_the_session),
        cmocka_unit_test(a_session_that_ends_before_up_was_told_has_failed),
        cmocka_unit_test(an_idle_session_that_ends_has_not_failed),
        cmocka_unit_test(quit_when_idle_waits_for_the_answer_or_any_end),
        cmocka_unit_test(quit_before_up_closes_at_once),
        cmocka_unit_test(idle_sessions_hold_no_reply_and_keep_half_a_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
