/* Verdicts: what the end of an attempt means for each recipient, and what to do next. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/delivery/outcome.h"

enum { MOST = 4 };

struct given {
    struct attempt a;
    struct session_reply replies[MOST];
};

/* The shipped rules, as of a provider that they know. */
static struct outcome_rules by;

static int load_rules(void **state)
{
    (void)state;
    struct buf text = BUF_INIT;
    struct conf_errors errors = {.out = &text};
    struct router_rules *rules;
    if (router_rules_load(NULL, &errors, &rules))
        fail_msg("%s", buf_cstr(&text));
    buf_fini(&text);
    by = (struct outcome_rules){
        .rules = rules, .scratch = pattern_scratch_new(), .provider = SPAN_LIT("yahoo")};
    return 0;
}

static int free_rules(void **state)
{
    (void)state;
    router_rules_free((struct router_rules *)(uintptr_t)by.rules);
    pattern_scratch_free(by.scratch);
    return 0;
}

static enum outcome_action judge_failure(enum outcome_failure why, const struct session_reply *reply,
                                         const char *trouble, struct outcome_recipient *out)
{
    struct outcome_refusal f = {.why = why, .reply = reply, .trouble = trouble};
    return outcome_judge_failure(&by, &f, out);
}

static struct outcome judge(struct given *g, uint32_t n)
{
    struct outcome o;
    memset(&o, 0xa5, sizeof(o)); /* every field that is read must have been set */
    g->a.replies = g->replies;
    g->a.n_recipients = n;
    outcome_judge(&by, &g->a, &o);
    return o;
}

static struct session_reply reply(int code, const char *enhanced, const char *text)
{
    struct session_reply r = {.code = code, .text = text};
    strcpy(r.enhanced, enhanced);
    return r;
}

static void answers_decide_by_their_first_digit(void **state)
{
    (void)state;
    struct given g = {.a.end = ATTEMPT_ANSWERED, .a.stage = STAGE_DOT, .a.dot_sent = true};
    g.replies[0] = reply(250, "2.0.0", "2.0.0 ok");
    g.replies[1] = reply(550, "5.1.1", "5.1.1 who");
    g.replies[2] = reply(451, "", "later");
    g.replies[3] = reply(552, "", "full");
    struct outcome o = judge(&g, 4);
    assert_int_equal(o.action, OUTCOME_SETTLE);
    assert_int_equal(o.recipients[0].verdict, OUTCOME_DELIVERED);
    assert_int_equal(o.recipients[1].verdict, OUTCOME_BOUNCED);
    assert_int_equal(o.recipients[2].verdict, OUTCOME_DEFERRED);
    assert_int_equal(o.recipients[3].verdict, OUTCOME_BOUNCED);
    assert_string_equal(o.recipients[1].enhanced, "5.1.1");
    assert_string_equal(o.recipients[2].enhanced, "4.0.0");
    assert_string_equal(o.recipients[3].enhanced, "5.0.0");
    assert_string_equal(o.recipients[1].text, "5.1.1 who");
    assert_false(o.recipients[1].local || o.soon || o.sticky);
    assert_int_equal(o.asked_ms, 0);
}

static void too_many_recipients_means_soon(void **state)
{
    (void)state;
    static const struct {
        int code;
        const char *enhanced, *text;
        bool soon;
    } cases[] = {{452, "4.5.3", "4.5.3 no more", true},
                 {452, "", "Too many recipients", true},
                 {552, "", "too many recipients", true},
                 {452, "4.2.2", "mailbox full", false},
                 {451, "", "too many errors", false}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct given g = {.a.end = ATTEMPT_ANSWERED};
        g.replies[0] = reply(250, "", "ok");
        g.replies[1] = reply(cases[i].code, cases[i].enhanced, cases[i].text);
        struct outcome o = judge(&g, 2);
        assert_int_equal(o.soon, cases[i].soon);
        assert_int_equal(o.recipients[1].verdict, OUTCOME_DEFERRED);
    }
    /* The first recipient of a transaction can't be one too many. */
    struct given g = {.a.end = ATTEMPT_ANSWERED};
    g.replies[0] = reply(452, "4.5.3", "too many");
    assert_false(judge(&g, 1).soon);
}

