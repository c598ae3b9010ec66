/*
 * Delivery status notifications: what RFC 3461 asks for, and the message that says it (RFC 3464 in RFC 6522's
 * multipart/report; RFC 6533 where addresses are not ASCII). Pure: time, id and names are handed in, and the
 * same input gives the same bytes.
 */
#ifndef REMUDA_LIB_MAIL_DSN_H
#define REMUDA_LIB_MAIL_DSN_H

#include "lib/base/buf.h"
#include "lib/smtp/reply.h"

enum mail_dsn_action {
    MAIL_DSN_FAILED,  /* refused for good */
    MAIL_DSN_EXPIRED, /* given up after its lifetime: "failed" for machines, its own words for people */
    MAIL_DSN_DELAYED,
    MAIL_DSN_DELIVERED, /* into its mailbox: never said by a relay */
    MAIL_DSN_RELAYED,   /* passed on to a host that does not speak DSN */
};

/* Whether RFC 3461 (4.1, 5.2) wants that report for a recipient with these NOTIFY bits (enum smtp_notify of
 * lib/smtp/command.h; 0: not given, which means failure and, by our choice, delay). next_dsn: the next hop
 * offered DSN and so takes over the duty to report success: then RELAYED is not wanted. */
bool mail_dsn_wanted(unsigned notify, enum mail_dsn_action action, bool next_dsn);

/* Strings may be NULL or "" where unknown, and are borrowed during the call. */
struct mail_dsn_recipient {
    const char *orcpt;   /* "type;xtext" as received */
    const char *address; /* final recipient; required */
    enum mail_dsn_action action;
    int code;                    /* the receiver's reply code; 0: it never answered, text is ours */
    struct smtp_enhanced status; /* class 0: derived from code and action */
    const char *text; /* the reply verbatim, lines joined by \n, enhanced code included; or our own words */
    const char *remote_mta;   /* the MX host that answered */
    uint64_t last_attempt_ms; /* 0: never tried */
    uint64_t retry_until_ms;  /* delayed: given up then; 0 unknown */
};

struct mail_dsn {
    const char *id; /* of this report, [a-z0-9]: Message-ID and MIME boundary come from it; required */
    const char *reporting_mta; /* host name; required */
    const char *to;            /* the original sender; required, never the null sender */
    const char *original_id;   /* queue id of the message reported on */
    const char *envid;         /* ENVID of the original, xtext-decoded */
    uint64_t arrival_ms;       /* when it was accepted */
    uint64_t now_ms;
    const struct mail_dsn_recipient *recipients;
    size_t n_recipients;  /* >= 1 */
    struct span original; /* the message (prefix and body) or its first bytes; may be empty */
    bool original_whole;  /* original is all of it */
    bool full;            /* RET=FULL: return all of it (only if original_whole), else the header fields */
    bool smtputf8;        /* the original was SMTPUTF8: addresses may be UTF-8 and so may the report */
};

/* What the envelope of the report needs. */
struct mail_dsn_made {
    bool eight_bit; /* BODY=8BITMIME */
    bool smtputf8;  /* an address or the returned header is UTF-8: MAIL needs SMTPUTF8 */
};

/*
 * Appends the whole report: CRLF line ends, our own lines at most 78 columns where words allow and never over
 * 998. Its envelope: MAIL FROM:<>, RCPT TO:<to> with NOTIFY=NEVER, Auto-Submitted: auto-replied.
 */
struct mail_dsn_made mail_dsn_write(struct buf *out, const struct mail_dsn *d);

#endif
