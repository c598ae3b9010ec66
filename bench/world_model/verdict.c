/* The bounds of docs/WORLD.md, "What counts as winning". */
#include "bench/world_model/verdict.h"

#include <math.h>

const char *const metric_words[METRICS] = {"hour", "day", "blocked", "full", "innocent", "innocent-lost"};

/* Worse: by more than both. Clearly better: by at least a quarter, and by at least the step. */
static const struct bounds {
    double worse_share, worse_step, better_step;
} bounds[METRICS] = {
    [METRIC_HOUR] = {0.05, 0.05, 0.1},     [METRIC_DAY] = {0.05, 0.05, 0.1},
    [METRIC_BLOCKED] = {0.05, 24, 24},     [METRIC_FULL] = {0, 1, 2},
    [METRIC_INNOCENT] = {0.05, 0.05, 0.1}, [METRIC_INNOCENT_LOST] = {0.05, 0.05, 0.1},
};
static const double better_share = 0.25;

static double missing_percent(uint64_t n, uint64_t of)
{
    return of ? 100.0 * (double)(of - n) / (double)of : 0;
}

void verdict_metrics(const struct result *r, const struct scenario *s, double out[METRICS])
{
    const struct outcome *all = &r->all, *innocent = &r->innocent;
    bool harms = scenario_has_culprit(s);
    out[METRIC_HOUR] = missing_percent(all->within_hour, all->submitted);
    out[METRIC_DAY] = missing_percent(all->within_day, all->submitted);
    out[METRIC_BLOCKED] = (double)r->blocked_hours;
    out[METRIC_FULL] = r->full_day < 0 ? (double)s->days : r->full_day;
    if (!r->has_new)
        out[METRIC_FULL] = -1;
    out[METRIC_INNOCENT] = harms ? missing_percent(innocent->within_hour, innocent->submitted) : -1;
    out[METRIC_INNOCENT_LOST] =
        harms ? missing_percent(innocent->submitted - innocent->lost, innocent->submitted) : -1;
}

struct verdict verdict_of(const double mine[METRICS], const double other[METRICS])
{
    struct verdict v = {{false}, {false}};
    for (int m = 0; m < METRICS; m++) {
        double more = mine[m] - other[m];
        if (mine[m] < 0 || other[m] < 0)
            continue;
        v.worse[m] = more > fmax(other[m] * bounds[m].worse_share, bounds[m].worse_step);
        v.better[m] = -more >= fmax(m == METRIC_FULL ? 0 : other[m] * better_share, bounds[m].better_step);
    }
    return v;
}

const char *verdict_text(const struct verdict *v)
{
    bool better = false, worse = false;
    for (int m = 0; m < METRICS; m++) {
        better |= v->better[m];
        worse |= v->worse[m];
    }
    return better && worse ? "mixed" : better ? "wins" : worse ? "loses" : "even";
}
