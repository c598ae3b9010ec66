/* Tenants at a provider: judged by their counts, slowed down by a pace of their own. */
#include "router/tenant.h"

#include <math.h>
#include <stdlib.h>

#include "lib/base/err.h"
#include "router/reputation.h"
#include "router/state_private.h"

enum { DAY_S = 86400, WEEK_S = 7 * DAY_S, SLACK_US = 20000 };

/* Slowed down while next to nothing had been sent: it began at so many times the floor. */
static const double base_floors = 10;

const struct tenant_bounds tenant_bounds_default = {
    .bad_mailbox = 0.10, .complaint = 0.005, .refused = 0.10, .volume = 100};

/* A token at a time, and what SLACK_US bring. */
struct tenant_pace {
    struct pace pace;
    double base;      /* rate when it was slowed down first: its ceiling */
    uint64_t next_us; /* when the next may go */
    bool held;        /* by the verdict */
};

/* ---- verdicts ---- */

const char *tenant_verdict_text(enum tenant_verdict v)
{
    return v == TENANT_QUARANTINE ? "quarantine" : v == TENANT_SLOW ? "slow" : "fine";
}

static double not_negative(double n)
{
    return n > 0 ? n : 0;
}

static struct tenant_window window_plus(struct tenant_window a, struct tenant_window b, double factor)
{
    return (struct tenant_window){.recipients = not_negative(a.recipients + factor * b.recipients),
                                  .bad_mailbox = not_negative(a.bad_mailbox + factor * b.bad_mailbox),
                                  .complaint = not_negative(a.complaint + factor * b.complaint),
                                  .refused = not_negative(a.refused + factor * b.refused),
                                  .deferred = not_negative(a.deferred + factor * b.deferred)};
}

struct tenant_counts tenant_counts_plus(struct tenant_counts a, struct tenant_counts b, double factor)
{
    return (struct tenant_counts){window_plus(a.day, b.day, factor), window_plus(a.week, b.week, factor)};
}

static struct tenant_window faded(struct tenant_window w, double half_lives)
{
    return window_plus((struct tenant_window){0}, w, exp2(-half_lives));
}

struct tenant_counts tenant_counts_faded(struct tenant_counts c, uint64_t passed_s)
{
    return (struct tenant_counts){faded(c.day, (double)passed_s / DAY_S),
                                  faded(c.week, (double)passed_s / WEEK_S)};
}

static struct tenant_window window_of(const struct tally *t, enum tally_window window)
{
    const double *n = t->n[window];
    return (struct tenant_window){tally_sum(t, window), n[TALLY_BAD_MAILBOX], n[TALLY_COMPLAINT],
                                  n[TALLY_BLOCKED], n[TALLY_DEFERRED]};
}

struct tenant_counts tenant_counts_of(const struct tally *t, uint64_t at_s)
{
    struct tenant_counts c = {window_of(t, TALLY_DAY), window_of(t, TALLY_WEEK)};
    return tenant_counts_faded(c, at_s > t->at_s ? at_s - t->at_s : 0);
}

struct tenant_bounds tenant_slow_bounds(const struct tenant_bounds *b)
{
    return (struct tenant_bounds){b->bad_mailbox / 2, b->complaint / 5, b->refused / 2, b->volume};
}

static bool is_over(const struct tenant_window *w, const struct tenant_bounds *b)
{
    return share_low(w->bad_mailbox, w->recipients) > b->bad_mailbox ||
           share_low(w->complaint, w->recipients) > b->complaint ||
           share_low(w->refused, w->recipients) > b->refused;
}

static bool share_under(double k, double n, double bound)
{
    return share_high(k, n) <= bound || k <= n * bound / 2;
}

static bool is_under(const struct tenant_window *w, const struct tenant_bounds *b)
{
    return share_under(w->bad_mailbox, w->recipients, b->bad_mailbox) &&
           share_under(w->complaint, w->recipients, b->complaint) &&
           share_under(w->refused, w->recipients, b->refused);
}

static void look(const struct tenant_counts *c, struct tenant_view *out)
{
    const struct tenant_window *d = &c->day;
    double n = d->recipients;
    *out = (struct tenant_view){*c,
                                share_low(d->bad_mailbox, n),
                                share_high(d->bad_mailbox, n),
                                share_low(d->complaint, n),
                                share_high(d->complaint, n),
                                share_low(d->refused, n),
                                share_high(d->refused, n)};
}

enum tenant_verdict tenant_judge(const struct tenant_counts *c, const struct tenant_bounds *b,
                                 enum tenant_verdict before, struct tenant_view *view)
{
    struct tenant_bounds slow = tenant_slow_bounds(b);
    if (view)
        look(c, view);
    if (before == TENANT_QUARANTINE && c->week.recipients >= b->volume && !is_under(&c->week, &slow))
        return TENANT_QUARANTINE;
    if (c->day.recipients < b->volume)
        return TENANT_FINE;
    if (is_over(&c->day, b))
        return TENANT_QUARANTINE;
    bool is_slow = before == TENANT_FINE ? is_over(&c->day, &slow) : !is_under(&c->day, &slow);
    return is_slow ? TENANT_SLOW : TENANT_FINE;
}

