/*
 * Message bytes passed by reference: immutable once shared, counted atomically, so that ingress, the
 * log's writer and a delivery session on other threads can hold the same body without a copy.
 */
#ifndef REMUDA_LIB_BASE_BLOB_H
#define REMUDA_LIB_BASE_BLOB_H

#include <stddef.h>

#include "lib/base/span.h"

struct blob {
    _Atomic int refs;
    size_t len;
    size_t cap;
    char data[];
};

/* A blob of cap bytes, len 0, one reference, to be filled by its only holder. Counted in blob_total. */
struct blob *blob_new(size_t cap);
struct blob *blob_of(const void *bytes, size_t len);
/* Grows a blob that has exactly one reference; the old pointer is gone. */
struct blob *blob_grow(struct blob *b, size_t cap);
struct blob *blob_ref(struct blob *b);
/* Drops a reference; the last one frees. NULL is allowed. Any thread. */
void blob_unref(struct blob *b);

static inline struct span blob_span(const struct blob *b)
{
    return b ? (struct span){b->data, b->len} : (struct span){NULL, 0};
}

/* Adds memory of messages that stands in no blob (envelopes, input that waits for its rest); negative: given
 * back. Any thread. */
void blob_count(ptrdiff_t bytes);

/* Bytes held by all blobs of the process, and what blob_count added: what the memory limit of intake is
 * compared with. Any thread. */
size_t blob_total_bytes(void);

#endif
