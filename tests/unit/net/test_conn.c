/* Plain connections: delivery and keeping of input, gathering and limits of output, every way to end. */
#include "tests/unit/net/pair.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- input ----------------------------------------------------------------------------------- */

static size_t echo_lines(struct side *s, struct span in)
{
    const char *end = in.len ? memrchr(in.ptr, '\n', in.len) : NULL;
    size_t used = end ? (size_t)(end - in.ptr) + 1 : 0;
    conn_write(s->conn, span_of(in.ptr, used));
    return used;
}

static void send_one_and_a_half(struct side *s)
{
    send_text(s, "one\ntw");
}

static size_t complete_the_second(struct side *s, struct span in)
{
    buf_add_span(&s->got, in);
    if (s->reads == 1)
        send_text(s, "o\nthree\n");
    if (s->got.len == 14)
        conn_close(s->conn);
    return in.len;
}

static void unconsumed_input_comes_again_in_front(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    p.server.read = echo_lines;
    p.client.ready = send_one_and_a_half;
    p.client.read = complete_the_second;
    pair_connect(&p, (struct conn_connect_options){0});
    pair_run(&p);
    assert_true(got_is(&p.client, "one\ntwo\nthree\n"));
    assert_int_equal(p.client.why, CONN_END_CLOSED);
    assert_int_equal(p.server.why, CONN_END_EOF);
    assert_int_equal(p.client.ends + p.server.ends, 2);
    pair_fini(&p);
}

static size_t take_nothing(struct side *s, struct span in)
{
    (void)s;
    (void)in;
    return 0;
}

static void send_much(struct side *s)
{
    struct blob *b = pattern(300000);
    struct span all = blob_span(b);
    conn_writev(s->conn, &all, 1, b);
    blob_unref(b);
}

static void a_consumer_that_makes_no_progress_is_ended(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    p.server.read = take_nothing;
    p.client.ready = send_much;
    pair_connect(&p, (struct conn_connect_options){0});
    pair_run(&p);
    assert_int_equal(p.server.why, CONN_END_OVERFLOW);
    pair_fini(&p);
}

static void on_resume(struct loop_timer *t)
{
    assert_true(blob_total_bytes() >= 6); /* what waits counts as memory of messages */
    conn_read_resume(CONTAINER_OF(t, struct pair, later)->server.conn);
}

static size_t pause_with_leftover(struct side *s, struct span in)
{
    size_t take = s->reads == 1 ? 5 : in.len;
    assert_true(s->reads <= 2);
    buf_add(&s->got, in.ptr, take);
    if (s->reads == 1) {
        conn_read_pause(s->conn);
        loop_timer_init(&s->pair->later, s->pair->loop, on_resume);
        loop_timer_start(&s->pair->later, 20);
    } else {
        conn_close(s->conn);
    }
    return take;
}

static void send_eleven(struct side *s)
{
    send_text(s, "hello ");
    send_text(s, "world");
}

static void paused_input_waits_and_is_offered_again(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    p.server.read = pause_with_leftover;
    p.client.ready = send_eleven;
    pair_connect(&p, (struct conn_connect_options){0});
    pair_run(&p);
    /* Two reads: the two small writes came as one. */
    assert_int_equal(p.server.reads, 2);
    assert_true(got_is(&p.server, "hello world"));
    pair_fini(&p);
    assert_int_equal(blob_total_bytes(), 0);
}

/* ---- output ---------------------------------------------------------------------------------- */

enum { BIG = 6 * 1000 * 1000 };

static void send_big(struct side *s)
{
    struct blob *b = pattern(BIG);
    struct span parts[3] = {SPAN_LIT("head:"), blob_span(b), SPAN_LIT(":tail")};
    conn_writev(s->conn, parts, 3, b);
    assert_int_equal(b->refs, 2);
    blob_unref(b);
    conn_flush(s->conn);
    assert_true(conn_pending_bytes(s->conn) > 0);
    assert_true(conn_flushed_total(s->conn) > 0);
    assert_int_equal(conn_written_total(s->conn), BIG + 10);
    conn_drain_notify(s->conn, 1000);
}

static void finish_when_drained(struct side *s)
{
    assert_true(conn_pending_bytes(s->conn) <= 1000);
    conn_finish(s->conn);
}

