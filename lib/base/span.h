/*
 * Borrowed bytes: a pointer and a length, never NUL-terminated, never owned. The word "span" in a
 * parameter means: valid only during the call unless the function says otherwise.
 */
#ifndef REMUDA_LIB_BASE_SPAN_H
#define REMUDA_LIB_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
    const char *ptr;
    size_t len;
};

#define SPAN_LIT(s) ((struct span){(s), sizeof(s) - 1})
#define SPAN_FMT(s) (int)(s).len, (s).ptr /* for "%.*s" */

static inline struct span span_of(const char *ptr, size_t len)
{
    return (struct span){ptr, len};
}

/* NULL gives the empty span. */
static inline struct span span_str(const char *s)
{
    return (struct span){s, s ? strlen(s) : 0};
}

static inline bool span_eq(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* ASCII case-insensitive comparison (domains, keywords, header names). */
bool span_ieq(struct span a, struct span b);

/* True when s begins / ends with the affix, ASCII case-insensitive. */
bool span_istarts(struct span s, struct span prefix);
bool span_iends(struct span s, struct span suffix);

/* Without the leading and trailing spaces and tabs. */
struct span span_trim(struct span s);

/*
 * Cuts *rest at the first sep: returns what stands before it and leaves what follows in *rest.
 * Without a sep it returns all and *rest becomes empty with ptr NULL.
 */
struct span span_cut(struct span *rest, char sep);

/* Parses a decimal number without sign; false on anything else or overflow. */
bool span_u64(struct span s, uint64_t *out);

#endif
