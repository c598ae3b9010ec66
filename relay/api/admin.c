/*
 * The admin listener: its socket, its table of routes, and the checks that every request passes. What is
 * answered is in admin_state.c, admin_history.c, admin_queue.c and admin_dead.c.
 */
#include "relay/api/admin.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/net/addr.h"
#include "relay/api/admin_private.h"
#include "relay/api/json.h"

enum { THREADS = 4, CONNECTIONS = 128, IDLE_S = 30 };

/* ---- replies and arguments ---------------------------------------------------------------------------- */

void admin_reply_json(struct admin_reply *r, unsigned status, json_t *v)
{
    r->status = status;
    r->type = "application/json";
    buf_clear(&r->body);
    json_dump_to(&r->body, v);
    buf_add_char(&r->body, '\n');
}

void admin_reply_error(struct admin_reply *r, unsigned status, const char *text)
{
    json_t *v = json_object();
    json_object_set_new(v, "error", json_text(span_str(text)));
    admin_reply_json(r, status, v);
}

void admin_reply_text(struct admin_reply *r, unsigned status, const char *text)
{
    r->status = status;
    r->type = "text/plain; charset=utf-8";
    buf_clear(&r->body);
    buf_add_str(&r->body, text);
}

const char *admin_arg(const struct admin_request *q, const char *name)
{
    return MHD_lookup_connection_value(q->connection, MHD_GET_ARGUMENT_KIND, name);
}

struct span admin_arg_span(const struct admin_request *q, const char *name)
{
    const char *value = admin_arg(q, name);
    return span_str(value ? value : "");
}

bool admin_arg_num(const struct admin_request *q, struct admin_reply *r, const char *name, uint64_t fallback,
                   uint64_t most, uint64_t *out)
{
    const char *value = admin_arg(q, name);
    *out = fallback;
    if (!value || (span_u64(span_str(value), out) && *out <= most))
        return true;
    char text[120];
    snprintf(text, sizeof(text), "%s: expected a number from 0 to %llu", name, (unsigned long long)most);
    admin_reply_error(r, MHD_HTTP_BAD_REQUEST, text);
    return false;
}

/* ---- routes ------------------------------------------------------------------------------------------- */

static const struct route {
    const char *method;
    const char *path;
    bool prefix; /* path is the beginning; the rest goes to the handler */
    admin_handler handler;
} routes[] = {
    {"GET", "/metrics", false, admin_metrics},
    {"GET", "/healthz", false, admin_healthz},
    {"GET", "/readyz", false, admin_readyz},
    {"GET", "/v1/trace/", true, admin_trace},
    {"GET", "/v1/search", false, admin_search},
    {"GET", "/v1/events", false, admin_events},
    {"GET", "/v1/queue", false, admin_queue},
    {"GET", "/v1/explain", false, admin_explain},
    {"GET", "/v1/explain/", true, admin_explain_past},
    {"GET", "/v1/why", false, admin_why},
    {"GET", "/v1/rules/unknown", false, admin_rules_unknown},
    {"GET", "/v1/audit/mail", false, admin_audit_mail},
    {"GET", "/v1/dead", false, admin_dead},
    {"GET", "/v1/dead/", true, admin_dead},
    {"POST", "/v1/dead/", true, admin_dead_replay},
    {"GET", "/v1/suppression", false, admin_suppression},
    {"POST", "/v1/suppression/add", false, admin_suppression_add},
    {"POST", "/v1/suppression/remove", false, admin_suppression_remove},
    {"GET", "/v1/pairs", false, admin_pairs},
    {"POST", "/v1/pairs/mark", false, admin_pair_mark},
    {"POST", "/v1/pairs/clear", false, admin_pair_clear},
    {"POST", "/v1/pairs/import", false, admin_pair_import},
    {"GET", "/v1/quarantine", false, admin_quarantine},
    {"POST", "/v1/quarantine/lift", false, admin_quarantine_lift},
    {"POST", "/v1/quarantine/keep", false, admin_quarantine_keep},
    {"GET", "/v1/lanes", false, admin_lanes},
    {"POST", "/v1/lanes/move", false, admin_lanes_move},
    {"POST", "/v1/lanes/spread", false, admin_lanes_spread},
    {"POST", "/v1/partitions/grow", false, admin_partitions_grow},
    {"POST", "/v1/migrate", false, admin_migrate},
};

static bool path_is(const struct route *route, const char *path)
{
    return route->prefix ? strncmp(path, route->path, strlen(route->path)) == 0
                         : strcmp(path, route->path) == 0;
}

