/*
 * A growable byte buffer, embedded in its owner. Growth failure is not reported call by call:
 * memory is overcommitted on the systems Remuda runs on, so a failed malloc is a bug (ENSURE).
 */
#ifndef REMUDA_LIB_BASE_BUF_H
#define REMUDA_LIB_BASE_BUF_H

#include "lib/base/span.h"

struct buf {
    char *data;
    size_t len;
    size_t cap;
};

/* An empty buffer holds no memory. BUF_INIT or buf_init. */
#define BUF_INIT ((struct buf){NULL, 0, 0})
void buf_init(struct buf *b);
/* Gives the memory back; the buffer is empty and usable again. */
void buf_fini(struct buf *b);
/* len = 0, memory kept. */
void buf_clear(struct buf *b);

/* Room for n more bytes at data + len; returns that place. */
char *buf_reserve(struct buf *b, size_t n);
void buf_add(struct buf *b, const void *bytes, size_t n);
void buf_add_span(struct buf *b, struct span s);
void buf_add_str(struct buf *b, const char *s);
void buf_add_char(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Removes the first n bytes (n <= len) by moving the rest down. */
void buf_drop(struct buf *b, size_t n);

/* NUL-terminates without counting the NUL; valid until the next change. Never NULL. */
const char *buf_cstr(struct buf *b);
static inline struct span buf_span(const struct buf *b)
{
    return (struct span){b->data, b->len};
}
/* Hands the memory (malloc'ed, NUL-terminated) to the caller and leaves b empty. */
char *buf_take(struct buf *b);

#endif
