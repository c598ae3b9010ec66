/*
 * A message in memory, shared between ingress, the log's writer and the owner of its partition: the
 * decoded record header, immutable once shared, and its body when that is small enough to be held.
 */
#ifndef REMUDA_QUEUE_MESSAGE_H
#define REMUDA_QUEUE_MESSAGE_H

#include "lib/base/arena.h"
#include "lib/base/blob.h"
#include "proto/codec.h"

struct message {
    _Atomic int refs;
    struct arena arena;     /* holds record and all it points to */
    Remuda__Record *record; /* immutable after message_share */
    struct blob *body;      /* bytes behind the header; NULL when they stand in chunks or only in the log */
    size_t counted;         /* of the arena, in blob_total_bytes */
};

/* One reference, empty arena, record initialised to its defaults in that arena. */
struct message *message_new(void);
/* Decodes a value of the mail log (kind MAIL_RECORD); body copied when with_body. RM_ECORRUPT. Any thread. */
int message_decode(struct span value, bool with_body, struct message **out) MUST_CHECK;
/* Decodes the header with the submissions of this index alone, without body: what one waiting submission of a
 * message to many domains needs. All of them when none has it. RM_ECORRUPT. */
int message_decode_one(struct span value, uint32_t index, struct message **out) MUST_CHECK;
struct message *message_ref(struct message *m);
/* Counts what its arena holds now in blob_total_bytes, until it is freed. By its only holder. */
void message_count(struct message *m);
/* The last reference frees arena and drops the body. NULL is allowed. Any thread. */
void message_unref(struct message *m);

#endif
