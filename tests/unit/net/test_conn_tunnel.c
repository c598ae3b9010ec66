/* TLS below a connection's own bytes: both sides' certificates, large transfers both ways, half-close, a
 * second TLS inside, failures, and that a thousand of them leave nothing behind. */
#include "tests/unit/net/pair.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct identity {
    char cert[80], key[80];
};

struct keys {
    char dir[64];
    struct identity server, client, stranger;
    struct tls_context *serving; /* believes client alone */
    struct tls_context *calling, *calling_as_stranger, *calling_as_nobody;
};

static void make_identity(struct keys *k, const char *name, struct identity *out)
{
    struct buf error = BUF_INIT;
    snprintf(out->cert, sizeof(out->cert), "%s/%s.pem", k->dir, name);
    snprintf(out->key, sizeof(out->key), "%s/%s.key", k->dir, name);
    assert_int_equal(tls_self_signed_ensure(name, out->cert, out->key, &error), RM_OK);
}

static struct tls_mutual_files files(const struct identity *own, const struct identity *believed)
{
    return (struct tls_mutual_files){.certificate = own->cert, .key = own->key, .ca = believed->cert};
}

static int make_keys(void **state)
{
    struct keys *k = calloc(1, sizeof(*k));
    struct buf error = BUF_INIT;
    strcpy(k->dir, "/tmp/remuda-tunnel-XXXXXX");
    assert_non_null(mkdtemp(k->dir));
    make_identity(k, "egress.example.test", &k->server);
    make_identity(k, "worker.example.test", &k->client);
    make_identity(k, "stranger.example.test", &k->stranger);
    struct tls_mutual_files serving = files(&k->server, &k->client), calling = files(&k->client, &k->server),
                            stranger = files(&k->stranger, &k->server);
    assert_int_equal(tls_mutual_server_new(&serving, &k->serving, &error), RM_OK);
    assert_int_equal(tls_mutual_client_new(&calling, &k->calling, &error), RM_OK);
    assert_int_equal(tls_mutual_client_new(&stranger, &k->calling_as_stranger, &error), RM_OK);
    assert_int_equal(tls_client_new(TLS_VERIFY_NAME, k->server.cert, &k->calling_as_nobody, &error), RM_OK);
    *state = k;
    return 0;
}

static int drop_keys(void **state)
{
    struct keys *k = *state;
    const struct identity *all[] = {&k->server, &k->client, &k->stranger};
    tls_context_unref(k->serving);
    tls_context_unref(k->calling);
    tls_context_unref(k->calling_as_stranger);
    tls_context_unref(k->calling_as_nobody);
    for (int i = 0; i < 3; i++) {
        unlink(all[i]->cert);
        unlink(all[i]->key);
    }
    rmdir(k->dir);
    free(k);
    return 0;
}

struct tunnel_pair {
    struct pair p;
    struct keys *keys;
    const char *const *names;
    bool believed;
    char why[CONN_WHY_MOST];
};

static struct tunnel_pair *of(struct side *s)
{
    return CONTAINER_OF(s->pair, struct tunnel_pair, p);
}

static void serve_tls(struct side *s)
{
    conn_tls_start(s->conn, of(s)->keys->serving, NULL);
}

static void begin(struct tunnel_pair *t, struct keys *k)
{
    *t = (struct tunnel_pair){.keys = k};
    pair_init(&t->p);
    t->p.server.ready = serve_tls;
}

static void call(struct tunnel_pair *t, struct tls_context *as, const char *name)
{
    pair_connect(&t->p,
                 (struct conn_connect_options){.tunnel = as, .tunnel_name = name, .timeout_ms = 10000});
}

/* ---- who is believed ---- */

static void look_at_peer(struct side *s)
{
    struct tunnel_pair *t = of(s);
    int n = 0;
    while (t->names[n])
        n++;
    t->believed = conn_tls_peer_is(s->conn, t->names, n, t->why);
    conn_finish(s->conn);
}

