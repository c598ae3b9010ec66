/* The resolver against a real server (tests/support/dnsserver.py): statuses, fallback, aliases, cache, stale
 * answers, one query for many waiters. Time is the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/net/dns.h"
#include "lib/net/loop_private.h"

static const char zone[] = "$NEGATIVE 90\n"
                           "many.test 120 MX 20 b.mx.test\n"
                           "many.test 120 MX 10 z.mx.test\n"
                           "many.test 120 MX 10 A.MX.test.\n"
                           "many.test 120 MX 10 a.mx.test\n"
                           "a.mx.test A 127.0.0.11\n"
                           "a.mx.test A 127.0.0.12\n"
                           "a.mx.test AAAA ::11\n"
                           "z.mx.test A 127.0.0.26\n"
                           "b.mx.test A 127.0.0.13\n"
                           "null.test MX 0 .\n"
                           "implicit.test 200 A 127.0.0.9\n"
                           "textonly.test TXT hello\n"
                           "bad.test SERVFAIL\n"
                           "refused.test REFUSED\n"
                           "gone.test DROP\n"
                           "halfbad.test SERVFAIL AAAA\n"
                           "halfbad.test A 127.0.0.7\n"
                           "alias.test CNAME many.test\n"
                           "dangle.test DANGLE many.test\n"
                           "ring1.test CNAME ring2.test\n"
                           "ring2.test CNAME ring1.test\n"
                           "*.wild.test MX 5 a.mx.test\n"
                           "slow.test DELAY 60\n"
                           "slow.test MX 10 a.mx.test\n"
                           "huge.test TRUNCATE\n"
                           "huge.test MX 10 a.mx.test\n"
                           "short.test 10 MX 1 b.mx.test\n";

struct server {
    pid_t pid;
    FILE *out;
    char address[64], path[64];
};

struct fixture {
    struct server server;
    struct loop *loop;
    struct dns *dns;
    uint64_t now_ms;
    int open; /* callbacks awaited */
    struct dns_mx *mx;
    struct dns_host *host;
    struct loop_timer guard;
};

