/*
 * TLS between the queues and the socket. OpenSSL never sees the descriptor: it reads ciphertext from the
 * loop's buffer (wire.in) and writes into wire.cipher through a BIO of our own. Records are made no further
 * ahead than CONN_RECORDS, and each is remembered with the position of its last application byte, so that
 * conn_flushed_total is exact.
 */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "lib/net/conn_private.h"
#include "lib/net/tls.h"

/* ---- the BIO --------------------------------------------------------------------------------- */

static int bio_read(BIO *bio, char *out, int len)
{
    struct conn_wire *wire = BIO_get_data(bio);
    struct span *in = &wire->in;
    BIO_clear_retry_flags(bio);
    if (in->len == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t n = in->len < (size_t)len ? in->len : (size_t)len;
    memcpy(out, in->ptr, n);
    *in = span_of(in->ptr + n, in->len - n);
    return (int)n;
}

static int bio_write(BIO *bio, const char *bytes, int len)
{
    struct conn_wire *wire = BIO_get_data(bio);
    struct buf *cipher = &wire->cipher;
    BIO_clear_retry_flags(bio);
    if (!cipher->data) {
        *cipher = wire->pool->spare_cipher;
        wire->pool->spare_cipher = BUF_INIT;
    }
    buf_add(cipher, bytes, (size_t)len);
    return len;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    (void)bio;
    (void)num;
    (void)ptr;
    return cmd == BIO_CTRL_FLUSH;
}

BIO_METHOD *conn_tls_method_new(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "remuda conn");
    ENSURE(m);
    BIO_meth_set_read(m, bio_read);
    BIO_meth_set_write(m, bio_write);
    BIO_meth_set_ctrl(m, bio_ctrl);
    return m;
}

/* The method is kept by the context: there is no place for a global one. */
void conn_wire_attach(struct conn_wire *wire, SSL *ssl, struct tls_context *ctx)
{
    BIO *bio = BIO_new(tls_context_method(ctx));
    ENSURE(bio);
    BIO_set_data(bio, wire);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
}

static void recycle_cipher(struct conn_wire *wire)
{
    wire->cipher_at = 0;
    buf_clear(&wire->cipher);
    if (!wire->pool->spare_cipher.data) {
        wire->pool->spare_cipher = wire->cipher;
        wire->cipher = BUF_INIT;
    } else {
        buf_fini(&wire->cipher);
    }
}

bool conn_wire_send(struct conn *c, struct conn_wire *wire,
                    ssize_t (*send)(struct conn *c, struct iovec *iov, size_t n),
                    void (*sent)(struct conn *c))
{
    while (wire->cipher_at < wire->cipher.len) {
        if (!c->writable)
            return false;
        struct iovec iov = {wire->cipher.data + wire->cipher_at, wire->cipher.len - wire->cipher_at};
        ssize_t n = send(c, &iov, 1);
        if (n < 0)
            return false;
        wire->cipher_at += (size_t)n;
        if (sent)
            sent(c);
    }
    if (wire->cipher.data)
        recycle_cipher(wire);
    return true;
}

/* ---- start and end --------------------------------------------------------------------------- */

void conn_tls_set_name(SSL *ssl, const char *name)
{
    struct addr literal;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (addr_parse(span_str(name), &literal)) {
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name);
        return;
    }
    SSL_set_tlsext_host_name(ssl, name);
    SSL_set1_host(ssl, name);
}

void conn_tls_start(struct conn *c, struct tls_context *ctx, const char *server_name)
{
    if (c->state != CONN_OPEN || c->tls)
        return;
    struct conn_tls *t = calloc(1, sizeof(*t));
    ENSURE(t);
    t->ctx = tls_context_ref(ctx);
    t->ssl = SSL_new(tls_context_ssl(ctx));
    ENSURE(t->ssl);
    t->wire.pool = c->pool;
    conn_wire_attach(&t->wire, t->ssl, ctx);
    if (c->server)
        SSL_set_accept_state(t->ssl);
    else
        SSL_set_connect_state(t->ssl);
    t->named = server_name && !c->server;
    if (t->named)
        conn_tls_set_name(t->ssl, server_name);
    t->plain_end = t->encrypted = c->written;
    c->tls = t;
    if (c->delivering) {
        c->tls_wanted = true;
    } else {
        t->injected = c->keep.len;
        buf_fini(&c->keep);
    }
    conn_turn_later(c);
}

void conn_tls_start_behind(struct conn *c, struct tls_context *ctx)
{
    ENSURE(c->delivering && c->server);
    c->tls_behind = true;
    conn_tls_start(c, ctx, NULL);
}

void conn_tls_preload(struct conn *c, struct span cipher)
{
    buf_add_span(&c->tls->in_keep, cipher);
    c->tls->wire.in = buf_span(&c->tls->in_keep);
}

