/* Sessions over real sockets on loopback: a scripted receiver and the session share a loop. What the protocol
 * does with each answer is test_client.c's; here is what joins it to a connection: bytes, TLS, time limits,
 * references to bodies, the order of callbacks, and that everything ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/net/conn.h"
#include "lib/net/listener.h"
#include "lib/net/tls.h"
#include "relay/delivery/session.h"
#include "tests/unit/delivery/client_rig.h"

#define EHLO_ANSWER "250-mx.example\r\n250 PIPELINING\r\n"

enum then { THEN_NOTHING, THEN_TLS, THEN_CLOSE, THEN_PAUSE };

struct line { /* once this was heard (NULL: the connection opens), say that */
    const char *heard, *say;
    enum then then;
};

struct world {
    struct loop *loop;
    struct listener *listener;
    struct acceptor *acceptor;
    struct tls_context *server_tls;
    struct settings settings;
    struct node node;
    struct shard shard;
    struct session_events events;
    struct loop_timer guard, resume;
    /* the receiver */
    struct conn *receiver;
    const struct line *script;
    struct buf got;
    size_t got_at;
    int reads, receiver_ends;
    char from[ADDR_TEXT];
    /* the session */
    struct session *session;
    struct session_failure failure;
    char trouble[200], tls[80];
    int ups, closed;
    struct parcel *parcels;
    int n_parcels, given, done;
    bool abort_when_done;
};

/* ---- receiver ---- */

static void play(struct world *w)
{
    while (w->script->say || w->script->then) {
        const struct line *l = w->script;
        size_t n = l->heard ? strlen(l->heard) : 0;
        const char *at =
            n && w->got.data ? memmem(w->got.data + w->got_at, w->got.len - w->got_at, l->heard, n) : NULL;
        if (n && !at)
            return;
        if (n)
            w->got_at = (size_t)(at - w->got.data) + n;
        w->script++;
        if (l->say)
            conn_write(w->receiver, span_str(l->say));
        if (l->then == THEN_TLS)
            conn_tls_start(w->receiver, w->server_tls, NULL);
        if (l->then == THEN_CLOSE)
            conn_finish(w->receiver);
        if (l->then == THEN_PAUSE) {
            conn_read_pause(w->receiver);
            loop_timer_start(&w->resume, 100);
        }
    }
}

static size_t receiver_read(struct conn *c, void *arg, struct span in)
{
    struct world *w = arg;
    (void)c;
    w->reads++;
    buf_add_span(&w->got, in);
    play(w);
    return in.len;
}

static void maybe_stop(struct world *w)
{
    if (w->closed && !w->receiver)
        loop_stop(w->loop);
}

static void receiver_end(struct conn *c, void *arg, enum conn_end why)
{
    struct world *w = arg;
    (void)c;
    (void)why;
    w->receiver = NULL;
    w->receiver_ends++;
    maybe_stop(w);
}

static void receiver_accept(void *arg, struct conn *c)
{
    static const struct conn_ops ops = {.on_read = receiver_read, .on_end = receiver_end};
    struct world *w = arg;
    w->receiver = c;
    addr_text(conn_remote(c), w->from);
    conn_ops_set(c, &ops, w);
    play(w);
}

static void resume(struct loop_timer *t)
{
    struct world *w = CONTAINER_OF(t, struct world, resume);
    if (w->receiver)
        conn_read_resume(w->receiver);
}

/* ---- giver ---- */

static struct attempt *take(struct world *w)
{
    return w->given < w->n_parcels ? &w->parcels[w->given++].attempt : NULL;
}

static void carry_on(struct world *w)
{
    struct attempt *a = session_idle(w->session) ? take(w) : NULL;
    if (a)
        session_give(w->session, a);
    else if (w->done == w->given)
        session_retire(w->session);
}

static void on_up(void *arg, struct session *s)
{
    struct world *w = arg;
    assert_ptr_equal(s, w->session);
    w->ups++;
    carry_on(w);
}

static struct attempt *on_next(void *arg, struct session *s)
{
    (void)s;
    return take(arg);
}

