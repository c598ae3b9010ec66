/*
 * The sending side in virtual time. Mail that is due stands in one queue per (receiver, tenant); the tenants
 * of a receiver take turns, so that the strategies differ in what they choose and in nothing else. An attempt
 * is one connection with one message, as long as the receiver's latency says.
 */
#include "bench/world_model/world.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/world_model/draw.h"
#include "bench/world_model/moments.h"
#include "lib/base/err.h"
#include "router/retry.h"

enum { NONE = 0xffffffff, DRAIN_MS = 3 * DAY_MS, UNKNOWN_WAIT_MS = 1000, REFUSED_CONNECTION_MS = 2000 };

struct queue {
    uint32_t first, last; /* mail, NONE */
    uint64_t held_until_ms;
};

struct lane {
    struct queue queues[WORLD_TENANTS_MOST];
    uint32_t turn, in_flight;
    uint64_t wake_at_ms; /* of the event that is on its way; 0: none */
    uint64_t held_until_ms;
};

struct world {
    const struct scenario *s;
    const struct strategy *how;
    void *self;
    struct model *model;
    struct result *out;
    struct timeline timeline;
    struct mail *mails;
    uint32_t n_mails, mails_cap, free_mail;
    uint32_t numbers[WORLD_TENANTS_MOST];
    struct lane lanes[WORLD_PROVIDERS_MOST];
    uint64_t now_ms, end_ms, last_ms;
};

/* ---- mail ---- */

static uint32_t mail_new(struct world *w)
{
    uint32_t i = w->free_mail;
    if (i != NONE) {
        w->free_mail = w->mails[i].next;
        return i;
    }
    if (w->n_mails == w->mails_cap) {
        w->mails_cap = w->mails_cap ? w->mails_cap * 2 : 4096;
        w->mails = realloc(w->mails, w->mails_cap * sizeof(*w->mails));
        ENSURE(w->mails);
    }
    return w->n_mails++;
}

static void mail_free(struct world *w, uint32_t i)
{
    w->mails[i].next = w->free_mail;
    w->free_mail = i;
}

static struct attempt attempt_of(const struct world *w, const struct mail *m, int source)
{
    return (struct attempt){.source = source,
                            .tenant = m->tenant,
                            .provider = m->provider,
                            .number = m->number,
                            .attempt = m->tries,
                            .sent_ms = m->sent_ms,
                            .now_ms = w->now_ms};
}

static bool is_deliverable(const struct world *w, const struct mail *m)
{
    struct attempt a = attempt_of(w, m, 0);
    struct nature n = model_nature(w->s, &a);
    return !n.bad_mailbox && !n.full && !n.spam && w->s->tenants[m->tenant].authenticated;
}

static void add_outcome(struct outcome *o, const struct mail *m, uint64_t now_ms, bool delivered)
{
    uint64_t age_ms = now_ms - m->sent_ms;
    o->submitted++;
    if (!delivered)
        o->lost++;
    else if (age_ms > DAY_MS)
        o->late++;
    o->within_hour += delivered && age_ms <= HOUR_MS;
    o->within_day += delivered && age_ms <= DAY_MS;
}

/* The end of a message, counted by the day on which it was submitted. */
static void settle(struct world *w, uint32_t i, bool delivered)
{
    const struct mail *m = &w->mails[i];
    if (is_deliverable(w, m)) {
        add_outcome(&w->out->all, m, w->now_ms, delivered);
        add_outcome(&w->out->days[m->sent_ms / DAY_MS], m, w->now_ms, delivered);
        if (!w->s->tenants[m->tenant].culprit)
            add_outcome(&w->out->innocent, m, w->now_ms, delivered);
    }
    mail_free(w, i);
}

/* ---- queues ---- */

static void queue_push(struct world *w, uint32_t i)
{
    struct mail *m = &w->mails[i];
    struct queue *q = &w->lanes[m->provider].queues[m->tenant];
    m->next = NONE;
    if (q->first == NONE)
        q->first = i;
    else
        w->mails[q->last].next = i;
    q->last = i;
}

static uint32_t queue_pop(struct world *w, struct queue *q)
{
    uint32_t i = q->first;
    q->first = w->mails[i].next;
    return i;
}

static void wake_at(struct world *w, int provider, uint64_t at_ms)
{
    struct lane *l = &w->lanes[provider];
    if (l->wake_at_ms && l->wake_at_ms <= at_ms)
        return;
    l->wake_at_ms = at_ms;
    timeline_add(&w->timeline, (struct moment){.at_ms = at_ms, .kind = MOMENT_WAKE, .a = (uint32_t)provider});
}

