/*
 * The way through an egress: what a worker says to it, and what its answers mean, until the MX host's own
 * bytes come. Pure: relay/delivery/session.c (and the probes of egresses.c) have the connection.
 */
#ifndef REMUDA_RELAY_DELIVERY_THROUGH_H
#define REMUDA_RELAY_DELIVERY_THROUGH_H

#include "lib/net/conn.h"
#include "relay/config/settings.h"

enum {
    THROUGH_CONNECT_MS = 3000, /* until its connection is there, TLS included */
    THROUGH_ACCEPT_MS = 3000,  /* until it says that it lives */
};

enum through_phase { THROUGH_NOT_BEGUN, THROUGH_TO_EGRESS, THROUGH_TO_HOST, THROUGH_DONE };
/* Whose fault it is that the host was not reached. */
enum through_blame {
    THROUGH_BLAMES_NOBODY,
    THROUGH_BLAMES_EGRESS,
    THROUGH_BLAMES_HOST,
    THROUGH_BLAMES_SOURCE
};
enum through_step { THROUGH_WAIT, THROUGH_ACCEPTED, THROUGH_THERE, THROUGH_FAILED };

struct through {
    const struct settings_egress *egress; /* borrowed; NULL: none */
    struct addr address, source, target;
    enum through_phase phase;
    enum through_blame blame;
    char trouble[320]; /* "": none */
};

/* Bends options to the egress. source and target are copied; target NULL: a probe, which is there as soon as
 * it is accepted. Without options->remote changed it is not begun: the address does not parse. */
void through_begin(struct through *t, const struct settings_egress *egress, const struct addr *source,
                   const struct addr *target, struct conn_connect_options *options);
/* Connected to the egress: appends what to send (may be nothing). True: nothing will be answered, the host is
 * as good as there. */
bool through_hello(struct through *t, uint64_t wall_ms, struct buf *out);
/* True until the host is there or it has failed. */
bool through_waits(const struct through *t);
enum through_step through_input(struct through *t, struct span in, size_t *consumed);
/* While it waited the connection ended, or the time was over. */
void through_lost(struct through *t, const char *why);
void through_timed_out(struct through *t);

#endif
