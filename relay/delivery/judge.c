/*
 * The owner of partition 0 sums what the owners of all partitions tell of tenants in the evidence log, in
 * rounds, and appends to control what follows. A decision holds when it is read back: then it is told as an
 * event, too.
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "proto/codec.h"
#include "relay/delivery/tenants.h"
#include "relay/metrics_table.h"

enum {
    RECORDS_A_TICK = 1000,
    DECISIONS_A_ROUND = 64,
    REST_US = 5000000,      /* from the end of a round to the next */
    ON_THE_WAY_MS = 30000,  /* counts of that time after a lift may be from before it */
    WAIT_BACK_US = 30000000 /* an append that is not read back by then is decided anew */
};

struct sum {
    char *tenant, *provider;
    struct tenant_counts counts;
};

struct judge {
    struct map sums, last; /* "tenant/provider" -> struct sum: of the round, of the one before */
    struct buf from;       /* the key that the round is at */
    uint64_t rest_until_us;
    struct submitted *flight;         /* its append under way */
    uint64_t wait_for, wait_until_us; /* offset of control that must have been read before it judges again */
    uint64_t mine_from, mine_to;      /* offsets of its last append */
};

struct submitted {
    struct judge *judge; /* NULL: gone meanwhile */
    size_t n;
    void (*done)(void *arg, int status);
    void *arg;
};

struct judge *judge_new(void)
{
    struct judge *j = calloc(1, sizeof(*j));
    ENSURE(j);
    j->mine_from = UINT64_MAX;
    return j;
}

static void sums_free(struct map *m)
{
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(m, &pos, &key, &value)) {
        struct sum *s = value;
        free(s->tenant);
        free(s->provider);
        free(s);
    }
    map_fini(m);
}

void judge_free(struct judge *j)
{
    if (!j)
        return;
    if (j->flight)
        j->flight->judge = NULL;
    sums_free(&j->sums);
    sums_free(&j->last);
    buf_fini(&j->from);
    free(j);
}

/* ---- evidence ---- */

static struct sum *sum_find(const struct map *m, struct span tenant, struct span provider)
{
    char room[160];
    int n = snprintf(room, sizeof(room), "%.*s/%.*s", (int)tenant.len, tenant.ptr, (int)provider.len,
                     provider.ptr);
    return n > 0 && n < (int)sizeof(room) ? map_get(m, span_of(room, (size_t)n)) : NULL;
}

bool judge_counts(const struct owner *o, struct span tenant, struct span provider, uint64_t now_s,
                  struct tenant_counts *out)
{
    const struct sum *s = sum_find(&o->judge->last, tenant, provider);
    const struct decision *d = tenants_find(o->delivery, tenant, provider);
    *out = s ? s->counts : (struct tenant_counts){0};
    if (d && d->ignored_s && now_s >= d->ignored_s)
        *out = tenant_counts_plus(*out, tenant_counts_faded(d->ignored, now_s - d->ignored_s), -1);
    return s != NULL;
}

void judge_providers(const struct owner *o, struct span tenant,
                     void (*found)(void *arg, struct span provider), void *arg)
{
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(&o->judge->last, &pos, &key, &value)) {
        const struct sum *s = value;
        if (span_eq(span_str(s->tenant), tenant))
            found(arg, span_str(s->provider));
    }
}

static void fill_evidence(const struct owner *o, const char *tenant, const struct tenant_counts *c,
                          Remuda__TenantEvidence *e, Remuda__TenantWeek *week)
{
    const struct tenant_bounds *b = &tenants_settings(o, tenant)->bounds;
    struct tenant_view v;
    (void)tenant_judge(c, b, TENANT_FINE, &v);
    remuda__tenant_evidence__init(e);
    remuda__tenant_week__init(week);
    e->time_ms = clock_wall_ms();
    e->recipients = c->day.recipients;
    e->bad_mailbox = c->day.bad_mailbox;
    e->complaint = c->day.complaint;
    e->refused = c->day.refused;
    e->deferred = c->day.deferred;
    e->bad_mailbox_low = v.bad_mailbox_low;
    e->bad_mailbox_high = v.bad_mailbox_high;
    e->complaint_low = v.complaint_low;
    e->complaint_high = v.complaint_high;
    e->refused_low = v.refused_low;
    e->refused_high = v.refused_high;
    e->bad_mailbox_limit = b->bad_mailbox;
    e->complaint_limit = b->complaint;
    e->refused_limit = b->refused;
    e->minimum = b->volume;
    week->recipients = c->week.recipients;
    week->bad_mailbox = c->week.bad_mailbox;
    week->complaint = c->week.complaint;
    week->refused = c->week.refused;
    e->week = week;
}

void judge_evidence(const struct owner *o, struct span tenant, struct span provider,
                    Remuda__TenantEvidence *out, Remuda__TenantWeek *week)
{
    struct tenant_counts c;
    char name[80];
    (void)judge_counts(o, tenant, provider, clock_wall_ms() / 1000, &c);
    snprintf(name, sizeof(name), "%.*s", (int)tenant.len, tenant.ptr);
    fill_evidence(o, name, &c, out, week);
}

