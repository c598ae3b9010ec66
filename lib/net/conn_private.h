/*
 * A connection as its files share it. conn.c owns life, end and turn; conn_read.c input; conn_write.c the
 * output queue; conn_tls.c the TLS layer between both and the socket; conn_tunnel.c a second one below that;
 * conn_pool.c what connections of a loop have in common.
 */
#ifndef REMUDA_LIB_NET_CONN_PRIVATE_H
#define REMUDA_LIB_NET_CONN_PRIVATE_H

#include <openssl/ssl.h>

#include "lib/net/conn.h"
#include "lib/net/loop_private.h"

enum {
    CONN_RECV = 64 * 1024, /* asked of the kernel at once */
    CONN_OUTER = CONN_RECV /
                 2, /* of a tunnel: with what OpenSSL holds of a record, it decrypts to less than CONN_RECV */
    CONN_ROUNDS = 4,         /* recv calls before others get their turn */
    CONN_SEGMENT = 4096,     /* a block of copied output, header included */
    CONN_IOV = 64,           /* spans given to the kernel at once */
    CONN_RECORD = 16 * 1024, /* application bytes of a TLS record */
    CONN_RECORDS = 4,        /* records encrypted ahead of the kernel */
    CONN_SPARE_SEGMENTS = 256,
    CONN_FINISH_MS = 30000, /* conn_finish without a deadline gives the queue this long */
};

/* Output: copied bytes in data, or a reference into hold. */
struct segment {
    struct segment *next;
    struct blob *hold;
    const char *ptr;
    size_t len;
    char data[];
};

struct conn_pool {
    struct loop_part part;
    struct loop *loop;
    struct list conns;
    struct segment *spare;
    unsigned n_spare;
    struct buf spare_cipher;
    char input[CONN_INPUT_MOST + CONN_RECV]; /* unconsumed plaintext, then new: what on_read sees */
    char raw[CONN_RECV];                     /* ciphertext of this turn */
    char outer[CONN_OUTER];                  /* the same of a tunnel */
    char gather[CONN_RECORD];                /* small writes on their way into one record */
};

enum conn_state { CONN_CONNECTING, CONN_OPEN, CONN_ENDING };

/* The end of a TLS record in the ciphertext, and of its application bytes in the stream. */
struct conn_mark {
    size_t cipher_end;
    uint64_t plain_end;
};

/* What OpenSSL reads and writes in place of a socket. */
struct conn_wire {
    struct conn_pool *pool;
    struct span in;    /* ciphertext not yet read by OpenSSL */
    struct buf cipher; /* on its way out, from cipher_at on */
    size_t cipher_at;
};

struct conn_tls {
    struct tls_context *ctx;
    SSL *ssl;
    struct conn_wire wire; /* wire.in: in pool->raw or in_keep */
    struct buf in_keep;    /* what is left of it when reading was paused */
    struct conn_mark marks[CONN_RECORDS];
    int n_marks;
    uint64_t encrypted; /* position in the stream of application bytes */
    uint64_t plain_end; /* bytes below this position leave in the clear */
    size_t injected;
    bool begun; /* the plain bytes are out, the handshake runs */
    bool established;
    bool named;  /* the server's name is verified with its chain */
    bool closed; /* close_notify came */
};

/* TLS as the transport of a connection under way from here: conn_tunnel.c. */
struct conn_tunnel {
    struct tls_context *ctx;
    SSL *ssl;
    struct conn_wire wire;
};

struct conn {
    struct loop_io io;
    struct loop *loop;
    struct conn_pool *pool;
    struct list link;
    const struct conn_ops *ops;
    void *arg;
    struct loop_timer timer;
    struct loop_defer turn;
    struct addr remote, local;
    struct buf keep;       /* unconsumed input */
    uint32_t keep_counted; /* of keep and tls->in_keep, in blob_total_bytes */
    struct segment *out, *out_last;
    uint64_t written, flushed, received;
    uint64_t drain_below;
    struct conn_tls *tls;
    struct conn_tunnel *tunnel;      /* NULL: the socket itself is the transport */
    struct tls_context *connect_tls; /* implicit TLS of a connection under way */
    char *server_name;               /* of connect_tls or tls */
    char *end_text;
    int end_errno;
    uint8_t state;   /* enum conn_state */
    uint8_t end;     /* enum conn_end */
    bool server : 1; /* accepted: role in TLS, counted in loop->inbound */
    bool local_known : 1;
    bool paused : 1;
    bool readable : 1; /* the kernel may have input */
    bool hangup : 1;   /* the peer closed: read until recv says so */
    bool eof : 1;
    bool half : 1; /* after eof it stays open for output: on_eof was told */
    bool writable : 1;
    bool watch_out : 1; /* EPOLLOUT is in the watched events */
    bool delivering : 1;
    bool redeliver : 1;    /* unconsumed input must be offered again */
    bool tls_wanted : 1;   /* conn_tls_start inside on_read */
    bool tls_behind : 1;   /* conn_tls_start_behind: unconsumed input is ciphertext */
    bool implicit_tls : 1; /* on_connect, not on_tls, tells the end of the handshake */
    bool tcp_there : 1;    /* what is still to come before on_connect is the tunnel's handshake */
    bool drain_wanted : 1;
    bool shut_wanted : 1;
    bool shut_done : 1;
    bool finishing : 1;
};

