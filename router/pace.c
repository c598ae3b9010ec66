/* Additive increase up to what was sent before, by twentieths beyond; multiplicative decrease. */
#include "router/pace.h"

#include "router/tally.h"

static const uint64_t interval_us = PACE_INTERVAL_S * 1000000ull;
static const double useless_least = 0.25, useless_share = 0.75;

static double ceiling_of(const struct pace_bounds *b)
{
    return b->ceiling > 0 ? b->ceiling : PACE_CEILING;
}

static bool is_due(uint64_t last_us, uint64_t now_us)
{
    return last_us == 0 || now_us >= last_us + interval_us;
}

void pace_init(struct pace *p, const struct pace_bounds *b)
{
    *p = (struct pace){.rate = ceiling_of(b)};
}

static double floor_of(const struct pace_bounds *b)
{
    return b->floor < ceiling_of(b) ? b->floor : ceiling_of(b);
}

/* What was really sent before it was slowed down; a decrease on the way back changes nothing of it. */
static void slow_from(struct pace *p, const struct pace_bounds *b, double sent)
{
    double least = floor_of(b) * PACE_FROM_FLOORS;
    if (p->from <= 0 || p->rate >= p->from)
        p->from = sent > least ? sent : least;
}

static double sent_lately(const struct pace *p, double observed)
{
    return observed > 0 && observed < p->rate ? observed : p->rate;
}

/* One more refusal: the share, and whether the last decrease made it less. */
static bool is_useless(struct pace *p, uint64_t now_us)
{
    double n = p->taken + p->refused, share = p->refused / n;
    if (n < PACE_PROOF)
        return now_us < p->useless_us;
    bool mostly = share_low(p->refused, n) > 0.5;
    bool helped = p->share <= 0 || share < useless_least || share < useless_share * p->share;
    if (mostly)
        p->useless_us = 0;
    else if (!helped && now_us >= p->useless_us)
        p->useless_us = now_us + PACE_USELESS_S * 1000000ull;
    p->share = share;
    p->taken = p->refused = 0;
    return now_us < p->useless_us;
}

void pace_slower(struct pace *p, const struct pace_bounds *b, double observed, uint64_t now_us)
{
    p->refused++;
    if (!is_due(p->decreased_us, now_us))
        return;
    if (is_useless(p, now_us)) {
        p->decreased_us = now_us;
        return;
    }
    double sent = sent_lately(p, observed), least = floor_of(b);
    slow_from(p, b, sent);
    p->rate = sent / 2 > least ? sent / 2 : least;
    p->decreased_us = p->increased_us = now_us;
}

void pace_to_floor(struct pace *p, const struct pace_bounds *b, double observed, uint64_t now_us)
{
    slow_from(p, b, sent_lately(p, observed));
    p->rate = b->floor < p->rate ? b->floor : p->rate;
    p->increased_us = now_us;
}

void pace_fewer(struct pace *p, const struct pace_bounds *b, uint32_t open, uint64_t now_us)
{
    double kept =
        open > 1 ? open - 1 : 1; /* of a burst each refusal takes one away: the accepted ones are left */
    if (b->connections && b->connections < kept)
        kept = b->connections;
    if (p->connections <= 0 || kept < p->connections)
        p->connections = kept;
    if (is_due(p->fewer_us, now_us)) {
        p->probes = p->probes + 2 < PACE_PROBES_MOST ? p->probes + 2 : PACE_PROBES_MOST;
        p->fewer_us = now_us;
    }
    p->more_us = now_us;
}

void pace_stop(struct pace *p, uint64_t asked_us, uint64_t now_us)
{
    uint64_t wait_us = asked_us;
    if (!wait_us) {
        uint32_t doubled = p->stops < 6 ? p->stops : 6;
        uint64_t wait_s = (uint64_t)PACE_BACKOFF_S << doubled;
        wait_us = (wait_s < PACE_BACKOFF_MOST_S ? wait_s : PACE_BACKOFF_MOST_S) * 1000000ull;
    }
    if (p->until_us > now_us) { /* answers to what was in hand already: the same stop */
        if (asked_us && now_us + asked_us > p->until_us)
            p->until_us = now_us + asked_us;
        return;
    }
    p->until_us = now_us + wait_us;
    p->stops++;
}

void pace_trouble(struct pace *p, uint64_t now_us)
{
    if (p->until_us > now_us || ++p->troubles < PACE_TROUBLES)
        return;
    uint32_t doubled = p->troubles - PACE_TROUBLES < 5 ? p->troubles - PACE_TROUBLES : 5;
    uint64_t wait_s = (uint64_t)PACE_TROUBLE_S << doubled;
    p->until_us = now_us + (wait_s < PACE_TROUBLE_MOST_S ? wait_s : PACE_TROUBLE_MOST_S) * 1000000ull;
}

bool pace_is_outage(const struct pace *p)
{
    return p->troubles >= PACE_TROUBLES;
}

void pace_works(struct pace *p)
{
    p->troubles = 0;
}

/* By what was sent before, and faster beyond that. */
static void quicken(struct pace *p, const struct pace_bounds *b, uint64_t now_us)
{
    double ceiling = ceiling_of(b);
    if (p->rate >= ceiling || !is_due(p->increased_us, now_us))
        return;
    slow_from(p, b, p->rate);
    p->rate += p->from / PACE_STEPS;
    if (p->rate > ceiling)
        p->rate = ceiling;
    p->increased_us = now_us;
}

/* One more, the more seldom the oftener that was refused. */
static void widen(struct pace *p, const struct pace_bounds *b, uint64_t now_us)
{
    double most = b->connections ? b->connections : PACE_CONNECTIONS;
    if (p->connections <= 0 || now_us < p->more_us + (interval_us << p->probes))
        return;
    p->connections = p->connections + 1 < most ? p->connections + 1 : 0;
    p->probes -= p->probes > 0;
    p->more_us = now_us;
}

void pace_accepted(struct pace *p, const struct pace_bounds *b, uint64_t now_us)
{
    p->stops = p->troubles = 0;
    p->taken++;
    quicken(p, b, now_us);
    widen(p, b, now_us);
}

bool pace_is_full(const struct pace *p, const struct pace_bounds *b, uint64_t now_us)
{
    return p->rate >= ceiling_of(b) && p->connections == 0 && p->until_us <= now_us && p->stops == 0;
}

uint32_t pace_connections(const struct pace *p)
{
    if (pace_is_outage(p))
        return 1;
    return p->connections > 0 ? (uint32_t)p->connections : UINT32_MAX;
}
