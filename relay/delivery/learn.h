/*
 * Between the router's learned state and the log: loading it at the start, telling it answers and time,
 * writing what has changed with the owner's flushes. On the owner's loop.
 */
#ifndef REMUDA_RELAY_DELIVERY_LEARN_H
#define REMUDA_RELAY_DELIVERY_LEARN_H

#include "relay/delivery/delivery_private.h"

/* Before the first decision: reads the pairs and tenants of state[p]. RM_EIO and others: the log cannot be
 * read. A record that does not decode is reported, and its pair begins anew, with nothing to spend today. */
int learn_load(struct owner *o, uint64_t epoch) MUST_CHECK;
/* Takes over what another log knew of pairs and tenants (a RECORD_STATE): gathered with the next flush, whose
 * position may then pass the record. A record that comes twice counts once. */
void learn_take(struct owner *o, const Remuda__Record *record);
/* What an attempt's outcome teaches. before the submission is settled. */
void learn_outcome(const struct run *r, const struct outcome *out);
/* A connection was refused in words. */
void learn_refusal(const struct link *l, const struct sub *s, const struct outcome_recipient *o);
/* Days and minutes pass; what waits for a cap goes on; asks for a flush when something is to be written. */
void learn_tick(struct owner *o);
/* The configuration has changed: connections of lost owners count for no longer than it says. */
void learn_reconfigure(struct owner *o);
/* The owner of that epoch has closed all connections that it had. */
void learn_closed(struct owner *o, uint64_t epoch);
/* Into the flush that is about to begin. The last one before a stop gives back what was granted for nothing.
 */
void learn_gather(struct owner *o);
/* That flush is durable: what waits for its grant goes on. */
void learn_flushed(struct owner *o);

#endif
