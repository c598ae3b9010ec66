/* Reports to the sender about a submission's recipients (RFC 3461, RFC 3464), gathered for the partition's
 * next flush. On the owner's loop. */
#ifndef REMUDA_RELAY_DELIVERY_REPORT_H
#define REMUDA_RELAY_DELIVERY_REPORT_H

#include "lib/base/id.h"
#include "relay/delivery/tell.h"

struct report_how {
    bool next_dsn;                /* the receiver has taken over to report (RFC 3461 5.2.2) */
    const struct transfer *bound; /* under whose number; NULL: a number of its own */
};

/* Whether its sender gets one about these outcomes, which are failures. */
bool report_due(struct sub *s, const struct tell *t);
/* The report that RFC 3461 wants about these outcomes. False: none; else *id is its id. */
bool report_make(struct sub *s, const struct tell *t, const struct report_how *how, struct msgid *id);
/* When the notice of delay that its sender wants is due, on the wall clock; 0: none, or it was given. */
uint64_t report_delay_ms(const struct sub *s);
/* Gives it, when its time has come. */
void report_delay(struct sub *s);

#endif
