/*
 * One connection through the egress:
 *
 *   TLS         the handshake, where the egress knows its workers by certificates
 *   HEADER      the worker's header is awaited: it is signed, unless TLS has told who it is
 *   CONNECTING  it was good and allows the target: `accepted` was said, the MX host is being reached
 *   PASSING     `connected` was said: lib/net/splice.h has both connections
 *   REFUSED     an answer is on its way out, then it ends
 *
 * Each ends in passage_gone.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/net/splice.h"
#include "relay/egress/egress_private.h"
#include "relay/metrics_table.h"

enum { HEADER_MS = 5000, CONNECT_MS = 30000 };

enum passage_state { PASSAGE_TLS, PASSAGE_HEADER, PASSAGE_CONNECTING, PASSAGE_PASSING, PASSAGE_REFUSED };

struct passage {
    struct list link; /* egress->passages */
    struct egress *egress;
    struct egress_ports *ports; /* what it goes by; a reference */
    struct relay_socket *socket;
    const struct settings_egress *conf;
    int index; /* of the egress in the settings */
    enum passage_state state;
    struct conn *near, *far; /* the worker; the MX host. NULL: none, or the splice's */
    struct splice *splice;
    struct addr source, target;
    char peer[ADDR_TEXT];
    const char *result;        /* constant; for the metric */
    _Atomic uint32_t *counted; /* where it counts now: one of the socket's two */
};

/* ---- telling ---- */

static struct logger *logger_of(const struct passage *p)
{
    return p->egress->shard->node->logger;
}

static void count(const struct passage *p, int row, const char *label, uint64_t n)
{
    const char *labels[] = {p->conf->name, label};
    metric_add(metrics_cell(p->egress->shard->node->metrics, row, labels), n);
}

static void count_open(const struct passage *p, int by)
{
    const char *labels[] = {p->conf->name};
    metric_inc(metrics_cell(p->egress->shard->node->metrics, M_EGRESS_OPEN, labels), by);
}

static void log_refusal(const struct passage *p, enum egress_answer a, const char *why)
{
    char source[ADDR_TEXT] = "", target[ADDR_TEXT] = "";
    if (p->target.port) {
        addr_text(&p->source, source);
        addr_text_port(&p->target, target);
    }
    logger_log(logger_of(p), a == EGRESS_UNREACHABLE ? LOG_INFO : LOG_WARN, "egress.refused",
               LF_STR("egress", p->conf->name), LF_STR("peer", p->peer),
               LF_STR("answer", egress_answer_word(a)), LF_STR("why", why), LF_STR("source", source),
               LF_STR("target", target));
}

/* ---- the end ---- */

static void passage_gone(struct passage *p)
{
    struct egress *e = p->egress;
    count(p, M_EGRESS_CONNECTIONS, p->result, 1);
    count_open(p, -1);
    atomic_fetch_sub(p->counted, 1);
    list_remove(&p->link);
    relay_socket_unref(p->socket);
    egress_ports_unref(p->ports);
    free(p);
    egress_passage_gone(e);
}

void passage_cut(struct list *it)
{
    struct passage *p = CONTAINER_OF(it, struct passage, link);
    if (p->splice) {
        splice_cut(p->splice);
        return;
    }
    if (p->far)
        conn_close(p->far);
    conn_close(p->near);
}

static void on_spliced(void *arg, enum splice_end why, const struct splice_totals *totals)
{
    struct passage *p = arg;
    p->splice = NULL;
    count(p, M_EGRESS_BYTES, "out", totals->forth);
    count(p, M_EGRESS_BYTES, "in", totals->back);
    logger_log(logger_of(p), LOG_DEBUG, "egress.closed", LF_STR("egress", p->conf->name),
               LF_STR("why", splice_end_name(why)), LF_NUM("out", totals->forth), LF_NUM("in", totals->back));
    passage_gone(p);
}

/* ---- answers ---- */

static void say(struct passage *p, enum egress_answer a, const char *text)
{
    struct buf line = BUF_INIT;
    egress_answer_write(a, text, &line);
    conn_write(p->near, span_of(line.data, line.len));
    buf_fini(&line);
}

static void refuse(struct passage *p, enum egress_answer a, const char *why)
{
    log_refusal(p, a, why);
    p->state = PASSAGE_REFUSED;
    p->result = egress_answer_word(a);
    /* Who has no secret is told nothing; who has shown a certificate, what is wrong with it. */
    say(p, a, a == EGRESS_AUTH && !p->conf->tls.server ? NULL : why);
    conn_finish(p->near);
}

/* ---- the MX host ---- */

static void on_far_connect(struct conn *c, void *arg)
{
    struct passage *p = arg;
    p->state = PASSAGE_PASSING;
    p->result = "passed";
    say(p, EGRESS_CONNECTED, NULL);
    struct splice_options o = {.idle_ms = p->conf->idle_ms, .half_close = true, .gone = on_spliced, .arg = p};
    p->splice = splice_new(p->near, c, &o);
    p->near = p->far = NULL;
}

static void on_far_end(struct conn *c, void *arg, enum conn_end why)
{
    struct passage *p = arg;
    int err = conn_end_errno(c);
    p->far = NULL;
    if (!p->near) {
        passage_gone(p);
        return;
    }
    bool own = why == CONN_END_CONNECT && (err == EADDRNOTAVAIL || err == EAFNOSUPPORT);
    if (conn_ended(p->near))
        return;
    refuse(p, own ? EGRESS_SOURCE : EGRESS_UNREACHABLE, conn_end_text(c));
}

static const struct conn_ops far_ops = {.on_connect = on_far_connect, .on_end = on_far_end};

