/*
 * AUTH PLAIN and LOGIN (RFC 4954, RFC 4616). Decodes the exchange; whether a password is right is the
 * environment's business. A failure is answered late, the later the more there were, and counted.
 */
#include <stdlib.h>

#include "lib/base/base64.h"
#include "lib/smtp/auth.h"
#include "relay/ingress/inbound_private.h"

enum { AUTH_WAIT_MS = 30 * 1000, LOGIN_USER_MOST = 512 };

enum auth_step { STEP_PLAIN, STEP_LOGIN_USER, STEP_LOGIN_PASSWORD };

struct auth_dialog {
    enum auth_step step;
    bool temporary; /* what the delayed reply says */
    size_t user_len;
    char user[LOGIN_USER_MOST];
};

void cmd_auth_free(struct inbound *s)
{
    if (s->auth)
        explicit_bzero(s->auth, sizeof(*s->auth));
    free(s->auth);
    s->auth = NULL;
}

bool cmd_auth_offered(const struct inbound *s)
{
    return s->listener->auth && s->esmtp && !s->authenticated &&
           (s->tls_version || s->listener->auth_without_tls);
}

/* The exchange is over without a check. */
static enum cmd_result give_up(struct inbound *s, int code, struct smtp_enhanced e, const char *text)
{
    cmd_auth_free(s);
    s->state = STATE_READY;
    return inbound_refuse(s, REASON_AUTH_FAILED, code, e, text);
}

static enum cmd_result malformed(struct inbound *s)
{
    return give_up(s, 501, SMTP_ENHANCED(5, 5, 2), "Cannot decode that");
}

static enum cmd_result check(struct inbound *s, struct span user, struct span password)
{
    s->state = STATE_READY;
    inbound_wait(s, WAIT_AUTH, AUTH_WAIT_MS);
    s->env->auth(s->arg, user, password);
    return s->wait == WAIT_NONE ? CMD_DONE : CMD_PENDING;
}

static enum cmd_result take_plain(struct inbound *s, struct span message)
{
    struct smtp_auth_plain plain;
    if (smtp_auth_plain_parse(message, &plain) != RM_OK)
        return malformed(s);
    if (plain.authzid.len && !span_eq(plain.authzid, plain.user))
        return give_up(s, 535, SMTP_ENHANCED(5, 7, 8), "Acting for somebody else is not possible");
    return check(s, plain.user, plain.password);
}

static enum cmd_result take_user(struct inbound *s, struct span message)
{
    if (!message.len || message.len > LOGIN_USER_MOST)
        return malformed(s);
    memcpy(s->auth->user, message.ptr, message.len);
    s->auth->user_len = message.len;
    s->auth->step = STEP_LOGIN_PASSWORD;
    s->state = STATE_AUTH;
    return inbound_reply_raw(s, SPAN_LIT("334 " SMTP_AUTH_LOGIN_PASSWORD "\r\n"));
}

static enum cmd_result take_message(struct inbound *s, struct span message)
{
    switch (s->auth->step) {
    case STEP_PLAIN:
        return take_plain(s, message);
    case STEP_LOGIN_USER:
        return take_user(s, message);
    case STEP_LOGIN_PASSWORD:
        if (!message.len)
            return malformed(s);
        return check(s, span_of(s->auth->user, s->auth->user_len), message);
    }
    return malformed(s);
}

static enum cmd_result take_base64(struct inbound *s, struct span encoded)
{
    size_t cap = BASE64_DECODED(encoded.len);
    char *decoded = malloc(cap + 1);
    ENSURE(decoded);
    size_t n = 0;
    enum cmd_result result;
    if (base64_decode(encoded, decoded, cap, &n) != RM_OK)
        result = malformed(s);
    else
        result = take_message(s, span_of(decoded, n));
    explicit_bzero(decoded, cap);
    free(decoded);
    return result;
}

void cmd_auth_line(struct inbound *s, struct span line)
{
    if (smtp_auth_cancelled(line))
        (void)give_up(s, 501, SMTP_ENHANCED(5, 7, 0), "Authentication cancelled");
    else
        (void)take_base64(s, line);
}

