/*
 * A buffered TCP connection, with or without TLS, client or server. Belongs to one loop for life; every
 * function and callback is on that loop's thread.
 *
 * Life: conn_connect or an acceptor makes it; conn_close, the peer, a deadline or a failure ends it. Whatever
 * the cause, it ends in one place: no callback comes any more but on_end, exactly once, at the end of the
 * turn, never from inside a call into this module. The conn is freed when on_end returns; until then its
 * accessors may be used and writes are ignored.
 *
 * Reading: on_read gets all unconsumed input in one span, which is valid during the call, and returns how
 * many bytes of it are done with. The rest is kept and comes again, in front of what arrives next. Input is
 * read into a buffer of the loop; an idle connection without unconsumed input holds none.
 *
 * Writing: bytes are queued and leave together at the end of the turn, so pipelined replies are one packet
 * and one system call. conn_flush does not wait for that.
 *
 * Memory: about 400 bytes for an idle plain connection.
 */
#ifndef REMUDA_LIB_NET_CONN_H
#define REMUDA_LIB_NET_CONN_H

#include "lib/base/blob.h"
#include "lib/base/buf.h"
#include "lib/net/addr.h"
#include "lib/net/loop.h"

struct conn;
struct tls_context;

enum {
    /* A consumer must get forward with this many bytes of contiguous input: leaving more unconsumed while
     * reading is not paused ends the connection with CONN_END_OVERFLOW. */
    CONN_INPUT_MOST = 64 * 1024,
    /* How long conn_finish waits for the peer to close. */
    CONN_LINGER_MS = 2000,
    CONN_WHY_MOST = 300,
};

/* Why a connection ended. */
enum conn_end {
    CONN_END_CLOSED,   /* conn_close or conn_finish was called */
    CONN_END_EOF,      /* the peer closed; all input before that was delivered */
    CONN_END_RESET,    /* the peer reset, or the network failed: conn_end_errno */
    CONN_END_TIMEOUT,  /* the deadline passed (connecting included) */
    CONN_END_CONNECT,  /* could not connect or bind: conn_end_errno */
    CONN_END_TLS,      /* handshake or record failure: conn_end_text */
    CONN_END_OVERFLOW, /* the consumer could not make use of CONN_INPUT_MOST bytes */
    CONN_END_STOP,     /* the loop stops */
};
/* "closed by peer", "connection timed out", ...; constant. */
const char *conn_end_name(enum conn_end why);

/* What happens to a connection. A static table; entries that are not needed are NULL, on_end never is. */
struct conn_ops {
    /* Client: TCP is established (with options.tls: the TLS handshake too). */
    void (*on_connect)(struct conn *c, void *arg);
    /* Returns the number of bytes consumed, at most in.len. */
    size_t (*on_read)(struct conn *c, void *arg, struct span in);
    /* The peer sends no more; all input was delivered. With it the connection stays open for output, until
     * conn_shutdown (after which it ends, CONN_END_CLOSED), conn_finish or conn_close. NULL: it ends with
     * CONN_END_EOF once what is queued has been sent. */
    void (*on_eof)(struct conn *c, void *arg);
    /* The level asked for with conn_drain_notify is reached. */
    void (*on_drain)(struct conn *c, void *arg);
    /* conn_tls_start has succeeded. Failure is CONN_END_TLS. */
    void (*on_tls)(struct conn *c, void *arg);
    /* The deadline has passed. NULL: the connection ends with CONN_END_TIMEOUT. */
    void (*on_timeout)(struct conn *c, void *arg);
    void (*on_end)(struct conn *c, void *arg, enum conn_end why);
};

struct conn_connect_options {
    const struct addr *remote; /* port included */
    const struct addr *local;  /* NULL: the system chooses; its port is normally 0 */
    uint64_t timeout_ms;       /* until on_connect; then the deadline is off. 0: the system's own, minutes */
    struct tls_context *tls;   /* implicit TLS from the first byte; NULL: plain. Reference taken */
    const char *server_name;   /* for SNI and verification; NULL: none */
    /* TLS as the transport, whose handshake comes before everything: the protocol inside begins in the clear
     * and may start its own TLS. NULL: none. Reference taken; the name is checked as server_name is, but
     * against alternative names alone. What the tunnel's buffer holds (one to four records) counts as
     * flushed: the kernel may not have taken it yet. */
    struct tls_context *tunnel;
    const char *tunnel_name;
};
/* Never NULL; all failures come as on_end. The options are copied. */
struct conn *conn_connect(struct loop *l, const struct conn_connect_options *options,
                          const struct conn_ops *ops, void *arg);
/* A connected socket from elsewhere (socketpair, a test). Takes the descriptor; reading starts at once.
 * Server role in TLS. Never NULL. */
struct conn *conn_adopt(struct loop *l, int fd, const struct conn_ops *ops, void *arg);
/* Hands the connection to another consumer; its unconsumed input comes again. */
void conn_ops_set(struct conn *c, const struct conn_ops *ops, void *arg);

