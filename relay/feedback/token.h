/*
 * The token in a return path (VERP): the local part of `<token>@<bounce domain>`. It names the submission
 * that went out, signed, so that a bounce or a complaint that comes back weeks later is known to be about
 * our mail, and about which. Its layout is in docs/FORMATS.md: 40 octets in base 32, 64 characters, the most
 * that a local part may have (RFC 5321 4.5.3.1.1), read without regard to case.
 *
 * A source and a provider are named by short hashes of their names: settings in which two names share one are
 * refused (settings_feedback.c). The tenant is named by a hash too, and its whole name is signed along.
 *
 * Pure; any thread.
 */
#ifndef REMUDA_RELAY_FEEDBACK_TOKEN_H
#define REMUDA_RELAY_FEEDBACK_TOKEN_H

#include "lib/base/id.h"
#include "lib/base/mac.h"
#include "lib/base/span.h"
#include "queue/partition.h"

enum {
    TOKEN_TEXT = 64,
    TOKEN_AGE_UNIT_MS = 2 * 3600 * 1000, /* the time in it counts in these from the message's own */
};

/* What a token says. Names are borrowed. */
struct token_claims {
    struct msgid message;
    struct subid submission;
    struct span tenant;
    uint32_t source, provider; /* token_source_code, token_provider_code */
    uint64_t made_ms;          /* wall clock, rounded down to TOKEN_AGE_UNIT_MS after the message's time */
};

struct token_keys {
    const uint8_t (*keys)[MAC_KEY_BYTES]; /* the first signs, all are believed */
    int n;
};

uint32_t token_source_code(struct span name);
uint32_t token_provider_code(struct span name);

/* out: TOKEN_TEXT + 1 octets. False when something does not fit (a message that waited for more than 21 days,
 * the submission of the 16,384th domain of a message): it goes without a token. There is a key. */
bool token_make(const struct token_keys *keys, const struct token_claims *claims, char out[TOKEN_TEXT + 1]);

/* How a token is read: its claims are taken apart, the tenant is found, then the signature is checked. */
struct token {
    struct token_claims claims; /* tenant not yet */
    uint16_t tenant_code;
    uint8_t bytes[40];
};

/* Takes the text apart; false: it has not the form of a token. Nothing in it may be believed yet. */
bool token_read(struct span text, struct token *out);
/* The text of a token that was read, in lower case. Returns out. */
char *token_text(const struct token *t, char out[TOKEN_TEXT + 1]);
/* True when it was made by one of these keys for the tenant of that name; claims.tenant is set then. */
bool token_verify(struct token *t, const struct token_keys *keys, struct span tenant);
/* The tenant's name may be that of the token: worth a token_verify. */
bool token_may_be_of(const struct token *t, struct span tenant);

#endif