void conn_tls_free(struct conn *c)
{
    struct conn_tls *t = c->tls;
    if (!t)
        return;
    c->tls = NULL;
    SSL_free(t->ssl);
    tls_context_unref(t->ctx);
    buf_fini(&t->in_keep);
    buf_fini(&t->wire.cipher);
    free(t);
}

static void count_flushed(struct conn *c)
{
    struct conn_tls *t = c->tls;
    int done = 0;
    while (done < t->n_marks && t->marks[done].cipher_end <= t->wire.cipher_at)
        c->flushed = t->marks[done++].plain_end;
    t->n_marks -= done;
    memmove(t->marks, t->marks + done, (size_t)t->n_marks * sizeof(t->marks[0]));
}

void conn_tls_explain(SSL *ssl, const char *what, char *text, size_t size)
{
    unsigned long code = ERR_peek_last_error();
    long verify = SSL_get_verify_result(ssl);
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    if (ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED && verify != X509_V_OK)
        reason = X509_verify_cert_error_string(verify);
    snprintf(text, size, "TLS %s: %s", what, reason ? reason : "protocol error");
    ERR_clear_error();
}

/* The alert that OpenSSL made leaves first if the kernel takes it. */
static void fail(struct conn *c, const char *what)
{
    struct conn_wire *wire = &c->tls->wire;
    char text[200];
    conn_tls_explain(c->tls->ssl, what, text, sizeof(text));
    if (wire->cipher.len > wire->cipher_at && c->writable) {
        struct iovec iov = {wire->cipher.data + wire->cipher_at, wire->cipher.len - wire->cipher_at};
        ssize_t n = conn_send_iov(c, &iov, 1);
        wire->cipher_at += n > 0 ? (size_t)n : 0;
        count_flushed(c); /* records of the application may have stood in front of the alert */
    }
    conn_end(c, CONN_END_TLS, 0, text);
}

/* ---- handshake ------------------------------------------------------------------------------- */

/* True once established. */
static bool handshake(struct conn *c)
{
    struct conn_tls *t = c->tls;
    if (t->established)
        return true;
    ERR_clear_error();
    int rc = SSL_do_handshake(t->ssl);
    if (rc != 1) {
        if (SSL_get_error(t->ssl, rc) != SSL_ERROR_WANT_READ)
            fail(c, "handshake");
        return false;
    }
    t->established = true;
    conn_tls_ready(c);
    return c->state == CONN_OPEN;
}

void conn_tls_begin(struct conn *c)
{
    c->tls->begun = true;
    handshake(c);
    if (c->state == CONN_OPEN && c->readable)
        conn_turn_later(c);
}

/* ---- input ----------------------------------------------------------------------------------- */

/* Decrypts what there is, as far as it fits, behind `len` bytes of pool->input; returns the new length. */
static size_t decrypt(struct conn *c, size_t len)
{
    struct conn_tls *t = c->tls;
    size_t cap = sizeof(c->pool->input);
    while (len < cap) {
        size_t n = 0;
        ERR_clear_error();
        int rc = SSL_read_ex(t->ssl, c->pool->input + len, cap - len, &n);
        if (rc == 1) {
            len += n;
            c->received += n;
            continue;
        }
        int err = SSL_get_error(t->ssl, rc);
        if (err == SSL_ERROR_ZERO_RETURN)
            t->closed = true;
        else if (err != SSL_ERROR_WANT_READ)
            fail(c, "read");
        break;
    }
    return len;
}

bool conn_tls_has_input(const struct conn *c)
{
    const struct conn_tls *t = c->tls;
    /* A close_notify that came while reading was paused is input too. */
    return t && t->begun && (t->wire.in.len > 0 || (t->closed && !c->eof));
}

/* Moves ciphertext that was not used into the connection's own memory: wire.in may not outlive the call. */
static void keep_cipher(struct conn_tls *t)
{
    if (t->wire.in.len == 0) {
        buf_fini(&t->in_keep);
        t->wire.in = span_of(NULL, 0);
        return;
    }
    struct buf rest = BUF_INIT;
    buf_add_span(&rest, t->wire.in);
    buf_fini(&t->in_keep);
    t->in_keep = rest;
    t->wire.in = buf_span(&t->in_keep);
}

static void pump(struct conn *c)
{
    struct conn_tls *t = c->tls;
    bool more = handshake(c);
    while (more && c->state == CONN_OPEN && !c->paused && !t->closed) {
        size_t kept = conn_stage_kept(c), len = decrypt(c, kept);
        if (c->state != CONN_OPEN)
            break;
        more = len == sizeof(c->pool->input); /* it was full: there may be more behind */
        if (len > kept)
            conn_deliver(c, len);
    }
    if (c->state != CONN_OPEN)
        return;
    keep_cipher(t);
    if (t->closed && !c->paused)
        conn_eof(c);
    else
        conn_turn_later(c); /* handshake bytes and alerts leave */
}

