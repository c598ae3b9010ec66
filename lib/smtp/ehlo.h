/*
 * What a server offers in its answer to EHLO (RFC 5321 4.1.1.1), as the client reads it.
 */
#ifndef REMUDA_LIB_SMTP_EHLO_H
#define REMUDA_LIB_SMTP_EHLO_H

#include "lib/smtp/reply.h"

enum smtp_extension {
    SMTP_EXT_PIPELINING = 1 << 0,
    SMTP_EXT_SIZE = 1 << 1,
    SMTP_EXT_8BITMIME = 1 << 2,
    SMTP_EXT_SMTPUTF8 = 1 << 3,
    SMTP_EXT_DSN = 1 << 4,
    SMTP_EXT_STARTTLS = 1 << 5,
    SMTP_EXT_CHUNKING = 1 << 6,
    SMTP_EXT_ENHANCEDSTATUSCODES = 1 << 7,
    SMTP_EXT_AUTH = 1 << 8,
    SMTP_EXT_REQUIRETLS = 1 << 9,
    SMTP_EXT_LIMITS = 1 << 10,
    SMTP_EXT_BINARYMIME = 1 << 11,
};

enum smtp_auth_mechanism { SMTP_AUTH_PLAIN = 1, SMTP_AUTH_LOGIN = 2 };

struct smtp_ehlo {
    unsigned extensions; /* bits of enum smtp_extension */
    uint64_t size_most;  /* RFC 1870; 0: no fixed limit, or SIZE not offered */
    unsigned auth;       /* bits of enum smtp_auth_mechanism; mechanisms we do not speak are left out */
    uint64_t limit_mail; /* RFC 9422 LIMITS MAILMAX, RCPTMAX, RCPTDOMAINMAX; 0: not given */
    uint64_t limit_rcpt;
    uint64_t limit_rcpt_domains;
    char name[256]; /* what the server calls itself: first word of its first line, cut to fit */
};

/* reply is a 250 answer to EHLO. Lines that are not understood are skipped. Also right for an answer to HELO:
 * then there is no extension. */
void smtp_ehlo_parse(const struct smtp_reply *reply, struct smtp_ehlo *out);

#endif
