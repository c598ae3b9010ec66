/* What happens when, in virtual time: a heap by time, and by order of coming among equals. */
#ifndef REMUDA_LIB_BASE_TIMELINE_H
#define REMUDA_LIB_BASE_TIMELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a, b, c and kind mean is the caller's matter. */
struct moment {
    uint64_t at_ms, order; /* order: set by timeline_add */
    uint32_t a;
    uint16_t b;
    uint8_t c, kind;
};

/* Zeroed: empty, holds no memory. */
struct timeline {
    struct moment *heap;
    size_t n, cap;
    uint64_t order;
};

void timeline_add(struct timeline *t, struct moment what);
/* Takes the first one out; false when there is none. */
bool timeline_next(struct timeline *t, struct moment *out);
/* The first one, left in; NULL when there is none. */
const struct moment *timeline_first(const struct timeline *t);
void timeline_fini(struct timeline *t);

#endif
