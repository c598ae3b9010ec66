/*
 * The SMTP servers of a shard: which sockets it accepts on, by which snapshot new connections go, and the end
 * of all of them. A single connection is driver.c's, the sockets themselves are ports.c's.
 */
#include "relay/ingress/ingress.h"

#include <stdlib.h>

#include "lib/base/clock.h"
#include "relay/ingress/driver.h"
#include "relay/metrics_table.h"

enum { SECOND_MS = 1000 };

struct socket_acceptor {
    struct list link; /* of ingress.acceptors */
    struct ingress *in;
    struct relay_socket *socket;
    struct acceptor *acceptor;
    int port; /* index in in->view->ports */
};

/* ---- views --------------------------------------------------------------------------------------- */

static struct metric_cell *cell(struct shard *shard, int row, const char *label)
{
    return metrics_cell(shard->node->metrics, row, label ? &label : NULL);
}

struct ingress_view *ingress_view_new(struct shard *shard, struct ingress_ports *ports)
{
    const struct settings *s = ports->settings;
    struct ingress_view *v = calloc(1, sizeof(*v) + (size_t)s->n_tenants * sizeof(v->tenants[0]));
    ENSURE(v);
    v->refs = 1;
    v->ports = ingress_ports_ref(ports);
    v->listeners = calloc((size_t)ports->n + 1, sizeof(v->listeners[0]));
    ENSURE(v->listeners);
    for (int i = 0; i < ports->n; i++)
        v->listeners[i] = (struct port_cells){
            .open = cell(shard, M_CONNECTIONS_OPEN, ports->ports[i].socket->name),
            .total = cell(shard, M_CONNECTIONS_TOTAL, ports->ports[i].socket->name),
        };
    for (int i = 0; i < s->n_tenants; i++)
        v->tenants[i] = (struct tenant_cells){
            .messages = cell(shard, M_ACCEPTED, s->tenants[i].name),
            .bytes = cell(shard, M_ACCEPTED_BYTES, s->tenants[i].name),
            .recipients = cell(shard, M_ACCEPTED_RECIPIENTS, s->tenants[i].name),
        };
    return v;
}

struct ingress_view *ingress_view_ref(struct ingress_view *v)
{
    v->refs++;
    return v;
}

void ingress_view_unref(struct ingress_view *v)
{
    if (--v->refs)
        return;
    ingress_ports_unref(v->ports);
    free(v->listeners);
    free(v);
}

/* ---- life ---------------------------------------------------------------------------------------- */

static void make_cells(struct ingress *in)
{
    static const char *const auth[AUTH_METRICS] = {
        [AUTH_METRIC_OK] = "ok",
        [AUTH_METRIC_CACHED] = "ok_cached",
        [AUTH_METRIC_FAILED] = "failed",
        [AUTH_METRIC_BUSY] = "busy",
    };
    for (int i = 0; i < INBOUND_REASONS; i++)
        in->refused[i] = cell(in->shard, M_REFUSED, inbound_reason_name((enum inbound_reason)i));
    in->turned_away = cell(in->shard, M_CONNECTIONS_REFUSED, inbound_reason_name(REASON_CONNECTIONS));
    for (int i = 0; i < AUTH_METRICS; i++)
        in->auth[i] = cell(in->shard, M_AUTH, auth[i]);
    in->accept_seconds = cell(in->shard, M_ACCEPT_SECONDS, NULL);
}

static void drain_late(struct loop_timer *t);
static void each_second(struct loop_timer *t);

struct ingress *ingress_new(struct shard *shard, struct ingress_ports *ports)
{
    struct ingress *in = calloc(1, sizeof(*in));
    ENSURE(in);
    in->shard = shard;
    in->view = ingress_view_new(shard, ports);
    list_init(&in->acceptors);
    list_init(&in->drivers);
    buf_init(&in->scratch);
    loop_timer_init(&in->drain_timer, shard->loop, drain_late);
    loop_timer_init(&in->second, shard->loop, each_second);
    struct allowance_options o = {.log = shard->node->log,
                                  .client = shard->log,
                                  .node = shard->node->settings->name,
                                  .shards = shard->node->n_shards,
                                  .wall_ms = clock_wall_ms,
                                  .claims = cell(shard, M_QUOTA_CLAIMS, NULL)};
    in->allowance = allowance_new(&o);
    make_cells(in);
    return in;
}

static void on_accept(void *arg, struct conn *c)
{
    struct socket_acceptor *a = arg;
    driver_accept(a->in, &a->in->view->ports->ports[a->port], c);
}

static void acceptor_drop(struct socket_acceptor *a)
{
    list_remove(&a->link);
    acceptor_free(a->acceptor);
    relay_socket_unref(a->socket);
    free(a);
}

