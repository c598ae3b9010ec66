/*
 * Building batches: ops in one array, their keys and heads behind each other in one buffer, bodies by
 * reference. A batch of one message is two allocations. What becomes of it is the backend's.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "queue/log_private.h"

enum { OP_OVERHEAD_BYTES = 64 }; /* what an op without key and value counts as: bounds groups of deletes */

struct log_batch *log_batch_new(enum log_class class)
{
    struct log_batch *b = malloc(sizeof(*b));
    ENSURE(b);
    list_init(&b->link);
    b->class = class;
    b->client = NULL;
    b->done = NULL;
    b->arg = NULL;
    b->status = RM_OK;
    b->claims = false;
    b->epoch = 0;
    b->kept = false;
    b->total_bytes = 0;
    b->n_ops = 0;
    b->cap_ops = LOG_OPS_INLINE;
    b->ops = b->inline_ops;
    buf_init(&b->bytes);
    return b;
}

void log_batch_free(struct log_batch *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < b->n_ops; i++) {
        blob_unref(b->ops[i].body);
        message_unref(b->ops[i].hint);
    }
    if (b->ops != b->inline_ops)
        free(b->ops);
    buf_fini(&b->bytes);
    free(b);
}

void log_batch_keep(struct log_batch *b)
{
    b->kept = true;
}

size_t log_batch_ops(const struct log_batch *b)
{
    return b->n_ops;
}

size_t log_batch_bytes(const struct log_batch *b)
{
    return b->total_bytes;
}

static void grow(struct log_batch *b)
{
    size_t cap = b->cap_ops * 4;
    struct log_op *ops = realloc(b->ops == b->inline_ops ? NULL : b->ops, cap * sizeof(*ops));
    ENSURE(ops);
    if (b->ops == b->inline_ops)
        memcpy(ops, b->inline_ops, b->n_ops * sizeof(*ops));
    b->ops = ops;
    b->cap_ops = cap;
}

static struct log_op *add_op(struct log_batch *b, enum log_op_kind kind, struct span key, struct span value)
{
    if (b->n_ops == b->cap_ops)
        grow(b);
    struct log_op *op = &b->ops[b->n_ops++];
    *op = (struct log_op){.kind = (uint8_t)kind,
                          .key_len = (uint32_t)key.len,
                          .value_len = (uint32_t)value.len,
                          .at = b->bytes.len};
    buf_reserve(&b->bytes, key.len + value.len + 1);
    buf_add_span(&b->bytes, key);
    buf_add_span(&b->bytes, value);
    b->total_bytes += OP_OVERHEAD_BYTES + key.len + value.len;
    return op;
}

bool log_name_compacted(enum log_name name)
{
    return name == LOG_BACKLOG || name == LOG_STATE || name >= LOG_SUPPRESSION;
}

size_t log_batch_append(struct log_batch *b, enum log_name name, uint32_t partition, struct span head,
                        struct blob *body, struct message *hint)
{
    ENSURE(!log_name_compacted(name));
    struct log_op *op = add_op(b, LOG_OP_APPEND, (struct span){NULL, 0}, head);
    op->name = (uint8_t)name;
    op->partition = partition;
    if (body) {
        op->body = blob_ref(body);
        b->total_bytes += body->len;
    }
    if (hint)
        op->hint = message_ref(hint);
    return b->n_ops - 1;
}

void log_batch_put(struct log_batch *b, enum log_name name, uint32_t partition, struct span key,
                   struct span value)
{
    ENSURE(log_name_compacted(name) && key.len >= 1 && key.len <= LOG_KEY_MOST);
    struct log_op *op = add_op(b, LOG_OP_PUT, key, value);
    op->name = (uint8_t)name;
    op->partition = partition;
}

void log_batch_erase(struct log_batch *b, enum log_name name, uint32_t partition, struct span key)
{
    ENSURE(log_name_compacted(name) && key.len >= 1 && key.len <= LOG_KEY_MOST);
    struct log_op *op = add_op(b, LOG_OP_ERASE, key, (struct span){NULL, 0});
    op->name = (uint8_t)name;
    op->partition = partition;
}

void log_batch_delete_below(struct log_batch *b, enum log_name name, uint32_t partition, uint64_t offset)
{
    ENSURE(!log_name_compacted(name));
    struct log_op *op = add_op(b, LOG_OP_DELETE_BELOW, (struct span){NULL, 0}, (struct span){NULL, 0});
    op->name = (uint8_t)name;
    op->partition = partition;
    op->offset = offset;
}

void log_batch_claim(struct log_batch *b, uint32_t partition, struct span owner)
{
    struct log_op *op = add_op(b, LOG_OP_CLAIM, (struct span){NULL, 0}, owner);
    op->name = LOG_STATE;
    op->partition = partition;
}

void log_batch_grow(struct log_batch *b, uint32_t partitions)
{
    struct log_op *op = add_op(b, LOG_OP_GROW, (struct span){NULL, 0}, (struct span){NULL, 0});
    op->name = LOG_CONTROL; /* of no partition's */
    op->offset = partitions;
}

enum log_stage log_op_stage(const struct log_batch *b, size_t i)
{
    const struct log_op *op = &b->ops[i];
    if (op->kind == LOG_OP_DELETE_BELOW)
        return LOG_STAGE_DELETES;
    switch (op->name) {
    case LOG_EVENTS:
        return LOG_STAGE_EVENTS;
    case LOG_BACKLOG:
        return LOG_STAGE_BACKLOG;
    case LOG_STATE:
        return i + 1 == b->n_ops && op->kind != LOG_OP_CLAIM ? LOG_STAGE_POSITION : LOG_STAGE_STATE;
    default:
        return LOG_STAGE_APPENDS;
    }
}

uint64_t log_batch_offset(const struct log_batch *b, size_t op)
{
    ENSURE(op < b->n_ops && b->status == RM_OK);
    return b->ops[op].offset;
}

bool log_batch_next(const struct log_batch *b, enum log_name name, size_t *op, struct span *head)
{
    for (; *op < b->n_ops; ++*op) {
        const struct log_op *o = &b->ops[*op];
        if (o->kind != LOG_OP_APPEND || o->name != name || log_op_done(o))
            continue;
        *head = log_op_value(b, o);
        ++*op;
        return true;
    }
    return false;
}

void log_claim_key(uint64_t epoch, char out[LOG_CLAIM_KEY_BYTES + 1])
{
    snprintf(out, LOG_CLAIM_KEY_BYTES + 1, "claim:%020" PRIu64, epoch);
}

void log_claim_pack(struct buf *out, uint64_t epoch, struct span owner)
{
    char name[256];
    snprintf(name, sizeof(name), "%.*s", SPAN_FMT(owner));
    Remuda__Claim claim = REMUDA__CLAIM__INIT;
    claim.epoch = epoch;
    claim.owner = name;
    claim.time_ms = clock_wall_ms();
    proto_pack(out, &claim.base);
}
