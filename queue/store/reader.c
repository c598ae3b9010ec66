/*
 * Readers: one read transaction, cursors opened as needed, index keys decoded into an arena. The offsets of
 * the stream read last are kept, so that a scan looks its delete line up once.
 */
#include <stdlib.h>

#include "lib/base/arena.h"
#include "queue/store/store.h"

enum { CURSOR_INDEX = LOG_NAMES, CURSORS };

struct store_reader {
    struct log_reader base;
    struct kv_txn *txn;
    struct kv_cursor *cursors[CURSORS];
    struct arena arena;
    bool has_offsets;
    enum log_name offsets_name;
    uint32_t offsets_partition;
    struct stream_offsets offsets;
};

static struct store_reader *reader_of(struct log_reader *r)
{
    return CONTAINER_OF(r, struct store_reader, base);
}

static struct store *store_of(struct log *log)
{
    return CONTAINER_OF(log, struct store, log);
}

int store_read_begin(struct log *log, struct log_reader **out)
{
    struct store *e = store_of(log);
    struct kv_txn *txn = NULL;
    *out = NULL;
    pthread_rwlock_rdlock(&e->env_lock);
    int err = e->env ? kv_read_begin(e->env, &txn) : RM_EIO;
    if (err != RM_OK) {
        pthread_rwlock_unlock(&e->env_lock);
        return err;
    }
    struct store_reader *r = calloc(1, sizeof(*r));
    ENSURE(r);
    r->base.log = log;
    r->txn = txn;
    *out = &r->base;
    return RM_OK;
}

void store_read_end(struct log_reader *base)
{
    struct store_reader *r = reader_of(base);
    struct store *e = store_of(base->log);
    for (int i = 0; i < CURSORS; i++)
        if (r->cursors[i])
            kv_cursor_free(r->cursors[i]);
    kv_read_end(r->txn);
    pthread_rwlock_unlock(&e->env_lock);
    arena_fini(&r->arena);
    free(r);
}

static const struct tables *tables_of(const struct store_reader *r)
{
    return &store_of(r->base.log)->tables;
}

static struct kv_cursor *cursor(struct store_reader *r, int which)
{
    if (!r->cursors[which]) {
        const struct tables *t = tables_of(r);
        r->cursors[which] = kv_cursor_new(r->txn, which == CURSOR_INDEX ? t->index : t->logs[which]);
    }
    return r->cursors[which];
}

static const struct stream_offsets *offsets(struct store_reader *r, enum log_name name, uint32_t partition)
{
    if (r->has_offsets && r->offsets_name == name && r->offsets_partition == partition)
        return &r->offsets;
    char key[8];
    struct span value;
    r->offsets = STREAM_NEW;
    if (kv_get(r->txn, tables_of(r)->meta, key_of_stream(key, name, partition), &value) == RM_OK)
        ENSURE(stream_unpack(value, &r->offsets));
    r->has_offsets = true;
    r->offsets_name = name;
    r->offsets_partition = partition;
    return &r->offsets;
}

uint64_t store_read_end_offset(struct log_reader *base, enum log_name name, uint32_t partition)
{
    return offsets(reader_of(base), name, partition)->next;
}

bool store_read_covers(struct log_reader *base, enum log_name name, uint32_t partition, uint64_t offset)
{
    const struct stream_offsets *o = offsets(reader_of(base), name, partition);
    return offset >= o->line && offset < o->next;
}

int store_read_meta(struct log_reader *base, struct span key, struct span *value)
{
    struct store_reader *r = reader_of(base);
    return kv_get(r->txn, tables_of(r)->meta, key, value);
}

bool store_read_next(struct log_reader *base, enum log_name name, uint32_t partition, uint64_t *offset,
                     struct span *value)
{
    struct store_reader *r = reader_of(base);
    ENSURE(!log_name_compacted(name));
    uint64_t line = offsets(r, name, partition)->line;
    char bytes[OFFSET_KEY_BYTES];
    struct span key;
    return kv_cursor_seek(cursor(r, (int)name),
                          key_of_offset(bytes, partition, *offset > line ? *offset : line), &key, value) &&
           key_take_offset(key, partition, offset);
}

int store_read_at(struct log_reader *base, enum log_name name, uint32_t partition, uint64_t offset,
                  struct span *value)
{
    struct store_reader *r = reader_of(base);
    ENSURE(!log_name_compacted(name));
    if (offset < offsets(r, name, partition)->line)
        return RM_ENOTFOUND;
    char bytes[OFFSET_KEY_BYTES];
    return kv_get(r->txn, tables_of(r)->logs[name], key_of_offset(bytes, partition, offset), value);
}

int store_read_key(struct log_reader *base, enum log_name name, uint32_t partition, struct span key,
                   struct span *value)
{
    struct store_reader *r = reader_of(base);
    ENSURE(log_name_compacted(name));
    char bytes[KEY_MOST];
    return kv_get(r->txn, tables_of(r)->logs[name], key_of_row(bytes, partition, key), value);
}

bool store_read_key_next(struct log_reader *base, enum log_name name, uint32_t partition, struct span from,
                         struct span *key, struct span *value)
{
    struct store_reader *r = reader_of(base);
    ENSURE(log_name_compacted(name));
    char bytes[KEY_MOST];
    struct span stored;
    return kv_cursor_seek(cursor(r, (int)name), key_of_row(bytes, partition, from), &stored, value) &&
           key_take_row(stored, partition, key);
}

bool store_read_index(struct log_reader *base, uint32_t partition, struct span from, struct span after,
                      struct span *index_key, struct span *row_key)
{
    struct store_reader *r = reader_of(base);
    struct kv_cursor *c = cursor(r, CURSOR_INDEX);
    char bytes[KEY_MOST], decoded[LOG_INDEX_KEY_MOST];
    struct span want = key_of_index(bytes, partition, from, after), found, value;
    if (!kv_cursor_seek(c, want, &found, &value))
        return false;
    if (after.len && span_eq(found, want) && !kv_cursor_next(c, &found, &value))
        return false;
    struct span short_lived;
    if (!key_take_index(found, partition, decoded, &short_lived, row_key))
        return false;
    *index_key = span_of(arena_dup_span(&r->arena, short_lived), short_lived.len);
    return true;
}
