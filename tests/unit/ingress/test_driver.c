/* The servers whole: real sockets, a loop in its thread, the log in memory;
 * clients here, blocking. */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/ssl.h>

#include "lib/net/dns.h"
#include "lib/net/loop.h"
#include "queue/memory/memory.h"
#include "relay/dest.h"
#include "relay/ingress/ingress.h"
#include "relay/ingress/password.h"
#include "relay/metrics_table.h"

/* crypt(3) of "secret" */
#define HASH "$5$rounds=1000$abcdefgh$XIppta5rT8zJUu4vAOKQXrwq9uY4Ijlz6VjyOmkx5i4"

static const char config[] = "node: { name: n1, hostname: relay.example, data: DIR, drain: 2s }\n"
                             "log: { backend: memory, partitions: 4 }\n"
                             "listeners:\n"
                             "  - { address: \"127.0.0.1:PORT\", tls: none, auth: true, "
                             "auth_without_tls: "
                             "true }\n"
                             "  - { address: \"127.0.0.2:PORT\", tls: starttls, auth: true, EXTRA }\n"
                             "  - { address: \"127.0.0.3:PORT\", tls: implicit, proxies: [127.0.0.3/32] "
                             "}\n"
                             "  - { address: \"127.0.0.4:PORT\", tls: none, proxies: [127.0.0.1/32], "
                             "connections_per_client: 1 }\n"
                             "sources: [ { name: s1, address: 127.0.0.9 } ]\n"
                             "pools: [ { name: main, members: [ { source: s1 } ] } ]\n"
                             "tenants:\n"
                             "  - { name: local, networks: [127.0.0.0/8], domains: [\"*\"], pool: main "
                             "}\n"
                             "  - { name: acme, networks: [198.51.100.0/24], domains: [acme.example], "
                             "pool: main }\n"
                             "  - { name: joes, users: [ { name: joe, password_hash: \"HASH\" } ], "
                             "domains: [joe.example], pool: main "
                             "}\n"
                             "routes: [ { domain: d.example, hosts: [\"127.0.0.1:1\"] } ]\n";

struct rig {
    char dir[64], port[8];
    struct node node;
    struct shard *shard;
    struct ingress_ports *ports;
    struct loop_msg message, poll;
    _Atomic bool polling, drained, done;
    struct ingress_ports *next;
};

/* ---- the node
 * ------------------------------------------------------------------------------------
 */

/* A port that nothing listens on now. */
static void choose_port(char out[8])
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sin);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sin, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
    (void)snprintf(out, 8, "%u", (unsigned)ntohs(sin.sin_port));
    close(fd);
}

static bool replace(struct buf *b, const char *from, const char *to)
{
    char *at = strstr(buf_cstr(b), from);
    if (!at)
        return false;
    struct buf out = BUF_INIT;
    buf_add(&out, b->data, (size_t)(at - b->data));
    buf_add_str(&out, to);
    buf_add_str(&out, at + strlen(from));
    buf_fini(b);
    *b = out;
    return true;
}

static struct settings *load(struct rig *r, const char *extra)
{
    struct buf text = BUF_INIT, error = BUF_INIT;
    char path[96];
    struct settings *s = NULL;
    buf_add_str(&text, config);
    assert_true(replace(&text, "DIR", r->dir));
    assert_true(replace(&text, "EXTRA", extra));
    assert_true(replace(&text, "HASH", HASH));
    while (replace(&text, "PORT", r->port))
        ;
    (void)snprintf(path, sizeof(path), "%s/remuda.yaml", r->dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text.data, 1, text.len, f), text.len);
    (void)fclose(f);
    if (settings_load(path, &s, &error) != RM_OK)
        fail_msg("%s", buf_cstr(&error));
    buf_fini(&text);
    buf_fini(&error);
    return s;
}

static void poll_log(struct loop *l, struct loop_msg *msg)
{
    struct rig *r = CONTAINER_OF(msg, struct rig, poll);
    (void)l;
    r->polling = false;
    log_client_poll(r->shard->log);
}

static void wake(void *arg)
{
    struct rig *r = arg;
    if (!atomic_exchange(&r->polling, true))
        (void)loop_post(r->shard->loop, &r->poll);
}

static void open_log(struct rig *r)
{
    struct log_options options = {.partitions = 4};
    assert_int_equal(memory_log_open(&options, &r->node.log), RM_OK);
    assert_int_equal(lanes_load(r->node.log, &r->node.settings->router, &r->node.lanes), RM_OK);
}