enum tenant_verdict tenant_verdict(const struct router_state *s, struct span tenant, struct span provider,
                                   const struct tenant_bounds *bounds, enum tenant_verdict before,
                                   struct tenant_view *view)
{
    const struct tenant_standing *t = router_tenant_find(s, tenant, provider);
    struct tenant_counts counts = {0};
    if (t)
        counts = tenant_counts_of(&t->tally, t->tally.at_s);
    return tenant_judge(&counts, bounds, before, view);
}

/* ---- pace ---- */

static struct tenant_standing *paced(const struct router_state *s, struct span tenant, struct span provider)
{
    struct tenant_standing *t = s->n_paced ? router_tenant_find(s, tenant, provider) : NULL;
    return t && t->pace ? t : NULL;
}

bool router_tenant_may(const struct router_state *s, struct span tenant, struct span provider,
                       uint64_t now_us, uint64_t *until_us)
{
    const struct tenant_standing *t = paced(s, tenant, provider);
    if (!t || now_us >= t->pace->next_us)
        return true;
    *until_us = t->pace->next_us;
    return false;
}

void router_tenant_take(struct router_state *s, struct span tenant, struct span provider, uint64_t now_us)
{
    struct tenant_standing *t = paced(s, tenant, provider);
    if (!t)
        return;
    uint64_t from = now_us > SLACK_US ? now_us - SLACK_US : 0;
    if (t->pace->next_us > from)
        from = t->pace->next_us;
    t->pace->next_us = from + (uint64_t)(1e6 / t->pace->pace.rate);
}

double router_tenant_pace(const struct router_state *s, struct span tenant, struct span provider)
{
    const struct tenant_standing *t = paced(s, tenant, provider);
    return t ? t->pace->pace.rate : 0;
}

static struct pace_bounds bounds_of(const struct router_state *s, const struct tenant_standing *t)
{
    int provider = router_provider_find(s->config, span_str(t->provider));
    struct pace_bounds b = router_pace_bounds(s->config, provider >= 0 ? provider : ROUTER_OTHER);
    return (struct pace_bounds){.floor = b.floor, .ceiling = t->pace ? t->pace->base : 0};
}

static double observed_rate(const struct tenant_standing *t, uint64_t now_us)
{
    double passed = (double)(now_us / 1000000) - t->recent_s;
    return t->recent * exp2(-passed / RECENT_HALF_LIFE_S) * log(2) / RECENT_HALF_LIFE_S;
}

void router_tenant_seen(struct tenant_standing *t, double n, uint64_t now_us)
{
    uint32_t now_s = (uint32_t)(now_us / 1000000);
    if (t->recent > 0 && now_s > t->recent_s)
        t->recent *= exp2f(-(float)(now_s - t->recent_s) / RECENT_HALF_LIFE_S);
    t->recent += (float)n;
    t->recent_s = now_s;
}

static void pace_need(struct router_state *s, struct tenant_standing *t, uint64_t now_us)
{
    if (t->pace)
        return;
    double least = bounds_of(s, t).floor * base_floors, observed = observed_rate(t, now_us);
    t->pace = calloc(1, sizeof(*t->pace));
    ENSURE(t->pace);
    s->n_paced++;
    t->pace->base = observed > least ? observed : least;
    struct pace_bounds b = bounds_of(s, t);
    pace_init(&t->pace->pace, &b);
}

void router_tenant_slower(struct router_state *s, struct tenant_standing *t, uint64_t now_us)
{
    pace_need(s, t, now_us);
    struct pace_bounds b = bounds_of(s, t);
    pace_slower(&t->pace->pace, &b, observed_rate(t, now_us), now_us);
    s->version++;
}

void router_tenant_refused(struct router_state *s, struct tenant_standing *t, uint64_t now_us)
{
    bool refused_before = t->pace && t->pace->pace.stops > 0;
    if (!refused_before && !reputation_is_blocked(&t->tally))
        return;
    pace_need(s, t, now_us);
    pace_stop(&t->pace->pace, 0, now_us);
    if (t->pace->next_us < t->pace->pace.until_us)
        t->pace->next_us = t->pace->pace.until_us;
    s->version++;
}

void router_tenant_pace_free(struct router_state *s, struct tenant_standing *t)
{
    if (t->pace)
        s->n_paced--;
    free(t->pace);
    t->pace = NULL;
}

void router_tenant_accepted(struct router_state *s, struct tenant_standing *t, uint64_t now_us)
{
    struct tenant_pace *p = t->pace;
    if (!p)
        return;
    struct pace_bounds b = bounds_of(s, t);
    pace_accepted(&p->pace, &b, now_us);
    if (p->held && p->pace.rate > p->base / 2)
        p->pace.rate = p->base / 2;
    else if (pace_is_full(&p->pace, &b, now_us))
        router_tenant_pace_free(s, t);
}

void router_tenant_hold(struct router_state *s, struct span tenant, struct span provider, bool slow,
                        uint64_t now_us)
{
    struct tenant_standing *t = router_tenant_find(s, tenant, provider);
    int index = router_provider_find(s->config, provider);
    if (slow && !t && index >= 0)
        t = router_tenant_get(s, tenant, s->config->providers[index].name);
    if (!t || (t->pace && t->pace->held) == slow)
        return;
    if (!slow) {
        t->pace->held = false; /* what is accepted gives the rest back */
        return;
    }
    pace_need(s, t, now_us);
    t->pace->held = true;
    if (t->pace->pace.rate > t->pace->base / 2)
        t->pace->pace.rate = t->pace->base / 2;
    t->pace->pace.decreased_us = t->pace->pace.increased_us = now_us;
    s->version++;
}