static void drop_acceptors(struct ingress *in)
{
    LIST_FOREACH_SAFE(it, next, &in->acceptors)
    acceptor_drop(CONTAINER_OF(it, struct socket_acceptor, link));
}

static int port_of_socket(const struct ingress_ports *p, const struct relay_socket *s)
{
    for (int i = 0; i < p->n; i++)
        if (p->ports[i].socket == s)
            return i;
    return -1;
}

/* Existing acceptors go by the new numbers, or away. */
static void renumber_acceptors(struct ingress *in)
{
    LIST_FOREACH_SAFE(it, next, &in->acceptors)
    {
        struct socket_acceptor *a = CONTAINER_OF(it, struct socket_acceptor, link);
        a->port = port_of_socket(in->view->ports, a->socket);
        if (a->port < 0)
            acceptor_drop(a);
    }
}

static bool accepts_on(const struct ingress *in, const struct relay_socket *s)
{
    LIST_FOREACH(it, &in->acceptors)
    if (CONTAINER_OF(it, struct socket_acceptor, link)->socket == s)
        return true;
    return false;
}

static int add_acceptor(struct ingress *in, int port)
{
    struct socket_acceptor *a = calloc(1, sizeof(*a));
    ENSURE(a);
    a->in = in;
    a->port = port;
    a->socket = relay_socket_ref(in->view->ports->ports[port].socket);
    list_push_back(&in->acceptors, &a->link);
    int err = acceptor_new(in->shard->loop, a->socket->listener, on_accept, a, &a->acceptor);
    if (err != RM_OK) {
        list_remove(&a->link);
        relay_socket_unref(a->socket);
        free(a);
    }
    return err;
}

static void each_second(struct loop_timer *t)
{
    struct ingress *in = CONTAINER_OF(t, struct ingress, second);
    allowance_tick(in->allowance, in->shard->number == 0);
    loop_timer_start(t, SECOND_MS);
}

int ingress_start(struct ingress *in)
{
    int worst = RM_OK;
    if (in->view->ports->n && !loop_timer_running(&in->second))
        loop_timer_start(&in->second, SECOND_MS);
    for (int i = 0; i < in->view->ports->n; i++) {
        if (accepts_on(in, in->view->ports->ports[i].socket))
            continue;
        int err = add_acceptor(in, i);
        if (err != RM_OK)
            worst = err;
    }
    return worst;
}

int ingress_reload(struct ingress *in, struct ingress_ports *ports)
{
    struct ingress_view *old = in->view;
    in->view = ingress_view_new(in->shard, ports);
    ingress_view_unref(old);
    if (in->draining)
        return RM_OK;
    renumber_acceptors(in);
    return ingress_start(in);
}

/* ---- the end ------------------------------------------------------------------------------------- */

static void check_drained(struct loop_defer *d)
{
    struct ingress *in = CONTAINER_OF(d, struct ingress, drain_check);
    if (in->n_drivers || !in->drained)
        return;
    void (*done)(void *arg) = in->drained;
    in->drained = NULL;
    loop_timer_stop(&in->drain_timer);
    loop_timer_stop(&in->second);
    allowance_stop(in->allowance);
    done(in->drained_arg);
}

void ingress_driver_gone(struct ingress *in)
{
    in->n_drivers--;
    if (in->draining && in->n_drivers == 0)
        loop_defer(in->shard->loop, &in->drain_check, check_drained);
}

static void drain_late(struct loop_timer *t)
{
    struct ingress *in = CONTAINER_OF(t, struct ingress, drain_timer);
    LIST_FOREACH_SAFE(it, next, &in->drivers)
    driver_cut(it);
}

void ingress_drain(struct ingress *in, void (*done)(void *arg), void *arg)
{
    in->draining = true;
    in->drained = done;
    in->drained_arg = arg;
    drop_acceptors(in);
    LIST_FOREACH_SAFE(it, next, &in->drivers)
    driver_drain(it);
    loop_timer_start(&in->drain_timer, in->view->ports->settings->drain_ms);
    loop_defer(in->shard->loop, &in->drain_check, check_drained);
}

uint32_t ingress_connections(const struct ingress *in)
{
    return in->n_drivers;
}

void ingress_free(struct ingress *in)
{
    ENSURE(in->n_drivers == 0);
    drop_acceptors(in);
    loop_timer_stop(&in->drain_timer);
    loop_timer_stop(&in->second);
    allowance_free(in->allowance);
    loop_defer_cancel(in->shard->loop, &in->drain_check);
    ingress_view_unref(in->view);
    buf_fini(&in->scratch);
    free(in);
}
