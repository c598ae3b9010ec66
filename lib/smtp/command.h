/*
 * SMTP command lines as a server reads them (RFC 5321 4.1, RFC 1870, 3030, 3461, 4954, 6152, 6531, 8689).
 * Pure: spans in, structs out. Results point into the line that was parsed unless said otherwise.
 *
 * Tolerated, as Postfix does: any case, more than one space between words, spaces after "FROM:" and "TO:",
 * trailing spaces, an address without <>. The last is refused under SMTP_PARSE_STRICT.
 */
#ifndef REMUDA_LIB_SMTP_COMMAND_H
#define REMUDA_LIB_SMTP_COMMAND_H

#include "lib/base/arena.h"
#include "lib/smtp/address.h"
#include "lib/smtp/fault.h"

enum smtp_verb {
    SMTP_VERB_UNKNOWN,
    SMTP_VERB_HELO,
    SMTP_VERB_EHLO,
    SMTP_VERB_MAIL,
    SMTP_VERB_RCPT,
    SMTP_VERB_DATA,
    SMTP_VERB_BDAT,
    SMTP_VERB_RSET,
    SMTP_VERB_NOOP,
    SMTP_VERB_VRFY,
    SMTP_VERB_EXPN,
    SMTP_VERB_HELP,
    SMTP_VERB_QUIT,
    SMTP_VERB_STARTTLS,
    SMTP_VERB_AUTH,
    SMTP_VERB_COUNT,
};

struct smtp_command {
    enum smtp_verb verb;
    struct span word; /* the verb as sent, for logs */
    struct span args; /* what follows it, trimmed; may be empty */
};

/* line is without its CRLF. Never fails: what is no verb is SMTP_VERB_UNKNOWN (500 5.5.2). A line with a NUL,
 * CR or LF inside is SMTP_VERB_UNKNOWN too. */
void smtp_command_parse(struct span line, struct smtp_command *out);
/* "EHLO"; "UNKNOWN" for no verb. */
const char *smtp_verb_name(enum smtp_verb verb);

enum smtp_parse_flags {
    SMTP_PARSE_STRICT = 1,     /* an address must stand in <> */
    SMTP_PARSE_UTF8 = 2,       /* RCPT, VRFY: this transaction has SMTPUTF8 (MAIL finds out itself) */
    SMTP_PARSE_REQUIRETLS = 4, /* the extension was offered, here and now (TLS is up) */
    SMTP_PARSE_BINARYMIME = 8,
    SMTP_PARSE_ROUTE_ONLY = 16, /* no ESMTP parameters at all: the session began with HELO */
};

enum smtp_body { SMTP_BODY_UNSET, SMTP_BODY_7BIT, SMTP_BODY_8BITMIME, SMTP_BODY_BINARYMIME };
/* As Remuda__DsnRet of the records. */
enum smtp_ret { SMTP_RET_UNSET, SMTP_RET_FULL, SMTP_RET_HDRS };
/* As Recipient.notify of the records. */
enum smtp_notify {
    SMTP_NOTIFY_NEVER = 1,
    SMTP_NOTIFY_SUCCESS = 2,
    SMTP_NOTIFY_FAILURE = 4,
    SMTP_NOTIFY_DELAY = 8
};

struct smtp_mail {
    struct span path;            /* mailbox without <> and source route; empty: null sender */
    struct smtp_address address; /* path taken apart; all empty for the null sender */
    bool has_size;
    uint64_t size; /* RFC 1870, bytes */
    enum smtp_body body;
    enum smtp_ret ret;
    bool smtputf8;
    bool requiretls;
    bool has_envid;
    struct span envid; /* xtext-decoded (printable ASCII, <= 100 characters encoded), in the arena */
    bool has_auth;
    struct span auth; /* xtext-decoded AUTH= mailbox, in the arena; empty for <> */
};

struct smtp_rcpt {
    struct span path; /* mailbox without <> and source route; "postmaster" may stand without domain */
    struct smtp_address address;
    unsigned notify;   /* bits of enum smtp_notify; 0: not given */
    struct span orcpt; /* "type;xtext" as received, validated; empty: not given */
};

/* args: what follows MAIL. flags of enum smtp_parse_flags. Decoded values are put in arena a. */
enum smtp_fault smtp_mail_parse(struct arena *a, struct span args, unsigned flags, struct smtp_mail *out);
/* args: what follows RCPT. */
enum smtp_fault smtp_rcpt_parse(struct span args, unsigned flags, struct smtp_rcpt *out);

/* RFC 3030: "BDAT size [LAST]". */
struct smtp_bdat {
    uint64_t size;
    bool last;
};
enum smtp_fault smtp_bdat_parse(struct span args, struct smtp_bdat *out);

/* HELO/EHLO argument: a host name, an address literal, or what real clients send instead (underscores, single
 * labels, bare IP addresses). At most 255 bytes, printable, no spaces. *name is the argument. Under
 * SMTP_PARSE_STRICT only a domain or an address literal (RFC 5321 4.1.1.1). UTF-8 is refused. */
enum smtp_fault smtp_helo_parse(struct span args, unsigned flags, struct span *name);

/* "AUTH mechanism [initial-response]" (RFC 4954). initial is empty when absent, and has_initial tells. "=" is
 * the empty initial response. */
struct smtp_auth {
    struct span mechanism;
    bool has_initial;
    struct span initial; /* base64 as sent; empty for "=" */
};
enum smtp_fault smtp_auth_parse(struct span args, struct smtp_auth *out);

#endif
