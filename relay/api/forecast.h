/*
 * When a lane's backlog will be gone: by what went out lately, and by what its sources may send at most; the
 * later of them counts. An estimate that says what it is made of. Pure.
 */
#ifndef REMUDA_RELAY_API_FORECAST_H
#define REMUDA_RELAY_API_FORECAST_H

#include <stdbool.h>
#include <stdint.h>

enum forecast_basis {
    FORECAST_NOTHING_WAITS,
    FORECAST_THROUGHPUT, /* waiting / what went out a second in the last minutes */
    FORECAST_RATE,       /* waiting / what rates and paces allow a second */
    FORECAST_CAP,        /* today's and the next days' warm-up caps, as they are today */
    FORECAST_RETRY,      /* the last of what was deferred is due then */
    FORECAST_NO_SOURCE,  /* never: none of the sources may send */
    FORECAST_UNKNOWN,    /* nothing went out lately and nothing limits it */
};
/* "throughput", "cap", ... */
const char *forecast_basis_text(enum forecast_basis b);

struct forecast_lane {
    uint64_t now_ms;        /* wall clock */
    uint64_t waiting;       /* submissions asked about */
    uint64_t waiting_all;   /* in the lane: they share its rates and caps */
    double gone;            /* a second, lately */
    uint64_t usable;        /* sources that may send */
    uint64_t uncapped;      /* of these, without a warm-up cap */
    uint64_t cap_left;      /* of all caps, today (UTC) */
    uint64_t cap_day;       /* all caps of a day */
    double rate;            /* a second, at most; 0: no limit */
    uint64_t last_retry_ms; /* wall clock; 0: nothing is deferred */
};

struct forecast {
    enum forecast_basis basis;
    uint64_t in_ms; /* from now_ms; 0 with NOTHING_WAITS, NO_SOURCE and UNKNOWN */
};

struct forecast forecast_of(const struct forecast_lane *l);
/* The one that is later; what never ends, or is not known, is later than any time. */
struct forecast forecast_later(struct forecast a, struct forecast b);

#endif
