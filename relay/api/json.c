/*
 * The JSON form of what the logs hold. Only the mapping: who may see it and over which road is the admin's
 * business (relay/api/admin*.c) and the layout for people is the CLI's (relay/ctl).
 */
#include "relay/api/json.h"

#include "lib/base/err.h"
#include "lib/base/id.h"
#include "lib/base/utf8.h"

json_t *json_text(struct span bytes)
{
    struct buf text = BUF_INIT;
    while (bytes.len > 0) {
        size_t n = utf8_sequence(bytes);
        if (n > 0)
            buf_add(&text, bytes.ptr, n);
        else
            buf_printf(&text, "\\x%02x", (unsigned char)bytes.ptr[0]);
        n = n > 0 ? n : 1;
        bytes = span_of(bytes.ptr + n, bytes.len - n);
    }
    json_t *out = json_stringn(text.len > 0 ? text.data : "", text.len);
    ENSURE(out != NULL);
    buf_fini(&text);
    return out;
}

void json_set_span(json_t *object, const char *key, struct span text)
{
    if (text.len > 0)
        json_object_set_new(object, key, json_text(text));
}

void json_set_text(json_t *object, const char *key, const char *text)
{
    json_set_span(object, key, span_str(text));
}

void json_set_num(json_t *object, const char *key, uint64_t n)
{
    if (n > 0)
        json_object_set_new(object, key, json_integer((json_int_t)n));
}

void json_set_true(json_t *object, const char *key, bool b)
{
    if (b)
        json_object_set_new(object, key, json_true());
}

void json_set_id(json_t *object, const char *key, ProtobufCBinaryData id)
{
    if (id.len != MSGID_BYTES)
        return;
    struct msgid parsed;
    memcpy(parsed.bytes, id.data, MSGID_BYTES);
    char text[MSGID_TEXT + 1];
    json_object_set_new(object, key, json_string(msgid_text(&parsed, text)));
}

#define WORD(words, n) ((size_t)(n) < sizeof(words) / sizeof((words)[0]) ? (words)[n] : "unknown")

const char *json_event_type(Remuda__EventType type)
{
    static const char *const words[] = {"accepted",  "delivered",   "deferred", "bounced",
                                        "expired",   "held",        "rerouted", "suppressed",
                                        "complaint", "late-bounce", "alert",    "tenant"};
    return WORD(words, type);
}

const char *json_row_state(Remuda__RowState state)
{
    static const char *const words[] = {"deferred", "held", "in-hand", "transferring", "in-doubt"};
    return WORD(words, state);
}

const char *json_recipient_state(Remuda__RecipientState state)
{
    static const char *const words[] = {"pending", "delivered", "bounced", "expired"};
    return WORD(words, state);
}

const char *json_outcome_word(const Remuda__Event *e, const Remuda__RecipientOutcome *o)
{
    switch (e->type) {
    case REMUDA__EVENT_TYPE__EVENT_SUPPRESSED:
    case REMUDA__EVENT_TYPE__EVENT_COMPLAINT:
    case REMUDA__EVENT_TYPE__EVENT_LATE_BOUNCE:
        return json_event_type(e->type);
    default:
        return o->state == REMUDA__RECIPIENT_STATE__RCPT_PENDING ? json_event_type(e->type)
                                                                 : json_recipient_state(o->state);
    }
}

static json_t *submission_json(const Remuda__SubmissionId *id)
{
    return json_pack("{s:I,s:I,s:I}", "partition", (json_int_t)id->partition, "offset",
                     (json_int_t)id->offset, "index", (json_int_t)id->index);
}

static json_t *outcome_json(const Remuda__RecipientOutcome *o)
{
    json_t *v = json_object();
    json_object_set_new(v, "address", json_text(span_str(o->address)));
    json_object_set_new(v, "state", json_string(json_recipient_state(o->state)));
    json_set_num(v, "code", o->code);
    json_set_text(v, "enhanced", o->enhanced);
    json_set_text(v, "text", o->text);
    json_set_true(v, "local", o->local);
    json_set_text(v, "rule", o->rule);
    json_set_text(v, "class", o->answer_class);
    json_set_text(v, "list", o->list);
    return v;
}

static json_t *phases_json(const Remuda__Phases *p)
{
    json_t *v = json_object();
    json_set_num(v, "dns", p->dns_us);
    json_set_num(v, "connect", p->connect_us);
    json_set_num(v, "greeting", p->greeting_us);
    json_set_num(v, "tls", p->tls_us);
    json_set_num(v, "envelope", p->envelope_us);
    json_set_num(v, "data", p->data_us);
    json_set_num(v, "answer", p->answer_us);
    return v;
}

