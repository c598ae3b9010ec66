/* The loader: what is wrong is told with its place; what is right is what the snapshot says; the
 * documentation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/conf/conf.h"
#include "relay/config/settings.h"
#include "router/pair.h"

#define HASH "$y$j9T$LAbInEifUREDZCYkrxHbe0$VfgbAfiwmpdS1q6ek94vV3QJAMrVJv1ZBpp/0.SlU5."
#define NODE "node: { name: n, hostname: n.test, data: d }\n"
#define FAR  "egresses:\n  - { name: far, address: \"192.0.2.9:2600\", "
#define TWO  "sources:\n  - { name: a, address: 192.0.2.1 }\n  - { name: b, address: 192.0.2.2 }\n"
#define POOL "pools: [ { name: p, members: [ { source: a } ] } ]\n"

struct loaded {
    char path[32];
    struct settings *s;
    struct buf error;
    int err;
};

static void load(struct loaded *l, const char *text)
{
    *l = (struct loaded){.path = "/tmp/remuda-conf-XXXXXX", .error = BUF_INIT};
    int fd = mkstemp(l->path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    l->err = settings_load(l->path, &l->s, &l->error);
    unlink(l->path);
}

static void done(struct loaded *l)
{
    settings_unref(l->s);
    buf_fini(&l->error);
}

/* Each file, and the place and words of its only error. */
static const struct {
    const char *text, *place, *words;
} bad[] = {
    {"node: { data: d }\nlisteners: []\nlisener: []\n", "3:1",
     "unknown key \"lisener\" in the file; did you mean \"listeners\"?"},
    {"node: { data: d, data: e }\n", "1:18", "found \"data\" a second time"},
    {"log: {}\n", "1:1", "found no \"node\" in the file"},
    {"node: { name: x }\n", "1:7", "found no \"data\" in node"},
    {NODE "sources: [ { name: a, address: 192.0.2.1, egress: fat } ]\n"
          "egresses: [ { name: far, address: \"192.0.2.9:2600\", protocol: proxy } ]\n",
     "2:51", "found the egress \"fat\", which is not defined; did you mean \"far\"?"},
    {NODE "egresses: [ { name: far, address: \"192.0.2.9:2600\" } ]\n", "2:13",
     "found no secret_file and no tls"},
    {NODE FAR "tls: { certificate: c, key: k, workers: [w.test] } }\n", "3:50", "tls: found no ca, expected"},
    {NODE FAR "tls: { ca: c, certificate: c, workers: [w.test] } }\n", "3:50", "tls: found no key, expected"},
    {NODE FAR "tls: { ca: c, certificate: c, key: k } }\n", "3:50", "tls: found no workers"},
    {NODE FAR "secret_file: /dev/null, tls: { ca: c, certificate: c, key: k, workers: [w.test] } }\n", "3:74",
     "found tls and secret_file, expected one of them"},
    {NODE FAR "protocol: proxy, tls: { ca: c, certificate: c, key: k, workers: [w.test] } }\n", "3:67",
     "found tls with protocol: proxy"},
    {NODE FAR "tls: { ca: /nowhere, certificate: c, key: k, workers: [w.test] } }\n", "3:50",
     "tls: found /nowhere: "},
    {NODE FAR "tls: { ca: c, certificate: /etc/passwd, key: /etc/passwd, workers: [w.test] } }\n", "3:50",
     "tls: found "},
    {NODE "egresses:\n  - { name: far, address: \"192.0.2.9:2600\", secret_file: /dev/null }\n", "3:58",
     "secret_file: found no secret in /dev/null"},
    {NODE "egresses:\n  - { name: far, address: \"192.0.2.9:2600\", protocol: proxy, ports: [25, 070] }\n",
     "3:74", "ports: found \"070\", expected a number from 1 to 65535"},
    {"node: { name: n, hostname: n.test, data: d, roles: [egress] }\n", "1:7",
     "found no egress of the node \"n\", which has the role egress"},
    {"node: [1]\n", "1:7", "node: found a list, expected a map"},
    {"node: { data: d, drain: 5 }\n", "1:25", "drain: found \"5\", expected a duration"},
    {"node: { data: d, memory: lots }\n", "1:26", "memory: found \"lots\", expected a size"},
    {"node: { data: d, hops: 2 }\n", "1:24", "hops: found 2, expected 5 to 1000"},
    {"node: { data: d, shards: -1 }\n", "1:26", "shards: found \"-1\", expected a whole number"},
    {"node: { data: d, roles: [ingres] }\n", "1:26", "roles: found \"ingres\", expected one of ingress"},
    {"node: { data: d, roles: [delivery] }\n", "1:25",
     "roles: found a part of the relay with log.backend embedded"},
    {"node: { data: d }\nlog: { backend: kafka }\n", "2:17", "brokers: found none, expected host:port"},
    {"node: { data: d }\nlog: { backend: kafka, brokers: [a:1, b] }\n", "2:39",
     "brokers: found \"b\", expected host:port"},
    {"node: { data: d }\nlog: { backend: kafka, brokers: [a:1], sasl: { user: u } }\n", "2:46",
     "sasl: found one of user and password_file, expected both"},
    {"node: { data: d }\nlog: { backend: kafka, brokers: [a:1], sasl: { mechanism: PLAIN, user: u, "
     "password_file: p } }\n",
     "2:59", "mechanism: found PLAIN without tls"},
    {"node: { data: d, name: \"a b\" }\n", "1:24", "name: found \"a b\", expected a name"},
    {"node: { data: d, certificate: /nowhere.pem, key: /etc/passwd }\n", "1:31", "which cannot be read"},
    {NODE "log: { sync: maybe }\n", "2:14", "sync: found \"maybe\", expected true or false"},
    {NODE "logging: { level: loud }\n", "2:19", "level: found \"loud\", expected one of debug"},
    {NODE "dns: { servers: [\"127.0.0.1\"] }\n", "2:18",
     "servers: found \"127.0.0.1\", expected an address and port"},
    {NODE "admin: { address: \"192.0.2.1:80\" }\n", "2:19", "expected a loopback address"},
    {NODE "listeners:\n  - { address: \"127.0.0.1:25\" }\n  - { address: \"127.0.0.1:25\" }\n", "4:16",
     "the address \"127.0.0.1:25\" a second time"},
    {NODE "listeners: [ { address: \"127.0.0.1:25\", tls: none, auth: true } ]\n", "2:58",
     "expected TLS or auth_without_tls"},
    {NODE "listeners: [ { address: \"127.0.0.1:25\", proxies: [192.0.2.1/24] } ]\n", "2:51",
     "expected a network"},
    {NODE "sources: [ { name: a, address: mail.test } ]\n", "2:32",
     "address: found \"mail.test\", expected an IP address"},
    {NODE "sources:\n  - { name: a, address: 192.0.2.1 }\n  - { name: a, address: 192.0.2.2 }\n", "4:13",
     "the name \"a\" a second time in sources"},
    {NODE "sources:\n  - { name: a, address: 192.0.2.1 }\n  - { name: b, address: 192.0.2.1 }\n", "4:25",
     "the address 192.0.2.1 of source a a second time"},
    {NODE TWO "pools: [ { name: p, members: [ { source: c } ] } ]\n", "5:42",
     "the source \"c\", which is not defined"},
    {NODE TWO
     "pools:\n  - { name: p, members: [ { source: a } ] }\n  - { name: q, members: [ { source: a } ] }\n",
     "7:37", "\"a\", which is in pool \"p\" already"},
    {NODE TWO "pools: [ { name: p, shards: 3, members: [ { source: a } ] } ]\n", "5:29",
     "found 3 shards of 1 members"},
    {NODE TWO "pools: [ { name: p, members: [ { source: a, weight: 0 } ] } ]\n", "5:53",
     "weight: found 0, expected 1 to 1000"},
    {NODE TWO "pools: [ { name: p, members: [] } ]\n", "5:30", "members: found 0 elements"},
    {NODE TWO "pools: [ { name: p, fallback: r, members: [ { source: a } ] } ]\n", "5:31",
     "the pool \"r\", which is not defined"},
    {NODE TWO POOL "tenants: [ { name: t, pool: p } ]\n", "6:12", "found no \"domains\" in tenants[]"},
    {NODE TWO POOL "tenants: [ { name: t, domains: [x.test] } ]\n", "6:12", "neither pool nor pools"},
    {NODE TWO POOL "tenants: [ { name: t, domains: [x.test], pool: q } ]\n", "6:48",
     "the pool \"q\", which is not defined"},
    {NODE TWO POOL "tenants: [ { name: t, domains: [x..test], pool: p } ]\n", "6:33", "expected a domain"},
    {NODE TWO POOL
     "tenants: [ { name: t, domains: [x], pool: p, users: [ { name: u, password_hash: secret } ] } ]\n",
     "6:81", "make one with: remuda hash-password"},
    {NODE TWO POOL "tenants: [ { name: t, domains: [x], pool: p, retry: r } ]\n", "6:53",
     "the retry schedule \"r\", which is not defined"},
    {NODE TWO POOL "tenants: [ { name: t, domains: [x], pool: p, verp: true } ]\n", "6:52",
     "verp without feedback.domain"},
    {NODE TWO POOL "tenants: [ { name: t, domains: [x], pool: p, suppression: maybe } ]\n", "6:59",
     "expected one of reject, record, off"},
    {NODE "listeners: [ { address: \"127.0.0.1:25\", feedback: true } ]\n", "2:51",
     "feedback without feedback.domain"},
    {NODE "feedback: { address: a@b.test }\n", "2:11", "found no domain"},
    {NODE "feedback: { domain: b.test }\n", "2:11", "neither keys nor key_file"},
    {NODE "feedback: { domain: b.test, keys: [aaaaaaaaaaaaaaaa], key_file: x }\n", "2:11", "found both"},
    {NODE "feedback: { domain: b.test, keys: [short] }\n", "2:35",
     "a secret of 5 characters, expected at least 16"},
    {NODE "feedback: { domain: b.test, key_file: nowhere }\n", "2:39", "nowhere, which cannot be read"},
    {NODE "feedback: { domain: .b.test, keys: [aaaaaaaaaaaaaaaa] }\n", "2:21", "expected one domain"},
    {NODE "feedback: { domain: b.test, address: x, keys: [aaaaaaaaaaaaaaaa] }\n", "2:38",
     "expected local@domain"},
    {NODE "feedback: { domain: b.test, token_lifetime: 1s, keys: [aaaaaaaaaaaaaaaa] }\n", "2:45",
     "token_lifetime"},
    {NODE "providers: [ { name: x, mx: [google.com] } ]\n", "2:30", "expected a suffix with a leading dot"},
    {NODE "providers: nowhere.yaml\n", "2:12", "nowhere.yaml, which cannot be read: No such file"},
    {NODE "providers: [ { name: x, rate: 5 } ]\n", "2:31", "rate: found \"5\", expected a rate"},
    {NODE "providers: [ { name: x }, { name: x } ]\n", "2:35", "the provider \"x\" a second time"},
    {NODE "providers: [ { name: x, mx: [.a.test] }, { name: y, mx: [.a.test] } ]\n", "2:58",
     "\".a.test\" a second time"},
    {NODE "providers: [ { name: other, mx: [.a.test] } ]\n", "2:14", "which is what no provider is"},
    {NODE "routes: [ { domain: x.test, hosts: [mail.x.test] } ]\n", "2:37",
     "hosts: found \"mail.x.test\", expected host:port"},
    {NODE "retries: [ { name: r, steps: [] } ]\n", "2:30", "steps: found 0 elements"},
    {NODE "retries: [ { name: r, steps: [5m], lifetime: 1h } ]\n", "2:46",
     "a delay notice not before the end"},
    {NODE "delivery: { port: 70000 }\n", "2:19", "port: found 70000, expected 1 to 65535"},
    {NODE "warmups: [ { name: w, steps: [10, 5] } ]\n", "2:35", "expected more than the step before"},
    {NODE "warmups: [ { name: w, steps: [0] } ]\n", "2:31", "expected messages a day, at least 1"},
    {NODE "warmups: [ { name: w, steps: [5], start: 3 } ]\n", "2:12", "expected one or the other"},
    {NODE "warmups: [ { name: w, factor: 1.01 } ]\n", "2:31", "factor: found \"1.01\", expected 1.05 to 10"},
    {NODE "warmups: [ { name: w, factor: 1.05, start: 1 } ]\n", "2:12", "more than 64 stages"},
    {NODE "warmups: [ { name: stages } ]\n", "2:20", "name of a built-in schedule"},
    {NODE "warmups: [ { name: w }, { name: w } ]\n", "2:33", "a second time"},
    {NODE "quarantine: { pool: nowhere }\n", "2:21", "pool"},
    {NODE "quarantine: { bad_mailbox: 5 }\n", "2:28", "expected a share such as 5% or 0.1%"},
    {NODE "quarantine: { complaint: 101% }\n", "2:26", "complaint: found \"101%\""},
    {NODE "quarantine: { minimum: 0 }\n", "2:24", "minimum"},
    {NODE "providers: [ { name: x, warmup: w } ]\n", "2:33", "warmup: found \"w\", expected none, stages"},
    {NODE "providers: [ { name: x, warmup: geometric 99 } ]\n", "2:33", "with a factor from 1.05 to 10"},
    {NODE "providers: [ { name: x, warmup: geometric1.4 } ]\n", "2:33", "with a factor from 1.05 to 10"},
};

