/*
 * Randomness without state: what is drawn for a message, an attempt or an hour depends on the seed and on its
 * numbers alone, so that every strategy meets the same traffic and the same run is the same twice.
 */
#ifndef REMUDA_BENCH_DRAW_H
#define REMUDA_BENCH_DRAW_H

#include <stdbool.h>
#include <stdint.h>

/* What is drawn; a draw of one purpose says nothing of another. */
enum draw_purpose {
    DRAW_GAP = 1,
    DRAW_PROVIDER,
    DRAW_BAD_MAILBOX,
    DRAW_FULL,
    DRAW_SPAM,
    DRAW_COMPLAINT,
    DRAW_COMPLAINT_LAG,
    DRAW_LATE_BOUNCE,
    DRAW_LATE_LAG,
    DRAW_GREYLIST,
    DRAW_LATENCY,
    DRAW_POLICY,
    DRAW_RETRY,
    DRAW_SCENARIO,
};

static inline uint64_t draw_mix(uint64_t h)
{
    h += 0x9e3779b97f4a7c15ull;
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9ull;
    h = (h ^ h >> 27) * 0x94d049bb133111ebull;
    return h ^ h >> 31;
}

static inline uint64_t draw_bits(uint64_t seed, enum draw_purpose purpose, uint64_t a, uint64_t b)
{
    return draw_mix(draw_mix(draw_mix(seed * 64 + (uint64_t)purpose) ^ a) ^ b);
}

/* 0 <= x < 1 */
static inline double draw_share(uint64_t seed, enum draw_purpose purpose, uint64_t a, uint64_t b)
{
    return (double)(draw_bits(seed, purpose, a, b) >> 11) * 0x1p-53;
}

static inline bool draw_in_10k(uint64_t seed, enum draw_purpose purpose, uint64_t a, uint64_t b, uint32_t n)
{
    return draw_share(seed, purpose, a, b) * 10000 < n;
}

#endif
