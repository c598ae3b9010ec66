/* Attempts: how they begin, their answers in protocol order, the message, their end. What is said is
 * client_command.c's. */
#include <stdio.h>

#include "lib/base/crashpoint.h"
#include "relay/delivery/client_private.h"

enum {
    PENDING_MOST = 512 * 1024, /* of a body, waiting for the kernel */
    PENDING_RESUME = 128 * 1024,
    RUNS_AT_ONCE = 64,
};

static void await(struct client *c)
{
    static const enum session_stage stages[] = {[AT_RSET] = STAGE_MAIL,
                                                [AT_MAIL] = STAGE_MAIL,
                                                [AT_RCPT] = STAGE_RCPT,
                                                [AT_DATA] = STAGE_DATA,
                                                [AT_MESSAGE] = STAGE_DOT};
    client_enter(c, stages[client_position(&c->now, c->now.answered)]);
}

/* ---- beginning and ending of an attempt ---- */

static void turn_close(struct turn *t)
{
    if (t->body_open)
        body_read_end(&t->body);
    *t = (struct turn){0};
}

static void finish_attempt(struct client *c, struct attempt *a, enum attempt_end end)
{
    a->end = end;
    a->next_done = NULL;
    if (c->done)
        c->done_last->next_done = a;
    else
        c->done = a;
    c->done_last = a;
    c->env.want_settle(c->env.arg);
}

struct attempt *client_take_done(struct client *c)
{
    struct attempt *a = c->done;
    if (a)
        c->done = a->next_done;
    return a;
}

static void clear_results(struct client *c, struct attempt *a)
{
    a->stage = STAGE_MAIL;
    a->lacks = LACKS_NOTHING;
    a->dot_sent = false;
    a->reused = c->messages > 0;
    a->replies = arena_alloc(&a->arena, sizeof(*a->replies) * a->n_recipients);
    a->trouble = NULL;
    a->envelope_us = a->data_us = a->answer_us = 0;
}

/* Begins it in t; false when it is done with at once. */
static bool turn_begin(struct client *c, struct turn *t, struct attempt *a)
{
    clear_results(c, a);
    if (c->over || c->quitting) {
        finish_attempt(c, a, ATTEMPT_NOT_STARTED);
        return false;
    }
    if (!client_speakable(a)) {
        finish_attempt(c, a, ATTEMPT_UNREADABLE);
        return false;
    }
    a->lacks = client_lacks(c, a);
    if (a->lacks != LACKS_NOTHING) {
        finish_attempt(c, a, ATTEMPT_UNSUPPORTED);
        return false;
    }
    *t = (struct turn){.attempt = a,
                       .rset = c->transaction_open,
                       .pipelined = t == &c->behind,
                       .since_us = c->env.now_us(c->env.arg)};
    c->transaction_open = false;
    c->messages++;
    client_send_commands(c, t);
    return true;
}

void client_give(struct client *c, struct attempt *a)
{
    ENSURE(!c->now.attempt);
    if (turn_begin(c, &c->now, a))
        await(c);
}

static uint32_t since(const struct client *c, const struct turn *t)
{
    return (uint32_t)(c->env.now_us(c->env.arg) - t->since_us);
}

static void close_turn(struct client *c, struct turn *t, enum attempt_end end)
{
    struct attempt *a = t->attempt;
    if (!t->body_open && !t->end_at)
        a->envelope_us = since(c, t);
    if (t->dot_at)
        a->dot_sent = c->env.flushed(c->env.arg) >= t->dot_at;
    turn_close(t);
    finish_attempt(c, a, end);
}

/* The attempt whose answers came is over; the one behind it takes its place. */
static void turn_over(struct client *c)
{
    close_turn(c, &c->now, ATTEMPT_ANSWERED);
    c->now = c->behind;
    c->behind = (struct turn){0};
    if (!c->now.attempt) {
        client_enter(c, STAGE_IDLE);
        return;
    }
    c->now.since_us = c->env.now_us(c->env.arg);
    await(c);
}

/* ---- the message ---- */

static void write_runs(struct client *c, const struct iovec *runs, size_t n, struct blob *hold)
{
    struct span spans[RUNS_AT_ONCE];
    for (size_t i = 0; i < n; i++)
        spans[i] = span_of(runs[i].iov_base, runs[i].iov_len);
    c->env.write(c->env.arg, spans, n, hold);
}

/* Gives out the piece; false while the kernel has enough to do. */
static bool write_piece(struct client *c, struct turn *t)
{
    struct iovec runs[RUNS_AT_ONCE];
    while (t->piece.len) {
        if (c->env.written(c->env.arg) - c->env.flushed(c->env.arg) > PENDING_MOST)
            return false;
        size_t n = smtp_stuff_feed(&t->stuff, &t->piece, runs, RUNS_AT_ONCE);
        write_runs(c, runs, n, t->body.held);
    }
    return true;
}

