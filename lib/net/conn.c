/* Life of a connection: made, told of events, its turn, its deadline, its one end. Input, output and TLS are
 * in conn_read.c, conn_write.c and conn_tls.c. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/net/conn_private.h"
#include "lib/net/tls.h"

enum { WATCH_IN = EPOLLIN | EPOLLRDHUP | EPOLLET, WATCH_BOTH = WATCH_IN | EPOLLOUT };

const char *conn_end_name(enum conn_end why)
{
    static const char *const names[] = {
        [CONN_END_CLOSED] = "closed",
        [CONN_END_EOF] = "closed by peer",
        [CONN_END_RESET] = "connection lost",
        [CONN_END_TIMEOUT] = "timed out",
        [CONN_END_CONNECT] = "could not connect",
        [CONN_END_TLS] = "TLS failed",
        [CONN_END_OVERFLOW] = "input too long",
        [CONN_END_STOP] = "stopping",
    };
    return names[why];
}

/* ---- end ------------------------------------------------------------------------------------- */

static void release(struct conn *c)
{
    list_remove(&c->link);
    if (c->server)
        atomic_fetch_sub_explicit(&c->loop->inbound, 1, memory_order_relaxed);
    conn_tls_free(c);
    conn_tunnel_free(c);
    tls_context_unref(c->connect_tls);
    buf_fini(&c->keep);
    conn_count_kept(c);
    free(c->server_name);
    free(c->end_text);
    free(c);
}

void conn_end(struct conn *c, enum conn_end why, int err, const char *text)
{
    if (c->state == CONN_ENDING)
        return;
    c->state = CONN_ENDING;
    c->end = (uint8_t)why;
    c->end_errno = err;
    c->end_text = text ? strdup(text) : NULL;
    loop_timer_stop(&c->timer);
    if (c->io.fd >= 0) {
        loop_io_remove(c->loop, &c->io);
        close(c->io.fd);
        c->io.fd = -1;
    }
    conn_drop_output(c);
    conn_turn_later(c);
}

void conn_close(struct conn *c)
{
    conn_end(c, CONN_END_CLOSED, 0, NULL);
}

bool conn_ended(const struct conn *c)
{
    return c->state == CONN_ENDING;
}

/* ---- turn ------------------------------------------------------------------------------------ */

static void notify_drained(struct conn *c)
{
    if (!c->drain_wanted || c->finishing || conn_pending_bytes(c) > c->drain_below)
        return;
    c->drain_wanted = false;
    if (c->ops->on_drain)
        c->ops->on_drain(c, c->arg);
}

static void conn_turn(struct loop_defer *d)
{
    struct conn *c = CONTAINER_OF(d, struct conn, turn);
    if (c->state == CONN_ENDING) {
        if (c->ops)
            c->ops->on_end(c, c->arg, c->end);
        loop_defer_cancel(c->loop, &c->turn);
        release(c);
        return;
    }
    if (c->state == CONN_CONNECTING)
        return;
    conn_read(c);
    conn_send(c);
    if (c->state == CONN_OPEN)
        notify_drained(c);
}

void conn_turn_later(struct conn *c)
{
    loop_defer(c->loop, &c->turn, conn_turn);
}

/* ---- events ---------------------------------------------------------------------------------- */

static int socket_error(const struct conn *c)
{
    int err = 0;
    socklen_t len = sizeof(err);
    if (getsockopt(c->io.fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0)
        err = errno;
    return err;
}

static void established(struct conn *c)
{
    c->state = CONN_OPEN;
    c->writable = true;
    c->readable = c->tunnel != NULL; /* behind its handshake something may have come already */
    if (c->connect_tls) {
        struct tls_context *ctx = c->connect_tls;
        c->connect_tls = NULL;
        c->implicit_tls = true;
        conn_tls_start(c, ctx, c->server_name);
        tls_context_unref(ctx);
        return;
    }
    loop_timer_stop(&c->timer);
    if (c->ops->on_connect)
        c->ops->on_connect(c, c->arg);
}

void conn_tls_ready(struct conn *c)
{
    if (c->finishing)
        return;
    if (c->implicit_tls) {
        c->implicit_tls = false;
        loop_timer_stop(&c->timer);
        if (c->ops->on_connect)
            c->ops->on_connect(c, c->arg);
    } else if (c->ops->on_tls) {
        c->ops->on_tls(c, c->arg);
    }
}

static void on_connecting(struct conn *c, unsigned events)
{
    int err = socket_error(c);
    if (err) {
        conn_end(c, c->tcp_there ? CONN_END_RESET : CONN_END_CONNECT, err, NULL);
        return;
    }
    if (!c->tcp_there && !(events & (EPOLLOUT | EPOLLHUP)))
        return;
    c->tcp_there = c->writable = true;
    if (!c->tunnel || conn_tunnel_handshake(c))
        established(c);
}

static void on_ready(struct loop_io *io, unsigned events)
{
    struct conn *c = CONTAINER_OF(io, struct conn, io);
    if (c->state == CONN_CONNECTING)
        on_connecting(c, events);
    if (c->state != CONN_OPEN)
        return;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        c->readable = true;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        c->hangup = true;
    if ((events & EPOLLOUT) && !c->writable) {
        c->writable = true;
        conn_turn_later(c);
    }
    if ((events & EPOLLERR) && c->paused) {
        conn_end(c, CONN_END_RESET, socket_error(c), NULL);
        return;
    }
    if (c->readable)
        conn_read(c);
}

static void on_deadline(struct loop_timer *t)
{
    struct conn *c = CONTAINER_OF(t, struct conn, timer);
    if (c->finishing)
        conn_end(c, CONN_END_CLOSED, 0, NULL);
    else if (c->state == CONN_OPEN && !c->implicit_tls && c->ops && c->ops->on_timeout)
        c->ops->on_timeout(c, c->arg);
    else
        conn_end(c, CONN_END_TIMEOUT, ETIMEDOUT, NULL);
}

void conn_deadline(struct conn *c, uint64_t delay_ms)
{
    if (c->state == CONN_ENDING || c->finishing)
        return;
    if (delay_ms)
        loop_timer_start(&c->timer, delay_ms);
    else
        loop_timer_stop(&c->timer);
}

/* ---- birth ----------------------------------------------------------------------------------- */

struct conn *conn_make(struct loop *l, int fd, bool server)
{
    struct conn *c = calloc(1, sizeof(*c));
    ENSURE(c);
    c->io = (struct loop_io){.fd = fd, .ready = on_ready};
    c->loop = l;
    c->pool = conn_pool_get(l);
    c->server = server;
    list_push_back(&c->pool->conns, &c->link);
    loop_timer_init(&c->timer, l, on_deadline);
    return c;
}

/* Watches an open socket; of accepted ones EPOLLOUT only once the kernel has refused output. */
static void open_socket(struct conn *c)
{
    c->state = CONN_OPEN;
    c->writable = true;
    if (c->loop->stopping)
        conn_end(c, CONN_END_STOP, 0, NULL);
    else if (loop_io_add(c->loop, &c->io, WATCH_IN) != RM_OK)
        conn_end(c, CONN_END_RESET, errno, NULL);
}

struct conn *conn_accepted(struct loop *l, int fd, const struct addr *remote)
{
    struct conn *c = conn_make(l, fd, true);
    c->remote = *remote;
    open_socket(c);
    return c;
}

static void learn_remote(struct conn *c)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    if (getpeername(c->io.fd, (struct sockaddr *)&ss, &len) == 0)
        addr_of_sockaddr((struct sockaddr *)&ss, &c->remote);
}

