/* xtext and ORCPT values. Which parameters carry them is known in params.c and in the DSN builder. */
#include "lib/smtp/xtext.h"

#include "lib/smtp/address.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_xchar(char c)
{
    return c >= '!' && c <= '~' && c != '+' && c != '=';
}

/* Value of the +XX at s, -1 when it is none. */
static int hexchar(struct span s)
{
    if (s.len < 3 || s.ptr[0] != '+') {
        return -1;
    }
    int high = hex_digit(s.ptr[1]), low = hex_digit(s.ptr[2]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

int smtp_xtext_decode(struct arena *a, struct span in, struct span *out)
{
    char *to = arena_alloc(a, in.len + 1);
    size_t n = 0;
    *out = (struct span){to, 0};
    for (size_t i = 0; i < in.len; n++) {
        if (is_xchar(in.ptr[i])) {
            to[n] = in.ptr[i++];
            continue;
        }
        int octet = hexchar(span_of(in.ptr + i, in.len - i));
        if (octet < 0) {
            return RM_EINVAL;
        }
        to[n] = (char)octet;
        i += 3;
    }
    to[n] = '\0';
    out->len = n;
    return RM_OK;
}

bool smtp_xtext_valid(struct span s)
{
    for (size_t i = 0; i < s.len;) {
        if (is_xchar(s.ptr[i])) {
            i++;
        } else if (hexchar(span_of(s.ptr + i, s.len - i)) >= 0) {
            i += 3;
        } else {
            return false;
        }
    }
    return true;
}

void smtp_xtext_encode(struct buf *out, struct span in)
{
    static const char digits[] = "0123456789ABCDEF";
    char *to = buf_reserve(out, in.len * 3);
    size_t n = 0;
    for (size_t i = 0; i < in.len; i++) {
        unsigned char c = (unsigned char)in.ptr[i];
        if (is_xchar((char)c)) {
            to[n++] = (char)c;
            continue;
        }
        to[n++] = '+';
        to[n++] = digits[c >> 4];
        to[n++] = digits[c & 15];
    }
    out->len += n;
}

static bool is_type_octet(char c)
{
    return c > ' ' && c < 0x7f && strchr("()<>@,;:\\\"/[]?=", c) == NULL;
}

/* utf-8-addr-xtext or utf-8-addr-unitext: UTF-8 without controls, spaces, "+" and "=". */
static bool utf8_value_ok(struct span value)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if (c <= ' ' || c == 0x7f || c == '=') {
            return false;
        }
    }
    return smtp_utf8_valid(value);
}

int smtp_orcpt_split(struct span orcpt, struct span *type, struct span *value)
{
    const char *semicolon = orcpt.len > 0 ? memchr(orcpt.ptr, ';', orcpt.len) : NULL;
    if (semicolon == NULL || semicolon == orcpt.ptr || semicolon + 1 == orcpt.ptr + orcpt.len) {
        return RM_EINVAL;
    }
    *type = span_of(orcpt.ptr, (size_t)(semicolon - orcpt.ptr));
    *value = span_of(semicolon + 1, orcpt.len - type->len - 1);
    for (size_t i = 0; i < type->len; i++) {
        if (!is_type_octet(type->ptr[i])) {
            return RM_EINVAL;
        }
    }
    bool ok = span_ieq(*type, SPAN_LIT("utf-8")) ? utf8_value_ok(*value) : smtp_xtext_valid(*value);
    return ok ? RM_OK : RM_EINVAL;
}

/* Writes the code point as UTF-8; 0 for one that is none. */
static size_t put_utf8(char *to, uint32_t point)
{
    if (point == 0 || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) {
        return 0;
    }
    if (point < 0x80) {
        to[0] = (char)point;
        return 1;
    }
    size_t n = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--) {
        to[i] = (char)(0x80 | (point & 0x3f));
        point >>= 6;
    }
    to[0] = (char)(lead[n] | point);
    return n;
}

/* The \x{HEX} at s: its length and code point; 0 when there is none. */
static size_t embedded_point(struct span s, uint32_t *point)
{
    *point = 0;
    if (s.len < 5 || memcmp(s.ptr, "\\x{", 3) != 0) {
        return 0;
    }
    size_t i = 3;
    for (; i < s.len && i < 9 && hex_digit(s.ptr[i]) >= 0; i++) {
        *point = *point * 16 + (uint32_t)hex_digit(s.ptr[i]);
    }
    return i > 3 && i < s.len && s.ptr[i] == '}' ? i + 1 : 0;
}

static int utf8_decode(struct arena *a, struct span in, struct span *out)
{
    char *to = arena_alloc(a, in.len + 1); /* each escape is longer than what it stands for */
    size_t n = 0;
    for (size_t i = 0; i < in.len;) {
        uint32_t point;
        size_t taken = embedded_point(span_of(in.ptr + i, in.len - i), &point);
        if (taken == 0) {
            to[n++] = in.ptr[i++];
            continue;
        }
        size_t put = put_utf8(to + n, point);
        if (put == 0) {
            return RM_EINVAL;
        }
        n += put;
        i += taken;
    }
    to[n] = '\0';
    *out = span_of(to, n);
    return RM_OK;
}

int smtp_orcpt_decode(struct arena *a, struct span orcpt, struct span *type, struct span *address)
{
    struct span value;
    if (smtp_orcpt_split(orcpt, type, &value) != RM_OK) {
        return RM_EINVAL;
    }
    if (span_ieq(*type, SPAN_LIT("utf-8"))) {
        return utf8_decode(a, value, address);
    }
    return smtp_xtext_decode(a, value, address);
}
