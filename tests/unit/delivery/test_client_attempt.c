/* Attempts of the client: orders of answers with and without pipelining, the attempt behind, bodies on the
 * wire, and when a final dot counts as sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "lib/smtp/address.h"
#include "lib/smtp/command.h"
#include "tests/unit/delivery/client_rig.h"

#define MAIL_SIZED "MAIL FROM:<s@a.example> SIZE=4\r\n"
#define MAIL       "MAIL FROM:<s@a.example>\r\n"
#define RCPT0      "RCPT TO:<r0@d.example>\r\n"
#define RCPT1      "RCPT TO:<r1@d.example>\r\n"

static void begin(struct rig *r, struct parcel *p, const char *ehlo, uint32_t n, const char *body)
{
    rig_up_with(r, ehlo);
    parcel_init(p, n, span_str(body));
    rig_give(r, p);
}

static void finish(struct rig *r, struct parcel *p)
{
    parcel_fini(p);
    rig_fini(r);
}

static int code_of(const struct parcel *p, int i)
{
    return p->attempt.replies[i].code;
}

/* ---- the plain way ---- */

static void a_pipelined_attempt_takes_three_writes(void **state)
{
    (void)state;
    struct rig r;
    struct parcel p;
    begin(&r, &p, RIG_PIPELINING, 2, "hi\r\n");
    assert_true(rig_said(&r, MAIL_SIZED RCPT0 RCPT1 "DATA\r\n"));
    int flushes = r.flushes;
    rig_hear(&r, "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    assert_true(rig_said(&r, "hi\r\n.\r\n"));
    assert_int_equal(r.flushes, flushes + 1);
    assert_int_equal(client_stage(r.client), STAGE_DOT);
    assert_int_equal(r.deadline_ms, r.limits.dot_ms);
    rig_hear(&r, "250-2.0.0 queued\r\n250 2.0.0 as 17\r\n");
    assert_int_equal(r.n_done, 1);
    assert_int_equal(p.attempt.end, ATTEMPT_ANSWERED);
    assert_int_equal(p.attempt.stage, STAGE_DOT);
    assert_true(p.attempt.dot_sent && !p.attempt.reused);
    assert_true(p.attempt.answer_us > 0 && p.attempt.envelope_us > 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(code_of(&p, i), 250);
        assert_string_equal(p.attempt.replies[i].text, "2.0.0 queued\n2.0.0 as 17");
        assert_string_equal(p.attempt.replies[i].enhanced, "2.0.0");
    }
    assert_true(client_idle(r.client));
    assert_int_equal(client_messages(r.client), 1);
    finish(&r, &p);
}

static void without_pipelining_each_command_waits(void **state)
{
    (void)state;
    struct rig r;
    struct parcel p;
    begin(&r, &p, RIG_LOCK_STEP, 2, "hi\r\n");
    assert_true(rig_said(&r, MAIL));
    assert_int_equal(r.deadline_ms, r.limits.mail_ms);
    rig_hear(&r, "250 ok\r\n");
    assert_true(rig_said(&r, RCPT0));
    assert_int_equal(r.deadline_ms, r.limits.rcpt_ms);
    rig_hear(&r, "251 will forward\r\n");
    assert_true(rig_said(&r, RCPT1));
    rig_hear(&r, "250 ok\r\n");
    assert_true(rig_said(&r, "DATA\r\n"));
    assert_int_equal(r.deadline_ms, r.limits.data_ms);
    rig_hear(&r, "354 go\r\n");
    assert_true(rig_said(&r, "hi\r\n.\r\n"));
    assert_int_equal(r.next_calls, 0);
    rig_hear(&r, "250 ok\r\n");
    assert_int_equal(p.attempt.end, ATTEMPT_ANSWERED);
    assert_int_equal(code_of(&p, 0), 250);
    finish(&r, &p);
}

/* ---- refusals and their orders ---- */

static void a_refused_mail_is_drained_when_pipelined(void **state)
{
    (void)state;
    struct rig r;
    struct parcel p, q;
    begin(&r, &p, RIG_PIPELINING, 2, "hi\r\n");
    rig_hear(&r, "550 5.7.1 not you\r\n");
    assert_int_equal(r.n_done, 0);
    rig_hear(&r, "503 5.5.1 MAIL first\r\n250 odd\r\n503 5.5.1 MAIL first\r\n");
    assert_int_equal(p.attempt.end, ATTEMPT_ANSWERED);
    assert_int_equal(code_of(&p, 0), 550);
    assert_int_equal(code_of(&p, 1), 550);
    assert_string_equal(p.attempt.replies[1].text, "5.7.1 not you");
    assert_false(p.attempt.dot_sent);
    r.seen = r.out.len;
    parcel_init(&q, 1, SPAN_LIT("hi\r\n"));
    rig_give(&r, &q);
    assert_true(rig_said(&r, MAIL_SIZED RCPT0 "DATA\r\n")); /* no transaction was open: no RSET */
    assert_true(q.attempt.reused);
    rig_lose(&r, "gone");
    parcel_fini(&q);
    finish(&r, &p);
}

static void a_lone_dot_answers_354_for_nobody(void **state)
{
    static const char *const answers[] = {"550 no\r\n503 no\r\n503 no\r\n354 go\r\n",
                                          "250 ok\r\n550 no\r\n450 no\r\n354 go\r\n"};
    static const int second[] = {550, 450};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct rig r;
        struct parcel p;
        begin(&r, &p, RIG_PIPELINING, 2, "hi\r\n");
        r.seen = r.out.len;
        rig_hear(&r, answers[i]);
        assert_true(rig_said(&r, ".\r\n"));
        assert_int_equal(r.n_done, 0);
        rig_hear(&r, "250 fine\r\n");
        assert_int_equal(p.attempt.end, ATTEMPT_ANSWERED);
        assert_int_equal(code_of(&p, 0), 550);
        assert_int_equal(code_of(&p, 1), second[i]);
        assert_false(p.attempt.dot_sent);
        finish(&r, &p);
    }
}

