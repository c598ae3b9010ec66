/* Input: from the socket into the loop's buffer, to the consumer, and what it leaves into the connection's
 * own. The descriptor is edge-triggered: `readable` remembers that there may be more. */
#include <errno.h>

#include "lib/net/conn_private.h"

size_t conn_stage_kept(struct conn *c)
{
    size_t len = c->keep.len;
    if (len)
        memcpy(c->pool->input, c->keep.data, len);
    return len;
}

static void keep_rest(struct conn *c, const char *rest, size_t len)
{
    if (len == 0) {
        buf_fini(&c->keep);
        return;
    }
    buf_clear(&c->keep);
    buf_add(&c->keep, rest, len);
    if (len > CONN_INPUT_MOST && !c->paused)
        conn_end(c, CONN_END_OVERFLOW, 0, NULL);
}

void conn_deliver(struct conn *c, size_t len)
{
    char *input = c->pool->input;
    size_t used = 0;
    c->redeliver = false;
    if (c->finishing) {
        buf_fini(&c->keep);
        return;
    }
    if (len && c->ops && c->ops->on_read) {
        c->delivering = true;
        used = c->ops->on_read(c, c->arg, span_of(input, len));
        c->delivering = false;
        ENSURE(used <= len);
    }
    if (c->state == CONN_ENDING)
        return;
    if (c->tls_wanted) {
        c->tls_wanted = false;
        if (c->tls_behind)
            conn_tls_preload(c, span_of(input + used, len - used));
        else
            c->tls->injected = len - used;
        buf_fini(&c->keep);
        conn_send(c); /* the answer in the clear, then the handshake */
        return;
    }
    keep_rest(c, input + used, len - used);
}

void conn_eof(struct conn *c)
{
    c->eof = true;
    c->readable = false;
    if (c->ops && c->ops->on_eof && !c->finishing && !c->half) {
        c->half = true;
        c->ops->on_eof(c, c->arg);
        return;
    }
    /* What was answered before still goes out; conn_send ends it then. */
    conn_send(c);
}

/* One recv into `to`; 0 when there is nothing more for now (or the connection has ended). */
static size_t receive(struct conn *c, char *to)
{
    ssize_t n;
    do
        n = c->tunnel ? conn_tunnel_recv(c, to) : recv(c->io.fd, to, CONN_RECV, 0);
    while (n < 0 && errno == EINTR);
    if (c->state != CONN_OPEN)
        return 0; /* the tunnel broke */
    if (n < 0) {
        c->readable = false;
        if (errno != EAGAIN)
            conn_end(c, CONN_END_RESET, errno, NULL);
        return 0;
    }
    if (n == 0) {
        conn_eof(c);
        return 0;
    }
    /* A short read has emptied the socket, unless the peer's FIN is behind it. */
    if (n < CONN_RECV && !c->hangup && !c->tunnel)
        c->readable = false;
    return (size_t)n;
}

static bool wants_input(const struct conn *c)
{
    return c->state == CONN_OPEN && !c->paused && !c->eof && c->ops && (!c->tls || c->tls->begun);
}

static void read_once(struct conn *c)
{
    if (c->tls) {
        size_t n = receive(c, c->pool->raw);
        if (n)
            conn_tls_read(c, n);
        return;
    }
    size_t kept = conn_stage_kept(c);
    size_t n = receive(c, c->pool->input + kept);
    if (n) {
        c->received += n;
        conn_deliver(c, kept + n);
    }
}

void conn_count_kept(struct conn *c)
{
    size_t kept = c->keep.cap + (c->tls ? c->tls->in_keep.cap : 0);
    blob_count((ptrdiff_t)kept - c->keep_counted);
    c->keep_counted = (uint32_t)kept;
}

static void read_rounds(struct conn *c)
{
    if (c->redeliver && wants_input(c))
        conn_deliver(c, conn_stage_kept(c));
    if (wants_input(c) && conn_tls_has_input(c))
        conn_tls_resume(c);
    for (int i = 0; c->readable && wants_input(c); i++) {
        if (i == CONN_ROUNDS) {
            conn_turn_later(c);
            return;
        }
        read_once(c);
    }
}

void conn_read(struct conn *c)
{
    read_rounds(c);
    conn_count_kept(c);
}

void conn_read_pause(struct conn *c)
{
    c->paused = true;
}

void conn_read_resume(struct conn *c)
{
    if (!c->paused)
        return;
    c->paused = false;
    if (c->state != CONN_OPEN)
        return;
    c->redeliver = c->keep.len > 0 || c->delivering;
    conn_turn_later(c);
}

uint64_t conn_received_total(const struct conn *c)
{
    return c->received;
}
