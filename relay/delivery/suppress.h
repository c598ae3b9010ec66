/* Suppression lists on the side of delivery: entries that outcomes make, and the check before an attempt. On
 * the owner's loop. */
#ifndef REMUDA_RELAY_DELIVERY_SUPPRESS_H
#define REMUDA_RELAY_DELIVERY_SUPPRESS_H

#include "relay/delivery/delivery_private.h"
#include "relay/delivery/tell.h"
#include "relay/feedback/suppression.h"

struct suppress_entry {
    const char *tenant, *address;
    Remuda__SuppressionReason reason;
    const char *evidence;
    const uint8_t *message; /* MSGID_BYTES */
    uint64_t now_ms;
};
/* Into the next flush; nothing for a tenant that has no list (suppression: off). */
void suppress_add(struct owner *o, const struct suppress_entry *e);

/* Entries for those outcomes that say that there is no such mailbox. */
void suppress_outcomes(struct sub *s, const struct tell *t);

/* Pending recipients that are on their tenant's list, as outcomes: t->outcomes point into all. Returns how
 * many. Only for mail of a sender: what the relay sends itself goes to anyone. */
size_t suppress_check(const struct sub *s, struct outcome_recipient *all, struct tell *t, struct arena *a);

/* True when suppress_check would find some. */
bool suppress_any(const struct sub *s);

/* Erases entries that have ended, some at a time; for the owner of partition 0, about once a minute. */
void suppress_sweep(struct owner *o);

#endif