/* The dot must not be sent: without it the receiver has nothing. */
static void withhold_dot(struct client *c)
{
    c->now.attempt->stage = STAGE_BODY;
    close_turn(c, &c->now, ATTEMPT_NOT_STARTED);
    client_fail(c, "this node may not deliver from the partition any more");
}

static void write_dot(struct client *c, struct turn *t)
{
    if (t->attempt->may_finish && !t->attempt->may_finish(t->attempt)) {
        withhold_dot(c);
        return;
    }
    client_say(c, smtp_stuff_end(&t->stuff));
    body_read_end(&t->body);
    t->body_open = false;
    t->sent = client_row_length(t);
    t->end_at = c->env.written(c->env.arg);
    t->dot_at = t->end_at - 2;
    t->attempt->data_us = since(c, t);
    t->since_us = c->env.now_us(c->env.arg);
    client_enter(c, STAGE_BODY); /* until the kernel has all of it: client_push */
    if (!(c->offers.extensions & SMTP_EXT_PIPELINING) || c->quitting)
        return;
    struct attempt *next = c->env.next(c->env.arg);
    if (next)
        (void)turn_begin(c, &c->behind, next);
}

/* Without its dot: only breaking off tells the receiver that the message is not whole. */
static void give_up_body(struct client *c)
{
    c->now.attempt->stage = STAGE_BODY;
    close_turn(c, &c->now, ATTEMPT_UNREADABLE);
    client_fail(c, "the message could not be read from the log");
}

static void write_body(struct client *c)
{
    struct turn *t = &c->now;
    do {
        if (!write_piece(c, t)) {
            client_enter(c, STAGE_BODY); /* block_ms for each step forward */
            c->env.want_drain(c->env.arg, PENDING_RESUME);
            return;
        }
        if (body_read_next(&t->body, &t->piece) != RM_OK) {
            give_up_body(c);
            return;
        }
    } while (t->piece.ptr);
    write_dot(c, t);
}

void client_push(struct client *c)
{
    const struct turn *t = &c->now;
    if (c->over || c->stage != STAGE_BODY || !t->end_at)
        return;
    c->env.flush(c->env.arg);
    if (c->env.flushed(c->env.arg) >= t->end_at) {
        CRASH_POINT(DOT_GIVEN);
        client_enter(c, STAGE_DOT);
    } else {
        c->env.want_drain(c->env.arg, c->env.written(c->env.arg) - t->end_at);
    }
}

void client_drained(struct client *c)
{
    if (c->over)
        return;
    if (c->now.body_open)
        write_body(c);
    client_push(c);
}

static void begin_body(struct client *c)
{
    struct turn *t = &c->now;
    t->attempt->envelope_us = since(c, t);
    t->since_us = c->env.now_us(c->env.arg);
    body_read_begin(&t->body, &t->attempt->body);
    t->body_open = true;
    smtp_stuff_init(&t->stuff);
    client_enter(c, STAGE_BODY);
    const ProtobufCBinaryData *prefix = &t->attempt->message->record->prefix;
    struct span head = span_of((const char *)prefix->data, prefix->len);
    struct iovec runs[RUNS_AT_ONCE];
    while (head.len)
        write_runs(c, runs, smtp_stuff_feed(&t->stuff, &head, runs, RUNS_AT_ONCE), NULL);
    write_body(c);
}

/* ---- answers ---- */

/* All recipients without a deciding answer get this one. */
static void answer_rest(struct attempt *a, const struct smtp_reply *reply)
{
    struct session_reply kept = {0};
    for (uint32_t i = 0; i < a->n_recipients; i++) {
        if (a->replies[i].code >= 400)
            continue;
        if (!kept.code)
            client_keep_reply(&a->arena, reply, &kept);
        a->replies[i] = kept;
    }
}

static void on_mail(struct client *c, const struct smtp_reply *reply)
{
    struct turn *t = &c->now;
    if (reply->code / 100 == 2)
        return;
    t->mail_refused = true;
    answer_rest(t->attempt, reply);
    if (t->sent == t->answered)
        turn_over(c); /* nothing else is under way */
}

static void on_rcpt(struct client *c, uint32_t i, const struct smtp_reply *reply)
{
    struct turn *t = &c->now;
    struct attempt *a = t->attempt;
    if (t->mail_refused)
        return; /* what the receiver says to commands without a transaction decides nothing */
    if (reply->code / 100 == 2) {
        t->accepted++;
        a->replies[i].code = reply->code;
        return;
    }
    client_keep_reply(&a->arena, reply, &a->replies[i]);
    if (i + 1 == a->n_recipients && t->accepted == 0 && t->sent == t->answered) {
        c->transaction_open = true;
        turn_over(c);
    }
}

