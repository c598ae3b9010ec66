/*
 * The session's life, its lines, the table of verbs, replies and time limits. What a verb does is in the
 * cmd_*.c files; the message being made is transaction.c's and body.c's.
 */
#include <stdio.h>
#include <stdlib.h>

#include "relay/ingress/inbound_private.h"

#define US(ms) ((uint64_t)(ms)*1000)

static const char *const reason_names[INBOUND_REASONS] = {
    [REASON_SYNTAX] = "syntax",
    [REASON_SEQUENCE] = "sequence",
    [REASON_TLS_REQUIRED] = "tls_required",
    [REASON_AUTH_REQUIRED] = "auth_required",
    [REASON_AUTH_FAILED] = "auth_failed",
    [REASON_SENDER] = "sender",
    [REASON_RECIPIENT] = "recipient",
    [REASON_RECIPIENTS] = "recipients",
    [REASON_SIZE] = "size",
    [REASON_RATE] = "rate",
    [REASON_CONNECTIONS] = "connections",
    [REASON_SPACE] = "space",
    [REASON_LOG] = "log",
    [REASON_BARE_NEWLINE] = "bare_newline",
    [REASON_NUL] = "nul",
    [REASON_LINE] = "line_length",
    [REASON_LOOP] = "loop",
    [REASON_ABUSE] = "abuse",
    [REASON_TIMEOUT] = "timeout",
    [REASON_STOPPING] = "stopping",
    [REASON_SUPPRESSED] = "suppressed",
    [REASON_FEEDBACK] = "feedback",
};

const char *inbound_reason_name(enum inbound_reason reason)
{
    return reason_names[reason];
}

/* ---- the table of verbs ------------------------------------------------------------------------ */

#define IN(state) (1u << (state))
#define ANY_STATE (IN(STATE_START) | IN(STATE_READY) | IN(STATE_MAIL) | IN(STATE_RCPT) | IN(STATE_BDAT))

struct verb_rule {
    cmd_handler handle;
    unsigned states;   /* where it is allowed */
    bool before_tls;   /* on a listener that requires TLS */
    bool junk;         /* counted as such: does nothing for the mail */
    bool no_arguments; /* 501 when it has any */
    const char *when;  /* the reply when the state is wrong */
};

/* DATA and BDAT check their own state: their errors tell more, and a refused BDAT must eat its octets. */
static const struct verb_rule verbs[SMTP_VERB_COUNT] = {
    [SMTP_VERB_HELO] = {.handle = cmd_helo, .states = ANY_STATE, .before_tls = true, .junk = true},
    [SMTP_VERB_EHLO] = {.handle = cmd_ehlo, .states = ANY_STATE, .before_tls = true, .junk = true},
    [SMTP_VERB_STARTTLS] = {.handle = cmd_starttls,
                            .states = IN(STATE_START) | IN(STATE_READY),
                            .before_tls = true,
                            .no_arguments = true,
                            .when = "STARTTLS is not possible within a mail transaction"},
    [SMTP_VERB_AUTH] = {.handle = cmd_auth,
                        .states = IN(STATE_READY),
                        .before_tls = true,
                        .when = "AUTH comes after EHLO and before MAIL"},
    [SMTP_VERB_MAIL] = {.handle = cmd_mail,
                        .states = IN(STATE_READY),
                        .when = "Nested MAIL command, or no EHLO yet"},
    [SMTP_VERB_RCPT] = {.handle = cmd_rcpt,
                        .states = IN(STATE_MAIL) | IN(STATE_RCPT),
                        .when = "Need MAIL before RCPT"},
    [SMTP_VERB_DATA] = {.handle = cmd_data, .states = ANY_STATE, .no_arguments = true},
    [SMTP_VERB_BDAT] = {.handle = cmd_bdat, .states = ANY_STATE, .before_tls = true},
    [SMTP_VERB_RSET] =
        {.handle = cmd_rset, .states = ANY_STATE, .before_tls = true, .junk = true, .no_arguments = true},
    [SMTP_VERB_NOOP] = {.handle = cmd_noop, .states = ANY_STATE, .before_tls = true, .junk = true},
    [SMTP_VERB_VRFY] = {.handle = cmd_vrfy, .states = ANY_STATE, .junk = true},
    [SMTP_VERB_EXPN] = {.handle = cmd_expn, .states = ANY_STATE, .junk = true},
    [SMTP_VERB_HELP] = {.handle = cmd_help, .states = ANY_STATE, .before_tls = true, .junk = true},
    [SMTP_VERB_QUIT] = {.handle = cmd_quit, .states = ANY_STATE, .before_tls = true, .no_arguments = true},
};

