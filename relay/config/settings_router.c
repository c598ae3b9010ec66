/* What the router is told: sources, pools with their shards, providers from the data file and this file. */
#include "relay/config/settings_private.h"

static int take_egress(const struct settings_load *l, const struct conf_node *node,
                       const struct raw_source *raw, const struct map *egresses)
{
    if (!raw->egress)
        return -1;
    struct settings_egress *e = map_get(egresses, span_str(raw->egress));
    if (!e) {
        settings_unknown_name(l, conf_get(node, "egress"), "egress", raw->egress, egresses);
        return -1;
    }
    e->used |= raw->enabled;
    return (int)(e - l->file->egresses);
}

void settings_take_sources(const struct settings_load *l)
{
    struct settings_file *f = l->file;
    struct router_source *out = arena_alloc(settings_arena(l), sizeof(*out) * (size_t)f->n_sources);
    struct map names = MAP_INIT, addresses = MAP_INIT, egresses = MAP_INIT;
    settings_index_names(l, "sources", "name", &names);
    for (int i = 0; i < f->n_egresses; i++)
        map_put(&egresses, span_str(f->egresses[i].name), &f->egresses[i]);
    const struct conf_node *rows = conf_get(l->root, "sources");
    const struct conf_entry *row = rows ? rows->entries : NULL;
    for (int i = 0; row && i < f->n_sources; i++, row = row->next) {
        const struct raw_source *raw = &f->sources[i];
        out[i] =
            (struct router_source){.name = raw->name,
                                   .address = raw->address,
                                   .ehlo = raw->ehlo ? raw->ehlo : f->s.hostname,
                                   .egress = take_egress(l, row->value, raw, &egresses),
                                   .enabled = raw->enabled,
                                   .pool = -1,
                                   .weight = 1,
                                   .warmup = settings_warmup(l, conf_get(row->value, "warmup"), raw->warmup)};
        const char *first = map_put(&addresses, span_str(raw->address), (void *)(uintptr_t)raw->name);
        if (first)
            conf_error(l->errors, conf_place(row->value, "address"),
                       "found the address %s of source %s a second time, expected it once", raw->address,
                       first);
    }
    f->s.router.sources = out;
    f->s.router.n_sources = f->n_sources;
    map_fini(&names);
    map_fini(&addresses);
    map_fini(&egresses);
}

static void take_member(const struct settings_load *l, const struct conf_node *node, int pool, int place)
{
    struct router_config *c = &l->file->s.router;
    const struct raw_pool *raw = &l->file->pools[pool];
    const struct raw_member *m = &raw->members[place];
    int *members = (int *)(uintptr_t)c->pools[pool].members;
    int found = router_source_find(c, span_str(m->source));
    members[place] = found < 0 ? 0 : found;
    if (found < 0) {
        struct map index = MAP_INIT;
        for (intptr_t i = 0; i < c->n_sources; i++)
            map_put(&index, span_str(c->sources[i].name), (void *)(i + 1));
        settings_unknown_name(l, conf_get(node, "source"), "source", m->source, &index);
        map_fini(&index);
        return;
    }
    struct router_source *s = (struct router_source *)(uintptr_t)&c->sources[found];
    if (s->pool >= 0) {
        conf_error(l->errors, conf_get(node, "source"),
                   "found the source \"%s\", which is in pool \"%s\" already; expected it in one pool, once",
                   m->source, c->pools[s->pool].name);
        return;
    }
    s->pool = pool;
    s->weight = m->weight;
    s->shard = (uint32_t)place % raw->shards;
}

static void take_members(const struct settings_load *l, const struct conf_node *node, int pool,
                         struct router_pool *out)
{
    const struct raw_pool *raw = &l->file->pools[pool];
    out->members = arena_alloc(settings_arena(l), sizeof(int) * (size_t)raw->n_members);
    out->n_members = raw->n_members;
    const struct conf_node *list = conf_get(node, "members");
    const struct conf_entry *row = list->entries;
    for (int i = 0; i < raw->n_members; i++, row = row->next)
        take_member(l, row->value, pool, i);
    if (raw->shards > (uint32_t)raw->n_members)
        conf_error(l->errors, conf_place(node, "shards"),
                   "found %u shards of %d members, expected at most one each", raw->shards, raw->n_members);
    else if (((uint32_t)raw->n_members + raw->shards - 1) / raw->shards > ROUTER_LANE_SOURCES_MOST)
        conf_error(l->errors, conf_place(node, "members"),
                   "found %d members in %u shards, expected at most %d members a shard", raw->n_members,
                   raw->shards, ROUTER_LANE_SOURCES_MOST);
}

/* Each pool's chain of fallbacks ends; a chain as long as there are pools does not. */
static void check_cycle(const struct settings_load *l, const struct conf_node *node, int pool)
{
    const struct router_config *c = &l->file->s.router;
    int at = c->pools[pool].fallback;
    for (int steps = 0; at >= 0 && steps < c->n_pools; steps++) {
        if (at == pool) {
            conf_error(l->errors, conf_get(node, "fallback"),
                       "found the pool \"%s\" as its own fallback in the end, expected no circle",
                       c->pools[pool].name);
            return;
        }
        at = c->pools[at].fallback;
    }
}

void settings_take_pools(const struct settings_load *l)
{
    struct settings_file *f = l->file;
    struct router_pool *out = arena_alloc(settings_arena(l), sizeof(*out) * (size_t)f->n_pools);
    struct map names = MAP_INIT;
    settings_index_names(l, "pools", "name", &names);
    f->s.router.pools = out;
    f->s.router.n_pools = f->n_pools;
    for (int i = 0; i < f->n_pools; i++)
        out[i] = (struct router_pool){.name = f->pools[i].name, .shards = f->pools[i].shards, .fallback = -1};
    const struct conf_node *rows = conf_get(l->root, "pools");
    const struct conf_entry *row = rows ? rows->entries : NULL;
    for (int i = 0; row && i < f->n_pools; i++, row = row->next) {
        take_members(l, row->value, i, &out[i]);
        out[i].warmup = settings_warmup(l, conf_get(row->value, "warmup"), f->pools[i].warmup);
        const char *fallback = f->pools[i].fallback;
        if (fallback && (out[i].fallback = (int)(intptr_t)map_get(&names, span_str(fallback)) - 1) < 0)
            settings_unknown_name(l, conf_get(row->value, "fallback"), "pool", fallback, &names);
    }
    row = rows ? rows->entries : NULL;
    for (int i = 0; row && i < f->n_pools; i++, row = row->next)
        check_cycle(l, row->value, i);
    map_fini(&names);
}
