/*
 * The table of metrics: the only place that knows their names, help and buckets. docs/METRICS.md is printed
 * from it (`remuda metrics document`). What counts them is in the modules that use the rows' numbers.
 */
#include "relay/metrics_table.h"

#define COUNT(a) (int)(sizeof(a) / sizeof((a)[0]))
#define COUNTER(row, text, ...)                                                                              \
    {                                                                                                        \
        .name = "remuda_" row "_total", .type = METRIC_COUNTER, .help = text, .labels = { __VA_ARGS__ }      \
    }
#define GAUGE(row, text, ...)                                                                                \
    {                                                                                                        \
        .name = "remuda_" row, .type = METRIC_GAUGE, .help = text, .labels = { __VA_ARGS__ }                 \
    }
#define HISTOGRAM(row, text, bounds, ...)                                                                    \
    {                                                                                                        \
        .name = "remuda_" row, .type = METRIC_HISTOGRAM, .help = text, .labels = {__VA_ARGS__},              \
        .buckets = bounds, .n_buckets = COUNT(bounds)                                                        \
    }

/* Seconds of one sync: from a fast NVMe to a disk in trouble. */
static const double commit_buckets[] = {0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02,
                                        0.05,   0.1,    0.25,  0.5,   1,     2.5,  5};
static const double batch_buckets[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000};
/* Seconds a sender waits for 250: a commit or two, when all is well. */
static const double accept_buckets[] = {0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05,
                                        0.1,    0.25,  0.5,   1,     2.5,  5,    10};
/* Seconds from acceptance to delivery: milliseconds at best, the retry lifetime at worst. */
static const double delivery_buckets[] = {0.002, 0.005, 0.01, 0.02, 0.05, 0.1,   0.5,   1,     5,
                                          15,    60,    300,  900,  3600, 14400, 43200, 86400, 259200};
/* Seconds a receiver thinks after the final dot; RFC 5321 4.5.3.2.6 allows it ten minutes. */
static const double answer_buckets[] = {0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1,
                                        2.5,   5,    10,   30,   60,  300,  600};

