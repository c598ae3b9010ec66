/* Metrics: cells, exposition format (by promtool too where it is installed), threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/base/buf.h"
#include "lib/base/metrics.h"

static const double bounds[] = {0.005, 0.1, 2.5};
static const struct metric_def defs[] = {
    {.name = "remuda_messages_total", .type = METRIC_COUNTER, .help = "Messages\\lines\nseen."},
    {.name = "remuda_open", .type = METRIC_GAUGE, .help = "Open.", .labels = {"source", "provider"}},
    {.name = "remuda_wait_seconds",
     .type = METRIC_HISTOGRAM,
     .help = "Wait.",
     .buckets = bounds,
     .n_buckets = 3},
    {.name = "remuda_size_bytes",
     .type = METRIC_HISTOGRAM,
     .help = "Size.",
     .labels = {"way"},
     .buckets = bounds,
     .n_buckets = 3},
    {.name = "remuda_unused", .type = METRIC_GAUGE, .help = "Never.", .labels = {"x"}},
};
enum { MESSAGES, OPEN, WAIT, SIZE, UNUSED, ROWS };

static struct metrics *sample(struct buf *out)
{
    struct metrics *m = metrics_new(defs, ROWS);
    metric_add(metrics_cell(m, MESSAGES, NULL), 3);
    metric_set(metrics_cell(m, OPEN, (const char *const[]){"a\"1\\\n", "g\xffmail"}), 7);
    metric_inc(metrics_cell(m, OPEN, (const char *const[]){"a2", "gmail"}), -2);
    const double seen[] = {0.001, 0.005, 0.05, 3, 100};
    for (int i = 0; i < 5; i++)
        metric_observe(metrics_cell(m, WAIT, NULL), seen[i]);
    metric_observe(metrics_cell(m, SIZE, (const char *const[]){"in"}), 1);
    metrics_render(m, out);
    return m;
}

static void test_text(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    metrics_free(sample(&out));
    assert_string_equal(buf_cstr(&out), "# HELP remuda_messages_total Messages\\\\lines\\nseen.\n"
                                        "# TYPE remuda_messages_total counter\n"
                                        "remuda_messages_total 3\n"
                                        "# HELP remuda_open Open.\n"
                                        "# TYPE remuda_open gauge\n"
                                        "remuda_open{source=\"a\\\"1\\\\\\n\",provider=\"g?mail\"} 7\n"
                                        "remuda_open{source=\"a2\",provider=\"gmail\"} -2\n"
                                        "# HELP remuda_wait_seconds Wait.\n"
                                        "# TYPE remuda_wait_seconds histogram\n"
                                        "remuda_wait_seconds_bucket{le=\"0.005\"} 2\n"
                                        "remuda_wait_seconds_bucket{le=\"0.1\"} 3\n"
                                        "remuda_wait_seconds_bucket{le=\"2.5\"} 3\n"
                                        "remuda_wait_seconds_bucket{le=\"+Inf\"} 5\n"
                                        "remuda_wait_seconds_sum 103.056\n"
                                        "remuda_wait_seconds_count 5\n"
                                        "# HELP remuda_size_bytes Size.\n"
                                        "# TYPE remuda_size_bytes histogram\n"
                                        "remuda_size_bytes_bucket{way=\"in\",le=\"0.005\"} 0\n"
                                        "remuda_size_bytes_bucket{way=\"in\",le=\"0.1\"} 0\n"
                                        "remuda_size_bytes_bucket{way=\"in\",le=\"2.5\"} 1\n"
                                        "remuda_size_bytes_bucket{way=\"in\",le=\"+Inf\"} 1\n"
                                        "remuda_size_bytes_sum{way=\"in\"} 1\n"
                                        "remuda_size_bytes_count{way=\"in\"} 1\n");
    buf_fini(&out);
}

static void test_promtool(void **state)
{
    (void)state;
    if (system("promtool --version >/dev/null 2>&1") != 0) {
        print_message("promtool is not installed: skipped\n");
        skip();
    }
    struct buf out = BUF_INIT;
    metrics_free(sample(&out));
    FILE *tool = popen("promtool check metrics >&2", "w");
    assert_non_null(tool);
    assert_int_equal(fwrite(out.data, 1, out.len, tool), out.len);
    assert_int_equal(pclose(tool), 0);
    buf_fini(&out);
}

static void test_cells(void **state)
{
    (void)state;
    struct metrics *m = metrics_new(defs, ROWS);
    struct buf out = BUF_INIT;
    metrics_render(m, &out);
    assert_non_null(strstr(buf_cstr(&out), "remuda_messages_total 0\n"));
    assert_non_null(strstr(buf_cstr(&out), "remuda_wait_seconds_count 0\n"));
    assert_null(strstr(buf_cstr(&out), "remuda_unused"));
    const char *const one[] = {"a", "b"}, *const other[] = {"a", "c"};
    struct metric_cell *c = metrics_cell(m, OPEN, one);
    assert_ptr_equal(metrics_cell(m, OPEN, one), c);
    assert_ptr_not_equal(metrics_cell(m, OPEN, other), c);
    metric_set(c, 5);
    metric_inc(c, -2);
    assert_int_equal(metric_value(c), 3);
    buf_fini(&out);
    metrics_free(m);
}

static void *observe(void *arg)
{
    struct metrics *m = arg;
    for (int i = 0; i < 2000; i++) {
        metric_add(metrics_cell(m, MESSAGES, NULL), 1);
        metric_observe(metrics_cell(m, WAIT, NULL), 1);
        if (i % 500 == 0) {
            struct buf out = BUF_INIT;
            metrics_render(m, &out);
            buf_fini(&out);
        }
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct metrics *m = metrics_new(defs, ROWS);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, observe, m), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(metric_value(metrics_cell(m, MESSAGES, NULL)), 8000);
    assert_int_equal(metric_value(metrics_cell(m, WAIT, NULL)), 8000);
    struct buf out = BUF_INIT;
    metrics_render(m, &out);
    assert_non_null(strstr(buf_cstr(&out), "remuda_wait_seconds_sum 8000\n"));
    buf_fini(&out);
    metrics_free(m);
}

static void test_document(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    metrics_document(defs, 2, &out);
    assert_non_null(strstr(buf_cstr(&out), "| `remuda_open` | gauge | `source`, `provider` | Open. |\n"));
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),    cmocka_unit_test(test_promtool), cmocka_unit_test(test_cells),
        cmocka_unit_test(test_threads), cmocka_unit_test(test_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
