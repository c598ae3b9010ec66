/*
 * The logs on Apache Kafka: topics <prefix>.mail, .events, .backlog, .state, .control, .audit, .dead,
 * .suppression, .quota, .evidence. No LOG_ATOMIC: the ops of a batch become durable in the order mail and the
 * small logs
 * -> events -> backlog -> state, each acknowledged by all in-sync brokers before the next is sent.
 *
 * Reading goes to a local copy of what this process follows (queue/store, not synced): all logs of the
 * partitions it owns, control, dead and suppression, and what options.follow names. A copy that does not fit
 * the cluster is thrown away and read anew; it may be deleted at any time. A batch is done when it is durable
 * and, where it is followed, can be read from the copy.
 *
 * An offset is Kafka's plus one. What an owner writes to events, backlog and state carries its epoch in the
 * message header "e"; a claim carries "c".
 */
#ifndef REMUDA_QUEUE_KAFKA_KAFKA_H
#define REMUDA_QUEUE_KAFKA_KAFKA_H

#include "queue/log.h"

enum { KAFKA_WHY_MOST = 1024 };

/* Strings are copied. */
struct kafka_options {
    const char *dir;     /* of the local copy; created when absent */
    const char *brokers; /* "host:port,host:port" */
    const char *prefix;
    uint64_t map_bytes; /* most the copy may grow to; 0: 1 TiB */
    unsigned follow;    /* bits 1 << enum log_name: all partitions of these are in the copy */
    bool development;   /* replication of 1 is allowed also where there are more brokers */
    uint64_t ack_ms;    /* a message not acknowledged after so long is refused; 0: 15 s */

    bool tls;              /* encrypted, and the brokers' certificates are checked */
    const char *ca;        /* PEM file; NULL: the system's */
    const char *mechanism; /* of SASL: "SCRAM-SHA-512" (NULL too) or "PLAIN" */
    const char *user;      /* NULL: no login */
    const char *password;
};

/*
 * Connects, makes the topics that are absent and checks those that are there. RM_EINVAL: a setting of a topic
 * or the number of partitions is not what the logs need. RM_ETIMEDOUT: no broker answers. RM_ELOCKED, RM_EIO,
 * RM_EFULL: the copy. On error *out is NULL and why says what is wrong, by name.
 */
int kafka_log_open(const struct kafka_options *options, const struct log_options *common, struct log **out,
                   char why[KAFKA_WHY_MOST]) MUST_CHECK;

#endif