/* ---- replies ----------------------------------------------------------------------------------- */

uint64_t inbound_now_us(struct inbound *s)
{
    return s->env->now_us(s->arg);
}

enum cmd_result inbound_reply_raw(struct inbound *s, struct span line)
{
    if (!inbound_ended(s))
        s->env->write(s->arg, line);
    return CMD_DONE;
}

enum cmd_result inbound_reply(struct inbound *s, int code, struct smtp_enhanced e, const char *text)
{
    if (inbound_ended(s))
        return CMD_DONE;
    struct buf *out = s->env->scratch(s->arg);
    buf_clear(out);
    smtp_reply_write(out, code, e, span_str(text));
    s->env->write(s->arg, buf_span(out));
    return CMD_DONE;
}

enum cmd_result inbound_refuse(struct inbound *s, enum inbound_reason reason, int code,
                               struct smtp_enhanced e, const char *text)
{
    if (inbound_ended(s))
        return CMD_FAILED;
    s->env->refused(s->arg, reason, code);
    if (code >= 500 && !(s->put_off && reason == REASON_SEQUENCE))
        s->errors++;
    (void)inbound_reply(s, code, e, text);
    return CMD_FAILED;
}

enum cmd_result inbound_refuse_fault(struct inbound *s, enum inbound_reason reason, enum smtp_fault fault)
{
    const struct smtp_fault_reply *r = smtp_fault_reply(fault);
    return inbound_refuse(s, reason, r->code, r->enhanced, r->text);
}

/* ---- life -------------------------------------------------------------------------------------- */

struct inbound *inbound_new(const struct inbound_options *o)
{
    struct inbound *s = calloc(1, sizeof(*s));
    ENSURE(s);
    s->env = o->env;
    s->arg = o->arg;
    s->settings = o->settings;
    s->listener = o->listener;
    s->tls_available = o->tls_available;
    s->tenant = -1;
    s->network_tenant = o->tenant;
    size_t n = strnlen(o->client, sizeof(s->client) - 1);
    memcpy(s->client, o->client, n);
    s->started_us = s->progress_us = inbound_now_us(s);
    return s;
}

static void drop_transaction(struct inbound *s)
{
    if (s->tx)
        inbound_tx_free(s, s->tx);
    s->tx = NULL;
    s->serial++;
}

void inbound_free(struct inbound *s)
{
    drop_transaction(s);
    cmd_auth_free(s);
    free(s->helo);
    free(s);
}

void inbound_close(struct inbound *s)
{
    if (inbound_ended(s))
        return;
    drop_transaction(s);
    cmd_auth_free(s);
    s->wait = WAIT_NONE;
    s->state = STATE_END;
    s->env->close(s->arg);
}

void inbound_end(struct inbound *s, enum inbound_reason reason, int code, struct smtp_enhanced e,
                 const char *text)
{
    (void)inbound_refuse(s, reason, code, e, text);
    inbound_close(s);
}

void inbound_kick(struct inbound *s, enum inbound_reason reason, const char *text)
{
    inbound_end(s, reason, 421, SMTP_ENHANCED(4, 3, 2), text);
}