static void on_done(void *arg, struct session *s, struct attempt *a)
{
    struct world *w = arg;
    assert_ptr_equal(a, &w->parcels[w->done].attempt);
    w->done++;
    snprintf(w->tls, sizeof(w->tls), "%s", session_tls(s));
    if (w->abort_when_done)
        session_abort(s, "enough");
    else
        carry_on(w);
}

static void on_closed(void *arg, struct session *s)
{
    struct world *w = arg;
    assert_int_equal(w->closed, 0);
    w->closed++;
    w->failure = *session_failure(s);
    snprintf(w->trouble, sizeof(w->trouble), "%s", w->failure.trouble ? w->failure.trouble : "");
    w->session = NULL;
    maybe_stop(w);
}

static void hung(struct loop_timer *t)
{
    (void)t;
    fail_msg("the test hangs");
}

/* ---- world ---- */

static void make_tls(struct world *w)
{
    char dir[] = "/tmp/remuda-session-XXXXXX", cert[80], key[80];
    struct buf error = BUF_INIT;
    assert_non_null(mkdtemp(dir));
    snprintf(cert, sizeof(cert), "%s/cert.pem", dir);
    snprintf(key, sizeof(key), "%s/key.pem", dir);
    assert_int_equal(tls_self_signed_ensure("mx.example", cert, key, &error), RM_OK);
    assert_int_equal(tls_server_new(cert, key, &w->server_tls, &error), RM_OK);
    assert_int_equal(tls_client_new(TLS_VERIFY_NONE, NULL, &w->shard.client_tls, &error), RM_OK);
    unlink(cert);
    unlink(key);
    rmdir(dir);
}

static void world_init(struct world *w, const struct line *script)
{
    struct addr any;
    struct buf error = BUF_INIT;
    *w = (struct world){.script = script};
    assert_int_equal(loop_new("session", &w->loop), RM_OK);
    assert_true(addr_parse_port(SPAN_LIT("127.0.0.1:0"), 0, &any));
    assert_int_equal(listener_open(&any, &w->listener, &error), RM_OK);
    assert_int_equal(acceptor_new(w->loop, w->listener, receiver_accept, w, &w->acceptor), RM_OK);
    make_tls(w);
    atomic_init(&w->settings.refs, 1);
    w->settings.delivery = (struct settings_delivery){.connect_ms = 5000,
                                                      .greeting_ms = 5000,
                                                      .ehlo_ms = 5000,
                                                      .tls_ms = 5000,
                                                      .mail_ms = 5000,
                                                      .rcpt_ms = 5000,
                                                      .data_ms = 5000,
                                                      .block_ms = 5000,
                                                      .dot_ms = 5000,
                                                      .quit_ms = 5000};
    w->shard.node = &w->node;
    w->shard.loop = w->loop;
    w->events =
        (struct session_events){.up = on_up, .next = on_next, .done = on_done, .closed = on_closed, .arg = w};
    loop_timer_init(&w->guard, w->loop, hung);
    loop_timer_start(&w->guard, 20000);
    loop_timer_init(&w->resume, w->loop, resume);
}

static void world_open(struct world *w, enum tls_policy tls, struct parcel *parcels, int n)
{
    struct session_target t = {.source_address = "127.0.0.2",
                               .ehlo = "mta1.example.net",
                               .host = "mx.example",
                               .tls = tls,
                               .settings = &w->settings};
    addr_to_sockaddr(listener_address(w->listener), &t.remote);
    w->parcels = parcels;
    w->n_parcels = n;
    w->session = session_open(&w->shard, &t, &w->events);
    assert_int_equal(w->closed, 0);
}

static void world_fini(struct world *w)
{
    assert_int_equal(w->closed, 1);
    assert_int_equal(w->done, w->given);
    assert_int_equal(w->settings.refs, 1);
    loop_timer_stop(&w->guard);
    loop_timer_stop(&w->resume);
    acceptor_free(w->acceptor);
    listener_free(w->listener);
    loop_free(w->loop);
    tls_context_unref(w->server_tls);
    tls_context_unref(w->shard.client_tls);
    buf_fini(&w->got);
}