static enum cmd_result begin(struct inbound *s, enum auth_step step, const struct smtp_auth *auth)
{
    cmd_auth_free(s);
    s->auth = calloc(1, sizeof(*s->auth));
    ENSURE(s->auth);
    s->auth->step = step;
    if (auth->has_initial)
        return take_base64(s, auth->initial);
    s->state = STATE_AUTH;
    if (step == STEP_PLAIN)
        return inbound_reply_raw(s, SPAN_LIT("334 \r\n"));
    return inbound_reply_raw(s, SPAN_LIT("334 " SMTP_AUTH_LOGIN_USER "\r\n"));
}

enum cmd_result cmd_auth(struct inbound *s, struct span args)
{
    if (s->authenticated)
        return inbound_refuse(s, REASON_SEQUENCE, 503, SMTP_ENHANCED(5, 5, 1), "Authenticated already");
    if (!s->listener->auth || !s->esmtp)
        return inbound_refuse(s, REASON_SEQUENCE, 502, SMTP_ENHANCED(5, 5, 1), "AUTH is not offered here");
    if (!cmd_auth_offered(s))
        return inbound_refuse(s, REASON_TLS_REQUIRED, 538, SMTP_ENHANCED(5, 7, 11),
                              "Encryption is required for AUTH: say STARTTLS first");
    struct smtp_auth auth;
    enum smtp_fault fault = smtp_auth_parse(args, &auth);
    if (fault)
        return inbound_refuse_fault(s, REASON_SYNTAX, fault);
    if (span_ieq(auth.mechanism, SPAN_LIT("PLAIN")))
        return begin(s, STEP_PLAIN, &auth);
    if (span_ieq(auth.mechanism, SPAN_LIT("LOGIN")))
        return begin(s, STEP_LOGIN_USER, &auth);
    return inbound_refuse(s, REASON_SYNTAX, 504, SMTP_ENHANCED(5, 5, 4), "Mechanism not supported");
}

/* ---- the answer ---------------------------------------------------------------------------------- */

static void succeed(struct inbound *s, int tenant, const char *user)
{
    cmd_auth_free(s);
    if (!inbound_enter_tenant(s, tenant))
        return;
    s->authenticated = true;
    s->user = user;
    (void)inbound_reply(s, 235, SMTP_ENHANCED(2, 7, 0), "Authentication successful");
}

void inbound_auth_done(struct inbound *s, enum inbound_auth_result result, int tenant, const char *user)
{
    if (inbound_ended(s) || s->wait != WAIT_AUTH)
        return;
    s->wait = WAIT_NONE;
    s->progress_us = inbound_now_us(s);
    if (result == INBOUND_AUTH_OK) {
        succeed(s, tenant, user);
        return;
    }
    s->auth->temporary = result == INBOUND_AUTH_TEMPORARY;
    if (!s->auth->temporary)
        s->auth_failures++;
    uint64_t times = s->auth_failures ? s->auth_failures : 1;
    inbound_wait(s, WAIT_DELAY, INBOUND_AUTH_DELAY_MS * times);
}

void cmd_auth_delayed(struct inbound *s)
{
    bool temporary = s->auth->temporary;
    s->wait = WAIT_NONE;
    s->progress_us = inbound_now_us(s);
    cmd_auth_free(s);
    if (temporary)
        (void)inbound_refuse(s, REASON_AUTH_FAILED, 454, SMTP_ENHANCED(4, 7, 0),
                             "Temporary authentication failure");
    else
        (void)inbound_refuse(s, REASON_AUTH_FAILED, 535, SMTP_ENHANCED(5, 7, 8),
                             "Authentication credentials invalid");
    if (s->auth_failures >= INBOUND_AUTH_FAILURES)
        inbound_end(s, REASON_ABUSE, 421, SMTP_ENHANCED(4, 7, 0), "Too many failed authentications");
    else if (s->draining)
        inbound_kick(s, REASON_STOPPING, "Service is stopping; try again");
}
