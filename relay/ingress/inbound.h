/*
 * An SMTP session as a server sees it (RFC 5321 and the extensions that EHLO offers): a state machine that
 * takes bytes and events and calls its environment. It knows no socket, loop, log or clock, so tests and
 * fuzzers drive it directly; driver.c joins it to a connection.
 *
 * Life: inbound_new -> inbound_start (the greeting) -> inbound_feed ... -> env.close was called, or the
 * connection broke -> inbound_free, at any time. After env.close nothing is written any more.
 *
 * Waiting: operations of the environment are answered later (auth, start_tls and quota_take also from inside
 * their call, append never). Until then inbound_waiting is true and inbound_feed consumes nothing, so
 * commands are answered in their order. Every done function may be followed by inbound_feed with the input
 * that was left.
 *
 * Line ends: only CRLF ends a command. A line that ends in a bare LF is answered 500 5.5.2, counted as an
 * error and never executed; so is a line with a bare CR or a NUL in it. Only CRLF.CRLF ends DATA
 * (lib/smtp/data.h).
 *
 * Memory: about 400 bytes idle; a transaction's memory exists from MAIL to its end.
 */
#ifndef REMUDA_RELAY_INGRESS_INBOUND_H
#define REMUDA_RELAY_INGRESS_INBOUND_H

#include "lib/base/blob.h"
#include "lib/base/buf.h"
#include "lib/base/id.h"
#include "queue/message.h"
#include "relay/config/settings.h"

struct inbound;

enum {
    INBOUND_LINE_MOST = 2048,         /* a command line, CRLF included (RFC 5321 4.5.3.1.4 plus extensions) */
    INBOUND_AUTH_LINE_MOST = 12288,   /* a line of the AUTH exchange and the AUTH command (RFC 4954 4) */
    INBOUND_CHUNK_BYTES = 512 * 1024, /* a body larger than this streams ahead in chunks */
    INBOUND_SLOW_CHUNK_BYTES = 64 * 1024, /* held by a DATA older than INBOUND_SLOW_MS: goes as a chunk too */
    INBOUND_SLOW_MS = 5000,
    INBOUND_CHUNKS_IN_FLIGHT = 2,
    INBOUND_CHUNK_AGE_MS = 25 * 60 * 1000, /* a record is refused when its first chunk is older */
    INBOUND_APPEND_MS = 30 * 1000,         /* no answer of the log within: 451 */
    INBOUND_AUTH_DELAY_MS = 1000, /* a failed AUTH is answered after this times the failures so far */
    INBOUND_AUTH_FAILURES = 5,    /* then 421 */
    INBOUND_RECIPIENTS_OF_SUBMISSION = 100,
    INBOUND_ENVELOPE_BYTES = 700 * 1024, /* recipients that fit into one record's header */
    INBOUND_FEEDBACK_BYTES = 256 * 1024, /* kept of a message to the bounce domain; the rest is dropped */
};

/* Why something was refused: the label "reason" of the metrics. */
enum inbound_reason {
    REASON_SYNTAX,   /* commands that do not parse */
    REASON_SEQUENCE, /* commands at the wrong time */
    REASON_TLS_REQUIRED,
    REASON_AUTH_REQUIRED,
    REASON_AUTH_FAILED,
    REASON_SENDER, /* not this tenant's domain */
    REASON_RECIPIENT,
    REASON_RECIPIENTS, /* too many of them */
    REASON_SIZE,
    REASON_RATE, /* per_minute, per_day */
    REASON_CONNECTIONS,
    REASON_SPACE, /* memory or disk below their floors */
    REASON_LOG,   /* the log failed or did not answer in time */
    REASON_BARE_NEWLINE,
    REASON_NUL,
    REASON_LINE, /* a line of the text is too long */
    REASON_LOOP,
    REASON_ABUSE, /* too many errors, commands, junk */
    REASON_TIMEOUT,
    REASON_STOPPING,
    REASON_SUPPRESSED, /* on the tenant's suppression list */
    REASON_FEEDBACK,   /* mail for the bounce domain that is about none of ours */
    INBOUND_REASONS
};
const char *inbound_reason_name(enum inbound_reason reason);

/* An answer of env.admit. */
enum inbound_admission { ADMIT_OK, ADMIT_NO_MEMORY, ADMIT_NO_DISK };

/* The answer to env.quota_take: counted; over a limit; nobody could say. */
enum inbound_quota_answer { INBOUND_QUOTA_TAKEN, INBOUND_QUOTA_OVER, INBOUND_QUOTA_UNKNOWN };

/* The limit that a tenant is over. */
struct inbound_quota {
    const char *limit; /* "per_minute"; constant */
    uint64_t most;
    uint64_t retry_s; /* seconds until it is worth trying again */
};

enum inbound_append { INBOUND_APPEND_CHUNK, INBOUND_APPEND_RECORD };

/* A value for the mail log. head is borrowed for the call; body and message are referenced by who keeps them.
 */
struct inbound_value {
    enum inbound_append kind;
    uint32_t partition;
    struct span head;
    struct blob *body;       /* may be NULL */
    struct message *message; /* the record; NULL for a chunk */
    uint64_t token;          /* for inbound_append_done */
};

