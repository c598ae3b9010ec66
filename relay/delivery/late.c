/* Bounces and complaints about mail that had left: from the record to what follows. On the owner's loop. */
#include "relay/delivery/late.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "lib/base/clock.h"
#include "lib/base/suspect.h"
#include "lib/smtp/address.h"
#include "relay/delivery/suppress.h"
#include "relay/feedback/post.h"
#include "relay/feedback/reading.h"
#include "relay/feedback/return_path.h"
#include "relay/metrics_table.h"
#include "router/pair.h"

enum { READING_MOST = 4, AGAIN_MS = 30 * 1000, SWEEP_MOST = 1000, KEY_MOST = 5 + ROW_KEY_BYTES + 1 + 8 };

/* What was told of a recipient: also the letter in its key. */
enum told {
    TOLD_BOUNCE = 'b',
    TOLD_DELAY = 'd',
    TOLD_SUCCESS = 's',
    TOLD_COMPLAINT = 'c',
    TOLD_OTHER = 'o', /* an automatic answer, or what nobody understands */
};

struct late_job {
    struct sub *sub; /* NULL: gone meanwhile */
    struct history *history;
    struct message *message;
    struct body_source body;
    struct token_claims about;
    struct reading reading;
};

/* A report in its owner's hands. */
struct late {
    struct sub *sub;
    struct owner *o;
    const struct late_job *job;
    struct log_reader *reader;
    const char *source, *provider, *pool; /* "" when they are gone */
    uint64_t now_ms;
    bool news; /* something of it had not been told before */
};

/* ---- what was told before ------------------------------------------------------------------------ */

static struct span key_of(struct subid about, enum told what, const char *address, char out[KEY_MOST])
{
    struct row_key submission = row_key_make(about);
    char lower[SMTP_PATH_MOST + 1];
    size_t n = 0;
    for (; address[n] && n < SMTP_PATH_MOST; n++)
        lower[n] = (char)(address[n] >= 'A' && address[n] <= 'Z' ? address[n] + 'a' - 'A' : address[n]);
    uint64_t hash = hash64(lower, n);
    memcpy(out, "late:", 5);
    memcpy(out + 5, submission.bytes, ROW_KEY_BYTES);
    out[5 + ROW_KEY_BYTES] = (char)what;
    for (int i = 0; i < 8; i++)
        out[6 + ROW_KEY_BYTES + i] = (char)(hash >> (56 - 8 * i) & 0xff);
    return span_of(out, KEY_MOST);
}

/* Of a recipient; sure: it is known that the submission went there. Where that is not known all addresses
 * count as one, so that whoever has its return path can invent one recipient and no more. */
struct whom {
    const char *address;
    bool sure;
};

/* An owner past has told it, and died before it was remembered. */
static bool is_told_by_event(const struct late *l, enum told what, const struct whom *w)
{
    char room[KEY_MOST];
    return map_get(&l->o->late_events, key_of(l->job->about.submission, what, w->address, room)) != NULL;
}

/* True for the first time: it is remembered with this flush. */
static bool is_new(struct late *l, enum told what, const struct whom *w)
{
    char room[KEY_MOST];
    struct span key = key_of(l->job->about.submission, what, w->sure ? w->address : "", room), value;
    if (map_get(&l->o->late_gathered, key) || map_get(&l->o->late_flight, key) ||
        log_read_key(l->reader, LOG_STATE, l->o->number, key, &value) == RM_OK)
        return false;
    Remuda__LateSeen seen = REMUDA__LATE_SEEN__INIT;
    uint8_t packed[16];
    seen.until_ms = l->job->about.made_ms + l->o->settings->feedback.lifetime_ms + TOKEN_AGE_UNIT_MS;
    size_t n = remuda__late_seen__pack(&seen, packed);
    partition_put_state(l->o->partition, key, span_of((const char *)packed, n));
    map_put(&l->o->late_gathered, key, l->o);
    bool new = !is_told_by_event(l, what, w);
    l->news |= new;
    return new;
}