static void run(struct world *w, enum tls_policy tls, struct parcel *parcels, int n)
{
    world_open(w, tls, parcels, n);
    loop_run(w->loop);
}

/* ---- tests ---- */

#define ENVELOPE "250 ok\r\n250 ok\r\n354 go\r\n"

static const struct line three[] = {{NULL, "220 mx.example\r\n", 0},
                                    {"EHLO mta1.example.net\r\n", EHLO_ANSWER, 0},
                                    {"DATA\r\n", ENVELOPE, 0},
                                    {"\r\n.\r\n", "250 one\r\n", 0},
                                    {"DATA\r\n", ENVELOPE, 0},
                                    {"\r\n.\r\n", "250 two\r\n", 0},
                                    {"DATA\r\n", ENVELOPE, 0},
                                    {"\r\n.\r\n", "250 three\r\n", 0},
                                    {"QUIT\r\n", "221 bye\r\n", THEN_CLOSE},
                                    {0}};

static void three_messages_take_one_write_each(void **state)
{
    (void)state;
    struct world w;
    struct parcel p[3];
    for (int i = 0; i < 3; i++)
        parcel_init(&p[i], 1, SPAN_LIT("hello\r\n"));
    world_init(&w, three);
    run(&w, TLS_POLICY_OPPORTUNISTIC, p, 3);
    assert_int_equal(w.ups, 1);
    assert_int_equal(w.done, 3);
    assert_false(w.failure.failed);
    assert_string_equal(w.from, "127.0.0.2");
    assert_string_equal(w.tls, "");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(p[i].attempt.end, ATTEMPT_ANSWERED);
        assert_int_equal(p[i].attempt.replies[0].code, 250);
        assert_true(p[i].attempt.dot_sent);
        assert_int_equal(p[i].attempt.reused, i > 0);
        parcel_fini(&p[i]);
    }
    /* EHLO, the first envelope, then each body with the envelope behind it, QUIT. */
    assert_int_equal(w.reads, 6);
    world_fini(&w);
}

static const struct line under_tls[] = {{NULL, "220 mx.example\r\n", 0},
                                        {"EHLO mta1.example.net\r\n", "250-mx\r\n250 STARTTLS\r\n", 0},
                                        {"STARTTLS\r\n", "220 go\r\n", THEN_TLS},
                                        {"EHLO mta1.example.net\r\n", EHLO_ANSWER, 0},
                                        {"DATA\r\n", ENVELOPE, 0},
                                        {"\r\n.\r\n", "250 safe\r\n", 0},
                                        {"QUIT\r\n", "221 bye\r\n", THEN_CLOSE},
                                        {0}};

static void starttls_carries_the_message(void **state)
{
    (void)state;
    struct world w;
    struct parcel p;
    parcel_init(&p, 1, SPAN_LIT("hello\r\n"));
    world_init(&w, under_tls);
    run(&w, TLS_POLICY_REQUIRED, &p, 1);
    assert_int_equal(p.attempt.end, ATTEMPT_ANSWERED);
    assert_string_equal(p.attempt.replies[0].text, "safe");
    assert_true(p.attempt.dot_sent);
    assert_int_equal(strncmp(w.tls, "TLSv1.3 ", 8), 0);
    assert_false(w.failure.failed);
    parcel_fini(&p);
    world_fini(&w);
}

static const struct line broken_tls[] = {{NULL, "220 mx.example\r\n", 0},
                                         {"EHLO mta1.example.net\r\n", "250-mx\r\n250 STARTTLS\r\n", 0},
                                         {"STARTTLS\r\n", "220 go\r\n", 0},
                                         {"\x16\x03\x01", "500 what is this\r\n", THEN_CLOSE},
                                         {0}};

static void a_broken_handshake_is_told_apart(void **state)
{
    (void)state;
    struct world w;
    struct parcel p;
    parcel_init(&p, 1, SPAN_LIT("hello\r\n"));
    world_init(&w, broken_tls);
    run(&w, TLS_POLICY_OPPORTUNISTIC, &p, 1);
    assert_true(w.failure.failed && w.failure.tls_broke);
    assert_int_equal(w.failure.stage, STAGE_TLS);
    assert_non_null(strstr(w.trouble, "TLS handshake"));
    assert_int_equal(w.ups, 0);
    parcel_fini(&p);
    world_fini(&w);
}

