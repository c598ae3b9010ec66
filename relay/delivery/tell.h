/* Events of outcomes: one struct tell is one event to be. Gathered in the partition, packed at once. */
#ifndef REMUDA_RELAY_DELIVERY_TELL_H
#define REMUDA_RELAY_DELIVERY_TELL_H

#include "relay/delivery/delivery_private.h"
#include "relay/delivery/outcome.h"

struct tell {
    const struct run *run;        /* NULL: no attempt was made */
    const struct link *link;      /* the connection; NULL: none */
    Remuda__RecipientState state; /* PENDING: deferred */
    bool waiting;                 /* accepted or held: no outcome yet */
    bool untried;                 /* deferred for what became of another's attempt */
    bool final;
    bool suppressed; /* on its tenant's list: never tried */
    bool seal;       /* kept in the submission instead of being gathered */
    const char *cause;
    uint64_t next_due_ms;
    const struct msgid *related;
    const Remuda__TransferTo *transfer;
    const struct outcome_recipient *outcomes[100];
    uint32_t indexes[100]; /* of the recipients, in the submission */
    size_t n;
};

void tell_init(struct tell *t, const struct run *r, Remuda__RecipientState state);
void tell_init_link(struct tell *t, const struct link *l, Remuda__RecipientState state);
void tell_init_local(struct tell *t, Remuda__RecipientState state);
/* Packs the event into the partition's next flush; the first one about a submission carries its acceptance.
 */
void tell_event(struct sub *s, const struct tell *t);
/* Gathers one that was kept, with what has become of it since. */
void tell_sealed(struct sub *s, Remuda__Event *e);

#endif
