/* SCRAM, by OpenSSL's hashes. Names of values are those of RFC 5802 3. */
#include "lib/base/scram.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdlib.h>

#include "lib/base/base64.h"

enum { NONCE_BYTES = 24, SALT_MOST = 256, ITERATIONS_LEAST = 4096, ITERATIONS_MOST = 1000 * 1000 };

struct scram {
    const EVP_MD *hash;
    char *password, *nonce;
    struct buf auth_message; /* client-first-message-bare, from scram_first on */
    uint8_t server_signature[EVP_MAX_MD_SIZE];
    bool signed_; /* it is known */
};

static char *copy(const char *s)
{
    char *out = strdup(s);
    ENSURE(out);
    return out;
}

static char *random_nonce(void)
{
    char bytes[NONCE_BYTES];
    struct buf text = BUF_INIT;
    ENSURE(RAND_bytes((unsigned char *)bytes, sizeof(bytes)) == 1);
    base64_encode(&text, span_of(bytes, sizeof(bytes)));
    return buf_take(&text);
}

/* "=" and "," may not stand in a name (saslname). */
static void add_name(struct buf *out, const char *user)
{
    for (; *user; user++) {
        if (*user == '=')
            buf_add_str(out, "=3D");
        else if (*user == ',')
            buf_add_str(out, "=2C");
        else
            buf_add_char(out, *user);
    }
}

struct scram *scram_new(const char *mechanism, const char *user, const char *password, const char *nonce)
{
    const EVP_MD *hash = strcmp(mechanism, "SCRAM-SHA-256") == 0   ? EVP_sha256()
                         : strcmp(mechanism, "SCRAM-SHA-512") == 0 ? EVP_sha512()
                                                                   : NULL;
    if (!hash)
        return NULL;
    struct scram *s = calloc(1, sizeof(*s));
    ENSURE(s);
    s->hash = hash;
    s->password = copy(password);
    s->nonce = nonce ? copy(nonce) : random_nonce();
    buf_add_str(&s->auth_message, "n=");
    add_name(&s->auth_message, user);
    buf_printf(&s->auth_message, ",r=%s", s->nonce);
    return s;
}

void scram_free(struct scram *s)
{
    if (!s)
        return;
    explicit_bzero(s->password, strlen(s->password));
    free(s->password);
    free(s->nonce);
    buf_fini(&s->auth_message);
    free(s);
}

void scram_first(struct scram *s, struct buf *out)
{
    buf_add_str(out, "n,,");
    buf_add_span(out, buf_span(&s->auth_message));
}

/* "r=...": the value of the attribute that has to come next. */
static bool attribute(struct span *rest, char name, struct span *value)
{
    struct span part = span_cut(rest, ',');
    if (part.len < 2 || part.ptr[0] != name || part.ptr[1] != '=')
        return false;
    *value = span_of(part.ptr + 2, part.len - 2);
    return true;
}

struct server_first {
    struct span nonce;
    char salt[SALT_MOST];
    size_t salt_len;
    int iterations;
};

static bool parse_first(const struct scram *s, struct span message, struct server_first *f)
{
    struct span rest = message, salt, count;
    uint64_t iterations;
    size_t own = strlen(s->nonce);
    if (!attribute(&rest, 'r', &f->nonce) || !attribute(&rest, 's', &salt) || !attribute(&rest, 'i', &count))
        return false;
    if (f->nonce.len <= own || memcmp(f->nonce.ptr, s->nonce, own) != 0)
        return false;
    if (base64_decode(salt, f->salt, sizeof(f->salt), &f->salt_len) != RM_OK || f->salt_len == 0)
        return false;
    if (!span_u64(count, &iterations) || iterations < ITERATIONS_LEAST || iterations > ITERATIONS_MOST)
        return false;
    f->iterations = (int)iterations;
    return true;
}

static void keyed(const struct scram *s, const uint8_t *key, struct span text, uint8_t out[EVP_MAX_MD_SIZE])
{
    ENSURE(
        HMAC(s->hash, key, EVP_MD_get_size(s->hash), (const unsigned char *)text.ptr, text.len, out, NULL));
}

/* SaltedPassword to ClientProof and ServerSignature. */
static void prove(struct scram *s, const uint8_t salted[EVP_MAX_MD_SIZE], uint8_t proof[EVP_MAX_MD_SIZE])
{
    uint8_t client_key[EVP_MAX_MD_SIZE], stored_key[EVP_MAX_MD_SIZE], server_key[EVP_MAX_MD_SIZE];
    size_t n = (size_t)EVP_MD_get_size(s->hash);
    keyed(s, salted, SPAN_LIT("Client Key"), client_key);
    keyed(s, salted, SPAN_LIT("Server Key"), server_key);
    ENSURE(EVP_Digest(client_key, n, stored_key, NULL, s->hash, NULL) == 1);
    keyed(s, stored_key, buf_span(&s->auth_message), proof);
    for (size_t i = 0; i < n; i++)
        proof[i] ^= client_key[i];
    keyed(s, server_key, buf_span(&s->auth_message), s->server_signature);
    s->signed_ = true;
    explicit_bzero(client_key, sizeof(client_key));
    explicit_bzero(server_key, sizeof(server_key));
}

int scram_final(struct scram *s, struct span server_first, struct buf *out)
{
    struct server_first f;
    uint8_t salted[EVP_MAX_MD_SIZE], proof[EVP_MAX_MD_SIZE];
    int n = EVP_MD_get_size(s->hash);
    if (s->signed_ || !parse_first(s, server_first, &f))
        return RM_EINVAL;
    struct buf without_proof = BUF_INIT;
    buf_printf(&without_proof, "c=biws,r=%.*s", SPAN_FMT(f.nonce));
    buf_printf(&s->auth_message, ",%.*s,%s", SPAN_FMT(server_first), buf_cstr(&without_proof));
    ENSURE(PKCS5_PBKDF2_HMAC(s->password, (int)strlen(s->password), (const unsigned char *)f.salt,
                             (int)f.salt_len, f.iterations, s->hash, n, salted) == 1);
    prove(s, salted, proof);
    explicit_bzero(salted, sizeof(salted));
    buf_add_span(out, buf_span(&without_proof));
    buf_add_str(out, ",p=");
    base64_encode(out, span_of((const char *)proof, (size_t)n));
    buf_fini(&without_proof);
    return RM_OK;
}

int scram_check(const struct scram *s, struct span server_final)
{
    struct span rest = server_final, verifier;
    char signature[EVP_MAX_MD_SIZE + 3];
    size_t len, n = (size_t)EVP_MD_get_size(s->hash);
    if (!s->signed_ || !attribute(&rest, 'v', &verifier) ||
        base64_decode(verifier, signature, sizeof(signature), &len) != RM_OK || len != n)
        return RM_EREFUSED;
    return CRYPTO_memcmp(signature, s->server_signature, n) == 0 ? RM_OK : RM_EREFUSED;
}