static void test_each_trouble_has_its_place(void **state)
{
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct loaded l;
        char place[64];
        load(&l, bad[i].text);
        assert_int_equal(l.err, RM_EINVAL);
        assert_null(l.s);
        const char *said = buf_cstr(&l.error);
        snprintf(place, sizeof(place), "%s:%s: ", l.path, bad[i].place);
        if (strncmp(said, place, strlen(place)) != 0 || !strstr(said, bad[i].words) ||
            strchr(said, '\n') != said + l.error.len - 1) {
            wrong++;
            print_error("%s\nsaid: %s\nnot: %s%s\n", bad[i].text, said, bad[i].place, bad[i].words);
        }
        done(&l);
    }
    assert_int_equal(wrong, 0);
}

static void test_all_troubles_in_one_run(void **state)
{
    (void)state;
    struct loaded l;
    load(&l, "node: { dta: d, hops: x }\nlog: { sinc: true }\n");
    const char *said = buf_cstr(&l.error);
    assert_non_null(strstr(said, ":1:9: found the unknown key \"dta\" in node; did you mean \"data\"?"));
    assert_non_null(strstr(said, ":1:23: hops"));
    assert_non_null(strstr(said, ":2:8: found the unknown key \"sinc\" in log; did you mean \"sync\"?"));
    assert_non_null(strstr(said, "found no \"data\""));
    done(&l);
}

