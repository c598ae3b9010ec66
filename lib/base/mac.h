/* HMAC-SHA-256 (RFC 2104) and random keys for it. Any thread. */
#ifndef REMUDA_LIB_BASE_MAC_H
#define REMUDA_LIB_BASE_MAC_H

#include "lib/base/span.h"

enum { MAC_BYTES = 32, MAC_KEY_BYTES = 32 };

void mac_key_make(uint8_t key[MAC_KEY_BYTES]);
void mac_make(const uint8_t key[MAC_KEY_BYTES], struct span input, uint8_t out[MAC_BYTES]);
/* In a time that does not depend on where they differ. */
bool mac_equal(const void *a, const void *b, size_t len);

#endif
