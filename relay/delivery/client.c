/*
 * The client's protocol up to the first MAIL, and the way of answers to who waits for them. The commands of
 * attempts are in client_attempt.c.
 */
#include "relay/delivery/client.h"

#include <stdio.h>
#include <stdlib.h>

#include "relay/delivery/client_private.h"

/* ---- states ---- */

enum { NO_LIMIT = 0, NAME_MOST = 255, REPLY_TEXT_MOST = 4096 };

#define LIMIT(field) offsetof(struct settings_delivery, field)

/* What is sent in a state and what an answer means stands under the functions below, in the same order. */
static const struct {
    const char *name;
    bool limited;
    size_t limit; /* where its time limit stands in the settings */
} stages[] = {
    [STAGE_CONNECT] = {.name = "connect"}, /* the driver's */
    [STAGE_GREETING] = {.name = "greeting", .limited = true, .limit = LIMIT(greeting_ms)},
    [STAGE_EHLO] = {.name = "EHLO", .limited = true, .limit = LIMIT(ehlo_ms)},
    [STAGE_STARTTLS] = {.name = "STARTTLS", .limited = true, .limit = LIMIT(ehlo_ms)},
    [STAGE_TLS] = {.name = "TLS handshake", .limited = true, .limit = LIMIT(tls_ms)},
    [STAGE_IDLE] = {.name = "idle"}, /* the giver's */
    [STAGE_MAIL] = {.name = "MAIL", .limited = true, .limit = LIMIT(mail_ms)},
    [STAGE_RCPT] = {.name = "RCPT", .limited = true, .limit = LIMIT(rcpt_ms)},
    [STAGE_DATA] = {.name = "DATA", .limited = true, .limit = LIMIT(data_ms)},
    [STAGE_BODY] = {.name = "message text", .limited = true, .limit = LIMIT(block_ms)},
    [STAGE_DOT] = {.name = "end of data", .limited = true, .limit = LIMIT(dot_ms)},
    [STAGE_QUIT] = {.name = "QUIT", .limited = true, .limit = LIMIT(quit_ms)},
};

static uint64_t limit_of(const struct client *c)
{
    uint64_t ms = NO_LIMIT;
    if (stages[c->stage].limited)
        memcpy(&ms, (const char *)c->limits + stages[c->stage].limit, sizeof(ms));
    return ms;
}

void client_enter(struct client *c, enum session_stage stage)
{
    c->stage = stage;
    c->progress = c->env.flushed(c->env.arg);
    c->env.deadline(c->env.arg, limit_of(c));
}

const char *session_stage_text(enum session_stage stage)
{
    return stages[stage].name;
}

/* ---- sending ---- */

void client_say(struct client *c, struct span line)
{
    c->env.write(c->env.arg, &line, 1, NULL);
}

static void say_hello(struct client *c, struct span verb)
{
    struct span line[] = {verb, span_str(c->ehlo_name), SPAN_LIT("\r\n")};
    c->env.write(c->env.arg, line, 3, NULL);
    client_enter(c, STAGE_EHLO);
}

static void say_starttls(struct client *c)
{
    client_say(c, SPAN_LIT("STARTTLS\r\n"));
    client_enter(c, STAGE_STARTTLS);
}

static void say_quit(struct client *c)
{
    client_say(c, SPAN_LIT("QUIT\r\n"));
    client_enter(c, STAGE_QUIT);
}

/* ---- ends ---- */

void client_keep_reply(struct arena *a, const struct smtp_reply *reply, struct session_reply *out)
{
    size_t n = reply->text.len;
    if (n > REPLY_TEXT_MOST) {
        n = REPLY_TEXT_MOST;
        while (n > 0 && ((unsigned char)reply->text.ptr[n] & 0xc0) == 0x80)
            n--; /* the text is UTF-8 and stays so */
    }
    out->code = reply->code;
    smtp_enhanced_text(reply->enhanced, out->enhanced);
    out->text = n ? arena_strndup(a, reply->text.ptr, n) : "";
}

