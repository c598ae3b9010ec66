/* One question to the servers: c-ares on the loop (its sockets and its timer), and asking on where a server
 * gave an alias without its target. Caching is dns.c's. */
#include <ares.h>
#include <stdlib.h>

#include "lib/base/buf.h"
#include "lib/net/dns_private.h"

/* ---- c-ares on the loop ---------------------------------------------------------------------- */

struct dns_socket {
    struct loop_io io;
    struct list link;
    struct dns *dns;
};

static void arm(struct dns *d)
{
    struct timeval tv;
    if (d->open && ares_timeout(d->channel, NULL, &tv))
        loop_timer_start(&d->timer, (uint64_t)tv.tv_sec * 1000 + (uint64_t)tv.tv_usec / 1000);
    else
        loop_timer_stop(&d->timer);
}

static void on_timer(struct loop_timer *t)
{
    struct dns *d = CONTAINER_OF(t, struct dns, timer);
    ares_process_fd(d->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    arm(d);
}

static void on_socket(struct loop_io *io, unsigned events)
{
    struct dns *d = CONTAINER_OF(io, struct dns_socket, io)->dns;
    int fd = io->fd;
    bool in = events & (EPOLLIN | EPOLLERR | EPOLLHUP), out = events & EPOLLOUT;
    ares_process_fd(d->channel, in ? fd : ARES_SOCKET_BAD, out ? fd : ARES_SOCKET_BAD);
    arm(d);
}

static struct dns_socket *find_socket(struct dns *d, int fd)
{
    LIST_FOREACH(it, &d->sockets)
    {
        struct dns_socket *s = CONTAINER_OF(it, struct dns_socket, link);
        if (s->io.fd == fd)
            return s;
    }
    return NULL;
}

static void on_socket_state(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct dns *d = arg;
    struct dns_socket *s = find_socket(d, fd);
    unsigned events = (readable ? (unsigned)EPOLLIN : 0) | (writable ? (unsigned)EPOLLOUT : 0);
    if (!events) {
        if (!s)
            return;
        loop_io_remove(d->loop, &s->io);
        list_remove(&s->link);
        free(s);
    } else if (s) {
        loop_io_change(d->loop, &s->io, events);
    } else {
        s = calloc(1, sizeof(*s));
        ENSURE(s);
        s->io = (struct loop_io){.fd = fd, .ready = on_socket};
        s->dns = d;
        list_push_back(&d->sockets, &s->link);
        ENSURE(loop_io_add(d->loop, &s->io, events) == RM_OK);
    }
}

static int set_servers(struct dns *d, const struct dns_options *options)
{
    struct buf csv = BUF_INIT;
    int err = RM_OK;
    for (int i = 0; i < options->n_servers && !err; i++) {
        struct addr a;
        char text[ADDR_TEXT];
        if (!addr_parse_port(span_str(options->servers[i]), 53, &a))
            err = RM_EINVAL;
        else
            buf_printf(&csv, "%s%s", csv.len ? "," : "", addr_text_port(&a, text));
    }
    if (!err && csv.len && ares_set_servers_ports_csv(d->channel, buf_cstr(&csv)) != ARES_SUCCESS)
        err = RM_EINVAL;
    buf_fini(&csv);
    return err;
}

int dns_channel_open(struct dns *d, const struct dns_options *options)
{
    struct ares_options o = {
        .flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_EDNS,
        .timeout = (int)d->options.timeout_ms,
        .tries = d->options.tries,
        .ednspsz = 1232,
        .sock_state_cb = on_socket_state,
        .sock_state_cb_data = d,
    };
    int mask =
        ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_EDNSPSZ | ARES_OPT_SOCK_STATE_CB;
    list_init(&d->sockets);
    loop_timer_init(&d->timer, d->loop, on_timer);
    if (ares_init_options(&d->channel, &o, mask) != ARES_SUCCESS)
        return RM_EIO;
    d->open = true;
    return set_servers(d, options);
}

void dns_channel_close(struct dns *d)
{
    bool open = d->open;
    d->open = false;
    if (open)
        ares_destroy(d->channel);
    loop_timer_stop(&d->timer);
}

/* ---- one question ---------------------------------------------------------------------------- */

struct query {
    struct dns *dns;
    int type, hops;
    uint32_t ttl; /* the least of the aliases behind us */
    dns_reply_fn fn;
    void *arg;
    char name[DNS_NAME];
};

static void on_answer(void *arg, int status, int timeouts, unsigned char *packet, int len);

static void ask(struct query *q)
{
    q->dns->stats.queries++;
    ares_query(q->dns->channel, q->name, ns_c_in, q->type, on_answer, q);
}

static enum dns_status failure(int status)
{
    switch (status) {
    case ARES_ENOTFOUND:
        return DNS_NXDOMAIN;
    case ARES_ENODATA:
        return DNS_NODATA;
    case ARES_EBADNAME:
        return DNS_BADNAME;
    case ARES_ETIMEOUT:
        return DNS_TIMEOUT;
    default: /* ARES_ECONNREFUSED too: c-ares says so when every server answered SERVFAIL */
        return DNS_SERVFAIL;
    }
}

static void on_answer(void *arg, int status, int timeouts, unsigned char *packet, int len)
{
    struct query *q = arg;
    struct dns_reply reply;
    (void)timeouts;
    if (status == ARES_EDESTRUCTION) {
        q->fn(q->arg, NULL);
        free(q);
        return;
    }
    if (packet && len > 0 && (status == ARES_SUCCESS || status == ARES_ENODATA || status == ARES_ENOTFOUND)) {
        dns_reply_parse(packet, len, q->name, q->type, &reply);
    } else {
        reply.status = failure(status);
        reply.ttl = DNS_RETRY_MS / 1000;
        reply.dangling = false;
        reply.n = 0;
    }
    if (reply.ttl < q->ttl)
        q->ttl = reply.ttl;
    if (reply.dangling && q->hops < DNS_HOPS) {
        q->hops++;
        strcpy(q->name, reply.target);
        ask(q);
        return;
    }
    if (reply.dangling)
        reply.status = DNS_LOOP;
    reply.ttl = q->ttl;
    q->fn(q->arg, &reply);
    free(q);
}

void dns_query_send(struct dns *d, const char *name, int type, dns_reply_fn fn, void *arg)
{
    struct query *q = calloc(1, sizeof(*q));
    ENSURE(q);
    *q = (struct query){.dns = d, .type = type, .ttl = DNS_TTL_MOST, .fn = fn, .arg = arg};
    strcpy(q->name, name);
    ask(q);
    arm(d);
}
