/*
 * The pace of a pair: how fast, over how many connections, and whether at all, learned from answers. Additive
 * increase while the receiver accepts, by steps of what was really sent before it was slowed and growing once
 * that is passed; multiplicative decrease when it says "slow down"; at most one change of a kind in an
 * interval. A pair that was never slowed down has no struct pace: the provider's limits hold. Pure; times on
 * the boot clock.
 */
#ifndef REMUDA_ROUTER_PACE_H
#define REMUDA_ROUTER_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* Bounds of a provider; a ceiling of 0: the provider publishes none, PACE_CEILING stands for it. */
struct pace_bounds {
    double floor, ceiling; /* messages a second, from one source */
    uint32_t connections;  /* 0: no limit */
};

enum {
    PACE_INTERVAL_S = 30,   /* at most one decrease, and one increase, in it */
    PACE_CEILING = 1000,    /* messages a second */
    PACE_STEPS = 20,        /* increases from nothing to what was sent before: ten minutes */
    PACE_FROM_FLOORS = 10,  /* steps are of so many times the floor at least */
    PACE_PROOF = 10,        /* answers that a share of refused ones is taken from */
    PACE_USELESS_S = 600,   /* a decrease that did not help is not repeated for so long */
    PACE_PROBES_MOST = 7,   /* an hour until one more connection is tried */
    PACE_CONNECTIONS = 256, /* allowed without a refusal: as good as no bound */
    PACE_BACKOFF_S = 60,    /* first full stop; doubles while no message is accepted in between */
    PACE_BACKOFF_MOST_S = 3600,
    PACE_TROUBLES = 10,  /* attempts in a row that meet nothing but the receiver's trouble: then it waits */
    PACE_TROUBLE_S = 10, /* so long until the next is tried, doubled each time */
    PACE_TROUBLE_MOST_S = 300,
};

struct pace {
    double rate;           /* messages a second; the ceiling: not slowed down */
    double from;           /* what was sent before it was slowed; 0: not slowed down */
    double taken, refused; /* answers since the last share was taken */
    double share;          /* refused, of the PACE_PROOF or more answers before them; 0: none yet */
    uint64_t useless_us;   /* being slow does not help: no decrease until then, unless most is refused */
    double connections;    /* 0: not limited by what was learned */
    uint32_t probes;       /* each doubles the time until one more is tried */
    uint64_t decreased_us, increased_us;
    uint64_t fewer_us, more_us; /* the same for connections, but that they fall at once */
    uint64_t until_us;          /* full stop until then; 0: none */
    uint32_t troubles;          /* in a row, without a stop in between */
    uint32_t stops;             /* since the last accepted message: doubles the next stop */
};

void pace_init(struct pace *p, const struct pace_bounds *b);
/* The receiver said "slow down". observed: messages a second that were really sent lately, so that the first
 * decrease is felt. No decrease while decreases are of no use: after one the receiver refuses as large a
 * share as before, a quarter or more, and takes as much as it refuses. It means something else than the rate.
 */
void pace_slower(struct pace *p, const struct pace_bounds *b, double observed, uint64_t now_us);
/* It will come back at its floor, and grow from there as after a decrease from observed. */
void pace_to_floor(struct pace *p, const struct pace_bounds *b, double observed, uint64_t now_us);
/* The receiver said "too many connections" while so many were open, the refused one among them. */
void pace_fewer(struct pace *p, const struct pace_bounds *b, uint32_t open, uint64_t now_us);
/* A full stop: for asked_us, or when that is 0 for a minute, doubled each time in a row up to an hour. */
void pace_stop(struct pace *p, uint64_t asked_us, uint64_t now_us);
/* No answer, or the receiver's own trouble. Many in a row are an outage: mail is held, not tried and deferred
 * message by message, and one attempt every few minutes finds out when it is over. */
void pace_trouble(struct pace *p, uint64_t now_us);
/* It is such an outage, and not over yet. */
bool pace_is_outage(const struct pace *p);
/* It said something else. */
void pace_works(struct pace *p);
/* The receiver accepted a message. */
void pace_accepted(struct pace *p, const struct pace_bounds *b, uint64_t now_us);
/* Nothing of it binds any more: as if it had never been slowed down. */
bool pace_is_full(const struct pace *p, const struct pace_bounds *b, uint64_t now_us);
/* Connections allowed by what was learned, at least 1; UINT32_MAX for no bound. */
uint32_t pace_connections(const struct pace *p);

#endif
