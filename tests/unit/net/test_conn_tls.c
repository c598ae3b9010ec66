/* TLS on connections: STARTTLS in both roles, injected plaintext, implicit TLS, verification, large
 * transfers, what counts as flushed, failures. */
#include "tests/unit/net/pair.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct keys {
    char dir[64], cert[80], key[80];
    struct tls_context *server, *any, *strict;
};

static int make_keys(void **state)
{
    struct keys *k = calloc(1, sizeof(*k));
    struct buf error = BUF_INIT;
    strcpy(k->dir, "/tmp/remuda-tls-XXXXXX");
    assert_non_null(mkdtemp(k->dir));
    snprintf(k->cert, sizeof(k->cert), "%s/cert.pem", k->dir);
    snprintf(k->key, sizeof(k->key), "%s/key.pem", k->dir);
    assert_int_equal(tls_self_signed_ensure("mx.example.test", k->cert, k->key, &error), RM_OK);
    assert_int_equal(tls_server_new(k->cert, k->key, &k->server, &error), RM_OK);
    assert_int_equal(tls_client_new(TLS_VERIFY_NONE, k->cert, &k->any, &error), RM_OK);
    assert_int_equal(tls_client_new(TLS_VERIFY_NAME, k->cert, &k->strict, &error), RM_OK);
    assert_int_equal(error.len, 0);
    *state = k;
    return 0;
}

static int drop_keys(void **state)
{
    struct keys *k = *state;
    tls_context_unref(k->server);
    tls_context_unref(k->any);
    tls_context_unref(k->strict);
    unlink(k->cert);
    unlink(k->key);
    rmdir(k->dir);
    free(k);
    return 0;
}

struct tls_pair {
    struct pair p;
    struct keys *keys;
    const char *first; /* what the client says in the clear */
    size_t injected;
    uint64_t seen_flushed;
};

static struct tls_pair *of(struct side *s)
{
    return CONTAINER_OF(s->pair, struct tls_pair, p);
}

static void start_server_tls(struct side *s)
{
    conn_tls_start(s->conn, of(s)->keys->server, NULL);
}

/* ---- STARTTLS -------------------------------------------------------------------------------- */

static void say_first(struct side *s)
{
    send_text(s, of(s)->first);
}

static size_t server_line(struct side *s, struct span in)
{
    buf_add_span(&s->got, in);
    if (s->tls) {
        conn_writev(s->conn, &in, 1, NULL);
        return in.len;
    }
    send_text(s, "220 go ahead\r\n");
    conn_tls_start(s->conn, of(s)->keys->server, NULL);
    return sizeof("STARTTLS\r\n") - 1;
}

static void server_secured(struct side *s)
{
    of(s)->injected = conn_tls_injected(s->conn);
    buf_clear(&s->got);
}

static size_t client_line(struct side *s, struct span in)
{
    buf_add_span(&s->got, in);
    if (s->tls)
        conn_finish(s->conn);
    else
        conn_tls_start(s->conn, of(s)->keys->any, "mx.example.test");
    return in.len;
}

static void client_secured(struct side *s)
{
    send_text(s, "EHLO ");
    send_text(s, "again\r\n");
}

static void run_starttls(struct keys *k, struct tls_pair *t, const char *first)
{
    pair_init(&t->p);
    t->keys = k;
    t->first = first;
    t->p.client.ready = say_first;
    t->p.client.read = client_line;
    t->p.client.tls_ready = client_secured;
    t->p.server.read = server_line;
    t->p.server.tls_ready = server_secured;
    pair_connect(&t->p, (struct conn_connect_options){0});
    pair_run(&t->p);
}

static void starttls_secures_both_directions(void **state)
{
    struct tls_pair t = {0};
    run_starttls(*state, &t, "STARTTLS\r\n");
    assert_int_equal(t.p.client.tls + t.p.server.tls, 2);
    assert_true(got_is(&t.p.client, "220 go ahead\r\nEHLO again\r\n"));
    assert_true(got_is(&t.p.server, "EHLO again\r\n"));
    assert_string_equal(t.p.server.info.version, "TLSv1.3");
    assert_string_equal(t.p.client.info.cipher, t.p.server.info.cipher);
    assert_true(t.p.client.info.bits >= 128);
    assert_true(t.p.client.info.verified);
    assert_int_equal(t.injected, 0);
    assert_int_equal(t.p.client.written, t.p.client.flushed);
    assert_int_equal(t.p.client.written, strlen("STARTTLS\r\nEHLO again\r\n"));
    assert_int_equal(t.p.client.why, CONN_END_CLOSED);
    assert_int_equal(t.p.server.why, CONN_END_EOF);
    pair_fini(&t.p);
}

