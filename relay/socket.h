/*
 * A listening socket that outlives a reload: counted, known again by the address in the settings, shared by
 * the snapshots that name it. Any thread.
 */
#ifndef REMUDA_RELAY_SOCKET_H
#define REMUDA_RELAY_SOCKET_H

#include <stdatomic.h>

#include "lib/net/addr.h"
#include "lib/net/listener.h"

struct relay_socket {
    _Atomic int refs;
    struct listener *listener;
    char name[ADDR_TEXT];         /* as in the settings: how a reload knows it again */
    char address[ADDR_TEXT];      /* where it is */
    _Atomic uint32_t connections; /* open now, all shards: for whoever accepts to count */
    _Atomic uint32_t waiting;     /* of an egress: those whose header is awaited, not among connections */
};

/* Opens what the settings name; default_port when that names none. RM_EINVAL (not an address), RM_EIO; error
 * gets a line. */
int relay_socket_open(const char *name, uint16_t default_port, struct relay_socket **out,
                      struct buf *error) MUST_CHECK;
struct relay_socket *relay_socket_ref(struct relay_socket *s);
/* The last one closes it: all acceptors must be freed. NULL allowed. */
void relay_socket_unref(struct relay_socket *s);

#endif