static struct rig *rig_new(const char *extra)
{
    struct rig *r = calloc(1, sizeof(*r));
    struct buf error = BUF_INIT;
    assert_non_null(r);
    (void)snprintf(r->dir, sizeof(r->dir), "/tmp/remuda-ingress-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    choose_port(r->port);
    r->node.settings = load(r, extra);
    r->node.logger = logger_new(&(struct logger_options){.level = LOG_ERROR, .fd = 2});
    r->node.metrics = metrics_new(metric_table, METRIC_ROWS);
    r->node.n_shards = 1;
    r->shard = &r->node.shards[0];
    r->shard->node = &r->node;
    r->shard->settings = settings_ref(r->node.settings);
    r->poll.run = poll_log;
    open_log(r);
    assert_int_equal(loop_new("ingress", &r->shard->loop), RM_OK);
    r->shard->log = log_client_new(r->node.log, wake, r);
    const char *nowhere[] = {"127.0.0.1:1"};
    struct dns_options dns = {.servers = nowhere, .n_servers = 1, .timeout_ms = 50, .tries = 1};
    assert_int_equal(dns_new(r->shard->loop, &dns, &r->shard->dns), RM_OK);
    r->shard->dests = dests_new(r->shard);
    if (ingress_ports_open(r->node.settings, NULL, &r->ports, &error) != RM_OK)
        fail_msg("%s", buf_cstr(&error));
    r->shard->ingress = ingress_new(r->shard, r->ports);
    assert_int_equal(ingress_start(r->shard->ingress), RM_OK);
    assert_int_equal(loop_start(r->shard->loop), RM_OK);
    buf_fini(&error);
    return r;
}

static bool eventually(_Atomic bool *flag)
{
    for (int i = 0; i < 5000 && !*flag; i++)
        usleep(1000);
    return *flag;
}

static void on_drained(void *arg)
{
    ((struct rig *)arg)->drained = true;
}

static void run_drain(struct loop *l, struct loop_msg *msg)
{
    struct rig *r = CONTAINER_OF(msg, struct rig, message);
    (void)l;
    ingress_drain(r->shard->ingress, on_drained, r);
}

static void rig_drain(struct rig *r)
{
    r->message.run = run_drain;
    assert_true(loop_post(r->shard->loop, &r->message));
}

static void rig_free(struct rig *r)
{
    if (!r->drained)
        rig_drain(r);
    assert_true(eventually(&r->drained));
    loop_stop(r->shard->loop);
    loop_join(r->shard->loop);
    log_client_flush(r->shard->log);
    assert_int_equal(r->node.inbound, 0);
    ingress_free(r->shard->ingress);
    ingress_ports_unref(r->ports);
    dests_free(r->shard->dests);
    dns_free(r->shard->dns);
    log_client_free(r->shard->log);
    loop_free(r->shard->loop);
    lanes_free(r->node.lanes);
    log_close(r->node.log);
    settings_unref(r->shard->settings);
    settings_unref(r->node.settings);
    metrics_free(r->node.metrics);
    logger_free(r->node.logger);
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", r->dir);
    assert_int_equal(system(command), 0);
    free(r);
}

/* ---- clients
 * -------------------------------------------------------------------------------------
 */

struct client {
    int fd;
    SSL_CTX *ctx;
    SSL *ssl;
    char text[8192];
};

static void client_open(struct rig *r, int listener, struct client *c)
{
    char host[64];
    unsigned port;
    struct timeval patience = {.tv_sec = 10};
    *c = (struct client){0};
    assert_int_equal(sscanf(ingress_ports_address(r->ports, listener), "%63[^:]:%u", host, &port), 2);
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    assert_int_equal(inet_pton(AF_INET, host, &sin.sin_addr), 1);
    struct sockaddr_in from = {.sin_family = AF_INET};
    assert_int_equal(inet_pton(AF_INET, listener == 2 ? "127.0.0.3" : "127.0.0.1", &from.sin_addr), 1);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(bind(c->fd, (struct sockaddr *)&from, sizeof(from)), 0);
    assert_int_equal(connect(c->fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
}

static void client_close(struct client *c)
{
    SSL_free(c->ssl);
    SSL_CTX_free(c->ctx);
    close(c->fd);
}

static void client_tls(struct client *c)
{
    c->ctx = SSL_CTX_new(TLS_client_method());
    c->ssl = SSL_new(c->ctx);
    SSL_set_fd(c->ssl, c->fd);
    assert_int_equal(SSL_connect(c->ssl), 1);
}

static void say(struct client *c, const char *text)
{
    ssize_t n =
        c->ssl ? SSL_write(c->ssl, text, (int)strlen(text)) : send(c->fd, text, strlen(text), MSG_NOSIGNAL);
    assert_int_equal(n, strlen(text));
}

/* Reads until a final reply line with this code has come, or the end: then
 * false. */
static bool hear(struct client *c, const char *code)
{
    size_t len = 0;
    char last[8];
    (void)snprintf(last, sizeof(last), "%s ", code);
    for (;;) {
        ssize_t n = c->ssl ? SSL_read(c->ssl, c->text + len, (int)(sizeof(c->text) - 1 - len))
                           : recv(c->fd, c->text + len, sizeof(c->text) - 1 - len, 0);
        if (n <= 0)
            return false;
        len += (size_t)n;
        c->text[len] = '\0';
        const char *line = strstr(c->text, last);
        if (line && (line == c->text || line[-1] == '\n') && c->text[len - 1] == '\n')
            return true;
    }
}

#define SAY_HEAR(c, words, code)                                                                             \
    do {                                                                                                     \
        say((c), (words));                                                                                   \
        if (!hear((c), (code)))                                                                              \
            fail_msg("no %s for %s, but: %s", (code), (words), (c)->text);                                   \
    } while (0)

#define MESSAGE "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"

static int records(struct rig *r)
{
    struct log_reader *reader;
    int n = 0;
    assert_int_equal(log_read_begin(r->node.log, &reader), RM_OK);
    for (uint32_t p = 0; p < 4; p++) {
        struct span value;
        for (uint64_t at = 0; log_read_next(reader, LOG_MAIL, p, &at, &value); at++)
            n += value.ptr[0] == MAIL_RECORD;
    }
    log_read_end(reader);
    return n;
}

/* ---- tests
 * ---------------------------------------------------------------------------------------
 */

static void test_message_is_stored(void **state)
{
    (void)state;
    struct rig *r = rig_new("junk: 50");
    struct client c;
    client_open(r, 0, &c);
    assert_true(hear(&c, "220"));
    SAY_HEAR(&c, "EHLO x\r\n", "250");
    for (int i = 0; i < 20; i++) {
        SAY_HEAR(&c, MESSAGE, "354");
        SAY_HEAR(&c, "A: b\r\n\r\ntext\r\n.\r\n", "250");
        assert_non_null(strstr(c.text, "queued as "));
        assert_int_equal(records(r), i + 1);
    }
    SAY_HEAR(&c, "QUIT\r\n", "221");
    assert_false(hear(&c, "xxx"));
    client_close(&c);
    rig_free(r);
}

static void test_large_message(void **state)
{
    (void)state;
    struct rig *r = rig_new("junk: 50");
    struct client c;
    client_open(r, 0, &c);
    assert_true(hear(&c, "220"));
    SAY_HEAR(&c, "EHLO x\r\n", "250");
    SAY_HEAR(&c, MESSAGE, "354");
    char line[1025];
    memset(line, 'x', 1022);
    memcpy(line + 1022, "\r\n", 3);
    say(&c, "A: b\r\n\r\n");
    for (int i = 0; i < 3000; i++)
        say(&c, line);
    SAY_HEAR(&c, ".\r\n", "250");
    assert_int_equal(records(r), 1);
    client_close(&c);
    rig_free(r);
}

static void test_log_trouble(void **state)
{
    (void)state;
    struct rig *r = rig_new("junk: 50");
    struct client c, gone, other;
    client_open(r, 0, &c);
    assert_true(hear(&c, "220"));
    SAY_HEAR(&c, "EHLO x\r\n", "250");
    memory_log_fail_next(r->node.log, RM_EIO, 1);
    SAY_HEAR(&c, MESSAGE, "354");
    SAY_HEAR(&c, ".\r\n", "451");
    memory_log_set_admits(r->node.log, RM_EFULL);
    SAY_HEAR(&c, "MAIL FROM:<a@b.example>\r\n", "452");
    memory_log_set_admits(r->node.log, RM_OK);
    /* a client that goes while its message is being stored */
    client_open(r, 0, &gone);
    assert_true(hear(&gone, "220"));
    SAY_HEAR(&gone, "EHLO x\r\n", "250");
    memory_log_hold(r->node.log);
    SAY_HEAR(&gone, MESSAGE, "354");
    say(&gone, ".\r\n");
    client_close(&gone);
    /* meanwhile others are greeted and say what they have, one message more than the log takes now */
    client_open(r, 0, &other);
    assert_true(hear(&other, "220"));
    SAY_HEAR(&other, "EHLO x\r\n", "250");
    SAY_HEAR(&other, MESSAGE, "354");
    say(&other, ".\r\n");
    usleep(50000);
    memory_log_release(r->node.log);
    assert_true(hear(&other, "250"));
    client_close(&other);
    SAY_HEAR(&c, MESSAGE, "354");
    SAY_HEAR(&c, ".\r\n", "250");
    client_close(&c);
    rig_free(r);
}

static void test_starttls_and_auth(void **state)
{
    (void)state;
    struct rig *r = rig_new("junk: 50");
    struct client c;
    client_open(r, 1, &c);
    assert_true(hear(&c, "220"));
    SAY_HEAR(&c, "EHLO x\r\n", "250");
    assert_null(strstr(c.text, "AUTH"));
    SAY_HEAR(&c, "STARTTLS\r\n", "220");
    client_tls(&c);
    SAY_HEAR(&c, "EHLO x\r\n", "250");
    assert_non_null(strstr(c.text, "AUTH PLAIN LOGIN"));
    SAY_HEAR(&c, "AUTH PLAIN AGpvZQB3cm9uZw==\r\n", "535");
    SAY_HEAR(&c, "AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n", "235");
    SAY_HEAR(&c, "MAIL FROM:<a@b.example>\r\n", "550");
    SAY_HEAR(&c, "MAIL FROM:<a@joe.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n", "354");
    SAY_HEAR(&c, ".\r\n", "250");
    client_close(&c);
    rig_free(r);
}

/* Commands behind STARTTLS in the clear (CVE-2011-0411) are thrown away, not obeyed under TLS. */
static void test_starttls_injection(void **state)
{
    (void)state;
    struct rig *r = rig_new("junk: 50");
    struct client c;
    client_open(r, 1, &c);
    assert_true(hear(&c, "220"));
    SAY_HEAR(&c, "EHLO x\r\n", "250");
    SAY_HEAR(&c, "STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@joe.example>\r\n", "220");
    client_tls(&c);
    SAY_HEAR(&c, "HELP\r\n", "214");
    assert_memory_equal(c.text, "214-", 4);
    SAY_HEAR(&c, "RCPT TO:<c@d.example>\r\n", "503");
    client_close(&c);
    rig_free(r);
}

/* A client that sends and sends but reads no replies is not read from either: its replies take no memory. */
static void test_unread_replies(void **state)
{
    (void)state;
    struct rig *r = rig_new("junk: 100000000, commands: 100000000");
    struct client c;
    static char many[6 << 16];
    size_t sent = 0, most = (size_t)32 << 20; /* far over what the kernel's buffers hold */
    struct timeval moment = {.tv_usec = 500000};
    client_open(r, 1, &c);
    assert_true(hear(&c, "220"));
    for (size_t i = 0; i < sizeof(many); i += 6)
        memcpy(many + i, "NOOP\r\n", 6);
    assert_int_equal(setsockopt(c.fd, SOL_SOCKET, SO_SNDTIMEO, &moment, sizeof(moment)), 0);
    for (ssize_t n; sent < most && (n = send(c.fd, many, sizeof(many), MSG_NOSIGNAL)) > 0;)
        sent += (size_t)n;
    assert_true(sent < most);
    client_close(&c);
    rig_free(r);
}

static void test_proxy_then_tls(void **state)
{
    (void)state;
    struct rig *r = rig_new("junk: 50");
    struct client c;
    client_open(r, 2, &c);
    /* the header and the handshake's first bytes leave together: the header waits
     * in the socket for the rest
     */
    int on = 1, off = 0;
    assert_int_equal(setsockopt(c.fd, IPPROTO_TCP, 3 /* TCP_CORK */, &on, sizeof(on)), 0);
    say(&c, "PROXY TCP4 198.51.100.7 192.0.2.1 4321 465\r\n");
    c.ctx = SSL_CTX_new(TLS_client_method());
    c.ssl = SSL_new(c.ctx);
    SSL_set_fd(c.ssl, c.fd);
    struct timeval soon = {.tv_usec = 1000};
    assert_int_equal(setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon)), 0);
    (void)SSL_connect(c.ssl); /* writes the hello, has no answer yet */
    struct timeval patience = {.tv_sec = 10};
    assert_int_equal(setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(setsockopt(c.fd, IPPROTO_TCP, 3, &off, sizeof(off)), 0);
    assert_int_equal(SSL_connect(c.ssl), 1);
    assert_true(hear(&c, "220"));
    SAY_HEAR(&c, "EHLO x\r\n", "250");
    SAY_HEAR(&c, "MAIL FROM:<a@b.example>\r\n", "550"); /* the client is acme's, not local's */
    SAY_HEAR(&c, "MAIL FROM:<a@acme.example>\r\n", "250");
    client_close(&c);
    rig_free(r);
}

static void test_proxy_required_and_client_limit(void **state)
{
    (void)state;
    struct rig *r = rig_new("junk: 50");
    struct client c, d;
    client_open(r, 3, &c);
    say(&c, "EHLO x\r\n");
    assert_false(hear(&c, "250"));
    client_close(&c);
    client_open(r, 3, &c);
    SAY_HEAR(&c, "PROXY TCP4 198.51.100.7 192.0.2.1 4321 25\r\nEHLO x\r\n", "250");
    client_open(r, 3, &d);
    SAY_HEAR(&d, "PROXY TCP4 198.51.100.7 192.0.2.1 4322 25\r\n", "421");
    client_close(&d);
    client_open(r, 3, &d);
    SAY_HEAR(&d, "PROXY TCP4 198.51.100.8 192.0.2.1 4322 25\r\n", "220");
    client_close(&d);
    client_close(&c);
    rig_free(r);
}

static void test_drain(void **state)
{
    (void)state;
    struct rig *r = rig_new("junk: 50");
    struct client idle, busy;
    client_open(r, 0, &idle);
    client_open(r, 0, &busy);
    assert_true(hear(&idle, "220"));
    assert_true(hear(&busy, "220"));
    SAY_HEAR(&busy, "EHLO x\r\n", "250");
    SAY_HEAR(&busy, MESSAGE, "354");
    rig_drain(r);
    assert_true(hear(&idle, "421"));
    client_close(&idle);
    SAY_HEAR(&busy, "A: b\r\n\r\n.\r\n", "421");
    assert_non_null(strstr(busy.text, "queued as"));
    assert_int_equal(records(r), 1);
    client_close(&busy);
    rig_free(r);
}

static void run_reload(struct loop *l, struct loop_msg *msg)
{
    struct rig *r = CONTAINER_OF(msg, struct rig, message);
    (void)l;
    assert_int_equal(ingress_reload(r->shard->ingress, r->next), RM_OK);
    r->done = true;
}

static void test_reload(void **state)
{
    (void)state;
    struct rig *r = rig_new("junk: 50");
    struct buf error = BUF_INIT;
    struct client old, new;
    char address[64];
    (void)snprintf(address, sizeof(address), "%s", ingress_ports_address(r->ports, 1));
    client_open(r, 1, &old);
    assert_true(hear(&old, "220"));
    struct settings *next = load(r, "hostname: other.example");
    if (ingress_ports_open(next, r->ports, &r->next, &error) != RM_OK)
        fail_msg("%s", buf_cstr(&error));
    r->message.run = run_reload;
    assert_true(loop_post(r->shard->loop, &r->message));
    assert_true(eventually(&r->done));
    ingress_ports_unref(r->ports);
    r->ports = r->next;
    settings_unref(next);
    assert_string_equal(ingress_ports_address(r->ports, 1), address);
    client_open(r, 1, &new);
    assert_true(hear(&new, "220"));
    assert_non_null(strstr(new.text, "other.example"));
    SAY_HEAR(&old, "EHLO x\r\n", "250");
    assert_non_null(strstr(old.text, "relay.example"));
    client_close(&old);
    client_close(&new);
    buf_fini(&error);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_is_stored),
        cmocka_unit_test(test_large_message),
        cmocka_unit_test(test_log_trouble),
        cmocka_unit_test(test_starttls_and_auth),
        cmocka_unit_test(test_starttls_injection),
        cmocka_unit_test(test_unread_replies),
        cmocka_unit_test(test_proxy_then_tls),
        cmocka_unit_test(test_proxy_required_and_client_limit),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_reload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
