/* Egresses: their secrets, certificates and ports, and who serves them. */
#include <errno.h>
#include <stdio.h>

#include "lib/base/mac.h"
#include "lib/net/tls.h"
#include "relay/config/settings_private.h"

enum { SECRETS_MOST = 4, SECRET_LEAST = 32, LINE_MOST = 1000 };

bool settings_egress_here(const struct settings *s, int egress)
{
    const struct settings_egress *e = &s->egresses[egress];
    return settings_has_role(s, "egress") && e->protocol == EGRESS_REMUDA && strcmp(e->node, s->name) == 0;
}

bool settings_egress_port_ok(const struct settings_egress *e, uint16_t port)
{
    static const char *const usual[] = {"25", "465", "587", "24"};
    const char *const *ports = e->n_ports ? e->ports : usual;
    int n = e->n_ports ? e->n_ports : (int)(sizeof(usual) / sizeof(usual[0]));
    char text[8];
    (void)snprintf(text, sizeof(text), "%u", port);
    for (int i = 0; i < n; i++)
        if (strcmp(ports[i], text) == 0)
            return true;
    return false;
}

/* Any text becomes a key of the size that the MAC takes (the extraction step of RFC 5869, without salt). */
static void make_key(const char *secret, uint8_t out[MAC_KEY_BYTES])
{
    static const uint8_t none[MAC_KEY_BYTES];
    mac_make(none, span_str(secret), out);
}

static void take_line(const struct settings_load *l, const struct conf_node *place, struct settings_egress *e,
                      char *line)
{
    uint8_t(*keys)[MAC_KEY_BYTES] = (uint8_t(*)[MAC_KEY_BYTES])(uintptr_t)e->keys;
    line[strcspn(line, "\r\n")] = '\0';
    if (!line[0])
        return;
    if (strlen(line) < SECRET_LEAST)
        conf_error(l->errors, place, "secret_file: found a secret of %zu characters, expected %d or more",
                   strlen(line), SECRET_LEAST);
    else if (e->n_keys == SECRETS_MOST)
        conf_error(l->errors, place, "secret_file: found more than %d secrets", SECRETS_MOST);
    else
        make_key(line, keys[e->n_keys++]);
}

static void read_secrets(const struct settings_load *l, const struct conf_node *place,
                         struct settings_egress *e)
{
    char line[LINE_MOST];
    e->keys = arena_alloc(settings_arena(l), sizeof(e->keys[0]) * SECRETS_MOST);
    FILE *f = fopen(e->secret_file, "re");
    if (!f) {
        conf_error(l->errors, place, "secret_file: found %s, which cannot be read: %s", e->secret_file,
                   strerror(errno));
        return;
    }
    int before = l->errors->count;
    while (l->errors->count == before && fgets(line, sizeof(line), f))
        take_line(l, place, e, line);
    (void)fclose(f);
    explicit_bzero(line, sizeof(line));
    if (e->n_keys == 0 && l->errors->count == before)
        conf_error(l->errors, place, "secret_file: found no secret in %s", e->secret_file);
}

static void check_ports(const struct settings_load *l, const struct conf_node *node,
                        const struct settings_egress *e)
{
    uint64_t port;
    for (int i = 0; i < e->n_ports; i++) {
        struct span text = span_str(e->ports[i]);
        if (!span_u64(text, &port) || port == 0 || port > 65535 || text.ptr[0] == '0')
            conf_error(l->errors, conf_at(conf_get(node, "ports"), i),
                       "ports: found \"%s\", expected a number from 1 to 65535", e->ports[i]);
    }
}

/* Who only takes mail, or serves another egress, need not be able to read it. */
static bool needs_secret(const struct settings *s, const struct settings_egress *e)
{
    return settings_has_role(s, "delivery") || strcmp(e->node, s->name) == 0;
}

/* ---- TLS ---- */

typedef int make_context(const struct tls_mutual_files *files, struct tls_context **out, struct buf *error);

