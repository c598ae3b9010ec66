/* From settings and an attempt to its return path, and back. */
#include "relay/feedback/return_path.h"

const char *return_path_make(const struct settings *s, const struct return_path *p, struct arena *a)
{
    char text[TOKEN_TEXT + 1];
    if (!s->feedback.domain || !p->tenant || !p->tenant->verp)
        return NULL;
    struct token_claims claims = {.submission = p->submission,
                                  .tenant = span_str(p->tenant->name),
                                  .source = token_source_code(span_str(p->source)),
                                  .provider = token_provider_code(span_str(p->provider)),
                                  .made_ms = p->now_ms};
    memcpy(claims.message.bytes, p->message, MSGID_BYTES);
    if (!token_make(&s->feedback.keys, &claims, text))
        return NULL;
    return arena_printf(a, "%s@%s", text, s->feedback.domain);
}

enum return_path_verdict return_path_check(const struct settings *s, struct span local, uint64_t now_ms,
                                           struct token *t, int *tenant)
{
    if (!token_read(local, t))
        return RETURN_PATH_FORGED;
    for (int i = 0; i < s->n_tenants; i++) {
        struct span name = span_str(s->tenants[i].name);
        if (!token_may_be_of(t, name) || !token_verify(t, &s->feedback.keys, name))
            continue;
        *tenant = i;
        return now_ms > t->claims.made_ms + s->feedback.lifetime_ms + TOKEN_AGE_UNIT_MS ? RETURN_PATH_EXPIRED
                                                                                        : RETURN_PATH_OK;
    }
    return RETURN_PATH_FORGED;
}

bool return_path_find(const struct settings *s, struct span text, uint64_t now_ms, struct token *t,
                      int *tenant)
{
    struct span domain = span_str(s->feedback.domain);
    int tries = 0;
    for (size_t at = TOKEN_TEXT; at + 1 + domain.len <= text.len && tries < RETURN_PATH_TRIES; at++) {
        if (text.ptr[at] != '@' || !span_istarts(span_of(text.ptr + at + 1, text.len - at - 1), domain))
            continue;
        tries++;
        if (return_path_check(s, span_of(text.ptr + at - TOKEN_TEXT, TOKEN_TEXT), now_ms, t, tenant) ==
            RETURN_PATH_OK)
            return true;
    }
    return false;
}

int return_path_source(const struct router_config *c, const struct token_claims *claims)
{
    for (int i = 0; i < c->n_sources; i++)
        if (token_source_code(span_str(c->sources[i].name)) == claims->source)
            return i;
    return -1;
}

int return_path_provider(const struct router_config *c, const struct token_claims *claims)
{
    for (int i = 0; i < c->n_providers; i++)
        if (token_provider_code(span_str(c->providers[i].name)) == claims->provider)
            return i;
    return -1;
}