static void rset_comes_before_the_next_mail_where_a_transaction_is_open(void **state)
{
    static const struct {
        const char *ehlo, *answers, *next;
    } cases[] = {
        {RIG_PIPELINING, "250 ok\r\n550 no\r\n550 no\r\n554 no valid recipients\r\n",
         "RSET\r\n" MAIL_SIZED RCPT0 "DATA\r\n"},
        {RIG_PIPELINING, "250 ok\r\n250 ok\r\n250 ok\r\n451 not now\r\n",
         "RSET\r\n" MAIL_SIZED RCPT0 "DATA\r\n"},
        {RIG_LOCK_STEP, "250 ok\r\n550 no\r\n550 no\r\n", "RSET\r\n"},
    };
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct rig r;
        struct parcel p, q;
        begin(&r, &p, cases[i].ehlo, 2, "hi\r\n");
        rig_hear(&r, cases[i].answers);
        assert_int_equal(r.n_done, 1);
        assert_int_equal(p.attempt.end, ATTEMPT_ANSWERED);
        assert_int_equal(code_of(&p, 0), i == 1 ? 451 : 550);
        assert_int_equal(code_of(&p, 1), i == 1 ? 451 : 550);
        r.seen = r.out.len;
        parcel_init(&q, 1, SPAN_LIT("hi\r\n"));
        rig_give(&r, &q);
        assert_true(rig_said(&r, cases[i].next));
        rig_hear(&r, "250 reset\r\n250 ok\r\n250 ok\r\n354 go\r\n");
        rig_hear(&r, "250 done\r\n");
        assert_int_equal(q.attempt.end, ATTEMPT_ANSWERED);
        assert_int_equal(code_of(&q, 0), 250);
        parcel_fini(&q);
        finish(&r, &p);
    }
}

static void accepted_and_refused_recipients_each_get_theirs(void **state)
{
    (void)state;
    struct rig r;
    struct parcel p;
    begin(&r, &p, RIG_PIPELINING, 4, "hi\r\n");
    rig_hear(
        &r,
        "250 ok\r\n250 ok\r\n550 5.1.1 who\r\n250 ok\r\n452 4.5.3 too many\r\n354 go\r\n250 2.0.0 in\r\n");
    /* The last answer came before the dot had left: it cannot be trusted. */
    assert_int_equal(p.attempt.end, ATTEMPT_LOST);
    finish(&r, &p);
    begin(&r, &p, RIG_PIPELINING, 4, "hi\r\n");
    rig_hear(&r, "250 ok\r\n250 ok\r\n550 5.1.1 who\r\n250 ok\r\n452 4.5.3 too many\r\n354 go\r\n");
    rig_hear(&r, "250 2.0.0 in\r\n");
    assert_int_equal(p.attempt.end, ATTEMPT_ANSWERED);
    assert_int_equal(code_of(&p, 0), 250);
    assert_int_equal(code_of(&p, 1), 550);
    assert_int_equal(code_of(&p, 2), 250);
    assert_int_equal(code_of(&p, 3), 452);
    assert_string_equal(p.attempt.replies[3].enhanced, "4.5.3");
    finish(&r, &p);
}

