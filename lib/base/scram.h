/*
 * The client's side of a SCRAM login (RFC 5802, RFC 7677), without channel binding: three messages, of which
 * the first and the last are the client's, and a fourth that proves that the server knows the password too.
 *
 * Name and password are taken as they are: no SASLprep (RFC 4013). Any thread.
 */
#ifndef REMUDA_LIB_BASE_SCRAM_H
#define REMUDA_LIB_BASE_SCRAM_H

#include "lib/base/buf.h"
#include "lib/base/err.h"

struct scram;

/* NULL when the mechanism is neither "SCRAM-SHA-256" nor "SCRAM-SHA-512". Strings are copied. nonce:
 * printable, no comma; NULL, as is usual: a random one. */
struct scram *scram_new(const char *mechanism, const char *user, const char *password, const char *nonce);
/* Wipes the password. NULL allowed. */
void scram_free(struct scram *s);

/* Appends client-first-message. */
void scram_first(struct scram *s, struct buf *out);
/*
 * Takes server-first-message and appends client-final-message. Hashes as often as the server asks for: from
 * 4,096 times (3 ms) to 1,000,000. RM_EINVAL: not what RFC 5802 7 describes, another nonce than ours in
 * front, or more or fewer iterations than that.
 */
int scram_final(struct scram *s, struct span server_first, struct buf *out) MUST_CHECK;
/* Takes server-final-message. RM_EREFUSED: the server does not know the password, or says why it refuses. */
int scram_check(const struct scram *s, struct span server_final) MUST_CHECK;

#endif
