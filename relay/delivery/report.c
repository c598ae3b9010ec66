/* Which outcomes their sender gets a report of, and what it says of each recipient. */
#include "relay/delivery/report.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "relay/feedback/bounce.h"

enum { RECIPIENTS_MOST = 100 };

static enum mail_dsn_action action_of(Remuda__RecipientState state)
{
    if (state == REMUDA__RECIPIENT_STATE__RCPT_DELIVERED)
        return MAIL_DSN_RELAYED;
    return state == REMUDA__RECIPIENT_STATE__RCPT_EXPIRED ? MAIL_DSN_EXPIRED : MAIL_DSN_FAILED;
}

static void describe(const struct sub *s, uint32_t i, const struct outcome_recipient *o,
                     struct mail_dsn_recipient *out)
{
    const Remuda__Recipient *r = s->submission->recipients[i];
    struct smtp_enhanced status = {0};
    smtp_enhanced_parse(span_str(o->enhanced), &status);
    *out = (struct mail_dsn_recipient){.orcpt = r->orcpt,
                                       .address = r->address,
                                       .code = o->code,
                                       .status = status,
                                       .text = o->text,
                                       .remote_mta = o->local ? NULL : s->last_host,
                                       .last_attempt_ms = s->last_attempt_ms};
}

struct report {
    struct mail_dsn_recipient recipients[RECIPIENTS_MOST];
    size_t n;
};

static struct bounce_cause cause_of(struct sub *s, const struct report *rep, Remuda__TransferKind kind)
{
    return (struct bounce_cause){
        .shard = s->owner->delivery->shard,
        .partition = s->owner->partition,
        .message = s->message,
        .body = {.log = s->owner->delivery->shard->node->log,
                 .partition = s->owner->number,
                 .at = s->at,
                 .message = s->message},
        .submission = s->id,
        .kind = kind,
        .recipients = rep->recipients,
        .n_recipients = rep->n,
        .now_ms = clock_wall_ms(),
    };
}

static bool is_wanted(const struct sub *s, const struct tell *t, size_t i, bool next_dsn)
{
    return mail_dsn_wanted(s->submission->recipients[t->indexes[i]]->notify, action_of(t->state), next_dsn);
}

static bool has_sender(const struct sub *s)
{
    const Remuda__Record *record = s->message->record;
    return record->kind == REMUDA__RECORD_KIND__RECORD_MESSAGE && record->sender[0];
}

bool report_due(struct sub *s, const struct tell *t)
{
    struct report none = {.n = 0};
    bool any = false;
    for (size_t i = 0; i < t->n && !any; i++)
        any = is_wanted(s, t, i, false);
    struct bounce_cause c = cause_of(s, &none, REMUDA__TRANSFER_KIND__TRANSFER_BOUNCE);
    return any && has_sender(s) && bounce_can(&c);
}

bool report_make(struct sub *s, const struct tell *t, const struct report_how *how, struct msgid *id)
{
    if (!has_sender(s))
        return false;
    struct report *rep = calloc(1, sizeof(*rep));
    ENSURE(rep);
    for (size_t i = 0; i < t->n; i++) {
        if (!is_wanted(s, t, i, how->next_dsn))
            continue;
        describe(s, t->indexes[i], t->outcomes[i], &rep->recipients[rep->n]);
        rep->recipients[rep->n++].action = action_of(t->state);
    }
    struct bounce_cause c = cause_of(s, rep, REMUDA__TRANSFER_KIND__TRANSFER_BOUNCE);
    c.bound = how->bound;
    bool made = rep->n && bounce_make(&c, id);
    free(rep);
    return made;
}

static bool notice_due_for(const struct sub *s, uint32_t i)
{
    return sub_pending(s, i) && !(s->results && s->results[i].noticed) &&
           mail_dsn_wanted(s->submission->recipients[i]->notify, MAIL_DSN_DELAYED, false);
}

uint64_t report_delay_ms(const struct sub *s)
{
    uint64_t after = settle_schedule(s)->delay_notice_ms;
    if (!after || !has_sender(s))
        return 0;
    for (uint32_t i = 0; i < s->submission->n_recipients; i++)
        if (notice_due_for(s, i))
            return s->accepted_ms + after;
    return 0;
}

void report_delay(struct sub *s)
{
    uint64_t due = report_delay_ms(s);
    if (!due || clock_wall_ms() < due)
        return;
    struct report *rep = calloc(1, sizeof(*rep));
    ENSURE(rep);
    sub_results_need(s);
    for (uint32_t i = 0; i < s->submission->n_recipients; i++) {
        struct sub_result *r = &s->results[i];
        if (!notice_due_for(s, i))
            continue;
        r->noticed = true;
        struct outcome_recipient o = {.text = r->reply ? r->reply : "the message waits for its turn",
                                      .code = r->code,
                                      .local = !r->code};
        snprintf(o.enhanced, sizeof(o.enhanced), "4.4.7");
        describe(s, i, &o, &rep->recipients[rep->n]);
        rep->recipients[rep->n].action = MAIL_DSN_DELAYED;
        rep->recipients[rep->n++].retry_until_ms = s->expires_ms;
    }
    struct msgid id;
    struct bounce_cause c = cause_of(s, rep, REMUDA__TRANSFER_KIND__TRANSFER_DELAY_NOTICE);
    if (rep->n)
        (void)bounce_make(&c, &id);
    free(rep);
}