static void zone_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void server_start(struct server *s)
{
    static const char here[] = "unit/net/test_dns.c";
    char script[512];
    int out[2];
    size_t root = strlen(__FILE__) - (sizeof(here) - 1);
    snprintf(script, sizeof(script), "%.*ssupport/dnsserver.py", (int)root, __FILE__);
    strcpy(s->path, "/tmp/remuda-zone-XXXXXX");
    close(mkstemp(s->path));
    zone_write(s->path, zone);
    assert_int_equal(pipe(out), 0);
    s->pid = fork();
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out[1], 1);
        close(out[0]);
        close(out[1]);
        execl("/usr/bin/python3", "python3", script, s->path, (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    s->out = fdopen(out[0], "r");
    assert_int_equal(fscanf(s->out, " listening %63s", s->address), 1);
}

static int stop_server(struct server *s)
{
    if (!s->pid)
        return 0;
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    fclose(s->out);
    unlink(s->path);
    s->pid = 0;
    return 0;
}

static uint64_t fixture_now(void *arg)
{
    return ((struct fixture *)arg)->now_ms;
}

static uint32_t last_of(void *arg, uint32_t n)
{
    (void)arg;
    return n - 1;
}

static uint32_t first_of(void *arg, uint32_t n)
{
    (void)arg;
    (void)n;
    return 0;
}

static void on_guard(struct loop_timer *t)
{
    (void)t;
    fprintf(stderr, "test hangs\n");
    abort();
}

static void open_dns(struct fixture *f, struct dns_options o)
{
    const char *servers[] = {f->server.address};
    o.servers = servers;
    o.n_servers = 1;
    o.timeout_ms = o.timeout_ms ? o.timeout_ms : 300;
    o.tries = o.tries ? o.tries : 2;
    o.now_ms = fixture_now;
    o.random = o.random ? o.random : last_of;
    o.arg = f;
    assert_int_equal(loop_new("dns", &f->loop), RM_OK);
    assert_int_equal(dns_new(f->loop, &o, &f->dns), RM_OK);
    loop_timer_init(&f->guard, f->loop, on_guard);
    loop_timer_start(&f->guard, 20000);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->now_ms = 1000000;
    server_start(&f->server);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    dns_mx_unref(f->mx);
    dns_host_unref(f->host);
    dns_free(f->dns);
    if (f->loop) {
        loop_timer_stop(&f->guard);
        loop_free(f->loop);
    }
    stop_server(&f->server);
    free(f);
    return 0;
}

/* Turns the loop until all callbacks that the test awaits have come. */
static void wait_all(struct fixture *f)
{
    for (;;) {
        uv_run(&f->loop->uv, UV_RUN_NOWAIT); /* what is deferred runs before a poll that would block */
        if (f->open <= 0)
            return;
        uv_run(&f->loop->uv, UV_RUN_ONCE);
    }
}

static void got_mx(void *arg, struct dns_mx *mx)
{
    struct fixture *f = arg;
    dns_mx_unref(f->mx);
    f->mx = dns_mx_ref(mx);
    f->open--;
}

static void got_host(void *arg, struct dns_host *h)
{
    struct fixture *f = arg;
    dns_host_unref(f->host);
    f->host = dns_host_ref(h);
    f->open--;
}

static const struct dns_mx *mx_of(struct fixture *f, const char *domain)
{
    f->open++;
    dns_mx_lookup(f->dns, domain, got_mx, f);
    assert_int_equal(f->open, 1); /* never from inside the call */
    wait_all(f);
    return f->mx;
}

static const struct dns_host *host_of(struct fixture *f, const char *name)
{
    f->open++;
    dns_host_lookup(f->dns, name, got_host, f);
    assert_int_equal(f->open, 1);
    wait_all(f);
    return f->host;
}

/* ---- MX -------------------------------------------------------------------------------------- */

static void assert_many(const struct dns_mx *mx)
{
    assert_int_equal(mx->status, DNS_OK);
    assert_int_equal(mx->n_hosts, 3); /* the doubled one counts once */
    assert_string_equal(mx->hosts[0].name, "a.mx.test");
    assert_string_equal(mx->hosts[1].name, "z.mx.test");
    assert_string_equal(mx->hosts[2].name, "b.mx.test");
    assert_int_equal(mx->hosts[2].preference, 20);
    assert_false(mx->implicit);
}

static void mx_sets_are_sorted_and_shuffled_among_equals(void **state)
{
    struct fixture *f = *state;
    int order[3];
    open_dns(f, (struct dns_options){.random = first_of});
    const struct dns_mx *mx = mx_of(f, "Many.TEST.");
    assert_many(mx);
    assert_int_equal(mx->expires_ms, f->now_ms + 120000);
    dns_mx_order(f->dns, mx, order);
    assert_true(order[0] == 1 && order[1] == 0 && order[2] == 2);
}

static void aliases_are_followed(void **state)
{
    struct fixture *f = *state;
    open_dns(f, (struct dns_options){0});
    assert_many(mx_of(f, "alias.test"));
    assert_many(mx_of(f, "dangle.test"));
    assert_int_equal(mx_of(f, "ring1.test")->status, DNS_LOOP);
    assert_string_equal(mx_of(f, "any.thing.wild.test")->hosts[0].name, "a.mx.test");
}

static void without_mx_the_address_will_do(void **state)
{
    struct fixture *f = *state;
    open_dns(f, (struct dns_options){0});
    const struct dns_mx *mx = mx_of(f, "implicit.test");
    assert_int_equal(mx->status, DNS_OK);
    assert_true(mx->implicit);
    assert_int_equal(mx->n_hosts, 1);
    assert_string_equal(mx->hosts[0].name, "implicit.test");
    assert_int_equal(mx->expires_ms, f->now_ms + 90000); /* "no MX" ends first */
}

static void failures_are_told_apart(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *domain;
        enum dns_status status;
        uint64_t keep_ms;
    } rows[] = {
        {"null.test", DNS_NULL_MX, 300000},    {"textonly.test", DNS_NODATA, 90000},
        {"nowhere.test", DNS_NXDOMAIN, 90000}, {"bad.test", DNS_SERVFAIL, 30000},
        {"refused.test", DNS_SERVFAIL, 30000}, {"gone.test", DNS_TIMEOUT, 30000},
        {"not a name", DNS_BADNAME, 86400000}, {"a..b", DNS_BADNAME, 86400000},
    };
    open_dns(f, (struct dns_options){.timeout_ms = 60, .tries = 1});
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct dns_mx *mx = mx_of(f, rows[i].domain);
        assert_string_equal(dns_status_name(mx->status), dns_status_name(rows[i].status));
        assert_int_equal(mx->n_hosts, 0);
        assert_int_equal(mx->expires_ms, f->now_ms + rows[i].keep_ms);
    }
    assert_true(dns_status_temporary(DNS_TIMEOUT) && dns_status_temporary(DNS_SERVFAIL));
    assert_false(dns_status_temporary(DNS_NXDOMAIN) || dns_status_temporary(DNS_NULL_MX));
}

