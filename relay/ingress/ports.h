/*
 * What ingress.h calls ports, from the inside: the sockets, certificates and settings that connections go by,
 * and what survives their change. Immutable and counted; any thread. Only for this folder.
 */
#ifndef REMUDA_RELAY_INGRESS_PORTS_H
#define REMUDA_RELAY_INGRESS_PORTS_H

#include <stdatomic.h>

#include "lib/net/tls.h"
#include "relay/ingress/connections.h"
#include "relay/ingress/ingress.h"
#include "relay/ingress/password.h"
#include "relay/socket.h"

/* Lives as long as any snapshot: what the next one takes over. */
struct ingress_shared {
    _Atomic int refs;
    struct connections *connections;
    struct password_cache *passwords;
    _Atomic uint32_t password_checks; /* in the thread pool now */
};

struct ingress_port {
    struct relay_socket *socket;
    const struct settings_listener *conf;
    struct tls_context *tls; /* NULL: no TLS */
};

struct ingress_ports {
    _Atomic int refs;
    struct settings *settings;
    struct ingress_shared *shared;
    int n;
    struct ingress_port ports[];
};

#endif