static void test_fallback_circle(void **state)
{
    (void)state;
    struct loaded l;
    load(&l, NODE TWO "pools:\n  - { name: p, fallback: q, members: [ { source: a } ] }\n"
                      "  - { name: q, fallback: p, members: [ { source: b } ] }\n");
    assert_int_equal(l.err, RM_EINVAL);
    assert_non_null(strstr(buf_cstr(&l.error), ":6:26: found the pool \"p\" as its own fallback"));
    done(&l);
}

static void test_missing_file(void **state)
{
    (void)state;
    struct settings *s;
    struct buf error = BUF_INIT;
    assert_int_equal(settings_load("/nowhere/remuda.yaml", &s, &error), RM_ENOTFOUND);
    assert_null(s);
    assert_non_null(strstr(buf_cstr(&error), "/nowhere/remuda.yaml"));
    buf_fini(&error);
}

static const char full[] = NODE TWO
    "pools:\n"
    "  - { name: p, shards: 2, members: [ { source: b, weight: 3 }, { source: a } ], fallback: q }\n"
    "  - { name: q, members: [ { source: c } ] }\n"
    "tenants:\n"
    "  - { name: near, domains: ['*'], pool: p, networks: [192.0.2.0/24, '::1'] }\n"
    "  - { name: nearer, domains: [Acme.Test, .sub.test], pools: [q, p], networks: [192.0.2.128/25],\n"
    "      users: [ { name: u, password_hash: '" HASH
    "' } ], limits: { per_day: 5, size: 1MiB }, retry: slow }\n"
    "providers:\n"
    "  - { name: big, mx: [.big.test], connections: 2, rate: 10/min, limits: total, idle: 5s }\n"
    "  - { name: other, connections: 3 }\n"
    "retries:\n  - { name: slow, steps: [1h, 2h], lifetime: 10h }\n"
    "routes:\n  - { domain: X.test, hosts: ['10.0.0.1:25'] }\n  - { domain: .x.test, hosts: ['h:26'], tls: "
    "required }\n"
    "  - { domain: '*', hosts: ['[::1]:27'] }\n";

