/*
 * The SMTP servers of the relay (RFC 5321): one struct ingress per shard, on sockets that all shards share.
 *
 * The sockets, their certificates and the settings they go by are a struct ingress_ports: an immutable,
 * counted snapshot made by the main thread. A reload makes the next one from the present one: sockets whose
 * address stays are kept, tenants' counters and checked passwords too. A connection keeps the snapshot it
 * began with.
 *
 * Start:  ingress_ports_open; per shard ingress_new, then ingress_start on its loop (or before it runs).
 * Reload: ingress_ports_open with the present one; per shard, on its loop, ingress_reload; unref the old one.
 * Stop:   per shard, on its loop, ingress_drain; after its callback the loop may stop; then ingress_free.
 */
#ifndef REMUDA_RELAY_INGRESS_INGRESS_H
#define REMUDA_RELAY_INGRESS_INGRESS_H

#include "lib/base/buf.h"
#include "relay/node.h"

struct ingress_ports;

/*
 * Opens what settings->listeners names and loads the certificates (listener's, else node's, else a
 * self-signed pair made in the data directory). previous may be NULL. Takes a reference to settings. Reads
 * files: not on a loop. RM_EIO, RM_EINVAL, RM_ENOTFOUND: nothing has changed, error got a line that names the
 * listener.
 */
int ingress_ports_open(struct settings *settings, const struct ingress_ports *previous,
                       struct ingress_ports **out, struct buf *error) MUST_CHECK;
/* Any thread. The last reference closes the sockets that no newer snapshot has. */
struct ingress_ports *ingress_ports_ref(struct ingress_ports *p);
void ingress_ports_unref(struct ingress_ports *p); /* NULL allowed */
int ingress_ports_count(const struct ingress_ports *p);
/* "127.0.0.1:2525": where listener i really listens (port 0 in the settings picks one). Valid as long as p.
 */
const char *ingress_ports_address(const struct ingress_ports *p, int i);

/* The servers of a shard. shard->loop, ->log, ->dns and ->node must be there. Takes a reference to ports.
 * Does not accept yet. The shard's log client must be polled by whoever owns the shard. Never NULL. */
struct ingress *ingress_new(struct shard *shard, struct ingress_ports *ports);
/* Begins to accept. On the loop's thread, or before the loop runs. RM_EIO. */
int ingress_start(struct ingress *in) MUST_CHECK;
/* On the loop's thread: new connections go by the new snapshot, listeners come and go. RM_EIO: a new listener
 * could not be watched; the others are as in ports. */
int ingress_reload(struct ingress *in, struct ingress_ports *ports) MUST_CHECK;
/*
 * On the loop's thread, once: stops accepting; idle sessions get 421 4.3.2, transactions in progress are
 * finished for at most settings.drain_ms, then cut off with 421. done comes on the loop when no connection is
 * left, never from inside this call.
 */
void ingress_drain(struct ingress *in, void (*done)(void *arg), void *arg);
/* Connections of this shard now. Its thread. */
uint32_t ingress_connections(const struct ingress *in);
/* On the loop's thread when no connection is left, or when the loop has ended and the log client has been
 * flushed: no append may be in flight. */
void ingress_free(struct ingress *in);

#endif
