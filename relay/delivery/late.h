/*
 * What comes back about mail that was sent: records of the kind RECORD_FEEDBACK, in the partition of the lane
 * that sent. Each is read on a worker's thread and then becomes, in one flush of its partition: events of the
 * original message, counts of the pair and the tenant, entries of the suppression list, the report on its way
 * to the original sender, and its own end. What of a submission was told before changes nothing: keys "late:"
 * of the state log remember it as long as the return path holds; where they can come to be lost behind an
 * event that is not (no LOG_ATOMIC), so do the events behind the position.
 */
#ifndef REMUDA_RELAY_DELIVERY_LATE_H
#define REMUDA_RELAY_DELIVERY_LATE_H

#include "relay/delivery/delivery_private.h"

/* Instead of a destination's lookup. */
void late_begin(struct sub *s);
/* Its memory goes: what is being read for it is thrown away. */
void late_forget(struct sub *s);
/* The flush that is about to begin carries what was gathered; it is durable. */
void late_flush(struct owner *o);
void late_flushed(struct owner *o);
void late_fini(struct owner *o);
/* partition_events.told_before of an owner: what one past has told, and maybe left no key of, is not told
 * again. */
void late_told_before(void *owner, struct log_reader *r, const Remuda__Event *e);
/* Drops keys that no return path can need any more, some at a time. Call about once a minute. */
void late_sweep(struct owner *o);

#endif