static void truncated_answers_are_fetched_over_tcp(void **state)
{
    struct fixture *f = *state;
    open_dns(f, (struct dns_options){0});
    assert_string_equal(mx_of(f, "huge.test")->hosts[0].name, "a.mx.test");
}

/* ---- cache ----------------------------------------------------------------------------------- */

static void one_query_serves_all_who_wait(void **state)
{
    struct fixture *f = *state;
    open_dns(f, (struct dns_options){0});
    assert_null(dns_mx_get(f->dns, "slow.test"));
    for (int i = 0; i < 20; i++)
        dns_mx_lookup(f->dns, "slow.test", got_mx, f);
    struct dns_request *unwanted = dns_mx_lookup(f->dns, "SLOW.test", got_mx, f);
    dns_cancel(unwanted);
    f->open = 20;
    wait_all(f);
    assert_int_equal(dns_stats(f->dns).queries, 1);
    assert_ptr_equal(dns_mx_get(f->dns, "slow.test"), f->mx);
    mx_of(f, "slow.test");
    assert_int_equal(dns_stats(f->dns).queries, 1);
    assert_int_equal(dns_stats(f->dns).hits, 2);
}

static void answers_expire_with_their_ttl(void **state)
{
    struct fixture *f = *state;
    open_dns(f, (struct dns_options){0});
    mx_of(f, "short.test");
    mx_of(f, "nowhere.test");
    f->now_ms += 9999;
    assert_non_null(dns_mx_get(f->dns, "short.test"));
    f->now_ms += 1;
    assert_null(dns_mx_get(f->dns, "short.test"));
    assert_non_null(dns_mx_get(f->dns, "nowhere.test"));
    mx_of(f, "short.test");
    assert_int_equal(dns_stats(f->dns).queries, 3);
    f->now_ms += 80000;
    assert_null(dns_mx_get(f->dns, "nowhere.test"));
}

static void a_good_answer_outlives_the_server_for_days(void **state)
{
    struct fixture *f = *state;
    open_dns(f, (struct dns_options){.timeout_ms = 50, .tries = 1});
    assert_many(mx_of(f, "many.test"));
    mx_of(f, "nowhere.test");
    stop_server(&f->server);
    f->now_ms += 121000;
    const struct dns_mx *mx = mx_of(f, "many.test");
    assert_many(mx);
    assert_true(dns_mx_is_stale(f->dns, mx));
    /* It is not asked again at once, though. */
    uint64_t queries = dns_stats(f->dns).queries;
    assert_non_null(dns_mx_get(f->dns, "many.test"));
    mx_of(f, "many.test");
    assert_int_equal(dns_stats(f->dns).queries, queries);
    f->now_ms += 30000;
    assert_null(dns_mx_get(f->dns, "many.test"));
    assert_many(mx_of(f, "many.test"));
    assert_int_equal(dns_stats(f->dns).queries, queries + 1);
    /* A negative answer is never served stale; nor a good one after a week. */
    assert_int_equal(mx_of(f, "nowhere.test")->status, DNS_SERVFAIL);
    f->now_ms += 7ull * 24 * 3600 * 1000;
    assert_int_equal(mx_of(f, "many.test")->status, DNS_SERVFAIL);
}

static void a_changed_zone_shows_after_the_ttl(void **state)
{
    struct fixture *f = *state;
    int n = 0;
    open_dns(f, (struct dns_options){0});
    assert_string_equal(mx_of(f, "short.test")->hosts[0].name, "b.mx.test");
    zone_write(f->server.path, "short.test MX 1 new.mx.test\n");
    kill(f->server.pid, SIGHUP);
    assert_int_equal(fscanf(f->server.out, " loaded %d records", &n), 1);
    assert_string_equal(mx_of(f, "short.test")->hosts[0].name, "b.mx.test");
    f->now_ms += 10000;
    assert_string_equal(mx_of(f, "short.test")->hosts[0].name, "new.mx.test");
}

