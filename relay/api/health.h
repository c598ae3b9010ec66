/*
 * The health listener: HTTP for load balancers, on any address. It answers GET and HEAD of
 *
 *   /healthz    200 while the process serves
 *   /readyz     200 when the node takes and delivers mail, else 503 with the reason; 503 from the order to
 * stop on, which node.leave lets go before the listeners close
 *
 * and nothing else, so it needs no protection that a port of this kind does not have anyway. One thread of
 * its own (libmicrohttpd).
 */
#ifndef REMUDA_RELAY_API_HEALTH_H
#define REMUDA_RELAY_API_HEALTH_H

#include "relay/node.h"

struct health;

/*
 * Listens on address ("192.0.2.1:8026", "[::]:8026"; port 0: any free one). node is borrowed until
 * health_stop. RM_EINVAL: the address does not parse; RM_EIO: it cannot be bound.
 */
int health_start(const struct node *node, const char *address, struct health **out) MUST_CHECK;
/* Ends the requests in progress and the thread. NULL is allowed. */
void health_stop(struct health *h);
/* The port that it listens on. */
uint16_t health_port(const struct health *h);

/* Whether the node takes and delivers mail; *text becomes a line that says so, or why not. Any thread. */
bool health_is_ready(const struct node *node, const char **text);

#endif
