/*
 * A driver as its two files share it: driver.c owns the connection's life, driver_env.c is the environment
 * that the session calls.
 */
#ifndef REMUDA_RELAY_INGRESS_DRIVER_PRIVATE_H
#define REMUDA_RELAY_INGRESS_DRIVER_PRIVATE_H

#include "relay/ingress/allowance.h"
#include "relay/ingress/driver.h"

struct auth_job;

enum driver_stage {
    DRIVER_PROXY, /* a PROXY header must come first */
    DRIVER_TLS,   /* implicit TLS: the handshake */
    DRIVER_SMTP,
    DRIVER_CLOSING,
};

struct auth_job;

struct driver {
    struct list link; /* of ingress.drivers */
    struct ingress *in;
    struct ingress_view *view;
    const struct ingress_port *port;
    struct conn *conn;
    struct inbound *session; /* from DRIVER_SMTP on */
    struct list appends;     /* struct append_op in flight */
    struct auth_job *auth;
    struct allowance_waiter quota;
    int quota_tenant;  /* that it is asked for */
    bool asking_quota; /* in the call: what is answered now, the session is told in its own turn */
    enum driver_stage stage;
    bool tls_pending;
    bool in_client_count;
    int tenant; /* counted as a connection of, -1 none */
    struct addr client;
};
static inline const struct settings *driver_settings(const struct driver *d)
{
    return d->view->ports->settings;
}

static inline struct node *driver_node(const struct driver *d)
{
    return d->in->shard->node;
}

static inline const struct port_cells *driver_port_cells(const struct driver *d)
{
    return &d->view->listeners[d->port - d->view->ports->ports];
}

/* driver.c: the session may have begun or ceased to wait. After whatever it was told. */
void driver_session_event(struct driver *d);

/* driver_env.c */
extern const struct inbound_env driver_env;
void driver_log_refused(struct driver *d, enum inbound_reason reason, int code);
void driver_leave_tenant(struct driver *d);
/* Appends and password checks in flight go on without the driver. */
void driver_detach(struct driver *d);

#endif
