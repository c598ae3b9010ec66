/*
 * The body as a client sends it with DATA (RFC 5321 4.5.2): dots doubled at line beginnings, a final CRLF,
 * and never a bare CR or LF on the wire, whatever the body holds (each becomes CRLF, a run of CRs before one
 * LF counts once): no byte sequence of a body can be read as an end of data by any receiver. Output is a list
 * of runs that point into the body or into constants; nothing is copied.
 */
#ifndef REMUDA_LIB_SMTP_STUFF_H
#define REMUDA_LIB_SMTP_STUFF_H

#include <sys/uio.h>

#include "lib/base/span.h"

enum { SMTP_STUFF_RUNS = 3 }; /* room that one call of smtp_stuff_feed needs at least */

/* Plain data; zeroed is the beginning of a message. */
struct smtp_stuff {
    uint8_t state;
    uint64_t bytes; /* given out so far, the doubled dots included */
    bool changed;   /* a bare CR or LF was turned into CRLF */
};

void smtp_stuff_init(struct smtp_stuff *s);

/*
 * Takes bytes from the front of *in and appends runs to out[0..most): returns how many; *in keeps what was
 * not taken (empty when there was room). most >= SMTP_STUFF_RUNS. The runs live as long as the bytes of in.
 * At most one CR is held back between calls.
 */
size_t smtp_stuff_feed(struct smtp_stuff *s, struct span *in, struct iovec *out, size_t most);

/* What follows the last byte: ends the last line if need be, then "." CRLF. A constant. */
struct span smtp_stuff_end(struct smtp_stuff *s);

/* True when s, taken as a whole text, has a CR without LF or an LF without CR. */
bool smtp_has_bare(struct span s);

#endif
