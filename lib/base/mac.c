/* Keyed hashing, by OpenSSL. */
#include "lib/base/mac.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "lib/base/err.h"

void mac_key_make(uint8_t key[MAC_KEY_BYTES])
{
    ENSURE(RAND_bytes(key, MAC_KEY_BYTES) == 1);
}

void mac_make(const uint8_t key[MAC_KEY_BYTES], struct span input, uint8_t out[MAC_BYTES])
{
    unsigned len = MAC_BYTES;
    ENSURE(HMAC(EVP_sha256(), key, MAC_KEY_BYTES, (const unsigned char *)input.ptr, input.len, out, &len));
    ENSURE(len == MAC_BYTES);
}

bool mac_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}