static void load_full(struct loaded *l)
{
    char *text = strdup(full);
    char with[4096];
    char *at = strstr(text, "pools:\n");
    snprintf(with, sizeof(with), "%.*s  - { name: c, address: \"2001:DB8::1\", enabled: no }\n%s",
             (int)(at - text), text, at);
    free(text);
    load(l, with);
    if (l->err)
        fail_msg("%s", buf_cstr(&l->error));
}

static void test_router_part(void **state)
{
    (void)state;
    struct loaded l;
    load_full(&l);
    const struct router_config *c = &l.s->router;
    assert_int_equal(c->n_sources, 3);
    assert_string_equal(c->sources[2].address, "2001:db8::1");
    assert_false(c->sources[2].enabled);
    assert_string_equal(c->sources[0].ehlo, "n.test");
    assert_int_equal(c->sources[1].weight, 3);
    assert_int_equal(c->sources[1].shard, 0);
    assert_int_equal(c->sources[0].shard, 1);
    assert_int_equal(c->pools[0].fallback, 1);
    assert_int_equal(c->pools[1].fallback, -1);
    assert_string_equal(c->providers[ROUTER_OTHER].name, "other");
    assert_int_equal(c->providers[ROUTER_OTHER].limits.connections, 3);
    assert_int_equal(c->providers[ROUTER_OTHER].limits.rate_count, 100);
    const struct router_provider *big = &c->providers[router_provider_find(c, span_str("big"))];
    assert_true(big->limits.total);
    assert_int_equal(big->limits.rate_per_us, 60000000);
    assert_int_equal(big->idle_ms, 5000);
    done(&l);
}