/* ---- every stage, every trouble ---- */

struct trouble {
    const char *says; /* NULL: it closes; "": it stalls */
    enum attempt_end end;
    int code; /* of the last recipient; 0: whatever it was before */
    bool over;
};
static const struct trouble troubles[] = {
    {"451 4.3.0 later\r\n", ATTEMPT_ANSWERED, 451, false},
    {"554 5.7.1 never\r\n", ATTEMPT_ANSWERED, 554, false},
    {"421 4.3.2 closing\r\n", ATTEMPT_ANSWERED, 421, true},
    {NULL, ATTEMPT_LOST, 0, true},
    {"", ATTEMPT_LOST, 0, true},
    {"?\r\n", ATTEMPT_LOST, 0, true},
};

static void meets(struct rig *r, const struct trouble *t)
{
    if (!t->says)
        rig_lose(r, "closed by peer");
    else if (!t->says[0])
        rig_time_out(r);
    else
        rig_hear(r, t->says);
}

static void trouble_at(const char *ehlo, enum session_stage stage, const struct trouble *t)
{
    bool pipelined = strcmp(ehlo, RIG_PIPELINING) == 0;
    struct rig r;
    struct parcel p;
    begin(&r, &p, ehlo, 1, "hi\r\n");
    for (int s = STAGE_MAIL; s < (int)stage; s++)
        if (s != STAGE_BODY)
            rig_hear(&r, s == STAGE_DATA ? "354 go\r\n" : "250 ok\r\n");
    assert_int_equal(client_stage(r.client), stage);
    meets(&r, t);
    if (pipelined && !t->over && stage < STAGE_DATA) {
        assert_int_equal(r.n_done, 0);
        rig_hear(&r, stage == STAGE_MAIL ? "503 no\r\n503 no\r\n" : "503 no\r\n");
    }
    assert_int_equal(r.n_done, 1);
    assert_int_equal(p.attempt.end, t->end);
    assert_int_equal(p.attempt.dot_sent, stage == STAGE_DOT);
    assert_int_equal(r.closes, t->over);
    assert_int_equal(client_idle(r.client), !t->over);
    if (t->code)
        assert_int_equal(code_of(&p, 0), t->code);
    if (t->end == ATTEMPT_LOST) {
        assert_int_equal(p.attempt.stage, stage);
        assert_true(code_of(&p, 0) < 400);
        assert_true(p.attempt.trouble[0]);
        assert_true(client_failure(r.client)->failed);
    }
    finish(&r, &p);
}

static void every_trouble_of_every_stage_ends_the_attempt_once(void **state)
{
    (void)state;
    for (size_t t = 0; t < sizeof(troubles) / sizeof(troubles[0]); t++) {
        for (int stage = STAGE_MAIL; stage <= STAGE_DOT; stage++) {
            if (stage == STAGE_BODY)
                continue;
            trouble_at(RIG_PIPELINING, (enum session_stage)stage, &troubles[t]);
            trouble_at(RIG_LOCK_STEP, (enum session_stage)stage, &troubles[t]);
        }
    }
}

static void trouble_in_the_body_ends_the_connection(void **state)
{
    (void)state;
    for (size_t t = 0; t < sizeof(troubles) / sizeof(troubles[0]); t++) {
        struct rig r;
        struct parcel p;
        begin(&r, &p, RIG_PIPELINING, 1, "a long one\r\n");
        r.kernel = r.out.len + 4;
        rig_hear(&r, "250 ok\r\n250 ok\r\n354 go\r\n");
        assert_int_equal(client_stage(r.client), STAGE_BODY);
        assert_int_equal(r.deadline_ms, r.limits.block_ms);
        client_timed_out(r.client); /* the kernel took some: it goes on */
        assert_int_equal(r.n_done, 0);
        meets(&r, &troubles[t]);
        r.kernel = SIZE_MAX;
        rig_end_turn(&r); /* what was pending is not sent any more */
        assert_int_equal(r.n_done, 1);
        assert_int_equal(r.closes, 1);
        assert_int_equal(p.attempt.end, troubles[t].end);
        assert_int_equal(p.attempt.stage, STAGE_BODY);
        assert_false(p.attempt.dot_sent);
        finish(&r, &p);
    }
}

