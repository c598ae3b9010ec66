/*
 * What the parts of the running relay share. The node owns the shards; a shard is one loop thread and
 * everything that belongs to it. Parts get a struct shard and never reach into another one: they post.
 */
#ifndef REMUDA_RELAY_NODE_H
#define REMUDA_RELAY_NODE_H

#include "lib/base/logger.h"
#include "lib/base/metrics.h"
#include "queue/log.h"
#include "relay/config/settings.h"
#include "relay/lanes.h"

struct loop;
struct tls_context;
struct dns;
struct dests;           /* relay/dest.h */
struct ingress;         /* relay/ingress/ingress.h: the SMTP servers of one shard */
struct egress;          /* relay/egress/egress.h: connections of other nodes' workers */
struct delivery;        /* relay/delivery/delivery.h: the partitions and sessions of one shard */
struct suspects;        /* lib/base/suspect.h */
struct history;         /* relay/api/history.h: the index over events */
struct admin;           /* relay/api/admin.h */
struct health;          /* relay/api/health.h */
struct unknown_answers; /* relay/unknown.h */

enum { SHARDS_MOST = 64 };

struct shard {
    int number;
    struct node *node;
    struct loop *loop;
    struct log_client *log;
    struct dns *dns;
    struct dests *dests;
    struct tls_context *client_tls; /* for opportunistic and required TLS to receivers */
    struct settings *settings;      /* this shard's reference; swapped on its thread by a reload */
    struct ingress *ingress;
    struct delivery *delivery;
    struct egress *egress;
};

struct node {
    struct settings *settings; /* main thread's reference */
    struct logger *logger;
    struct metrics *metrics; /* rows: relay/metrics_table.h */
    struct log *log;
    struct lanes *lanes;
    struct shard shards[SHARDS_MOST];
    int n_shards;
    struct suspects *suspects; /* records at which earlier lives died */
    struct history *history;
    struct admin *admin;
    struct health *health;
    struct unknown_answers *unknown; /* NULL in tests of parts: not counted */
    _Atomic bool
        draining; /* a stop has been ordered; what follows at once and what after node.leave: run_change.c */
    _Atomic bool ready;      /* all partitions recovered and listeners open */
    _Atomic int owned;       /* partitions gained and not lost */
    _Atomic int recovered;   /* of these, read and handed out */
    _Atomic int64_t inbound; /* connections from senders, all shards */
};

#endif