struct conn *conn_adopt(struct loop *l, int fd, const struct conn_ops *ops, void *arg)
{
    struct conn *c = conn_make(l, fd, true);
    atomic_fetch_add_explicit(&l->inbound, 1, memory_order_relaxed);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    learn_remote(c);
    conn_ops_set(c, ops, arg);
    open_socket(c);
    return c;
}

/* Returns 0, or the errno of what failed. */
static int start_connect(struct conn *c, const struct addr *local)
{
    struct sockaddr_storage ss;
    socklen_t len = addr_to_sockaddr(&c->remote, &ss);
    int on = 1;
    c->io.fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->io.fd < 0)
        return errno;
    setsockopt(c->io.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (local) {
        struct sockaddr_storage from;
        socklen_t from_len = addr_to_sockaddr(local, &from);
        /* The port is chosen at connect, when the remote address is known: 28,000 per destination, not in
         * all. */
        if (local->port == 0)
            setsockopt(c->io.fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
        if (bind(c->io.fd, (struct sockaddr *)&from, from_len) != 0)
            return errno;
    }
    if (connect(c->io.fd, (struct sockaddr *)&ss, len) != 0 && errno != EINPROGRESS)
        return errno;
    c->watch_out = true;
    return loop_io_add(c->loop, &c->io, WATCH_BOTH) == RM_OK ? 0 : errno;
}

struct conn *conn_connect(struct loop *l, const struct conn_connect_options *options,
                          const struct conn_ops *ops, void *arg)
{
    struct conn *c = conn_make(l, -1, false);
    c->state = CONN_CONNECTING;
    c->remote = *options->remote;
    c->connect_tls = options->tls ? tls_context_ref(options->tls) : NULL;
    c->server_name = options->server_name ? strdup(options->server_name) : NULL;
    c->ops = ops;
    c->arg = arg;
    if (options->tunnel)
        conn_tunnel_new(c, options->tunnel, options->tunnel_name);
    if (l->stopping) {
        conn_end(c, CONN_END_STOP, 0, NULL);
        return c;
    }
    int err = start_connect(c, options->local);
    if (err)
        conn_end(c, CONN_END_CONNECT, err, NULL);
    else if (options->timeout_ms)
        loop_timer_start(&c->timer, options->timeout_ms);
    return c;
}

void conn_ops_set(struct conn *c, const struct conn_ops *ops, void *arg)
{
    c->ops = ops;
    c->arg = arg;
    if (c->keep.len || c->delivering) {
        c->redeliver = true;
        conn_turn_later(c);
    }
}

/* ---- accessors ------------------------------------------------------------------------------- */

struct loop *conn_loop(const struct conn *c)
{
    return c->loop;
}

void *conn_arg(const struct conn *c)
{
    return c->arg;
}

const struct addr *conn_remote(const struct conn *c)
{
    return &c->remote;
}

const struct addr *conn_local(struct conn *c)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    if (!c->local_known && c->state == CONN_OPEN && getsockname(c->io.fd, (struct sockaddr *)&ss, &len) == 0)
        c->local_known = addr_of_sockaddr((struct sockaddr *)&ss, &c->local);
    return &c->local;
}

int conn_end_errno(const struct conn *c)
{
    return c->end_errno;
}

const char *conn_end_text(const struct conn *c)
{
    if (c->end_text)
        return c->end_text;
    /* strerrordesc_np: the constant English phrase, thread-safe. */
    const char *text = c->end_errno ? strerrordesc_np(c->end_errno) : NULL;
    return text ? text : conn_end_name(c->end);
}
