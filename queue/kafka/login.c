/*
 * One connection to a broker:
 *
 *   CONNECTING  TCP, then TLS
 *   HANDSHAKE   SaslHandshake: the broker is asked for the mechanism
 *   FIRST       SaslAuthenticate with the client's first message
 *   FINAL       and with its proof; the broker's is awaited
 *   PASSING     lib/net/splice.h has both ends
 *   FAILED      both are being closed
 *
 * What librdkafka sends meanwhile waits in the pair of sockets.
 */
#include "queue/kafka/login.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/scram.h"
#include "lib/net/splice.h"
#include "lib/net/tls.h"

enum {
    LOGIN_MS = 10000,        /* TCP and TLS; and then the login */
    ANSWER_MOST = 16 * 1024, /* of a broker, in a login */
    NAME_MOST = 256,
    SASL_HANDSHAKE = 17, /* Kafka's number of the request; version 1: SaslAuthenticate follows */
    SASL_AUTHENTICATE = 36,
};

enum { SCRAM_RIGHT_SINCE = 0x020601ff }; /* librdkafka 2.6.1 */

struct kafka_login {
    struct loop *loop;
    struct tls_context *tls; /* NULL: in the clear */
    char *mechanism, *user, *password;
    pthread_mutex_t lock;
    char error[KAFKA_LOGIN_WHY_MOST]; /* under lock; empty: the last one succeeded */
};

enum link_state { LINK_CONNECTING, LINK_HANDSHAKE, LINK_FIRST, LINK_FINAL, LINK_PASSING, LINK_FAILED };

struct link {
    struct loop_msg message;
    struct kafka_login *login;
    enum link_state state;
    int fd; /* until the loop has it */
    struct conn *near, *far;
    struct scram *scram;
    struct addr broker;
    char name[NAME_MOST];
};

/* librdkafka resolves a name in the thread that connects to it next, and does not tell it there. */
static _Thread_local char resolved[NAME_MOST];

bool kafka_login_needed(const char *mechanism)
{
    return strncmp(mechanism, "SCRAM-", 6) == 0 && rd_kafka_version() < SCRAM_RIGHT_SINCE;
}

/* ---- telling ---- */

static void note(struct link *k, const char *what, const char *why)
{
    struct kafka_login *l = k->login;
    char address[ADDR_TEXT];
    pthread_mutex_lock(&l->lock);
    snprintf(l->error, sizeof(l->error), "%s (%s): %s%.300s", k->name, addr_text_port(&k->broker, address),
             what, why);
    pthread_mutex_unlock(&l->lock);
}

static void note_success(struct kafka_login *l)
{
    pthread_mutex_lock(&l->lock);
    l->error[0] = '\0';
    pthread_mutex_unlock(&l->lock);
}

bool kafka_login_error(struct kafka_login *l, char why[KAFKA_LOGIN_WHY_MOST])
{
    pthread_mutex_lock(&l->lock);
    memcpy(why, l->error, sizeof(l->error));
    pthread_mutex_unlock(&l->lock);
    return why[0];
}

/* ---- the end ---- */

static void link_gone(struct link *k)
{
    scram_free(k->scram);
    free(k);
}

static void fail(struct link *k, const char *what, const char *why)
{
    note(k, what, why);
    k->state = LINK_FAILED;
    conn_close(k->far);
}

static void on_far_end(struct conn *c, void *arg, enum conn_end why)
{
    struct link *k = arg;
    if (k->state != LINK_FAILED && why != CONN_END_CLOSED && why != CONN_END_STOP)
        note(k, k->state == LINK_CONNECTING ? "" : "while logging in: ", conn_end_text(c));
    k->far = NULL;
    if (k->near)
        conn_close(k->near);
    else
        link_gone(k);
}

static void on_near_end(struct conn *c, void *arg, enum conn_end why)
{
    struct link *k = arg;
    (void)c;
    (void)why;
    k->near = NULL;
    if (k->far)
        conn_close(k->far);
    else
        link_gone(k);
}

static void on_passed(void *arg, enum splice_end why, const struct splice_totals *totals)
{
    (void)why;
    (void)totals;
    link_gone(arg);
}

/* ---- requests: length, header (version 1), body; all numbers big-endian ---- */

static void add_number(struct buf *b, uint32_t n, size_t bytes)
{
    while (bytes--)
        buf_add_char(b, (char)(n >> 8 * bytes & 0xff));
}

