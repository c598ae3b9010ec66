/* The router's learned state and the log. What answers mean to it is router/learn.c's. */
#include "relay/delivery/learn.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "relay/metrics_table.h"
#include "router/pair.h"

/* ---- loading ---- */

static void report(const struct owner *o, struct span key, const char *what)
{
    logger_log(o->delivery->shard->node->logger, LOG_ERROR, "router.record", LF_NUM("partition", o->number),
               LF_SPAN("key", key), LF_STR("what", what));
}

/* Its names stand in the key: "pair:source/provider". */
static void load_unreadable(struct owner *o, struct span key, uint64_t wall_ms)
{
    char source[80], provider[80];
    struct span rest = span_of(key.ptr + 5, key.len - 5);
    struct span name = span_cut(&rest, '/');
    if (name.len == 0 || name.len >= sizeof(source) || rest.len == 0 || rest.len >= sizeof(provider))
        return;
    Remuda__PairState r = REMUDA__PAIR_STATE__INIT;
    snprintf(source, sizeof(source), "%.*s", (int)name.len, name.ptr);
    snprintf(provider, sizeof(provider), "%.*s", (int)rest.len, rest.ptr);
    r.source = source;
    r.provider = provider;
    r.format = UINT32_MAX;
    (void)router_load_pair(o->router, &r, wall_ms);
}

static void load_pair(struct owner *o, struct span key, struct span value, uint64_t wall_ms)
{
    struct arena a = ARENA_INIT;
    const Remuda__PairState *r = pair_decode(&a, value);
    if (!r)
        load_unreadable(o, key, wall_ms);
    if (!r || !router_load_pair(o->router, r, wall_ms))
        report(o, key,
               "cannot be read, or is of a newer version: the pair may send nothing under a cap today");
    arena_fini(&a);
}

static bool begins(struct span key, struct span prefix)
{
    return key.len > prefix.len && memcmp(key.ptr, prefix.ptr, prefix.len) == 0;
}

struct evidence_key {
    char bytes[LOG_KEY_MOST];
    size_t len;
};

/* Of the copy in `evidence` of a tenant's record in state[p]: "p:tenant/provider". */
static struct span evidence_key(const struct owner *o, struct span key, struct evidence_key *out)
{
    struct span names = span_of(key.ptr + strlen("tenant:"), key.len - strlen("tenant:"));
    int n = snprintf(out->bytes, sizeof(out->bytes), "%u:%.*s", o->number, SPAN_FMT(names));
    ENSURE(n > 0 && n < (int)sizeof(out->bytes));
    return span_of(out->bytes, (size_t)n);
}

/* The copy may be missing, or be an owner's who wrote it when the partition was not its own any more. */
static void load_tenant(struct owner *o, struct log_reader *reader, struct span key, struct span value)
{
    struct arena a = ARENA_INIT;
    struct evidence_key room;
    struct span copy_key = evidence_key(o, key, &room), copy;
    const Remuda__TenantState *r = tenant_decode(&a, value);
    if (!r || !router_load_tenant(o->router, r))
        report(o, key, "cannot be read, or is of a newer version: the tenant's counts begin anew");
    if (log_read_key(reader, LOG_EVIDENCE, 0, copy_key, &copy) != RM_OK || !span_eq(copy, value))
        partition_put_small(o->partition, LOG_EVIDENCE, copy_key, value);
    arena_fini(&a);
}

static bool is_closed(void *arg, uint64_t epoch)
{
    const struct owner *o = arg;
    return partition_closed_by(o->partition, epoch);
}

static void load_open(struct owner *o, struct span key, struct span value, uint64_t wall_ms)
{
    struct arena a = ARENA_INIT;
    const Remuda__OpenState *r = open_decode(&a, value);
    struct span pair = span_of(key.ptr + strlen("open:"), key.len - strlen("open:"));
    if (!r)
        report(o, key, "cannot be read: the pair opens nothing until a lost owner's connections have ended");
    o->lost_connections += router_load_open(o->router, pair, r, wall_ms, is_closed, o);
    arena_fini(&a);
}