static void too_many_waits_when_nobody_was_served(void **state)
{
    (void)state;
    struct given g = {.a.end = ATTEMPT_ANSWERED};
    g.replies[0] = reply(451, "4.3.0", "the answer to the message");
    g.replies[1] = reply(452, "4.5.3", "too many");
    assert_false(judge(&g, 2).soon);
    g.replies[0] = reply(550, "5.1.1", "who"); /* the next transaction is a shorter one */
    assert_true(judge(&g, 2).soon);
}

static void a_deferral_may_ask_for_a_time_or_the_same_source(void **state)
{
    (void)state;
    struct given g = {.a.end = ATTEMPT_ANSWERED};
    g.replies[0] = reply(450, "4.7.1", "4.7.1 Greylisted, try again in 5 minutes");
    struct outcome o = judge(&g, 1);
    assert_true(o.sticky);
    assert_int_equal(o.asked_ms, 300000);
    g.replies[0] = reply(550, "5.7.1", "greylist, try again in 5 minutes");
    o = judge(&g, 1);
    assert_false(o.sticky);
    assert_int_equal(o.asked_ms, 0);
}

static void a_421_for_all_tries_the_next_host(void **state)
{
    (void)state;
    struct given g = {.a.end = ATTEMPT_ANSWERED, .a.stage = STAGE_MAIL};
    g.replies[0] = g.replies[1] = reply(421, "4.3.2", "closing");
    assert_int_equal(judge(&g, 2).action, OUTCOME_NEXT_HOST);
    g.a.dot_sent = true; /* the answer to the message itself */
    assert_int_equal(judge(&g, 2).action, OUTCOME_SETTLE);
    g.a.dot_sent = false;
    g.replies[0] = reply(450, "4.2.1", "not now"); /* it has looked at the message */
    assert_int_equal(judge(&g, 2).action, OUTCOME_SETTLE);
}

static void a_421_behind_a_refusal_tries_the_next_host_for_the_rest(void **state)
{
    (void)state;
    struct given g = {.a.end = ATTEMPT_ANSWERED, .a.stage = STAGE_RCPT};
    g.replies[0] = reply(550, "", "no");
    g.replies[1] = reply(421, "4.3.2", "closing");
    struct outcome o = judge(&g, 2);
    assert_int_equal(o.action, OUTCOME_NEXT_HOST);
    assert_int_equal(o.recipients[0].verdict, OUTCOME_BOUNCED);
    assert_int_equal(o.recipients[1].verdict, OUTCOME_DEFERRED);
    assert_false(o.refused);
    g.a.reused = true; /* it has carried enough: the same host again, but the refused one is done with */
    o = judge(&g, 2);
    assert_int_equal(o.action, OUTCOME_AGAIN);
    assert_true(o.refused);
    g.replies[1] = reply(550, "", "no");
    assert_int_equal(judge(&g, 2).action, OUTCOME_SETTLE);
}

static void a_lost_connection_defers_whom_nothing_was_said_of(void **state)
{
    (void)state;
    struct given g = {.a.end = ATTEMPT_LOST, .a.stage = STAGE_DATA, .a.trouble = "closed by peer"};
    g.replies[0] = reply(250, "", NULL); /* accepted, never decided */
    g.replies[1] = reply(550, "5.1.1", "who");
    struct outcome o = judge(&g, 3);
    assert_int_equal(o.action, OUTCOME_NEXT_HOST);
    assert_int_equal(o.recipients[0].verdict, OUTCOME_DEFERRED);
    assert_string_equal(o.recipients[0].enhanced, "4.4.2");
    assert_string_equal(o.recipients[0].text, "closed by peer");
    assert_true(o.recipients[0].local);
    assert_int_equal(o.recipients[0].code, 0);
    assert_int_equal(o.recipients[1].verdict, OUTCOME_BOUNCED);
    assert_int_equal(o.recipients[2].verdict, OUTCOME_DEFERRED);
}

static void after_the_dot_no_other_host_is_tried(void **state)
{
    (void)state;
    struct given g = {.a.end = ATTEMPT_LOST, .a.stage = STAGE_DOT, .a.trouble = "reset", .a.dot_sent = true};
    assert_int_equal(judge(&g, 1).action, OUTCOME_SETTLE);
    g.a.reused = true;
    assert_int_equal(judge(&g, 1).action, OUTCOME_SETTLE);
}

