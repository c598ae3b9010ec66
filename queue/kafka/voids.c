/*
 * Void values: written by an owner past behind a newer claim. One is the last of its key, so that compaction
 * would keep it and drop the valid value or the tombstone before it; so the owner that reads one at once
 * writes over it what its copy says (finding 6 of tests/model). Until a record behind it is read the key is
 * noted in the copy, in the transaction that passes the void value: a process that ends in between goes on.
 *
 * A void row without a valid one in the copy is lone: it came behind the end of its submission, or compaction
 * has taken the valid one. The copy shows it in its state, under LOG_VOID_ROW and the row's key, and the
 * owner of the partition decides (queue/partition_shared.c). One that comes while we own it is behind an end.
 */
#include "queue/kafka/kafka_private.h"

enum { NOTE_HEAD = 7 }; /* "void", log, partition */

static struct span note_key(char out[KEY_MOST], enum log_name name, uint32_t partition, struct span key)
{
    memcpy(out, "void", 4);
    out[4] = (char)name;
    out[5] = (char)(partition >> 8);
    out[6] = (char)partition;
    if (key.len)
        memcpy(out + NOTE_HEAD, key.ptr, key.len);
    return span_of(out, NOTE_HEAD + key.len);
}

void kafka_void_again(struct kafka_part *p, enum log_name name, struct span key)
{
    uint8_t head[2] = {(uint8_t)name, (uint8_t)key.len};
    buf_add(&p->voids, head, sizeof(head));
    buf_add_span(&p->voids, key);
}

static struct span lone_key(char out[KEY_MOST], uint32_t partition, struct span key)
{
    char name[KEY_MOST];
    size_t head = strlen(LOG_VOID_ROW), len = key.len < KEY_MOST / 2 ? key.len : KEY_MOST / 2;
    memcpy(name, LOG_VOID_ROW, head);
    memcpy(name + head, key.ptr, len);
    return key_of_row(out, partition, span_of(name, head + len));
}

static void note_lone(struct kafka *k, uint32_t n, struct span key, struct span row, uint64_t ms)
{
    char bytes[KEY_MOST];
    struct span value;
    const struct kafka_part *p = &k->parts[n];
    if (p->ownership == PART_OWNED || p->ownership == PART_LOSING ||
        kv_get(k->store.txn, k->store.tables.logs[LOG_BACKLOG], key_of_row(bytes, n, key), &value) == RM_OK)
        return;
    char *at = kv_put_reserve(k->store.txn, k->store.tables.logs[LOG_STATE], lone_key(bytes, n, key),
                              LOG_VOID_ROW_HEAD + row.len);
    if (!at)
        return;
    key_put_u64(at, ms);
    memcpy(at + LOG_VOID_ROW_HEAD, row.ptr, row.len);
}

static bool is_lone(struct kafka *k, enum log_name name, uint32_t n, struct span key)
{
    char bytes[KEY_MOST];
    struct kv_txn *txn;
    struct span value;
    if (name != LOG_BACKLOG || kv_read_begin(k->store.env, &txn) != RM_OK)
        return false;
    bool lone = kv_get(txn, k->store.tables.logs[LOG_STATE], lone_key(bytes, n, key), &value) == RM_OK;
    kv_read_end(txn);
    return lone;
}

bool kafka_voids_lone(struct kafka *k, uint32_t n)
{
    char bytes[KEY_MOST];
    struct kv_txn *txn;
    struct span prefix = lone_key(bytes, n, SPAN_LIT("")), key, value;
    if (kv_read_begin(k->store.env, &txn) != RM_OK)
        return true; /* it cannot be told yet */
    struct kv_cursor *c = kv_cursor_new(txn, k->store.tables.logs[LOG_STATE]);
    bool lone = kv_cursor_seek(c, prefix, &key, &value) && key.len > prefix.len &&
                memcmp(key.ptr, prefix.ptr, prefix.len) == 0;
    kv_cursor_free(c);
    kv_read_end(txn);
    return lone;
}

void kafka_void_note(struct kafka *k, const struct stream *s, struct span key, struct span value, uint64_t ms)
{
    char bytes[KEY_MOST];
    struct kafka_part *p = &k->parts[s->partition];
    if (s->name == LOG_BACKLOG && value.ptr)
        note_lone(k, s->partition, key, value, ms);
    kv_put(k->store.txn, k->store.tables.meta, note_key(bytes, s->name, s->partition, key), SPAN_LIT(""));
    p->void_notes++;
    kafka_void_again(p, s->name, key);
}

void kafka_void_passed(struct kafka *k, const struct stream *s, struct span key)
{
    char bytes[KEY_MOST];
    if (!k->parts[s->partition].void_notes)
        return;
    (void)kv_delete(k->store.txn, k->store.tables.meta, note_key(bytes, s->name, s->partition, key));
    if (s->name == LOG_BACKLOG)
        (void)kv_delete(k->store.txn, k->store.tables.logs[LOG_STATE], lone_key(bytes, s->partition, key));
}

void kafka_voids_load(struct kafka *k, enum log_name name, uint32_t n)
{
    char bytes[KEY_MOST];
    struct kv_txn *txn;
    struct span prefix = note_key(bytes, name, n, span_of(NULL, 0)), key, value;
    struct kafka_part *p = &k->parts[n];
    if (kv_read_begin(k->store.env, &txn) != RM_OK)
        return;
    struct kv_cursor *c = kv_cursor_new(txn, k->store.tables.meta);
    for (bool more = kv_cursor_seek(c, prefix, &key, &value);
         more && key.len > prefix.len && memcmp(key.ptr, prefix.ptr, prefix.len) == 0;
         more = kv_cursor_next(c, &key, &value)) {
        p->void_notes++;
        kafka_void_again(p, name, span_of(key.ptr + prefix.len, key.len - prefix.len));
    }
    kv_cursor_free(c);
    kv_read_end(txn);
}

/* What this process has under way to the key, and not read back, stands behind the void value: the copy,
 * which does not know it, must not be written over it. */
void kafka_voids_repair(struct kafka *k, uint32_t n)
{
    struct kafka_part *p = &k->parts[n];
    struct span rest = buf_span(&p->voids);
    while (rest.len) {
        enum log_name name = (enum log_name)rest.ptr[0];
        size_t len = (unsigned char)rest.ptr[1];
        struct span key = span_of(rest.ptr + 2, len);
        if (!kafka_produce_has(k, name, n, key) && !is_lone(k, name, n, key))
            kafka_produce_again(k, name, n, key);
        rest = span_of(rest.ptr + 2 + len, rest.len - 2 - len);
    }
    buf_clear(&p->voids);
}

void kafka_voids_forget(struct kafka_part *p)
{
    buf_clear(&p->voids);
    p->void_notes = 0;
}
