/* What the files of relay/config share: the snapshot as it is filled by the table, before and after checks.
 */
#ifndef REMUDA_RELAY_CONFIG_SETTINGS_PRIVATE_H
#define REMUDA_RELAY_CONFIG_SETTINGS_PRIVATE_H

#include "lib/base/map.h"
#include "lib/conf/conf.h"
#include "relay/config/settings.h"

/* Rows as the file has them: names not resolved yet. */
struct raw_listener {
    struct settings_listener l;
    const struct conf_network *proxies;
    int n_proxies;
};

struct raw_source {
    const char *name, *address, *ehlo, *egress, *warmup;
    bool enabled;
};

struct raw_member {
    const char *source;
    uint32_t weight;
};

struct raw_pool {
    const char *name;
    const struct raw_member *members;
    int n_members;
    uint32_t shards;
    const char *fallback, *warmup;
};

struct raw_warmup {
    const char *name;
    uint64_t start, full;
    const char *factor;
    const char *const *steps;
    int n_steps;
    uint32_t hourly;
    bool quick;
    const struct warmup_schedule *schedule; /* made of it */
};

struct raw_quarantine { /* NULL, 0: not said */
    const char *pool, *bad_mailbox, *complaint;
    uint64_t minimum;
};

struct raw_tenant {
    struct settings_tenant t;
    const struct conf_network *networks;
    int n_networks;
    const char *pool;
    const char *const *pools;
    int n_pools;
    const char *retry;
    struct raw_quarantine quarantine;
};

struct raw_provider {
    const char *name;
    const char *const *mx;
    int n_mx;
    const char *const *domains;
    int n_domains;
    uint32_t connections, per_connection;
    struct conf_rate rate;
    int scope; /* enum: 0 per source, 1 total */
    bool tls_required;
    uint64_t idle_ms;
    const char *retry, *warmup;
    struct conf_rate rate_floor;
};

/* The whole snapshot; s comes first, so that a struct settings * is one of these. */
struct settings_file {
    struct settings s;
    struct raw_listener *listeners;
    int n_listeners;
    struct settings_egress *egresses;
    int n_egresses;
    struct raw_source *sources;
    int n_sources;
    struct raw_pool *pools;
    int n_pools;
    struct raw_warmup *warmups;
    int n_warmups;
    struct raw_quarantine quarantine;
    struct raw_tenant *tenants;
    int n_tenants;
    struct retry_schedule *retries;
    int n_retries;
    const struct conf_node *providers;
    const char *rules; /* path; NULL: built in */
    struct map logins; /* user name -> struct settings_login, in the arena */
    struct map routes; /* domain pattern -> const struct settings_route */
};

struct settings_login {
    int tenant;
    const struct settings_user *user;
};

/* What is handed through a load. */
struct settings_load {
    struct settings_file *file;
    struct conf_errors *errors;
    const struct conf_node *root;
    const char *roles; /* instead of the file's; NULL: the file's */
};

static inline struct arena *settings_arena(const struct settings_load *l)
{
    return &l->file->s.arena;
}

extern const struct conf_section settings_root_section;
extern const struct conf_section settings_provider_section;
extern const struct conf_section settings_providers_section; /* the map form of "providers" */

struct settings_providers_map {
    const char *file;
    const struct conf_node *override;
};

/* Each checks one part, resolves its names into the snapshot and reports what is wrong. In this order. */
void settings_take_node(const struct settings_load *l);
void settings_take_log(const struct settings_load *l);
void settings_take_listeners(const struct settings_load *l);
void settings_take_retries(const struct settings_load *l);
void settings_take_routes(const struct settings_load *l);
void settings_take_warmups(const struct settings_load *l);
void settings_take_egresses(const struct settings_load *l); /* before the sources */
void settings_drop_egresses(struct settings_file *file);
void settings_take_sources(const struct settings_load *l);
void settings_take_pools(const struct settings_load *l);
void settings_take_providers(const struct settings_load *l);
void settings_take_tenants(const struct settings_load *l);
void settings_take_feedback(const struct settings_load *l);

/*
 * Reports the second use of a name in a list of maps ("source", the map's key that names it). Fills index
 * with name -> place in the list + 1; the caller's map_fini.
 */
void settings_index_names(const struct settings_load *l, const char *list, const char *key,
                          struct map *index);
/* Reports an unknown name with the near ones of the index; what: "source". */
void settings_unknown_name(const struct settings_load *l, const struct conf_node *place, const char *what,
                           const char *name, const struct map *index);
/* The index of a pool; 0, reported at place, when there is none of that name. */
int settings_pool_index(const struct settings_load *l, const struct conf_node *place, const char *name);
/* What node (NULL: nothing) says, and the defaults where it says nothing. */
struct settings_quarantine settings_quarantine_of(const struct settings_load *l, const struct conf_node *node,
                                                  const struct raw_quarantine *raw,
                                                  struct settings_quarantine defaults);
const struct settings_network *settings_networks(const struct settings_load *l,
                                                 const struct conf_network *from, int n);
/* The schedule that a warmup key names; NULL when name is NULL, or, reported at place, when there is none. */
const struct warmup_schedule *settings_warmup(const struct settings_load *l, const struct conf_node *place,
                                              const char *name);
/* Reports files that cannot be read and a certificate without its key. */
void settings_check_pair(const struct settings_load *l, const struct conf_node *node, const char *certificate,
                         const char *key);

#endif
