/*
 * The header section of a message (RFC 5322 2.2): looked at, never changed. One pass, no copies.
 */
#ifndef REMUDA_LIB_MAIL_HEADER_H
#define REMUDA_LIB_MAIL_HEADER_H

#include "lib/base/buf.h"
#include "lib/base/span.h"

struct mail_field {
    struct span name;  /* "Subject" as written */
    struct span value; /* behind the colon, trimmed at both ends, folds inside kept */
    struct span raw;   /* the whole field with its last line end */
};

struct mail_header_iter {
    struct span rest; /* what was not looked at yet; after the last field: the blank line, or the body */
};

void mail_header_begin(struct mail_header_iter *it, struct span message);
/* False at the end of the section: a blank line, a line that is no field, or the end of the bytes. A field
 * that the bytes cut off (no line end, or possibly another folded line) is given as far as it is there. */
bool mail_header_next(struct mail_header_iter *it, struct mail_field *out);

/* Values are spans into the message; ptr NULL when absent. The first of each counts. */
struct mail_header_info {
    struct span message_id; /* trimmed value of Message-ID, "<...>" */
    struct span date;
    struct span from;
    struct span subject;
    struct span auto_submitted;
    unsigned received; /* of the name Received:, for the loop limit (RFC 5321 6.3) */
    unsigned fields;
    size_t header_bytes; /* of the fields, without the blank line */
    size_t body_at;      /* behind the blank line; = header_bytes when the section has none */
    bool complete;       /* the blank line (or a line that is no field) was seen */
    bool eight_bit;      /* octets over 127 in the fields */
};

/*
 * message: the whole, or its first bytes; at most MAIL_HEADER_SCAN_MOST of them are read (a header section
 * that is longer is not complete).
 */
enum { MAIL_HEADER_SCAN_MOST = 1024 * 1024 };
void mail_header_scan(struct span message, struct mail_header_info *out);

/* The first field of that name, ASCII case-insensitive; false when there is none. */
bool mail_header_find(struct span message, const char *name, struct mail_field *out);
/* Appends a field's value with its folds taken out (each CRLF before a space goes) (RFC 5322 2.2.3). */
void mail_header_unfold(struct buf *out, struct span value);

#endif
