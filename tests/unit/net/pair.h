/* A loop, a listener on loopback and the two ends of a connection over it, each with a log of what happened.
 * For the tests of connections, with and without TLS. */
#ifndef REMUDA_TESTS_UNIT_NET_PAIR_H
#define REMUDA_TESTS_UNIT_NET_PAIR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "lib/net/conn.h"
#include "lib/net/listener.h"
#include "lib/net/loop.h"
#include "lib/net/tls.h"

struct side {
    struct pair *pair;
    struct conn *conn;
    struct buf got;
    int reads, connects, drains, tls, timeouts, ends;
    enum conn_end why;
    int err;
    char text[200];
    uint64_t written, flushed;
    struct conn_tls_info info;
    /* What the test wants done; each may be NULL. on_read without hook takes all into got. */
    void (*ready)(struct side *s); /* connected or accepted */
    size_t (*read)(struct side *s, struct span in);
    void (*drained)(struct side *s);
    void (*eof)(struct side *s); /* set before pair_connect: it stays open for output then */
    void (*tls_ready)(struct side *s);
    void (*ended)(struct side *s);
};

struct pair {
    struct loop *loop;
    struct listener *listener;
    struct acceptor *acceptor;
    struct side client, server;
    struct loop_timer guard, later;
    bool guarded; /* the guard fired: the test hung */
};

static size_t side_read(struct conn *c, void *arg, struct span in)
{
    struct side *s = arg;
    (void)c;
    s->reads++;
    if (s->read)
        return s->read(s, in);
    buf_add_span(&s->got, in);
    return in.len;
}

static void side_connect(struct conn *c, void *arg)
{
    struct side *s = arg;
    s->connects++;
    conn_tls_info(c, &s->info);
    if (s->ready)
        s->ready(s);
}

static void side_drain(struct conn *c, void *arg)
{
    struct side *s = arg;
    (void)c;
    s->drains++;
    if (s->drained)
        s->drained(s);
}

static void side_tls(struct conn *c, void *arg)
{
    struct side *s = arg;
    s->tls++;
    assert_true(conn_tls_info(c, &s->info));
    if (s->tls_ready)
        s->tls_ready(s);
}

/* The test is over when both ends are. */
static void side_end(struct conn *c, void *arg, enum conn_end why)
{
    struct side *s = arg;
    s->ends++;
    s->why = why;
    s->err = conn_end_errno(c);
    s->written = conn_written_total(c);
    s->flushed = conn_flushed_total(c);
    strncpy(s->text, conn_end_text(c), sizeof(s->text) - 1);
    s->conn = NULL;
    if (s->ended)
        s->ended(s);
    if (!s->pair->client.conn && !s->pair->server.conn)
        loop_stop(s->pair->loop);
}

static void side_eof(struct conn *c, void *arg)
{
    struct side *s = arg;
    (void)c;
    s->eof(s);
}

static const struct conn_ops half_ops = {.on_connect = side_connect,
                                         .on_read = side_read,
                                         .on_eof = side_eof,
                                         .on_drain = side_drain,
                                         .on_tls = side_tls,
                                         .on_end = side_end};

static const struct conn_ops side_ops = {
    .on_connect = side_connect,
    .on_read = side_read,
    .on_drain = side_drain,
    .on_tls = side_tls,
    .on_end = side_end,
};

static void pair_accept(void *arg, struct conn *c)
{
    struct pair *p = arg;
    p->server.conn = c;
    conn_ops_set(c, p->server.eof ? &half_ops : &side_ops, &p->server);
    if (p->server.ready)
        p->server.ready(&p->server);
}

static void pair_guard(struct loop_timer *t)
{
    struct pair *p = CONTAINER_OF(t, struct pair, guard);
    p->guarded = true;
    loop_stop(p->loop);
}

static inline void pair_init(struct pair *p)
{
    struct addr any;
    struct buf error = BUF_INIT;
    *p = (struct pair){.client.pair = p, .server.pair = p};
    assert_int_equal(loop_new("pair", &p->loop), RM_OK);
    assert_true(addr_parse_port(SPAN_LIT("127.0.0.1:0"), 0, &any));
    assert_int_equal(listener_open(&any, &p->listener, &error), RM_OK);
    assert_int_equal(acceptor_new(p->loop, p->listener, pair_accept, p, &p->acceptor), RM_OK);
    loop_timer_init(&p->guard, p->loop, pair_guard);
    loop_timer_start(&p->guard, 20000);
}

static inline void pair_connect(struct pair *p, struct conn_connect_options options)
{
    if (!options.remote)
        options.remote = listener_address(p->listener);
    p->client.conn = conn_connect(p->loop, &options, &side_ops, &p->client);
}

/* Runs until both ends have ended. */
static inline void pair_run(struct pair *p)
{
    loop_run(p->loop);
    assert_false(p->guarded);
}

static inline void pair_fini(struct pair *p)
{
    loop_timer_stop(&p->guard);
    acceptor_free(p->acceptor);
    listener_free(p->listener);
    loop_free(p->loop);
    buf_fini(&p->client.got);
    buf_fini(&p->server.got);
}

static inline bool got_is(const struct side *s, const char *text)
{
    return span_eq(buf_span(&s->got), span_str(text));
}

static inline void send_text(struct side *s, const char *text)
{
    conn_write(s->conn, span_str(text));
}

/* Bytes in which a missing or doubled piece shows. */
static inline struct blob *pattern(size_t len)
{
    struct blob *b = blob_new(len);
    for (size_t i = 0; i < len; i++)
        b->data[i] = (char)(i * 31 + (i >> 8) * 7 + (i >> 16));
    b->len = len;
    return b;
}

#endif