/* The one way out. The connection closes first: what decides dot_sent must not change behind our back. */
static void end(struct client *c, const char *trouble)
{
    c->over = true;
    c->up_due = false;
    c->env.close(c->env.arg);
    client_attempts_lost(c, trouble);
    c->env.want_settle(c->env.arg);
}

/* Nobody waits for anything and the session was of use: its end is no failure. */
static bool at_rest(const struct client *c)
{
    return c->stage == STAGE_QUIT || (c->stage == STAGE_IDLE && !c->up_due);
}

/* The connection is of no more use; why in words, or the answer that says so. */
static void fail(struct client *c, const struct smtp_reply *reply, const char *trouble)
{
    if (c->over)
        return;
    c->failure.failed = true;
    c->failure.stage = c->stage;
    c->failure.trouble = trouble ? arena_strdup(&c->arena, trouble) : NULL;
    if (reply)
        client_keep_reply(&c->arena, reply, &c->failure.reply);
    end(c, trouble);
}

void client_fail(struct client *c, const char *trouble)
{
    if (at_rest(c) && !c->over)
        end(c, trouble);
    else
        fail(c, NULL, trouble);
}

/* Some hosts offer STARTTLS and break in the handshake or, as TLS 1.3 tells the client early that it is done,
 * right behind it. */
static bool in_tls(const struct client *c)
{
    return c->stage == STAGE_TLS || (c->stage == STAGE_EHLO && c->tls_on);
}

void client_lost(struct client *c, const char *why)
{
    if (c->over)
        return;
    c->failure.tls_broke = in_tls(c);
    client_fail(c, why);
}

void client_timed_out(struct client *c)
{
    char why[64];
    if (c->over)
        return;
    if (c->stage == STAGE_BODY && c->env.flushed(c->env.arg) > c->progress) {
        client_enter(c, STAGE_BODY); /* slow, but it takes what we send */
        return;
    }
    snprintf(why, sizeof(why), "timed out after %llu s", (unsigned long long)(limit_of(c) / 1000));
    client_lost(c, why);
}

/* ---- answers before the first MAIL ---- */

static void come_up(struct client *c)
{
    c->up_due = true;
    client_enter(c, STAGE_IDLE);
    c->env.want_settle(c->env.arg);
}

static void on_greeting(struct client *c, const struct smtp_reply *reply)
{
    c->greeting_us = c->env.now_us(c->env.arg) - c->stage_us;
    if (reply->code / 100 != 2)
        fail(c, reply, NULL);
    else
        say_hello(c, SPAN_LIT("EHLO "));
}

static void on_ehlo(struct client *c, const struct smtp_reply *reply)
{
    if (reply->code / 100 == 5 && !c->helo) {
        c->helo = true;
        say_hello(c, SPAN_LIT("HELO "));
        return;
    }
    if (reply->code / 100 != 2) {
        fail(c, reply, NULL);
        return;
    }
    smtp_ehlo_parse(reply, &c->offers);
    if (c->helo)
        c->offers = (struct smtp_ehlo){0};
    bool wants_tls = c->tls != TLS_POLICY_NONE && !c->tls_tried;
    if (wants_tls && c->offers.extensions & SMTP_EXT_STARTTLS)
        say_starttls(c);
    else if (wants_tls && c->tls == TLS_POLICY_REQUIRED)
        fail(c, NULL, "TLS is required and the host does not offer STARTTLS");
    else
        come_up(c);
}

static void on_starttls(struct client *c, const struct smtp_reply *reply)
{
    c->tls_tried = true;
    if (reply->code / 100 == 2) {
        c->stage_us = c->env.now_us(c->env.arg);
        client_enter(c, STAGE_TLS);
        c->env.start_tls(c->env.arg);
    } else if (c->tls == TLS_POLICY_REQUIRED || reply->code == 421) {
        fail(c, reply, NULL);
    } else {
        come_up(c);
    }
}

void client_connected(struct client *c)
{
    if (c->over)
        return;
    c->stage_us = c->env.now_us(c->env.arg);
    client_enter(c, STAGE_GREETING);
}

