/*
 * Reports to the sender (RFC 3464, as RFC 3461 asks for them): each is a new message with the null sender
 * that goes through the same queue, gathered into the flush that says why it was made, under a deterministic
 * id. Never a report about a report.
 */
#ifndef REMUDA_RELAY_FEEDBACK_BOUNCE_H
#define REMUDA_RELAY_FEEDBACK_BOUNCE_H

#include "lib/base/id.h"
#include "lib/mail/dsn.h"
#include "queue/body.h"
#include "queue/partition.h"
#include "relay/node.h"

struct bounce_cause {
    struct shard *shard;
    struct partition *partition; /* giver: where the submission is */
    struct message *message;     /* the original */
    struct body_source body;     /* of the original */
    struct subid submission;
    Remuda__TransferKind kind; /* TRANSFER_BOUNCE or TRANSFER_DELAY_NOTICE */
    const struct mail_dsn_recipient *recipients;
    size_t n_recipients;
    uint64_t now_ms;
    const struct transfer *bound; /* under whose number it goes; NULL: a number of its own */
};

/* Whether bounce_make would make one; its recipients do not matter. */
bool bounce_can(const struct bounce_cause *cause);

/* Gathers the report (partition_append). False when none may be made: the original is itself a report, has
 * the null sender, or its sender has no usable address. *id is the report's id. */
bool bounce_make(const struct bounce_cause *cause, struct msgid *id);

#endif
