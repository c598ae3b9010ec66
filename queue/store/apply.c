/*
 * Turns the ops of a batch into changes of the tables, inside the open transaction. Errors are the
 * transaction's: sticky, seen at the commit.
 */
#include "queue/store/store.h"

static void append(struct store *e, const struct log_batch *b, struct log_op *op)
{
    struct stream *s = stream_touch(e, (enum log_name)op->name, op->partition);
    op->offset = s->now.next++;
    char key[OFFSET_KEY_BYTES];
    size_t body = op->body ? op->body->len : 0;
    char *at = kv_put_reserve(e->txn, e->tables.logs[op->name], key_of_offset(key, op->partition, op->offset),
                              op->value_len + body);
    if (!at)
        return;
    struct span head = log_op_value(b, op);
    if (head.len)
        memcpy(at, head.ptr, head.len);
    if (body)
        memcpy(at + head.len, op->body->data, body);
}

/* ---- backlog rows and their index keys --------------------------------------------------------- */

struct index_keys {
    struct log_index_key keys[LOG_INDEX_KEYS_MOST];
    int n;
};

static void derive(struct store *e, struct span value, struct index_keys *out)
{
    out->n = e->log.options.index ? e->log.options.index(value, out->keys) : 0;
    ENSURE(out->n >= 0 && out->n <= LOG_INDEX_KEYS_MOST);
}

static struct span index_bytes(const struct log_index_key *k)
{
    return span_of((const char *)k->bytes, k->len);
}

static bool has_key(const struct index_keys *set, const struct log_index_key *k)
{
    for (int i = 0; i < set->n; i++)
        if (span_eq(index_bytes(&set->keys[i]), index_bytes(k)))
            return true;
    return false;
}

/* Removes the keys of the old value that the new one lacks, adds those that it brings. */
static void reindex(struct store *e, uint32_t partition, struct span row_key, const struct index_keys *old,
                    const struct index_keys *new)
{
    char key[KEY_MOST];
    for (int i = 0; i < old->n; i++)
        if (!has_key(new, &old->keys[i]))
            kv_delete(e->txn, e->tables.index,
                      key_of_index(key, partition, index_bytes(&old->keys[i]), row_key));
    for (int i = 0; i < new->n; i++)
        if (!has_key(old, &new->keys[i]))
            kv_put(e->txn, e->tables.index, key_of_index(key, partition, index_bytes(&new->keys[i]), row_key),
                   span_of("", 0));
}

static void derive_stored(struct store *e, struct span stored_key, struct index_keys *out)
{
    struct span old;
    out->n = 0;
    if (kv_get(e->txn, e->tables.logs[LOG_BACKLOG], stored_key, &old) == RM_OK)
        derive(e, old, out);
}

static void set_value(struct store *e, const struct stream *s, struct span row_key, struct span value,
                      bool erase)
{
    kv_table table = e->tables.logs[s->name];
    char bytes[KEY_MOST];
    struct span key = key_of_row(bytes, s->partition, row_key);
    if (s->name == LOG_BACKLOG) {
        struct index_keys old, new = {.n = 0};
        derive_stored(e, key, &old);
        if (!erase)
            derive(e, value, &new);
        reindex(e, s->partition, row_key, &old, &new);
    }
    if (erase)
        kv_delete(e->txn, table, key);
    else
        kv_put(e->txn, table, key, value);
}

static void put_or_erase(struct store *e, const struct log_batch *b, struct log_op *op)
{
    struct stream *s = stream_touch(e, (enum log_name)op->name, op->partition);
    op->offset = s->now.next++;
    set_value(e, s, log_op_key(b, op), log_op_value(b, op), op->kind == LOG_OP_ERASE);
}

void apply_value(struct store *e, struct stream *s, uint64_t offset, struct span key, struct span value)
{
    stream_touch(e, s->name, s->partition);
    s->now.next = offset + 1;
    set_value(e, s, key, value, !value.ptr);
}

void apply_record(struct store *e, struct stream *s, uint64_t offset, struct span value)
{
    stream_touch(e, s->name, s->partition);
    s->now.next = offset + 1;
    apply_missed(e, s, offset, value);
}

void apply_leave_out(struct store *e, struct stream *s, uint64_t offset)
{
    stream_touch(e, s->name, s->partition);
    s->now.next = offset;
}

void apply_missed(struct store *e, struct stream *s, uint64_t offset, struct span value)
{
    if (offset < s->now.line)
        return;
    char key[OFFSET_KEY_BYTES];
    kv_put(e->txn, e->tables.logs[s->name], key_of_offset(key, s->partition, offset), value);
}

/* ---- claims --------------------------------------------------------------------------------------- */

