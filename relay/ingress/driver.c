/*
 * Joins a session to its connection: bytes and deadlines in, replies out. What is said to the client is the
 * session's business, except to a connection that is turned away before there is one.
 *
 * Life: accept -> (PROXY header) -> (TLS handshake) -> session -> on_end of the connection, where everything
 * is given back.
 */
#include <netinet/in.h>
#include <stdlib.h>

#include "lib/smtp/proxy_header.h"
#include "relay/ingress/driver_private.h"

enum { PROXY_WAIT_MS = 10 * 1000, TLS_WAIT_MS = 60 * 1000, REPLIES_MOST = 64 * 1024 };

/* ---- after an event ---------------------------------------------------------------------------------- */

static void set_deadline(struct driver *d)
{
    uint64_t until = inbound_deadline_us(d->session), now = loop_now_us(d->in->shard->loop);
    if (until == UINT64_MAX)
        conn_deadline(d->conn, 0);
    else
        conn_deadline(d->conn, until > now ? (until - now) / 1000 + 1 : 1);
}

/* Reading goes by whether the session can use input, and the client reads its replies; the handshake must be
 * read whatever the session does. */
void driver_session_event(struct driver *d)
{
    if (d->stage != DRIVER_SMTP)
        return;
    bool unread = conn_pending_bytes(d->conn) > REPLIES_MOST;
    if (unread)
        conn_drain_notify(d->conn, REPLIES_MOST / 2);
    if ((inbound_waiting(d->session) || unread) && !d->tls_pending)
        conn_read_pause(d->conn);
    else
        conn_read_resume(d->conn);
    set_deadline(d);
}

/* ---- the beginning ------------------------------------------------------------------------------------- */

/* Turned away before there is a session. On a TLS port there is nobody to read words in the clear. */
static void turn_away(struct driver *d, enum inbound_reason reason, const char *line)
{
    metric_add(d->in->turned_away, 1);
    driver_log_refused(d, reason, 421);
    d->stage = DRIVER_CLOSING;
    if (d->port->conf->tls == LISTENER_TLS_IMPLICIT) {
        conn_close(d->conn);
        return;
    }
    conn_write(d->conn, span_str(line));
    conn_finish(d->conn);
}

static bool check_limits(struct driver *d)
{
    const struct settings_listener *conf = d->port->conf;
    if (atomic_load_explicit(&driver_node(d)->inbound, memory_order_relaxed) >
            driver_settings(d)->connections ||
        (conf->connections &&
         atomic_load_explicit(&d->port->socket->connections, memory_order_relaxed) > conf->connections)) {
        turn_away(d, REASON_CONNECTIONS, "421 4.3.2 Limit connections reached: try again later\r\n");
        return false;
    }
    if (!conf->connections_per_client)
        return true;
    d->in_client_count = connections_client_enter(d->view->ports->shared->connections, d->port->socket->name,
                                                  d->client.ip, conf->connections_per_client);
    if (!d->in_client_count)
        turn_away(d, REASON_CONNECTIONS,
                  "421 4.7.0 Limit connections_per_client reached: close one and try again\r\n");
    return d->in_client_count;
}

static void begin_session(struct driver *d)
{
    char client[ADDR_TEXT];
    struct inbound_options options = {
        .env = &driver_env,
        .arg = d,
        .settings = driver_settings(d),
        .listener = d->port->conf,
        .tls_available = d->port->tls && d->port->conf->tls == LISTENER_TLS_STARTTLS,
        .client = addr_text(&d->client, client),
        .tenant = settings_tenant_by_address(driver_settings(d), d->client.ip),
    };
    d->stage = DRIVER_SMTP;
    d->session = inbound_new(&options);
}

static void tell_tls(struct driver *d)
{
    struct conn_tls_info info;
    if (conn_tls_info(d->conn, &info))
        inbound_tls_done(d->session, info.version, info.cipher);
}

/* Whose connection it is, is known. */
static void begin(struct driver *d)
{
    bool proxied = d->stage == DRIVER_PROXY;
    if (!check_limits(d))
        return;
    if (d->port->conf->tls == LISTENER_TLS_IMPLICIT) {
        d->stage = DRIVER_TLS;
        conn_deadline(d->conn, TLS_WAIT_MS);
        if (proxied)
            conn_tls_start_behind(d->conn, d->port->tls);
        else
            conn_tls_start(d->conn, d->port->tls, NULL);
        return;
    }
    begin_session(d);
    inbound_start(d->session);
    driver_session_event(d);
}

static bool from_proxy(const struct driver *d)
{
    const struct settings_listener *conf = d->port->conf;
    for (int i = 0; i < conf->n_proxies; i++)
        if (settings_network_has(&conf->proxies[i], conn_remote(d->conn)->ip))
            return true;
    return false;
}

static void take_client(struct driver *d, const struct smtp_proxy_header *header)
{
    if (header->local)
        return;
    if (header->client.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&header->client;
        d->client = addr_of_ip(in6->sin6_addr.s6_addr, ntohs(in6->sin6_port));
        return;
    }
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)&header->client;
    uint8_t ip[16] = {[10] = 0xff, [11] = 0xff};
    memcpy(ip + 12, &in4->sin_addr, 4);
    d->client = addr_of_ip(ip, ntohs(in4->sin_port));
}