static void start(struct world *w, uint32_t i, int source)
{
    struct mail *m = &w->mails[i];
    struct attempt a = attempt_of(w, m, source);
    w->how->started(w->self, m, source, w->now_ms);
    model_opened(w->model, source, m->provider);
    enum saying said = model_answer(w->model, &a);
    uint64_t who = (uint64_t)m->tenant << 32 | m->number;
    double drawn = draw_share(w->s->seed, DRAW_LATENCY, who, m->tries);
    uint64_t takes = (uint64_t)((double)w->s->receivers[m->provider].latency_ms * (0.5 + drawn));
    if (said == SAY_NETWORK)
        takes = REFUSED_CONNECTION_MS;
    m->tries += m->tries < UINT8_MAX;
    w->out->attempts++;
    w->out->said[said]++;
    w->lanes[m->provider].in_flight++;
    timeline_add(&w->timeline, (struct moment){.at_ms = w->now_ms + (takes ? takes : 1),
                                               .kind = MOMENT_FINISHED,
                                               .a = i,
                                               .b = (uint16_t)source,
                                               .c = (uint8_t)said});
}

/* A wait without a known end is looked at again soon, in case nothing else wakes the lane. */
static void hold(struct world *w, int provider, struct queue *q, const struct choice *c)
{
    struct lane *l = &w->lanes[provider];
    uint64_t until = c->until_ms > w->now_ms ? c->until_ms : w->now_ms + UNKNOWN_WAIT_MS;
    if (c->hold == HOLD_MAIL) {
        uint32_t i = queue_pop(w, q);
        timeline_add(&w->timeline, (struct moment){.at_ms = until, .kind = MOMENT_RETRY, .a = i});
    } else if (c->hold == HOLD_TENANT) {
        q->held_until_ms = until;
        wake_at(w, provider, until);
    } else if (c->until_ms) {
        l->held_until_ms = until;
        wake_at(w, provider, until);
    } else if (!l->in_flight) {
        wake_at(w, provider, until);
    }
}

static bool is_expired(const struct world *w, const struct mail *m)
{
    return w->now_ms >= m->sent_ms + retry_default()->lifetime_ms;
}

/* Sends what may go, tenant after tenant; stops when the whole lane has to wait. */
static void dispatch(struct world *w, int provider)
{
    struct lane *l = &w->lanes[provider];
    uint32_t n = (uint32_t)w->s->n_tenants;
    for (uint32_t idle = 0; idle < n && w->now_ms >= l->held_until_ms;) {
        struct queue *q = &l->queues[l->turn % n];
        if (q->first == NONE || w->now_ms < q->held_until_ms) {
            l->turn++;
            idle++;
            continue;
        }
        if (is_expired(w, &w->mails[q->first])) {
            settle(w, queue_pop(w, q), false);
            continue;
        }
        struct choice c = w->how->choose(w->self, &w->mails[q->first], w->now_ms);
        if (c.source >= 0) {
            start(w, queue_pop(w, q), c.source);
            l->turn++;
            idle = 0;
            continue;
        }
        hold(w, provider, q, &c);
        if (c.hold == HOLD_LANE)
            return;
    }
}

/* ---- events ---- */

static void arrival_next(struct world *w, uint32_t tenant, uint64_t from_ms)
{
    uint64_t at_ms = traffic_next(w->s, tenant, w->numbers[tenant], from_ms);
    if (at_ms < w->end_ms)
        timeline_add(&w->timeline, (struct moment){.at_ms = at_ms, .kind = MOMENT_ARRIVAL, .a = tenant});
}

static void arrive(struct world *w, uint32_t tenant)
{
    uint32_t i = mail_new(w), number = w->numbers[tenant]++;
    w->mails[i] = (struct mail){.sent_ms = w->now_ms,
                                .number = number,
                                .sticky = -1,
                                .avoid = -1,
                                .tenant = (uint16_t)tenant,
                                .provider = (uint8_t)traffic_provider(w->s, tenant, number)};
    w->out->messages++;
    queue_push(w, i);
    arrival_next(w, tenant, w->now_ms);
    dispatch(w, w->mails[i].provider);
}

static bool is_refusal(enum saying said)
{
    return said == SAY_CONNECTIONS || said == SAY_RATE || said == SAY_REPUTATION || said == SAY_WARNING ||
           said == SAY_BLOCK || said == SAY_LIST;
}

/* What follows later from an accepted message. */
static void follow(struct world *w, const struct mail *m, int source)
{
    struct attempt a = attempt_of(w, m, source);
    struct nature n = model_nature(w->s, &a);
    struct moment e = {.a = m->tenant, .b = (uint16_t)source, .c = m->provider};
    if (n.complains && !n.bad_mailbox) {
        e.kind = MOMENT_COMPLAINT;
        e.at_ms = w->now_ms + n.complaint_lag_ms;
        timeline_add(&w->timeline, e);
    }
    if (n.bounces_late && n.bad_mailbox) {
        e.kind = MOMENT_LATE;
        e.at_ms = w->now_ms + n.late_lag_ms;
        timeline_add(&w->timeline, e);
    }
}

