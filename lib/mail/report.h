/*
 * Understanding what comes back: delivery status notifications (RFC 3464 in RFC 6522's multipart/report, and
 * the forms that mail servers use instead: qmail, Exim, Postfix, sendmail, Exchange and Outlook, Domino),
 * feedback reports of complaints (RFC 5965 as Yahoo and others send them, and Outlook's JMRP), and automatic
 * answers, which are neither. Written by strangers: nothing in it is believed here, only read.
 *
 * Pure, bounded, never fails: what is not understood is MAIL_REPORT_NONE. Any thread.
 */
#ifndef REMUDA_LIB_MAIL_REPORT_H
#define REMUDA_LIB_MAIL_REPORT_H

#include "lib/base/arena.h"
#include "lib/smtp/reply.h"

enum { MAIL_REPORT_RECIPIENTS_MOST = 100, MAIL_REPORT_TEXT_MOST = 1000 };

enum mail_report_kind {
    MAIL_REPORT_NONE,      /* not understood */
    MAIL_REPORT_DELIVERY,  /* tells of recipients: failed, delayed or delivered */
    MAIL_REPORT_COMPLAINT, /* a recipient called it unwanted */
    MAIL_REPORT_AUTOMATIC, /* an out-of-office note, a read receipt, a report of another kind */
};

enum mail_report_action {
    MAIL_REPORT_FAILED,
    MAIL_REPORT_DELAYED,
    MAIL_REPORT_DELIVERED, /* delivered, relayed or expanded: no trouble */
};

/* Strings are never NULL, hold no control characters but \n between lines, and live in the arena. */
struct mail_report_recipient {
    const char *address;  /* final recipient, without its type; "" when it is not told */
    const char *original; /* original recipient, decoded; "" */
    enum mail_report_action action;
    int code;                    /* the SMTP reply that it quotes; 0: none */
    struct smtp_enhanced status; /* of the quoted reply, else of the report; class 0: none */
    const char *text;            /* the quoted reply without its code, or the report's own words */
};

struct mail_report {
    enum mail_report_kind kind;
    const char *form; /* "rfc3464", "qmail", "arf", ...: constant; "" for NONE */
    struct mail_report_recipient *recipients;
    size_t n_recipients;
    const char *envid;         /* Original-Envelope-Id, "" */
    const char *feedback_type; /* of a complaint, lower case: "abuse"; "" */
    struct span original;      /* the message that it is about, or its header; ptr NULL: not in it */
};

/* message may be only the beginning of it. Spans point into message. */
void mail_report_read(struct arena *a, struct span message, struct mail_report *out);

#endif
