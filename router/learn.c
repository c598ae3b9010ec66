/*
 * What an answer does to the pair and the tenant that it is about: counts, pace, stops, suspension. The one
 * place that turns a class, a blame and a reaction into a change of state.
 */
#include <math.h>
#include <stdlib.h>

#include "lib/base/err.h"
#include "router/reputation.h"
#include "router/state_private.h"

enum {
    SUSPEND_MS = 24 * 3600 * 1000,
    BLOCKED_MS = 3600 * 1000,
    DAY_MS = 24 * 3600 * 1000,
    SUSPEND_MOST_MS = 7 * DAY_MS,
    MINUTE_MS = 60000
};
enum { PAIR_KEPT_DAYS = 90, TENANT_KEPT_DAYS = 30 };

/* How an answer of a class is counted; NONE: it says nothing of anybody's standing. */
enum { NONE = -1 };
static const struct effect {
    int soft, hard; /* enum tally_class */
    bool deferral;  /* a soft one counts in the contrast: many at once are a jump */
} effects[ANSWER_CLASSES] = {
    [ANSWER_ACCEPTED] = {TALLY_ACCEPTED, TALLY_ACCEPTED, false},
    [ANSWER_BAD_MAILBOX] = {TALLY_BAD_MAILBOX, TALLY_BAD_MAILBOX, false},
    [ANSWER_BAD_DOMAIN] = {NONE, NONE, false},
    [ANSWER_DISABLED] = {NONE, NONE, false},
    [ANSWER_FULL] = {NONE, NONE, false},
    [ANSWER_RECIPIENT_RATE] = {NONE, NONE, false},
    [ANSWER_REFUSED] = {NONE, NONE, false},
    [ANSWER_GREYLIST] = {NONE, NONE, false},
    [ANSWER_RATE] = {TALLY_DEFERRED, TALLY_BLOCKED, true},
    [ANSWER_CONNECTIONS] = {NONE, NONE, false},
    [ANSWER_REPUTATION] = {TALLY_DEFERRED, TALLY_BLOCKED, true},
    [ANSWER_BLOCKLIST] = {TALLY_BLOCKED, TALLY_BLOCKED, false},
    [ANSWER_POLICY_IP] = {TALLY_DEFERRED, TALLY_BLOCKED, true},
    [ANSWER_POLICY_DOMAIN] = {TALLY_DEFERRED, TALLY_BLOCKED, true},
    [ANSWER_AUTHENTICATION] = {TALLY_DEFERRED, TALLY_BLOCKED, true},
    [ANSWER_SENDER] = {TALLY_DEFERRED, TALLY_BLOCKED, true},
    [ANSWER_CONTENT] = {TALLY_DEFERRED, TALLY_BLOCKED, true},
    [ANSWER_SIZE] = {NONE, NONE, false},
    [ANSWER_TLS] = {NONE, NONE, false},
    [ANSWER_TOO_MANY_RECIPIENTS] = {NONE, NONE, false},
    [ANSWER_PROTOCOL] = {NONE, NONE, false},
    [ANSWER_LOOP] = {NONE, NONE, false},
    [ANSWER_PROVIDER_TROUBLE] = {TALLY_DEFERRED, NONE, true},
    [ANSWER_NETWORK] = {NONE, NONE, false},
    [ANSWER_LOCAL] = {NONE, NONE, false},
    [ANSWER_UNKNOWN_SOFT] = {TALLY_DEFERRED, NONE, true},
    [ANSWER_UNKNOWN_HARD] = {NONE, NONE, false},
};

/* One answer, with all that it may touch. */
struct lesson {
    struct router_state *s;
    struct router_scope *scope;
    const struct router_answer *answer;
    int slot;                       /* -1: the source is gone */
    struct standing *st;            /* NULL likewise */
    struct tenant_standing *tenant; /* NULL: unknown */
    struct crowd *crowd;
    double n;
    uint64_t now_us, wall_ms;
};

/* ---- counting ---- */

static void count_pair(struct lesson *l, enum tally_class class)
{
    struct standing *st = l->st;
    if (!st)
        return;
    tally_add(&st->tally, class, l->n, l->wall_ms / 1000);
    if (class == TALLY_ACCEPTED)
        st->warmup.accepted += (uint64_t)l->n;
    else
        st->warmup.refused += (uint64_t)l->n;
    st->kept.seen_day = l->s->day;
    router_standing_derive(st);
    router_keep(l->s, &st->kept, false);
}

static void count_tenant(struct lesson *l, enum tally_class class)
{
    if (!l->tenant)
        return;
    tally_add(&l->tenant->tally, class, l->n, l->wall_ms / 1000);
    l->tenant->kept.seen_day = l->s->day;
    router_keep(l->s, &l->tenant->kept, false);
}

