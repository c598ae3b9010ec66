/* Tenants: their logins, networks, pools and limits. */
#include <crypt.h>

#include "relay/config/settings_private.h"

int settings_pool_index(const struct settings_load *l, const struct conf_node *place, const char *name)
{
    const struct router_config *c = &l->file->s.router;
    int found = router_pool_find(c, span_str(name));
    if (found >= 0)
        return found;
    struct map index = MAP_INIT;
    for (intptr_t i = 0; i < c->n_pools; i++)
        map_put(&index, span_str(c->pools[i].name), (void *)(i + 1));
    settings_unknown_name(l, place, "pool", name, &index);
    map_fini(&index);
    return 0;
}

static void take_pools(const struct settings_load *l, const struct conf_node *node,
                       const struct raw_tenant *raw, struct settings_tenant *t)
{
    const struct conf_node *list = conf_get(node, "pools");
    int *out = arena_alloc(settings_arena(l), sizeof(*out) * (size_t)(raw->n_pools + 1));
    t->pools = out;
    if ((raw->pool != NULL) == (raw->n_pools > 0))
        conf_error(l->errors, node, "tenant %s: found %s, expected one of them", t->name,
                   raw->pool ? "both pool and pools" : "neither pool nor pools");
    else if (raw->pool)
        out[t->n_pools++] = settings_pool_index(l, conf_get(node, "pool"), raw->pool);
    for (int i = 0; !raw->pool && i < raw->n_pools; i++) {
        int pool = settings_pool_index(l, conf_at(list, i), raw->pools[i]);
        for (int k = 0; k < i; k++)
            if (strcmp(raw->pools[k], raw->pools[i]) == 0)
                conf_error(l->errors, conf_at(list, i),
                           "found the pool \"%s\" a second time, expected it once", raw->pools[i]);
        out[t->n_pools++] = pool;
    }
}

static void take_user(const struct settings_load *l, const struct conf_node *node, int tenant,
                      const struct settings_user *u)
{
    struct settings_login *login = arena_alloc(settings_arena(l), sizeof(*login));
    *login = (struct settings_login){.tenant = tenant, .user = u};
    if (u->password_hash[0] != '$' || crypt_checksalt(u->password_hash) == CRYPT_SALT_INVALID ||
        strchr(u->password_hash + 1, '$') == NULL)
        conf_error(l->errors, conf_get(node, "password_hash"),
                   "password_hash of user %s: found no crypt(3) hash; make one with: remuda hash-password",
                   u->name);
    if (map_get(&l->file->logins, span_str(u->name)))
        conf_error(l->errors, conf_get(node, "name"), "found the user \"%s\" a second time, expected it once",
                   u->name);
    else
        map_put(&l->file->logins, span_str(u->name), login);
}

static const struct retry_schedule *take_retry(const struct settings_load *l, const struct conf_node *node,
                                               const char *name)
{
    const struct settings *s = &l->file->s;
    struct map index = MAP_INIT;
    const struct retry_schedule *found = NULL;
    for (int i = 0; i < s->n_retries; i++) {
        map_put(&index, span_str(s->retries[i].name), (void *)(uintptr_t)&s->retries[i]);
        if (strcmp(s->retries[i].name, name) == 0)
            found = &s->retries[i];
    }
    if (!found)
        settings_unknown_name(l, conf_get(node, "retry"), "retry schedule", name, &index);
    map_fini(&index);
    return found;
}

/* The same network in two tenants: nobody could say whose client it is. */
static void check_networks(const struct settings_load *l, const struct conf_node *node,
                           const struct raw_tenant *raw, struct map *networks)
{
    const struct conf_node *list = conf_get(node, "networks");
    for (int i = 0; i < raw->n_networks; i++) {
        char key[17];
        memcpy(key, raw->networks[i].prefix, 16);
        key[16] = (char)raw->networks[i].bits;
        if (map_put(networks, span_of(key, sizeof(key)), (void *)(uintptr_t)raw))
            conf_error(l->errors, conf_at(list, i), "found the network %s a second time, expected it once",
                       conf_at(list, i)->text.ptr);
    }
}

static void take_tenant(const struct settings_load *l, const struct conf_node *node, int i,
                        struct settings_tenant *out)
{
    const struct raw_tenant *raw = &l->file->tenants[i];
    *out = raw->t;
    out->quarantine =
        settings_quarantine_of(l, conf_get(node, "quarantine"), &raw->quarantine, l->file->s.quarantine);
    out->networks = settings_networks(l, raw->networks, raw->n_networks);
    out->n_networks = raw->n_networks;
    take_pools(l, node, raw, out);
    if (raw->retry)
        out->retry = take_retry(l, node, raw->retry);
    if (out->limits.bytes == 0)
        out->limits.bytes = l->file->s.message_bytes;
    const struct conf_node *users = conf_get(node, "users");
    for (int u = 0; u < out->n_users; u++)
        take_user(l, conf_at(users, u), i, &out->users[u]);
}

void settings_take_tenants(const struct settings_load *l)
{
    struct settings_file *f = l->file;
    struct settings_tenant *out = arena_alloc(settings_arena(l), sizeof(*out) * (size_t)f->n_tenants);
    struct map names = MAP_INIT, networks = MAP_INIT;
    const struct settings_quarantine published = {.pool = -1, .bounds = tenant_bounds_default};
    f->s.quarantine = settings_quarantine_of(l, conf_get(l->root, "quarantine"), &f->quarantine, published);
    settings_index_names(l, "tenants", "name", &names);
    const struct conf_node *rows = conf_get(l->root, "tenants");
    const struct conf_entry *row = rows ? rows->entries : NULL;
    for (int i = 0; row && i < f->n_tenants; i++, row = row->next) {
        take_tenant(l, row->value, i, &out[i]);
        check_networks(l, row->value, &f->tenants[i], &networks);
    }
    f->s.tenants = out;
    f->s.n_tenants = f->n_tenants;
    map_fini(&names);
    map_fini(&networks);
}
