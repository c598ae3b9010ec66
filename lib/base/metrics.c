/*
 * Rows of the metric table, their time series (cells) and the Prometheus text. Cells are made under a lock
 * and then only touched by atomic operations; who counts what is the owner's of the table.
 */
#include "lib/base/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/err.h"
#include "lib/base/map.h"
#include "lib/base/utf8.h"

enum { CACHE_LINE = 64 };

/* On a cache line of its own, so that threads that count different things don't slow each other. */
struct metric_cell {
    _Alignas(CACHE_LINE) _Atomic int64_t value; /* counter, gauge */
    _Atomic uint64_t sum_bits;                  /* histogram: the sum, a double's bits */
    const struct metric_def *def;
    char *labels;            /* as printed: a="x",b="y"; empty when none */
    _Atomic uint64_t hits[]; /* histogram: n_buckets + 1, not cumulated */
};

struct row {
    struct map by_labels;
    struct metric_cell **cells; /* in the order of their making */
    size_t n_cells;
};

struct metrics {
    const struct metric_def *defs;
    int n;
    pthread_mutex_t lock; /* rows */
    struct row rows[];
};

static bool name_is_legal(const char *s)
{
    for (const char *p = s; *p; p++) {
        bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || *p == '_';
        if (!letter && !(p > s && *p >= '0' && *p <= '9'))
            return false;
    }
    return *s != '\0';
}

static int label_count(const struct metric_def *def)
{
    int n = 0;
    while (n < 4 && def->labels[n])
        n++;
    return n;
}

static void check_row(const struct metric_def *def)
{
    ENSURE(name_is_legal(def->name) && def->help && *def->help);
    ENSURE((def->type == METRIC_COUNTER) == span_iends(span_str(def->name), SPAN_LIT("_total")));
    for (int i = 0; i < label_count(def); i++)
        ENSURE(name_is_legal(def->labels[i]) && strcmp(def->labels[i], "le") != 0);
    ENSURE(def->type != METRIC_HISTOGRAM || (def->buckets && def->n_buckets > 0));
    for (int i = 1; def->type == METRIC_HISTOGRAM && i < def->n_buckets; i++)
        ENSURE(def->buckets[i - 1] < def->buckets[i]);
}

