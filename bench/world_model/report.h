/* What a run came to, as a line or as JSON. */
#ifndef REMUDA_BENCH_REPORT_H
#define REMUDA_BENCH_REPORT_H

#include "bench/world_model/scenario.h"

/* Only mail that could be delivered: a good mailbox, no spam, an authenticated domain. */
struct outcome {
    uint64_t submitted, within_hour, within_day, late, lost; /* lost: bounced or expired */
};

struct result {
    struct outcome all, innocent; /* innocent: of tenants that are no culprits */
    uint64_t messages, attempts;
    uint64_t refused; /* attempts refused for the source: too fast, standing, block, list, connections */
    uint64_t blocked_hours; /* hours of a (source, receiver) under the receiver's own block */
    uint64_t said[SAYINGS];
    bool has_new;
    int full_day; /* from which on the new sources carry their share; -1: never */
    /* for finding full_day */
    uint64_t delivered[WORLD_DAYS_MOST][WORLD_SOURCES_MOST];
    struct outcome days[WORLD_DAYS_MOST];
};

/* After the run. */
void result_finish(struct result *r, const struct scenario *s);
void result_heading(void);
/* rivals: whom it is compared with (bench/world_model/verdict.h), ended by one without a name. */
struct rival;
void result_print(const struct result *r, const struct scenario *s, const char *strategy,
                  const struct rival *rivals, bool json);

#endif