const struct metric_def metric_table[METRIC_ROWS] = {
    [M_CONNECTIONS_OPEN] =
        GAUGE("ingress_connections_open", "Connections from senders open now.", "listener"),
    [M_CONNECTIONS_TOTAL] = COUNTER("ingress_connections", "Connections accepted from senders.", "listener"),
    [M_CONNECTIONS_REFUSED] = COUNTER("ingress_connections_refused",
                                      "Connections from senders closed at once, by reason.", "reason"),
    [M_ACCEPTED] = COUNTER("accepted_messages", "Messages answered 250 after they were durable.", "tenant"),
    [M_ACCEPTED_BYTES] = COUNTER("accepted_bytes", "Bytes of the messages accepted.", "tenant"),
    [M_ACCEPTED_RECIPIENTS] =
        COUNTER("accepted_recipients", "Recipients of the messages accepted.", "tenant"),
    [M_REFUSED] = COUNTER("ingress_refused",
                          "Commands and messages of senders answered 4xx or 5xx, by reason.", "reason"),
    [M_AUTH] = COUNTER("ingress_auth", "Authentications of senders, by result.", "result"),
    [M_QUOTA_CLAIMS] = COUNTER("quota_claims", "Claims on tenants' limits written to the quota log.", NULL),
    [M_ACCEPT_SECONDS] = HISTOGRAM("accept_seconds", "Time from the end of a message's data to its 250.",
                                   accept_buckets, NULL),

    [M_LOG_COMMIT_SECONDS] = HISTOGRAM("log_commit_seconds", "Time of one commit of the log, sync included.",
                                       commit_buckets, NULL),
    [M_LOG_GROUP_BATCHES] =
        HISTOGRAM("log_group_batches", "Batches that shared one commit.", batch_buckets, NULL),
    [M_LOG_QUEUED_BYTES] =
        GAUGE("log_queued_bytes", "Bytes handed to the log that are not durable yet.", NULL),
    [M_LOG_USED_BYTES] = GAUGE("log_used_bytes", "Bytes of the log's file that hold data.", NULL),
    [M_LOG_FREE_BYTES] =
        GAUGE("log_free_bytes", "Bytes of the log's file that will be used again before it grows.", NULL),
    [M_LOG_DISK_FREE_BYTES] = GAUGE("log_disk_free_bytes", "Free bytes of the log's file system.", NULL),
    [M_LOG_INTAKE_REFUSED] =
        GAUGE("log_intake_refused", "1 while new mail is answered 452 for want of space.", NULL),
    [M_PARTITIONS_OWNED] =
        GAUGE("partitions_owned", "Partitions that this node delivers from: in a cluster they move.", NULL),
    [M_LOG_TROUBLES] =
        COUNTER("log_troubles", "Errors of the disk or the log that an operator must see.", NULL),

    [M_DELIVERED] = COUNTER("delivered_recipients", "Recipients delivered.", "provider", "pool"),
    [M_DEFERRED] = COUNTER("deferred_attempts", "Attempts that failed for now.", "provider", "pool"),
    [M_BOUNCED] = COUNTER("bounced_recipients", "Recipients refused for good.", "provider", "pool"),
    [M_EXPIRED] = COUNTER("expired_recipients", "Recipients given up for age.", "provider", "pool"),
    [M_REROUTED] =
        COUNTER("rerouted_submissions", "Submissions handed from one pool to another.", "from", "to"),
    [M_ANSWERS] = COUNTER("answers", "Answers that refused or deferred a recipient, by what they mean.",
                          "provider", "class"),
    [M_TENANT_DECISIONS] =
        COUNTER("tenant_decisions", "Tenants slowed down, quarantined or set free at a provider.", "provider",
                "action"),
    [M_TENANTS_HELD] =
        GAUGE("tenants_held", "(tenant, provider)s that are slowed down (slow) or in quarantine.", "action"),
    [M_SUSPENSIONS] = COUNTER("suspensions", "Sources suspended at a provider after its answers: alerts.",
                              "source", "provider"),
    [M_ATTEMPTS] = COUNTER("attempts", "SMTP transactions begun with receivers.", "source", "provider"),
    [M_PAIR_STAGE] =
        GAUGE("pair_stage", "Warm-up stage of a pair of this node's partitions.", "source", "provider"),
    [M_PAIR_CAP] =
        GAUGE("pair_cap", "What it may send today; no sample: as much as it can.", "source", "provider"),
    [M_PAIR_USED] =
        GAUGE("pair_used", "Attempts counted against the day's cap so far.", "source", "provider"),
    [M_PAIR_PACE] = GAUGE("pair_pace", "Messages a second that its pace allows; 0: it is not slowed down.",
                          "source", "provider"),
    [M_PAIR_SCORE] = GAUGE("pair_score", "Its reputation, 0 to 1.", "source", "provider"),
    [M_PAIR_SUSPENDED] = GAUGE("pair_suspended", "1 while it is suspended.", "source", "provider"),
    [M_PAIRS_OMITTED] = GAUGE(
        "pairs_omitted",
        "Pairs without the gauges of pairs: 2,000 are shown, those in use today or suspended first.", NULL),

    [M_OUT_CONNECTIONS_OPEN] = GAUGE("out_connections_open", "Connections to receivers open now.", "source"),
    [M_OUT_CONNECTIONS_TOTAL] =
        COUNTER("out_connections", "Connections to receivers tried, by result.", "source", "result"),
    [M_EGRESS_UP] =
        GAUGE("egress_up", "1 while this node reaches the egress, 0 while its sources are held.", "egress"),
    [M_EGRESS_FAILURES] = COUNTER("egress_failures",
                                  "Times that the egress was found dead by a thread of this node.", "egress"),
    [M_DELIVERY_SECONDS] = HISTOGRAM("delivery_seconds", "Time from acceptance to delivery of a recipient.",
                                     delivery_buckets, "provider"),
    [M_ANSWER_SECONDS] = HISTOGRAM("answer_seconds", "Time from the final dot to the receiver's answer.",
                                   answer_buckets, "provider"),
    [M_QUEUE_SUBMISSIONS] =
        GAUGE("queue_submissions", "Submissions not done yet: memory, deferred, held or in_hand.", "state"),
    [M_BLOB_BYTES] = GAUGE("message_memory_bytes", "Bytes of messages held in memory.", NULL),
    [M_RECOVERED] =
        COUNTER("recovered_submissions", "Submissions read again from the log after a start.", NULL),
    [M_INDEX_READS] = COUNTER("index_reads", "Index entries read to find waiting submissions.", NULL),
    [M_CARRIED] =
        COUNTER("carried_records", "Records carried forward in the log to free the space before them.", NULL),
    [M_SUPPRESSED] = COUNTER(
        "suppressed_recipients",
        "Recipients accepted and then not sent to: they are on the tenant's suppression list.", "tenant"),
    [M_FEEDBACK] = COUNTER(
        "feedback",
        "What came back about mail that was sent: bounce, delay, success, complaint, automatic, unknown, "
        "stranger (about no recipient of the message), repeated; and not-forwarded.",
        "kind"),
    [M_DEAD] = COUNTER("dead_records", "Records put aside because they could not be processed.", NULL),

    [M_EGRESS_OPEN] =
        GAUGE("egress_connections_open", "Connections of workers to this node's egress.", "egress"),
    [M_EGRESS_CONNECTIONS] = COUNTER(
        "egress_connections", "Connections of workers to this node's egress that have ended, by result.",
        "egress", "result"),
    [M_EGRESS_BYTES] = COUNTER("egress_bytes", "Bytes passed on, to receivers (out) and from them (in).",
                               "egress", "direction"),

    [M_DNS_LOOKUPS] = COUNTER("dns_lookups", "DNS queries sent, by type and result.", "type", "result"),
    [M_DNS_CACHE_HITS] = COUNTER("dns_cache_hits", "DNS questions answered from the cache.", NULL),

    [M_BUILD_INFO] = GAUGE("build_info", "Always 1; its label tells the version.", "version"),
    [M_CONFIG_RELOADS] =
        COUNTER("config_reloads", "Configurations loaded while running, by result.", "result"),
    [M_HISTORY_LAG] =
        GAUGE("history_lag_batches", "Batches of events that the history index has not read yet.", NULL),
};