/* An answer that makes no sense must never pass for a delivery. */
static void answers_out_of_step_end_the_connection(void **state)
{
    static const char *const cases[] = {"354 go\r\n", "250 ok\r\n354 go\r\n",
                                        "250 ok\r\n250 ok\r\n250 ok\r\n"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct rig r;
        struct parcel p;
        begin(&r, &p, RIG_PIPELINING, 1, "hi\r\n");
        rig_hear(&r, cases[i]);
        assert_int_equal(p.attempt.end, ATTEMPT_LOST);
        assert_non_null(strstr(p.attempt.trouble, "unexpected answer"));
        assert_int_equal(r.closes, 1);
        finish(&r, &p);
    }
    struct rig r;
    struct parcel p;
    begin(&r, &p, RIG_PIPELINING, 1, "hi\r\n");
    rig_hear(&r, "250 ok\r\n250 ok\r\n354 go\r\n");
    rig_hear(&r, "354 go on\r\n");
    assert_int_equal(p.attempt.end, ATTEMPT_LOST);
    assert_true(p.attempt.dot_sent);
    finish(&r, &p);
}

static void a_connection_lost_after_everyone_was_refused_changes_nothing(void **state)
{
    (void)state;
    struct rig r;
    struct parcel p;
    begin(&r, &p, RIG_PIPELINING, 1, "hi\r\n");
    rig_hear(&r, "550 5.7.1 spammer\r\n");
    rig_lose(&r, "closed by peer");
    assert_int_equal(p.attempt.end, ATTEMPT_ANSWERED);
    assert_int_equal(code_of(&p, 0), 550);
    finish(&r, &p);
}

/* ---- the attempt behind ---- */

struct pair {
    struct rig r;
    struct parcel p, q;
};