static void tell_lost(const struct owner *o)
{
    if (o->lost_connections)
        logger_log(o->delivery->shard->node->logger, LOG_INFO, "partition.connections_lost",
                   LF_NUM("partition", o->number), LF_NUM("connections", o->lost_connections),
                   LF_NUM("counted_ms", o->settings->delivery.lost_ms));
}

/* All keys with a prefix. */
static void load_prefix(struct owner *o, struct log_reader *r, struct span prefix, uint64_t wall_ms)
{
    struct buf from = BUF_INIT;
    struct span key, value;
    buf_add_span(&from, prefix);
    while (log_read_key_next(r, LOG_STATE, o->number, buf_span(&from), &key, &value) && begins(key, prefix)) {
        if (begins(key, SPAN_LIT("pair:")))
            load_pair(o, key, value, wall_ms);
        else if (begins(key, SPAN_LIT("open:")))
            load_open(o, key, value, wall_ms);
        else
            load_tenant(o, r, key, value);
        buf_clear(&from);
        buf_add_span(&from, key);
        buf_add_char(&from, '\0'); /* the next key that can be */
    }
    buf_fini(&from);
}

int learn_load(struct owner *o, uint64_t epoch)
{
    struct log_reader *r;
    uint64_t wall_ms = clock_wall_ms();
    int err = log_read_begin(o->delivery->shard->node->log, &r);
    if (err != RM_OK)
        return err;
    router_state_epoch(o->router, epoch);
    if (!(log_capabilities(o->delivery->shard->node->log) & LOG_ATOMIC))
        router_state_shared(o->router, o->settings->delivery.lost_ms);
    router_tick(o->router, clock_boot_us(), wall_ms);
    load_prefix(o, r, SPAN_LIT("pair:"), wall_ms);
    load_prefix(o, r, SPAN_LIT("tenant:"), wall_ms);
    o->lost_connections = 0;
    load_prefix(o, r, SPAN_LIT("open:"), wall_ms);
    tell_lost(o);
    log_read_end(r);
    return RM_OK;
}

/* ---- what comes from another log ---- */

static void put(void *arg, struct span key, struct span value)
{
    struct owner *o = arg;
    struct evidence_key room;
    partition_put_state(o->partition, key, value);
    if (begins(key, SPAN_LIT("tenant:")))
        partition_put_small(o->partition, LOG_EVIDENCE, evidence_key(o, key, &room), value);
}

static struct span bytes_span(const ProtobufCBinaryData *b)
{
    return span_of((const char *)b->data, b->len);
}

void learn_take(struct owner *o, const Remuda__Record *record)
{
    struct arena a = ARENA_INIT;
    const Remuda__LearnedState *l = record->learned;
    struct router_receipt t = {.id = record->id.data, .wall_ms = clock_wall_ms(), .put = put, .arg = o};
    for (size_t i = 0; i < l->n_pairs; i++) {
        const Remuda__PairState *r = pair_decode(&a, bytes_span(&l->pairs[i]));
        if (!r || !router_pair_receive(o->router, r, &t))
            report(o, r ? span_str(r->source) : SPAN_LIT("?"),
                   "came from another log, and cannot be read or is of a newer version");
    }
    for (size_t i = 0; i < l->n_tenants; i++) {
        const Remuda__TenantState *r = tenant_decode(&a, bytes_span(&l->tenants[i]));
        if (!r || !router_tenant_receive(o->router, r, &t))
            report(o, r ? span_str(r->tenant) : SPAN_LIT("?"),
                   "came from another log, and cannot be read or is of a newer version");
    }
    arena_fini(&a);
}

/* ---- answers ---- */

static void tell_alert(const struct link *l, const struct sub *s, const char *why)
{
    Remuda__Event e = REMUDA__EVENT__INIT;
    Remuda__SubmissionId id = REMUDA__SUBMISSION_ID__INIT;
    id.partition = s->id.partition;
    id.offset = s->id.offset;
    id.index = s->id.index;
    e.type = REMUDA__EVENT_TYPE__EVENT_ALERT;
    e.submission = &id;
    e.message_id = s->message->record->id;
    e.time_ms = clock_wall_ms();
    e.tenant = s->message->record->tenant;
    e.sender = s->message->record->sender;
    e.domain = s->submission->domain;
    e.pool = s->lane->pool;
    e.provider = s->lane->provider;
    e.scope = l->scope->site;
    e.source = l->source;
    e.cause = (char *)(uintptr_t)why;
    e.record_offset = s->at;
    partition_event(l->owner->partition, &e);
}

