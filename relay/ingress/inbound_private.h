/*
 * The insides of a session, shared by inbound.c (life, lines, verbs, time), the cmd_*.c files (one family of
 * verbs each) and transaction.c (the message being made). For nobody else.
 */
#ifndef REMUDA_RELAY_INGRESS_INBOUND_PRIVATE_H
#define REMUDA_RELAY_INGRESS_INBOUND_PRIVATE_H

#include "lib/base/list.h"
#include "lib/mail/header.h"
#include "lib/smtp/command.h"
#include "lib/smtp/data.h"
#include "lib/smtp/reply.h"
#include "relay/feedback/return_path.h"
#include "relay/ingress/inbound.h"

/* What the input means now. STATE_START .. STATE_BDAT take commands. */
enum inbound_state {
    STATE_START, /* no HELO or EHLO yet */
    STATE_READY, /* no transaction */
    STATE_MAIL,  /* a sender */
    STATE_RCPT,  /* and a recipient at least */
    STATE_BDAT,  /* between two BDAT chunks of a message */
    STATE_DATA,  /* text until CRLF.CRLF */
    STATE_CHUNK, /* text of a BDAT chunk */
    STATE_SKIP,  /* text of a BDAT chunk that was refused */
    STATE_AUTH,  /* a line of an AUTH exchange */
    STATE_END,   /* env.close was called */
    INBOUND_STATES
};

enum inbound_wait {
    WAIT_NONE,
    WAIT_AUTH,   /* env.auth */
    WAIT_DELAY,  /* a failed AUTH is answered later */
    WAIT_TLS,    /* env.start_tls */
    WAIT_QUOTA,  /* env.quota_take */
    WAIT_CHUNKS, /* chunks in flight: as many as allowed, or the last before the record */
    WAIT_RECORD, /* the record */
};

/* What a handler says: answered; answered by a later event; refused. */
enum cmd_result { CMD_DONE, CMD_PENDING, CMD_FAILED };

struct auth_dialog;
struct transaction;

struct inbound {
    const struct inbound_env *env;
    void *arg;
    const struct settings *settings;
    const struct settings_listener *listener;
    enum inbound_state state;
    enum inbound_wait wait;
    bool tls_available : 1;
    bool esmtp : 1;
    bool authenticated : 1;
    bool draining : 1;
    bool put_off : 1;   /* MAIL or BDAT was refused for now: RCPT, DATA, BDAT sent behind it are no errors */
    bool long_line : 1; /* the rest of a line that was too long is being thrown away */
    int tenant;
    int network_tenant; /* what it is without AUTH */
    uint32_t commands, errors, junk, auth_failures;
    uint32_t serial;                           /* of the transaction */
    uint64_t started_us, progress_us, data_us; /* data_us: DATA or the first BDAT began */
    uint64_t wait_until_us;
    uint64_t skip_bytes; /* STATE_SKIP: still to come */
    char *helo;          /* NULL before HELO */
    const char *user;
    const char *tls_version, *tls_cipher; /* NULL without TLS */
    struct auth_dialog *auth;
    struct transaction *tx;
    char client[46];
};

/* ---- inbound.c ------------------------------------------------------------------------------------ */

/* "250 2.0.0 text". text may be several lines joined by \n. */
enum cmd_result inbound_reply(struct inbound *s, int code, struct smtp_enhanced e, const char *text);
/* A reply that is ready to be sent, with its CRLF: for the hot ones. */
enum cmd_result inbound_reply_raw(struct inbound *s, struct span line);
/* A refusal: counted under reason, and as an error when code is 5xx. */
enum cmd_result inbound_refuse(struct inbound *s, enum inbound_reason reason, int code,
                               struct smtp_enhanced e, const char *text);
enum cmd_result inbound_refuse_fault(struct inbound *s, enum inbound_reason reason, enum smtp_fault fault);
/* Forgets the transaction; STATE_READY, or 421 when the node drains. */
void inbound_reset(struct inbound *s);
/* 421 or another last word, then env.close. */
void inbound_end(struct inbound *s, enum inbound_reason reason, int code, struct smtp_enhanced e,
                 const char *text);
/* env.close without a word. */
void inbound_close(struct inbound *s);
/* Nothing is consumed until the event; inbound_timeout after most_ms. Before the environment is called. */
void inbound_wait(struct inbound *s, enum inbound_wait wait, uint64_t most_ms);
void inbound_set_helo(struct inbound *s, struct span name);
uint64_t inbound_now_us(struct inbound *s);
/* The tenant has become clear; false: over its connections, and the session has ended. */
bool inbound_enter_tenant(struct inbound *s, int tenant);
/* Largest message this session may send, bytes; 0: no limit. */
uint64_t inbound_size_most(const struct inbound *s);
static inline bool inbound_ended(const struct inbound *s)
{
    return s->state == STATE_END;
}

/* ---- cmd_*.c: handlers of the table of verbs ------------------------------------------------------- */

typedef enum cmd_result (*cmd_handler)(struct inbound *s, struct span args);
enum cmd_result cmd_helo(struct inbound *s, struct span args);
enum cmd_result cmd_ehlo(struct inbound *s, struct span args);
enum cmd_result cmd_starttls(struct inbound *s, struct span args);
enum cmd_result cmd_rset(struct inbound *s, struct span args);
enum cmd_result cmd_noop(struct inbound *s, struct span args);
enum cmd_result cmd_vrfy(struct inbound *s, struct span args);
enum cmd_result cmd_expn(struct inbound *s, struct span args);
enum cmd_result cmd_help(struct inbound *s, struct span args);
enum cmd_result cmd_quit(struct inbound *s, struct span args);
enum cmd_result cmd_auth(struct inbound *s, struct span args);
enum cmd_result cmd_mail(struct inbound *s, struct span args);
enum cmd_result cmd_rcpt(struct inbound *s, struct span args);
enum cmd_result cmd_data(struct inbound *s, struct span args);
enum cmd_result cmd_bdat(struct inbound *s, struct span args);

