/*
 * Life of a snapshot: load, count, compare, document. The keys are in settings_table.c, what they mean
 * together in the settings_take_* files, questions at run time in settings_lookup.c.
 */
#include "relay/config/settings.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "relay/config/settings_private.h"

static void take_all(const struct settings_load *l)
{
    settings_take_node(l);
    settings_take_log(l);
    settings_take_listeners(l);
    settings_take_retries(l);
    settings_take_routes(l);
    settings_take_warmups(l);
    settings_take_egresses(l);
    settings_take_sources(l);
    settings_take_pools(l);
    settings_take_providers(l);
    settings_take_tenants(l);
    if (router_rules_load(l->file->rules, l->errors, &l->file->s.rules) && l->errors->count == 0)
        conf_error(l->errors, conf_get(l->root, "rules"), "rules: cannot be read");
    settings_take_feedback(l);
}

int settings_load(const char *path, struct settings **out, struct buf *error)
{
    return settings_load_as(path, NULL, out, error);
}

int settings_load_as(const char *path, const char *roles, struct settings **out, struct buf *error)
{
    *out = NULL;
    struct settings_file *file = calloc(1, sizeof(*file));
    ENSURE(file);
    atomic_init(&file->s.refs, 1);
    arena_init(&file->s.arena);
    struct conf_errors errors = {.out = error};
    struct settings_load l = {.file = file, .errors = &errors, .roles = roles};
    int err = conf_read(path, &file->s.arena, &errors, &l.root);
    if (!err) {
        struct conf_fill fill = {.arena = &file->s.arena, .errors = &errors};
        conf_fill(&fill, &settings_root_section, l.root, file);
        if (errors.count == 0)
            take_all(&l);
        err = errors.count ? RM_EINVAL : RM_OK;
    }
    if (err)
        settings_unref(&file->s);
    else
        *out = &file->s;
    return err;
}

struct settings *settings_ref(struct settings *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void settings_unref(struct settings *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    struct settings_file *file = (struct settings_file *)s;
    router_rules_free(s->rules);
    settings_drop_egresses(file);
    map_fini(&file->logins);
    map_fini(&file->routes);
    arena_fini(&s->arena);
    free(file);
}

static bool same_text(const char *key, const char *a, const char *b, struct buf *why)
{
    if (strcmp(a, b) == 0)
        return true;
    buf_printf(why, "%s is %s and cannot become %s without a restart\n", key, a, b);
    return false;
}

static bool same_number(const char *key, unsigned a, unsigned b, struct buf *why)
{
    if (a == b)
        return true;
    buf_printf(why, "%s is %u and cannot become %u without a restart\n", key, a, b);
    return false;
}

bool settings_reloadable(const struct settings *running, const struct settings *next, struct buf *why)
{
    bool same = same_text("node.name", running->name, next->name, why);
    same &= same_text("node.data", running->data, next->data, why);
    same &= same_number("node.shards", (unsigned)running->shards, (unsigned)next->shards, why);
    same &= same_text("log.backend", running->log_backend, next->log_backend, why);
    same &= same_text("log.prefix", running->kafka.prefix, next->kafka.prefix, why);
    same &= same_number("log.sync", running->log_sync, next->log_sync, why);
    return same;
}

void settings_document(struct buf *out)
{
    buf_add_str(
        out,
        "# Configuration\n\n"
        "Made from the program's own table of keys by `remuda config document`; do not edit.\n\n"
        "One YAML file, `remuda.yaml`. Unknown keys, keys given twice, names that are not defined and\n"
        "values out of bounds are errors with file, line and column; nothing is then changed. `SIGHUP`\n"
        "reads it again; node.name, node.data, node.shards, log.backend, log.prefix and log.sync\n"
        "need a restart.\n\n"
        "- A *duration* is `300ms`, `20s`, `5m`, `2h`, `7d` or a sum such as `1h30m`.\n"
        "- A *size* is bytes, or `512KiB`, `50MiB`, `2GiB`, `1TiB` (powers of 1024) or `kB`, `MB`, `GB`.\n"
        "- A *rate* is `100/s`, `10/min`, `5000/h`, `20000/d` or `200/5m`. It is kept by a token bucket:\n"
        "  see `router/decide.h` for what is exact.\n"
        "- A *network* is `192.0.2.0/24`, `2001:db8::/32` or one address.\n"
        "- A *path* that is not absolute is relative to the file that names it.\n"
        "- Where `0` means *no limit*, the table says so.\n\n");
    conf_document(&settings_root_section, out);
    conf_document(&settings_providers_section, out);
    conf_document(&settings_provider_section, out);
    conf_document(&router_rule_section, out);
    while (out->len > 1 && out->data[out->len - 1] == '\n' && out->data[out->len - 2] == '\n')
        out->len--;
}
