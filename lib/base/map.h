/*
 * A hash table from bytes to pointers. Keys are copied in; values are borrowed. Single-threaded.
 * Linear probing, grows at three quarters full, FNV-1a hashed.
 */
#ifndef REMUDA_LIB_BASE_MAP_H
#define REMUDA_LIB_BASE_MAP_H

#include "lib/base/span.h"

struct map_slot;

struct map {
    struct map_slot *slots;
    size_t count;
    size_t cap;
};

#define MAP_INIT ((struct map){NULL, 0, 0})
void map_init(struct map *m);
/* Frees the table and the keys; values are the caller's. */
void map_fini(struct map *m);
/* NULL when absent. */
void *map_get(const struct map *m, struct span key);
/* Stores value (never NULL); returns the value it replaced, or NULL. */
void *map_put(struct map *m, struct span key, void *value);
/* Returns the removed value, or NULL. */
void *map_remove(struct map *m, struct span key);
/*
 * Walks in table order: start with *pos = 0; false at the end. The entry just returned may be removed
 * only after the walk; collect keys first.
 */
bool map_next(const struct map *m, size_t *pos, struct span *key, void **value);

/* 64-bit FNV-1a with a final mix: the hash of names in index keys; stable for ever, so it may be stored. */
uint64_t hash64(const void *bytes, size_t len);

#endif
