/*
 * The decision itself: who may, who should, what binds when nobody can. Looks at the state and never changes
 * it; state.c does.
 */
#include "router/decide.h"

#include "router/state_private.h"

/* DEBT_MOST: messages by which a source may be ahead of its weight's share and still be a sender's own. */
enum { SENDER_SOURCES = 3, DEBT_MOST = 32, HOUR_MS = 3600000, DAY_MS = 24 * HOUR_MS, GRANT_TICK_US = 250000 };

const char *router_verdict_text(enum router_verdict v)
{
    static const char *const texts[ROUTER_VERDICTS] = {
        [ROUTER_CHOSEN] = "chosen",
        [ROUTER_WEIGHED_OUT] = "weighed-out",
        [ROUTER_DISABLED] = "disabled",
        [ROUTER_EXCLUDED] = "excluded",
        [ROUTER_EGRESS] = "egress",
        [ROUTER_NOT_STICKY] = "not-sticky",
        [ROUTER_CONNECTIONS] = "connections",
        [ROUTER_RATE] = "rate",
        [ROUTER_TOTAL_CONNECTIONS] = "total-connections",
        [ROUTER_TOTAL_RATE] = "total-rate",
        [ROUTER_NO_SOURCE] = "no-source",
        [ROUTER_CAP] = "cap",
        [ROUTER_BACKOFF] = "backoff",
        [ROUTER_WARMING] = "warming",
        [ROUTER_TENANT] = "tenant",
        [ROUTER_MOVING] = "moving",
    };
    return (unsigned)v < ROUTER_VERDICTS ? texts[v] : "unknown";
}

/* What is the same for all candidates of one decision. */
struct view {
    const struct router_state *state;
    const struct router_config *config;
    const struct router_scope *scope;
    const struct router_query *query;
    const struct router_limits *limits;
    const struct bucket_rule *rule;
    uint64_t wall_ms;
    int sticky;            /* slot, -1 for none */
    bool warm_only;        /* another source than a warming one has to be found */
    bool total_slots_gone; /* provider-wide connections */
    bool total_rate_gone;
    uint64_t total_until_us;
};

/* Who could take it, and what binds the others. */
struct tally_of_candidates {
    uint64_t able[ROUTER_LANE_SOURCES_MOST / 64];
    int n_able;
    uint64_t near[SENDER_SOURCES]; /* the sender's highest hashes among them */
    int64_t weights;               /* of them all, when there is a sender */
    enum router_verdict cause;
    uint64_t cause_until_us, until_us; /* of the cause; the soonest of all; 0: not known */
};

/* The best two so far: what comes before the rotation, then its credit. */
struct choice {
    int best, second;
    int best_class, second_class;
    int64_t best_credit, second_credit;
};

static bool holds(const int *sources, int n, int source)
{
    for (int i = 0; i < n; i++)
        if (sources[i] == source)
            return true;
    return false;
}

static bool is_excluded(const struct router_query *q, int source)
{
    return holds(q->excluded, q->n_excluded, source);
}

static bool is_cut_off(const struct router_query *q, int source)
{
    return holds(q->cut_off, q->n_cut_off, source);
}

static bool is_left_out(const struct router_query *q, int source)
{
    return is_excluded(q, source) || is_cut_off(q, source);
}

static int sticky_slot(const struct view *v)
{
    struct span name = v->query->sticky;
    const struct router_lane *l = v->scope->lane;
    for (int i = 0; name.len && i < l->n; i++) {
        const struct router_source *s = &v->config->sources[l->sources[i]];
        if (span_eq(span_str(s->name), name))
            return s->enabled && !is_left_out(v->query, l->sources[i]) ? i : -1;
    }
    return -1;
}

static bool is_idle(const struct view *v, int slot)
{
    return v->query->idle && v->query->idle[slot] > 0;
}

static uint64_t wall_to_boot_us(const struct view *v, uint64_t at_ms)
{
    return at_ms > v->wall_ms ? v->query->now_us + (at_ms - v->wall_ms) * 1000 : v->query->now_us + 1000;
}

static bool is_stopped(const struct view *v, const struct standing *st, const struct pace *pace,
                       uint64_t *until_us)
{
    if (v->wall_ms < st->suspended_until_ms) {
        *until_us = wall_to_boot_us(v, st->suspended_until_ms);
        return true;
    }
    if (!pace || v->query->now_us >= pace->until_us)
        return false;
    *until_us = pace->until_us;
    return true;
}

