/* Listeners shared by loops: spread, pause, want of descriptors, sockets passed by systemd. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/net/conn.h"
#include "lib/net/listener.h"

enum { LOOPS = 2, CLIENTS = 40 };

struct shard {
    struct loop *loop;
    struct acceptor *acceptor;
    _Atomic int accepted;
};

static size_t swallow(struct conn *c, void *arg, struct span in)
{
    (void)c;
    (void)arg;
    return in.len;
}

static void forget(struct conn *c, void *arg, enum conn_end why)
{
    (void)c;
    (void)arg;
    (void)why;
}

static const struct conn_ops ops = {.on_read = swallow, .on_end = forget};

static void on_accept(void *arg, struct conn *c)
{
    struct shard *s = arg;
    if (!loop_is_current(s->loop) || conn_loop(c) != s->loop)
        abort();
    conn_ops_set(c, &ops, s);
    conn_write(c, SPAN_LIT("!"));
    atomic_fetch_add(&s->accepted, 1);
}

static struct listener *open_any(void)
{
    struct addr any;
    struct listener *ln;
    struct buf error = BUF_INIT;
    assert_true(addr_parse_port(SPAN_LIT("127.0.0.1:0"), 0, &any));
    assert_int_equal(listener_open(&any, &ln, &error), RM_OK);
    return ln;
}

static int dial(const struct listener *ln)
{
    struct sockaddr_storage ss;
    socklen_t len = addr_to_sockaddr(listener_address(ln), &ss);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval limit = {.tv_sec = 5};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
    return fd;
}

static bool greeted(int fd)
{
    char ch;
    return recv(fd, &ch, 1, 0) == 1 && ch == '!';
}

static void shard_init(struct shard *s, struct listener *ln)
{
    *s = (struct shard){0};
    assert_int_equal(loop_new("shard", &s->loop), RM_OK);
    assert_int_equal(acceptor_new(s->loop, ln, on_accept, s, &s->acceptor), RM_OK);
}

static void shard_stop(struct shard *s)
{
    loop_stop(s->loop);
    loop_join(s->loop);
    acceptor_free(s->acceptor);
    loop_free(s->loop);
}

static void connections_spread_evenly_over_the_loops(void **state)
{
    (void)state;
    struct listener *ln = open_any();
    struct shard shards[LOOPS];
    int fds[CLIENTS];
    for (int i = 0; i < LOOPS; i++)
        shard_init(&shards[i], ln);
    for (int i = 0; i < LOOPS; i++)
        assert_int_equal(loop_start(shards[i].loop), RM_OK);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = dial(ln);
        assert_true(greeted(fds[i]));
    }
    for (int i = 0; i < LOOPS; i++)
        assert_in_range(shards[i].accepted, CLIENTS / LOOPS - 3, CLIENTS / LOOPS + 3);
    assert_int_equal(listener_accepted_total(ln), CLIENTS);
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
    for (int i = 0; i < LOOPS; i++)
        shard_stop(&shards[i]);
    listener_free(ln);
}

struct order {
    struct loop_msg msg;
    struct acceptor *acceptor;
    bool pause;
    _Atomic bool done;
};

static void on_order(struct loop *l, struct loop_msg *msg)
{
    struct order *o = CONTAINER_OF(msg, struct order, msg);
    (void)l;
    if (o->pause)
        acceptor_pause(o->acceptor);
    else
        acceptor_resume(o->acceptor);
    atomic_store(&o->done, true);
}

static void give_order(struct shard *s, bool pause)
{
    struct order o = {.msg.run = on_order, .acceptor = s->acceptor, .pause = pause};
    assert_true(loop_post(s->loop, &o.msg));
    while (!atomic_load(&o.done))
        usleep(500);
}

static void a_paused_listener_keeps_clients_waiting(void **state)
{
    (void)state;
    struct listener *ln = open_any();
    struct shard s;
    shard_init(&s, ln);
    assert_int_equal(loop_start(s.loop), RM_OK);
    give_order(&s, true);
    int fd = dial(ln);
    usleep(30000);
    assert_int_equal(s.accepted, 0);
    give_order(&s, false);
    assert_true(greeted(fd));
    close(fd);
    shard_stop(&s);
    listener_free(ln);
}

static void want_of_descriptors_is_waited_out(void **state)
{
    (void)state;
    struct listener *ln = open_any();
    struct shard s;
    struct rlimit before, tight;
    shard_init(&s, ln);
    int fd = dial(ln);
    int highest = fcntl(fd, F_DUPFD, 0);
    close(highest);
    getrlimit(RLIMIT_NOFILE, &before);
    tight = before;
    tight.rlim_cur = (rlim_t)highest;
    setrlimit(RLIMIT_NOFILE, &tight);
    assert_int_equal(loop_start(s.loop), RM_OK);
    for (int i = 0; i < 500 && listener_starved_total(ln) == 0; i++)
        usleep(1000);
    usleep(50000); /* within the 100 ms it does not try again */
    setrlimit(RLIMIT_NOFILE, &before);
    assert_true(greeted(fd));
    assert_in_range(listener_starved_total(ln), 1, 2);
    close(fd);
    shard_stop(&s);
    listener_free(ln);
}

static void a_taken_address_is_named_in_the_error(void **state)
{
    (void)state;
    struct listener *ln = open_any(), *second;
    struct buf error = BUF_INIT;
    char text[ADDR_TEXT];
    assert_int_equal(listener_open(listener_address(ln), &second, &error), RM_EIO);
    assert_null(second);
    assert_non_null(strstr(buf_cstr(&error), addr_text_port(listener_address(ln), text)));
    assert_non_null(strstr(buf_cstr(&error), "in use"));
    buf_fini(&error);
    listener_free(ln);
}

static void a_socket_passed_by_systemd_is_taken_by_address(void **state)
{
    (void)state;
    struct listener *second, *third;
    struct addr at;
    struct buf error = BUF_INIT;
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    char pid[32];
    /* Stand in for systemd: a listening socket at descriptor 3, without close-on-exec. */
    int saved = fcntl(3, F_DUPFD_CLOEXEC, 10), fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
    assert_true(addr_of_sockaddr((struct sockaddr *)&ss, &at));
    if (fd != 3) {
        assert_int_equal(dup2(fd, 3), 3);
        close(fd);
    }
    snprintf(pid, sizeof(pid), "%ld", (long)getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "1", 1);
    assert_int_equal(listener_open(&at, &second, &error), RM_OK);
    assert_true(addr_eq(&at, listener_address(second)));
    assert_int_equal(listener_open(&at, &third, &error), RM_EIO); /* not twice */
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    listener_free(second);
    if (saved >= 0) {
        dup2(saved, 3);
        close(saved);
    }
    buf_fini(&error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_spread_evenly_over_the_loops),
        cmocka_unit_test(a_paused_listener_keeps_clients_waiting),
        cmocka_unit_test(want_of_descriptors_is_waited_out),
        cmocka_unit_test(a_taken_address_is_named_in_the_error),
        cmocka_unit_test(a_socket_passed_by_systemd_is_taken_by_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
