/*
 * Counters, gauges and histograms from one table (name, type, help, labels), printed as Prometheus text.
 * Hot path: a metric without labels is an atomic add on a per-thread-friendly cell; label sets are looked
 * up once and the cell pointer kept. docs/METRICS.md is generated from the table.
 */
#ifndef REMUDA_LIB_BASE_METRICS_H
#define REMUDA_LIB_BASE_METRICS_H

#include <stdint.h>

#include "lib/base/buf.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_def {
    const char *name; /* remuda_..., unit suffix as Prometheus asks: _total, _seconds, _bytes */
    enum metric_type type;
    const char *help;
    const char *labels[4]; /* NULL-terminated names; none: {NULL} */
    const double *buckets; /* histograms: ascending upper bounds in the metric's unit, without +Inf */
    int n_buckets;
};

struct metrics;
struct metric_cell; /* one time series; valid as long as its struct metrics */

/* defs: n rows, borrowed for the life of the object. Aborts on a malformed name (a bug). */
struct metrics *metrics_new(const struct metric_def *defs, int n);
void metrics_free(struct metrics *m);

/*
 * The cell of row def (index into the table) with these label values (as many as the row has labels; NULL
 * when none). Created at first use, so that a metric without labels shows 0. Takes a lock: keep the pointer.
 */
struct metric_cell *metrics_cell(struct metrics *m, int def, const char *const *label_values);

/* Any thread, no lock. */
void metric_add(struct metric_cell *c, uint64_t n);   /* counter */
void metric_set(struct metric_cell *c, int64_t v);    /* gauge */
void metric_inc(struct metric_cell *c, int64_t by);   /* gauge, by may be negative */
void metric_observe(struct metric_cell *c, double v); /* histogram */
int64_t metric_value(const struct metric_cell *c);    /* counter or gauge; histogram: count */

/* Appends the Prometheus text exposition of all cells, rows in table order. Any thread. */
void metrics_render(struct metrics *m, struct buf *out);
/* The same for a metric that has no cells, because whoever is asked computes it: its two comment lines, then
 * a sample with these label values (as for metrics_cell). */
void metrics_put_head(const struct metric_def *def, struct buf *out);
void metrics_put_sample(const struct metric_def *def, const char *const *label_values, double v,
                        struct buf *out);
/* Appends docs/METRICS.md's table. */
void metrics_document(const struct metric_def *defs, int n, struct buf *out);

#endif
