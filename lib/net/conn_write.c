/* Output: a queue of copied blocks and references into blobs, gathered into one sendmsg at the end of the
 * turn; and what waits for the queue to be empty (half-close, finish, the peer's end of file). */
#include <errno.h>
#include <sys/uio.h>

#include "lib/net/conn_private.h"

enum { ROOM = CONN_SEGMENT - sizeof(struct segment), COPY_BELOW = 512 };

static void enqueue(struct conn *c, struct segment *s)
{
    if (c->out) {
        ENSURE(c->out_last);
        c->out_last->next = s;
    } else {
        c->out = s;
    }
    c->out_last = s;
}

static void add_copy(struct conn *c, struct span bytes)
{
    while (bytes.len) {
        struct segment *s = c->out ? c->out_last : NULL;
        size_t end = s && !s->hold ? (size_t)(s->ptr - s->data) + s->len : ROOM;
        if (end == ROOM) {
            enqueue(c, conn_pool_segment(c->pool));
            s = c->out_last;
            end = 0;
        }
        size_t n = bytes.len < ROOM - end ? bytes.len : ROOM - end;
        memcpy(s->data + end, bytes.ptr, n);
        s->len += n;
        bytes = span_of(bytes.ptr + n, bytes.len - n);
    }
}

static void add_held(struct conn *c, struct span bytes, struct blob *hold)
{
    struct segment *s = conn_pool_segment(c->pool);
    s->hold = blob_ref(hold);
    s->ptr = bytes.ptr;
    s->len = bytes.len;
    enqueue(c, s);
}

static bool lies_in(struct span s, const struct blob *b)
{
    return b && s.ptr >= b->data && s.ptr + s.len <= b->data + b->len;
}

void conn_writev(struct conn *c, const struct span *iov, size_t n, struct blob *hold)
{
    if (c->state == CONN_ENDING || c->finishing || c->shut_wanted)
        return;
    for (size_t i = 0; i < n; i++) {
        if (iov[i].len >= COPY_BELOW && lies_in(iov[i], hold))
            add_held(c, iov[i], hold);
        else
            add_copy(c, iov[i]);
        c->written += iov[i].len;
    }
    conn_turn_later(c);
}

void conn_write(struct conn *c, struct span bytes)
{
    conn_writev(c, &bytes, 1, NULL);
}

void conn_advance(struct conn *c, size_t n)
{
    while (c->out && n >= c->out->len) {
        struct segment *s = c->out;
        n -= s->len;
        c->out = s->next;
        conn_pool_segment_free(c->pool, s);
    }
    if (n) {
        ENSURE(c->out);
        c->out->ptr += n;
        c->out->len -= n;
    }
}

void conn_drop_output(struct conn *c)
{
    while (c->out) {
        struct segment *s = c->out;
        c->out = s->next;
        conn_pool_segment_free(c->pool, s);
    }
}

ssize_t conn_send_iov(struct conn *c, struct iovec *iov, size_t n)
{
    return c->tunnel ? conn_tunnel_send(c, iov, n) : conn_send_raw(c, iov, n);
}

ssize_t conn_send_raw(struct conn *c, struct iovec *iov, size_t n)
{
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = n};
    ssize_t sent;
    do
        sent = sendmsg(c->io.fd, &msg, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return sent;
    if (errno != EAGAIN) {
        conn_end(c, CONN_END_RESET, errno, NULL);
        return -1;
    }
    c->writable = false;
    if (!c->watch_out) {
        c->watch_out = true;
        loop_io_change(c->loop, &c->io, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    }
    return 0;
}

/* Sends queued bytes in the clear, at most `most` of them. */
static void send_plain(struct conn *c, uint64_t most)
{
    while (c->out && most && c->writable) {
        struct iovec iov[CONN_IOV];
        size_t n = 0, total = 0;
        for (struct segment *s = c->out; s && n < CONN_IOV && total < most; s = s->next) {
            size_t len = s->len < most - total ? s->len : (size_t)(most - total);
            iov[n++] = (struct iovec){.iov_base = (char *)(uintptr_t)s->ptr, .iov_len = len};
            total += len;
        }
        ssize_t sent = conn_send_iov(c, iov, n);
        if (sent <= 0)
            return;
        conn_advance(c, (size_t)sent);
        c->flushed += (uint64_t)sent;
        most -= (uint64_t)sent;
    }
}

static bool all_sent(const struct conn *c)
{
    const struct conn_wire *inner = c->tls ? &c->tls->wire : NULL;
    const struct conn_wire *outer = c->tunnel ? &c->tunnel->wire : NULL;
    return !c->out && (!inner || inner->cipher_at == inner->cipher.len) &&
           (!outer || outer->cipher_at == outer->cipher.len);
}

/* The queue is empty: what was put off until now. */
static void after_flush(struct conn *c)
{
    if (c->eof && (!c->half || c->finishing)) {
        conn_end(c, c->finishing ? CONN_END_CLOSED : CONN_END_EOF, 0, NULL);
        return;
    }
    if (!c->shut_wanted || c->shut_done)
        return;
    if (c->tls && c->tls->established) {
        conn_tls_shutdown(c);
        if (c->state != CONN_OPEN || !all_sent(c))
            return;
    }
    if (c->tunnel) {
        conn_tunnel_close(c);
        if (c->state != CONN_OPEN || !all_sent(c))
            return;
    }
    c->shut_done = true;
    shutdown(c->io.fd, SHUT_WR);
    if (c->eof)
        conn_end(c, CONN_END_CLOSED, 0, NULL);
    else if (c->finishing)
        loop_timer_start(&c->timer, CONN_LINGER_MS);
}

void conn_send(struct conn *c)
{
    if (c->state != CONN_OPEN)
        return;
    if (c->tunnel && !conn_tunnel_flush(c))
        return; /* EPOLLOUT brings it back */
    uint64_t clear = c->tls ? c->tls->plain_end : c->written;
    if (c->flushed < clear)
        send_plain(c, clear - c->flushed);
    if (c->state == CONN_OPEN && c->tls && c->flushed >= clear) {
        if (!c->tls->begun && !c->tls_wanted)
            conn_tls_begin(c);
        if (c->state == CONN_OPEN && c->tls->begun)
            conn_tls_send(c);
    }
    if (c->state == CONN_OPEN && all_sent(c))
        after_flush(c);
    if (c->state == CONN_OPEN && c->drain_wanted && conn_pending_bytes(c) <= c->drain_below)
        conn_turn_later(c);
}

void conn_flush(struct conn *c)
{
    conn_send(c);
}

void conn_drain_notify(struct conn *c, uint64_t below)
{
    c->drain_below = below;
    c->drain_wanted = true;
    if (conn_pending_bytes(c) <= below)
        conn_turn_later(c);
}

void conn_shutdown(struct conn *c)
{
    c->shut_wanted = true;
    conn_turn_later(c);
}

void conn_finish(struct conn *c)
{
    if (c->state == CONN_ENDING || c->finishing)
        return;
    if (c->state == CONN_CONNECTING) {
        conn_end(c, CONN_END_CLOSED, 0, NULL);
        return;
    }
    c->finishing = c->shut_wanted = true;
    c->paused = false;
    if (!loop_timer_running(&c->timer))
        loop_timer_start(&c->timer, CONN_FINISH_MS);
    conn_turn_later(c);
}

uint64_t conn_written_total(const struct conn *c)
{
    return c->written;
}

uint64_t conn_flushed_total(const struct conn *c)
{
    return c->flushed;
}

uint64_t conn_pending_bytes(const struct conn *c)
{
    return c->written - c->flushed;
}
