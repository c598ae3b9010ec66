/* Providers: the data file, the entries of this file laid over it, and what makes them one table. */
#include <errno.h>
#include <unistd.h>

#include "relay/config/settings_private.h"

struct rows {
    const struct conf_node **nodes;
    int n;
};

static const char *const forms = "a path, a list of providers, or a map of file and override";

static const struct conf_node *name_of(const struct conf_node *row)
{
    const struct conf_node *name = conf_get(row, "name");
    return name && name->kind == CONF_SCALAR ? name : NULL;
}

/* The rows of a list; a name twice is an error. */
static struct rows take_rows(const struct settings_load *l, const struct conf_node *list)
{
    struct rows r = {.nodes =
                         arena_alloc(settings_arena(l), sizeof(*r.nodes) * (size_t)(list->n_entries + 1))};
    struct map names = MAP_INIT;
    if (list->kind != CONF_LIST)
        conf_error(l->errors, list, "providers: found no list, expected a list of providers");
    for (const struct conf_entry *e = list->kind == CONF_LIST ? list->entries : NULL; e; e = e->next) {
        const struct conf_node *name = name_of(e->value);
        if (name && map_put(&names, name->text, &r))
            conf_error(l->errors, name, "found the provider \"%s\" a second time, expected it once",
                       name->text.ptr);
        r.nodes[r.n++] = e->value;
    }
    map_fini(&names);
    return r;
}

static struct conf_entry *add_entry(const struct settings_load *l, struct conf_node *map,
                                    const struct conf_entry *from)
{
    struct conf_entry *e = arena_alloc(settings_arena(l), sizeof(*e));
    *e = (struct conf_entry){.key = from->key, .value = from->value};
    if (map->last)
        map->last->next = e;
    else
        map->entries = e;
    map->last = e;
    map->n_entries++;
    return e;
}

/* over's keys, and those of base that over does not have. Keeps the places of both in their files. */
static const struct conf_node *merged(const struct settings_load *l, const struct conf_node *base,
                                      const struct conf_node *over)
{
    struct conf_node *out = arena_alloc(settings_arena(l), sizeof(*out));
    *out = *over;
    out->entries = out->last = NULL;
    out->n_entries = 0;
    for (const struct conf_entry *e = over->entries; e; e = e->next)
        add_entry(l, out, e);
    for (const struct conf_entry *e = base->entries; e; e = e->next)
        if (!conf_get(over, e->key->text.ptr))
            add_entry(l, out, e);
    return out;
}

static void lay_over(const struct settings_load *l, struct rows *base, const struct rows *over)
{
    const struct conf_node **nodes =
        arena_alloc(settings_arena(l), sizeof(*nodes) * (size_t)(base->n + over->n));
    memcpy(nodes, base->nodes, sizeof(*nodes) * (size_t)base->n);
    base->nodes = nodes;
    int from_file = base->n;
    for (int i = 0; i < over->n; i++) {
        const struct conf_node *name = name_of(over->nodes[i]);
        int at = 0;
        while (at < from_file &&
               !(name && name_of(nodes[at]) && span_eq(name_of(nodes[at])->text, name->text)))
            at++;
        if (at < from_file)
            nodes[at] = merged(l, nodes[at], over->nodes[i]);
        else
            nodes[base->n++] = over->nodes[i];
    }
}

static struct rows read_all(const struct settings_load *l, const struct conf_node *given)
{
    struct settings_providers_map map = {NULL, NULL};
    struct conf_fill fill = {.arena = settings_arena(l), .errors = l->errors};
    struct rows none = {NULL, 0};
    if (given->kind == CONF_LIST)
        return take_rows(l, given);
    if (given->kind == CONF_SCALAR && given->text.len == 0) {
        conf_error(l->errors, given, "providers: found nothing, expected %s", forms);
        return none;
    }
    struct conf_node key = {.kind = CONF_SCALAR, .text = SPAN_LIT("file")};
    struct conf_entry entry = {.key = &key, .value = given};
    struct conf_node path = *given;
    path.kind = CONF_MAP;
    path.entries = &entry;
    conf_fill(&fill, &settings_providers_section, given->kind == CONF_SCALAR ? &path : given, &map);
    const struct conf_node *root;
    if (map.file && access(map.file, R_OK) != 0) {
        conf_error(l->errors, given, "providers: found %s, which cannot be read: %s", map.file,
                   strerror(errno));
        return none;
    }
    if (!map.file || conf_read(map.file, fill.arena, l->errors, &root))
        return l->errors->count ? none : (conf_error(l->errors, given, "providers: cannot be read"), none);
    struct rows rows = take_rows(l, root);
    if (map.override) {
        struct rows over = take_rows(l, map.override);
        lay_over(l, &rows, &over);
    }
    return rows;
}