static void test_warmups(void **state)
{
    (void)state;
    struct loaded l;
    load(&l, NODE "sources:\n"
                  "  - { name: a, address: 192.0.2.1, warmup: geometric 2 }\n"
                  "  - { name: b, address: 192.0.2.2 }\n"
                  "  - { name: c, address: 192.0.2.3 }\n"
                  "pools:\n"
                  "  - { name: p, members: [ { source: a }, { source: b } ], warmup: mine }\n"
                  "  - { name: q, members: [ { source: c } ] }\n"
                  "warmups: [ { name: mine, steps: [10, 20, 40], hourly: 50 } ]\n"
                  "providers: [ { name: big, warmup: stages, rate_floor: 1/min }, { name: small } ]\n");
    if (l.err)
        fail_msg("%s", buf_cstr(&l.error));
    const struct router_config *c = &l.s->router;
    int big = router_provider_find(c, span_str("big")), small = router_provider_find(c, span_str("small"));
    assert_string_equal(router_warmup_of(c, 0, big)->name, "geometric 2");
    assert_int_equal(router_warmup_of(c, 0, small)->caps[1], 960);
    assert_string_equal(router_warmup_of(c, 1, big)->name, "mine");
    assert_int_equal(warmup_hour_cap(router_warmup_of(c, 1, big), 2), 20);
    assert_ptr_equal(router_warmup_of(c, 2, big), warmup_stages());
    assert_null(router_warmup_of(c, 2, small));
    assert_float_equal(c->providers[big].limits.rate_floor, 1.0 / 60, 1e-9);
    done(&l);
}