/* The day's cap, the hour's share, and what of it is durably granted. */
static bool is_capped(const struct view *v, const struct standing *st, uint64_t *until_us)
{
    if (!st->capped)
        return false;
    if (v->wall_ms / DAY_MS > st->warmup.day) /* the tick has not begun today yet */
        *until_us = v->query->now_us + GRANT_TICK_US;
    else if (st->warmup.used >= st->cap)
        *until_us = wall_to_boot_us(v, (v->wall_ms / DAY_MS + 1) * DAY_MS);
    else if (router_standing_hour_used(st, v->wall_ms) >= st->hour_cap)
        *until_us = wall_to_boot_us(v, (v->wall_ms / HOUR_MS + 1) * HOUR_MS);
    else
        return st->warmup.used >= st->granted;
    return true;
}

static bool has_no_slot(const struct view *v, int slot, const struct pace *pace)
{
    uint32_t open = v->scope->pairs[slot].connections;
    if (!v->limits->total && v->limits->connections &&
        open >= router_opened_most(v->state, v->scope->pairs[slot].opened, v->limits->connections))
        return true;
    return pace && open >= pace_connections(pace);
}

static bool has_token(const struct view *v, int slot, const struct pace *pace, uint64_t *until_us)
{
    struct bucket_rule slower;
    if (v->limits->total && !pace)
        return true;
    const struct bucket_rule *rule = router_slot_rule(v->rule, pace, &slower);
    return router_bucket_has(rule, router_slot_full_at(v->scope, slot, rule), v->query->now_us, until_us);
}

/* What binds a slot whatever connections are open. */
static enum router_verdict judge_sending(const struct view *v, int slot, const struct pace *pace,
                                         uint64_t *until_us)
{
    const struct standing *st = v->scope->lane->standings[slot];
    if (st->elsewhere)
        return ROUTER_MOVING;
    if (is_stopped(v, st, pace, until_us))
        return ROUTER_BACKOFF;
    if (is_capped(v, st, until_us))
        return ROUTER_CAP;
    *until_us = v->total_until_us;
    if (v->total_rate_gone)
        return ROUTER_TOTAL_RATE;
    return has_token(v, slot, pace, until_us) ? ROUTER_CHOSEN : ROUTER_RATE;
}

/* ROUTER_CHOSEN: could take it. The order is what is told first: what an operator did, then what waits. */
static enum router_verdict judge(const struct view *v, int slot, uint64_t *until_us)
{
    int source = v->scope->lane->sources[slot];
    const struct pace *pace = *router_pace_of(v->scope, slot);
    *until_us = 0;
    if (!v->config->sources[source].enabled)
        return ROUTER_DISABLED;
    if (is_excluded(v->query, source))
        return ROUTER_EXCLUDED;
    if (is_cut_off(v->query, source))
        return ROUTER_EGRESS;
    if (v->sticky >= 0 && v->sticky != slot)
        return ROUTER_NOT_STICKY;
    if (v->warm_only && v->scope->lane->standings[slot]->capped)
        return ROUTER_WARMING;
    enum router_verdict verdict = judge_sending(v, slot, pace, until_us);
    if (verdict == ROUTER_MOVING || verdict == ROUTER_BACKOFF || verdict == ROUTER_CAP || is_idle(v, slot))
        return verdict;
    if (v->total_slots_gone || has_no_slot(v, slot, pace)) {
        *until_us = 0;
        return v->total_slots_gone ? ROUTER_TOTAL_CONNECTIONS : ROUTER_CONNECTIONS;
    }
    return verdict;
}

bool router_slot_may_continue(const struct router_state *s, const struct router_scope *scope, int slot,
                              uint64_t now_us)
{
    struct router_query q = {.now_us = now_us};
    int provider = scope->lane->provider_index;
    struct view v = {.state = s, .config = s->config, .scope = scope, .query = &q, .sticky = -1};
    v.limits = &s->config->providers[provider].limits;
    v.rule = &s->rules[provider];
    v.wall_ms = router_wall_ms(s, now_us);
    if (v.limits->total)
        v.total_rate_gone =
            !router_bucket_has(v.rule, s->totals[provider].full_at, now_us, &v.total_until_us);
    uint64_t until_us;
    return judge_sending(&v, slot, *router_pace_of(scope, slot), &until_us) == ROUTER_CHOSEN;
}

/* What the wait is told to be for when candidates wait for different things: what most likely ends first. A
 * grant comes with the next flush, a token in seconds, a connection ends sooner than a stop or a cap. */