static void check_names(const struct settings_load *l, const struct conf_node *row, const char *key,
                        struct map *all)
{
    const struct conf_node *list = conf_get(row, key);
    bool suffixes = strcmp(key, "mx") == 0;
    for (const struct conf_entry *e = list && list->kind == CONF_LIST ? list->entries : NULL; e;
         e = e->next) {
        const char *text = e->value->text.ptr;
        if (!text)
            continue;
        if (suffixes != (text[0] == '.'))
            conf_error(l->errors, e->value, "%s: found \"%s\", expected %s", key, text,
                       suffixes ? "a suffix with a leading dot" : "a domain without a pattern");
        const char *first = map_put(all, e->value->text, (void *)(uintptr_t)text);
        if (first)
            conf_error(l->errors, e->value, "%s: found \"%s\" a second time, expected it once", key, text);
    }
}

static void check_retry(const struct settings_load *l, const struct conf_node *row, const char *name)
{
    const struct settings *s = &l->file->s;
    struct map index = MAP_INIT;
    for (intptr_t i = 0; i < s->n_retries; i++)
        map_put(&index, span_str(s->retries[i].name), (void *)(i + 1));
    if (!map_get(&index, span_str(name)))
        settings_unknown_name(l, conf_place(row, "retry"), "retry schedule", name, &index);
    map_fini(&index);
}

static bool has_retry(const struct settings *s, const char *name)
{
    for (int i = 0; i < s->n_retries; i++)
        if (strcmp(s->retries[i].name, name) == 0)
            return true;
    return false;
}

static void check_provider(const struct settings_load *l, const struct conf_node *row,
                           const struct raw_provider *p)
{
    if (p->name && strcmp(p->name, "other") == 0 && (p->n_mx || p->n_domains || p->scope))
        conf_error(l->errors, row,
                   "found mx, domains or limits: total for \"other\", which is what no provider is; "
                   "expected none of them");
    if (p->retry)
        check_retry(l, row, p->retry);
}

static struct router_provider made_from(const struct settings_load *l, const struct conf_node *row,
                                        const struct raw_provider *p)
{
    const struct settings *s = &l->file->s;
    const char *retry = p->retry ? p->retry : has_retry(s, "default") ? "default" : NULL;
    return (struct router_provider){
        .name = p->name,
        .mx_suffixes = p->mx,
        .n_mx_suffixes = p->n_mx,
        .domains = p->domains,
        .n_domains = p->n_domains,
        .limits = {.connections = p->connections,
                   .per_connection = p->per_connection,
                   .rate_count = p->rate.count,
                   .rate_per_us = p->rate.per_us,
                   .total = p->scope == 1,
                   .rate_floor =
                       p->rate_floor.count ? p->rate_floor.count * 1e6 / (double)p->rate_floor.per_us : 0},
        .tls_required = p->tls_required,
        .idle_ms = p->idle_ms ? p->idle_ms : s->delivery.idle_ms,
        .retry = retry,
        .warmup = settings_warmup(l, conf_get(row, "warmup"), p->warmup),
    };
}

void settings_take_providers(const struct settings_load *l)
{
    struct settings *s = &l->file->s;
    struct conf_fill fill = {.arena = settings_arena(l), .errors = l->errors};
    struct rows rows = l->file->providers ? read_all(l, l->file->providers) : (struct rows){NULL, 0};
    struct router_provider *out = arena_alloc(fill.arena, sizeof(*out) * (size_t)(rows.n + 1));
    struct map suffixes = MAP_INIT, domains = MAP_INIT;
    struct raw_provider raw = {0};
    conf_fill(&fill, &settings_provider_section, NULL, &raw);
    raw.name = "other";
    out[ROUTER_OTHER] = made_from(l, NULL, &raw);
    int n = 1;
    for (int i = 0; i < rows.n; i++) {
        raw = (struct raw_provider){0};
        conf_fill(&fill, &settings_provider_section, rows.nodes[i], &raw);
        check_provider(l, rows.nodes[i], &raw);
        check_names(l, rows.nodes[i], "mx", &suffixes);
        check_names(l, rows.nodes[i], "domains", &domains);
        bool other = raw.name && strcmp(raw.name, "other") == 0;
        out[other ? ROUTER_OTHER : n++] = made_from(l, rows.nodes[i], &raw);
    }
    map_fini(&suffixes);
    map_fini(&domains);
    s->router.providers = out;
    s->router.n_providers = n;
}
