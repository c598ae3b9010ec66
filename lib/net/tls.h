/*
 * TLS contexts: keys, certificates, policies. Counted and immutable; a reload makes a new one and swaps it,
 * and connections keep the one they began with. Any thread. What travels inside TLS is conn.h's.
 */
#ifndef REMUDA_LIB_NET_TLS_H
#define REMUDA_LIB_NET_TLS_H

#include "lib/base/buf.h"
#include "lib/base/err.h"

struct tls_context;

/*
 * A server's context from PEM files: chain (leaf first) and its key. TLS 1.2 and 1.3, forward-secret AEAD
 * ciphers, session tickets, no renegotiation, no compression. RM_ENOTFOUND (a file can't be read), RM_EINVAL
 * (bad PEM, key and certificate don't belong together); error gets one line that names the file.
 * Reads files: not on a loop.
 */
int tls_server_new(const char *certificate_file, const char *key_file, struct tls_context **out,
                   struct buf *error) MUST_CHECK;

enum tls_verify {
    TLS_VERIFY_NONE, /* opportunistic: any certificate; conn_tls_info still tells whether it was good */
    TLS_VERIFY_NAME, /* chain to a trusted root and the server name, else the handshake fails */
};
/* ca_file: PEM roots; NULL: the system's. Opportunistic contexts also talk to servers with TLS 1.0 and old
 * ciphers, since the alternative is no TLS at all (RFC 7435). */
int tls_client_new(enum tls_verify verify, const char *ca_file, struct tls_context **out,
                   struct buf *error) MUST_CHECK;

/*
 * Both sides show certificates of one private authority. TLS 1.2 and 1.3. The client checks chain and name in
 * the handshake (conn_connect_options.tunnel_name). The server asks for a certificate and lets every
 * handshake succeed, so that it can tell a peer it does not believe what is wrong: conn_tls_peer_is must be
 * asked before anything else. RM_ENOTFOUND, RM_EINVAL as above. Reads files: not on a loop.
 */
struct tls_mutual_files {
    const char *certificate, *key; /* its own, PEM; chain with the leaf first */
    const char *ca;                /* PEM; alone believed */
};
int tls_mutual_server_new(const struct tls_mutual_files *files, struct tls_context **out,
                          struct buf *error) MUST_CHECK;
int tls_mutual_client_new(const struct tls_mutual_files *files, struct tls_context **out,
                          struct buf *error) MUST_CHECK;

struct tls_context *tls_context_ref(struct tls_context *ctx);
void tls_context_unref(struct tls_context *ctx); /* NULL allowed */
/* Seconds since 1970 when the server certificate ends; 0 for clients. */
int64_t tls_context_expires(const struct tls_context *ctx);

/* The place where listeners of all threads find the present context. */
struct tls_slot;
struct tls_slot *tls_slot_new(struct tls_context *first); /* takes the reference; may be NULL */
void tls_slot_free(struct tls_slot *slot);
/* Swaps; takes the reference. */
void tls_slot_set(struct tls_slot *slot, struct tls_context *ctx);
/* A new reference to the present one, or NULL. */
struct tls_context *tls_slot_dup(struct tls_slot *slot);

/*
 * Makes an EC P-256 key (mode 0600) and a self-signed certificate for hostname, valid for ten years, unless
 * both files exist. Written beside and renamed, so a crash leaves none half-written. RM_EIO; error gets a
 * line.
 */
int tls_self_signed_ensure(const char *hostname, const char *certificate_file, const char *key_file,
                           struct buf *error) MUST_CHECK;

#endif
