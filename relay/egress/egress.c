/* A shard's part of the egress listeners: acceptors, the list of what passes through, the end of all of it.
 */
#include "relay/egress/egress.h"

#include <stdlib.h>

#include "relay/egress/egress_private.h"

struct egress_acceptor {
    struct list link; /* egress->acceptors */
    struct egress *egress;
    struct relay_socket *socket;
    struct acceptor *acceptor;
    int port; /* index in egress->ports */
};

static void on_accept(void *arg, struct conn *c)
{
    struct egress_acceptor *a = arg;
    passage_accept(a->egress, a->port, c);
}

static void acceptor_drop(struct egress_acceptor *a)
{
    list_remove(&a->link);
    if (a->acceptor)
        acceptor_free(a->acceptor);
    relay_socket_unref(a->socket);
    free(a);
}

static void drop_acceptors(struct egress *e)
{
    LIST_FOREACH_SAFE(it, next, &e->acceptors)
    acceptor_drop(CONTAINER_OF(it, struct egress_acceptor, link));
}

static struct egress_acceptor *acceptor_of(const struct egress *e, const struct relay_socket *s)
{
    LIST_FOREACH(it, &e->acceptors)
    if (CONTAINER_OF(it, struct egress_acceptor, link)->socket == s)
        return CONTAINER_OF(it, struct egress_acceptor, link);
    return NULL;
}

static int add_acceptor(struct egress *e, int port)
{
    struct egress_acceptor *a = calloc(1, sizeof(*a));
    ENSURE(a);
    a->egress = e;
    a->port = port;
    a->socket = relay_socket_ref(e->ports->ports[port].socket);
    list_push_back(&e->acceptors, &a->link);
    int err = acceptor_new(e->shard->loop, a->socket->listener, on_accept, a, &a->acceptor);
    if (err != RM_OK)
        acceptor_drop(a);
    return err;
}

int egress_start(struct egress *e)
{
    int worst = RM_OK;
    for (int i = 0; i < e->ports->n; i++) {
        struct egress_acceptor *a = acceptor_of(e, e->ports->ports[i].socket);
        int err = a ? RM_OK : add_acceptor(e, i);
        if (a)
            a->port = i;
        if (err != RM_OK)
            worst = err;
    }
    return worst;
}

static bool names(const struct egress_ports *p, const struct relay_socket *s)
{
    for (int i = 0; i < p->n; i++)
        if (p->ports[i].socket == s)
            return true;
    return false;
}

int egress_reload(struct egress *e, struct egress_ports *ports)
{
    egress_ports_unref(e->ports);
    e->ports = egress_ports_ref(ports);
    if (e->draining)
        return RM_OK;
    LIST_FOREACH_SAFE(it, next, &e->acceptors)
    {
        struct egress_acceptor *a = CONTAINER_OF(it, struct egress_acceptor, link);
        if (!names(ports, a->socket))
            acceptor_drop(a);
    }
    return egress_start(e);
}

/* ---- the end ---- */

static void check_drained(struct loop_defer *d)
{
    struct egress *e = CONTAINER_OF(d, struct egress, drain_check);
    if (e->n_passages || !e->drained)
        return;
    void (*done)(void *) = e->drained;
    e->drained = NULL;
    loop_timer_stop(&e->drain_timer);
    done(e->drained_arg);
}

void egress_passage_gone(struct egress *e)
{
    e->n_passages--;
    if (e->draining)
        loop_defer(e->shard->loop, &e->drain_check, check_drained);
}

static void drain_late(struct loop_timer *t)
{
    struct egress *e = CONTAINER_OF(t, struct egress, drain_timer);
    LIST_FOREACH_SAFE(it, next, &e->passages)
    passage_cut(it);
}

void egress_drain(struct egress *e, uint64_t bound_ms, void (*done)(void *arg), void *arg)
{
    e->draining = true;
    e->drained = done;
    e->drained_arg = arg;
    drop_acceptors(e);
    loop_timer_start(&e->drain_timer, bound_ms);
    loop_defer(e->shard->loop, &e->drain_check, check_drained);
}

struct egress *egress_new(struct shard *shard, struct egress_ports *ports)
{
    struct egress *e = calloc(1, sizeof(*e));
    ENSURE(e);
    e->shard = shard;
    e->ports = egress_ports_ref(ports);
    list_init(&e->acceptors);
    list_init(&e->passages);
    loop_timer_init(&e->drain_timer, shard->loop, drain_late);
    return e;
}

void egress_free(struct egress *e)
{
    ENSURE(e->n_passages == 0);
    drop_acceptors(e);
    loop_timer_stop(&e->drain_timer);
    loop_defer_cancel(e->shard->loop, &e->drain_check);
    egress_ports_unref(e->ports);
    free(e);
}