/* ---- deciding ---- */

static void append(struct log_batch *b, Remuda__TenantDecision *d)
{
    Remuda__Control record = REMUDA__CONTROL__INIT;
    struct buf packed = BUF_INIT;
    record.tenant = d;
    proto_pack(&packed, &record.base);
    log_batch_append(b, LOG_CONTROL, 0, buf_span(&packed), NULL, NULL);
    buf_fini(&packed);
}

void judge_add(const struct owner *o, struct log_batch *b, Remuda__TenantDecision *d, bool ignore)
{
    Remuda__TenantEvidence evidence, ignored;
    Remuda__TenantWeek week, all_week;
    judge_evidence(o, span_str(d->tenant), span_str(d->provider), &evidence, &week);
    d->time_ms = clock_wall_ms();
    d->evidence = &evidence;
    const struct sum *all = sum_find(&o->judge->last, span_str(d->tenant), span_str(d->provider));
    if (ignore && all) {
        fill_evidence(o, d->tenant, &all->counts, &ignored, &all_week);
        d->ignored = &ignored;
    }
    append(b, d);
    d->evidence = d->ignored = NULL;
}

/* What was lifted before stays lifted: the next decision carries it on. */
static void decide(struct owner *o, struct log_batch *b, const struct sum *s, enum tenant_verdict verdict,
                   const struct tenant_counts *counts)
{
    struct decision *before = tenants_find(o->delivery, span_str(s->tenant), span_str(s->provider));
    Remuda__TenantDecision d = REMUDA__TENANT_DECISION__INIT;
    Remuda__TenantEvidence evidence, ignored;
    Remuda__TenantWeek week, ignored_week;
    fill_evidence(o, s->tenant, counts, &evidence, &week);
    if (before && before->ignored_s) {
        fill_evidence(o, s->tenant, &before->ignored, &ignored, &ignored_week);
        ignored.time_ms = before->ignored_s * 1000;
        d.ignored = &ignored;
    }
    d.tenant = s->tenant;
    d.provider = s->provider;
    d.action = (Remuda__TenantAction)verdict;
    d.time_ms = evidence.time_ms;
    d.evidence = &evidence;
    append(b, &d);
}

/* True when a decision went into the batch. */
static bool judge_one(struct owner *o, struct log_batch *b, const struct sum *s)
{
    uint64_t now_ms = clock_wall_ms();
    struct decision *held = tenants_find(o->delivery, span_str(s->tenant), span_str(s->provider));
    struct tenant_counts counts;
    if (held && held->d->kept)
        return false;
    if (held && held->d->ignored && held->d->by_operator && now_ms < held->d->time_ms + ON_THE_WAY_MS) {
        held->ignored = s->counts;
        held->ignored_s = now_ms / 1000;
        return false;
    }
    enum tenant_verdict before = held ? (enum tenant_verdict)held->d->action : TENANT_FINE;
    (void)judge_counts(o, span_str(s->tenant), span_str(s->provider), now_ms / 1000, &counts);
    enum tenant_verdict now = tenant_judge(&counts, &tenants_settings(o, s->tenant)->bounds, before, NULL);
    if (now == before)
        return false;
    decide(o, b, s, now, &counts);
    return true;
}

/* ---- appending ---- */

static void appended(void *arg, struct log_batch *b, int status)
{
    struct submitted *s = arg;
    struct judge *j = s->judge;
    if (j)
        j->flight = NULL;
    if (j && status == RM_OK && s->n) {
        j->mine_from = log_batch_offset(b, 0);
        j->mine_to = log_batch_offset(b, s->n - 1);
        j->wait_for = j->mine_to + 1;
        j->wait_until_us = clock_boot_us() + WAIT_BACK_US;
    }
    if (s->done)
        s->done(s->arg, status);
    free(s);
}

bool judge_is_appending(const struct owner *o)
{
    return o->judge && o->judge->flight;
}

void judge_submit(struct owner *o, struct log_batch *b, void (*done)(void *arg, int status), void *arg)
{
    struct submitted *s = calloc(1, sizeof(*s));
    ENSURE(s);
    ENSURE(!judge_is_appending(o));
    s->judge = o->judge;
    s->n = log_batch_ops(b);
    s->done = done;
    s->arg = arg;
    o->judge->flight = s;
    log_submit(o->delivery->shard->log, b, appended, s);
}

static void judge_all(struct owner *o)
{
    struct judge *j = o->judge;
    struct log_batch *b = log_batch_new(LOG_OWNER);
    size_t pos = 0;
    int n = 0;
    struct span key;
    void *value;
    while (n < DECISIONS_A_ROUND && map_next(&j->last, &pos, &key, &value))
        n += judge_one(o, b, value);
    struct decision *d;
    for (pos = 0; n < DECISIONS_A_ROUND && (d = tenants_next(o->delivery, &pos));) {
        struct sum gone = {.tenant = d->d->tenant, .provider = d->d->provider};
        if (d->d->action != REMUDA__TENANT_ACTION__TENANT_FINE &&
            !sum_find(&j->last, span_str(gone.tenant), span_str(gone.provider)))
            n += judge_one(o, b, &gone); /* nothing is known of it any more */
    }
    if (n)
        judge_submit(o, b, NULL, NULL);
    else
        log_batch_free(b);
}

