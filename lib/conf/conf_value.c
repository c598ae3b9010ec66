/* Single values from text: durations, sizes, rates, addresses, and the nearest word to a mistyped one. Pure.
 */
#include <arpa/inet.h>
#include <ctype.h>

#include "lib/conf/conf.h"

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit durations[] = {{"ms", 1},         {"s", 1000},    {"sec", 1000},     {"m", 60000},
                                        {"min", 60000},    {"h", 3600000}, {"hour", 3600000}, {"d", 86400000},
                                        {"day", 86400000}, {NULL, 0}};
static const struct unit sizes[] = {{"", 1},
                                    {"B", 1},
                                    {"kB", 1000},
                                    {"MB", 1000000},
                                    {"GB", 1000000000},
                                    {"TB", 1000000000000},
                                    {"KiB", 1ull << 10},
                                    {"MiB", 1ull << 20},
                                    {"GiB", 1ull << 30},
                                    {"TiB", 1ull << 40},
                                    {NULL, 0}};

static bool unit_find(const struct unit *units, struct span name, uint64_t *factor)
{
    for (; units->name; units++) {
        if (!span_eq(span_str(units->name), name))
            continue;
        *factor = units->factor;
        return true;
    }
    return false;
}

/* Cuts digits off the front of *text, then letters: "5min30s" gives 5, "min". */
static bool cut_number(struct span *text, uint64_t *number, struct span *unit)
{
    size_t digits = 0;
    while (digits < text->len && isdigit((unsigned char)text->ptr[digits]))
        digits++;
    size_t end = digits;
    while (end < text->len && isalpha((unsigned char)text->ptr[end]))
        end++;
    if (!span_u64(span_of(text->ptr, digits), number))
        return false;
    *unit = span_of(text->ptr + digits, end - digits);
    *text = span_of(text->ptr + end, text->len - end);
    return true;
}

static bool add_scaled(uint64_t *sum, uint64_t number, uint64_t factor)
{
    uint64_t product;
    return !__builtin_mul_overflow(number, factor, &product) && !__builtin_add_overflow(*sum, product, sum);
}

bool conf_parse_duration(struct span text, uint64_t *ms)
{
    *ms = 0;
    if (span_eq(text, SPAN_LIT("0")))
        return true;
    if (!text.len)
        return false;
    while (text.len) {
        uint64_t number, factor;
        struct span unit;
        if (!cut_number(&text, &number, &unit) || !unit_find(durations, unit, &factor) ||
            !add_scaled(ms, number, factor))
            return false;
    }
    return true;
}

bool conf_parse_size(struct span text, uint64_t *bytes)
{
    uint64_t number, factor;
    struct span unit;
    *bytes = 0;
    if (!cut_number(&text, &number, &unit))
        return false;
    if (unit.len == 0 && text.len > 1 && text.ptr[0] == ' ') {
        unit = span_of(text.ptr + 1, text.len - 1);
        text.len = 0;
    }
    return text.len == 0 && unit_find(sizes, unit, &factor) && add_scaled(bytes, number, factor);
}

bool conf_parse_rate(struct span text, struct conf_rate *out)
{
    *out = (struct conf_rate){0, 0};
    if (span_eq(text, SPAN_LIT("0")))
        return true;
    struct span count = span_trim(span_cut(&text, '/'));
    struct span per = span_trim(text);
    uint64_t n, ms;
    if (!span_u64(count, &n) || n == 0 || n > UINT32_MAX || per.len == 0)
        return false;
    if (!unit_find(durations, per, &ms) && !conf_parse_duration(per, &ms))
        return false;
    if (ms == 0 || ms > 366ull * 86400000)
        return false;
    *out = (struct conf_rate){(uint32_t)n, ms * 1000};
    return true;
}

bool conf_parse_ip(struct span text, uint8_t out[16])
{
    char copy[64];
    if (text.len == 0 || text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    memset(out, 0, 16);
    if (inet_pton(AF_INET, copy, out + 12) == 1) {
        out[10] = out[11] = 0xff;
        return strlen(copy) == text.len;
    }
    return inet_pton(AF_INET6, copy, out) == 1 && strlen(copy) == text.len;
}

static bool no_bits_after(const uint8_t bytes[16], int bits)
{
    for (int i = bits; i < 128; i++)
        if (bytes[i / 8] & (0x80 >> (i % 8)))
            return false;
    return true;
}

bool conf_parse_network(struct span text, struct conf_network *out)
{
    struct span rest = text;
    struct span ip = span_cut(&rest, '/');
    uint64_t bits;
    if (!conf_parse_ip(ip, out->prefix))
        return false;
    bool v4 = memchr(ip.ptr, ':', ip.len) == NULL;
    if (ip.len == text.len)
        bits = v4 ? 32 : 128;
    else if (!span_u64(rest, &bits) || bits > (v4 ? 32 : 128))
        return false;
    out->bits = (int)bits + (v4 ? 96 : 0);
    return no_bits_after(out->prefix, out->bits);
}

bool conf_parse_endpoint(struct span text)
{
    size_t colon = text.len;
    while (colon > 0 && text.ptr[colon - 1] != ':')
        colon--;
    if (colon < 2)
        return false;
    struct span ip = span_of(text.ptr, colon - 1);
    uint64_t port;
    uint8_t bytes[16];
    if (!span_u64(span_of(text.ptr + colon, text.len - colon), &port) || port == 0 || port > 65535)
        return false;
    bool bracketed = ip.len > 2 && ip.ptr[0] == '[' && ip.ptr[ip.len - 1] == ']';
    if (bracketed)
        ip = span_of(ip.ptr + 1, ip.len - 2);
    return conf_parse_ip(ip, bytes) && bracketed == (memchr(ip.ptr, ':', ip.len) != NULL);
}

enum { NEAR_MOST = 40 };

/* Edit distance, letters compared without case; both at most NEAR_MOST long. */
static unsigned distance(struct span a, struct span b)
{
    unsigned row[NEAR_MOST + 1];
    for (size_t j = 0; j <= b.len; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= a.len; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b.len; j++) {
            bool same = tolower((unsigned char)a.ptr[i - 1]) == tolower((unsigned char)b.ptr[j - 1]);
            unsigned best = diagonal + !same;
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[b.len];
}

const char *conf_nearest(struct span text, const char *const *words)
{
    const char *nearest = NULL;
    unsigned least = 3;
    if (text.len == 0 || text.len > NEAR_MOST)
        return NULL;
    for (; *words; words++) {
        struct span word = span_str(*words);
        if (word.len > NEAR_MOST)
            continue;
        unsigned d = distance(text, word);
        if (d < least && d < word.len && 2 * d <= text.len) {
            least = d;
            nearest = *words;
        }
    }
    return nearest;
}
