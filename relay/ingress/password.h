/*
 * Passwords against crypt(3) hashes, and a memory of those that were right.
 *
 * A check with yescrypt takes tens of milliseconds on purpose, so it runs off the loop, and a client that
 * logs in for each message would be slow. The cache knows a right answer by a MAC of (user, password, hash)
 * under a key that exists only in this process: a changed hash or password never matches, and nothing that is
 * kept can be tried against. Entries end after PASSWORD_CACHE_MS. Wrong answers are not kept.
 */
#ifndef REMUDA_RELAY_INGRESS_PASSWORD_H
#define REMUDA_RELAY_INGRESS_PASSWORD_H

#include "lib/base/span.h"

enum { PASSWORD_CACHE_MS = 5 * 60 * 1000, PASSWORD_CACHE_ENTRIES = 4096 };

/* True when password is the one behind hash. hash NULL: takes as long and is false. Slow; any thread. */
bool password_check(struct span password, const char *hash);

struct password_cache;

struct password_cache *password_cache_new(void);
void password_cache_free(struct password_cache *c);
/* Any thread. now_ms: since boot. */
bool password_cache_has(struct password_cache *c, struct span user, struct span password, const char *hash,
                        uint64_t now_ms);
void password_cache_add(struct password_cache *c, struct span user, struct span password, const char *hash,
                        uint64_t now_ms);

#endif