/* ---- rounds ---- */

static void add_record(struct judge *j, struct span value, uint64_t now_s)
{
    struct arena a = ARENA_INIT;
    const Remuda__TenantState *r = tenant_decode(&a, value);
    struct sum *s = r ? sum_find(&j->sums, span_str(r->tenant), span_str(r->provider)) : NULL;
    if (r && !s) {
        struct buf key = BUF_INIT;
        s = calloc(1, sizeof(*s));
        ENSURE(s);
        s->tenant = strdup(r->tenant);
        s->provider = strdup(r->provider);
        ENSURE(s->tenant && s->provider);
        buf_printf(&key, "%s/%s", r->tenant, r->provider);
        map_put(&j->sums, buf_span(&key), s);
        buf_fini(&key);
    }
    if (s)
        s->counts = tenant_counts_plus(s->counts, tenant_counts_stored(r, now_s), 1);
    arena_fini(&a);
}

/* True at the end; false when as many records have been read as one tick may. */
static bool read_some(struct judge *j, struct log_reader *r)
{
    struct span key, value;
    uint64_t now_s = clock_wall_ms() / 1000;
    for (int n = 0; n < RECORDS_A_TICK; n++) {
        if (!log_read_key_next(r, LOG_EVIDENCE, 0, buf_span(&j->from), &key, &value)) {
            buf_clear(&j->from);
            return true;
        }
        add_record(j, value, now_s);
        buf_clear(&j->from);
        buf_add_span(&j->from, key);
        buf_add_char(&j->from, '\0'); /* the next key that can be */
    }
    return false;
}

static void count_held(const struct owner *o)
{
    double n[TENANT_QUARANTINE + 1] = {0};
    size_t pos = 0;
    const struct decision *d;
    while ((d = tenants_next(o->delivery, &pos)))
        if ((unsigned)d->d->action <= TENANT_QUARANTINE)
            n[d->d->action]++;
    for (int v = TENANT_SLOW; v <= TENANT_QUARANTINE; v++) {
        const char *labels[] = {tenant_verdict_text((enum tenant_verdict)v)};
        metric_set(metrics_cell(o->delivery->shard->node->metrics, M_TENANTS_HELD, labels), (int64_t)n[v]);
    }
}

static void round_ended(struct owner *o)
{
    struct judge *j = o->judge;
    sums_free(&j->last);
    j->last = j->sums;
    j->sums = MAP_INIT;
    j->rest_until_us = clock_boot_us() + REST_US;
    judge_all(o);
    count_held(o);
}

void judge_tick(struct owner *o)
{
    struct judge *j = o->judge;
    struct log_reader *r;
    uint64_t now_us = clock_boot_us();
    bool unread = j->wait_for > tenants_followed(o->delivery) && now_us < j->wait_until_us;
    if (!o->recovered || !owner_may_start(o) || j->flight || unread || now_us < j->rest_until_us ||
        log_read_begin(o->delivery->shard->node->log, &r) != RM_OK)
        return;
    bool whole = read_some(j, r);
    log_read_end(r);
    if (whole)
        round_ended(o);
}

bool judge_knows(const struct owner *o)
{
    return o->judge && o->judge->rest_until_us;
}

/* ---- telling ---- */

void judge_tell(struct owner *o, uint64_t offset, const Remuda__TenantDecision *d)
{
    struct node *node = o->delivery->shard->node;
    const struct judge *j = o->judge;
    const char *action = tenant_verdict_text((enum tenant_verdict)d->action);
    const Remuda__TenantEvidence none = REMUDA__TENANT_EVIDENCE__INIT;
    const Remuda__TenantEvidence *evidence = d->evidence ? d->evidence : &none;
    if (offset < j->mine_from || offset > j->mine_to)
        return;
    Remuda__Event e = REMUDA__EVENT__INIT;
    e.type = REMUDA__EVENT_TYPE__EVENT_TENANT;
    e.time_ms = d->time_ms;
    e.tenant = d->tenant;
    e.provider = d->provider;
    e.cause = (char *)(uintptr_t)action;
    e.decided = (Remuda__TenantDecision *)(uintptr_t)d;
    partition_event(o->partition, &e);
    o->events.want_flush(o);
    const char *labels[] = {d->provider, action};
    metric_add(metrics_cell(node->metrics, M_TENANT_DECISIONS, labels), 1);
    logger_log(node->logger, d->action == REMUDA__TENANT_ACTION__TENANT_FINE ? LOG_INFO : LOG_WARN,
               "tenant.decided", LF_STR("tenant", d->tenant), LF_STR("provider", d->provider),
               LF_STR("action", action), LF_STR("by", d->by_operator ? "operator" : "router"),
               LF_STR("reason", d->reason), LF_NUM("recipients", evidence->recipients),
               LF_NUM("bad_mailbox", evidence->bad_mailbox), LF_NUM("complaint", evidence->complaint),
               LF_NUM("refused", evidence->refused));
}