void inbound_wait(struct inbound *s, enum inbound_wait wait, uint64_t most_ms)
{
    s->wait = wait;
    s->wait_until_us = inbound_now_us(s) + US(most_ms);
}

void inbound_set_helo(struct inbound *s, struct span name)
{
    free(s->helo);
    s->helo = strndup(name.ptr, name.len);
    ENSURE(s->helo);
}

bool inbound_enter_tenant(struct inbound *s, int tenant)
{
    s->tenant = tenant;
    if (tenant < 0)
        return true;
    if (s->env->tenant_enter(s->arg, tenant))
        return true;
    char text[200];
    const struct settings_tenant *t = &s->settings->tenants[tenant];
    (void)snprintf(text, sizeof(text),
                   "Limit connections (%u) of tenant %.100s reached; close one and try again",
                   t->limits.connections, t->name);
    inbound_end(s, REASON_CONNECTIONS, 421, SMTP_ENHANCED(4, 7, 0), text);
    return false;
}

uint64_t inbound_size_most(const struct inbound *s)
{
    uint64_t most = s->settings->message_bytes;
    if (s->tenant >= 0) {
        uint64_t own = s->settings->tenants[s->tenant].limits.bytes;
        if (own && (!most || own < most))
            most = own;
    }
    return most;
}

void inbound_start(struct inbound *s)
{
    if (!inbound_enter_tenant(s, s->network_tenant))
        return;
    struct buf *out = s->env->scratch(s->arg);
    buf_clear(out);
    buf_add_str(out, "220 ");
    buf_add_str(out, s->listener->hostname);
    buf_add_str(out, " ESMTP Remuda\r\n");
    s->env->write(s->arg, buf_span(out));
    s->progress_us = inbound_now_us(s);
}

void inbound_reset(struct inbound *s)
{
    drop_transaction(s);
    if (inbound_ended(s))
        return;
    s->wait = WAIT_NONE;
    s->state = s->helo ? STATE_READY : STATE_START;
    s->progress_us = inbound_now_us(s);
    if (s->draining)
        inbound_kick(s, REASON_STOPPING, "Service is stopping; try again");
}

bool inbound_waiting(const struct inbound *s)
{
    return s->wait != WAIT_NONE;
}

bool inbound_busy(const struct inbound *s)
{
    return s->tx || s->wait != WAIT_NONE || s->auth;
}

int inbound_tenant(const struct inbound *s)
{
    return s->tenant;
}

void inbound_drain(struct inbound *s)
{
    s->draining = true;
    if (!inbound_busy(s))
        inbound_kick(s, REASON_STOPPING, "Service is stopping; try again");
}

/* ---- lines ------------------------------------------------------------------------------------- */

/* What holds for all verbs; true when the handler may run. */
static bool verb_allowed(struct inbound *s, const struct verb_rule *rule, struct span args)
{
    if (!(rule->states & IN(s->state))) {
        (void)inbound_refuse(s, REASON_SEQUENCE, 503, SMTP_ENHANCED(5, 5, 1), rule->when);
        return false;
    }
    if (s->listener->require_tls && !s->tls_version && !rule->before_tls) {
        (void)inbound_refuse(s, REASON_TLS_REQUIRED, 530, SMTP_ENHANCED(5, 7, 0),
                             "Must issue a STARTTLS command first");
        return false;
    }
    if (rule->no_arguments && args.len) {
        (void)inbound_refuse_fault(s, REASON_SYNTAX, SMTP_FAULT_NO_ARGUMENT);
        return false;
    }
    return true;
}

/* Closes a session that has used up one of its counts. */
static void check_counts(struct inbound *s)
{
    const struct settings_listener *l = s->listener;
    if (inbound_ended(s))
        return;
    if (l->errors && s->errors >= l->errors)
        inbound_end(s, REASON_ABUSE, 421, SMTP_ENHANCED(4, 7, 0), "Too many errors");
    else if (l->junk && s->junk > l->junk)
        inbound_end(s, REASON_ABUSE, 421, SMTP_ENHANCED(4, 7, 0), "Too many commands that do nothing");
    else if (l->commands && s->commands > l->commands)
        inbound_end(s, REASON_ABUSE, 421, SMTP_ENHANCED(4, 7, 0), "Too many commands");
}

