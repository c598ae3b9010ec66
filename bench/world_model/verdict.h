/*
 * Whether one strategy's run of a scenario beats another's. What is compared, and by how much a difference
 * has to be to count, was written down before the router was worked on with it; docs/WORLD.md gives the
 * reasons.
 */
#ifndef REMUDA_BENCH_VERDICT_H
#define REMUDA_BENCH_VERDICT_H

#include "bench/world_model/report.h"

enum metric {
    METRIC_HOUR,     /* % of the deliverable mail not delivered within an hour */
    METRIC_DAY,      /* ... within a day */
    METRIC_BLOCKED,  /* hours of pairs under a receiver's block */
    METRIC_FULL,     /* day from which on the new sources carry their share; never: the scenario's days */
    METRIC_INNOCENT, /* % of the innocent tenants' mail not delivered within an hour: late or lost */
    METRIC_INNOCENT_LOST, /* % of it lost */
    METRICS
};
extern const char *const metric_words[METRICS];

struct verdict {
    bool better[METRICS], worse[METRICS]; /* clearly better; worse beyond noise */
};

struct rival {
    const char *strategy; /* NULL: the last has been before this one */
    struct verdict verdict;
};

/* All metrics of a run; less is better. Below 0: the scenario has no such metric. */
void verdict_metrics(const struct result *r, const struct scenario *s, double out[METRICS]);
struct verdict verdict_of(const double mine[METRICS], const double other[METRICS]);
/* "wins": something is clearly better and nothing worse; "loses": something is worse and nothing clearly
 * better; "mixed": both; "even": neither. */
const char *verdict_text(const struct verdict *v);

#endif