static void test_lookups(void **state)
{
    (void)state;
    struct loaded l;
    uint8_t ip[16];
    const struct settings_user *user;
    load_full(&l);
    const struct settings *s = l.s;
    assert_true(conf_parse_ip(span_str("192.0.2.200"), ip));
    assert_int_equal(settings_tenant_by_address(s, ip), 1);
    assert_true(conf_parse_ip(span_str("192.0.2.1"), ip));
    assert_int_equal(settings_tenant_by_address(s, ip), 0);
    assert_true(conf_parse_ip(span_str("::1"), ip));
    assert_int_equal(settings_tenant_by_address(s, ip), 0);
    assert_true(conf_parse_ip(span_str("198.51.100.1"), ip));
    assert_int_equal(settings_tenant_by_address(s, ip), -1);
    assert_int_equal(settings_tenant_by_user(s, span_str("u"), &user), 1);
    assert_string_equal(user->password_hash, HASH);
    assert_int_equal(settings_tenant_by_user(s, span_str("v"), &user), -1);
    const struct settings_tenant *t = &s->tenants[1];
    assert_true(settings_tenant_may_send(t, span_str("ACME.test")));
    assert_true(settings_tenant_may_send(t, span_str("a.sub.test")));
    assert_false(settings_tenant_may_send(t, span_str("sub.test")));
    assert_false(settings_tenant_may_send(t, span_str("notacme.test")));
    assert_true(settings_tenant_may_send(&s->tenants[0], span_str("any.test")));
    assert_int_equal(t->limits.bytes, 1 << 20);
    assert_int_equal(t->limits.recipients, 1000);
    assert_int_equal(t->pools[0], 1);
    assert_string_equal(t->retry->name, "slow");
    assert_string_equal(settings_route_find(s, span_str("x.test"))->hosts[0], "10.0.0.1:25");
    assert_string_equal(settings_route_find(s, span_str("a.b.x.test"))->tls, "required");
    assert_string_equal(settings_route_find(s, span_str("y.test"))->hosts[0], "[::1]:27");
    done(&l);
}

static void test_overrides_replace_keys(void **state)
{
    (void)state;
    struct loaded l;
    char text[512];
    const char *tests = strstr(__FILE__, "tests/unit/");
    snprintf(text, sizeof(text),
             NODE "providers:\n  file: %.*sdeploy/providers.yaml\n  override: [ { name: gmail, connections: "
                  "8 }, { name: mine } ]\n",
             (int)(tests - __FILE__), __FILE__);
    load(&l, text);
    if (l.err)
        fail_msg("%s", buf_cstr(&l.error));
    const struct router_config *c = &l.s->router;
    const struct router_provider *gmail = &c->providers[router_provider_find(c, span_str("gmail"))];
    assert_int_equal(gmail->limits.connections, 8);
    assert_int_equal(gmail->limits.per_connection, 50);
    assert_true(gmail->tls_required);
    assert_int_equal(gmail->n_mx_suffixes, 3);
    assert_true(router_provider_find(c, span_str("mine")) > 0);
    done(&l);
}

