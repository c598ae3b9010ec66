/*
 * Memory that dies together: allocations of one SMTP transaction, one decoded record, one decision.
 * Single-threaded. Freed at once; nothing in it is freed alone.
 */
#ifndef REMUDA_LIB_BASE_ARENA_H
#define REMUDA_LIB_BASE_ARENA_H

#include "lib/base/span.h"

struct arena_block;

struct arena {
    struct arena_block *head;
    size_t used_bytes; /* asked for since the last reset */
};

#define ARENA_INIT ((struct arena){NULL, 0})
void arena_init(struct arena *a);
void arena_fini(struct arena *a);

/* Memory that it holds, free room in it included. */
size_t arena_held_bytes(const struct arena *a);

/* Zeroed memory, aligned for any type. n may be 0. Never NULL. */
void *arena_alloc(struct arena *a, size_t n);
/* NUL-terminated copy. */
char *arena_strndup(struct arena *a, const char *s, size_t n);
char *arena_strdup(struct arena *a, const char *s);
char *arena_dup_span(struct arena *a, struct span s);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
