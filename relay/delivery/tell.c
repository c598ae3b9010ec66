/* Outcomes into events: what the receiver said, from where, how long each phase took, why this source. */
#include "relay/delivery/tell.h"

#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/id.h"

void tell_init_local(struct tell *t, Remuda__RecipientState state)
{
    t->run = NULL;
    t->link = NULL;
    t->state = state;
    t->waiting = t->untried = t->final = t->suppressed = t->seal = false;
    t->cause = "";
    t->next_due_ms = 0;
    t->related = NULL;
    t->transfer = NULL;
    t->n = 0;
}

void tell_init_link(struct tell *t, const struct link *l, Remuda__RecipientState state)
{
    tell_init_local(t, state);
    t->link = l;
}

void tell_init(struct tell *t, const struct run *r, Remuda__RecipientState state)
{
    tell_init_link(t, r->link, state);
    t->run = r;
}

static Remuda__EventType type_of(const struct tell *t)
{
    if (t->transfer)
        return REMUDA__EVENT_TYPE__EVENT_REROUTED;
    if (t->suppressed)
        return REMUDA__EVENT_TYPE__EVENT_SUPPRESSED;
    if (t->waiting)
        return t->cause[0] ? REMUDA__EVENT_TYPE__EVENT_HELD : REMUDA__EVENT_TYPE__EVENT_ACCEPTED;
    switch (t->state) {
    case REMUDA__RECIPIENT_STATE__RCPT_DELIVERED:
        return REMUDA__EVENT_TYPE__EVENT_DELIVERED;
    case REMUDA__RECIPIENT_STATE__RCPT_BOUNCED:
        return REMUDA__EVENT_TYPE__EVENT_BOUNCED;
    case REMUDA__RECIPIENT_STATE__RCPT_EXPIRED:
        return REMUDA__EVENT_TYPE__EVENT_EXPIRED;
    default:
        return REMUDA__EVENT_TYPE__EVENT_DEFERRED;
    }
}

static char *text(const char *s)
{
    return (char *)(uintptr_t)(s ? s : "");
}

static void fill_recipients(const struct sub *s, const struct tell *t, Remuda__RecipientOutcome *rows,
                            Remuda__RecipientOutcome **list)
{
    for (size_t i = 0; i < t->n; i++) {
        Remuda__RecipientOutcome *r = &rows[i];
        const struct outcome_recipient *o = t->outcomes[i];
        remuda__recipient_outcome__init(r);
        r->index = t->indexes[i];
        r->address = s->submission->recipients[r->index]->address;
        r->state = t->state;
        r->code = (uint32_t)o->code;
        r->enhanced = text(o->enhanced);
        r->text = text(o->text);
        r->local = o->local;
        if (o->answer.rule && o->answer.class != ANSWER_ACCEPTED) {
            r->rule = text(o->answer.rule);
            r->answer_class = text(answer_class_text(o->answer.class));
            r->list = text(o->answer.list);
        }
        list[i] = r;
    }
}

static void fill_message(const struct sub *s, Remuda__Event *e)
{
    const Remuda__Record *record = s->message->record;
    e->message_id = record->id;
    e->tenant = record->tenant;
    e->sender = record->sender;
    e->domain = s->submission->domain;
    e->pool = s->lane->pool;
    e->provider = s->lane->provider;
    e->scope = s->flow ? s->flow->scope->site : text(s->scope_text);
    e->attempt = s->attempts;
    e->record_offset = s->at;
    if (s->told)
        return;
    e->accepted_ms = record->accepted_ms;
    e->acceptance = record->acceptance;
    e->bytes = record->body_bytes + record->prefix.len;
}

static const char *source_address(const struct link *l)
{
    return l->source_index >= 0 ? l->owner->settings->router.sources[l->source_index].address : "";
}