/* What was accepted, for figures. */
struct inbound_accepted {
    int tenant;
    uint64_t bytes;
    uint32_t recipients;
    uint64_t waited_us; /* from the end of the data to the answer */
};

/* The world of a session. A static table; all entries are set. arg is that of inbound_options. */
struct inbound_env {
    uint64_t (*now_us)(void *arg);  /* since boot; may be one loop turn old */
    uint64_t (*wall_ms)(void *arg); /* since 1970 */
    /* Queues bytes for the client; copied. */
    void (*write)(void *arg, struct span bytes);
    /* Sends what was written, then closes. No more is read. */
    void (*close)(void *arg);
    /* What follows the command just consumed is TLS; then inbound_tls_done. */
    void (*start_tls)(void *arg);
    /* Checks a password; then inbound_auth_done. The spans are wiped after the call. */
    void (*auth)(void *arg, struct span user, struct span password);
    /* May a new message begin, as far as memory and disk go? */
    enum inbound_admission (*admit)(void *arg);
    /* Is memory so short that messages in progress must be refused too? */
    bool (*crowded)(void *arg);
    /* Counts a message of the tenant against its limits; then inbound_quota_done. */
    void (*quota_take)(void *arg, int tenant);
    /* The message that was counted at wall_ms came to nothing. */
    void (*quota_return)(void *arg, int tenant, uint64_t wall_ms);
    /* Counts this connection for the tenant it has just become clear to be of; false: over its limit. */
    bool (*tenant_enter)(void *arg, int tenant);
    /* Why the tenant's mail to the address is refused, in memory of arena a; NULL: it is not. */
    const char *(*suppressed)(void *arg, struct arena *a, int tenant, struct span address);
    /* Begins to find out where mail for the domain (A-labels) goes. */
    void (*lookup)(void *arg, struct span domain);
    /* Sets submission's pool, provider and shard (strings in arena a); its partition, or -1: no lane. */
    int (*place)(void *arg, struct arena *a, int tenant, struct span sender_domain,
                 Remuda__Submission *submission);
    /* The same for what comes back about a message: the lane that sent it. submission's domain is set. Never
     * -1 but for want of any lane. */
    int (*place_feedback)(void *arg, struct arena *a, int tenant, const struct token_claims *about,
                          Remuda__Submission *submission);
    uint64_t (*table_version)(void *arg);
    /* Makes it durable; then inbound_append_done. */
    void (*append)(void *arg, const struct inbound_value *value);
    void (*accepted)(void *arg, const struct inbound_accepted *what);
    void (*refused)(void *arg, enum inbound_reason reason, int code);
    struct msgid (*make_id)(void *arg, uint64_t wall_ms);
    /* Memory for building replies and heads, used only inside one call of the session. */
    struct buf *(*scratch)(void *arg);
};

/* Strings and structs are borrowed for the session's life, but client, which is copied. */
struct inbound_options {
    const struct inbound_env *env;
    void *arg;
    const struct settings *settings;
    const struct settings_listener *listener;
    bool tls_available; /* STARTTLS can be offered */
    const char *client; /* the sender's address as text */
    int tenant;         /* by the client's network; -1: none */
};

struct inbound *inbound_new(const struct inbound_options *options);
void inbound_free(struct inbound *s);

/* Sends the greeting. On a listener with implicit TLS inbound_tls_done comes first. */
void inbound_start(struct inbound *s);
/* Returns how many bytes were used; the rest must come again, in front of what arrives next. */
size_t inbound_feed(struct inbound *s, struct span in);
bool inbound_waiting(const struct inbound *s);
/* The deadline that holds now, in microseconds of env.now_us: call inbound_timeout when it has passed. */
uint64_t inbound_deadline_us(const struct inbound *s);
void inbound_timeout(struct inbound *s);

/* version and cipher: constants. The session is as new, RFC 3207 4.2. */
void inbound_tls_done(struct inbound *s, const char *version, const char *cipher);

enum inbound_auth_result { INBOUND_AUTH_OK, INBOUND_AUTH_WRONG, INBOUND_AUTH_TEMPORARY };
/* user: the configured name, borrowed for the session's life. */
void inbound_auth_done(struct inbound *s, enum inbound_auth_result result, int tenant, const char *user);
/* over: for INBOUND_QUOTA_OVER alone. False: the session has ended meanwhile and uses nothing of it. */
bool inbound_quota_done(struct inbound *s, enum inbound_quota_answer answer,
                        const struct inbound_quota *over);
/* status: RM_OK, RM_EFULL or what failed. A token the session has given up is ignored. */
void inbound_append_done(struct inbound *s, uint64_t token, int status, uint64_t offset);

/* The node stops: idle sessions end with 421 now, others after their transaction. */
void inbound_drain(struct inbound *s);
/* Ends it now with 421 and this text. */
void inbound_kick(struct inbound *s, enum inbound_reason reason, const char *text);
/* A transaction has begun or an answer is awaited. */
bool inbound_busy(const struct inbound *s);
/* Index of the tenant in the settings, -1 for none yet. */
int inbound_tenant(const struct inbound *s);

#endif