static void expect_peer(struct keys *k, struct tls_context *as, const char *const *names, bool believed,
                        const char *why)
{
    struct tunnel_pair t;
    begin(&t, k);
    t.names = names;
    t.p.server.tls_ready = look_at_peer;
    call(&t, as, "egress.example.test");
    pair_run(&t.p);
    assert_int_equal(t.p.client.connects, 1);
    assert_int_equal(t.believed, believed);
    if (why)
        assert_non_null(strstr(t.why, why));
    pair_fini(&t.p);
}

static void a_peer_is_believed_by_authority_and_name(void **state)
{
    struct keys *k = *state;
    static const char *const good[] = {"other.example.test", "worker.example.test", NULL},
                             *const below[] = {".example.test", NULL},
                             *const bad[] = {"w.example.test", NULL};
    expect_peer(k, k->calling, good, true, NULL);
    expect_peer(k, k->calling, below, true, NULL);
    expect_peer(k, k->calling, bad, false, "worker.example.test bears none of the expected names");
    expect_peer(k, k->calling_as_stranger, below, false, "self-signed certificate");
    expect_peer(k, k->calling_as_nobody, below, false, "it shows no certificate");
}

static void the_name_of_the_other_end_is_checked(void **state)
{
    struct keys *k = *state;
    struct tunnel_pair t;
    begin(&t, k);
    call(&t, k->calling, "other.example.test");
    pair_run(&t.p);
    assert_int_equal(t.p.client.connects, 0);
    assert_int_equal(t.p.client.why, CONN_END_TLS);
    assert_non_null(strstr(t.p.client.text, "mismatch"));
    assert_int_equal(t.p.server.why, CONN_END_TLS);
    pair_fini(&t.p);
}

/* ---- bytes ---- */

enum { BIG = 5 * 1000 * 1000 + 17 };

static void send_big(struct side *s)
{
    struct blob *b = pattern(BIG);
    struct span parts[4] = {SPAN_LIT("head:"), blob_span(b), SPAN_LIT(":"), SPAN_LIT("tail")};
    conn_writev(s->conn, parts, 4, b);
    blob_unref(b);
    conn_flush(s->conn);
    assert_true(conn_pending_bytes(s->conn) > 0);
    conn_shutdown(s->conn);
}

static void assert_big(const struct side *s)
{
    struct blob *b = pattern(BIG);
    assert_int_equal(s->got.len, BIG + 10);
    assert_memory_equal(s->got.data + 5, b->data, BIG);
    assert_memory_equal(s->got.data + 5 + BIG, ":tail", 5);
    blob_unref(b);
}

static void on_later(struct loop_timer *timer)
{
    struct pair *p = CONTAINER_OF(timer, struct pair, later);
    if (p->server.conn)
        conn_read_resume(p->server.conn);
    if (p->client.conn)
        conn_read_resume(p->client.conn);
}

/* Takes little, pauses now and then. */
static size_t read_hesitantly(struct side *s, struct span in)
{
    size_t n = in.len > 30000 && s->got.len < BIG / 2 ? in.len - 30000 : in.len;
    buf_add(&s->got, in.ptr, n);
    if (s->reads % 8 == 0) {
        conn_read_pause(s->conn);
        loop_timer_start(&s->pair->later, 1);
    }
    return n;
}

/* All of the client's came, and its end: now the same back. */
static void answer_big(struct side *s)
{
    assert_int_equal(s->got.len, BIG + 10);
    send_big(s);
}