static void add_contrast(struct lesson *l, bool deferred)
{
    uint64_t now_s = l->wall_ms / 1000;
    contrast_add(&l->crowd->contrast, deferred, l->n, now_s);
    if (l->st)
        contrast_add(&l->st->contrast, deferred, l->n, now_s);
    if (l->tenant)
        contrast_add(&l->tenant->contrast, deferred, l->n, now_s);
}

static enum fault fault_of(struct lesson *l)
{
    static const struct contrast nobody;
    return contrast_judge(&l->crowd->contrast, l->st ? &l->st->contrast : &nobody,
                          l->tenant ? &l->tenant->contrast : &nobody);
}

/* ---- pace, stops, suspension ---- */

static struct pace *pace_need(struct lesson *l, const struct pace_bounds *b)
{
    struct pace **at = (struct pace **)(uintptr_t)router_pace_of(l->scope, l->slot);
    if (!*at) {
        *at = calloc(1, sizeof(**at));
        ENSURE(*at);
        pace_init(*at, b);
    }
    router_keep(l->s, &l->st->kept, false);
    return *at;
}

static double observed_rate(const struct lesson *l)
{
    const struct pair *p = &l->scope->pairs[l->slot];
    double passed = (double)((uint32_t)(l->now_us / 1000000) - p->recent_s);
    return p->recent * exp2(-passed / RECENT_HALF_LIFE_S) * log(2) / RECENT_HALF_LIFE_S;
}

static void slow_down(struct lesson *l, const struct pace_bounds *b)
{
    pace_slower(pace_need(l, b), b, observed_rate(l), l->now_us);
}

static void explain_suspension(struct lesson *l, const char *fallback)
{
    const char *why = l->answer->list[0] ? l->answer->list : l->answer->rule ? l->answer->rule : fallback;
    router_text_set(&l->st->why, span_str(why));
}

/* The receiver forgave it and soon had enough again: each time twice as long. Refused still, it stays as
 * long.
 */
static void count_relapse(struct standing *st, uint64_t wall_ms)
{
    if (wall_ms > st->suspended_until_ms + st->suspended_for_ms + DAY_MS)
        st->relapses = 0;
    else if (st->forgiven && st->relapses < ROUTER_RELAPSES_MOST)
        st->relapses++;
    st->forgiven = false;
}

static uint64_t doubled_ms(const struct standing *st, uint64_t wait_ms)
{
    uint64_t most_ms = wait_ms > SUSPEND_MOST_MS ? wait_ms : SUSPEND_MOST_MS;
    uint64_t doubled = wait_ms << st->relapses;
    return doubled < most_ms ? doubled : most_ms;
}

/* It comes back slowly: at its floor. True when it is new. */
static bool suspend(struct lesson *l, const struct pace_bounds *b, uint64_t wait_ms, const char *fallback)
{
    struct standing *st = l->st;
    bool is_new = st->suspended_until_ms <= l->wall_ms;
    if (is_new)
        count_relapse(st, l->wall_ms);
    wait_ms = doubled_ms(st, wait_ms);
    if (l->wall_ms + wait_ms > st->suspended_until_ms) {
        st->suspended_until_ms = l->wall_ms + wait_ms;
        st->suspended_for_ms = wait_ms;
    }
    if (!is_new)
        return false;
    explain_suspension(l, fallback);
    st->alert_ms = l->wall_ms;
    struct pace *p = pace_need(l, b);
    pace_to_floor(p, b, observed_rate(l), l->now_us);
    router_keep(l->s, &st->kept, false);
    return true;
}

static bool react(struct lesson *l, enum answer_reaction reaction)
{
    const struct router_answer *a = l->answer;
    struct pace_bounds b = router_pace_bounds(l->s->config, l->scope->lane->provider_index);
    switch (reaction) {
    case REACT_SLOW_PAIR:
    case REACT_SLOW_PROVIDER:
        slow_down(l, &b);
        break;
    case REACT_FEWER_CONNECTIONS:
        pace_fewer(pace_need(l, &b), &b, l->scope->pairs[l->slot].connections, l->now_us);
        break;
    case REACT_STOP_PAIR:
        slow_down(l, &b);
        pace_stop(pace_need(l, &b), a->wait_ms * 1000, l->now_us);
        break;
    case REACT_SUSPEND_PAIR:
        return suspend(l, &b, a->wait_ms ? a->wait_ms : SUSPEND_MS, "blocklist");
    default:
        break;
    }
    if (reputation_is_blocked(&l->st->tally))
        return suspend(l, &b, BLOCKED_MS, "blocked");
    return false;
}