static void connect_far(struct passage *p)
{
    struct conn_connect_options o = {.remote = &p->target, .local = &p->source, .timeout_ms = CONNECT_MS};
    p->state = PASSAGE_CONNECTING;
    say(p, EGRESS_ACCEPTED, NULL);
    conn_deadline(p->near, 0); /* the far side has one */
    p->far = conn_connect(p->egress->shard->loop, &o, &far_ops, p);
}

/* ---- the worker ---- */

static void answer_probe(struct passage *p)
{
    p->state = PASSAGE_REFUSED;
    p->result = "probe";
    say(p, EGRESS_ACCEPTED, NULL);
    conn_finish(p->near);
}

/* False: there are as many as may be. */
static bool count_as(struct passage *p, _Atomic uint32_t *counter)
{
    if (p->counted)
        atomic_fetch_sub(p->counted, 1);
    p->counted = counter;
    return atomic_fetch_add(counter, 1) < p->conf->connections;
}

/* The header is signed, fresh and new, or came from a worker that TLS knows. */
static void serve(struct passage *p, const struct smtp_proxy_header *h)
{
    const char *why;
    if (!count_as(p, &p->socket->connections)) {
        refuse(p, EGRESS_BUSY, "too many connections");
        return;
    }
    if (h->local) {
        answer_probe(p);
        return;
    }
    bool good = addr_of_sockaddr((const struct sockaddr *)&h->client, &p->source) &&
                addr_of_sockaddr((const struct sockaddr *)&h->server, &p->target);
    p->source.port = 0;
    if (!good || !egress_owns(p->ports, p->index, &p->source))
        refuse(p, EGRESS_SOURCE, "no source of this egress has the address");
    else if (!egress_may_reach(p->ports, p->conf, &p->target, &why))
        refuse(p, EGRESS_DENIED, why);
    else
        connect_far(p);
}

static void take_header(struct passage *p, struct span header, const struct smtp_proxy_header *h)
{
    struct egress_stamp stamp;
    if (p->conf->tls.server) {
        serve(p, h);
        return;
    }
    if (!egress_header_verify(header, h, p->conf->name, p->conf->keys, p->conf->n_keys, &stamp)) {
        refuse(p, EGRESS_AUTH, "the header is not signed with the secret of this egress");
        return;
    }
    enum egress_answer a = egress_guard_admit(p->ports->guard, &stamp, clock_wall_ms());
    if (a == EGRESS_CLOCK)
        refuse(p, a, "the header was signed at another time: the clocks of the hosts differ");
    else if (a != EGRESS_ACCEPTED)
        refuse(p, a, "the header was seen before");
    else
        serve(p, h);
}

static void on_near_tls(struct conn *c, void *arg)
{
    struct passage *p = arg;
    const struct settings_egress_tls *tls = &p->conf->tls;
    char why[CONN_WHY_MOST];
    p->state = PASSAGE_HEADER;
    if (conn_tls_peer_is(c, tls->workers, tls->n_workers, why))
        return;
    conn_read_pause(c); /* conn_finish reads on, and throws it away */
    refuse(p, EGRESS_AUTH, why);
}

static size_t on_near_read(struct conn *c, void *arg, struct span in)
{
    struct passage *p = arg;
    struct smtp_proxy_header h;
    size_t used;
    if (p->state != PASSAGE_HEADER)
        return 0; /* the worker speaks early: kept for the MX host */
    enum smtp_proxy_status status = smtp_proxy_header_parse(in, &used, &h);
    if (status == SMTP_PROXY_MORE)
        return 0;
    conn_read_pause(c); /* before anything is refused: conn_finish reads on */
    if (status == SMTP_PROXY_ERROR) {
        refuse(p, EGRESS_AUTH, "not a PROXY header");
        return in.len;
    }
    take_header(p, span_of(in.ptr, used), &h);
    return used;
}

static void on_near_end(struct conn *c, void *arg, enum conn_end why)
{
    struct passage *p = arg;
    if (p->state == PASSAGE_TLS && why != CONN_END_STOP) {
        p->result = "tls";
        logger_log(logger_of(p), LOG_WARN, "egress.no_tls", LF_STR("egress", p->conf->name),
                   LF_STR("peer", p->peer), LF_STR("why", conn_end_text(c)));
    } else if (p->state == PASSAGE_HEADER && why != CONN_END_STOP) {
        p->result = "silent";
        logger_log(logger_of(p), why == CONN_END_EOF ? LOG_DEBUG : LOG_WARN, "egress.no_header",
                   LF_STR("egress", p->conf->name), LF_STR("peer", p->peer), LF_STR("why", conn_end_text(c)));
    }
    p->near = NULL;
    if (p->far)
        conn_close(p->far);
    else
        passage_gone(p);
}

static const struct conn_ops near_ops = {
    .on_tls = on_near_tls, .on_read = on_near_read, .on_end = on_near_end};

void passage_accept(struct egress *e, int port, struct conn *c)
{
    const struct egress_port *from = &e->ports->ports[port];
    struct passage *p = calloc(1, sizeof(*p));
    ENSURE(p);
    p->egress = e;
    p->ports = egress_ports_ref(e->ports);
    p->socket = relay_socket_ref(from->socket);
    p->conf = from->conf;
    p->index = from->index;
    p->near = c;
    p->result = "broken";
    addr_text_port(conn_remote(c), p->peer);
    list_push_back(&e->passages, &p->link);
    e->n_passages++;
    count_open(p, 1);
    conn_deadline(c, HEADER_MS);
    conn_ops_set(c, &near_ops, p);
    p->state = p->conf->tls.server ? PASSAGE_TLS : PASSAGE_HEADER;
    if (!count_as(p, &p->socket->waiting))
        conn_close(c);
    else if (p->conf->tls.server)
        conn_tls_start(c, p->conf->tls.server, NULL);
}