static void on_data(struct client *c, const struct smtp_reply *reply)
{
    struct turn *t = &c->now;
    bool anybody = t->accepted > 0 && !t->mail_refused;
    if (reply->code / 100 == 3 && anybody) {
        begin_body(c);
    } else if (reply->code / 100 == 3) {
        client_say(c, SPAN_LIT(".\r\n")); /* it waits for a message though nobody is left (RFC 2920 3.1) */
        t->lone_dot = true;
        t->sent = client_row_length(t);
        client_enter(c, STAGE_DOT);
    } else {
        answer_rest(t->attempt, reply);
        c->transaction_open = !t->mail_refused;
        turn_over(c);
    }
}

static void on_message(struct client *c, const struct smtp_reply *reply)
{
    struct turn *t = &c->now;
    t->attempt->answer_us = since(c, t);
    if (!t->lone_dot)
        answer_rest(t->attempt, reply);
    turn_over(c);
}

/* ---- answers out of order ---- */

/* Nothing of it was answered, and nothing can be delivered of it: its DATA was not. */
static bool unanswered_behind(const struct turn *t)
{
    return t->pipelined && t->answered == 0;
}

/* 421: the receiver closes. Whoever has no answer yet gets this one. */
static void on_closing(struct client *c, const struct smtp_reply *reply)
{
    if (!unanswered_behind(&c->now))
        answer_rest(c->now.attempt, reply);
    client_fail(c, "the receiver closed the session (421)");
}

/*
 * An answer while the message is on its way. A refusal is taken at its word; but whether the receiver takes
 * the rest for message or for commands is not known, so the connection ends.
 */
static void on_early(struct client *c, const struct smtp_reply *reply)
{
    if (reply->code >= 400)
        answer_rest(c->now.attempt, reply);
    client_fail(c, "an answer came before the end of the message");
}

/* 2xx to DATA, or 3xx to anything else: question and answer are no longer in step. */
static bool in_step(enum position position, int code)
{
    return code >= 400 || (code / 100 == 3) == (position == AT_DATA);
}

static void on_out_of_step(struct client *c, const struct smtp_reply *reply)
{
    char why[64];
    snprintf(why, sizeof(why), "unexpected answer %d to %s", reply->code, session_stage_text(c->stage));
    client_fail(c, why);
}

static void answer(struct client *c, const struct smtp_reply *reply)
{
    struct turn *t = &c->now;
    const struct attempt *a = t->attempt;
    uint32_t at = t->answered++;
    switch (client_position(t, at)) {
    case AT_RSET:
        break;
    case AT_MAIL:
        on_mail(c, reply);
        break;
    case AT_RCPT:
        on_rcpt(c, client_recipient(t, at), reply);
        break;
    case AT_DATA:
        on_data(c, reply);
        return;
    case AT_MESSAGE:
        on_message(c, reply);
        return;
    }
    if (t->attempt != a)
        return; /* refused: it is over */
    client_send_commands(c, t);
    await(c);
}

void client_attempt_reply(struct client *c, const struct smtp_reply *reply)
{
    struct turn *t = &c->now;
    if (reply->code == 421)
        on_closing(c, reply);
    else if (c->stage == STAGE_BODY)
        on_early(c, reply);
    else if (!in_step(client_position(t, t->answered), reply->code))
        on_out_of_step(c, reply);
    else {
        ENSURE(t->answered < t->sent);
        t->attempt->stage = c->stage;
        answer(c, reply);
    }
}

/* ---- breakage ---- */

static bool all_refused(const struct attempt *a)
{
    for (uint32_t i = 0; i < a->n_recipients; i++)
        if (a->replies[i].code < 400)
            return false;
    return true;
}

static void break_off(struct client *c, struct turn *t, const char *trouble)
{
    struct attempt *a = t->attempt;
    if (!a)
        return;
    if (unanswered_behind(t)) {
        close_turn(c, t, ATTEMPT_NOT_STARTED);
        return;
    }
    a->stage = c->stage;
    if (all_refused(a)) {
        close_turn(c, t, ATTEMPT_ANSWERED);
        return;
    }
    a->trouble = arena_strdup(&a->arena, trouble);
    close_turn(c, t, ATTEMPT_LOST);
}

void client_attempts_lost(struct client *c, const char *trouble)
{
    break_off(c, &c->now, trouble);
    break_off(c, &c->behind, trouble);
}

void client_attempts_fini(struct client *c)
{
    turn_close(&c->now);
    turn_close(&c->behind);
}
