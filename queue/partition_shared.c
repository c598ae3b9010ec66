/*
 * What the life of a partition needs more where a flush is not one transaction and an earlier owner may still
 * write: finals whose rows were not erased any more, ends that an earlier owner tells late. All of them
 * count, also of owners past: the bounce or the copy that one stands for was durable before it, and its row's
 * tombstone counts. (Steps hear and erase of tests/model/carry.pml.)
 */
#include <stdlib.h>

#include "lib/base/arena.h"
#include "queue/log_private.h"
#include "queue/partition_private.h"

/* Given away, it may have come back later than the copy that the end is of; any other end is for good, also
 * when the record was carried to a later place since. */
static bool is_end_of(Remuda__EventType type, uint64_t record_offset, uint64_t at)
{
    return type != REMUDA__EVENT_TYPE__EVENT_REROUTED || at <= record_offset;
}

static bool row_is_stale(struct partition *p, struct span value, const Remuda__Event *e)
{
    struct arena a = ARENA_INIT;
    const Remuda__BacklogRow *row = row_decode(&a, value);
    bool stale = row && is_end_of(e->type, e->record_offset, row->at);
    if (stale && row->transfer_to)
        partition_number_done(p,
                              (struct transfer_number){row->transfer_to->epoch, row->transfer_to->sequence});
    arena_fini(&a);
    return stale;
}

/* Erases the row of a submission that has ended. Its teller may have done so already; one that was moved here
 * comes back then when that is durable. */
static bool erase_row(struct partition *p, struct log_reader *r, const Remuda__Event *e)
{
    struct subid id = subid_of(e->submission);
    struct row_key key = row_key_make(id);
    struct span value, key_span = span_of((const char *)key.bytes, sizeof(key.bytes));
    const struct row_place *moved = partition_row_place(p, id);
    bool stale = log_read_key(r, LOG_BACKLOG, p->number, key_span, &value) == RM_OK
                     ? row_is_stale(p, value, e)
                     : moved && is_end_of(e->type, e->record_offset, moved->from);
    if (stale) {
        partition_erase_row(p, id);
        map_put(&p->ended, subid_span(&id), p);
    }
    return stale;
}

bool partition_end_heard(const struct partition *p, struct subid id, uint64_t at)
{
    for (size_t i = 0; i < p->n_heard; i++) {
        const struct heard_end *h = &p->heard[i];
        if (h->id.offset == id.offset && h->id.partition == id.partition && h->id.index == id.index &&
            is_end_of(h->type, h->record_offset, at))
            return true;
    }
    return false;
}

bool partition_row_ended(const struct partition *p, struct subid id, uint64_t at)
{
    return map_get(&p->ended, subid_span(&id)) || map_get(&p->ended_flight, subid_span(&id)) ||
           partition_end_heard(p, id, at);
}

void partition_shared_flush(struct partition *p)
{
    map_fini(&p->ended_flight); /* of one that was given up */
    p->ended_flight = p->ended;
    p->ended = (struct map)MAP_INIT;
}

void partition_shared_flushed(struct partition *p)
{
    map_fini(&p->ended_flight);
}

void partition_shared_told(struct partition *p, struct log_reader *r, const Remuda__Event *e)
{
    if (partition_is_shared(p) && p->events->told_before)
        p->events->told_before(p->events->arg, r, e);
}

void partition_shared_final(struct partition *p, struct log_reader *r, const Remuda__Event *e)
{
    if (partition_is_shared(p))
        (void)erase_row(p, r, e);
}

/* ---- rows of which only a void value is left ---- */

enum {
    DOUBT_MS = 10 * 60 * 1000
}; /* a receiver may take so long to answer the final dot (RFC 5321 4.5.3.2) */

struct void_row {
    struct list node;
    Remuda__BacklogRow *row;
    uint64_t ms;
    bool ended;
};

static void void_take(struct list *out, struct arena *a, struct span value)
{
    if (value.len < LOG_VOID_ROW_HEAD)
        return;
    struct void_row *v = arena_alloc(a, sizeof(*v));
    *v = (struct void_row){
        .row = row_decode(a, span_of(value.ptr + LOG_VOID_ROW_HEAD, value.len - LOG_VOID_ROW_HEAD))};
    for (int i = 0; i < LOG_VOID_ROW_HEAD; i++)
        v->ms = v->ms << 8 | (unsigned char)value.ptr[i];
    if (v->row && v->row->id)
        list_push_back(out, &v->node);
}

