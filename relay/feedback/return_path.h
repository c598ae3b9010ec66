/*
 * Return paths on the bounce domain (VERP): made when a message leaves, recognised when something comes back.
 * Pure but for the settings' secrets; any thread.
 */
#ifndef REMUDA_RELAY_FEEDBACK_RETURN_PATH_H
#define REMUDA_RELAY_FEEDBACK_RETURN_PATH_H

#include "lib/base/arena.h"
#include "relay/config/settings.h"

/* What a return path says of the attempt. */
struct return_path {
    const struct settings_tenant *tenant;
    const char *source, *provider;
    const uint8_t *message; /* MSGID_BYTES */
    struct subid submission;
    uint64_t now_ms;
};

/* `<token>@<domain>` in the arena, or NULL: the tenant has none, or it cannot be told (token_make). */
const char *return_path_make(const struct settings *s, const struct return_path *p, struct arena *a);

enum return_path_verdict {
    RETURN_PATH_OK,
    RETURN_PATH_FORGED, /* no token, not signed by us, or of a tenant that is gone */
    RETURN_PATH_EXPIRED,
};
/* Checks the local part of an address on the bounce domain. OK: *t is filled, *tenant is the index. */
enum return_path_verdict return_path_check(const struct settings *s, struct span local, uint64_t now_ms,
                                           struct token *t, int *tenant);

/* The first valid return path that stands anywhere in the text (a complaint's original with its fields);
 * false: there is none. Looks at most at RETURN_PATH_TRIES places that look like one. */
enum { RETURN_PATH_TRIES = 16 };
bool return_path_find(const struct settings *s, struct span text, uint64_t now_ms, struct token *t,
                      int *tenant);

/* Index of the source, or provider, that a token names; -1: not configured any more. */
int return_path_source(const struct router_config *c, const struct token_claims *claims);
int return_path_provider(const struct router_config *c, const struct token_claims *claims);

#endif
