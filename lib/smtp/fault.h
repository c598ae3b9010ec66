/*
 * What can be wrong with a command line or its arguments, and the answer each fault deserves. One table
 * (fault.c): the parsers name a fault, the server sends its reply, and nobody else maps the two.
 */
#ifndef REMUDA_LIB_SMTP_FAULT_H
#define REMUDA_LIB_SMTP_FAULT_H

#include <stdint.h>

/* RFC 3463 status code; class 0: none. */
struct smtp_enhanced {
    uint8_t class;    /* 2, 4, 5 */
    uint16_t subject; /* 0..999 */
    uint16_t detail;  /* 0..999 */
};

enum smtp_fault {
    SMTP_FAULT_NONE = 0,
    SMTP_FAULT_SYNTAX,          /* 501 5.5.4: arguments that do not parse (MAIL without FROM:, ...) */
    SMTP_FAULT_NO_ARGUMENT,     /* 501 5.5.4: RSET x, DATA x, QUIT x */
    SMTP_FAULT_HELO_NAME,       /* 501 5.5.4: HELO/EHLO argument missing or malformed */
    SMTP_FAULT_SENDER,          /* 501 5.1.7: malformed reverse-path */
    SMTP_FAULT_RECIPIENT,       /* 501 5.1.3: malformed forward-path */
    SMTP_FAULT_SENDER_UTF8,     /* 550 5.6.7: UTF-8 in the reverse-path without SMTPUTF8 (RFC 6531 3.5) */
    SMTP_FAULT_RECIPIENT_UTF8,  /* 553 5.6.7: UTF-8 in the forward-path without SMTPUTF8 */
    SMTP_FAULT_PARAM_UNKNOWN,   /* 555 5.5.4: a parameter of no extension that we offered */
    SMTP_FAULT_PARAM_DUPLICATE, /* 501 5.5.4 */
    SMTP_FAULT_PARAM_SYNTAX,    /* 501 5.5.4: a known parameter with a value that does not parse */
    SMTP_FAULT_BDAT,            /* 501 5.5.4: BDAT without a size, or with something after it but LAST */
    SMTP_FAULT_COUNT,
};

struct smtp_fault_reply {
    int code;
    struct smtp_enhanced enhanced;
    const char *text; /* ASCII, without code */
};

/* The reply for a fault; never NULL. fault is not SMTP_FAULT_NONE. */
const struct smtp_fault_reply *smtp_fault_reply(enum smtp_fault fault);

#endif
