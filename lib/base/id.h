/*
 * The 128-bit time-ordered message id: 48 bits of milliseconds since 1970, 80 random bits
 * (the layout of a UUIDv7 without its version bits). Printed as 26 characters of Crockford's
 * base 32, lower case, so that text order is time order.
 */
#ifndef REMUDA_LIB_BASE_ID_H
#define REMUDA_LIB_BASE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/span.h"

enum { MSGID_BYTES = 16, MSGID_TEXT = 26 };

struct msgid {
    uint8_t bytes[MSGID_BYTES];
};

/* now_ms: wall clock, milliseconds since 1970. Randomness from OpenSSL's generator. Any thread. */
struct msgid msgid_make(uint64_t now_ms);
/* The same for one who makes many: the generator takes longer to be asked than to answer. All zero at first;
 * one thread's. */
struct msgid_source {
    uint8_t random[100 * (MSGID_BYTES - 6)];
    size_t left; /* bytes of random not used yet, from its end */
};
struct msgid msgid_next(struct msgid_source *source, uint64_t now_ms);
/* The id that everyone derives alike from the same input (a bounce's id from its cause): SHA-256, shortened,
 * with now_ms in front. */
struct msgid msgid_derive(uint64_t now_ms, struct span input);
uint64_t msgid_ms(const struct msgid *id);
/* out: MSGID_TEXT + 1 bytes, NUL-terminated. Returns out. */
char *msgid_text(const struct msgid *id, char out[MSGID_TEXT + 1]);
bool msgid_parse(struct span text, struct msgid *out);

#endif
