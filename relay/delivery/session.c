/* Joins the client's protocol (client.c) to a connection of lib/net. No decisions here. */
#include "relay/delivery/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/suspect.h"
#include "lib/net/conn.h"
#include "lib/net/tls.h"
#include "relay/delivery/client.h"
#include "relay/delivery/through.h"

struct session {
    struct shard *shard;
    struct session_events events;
    struct settings *settings;
    struct conn *conn;
    struct client *client;
    struct loop_defer settle;
    char *host;
    char remote[ADDR_TEXT];
    char *tls; /* "TLSv1.3 TLS_AES_256_GCM_SHA384", NULL: plain */
    uint64_t opened_us, connect_us;
    bool source_broke;
    struct through through; /* the way through an egress, until it is there */
    void *user;
    struct suspect_mark work; /* the record of the attempt given last */
};

static void takes(struct session *s, const struct attempt *a)
{
    if (a)
        s->work = (struct suspect_mark){a->body.at, a->body.partition};
}

/* ---- what the protocol asks for ---- */

static void do_write(void *arg, const struct span *iov, size_t n, struct blob *hold)
{
    struct session *s = arg;
    conn_writev(s->conn, iov, n, hold);
}

static uint64_t do_written(void *arg)
{
    return conn_written_total(((struct session *)arg)->conn);
}

static uint64_t do_flushed(void *arg)
{
    return conn_flushed_total(((struct session *)arg)->conn);
}

static void do_flush(void *arg)
{
    conn_flush(((struct session *)arg)->conn);
}

static void do_want_drain(void *arg, uint64_t below)
{
    conn_drain_notify(((struct session *)arg)->conn, below);
}

static void do_deadline(void *arg, uint64_t ms)
{
    conn_deadline(((struct session *)arg)->conn, ms);
}

static bool is_address(const char *host)
{
    struct addr a;
    return addr_parse(span_str(host), &a);
}

static void do_start_tls(void *arg)
{
    struct session *s = arg;
    conn_tls_start(s->conn, s->shard->client_tls, is_address(s->host) ? NULL : s->host);
}

static uint64_t do_now(void *arg)
{
    return loop_now_us(((struct session *)arg)->shard->loop);
}

static void run_settle(struct loop_defer *d)
{
    client_settle(CONTAINER_OF(d, struct session, settle)->client);
}

static void do_want_settle(void *arg)
{
    struct session *s = arg;
    loop_defer(s->shard->loop, &s->settle, run_settle);
}

static struct attempt *do_next(void *arg)
{
    struct session *s = arg;
    struct attempt *a = s->events.next(s->events.arg, s);
    takes(s, a);
    return a;
}

static void do_up(void *arg)
{
    struct session *s = arg;
    s->events.up(s->events.arg, s);
}

static void do_done(void *arg, struct attempt *a)
{
    struct session *s = arg;
    s->events.done(s->events.arg, s, a);
}

static void do_close(void *arg)
{
    conn_close(((struct session *)arg)->conn);
}

/* ---- what the connection tells ---- */

static void connected(struct session *s)
{
    s->connect_us = do_now(s) - s->opened_us;
    client_connected(s->client);
}

static void on_connect(struct conn *c, void *arg)
{
    struct session *s = arg;
    struct buf header = BUF_INIT;
    bool there = !s->through.egress || through_hello(&s->through, clock_wall_ms(), &header);
    if (header.len)
        conn_write(c, span_of(header.data, header.len));
    buf_fini(&header);
    if (there)
        connected(s);
    else
        conn_deadline(c, THROUGH_ACCEPT_MS);
}

/* The egress's answers, until the host's own bytes come. */
static size_t read_through(struct session *s, struct span in)
{
    size_t taken = 0;
    switch (through_input(&s->through, in, &taken)) {
    case THROUGH_FAILED:
        conn_close(s->conn); /* through.trouble says why */
        break;
    case THROUGH_ACCEPTED:
        conn_deadline(s->conn, s->settings->delivery.connect_ms + THROUGH_ACCEPT_MS);
        break;
    case THROUGH_THERE:
        conn_deadline(s->conn, 0);
        connected(s);
        break;
    case THROUGH_WAIT:
        break;
    }
    return taken;
}

static size_t on_read(struct conn *c, void *arg, struct span in)
{
    struct session *s = arg;
    (void)c;
    size_t answered = through_waits(&s->through) ? read_through(s, in) : 0;
    if (through_waits(&s->through) || conn_ended(s->conn) || answered == in.len)
        return answered;
    struct suspect_mark before = suspect_begin(s->work.partition, s->work.offset);
    size_t taken = answered + client_input(s->client, span_of(in.ptr + answered, in.len - answered));
    suspect_end(before);
    return taken;
}

static void on_drain(struct conn *c, void *arg)
{
    struct session *s = arg;
    (void)c;
    struct suspect_mark before = suspect_begin(s->work.partition, s->work.offset);
    client_drained(s->client);
    suspect_end(before);
}

