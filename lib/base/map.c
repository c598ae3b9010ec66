/* Hash table with copied byte keys and backward-shift deletion. */
#include "lib/base/map.h"

#include <stdlib.h>

#include "lib/base/err.h"

struct map_slot {
    char *key;
    size_t len;
    uint64_t hash;
    void *value; /* NULL: the slot is free */
};

uint64_t hash64(const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    return h ^ h >> 32;
}

void map_init(struct map *m)
{
    *m = MAP_INIT;
}

void map_fini(struct map *m)
{
    for (size_t i = 0; i < m->cap; i++)
        free(m->slots[i].key);
    free(m->slots);
    *m = MAP_INIT;
}

/* The slot of key, or the free slot where it would go. cap > count always. */
static size_t find(const struct map *m, struct span key, uint64_t hash)
{
    size_t i = hash & (m->cap - 1);
    for (; m->slots[i].value; i = (i + 1) & (m->cap - 1)) {
        const struct map_slot *s = &m->slots[i];
        if (s->hash == hash && s->len == key.len && (key.len == 0 || memcmp(s->key, key.ptr, key.len) == 0))
            break;
    }
    return i;
}

static void grow(struct map *m)
{
    struct map old = *m;
    m->cap = old.cap ? old.cap * 2 : 16;
    m->slots = calloc(m->cap, sizeof(*m->slots));
    ENSURE(m->slots);
    for (size_t i = 0; i < old.cap; i++) {
        if (!old.slots[i].value)
            continue;
        size_t at = old.slots[i].hash & (m->cap - 1);
        while (m->slots[at].value)
            at = (at + 1) & (m->cap - 1);
        m->slots[at] = old.slots[i];
    }
    free(old.slots);
}

void *map_get(const struct map *m, struct span key)
{
    return m->count ? m->slots[find(m, key, hash64(key.ptr, key.len))].value : NULL;
}

void *map_put(struct map *m, struct span key, void *value)
{
    ENSURE(value);
    if ((m->count + 1) * 4 > m->cap * 3)
        grow(m);
    uint64_t hash = hash64(key.ptr, key.len);
    struct map_slot *s = &m->slots[find(m, key, hash)];
    void *old = s->value;
    if (!old) {
        s->key = malloc(key.len + 1);
        ENSURE(s->key);
        if (key.len)
            memcpy(s->key, key.ptr, key.len);
        s->len = key.len;
        s->hash = hash;
        m->count++;
    }
    s->value = value;
    return old;
}

void *map_remove(struct map *m, struct span key)
{
    if (!m->count)
        return NULL;
    size_t hole = find(m, key, hash64(key.ptr, key.len));
    void *old = m->slots[hole].value;
    if (!old)
        return NULL;
    free(m->slots[hole].key);
    size_t mask = m->cap - 1;
    for (size_t i = (hole + 1) & mask; m->slots[i].value; i = (i + 1) & mask) {
        size_t home = m->slots[i].hash & mask;
        if (((i - home) & mask) < ((i - hole) & mask))
            continue;
        m->slots[hole] = m->slots[i];
        hole = i;
    }
    m->slots[hole] = (struct map_slot){NULL, 0, 0, NULL};
    m->count--;
    return old;
}

bool map_next(const struct map *m, size_t *pos, struct span *key, void **value)
{
    for (; *pos < m->cap; (*pos)++) {
        const struct map_slot *s = &m->slots[*pos];
        if (!s->value)
            continue;
        *key = span_of(s->key, s->len);
        *value = s->value;
        (*pos)++;
        return true;
    }
    return false;
}