static void large_transfers_and_half_close_survive_pauses(void **state)
{
    struct keys *k = *state;
    struct tunnel_pair t;
    begin(&t, k);
    loop_timer_init(&t.p.later, t.p.loop, on_later);
    t.p.client.read = t.p.server.read = read_hesitantly;
    t.p.client.ready = send_big;
    t.p.server.eof = answer_big;
    call(&t, k->calling, "egress.example.test");
    pair_run(&t.p);
    assert_big(&t.p.server);
    assert_big(&t.p.client);
    assert_int_equal(t.p.client.flushed, BIG + 10);
    assert_int_equal(t.p.client.why, CONN_END_EOF);
    loop_timer_stop(&t.p.later);
    pair_fini(&t.p);
}

/* ---- the second TLS inside ---- */

/* What the tunnel leads to: a relay of bytes to a server whose TLS is the inner one. */
struct inner {
    struct pair p; /* its client is the relay's far side */
    struct side *near;
    struct tls_context *server, *client;
};

static struct inner *inner_of(struct side *s)
{
    return CONTAINER_OF(s->pair, struct inner, p);
}

static size_t back_to_near(struct side *s, struct span in)
{
    if (inner_of(s)->near->conn)
        conn_write(inner_of(s)->near->conn, in);
    return in.len;
}

struct nested {
    struct tunnel_pair t;
    struct inner inner;
    struct loop *own; /* of inner.p, which runs on the other's */
};

static struct nested *nested_of(struct side *s)
{
    return CONTAINER_OF(of(s), struct nested, t);
}

static size_t on_to_far(struct side *s, struct span in)
{
    conn_write(nested_of(s)->inner.p.client.conn, in);
    return in.len;
}

static void near_ended(struct side *s)
{
    struct inner *in = &nested_of(s)->inner;
    if (in->p.client.conn)
        conn_finish(in->p.client.conn);
}

static size_t inner_line(struct side *s, struct span in)
{
    buf_add_span(&s->got, in);
    if (s->tls)
        conn_write(s->conn, in);
    else {
        send_text(s, "220 go ahead\r\n");
        conn_tls_start(s->conn, inner_of(s)->server, NULL);
    }
    return in.len;
}

static void say_starttls(struct side *s)
{
    send_text(s, "STARTTLS\r\n");
}

static size_t client_line(struct side *s, struct span in)
{
    buf_add_span(&s->got, in);
    if (!s->tls)
        conn_tls_start(s->conn, nested_of(s)->inner.client, "worker.example.test");
    else if (s->got.len >= BIG)
        conn_finish(s->conn);
    return in.len;
}

static void client_secured(struct side *s)
{
    struct blob *b = pattern(BIG);
    struct span all = blob_span(b);
    buf_clear(&s->got);
    conn_writev(s->conn, &all, 1, b);
    blob_unref(b);
}

static void starttls_works_inside(void **state)
{
    struct keys *k = *state;
    struct nested n;
    struct buf error = BUF_INIT;
    begin(&n.t, k);
    n.inner = (struct inner){.near = &n.t.p.server};
    assert_int_equal(tls_server_new(k->client.cert, k->client.key, &n.inner.server, &error), RM_OK);
    assert_int_equal(tls_client_new(TLS_VERIFY_NAME, k->client.cert, &n.inner.client, &error), RM_OK);
    struct pair *p = &n.inner.p;
    pair_init(p);
    acceptor_free(p->acceptor);
    n.own = p->loop;
    p->loop = n.t.p.loop;
    assert_int_equal(acceptor_new(p->loop, p->listener, pair_accept, p, &p->acceptor), RM_OK);
    p->client.read = back_to_near;
    p->server.read = inner_line;
    n.t.p.client.ready = say_starttls;
    n.t.p.client.read = client_line;
    n.t.p.client.tls_ready = client_secured;
    n.t.p.server.read = on_to_far;
    n.t.p.server.ended = near_ended;
    pair_connect(p, (struct conn_connect_options){0});
    call(&n.t, k->calling, "egress.example.test");
    pair_run(&n.t.p);
    assert_int_equal(n.t.p.client.tls + p->server.tls, 2);
    assert_int_equal(n.t.p.client.got.len,
                     BIG); /* there and back, all of it twice encrypted on the first way */
    struct blob *b = pattern(BIG);
    assert_memory_equal(n.t.p.client.got.data, b->data, BIG);
    blob_unref(b);
    tls_context_unref(n.inner.server);
    tls_context_unref(n.inner.client);
    struct loop *shared = p->loop;
    acceptor_free(p->acceptor);
    acceptor_free(n.t.p.acceptor);
    loop_timer_stop(&n.t.p.guard);
    listener_free(p->listener);
    listener_free(n.t.p.listener);
    loop_free(shared);
    p->loop = n.own;
    loop_timer_stop(&p->guard);
    loop_free(n.own);
    buf_fini(&p->client.got);
    buf_fini(&p->server.got);
    buf_fini(&n.t.p.client.got);
    buf_fini(&n.t.p.server.got);
}