static void a_refused_connection_fails_at_connect(void **state)
{
    (void)state;
    struct world w;
    struct parcel p;
    parcel_init(&p, 1, SPAN_LIT("hello\r\n"));
    world_init(&w, three);
    world_open(&w, TLS_POLICY_NONE, &p, 1);
    session_abort(w.session, "not needed"); /* before it is connected */
    loop_run(w.loop);
    assert_true(w.failure.failed);
    assert_string_equal(w.trouble, "not needed");
    world_fini(&w);
    world_init(&w, three);
    struct session_target t = {
        .source_address = "127.0.0.2", .ehlo = "m", .host = "mx.example", .settings = &w.settings};
    struct addr nobody;
    assert_true(addr_parse_port(SPAN_LIT("127.0.0.1:1"), 0, &nobody));
    addr_to_sockaddr(&nobody, &t.remote);
    w.session = session_open(&w.shard, &t, &w.events);
    loop_run(w.loop);
    assert_true(w.failure.failed);
    assert_int_equal(w.failure.stage, STAGE_CONNECT);
    assert_string_equal(w.trouble, "Connection refused");
    parcel_fini(&p);
    world_fini(&w);
}

static const struct line mute[] = {{NULL, "220 mx.example\r\n", 0}, {0}};

static void a_mute_host_times_out(void **state)
{
    (void)state;
    struct world w;
    struct parcel p;
    parcel_init(&p, 1, SPAN_LIT("hello\r\n"));
    world_init(&w, mute);
    w.settings.delivery.ehlo_ms = 50;
    run(&w, TLS_POLICY_NONE, &p, 1);
    assert_true(w.failure.failed && !w.failure.tls_broke);
    assert_int_equal(w.failure.stage, STAGE_EHLO);
    assert_non_null(strstr(w.trouble, "timed out"));
    parcel_fini(&p);
    world_fini(&w);
}

static const struct line slow[] = {
    {NULL, "220 mx.example\r\n", 0},         {"EHLO mta1.example.net\r\n", EHLO_ANSWER, 0},
    {"DATA\r\n", ENVELOPE, THEN_PAUSE},      {"the end\r\n.\r\n", "250 whole\r\n", 0},
    {"QUIT\r\n", "221 bye\r\n", THEN_CLOSE}, {0}};

static void a_big_body_waits_for_a_slow_receiver(void **state)
{
    enum { BIG = 20 * 1000 * 1000 };
    (void)state;
    struct world w;
    struct parcel p;
    char *big = malloc(BIG);
    for (int i = 0; i < BIG; i++)
        big[i] = i % 1000 == 999 ? '\n' : i % 1000 == 998 ? '\r' : i % 1000 == 0 ? '.' : 'x';
    memcpy(big + BIG - 9, "the end\r\n", 9);
    parcel_init(&p, 1, span_of(big, BIG));
    free(big);
    world_init(&w, slow);
    run(&w, TLS_POLICY_NONE, &p, 1);
    assert_int_equal(p.attempt.end, ATTEMPT_ANSWERED);
    assert_string_equal(p.attempt.replies[0].text, "whole");
    assert_true(w.got.len > BIG + BIG / 1000);
    assert_int_equal(p.message->body->refs, 1); /* all references were given back */
    parcel_fini(&p);
    world_fini(&w);
}

static void a_receiver_that_takes_nothing_never_saw_the_dot(void **state)
{
    enum { BIG = 20 * 1000 * 1000 };
    (void)state;
    struct world w;
    struct parcel p;
    char *big = calloc(1, BIG);
    memset(big, 'x', BIG);
    parcel_init(&p, 1, span_of(big, BIG));
    free(big);
    world_init(&w, slow);
    w.settings.delivery.block_ms = 20; /* the pause is 100 */
    run(&w, TLS_POLICY_NONE, &p, 1);
    assert_int_equal(p.attempt.end, ATTEMPT_LOST);
    assert_int_equal(p.attempt.stage, STAGE_BODY);
    assert_false(p.attempt.dot_sent);
    assert_null(memmem(w.got.data, w.got.len, "\r\n.\r\n", 5));
    assert_int_equal(p.message->body->refs, 1);
    parcel_fini(&p);
    world_fini(&w);
}

