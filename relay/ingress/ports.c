/* Opening what the settings' listeners name, and taking over what the snapshot before has. No loop here. */
#include "relay/ingress/ports.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/err.h"

enum { DEFAULT_PORT = 25, PATH_BYTES = 4096 };

/* ---- counting ------------------------------------------------------------------------------------ */

static struct ingress_shared *shared_take(const struct ingress_ports *previous)
{
    if (previous) {
        atomic_fetch_add_explicit(&previous->shared->refs, 1, memory_order_relaxed);
        return previous->shared;
    }
    struct ingress_shared *s = calloc(1, sizeof(*s));
    ENSURE(s);
    atomic_init(&s->refs, 1);
    s->connections = connections_new();
    s->passwords = password_cache_new();
    return s;
}

static void shared_unref(struct ingress_shared *s)
{
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    connections_free(s->connections);
    password_cache_free(s->passwords);
    free(s);
}

struct ingress_ports *ingress_ports_ref(struct ingress_ports *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void ingress_ports_unref(struct ingress_ports *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (int i = 0; i < p->n; i++) {
        relay_socket_unref(p->ports[i].socket);
        tls_context_unref(p->ports[i].tls);
    }
    shared_unref(p->shared);
    settings_unref(p->settings);
    free(p);
}

int ingress_ports_count(const struct ingress_ports *p)
{
    return p->n;
}

const char *ingress_ports_address(const struct ingress_ports *p, int i)
{
    return p->ports[i].socket->address;
}

/* ---- opening ------------------------------------------------------------------------------------- */

static bool holds_socket(const struct ingress_ports *p, const struct relay_socket *s)
{
    for (int i = 0; i < p->n; i++)
        if (p->ports[i].socket == s)
            return true;
    return false;
}

static struct relay_socket *find_socket(const struct ingress_ports *previous,
                                        const struct ingress_ports *next, const char *name)
{
    for (int i = 0; previous && i < previous->n; i++) {
        struct relay_socket *s = previous->ports[i].socket;
        if (strcmp(s->name, name) == 0 && !holds_socket(next, s))
            return relay_socket_ref(s);
    }
    return NULL;
}

/* The pair of the listener, of the node, or our own. */
static int load_certificate(const struct settings *settings, const struct settings_listener *conf,
                            struct tls_context **out, struct buf *error)
{
    char own_cert[PATH_BYTES], own_key[PATH_BYTES];
    const char *cert = conf->certificate ? conf->certificate : settings->certificate;
    const char *key = conf->certificate ? conf->key : settings->key;
    if (!cert) {
        (void)snprintf(own_cert, sizeof(own_cert), "%s/tls-certificate.pem", settings->data);
        (void)snprintf(own_key, sizeof(own_key), "%s/tls-key.pem", settings->data);
        int err = tls_self_signed_ensure(settings->hostname, own_cert, own_key, error);
        if (err != RM_OK)
            return err;
        cert = own_cert;
        key = own_key;
    }
    return tls_server_new(cert, key ? key : cert, out, error);
}

static int open_port(struct ingress_ports *next, const struct ingress_ports *previous,
                     const struct settings_listener *conf, struct buf *error)
{
    struct ingress_port port = {.conf = conf, .socket = find_socket(previous, next, conf->address)};
    int err = port.socket ? RM_OK : relay_socket_open(conf->address, DEFAULT_PORT, &port.socket, error);
    if (err == RM_OK && conf->tls != LISTENER_TLS_NONE)
        err = load_certificate(next->settings, conf, &port.tls, error);
    if (err == RM_OK)
        next->ports[next->n++] = port;
    else
        relay_socket_unref(port.socket);
    return err;
}

int ingress_ports_open(struct settings *settings, const struct ingress_ports *previous,
                       struct ingress_ports **out, struct buf *error)
{
    size_t n = (size_t)settings->n_listeners;
    struct ingress_ports *p = calloc(1, sizeof(*p) + n * sizeof(p->ports[0]));
    ENSURE(p);
    atomic_init(&p->refs, 1);
    p->settings = settings_ref(settings);
    p->shared = shared_take(previous);
    *out = NULL;
    for (int i = 0; i < settings->n_listeners; i++) {
        int err = open_port(p, previous, &settings->listeners[i], error);
        if (err != RM_OK) {
            ingress_ports_unref(p);
            return err;
        }
    }
    *out = p;
    return RM_OK;
}