static json_t *acceptance_json(const Remuda__Acceptance *a)
{
    json_t *v = json_object();
    json_set_text(v, "client_address", a->client_address);
    json_set_text(v, "helo", a->helo);
    json_set_text(v, "user", a->user);
    json_set_text(v, "tls", a->tls);
    json_set_text(v, "listener", a->listener);
    json_set_text(v, "header_message_id", a->header_message_id);
    return v;
}

static const char *reason_of(const Remuda__Event *e)
{
    if (e->decision->reason[0] || !e->source[0])
        return e->decision->reason;
    return e->reused ? "open-connection" : "rotation";
}

static json_t *decision_json(const Remuda__Event *e)
{
    const Remuda__Decision *d = e->decision;
    json_t *v = json_object();
    json_set_text(v, "reason", reason_of(e));
    json_set_text(v, "runner_up", d->runner_up);
    json_set_num(v, "state_version", d->state_version);
    if (d->n_candidates == 0)
        return v;
    json_t *list = json_array();
    for (size_t i = 0; i < d->n_candidates; i++) {
        json_t *c = json_object();
        json_set_text(c, "source", d->candidates[i]->source);
        json_object_set_new(c, "weight", json_real(d->candidates[i]->weight));
        json_set_text(c, "verdict", d->candidates[i]->verdict);
        json_object_set_new(c, "score", json_real(d->candidates[i]->score));
        json_set_num(c, "rank", d->candidates[i]->rank);
        json_object_set_new(c, "credit", json_integer((json_int_t)d->candidates[i]->credit));
        json_set_num(c, "wait_us", d->candidates[i]->wait_us);
        json_array_append_new(list, c);
    }
    json_object_set_new(v, "candidates", list);
    return v;
}

static json_t *transfer_json(const Remuda__TransferTo *t)
{
    json_t *v = json_object();
    json_object_set_new(v, "partition", json_integer((json_int_t)t->partition));
    json_set_text(v, "pool", t->pool);
    json_set_text(v, "provider", t->provider);
    json_set_num(v, "shard", t->shard);
    return v;
}

static json_t *evidence_json(const Remuda__TenantEvidence *e)
{
    json_t *v =
        json_pack("{s:f, s:f, s:f, s:f, s:f}", "recipients", e->recipients, "bad_mailbox", e->bad_mailbox,
                  "complaint", e->complaint, "refused", e->refused, "deferred", e->deferred);
    json_object_set_new(v, "bad_mailbox_low", json_real(e->bad_mailbox_low));
    json_object_set_new(v, "bad_mailbox_high", json_real(e->bad_mailbox_high));
    json_object_set_new(v, "bad_mailbox_limit", json_real(e->bad_mailbox_limit));
    json_object_set_new(v, "complaint_low", json_real(e->complaint_low));
    json_object_set_new(v, "complaint_high", json_real(e->complaint_high));
    json_object_set_new(v, "complaint_limit", json_real(e->complaint_limit));
    json_object_set_new(v, "refused_low", json_real(e->refused_low));
    json_object_set_new(v, "refused_high", json_real(e->refused_high));
    json_object_set_new(v, "refused_limit", json_real(e->refused_limit));
    json_object_set_new(v, "minimum", json_real(e->minimum));
    return v;
}

json_t *json_tenant_decision(const Remuda__TenantDecision *d)
{
    static const char *const words[] = {"fine", "slow", "quarantine"};
    json_t *v = json_object();
    json_set_text(v, "tenant", d->tenant);
    json_set_text(v, "provider", d->provider);
    json_object_set_new(v, "action", json_string(WORD(words, d->action)));
    json_set_true(v, "kept", d->kept);
    json_set_true(v, "by_operator", d->by_operator);
    json_object_set_new(v, "reason", json_text(span_str(d->reason)));
    json_set_num(v, "time_ms", d->time_ms);
    if (d->evidence)
        json_object_set_new(v, "evidence", evidence_json(d->evidence));
    return v;
}