static void a_stale_connection_costs_nothing(void **state)
{
    (void)state;
    struct given g = {.a.end = ATTEMPT_LOST, .a.stage = STAGE_MAIL, .a.trouble = "reset", .a.reused = true};
    assert_int_equal(judge(&g, 1).action, OUTCOME_AGAIN);
    g.a.stage = STAGE_RCPT;
    assert_int_equal(judge(&g, 1).action, OUTCOME_NEXT_HOST);
    struct given enough = {.a.end = ATTEMPT_ANSWERED, .a.stage = STAGE_MAIL, .a.reused = true};
    enough.replies[0] = reply(421, "4.7.0", "too many messages in this connection");
    assert_int_equal(judge(&enough, 1).action, OUTCOME_AGAIN);
    struct given n = {.a.end = ATTEMPT_NOT_STARTED};
    assert_int_equal(judge(&n, 2).action, OUTCOME_AGAIN);
}

static void what_the_host_lacks_bounces_with_its_own_code(void **state)
{
    (void)state;
    static const char *const codes[] = {
        [LACKS_8BITMIME] = "5.6.3", [LACKS_SMTPUTF8] = "5.6.7", [LACKS_SIZE] = "5.3.4"};
    for (int lacks = LACKS_8BITMIME; lacks <= LACKS_SIZE; lacks++) {
        struct given g = {.a.end = ATTEMPT_UNSUPPORTED, .a.lacks = (enum attempt_lacks)lacks};
        struct outcome o = judge(&g, 2);
        assert_int_equal(o.action, OUTCOME_SETTLE);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(o.recipients[i].verdict, OUTCOME_BOUNCED);
            assert_string_equal(o.recipients[i].enhanced, codes[lacks]);
            assert_true(o.recipients[i].local && o.recipients[i].text[0]);
        }
    }
}

static void an_unreadable_body_is_our_trouble(void **state)
{
    (void)state;
    struct given g = {.a.end = ATTEMPT_UNREADABLE};
    struct outcome o = judge(&g, 1);
    assert_int_equal(o.action, OUTCOME_SETTLE);
    assert_int_equal(o.recipients[0].verdict, OUTCOME_DEFERRED);
    assert_string_equal(o.recipients[0].enhanced, "4.3.0");
}

static void a_host_that_cannot_be_reached_only_defers(void **state)
{
    (void)state;
    struct outcome_recipient r;
    struct session_reply none = {0}, refusal = reply(554, "5.7.1", "blocked");
    enum outcome_failure passing = OUTCOME_FAILURE_PASSING;
    assert_int_equal(judge_failure(passing, &refusal, NULL, &r), OUTCOME_SETTLE);
    assert_int_equal(r.verdict, OUTCOME_DEFERRED);
    assert_int_equal(r.code, 554);
    assert_string_equal(r.text, "blocked");
    judge_failure(passing, &none, "connection refused", &r);
    assert_int_equal(r.verdict, OUTCOME_DEFERRED);
    assert_string_equal(r.enhanced, "4.4.1");
    assert_string_equal(r.text, "connection refused");
    judge_failure(passing, &none, NULL, &r);
    assert_true(r.text[0] && r.local);
}

static void hopeless_hosts_bounce_and_a_source_s_trouble_is_its_own(void **state)
{
    (void)state;
    struct outcome_recipient r;
    struct session_reply none = {0};
    assert_int_equal(judge_failure(OUTCOME_FAILURE_HOPELESS, &none, "no address", &r), OUTCOME_SETTLE);
    assert_int_equal(r.verdict, OUTCOME_BOUNCED);
    assert_string_equal(r.enhanced, "5.4.4");
    assert_int_equal(judge_failure(OUTCOME_FAILURE_LOOP, &none, "ours", &r), OUTCOME_SETTLE);
    assert_int_equal(r.verdict, OUTCOME_BOUNCED);
    assert_string_equal(r.enhanced, "5.4.6");
    assert_string_equal(r.text, "ours");
    assert_int_equal(judge_failure(OUTCOME_FAILURE_SOURCE, &none, "bind", &r), OUTCOME_NEXT_SOURCE);
}

