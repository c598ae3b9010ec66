/* Opening what the settings' egresses name for this node, and what may go through them. No loop here. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "relay/egress/egress_private.h"

/* ---- counting ---- */

struct egress_ports *egress_ports_ref(struct egress_ports *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void egress_ports_unref(struct egress_ports *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (int i = 0; i < p->n; i++)
        relay_socket_unref(p->ports[i].socket);
    egress_guard_unref(p->guard);
    addr_own_free(p->own);
    settings_unref(p->settings);
    free(p);
}

int egress_ports_count(const struct egress_ports *p)
{
    return p->n;
}

const char *egress_ports_address(const struct egress_ports *p, int i)
{
    return p->ports[i].socket->address;
}

/* ---- opening ---- */

static struct relay_socket *find_socket(const struct egress_ports *previous, const char *name)
{
    for (int i = 0; previous && i < previous->n; i++)
        if (strcmp(previous->ports[i].socket->name, name) == 0)
            return relay_socket_ref(previous->ports[i].socket);
    return NULL;
}

static int add_port(struct egress_ports *p, const struct egress_ports *previous, int egress,
                    struct buf *error)
{
    const struct settings_egress *conf = &p->settings->egresses[egress];
    struct egress_port *port = &p->ports[p->n];
    *port =
        (struct egress_port){.socket = find_socket(previous, conf->address), .conf = conf, .index = egress};
    int err = port->socket ? RM_OK : relay_socket_open(conf->address, 0, &port->socket, error);
    p->n += err == RM_OK;
    return err;
}

int egress_ports_open(struct settings *settings, const struct egress_ports *previous,
                      struct egress_ports **out, struct buf *error)
{
    struct egress_ports *p =
        calloc(1, sizeof(*p) + (size_t)settings->n_egresses * sizeof(struct egress_port));
    ENSURE(p);
    atomic_init(&p->refs, 1);
    p->settings = settings_ref(settings);
    p->guard = previous ? egress_guard_ref(previous->guard) : egress_guard_new(clock_wall_ms());
    int err = addr_own_load(&p->own);
    if (err != RM_OK)
        buf_printf(error, "the addresses of this host: %s\n", rm_strerror(err));
    for (int i = 0; err == RM_OK && i < settings->n_egresses; i++)
        if (settings_egress_here(settings, i))
            err = add_port(p, previous, i, error);
    if (err != RM_OK) {
        egress_ports_unref(p);
        p = NULL;
    }
    *out = p;
    return err;
}

/* ---- what may go through ---- */

bool egress_may_reach(const struct egress_ports *p, const struct settings_egress *conf,
                      const struct addr *target, const char **why)
{
    *why = "the port is none of its ports";
    if (!settings_egress_port_ok(conf, target->port))
        return false;
    *why = "the address is local, private or reserved";
    if (!conf->allow_local && !addr_is_public(target))
        return false;
    *why = "the address is its own";
    return conf->allow_local || !addr_own_has(p->own, target);
}

bool egress_owns(const struct egress_ports *p, int egress, const struct addr *source)
{
    const struct router_config *c = &p->settings->router;
    struct addr a;
    for (int i = 0; i < c->n_sources; i++)
        if (c->sources[i].egress == egress && addr_parse(span_str(c->sources[i].address), &a) &&
            addr_same_ip(&a, source))
            return true;
    return false;
}