static void event_set_parts(json_t *v, const Remuda__Event *e)
{
    if (e->submission)
        json_object_set_new(v, "submission", submission_json(e->submission));
    if (e->n_recipients > 0) {
        json_t *list = json_array();
        for (size_t i = 0; i < e->n_recipients; i++)
            json_array_append_new(list, outcome_json(e->recipients[i]));
        json_object_set_new(v, "recipients", list);
    }
    if (e->phases)
        json_object_set_new(v, "phases_us", phases_json(e->phases));
    if (e->acceptance)
        json_object_set_new(v, "acceptance", acceptance_json(e->acceptance));
    if (e->decision)
        json_object_set_new(v, "decision", decision_json(e));
    if (e->decided)
        json_object_set_new(v, "decided", json_tenant_decision(e->decided));
    if (e->transfer_to)
        json_object_set_new(v, "transfer_to", transfer_json(e->transfer_to));
}

json_t *json_event(const Remuda__Event *e)
{
    json_t *v = json_object();
    json_object_set_new(v, "type", json_string(json_event_type(e->type)));
    json_set_id(v, "id", e->message_id);
    json_set_num(v, "time_ms", e->time_ms);
    json_set_text(v, "tenant", e->tenant);
    json_object_set_new(v, "sender", json_text(span_str(e->sender)));
    json_set_text(v, "domain", e->domain);
    json_set_text(v, "pool", e->pool);
    json_set_text(v, "provider", e->provider);
    json_set_text(v, "scope", e->scope);
    json_set_true(v, "final", e->final);
    json_set_text(v, "source", e->source);
    json_set_text(v, "source_address", e->source_address);
    json_set_text(v, "mx_host", e->mx_host);
    json_set_text(v, "mx_address", e->mx_address);
    json_set_text(v, "tls", e->tls);
    json_set_text(v, "passed_over", e->passed_over);
    json_set_num(v, "attempt", e->attempt);
    json_set_num(v, "accepted_ms", e->accepted_ms);
    json_set_num(v, "next_due_ms", e->next_due_ms);
    json_set_text(v, "cause", e->cause);
    json_set_num(v, "epoch", e->epoch);
    json_set_id(v, "related_id", e->related_id);
    json_set_true(v, "reused", e->reused);
    json_set_num(v, "bytes", e->bytes);
    json_object_set_new(v, "record_offset", json_integer((json_int_t)e->record_offset));
    json_set_true(v, "dot_sent", e->dot_sent);
    event_set_parts(v, e);
    return v;
}

static json_t *results_json(const Remuda__BacklogRow *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->n_results; i++) {
        json_t *v = json_object();
        json_object_set_new(v, "state", json_string(json_recipient_state(r->results[i]->state)));
        json_set_true(v, "delay_noticed", r->results[i]->delay_noticed);
        json_set_text(v, "last_reply", r->results[i]->last_reply);
        json_set_num(v, "last_code", r->results[i]->last_code);
        json_array_append_new(list, v);
    }
    return list;
}

json_t *json_row(const Remuda__BacklogRow *r)
{
    json_t *v = json_object();
    json_object_set_new(v, "state", json_string(json_row_state(r->state)));
    json_set_id(v, "id", r->message_id);
    if (r->id)
        json_object_set_new(v, "submission", submission_json(r->id));
    json_set_text(v, "tenant", r->tenant);
    json_set_text(v, "domain", r->domain);
    json_set_text(v, "pool", r->pool);
    json_set_text(v, "provider", r->provider);
    json_object_set_new(v, "shard", json_integer((json_int_t)r->shard));
    json_set_text(v, "scope", r->scope);
    json_set_text(v, "cause", r->cause);
    json_set_num(v, "due_ms", r->due_ms);
    json_set_num(v, "accepted_ms", r->accepted_ms);
    json_set_num(v, "expires_ms", r->expires_ms);
    json_set_num(v, "held_since_ms", r->held_since_ms);
    json_set_num(v, "in_doubt_until_ms", r->in_doubt_until_ms);
    json_set_num(v, "attempts", r->attempts);
    json_set_num(v, "last_attempt_ms", r->last_attempt_ms);
    json_set_text(v, "sticky_source", r->sticky_source);
    json_set_text(v, "last_source", r->last_source);
    json_set_text(v, "last_host", r->last_host);
    json_set_num(v, "bytes", r->bytes);
    json_object_set_new(v, "recipients", results_json(r));
    return v;
}

static int dump_piece(const char *bytes, size_t n, void *out)
{
    buf_add(out, bytes, n);
    return 0;
}

void json_dump_to(struct buf *out, json_t *v)
{
    ENSURE(json_dump_callback(v, dump_piece, out, JSON_COMPACT | JSON_ENCODE_ANY) == 0);
    json_decref(v);
}