static size_t read_proxy_header(struct driver *d, struct span in)
{
    struct smtp_proxy_header header;
    size_t used = 0;
    switch (smtp_proxy_header_parse(in, &used, &header)) {
    case SMTP_PROXY_MORE:
        return 0;
    case SMTP_PROXY_DONE:
        take_client(d, &header);
        begin(d);
        return used;
    case SMTP_PROXY_ERROR:
        break;
    }
    logger_log(driver_node(d)->logger, LOG_WARN, "smtp.proxy_header",
               LF_STR("trouble", "a load balancer sent no PROXY header"),
               LF_STR("listener", d->port->socket->name));
    d->stage = DRIVER_CLOSING;
    conn_close(d->conn);
    return in.len;
}

/* ---- events of the connection -------------------------------------------------------------------------- */

static size_t on_read(struct conn *c, void *arg, struct span in)
{
    struct driver *d = arg;
    size_t used = 0;
    (void)c;
    if (d->stage == DRIVER_PROXY)
        used = read_proxy_header(d, in);
    if (d->stage == DRIVER_SMTP) {
        used += inbound_feed(d->session, span_of(in.ptr + used, in.len - used));
        driver_session_event(d);
    }
    return d->stage == DRIVER_CLOSING ? in.len : used;
}

static void on_tls(struct conn *c, void *arg)
{
    struct driver *d = arg;
    (void)c;
    d->tls_pending = false;
    if (d->stage == DRIVER_TLS) {
        begin_session(d);
        tell_tls(d);
        inbound_start(d->session);
    } else if (d->stage == DRIVER_SMTP) {
        tell_tls(d);
    }
    driver_session_event(d);
}

static void on_timeout(struct conn *c, void *arg)
{
    struct driver *d = arg;
    if (d->stage != DRIVER_SMTP) {
        conn_close(c);
        return;
    }
    inbound_timeout(d->session);
    driver_session_event(d);
}

static void on_end(struct conn *c, void *arg, enum conn_end why)
{
    struct driver *d = arg;
    struct ingress *in = d->in;
    char client[ADDR_TEXT];
    logger_log(driver_node(d)->logger, LOG_DEBUG, "smtp.closed",
               LF_STR("client", addr_text(&d->client, client)),
               LF_STR("why", why == CONN_END_TLS ? conn_end_text(c) : conn_end_name(why)));
    driver_detach(d);
    if (d->session)
        inbound_free(d->session);
    driver_leave_tenant(d);
    if (d->in_client_count)
        connections_client_leave(d->view->ports->shared->connections, d->port->socket->name, d->client.ip);
    atomic_fetch_sub_explicit(&d->port->socket->connections, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&driver_node(d)->inbound, 1, memory_order_relaxed);
    metric_inc(driver_port_cells(d)->open, -1);
    list_remove(&d->link);
    ingress_view_unref(d->view);
    free(d);
    ingress_driver_gone(in);
}

/* The client has read on. */
static void on_drain(struct conn *c, void *arg)
{
    (void)c;
    driver_session_event(arg);
}

static const struct conn_ops driver_ops = {
    .on_read = on_read,
    .on_drain = on_drain,
    .on_tls = on_tls,
    .on_timeout = on_timeout,
    .on_end = on_end,
};

void driver_accept(struct ingress *in, const struct ingress_port *port, struct conn *c)
{
    struct driver *d = calloc(1, sizeof(*d));
    ENSURE(d);
    d->in = in;
    d->view = ingress_view_ref(in->view);
    d->port = port;
    d->conn = c;
    d->tenant = -1;
    d->client = *conn_remote(c);
    list_init(&d->appends);
    list_init(&d->quota.node);
    list_push_back(&in->drivers, &d->link);
    in->n_drivers++;
    atomic_fetch_add_explicit(&port->socket->connections, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&driver_node(d)->inbound, 1, memory_order_relaxed);
    metric_add(driver_port_cells(d)->total, 1);
    metric_inc(driver_port_cells(d)->open, 1);
    conn_ops_set(c, &driver_ops, d);
    if (from_proxy(d)) {
        d->stage = DRIVER_PROXY;
        conn_deadline(c, PROXY_WAIT_MS);
    } else {
        d->stage = DRIVER_SMTP; /* begin takes DRIVER_PROXY for a header just read */
        begin(d);
    }
}

/* ---- the end ------------------------------------------------------------------------------------------- */

void driver_drain(struct list *link)
{
    struct driver *d = CONTAINER_OF(link, struct driver, link);
    if (d->stage == DRIVER_SMTP)
        inbound_drain(d->session);
    else if (d->stage != DRIVER_CLOSING)
        conn_close(d->conn);
    driver_session_event(d);
}

void driver_cut(struct list *link)
{
    struct driver *d = CONTAINER_OF(link, struct driver, link);
    if (d->stage == DRIVER_SMTP)
        inbound_kick(d->session, REASON_STOPPING, "Service is stopping; try again");
    else
        conn_close(d->conn);
}
