/*
 * Mail for the bounce domain: taken from anyone on a listener that is open for it, and from tenants on any,
 * but only when it is about a message of ours, by the token in its address or, for the address to which
 * complaints go, in its text. One recipient a message: the others are told to come again.
 */
#include "relay/ingress/inbound_private.h"

bool cmd_feedback_open(const struct inbound *s)
{
    return s->listener->feedback && s->settings->feedback.domain;
}

static bool is_complaints_address(const struct inbound *s, struct span address)
{
    return s->settings->feedback.address && span_ieq(address, span_str(s->settings->feedback.address));
}

bool cmd_feedback_is_for(const struct inbound *s, struct span address, struct span domain)
{
    return s->settings->feedback.domain &&
           (span_eq(domain, span_str(s->settings->feedback.domain)) || is_complaints_address(s, address));
}

static enum cmd_result refuse(struct inbound *s, enum return_path_verdict verdict)
{
    if (verdict == RETURN_PATH_EXPIRED)
        return inbound_refuse(s, REASON_FEEDBACK, 550, SMTP_ENHANCED(5, 7, 1),
                              "The message that this is about left too long ago");
    return inbound_refuse(s, REASON_FEEDBACK, 550, SMTP_ENHANCED(5, 1, 1), "No such address");
}

enum cmd_result cmd_feedback_rcpt(struct inbound *s, const struct smtp_rcpt *rcpt, struct span address,
                                  struct span domain)
{
    struct transaction *tx = s->tx;
    struct tx_feedback found = {.tenant = -1};
    if (tx->n_recipients)
        return inbound_refuse(s, REASON_RECIPIENTS, 452, SMTP_ENHANCED(4, 5, 3),
                              "One recipient at a time for this domain");
    if (!is_complaints_address(s, address)) {
        enum return_path_verdict verdict = return_path_check(
            s->settings, rcpt->address.local, s->env->wall_ms(s->arg), &found.token, &found.tenant);
        if (verdict != RETURN_PATH_OK)
            return refuse(s, verdict);
        found.known = true;
    }
    if (!inbound_tx_add(tx, rcpt, address, domain))
        return inbound_refuse(s, REASON_RECIPIENTS, 452, SMTP_ENHANCED(4, 5, 3), "No room for this address");
    tx->feedback = arena_alloc(&tx->message->arena, sizeof(*tx->feedback));
    *tx->feedback = found;
    s->state = STATE_RCPT;
    return inbound_reply_raw(s, SPAN_LIT("250 2.1.5 Ok\r\n"));
}

/* The recipient becomes the return path that was found: so its owner sees one kind of address alone. */
static void name_message(struct transaction *tx, const struct settings *settings, struct span local)
{
    Remuda__Submission *sub = tx->groups[0].submission;
    struct arena *a = &tx->message->arena;
    sub->recipients[0]->address = arena_printf(a, "%.*s@%s", SPAN_FMT(local), settings->feedback.domain);
    sub->domain = arena_strdup(a, settings->feedback.domain);
}

/* What was dropped at the end takes the rest of its line along. */
static void end_with_line(struct transaction *tx)
{
    struct blob *b = tx->held;
    if (b && b->len < tx->data.bytes)
        while (b->len && b->data[b->len - 1] != '\n')
            b->len--;
}

bool cmd_feedback_settle(struct inbound *s, struct transaction *tx)
{
    struct tx_feedback *f = tx->feedback;
    char local[TOKEN_TEXT + 1];
    end_with_line(tx);
    if (f->known)
        return true;
    f->known =
        return_path_find(s->settings, blob_span(tx->held), s->env->wall_ms(s->arg), &f->token, &f->tenant);
    if (f->known)
        name_message(tx, s->settings, span_str(token_text(&f->token, local)));
    else
        inbound_tx_refuse(tx, REASON_FEEDBACK, 550, SMTP_ENHANCED(5, 7, 1),
                          "This is about no message of ours: a return path of ours must stand in it");
    return f->known;
}
