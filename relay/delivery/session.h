/*
 * One SMTP client connection: from one source to one MX host (RFC 5321). It opens, says EHLO, takes STARTTLS
 * as its policy asks, and then carries one attempt after another until it is told to end or breaks.
 * It decides nothing about mail: what the receiver answered is handed back as data, and
 * relay/delivery/outcome.c turns it into consequences.
 *
 * Life: session_open -> up(s) once, when the first MAIL could be sent -> attempts -> closed(s), exactly once,
 * after which the memory is gone. A connection that never comes up only gets closed(s), with why in
 * session_failure(). Every attempt given gets done(s, attempt) exactly once, before closed.
 *
 * Pipelining: when the body of the running attempt is about to end, next(s) is asked for another attempt; if
 * there is one, its MAIL, RCPT and DATA leave in the same write as the final dot (RFC 2920 3.1). If the
 * connection breaks before that attempt's MAIL was answered, or 421 is the answer, it is done with
 * ATTEMPT_NOT_STARTED.
 *
 * All on the shard's loop thread; no callback comes from inside a call of session_open or session_give.
 */
#ifndef REMUDA_RELAY_DELIVERY_SESSION_H
#define REMUDA_RELAY_DELIVERY_SESSION_H

#include <sys/socket.h>

#include "queue/body.h"
#include "queue/message.h"
#include "relay/node.h"

struct session;

enum tls_policy { TLS_POLICY_NONE, TLS_POLICY_OPPORTUNISTIC, TLS_POLICY_REQUIRED };

struct session_target {
    const char *source_address;           /* bound before connecting */
    const struct settings_egress *egress; /* of settings; NULL: directly */
    const char *ehlo;
    const char *host;               /* MX host name, for SNI and logs */
    struct sockaddr_storage remote; /* with port */
    enum tls_policy tls;
    struct settings *settings; /* referenced by the session: time limits */
};

enum session_stage {
    STAGE_CONNECT,
    STAGE_GREETING,
    STAGE_EHLO,
    STAGE_STARTTLS,
    STAGE_TLS,
    STAGE_IDLE,
    STAGE_MAIL,
    STAGE_RCPT,
    STAGE_DATA,
    STAGE_BODY,
    STAGE_DOT, /* final dot given to the kernel, answer awaited */
    STAGE_QUIT,
};
const char *session_stage_text(enum session_stage stage);

/* A receiver's answer: text is verbatim, lines joined by \n, in the attempt's or session's arena; code 0:
 * none. */
struct session_reply {
    int code;
    char enhanced[12]; /* "5.1.1", "" when the reply has none */
    const char *text;
};

enum attempt_end {
    /* Every recipient has an answer: refused at MAIL, RCPT or DATA, or by the final one, or by the 421 with
     * which the receiver ended the session. */
    ATTEMPT_ANSWERED,
    ATTEMPT_LOST, /* connection broke or timed out at `stage`; recipients answered before keep theirs */
    ATTEMPT_NOT_STARTED, /* nothing of it reached the receiver; try elsewhere without counting */
    ATTEMPT_UNSUPPORTED, /* host lacks what the message needs; `lacks` says which */
    ATTEMPT_UNREADABLE,  /* the body could not be read from the log */
};
enum attempt_lacks { LACKS_NOTHING, LACKS_8BITMIME, LACKS_SMTPUTF8, LACKS_SIZE };

struct attempt {
    /* ---- set by the giver, unchanged by the session ---- */
    struct message *message;              /* borrowed until done */
    const Remuda__Submission *submission; /* in message->record */
    const uint32_t *recipients;           /* indexes into submission->recipients, in order */
    uint32_t n_recipients;                /* 1..100 */
    const char *sender;                   /* reverse-path to say (VERP may differ from the record's) */
    struct body_source body;              /* queue/body.h: memory, one record, or chunks */
    void *owner;
    /* Asked before the final dot; NULL: always. False: the message is broken off, ATTEMPT_NOT_STARTED. */
    bool (*may_finish)(const struct attempt *a);
    /* ---- set by the session, readable in done ---- */
    enum attempt_end end;
    enum session_stage stage; /* where it ended */
    enum attempt_lacks lacks;
    bool dot_sent;                 /* the final dot had been given to the kernel (invariant I2) */
    bool reused;                   /* not the first message of its connection */
    struct session_reply *replies; /* n_recipients entries: the deciding answer of each */
    const char *trouble;           /* ATTEMPT_LOST: what broke, e.g. "connection reset by peer" */
    uint32_t envelope_us, data_us, answer_us;
    struct arena arena; /* replies live here; init by the giver, freed by the giver */
    /* ---- private to the session ---- */
    struct attempt *next_done;
};

struct session_events {
    void (*up)(void *arg, struct session *s);
    /* The next attempt for this connection, or NULL. */
    struct attempt *(*next)(void *arg, struct session *s);
    /* The attempt is the giver's again. It may be followed by session_give or session_retire at once. */
    void (*done)(void *arg, struct session *s, struct attempt *a);
    /* After this the session is gone. */
    void (*closed)(void *arg, struct session *s);
    void *arg;
};

/* target's strings are copied. */
struct session *session_open(struct shard *shard, const struct session_target *target,
                             const struct session_events *events);
/* Starts an attempt on a session that is up and idle. */
void session_give(struct session *s, struct attempt *a);
/* QUIT when idle (answer awaited for quit_ms), else after the running attempt; before up it closes at once
 * and up never comes. closed follows. */
void session_retire(struct session *s);
/* Breaks it off now; a running attempt is done with ATTEMPT_LOST (or NOT_STARTED). closed follows. */
void session_abort(struct session *s, const char *why);

bool session_idle(const struct session *s);
enum session_stage session_stage(const struct session *s);
uint32_t session_messages(const struct session *s); /* attempts begun over it */
bool session_offers_dsn(const struct session *s);   /* in its EHLO answer (RFC 3461) */

/* Why it never came up or why it ended, until closed returns. stage, the answer that refused it (code 0 for
 * none: 4xx/5xx greeting, EHLO or STARTTLS refused) and trouble ("connection refused", "timed out after 30
 * s"). */
struct session_failure {
    bool failed; /* false: ended as asked */
    enum session_stage stage;
    struct session_reply reply;
    const char *trouble;
    bool tls_broke; /* in the handshake or before the EHLO under TLS was answered: if the policy is
                       opportunistic, a new session with TLS_POLICY_NONE may work */
};
const struct session_failure *session_failure(const struct session *s);
/* It never came up because the source's address cannot be bound on this host. */
bool session_source_broke(const struct session *s);

/* It never came up because of the egress, not of the host or the source. */
bool session_egress_broke(const struct session *s);

/* "TLSv1.3 TLS_AES_256_GCM_SHA384", "" for plain. */
const char *session_tls(const struct session *s);
const char *session_remote(const struct session *s); /* "203.0.113.5:25" */
uint32_t session_connect_us(const struct session *s);
uint32_t session_greeting_us(const struct session *s);
uint32_t session_tls_us(const struct session *s);
/* For the owner's lists. */
void *session_user(const struct session *s);
void session_set_user(struct session *s, void *user);

#endif
