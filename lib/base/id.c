/* Message ids: making, printing, parsing. */
#include "lib/base/id.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include "lib/base/err.h"

static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";

static void put_ms(struct msgid *id, uint64_t now_ms)
{
    for (int i = 0; i < 6; i++)
        id->bytes[i] = (uint8_t)(now_ms >> (40 - 8 * i));
}

struct msgid msgid_make(uint64_t now_ms)
{
    struct msgid id;
    put_ms(&id, now_ms);
    ENSURE(RAND_bytes(id.bytes + 6, MSGID_BYTES - 6) == 1);
    return id;
}

struct msgid msgid_next(struct msgid_source *source, uint64_t now_ms)
{
    struct msgid id;
    if (source->left == 0) {
        ENSURE(RAND_bytes(source->random, sizeof(source->random)) == 1);
        source->left = sizeof(source->random);
    }
    source->left -= MSGID_BYTES - 6;
    put_ms(&id, now_ms);
    memcpy(id.bytes + 6, source->random + source->left, MSGID_BYTES - 6);
    return id;
}

struct msgid msgid_derive(uint64_t now_ms, struct span input)
{
    struct msgid id;
    uint8_t digest[32];
    ENSURE(EVP_Digest(input.ptr, input.len, digest, NULL, EVP_sha256(), NULL) == 1);
    put_ms(&id, now_ms);
    memcpy(id.bytes + 6, digest, MSGID_BYTES - 6);
    return id;
}

uint64_t msgid_ms(const struct msgid *id)
{
    uint64_t ms = 0;
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | id->bytes[i];
    return ms;
}

char *msgid_text(const struct msgid *id, char out[MSGID_TEXT + 1])
{
    /* 26 digits of 5 bits are 130: two zero bits stand in front. */
    unsigned acc = 0, bits = 2;
    int at = 0;
    for (int i = 0; i < MSGID_BYTES; i++) {
        acc = acc << 8 | id->bytes[i];
        bits += 8;
        while (bits >= 5) {
            bits -= 5;
            out[at++] = digits[acc >> bits & 31];
        }
    }
    out[at] = '\0';
    return out;
}

bool msgid_parse(struct span text, struct msgid *out)
{
    if (text.len != MSGID_TEXT)
        return false;
    unsigned acc = 0, bits = 0;
    int at = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c + 32);
        const char *d = c ? strchr(digits, c) : NULL;
        if (!d || (i == 0 && d - digits > 7))
            return false;
        acc = acc << 5 | (unsigned)(d - digits);
        bits += i == 0 ? 3 : 5;
        if (bits >= 8) {
            bits -= 8;
            out->bytes[at++] = (uint8_t)(acc >> bits);
        }
    }
    return at == MSGID_BYTES;
}
