/* RFC 4648 4. */
#include "lib/base/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Four characters, the last `pad` of them "=": 24 bits, or -1. */
static int32_t quantum(const char *in, int pad)
{
    int32_t bits = 0;
    for (int i = 0; i < 4; i++) {
        int d = i >= 4 - pad ? 0 : digit(in[i]);
        if (d < 0) {
            return -1;
        }
        bits = bits << 6 | d;
    }
    int32_t spare = pad == 2 ? 0xffff : pad == 1 ? 0xff : 0;
    return (bits & spare) != 0 ? -1 : bits;
}

int base64_decode(struct span in, char *out, size_t cap, size_t *len)
{
    *len = 0;
    if (in.len % 4 != 0) {
        return RM_EINVAL;
    }
    for (size_t i = 0; i < in.len; i += 4) {
        int pad = 0;
        if (i + 4 == in.len && in.ptr[i + 3] == '=') {
            pad = in.ptr[i + 2] == '=' ? 2 : 1;
        }
        int32_t bits = quantum(in.ptr + i, pad);
        size_t n = (size_t)(3 - pad);
        if (bits < 0 || *len + n > cap) {
            return RM_EINVAL;
        }
        for (size_t k = 0; k < n; k++) {
            out[(*len)++] = (char)(bits >> (16 - 8 * k) & 0xff);
        }
    }
    return RM_OK;
}

void base64_encode(struct buf *out, struct span in)
{
    char *to = buf_reserve(out, (in.len + 2) / 3 * 4);
    size_t n = 0;
    for (size_t i = 0; i < in.len; i += 3) {
        size_t have = in.len - i < 3 ? in.len - i : 3;
        uint32_t bits = 0;
        for (size_t k = 0; k < 3; k++) {
            bits = bits << 8 | (k < have ? (unsigned char)in.ptr[i + k] : 0);
        }
        for (size_t k = 0; k < 4; k++) {
            to[n++] = k <= have ? alphabet[bits >> (18 - 6 * k) & 63] : '=';
        }
    }
    out->len += n;
}
