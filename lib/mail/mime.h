/*
 * The parts of a MIME message (RFC 2045, 2046), looked at and never changed: a walk over what is there, in
 * its order, lenient as a reader of strangers' mail must be. Bounded in depth and number; one pass per level.
 * Pure; any thread.
 */
#ifndef REMUDA_LIB_MAIL_MIME_H
#define REMUDA_LIB_MAIL_MIME_H

#include "lib/base/buf.h"
#include "lib/base/span.h"

enum {
    MAIL_PARTS_MOST = 64,
    MAIL_DEPTH_MOST = 6,
    MAIL_BOUNDARY_MOST = 200, /* octets; RFC 2046 allows 70 */
};

/* A part that is no multipart. Spans into the message. */
struct mail_part {
    struct span header; /* its header section and all behind it, for mail_header_find */
    struct span body;   /* as it stands, transfer encoding and all */
    struct span type;   /* "text/plain" when it does not say; without parameters */
};

/*
 * Fills parts with the leaves of the message and returns how many there are, at least 1 for a message that is
 * no multipart. message/rfc822 is a leaf: what is inside is another message. A multipart without its boundary
 * is a leaf too; one whose end is missing ends with the bytes.
 */
size_t mail_parts(struct span message, struct mail_part parts[MAIL_PARTS_MOST]);

/* The value of a parameter of a Content-Type or the like, unquoted; false when it is absent. */
bool mail_parameter(struct span value, const char *name, struct buf *out);

/* Appends the part's body with its transfer encoding (base64, quoted-printable) undone; what does not decode
 * is left out. At most `most` octets are added. */
void mail_part_decode(const struct mail_part *part, size_t most, struct buf *out);

#endif