static void large_output_waits_for_the_peer_and_arrives_whole(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    p.client.ready = send_big;
    p.client.drained = finish_when_drained;
    pair_connect(&p, (struct conn_connect_options){0});
    pair_run(&p);
    struct blob *b = pattern(BIG);
    assert_int_equal(p.server.got.len, BIG + 10);
    assert_memory_equal(p.server.got.data, "head:", 5);
    assert_memory_equal(p.server.got.data + 5, b->data, BIG);
    assert_memory_equal(p.server.got.data + 5 + BIG, ":tail", 5);
    assert_int_equal(p.client.drains, 1);
    assert_int_equal(p.client.flushed, p.client.written);
    assert_int_equal(p.client.why, CONN_END_CLOSED);
    assert_int_equal(p.server.why, CONN_END_EOF);
    blob_unref(b);
    pair_fini(&p);
}

static size_t say_goodbye(struct side *s, struct span in)
{
    send_text(s, "221 bye\r\n");
    conn_finish(s->conn);
    return in.len;
}

static void finish_sends_what_is_queued_first(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    p.server.read = say_goodbye;
    p.client.ready = send_eleven;
    pair_connect(&p, (struct conn_connect_options){0});
    pair_run(&p);
    assert_true(got_is(&p.client, "221 bye\r\n"));
    assert_int_equal(p.client.why, CONN_END_EOF);
    assert_int_equal(p.server.why, CONN_END_CLOSED);
    pair_fini(&p);
}

static void send_and_half_close(struct side *s)
{
    send_text(s, "last\n");
    conn_shutdown(s->conn);
}

static void an_answer_still_leaves_after_the_peers_half_close(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    p.server.read = echo_lines;
    p.client.ready = send_and_half_close;
    pair_connect(&p, (struct conn_connect_options){0});
    pair_run(&p);
    assert_true(got_is(&p.client, "last\n"));
    assert_int_equal(p.server.why, CONN_END_EOF);
    pair_fini(&p);
}

/* ---- ways to end ----------------------------------------------------------------------------- */

static int raw_listener(struct addr *out, int backlog)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(in);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    if (backlog >= 0)
        assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    assert_true(addr_of_sockaddr((struct sockaddr *)&in, out));
    return fd;
}

static void a_refused_connection_says_so(void **state)
{
    (void)state;
    struct pair p;
    struct addr closed;
    int fd = raw_listener(&closed, -1);
    pair_init(&p);
    pair_connect(&p, (struct conn_connect_options){.remote = &closed, .timeout_ms = 5000});
    assert_int_equal(p.client.ends, 0); /* never from inside the call */
    pair_run(&p);
    assert_int_equal(p.client.why, CONN_END_CONNECT);
    assert_int_equal(p.client.err, ECONNREFUSED);
    assert_string_equal(p.client.text, "Connection refused");
    assert_int_equal(p.client.connects, 0);
    pair_fini(&p);
    close(fd);
}

static void connecting_has_a_time_limit(void **state)
{
    (void)state;
    struct pair p;
    struct addr full;
    int fd = raw_listener(&full, 0), fill[4];
    struct sockaddr_storage ss;
    socklen_t len = addr_to_sockaddr(&full, &ss);
    for (int i = 0; i < 4; i++) { /* its backlog is full: further SYNs are dropped */
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fill[i], (struct sockaddr *)&ss, len);
    }
    pair_init(&p);
    pair_connect(&p, (struct conn_connect_options){.remote = &full, .timeout_ms = 100});
    pair_run(&p);
    assert_int_equal(p.client.why, CONN_END_TIMEOUT);
    pair_fini(&p);
    for (int i = 0; i < 4; i++)
        close(fill[i]);
    close(fd);
}

static void close_it(struct side *s)
{
    conn_close(s->conn);
}

static void note_remote(struct side *s)
{
    char text[ADDR_TEXT];
    buf_add_str(&s->got, addr_text(conn_remote(s->conn), text));
    buf_add_char(&s->got, ' ');
    buf_add_str(&s->got, addr_text(conn_local(s->conn), text));
    conn_close(s->conn);
}

static void the_local_address_is_the_one_asked_for(void **state)
{
    (void)state;
    struct pair p;
    struct addr local, foreign;
    assert_true(addr_parse(SPAN_LIT("127.0.0.5"), &local));
    assert_true(addr_parse(SPAN_LIT("192.0.2.1"), &foreign));
    pair_init(&p);
    p.server.ready = note_remote;
    pair_connect(&p, (struct conn_connect_options){.local = &local});
    pair_run(&p);
    assert_true(got_is(&p.server, "127.0.0.5 127.0.0.1"));
    pair_fini(&p);

    pair_init(&p);
    pair_connect(&p, (struct conn_connect_options){.local = &foreign});
    pair_run(&p);
    assert_int_equal(p.client.why, CONN_END_CONNECT);
    assert_int_equal(p.client.err, EADDRNOTAVAIL);
    pair_fini(&p);
}

