/* What the files of relay/egress share. */
#ifndef REMUDA_RELAY_EGRESS_EGRESS_PRIVATE_H
#define REMUDA_RELAY_EGRESS_EGRESS_PRIVATE_H

#include <stdatomic.h>

#include "lib/net/conn.h"
#include "relay/egress/egress.h"
#include "relay/egress/guard.h"
#include "relay/socket.h"

struct egress_port {
    struct relay_socket *socket;
    const struct settings_egress *conf;
    int index; /* in settings->egresses */
};

struct egress_ports {
    _Atomic int refs;
    struct settings *settings;
    struct egress_guard *guard;
    struct addr_own *own; /* this host's addresses; NULL: unknown */
    int n;
    struct egress_port ports[];
};

struct egress {
    struct shard *shard;
    struct egress_ports *ports;
    struct list acceptors;
    struct list passages;
    uint32_t n_passages;
    bool draining;
    void (*drained)(void *arg);
    void *drained_arg;
    struct loop_timer drain_timer;
    struct loop_defer drain_check;
};

/* False, and why, when the egress must not connect there. */
bool egress_may_reach(const struct egress_ports *p, const struct settings_egress *conf,
                      const struct addr *target, const char **why);
/* True when a source with this address names the egress. */
bool egress_owns(const struct egress_ports *p, int egress, const struct addr *source);

/* ---- passage.c: one connection, in and out ---- */
void passage_accept(struct egress *e, int port, struct conn *c);
/* it: of egress->passages. Ends it now. */
void passage_cut(struct list *it);
/* egress.c: one has ended. */
void egress_passage_gone(struct egress *e);

#endif