/* name or message: with a length of so many bytes in front. */
static void ask(struct link *k, int request, int version, struct span text, size_t length_bytes)
{
    static const struct span client = SPAN_LIT("remuda");
    struct buf b = BUF_INIT;
    add_number(&b, (uint32_t)(2 + 2 + 4 + 2 + client.len + length_bytes + text.len), 4);
    add_number(&b, (uint32_t)request, 2);
    add_number(&b, (uint32_t)version, 2);
    add_number(&b, (uint32_t)k->state, 4); /* correlation id */
    add_number(&b, (uint32_t)client.len, 2);
    buf_add_span(&b, client);
    add_number(&b, (uint32_t)text.len, length_bytes);
    buf_add_span(&b, text);
    conn_write(k->far, buf_span(&b));
    buf_fini(&b);
}

static void authenticate(struct link *k, enum link_state state, struct buf *message)
{
    k->state = state;
    ask(k, SASL_AUTHENTICATE, 0, buf_span(message), 4);
    buf_fini(message);
}

/* ---- answers ---- */

/* False: it is shorter. */
static bool take_number(struct span *in, size_t bytes, uint32_t *out)
{
    if (in->len < bytes)
        return false;
    for (*out = 0; bytes--; in->ptr++, in->len--)
        *out = *out << 8 | (unsigned char)*in->ptr;
    return true;
}

/* Text with a length of so many bytes in front, which is negative for none. */
static bool take_text(struct span *in, size_t length_bytes, struct span *out)
{
    uint32_t n;
    if (!take_number(in, length_bytes, &n))
        return false;
    if (n >> (8 * length_bytes - 1))
        n = 0;
    if (n > in->len)
        return false;
    *out = span_of(in->ptr, n);
    *in = span_of(in->ptr + n, in->len - n);
    return true;
}

/* The broker's answer to SaslHandshake: 0, or an error; and the mechanisms that it has. */
static bool take_handshake(struct link *k, struct span in)
{
    uint32_t code, n;
    struct span name;
    struct buf names = BUF_INIT, message = BUF_INIT;
    if (!take_number(&in, 2, &code) || !take_number(&in, 4, &n))
        return false;
    if (code) {
        for (uint32_t i = 0; i < n && take_text(&in, 2, &name); i++)
            buf_printf(&names, "%s%.*s", i ? ", " : "", SPAN_FMT(name));
        fail(k, "no SCRAM login of this kind, but ", names.len ? buf_cstr(&names) : "none");
        buf_fini(&names);
        return true;
    }
    k->scram = scram_new(k->login->mechanism, k->login->user, k->login->password, NULL);
    ENSURE(k->scram);
    scram_first(k->scram, &message);
    authenticate(k, LINK_FIRST, &message);
    return true;
}

static void take_first(struct link *k, struct span server_first)
{
    struct buf message = BUF_INIT;
    if (scram_final(k->scram, server_first, &message) == RM_OK)
        authenticate(k, LINK_FINAL, &message);
    else
        fail(k, "", "its first message is not one of SCRAM");
}

static void take_final(struct link *k, struct span server_final)
{
    struct splice_options o = {.gone = on_passed, .arg = k};
    if (scram_check(k->scram, server_final) != RM_OK) {
        fail(k, "", "it does not know the password itself, and is no broker of this cluster");
        return;
    }
    note_success(k->login);
    k->state = LINK_PASSING;
    splice_new(k->near, k->far, &o);
    k->near = k->far = NULL;
}

/* The broker's answer to SaslAuthenticate: 0 and its message, or an error and what it says of it. */
static bool take_authenticate(struct link *k, struct span in)
{
    uint32_t code;
    struct span said, message;
    char text[300];
    if (!take_number(&in, 2, &code) || !take_text(&in, 2, &said) || !take_text(&in, 4, &message))
        return false;
    snprintf(text, sizeof(text), "%.*s", (int)said.len, said.ptr);
    if (code)
        fail(k, "", text[0] ? text : "the login failed");
    else if (k->state == LINK_FIRST)
        take_first(k, message);
    else
        take_final(k, message);
    return true;
}

/* Without its length. */
static bool take_answer(struct link *k, struct span in)
{
    uint32_t id;
    if (!take_number(&in, 4, &id) || id != (uint32_t)k->state)
        return false;
    return k->state == LINK_HANDSHAKE ? take_handshake(k, in) : take_authenticate(k, in);
}

static size_t on_far_read(struct conn *c, void *arg, struct span in)
{
    struct link *k = arg;
    struct span rest = in;
    uint32_t length;
    (void)c;
    if (k->state == LINK_FAILED)
        return in.len;
    if (!take_number(&rest, 4, &length))
        return 0;
    if (length <= ANSWER_MOST && rest.len < length)
        return 0;
    if (length > ANSWER_MOST || !take_answer(k, span_of(rest.ptr, length)))
        fail(k, "", "it does not speak Kafka's protocol (is log.tls as the broker's listener wants it?)");
    return 4 + (length > ANSWER_MOST ? 0 : length);
}

