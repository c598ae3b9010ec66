/* Comparisons and cuts over borrowed bytes. ASCII only: locale never matters. */
#include "lib/base/span.h"

static unsigned char lower(unsigned char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned char)(c + 32) : c;
}

bool span_ieq(struct span a, struct span b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower((unsigned char)a.ptr[i]) != lower((unsigned char)b.ptr[i]))
            return false;
    return true;
}

bool span_istarts(struct span s, struct span prefix)
{
    return s.len >= prefix.len && span_ieq(span_of(s.ptr, prefix.len), prefix);
}

bool span_iends(struct span s, struct span suffix)
{
    return s.len >= suffix.len && span_ieq(span_of(s.ptr + s.len - suffix.len, suffix.len), suffix);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct span span_trim(struct span s)
{
    while (s.len && is_blank(s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    while (s.len && is_blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

struct span span_cut(struct span *rest, char sep)
{
    struct span all = *rest;
    const char *at = all.len ? memchr(all.ptr, sep, all.len) : NULL;
    if (!at) {
        *rest = (struct span){NULL, 0};
        return all;
    }
    size_t head = (size_t)(at - all.ptr);
    *rest = span_of(at + 1, all.len - head - 1);
    return span_of(all.ptr, head);
}

bool span_u64(struct span s, uint64_t *out)
{
    uint64_t n = 0;
    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(s.ptr[i] - '0');
        if (n > (UINT64_MAX - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    *out = n;
    return true;
}