void conn_tls_read(struct conn *c, size_t raw_len)
{
    struct conn_tls *t = c->tls;
    if (t->wire.in.len) {
        buf_add(&t->in_keep, c->pool->raw, raw_len);
        size_t used = t->in_keep.len - raw_len - t->wire.in.len;
        t->wire.in = span_of(t->in_keep.data + used, t->wire.in.len + raw_len);
    } else {
        t->wire.in = span_of(c->pool->raw, raw_len);
    }
    pump(c);
}

void conn_tls_resume(struct conn *c)
{
    pump(c);
}

/* ---- output ---------------------------------------------------------------------------------- */

/* One record: straight from the queue when its head is long, else gathered from small writes. */
static bool make_record(struct conn *c)
{
    struct conn_tls *t = c->tls;
    const char *ptr = c->out->ptr;
    size_t len = c->out->len < CONN_RECORD ? c->out->len : CONN_RECORD;
    if (len < CONN_RECORD && c->out->next) {
        len = 0;
        for (struct segment *s = c->out; s && len < CONN_RECORD; s = s->next) {
            size_t n = s->len < CONN_RECORD - len ? s->len : CONN_RECORD - len;
            memcpy(c->pool->gather + len, s->ptr, n);
            len += n;
        }
        ptr = c->pool->gather;
    }
    size_t done = 0;
    ERR_clear_error();
    if (SSL_write_ex(t->ssl, ptr, len, &done) != 1 || done != len) {
        fail(c, "write");
        return false;
    }
    conn_advance(c, len);
    t->encrypted += len;
    t->marks[t->n_marks++] = (struct conn_mark){t->wire.cipher.len, t->encrypted};
    return true;
}

/* True when all ciphertext is with the kernel. */
static bool send_cipher(struct conn *c)
{
    return conn_wire_send(c, &c->tls->wire, conn_send_iov, count_flushed);
}

void conn_tls_send(struct conn *c)
{
    struct conn_tls *t = c->tls;
    for (;;) {
        /* First fill, then send: the handshake's last flight and the first record leave together. */
        while (t->established && c->out && t->n_marks < CONN_RECORDS) {
            if (!make_record(c))
                return;
        }
        if (!send_cipher(c) || !c->out || !t->established)
            return;
    }
}

void conn_tls_shutdown(struct conn *c)
{
    if (!(SSL_get_shutdown(c->tls->ssl) & SSL_SENT_SHUTDOWN)) {
        ERR_clear_error();
        SSL_shutdown(c->tls->ssl);
        ERR_clear_error();
    }
    send_cipher(c);
}

/* ---- information ----------------------------------------------------------------------------- */

bool conn_tls_info(const struct conn *c, struct conn_tls_info *out)
{
    *out = (struct conn_tls_info){.version = "", .cipher = "", .verify_text = ""};
    if (!c->tls || !c->tls->established)
        return false;
    SSL *ssl = c->tls->ssl;
    const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);
    long verify = SSL_get_verify_result(ssl);
    out->version = SSL_get_version(ssl);
    out->cipher = SSL_CIPHER_get_name(cipher);
    out->bits = SSL_CIPHER_get_bits(cipher, NULL);
    out->verified = !c->server && c->tls->named && verify == X509_V_OK;
    out->verify_text = X509_verify_cert_error_string(verify);
    return true;
}

static bool bears(X509 *peer, const char *name)
{
    struct addr literal;
    if (addr_parse(span_str(name), &literal))
        return X509_check_ip_asc(peer, name, 0) == 1;
    return X509_check_host(peer, name, 0,
                           X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT,
                           NULL) == 1;
}

bool conn_tls_peer_is(const struct conn *c, const char *const *names, int n, char why[CONN_WHY_MOST])
{
    SSL *ssl = c->tls && c->tls->established ? c->tls->ssl : NULL;
    X509 *peer = ssl ? SSL_get0_peer_certificate(ssl) : NULL;
    char subject[200];
    if (!peer) {
        snprintf(why, CONN_WHY_MOST, "it shows no certificate");
        return false;
    }
    X509_NAME_oneline(X509_get_subject_name(peer), subject, sizeof(subject));
    long verify = SSL_get_verify_result(ssl);
    if (verify != X509_V_OK) {
        snprintf(why, CONN_WHY_MOST, "the certificate of %s: %s", subject,
                 X509_verify_cert_error_string(verify));
        return false;
    }
    for (int i = 0; i < n; i++)
        if (bears(peer, names[i]))
            return true;
    snprintf(why, CONN_WHY_MOST, "the certificate of %s bears none of the expected names", subject);
    return false;
}

size_t conn_tls_injected(const struct conn *c)
{
    return c->tls ? c->tls->injected : 0;
}