/* Whether the receiver works, whatever it says of the message. */
static void see_trouble(struct lesson *l)
{
    enum answer_class class = l->answer->class;
    struct pace_bounds b;
    if (!l->st || class == ANSWER_LOCAL)
        return;
    struct pace *p = *router_pace_of(l->scope, l->slot);
    if (class != ANSWER_NETWORK && class != ANSWER_PROVIDER_TROUBLE) {
        if (p)
            pace_works(p);
        return;
    }
    b = router_pace_bounds(l->s->config, l->scope->lane->provider_index);
    pace_trouble(p ? p : pace_need(l, &b), l->now_us);
}

/* ---- one answer ---- */

static void learn_accepted(struct lesson *l)
{
    count_pair(l, TALLY_ACCEPTED);
    count_tenant(l, TALLY_ACCEPTED);
    add_contrast(l, false);
    if (l->tenant)
        router_tenant_accepted(l->s, l->tenant, l->now_us);
    if (!l->st)
        return;
    struct pace **at = (struct pace **)(uintptr_t)router_pace_of(l->scope, l->slot);
    struct pace_bounds b;
    if (!*at)
        return;
    b = router_pace_bounds(l->s->config, l->scope->lane->provider_index);
    pace_accepted(*at, &b, l->now_us);
    if (pace_is_full(*at, &b, l->now_us)) {
        free(*at);
        *at = NULL;
    }
}

/* What a deferral means beside the others; how to react. */
static enum answer_reaction learn_deferral(struct lesson *l)
{
    const struct router_answer *a = l->answer;
    enum answer_reaction reaction = a->reaction;
    add_contrast(l, true);
    enum fault fault = a->blame == BLAME_TENANT ? FAULT_TENANT : fault_of(l);
    bool explicit_stop = reaction == REACT_STOP_PAIR || reaction == REACT_SUSPEND_PAIR;
    switch (fault) {
    case FAULT_PROVIDER: /* nobody is blamed; all go slower */
        return explicit_stop ? reaction : REACT_SLOW_PROVIDER;
    case FAULT_TENANT:
        count_tenant(l, TALLY_DEFERRED);
        return explicit_stop ? reaction : REACT_SLOW_TENANT;
    case FAULT_SOURCE:
        count_pair(l, TALLY_DEFERRED);
        return reaction == REACT_NONE || reaction == REACT_SLOW_PROVIDER ? REACT_SLOW_PAIR : reaction;
    default:
        if (a->blame == BLAME_SOURCE && l->st)
            l->st->pending[0] += l->n; /* until it is known whether all have it */
        return reaction;
    }
}

static enum answer_reaction learn_other(struct lesson *l)
{
    const struct router_answer *a = l->answer;
    const struct effect *e = &effects[a->class];
    bool blocked =
        a->hard || (a->refused && a->blame == BLAME_SOURCE); /* it goes on from another: no deferral */
    int class = blocked ? e->hard : e->soft;
    if (!blocked && e->deferral)
        return learn_deferral(l);
    if (class == NONE)
        return a->reaction;
    if (class == TALLY_BAD_MAILBOX) {
        add_contrast(l, false); /* the receiver works */
        count_pair(l, class);
        count_tenant(l, class);
    } else if (a->blame == BLAME_TENANT) {
        count_tenant(l, (enum tally_class) class);
    } else {
        count_pair(l, (enum tally_class) class);
    }
    return a->reaction;
}

/* After a suspension: what the receiver says is about the message, no longer about the source. */
static void see_forgiven(struct lesson *l)
{
    const struct router_answer *a = l->answer;
    bool heard = a->class == ANSWER_ACCEPTED || a->blame == BLAME_RECIPIENT || a->blame == BLAME_TENANT;
    if (l->st && heard && l->wall_ms >= l->st->suspended_until_ms)
        l->st->forgiven = true;
}

bool router_answered(struct router_state *s, struct router_scope *scope, const struct router_report *r)
{
    struct router_lane *lane = scope->lane;
    if (lane->provider_index < 0)
        return false;
    int slot = r->source < 0 ? -1 : router_lane_slot(lane, r->source);
    struct lesson l = {.s = s,
                       .scope = scope,
                       .answer = r->answer,
                       .slot = slot,
                       .st = slot < 0 ? NULL : lane->standings[slot],
                       .tenant = r->tenant.len ? router_tenant_get(s, r->tenant, lane->provider) : NULL,
                       .crowd = lane->crowd,
                       .n = r->recipients,
                       .now_us = r->now_us,
                       .wall_ms = router_wall_ms(s, r->now_us)};
    if (r->now_us > s->latest_us)
        s->latest_us = r->now_us;
    s->version++;
    if (l.tenant)
        router_tenant_seen(l.tenant, 1, r->now_us);
    see_forgiven(&l);
    if (r->answer->class == ANSWER_ACCEPTED) {
        learn_accepted(&l);
        return false;
    }
    see_trouble(&l);
    enum answer_reaction reaction = learn_other(&l);
    if (reaction == REACT_SLOW_TENANT && l.tenant)
        router_tenant_slower(s, l.tenant, r->now_us);
    if (r->answer->class == ANSWER_POLICY_DOMAIN && r->answer->hard && l.tenant)
        router_tenant_refused(s, l.tenant, r->now_us);
    return l.st && react(&l, reaction);
}