/* RFC 2920 3.1: a client may have sent RCPT and DATA or BDAT before it read that MAIL was refused for now. */
static void note_put_off(struct inbound *s, enum smtp_verb verb, bool for_now)
{
    if (verb == SMTP_VERB_MAIL)
        s->put_off = for_now;
    else if (verb != SMTP_VERB_RCPT && verb != SMTP_VERB_DATA && verb != SMTP_VERB_BDAT)
        s->put_off = false;
}

static void run_command(struct inbound *s, struct span line)
{
    struct smtp_command command;
    smtp_command_parse(line, &command);
    const struct verb_rule *rule = &verbs[command.verb];
    uint32_t errors = s->errors;
    enum cmd_result result = CMD_FAILED;
    s->commands++;
    if (!rule->handle) {
        (void)inbound_refuse(s, REASON_SYNTAX, 500, SMTP_ENHANCED(5, 5, 2), "Command not recognised");
    } else if (verb_allowed(s, rule, command.args)) {
        if (rule->junk)
            s->junk++;
        result = rule->handle(s, command.args);
    }
    note_put_off(s, command.verb, result == CMD_FAILED && s->errors == errors);
    check_counts(s);
}

static bool line_is_auth(struct span line)
{
    return span_istarts(line, SPAN_LIT("AUTH "));
}

/* No line end in sight: nothing used, unless the line is over its limit already. */
static size_t feed_partial(struct inbound *s, struct span in)
{
    bool auth = s->state == STATE_AUTH || line_is_auth(in);
    size_t most = auth ? INBOUND_AUTH_LINE_MOST : INBOUND_LINE_MOST;
    if (s->long_line)
        return in.len;
    if (in.len < most)
        return 0;
    s->long_line = true;
    return in.len;
}

/* detail: of 5.5.x; 6 says that a line of AUTH was too long (RFC 4954 6). */
static void refuse_line(struct inbound *s, uint8_t detail, const char *text)
{
    cmd_auth_free(s);
    if (s->state == STATE_AUTH)
        s->state = STATE_READY;
    (void)inbound_refuse(s, REASON_SYNTAX, 500, SMTP_ENHANCED(5, 5, detail), text);
    check_counts(s);
}

/* One line of commands or of AUTH. */
static size_t feed_line(struct inbound *s, struct span in)
{
    const char *lf = memchr(in.ptr, '\n', in.len);
    if (!lf)
        return feed_partial(s, in);
    size_t used = (size_t)(lf - in.ptr) + 1;
    struct span line = span_of(in.ptr, used - 1);
    bool crlf = line.len && line.ptr[line.len - 1] == '\r';
    bool auth = s->state == STATE_AUTH || line_is_auth(line);
    bool too_long = s->long_line || used > (auth ? INBOUND_AUTH_LINE_MOST : INBOUND_LINE_MOST);
    s->long_line = false;
    s->progress_us = inbound_now_us(s);
    if (too_long) {
        refuse_line(s, s->state == STATE_AUTH ? 6 : 2, "Line too long");
    } else if (!crlf) {
        refuse_line(s, 2, "Lines must end in CR LF");
    } else {
        line.len--;
        if (s->state == STATE_AUTH)
            cmd_auth_line(s, line);
        else
            run_command(s, line);
    }
    return used;
}

static size_t feed_text(struct inbound *s, struct span in)
{
    size_t used = cmd_data_feed(s, in);
    check_counts(s);
    return used;
}