/* Ends it now: what is queued but not yet given to the kernel is lost. Harmless when it has ended. */
void conn_close(struct conn *c);
/* Ends it when all that is queued has been sent: sends it, half-closes, throws away input until the peer
 * closes, at most CONN_LINGER_MS. The only callback from now on is on_end (CONN_END_CLOSED, or what failed).
 */
void conn_finish(struct conn *c);
/* Sends what is queued, then TLS close_notify and FIN; input still comes. */
void conn_shutdown(struct conn *c);
bool conn_ended(const struct conn *c);

/* ---- reading --------------------------------------------------------------------------------- */

/* After pause no on_read comes until resume; the kernel's buffer then holds the peer back. Not counted.
 * Resume delivers unconsumed input again, at the end of the turn at the latest, even when nothing new has
 * come. */
void conn_read_pause(struct conn *c);
void conn_read_resume(struct conn *c);

/* ---- writing --------------------------------------------------------------------------------- */

/* Copies the bytes. */
void conn_write(struct conn *c, struct span bytes);
/*
 * Queues n spans in order. Those that lie in hold (may be NULL) are not copied: a reference is taken until
 * they have been sent. Others are copied.
 */
void conn_writev(struct conn *c, const struct span *iov, size_t n, struct blob *hold);
/* Gives to the kernel now what it takes. May end the connection (on_end still comes later). */
void conn_flush(struct conn *c);

/*
 * Counters of application bytes (before TLS): all ever written to this module, and those the kernel has
 * taken. With TLS a byte counts as flushed when the record that holds it has been taken entirely: a receiver
 * cannot decrypt less. So: flushed_total below the position of a final dot proves that the receiver never saw
 * the dot. Both stay readable in on_end.
 */
uint64_t conn_written_total(const struct conn *c);
uint64_t conn_flushed_total(const struct conn *c);
/* written - flushed. */
uint64_t conn_pending_bytes(const struct conn *c);
/* Calls on_drain once, never from inside this call, as soon as no more than below bytes are pending. */
void conn_drain_notify(struct conn *c, uint64_t below);
uint64_t conn_received_total(const struct conn *c);

/* ---- deadline -------------------------------------------------------------------------------- */

/* (Re)starts the one deadline of the connection: delay_ms from now, 0 takes it away. Costs a store. Input and
 * output do not move it; the protocol knows what counts as progress. */
void conn_deadline(struct conn *c, uint64_t delay_ms);

/* ---- TLS ------------------------------------------------------------------------------------- */

/*
 * STARTTLS. Server for accepted connections, client for others. What was written before leaves in the clear,
 * first. When called inside on_read, input behind the bytes that on_read then returns as consumed came in the
 * clear with the STARTTLS line and is an injection (CVE-2011-0411): it is thrown away and counted in
 * conn_tls_injected. server_name: SNI and name to verify, client only, may be NULL. ctx: reference taken.
 */
void conn_tls_start(struct conn *c, struct tls_context *ctx, const char *server_name);

/*
 * Implicit TLS behind a preamble in the clear (a PROXY header): as conn_tls_start on an accepted connection,
 * but what on_read leaves behind the bytes it consumed is the beginning of the handshake. Only inside
 * on_read.
 */
void conn_tls_start_behind(struct conn *c, struct tls_context *ctx);

struct conn_tls_info {
    const char *version; /* "TLSv1.3"; constant */
    const char *cipher;  /* "TLS_AES_256_GCM_SHA384"; constant */
    int bits;
    bool verified;           /* client: chain and name are good. An opportunistic client goes on either way */
    const char *verify_text; /* constant; why not verified, or "ok" */
};
/* False when TLS is not established. */
bool conn_tls_info(const struct conn *c, struct conn_tls_info *out);
/*
 * Server with a context of tls_mutual_new, in on_tls or later: true when the peer's certificate comes from
 * the authority, is valid now, and bears one of the names (an alternative name; a name with a dot in front
 * stands for all below it). Else why says what is wrong.
 */
bool conn_tls_peer_is(const struct conn *c, const char *const *names, int n, char why[CONN_WHY_MOST]);
size_t conn_tls_injected(const struct conn *c);

/* ---- accessors ------------------------------------------------------------------------------- */

struct loop *conn_loop(const struct conn *c);
void *conn_arg(const struct conn *c);
const struct addr *conn_remote(const struct conn *c);
/* The local address; asked of the system at the first call between on_connect (or accept) and the end. */
const struct addr *conn_local(struct conn *c);
/* After the end: the errno behind it, 0 if none; and a text for logs and deferral reasons ("Connection
 * refused", OpenSSL's own words). Valid until on_end returns. */
int conn_end_errno(const struct conn *c);
const char *conn_end_text(const struct conn *c);

#endif
