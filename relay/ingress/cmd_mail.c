/* MAIL and RCPT: who may send what to how many. The recipients are gathered by transaction.c. */
#include <stdio.h>

#include "relay/ingress/inbound_private.h"

enum { REPLY_TEXT = 240, QUOTA_WAIT_MS = 30 * 1000 };

static const struct settings_tenant *tenant_of(const struct inbound *s)
{
    return &s->settings->tenants[s->tenant];
}

/* ---- MAIL ---------------------------------------------------------------------------------------- */

static enum cmd_result refuse_stranger(struct inbound *s)
{
    if (cmd_auth_offered(s))
        return inbound_refuse(s, REASON_AUTH_REQUIRED, 530, SMTP_ENHANCED(5, 7, 0),
                              "Authentication required");
    if (s->listener->auth && s->tls_available && !s->tls_version)
        return inbound_refuse(s, REASON_TLS_REQUIRED, 530, SMTP_ENHANCED(5, 7, 0),
                              "Authentication required: say STARTTLS first");
    return inbound_refuse(s, REASON_AUTH_REQUIRED, 550, SMTP_ENHANCED(5, 7, 1),
                          "Your address belongs to no tenant of this relay");
}

static enum cmd_result refuse_size(struct inbound *s, uint64_t most)
{
    char text[REPLY_TEXT];
    (void)snprintf(text, sizeof(text), "Limit size (%llu bytes) exceeded", (unsigned long long)most);
    return inbound_refuse(s, REASON_SIZE, 552, SMTP_ENHANCED(5, 3, 4), text);
}

static enum cmd_result refuse_quota(struct inbound *s, const struct inbound_quota *over)
{
    char text[REPLY_TEXT];
    (void)snprintf(text, sizeof(text), "Limit %s (%llu) of tenant %.100s reached; try again in %llu s",
                   over->limit, (unsigned long long)over->most, tenant_of(s)->name,
                   (unsigned long long)over->retry_s);
    return inbound_refuse(s, REASON_RATE, 451, SMTP_ENHANCED(4, 7, 1), text);
}

/* The sender's domain in canonical form; false: refused. */
static bool check_sender(struct inbound *s, const struct smtp_mail *mail, char domain[SMTP_DOMAIN_BUF])
{
    domain[0] = '\0';
    if (s->tenant < 0) /* something that comes back, from anyone */
        return true;
    if (!mail->path.len) {
        if (!tenant_of(s)->null_sender)
            (void)inbound_refuse(s, REASON_SENDER, 550, SMTP_ENHANCED(5, 7, 1),
                                 "This tenant may not send with the null sender");
        return tenant_of(s)->null_sender;
    }
    if (smtp_domain_ascii(mail->address.domain, domain) != RM_OK) {
        (void)inbound_refuse(s, REASON_SENDER, 501, SMTP_ENHANCED(5, 1, 8), "Sender's domain is not valid");
        return false;
    }
    if (settings_tenant_may_send(tenant_of(s), span_str(domain)))
        return true;
    (void)inbound_refuse(s, REASON_SENDER, 550, SMTP_ENHANCED(5, 7, 1),
                         "Sender's domain is not among those of this tenant");
    return false;
}

/* True when there is room for a message; else refused with 452. */
static bool check_space(struct inbound *s)
{
    switch (s->env->admit(s->arg)) {
    case ADMIT_OK:
        return true;
    case ADMIT_NO_MEMORY:
        (void)inbound_refuse(s, REASON_SPACE, 452, SMTP_ENHANCED(4, 3, 1), "Too busy: try again later");
        return false;
    case ADMIT_NO_DISK:
        break;
    }
    (void)inbound_refuse(s, REASON_SPACE, 452, SMTP_ENHANCED(4, 3, 1),
                         "Insufficient storage: try again later");
    return false;
}

static enum cmd_result begin(struct inbound *s)
{
    s->state = STATE_MAIL;
    s->junk = 0;
    return inbound_reply_raw(s, SPAN_LIT("250 2.1.0 Ok\r\n"));
}

static enum cmd_result accept_mail(struct inbound *s, const struct smtp_mail *mail)
{
    char domain[SMTP_DOMAIN_BUF];
    uint64_t most = inbound_size_most(s);
    if (s->tenant < 0 && !cmd_feedback_open(s))
        return refuse_stranger(s);
    if (most && mail->has_size && mail->size > most)
        return refuse_size(s, most);
    if (!check_sender(s, mail, domain) || !check_space(s))
        return CMD_FAILED;
    s->tx = inbound_tx_new(mail, domain);
    if (s->tenant < 0)
        return begin(s);
    inbound_wait(s, WAIT_QUOTA, QUOTA_WAIT_MS);
    s->env->quota_take(s->arg, s->tenant);
    return s->wait == WAIT_QUOTA ? CMD_PENDING : s->tx ? CMD_DONE : CMD_FAILED;
}

