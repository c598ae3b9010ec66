/*
 * What the files of `remuda run` share: run.c puts the parts together and takes them down, run_change.c is
 * what happens in between: the order to stop, a reload, the lane table of other nodes. All on the main loop's
 * thread unless it says otherwise.
 */
#ifndef REMUDA_RELAY_RUN_PRIVATE_H
#define REMUDA_RELAY_RUN_PRIVATE_H

#include <stdatomic.h>

#include "lib/base/logger.h"
#include "lib/net/loop.h"
#include "queue/log.h"
#include "relay/config/settings.h"
#include "relay/egress/egress.h"
#include "relay/ingress/ingress.h"
#include "relay/migration.h"
#include "relay/node.h"

enum { RUN_LANES_FOLLOW_MS = 250 };

struct run_shard {
    struct shard *shard;
    struct relay *relay;
    struct loop_msg wake, start, drain, reload, lanes;
    atomic_bool wake_posted, lanes_posted;
    struct ingress_ports *next_ports; /* of a reload under way; a reference */
    struct egress_ports *next_egress; /* likewise */
    struct settings *next_settings;
};

struct relay {
    struct node node;
    const char *config_path, *roles;
    struct loop *main;
    struct ingress_ports *ports;
    struct egress_ports *egress_ports;
    struct run_shard shards[SHARDS_MOST];
    struct log_ownership ownership[SHARDS_MOST];
    struct loop_timer ready_timer, lanes_timer, leave_timer;
    uint64_t lanes_changes; /* that the shards know of */
    bool lanes_failing;
    struct migration migration; /* of the log, as of control_next */
    uint64_t control_next;
    struct loop_signal *signals[3];
    atomic_int draining_shards, reloading_shards;
    struct loop_msg drained, reloaded;
    struct metric_cell *commit_seconds, *commit_batches, *troubles;
    bool stopping;
    int exit_code;
};

/* ---- run.c ---- */

void run_configure_logger(struct logger_options *o, const struct settings *s);
/* The longest that any message may wait. */
uint64_t run_longest_lifetime_ms(const struct settings *s);

/* ---- run_change.c ---- */

/* Not ready from now on; after node.leave, which a further call cuts short, drains all shards, then stops the
 * main loop. A call while they drain ends the process at once. */
void run_begin_stop(struct relay *r, int signo);
/* The timer's of the above. */
void run_drain(struct loop_timer *t);
/* Reads the configuration again; one that is wrong changes nothing. Not while another is under way. */
void run_reload(struct relay *r);
/* A timer's, starts itself again: takes up the lane table, and stops when the log is being moved away. */
void run_follow_lanes(struct loop_timer *t);

#endif
