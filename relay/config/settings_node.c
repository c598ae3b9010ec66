/* The node, its listeners, routes and retry schedules: what is more than one key's own type. */
#include <ctype.h>
#include <netdb.h>
#include <unistd.h>

#include "relay/config/settings_private.h"

/* The host's full name: as it is set, or as the system's name service completes it. */
static const char *host_name(struct arena *arena)
{
    char name[256] = "localhost";
    (void)gethostname(name, sizeof(name) - 1);
    if (strchr(name, '.'))
        return arena_strdup(arena, name);
    struct addrinfo hints = {.ai_flags = AI_CANONNAME, .ai_socktype = SOCK_STREAM}, *found = NULL;
    const char *out = NULL;
    if (getaddrinfo(name, NULL, &hints, &found) == 0 && found->ai_canonname &&
        strchr(found->ai_canonname, '.'))
        out = arena_strdup(arena, found->ai_canonname);
    if (found)
        freeaddrinfo(found);
    return out ? out : arena_strdup(arena, name);
}

static const char *const all_roles[] = {"ingress", "delivery", "admin", "egress"};
enum { ROLES = sizeof(all_roles) / sizeof(all_roles[0]) };

bool settings_has_role(const struct settings *s, const char *role)
{
    for (int i = 0; i < s->n_roles; i++)
        if (strcmp(s->roles[i], role) == 0)
            return true;
    return false;
}

bool settings_egress_only(const struct settings *s)
{
    return settings_has_role(s, "egress") && !settings_has_role(s, "ingress") &&
           !settings_has_role(s, "delivery");
}

/* "ingress,delivery" of the command line. */
static void parse_roles(const struct settings_load *l, struct span text)
{
    struct settings *s = &l->file->s;
    const char **out = arena_alloc(&s->arena, sizeof(*out) * ROLES);
    s->roles = out;
    s->n_roles = 0;
    while (text.len) {
        struct span word = span_cut(&text, ',');
        int i = 0;
        while (i < ROLES && !span_eq(word, span_str(all_roles[i])))
            i++;
        if (i == ROLES) {
            conf_error(l->errors, l->root, "--roles: found %.*s, expected ingress, delivery, admin or egress",
                       SPAN_FMT(word));
            return;
        }
        if (!settings_has_role(s, all_roles[i]))
            out[s->n_roles++] = all_roles[i];
    }
}

static void take_roles(const struct settings_load *l, const struct conf_node *place)
{
    struct settings *s = &l->file->s;
    if (l->roles)
        parse_roles(l, span_str(l->roles));
    if (s->n_roles == 0) {
        s->roles = all_roles;
        s->n_roles = ROLES;
    }
    if (settings_egress_only(s)) {
        s->log_backend = "memory"; /* empty: what others expect to find */
        return;
    }
    bool whole = settings_has_role(s, "ingress") && settings_has_role(s, "delivery");
    if (!whole && strcmp(s->log_backend, "kafka") != 0)
        conf_error(
            l->errors, place,
            "roles: found a part of the relay with log.backend %s, expected ingress and delivery: other "
            "nodes cannot reach that log",
            s->log_backend);
}

void settings_take_node(const struct settings_load *l)
{
    struct settings *s = &l->file->s;
    const struct conf_node *node = conf_get(l->root, "node"), *admin = conf_get(l->root, "admin");
    uint8_t ip[16];
    static const uint8_t v6_loopback[16] = {[15] = 1};
    if (!s->hostname)
        s->hostname = host_name(&s->arena);
    if (!s->name)
        s->name = arena_strndup(&s->arena, s->hostname, strcspn(s->hostname, "."));
    if (!s->bounce_from)
        s->bounce_from = arena_printf(&s->arena, "MAILER-DAEMON@%s", s->hostname);
    if (!strchr(s->bounce_from, '@'))
        conf_error(l->errors, conf_get(node, "bounce_from"),
                   "bounce_from: found \"%s\", expected user@domain", s->bounce_from);
    take_roles(l, conf_get(node, "roles"));
    settings_check_pair(l, node, s->certificate, s->key);
    if (!s->admin.address)
        return;
    const char *a = s->admin.address, *colon = strrchr(a, ':');
    struct span host =
        a[0] == '[' ? span_of(a + 1, (size_t)(colon - a) - 2) : span_of(a, (size_t)(colon - a));
    bool loopback =
        conf_parse_ip(host, ip) && (ip[10] == 0xff ? ip[12] == 127 : memcmp(ip, v6_loopback, 16) == 0);
    if (!loopback)
        conf_error(l->errors, conf_get(admin, "address"),
                   "address: found %s, expected a loopback address: who reaches it need not log in", a);
}