void late_told_before(void *owner, struct log_reader *r, const Remuda__Event *e)
{
    struct owner *o = owner;
    char room[KEY_MOST];
    struct span value;
    bool bounce = e->type == REMUDA__EVENT_TYPE__EVENT_LATE_BOUNCE;
    if ((!bounce && e->type != REMUDA__EVENT_TYPE__EVENT_COMPLAINT) || !e->submission || e->n_recipients != 1)
        return;
    bool delayed = bounce && e->recipients[0]->state == REMUDA__RECIPIENT_STATE__RCPT_DELIVERED;
    enum told what = !bounce ? TOLD_COMPLAINT : delayed ? TOLD_DELAY : TOLD_BOUNCE;
    struct span key = key_of(subid_of(e->submission), what, e->recipients[0]->address, room);
    if (log_read_key(r, LOG_STATE, o->number, key, &value) != RM_OK)
        map_put(&o->late_events, key, o);
}

void late_flush(struct owner *o)
{
    map_fini(&o->late_flight);
    o->late_flight = o->late_gathered;
    o->late_gathered = MAP_INIT;
}

void late_flushed(struct owner *o)
{
    map_fini(&o->late_flight);
}

void late_fini(struct owner *o)
{
    map_fini(&o->late_flight);
    map_fini(&o->late_gathered);
    map_fini(&o->late_events);
}

/* ---- telling ------------------------------------------------------------------------------------- */

static void count(const struct late *l, const char *kind)
{
    const char *labels[] = {kind};
    metric_add(metrics_cell(l->o->delivery->shard->node->metrics, M_FEEDBACK, labels), 1);
}

static char *text(const char *s)
{
    return (char *)(uintptr_t)s;
}

static const char *domain_of(const char *address)
{
    const char *at = strrchr(address, '@');
    return at ? at + 1 : "";
}

/* The event of the original message. outcome->address may be "": nobody in particular. */
static void tell(struct late *l, Remuda__EventType type, Remuda__RecipientOutcome *outcome, const char *cause)
{
    Remuda__Event e = REMUDA__EVENT__INIT;
    Remuda__SubmissionId id = REMUDA__SUBMISSION_ID__INIT;
    const struct token_claims *about = &l->job->about;
    id.partition = about->submission.partition;
    id.offset = about->submission.offset;
    id.index = about->submission.index;
    e.type = type;
    e.submission = &id;
    e.message_id.data = (uint8_t *)(uintptr_t)about->message.bytes;
    e.message_id.len = MSGID_BYTES;
    e.time_ms = l->now_ms;
    e.tenant = l->job->message->record->tenant;
    e.sender = l->job->reading.sender;
    e.domain = text(domain_of(outcome->address));
    e.pool = text(l->pool);
    e.provider = text(l->provider);
    e.source = text(l->source);
    e.recipients = &outcome;
    e.n_recipients = 1;
    e.cause = text(cause);
    e.related_id = l->job->message->record->id;
    partition_event(l->o->partition, &e);
}

static void judge(const struct late *l, const struct mail_report_recipient *r, struct router_answer *out,
                  Remuda__RecipientOutcome *outcome, char enhanced[SMTP_ENHANCED_BUF])
{
    int code = r->code ? r->code : r->status.class == 4 ? 450 : 550;
    smtp_enhanced_text(r->status, enhanced);
    struct router_reply reply = {.provider = span_str(l->provider[0] ? l->provider : "other"),
                                 .code = code,
                                 .enhanced = span_str(enhanced),
                                 .text = span_str(r->text)};
    router_rules_judge(l->o->settings->rules, l->o->delivery->scratch, &reply, out);
    outcome->code = (uint32_t)r->code;
    outcome->enhanced = enhanced;
    outcome->text = text(r->text);
    outcome->rule = text(out->rule);
    outcome->answer_class = text(answer_class_text(out->class));
    outcome->list = out->list;
}

