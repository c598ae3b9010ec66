/* What comes back: the bounce domain, the secrets that sign return paths, and names that tokens can tell. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/smtp/address.h"
#include "relay/config/settings_private.h"

enum { SECRET_LEAST = 16, SECRETS_MOST = 8, SECRET_LINE = 1024 };

/* Lines of the file that are not empty; NULL: reported. */
static const char *const *read_secrets(const struct settings_load *l, const struct conf_node *place,
                                       const char *path, int *n)
{
    char line[SECRET_LINE];
    const char **out = arena_alloc(settings_arena(l), sizeof(*out) * SECRETS_MOST);
    FILE *f = fopen(path, "r");
    if (!f) {
        conf_error(l->errors, place, "key_file: found %s, which cannot be read (%s)", path, strerror(errno));
        return NULL;
    }
    while (*n < SECRETS_MOST && fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0])
            out[(*n)++] = arena_strdup(settings_arena(l), line);
    }
    fclose(f);
    explicit_bzero(line, sizeof(line));
    return out;
}

/* A key of the length that the signature wants, of a secret of any. */
static void take_keys(const struct settings_load *l, const struct conf_node *place)
{
    static const uint8_t none[MAC_KEY_BYTES];
    struct settings_feedback *f = &l->file->s.feedback;
    uint8_t(*keys)[MAC_KEY_BYTES] =
        arena_alloc(settings_arena(l), MAC_KEY_BYTES * (size_t)(f->n_secrets + 1));
    for (int i = 0; i < f->n_secrets; i++) {
        if (strlen(f->secrets[i]) < SECRET_LEAST)
            conf_error(l->errors, place,
                       "found a secret of %zu characters, expected at least %d; make one with: openssl rand "
                       "-hex 32",
                       strlen(f->secrets[i]), (int)SECRET_LEAST);
        mac_make(none, span_str(f->secrets[i]), keys[i]);
    }
    f->keys = (struct token_keys){.keys = (const uint8_t(*)[MAC_KEY_BYTES])keys, .n = f->n_secrets};
}

static void take_secrets(const struct settings_load *l, const struct conf_node *section)
{
    struct settings_feedback *f = &l->file->s.feedback;
    if ((f->n_secrets > 0) == (f->key_file != NULL)) {
        conf_error(l->errors, section, "feedback: found %s, expected one of keys and key_file",
                   f->key_file ? "both" : "neither keys nor key_file");
        return;
    }
    const struct conf_node *place = conf_place(section, f->key_file ? "key_file" : "keys");
    int before = l->errors->count;
    if (f->key_file)
        f->secrets = read_secrets(l, place, f->key_file, &f->n_secrets);
    if (f->n_secrets == 0 && l->errors->count == before)
        conf_error(l->errors, place, "key_file: found no secret in %s, expected one in a line", f->key_file);
    take_keys(l, place);
}

static void take_names(const struct settings_load *l, const struct conf_node *section)
{
    struct settings_feedback *f = &l->file->s.feedback;
    struct smtp_address a;
    char domain[SMTP_DOMAIN_BUF];
    if (f->domain[0] == '.' || f->domain[0] == '*' || strlen(f->domain) > SMTP_PATH_MOST - 3 - TOKEN_TEXT)
        conf_error(l->errors, conf_get(section, "domain"),
                   "domain: found \"%s\", expected one domain of at most %d characters", f->domain,
                   SMTP_PATH_MOST - 3 - TOKEN_TEXT);
    if (!f->address)
        return;
    if (smtp_address_parse(span_str(f->address), 0, &a) != SMTP_ADDRESS_OK ||
        smtp_domain_ascii(a.domain, domain) != RM_OK)
        conf_error(l->errors, conf_get(section, "address"), "address: found \"%s\", expected local@domain",
                   f->address);
    else
        f->address = arena_printf(settings_arena(l), "%.*s@%s", SPAN_FMT(a.local), domain);
}

typedef uint32_t (*code_fn)(struct span name);

/* Two names that a token cannot tell apart. */
static void check_codes(const struct settings_load *l, const char *what, code_fn code,
                        const char *(*name)(const struct router_config *, int), int n)
{
    struct map seen = MAP_INIT;
    for (int i = 0; i < n; i++) {
        const char *own = name(&l->file->s.router, i);
        uint32_t c = code(span_str(own));
        const char *other = map_put(&seen, span_of((const char *)&c, sizeof(c)), (void *)(uintptr_t)own);
        if (other)
            conf_error(l->errors, conf_get(l->root, "feedback"),
                       "the %s %s and %s have the same code in return paths, expected another name for one "
                       "of them",
                       what, other, own);
    }
    map_fini(&seen);
}

static const char *source_name(const struct router_config *c, int i)
{
    return c->sources[i].name;
}

static const char *provider_name(const struct router_config *c, int i)
{
    return c->providers[i].name;
}

/* Without a domain nothing may want one. */
static void check_unused(const struct settings_load *l)
{
    const struct settings *s = &l->file->s;
    const struct conf_node *tenants = conf_get(l->root, "tenants"),
                           *listeners = conf_get(l->root, "listeners");
    for (int i = 0; i < s->n_tenants; i++)
        if (s->tenants[i].verp)
            conf_error(l->errors, conf_get(conf_at(tenants, i), "verp"),
                       "tenant %s: found verp without feedback.domain, expected both", s->tenants[i].name);
    for (int i = 0; i < s->n_listeners; i++)
        if (s->listeners[i].feedback)
            conf_error(l->errors, conf_get(conf_at(listeners, i), "feedback"),
                       "found feedback without feedback.domain, expected both");
    if (s->feedback.address || s->feedback.n_secrets || s->feedback.key_file)
        conf_error(l->errors, conf_get(l->root, "feedback"), "feedback: found no domain, expected one");
}

void settings_take_feedback(const struct settings_load *l)
{
    const struct settings *s = &l->file->s;
    const struct conf_node *section = conf_get(l->root, "feedback");
    if (!s->feedback.domain) {
        check_unused(l);
        return;
    }
    take_names(l, section);
    take_secrets(l, section);
    check_codes(l, "sources", token_source_code, source_name, s->router.n_sources);
    check_codes(l, "providers", token_provider_code, provider_name, s->router.n_providers);
}
