/* The UTF-8 grammar of RFC 3629, section 4. */
#include "lib/base/utf8.h"

static bool within(unsigned char c, unsigned char least, unsigned char most)
{
    return c >= least && c <= most;
}

/* The second byte's range depends on the first: no overlong forms, no surrogates, nothing past U+10FFFF. */
static bool second_fits(unsigned char first, unsigned char second)
{
    switch (first) {
    case 0xe0:
        return within(second, 0xa0, 0xbf);
    case 0xed:
        return within(second, 0x80, 0x9f);
    case 0xf0:
        return within(second, 0x90, 0xbf);
    case 0xf4:
        return within(second, 0x80, 0x8f);
    default:
        return within(second, 0x80, 0xbf);
    }
}

size_t utf8_sequence(struct span s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    if (s.len == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    size_t n = within(p[0], 0xc2, 0xdf) ? 2 : within(p[0], 0xe0, 0xef) ? 3 : within(p[0], 0xf0, 0xf4) ? 4 : 0;
    if (n == 0 || s.len < n || !second_fits(p[0], p[1]))
        return 0;
    for (size_t i = 2; i < n; i++)
        if (!within(p[i], 0x80, 0xbf))
            return 0;
    return n;
}