static void raise_alert(const struct link *l, const struct sub *s, const struct outcome_recipient *o)
{
    struct node *node = l->owner->delivery->shard->node;
    const char *labels[] = {l->source, l->scope->lane->provider};
    struct router_pair_view v;
    metric_add(metrics_cell(node->metrics, M_SUSPENSIONS, labels), 1);
    if (!router_pair_find(l->owner->router, span_str(l->source), span_str(l->scope->lane->provider),
                          loop_now_us(l->owner->delivery->shard->loop), &v))
        return;
    tell_alert(l, s, v.why);
    logger_log(node->logger, LOG_WARN, "router.suspended", LF_STR("source", l->source),
               LF_STR("provider", l->scope->lane->provider), LF_STR("why", v.why),
               LF_NUM("until_ms", v.suspended_until_ms), LF_NUM("code", (uint64_t)(unsigned)o->code),
               LF_STR("answer", o->text));
}

static void tell_router(const struct link *l, const struct sub *s, const struct outcome_recipient *o,
                        uint32_t recipients)
{
    struct router_report report = {.source = l->source_index,
                                   .tenant = span_str(s->message->record->tenant),
                                   .answer = &o->answer,
                                   .recipients = recipients,
                                   .now_us = loop_now_us(l->owner->delivery->shard->loop)};
    if (!o->answer.rule)
        return; /* nobody answered */
    if (l->scope->limits && router_answered(l->owner->router, l->scope->limits, &report))
        raise_alert(l, s, o);
}

static bool same_answer(const struct outcome_recipient *a, const struct outcome_recipient *b)
{
    return a->answer.class == b->answer.class && a->answer.hard == b->answer.hard &&
           a->answer.refused == b->answer.refused && a->answer.reaction == b->answer.reaction &&
           a->answer.blame == b->answer.blame;
}

/* Recipients with the same answer are one report. */
void learn_outcome(const struct run *r, const struct outcome *out)
{
    uint32_t n = r->attempt.n_recipients;
    for (uint32_t i = 0, from = 0; i < n; i++)
        if (i + 1 == n || !same_answer(&out->recipients[i + 1], &out->recipients[from])) {
            tell_router(r->link, r->sub, &out->recipients[from], i + 1 - from);
            from = i + 1;
        }
}

void learn_refusal(const struct link *l, const struct sub *s, const struct outcome_recipient *o)
{
    tell_router(l, s, o, 1);
}

/* ---- time and writing ---- */

static void wake(struct owner *o)
{
    owner_wake(o, ROUTER_CAP);
    owner_wake(o, ROUTER_CONNECTIONS);
    owner_wake(o, ROUTER_TOTAL_CONNECTIONS);
}

void learn_closed(struct owner *o, uint64_t epoch)
{
    if (router_open_closed(o->router, epoch))
        wake(o);
}

void learn_reconfigure(struct owner *o)
{
    if (router_open_bound(o->router, o->settings->delivery.lost_ms))
        wake(o);
}

void learn_tick(struct owner *o)
{
    uint64_t wall_ms = clock_wall_ms();
    if (router_tick(o->router, loop_now_us(o->delivery->shard->loop), wall_ms))
        wake(o);
    if (router_write_wanted(o->router, ROUTER_WRITE_DUE, wall_ms))
        o->events.want_flush(o);
}

void learn_gather(struct owner *o)
{
    bool last = o->losing || (o->delivery->draining && o->delivery->n_links == 0);
    router_write(o->router, last ? ROUTER_WRITE_LAST : ROUTER_WRITE_DUE, clock_wall_ms(), put, o);
    o->last_written = last;
}

void learn_flushed(struct owner *o)
{
    if (router_written(o->router))
        wake(o);
}
