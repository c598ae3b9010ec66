/*
 * From an id to what happened: pointers from the index, events from the log. Snapshots of the log are held
 * for one batch only.
 */
#include <stdlib.h>

#include "relay/api/history_private.h"

enum { POINTERS_MOST = 10000, RELATED_MOST = 64 };

void history_events_init(struct history_events *e)
{
    *e = (struct history_events){.arena = ARENA_INIT};
}

void history_events_fini(struct history_events *e)
{
    arena_fini(&e->arena);
    free(e->list);
    *e = (struct history_events){.arena = ARENA_INIT};
}

static struct history_event *events_add(struct history_events *e)
{
    /* Room doubles at each power of two. */
    if ((e->n & (e->n - 1)) == 0) {
        e->list = realloc(e->list, (e->n > 0 ? e->n * 2 : 1) * sizeof(*e->list));
        ENSURE(e->list != NULL);
    }
    return &e->list[e->n++];
}

/* ---- one event of a batch ----------------------------------------------------------------------------- */

Remuda__Event *history_event_pick(struct arena *a, struct span packed, uint32_t index)
{
    struct proto_field f;
    while (proto_field_take(&packed, &f)) {
        if (f.number != 1 /* EventBatch.events */ || index-- > 0)
            continue;
        ProtobufCAllocator allocator = arena_allocator(a);
        return remuda__event__unpack(&allocator, f.bytes.len, (const uint8_t *)f.bytes.ptr);
    }
    return NULL;
}

/* ---- the events of a message -------------------------------------------------------------------------- */

struct pointer {
    uint32_t partition, index;
    uint64_t offset;
};

struct pointers {
    struct pointer *list;
    size_t n;
};

static void pointers_add(struct pointers *p, const unsigned char *key)
{
    if ((p->n & (p->n - 1)) == 0) {
        p->list = realloc(p->list, (p->n > 0 ? p->n * 2 : 1) * sizeof(*p->list));
        ENSURE(p->list != NULL);
    }
    key += MSGID_BYTES;
    p->list[p->n++] = (struct pointer){.partition = (uint32_t)history_get(key, 2),
                                       .offset = history_get(key + 2, 8),
                                       .index = (uint32_t)history_get(key + 10, 4)};
}

static int pointers_of(struct history *h, const struct msgid *id, struct pointers *out)
{
    pthread_rwlock_rdlock(&h->env_lock);
    struct kv_txn *t = NULL;
    int rc = h->env ? kv_read_begin(h->env, &t) : RM_EIO;
    if (rc == RM_OK) {
        struct kv_cursor *c = kv_cursor_new(t, h->ids);
        struct span key, value;
        bool more = kv_cursor_seek(c, span_of((const char *)id->bytes, MSGID_BYTES), &key, &value);
        while (more && out->n < POINTERS_MOST && key.len == HISTORY_ID_KEY &&
               memcmp(key.ptr, id->bytes, MSGID_BYTES) == 0) {
            pointers_add(out, (const unsigned char *)key.ptr);
            more = kv_cursor_next(c, &key, &value);
        }
        kv_cursor_free(c);
        kv_read_end(t);
    }
    pthread_rwlock_unlock(&h->env_lock);
    return rc;
}

/* An event that the log has deleted, or that is another message's in a log made anew, is passed over. */
static int event_read(struct history *h, const struct pointer *p, const struct msgid *id,
                      struct history_events *out)
{
    struct log_reader *r;
    struct span value;
    int rc = p->partition < log_partitions(h->log) ? log_read_begin(h->log, &r) : RM_ECORRUPT;
    if (rc != RM_OK)
        return rc;
    Remuda__Event *event = NULL;
    rc = log_read_at(r, LOG_EVENTS, p->partition, p->offset, &value);
    if (rc == RM_OK)
        event = history_event_pick(&out->arena, value, p->index);
    log_read_end(r);
    if (rc != RM_OK && rc != RM_ENOTFOUND)
        return rc;
    if (event && event->message_id.len == MSGID_BYTES &&
        memcmp(event->message_id.data, id->bytes, MSGID_BYTES) == 0)
        *events_add(out) = (struct history_event){
            .partition = p->partition, .index = p->index, .offset = p->offset, .event = event};
    return RM_OK;
}

int history_events_of(struct history *h, const struct msgid *id, struct history_events *out)
{
    struct pointers found = {0};
    int rc = pointers_of(h, id, &found);
    for (size_t i = 0; rc == RM_OK && i < found.n; i++)
        rc = event_read(h, &found.list[i], id, out);
    free(found.list);
    return rc;
}

static int event_order(const void *a, const void *b)
{
    const struct history_event *x = a, *y = b;
    if (x->event->time_ms != y->event->time_ms)
        return x->event->time_ms < y->event->time_ms ? -1 : 1;
    if (x->partition != y->partition)
        return x->partition < y->partition ? -1 : 1;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Adds the id that the event is related to, unless it is among the n known ones. */
static size_t related_add(struct msgid *known, size_t n, const Remuda__Event *event)
{
    if (event->related_id.len != MSGID_BYTES || n == RELATED_MOST)
        return n;
    for (size_t i = 0; i < n; i++)
        if (memcmp(known[i].bytes, event->related_id.data, MSGID_BYTES) == 0)
            return n;
    memcpy(known[n].bytes, event->related_id.data, MSGID_BYTES);
    return n + 1;
}

int history_trace(struct history *h, const struct msgid *id, struct history_events *out)
{
    struct msgid known[RELATED_MOST] = {*id};
    size_t n = 1;
    int rc = history_events_of(h, id, out);
    size_t own = out->n;
    if (rc == RM_OK && own == 0)
        return RM_ENOTFOUND;
    for (size_t i = 0; rc == RM_OK && i < own; i++)
        n = related_add(known, n, out->list[i].event);
    for (size_t i = 1; rc == RM_OK && i < n; i++)
        rc = history_events_of(h, &known[i], out);
    if (rc == RM_OK)
        qsort(out->list, out->n, sizeof(*out->list), event_order);
    return rc;
}

/* ---- raw reading ----------------------------------------------------------------------------------------
 */

static int batch_add(struct span value, uint32_t partition, uint64_t offset, struct history_events *out)
{
    const Remuda__EventBatch *batch = event_batch_decode(&out->arena, value);
    if (!batch)
        return RM_ECORRUPT;
    for (size_t i = 0; i < batch->n_events; i++)
        *events_add(out) = (struct history_event){
            .partition = partition, .index = (uint32_t)i, .offset = offset, .event = batch->events[i]};
    return RM_OK;
}

int history_read(struct history *h, uint32_t partition, uint64_t *offset, size_t limit,
                 struct history_events *out)
{
    int rc = RM_OK;
    bool more = true;
    for (size_t i = 0; rc == RM_OK && more && i < limit; i++) {
        struct log_reader *r;
        struct span value;
        rc = log_read_begin(h->log, &r);
        if (rc != RM_OK)
            return rc;
        uint64_t at = *offset;
        more = log_read_next(r, LOG_EVENTS, partition, &at, &value);
        if (more) {
            rc = batch_add(value, partition, at, out);
            *offset = at + 1;
        }
        log_read_end(r);
    }
    return rc;
}
