/*
 * Listening sockets, opened once for the process (or taken from systemd), and their acceptors, one per loop.
 *
 * All loops watch the one socket, so none is lost when a shard is busy or goes away. Whoever takes a
 * connection keeps it unless another loop of the same listener has clearly fewer; then it is handed over (one
 * message), so that few long-lived connections spread evenly. One loop with all connections cannot happen.
 */
#ifndef REMUDA_LIB_NET_LISTENER_H
#define REMUDA_LIB_NET_LISTENER_H

#include "lib/base/buf.h"
#include "lib/net/addr.h"
#include "lib/net/loop.h"

struct conn;
struct listener;
struct acceptor;

/*
 * Opens address for listening (SO_REUSEADDR, IPV6_V6ONLY, backlog 4096), or takes the descriptor of it that
 * systemd passed (LISTEN_FDS) and that was not yet taken. Port 0 picks one. Any thread, before the acceptors.
 * On error RM_EIO and a phrase with the address appended to error.
 */
int listener_open(const struct addr *address, struct listener **out, struct buf *error) MUST_CHECK;
/* The address it really has. */
const struct addr *listener_address(const struct listener *ln);
/* Closes the socket; all its acceptors must be freed. */
void listener_free(struct listener *ln);
/* How many connections it has accepted, and how often it had to pause for want of descriptors. Any thread. */
uint64_t listener_accepted_total(const struct listener *ln);
uint64_t listener_starved_total(const struct listener *ln);

/*
 * fn is called on the loop with each new connection: it must call conn_ops_set (reading starts at the end of
 * the turn) or conn_close.
 */
typedef void (*acceptor_cb)(void *arg, struct conn *c);

/* On the loop's thread, or on any thread before the loop runs. Accepting starts at once. When descriptors run
 * out (EMFILE, ENFILE, ENOBUFS, ENOMEM) it pauses itself for 100 ms. */
int acceptor_new(struct loop *l, struct listener *ln, acceptor_cb fn, void *arg,
                 struct acceptor **out) MUST_CHECK;
/* The loop's thread. Nested calls are not counted. */
void acceptor_pause(struct acceptor *a);
void acceptor_resume(struct acceptor *a);
/* The loop's thread, or any thread when the loop is not running. No callback after it. */
void acceptor_free(struct acceptor *a);

#endif