static void check_listener(const struct settings_load *l, const struct conf_node *node,
                           const struct settings_listener *it)
{
    settings_check_pair(l, node, it->certificate, it->key);
    if (it->tls == LISTENER_TLS_NONE && it->require_tls)
        conf_error(l->errors, conf_place(node, "require_tls"),
                   "found require_tls with tls: none, expected TLS");
    if (it->tls == LISTENER_TLS_NONE && it->auth && !it->auth_without_tls)
        conf_error(l->errors, conf_place(node, "auth"),
                   "found auth with tls: none, expected TLS or auth_without_tls: true");
    if (it->auth_without_tls && !it->auth)
        conf_error(l->errors, conf_place(node, "auth_without_tls"),
                   "found auth_without_tls, expected auth: true too");
}

void settings_take_listeners(const struct settings_load *l)
{
    struct settings_file *f = l->file;
    struct settings_listener *out = arena_alloc(settings_arena(l), sizeof(*out) * (size_t)f->n_listeners);
    struct map addresses = MAP_INIT;
    settings_index_names(l, "listeners", "address", &addresses);
    map_fini(&addresses);
    const struct conf_node *rows = conf_get(l->root, "listeners");
    const struct conf_entry *row = rows ? rows->entries : NULL;
    for (int i = 0; row && i < f->n_listeners; i++, row = row->next) {
        struct raw_listener *raw = &f->listeners[i];
        out[i] = raw->l;
        out[i].proxies = settings_networks(l, raw->proxies, raw->n_proxies);
        out[i].n_proxies = raw->n_proxies;
        if (!out[i].hostname)
            out[i].hostname = f->s.hostname;
        check_listener(l, row->value, &out[i]);
    }
    f->s.listeners = out;
    f->s.n_listeners = settings_has_role(&f->s, "ingress") ? f->n_listeners : 0;
}

void settings_take_retries(const struct settings_load *l)
{
    struct settings_file *f = l->file;
    struct map names = MAP_INIT;
    settings_index_names(l, "retries", "name", &names);
    map_fini(&names);
    const struct conf_node *rows = conf_get(l->root, "retries");
    const struct conf_entry *row = rows ? rows->entries : NULL;
    for (int i = 0; row && i < f->n_retries; i++, row = row->next) {
        const struct retry_schedule *r = &f->retries[i];
        if (r->delay_notice_ms >= r->lifetime_ms)
            conf_error(
                l->errors,
                conf_place(row->value, conf_get(row->value, "delay_notice") ? "delay_notice" : "lifetime"),
                "found a delay notice not before the end of the lifetime, expected it earlier, or 0");
    }
    f->s.retries = f->retries;
    f->s.n_retries = f->n_retries;
}

static bool host_is_valid(struct span host)
{
    uint8_t ip[16];
    if (host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
        return conf_parse_ip(span_of(host.ptr + 1, host.len - 2), ip);
    if (host.len == 0 || host.len > 253)
        return false;
    for (size_t i = 0; i < host.len; i++)
        if (!isalnum((unsigned char)host.ptr[i]) && !strchr("-_.", host.ptr[i]))
            return false;
    return true;
}

static void check_route_host(const struct settings_load *l, const struct conf_node *place, const char *text)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;
    if (!colon || !span_u64(span_str(colon + 1), &port) || port == 0 || port > 65535 ||
        !host_is_valid(span_of(text, (size_t)(colon - text))))
        conf_error(l->errors, place,
                   "hosts: found \"%s\", expected host:port, 192.0.2.1:25 or [2001:db8::1]:25", text);
}

void settings_take_routes(const struct settings_load *l)
{
    struct settings_file *f = l->file;
    struct map seen = MAP_INIT;
    settings_index_names(l, "routes", "domain", &seen);
    map_fini(&seen);
    const struct conf_node *rows = conf_get(l->root, "routes");
    const struct conf_entry *row = rows ? rows->entries : NULL;
    for (int i = 0; row && i < f->s.n_routes; i++, row = row->next) {
        const struct settings_route *r = &f->s.routes[i];
        const struct conf_node *hosts = conf_get(row->value, "hosts");
        for (int h = 0; h < r->n_hosts; h++)
            check_route_host(l, conf_at(hosts, h), r->hosts[h]);
        map_put(&f->routes, span_str(r->domain), (void *)(uintptr_t)r);
    }
}
