/*
 * The one table of metrics (relay/metrics_table.c): name, type, help, labels. docs/METRICS.md is generated
 * from it. Rows are referred to by these numbers in metrics_cell.
 */
#ifndef REMUDA_RELAY_METRICS_TABLE_H
#define REMUDA_RELAY_METRICS_TABLE_H

#include "lib/base/metrics.h"

enum metric_row {
    /* ingress */
    M_CONNECTIONS_OPEN,    /* gauge {listener} */
    M_CONNECTIONS_TOTAL,   /* counter {listener} */
    M_CONNECTIONS_REFUSED, /* counter {reason} */
    M_ACCEPTED,            /* counter {tenant}: messages */
    M_ACCEPTED_BYTES,      /* counter {tenant} */
    M_ACCEPTED_RECIPIENTS, /* counter {tenant} */
    M_REFUSED,             /* counter {reason}: commands or messages answered 4xx/5xx */
    M_AUTH,                /* counter {result} */
    M_QUOTA_CLAIMS,        /* counter: records written to the quota log */
    M_ACCEPT_SECONDS,      /* histogram: end of DATA to 250 */
    /* log */
    M_LOG_COMMIT_SECONDS,  /* histogram */
    M_LOG_GROUP_BATCHES,   /* histogram */
    M_LOG_QUEUED_BYTES,    /* gauge */
    M_LOG_USED_BYTES,      /* gauge */
    M_LOG_FREE_BYTES,      /* gauge */
    M_LOG_DISK_FREE_BYTES, /* gauge */
    M_LOG_INTAKE_REFUSED,  /* gauge 0/1 */
    M_LOG_TROUBLES,        /* counter */
    M_PARTITIONS_OWNED,    /* gauge */
    /* delivery */
    M_DELIVERED,        /* counter {provider,pool}: recipients */
    M_DEFERRED,         /* counter {provider,pool}: attempts */
    M_BOUNCED,          /* counter {provider,pool}: recipients */
    M_EXPIRED,          /* counter {provider,pool}: recipients */
    M_REROUTED,         /* counter {from,to}: submissions */
    M_ANSWERS,          /* counter {provider,class}: recipients refused or deferred */
    M_TENANT_DECISIONS, /* counter {provider,action} */
    M_TENANTS_HELD,     /* gauge {action} */
    M_SUSPENSIONS,      /* counter {source,provider} */
    M_ATTEMPTS,         /* counter {source,provider} */
    M_PAIR_STAGE,       /* gauge {source,provider}: this and the next, without cells (admin_pair_metrics.c) */
    M_PAIR_CAP,         /* gauge {source,provider} */
    M_PAIR_USED,        /* gauge {source,provider} */
    M_PAIR_PACE,        /* gauge {source,provider} */
    M_PAIR_SCORE,       /* gauge {source,provider} */
    M_PAIR_SUSPENDED,   /* gauge {source,provider}: 0/1 */
    M_PAIRS_OMITTED,    /* gauge */
    M_OUT_CONNECTIONS_OPEN,  /* gauge {source} */
    M_OUT_CONNECTIONS_TOTAL, /* counter {source,result} */
    M_EGRESS_UP,             /* gauge {egress}: 0/1, as workers see it */
    M_EGRESS_FAILURES,       /* counter {egress}: times found dead */
    M_DELIVERY_SECONDS,      /* histogram {provider}: accepted to delivered */
    M_ANSWER_SECONDS,        /* histogram {provider}: final dot to answer */
    M_QUEUE_SUBMISSIONS,     /* gauge {state}: memory, deferred, held, in_hand */
    M_BLOB_BYTES,            /* gauge: message bytes in memory */
    M_RECOVERED,             /* counter: submissions read again after a start */
    M_INDEX_READS,           /* counter: index entries read for parked work */
    M_CARRIED,               /* counter: records carried forward */
    M_DEAD,                  /* counter: records put into dead */
    M_SUPPRESSED,            /* counter {tenant}: recipients not sent to */
    M_FEEDBACK,              /* counter {kind}: what came back */
    /* egress */
    M_EGRESS_OPEN,        /* gauge {egress} */
    M_EGRESS_CONNECTIONS, /* counter {egress,result} */
    M_EGRESS_BYTES,       /* counter {egress,direction} */
    /* dns */
    M_DNS_LOOKUPS,    /* counter {type,result} */
    M_DNS_CACHE_HITS, /* counter */
    /* process */
    M_BUILD_INFO,     /* gauge {version} = 1 */
    M_CONFIG_RELOADS, /* counter {result} */
    M_HISTORY_LAG,    /* gauge: events not indexed yet */
    METRIC_ROWS
};

extern const struct metric_def metric_table[METRIC_ROWS];

#endif