static void the_rule_says_who_is_blamed_and_what_follows(void **state)
{
    (void)state;
    struct given g = {.a.end = ATTEMPT_ANSWERED, .a.stage = STAGE_RCPT};
    g.replies[0] = reply(553, "5.7.1", "5.7.1 [BL21] Connections will not be accepted from 192.0.2.1");
    struct outcome o = judge(&g, 1);
    assert_int_equal(o.recipients[0].verdict, OUTCOME_DEFERRED); /* 5xx, but not for the message's sake */
    assert_true(o.elsewhere);
    assert_string_equal(o.recipients[0].answer.rule, "yahoo-blocklist");
    assert_int_equal(o.recipients[0].answer.class, ANSWER_BLOCKLIST);
    assert_int_equal(o.recipients[0].answer.reaction, REACT_SUSPEND_PAIR);
    /* One recipient's own trouble keeps all at this source. */
    g.replies[1] = reply(452, "4.2.2", "4.2.2 mailbox is full");
    o = judge(&g, 2);
    assert_false(o.elsewhere);
    assert_int_equal(o.recipients[1].answer.class, ANSWER_FULL);
    /* Done is done: only those that are left count. */
    g.replies[1] = reply(250, "", "ok");
    assert_true(judge(&g, 2).elsewhere);
    g.replies[0] = reply(550, "5.1.1", "5.1.1 no such user");
    o = judge(&g, 1);
    assert_int_equal(o.recipients[0].verdict, OUTCOME_BOUNCED);
    assert_int_equal(o.recipients[0].answer.reaction, REACT_SUPPRESS_RECIPIENT);
    assert_false(judge(&g, 1).sticky);
}

static void a_421_about_the_sender_is_not_for_the_next_host(void **state)
{
    (void)state;
    struct given g = {.a.end = ATTEMPT_ANSWERED, .a.stage = STAGE_MAIL};
    g.replies[0] = reply(421, "4.7.0", "4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred");
    struct outcome o = judge(&g, 1);
    assert_int_equal(o.action, OUTCOME_SETTLE);
    assert_int_equal(o.recipients[0].answer.reaction, REACT_STOP_PAIR);
    assert_int_equal(o.recipients[0].answer.wait_ms, 4 * 3600000);
    assert_int_equal(o.asked_ms, 0); /* the pair waits; the message may have another source */
    g.a.reused = true;
    assert_int_equal(judge(&g, 1).action, OUTCOME_SETTLE);
    g.replies[0] = reply(421, "4.3.2", "4.3.2 nobody home");
    assert_int_equal(judge(&g, 1).action, OUTCOME_AGAIN);
}

static void a_refused_connection_never_suppresses(void **state)
{
    (void)state;
    struct outcome_recipient r;
    struct session_reply refusal = reply(550, "5.1.1", "5.1.1 no such user");
    judge_failure(OUTCOME_FAILURE_PASSING, &refusal, NULL, &r);
    assert_int_equal(r.verdict, OUTCOME_DEFERRED);
    assert_false(r.answer.hard);
    assert_int_equal(r.answer.reaction, REACT_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_decide_by_their_first_digit),
        cmocka_unit_test(too_many_recipients_means_soon),
        cmocka_unit_test(too_many_waits_when_nobody_was_served),
        cmocka_unit_test(a_deferral_may_ask_for_a_time_or_the_same_source),
        cmocka_unit_test(a_421_for_all_tries_the_next_host),
        cmocka_unit_test(a_421_behind_a_refusal_tries_the_next_host_for_the_rest),
        cmocka_unit_test(a_lost_connection_defers_whom_nothing_was_said_of),
        cmocka_unit_test(after_the_dot_no_other_host_is_tried),
        cmocka_unit_test(a_stale_connection_costs_nothing),
        cmocka_unit_test(what_the_host_lacks_bounces_with_its_own_code),
        cmocka_unit_test(an_unreadable_body_is_our_trouble),
        cmocka_unit_test(a_host_that_cannot_be_reached_only_defers),
        cmocka_unit_test(hopeless_hosts_bounce_and_a_source_s_trouble_is_its_own),
        cmocka_unit_test(the_rule_says_who_is_blamed_and_what_follows),
        cmocka_unit_test(a_421_about_the_sender_is_not_for_the_next_host),
        cmocka_unit_test(a_refused_connection_never_suppresses),
    };
    return cmocka_run_group_tests(tests, load_rules, free_rules);
}