static void the_cache_is_bounded(void **state)
{
    struct fixture *f = *state;
    char name[64];
    open_dns(f, (struct dns_options){.cache_entries = 10});
    for (int i = 0; i < 30; i++) {
        snprintf(name, sizeof(name), "n%d.wild.test", i);
        mx_of(f, name);
        mx_of(f, "n0.wild.test"); /* always in use */
    }
    uv_run(&f->loop->uv, UV_RUN_NOWAIT);
    assert_in_range(dns_stats(f->dns).entries, 9, 11);
    assert_non_null(dns_mx_get(f->dns, "n0.wild.test"));
    assert_non_null(dns_mx_get(f->dns, "n29.wild.test"));
    assert_null(dns_mx_get(f->dns, "n1.wild.test"));
}

static void freeing_with_questions_open_calls_nobody(void **state)
{
    struct fixture *f = *state;
    open_dns(f, (struct dns_options){0});
    dns_mx_lookup(f->dns, "slow.test", got_mx, f);
    dns_host_lookup(f->dns, "gone.test", got_host, f);
    dns_mx_lookup(f->dns, "implicit.test", got_mx, f);
    uv_run(&f->loop->uv, UV_RUN_ONCE);
    dns_free(f->dns);
    f->dns = NULL;
    assert_true(f->open >= -1);
}

/* ---- addresses ------------------------------------------------------------------------------- */

static void hosts_have_both_kinds_of_addresses(void **state)
{
    struct fixture *f = *state;
    char text[ADDR_TEXT];
    open_dns(f, (struct dns_options){0});
    const struct dns_host *h = host_of(f, "a.mx.test");
    assert_int_equal(h->n_addrs, 3);
    assert_string_equal(addr_text(&h->addrs[0], text), "::11");
    assert_string_equal(addr_text(&h->addrs[1], text), "127.0.0.11");
    assert_string_equal(addr_text(&h->addrs[2], text), "127.0.0.12");
    h = host_of(f, "halfbad.test"); /* one kind is enough, but not for long */
    assert_int_equal(h->status, DNS_OK);
    assert_int_equal(h->n_addrs, 1);
    assert_int_equal(h->expires_ms, f->now_ms + 30000);
    assert_int_equal(host_of(f, "textonly.test")->status, DNS_NODATA);
    assert_int_equal(host_of(f, "nohost.test")->status, DNS_NXDOMAIN);
    assert_int_equal(host_of(f, "bad.test")->status, DNS_SERVFAIL);
    uint64_t queries = dns_stats(f->dns).queries;
    h = host_of(f, "2001:DB8::1");
    assert_string_equal(addr_text(&h->addrs[0], text), "2001:db8::1");
    assert_int_equal(dns_stats(f->dns).queries, queries);
}

static void ipv6_can_be_left_out(void **state)
{
    struct fixture *f = *state;
    open_dns(f, (struct dns_options){.no_ipv6 = true});
    assert_int_equal(host_of(f, "a.mx.test")->n_addrs, 2);
    assert_int_equal(dns_stats(f->dns).queries, 1);
}

static void bad_servers_are_refused(void **state)
{
    struct fixture *f = *state;
    const char *servers[] = {"nonsense:53"};
    struct dns *d;
    open_dns(f, (struct dns_options){0});
    assert_int_equal(dns_new(f->loop, &(struct dns_options){.servers = servers, .n_servers = 1}, &d),
                     RM_EINVAL);
    assert_null(d);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(mx_sets_are_sorted_and_shuffled_among_equals),
        TEST(aliases_are_followed),
        TEST(without_mx_the_address_will_do),
        TEST(failures_are_told_apart),
        TEST(truncated_answers_are_fetched_over_tcp),
        TEST(one_query_serves_all_who_wait),
        TEST(answers_expire_with_their_ttl),
        TEST(a_good_answer_outlives_the_server_for_days),
        TEST(a_changed_zone_shows_after_the_ttl),
        TEST(the_cache_is_bounded),
        TEST(freeing_with_questions_open_calls_nobody),
        TEST(hosts_have_both_kinds_of_addresses),
        TEST(ipv6_can_be_left_out),
        TEST(bad_servers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