static struct router_late about_pair(const struct late *l)
{
    return (struct router_late){.source = span_str(l->source),
                                .provider = span_str(l->provider),
                                .tenant = span_str(l->job->message->record->tenant),
                                .wall_ms = l->now_ms};
}

static void suppress(const struct late *l, const char *address, Remuda__SuppressionReason reason,
                     const char *evidence)
{
    suppress_add(l->o, &(struct suppress_entry){.tenant = l->job->message->record->tenant,
                                                .address = address,
                                                .reason = reason,
                                                .evidence = evidence,
                                                .message = l->job->about.message.bytes,
                                                .now_ms = l->now_ms});
}

/* ---- one recipient of a report ------------------------------------------------------------------- */

static const struct whom nobody_known = {.address = ""};

static void take_bounce(struct late *l, const struct mail_report_recipient *r, const struct whom *w)
{
    struct router_answer answer;
    char enhanced[SMTP_ENHANCED_BUF];
    Remuda__RecipientOutcome outcome = REMUDA__RECIPIENT_OUTCOME__INIT;
    bool delayed = r->action == MAIL_REPORT_DELAYED;
    if (!is_new(l, delayed ? TOLD_DELAY : TOLD_BOUNCE, w))
        return;
    count(l, delayed ? "delay" : "bounce");
    judge(l, r, &answer, &outcome, enhanced);
    outcome.address = text(w->address);
    outcome.state = delayed ? REMUDA__RECIPIENT_STATE__RCPT_DELIVERED : REMUDA__RECIPIENT_STATE__RCPT_BOUNCED;
    tell(l, REMUDA__EVENT_TYPE__EVENT_LATE_BOUNCE, &outcome, delayed ? "delayed" : "");
    if (delayed || !answer.hard)
        return;
    struct router_late pair = about_pair(l);
    if (answer.class == ANSWER_BAD_MAILBOX)
        router_bad_mailbox(l->o->router, &pair);
    if (answer.reaction == REACT_SUPPRESS_RECIPIENT && w->sure)
        suppress(l, w->address, REMUDA__SUPPRESSION_REASON__SUPPRESSED_BOUNCE, r->text);
}

static void take_delivery(struct late *l, const struct mail_report_recipient *r)
{
    struct whom w;
    w.address = reading_recipient(&l->job->reading, r, &w.sure);
    if (!w.address || !w.address[0]) {
        (void)is_new(l, TOLD_OTHER, &nobody_known);
        count(l, "stranger");
    } else if (r->action == MAIL_REPORT_DELIVERED) {
        if (is_new(l, TOLD_SUCCESS, &w))
            count(l, "success");
    } else {
        take_bounce(l, r, &w);
    }
}

static void take_complaint(struct late *l, const struct mail_report_recipient *r)
{
    static const struct mail_report_recipient nobody = {.address = "", .original = "", .text = ""};
    struct whom w;
    const char *address = reading_recipient(&l->job->reading, r ? r : &nobody, &w.sure);
    Remuda__RecipientOutcome outcome = REMUDA__RECIPIENT_OUTCOME__INIT;
    w.address = outcome.address = text(address ? address : "");
    if (!is_new(l, TOLD_COMPLAINT, &w))
        return;
    count(l, "complaint");
    outcome.state = REMUDA__RECIPIENT_STATE__RCPT_DELIVERED;
    outcome.text = text(l->job->reading.report.feedback_type);
    tell(l, REMUDA__EVENT_TYPE__EVENT_COMPLAINT, &outcome, "");
    struct router_late pair = about_pair(l);
    router_complained(l->o->router, &pair);
    if (w.sure && outcome.address[0])
        suppress(l, outcome.address, REMUDA__SUPPRESSION_REASON__SUPPRESSED_COMPLAINT, outcome.text);
}

/* ---- the whole report ---------------------------------------------------------------------------- */