static void finish(struct world *w, const struct moment *e)
{
    struct mail *m = &w->mails[e->a];
    int provider = m->provider, source = e->b;
    enum saying said = (enum saying)e->c;
    struct attempt a = attempt_of(w, m, source);
    char text[REPLY_MOST];
    model_closed(w->model, source, provider);
    model_text(w->model, &a, said, text);
    w->lanes[provider].in_flight--;
    w->out->refused += is_refusal(said);
    struct consequence_at then = w->how->answered(w->self, m, source, text, w->now_ms);
    if (then.then == THEN_DELIVERED) {
        if (is_deliverable(w, m) && m->sent_ms < w->end_ms && w->now_ms < w->end_ms)
            w->out->delivered[w->now_ms / DAY_MS][source]++;
        follow(w, m, source);
        settle(w, e->a, true);
    } else if (then.then == THEN_BOUNCE || then.at_ms >= m->sent_ms + retry_default()->lifetime_ms) {
        settle(w, e->a, false);
    } else {
        timeline_add(&w->timeline, (struct moment){.at_ms = then.at_ms, .kind = MOMENT_RETRY, .a = e->a});
    }
    dispatch(w, provider);
}

static void wake_all(struct world *w)
{
    for (int p = 0; p < w->s->n_receivers; p++) {
        w->lanes[p].held_until_ms = 0;
        dispatch(w, p);
    }
}

static void handle(struct world *w, const struct moment *e)
{
    switch ((enum moment_kind)e->kind) {
    case MOMENT_HOUR:
        model_hour(w->model, w->now_ms);
        w->out->blocked_hours += model_blocked_pairs(w->model, w->now_ms);
        if (w->now_ms + HOUR_MS < w->last_ms)
            timeline_add(&w->timeline, (struct moment){.at_ms = w->now_ms + HOUR_MS, .kind = MOMENT_HOUR});
        break;
    case MOMENT_ARRIVAL:
        arrive(w, e->a);
        break;
    case MOMENT_FINISHED:
        finish(w, e);
        break;
    case MOMENT_RETRY:
        queue_push(w, e->a);
        dispatch(w, w->mails[e->a].provider);
        break;
    case MOMENT_WAKE:
        if (w->lanes[e->a].wake_at_ms == e->at_ms)
            w->lanes[e->a].wake_at_ms = 0;
        dispatch(w, (int)e->a);
        break;
    case MOMENT_COMPLAINT:
        model_complain(w->model, e->b, (int)e->a, e->c);
        if (w->how->complained && w->s->receivers[e->c].tells_complaints)
            w->how->complained(w->self, e->b, e->c, (int)e->a, w->now_ms);
        break;
    case MOMENT_LATE:
        if (w->how->bounced_late)
            w->how->bounced_late(w->self, e->b, e->c, (int)e->a, w->now_ms);
        break;
    case MOMENT_TICK:
        if (w->how->tick(w->self, w->now_ms))
            wake_all(w);
        if (w->now_ms + 1000 < w->last_ms)
            timeline_add(&w->timeline, (struct moment){.at_ms = w->now_ms + 1000, .kind = MOMENT_TICK});
        break;
    }
}

/* What still waits at the end is lost. */
static void settle_rest(struct world *w)
{
    struct moment e;
    while (timeline_next(&w->timeline, &e))
        if (e.kind == MOMENT_RETRY || e.kind == MOMENT_FINISHED)
            settle(w, e.a, false);
    for (int p = 0; p < w->s->n_receivers; p++)
        for (int t = 0; t < w->s->n_tenants; t++)
            while (w->lanes[p].queues[t].first != NONE)
                settle(w, queue_pop(w, &w->lanes[p].queues[t]), false);
}

void world_play(const struct scenario *s, const struct suspensions *rules, const struct strategy *how,
                struct result *out)
{
    struct world *w = calloc(1, sizeof(*w));
    ENSURE(w);
    *out = (struct result){0};
    w->s = s;
    w->how = how;
    w->out = out;
    w->free_mail = NONE;
    w->self = how->new (s, rules);
    w->model = model_new(s);
    w->end_ms = (uint64_t)s->days * DAY_MS;
    w->last_ms = w->end_ms + DRAIN_MS;
    for (int p = 0; p < WORLD_PROVIDERS_MOST; p++)
        for (int t = 0; t < WORLD_TENANTS_MOST; t++)
            w->lanes[p].queues[t].first = NONE;
    timeline_add(&w->timeline, (struct moment){.kind = MOMENT_HOUR});
    if (how->tick)
        timeline_add(&w->timeline, (struct moment){.kind = MOMENT_TICK});
    for (uint32_t t = 0; t < (uint32_t)s->n_tenants; t++)
        arrival_next(w, t, 0);
    struct moment e;
    while (timeline_next(&w->timeline, &e)) {
        if (e.at_ms >= w->last_ms) {
            timeline_add(&w->timeline, e);
            break;
        }
        w->now_ms = e.at_ms;
        handle(w, &e);
    }
    w->now_ms = w->last_ms;
    settle_rest(w);
    result_finish(out, s);
    model_free(w->model);
    how->free(w->self);
    timeline_fini(&w->timeline);
    free(w->mails);
    free(w);
}
