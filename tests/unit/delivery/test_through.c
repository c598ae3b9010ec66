/* What each answer of an egress means for the way to the host, in one piece and byte by byte. */
#include "relay/delivery/through.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const uint8_t keys[1][32] = {"key"};
static const struct settings_egress remuda = {
    .name = "far", .address = "192.0.2.1:2600", .protocol = EGRESS_REMUDA, .keys = keys, .n_keys = 1};
static const struct settings_egress haproxy = {
    .name = "hap", .address = "192.0.2.2:2600", .protocol = EGRESS_PROXY};

static struct through begun(const struct settings_egress *e, bool probe)
{
    struct through t;
    struct addr source, target;
    struct conn_connect_options o = {.local = &source};
    assert_true(addr_parse(SPAN_LIT("198.51.100.7"), &source));
    assert_true(addr_parse_port(SPAN_LIT("203.0.113.5:25"), 0, &target));
    through_begin(&t, e, &source, probe ? NULL : &target, &o);
    assert_null(o.local);
    assert_int_equal(o.remote->port, 2600);
    assert_int_equal(o.timeout_ms, THROUGH_CONNECT_MS);
    assert_true(through_waits(&t));
    return t;
}

static struct through told(bool probe)
{
    struct through t = begun(&remuda, probe);
    struct buf out = BUF_INIT;
    assert_false(through_hello(&t, 1, &out));
    assert_true(out.len > 60);
    buf_fini(&out);
    return t;
}

static enum through_step feed(struct through *t, const char *text, size_t *used)
{
    return through_input(t, span_str(text), used);
}

#define P "remuda-egress/1 "

static void the_hosts_bytes_follow_connected(void **state)
{
    (void)state;
    size_t used;
    struct through t = told(false);
    assert_int_equal(feed(&t, P "accepted\n", &used), THROUGH_ACCEPTED);
    assert_true(through_waits(&t));
    assert_int_equal(feed(&t, P "connec", &used), THROUGH_WAIT);
    assert_int_equal(used, 0);
    assert_int_equal(feed(&t, P "connected\n220 hi\r\n", &used), THROUGH_THERE);
    assert_int_equal(used, strlen(P "connected\n"));
    assert_false(through_waits(&t));
    assert_int_equal(t.blame, THROUGH_BLAMES_NOBODY);
    t = told(false);
    assert_int_equal(feed(&t, P "accepted\n" P "connected\n220", &used), THROUGH_THERE);
    assert_int_equal(used, strlen(P "accepted\n" P "connected\n"));
    t = told(true);
    assert_int_equal(feed(&t, P "accepted\n", &used), THROUGH_THERE);
}

static void each_refusal_blames_whom_it_should(void **state)
{
    (void)state;
    static const struct {
        const char *said;
        enum through_blame blame;
    } rows[] = {
        {P "accepted\n" P "unreachable Connection refused\n", THROUGH_BLAMES_HOST},
        {P "denied the port\n", THROUGH_BLAMES_HOST},
        {P "source none of mine\n", THROUGH_BLAMES_SOURCE},
        {P "accepted\n" P "source cannot bind\n", THROUGH_BLAMES_SOURCE},
        {P "busy\n", THROUGH_BLAMES_EGRESS},
        {P "auth\n", THROUGH_BLAMES_EGRESS},
        {P "clock\n", THROUGH_BLAMES_EGRESS},
        {P "connected\n", THROUGH_BLAMES_EGRESS},
        {P "accepted\n" P "accepted\n", THROUGH_BLAMES_EGRESS},
        {"220 mx.test ESMTP\r\n", THROUGH_BLAMES_EGRESS},
    };
    size_t used;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct through t = told(false);
        assert_int_equal(feed(&t, rows[i].said, &used), THROUGH_FAILED);
        assert_int_equal(t.blame, rows[i].blame);
        assert_memory_equal(t.trouble, "egress far: ", 12);
        assert_false(through_waits(&t));
    }
    struct through t = told(false);
    (void)feed(&t, rows[0].said, &used);
    assert_string_equal(t.trouble, "egress far: unreachable: Connection refused");
}

static void silence_is_the_egresses_until_it_has_accepted(void **state)
{
    (void)state;
    size_t used;
    struct through t = told(false);
    through_timed_out(&t);
    assert_int_equal(t.blame, THROUGH_BLAMES_EGRESS);
    t = told(false);
    (void)feed(&t, P "accepted\n", &used);
    through_timed_out(&t);
    assert_int_equal(t.blame, THROUGH_BLAMES_HOST);
    t = told(false);
    (void)feed(&t, P "accepted\n", &used);
    through_lost(&t, "Connection reset by peer");
    assert_int_equal(t.blame, THROUGH_BLAMES_EGRESS);
    assert_string_equal(t.trouble, "egress far: Connection reset by peer");
}

static void haproxy_answers_nothing(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    struct through t = begun(&haproxy, false);
    assert_true(through_hello(&t, 1, &out));
    assert_int_equal(out.len, 28);
    assert_false(through_waits(&t));
    buf_clear(&out);
    t = begun(&haproxy, true);
    assert_true(through_hello(&t, 1, &out));
    assert_int_equal(out.len, 0);
    t = begun(&haproxy, false);
    through_lost(&t, "Connection refused");
    assert_int_equal(t.blame, THROUGH_BLAMES_EGRESS);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hosts_bytes_follow_connected),
        cmocka_unit_test(each_refusal_blames_whom_it_should),
        cmocka_unit_test(silence_is_the_egresses_until_it_has_accepted),
        cmocka_unit_test(haproxy_answers_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
