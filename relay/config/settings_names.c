/* Names in lists: each once, and each use of one defined. Also what several sections share. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "relay/config/settings_private.h"

void settings_index_names(const struct settings_load *l, const char *list, const char *key, struct map *index)
{
    const struct conf_node *rows = conf_get(l->root, list);
    intptr_t place = 0;
    for (const struct conf_entry *e = rows ? rows->entries : NULL; e; e = e->next) {
        const struct conf_node *name = conf_get(e->value, key);
        place++;
        if (map_get(index, name->text))
            conf_error(l->errors, name, "found the %s \"%s\" a second time in %s, expected it once", key,
                       name->text.ptr, list);
        else
            map_put(index, name->text, (void *)place);
    }
}

void settings_unknown_name(const struct settings_load *l, const struct conf_node *place, const char *what,
                           const char *name, const struct map *index)
{
    size_t pos = 0, n = 0;
    struct span key;
    void *value;
    const char **words = arena_alloc(settings_arena(l), (index->count + 1) * sizeof(*words));
    while (map_next(index, &pos, &key, &value))
        words[n++] = arena_dup_span(settings_arena(l), key);
    const char *near = conf_nearest(span_str(name), words);
    if (near)
        conf_error(l->errors, place, "found the %s \"%s\", which is not defined; did you mean \"%s\"?", what,
                   name, near);
    else
        conf_error(l->errors, place, "found the %s \"%s\", which is not defined", what, name);
}

const struct settings_network *settings_networks(const struct settings_load *l,
                                                 const struct conf_network *from, int n)
{
    struct settings_network *out = arena_alloc(settings_arena(l), sizeof(*out) * (size_t)n);
    for (int i = 0; i < n; i++) {
        memcpy(out[i].prefix, from[i].prefix, sizeof(out[i].prefix));
        out[i].bits = from[i].bits;
    }
    return out;
}

static void check_file(const struct settings_load *l, const struct conf_node *place, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char first[11];
    if (fd < 0)
        conf_error(l->errors, place, "found %s, which cannot be read: %s", path, strerror(errno));
    else if (read(fd, first, sizeof(first)) < (ssize_t)sizeof(first))
        conf_error(l->errors, place, "found %s, expected a PEM file", path);
    if (fd >= 0)
        close(fd);
}

void settings_check_pair(const struct settings_load *l, const struct conf_node *node, const char *certificate,
                         const char *key)
{
    if (certificate)
        check_file(l, conf_place(node, "certificate"), certificate);
    if (key)
        check_file(l, conf_place(node, "key"), key);
    if (certificate && !key)
        conf_error(l->errors, conf_place(node, "certificate"), "found a certificate, expected its key too");
    if (key && !certificate)
        conf_error(l->errors, conf_place(node, "key"), "found a key, expected its certificate too");
}
