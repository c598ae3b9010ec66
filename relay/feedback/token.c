/* Layout, signature and text of the tokens in return paths. */
#include "relay/feedback/token.h"

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/map.h"

enum {
    VERSION = 1,
    SIGNED_BYTES = 33, /* of TOKEN_BYTES; the rest is the signature */
    TOKEN_BYTES = 40,
    MAC_KEPT = TOKEN_BYTES - SIGNED_BYTES,
    AGE_MOST = 255,
    INDEX_MOST = (1 << 14) - 1,
};
#define OFFSET_MOST ((UINT64_C(1) << 40) - 1)

/*
 * version 4, age 8, message 128, partition 16, offset 40, index 14, tenant 16, source 22, provider 16: 264
 * bits, the first bit of each field the highest, then 56 bits of the signature.
 */
struct cursor {
    uint8_t *bytes;
    size_t bit;
};

static void put(struct cursor *c, uint64_t value, int bits)
{
    for (int i = bits - 1; i >= 0; i--, c->bit++)
        if (value >> i & 1)
            c->bytes[c->bit / 8] |= (uint8_t)(0x80 >> c->bit % 8);
}

static uint64_t get(struct cursor *c, int bits)
{
    uint64_t value = 0;
    for (int i = 0; i < bits; i++, c->bit++)
        value = value << 1 | (c->bytes[c->bit / 8] >> (7 - c->bit % 8) & 1);
    return value;
}

static uint32_t code(struct span name, int bits)
{
    return (uint32_t)(hash64(name.ptr, name.len) & ((UINT64_C(1) << bits) - 1));
}

uint32_t token_source_code(struct span name)
{
    return code(name, 22);
}

uint32_t token_provider_code(struct span name)
{
    return code(name, 16);
}

/* ---- text: RFC 4648's base 32 in lower case --------------------------------------------------------- */

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

static void to_text(const uint8_t bytes[TOKEN_BYTES], char out[TOKEN_TEXT + 1])
{
    struct cursor c = {.bytes = (uint8_t *)(uintptr_t)bytes};
    for (int i = 0; i < TOKEN_TEXT; i++)
        out[i] = alphabet[get(&c, 5)];
    out[TOKEN_TEXT] = '\0';
}

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a';
    return c >= '2' && c <= '7' ? c - '2' + 26 : -1;
}

static bool from_text(struct span text, uint8_t bytes[TOKEN_BYTES])
{
    struct cursor c = {.bytes = bytes};
    if (text.len != TOKEN_TEXT)
        return false;
    memset(bytes, 0, TOKEN_BYTES);
    for (int i = 0; i < TOKEN_TEXT; i++) {
        int d = digit(text.ptr[i]);
        if (d < 0)
            return false;
        put(&c, (uint64_t)d, 5);
    }
    return true;
}

/* ---- signature -------------------------------------------------------------------------------------- */

static void sign(const uint8_t key[MAC_KEY_BYTES], const uint8_t bytes[SIGNED_BYTES], struct span tenant,
                 uint8_t mac[MAC_BYTES])
{
    struct buf input = BUF_INIT;
    buf_add(&input, bytes, SIGNED_BYTES);
    buf_add_span(&input, tenant);
    mac_make(key, buf_span(&input), mac);
    buf_fini(&input);
}

bool token_make(const struct token_keys *keys, const struct token_claims *claims, char out[TOKEN_TEXT + 1])
{
    uint8_t bytes[TOKEN_BYTES] = {0}, mac[MAC_BYTES];
    struct cursor c = {.bytes = bytes};
    uint64_t born = msgid_ms(&claims->message);
    uint64_t age = claims->made_ms > born ? (claims->made_ms - born) / TOKEN_AGE_UNIT_MS : 0;
    ENSURE(keys->n > 0);
    if (age > AGE_MOST || claims->submission.partition > UINT16_MAX ||
        claims->submission.offset > OFFSET_MOST || claims->submission.index > INDEX_MOST)
        return false;
    put(&c, VERSION, 4);
    put(&c, age, 8);
    for (int i = 0; i < MSGID_BYTES; i++)
        put(&c, claims->message.bytes[i], 8);
    put(&c, claims->submission.partition, 16);
    put(&c, claims->submission.offset, 40);
    put(&c, claims->submission.index, 14);
    put(&c, code(claims->tenant, 16), 16);
    put(&c, claims->source, 22);
    put(&c, claims->provider, 16);
    ENSURE(c.bit == SIGNED_BYTES * 8);
    sign(keys->keys[0], bytes, claims->tenant, mac);
    memcpy(bytes + SIGNED_BYTES, mac, MAC_KEPT);
    to_text(bytes, out);
    return true;
}

bool token_read(struct span text, struct token *out)
{
    struct cursor c = {.bytes = out->bytes};
    if (!from_text(text, out->bytes) || get(&c, 4) != VERSION)
        return false;
    struct token_claims *claims = &out->claims;
    uint64_t age = get(&c, 8);
    for (int i = 0; i < MSGID_BYTES; i++)
        claims->message.bytes[i] = (uint8_t)get(&c, 8);
    claims->made_ms = msgid_ms(&claims->message) + age * TOKEN_AGE_UNIT_MS;
    claims->submission.partition = (uint32_t)get(&c, 16);
    claims->submission.offset = get(&c, 40);
    claims->submission.index = (uint32_t)get(&c, 14);
    out->tenant_code = (uint16_t)get(&c, 16);
    claims->source = (uint32_t)get(&c, 22);
    claims->provider = (uint32_t)get(&c, 16);
    claims->tenant = span_of("", 0);
    return true;
}

char *token_text(const struct token *t, char out[TOKEN_TEXT + 1])
{
    to_text(t->bytes, out);
    return out;
}

bool token_may_be_of(const struct token *t, struct span tenant)
{
    return code(tenant, 16) == t->tenant_code;
}

bool token_verify(struct token *t, const struct token_keys *keys, struct span tenant)
{
    uint8_t mac[MAC_BYTES];
    for (int i = 0; i < keys->n; i++) {
        sign(keys->keys[i], t->bytes, tenant, mac);
        if (mac_equal(mac, t->bytes + SIGNED_BYTES, MAC_KEPT)) {
            t->claims.tenant = tenant;
            return true;
        }
    }
    return false;
}