static void on_tls(struct conn *c, void *arg)
{
    struct session *s = arg;
    struct conn_tls_info info;
    char text[128];
    if (conn_tls_info(c, &info)) {
        snprintf(text, sizeof(text), "%s %s", info.version, info.cipher);
        s->tls = strdup(text);
    }
    client_tls_up(s->client);
}

static void on_timeout(struct conn *c, void *arg)
{
    struct session *s = arg;
    if (!through_waits(&s->through)) {
        client_timed_out(s->client);
        return;
    }
    through_timed_out(&s->through);
    conn_close(c);
}

static void session_gone(struct session *s)
{
    s->events.closed(s->events.arg, s);
    loop_defer_cancel(s->shard->loop, &s->settle);
    client_free(s->client);
    settings_unref(s->settings);
    free(s->host);
    free(s->tls);
    free(s);
}

static const char *why_ended(const struct conn *c, enum conn_end why)
{
    const char *text = conn_end_text(c);
    return text && text[0] ? text : conn_end_name(why);
}

static void on_end(struct conn *c, void *arg, enum conn_end why)
{
    struct session *s = arg;
    int err = conn_end_errno(c);
    s->source_broke = why == CONN_END_CONNECT && (err == EADDRNOTAVAIL || err == EAFNOSUPPORT);
    if (through_waits(&s->through))
        through_lost(&s->through, why_ended(c, why));
    if (s->through.egress)
        s->source_broke = s->through.blame == THROUGH_BLAMES_SOURCE;
    client_lost(s->client, s->through.trouble[0] ? s->through.trouble : why_ended(c, why));
    client_settle(s->client);
    session_gone(s);
}

static const struct conn_ops ops = {.on_connect = on_connect,
                                    .on_read = on_read,
                                    .on_drain = on_drain,
                                    .on_tls = on_tls,
                                    .on_timeout = on_timeout,
                                    .on_end = on_end};

/* ---- opening and orders ---- */

static const struct client_env env_table = {.write = do_write,
                                            .written = do_written,
                                            .flushed = do_flushed,
                                            .flush = do_flush,
                                            .want_drain = do_want_drain,
                                            .deadline = do_deadline,
                                            .start_tls = do_start_tls,
                                            .now_us = do_now,
                                            .want_settle = do_want_settle,
                                            .next = do_next,
                                            .up = do_up,
                                            .done = do_done,
                                            .close = do_close};

struct session *session_open(struct shard *shard, const struct session_target *target,
                             const struct session_events *events)
{
    struct session *s = calloc(1, sizeof(*s));
    ENSURE(s);
    struct addr remote, local;
    ENSURE(addr_of_sockaddr((const struct sockaddr *)&target->remote, &remote));
    bool bind = target->source_address && addr_parse(span_str(target->source_address), &local);
    s->shard = shard;
    s->events = *events;
    s->settings = settings_ref(target->settings);
    s->host = strdup(target->host);
    ENSURE(s->host);
    addr_text_port(&remote, s->remote);
    struct client_env env = env_table;
    env.arg = s;
    struct client_options client = {
        .ehlo = target->ehlo, .tls = target->tls, .limits = &s->settings->delivery};
    s->client = client_new(&client, &env);
    s->opened_us = do_now(s);
    struct conn_connect_options o = {
        .remote = &remote, .local = bind ? &local : NULL, .timeout_ms = s->settings->delivery.connect_ms};
    if (target->egress && bind)
        through_begin(&s->through, target->egress, &local, &remote, &o);
    s->conn = conn_connect(shard->loop, &o, &ops, s);
    return s;
}

void session_give(struct session *s, struct attempt *a)
{
    takes(s, a);
    struct suspect_mark before = suspect_begin(s->work.partition, s->work.offset);
    client_give(s->client, a);
    suspect_end(before);
}

void session_retire(struct session *s)
{
    client_quit(s->client);
}

void session_abort(struct session *s, const char *why)
{
    client_lost(s->client, why);
}

/* ---- looks ---- */

bool session_idle(const struct session *s)
{
    return client_idle(s->client);
}

enum session_stage session_stage(const struct session *s)
{
    return client_stage(s->client);
}

uint32_t session_messages(const struct session *s)
{
    return client_messages(s->client);
}

bool session_offers_dsn(const struct session *s)
{
    return client_extensions(s->client) & SMTP_EXT_DSN;
}

const struct session_failure *session_failure(const struct session *s)
{
    return client_failure(s->client);
}

bool session_source_broke(const struct session *s)
{
    return s->source_broke;
}

bool session_egress_broke(const struct session *s)
{
    return s->through.blame == THROUGH_BLAMES_EGRESS;
}

const char *session_tls(const struct session *s)
{
    return s->tls ? s->tls : "";
}

const char *session_remote(const struct session *s)
{
    return s->remote;
}

uint32_t session_connect_us(const struct session *s)
{
    return (uint32_t)s->connect_us;
}

uint32_t session_greeting_us(const struct session *s)
{
    return (uint32_t)client_greeting_us(s->client);
}

uint32_t session_tls_us(const struct session *s)
{
    return (uint32_t)client_tls_us(s->client);
}

void *session_user(const struct session *s)
{
    return s->user;
}

void session_set_user(struct session *s, void *user)
{
    s->user = user;
}
