/*
 * One connection of a sender: joins a session to its connection, its shard and the log. And the insides of
 * struct ingress that drivers use. Only for this folder.
 */
#ifndef REMUDA_RELAY_INGRESS_DRIVER_H
#define REMUDA_RELAY_INGRESS_DRIVER_H

#include "lib/base/list.h"
#include "lib/net/conn.h"
#include "relay/ingress/allowance.h"
#include "relay/ingress/inbound.h"
#include "relay/ingress/ports.h"

struct tenant_cells {
    struct metric_cell *messages, *bytes, *recipients;
};

struct port_cells {
    struct metric_cell *open, *total;
};

/* What a shard made of a snapshot of ports. Counted on the shard's thread: connections keep theirs. */
struct ingress_view {
    int refs;
    struct ingress_ports *ports;
    struct port_cells *listeners; /* one for each of ports */
    struct tenant_cells tenants[];
};

struct ingress_view *ingress_view_new(struct shard *shard, struct ingress_ports *ports);
struct ingress_view *ingress_view_ref(struct ingress_view *v);
void ingress_view_unref(struct ingress_view *v);

enum auth_metric { AUTH_METRIC_OK, AUTH_METRIC_CACHED, AUTH_METRIC_FAILED, AUTH_METRIC_BUSY, AUTH_METRICS };

struct ingress {
    struct shard *shard;
    struct ingress_view *view; /* for new connections */
    struct list acceptors;
    struct list drivers;
    struct allowance *allowance;
    struct loop_timer second;
    uint32_t n_drivers;
    struct buf scratch; /* inbound_env.scratch */
    struct msgid_source ids;
    bool draining;
    void (*drained)(void *arg);
    void *drained_arg;
    struct loop_timer drain_timer;
    struct loop_defer drain_check;
    struct metric_cell *refused[INBOUND_REASONS], *turned_away, *auth[AUTH_METRICS];
    struct metric_cell *accept_seconds;
};

/* A connection was accepted on port (of in->view). */
void driver_accept(struct ingress *in, const struct ingress_port *port, struct conn *c);
/* The node stops: see inbound_drain. May end drivers, but frees none inside the call. */
void driver_drain(struct list *link);
/* It has waited long enough. */
void driver_cut(struct list *link);
/* A driver has gone. */
void ingress_driver_gone(struct ingress *in);

#endif