static size_t close_unread(struct side *s, struct span in)
{
    /* More input is in the kernel: closing now makes it send a reset. */
    conn_close(s->conn);
    return in.len;
}

static void a_reset_is_told_from_a_close(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    p.client.ready = send_big;
    p.server.read = close_unread;
    pair_connect(&p, (struct conn_connect_options){0});
    pair_run(&p);
    assert_int_equal(p.client.why, CONN_END_RESET);
    assert_true(p.client.err == ECONNRESET || p.client.err == EPIPE);
    assert_true(p.client.flushed < p.client.written);
    pair_fini(&p);
}

static void arm_deadlines(struct side *s)
{
    conn_deadline(s->conn, 10);
    conn_deadline(s->conn, 60);
}

static void the_deadline_ends_it(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    uint64_t begin = loop_now_ms(p.loop);
    p.client.ready = arm_deadlines;
    pair_connect(&p, (struct conn_connect_options){.timeout_ms = 5000});
    pair_run(&p);
    assert_int_equal(p.client.why, CONN_END_TIMEOUT);
    assert_true(loop_now_ms(p.loop) - begin >= 60);
    pair_fini(&p);
}

static void stop_loop(struct side *s)
{
    loop_stop(s->pair->loop);
}

static void connect_again(struct side *s)
{
    if (s->ends == 1)
        pair_connect(s->pair, (struct conn_connect_options){0});
}

static void a_stopping_loop_ends_its_connections(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    p.server.ready = stop_loop;
    p.client.ended = connect_again;
    pair_connect(&p, (struct conn_connect_options){0});
    pair_run(&p);
    assert_int_equal(p.client.why, CONN_END_STOP);
    assert_int_equal(p.server.why, CONN_END_STOP);
    assert_int_equal(p.client.ends, 2);
    pair_fini(&p);
}

static void a_closed_end_gets_no_further_callback(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    p.server.ready = close_it;
    p.client.ready = send_eleven;
    pair_connect(&p, (struct conn_connect_options){0});
    pair_run(&p);
    assert_int_equal(p.server.reads, 0);
    assert_int_equal(p.server.ends, 1);
    pair_fini(&p);
}

static void send_and_shut(struct side *s)
{
    send_text(s, "question");
    conn_shutdown(s->conn);
}

/* Later than the end of the input's turn: it would have ended long before. */
static void answer_late(struct loop_timer *t)
{
    struct pair *p = CONTAINER_OF(t, struct pair, later);
    send_text(&p->server, "answer");
    conn_shutdown(p->server.conn);
}

static void wait_a_little(struct side *s)
{
    assert_true(got_is(s, "question"));
    loop_timer_init(&s->pair->later, s->pair->loop, answer_late);
    loop_timer_start(&s->pair->later, 50);
}

static void who_asks_for_it_may_answer_long_after_the_peers_end(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    p.server.eof = wait_a_little;
    p.client.ready = send_and_shut;
    pair_connect(&p, (struct conn_connect_options){0});
    pair_run(&p);
    assert_true(got_is(&p.client, "answer"));
    assert_int_equal(p.server.why, CONN_END_CLOSED);
    assert_int_equal(p.server.ends, 1);
    pair_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_asks_for_it_may_answer_long_after_the_peers_end),
        cmocka_unit_test(unconsumed_input_comes_again_in_front),
        cmocka_unit_test(a_consumer_that_makes_no_progress_is_ended),
        cmocka_unit_test(paused_input_waits_and_is_offered_again),
        cmocka_unit_test(large_output_waits_for_the_peer_and_arrives_whole),
        cmocka_unit_test(finish_sends_what_is_queued_first),
        cmocka_unit_test(an_answer_still_leaves_after_the_peers_half_close),
        cmocka_unit_test(a_refused_connection_says_so),
        cmocka_unit_test(connecting_has_a_time_limit),
        cmocka_unit_test(the_local_address_is_the_one_asked_for),
        cmocka_unit_test(a_reset_is_told_from_a_close),
        cmocka_unit_test(the_deadline_ends_it),
        cmocka_unit_test(a_stopping_loop_ends_its_connections),
        cmocka_unit_test(a_closed_end_gets_no_further_callback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
