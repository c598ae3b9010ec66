/*
 * What the fuzzers share. A fuzzer's claims are ENSUREs: a false one aborts, and libFuzzer keeps the input.
 * The first octet of most inputs steers (flags, fragment sizes); the rest is what is parsed.
 */
#ifndef REMUDA_TESTS_FUZZ_FUZZ_H
#define REMUDA_TESTS_FUZZ_FUZZ_H

#include "lib/base/buf.h"
#include "lib/base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Fragment sizes 1..32, a fixed sequence for each seed. */
static inline size_t fuzz_step(uint32_t *seed, size_t left)
{
    *seed = *seed * 1664525u + 1013904223u;
    size_t n = 1 + (*seed >> 27);
    return n < left ? n : left;
}

/* s lies inside whole (or is empty). */
static inline bool fuzz_inside(struct span s, struct span whole)
{
    return s.len == 0 || (s.ptr >= whole.ptr && s.ptr + s.len <= whole.ptr + whole.len);
}

/* No octet below the blank, no DEL. */
static inline bool fuzz_printable(struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c < ' ' || c == 0x7f) {
            return false;
        }
    }
    return true;
}

#endif
