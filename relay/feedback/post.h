/*
 * Messages that the relay itself sends: reports about what became of a message, and what came back about one,
 * to its sender. Each has the null sender, goes through the same queue as any other mail, and is gathered
 * into the flush that says why it was made, under an id that its cause determines. None is ever answered by
 * another.
 */
#ifndef REMUDA_RELAY_FEEDBACK_POST_H
#define REMUDA_RELAY_FEEDBACK_POST_H

#include "lib/base/id.h"
#include "queue/partition.h"
#include "relay/node.h"

struct post {
    struct shard *shard;
    struct partition *partition;  /* giver: where the cause is */
    struct subid cause;           /* submission that it comes of */
    Remuda__TransferKind kind;    /* TRANSFER_BOUNCE or TRANSFER_DELAY_NOTICE */
    const struct transfer *bound; /* under whose number it goes; NULL: a number of its own */
    const char *tenant;
    const char *pool; /* its way when the tenant is gone */
    const char *to;
    const struct msgid *id;
    struct span prefix; /* header fields in front of the body; may be empty */
    struct blob *body;  /* taken over */
    bool eight_bit, smtputf8;
    uint64_t now_ms;
};

/* Whether post_send could send there: the address and a way to it exist. */
bool post_can(const struct post *p);
/* Gathers it (partition_append). False, and the body is given back, when post_can is false. */
bool post_send(const struct post *p);

#endif
