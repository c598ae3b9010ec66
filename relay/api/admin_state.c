/* How the node is: /metrics with the gauges that are read off the log at that moment, /healthz, /readyz. */
#include "relay/api/admin_private.h"
#include "relay/api/health.h"
#include "relay/metrics_table.h"
#include "relay/version.h"

static void gauge(struct metrics *m, enum metric_row row, uint64_t value)
{
    metric_set(metrics_cell(m, row, NULL), (int64_t)value);
}

static void index_reads(struct admin *a, uint64_t now)
{
    pthread_mutex_lock(&a->lock);
    uint64_t before = a->index_reads;
    if (now > before) {
        metric_add(metrics_cell(a->node->metrics, M_INDEX_READS, NULL), now - before);
        a->index_reads = now;
    }
    pthread_mutex_unlock(&a->lock);
}

static void refresh(struct admin *a)
{
    struct metrics *m = a->node->metrics;
    struct log_figures f;
    log_figures(a->node->log, &f);
    gauge(m, M_LOG_QUEUED_BYTES, f.queued_bytes);
    gauge(m, M_LOG_USED_BYTES, f.used_bytes);
    gauge(m, M_LOG_FREE_BYTES, f.free_bytes);
    gauge(m, M_LOG_DISK_FREE_BYTES, f.disk_free_bytes);
    gauge(m, M_LOG_INTAKE_REFUSED, log_admits(a->node->log) == RM_OK ? 0 : 1);
    gauge(m, M_PARTITIONS_OWNED, (uint64_t)atomic_load(&a->node->owned));
    gauge(m, M_BLOB_BYTES, blob_total_bytes());
    if (a->node->history)
        gauge(m, M_HISTORY_LAG, history_lag(a->node->history));
    index_reads(a, f.index_reads);
    metric_set(metrics_cell(m, M_BUILD_INFO, (const char *const[]){REMUDA_VERSION}), 1);
}

void admin_metrics(const struct admin_request *q, struct admin_reply *r)
{
    refresh(q->admin);
    r->status = MHD_HTTP_OK;
    r->type = "text/plain; version=0.0.4; charset=utf-8";
    struct buf pairs = BUF_INIT;
    admin_add_pair_metrics(q, &pairs); /* sets one of the others, too */
    metrics_render(q->admin->node->metrics, &r->body);
    buf_add_span(&r->body, buf_span(&pairs));
    buf_fini(&pairs);
}

void admin_healthz(const struct admin_request *q, struct admin_reply *r)
{
    (void)q;
    admin_reply_text(r, MHD_HTTP_OK, "ok\n");
}

void admin_readyz(const struct admin_request *q, struct admin_reply *r)
{
    const char *text;
    bool ready = health_is_ready(q->admin->node, &text);
    admin_reply_text(r, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, text);
}