/* ---- the beginning ---- */

static void on_far_connect(struct conn *c, void *arg)
{
    struct link *k = arg;
    conn_deadline(c, LOGIN_MS);
    k->state = LINK_HANDSHAKE;
    ask(k, SASL_HANDSHAKE, 1, span_str(k->login->mechanism), 2);
}

static const struct conn_ops far_ops = {
    .on_connect = on_far_connect, .on_read = on_far_read, .on_end = on_far_end};

static size_t on_near_read(struct conn *c, void *arg, struct span in)
{
    (void)c;
    (void)arg;
    (void)in;
    return 0; /* paused: never called */
}

static const struct conn_ops near_ops = {.on_read = on_near_read, .on_end = on_near_end};

static void link_begin(struct loop *loop, struct loop_msg *message)
{
    struct link *k = CONTAINER_OF(message, struct link, message);
    struct conn_connect_options o = {
        .remote = &k->broker, .timeout_ms = LOGIN_MS, .tls = k->login->tls, .server_name = k->name};
    k->near = conn_adopt(loop, k->fd, &near_ops, k);
    conn_read_pause(k->near);
    k->far = conn_connect(loop, &o, &far_ops, k);
}

int kafka_login_resolve(const char *node, const char *service, const struct addrinfo *hints,
                        struct addrinfo **res, void *opaque)
{
    (void)opaque;
    if (!node) {
        freeaddrinfo(*res);
        return 0;
    }
    snprintf(resolved, sizeof(resolved), "%s", node);
    return getaddrinfo(node, service, hints, res);
}

int kafka_login_connect(struct kafka_login *l, int fd, const struct sockaddr *to)
{
    int pair[2];
    if (!resolved[0])
        return EDESTADDRREQ; /* without a name nothing could be checked */
    struct link *k = calloc(1, sizeof(*k));
    ENSURE(k);
    k->message.run = link_begin;
    k->login = l;
    snprintf(k->name, sizeof(k->name), "%s", resolved);
    if (!addr_of_sockaddr(to, &k->broker) ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0) {
        free(k);
        return EAFNOSUPPORT;
    }
    k->fd = pair[1];
    int err = dup3(pair[0], fd, O_CLOEXEC) < 0 ? errno : 0;
    close(pair[0]);
    if (err == 0 && loop_post(l->loop, &k->message))
        return 0;
    close(pair[1]);
    free(k);
    return err ? err : ECONNABORTED;
}

static char *copy(const char *s)
{
    char *out = strdup(s);
    ENSURE(out);
    return out;
}

static int open_tls(struct kafka_login *l, const char *ca, char why[KAFKA_LOGIN_WHY_MOST])
{
    struct buf error = BUF_INIT;
    int err = tls_client_new(TLS_VERIFY_NAME, ca, &l->tls, &error);
    if (err != RM_OK)
        snprintf(why, KAFKA_LOGIN_WHY_MOST, "%s", buf_cstr(&error));
    buf_fini(&error);
    return err;
}

static int start_loop(struct kafka_login *l, char why[KAFKA_LOGIN_WHY_MOST])
{
    int err = loop_new("kafka-login", &l->loop);
    if (err == RM_OK)
        err = loop_start(l->loop);
    if (err == RM_OK)
        return RM_OK;
    if (l->loop)
        loop_free(l->loop);
    l->loop = NULL;
    snprintf(why, KAFKA_LOGIN_WHY_MOST, "no thread for logins: %s", rm_strerror(err));
    return err;
}

int kafka_login_new(const struct kafka_login_options *o, struct kafka_login **out,
                    char why[KAFKA_LOGIN_WHY_MOST])
{
    struct kafka_login *l = calloc(1, sizeof(*l));
    ENSURE(l && pthread_mutex_init(&l->lock, NULL) == 0);
    l->mechanism = copy(o->mechanism);
    l->user = copy(o->user);
    l->password = copy(o->password);
    int err = o->tls ? open_tls(l, o->ca, why) : RM_OK;
    if (err == RM_OK)
        err = start_loop(l, why);
    if (err != RM_OK) {
        kafka_login_free(l);
        l = NULL;
    }
    *out = l;
    return err;
}

void kafka_login_free(struct kafka_login *l)
{
    if (!l)
        return;
    if (l->loop) {
        loop_stop(l->loop);
        loop_join(l->loop);
        loop_free(l->loop);
    }
    tls_context_unref(l->tls);
    pthread_mutex_destroy(&l->lock);
    free(l->mechanism);
    free(l->user);
    explicit_bzero(l->password, strlen(l->password));
    free(l->password);
    free(l);
}