static bool method_is(const struct route *route, const char *method)
{
    return strcmp(method, route->method) == 0 ||
           (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

/* "127.0.0.1", "127.0.0.1:8025", "[::1]:8025", "localhost": a name that only this machine can give itself. */
static bool host_is_local_name(const char *host)
{
    struct span name = span_str(host ? host : "");
    if (name.len > 0 && name.ptr[0] == '[') {
        const char *end = memchr(name.ptr, ']', name.len);
        if (!end)
            return false;
        name = span_of(name.ptr + 1, (size_t)(end - name.ptr) - 1);
    } else {
        struct span rest = name;
        name = span_cut(&rest, ':');
    }
    char text[INET6_ADDRSTRLEN];
    unsigned char address[16];
    if (name.len >= sizeof(text))
        return false;
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    return span_ieq(name, SPAN_LIT("localhost")) || inet_pton(AF_INET, text, address) == 1 ||
           inet_pton(AF_INET6, text, address) == 1;
}

static const char *header(struct MHD_Connection *c, const char *name)
{
    return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

static void dispatch(struct admin *a, struct MHD_Connection *c, const char *method, const char *url,
                     struct admin_reply *r)
{
    if (!host_is_local_name(header(c, MHD_HTTP_HEADER_HOST))) {
        admin_reply_error(r, MHD_HTTP_FORBIDDEN, "the Host header must be an IP address or localhost");
        return;
    }
    /* A form of a web page can post here, but not with a header of its own. */
    if (strcmp(method, "POST") == 0 && !header(c, "X-Remuda")) {
        admin_reply_error(r, MHD_HTTP_FORBIDDEN, "the header X-Remuda: 1 is required");
        return;
    }
    bool path_known = false;
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (!path_is(&routes[i], url))
            continue;
        path_known = true;
        if (!method_is(&routes[i], method))
            continue;
        struct admin_request q = {a, c, url + strlen(routes[i].path)};
        routes[i].handler(&q, r);
        return;
    }
    if (path_known)
        admin_reply_error(r, MHD_HTTP_METHOD_NOT_ALLOWED, "method not allowed");
    else
        admin_reply_error(r, MHD_HTTP_NOT_FOUND, "no such path");
}

static enum MHD_Result reply_send(struct MHD_Connection *c, struct admin_reply *r)
{
    size_t n = r->body.len;
    char *bytes = buf_take(&r->body);
    struct MHD_Response *response = MHD_create_response_from_buffer(n, bytes, MHD_RESPMEM_MUST_FREE);
    if (!response) {
        free(bytes);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, r->type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    enum MHD_Result rc = MHD_queue_response(c, r->status, response);
    MHD_destroy_response(response);
    return rc;
}

/* libmicrohttpd calls it first with the headers, then for each piece of a body, then with none: answer then.
 */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url, const char *method,
                                  const char *version, const char *body, size_t *body_bytes, void **state)
{
    static char begun;
    (void)version;
    (void)body;
    if (*state == NULL) {
        *state = &begun;
        return MHD_YES;
    }
    if (*body_bytes > 0) {
        *body_bytes = 0; /* no request here has a body that means something */
        return MHD_YES;
    }
    struct admin_reply r = {.status = MHD_HTTP_INTERNAL_SERVER_ERROR, .type = "text/plain", .body = BUF_INIT};
    dispatch(arg, c, method, url, &r);
    return reply_send(c, &r);
}

/* ---- starting and stopping ---------------------------------------------------------------------------- */

/* RM_EINVAL unless it is a loopback address. */
static int parse_loopback(const char *text, struct sockaddr_storage *out, const char **why)
{
    struct addr address;
    *why = "expected \"127.0.0.1:PORT\" or \"[::1]:PORT\"";
    if (!strrchr(text, ':') || !addr_parse_port(span_str(text), 0, &address))
        return RM_EINVAL;
    addr_to_sockaddr(&address, out);
    bool loopback = addr_is_loopback(&address);
    *why = loopback ? "" : "the admin listener has no authentication: only a loopback address is allowed";
    return loopback ? RM_OK : RM_EINVAL;
}

int admin_address_check(const char *address, const char **why)
{
    struct sockaddr_storage ignored;
    const char *phrase;
    int rc = parse_loopback(address, &ignored, &phrase);
    if (why)
        *why = phrase;
    return rc;
}

/* Replays wait for their batch in log_client_flush: nothing has to be woken. */
static void no_wake(void *arg)
{
    (void)arg;
}

static int daemon_start(struct admin *a, const struct sockaddr_storage *address)
{
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO;
    if (address->ss_family == AF_INET6)
        flags |= MHD_USE_IPv6;
    a->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, a, MHD_OPTION_SOCK_ADDR, address,
                                 MHD_OPTION_THREAD_POOL_SIZE, (unsigned)THREADS, MHD_OPTION_CONNECTION_LIMIT,
                                 (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
                                 MHD_OPTION_END);
    if (!a->daemon)
        return RM_EIO;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(a->daemon, MHD_DAEMON_INFO_BIND_PORT);
    a->port = info ? info->port : 0;
    return RM_OK;
}

int admin_start(struct node *node, const char *address, admin_query_fn ask, struct admin **out,
                const char **why)
{
    struct sockaddr_storage where;
    const char *phrase;
    *out = NULL;
    int rc = parse_loopback(address, &where, &phrase);
    struct admin *a = NULL;
    if (rc == RM_OK) {
        a = calloc(1, sizeof(*a));
        ENSURE(a != NULL);
        a->node = node;
        a->ask = ask;
        a->all_events = node->history && (log_capabilities(node->log) & LOG_ATOMIC ||
                                          settings_has_role(node->settings, "admin"));
        pthread_mutex_init(&a->lock, NULL);
        pthread_mutex_init(&a->accounting, NULL);
        a->client = log_client_new(node->log, no_wake, NULL);
        rc = daemon_start(a, &where);
        phrase = rc == RM_OK ? "" : "the admin listener's address cannot be bound";
    }
    if (why)
        *why = phrase;
    if (rc != RM_OK) {
        admin_stop(a);
        return rc;
    }
    *out = a;
    return RM_OK;
}

void admin_stop(struct admin *a)
{
    if (!a)
        return;
    if (a->daemon)
        MHD_stop_daemon(a->daemon);
    log_client_free(a->client);
    pthread_mutex_destroy(&a->lock);
    pthread_mutex_destroy(&a->accounting);
    free(a);
}

uint16_t admin_port(const struct admin *a)
{
    return a->port;
}
