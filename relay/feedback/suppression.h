/*
 * A tenant's suppression list: addresses that its mail is not sent to, with the reason, the evidence and the
 * end. One entry is one key of the compacted log `suppression` (docs/FORMATS.md); the log's own table, mapped
 * into memory, is what is looked up, so there is no second copy to keep right: a lookup is one descent of the
 * tree, and sees what is durable.
 */
#ifndef REMUDA_RELAY_FEEDBACK_SUPPRESSION_H
#define REMUDA_RELAY_FEEDBACK_SUPPRESSION_H

#include "lib/base/arena.h"
#include "queue/log.h"
#include "remuda.pb-c.h"

enum { SUPPRESSION_EVIDENCE_MOST = 500 };

/* The address in its canonical form: lower case, domain in A-labels. NULL: it is no address. */
char *suppression_canonical(struct arena *a, struct span address);

/* The key of a canonical address. */
struct suppression_key {
    char bytes[LOG_KEY_MOST];
    size_t len;
};
void suppression_key_make(struct span tenant, struct span canonical, struct suppression_key *out);
/* The beginning of all keys of a tenant. */
void suppression_key_tenant(struct span tenant, struct suppression_key *out);
static inline struct span suppression_key_span(const struct suppression_key *k)
{
    return span_of(k->bytes, k->len);
}

/* NULL when it does not decode or lacks its names. */
Remuda__Suppression *suppression_decode(struct arena *a, struct span packed);

struct suppression_query {
    struct span tenant, address; /* the address in any form */
    uint64_t now_ms;
};
/* The entry that holds now, or NULL. RM_OK also without one; RM_EIO, ... when the log cannot be read. */
int suppression_find_in(struct log_reader *r, struct arena *a, const struct suppression_query *q,
                        Remuda__Suppression **out) MUST_CHECK;
/* The same with a reader of its own. Any thread. */
int suppression_find(struct log *log, struct arena *a, const struct suppression_query *q,
                     Remuda__Suppression **out) MUST_CHECK;
/* What a sender is told: one line of printable text, in the arena. */
const char *suppression_words(const Remuda__Suppression *s, struct arena *a);

/* "bounce", "complaint", "manual". Never NULL. */
const char *suppression_reason(Remuda__SuppressionReason reason);
bool suppression_reason_parse(struct span text, Remuda__SuppressionReason *out);

#endif