static void load_context(const struct settings_load *l, const struct conf_node *place,
                         const struct settings_egress_tls *t, make_context *make, struct tls_context **out)
{
    struct tls_mutual_files files = {.certificate = t->certificate, .key = t->key, .ca = t->ca};
    struct buf error = BUF_INIT;
    if (make(&files, out, &error) != RM_OK) {
        if (error.len && error.data[error.len - 1] == '\n')
            error.len--;
        conf_error(l->errors, place, "tls: found %.*s", (int)error.len, error.data);
    }
    buf_fini(&error);
}

static void take_tls(const struct settings_load *l, const struct conf_node *node, struct settings_egress *e)
{
    const struct settings *s = &l->file->s;
    struct settings_egress_tls *t = &e->tls;
    const struct conf_node *tls = conf_get(node, "tls");
    int before = l->errors->count;
    if (e->protocol != EGRESS_REMUDA)
        conf_error(l->errors, tls, "found tls with protocol: proxy, expected protocol: remuda");
    if (e->secret_file)
        conf_error(l->errors, tls, "found tls and secret_file, expected one of them");
    if (!t->ca || !t->certificate || !t->key)
        conf_error(l->errors, tls, "tls: found no %s, expected ca, certificate and key",
                   !t->ca            ? "ca"
                   : !t->certificate ? "certificate"
                                     : "key");
    if (t->n_workers == 0)
        conf_error(l->errors, tls, "tls: found no workers, expected the names that their certificates bear");
    if (!t->name)
        t->name = e->name;
    if (l->errors->count != before)
        return;
    if (strcmp(e->node, s->name) == 0 && settings_has_role(s, "egress"))
        load_context(l, tls, t, tls_mutual_server_new, &t->server);
    if (settings_has_role(s, "delivery") && l->errors->count == before)
        load_context(l, tls, t, tls_mutual_client_new, &t->client);
}

void settings_drop_egresses(struct settings_file *file)
{
    for (int i = 0; i < file->n_egresses; i++) {
        tls_context_unref(file->egresses[i].tls.server);
        tls_context_unref(file->egresses[i].tls.client);
    }
}

static void check_egress(const struct settings_load *l, const struct conf_node *node,
                         struct settings_egress *e)
{
    if (!e->node)
        e->node = e->name;
    check_ports(l, node, e);
    if (conf_get(node, "tls"))
        take_tls(l, node, e);
    else if (e->protocol == EGRESS_PROXY && e->secret_file)
        conf_error(l->errors, conf_get(node, "secret_file"),
                   "found secret_file with protocol: proxy, which has none; expected protocol: remuda");
    else if (e->protocol == EGRESS_REMUDA && !e->secret_file)
        conf_error(l->errors, node,
                   "found no secret_file and no tls, expected one of them: an open proxy would be anybody's");
    else if (e->secret_file && needs_secret(&l->file->s, e))
        read_secrets(l, conf_get(node, "secret_file"), e);
}

void settings_take_egresses(const struct settings_load *l)
{
    struct settings_file *f = l->file;
    struct map names = MAP_INIT, addresses = MAP_INIT;
    settings_index_names(l, "egresses", "name", &names);
    settings_index_names(l, "egresses", "address", &addresses);
    const struct conf_node *rows = conf_get(l->root, "egresses");
    const struct conf_entry *row = rows ? rows->entries : NULL;
    bool serves = false;
    for (int i = 0; row && i < f->n_egresses; i++, row = row->next) {
        check_egress(l, row->value, &f->egresses[i]);
    }
    f->s.egresses = f->egresses;
    f->s.n_egresses = f->n_egresses;
    for (int i = 0; i < f->n_egresses; i++)
        serves |= settings_egress_here(&f->s, i);
    if (settings_egress_only(&f->s) && !serves)
        conf_error(
            l->errors, rows ? rows : conf_get(l->root, "node"),
            "found no egress of the node \"%s\", which has the role egress; expected one with this name "
            "or node",
            f->s.name);
    map_fini(&names);
    map_fini(&addresses);
}