/* To the sender of the original, as it came. */
static void forward(struct late *l)
{
    struct owner *o = l->o;
    const Remuda__Record *record = l->job->message->record;
    const struct reading *reading = &l->job->reading;
    struct msgid id =
        msgid_derive(record->accepted_ms, span_of((const char *)record->id.data, record->id.len));
    struct post p = {.shard = o->delivery->shard,
                     .partition = o->partition,
                     .cause = l->sub->id,
                     .kind = REMUDA__TRANSFER_KIND__TRANSFER_BOUNCE,
                     .tenant = record->tenant,
                     .pool = l->pool,
                     .to = reading->sender,
                     .id = &id,
                     .prefix = span_of((const char *)record->prefix.data, record->prefix.len),
                     .eight_bit = record->eight_bit,
                     .smtputf8 = record->smtputf8,
                     .now_ms = l->now_ms};
    const char *domain = o->settings->feedback.domain;
    if (!o->settings->feedback.forward || (domain && strcasecmp(domain_of(reading->sender), domain) == 0))
        return;
    p.body = blob_of(reading->text.data, reading->text.len);
    if (!post_send(&p))
        count(l, "not-forwarded");
}

static void take_report(struct late *l)
{
    const struct mail_report *r = &l->job->reading.report;
    switch (r->kind) {
    case MAIL_REPORT_DELIVERY:
        for (size_t i = 0; i < r->n_recipients; i++)
            take_delivery(l, &r->recipients[i]);
        break;
    case MAIL_REPORT_COMPLAINT:
        for (size_t i = 0; i < r->n_recipients; i++)
            take_complaint(l, &r->recipients[i]);
        if (r->n_recipients == 0)
            take_complaint(l, NULL);
        break;
    case MAIL_REPORT_AUTOMATIC:
    case MAIL_REPORT_NONE:
        break;
    }
    bool other = r->kind == MAIL_REPORT_AUTOMATIC || r->n_recipients == 0;
    if (other && r->kind != MAIL_REPORT_COMPLAINT && is_new(l, TOLD_OTHER, &nobody_known))
        count(l, r->kind == MAIL_REPORT_AUTOMATIC ? "automatic" : "unknown");
}

static void name_lane(struct late *l)
{
    const struct router_config *c = &l->o->settings->router;
    int source = return_path_source(c, &l->job->about), provider = return_path_provider(c, &l->job->about);
    l->source = source < 0 ? "" : c->sources[source].name;
    l->pool = source < 0 || c->sources[source].pool < 0 ? "" : c->pools[c->sources[source].pool].name;
    l->provider = provider < 0 ? "" : c->providers[provider].name;
}

/* No event says so: nothing was to be delivered. */
static void finish(struct sub *s)
{
    const ProtobufCBinaryData *id = &s->message->record->id;
    partition_ended(s->owner->partition, s->id, s->at, span_of((const char *)id->data, id->len));
    sub_finish(s);
}

/* The log or the report cannot be read now, or not all of the history. */
static void again(struct sub *s, int why)
{
    enum log_level level = why == RM_EAGAIN ? LOG_INFO : LOG_ERROR;
    logger_log(s->owner->delivery->shard->node->logger, level, "feedback.unreadable",
               LF_NUM("partition", s->owner->number), LF_NUM("offset", s->at),
               LF_STR("error", rm_strerror(why)));
    s->due_ms = clock_wall_ms() + AGAIN_MS;
    if (s->due_ms >= s->expires_ms)
        finish(s);
    else
        sub_unload(s, REMUDA__ROW_STATE__ROW_DEFERRED, "retry");
}

static void take(struct sub *s, const struct late_job *job)
{
    struct late l = {.sub = s, .o = s->owner, .job = job, .now_ms = clock_wall_ms()};
    int rc = job->reading.status;
    if (rc == RM_OK)
        rc = log_read_begin(s->owner->delivery->shard->node->log, &l.reader);
    if (rc != RM_OK) {
        again(s, rc);
        return;
    }
    struct suspect_mark before = suspect_begin(s->owner->number, s->at);
    name_lane(&l);
    take_report(&l);
    log_read_end(l.reader);
    if (l.news)
        forward(&l);
    else
        count(&l, "repeated");
    finish(s);
    suspect_end(before);
}

