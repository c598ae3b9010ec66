/* Well-formed UTF-8 (RFC 3629): for texts that must be it, such as JSON lines and metric labels. */
#ifndef REMUDA_LIB_BASE_UTF8_H
#define REMUDA_LIB_BASE_UTF8_H

#include "lib/base/span.h"

/* The bytes (1 to 4) of the well-formed character that s begins with; 0 when it is empty or malformed
 * (overlong, surrogate, past U+10FFFF, cut short). */
size_t utf8_sequence(struct span s);

#endif
