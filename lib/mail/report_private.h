/* What the files that read reports share: report.c (which kind), report_fields.c (those with fields),
 * report_forms.c (those in prose). */
#ifndef REMUDA_LIB_MAIL_REPORT_PRIVATE_H
#define REMUDA_LIB_MAIL_REPORT_PRIVATE_H

#include "lib/mail/mime.h"
#include "lib/mail/report.h"

enum { REPORT_PART_MOST = 256 * 1024, REPORT_PROSE_MOST = 64 * 1024 };

/* ---- report.c ---- */

/* A new recipient at the end of the list; NULL when it is full. */
struct mail_report_recipient *report_add(struct arena *a, struct mail_report *r);
/* s unfolded, trimmed, without controls, at most MAIL_REPORT_TEXT_MOST octets. */
char *report_text(struct arena *a, struct span s);
/* Finds "550 5.1.1 ..." or "#5.1.1" in text and fills code, status and text from there on. */
void report_take_reply(struct arena *a, struct span text, struct mail_report_recipient *r);
/* The mailbox at the beginning of s, with <>, quotes or blanks around it; empty when there is none. */
struct span report_mailbox(struct span s);

/* ---- report_fields.c: decoded bodies of message/delivery-status and message/feedback-report ---- */

void report_read_status(struct arena *a, struct span body, struct mail_report *r);
void report_read_feedback(struct arena *a, struct span body, struct mail_report *r);

/* ---- report_forms.c ---- */

/* text: the decoded words for people. True when a form fits, even if it names nobody. */
bool report_read_form(struct arena *a, struct span text, struct mail_report *r);

#endif
