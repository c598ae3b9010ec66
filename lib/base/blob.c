/* Counted message bytes. The process-wide total is the one exception to "no file-level mutable variables":
 * it is a gauge of the allocator itself, as malloc's own statistics are. */
#include "lib/base/blob.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "lib/base/err.h"

static _Atomic size_t total_bytes;

struct blob *blob_new(size_t cap)
{
    struct blob *b = malloc(sizeof(*b) + cap);
    ENSURE(b);
    atomic_init(&b->refs, 1);
    b->len = 0;
    b->cap = cap;
    atomic_fetch_add_explicit(&total_bytes, cap, memory_order_relaxed);
    return b;
}

struct blob *blob_of(const void *bytes, size_t len)
{
    struct blob *b = blob_new(len);
    if (len)
        memcpy(b->data, bytes, len);
    b->len = len;
    return b;
}

struct blob *blob_grow(struct blob *b, size_t cap)
{
    ENSURE(atomic_load_explicit(&b->refs, memory_order_relaxed) == 1);
    if (cap <= b->cap)
        return b;
    size_t old = b->cap;
    struct blob *grown = realloc(b, sizeof(*b) + cap);
    ENSURE(grown);
    grown->cap = cap;
    atomic_fetch_add_explicit(&total_bytes, cap - old, memory_order_relaxed);
    return grown;
}

struct blob *blob_ref(struct blob *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void blob_unref(struct blob *b)
{
    if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    atomic_fetch_sub_explicit(&total_bytes, b->cap, memory_order_relaxed);
    free(b);
}

void blob_count(ptrdiff_t bytes)
{
    atomic_fetch_add_explicit(&total_bytes, (size_t)bytes, memory_order_relaxed);
}

size_t blob_total_bytes(void)
{
    return atomic_load_explicit(&total_bytes, memory_order_relaxed);
}