/* ---- reading ------------------------------------------------------------------------------------- */

static void work(void *arg)
{
    struct late_job *job = arg;
    reading_make(&job->body, job->history, &job->about, &job->reading);
}

static void job_free(struct late_job *job)
{
    reading_fini(&job->reading);
    message_unref(job->message);
    free(job);
}

static void start_waiting(struct owner *o);

static void done(void *arg)
{
    struct late_job *job = arg;
    struct sub *s = job->sub;
    if (s) {
        late_forget(s);
        take(s, job);
        start_waiting(s->owner);
    }
    job_free(job);
}

void late_forget(struct sub *s)
{
    if (!s->late)
        return;
    s->late->sub = NULL;
    s->late = NULL;
    s->owner->n_late--;
}

/* The ingress has checked it; its signature may be of a key that is gone meanwhile. */
static bool read_token(const struct sub *s, struct token *t)
{
    const char *address = s->submission->recipients[0]->address;
    const char *at = strrchr(address, '@');
    return at && token_read(span_of(address, (size_t)(at - address)), t);
}

static void start(struct sub *s)
{
    struct token t;
    struct node *node = s->owner->delivery->shard->node;
    if (!read_token(s, &t)) {
        again(s, RM_ECORRUPT);
        return;
    }
    struct late_job *job = calloc(1, sizeof(*job));
    ENSURE(job);
    job->sub = s;
    job->history = node->history;
    job->message = message_ref(s->message);
    job->about = t.claims;
    job->body = (struct body_source){
        .log = node->log, .partition = s->owner->number, .at = s->at, .message = job->message};
    s->late = job;
    s->owner->n_late++;
    if (loop_work(s->owner->delivery->shard->loop, work, done, job) != RM_OK) {
        late_forget(s); /* the loop ends: the next start reads it again */
        job_free(job);
    }
}

/* Workers are shared with others, and a flood of reports is nobody's hurry. */
void late_begin(struct sub *s)
{
    if (s->owner->n_late < READING_MOST)
        start(s);
    else
        list_push_back(&s->owner->late_waiting, &s->waiter.node);
}

static void start_waiting(struct owner *o)
{
    struct list *node;
    while (o->n_late < READING_MOST && (node = list_pop_front(&o->late_waiting)))
        start(CONTAINER_OF(node, struct sub, waiter.node));
}

/* ---- forgetting ---------------------------------------------------------------------------------- */

static bool is_over(struct span value, uint64_t now_ms)
{
    Remuda__LateSeen *seen = remuda__late_seen__unpack(NULL, value.len, (const uint8_t *)value.ptr);
    bool over = !seen || seen->until_ms < now_ms;
    if (seen)
        remuda__late_seen__free_unpacked(seen, NULL);
    return over;
}

void late_sweep(struct owner *o)
{
    struct log_reader *r;
    struct span key, value, prefix = SPAN_LIT("late:");
    struct buf from = BUF_INIT;
    uint64_t now = clock_wall_ms();
    if (log_read_begin(o->delivery->shard->node->log, &r) != RM_OK)
        return;
    buf_add_span(&from, o->late_swept.len ? buf_span(&o->late_swept) : prefix);
    bool more = true;
    for (int n = 0; more && n < SWEEP_MOST; n++) {
        more = log_read_key_next(r, LOG_STATE, o->number, buf_span(&from), &key, &value) &&
               span_istarts(key, prefix);
        if (!more)
            break;
        if (is_over(value, now))
            partition_put_state(o->partition, key, span_of("", 0));
        buf_clear(&from);
        buf_add_span(&from, key);
        buf_add_char(&from, '\0');
    }
    log_read_end(r);
    buf_clear(&o->late_swept);
    if (more)
        buf_add_span(&o->late_swept, buf_span(&from));
    buf_fini(&from);
}