static void fill_link(const struct link *l, Remuda__Event *e, Remuda__Phases *p)
{
    e->source = l->source;
    e->source_address = text(source_address(l));
    e->mx_host = text(l->dest->hosts[l->host].name);
    e->passed_over = text(l->passed_over);
    p->dns_us = (uint32_t)l->dns_us;
    e->phases = p;
    if (!l->session)
        return;
    e->mx_address = text(session_remote(l->session));
    e->tls = text(session_tls(l->session));
    p->connect_us = session_connect_us(l->session);
    p->greeting_us = session_greeting_us(l->session);
    p->tls_us = session_tls_us(l->session);
}

static void fill_run(const struct run *r, Remuda__Event *e, Remuda__Decision *d)
{
    const struct attempt *a = &r->attempt;
    ENSURE(e->phases);
    e->reused = a->reused;
    e->dot_sent = a->dot_sent;
    if (a->reused) {
        e->passed_over = text("");
        e->phases->dns_us = e->phases->connect_us = e->phases->greeting_us = e->phases->tls_us = 0;
    }
    e->phases->envelope_us = a->envelope_us;
    e->phases->data_us = a->data_us;
    e->phases->answer_us = a->answer_us;
    d->frame.len = r->decision.frame.n;
    d->frame.data = (uint8_t *)(uintptr_t)r->decision.frame.bytes;
    d->runner_up = text(r->runner_up);
    d->state_version = r->decision.state_version;
    e->decision = d;
}

/* With all candidates, when they were noted for this decision: a held one, or the attempt's own. */
static void fill_shown(const struct sub *s, const struct tell *t, Remuda__Event *e, Remuda__Decision *d)
{
    const struct shown *shown = s->shown;
    if (!shown || (t->run && t->run->decision.state_version != shown->decision.state_version))
        return;
    if (!t->run)
        *d = shown->decision;
    d->candidates = shown->decision.candidates;
    d->n_candidates = shown->decision.n_candidates;
    if (d->n_candidates)
        d->frame.len = 0;
    e->decision = d;
}

void tell_event(struct sub *s, const struct tell *t)
{
    Remuda__Event e = REMUDA__EVENT__INIT;
    Remuda__SubmissionId id = REMUDA__SUBMISSION_ID__INIT;
    Remuda__Phases phases = REMUDA__PHASES__INIT;
    Remuda__Decision decision = REMUDA__DECISION__INIT;
    Remuda__RecipientOutcome rows[100], *list[100];
    e.type = type_of(t);
    id.partition = s->id.partition;
    id.offset = s->id.offset;
    id.index = s->id.index;
    e.submission = &id;
    e.time_ms = clock_wall_ms();
    fill_message(s, &e);
    if (t->untried)
        e.attempt = 0;
    fill_recipients(s, t, rows, list);
    e.recipients = list;
    e.n_recipients = t->n;
    e.final = t->final;
    e.cause = text(t->cause);
    e.next_due_ms = t->next_due_ms;
    e.transfer_to = (Remuda__TransferTo *)(uintptr_t)t->transfer;
    if (t->link)
        fill_link(t->link, &e, &phases);
    if (t->run)
        fill_run(t->run, &e, &decision);
    if (t->run || t->waiting || t->transfer)
        fill_shown(s, t, &e, &decision);
    if (t->related) {
        e.related_id.data = (uint8_t *)(uintptr_t)t->related->bytes;
        e.related_id.len = MSGID_BYTES;
    }
    if (t->seal)
        seal_event(s, &e);
    else
        partition_event(s->owner->partition, &e);
    show_free(s);
    s->told = true;
}

/* Of the same submission and record, wherever they stand now. */
void tell_sealed(struct sub *s, Remuda__Event *e)
{
    Remuda__SubmissionId id = REMUDA__SUBMISSION_ID__INIT;
    id.partition = s->id.partition;
    id.offset = s->id.offset;
    id.index = s->id.index;
    e->submission = &id;
    e->record_offset = s->at;
    partition_event(s->owner->partition, e);
}