static void count_late(struct router_state *s, const struct router_late *l, enum tally_class class)
{
    int p = router_provider_find(s->config, l->provider), src = router_source_find(s->config, l->source);
    if (p >= 0 && l->tenant.len) {
        struct tenant_standing *t = router_tenant_get(s, l->tenant, s->config->providers[p].name);
        tally_add(&t->tally, class, 1, l->wall_ms / 1000);
        t->kept.seen_day = s->day;
        router_keep(s, &t->kept, false);
    }
    if (p < 0 || src < 0)
        return;
    struct standing *st = router_standing_get(s, s->config->sources[src].name, s->config->providers[p].name);
    tally_add(&st->tally, class, 1, l->wall_ms / 1000);
    st->kept.seen_day = s->day;
    st->warmup.refused++;
    router_standing_bind(s, st, src, p);
    router_keep(s, &st->kept, false);
    s->version++;
}

void router_complained(struct router_state *s, const struct router_late *l)
{
    count_late(s, l, TALLY_COMPLAINT);
}

void router_bad_mailbox(struct router_state *s, const struct router_late *l)
{
    count_late(s, l, TALLY_BAD_MAILBOX);
}

/* ---- time passes ---- */

/* Deferrals that are a minute old count against the source, unless those beside it have them too. */
static void settle_pending(struct router_state *s, struct standing *st, uint64_t now_s)
{
    double due = st->pending[1];
    st->pending[1] = st->pending[0];
    st->pending[0] = 0;
    if (due <= 0)
        return;
    struct crowd *crowd = router_crowd_get(s, st->provider);
    contrast_decay(&crowd->contrast, now_s);
    contrast_decay(&st->contrast, now_s);
    if (contrast_judge(&crowd->contrast, &st->contrast, &st->contrast) != FAULT_PROVIDER) {
        tally_add(&st->tally, TALLY_DEFERRED, due, now_s);
        st->warmup.refused += (uint64_t)due;
        router_keep(s, &st->kept, false);
    }
}

static void each_minute(struct router_state *s, uint64_t wall_ms)
{
    size_t at = 0;
    struct span key;
    void *value;
    while (map_next(&s->standings, &at, &key, &value)) {
        struct standing *st = value;
        settle_pending(s, st, wall_ms / 1000);
        router_standing_plan(st, wall_ms);
        if (!st->tally.at_s)
            continue;
        tally_decay(&st->tally, wall_ms / 1000);
        router_standing_derive(st);
    }
}

static void each_day(struct router_state *s)
{
    size_t at = 0;
    struct span key;
    void *value;
    while (map_next(&s->standings, &at, &key, &value)) {
        struct standing *st = value;
        router_standing_roll(s, st);
        if (!st->configured && !st->kept.gone && s->day > st->kept.seen_day + PAIR_KEPT_DAYS) {
            st->kept.gone = true;
            router_keep(s, &st->kept, false);
        }
    }
    for (at = 0; map_next(&s->tenants, &at, &key, &value);) {
        struct tenant_standing *t = value;
        if (!t->kept.gone && s->day > t->kept.seen_day + TENANT_KEPT_DAYS) {
            t->kept.gone = true;
            router_keep(s, &t->kept, false);
        }
    }
}

bool router_tick(struct router_state *s, uint64_t now_us, uint64_t wall_ms)
{
    uint32_t today = (uint32_t)(wall_ms / DAY_MS);
    bool new_day = today != s->day;
    s->wall_offset_ms = (int64_t)wall_ms - (int64_t)(now_us / 1000);
    if (now_us > s->latest_us)
        s->latest_us = now_us;
    if (!s->written_ms)
        s->written_ms = wall_ms;
    if (wall_ms / MINUTE_MS != s->minute) {
        s->minute = wall_ms / MINUTE_MS;
        each_minute(s, wall_ms);
        router_opened_minute(s);
        s->version++;
    }
    bool ended = router_opened_tick(s, wall_ms);
    if (!new_day || (today < s->day && today + 1 >= s->day)) /* a clock set back over midnight: no new day */
        return ended;
    s->day = today;
    each_day(s);
    s->version++;
    return true;
}