size_t inbound_feed(struct inbound *s, struct span in)
{
    size_t used = 0;
    while (used < in.len && s->wait == WAIT_NONE && !inbound_ended(s)) {
        struct span rest = span_of(in.ptr + used, in.len - used);
        bool text = s->state == STATE_DATA || s->state == STATE_CHUNK || s->state == STATE_SKIP;
        size_t n = text ? feed_text(s, rest) : feed_line(s, rest);
        if (n == 0)
            break;
        used += n;
    }
    return inbound_ended(s) ? in.len : used;
}

/* ---- time -------------------------------------------------------------------------------------- */

static uint64_t data_until(const struct inbound *s)
{
    bool begun = s->state == STATE_SKIP || (s->tx && s->tx->data_begun);
    return begun && s->listener->data_ms ? s->data_us + US(s->listener->data_ms) : UINT64_MAX;
}

static uint64_t inbound_until(const struct inbound *s)
{
    return s->listener->session_ms ? s->started_us + US(s->listener->session_ms) : UINT64_MAX;
}

static uint64_t idle_until(const struct inbound *s)
{
    return s->listener->idle_ms ? s->progress_us + US(s->listener->idle_ms) : UINT64_MAX;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t inbound_deadline_us(const struct inbound *s)
{
    if (s->wait != WAIT_NONE)
        return s->wait_until_us;
    return earlier(earlier(idle_until(s), inbound_body_due_us(s)), earlier(data_until(s), inbound_until(s)));
}

static void wait_timeout(struct inbound *s)
{
    switch (s->wait) {
    case WAIT_DELAY:
        cmd_auth_delayed(s);
        break;
    case WAIT_CHUNKS:
    case WAIT_RECORD:
        cmd_data_append_timeout(s);
        break;
    case WAIT_AUTH:
    case WAIT_TLS:
    case WAIT_QUOTA:
        inbound_end(s, REASON_TIMEOUT, 421, SMTP_ENHANCED(4, 4, 2), "Timed out");
        break;
    case WAIT_NONE:
        break;
    }
    check_counts(s);
}

void inbound_timeout(struct inbound *s)
{
    uint64_t now = inbound_now_us(s);
    if (inbound_ended(s) || now < inbound_deadline_us(s))
        return;
    if (s->wait != WAIT_NONE)
        wait_timeout(s);
    else if (now >= data_until(s))
        inbound_end(s, REASON_TIMEOUT, 421, SMTP_ENHANCED(4, 4, 2), "The message took too long");
    else if (now < inbound_until(s) && now < idle_until(s))
        inbound_body_stalled(s);
    else if (now >= inbound_until(s))
        inbound_end(s, REASON_TIMEOUT, 421, SMTP_ENHANCED(4, 4, 2), "The session took too long");
    else
        inbound_end(s, REASON_TIMEOUT, 421, SMTP_ENHANCED(4, 4, 2), "Idle for too long");
}

/* ---- events ------------------------------------------------------------------------------------ */

void inbound_tls_done(struct inbound *s, const char *version, const char *cipher)
{
    if (inbound_ended(s))
        return;
    s->tls_version = version;
    s->tls_cipher = cipher;
    free(s->helo);
    s->helo = NULL;
    s->esmtp = false;
    s->wait = WAIT_NONE;
    s->state = STATE_START;
    s->progress_us = inbound_now_us(s);
    if (s->authenticated) { /* what was learnt in the clear does not count */
        s->authenticated = false;
        s->user = NULL;
        (void)inbound_enter_tenant(s, s->network_tenant);
    }
}

void inbound_append_done(struct inbound *s, uint64_t token, int status, uint64_t offset)
{
    struct transaction *tx = s->tx;
    uint32_t low = (uint32_t)token;
    if (inbound_ended(s) || !tx || token != inbound_tx_token(s, low))
        return;
    if (low < tx->n_chunks) {
        tx->in_flight--;
        tx->chunks[low].offset = offset;
    }
    cmd_data_appended(s, low == UINT32_MAX, status);
    check_counts(s);
}