static void plaintext_injected_behind_starttls_is_thrown_away(void **state)
{
    struct tls_pair t = {0};
    run_starttls(*state, &t, "STARTTLS\r\nMAIL FROM:<evil@example.test>\r\n");
    assert_int_equal(t.injected, strlen("MAIL FROM:<evil@example.test>\r\n"));
    assert_true(got_is(&t.p.server, "EHLO again\r\n"));
    pair_fini(&t.p);
}

/* ---- implicit TLS ---------------------------------------------------------------------------- */

enum { BIG = 5 * 1000 * 1000 + 17 };

static void send_big(struct side *s)
{
    struct blob *b = pattern(BIG);
    struct span parts[3] = {SPAN_LIT("head:"), blob_span(b), SPAN_LIT(":tail")};
    conn_writev(s->conn, parts, 3, b);
    blob_unref(b);
    conn_flush(s->conn);
    of(s)->seen_flushed = conn_flushed_total(s->conn);
    assert_true(conn_pending_bytes(s->conn) > 0);
    conn_drain_notify(s->conn, 0);
}

static void finish(struct side *s)
{
    conn_finish(s->conn);
}

static void on_later(struct loop_timer *timer)
{
    struct pair *p = CONTAINER_OF(timer, struct pair, later);
    if (p->server.conn)
        conn_read_resume(p->server.conn);
}

/* Takes little, pauses now and then: kept plaintext and kept ciphertext both occur. */
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

static void large_transfers_survive_pauses_and_arrive_whole(void **state)
{
    struct keys *k = *state;
    struct tls_pair t = {.keys = k};
    pair_init(&t.p);
    loop_timer_init(&t.p.later, t.p.loop, on_later);
    t.p.server.ready = start_server_tls;
    t.p.server.read = read_hesitantly;
    t.p.client.ready = send_big;
    t.p.client.drained = finish;
    pair_connect(&t.p, (struct conn_connect_options){.tls = k->strict, .server_name = "mx.example.test"});
    pair_run(&t.p);
    struct blob *b = pattern(BIG);
    assert_int_equal(t.p.client.connects, 1);
    assert_true(t.p.client.info.verified);
    assert_true(t.seen_flushed > 0 && t.seen_flushed % 16384 == 0); /* whole records only */
    assert_int_equal(t.p.server.got.len, BIG + 10);
    assert_memory_equal(t.p.server.got.data + 5, b->data, BIG);
    assert_memory_equal(t.p.server.got.data + 5 + BIG, ":tail", 5);
    assert_int_equal(t.p.client.flushed, BIG + 10);
    blob_unref(b);
    loop_timer_stop(&t.p.later);
    pair_fini(&t.p);
}

static void pause_reading(struct side *s)
{
    conn_read_pause(s->conn);
}

/* The kernel is full by now. Breaks off, then lets the server read what had been handed over. */
static void on_full(struct loop_timer *timer)
{
    struct pair *p = CONTAINER_OF(timer, struct pair, later);
    conn_close(p->client.conn);
    conn_read_resume(p->server.conn);
}

static void send_into_the_void(struct side *s)
{
    send_big(s);
    loop_timer_init(&s->pair->later, s->pair->loop, on_full);
    loop_timer_start(&s->pair->later, 100);
}

/* The rule that tells whether a receiver can have seen a final dot: neither more nor less than flushed_total.
 */
static void what_counts_as_flushed_is_what_the_peer_can_read(void **state)
{
    struct keys *k = *state;
    struct tls_pair t = {.keys = k};
    pair_init(&t.p);
    t.p.server.ready = start_server_tls;
    t.p.server.tls_ready = pause_reading;
    t.p.client.ready = send_into_the_void;
    pair_connect(&t.p, (struct conn_connect_options){.tls = k->any});
    pair_run(&t.p);
    assert_true(t.p.client.flushed > 0 && t.p.client.flushed < t.p.client.written);
    assert_int_equal(t.p.server.got.len, t.p.client.flushed);
    pair_fini(&t.p);
}

static void connect_and_finish(struct keys *k, struct tls_pair *t, struct tls_context *client,
                               const char *name)
{
    *t = (struct tls_pair){.keys = k};
    pair_init(&t->p);
    t->p.server.ready = start_server_tls;
    t->p.client.ready = finish;
    pair_connect(&t->p,
                 (struct conn_connect_options){.tls = client, .server_name = name, .timeout_ms = 5000});
    pair_run(&t->p);
}

