/* Opening and counting. Which snapshot names which socket is relay/ingress/ports.c's and
 * relay/egress/ports.c's. */
#include "relay/socket.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/err.h"

int relay_socket_open(const char *name, uint16_t default_port, struct relay_socket **out, struct buf *error)
{
    struct addr address;
    struct listener *listener;
    if (!addr_parse_port(span_str(name), default_port, &address)) {
        buf_printf(error, "listener %s: not an address\n", name);
        return RM_EINVAL;
    }
    int err = listener_open(&address, &listener, error);
    if (err != RM_OK) {
        buf_add_str(error, "\n");
        return err;
    }
    struct relay_socket *s = calloc(1, sizeof(*s));
    ENSURE(s);
    atomic_init(&s->refs, 1);
    s->listener = listener;
    (void)snprintf(s->name, sizeof(s->name), "%s", name);
    (void)addr_text_port(listener_address(listener), s->address);
    *out = s;
    return RM_OK;
}

struct relay_socket *relay_socket_ref(struct relay_socket *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void relay_socket_unref(struct relay_socket *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    listener_free(s->listener);
    free(s);
}