struct metrics *metrics_new(const struct metric_def *defs, int n)
{
    struct metrics *m = calloc(1, sizeof(*m) + (size_t)n * sizeof(m->rows[0]));
    ENSURE(m);
    m->defs = defs;
    m->n = n;
    ENSURE(pthread_mutex_init(&m->lock, NULL) == 0);
    for (int i = 0; i < n; i++) {
        check_row(&defs[i]);
        for (int j = 0; j < i; j++)
            ENSURE(strcmp(defs[i].name, defs[j].name) != 0);
        if (label_count(&defs[i]) == 0)
            metrics_cell(m, i, NULL);
    }
    return m;
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    for (int i = 0; i < m->n; i++) {
        for (size_t k = 0; k < m->rows[i].n_cells; k++) {
            free(m->rows[i].cells[k]->labels);
            free(m->rows[i].cells[k]);
        }
        free(m->rows[i].cells);
        map_fini(&m->rows[i].by_labels);
    }
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* Escapes backslash, newline and, in label values, the quote; malformed UTF-8 becomes '?'. */
static void put_escaped(struct buf *out, struct span s, bool quoted)
{
    while (s.len) {
        size_t n = utf8_sequence(s);
        char c = s.ptr[0];
        if (n == 0)
            buf_add_char(out, '?');
        else if (c == '\\' || (quoted && c == '"'))
            buf_printf(out, "\\%c", c);
        else if (c == '\n')
            buf_add_str(out, "\\n");
        else
            buf_add(out, s.ptr, n);
        n = n ? n : 1;
        s = span_of(s.ptr + n, s.len - n);
    }
}

static void put_labels(struct buf *out, const struct metric_def *def, const char *const *values)
{
    for (int i = 0; i < label_count(def); i++) {
        ENSURE(values);
        buf_printf(out, "%s%s=\"", i ? "," : "", def->labels[i]);
        put_escaped(out, span_str(values[i]), true);
        buf_add_char(out, '"');
    }
}

static struct metric_cell *new_cell(const struct metric_def *def, struct buf *labels)
{
    size_t hits = def->type == METRIC_HISTOGRAM ? (size_t)def->n_buckets + 1 : 0;
    size_t size = sizeof(struct metric_cell) + hits * sizeof(_Atomic uint64_t);
    size = (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    struct metric_cell *c = aligned_alloc(CACHE_LINE, size);
    ENSURE(c);
    memset(c, 0, size);
    c->def = def;
    c->labels = buf_take(labels);
    return c;
}

struct metric_cell *metrics_cell(struct metrics *m, int def, const char *const *label_values)
{
    ENSURE(def >= 0 && def < m->n);
    struct row *row = &m->rows[def];
    struct buf labels = BUF_INIT;
    put_labels(&labels, &m->defs[def], label_values);
    pthread_mutex_lock(&m->lock);
    struct metric_cell *c = map_get(&row->by_labels, buf_span(&labels));
    if (!c) {
        struct metric_cell **cells = realloc(row->cells, (row->n_cells + 1) * sizeof(struct metric_cell *));
        ENSURE(cells);
        row->cells = cells;
        c = new_cell(&m->defs[def], &labels);
        row->cells[row->n_cells++] = c;
        map_put(&row->by_labels, span_str(c->labels), c);
    }
    pthread_mutex_unlock(&m->lock);
    buf_fini(&labels);
    return c;
}

void metric_add(struct metric_cell *c, uint64_t n)
{
    atomic_fetch_add_explicit(&c->value, (int64_t)n, memory_order_relaxed);
}

void metric_set(struct metric_cell *c, int64_t v)
{
    atomic_store_explicit(&c->value, v, memory_order_relaxed);
}

void metric_inc(struct metric_cell *c, int64_t by)
{
    atomic_fetch_add_explicit(&c->value, by, memory_order_relaxed);
}

static double as_double(uint64_t bits)
{
    double d;
    memcpy(&d, &bits, sizeof(d));
    return d;
}

static uint64_t as_bits(double d)
{
    uint64_t bits;
    memcpy(&bits, &d, sizeof(bits));
    return bits;
}

void metric_observe(struct metric_cell *c, double v)
{
    int i = 0;
    while (i < c->def->n_buckets && v > c->def->buckets[i])
        i++;
    atomic_fetch_add_explicit(&c->hits[i], 1, memory_order_relaxed);
    uint64_t old = atomic_load_explicit(&c->sum_bits, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&c->sum_bits, &old, as_bits(as_double(old) + v),
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

int64_t metric_value(const struct metric_cell *c)
{
    if (c->def->type != METRIC_HISTOGRAM)
        return atomic_load_explicit(&c->value, memory_order_relaxed);
    int64_t n = 0;
    for (int i = 0; i <= c->def->n_buckets; i++)
        n += (int64_t)atomic_load_explicit(&c->hits[i], memory_order_relaxed);
    return n;
}

static void render_histogram(struct buf *out, const struct metric_cell *c)
{
    const struct metric_def *def = c->def;
    const char *comma = *c->labels ? "," : "";
    uint64_t n = 0;
    for (int i = 0; i <= def->n_buckets; i++) {
        n += atomic_load_explicit(&c->hits[i], memory_order_relaxed);
        buf_printf(out, "%s_bucket{%s%sle=\"", def->name, c->labels, comma);
        if (i < def->n_buckets)
            buf_printf(out, "%.15g", def->buckets[i]);
        else
            buf_add_str(out, "+Inf");
        buf_printf(out, "\"} %llu\n", (unsigned long long)n);
    }
    const char *open = *c->labels ? "{" : "", *close = *c->labels ? "}" : "";
    double sum = as_double(atomic_load_explicit(&c->sum_bits, memory_order_relaxed));
    buf_printf(out, "%s_sum%s%s%s %.15g\n", def->name, open, c->labels, close, sum);
    /* The count is what the buckets add up to, also while others observe. */
    buf_printf(out, "%s_count%s%s%s %llu\n", def->name, open, c->labels, close, (unsigned long long)n);
}

static void render_cell(struct buf *out, const struct metric_cell *c)
{
    if (c->def->type == METRIC_HISTOGRAM) {
        render_histogram(out, c);
        return;
    }
    buf_add_str(out, c->def->name);
    if (*c->labels)
        buf_printf(out, "{%s}", c->labels);
    int64_t v = metric_value(c);
    if (c->def->type == METRIC_COUNTER)
        buf_printf(out, " %llu\n", (unsigned long long)v);
    else
        buf_printf(out, " %lld\n", (long long)v);
}

static const char *type_name(enum metric_type type)
{
    static const char *const names[] = {"counter", "gauge", "histogram"};
    return names[type];
}

void metrics_put_head(const struct metric_def *def, struct buf *out)
{
    buf_printf(out, "# HELP %s ", def->name);
    put_escaped(out, span_str(def->help), false);
    buf_printf(out, "\n# TYPE %s %s\n", def->name, type_name(def->type));
}

void metrics_put_sample(const struct metric_def *def, const char *const *label_values, double v,
                        struct buf *out)
{
    buf_add_str(out, def->name);
    if (label_count(def)) {
        buf_add_char(out, '{');
        put_labels(out, def, label_values);
        buf_add_char(out, '}');
    }
    buf_printf(out, " %.15g\n", v);
}

void metrics_render(struct metrics *m, struct buf *out)
{
    pthread_mutex_lock(&m->lock);
    for (int i = 0; i < m->n; i++) {
        const struct row *row = &m->rows[i];
        if (row->n_cells == 0)
            continue;
        metrics_put_head(&m->defs[i], out);
        for (size_t k = 0; k < row->n_cells; k++)
            render_cell(out, row->cells[k]);
    }
    pthread_mutex_unlock(&m->lock);
}

void metrics_document(const struct metric_def *defs, int n, struct buf *out)
{
    buf_add_str(out, "| metric | type | labels | meaning |\n|---|---|---|---|\n");
    for (int i = 0; i < n; i++) {
        buf_printf(out, "| `%s` | %s | ", defs[i].name, type_name(defs[i].type));
        for (int k = 0; k < label_count(&defs[i]); k++)
            buf_printf(out, "%s`%s`", k ? ", " : "", defs[i].labels[k]);
        buf_printf(out, "%s%s |\n", label_count(&defs[i]) ? " | " : "| ", defs[i].help);
    }
}