static void names_are_verified_only_where_asked(void **state)
{
    struct keys *k = *state;
    struct tls_pair t;
    connect_and_finish(k, &t, k->strict, "other.example.test");
    assert_int_equal(t.p.client.why, CONN_END_TLS);
    assert_int_equal(t.p.client.connects, 0);
    assert_non_null(strstr(t.p.client.text, "mismatch"));
    pair_fini(&t.p);

    connect_and_finish(k, &t, k->any, "other.example.test");
    assert_int_equal(t.p.client.connects, 1);
    assert_false(t.p.client.info.verified);
    pair_fini(&t.p);
}

/* ---- failures -------------------------------------------------------------------------------- */

static void a_peer_that_speaks_no_tls_fails_the_handshake(void **state)
{
    struct tls_pair t = {.keys = *state, .first = "EHLO I do not know what you mean\r\n"};
    pair_init(&t.p);
    t.p.server.ready = start_server_tls;
    t.p.client.ready = say_first;
    pair_connect(&t.p, (struct conn_connect_options){0});
    pair_run(&t.p);
    assert_int_equal(t.p.server.why, CONN_END_TLS);
    assert_int_equal(t.p.server.tls, 0);
    assert_memory_equal(t.p.server.text, "TLS handshake: ", 15);
    pair_fini(&t.p);
}

static void the_deadline_covers_the_implicit_handshake(void **state)
{
    struct keys *k = *state;
    struct tls_pair t = {.keys = k};
    pair_init(&t.p); /* the server takes the ClientHello for input and says nothing */
    pair_connect(&t.p, (struct conn_connect_options){.tls = k->any, .timeout_ms = 80});
    pair_run(&t.p);
    assert_int_equal(t.p.client.why, CONN_END_TIMEOUT);
    assert_int_equal(t.p.client.connects, 0);
    pair_fini(&t.p);
}

/* ---- contexts -------------------------------------------------------------------------------- */

static void contexts_tell_what_is_wrong_and_swap(void **state)
{
    struct keys *k = *state;
    struct tls_context *ctx;
    struct buf error = BUF_INIT;
    assert_int_equal(tls_server_new("/nonexistent/cert.pem", k->key, &ctx, &error), RM_ENOTFOUND);
    assert_non_null(strstr(buf_cstr(&error), "/nonexistent/cert.pem"));
    buf_clear(&error);
    assert_int_equal(tls_server_new(k->key, k->key, &ctx, &error), RM_EINVAL);
    assert_non_null(strstr(buf_cstr(&error), k->key));
    assert_null(ctx);
    buf_fini(&error);
    assert_true(tls_context_expires(k->server) > 1700000000);

    struct tls_slot *slot = tls_slot_new(NULL);
    assert_null(tls_slot_dup(slot));
    tls_slot_set(slot, tls_context_ref(k->server));
    ctx = tls_slot_dup(slot);
    assert_ptr_equal(ctx, k->server);
    tls_slot_set(slot, tls_context_ref(k->any));
    tls_context_unref(ctx);
    tls_slot_free(slot);
}

static void an_existing_pair_is_left_alone(void **state)
{
    struct keys *k = *state;
    struct buf error = BUF_INIT;
    struct tls_context *before = k->server, *after;
    assert_int_equal(tls_self_signed_ensure("else.example.test", k->cert, k->key, &error), RM_OK);
    assert_int_equal(tls_server_new(k->cert, k->key, &after, &error), RM_OK);
    assert_int_equal(tls_context_expires(before), tls_context_expires(after));
    tls_context_unref(after);
    assert_int_equal(access(k->key, R_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starttls_secures_both_directions),
        cmocka_unit_test(plaintext_injected_behind_starttls_is_thrown_away),
        cmocka_unit_test(large_transfers_survive_pauses_and_arrive_whole),
        cmocka_unit_test(what_counts_as_flushed_is_what_the_peer_can_read),
        cmocka_unit_test(names_are_verified_only_where_asked),
        cmocka_unit_test(a_peer_that_speaks_no_tls_fails_the_handshake),
        cmocka_unit_test(the_deadline_covers_the_implicit_handshake),
        cmocka_unit_test(contexts_tell_what_is_wrong_and_swap),
        cmocka_unit_test(an_existing_pair_is_left_alone),
    };
    return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
