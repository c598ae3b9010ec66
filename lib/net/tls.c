/* Contexts: ciphers, certificates, verification; the slot they are swapped in. What they protect is
 * conn_tls.c's; making a self-signed pair is tls_self_signed.c's. */
#include "lib/net/tls.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "lib/net/conn_private.h"

struct tls_context {
    _Atomic int refs;
    SSL_CTX *ssl;
    BIO_METHOD *method;
    int64_t expires;
};

struct tls_slot {
    pthread_mutex_t lock;
    struct tls_context *ctx;
};

SSL_CTX *tls_context_ssl(struct tls_context *ctx)
{
    return ctx->ssl;
}

BIO_METHOD *tls_context_method(struct tls_context *ctx)
{
    return ctx->method;
}

struct tls_context *tls_context_ref(struct tls_context *ctx)
{
    atomic_fetch_add_explicit(&ctx->refs, 1, memory_order_relaxed);
    return ctx;
}

void tls_context_unref(struct tls_context *ctx)
{
    if (!ctx || atomic_fetch_sub_explicit(&ctx->refs, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(ctx->ssl);
    BIO_meth_free(ctx->method);
    free(ctx);
}

int64_t tls_context_expires(const struct tls_context *ctx)
{
    return ctx->expires;
}

static struct tls_context *make(const SSL_METHOD *method)
{
    struct tls_context *ctx = calloc(1, sizeof(*ctx));
    ENSURE(ctx);
    atomic_init(&ctx->refs, 1);
    ctx->ssl = SSL_CTX_new(method);
    ENSURE(ctx->ssl);
    ctx->method = conn_tls_method_new();
    SSL_CTX_set_mode(ctx->ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_options(ctx->ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    return ctx;
}

/* Appends "file: what OpenSSL says" and empties its error queue. */
static void explain(struct buf *error, const char *file)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    buf_printf(error, "%s: %s\n", file, reason ? reason : "not usable");
    ERR_clear_error();
}

/* OpenSSL's own words for a file that is not there are "system lib". */
static int check_readable(const char *file, struct buf *error)
{
    FILE *f = fopen(file, "r");
    if (!f) {
        buf_printf(error, "%s: %m\n", file);
        return RM_ENOTFOUND;
    }
    fclose(f);
    return RM_OK;
}

static int load_pair(struct tls_context *ctx, const char *certificate, const char *key, struct buf *error)
{
    int err = check_readable(certificate, error);
    if (err == RM_OK)
        err = check_readable(key, error);
    if (err != RM_OK)
        return err;
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(ctx->ssl, certificate) != 1) {
        explain(error, certificate);
        return RM_EINVAL;
    }
    if (SSL_CTX_use_PrivateKey_file(ctx->ssl, key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(ctx->ssl) != 1) {
        explain(error, key);
        return RM_EINVAL;
    }
    return RM_OK;
}

static int64_t certificate_end(SSL_CTX *ssl)
{
    X509 *leaf = SSL_CTX_get0_certificate(ssl);
    struct tm tm;
    if (!leaf || ASN1_TIME_to_tm(X509_get0_notAfter(leaf), &tm) != 1)
        return 0;
    return (int64_t)timegm(&tm);
}

int tls_server_new(const char *certificate_file, const char *key_file, struct tls_context **out,
                   struct buf *error)
{
    *out = NULL;
    struct tls_context *ctx = make(TLS_server_method());
    int err = load_pair(ctx, certificate_file, key_file, error);
    if (err) {
        tls_context_unref(ctx);
        return err;
    }
    ctx->expires = certificate_end(ctx->ssl);
    SSL_CTX_set_min_proto_version(ctx->ssl, TLS1_2_VERSION);
    ENSURE(SSL_CTX_set_cipher_list(ctx->ssl, "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20") == 1);
    SSL_CTX_set_options(ctx->ssl, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_dh_auto(ctx->ssl, 1);
    static const unsigned char id[] = "remuda";
    SSL_CTX_set_session_id_context(ctx->ssl, id, sizeof(id) - 1);
    *out = ctx;
    return RM_OK;
}

/* file NULL: the system's. */
static int load_authorities(struct tls_context *ctx, const char *file, struct buf *error)
{
    int err = file ? check_readable(file, error) : RM_OK;
    if (err != RM_OK)
        return err;
    ERR_clear_error();
    int ok = file ? SSL_CTX_load_verify_locations(ctx->ssl, file, NULL)
                  : SSL_CTX_set_default_verify_paths(ctx->ssl);
    if (ok != 1) {
        explain(error, file ? file : "system trust store");
        return file ? RM_EINVAL : RM_EIO;
    }
    ERR_clear_error();
    return RM_OK;
}

/* Every certificate will do; the result stays readable. */
static int accept_any(int ok, X509_STORE_CTX *store)
{
    (void)ok;
    (void)store;
    return 1;
}

int tls_client_new(enum tls_verify verify, const char *ca_file, struct tls_context **out, struct buf *error)
{
    *out = NULL;
    struct tls_context *ctx = make(TLS_client_method());
    int err = load_authorities(ctx, ca_file, error);
    if (err != RM_OK) {
        tls_context_unref(ctx);
        return err;
    }
    if (verify == TLS_VERIFY_NAME) {
        SSL_CTX_set_min_proto_version(ctx->ssl, TLS1_2_VERSION);
        SSL_CTX_set_verify(ctx->ssl, SSL_VERIFY_PEER, NULL);
    } else {
        SSL_CTX_set_min_proto_version(ctx->ssl, TLS1_VERSION);
        ENSURE(SSL_CTX_set_cipher_list(ctx->ssl, "DEFAULT:@SECLEVEL=0") == 1);
        SSL_CTX_set_options(ctx->ssl, SSL_OP_LEGACY_SERVER_CONNECT);
        SSL_CTX_set_verify(ctx->ssl, SSL_VERIFY_PEER, accept_any);
    }
    *out = ctx;
    return RM_OK;
}

int tls_mutual_server_new(const struct tls_mutual_files *files, struct tls_context **out, struct buf *error)
{
    int err = tls_server_new(files->certificate, files->key, out, error);
    if (err != RM_OK)
        return err;
    SSL_CTX *ssl = (*out)->ssl;
    err = load_authorities(*out, files->ca, error);
    if (err != RM_OK) {
        tls_context_unref(*out);
        *out = NULL;
        return err;
    }
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, accept_any);
    /* Nothing is resumed: what was believed once is checked again each time. */
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ssl, 0);
    return RM_OK;
}

int tls_mutual_client_new(const struct tls_mutual_files *files, struct tls_context **out, struct buf *error)
{
    int err = tls_client_new(TLS_VERIFY_NAME, files->ca, out, error);
    if (err == RM_OK)
        err = load_pair(*out, files->certificate, files->key, error);
    if (err != RM_OK) {
        tls_context_unref(*out);
        *out = NULL;
    }
    return err;
}

/* ---- slot ------------------------------------------------------------------------------------ */

struct tls_slot *tls_slot_new(struct tls_context *first)
{
    struct tls_slot *slot = calloc(1, sizeof(*slot));
    ENSURE(slot);
    pthread_mutex_init(&slot->lock, NULL);
    slot->ctx = first;
    return slot;
}

void tls_slot_free(struct tls_slot *slot)
{
    if (!slot)
        return;
    tls_context_unref(slot->ctx);
    pthread_mutex_destroy(&slot->lock);
    free(slot);
}

void tls_slot_set(struct tls_slot *slot, struct tls_context *ctx)
{
    pthread_mutex_lock(&slot->lock);
    struct tls_context *old = slot->ctx;
    slot->ctx = ctx;
    pthread_mutex_unlock(&slot->lock);
    tls_context_unref(old);
}

struct tls_context *tls_slot_dup(struct tls_slot *slot)
{
    pthread_mutex_lock(&slot->lock);
    struct tls_context *ctx = slot->ctx ? tls_context_ref(slot->ctx) : NULL;
    pthread_mutex_unlock(&slot->lock);
    return ctx;
}