/* conn.c */
struct conn *conn_make(struct loop *l, int fd, bool server);
/* Connection from an acceptor: loop->inbound was already raised for it. */
struct conn *conn_accepted(struct loop *l, int fd, const struct addr *remote);
/* The one place where a connection ends. text is copied, may be NULL. Harmless when it has ended. */
void conn_end(struct conn *c, enum conn_end why, int err, const char *text);
/* Sees to it that conn_turn runs at the end of this turn. */
void conn_turn_later(struct conn *c);
/* The handshake is done: tells the owner. */
void conn_tls_ready(struct conn *c);

/* Ciphertext that came with what was before TLS. */
void conn_tls_preload(struct conn *c, struct span cipher);

/* conn_pool.c */
struct conn_pool *conn_pool_get(struct loop *l);
struct segment *conn_pool_segment(struct conn_pool *p);
void conn_pool_segment_free(struct conn_pool *p, struct segment *s);

/* conn_read.c */
/* Reads and delivers as long as there is input and it is wanted, or for a few rounds. */
void conn_read(struct conn *c);
/* Gives pool->input[0..len) to the consumer and keeps what it leaves. */
void conn_deliver(struct conn *c, size_t len);
/* Counts what is kept as memory of messages. */
void conn_count_kept(struct conn *c);
/* Puts the kept input in front of pool->input; returns its length. */
size_t conn_stage_kept(struct conn *c);
void conn_eof(struct conn *c);

/* conn_write.c */
/* Gives to the kernel what it takes, then does what waited for it (shutdown, finish, eof). */
void conn_send(struct conn *c);
void conn_drop_output(struct conn *c);
/* Takes n bytes that have been sent or encrypted off the queue. */
void conn_advance(struct conn *c, size_t n);
/* send() that turns EAGAIN into 0 and failure into the end (-1). Through the tunnel if there is one: then
 * what it returns has left, or is ciphertext that conn_tunnel_flush gives to the kernel. */
ssize_t conn_send_iov(struct conn *c, struct iovec *iov, size_t n);
/* The same, always to the socket. */
ssize_t conn_send_raw(struct conn *c, struct iovec *iov, size_t n);

/* conn_tls.c */
void conn_tls_begin(struct conn *c);
void conn_tls_read(struct conn *c, size_t raw_len);
/* Continues with ciphertext kept while paused. */
void conn_tls_resume(struct conn *c);
/* Encrypts and sends until the kernel is full or the queue empty. */
void conn_tls_send(struct conn *c);
void conn_tls_shutdown(struct conn *c);
bool conn_tls_has_input(const struct conn *c);
void conn_tls_free(struct conn *c);

/* The BIO through which OpenSSL reads and writes; freed by who keeps it. */
BIO_METHOD *conn_tls_method_new(void);
/* A BIO over wire, for ssl. */
void conn_wire_attach(struct conn_wire *wire, SSL *ssl, struct tls_context *ctx);
/* Gives ciphertext to send, which is as conn_send_iov, until all is out (true). sent: called after each, may
 * be NULL. */
bool conn_wire_send(struct conn *c, struct conn_wire *wire,
                    ssize_t (*send)(struct conn *c, struct iovec *iov, size_t n),
                    void (*sent)(struct conn *c));
void conn_tls_set_name(SSL *ssl, const char *name);
/* "TLS handshake: certificate has expired": OpenSSL's own words, from its queue, which is emptied. */
void conn_tls_explain(SSL *ssl, const char *what, char *text, size_t size);

/* conn_tunnel.c */
void conn_tunnel_new(struct conn *c, struct tls_context *ctx, const char *server_name);
void conn_tunnel_free(struct conn *c);
/* Goes on with the handshake. True once it is done; a failure ends the connection. */
bool conn_tunnel_handshake(struct conn *c);
/* As recv() and conn_send_iov. */
ssize_t conn_tunnel_recv(struct conn *c, char to[CONN_RECV]);
ssize_t conn_tunnel_send(struct conn *c, const struct iovec *iov, size_t n);
/* True when all ciphertext is with the kernel. */
bool conn_tunnel_flush(struct conn *c);
/* Makes the close_notify, once. */
void conn_tunnel_close(struct conn *c);

/* tls.c */
SSL_CTX *tls_context_ssl(struct tls_context *ctx);
BIO_METHOD *tls_context_method(struct tls_context *ctx);

#endif