bool inbound_quota_done(struct inbound *s, enum inbound_quota_answer answer, const struct inbound_quota *over)
{
    if (s->wait != WAIT_QUOTA)
        return false;
    s->wait = WAIT_NONE;
    s->put_off = answer != INBOUND_QUOTA_TAKEN;
    if (answer == INBOUND_QUOTA_TAKEN) {
        s->tx->counted = true;
        s->tx->counted_ms = s->env->wall_ms(s->arg);
        (void)begin(s);
        return true;
    }
    if (answer == INBOUND_QUOTA_OVER)
        (void)refuse_quota(s, over);
    else
        (void)inbound_refuse(s, REASON_LOG, 451, SMTP_ENHANCED(4, 3, 0),
                             "The limits of this tenant cannot be looked up: try again later");
    inbound_reset(s);
    return true;
}

enum cmd_result cmd_mail(struct inbound *s, struct span args)
{
    struct arena decoded = ARENA_INIT;
    struct smtp_mail mail;
    unsigned flags = s->esmtp ? 0 : SMTP_PARSE_ROUTE_ONLY;
    enum smtp_fault fault = smtp_mail_parse(&decoded, args, flags, &mail);
    enum cmd_result result = fault ? inbound_refuse_fault(s, REASON_SYNTAX, fault) : accept_mail(s, &mail);
    arena_fini(&decoded);
    return result;
}

/* ---- RCPT ---------------------------------------------------------------------------------------- */

static enum cmd_result refuse_recipients(struct inbound *s, uint32_t most)
{
    char text[REPLY_TEXT];
    (void)snprintf(text, sizeof(text), "Limit recipients (%u) of tenant %.100s for one message reached", most,
                   tenant_of(s)->name);
    return inbound_refuse(s, REASON_RECIPIENTS, 452, SMTP_ENHANCED(4, 5, 3), text);
}

/* RFC 5321 4.5.1: "postmaster" without a domain is ours. */
static struct span full_address(struct inbound *s, const struct smtp_rcpt *rcpt, char out[SMTP_PATH_MOST + 2])
{
    if (rcpt->address.domain.len)
        return rcpt->path;
    int n = snprintf(out, SMTP_PATH_MOST + 2, "%.*s@%s", SPAN_FMT(rcpt->path), s->listener->hostname);
    return span_of(out, n < SMTP_PATH_MOST + 2 ? (size_t)n : SMTP_PATH_MOST + 1);
}

static enum cmd_result accept_rcpt(struct inbound *s, const struct smtp_rcpt *rcpt)
{
    char domain[SMTP_DOMAIN_BUF], own[SMTP_PATH_MOST + 2];
    struct span address = full_address(s, rcpt, own);
    struct span named = rcpt->address.domain.len ? rcpt->address.domain : span_str(s->listener->hostname);
    if (smtp_domain_ascii(named, domain) != RM_OK)
        return inbound_refuse(s, REASON_RECIPIENT, 501, SMTP_ENHANCED(5, 1, 2),
                              "Recipient's domain is not valid");
    if (s->tx->feedback || cmd_feedback_is_for(s, address, span_str(domain)))
        return cmd_feedback_rcpt(s, rcpt, address, span_str(domain));
    if (s->tenant < 0)
        return refuse_stranger(s);
    uint32_t most = tenant_of(s)->limits.recipients;
    if (most && s->tx->n_recipients >= most)
        return refuse_recipients(s, most);
    const char *suppressed = s->env->suppressed(s->arg, &s->tx->message->arena, s->tenant, address);
    if (suppressed)
        return inbound_refuse(s, REASON_SUPPRESSED, 550, SMTP_ENHANCED(5, 7, 1), suppressed);
    if (!inbound_tx_add(s->tx, rcpt, address, span_str(domain)))
        return inbound_refuse(s, REASON_RECIPIENTS, 452, SMTP_ENHANCED(4, 5, 3),
                              "No room for more recipients in one message");
    s->env->lookup(s->arg, span_str(domain));
    s->state = STATE_RCPT;
    return inbound_reply_raw(s, SPAN_LIT("250 2.1.5 Ok\r\n"));
}

enum cmd_result cmd_rcpt(struct inbound *s, struct span args)
{
    struct smtp_rcpt rcpt;
    unsigned flags = s->esmtp ? 0 : SMTP_PARSE_ROUTE_ONLY;
    if (s->tx->message->record->smtputf8)
        flags |= SMTP_PARSE_UTF8;
    enum smtp_fault fault = smtp_rcpt_parse(args, flags, &rcpt);
    if (fault)
        return inbound_refuse_fault(s, fault == SMTP_FAULT_RECIPIENT ? REASON_RECIPIENT : REASON_SYNTAX,
                                    fault);
    return accept_rcpt(s, &rcpt);
}
