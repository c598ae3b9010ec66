/*
 * The scan that both directions of a body share: the next thing in a text that is not ordinary octets.
 */
#ifndef REMUDA_LIB_SMTP_LINE_ENDS_H
#define REMUDA_LIB_SMTP_LINE_ENDS_H

#include "lib/base/span.h"

enum smtp_mark {
    SMTP_MARK_NONE, /* ordinary octets up to the end */
    SMTP_MARK_CRLF,
    SMTP_MARK_CR, /* a CR that is not followed by LF here; at the very end of the bytes it may yet be */
    SMTP_MARK_LF, /* an LF with no CR before it here */
};

enum { SMTP_MARK_WINDOW = 256 };

/*
 * The first CR or LF at or after p: *at is where it stands (end for NONE). p must not begin behind a CR. It
 * looks through a window at a time, so that a text of nothing but CRs or nothing but LFs costs no more than
 * its length.
 */
static inline enum smtp_mark smtp_mark_next(const char *p, const char *end, const char **at)
{
    for (;;) {
        size_t n = (size_t)(end - p) < SMTP_MARK_WINDOW ? (size_t)(end - p) : SMTP_MARK_WINDOW;
        const char *lf = memchr(p, '\n', n);
        const char *cr = memchr(p, '\r', lf ? (size_t)(lf - p) : n);
        *at = cr ? cr : lf ? lf : p + n;
        if (cr) {
            return cr + 1 < end && cr[1] == '\n' ? SMTP_MARK_CRLF : SMTP_MARK_CR;
        }
        if (lf || p + n == end) {
            return lf ? SMTP_MARK_LF : SMTP_MARK_NONE;
        }
        p += n;
    }
}

#endif