void client_tls_up(struct client *c)
{
    if (c->over)
        return;
    c->tls_us = c->env.now_us(c->env.arg) - c->stage_us;
    c->tls_on = true;
    c->offers = (struct smtp_ehlo){0}; /* RFC 3207 4.2: what was said in the clear is void */
    say_hello(c, SPAN_LIT("EHLO "));
}

/* ---- the way of an answer ---- */

static void on_reply(struct client *c, const struct smtp_reply *reply)
{
    switch (c->stage) {
    case STAGE_GREETING:
        on_greeting(c, reply);
        break;
    case STAGE_EHLO:
        on_ehlo(c, reply);
        break;
    case STAGE_STARTTLS:
        on_starttls(c, reply);
        break;
    case STAGE_QUIT:
        end(c, "");
        break;
    case STAGE_IDLE: /* 421, or an answer to nothing */
        if (at_rest(c))
            end(c, "");
        else
            fail(c, reply, NULL);
        break;
    default:
        client_attempt_reply(c, reply);
        break;
    }
}

size_t client_input(struct client *c, struct span in)
{
    size_t taken = 0;
    while (taken < in.len && !c->over && c->stage != STAGE_TLS && c->stage != STAGE_CONNECT) {
        struct smtp_reply reply;
        size_t n = 0;
        enum smtp_reply_status status =
            smtp_reply_parse(&c->parser, span_of(in.ptr + taken, in.len - taken), &n, &reply);
        taken += n;
        if (status == SMTP_REPLY_MORE)
            break;
        if (status == SMTP_REPLY_ERROR)
            client_fail(c, c->parser.trouble);
        else
            on_reply(c, &reply);
    }
    client_push(c);
    return c->over ? in.len : taken;
}

/* ---- orders ---- */

void client_quit(struct client *c)
{
    c->quitting = true;
    if (c->over)
        return;
    if (!c->is_up && !c->up_due)
        end(c, "");
    else if (c->stage == STAGE_IDLE)
        say_quit(c);
}

/* Idle connections hold no buffers. */
static void shed(struct client *c)
{
    if (!client_idle(c) || smtp_reply_parser_busy(&c->parser))
        return;
    buf_fini(&c->text);
    smtp_reply_parser_init(&c->parser, &c->text);
}

void client_settle(struct client *c)
{
    struct attempt *a;
    if (c->up_due && !c->quitting) {
        c->up_due = false;
        c->is_up = true;
        c->env.up(c->env.arg);
    }
    while ((a = client_take_done(c)))
        c->env.done(c->env.arg, a);
    if (c->quitting)
        client_quit(c);
    shed(c);
}

/* ---- life ---- */

struct client *client_new(const struct client_options *o, const struct client_env *env)
{
    struct client *c = calloc(1, sizeof(*c));
    ENSURE(c);
    c->env = *env;
    c->tls = o->tls;
    c->limits = o->limits;
    c->ehlo_name = strndup(o->ehlo, NAME_MOST);
    ENSURE(c->ehlo_name);
    c->stage = STAGE_CONNECT;
    smtp_reply_parser_init(&c->parser, &c->text);
    return c;
}

void client_free(struct client *c)
{
    client_attempts_fini(c);
    buf_fini(&c->text);
    arena_fini(&c->arena);
    free(c->ehlo_name);
    free(c);
}

/* ---- looks ---- */

enum session_stage client_stage(const struct client *c)
{
    return c->stage;
}

bool client_idle(const struct client *c)
{
    return c->stage == STAGE_IDLE && c->is_up && !c->over && !c->quitting;
}

uint32_t client_messages(const struct client *c)
{
    return c->messages;
}

unsigned client_extensions(const struct client *c)
{
    return c->offers.extensions;
}

const struct session_failure *client_failure(const struct client *c)
{
    return &c->failure;
}

uint64_t client_greeting_us(const struct client *c)
{
    return c->greeting_us;
}

uint64_t client_tls_us(const struct client *c)
{
    return c->tls_us;
}
