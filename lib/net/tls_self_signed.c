/* The certificate of a relay that was given none: made once, at the first start. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include "lib/net/tls.h"

enum { DAYS = 3650 };

static bool add_extension(X509 *cert, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = ext && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return ok;
}

static bool set_names(X509 *cert, const char *hostname)
{
    char alt[300];
    X509_NAME *name = X509_get_subject_name(cert);
    snprintf(alt, sizeof(alt), "DNS:%s", hostname);
    /* A common name holds 64 characters; longer host names stand in the alternative name only. */
    const char *common = strlen(hostname) <= 64 ? hostname : "remuda";
    return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)common, -1, -1, 0) &&
           X509_set_issuer_name(cert, name) && add_extension(cert, NID_subject_alt_name, alt) &&
           add_extension(cert, NID_basic_constraints, "critical,CA:FALSE");
}

static X509 *make_certificate(EVP_PKEY *key, const char *hostname)
{
    X509 *cert = X509_new();
    unsigned char serial[16];
    ENSURE(cert && RAND_bytes(serial, sizeof(serial)) == 1);
    serial[0] &= 0x7f;
    BIGNUM *bn = BN_bin2bn(serial, sizeof(serial), NULL);
    BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(cert));
    BN_free(bn);
    X509_set_version(cert, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_time_adj_ex(X509_getm_notAfter(cert), DAYS, 0, NULL);
    X509_set_pubkey(cert, key);
    if (!set_names(cert, hostname) || X509_sign(cert, key, EVP_sha256()) == 0) {
        X509_free(cert);
        return NULL;
    }
    return cert;
}

/* Writes PEM of key (when given) or cert into path by way of path.new. */
static int write_pem(const char *path, EVP_PKEY *key, X509 *cert, struct buf *error)
{
    struct buf part = BUF_INIT;
    buf_printf(&part, "%s.new", path);
    int fd = open(buf_cstr(&part), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, key ? 0600 : 0644);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    bool ok = f && (key ? PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) : PEM_write_X509(f, cert));
    ok = ok && fflush(f) == 0 && fsync(fd) == 0;
    if (f && fclose(f) != 0)
        ok = false;
    ok = ok && rename(buf_cstr(&part), path) == 0;
    if (!ok)
        buf_printf(error, "%s: can't be written: %m\n", path);
    buf_fini(&part);
    return ok ? RM_OK : RM_EIO;
}

int tls_self_signed_ensure(const char *hostname, const char *certificate_file, const char *key_file,
                           struct buf *error)
{
    if (access(certificate_file, F_OK) == 0 && access(key_file, F_OK) == 0)
        return RM_OK;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    ENSURE(key);
    X509 *cert = make_certificate(key, hostname);
    int err = RM_EIO;
    if (!cert)
        buf_printf(error, "%s: no certificate can be made for this name\n", hostname);
    else
        err = write_pem(key_file, key, NULL, error);
    if (!err)
        err = write_pem(certificate_file, NULL, cert, error);
    X509_free(cert);
    EVP_PKEY_free(key);
    return err;
}
