/*
 * The egress listeners of a node (role `egress`): workers of other nodes connect here, name a source and an
 * MX host in a signed header (relay/egress/wire.h), and the node connects from that source. It carries only
 * what its configuration says: sources that name this egress, allowed ports, public addresses.
 *
 *   ports   the listening sockets and what they go by; immutable, counted; made and swapped by the main
 * thread egress  a shard's part: its acceptors and the connections that it passes through
 */
#ifndef REMUDA_RELAY_EGRESS_EGRESS_H
#define REMUDA_RELAY_EGRESS_EGRESS_H

#include "relay/node.h"

struct egress_ports;
struct egress;

/* Opens what the settings name for this node, or takes it over from the snapshot before (may be NULL). None
 * is no error. On error a line in error. Any thread; keeps a reference to the settings. */
int egress_ports_open(struct settings *settings, const struct egress_ports *previous,
                      struct egress_ports **out, struct buf *error) MUST_CHECK;
struct egress_ports *egress_ports_ref(struct egress_ports *p);
void egress_ports_unref(struct egress_ports *p);
int egress_ports_count(const struct egress_ports *p);
const char *egress_ports_address(const struct egress_ports *p, int i);

/* All of the rest: the shard's loop thread, or any thread while the loop does not run. */
struct egress *egress_new(struct shard *shard, struct egress_ports *ports);
/* Begins to accept. RM_EIO. */
int egress_start(struct egress *e) MUST_CHECK;
/* New connections go by ports; those that exist go on by theirs. */
int egress_reload(struct egress *e, struct egress_ports *ports) MUST_CHECK;
/* Accepts no more; calls done when all connections have ended, at most bound_ms from now. */
void egress_drain(struct egress *e, uint64_t bound_ms, void (*done)(void *arg), void *arg);
void egress_free(struct egress *e);

#endif