static int nearness(enum router_verdict verdict, uint64_t until_us)
{
    switch (verdict) {
    case ROUTER_RATE:
    case ROUTER_TOTAL_RATE:
        return 6;
    case ROUTER_CONNECTIONS:
    case ROUTER_TOTAL_CONNECTIONS:
        return 5;
    case ROUTER_CAP:
        return until_us ? 4 : 7;
    case ROUTER_BACKOFF:
        return 4;
    case ROUTER_EXCLUDED: /* before the next: the caller may relent */
        return 3;
    case ROUTER_EGRESS:
    case ROUTER_MOVING:
        return 2;
    case ROUTER_NOT_STICKY:
        return 0;
    default:
        return 1;
    }
}

static bool is_sooner(uint64_t until_us, uint64_t than_us)
{
    return until_us && (!than_us || until_us < than_us);
}

static void count_blocked(struct tally_of_candidates *t, enum router_verdict verdict, uint64_t until_us)
{
    int near = nearness(verdict, until_us), now = nearness(t->cause, t->cause_until_us);
    if (is_sooner(until_us, t->until_us))
        t->until_us = until_us;
    if (near < now || (near == now && !is_sooner(until_us, t->cause_until_us)))
        return;
    t->cause = verdict;
    t->cause_until_us = until_us;
}

/* Rendezvous of a sender's domain with a source: the highest few are the sender's sources. */
static uint64_t meeting(uint64_t sender, uint64_t source)
{
    uint64_t h = sender ^ source;
    h = (h ^ h >> 33) * 0xff51afd7ed558ccdull;
    h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53ull;
    return h ^ h >> 33;
}

static void keep_highest(uint64_t near[SENDER_SOURCES], uint64_t h)
{
    for (int i = 0; i < SENDER_SOURCES; i++)
        if (h > near[i]) {
            uint64_t lower = near[i];
            near[i] = h;
            h = lower;
        }
}

static bool is_able(const struct tally_of_candidates *t, int slot)
{
    return t->able[slot / 64] >> (slot % 64) & 1;
}

static void judge_all(const struct view *v, uint64_t sender, struct tally_of_candidates *t,
                      struct router_decision *out)
{
    const struct router_lane *l = v->scope->lane;
    for (int i = 0; i < l->n; i++) {
        uint64_t until_us;
        enum router_verdict verdict = judge(v, i, &until_us);
        if (out->candidates)
            out->candidates[i] =
                (struct router_candidate){.source = l->sources[i],
                                          .weight = (double)router_slot_weight(v->config, l, i) / SCORE_ONE,
                                          .score = (double)l->standings[i]->score / SCORE_ONE,
                                          .verdict = verdict,
                                          .until_us = until_us};
        if (verdict != ROUTER_CHOSEN) {
            count_blocked(t, verdict, until_us);
            continue;
        }
        t->able[i / 64] |= 1ull << (i % 64);
        t->n_able++;
        if (!sender)
            continue;
        keep_highest(t->near, meeting(sender, l->hashes[i]));
        t->weights += router_slot_weight(v->config, l, i);
    }
}

static bool beats(int class, int64_t credit, int other_class, int64_t other_credit)
{
    return class != other_class ? class > other_class : credit > other_credit;
}

static void count_able(struct choice *c, int slot, int class, int64_t credit)
{
    if (c->best < 0 || beats(class, credit, c->best_class, c->best_credit)) {
        c->second = c->best;
        c->second_class = c->best_class;
        c->second_credit = c->best_credit;
        c->best = slot;
        c->best_class = class;
        c->best_credit = credit;
    } else if (c->second < 0 || beats(class, credit, c->second_class, c->second_credit)) {
        c->second = slot;
        c->second_class = class;
        c->second_credit = credit;
    }
}

/* An idle connection first, then those of the sender's own sources that have not had more than their share.
 */
enum { CLASS_SENDER = 1, CLASS_IDLE = 2 };

static struct choice choose(const struct view *v, uint64_t sender, const struct tally_of_candidates *t,
                            struct router_decision *out)
{
    const struct router_lane *l = v->scope->lane;
    struct choice c = {.best = -1, .second = -1};
    uint64_t members[2][ROUTER_LANE_SOURCES_MOST / 64] = {{0}};
    for (int i = 0; i < l->n; i++) {
        if (!is_able(t, i))
            continue;
        int class = is_idle(v, i) ? CLASS_IDLE : 0;
        members[class == CLASS_IDLE][i / 64] |= 1ull << (i % 64);
        int64_t credit = (int64_t)v->scope->pairs[i].rotation + router_slot_weight(v->config, l, i);
        if (sender && meeting(sender, l->hashes[i]) >= t->near[SENDER_SOURCES - 1] &&
            credit > -DEBT_MOST * t->weights)
            class |= CLASS_SENDER;
        count_able(&c, i, class, credit);
        if (out->candidates) {
            out->candidates[i].rank = class;
            out->candidates[i].credit = credit;
        }
    }
    memcpy(out->rotating, members[c.best_class >= CLASS_IDLE], sizeof(out->rotating));
    memcpy(out->able, t->able, sizeof(out->able));
    return c;
}