static void voids_read(struct partition *p, struct log_reader *r, struct arena *a, struct list *out)
{
    struct buf from = BUF_INIT;
    struct span key, value, prefix = span_str(LOG_VOID_ROW);
    buf_add_span(&from, prefix);
    while (log_read_key_next(r, LOG_STATE, p->number, buf_span(&from), &key, &value) &&
           key.len > prefix.len && memcmp(key.ptr, prefix.ptr, prefix.len) == 0) {
        void_take(out, a, value);
        buf_clear(&from);
        buf_add_span(&from, key);
        buf_add_char(&from, '\0');
    }
    buf_fini(&from);
}

/* Given away, it may have come back since. */
static void note_end(struct list *voids, const Remuda__Event *e)
{
    LIST_FOREACH(it, voids)
    {
        struct void_row *v = CONTAINER_OF(it, struct void_row, node);
        struct subid a = subid_of(v->row->id), b = subid_of(e->submission);
        bool same = a.offset == b.offset && a.partition == b.partition && a.index == b.index;
        if (same && (e->type != REMUDA__EVENT_TYPE__EVENT_REROUTED || e->record_offset >= v->row->at))
            v->ended = true;
    }
}

/* All events that are kept: the end may be long ago. */
static void look_for_ends(struct partition *p, struct log_reader *r, struct list *voids)
{
    struct span value;
    for (uint64_t at = 0; log_read_next(r, LOG_EVENTS, p->number, &at, &value); at++) {
        struct arena a = ARENA_INIT;
        const Remuda__EventBatch *batch = event_batch_decode(&a, value);
        for (size_t i = 0; batch && i < batch->n_events; i++)
            if (batch->events[i]->final && batch->events[i]->submission)
                note_end(voids, batch->events[i]);
        arena_fini(&a);
    }
}

static void put_in_doubt(struct partition *p, const struct void_row *v, struct arena *a)
{
    Remuda__BacklogRow row = *v->row;
    row.state = REMUDA__ROW_STATE__ROW_IN_DOUBT;
    row.cause = (char *)(uintptr_t) "in-doubt";
    row.in_doubt_until_ms = v->ms + DOUBT_MS;
    row.transfer_to = NULL; /* void, it binds nobody, and no copy was given by it */
    row.sealed = NULL;      /* nor was a report */
    partition_told_merge(p, &row, a);
    partition_put_row(p, &row);
}

void partition_shared_voids(struct partition *p, struct log_reader *r)
{
    struct arena a = ARENA_INIT;
    struct list voids;
    list_init(&voids);
    if (partition_is_shared(p))
        voids_read(p, r, &a, &voids);
    if (!list_empty(&voids))
        look_for_ends(p, r, &voids);
    LIST_FOREACH(it, &voids)
    {
        const struct void_row *v = CONTAINER_OF(it, struct void_row, node);
        if (v->ended || v->row->at >= p->next_offset)
            partition_erase_row(p,
                                subid_of(v->row->id)); /* in mail from the watermark on it is found anyway */
        else
            put_in_doubt(p, v, &a);
    }
    arena_fini(&a);
}

/* ---- connections of earlier owners ---- */

void partition_closed(struct partition *p)
{
    ENSURE(p->lost);
    buf_add_char(&p->event_batch, 5 << 3 | 0);
    buf_add_char(&p->event_batch, 1);
    partition_mark_dirty(p);
}

struct span partition_closed_value(uint64_t epoch, char out[PARTITION_CLOSED_MOST])
{
    Remuda__EventBatch batch = REMUDA__EVENT_BATCH__INIT;
    batch.epoch = epoch;
    batch.closed = true;
    ENSURE(protobuf_c_message_get_packed_size(&batch.base) <= PARTITION_CLOSED_MOST);
    return span_of(out, protobuf_c_message_pack(&batch.base, (uint8_t *)out));
}

void partition_shared_closed(struct partition *p, const Remuda__EventBatch *batch)
{
    if (batch->closed)
        buf_add(&p->closed_epochs, &batch->epoch, sizeof(batch->epoch));
}