/* cmd_feedback.c: mail for the bounce domain. */

/* MAIL is open to strangers on this listener: their recipients can only be addresses of the bounce domain. */
bool cmd_feedback_open(const struct inbound *s);
/* An address of the bounce domain, or the one for complaints. */
bool cmd_feedback_is_for(const struct inbound *s, struct span address, struct span domain);
enum cmd_result cmd_feedback_rcpt(struct inbound *s, const struct smtp_rcpt *rcpt, struct span address,
                                  struct span domain);
/* The text is complete: false when it is about no message of ours; it is refused then. */
bool cmd_feedback_settle(struct inbound *s, struct transaction *tx);

/* A line of the exchange, without CRLF. */
void cmd_auth_line(struct inbound *s, struct span line);
/* The delay after a failure is over. */
void cmd_auth_delayed(struct inbound *s);
void cmd_auth_free(struct inbound *s);
/* AUTH may be used here and now. */
bool cmd_auth_offered(const struct inbound *s);

/* Input in STATE_DATA, STATE_CHUNK and STATE_SKIP; how much was used. */
size_t cmd_data_feed(struct inbound *s, struct span in);
/* The log has answered: a step forward after WAIT_CHUNKS, the reply after WAIT_RECORD. */
void cmd_data_appended(struct inbound *s, bool record, int status);
/* WAIT_CHUNKS or WAIT_RECORD has lasted too long. */
void cmd_data_append_timeout(struct inbound *s);

/* ---- transaction.c, body.c ------------------------------------------------------------------------- */

struct refusal {
    int code; /* 0: none */
    enum inbound_reason reason;
    struct smtp_enhanced enhanced;
    const char *text; /* constant, or in the message's arena */
};

/* Recipients of one domain, at most INBOUND_RECIPIENTS_OF_SUBMISSION. */
struct tx_group {
    Remuda__Submission *submission;
    size_t cap; /* of submission->recipients */
    uint64_t domain_hash;
};

/* Mail for the bounce domain: what it is about, as soon as that is known. */
struct tx_feedback {
    struct token token;
    int tenant;
    bool known; /* false: to the address for complaints; the text must say it */
};

struct tx_chunk {
    uint64_t offset;
    uint32_t bytes;
};

/* The message being made. From MAIL to its end. */
struct transaction {
    struct message *message;      /* ours alone until it is appended */
    struct tx_feedback *feedback; /* in the message's arena; NULL: mail to be delivered */
    char sender_domain[SMTP_DOMAIN_BUF];
    uint64_t counted_ms; /* when it was counted against the tenant's limits */
    bool counted;        /* and is given back unless it is accepted */
    uint64_t size;       /* SIZE=, 0 unknown */
    uint64_t wall_ms;    /* when DATA began */

    struct tx_group *groups;
    size_t n_groups, cap_groups;
    uint32_t n_recipients;
    uint64_t *hashes; /* of the recipients, to find repeated ones */
    uint32_t cap_hashes;
    size_t envelope_bytes;

    struct smtp_data data;
    bool data_begun;
    bool last_chunk;      /* of BDAT: LAST was said */
    uint64_t chunk_bytes; /* size of the present BDAT chunk */
    struct blob *held;    /* text received and not given to the log yet */
    int partition;        /* -1: not chosen yet */
    bool stall_seen;      /* inbound_body_stalled has looked */
    bool scanned;
    bool add_message_id, add_date;
    bool add_blank;         /* the text has no header section: ours needs an end */
    struct refusal refusal; /* the message is read to its end and then answered with this */

    struct tx_chunk *chunks;
    uint32_t n_chunks, cap_chunks;
    uint32_t in_flight;
    bool finishing; /* the text is complete */
    uint64_t finished_us;
};

/* sender_domain: canonical, "" for the null sender. */
struct transaction *inbound_tx_new(const struct smtp_mail *mail, const char *sender_domain);
void inbound_tx_free(struct inbound *s, struct transaction *tx);
/* False: there is no room for another recipient in a record. Repeated recipients are taken once. domain: in
 * canonical form. */
bool inbound_tx_add(struct transaction *tx, const struct smtp_rcpt *rcpt, struct span address,
                    struct span domain);
/* Chooses the lanes of the submissions and the partition of the first; false: there is none. */
bool inbound_tx_place(struct inbound *s, struct transaction *tx);
void inbound_tx_refuse(struct transaction *tx, enum inbound_reason reason, int code, struct smtp_enhanced e,
                       const char *text);
uint64_t inbound_tx_token(const struct inbound *s, uint32_t low);

/* ---- body.c: the text on its way to the log --------------------------------------------------------- */

void inbound_body_begin(struct inbound *s, struct transaction *tx);
/* Gives held text to the log when there is enough of it or the sender is slow. Sets WAIT_CHUNKS when no more
 * may be taken in for now. Refuses the message when memory is so short that even those begun must go. */
void inbound_body_flush(struct inbound *s, struct transaction *tx);
/* When to look, once, whether the sender has stalled; UINT64_MAX: never. Then inbound_body_stalled. */
uint64_t inbound_body_due_us(const struct inbound *s);
void inbound_body_stalled(struct inbound *s);
/* The text is complete and not refused: appends what is missing, chunks first, and sets the wait; or leaves a
 * refusal. */
void inbound_body_advance(struct inbound *s, struct transaction *tx);
/* What the decoder found wrong with the text becomes the refusal. */
void inbound_body_judge(struct inbound *s, struct transaction *tx);

#endif