/* The first waits for the answer to its dot, the second's commands have left with it. */
static void pair_init(struct pair *x)
{
    parcel_init(&x->q, 1, SPAN_LIT("hi\r\n"));
    begin(&x->r, &x->p, RIG_PIPELINING, 1, "hi\r\n");
    x->r.next[0] = &x->q;
    x->r.n_next = 1;
    x->r.seen = x->r.out.len;
    int flushes = x->r.flushes;
    rig_hear(&x->r, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_true(rig_said(&x->r, "hi\r\n.\r\n" MAIL_SIZED RCPT0 "DATA\r\n"));
    assert_int_equal(x->r.flushes, flushes + 1);
}

static void pair_fini(struct pair *x)
{
    assert_int_equal(x->r.n_done, 2);
    assert_true(x->r.done[0] == &x->p.attempt && x->r.done[1] == &x->q.attempt);
    parcel_fini(&x->q);
    finish(&x->r, &x->p);
}

static void the_next_attempt_leaves_with_the_dot(void **state)
{
    (void)state;
    struct pair x;
    pair_init(&x);
    rig_hear(&x.r, "250 first\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    assert_true(rig_said(&x.r, "hi\r\n.\r\n"));
    assert_int_equal(x.r.n_done, 1);
    rig_hear(&x.r, "250 second\r\n");
    assert_string_equal(x.p.attempt.replies[0].text, "first");
    assert_string_equal(x.q.attempt.replies[0].text, "second");
    assert_true(x.q.attempt.reused);
    assert_true(client_idle(x.r.client));
    pair_fini(&x);
}

static void a_break_before_the_first_is_answered_leaves_the_second_unstarted(void **state)
{
    (void)state;
    for (size_t t = 2; t < sizeof(troubles) / sizeof(troubles[0]); t++) {
        struct pair x;
        pair_init(&x);
        meets(&x.r, &troubles[t]);
        assert_int_equal(x.p.attempt.end, troubles[t].end);
        assert_int_equal(x.p.attempt.stage, STAGE_DOT);
        assert_true(x.p.attempt.dot_sent);
        assert_int_equal(x.q.attempt.end, ATTEMPT_NOT_STARTED);
        assert_false(x.q.attempt.dot_sent);
        pair_fini(&x);
    }
}

static void a_break_before_its_mail_is_answered_leaves_it_unstarted(void **state)
{
    (void)state;
    for (size_t t = 2; t < sizeof(troubles) / sizeof(troubles[0]); t++) {
        struct pair x;
        pair_init(&x);
        rig_hear(&x.r, "250 first\r\n");
        assert_int_equal(client_stage(x.r.client), STAGE_MAIL);
        meets(&x.r, &troubles[t]);
        assert_int_equal(x.p.attempt.end, ATTEMPT_ANSWERED);
        assert_int_equal(x.q.attempt.end, ATTEMPT_NOT_STARTED);
        assert_int_equal(code_of(&x.q, 0), 0);
        pair_fini(&x);
    }
}

static void a_break_behind_its_mail_is_its_own(void **state)
{
    (void)state;
    for (size_t t = 2; t < sizeof(troubles) / sizeof(troubles[0]); t++) {
        struct pair x;
        pair_init(&x);
        rig_hear(&x.r, "451 4.7.1 greylisted\r\n250 ok\r\n");
        assert_int_equal(code_of(&x.p, 0), 451);
        meets(&x.r, &troubles[t]);
        assert_int_equal(x.q.attempt.end, troubles[t].end);
        assert_int_equal(x.q.attempt.stage, STAGE_RCPT);
        pair_fini(&x);
    }
}

static void quit_waits_for_both(void **state)
{
    (void)state;
    struct pair x;
    pair_init(&x);
    client_quit(x.r.client);
    rig_hear(&x.r, "250 first\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    assert_int_equal(x.r.next_calls, 1);
    rig_hear(&x.r, "250 second\r\n");
    assert_true(rig_said(&x.r, "hi\r\n.\r\nQUIT\r\n"));
    rig_hear(&x.r, "221 bye\r\n");
    assert_int_equal(x.r.closes, 1);
    assert_false(client_failure(x.r.client)->failed);
    pair_fini(&x);
}

/* A receiver that answers everything before it is asked. */
static void answers_in_advance_do_no_harm(void **state)
{
    (void)state;
    struct rig r;
    struct parcel all[RIG_ATTEMPTS];
    struct buf flood = BUF_INIT;
    rig_up_with(&r, RIG_PIPELINING);
    for (int i = 0; i < RIG_ATTEMPTS; i++) {
        parcel_init(&all[i], 1, SPAN_LIT("hi\r\n"));
        if (i > 0)
            r.next[r.n_next++] = &all[i];
    }
    for (int i = 0; i < 100; i++)
        buf_add_str(&flood, "250 ok\r\n250 ok\r\n354 go\r\n250 done\r\n");
    rig_give(&r, &all[0]);
    rig_hear(&r, buf_cstr(&flood));
    assert_int_equal(r.closes, 1);
    assert_int_equal(r.n_done, 1 + r.next_at);
    assert_int_equal(all[0].attempt.end, ATTEMPT_LOST);
    buf_fini(&flood);
    for (int i = 0; i < RIG_ATTEMPTS; i++)
        parcel_fini(&all[i]);
    rig_fini(&r);
}

/* ---- what a host must offer ---- */

static void lacks(const char *ehlo, void (*change)(Remuda__Record *), enum attempt_lacks what)
{
    struct rig r;
    struct parcel p;
    rig_up_with(&r, ehlo);
    parcel_init(&p, 1, SPAN_LIT("hi\r\n"));
    change(p.message->record);
    rig_give(&r, &p);
    assert_int_equal(p.attempt.end, ATTEMPT_UNSUPPORTED);
    assert_int_equal(p.attempt.lacks, what);
    assert_true(rig_said(&r, ""));
    assert_true(client_idle(r.client));
    finish(&r, &p);
    /* And inside next(). */
    struct parcel q;
    begin(&r, &p, ehlo, 1, "hi\r\n");
    parcel_init(&q, 1, SPAN_LIT("hi\r\n"));
    change(q.message->record);
    r.next[r.n_next++] = &q;
    rig_hear(&r, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_int_equal(r.n_done, 1);
    assert_int_equal(q.attempt.end, ATTEMPT_UNSUPPORTED);
    rig_hear(&r, "250 done\r\n");
    assert_int_equal(p.attempt.end, ATTEMPT_ANSWERED);
    assert_true(client_idle(r.client));
    parcel_fini(&q);
    finish(&r, &p);
}

static void set_eight_bit(Remuda__Record *r)
{
    r->eight_bit = true;
}

static void set_utf8(Remuda__Record *r)
{
    r->smtputf8 = r->eight_bit = true;
}

static void set_utf8_prefix(Remuda__Record *r)
{
    static uint8_t prefix[] = "Received: for <r\xc3\xbc@d.example>\r\n";
    r->smtputf8 = true;
    r->prefix = (ProtobufCBinaryData){.data = prefix, .len = sizeof(prefix) - 1};
}

static void set_utf8_in_vain(Remuda__Record *r)
{
    r->smtputf8 = true;
}

static void set_size(Remuda__Record *r)
{
    r->body_bytes = 10000001;
}

static void what_the_host_lacks_is_told_without_a_word_to_it(void **state)
{
    (void)state;
    lacks("250-mx\r\n250 PIPELINING\r\n", set_eight_bit, LACKS_8BITMIME);
    lacks(RIG_PIPELINING, set_utf8, LACKS_SMTPUTF8);
    lacks(RIG_PIPELINING, set_utf8_prefix, LACKS_SMTPUTF8);
    lacks(RIG_PIPELINING, set_size, LACKS_SIZE);
}

static void smtputf8_is_asked_of_nobody_when_all_is_ascii(void **state)
{
    (void)state;
    struct rig r;
    struct parcel p;
    rig_up_with(&r, RIG_PIPELINING);
    parcel_init(&p, 1, SPAN_LIT("hi\r\n"));
    set_utf8_in_vain(p.message->record);
    rig_give(&r, &p);
    assert_true(rig_said(&r, "MAIL FROM:<s@a.example> SIZE=4\r\nRCPT TO:<r0@d.example>\r\nDATA\r\n"));
    rig_lose(&r, "enough");
    finish(&r, &p);
    rig_up_with(&r, RIG_PIPELINING);
    parcel_init(&p, 1, SPAN_LIT("hi\r\n"));
    set_utf8_in_vain(p.message->record);
    p.recipients[0].address = (char *)(uintptr_t) "r\xc3\xbc@d.example";
    rig_give(&r, &p);
    assert_int_equal(p.attempt.lacks, LACKS_SMTPUTF8);
    finish(&r, &p);
}

/* A recipient whose domain alone is not ASCII is named by its A-label where the host does not offer SMTPUTF8.
 */
static void a_domain_has_a_name_for_every_host(void **state)
{
    (void)state;
    static char address[] = "r@m\xc3\xbcller.example", domain[] = "xn--mller-kva.example";
    static const struct {
        const char *ehlo, *said;
    } cases[] = {
        {RIG_PIPELINING, "MAIL FROM:<s@a.example> SIZE=4\r\nRCPT TO:<r@xn--mller-kva.example>\r\nDATA\r\n"},
        {"250-mx\r\n250-PIPELINING\r\n250 SMTPUTF8\r\n",
         "MAIL FROM:<s@a.example> SMTPUTF8\r\nRCPT TO:<r@m\xc3\xbcller.example>\r\nDATA\r\n"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rig r;
        struct parcel p;
        rig_up_with(&r, cases[i].ehlo);
        parcel_init(&p, 1, SPAN_LIT("hi\r\n"));
        set_utf8_in_vain(p.message->record);
        p.recipients[0].address = address;
        p.submission.domain = domain;
        rig_give(&r, &p);
        assert_true(rig_said(&r, cases[i].said));
        rig_lose(&r, "enough");
        finish(&r, &p);
    }
}

static void parameters_follow_the_offers(void **state)
{
    (void)state;
    struct rig r;
    struct parcel p;
    rig_up_with(&r, "250-mx\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN\r\n");
    parcel_init(&p, 2, SPAN_LIT("hi\r\n"));
    Remuda__Record *m = p.message->record;
    m->eight_bit = m->smtputf8 = true;
    m->ret = REMUDA__DSN_RET__RET_HDRS;
    m->envid = (char *)(uintptr_t) "a=b c";
    p.recipients[0].notify = SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_DELAY;
    p.recipients[0].orcpt = (char *)(uintptr_t) "rfc822;x+2By@d.example";
    p.recipients[1].notify = SMTP_NOTIFY_NEVER;
    p.attempt.sender = "";
    rig_give(&r, &p);
    assert_true(rig_said(&r, "MAIL FROM:<> SIZE=4 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+3Db+20c\r\n"
                             "RCPT TO:<r0@d.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+2By@d.example\r\n"
                             "RCPT TO:<r1@d.example> NOTIFY=NEVER\r\nDATA\r\n"));
    rig_lose(&r, "enough");
    finish(&r, &p);
}

static void an_address_with_a_line_end_is_never_said(void **state)
{
    (void)state;
    struct rig r;
    struct parcel p;
    rig_up_with(&r, RIG_PIPELINING);
    parcel_init(&p, 1, SPAN_LIT("hi\r\n"));
    p.recipients[0].address = (char *)(uintptr_t) "a@d>\r\nRCPT TO:<b@d";
    rig_give(&r, &p);
    assert_int_equal(p.attempt.end, ATTEMPT_UNREADABLE);
    assert_true(rig_said(&r, ""));
    finish(&r, &p);
}

/* ---- bodies ---- */

static void on_the_wire(const char *prefix, const char *body, const char *wire)
{
    struct rig r;
    struct parcel p;
    rig_up_with(&r, RIG_PIPELINING);
    parcel_init(&p, 1, span_str(body));
    p.message->record->prefix =
        (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)prefix, .len = strlen(prefix)};
    rig_give(&r, &p);
    r.seen = r.out.len;
    rig_hear(&r, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_true(rig_said(&r, wire));
    rig_hear(&r, "250 ok\r\n");
    finish(&r, &p);
}

static void no_body_can_end_its_own_message(void **state)
{
    (void)state;
    on_the_wire("A: b\r\n", "C: d\r\n\r\nx\r\n", "A: b\r\nC: d\r\n\r\nx\r\n.\r\n");
    on_the_wire("A: b\r\n", ".\r\n..\r\n.x", "A: b\r\n..\r\n...\r\n..x\r\n.\r\n");
    on_the_wire("", "", ".\r\n");
    on_the_wire("", "x\n.\nMAIL", "x\r\n..\r\nMAIL\r\n.\r\n");
    on_the_wire("", "x\r.\rMAIL\r", "x\r\n..\r\nMAIL\r\n.\r\n");
    on_the_wire("", "x\r\n.\r\r\nQUIT\n\r.\r\n", "x\r\n..\r\nQUIT\r\n\r\n..\r\n.\r\n");
}

static void a_big_body_waits_for_the_kernel(void **state)
{
    enum { BIG = 3000000, STEP = 50000 };
    (void)state;
    struct rig r;
    struct parcel p;
    char *big = malloc(BIG);
    for (int i = 0; i < BIG; i++)
        big[i] = i % 80 == 79 ? '\n' : i % 80 == 78 ? '\r' : i % 80 == 0 ? '.' : 'x';
    rig_up_with(&r, RIG_PIPELINING);
    parcel_init(&p, 1, span_of(big, BIG));
    rig_give(&r, &p);
    size_t start = r.out.len;
    r.kernel = start;
    rig_hear(&r, "250 ok\r\n250 ok\r\n354 go\r\n");
    int turns = 0;
    while (client_stage(r.client) == STAGE_BODY) {
        assert_int_equal(r.deadline_ms, r.limits.block_ms);
        r.kernel += STEP;
        rig_end_turn(&r);
        turns++;
    }
    assert_true(turns >= BIG / STEP);
    assert_int_equal(client_stage(r.client), STAGE_DOT);
    assert_int_equal(r.out.len - start, BIG + BIG / 80 + 3);
    assert_true(r.pending_max < 600 * 1024);
    rig_hear(&r, "250 ok\r\n");
    assert_int_equal(p.attempt.end, ATTEMPT_ANSWERED);
    free(big);
    finish(&r, &p);
}

static void a_body_that_takes_nothing_for_too_long_is_lost(void **state)
{
    (void)state;
    struct rig r;
    struct parcel p;
    begin(&r, &p, RIG_PIPELINING, 1, "some text\r\n");
    r.kernel = r.out.len;
    rig_hear(&r, "250 ok\r\n250 ok\r\n354 go\r\n");
    r.kernel += 3;
    rig_end_turn(&r);
    rig_time_out(&r);
    assert_int_equal(r.n_done, 0);
    rig_time_out(&r);
    assert_int_equal(r.n_done, 1);
    assert_int_equal(p.attempt.end, ATTEMPT_LOST);
    assert_int_equal(p.attempt.stage, STAGE_BODY);
    assert_string_equal(p.attempt.trouble, "timed out after 7 s");
    finish(&r, &p);
}

static void a_body_that_is_not_whole_gets_no_dot(void **state)
{
    (void)state;
    struct rig r;
    struct parcel p;
    rig_up_with(&r, RIG_PIPELINING);
    parcel_init(&p, 1, SPAN_LIT("half of it"));
    p.message->record->body_bytes = 20;
    rig_give(&r, &p);
    r.seen = r.out.len;
    rig_hear(&r, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_int_equal(p.attempt.end, ATTEMPT_UNREADABLE);
    assert_int_equal(r.closes, 1);
    assert_false(p.attempt.dot_sent);
    assert_true(rig_said(&r, "half of it"));
    finish(&r, &p);
}

static void the_dot_counts_from_the_byte_that_is_the_dot(void **state)
{
    (void)state;
    struct rig r;
    struct parcel p;
    const size_t message = strlen("hi\r\n.\r\n");
    for (size_t taken = 0; taken <= message; taken++) {
        begin(&r, &p, RIG_PIPELINING, 1, "hi\r\n");
        r.kernel = r.out.len + taken;
        rig_hear(&r, "250 ok\r\n250 ok\r\n354 go\r\n");
        assert_int_equal(client_stage(r.client), taken == message ? STAGE_DOT : STAGE_BODY);
        rig_lose(&r, "reset");
        assert_int_equal(p.attempt.end, ATTEMPT_LOST);
        assert_int_equal(p.attempt.dot_sent, taken >= message - 2);
        finish(&r, &p);
    }
}

/* ---- texts, fragments ---- */

static void long_answers_are_cut_between_characters(void **state)
{
    (void)state;
    struct rig r;
    struct parcel p;
    struct buf answer = BUF_INIT;
    for (int i = 0; i < 3; i++) {
        buf_add_str(&answer, i < 2 ? "550-x" : "550 x");
        for (int k = 0; k < 1000; k++)
            buf_add_str(&answer, "\xc3\xa9");
        buf_add_str(&answer, "\r\n");
    }
    begin(&r, &p, RIG_LOCK_STEP, 1, "hi\r\n");
    rig_hear(&r, buf_cstr(&answer));
    const char *text = p.attempt.replies[0].text;
    size_t n = strlen(text);
    assert_true(n <= 4096 && n >= 4090);
    assert_true(smtp_utf8_valid(span_str(text)));
    buf_fini(&answer);
    finish(&r, &p);
}

static void fragments_make_no_difference(void **state)
{
    (void)state;
    struct buf whole = BUF_INIT;
    for (size_t step = 0; step < 40; step++) {
        struct pair x;
        parcel_init(&x.q, 1, SPAN_LIT("hi\r\n"));
        rig_init(&x.r, TLS_POLICY_NONE);
        x.r.step = step;
        rig_hear(&x.r, "220-hello\r\n220 mx\r\n");
        rig_hear(&x.r, RIG_PIPELINING);
        parcel_init(&x.p, 2, SPAN_LIT(".hi\r\n"));
        x.r.next[x.r.n_next++] = &x.q;
        rig_give(&x.r, &x.p);
        rig_hear(&x.r, "250 ok\r\n550-5.1.1 no\r\n550 5.1.1 such\r\n250 ok\r\n354 go\r\n");
        rig_hear(&x.r, "250 2.0.0 one\r\n250 ok\r\n250\r\n354 go\r\n");
        rig_hear(&x.r, "450 4.2.0 two\r\n");
        assert_string_equal(x.p.attempt.replies[0].text, "5.1.1 no\n5.1.1 such");
        assert_string_equal(x.p.attempt.replies[1].text, "2.0.0 one");
        assert_int_equal(code_of(&x.q, 0), 450);
        assert_true(client_idle(x.r.client));
        if (step == 0)
            buf_add_span(&whole, buf_span(&x.r.out));
        assert_true(span_eq(buf_span(&whole), buf_span(&x.r.out)));
        pair_fini(&x);
    }
    buf_fini(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pipelined_attempt_takes_three_writes),
        cmocka_unit_test(without_pipelining_each_command_waits),
        cmocka_unit_test(a_refused_mail_is_drained_when_pipelined),
        cmocka_unit_test(a_lone_dot_answers_354_for_nobody),
        cmocka_unit_test(rset_comes_before_the_next_mail_where_a_transaction_is_open),
        cmocka_unit_test(accepted_and_refused_recipients_each_get_theirs),
        cmocka_unit_test(every_trouble_of_every_stage_ends_the_attempt_once),
        cmocka_unit_test(trouble_in_the_body_ends_the_connection),
        cmocka_unit_test(answers_out_of_step_end_the_connection),
        cmocka_unit_test(a_connection_lost_after_everyone_was_refused_changes_nothing),
        cmocka_unit_test(the_next_attempt_leaves_with_the_dot),
        cmocka_unit_test(a_break_before_the_first_is_answered_leaves_the_second_unstarted),
        cmocka_unit_test(a_break_before_its_mail_is_answered_leaves_it_unstarted),
        cmocka_unit_test(a_break_behind_its_mail_is_its_own),
        cmocka_unit_test(quit_waits_for_both),
        cmocka_unit_test(answers_in_advance_do_no_harm),
        cmocka_unit_test(what_the_host_lacks_is_told_without_a_word_to_it),
        cmocka_unit_test(smtputf8_is_asked_of_nobody_when_all_is_ascii),
        cmocka_unit_test(a_domain_has_a_name_for_every_host),
        cmocka_unit_test(parameters_follow_the_offers),
        cmocka_unit_test(an_address_with_a_line_end_is_never_said),
        cmocka_unit_test(no_body_can_end_its_own_message),
        cmocka_unit_test(a_big_body_waits_for_the_kernel),
        cmocka_unit_test(a_body_that_takes_nothing_for_too_long_is_lost),
        cmocka_unit_test(a_body_that_is_not_whole_gets_no_dot),
        cmocka_unit_test(the_dot_counts_from_the_byte_that_is_the_dot),
        cmocka_unit_test(long_answers_are_cut_between_characters),
        cmocka_unit_test(fragments_make_no_difference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
