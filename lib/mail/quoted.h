/* Quoted-printable (RFC 2045 6.7), for parts of reports that must pass as 7-bit. */
#ifndef REMUDA_LIB_MAIL_QUOTED_H
#define REMUDA_LIB_MAIL_QUOTED_H

#include "lib/base/buf.h"

/* Appends text encoded: its line ends (CRLF or LF) become CRLF, no line is over 76 columns. */
void mail_quoted_add(struct buf *out, struct span text);

#endif