/* ---- failures ---- */

static void answer_in_the_clear(struct side *s)
{
    send_text(s, "remuda-egress/1 auth\n");
    conn_finish(s->conn);
}

static void an_end_without_tls_fails_the_handshake(void **state)
{
    struct keys *k = *state;
    struct tunnel_pair t;
    begin(&t, k);
    t.p.server.ready = answer_in_the_clear;
    call(&t, k->calling, "egress.example.test");
    pair_run(&t.p);
    assert_int_equal(t.p.client.why, CONN_END_TLS);
    assert_memory_equal(t.p.client.text, "TLS handshake: ", 15);
    pair_fini(&t.p);
}

static void hang_up(struct side *s)
{
    conn_close(s->conn);
}

static void an_end_during_the_handshake_is_told(void **state)
{
    struct keys *k = *state;
    struct tunnel_pair t;
    begin(&t, k);
    t.p.server.ready = hang_up;
    call(&t, k->calling, "egress.example.test");
    pair_run(&t.p);
    assert_int_equal(t.p.client.connects, 0);
    assert_true(t.p.client.why == CONN_END_TLS || t.p.client.why == CONN_END_RESET);
    pair_fini(&t.p);
}

static void the_deadline_covers_the_handshake(void **state)
{
    struct keys *k = *state;
    struct tunnel_pair t;
    begin(&t, k);
    t.p.server.ready = NULL; /* it takes the ClientHello for input and says nothing */
    pair_connect(&t.p, (struct conn_connect_options){.tunnel = k->calling, .timeout_ms = 80});
    pair_run(&t.p);
    assert_int_equal(t.p.client.why, CONN_END_TIMEOUT);
    pair_fini(&t.p);
}

/* ---- many ---- */

static int open_descriptors(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void say_something(struct side *s)
{
    send_text(s, "hello");
    conn_finish(s->conn);
}

static void a_thousand_leave_nothing_behind(void **state)
{
    struct keys *k = *state;
    int before = open_descriptors();
    for (int i = 0; i < 1000; i++) { /* memory: the sanitizer counts at the end */
        struct tunnel_pair t;
        begin(&t, k);
        t.p.client.ready = say_something;
        call(&t, i % 4 ? k->calling : k->calling_as_nobody, i % 3 ? "egress.example.test" : "other.test");
        pair_run(&t.p);
        assert_int_equal(t.p.client.connects, i % 3 ? 1 : 0);
        pair_fini(&t.p);
    }
    assert_int_equal(open_descriptors(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_peer_is_believed_by_authority_and_name),
        cmocka_unit_test(the_name_of_the_other_end_is_checked),
        cmocka_unit_test(large_transfers_and_half_close_survive_pauses),
        cmocka_unit_test(starttls_works_inside),
        cmocka_unit_test(an_end_without_tls_fails_the_handshake),
        cmocka_unit_test(an_end_during_the_handshake_is_told),
        cmocka_unit_test(the_deadline_covers_the_handshake),
        cmocka_unit_test(a_thousand_leave_nothing_behind),
    };
    return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
