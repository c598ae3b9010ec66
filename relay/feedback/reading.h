/*
 * What came back, read whole and compared with what was sent: the report's text, what it tells (lib/mail/
 * report.h), and the sender and recipients that the history knows. Blocking: for a worker's thread.
 */
#ifndef REMUDA_RELAY_FEEDBACK_READING_H
#define REMUDA_RELAY_FEEDBACK_READING_H

#include "lib/mail/report.h"
#include "queue/body.h"
#include "relay/api/history.h"
#include "relay/feedback/token.h"

struct reading {
    struct arena arena;
    struct buf text; /* the message that came back, without the header fields that we added */
    struct mail_report report;
    int status;   /* RM_OK, or why its text cannot be read; RM_EAGAIN: the history is not all here yet */
    bool known;   /* the history knows the submission: */
    char *sender; /* of the original, "" */
    const char **recipients;
    size_t n_recipients;
};

/* history may be NULL: nothing is known. *out is overwritten. */
void reading_make(const struct body_source *body, struct history *history, const struct token_claims *about,
                  struct reading *out);
void reading_fini(struct reading *r);

/*
 * The recipient of the submission that a report names, as it was sent to: by the original address, else the
 * final one, else the only one there is (its mail may have been forwarded). NULL: none of it, so whoever
 * wrote the report did not get it from us. While the submission is not known, the address that is named;
 * *sure is false then.
 */
const char *reading_recipient(const struct reading *r, const struct mail_report_recipient *named, bool *sure);

#endif