static void erase_older_claims(struct store *e, uint32_t partition)
{
    const struct span prefix = SPAN_LIT("claim:");
    char bytes[KEY_MOST];
    struct span from = key_of_row(bytes, partition, prefix), key, value, row;
    struct kv_cursor *c = kv_cursor_new(e->txn, e->tables.logs[LOG_STATE]);
    for (bool more = kv_cursor_seek(c, from, &key, &value); more; more = kv_cursor_next(c, &key, &value)) {
        if (!key_take_row(key, partition, &row) || !span_istarts(row, prefix))
            break;
        kv_cursor_delete(c);
    }
    kv_cursor_free(c);
}

static void put_claim(struct store *e, const struct stream *s, uint64_t epoch, struct span owner)
{
    erase_older_claims(e, s->partition);
    char text[LOG_CLAIM_KEY_BYTES + 1], bytes[KEY_MOST];
    log_claim_key(epoch, text);
    struct buf *value = &e->scratch;
    buf_clear(value);
    log_claim_pack(value, epoch, owner);
    kv_put(e->txn, e->tables.logs[LOG_STATE], key_of_row(bytes, s->partition, span_str(text)),
           buf_span(value));
}

static void claim(struct store *e, const struct log_batch *b, struct log_op *op)
{
    struct stream *s = stream_touch(e, LOG_STATE, op->partition);
    op->offset = s->now.next++;
    put_claim(e, s, op->offset, log_op_value(b, op));
}

void apply_claim(struct store *e, struct stream *s, uint64_t offset, struct span owner)
{
    stream_touch(e, s->name, s->partition);
    s->now.next = offset + 1;
    put_claim(e, s, offset, owner);
}

/* ---- deletion -------------------------------------------------------------------------------------- */

void apply_line(struct store *e, struct stream *s, uint64_t offset)
{
    stream_touch(e, s->name, s->partition);
    uint64_t line = offset < s->now.next ? offset : s->now.next;
    if (line > s->now.line)
        s->now.line = line;
    stream_trim_later(e, s);
}

static void clear_table(struct store *e, kv_table table, uint32_t partition)
{
    char bytes[KEY_MOST];
    struct span key, value, row;
    struct kv_cursor *c = kv_cursor_new(e->txn, table);
    bool more = kv_cursor_seek(c, key_of_row(bytes, partition, span_of(NULL, 0)), &key, &value);
    for (; more && key_take_row(key, partition, &row); more = kv_cursor_next(c, &key, &value))
        kv_cursor_delete(c);
    kv_cursor_free(c);
}

void apply_clear(struct store *e, struct stream *s)
{
    stream_touch(e, s->name, s->partition);
    clear_table(e, e->tables.logs[s->name], s->partition);
    if (s->name == LOG_BACKLOG)
        clear_table(e, e->tables.index, s->partition);
    s->now = STREAM_NEW;
}

static void delete_below(struct store *e, const struct log_op *op)
{
    apply_line(e, stream_touch(e, (enum log_name)op->name, op->partition), op->offset);
}

static int trim(struct store *e, struct stream *s, int most)
{
    stream_touch(e, s->name, s->partition);
    char bytes[OFFSET_KEY_BYTES];
    struct span key, value;
    int deleted = 0;
    uint64_t reached = s->now.line;
    struct kv_cursor *c = kv_cursor_new(e->txn, e->tables.logs[s->name]);
    bool more = kv_cursor_seek(c, key_of_offset(bytes, s->partition, s->now.trimmed), &key, &value);
    for (; more; more = kv_cursor_next(c, &key, &value)) {
        uint64_t offset;
        if (!key_take_offset(key, s->partition, &offset) || offset >= s->now.line)
            break;
        if (deleted == most) {
            reached = offset;
            break;
        }
        kv_cursor_delete(c);
        deleted++;
    }
    kv_cursor_free(c);
    s->now.trimmed = reached;
    return deleted;
}

void apply_trims(struct store *e, int most)
{
    int left = most;
    while (left > 0 && !list_empty(&e->trims) && kv_error(e->txn) == RM_OK) {
        struct stream *s = CONTAINER_OF(e->trims.next, struct stream, trim_link);
        left -= trim(e, s, left);
        list_remove(&s->trim_link);
        stream_trim_later(e, s); /* at the end: every stream gets its turn */
    }
}

static void set_partitions(struct store *e, const struct log_op *op)
{
    char bytes[8];
    key_put_u64(bytes, op->offset);
    kv_put(e->txn, e->tables.meta, SPAN_LIT("partitions"), span_of(bytes, sizeof(bytes)));
}

void apply_batch(struct store *e, struct log_batch *b)
{
    for (size_t i = 0; i < b->n_ops && kv_error(e->txn) == RM_OK; i++) {
        struct log_op *op = &b->ops[i];
        if (op->kind == LOG_OP_APPEND)
            append(e, b, op);
        else if (op->kind == LOG_OP_DELETE_BELOW)
            delete_below(e, op);
        else if (op->kind == LOG_OP_CLAIM)
            claim(e, b, op);
        else if (op->kind == LOG_OP_GROW)
            set_partitions(e, op);
        else
            put_or_erase(e, b, op);
    }
}