bool partition_closed_by(const struct partition *p, uint64_t epoch)
{
    for (size_t i = 0; i < p->closed_epochs.len; i += sizeof(epoch))
        if (memcmp(p->closed_epochs.data + i, &epoch, sizeof(epoch)) == 0)
            return true;
    return false;
}

/* ---- late ends of earlier owners ---- */

/* The position stays before it until what follows from it is durable. */
static void note_foreign(struct partition *p, uint64_t told_at)
{
    if (!p->foreign_at || told_at < p->foreign_at)
        p->foreign_at = told_at;
}

/* False: it is busy. */
static bool take_end(struct partition *p, struct log_reader *r, const Remuda__Event *e, uint64_t told_at)
{
    struct subid id = subid_of(e->submission);
    int err;
    if (p->events->in_memory(p->events->arg, id))
        err = p->events->ended_elsewhere(p->events->arg, e);
    else
        err = erase_row(p, r, e) ? RM_OK : RM_ENOTFOUND;
    if (err == RM_OK)
        note_foreign(p, told_at);
    return err != RM_EAGAIN;
}

static void hear(struct partition *p, const Remuda__Event *e, uint64_t told_at)
{
    if (p->n_heard == p->cap_heard) {
        p->cap_heard = p->cap_heard ? p->cap_heard * 2 : 16;
        p->heard = realloc(p->heard, p->cap_heard * sizeof(*p->heard));
        ENSURE(p->heard);
    }
    p->heard[p->n_heard++] = (struct heard_end){.id = subid_of(e->submission),
                                                .type = e->type,
                                                .record_offset = e->record_offset,
                                                .told_at = told_at};
}

static void hear_again(struct partition *p, struct log_reader *r)
{
    size_t kept = 0, n = p->n_heard;
    for (size_t i = 0; i < n; i++) {
        struct heard_end h = p->heard[i];
        Remuda__Event e = REMUDA__EVENT__INIT;
        Remuda__SubmissionId id = REMUDA__SUBMISSION_ID__INIT;
        id.partition = h.id.partition;
        id.offset = h.id.offset;
        id.index = h.id.index;
        e.submission = &id;
        e.type = h.type;
        e.record_offset = h.record_offset;
        if (!take_end(p, r, &e, h.told_at))
            p->heard[kept++] = h;
    }
    p->n_heard = kept;
}

static void read_closed(struct partition *p, const Remuda__EventBatch *batch)
{
    if (batch && batch->closed && batch->epoch != p->epoch && p->events->closed)
        p->events->closed(p->events->arg, batch->epoch);
}

static void read_batch(struct partition *p, struct log_reader *r, struct span value, uint64_t at)
{
    struct arena a = ARENA_INIT;
    const Remuda__EventBatch *batch = event_batch_decode(&a, value);
    for (size_t i = 0; batch && batch->epoch != p->epoch && i < batch->n_events; i++) {
        const Remuda__Event *e = batch->events[i];
        if (!e->final)
            partition_shared_told(p, r, e);
        else if (e->submission && !take_end(p, r, e, at))
            hear(p, e, at);
        if (!e->final && e->submission && partition_told_late(p, r, e))
            note_foreign(p, at);
    }
    read_closed(p, batch);
    arena_fini(&a);
}

void partition_shared_read(struct partition *p)
{
    struct log_reader *r;
    struct span value;
    if (!partition_is_shared(p) || !p->recovered || log_read_begin(p->log, &r) != RM_OK)
        return;
    hear_again(p, r);
    for (uint64_t at = p->events_read; log_read_next(r, LOG_EVENTS, p->number, &at, &value); at++)
        read_batch(p, r, value, at);
    p->events_read = log_read_end_offset(r, LOG_EVENTS, p->number);
    log_read_end(r);
}

uint64_t partition_shared_position(const struct partition *p, uint64_t events_at)
{
    if (p->foreign_at && p->foreign_at < events_at)
        events_at = p->foreign_at;
    for (size_t i = 0; i < p->n_heard; i++)
        if (p->heard[i].told_at < events_at)
            events_at = p->heard[i].told_at;
    return events_at;
}