static void test_what_needs_a_restart(void **state)
{
    (void)state;
    struct loaded a, b;
    struct buf why = BUF_INIT;
    load(&a, NODE);
    load(&b,
         "node: { name: m, hostname: n.test, data: d, hops: 9 }\nlog: { partitions: 9, prefix: other }\n");
    assert_true(settings_reloadable(a.s, a.s, &why));
    assert_false(settings_reloadable(a.s, b.s, &why));
    assert_non_null(strstr(buf_cstr(&why), "node.name is n and cannot become m"));
    assert_non_null(strstr(buf_cstr(&why), "log.prefix is remuda and cannot become other"));
    assert_null(strstr(buf_cstr(&why), "log.partitions")); /* some are added */
    done(&a);
    done(&b);
    buf_fini(&why);
}

/* docs/CONFIG.md is what the program prints: remuda config document > docs/CONFIG.md */
static void test_documentation_is_current(void **state)
{
    (void)state;
    char path[512];
    const char *tests = strstr(__FILE__, "tests/unit/");
    snprintf(path, sizeof(path), "%.*sdocs/CONFIG.md", (int)(tests - __FILE__), __FILE__);
    struct buf made = BUF_INIT, kept = BUF_INIT;
    settings_document(&made);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t n;
    while ((n = fread(buf_reserve(&kept, 65536), 1, 65536, file)) > 0)
        kept.len += n;
    fclose(file);
    if (!span_eq(buf_span(&made), buf_span(&kept)))
        fail_msg("%s", "docs/CONFIG.md differs; make it again: remuda config document > docs/CONFIG.md");
    buf_fini(&made);
    buf_fini(&kept);
}

/* A tenant's own keys replace those at the top, and those the published ones. */
static void test_quarantine(void **state)
{
    (void)state;
    struct loaded l;
    load(&l,
         NODE "sources: [ { name: a, address: 192.0.2.1, ehlo: a.example },\n"
              "           { name: b, address: 192.0.2.2, ehlo: b.example } ]\n"
              "pools: [ { name: p, members: [ { source: a } ] }, { name: q, members: [ { source: b } ] } ]\n"
              "quarantine: { pool: q, complaint: 0.3% }\n"
              "tenants:\n"
              "  - { name: t, domains: ['*'], pool: p }\n"
              "  - { name: u, domains: ['*'], pool: p, quarantine: { bad_mailbox: 5%, minimum: 1000 } }\n");
    assert_string_equal(buf_cstr(&l.error), "");
    assert_int_equal(l.err, RM_OK);
    const struct settings_quarantine *t = &l.s->tenants[0].quarantine, *u = &l.s->tenants[1].quarantine;
    assert_string_equal(l.s->router.pools[t->pool].name, "q");
    assert_int_equal(u->pool, t->pool);
    assert_float_equal(t->bounds.bad_mailbox, 0.1, 1e-9);
    assert_float_equal(t->bounds.complaint, 0.003, 1e-9);
    assert_float_equal(t->bounds.volume, 100, 1e-9);
    assert_float_equal(u->bounds.bad_mailbox, 0.05, 1e-9);
    assert_float_equal(u->bounds.complaint, 0.003, 1e-9);
    assert_float_equal(u->bounds.volume, 1000, 1e-9);
    done(&l);
    load(&l, NODE);
    assert_int_equal(l.s->quarantine.pool, -1); /* slowed down, never moved */
    done(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_trouble_has_its_place),
        cmocka_unit_test(test_all_troubles_in_one_run),
        cmocka_unit_test(test_fallback_circle),
        cmocka_unit_test(test_missing_file),
        cmocka_unit_test(test_router_part),
        cmocka_unit_test(test_warmups),
        cmocka_unit_test(test_quarantine),
        cmocka_unit_test(test_lookups),
        cmocka_unit_test(test_overrides_replace_keys),
        cmocka_unit_test(test_what_needs_a_restart),
        cmocka_unit_test(test_documentation_is_current),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
