/* Base64 (RFC 4648 4). The caller gives the memory, so that it can wipe it. Any thread. */
#ifndef REMUDA_LIB_BASE_BASE64_H
#define REMUDA_LIB_BASE_BASE64_H

#include "lib/base/buf.h"
#include "lib/base/err.h"

/* Octets that decoding len characters yields at most. */
#define BASE64_DECODED(len) (((len) + 3) / 4 * 3)

/* Padding is required, and nothing may stand in between. RM_EINVAL on malformed input or when cap is too
 * small. out may be in.ptr. */
int base64_decode(struct span in, char *out, size_t cap, size_t *len) MUST_CHECK;
void base64_encode(struct buf *out, struct span in);

#endif
