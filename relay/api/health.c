/* The health listener: two paths that tell a load balancer how the node is. */
#include "relay/api/health.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "lib/net/addr.h"

enum { CONNECTIONS = 64, CONNECTIONS_EACH = 16, IDLE_S = 10 };

struct health {
    const struct node *node;
    struct MHD_Daemon *daemon;
    uint16_t port;
};

bool health_is_ready(const struct node *node, const char **text)
{
    if (node->draining)
        *text = "stopping: mail is for other nodes\n";
    else if (!node->ready)
        *text = "starting: not all partitions are recovered yet\n";
    else
        *text = "ready\n";
    return node->ready && !node->draining;
}

static unsigned answer_to(const struct health *h, const char *method, const char *path, const char **text)
{
    *text = "method not allowed\n";
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return MHD_HTTP_METHOD_NOT_ALLOWED;
    *text = "ok\n";
    if (strcmp(path, "/healthz") == 0)
        return MHD_HTTP_OK;
    if (strcmp(path, "/readyz") == 0)
        return health_is_ready(h->node, text) ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
    *text = "no such path\n";
    return MHD_HTTP_NOT_FOUND;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *path, const char *method,
                                  const char *version, const char *body, size_t *body_bytes, void **state)
{
    static char begun;
    (void)version, (void)body;
    bool first = *state == NULL;
    *state = &begun;
    *body_bytes = 0;
    if (first) /* with the headers; what follows has to be answered without a body */
        return MHD_YES;
    const char *text;
    unsigned status = answer_to(arg, method, path, &text);
    struct MHD_Response *r =
        MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);
    if (!r)
        return MHD_NO;
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain; charset=utf-8");
    MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    enum MHD_Result queued = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return queued;
}

int health_start(const struct node *node, const char *address, struct health **out)
{
    struct addr where;
    struct sockaddr_storage sa;
    *out = NULL;
    if (!addr_parse_port(span_str(address), 0, &where))
        return RM_EINVAL;
    addr_to_sockaddr(&where, &sa);
    struct health *h = calloc(1, sizeof(*h));
    ENSURE(h);
    h->node = node;
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO;
    if (sa.ss_family == AF_INET6)
        flags |= MHD_USE_IPv6;
    h->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, h, MHD_OPTION_SOCK_ADDR, &sa,
                                 MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS,
                                 MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)CONNECTIONS_EACH,
                                 MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S, MHD_OPTION_END);
    if (!h->daemon) {
        free(h);
        return RM_EIO;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_BIND_PORT);
    h->port = info ? info->port : 0;
    *out = h;
    return RM_OK;
}

void health_stop(struct health *h)
{
    if (!h)
        return;
    MHD_stop_daemon(h->daemon);
    free(h);
}

uint16_t health_port(const struct health *h)
{
    return h->port;
}