/* One without a cap that is not suspended. */
static bool has_warm_source(const struct view *v)
{
    const struct router_lane *l = v->scope->lane;
    for (int i = 0; i < l->n; i++)
        if (!l->standings[i]->capped && !l->standings[i]->elsewhere &&
            v->config->sources[l->sources[i]].enabled && !is_left_out(v->query, l->sources[i]) &&
            v->wall_ms >= l->standings[i]->suspended_until_ms)
            return true;
    return false;
}

static struct view view_of(const struct router_state *s, const struct router_scope *scope,
                           const struct router_query *q)
{
    int provider = scope->lane->provider_index;
    struct view v = {.state = s, .config = s->config, .scope = scope, .query = q, .sticky = -1};
    if (provider < 0 || scope->lane->n == 0)
        return v;
    v.limits = &s->config->providers[provider].limits;
    v.rule = &s->rules[provider];
    v.sticky = sticky_slot(&v);
    v.wall_ms = router_wall_ms(s, q->now_us);
    v.warm_only = q->tried && v.sticky < 0 && has_warm_source(&v);
    if (!v.limits->total)
        return v;
    const struct total *t = &s->totals[provider];
    v.total_slots_gone =
        v.limits->connections && t->connections >= router_opened_most(s, t->opened, v.limits->connections);
    v.total_rate_gone = !router_bucket_has(v.rule, t->full_at, q->now_us, &v.total_until_us);
    return v;
}

static void tell_losers(struct router_decision *out, const struct router_lane *l)
{
    for (int i = 0; out->candidates && i < l->n; i++)
        if (out->candidates[i].verdict == ROUTER_CHOSEN && l->sources[i] != out->source)
            out->candidates[i].verdict = ROUTER_WEIGHED_OUT;
}

static void tell_held(struct router_decision *out, const struct tally_of_candidates *t)
{
    out->cause = t->cause == ROUTER_DISABLED ? ROUTER_NO_SOURCE : t->cause;
    out->until_us = t->until_us;
}

void router_replay(const struct router_candidate *candidates, int n, struct router_decision *out)
{
    struct choice c = {.best = -1, .second = -1};
    struct tally_of_candidates t = {.cause = ROUTER_NO_SOURCE};
    for (int i = 0; i < n; i++) {
        const struct router_candidate *k = &candidates[i];
        if (k->verdict == ROUTER_CHOSEN || k->verdict == ROUTER_WEIGHED_OUT)
            count_able(&c, i, k->rank, k->credit);
        else
            count_blocked(&t, k->verdict, k->until_us);
    }
    *out = (struct router_decision){.source = c.best, .runner_up = c.second, .cause = ROUTER_CHOSEN};
    if (c.best < 0)
        tell_held(out, &t);
}

void router_decide(const struct router_state *s, const struct router_scope *scope,
                   const struct router_query *q, struct router_decision *out)
{
    struct router_candidate *candidates = out->candidates;
    const struct router_lane *l = scope->lane;
    *out = (struct router_decision){.source = -1,
                                    .runner_up = -1,
                                    .cause = ROUTER_NO_SOURCE,
                                    .state_version = s->version,
                                    .candidates = candidates,
                                    .n_candidates = l->n};
    struct view v = view_of(s, scope, q);
    if (!v.limits)
        return;
    struct tally_of_candidates t = {.cause = ROUTER_NO_SOURCE};
    uint64_t sender = q->sender.len && l->n > SENDER_SOURCES ? hash64(q->sender.ptr, q->sender.len) | 1 : 0;
    judge_all(&v, sender, &t, out);
    if (t.n_able == 0) {
        tell_held(out, &t);
        return;
    }
    struct choice c = choose(&v, sender, &t, out);
    out->source = l->sources[c.best];
    out->cause = ROUTER_CHOSEN;
    out->reuse = (c.best_class & CLASS_IDLE) != 0;
    out->runner_up = c.second >= 0 ? l->sources[c.second] : -1;
    tell_losers(out, l);
}
