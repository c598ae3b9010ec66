/*
 * TLS as the transport of a connection: what stands here in the place of recv() and sendmsg() gives plaintext
 * to conn_read.c and takes it from conn_write.c, which may well be records of a TLS connection inside
 * (conn_tls.c). Client only: whoever accepts such a connection has TLS of its own (conn_tls_start).
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "lib/net/conn_private.h"
#include "lib/net/tls.h"

void conn_tunnel_new(struct conn *c, struct tls_context *ctx, const char *server_name)
{
    struct conn_tunnel *t = calloc(1, sizeof(*t));
    ENSURE(t);
    t->ctx = tls_context_ref(ctx);
    t->ssl = SSL_new(tls_context_ssl(ctx));
    ENSURE(t->ssl);
    t->wire.pool = c->pool;
    conn_wire_attach(&t->wire, t->ssl, ctx);
    SSL_set_connect_state(t->ssl);
    if (server_name)
        conn_tls_set_name(t->ssl, server_name);
    SSL_set_hostflags(t->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    c->tunnel = t;
}

void conn_tunnel_free(struct conn *c)
{
    struct conn_tunnel *t = c->tunnel;
    if (!t)
        return;
    c->tunnel = NULL;
    SSL_free(t->ssl);
    tls_context_unref(t->ctx);
    buf_fini(&t->wire.cipher);
    free(t);
}

/* The alert that OpenSSL made leaves first if the kernel takes it. */
static void fail(struct conn *c, const char *what)
{
    char text[200];
    conn_tls_explain(c->tunnel->ssl, what, text, sizeof(text));
    conn_tunnel_flush(c);
    conn_end(c, CONN_END_TLS, 0, text);
}

/* Into wire.in, which OpenSSL must have emptied. As recv(). */
static ssize_t receive(struct conn *c)
{
    struct conn_tunnel *t = c->tunnel;
    ENSURE(t->wire.in.len == 0);
    ssize_t n = recv(c->io.fd, c->pool->outer, sizeof(c->pool->outer), 0);
    if (n > 0)
        t->wire.in = span_of(c->pool->outer, (size_t)n);
    return n;
}

/* Bytes decrypted, as many as fit; 0 with *error set when OpenSSL has something else to say. */
static size_t decrypt(struct conn_tunnel *t, char *to, size_t cap, int *error)
{
    size_t len = 0, n;
    int rc = 1;
    ERR_clear_error();
    while (len < cap && (rc = SSL_read_ex(t->ssl, to + len, cap - len, &n)) == 1)
        len += n;
    *error = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, rc);
    return len;
}

bool conn_tunnel_handshake(struct conn *c)
{
    struct conn_tunnel *t = c->tunnel;
    for (;;) {
        ERR_clear_error();
        int rc = SSL_do_handshake(t->ssl);
        if (rc != 1 && SSL_get_error(t->ssl, rc) != SSL_ERROR_WANT_READ) {
            fail(c, "handshake");
            return false;
        }
        conn_tunnel_flush(c);
        if (rc == 1 || c->state == CONN_ENDING)
            return c->state != CONN_ENDING;
        ssize_t n = receive(c);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return false;
        if (n <= 0) {
            conn_end(c, n ? CONN_END_RESET : CONN_END_TLS, n ? errno : 0,
                     n ? NULL : "TLS handshake: closed by peer");
            return false;
        }
    }
}

ssize_t conn_tunnel_recv(struct conn *c, char to[CONN_RECV])
{
    struct conn_tunnel *t = c->tunnel;
    for (;;) {
        int error;
        size_t len = decrypt(t, to, CONN_RECV, &error);
        if (t->wire.cipher.len)
            conn_turn_later(c); /* the answer to a key update leaves */
        if (len)
            return (ssize_t)len;
        if (error == SSL_ERROR_ZERO_RETURN)
            return 0;
        if (error != SSL_ERROR_WANT_READ) {
            fail(c, "read");
            return 0;
        }
        ssize_t n = receive(c);
        if (n <= 0)
            return n;
    }
}

/* What is still to be sent. */
struct queue {
    const struct iovec *iov;
    size_t n, at; /* at: in the first of them */
};

/* At most `most` bytes off the head, all of one span. */
static struct span take_some(struct queue *q, size_t most)
{
    size_t left = q->iov->iov_len - q->at;
    struct span some = span_of((const char *)q->iov->iov_base + q->at, left < most ? left : most);
    q->at += some.len;
    if (q->at == q->iov->iov_len)
        *q = (struct queue){.iov = q->iov + 1, .n = q->n - 1};
    return some;
}

/* A record's bytes: straight from the head when it is long, else gathered. */
static struct span next_record(struct conn *c, struct queue *q)
{
    char *gather = c->pool->gather;
    size_t len = 0;
    if (q->iov->iov_len - q->at >= CONN_RECORD)
        return take_some(q, CONN_RECORD);
    while (q->n && len < CONN_RECORD) {
        struct span some = take_some(q, CONN_RECORD - len);
        memcpy(gather + len, some.ptr, some.len);
        len += some.len;
    }
    return span_of(gather, len);
}

ssize_t conn_tunnel_send(struct conn *c, const struct iovec *iov, size_t n)
{
    struct conn_tunnel *t = c->tunnel;
    struct queue q = {.iov = iov, .n = n};
    ssize_t total = 0;
    if (!conn_tunnel_flush(c))
        return c->state == CONN_ENDING ? -1 : 0;
    for (int i = 0; q.n && i < CONN_RECORDS; i++) {
        struct span record = next_record(c, &q);
        size_t done = 0;
        ERR_clear_error();
        if (SSL_write_ex(t->ssl, record.ptr, record.len, &done) != 1 || done != record.len) {
            fail(c, "write");
            return -1;
        }
        total += (ssize_t)record.len;
    }
    conn_tunnel_flush(c);
    return c->state == CONN_ENDING ? -1 : total;
}

bool conn_tunnel_flush(struct conn *c)
{
    return conn_wire_send(c, &c->tunnel->wire, conn_send_raw, NULL);
}

void conn_tunnel_close(struct conn *c)
{
    SSL *ssl = c->tunnel->ssl;
    if (!(SSL_get_shutdown(ssl) & SSL_SENT_SHUTDOWN)) {
        ERR_clear_error();
        SSL_shutdown(ssl);
        ERR_clear_error();
    }
    conn_tunnel_flush(c);
}