static const struct line hangs_up[] = {{NULL, "220 mx.example\r\n", 0},
                                       {"EHLO mta1.example.net\r\n", EHLO_ANSWER, 0},
                                       {"DATA\r\n", ENVELOPE, 0},
                                       {"\r\n.\r\n", NULL, THEN_CLOSE},
                                       {0}};

static void a_hang_up_after_the_dot_loses_one_and_frees_the_next(void **state)
{
    (void)state;
    struct world w;
    struct parcel p[2];
    parcel_init(&p[0], 1, SPAN_LIT("hello\r\n"));
    parcel_init(&p[1], 1, SPAN_LIT("hello\r\n"));
    world_init(&w, hangs_up);
    run(&w, TLS_POLICY_NONE, p, 2);
    assert_int_equal(p[0].attempt.end, ATTEMPT_LOST);
    assert_int_equal(p[0].attempt.stage, STAGE_DOT);
    assert_true(p[0].attempt.dot_sent);
    assert_true(p[0].attempt.trouble[0]);
    assert_int_equal(p[1].attempt.end, ATTEMPT_NOT_STARTED);
    assert_true(w.failure.failed);
    parcel_fini(&p[0]);
    parcel_fini(&p[1]);
    world_fini(&w);
}

static void abort_from_a_callback_closes_at_once(void **state)
{
    (void)state;
    struct world w;
    struct parcel p[2];
    parcel_init(&p[0], 1, SPAN_LIT("hello\r\n"));
    parcel_init(&p[1], 1, SPAN_LIT("hello\r\n"));
    world_init(&w, three);
    w.abort_when_done = true;
    run(&w, TLS_POLICY_NONE, p, 2);
    assert_int_equal(p[0].attempt.end, ATTEMPT_ANSWERED);
    /* Its DATA was answered in the same read: the dot had left when the first was told. */
    assert_int_equal(p[1].attempt.end, ATTEMPT_LOST);
    assert_true(p[1].attempt.dot_sent);
    assert_string_equal(p[1].attempt.trouble, "enough");
    parcel_fini(&p[0]);
    parcel_fini(&p[1]);
    world_fini(&w);
}

static void stop_now(struct loop_timer *t)
{
    loop_stop(CONTAINER_OF(t, struct world, resume)->loop);
}

static void a_stopping_loop_ends_the_session(void **state)
{
    (void)state;
    static const struct line silent_dot[] = {{NULL, "220 mx.example\r\n", 0},
                                             {"EHLO mta1.example.net\r\n", EHLO_ANSWER, 0},
                                             {"DATA\r\n", ENVELOPE, 0},
                                             {0}};
    struct world w;
    struct parcel p;
    parcel_init(&p, 1, SPAN_LIT("hello\r\n"));
    world_init(&w, silent_dot);
    loop_timer_init(&w.resume, w.loop, stop_now);
    loop_timer_start(&w.resume, 100);
    run(&w, TLS_POLICY_NONE, &p, 1);
    assert_int_equal(p.attempt.end, ATTEMPT_LOST);
    assert_true(p.attempt.dot_sent);
    parcel_fini(&p);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_messages_take_one_write_each),
        cmocka_unit_test(starttls_carries_the_message),
        cmocka_unit_test(a_broken_handshake_is_told_apart),
        cmocka_unit_test(a_refused_connection_fails_at_connect),
        cmocka_unit_test(a_mute_host_times_out),
        cmocka_unit_test(a_big_body_waits_for_a_slow_receiver),
        cmocka_unit_test(a_receiver_that_takes_nothing_never_saw_the_dot),
        cmocka_unit_test(a_hang_up_after_the_dot_loses_one_and_frees_the_next),
        cmocka_unit_test(abort_from_a_callback_closes_at_once),
        cmocka_unit_test(a_stopping_loop_ends_the_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
