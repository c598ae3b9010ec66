/*
 * One flush: everything gathered goes to the log as one batch, in the order transfers and bounces -> events
 * -> backlog -> position (steps bounce, event, row, position of tests/model). A refused flush is kept and
 * submitted again until it is durable.
 */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/crashpoint.h"
#include "queue/partition_private.h"

enum {
    EVENTS_BYTES = 512 * 1024, /* a batch of events is closed when it has more: see LOG_VALUE_MOST */
    SLOW_FLUSH_US = 1000000,   /* begins nothing more while one is in flight for longer */
};

void partition_mark_dirty(struct partition *p)
{
    if (p->dirty || (p->lost && !p->event_batch.len && !p->late))
        return;
    p->dirty = true;
    if (!p->flight)
        p->events->want_flush(p->events->arg);
}

void partition_add_varint(struct buf *b, uint64_t n)
{
    for (; n >= 0x80; n >>= 7)
        buf_add_char(b, (char)(n | 0x80));
    buf_add_char(b, (char)n);
}

static void add_number(struct partition *p, struct buf *batch, uint64_t number)
{
    buf_add_char(batch, 2 << 3 | 0);
    partition_add_varint(batch, p->epoch);
    buf_add_char(batch, 3 << 3 | 0);
    partition_add_varint(batch, number);
}

/* What was read of mail goes behind its events, so that the account has no end before its beginning; then the
 * epoch and the number of the batch. */
static size_t close_events(struct partition *p, struct log_batch *b)
{
    partition_taken_close(p);
    add_number(p, &p->event_batch, ++p->event_batches);
    size_t op = log_batch_append(b, LOG_EVENTS, p->number, buf_span(&p->event_batch), NULL, NULL);
    if (p->event_batch.cap > EVENTS_BYTES / 2)
        buf_fini(&p->event_batch);
    buf_clear(&p->event_batch);
    return op;
}

static struct log_batch *appends(struct partition *p)
{
    if (!p->appends)
        p->appends = log_batch_new(LOG_OWNER);
    return p->appends;
}

void partition_events_close(struct partition *p)
{
    p->event_op = close_events(p, appends(p)) + 1;
}

/* Fields of EventBatch, written one by one as they come: 1 (events), and when it is full or goes 2 and 3. */
static void add_event(struct buf *batch, const Remuda__Event *event)
{
    buf_add_char(batch, 1 << 3 | 2);
    partition_add_varint(batch, protobuf_c_message_get_packed_size(&event->base));
    proto_pack(batch, &event->base);
}

void partition_event(struct partition *p, Remuda__Event *event)
{
    if (p->lost && event->type != REMUDA__EVENT_TYPE__EVENT_DELIVERED)
        return;
    event->epoch = p->epoch;
    add_event(&p->event_batch, event);
    if (p->event_batch.len > EVENTS_BYTES && !p->lost)
        partition_events_close(p);
    partition_mark_dirty(p);
}

enum { ROW_ERASE = UINT32_MAX };

static void add_row_op(struct partition *p, struct subid id, uint32_t len)
{
    struct row_key key = row_key_make(id);
    buf_add(&p->row_ops, key.bytes, sizeof(key.bytes));
    buf_add(&p->row_ops, &len, sizeof(len));
    partition_mark_dirty(p);
}

void partition_put_row(struct partition *p, Remuda__BacklogRow *row)
{
    row->epoch = p->epoch;
    add_row_op(p, subid_of(row->id), (uint32_t)protobuf_c_message_get_packed_size(&row->base));
    proto_pack(&p->row_ops, &row->base);
}

void partition_erase_row(struct partition *p, struct subid id)
{
    add_row_op(p, id, ROW_ERASE);
}

static void put_key(struct partition *p, enum log_name name, struct span key, struct span value)
{
    uint32_t head[3] = {(uint32_t)name, (uint32_t)key.len, (uint32_t)value.len};
    buf_add(&p->state_ops, head, sizeof(head));
    buf_add_span(&p->state_ops, key);
    buf_add_span(&p->state_ops, value);
    partition_mark_dirty(p);
}

void partition_put_state(struct partition *p, struct span key, struct span value)
{
    put_key(p, LOG_STATE, key, value);
}

void partition_put_small(struct partition *p, enum log_name name, struct span key, struct span value)
{
    put_key(p, name, key, value);
}

void partition_append(struct partition *p, uint32_t target, struct span head, struct blob *body,
                      struct message *hint)
{
    log_batch_append(appends(p), LOG_MAIL, target, head, body, hint);
    p->has_copies = true;
    partition_mark_dirty(p);
}

static void add_rows(struct partition *p, struct log_batch *b)
{
    struct span rest = buf_span(&p->row_ops);
    while (rest.len) {
        struct span key = span_of(rest.ptr, ROW_KEY_BYTES);
        uint32_t len;
        memcpy(&len, rest.ptr + ROW_KEY_BYTES, sizeof(len));
        size_t head = ROW_KEY_BYTES + sizeof(len);
        if (len == ROW_ERASE) {
            log_batch_erase(b, LOG_BACKLOG, p->number, key);
            len = 0;
        } else {
            log_batch_put(b, LOG_BACKLOG, p->number, key, span_of(rest.ptr + head, len));
        }
        rest = span_of(rest.ptr + head + len, rest.len - head - len);
    }
    buf_clear(&p->row_ops);
}

static void add_state(struct partition *p, struct log_batch *b)
{
    struct span rest = buf_span(&p->state_ops);
    while (rest.len) {
        uint32_t head[3];
        memcpy(head, rest.ptr, sizeof(head));
        struct span key = span_of(rest.ptr + sizeof(head), head[1]);
        struct span value = span_of(key.ptr + key.len, head[2]);
        enum log_name name = (enum log_name)head[0];
        uint32_t partition = name == LOG_STATE ? p->number : 0; /* small logs have only one */
        if (value.len)
            log_batch_put(b, name, partition, key, value);
        else
            log_batch_erase(b, name, partition, key);
        size_t used = sizeof(head) + key.len + value.len;
        rest = span_of(rest.ptr + used, rest.len - used);
    }
    buf_clear(&p->state_ops);
}

static void add_events(struct partition *p, struct log_batch *b)
{
    if (p->event_batch.len || partition_taken_due(p, partition_watermark(p)))
        p->event_op = close_events(p, b) + 1;
    p->flight_has_event = p->event_op > 0;
    p->flight_event_op = p->event_op - p->flight_has_event;
    p->event_op = 0;
}

static void add_position(struct partition *p, struct log_batch *b)
{
    Remuda__Position pos = REMUDA__POSITION__INIT;
    pos.watermark = p->flight_watermark = partition_watermark(p);
    pos.events_offset = p->flight_events = partition_events_position(p);
    pos.epoch = p->epoch;
    pos.delete_line = p->delete_line;
    pos.young_chunks = partition_young_chunks(p);
    pos.time_ms = clock_wall_ms();
    uint8_t packed[128];
    size_t n = remuda__position__pack(&pos, packed);
    partition_seen_flush(p, p->flight_watermark, b);
    log_batch_put(b, LOG_STATE, p->number, SPAN_LIT("position"), span_of((const char *)packed, n));
}

void partition_found(struct log_reader *r, uint32_t number, uint64_t epoch, struct log_batch *b)
{
    Remuda__Position pos = REMUDA__POSITION__INIT;
    struct span value;
    if (log_read_key(r, LOG_STATE, number, SPAN_LIT("position"), &value) != RM_ENOTFOUND)
        return;
    pos.watermark = log_read_end_offset(r, LOG_MAIL, number);
    pos.events_offset = log_read_end_offset(r, LOG_EVENTS, number);
    pos.epoch = epoch;
    pos.time_ms = clock_wall_ms();
    uint8_t packed[128];
    size_t n = remuda__position__pack(&pos, packed);
    log_batch_put(b, LOG_STATE, number, SPAN_LIT("position"), span_of((const char *)packed, n));
}

static void done(void *arg, struct log_batch *b, int status);

/* ---- when it is lost ---- */

static const Remuda__EventBatch *add_deliveries(struct arena *a, struct span packed, struct buf *out)
{
    const Remuda__EventBatch *batch = event_batch_decode(a, packed);
    for (size_t i = 0; batch && i < batch->n_events; i++)
        if (batch->events[i]->type == REMUDA__EVENT_TYPE__EVENT_DELIVERED)
            add_event(out, batch->events[i]);
    return batch;
}

/* Under the number that it had: should it stand there already, it counts once. */
static void keep_deliveries(struct partition *p, const struct log_batch *b)
{
    struct span packed;
    for (size_t i = 0; b && log_batch_next(b, LOG_EVENTS, &i, &packed);) {
        struct arena a = ARENA_INIT;
        struct buf value = BUF_INIT;
        const Remuda__EventBatch *batch = add_deliveries(&a, packed, &value);
        if (value.len) {
            add_number(p, &value, batch->sequence);
            p->late = p->late ? p->late : log_batch_new(LOG_OWNER);
            log_batch_append(p->late, LOG_EVENTS, p->number, buf_span(&value), NULL, NULL);
        }
        buf_fini(&value);
        arena_fini(&a);
    }
}

void partition_lost(struct partition *p)
{
    struct arena a = ARENA_INIT;
    struct buf said = BUF_INIT;
    p->lost = true;
    log_unfollow(p->client, p->number);
    if (p->flight_waits) { /* refused, and under an epoch that is over */
        keep_deliveries(p, p->flight);
        log_batch_free(p->flight);
        p->flight = NULL;
        p->flight_waits = false;
    }
    keep_deliveries(p, p->appends);
    p->event_op = 0;
    (void)add_deliveries(&a, buf_span(&p->event_batch), &said);
    arena_fini(&a);
    buf_fini(&p->event_batch);
    p->event_batch = said;
    buf_clear(&p->taken);
    p->taken_from = p->taken_to;
    p->dirty = false;
    partition_mark_dirty(p);
}

static void late_done(void *arg, struct log_batch *b, int status)
{
    struct partition *p = arg;
    if (p->closed)
        return;
    if (status == RM_OK) {
        p->failing_since_us = 0;
        p->flight = NULL;
        if (p->dirty)
            p->events->want_flush(p->events->arg);
        return;
    }
    if (!p->failing_since_us) {
        p->failing_since_us = clock_boot_us();
        p->events->trouble(p->events->arg, status,
                           "deliveries cannot be told to the new owner; they are kept and told again");
    }
    log_batch_keep(b);
    p->flight_waits = true;
}

void partition_tell_again(struct partition *p)
{
    ENSURE(p->lost);
    if (!p->flight_waits)
        return;
    p->flight_waits = false;
    log_submit(p->client, p->flight, late_done, p);
}

/* Answers that came after the partition had gone: without rows and position, which are the new owner's. */
static void flush_late(struct partition *p)
{
    struct log_batch *b = p->late ? p->late : log_batch_new(LOG_OWNER);
    p->late = NULL;
    if (p->event_batch.len)
        (void)close_events(p, b);
    p->dirty = false;
    p->flight = b;
    log_submit(p->client, b, late_done, p);
}

void partition_flush(struct partition *p)
{
    if (p->flight || !p->dirty)
        return;
    if (p->lost) {
        flush_late(p);
        return;
    }
    struct log_batch *b = p->appends ? p->appends : log_batch_new(LOG_OWNER);
    p->appends = NULL;
    p->flight_has_copies = p->has_copies;
    p->has_copies = false;
    add_events(p, b);
    add_rows(p, b);
    add_state(p, b);
    add_position(p, b);
    partition_numbers_flush(p);
    partition_transfers_flush(p);
    partition_shared_flush(p);
    partition_carry_flush(p);
    p->dirty = false;
    p->flight = b;
    p->flight_since_us = clock_boot_us();
    p->foreign_flight = p->foreign_at != 0;
    CRASH_POINT(FLUSH_BEFORE);
    if (p->flight_has_copies)
        CRASH_POINT(COPY_FLUSH_BEFORE);
    log_submit(p->client, b, done, p);
}

static void flushed(struct partition *p, struct log_batch *b)
{
    CRASH_POINT(FLUSH_DURABLE);
    if (p->flight_has_copies)
        CRASH_POINT(COPY_FLUSH_DURABLE);
    if (p->flight_has_event)
        p->events_next = log_batch_offset(b, p->flight_event_op) + 1;
    if (p->foreign_flight)
        p->foreign_at = 0;
    partition_shared_read(p); /* nothing that others told lies below events_next unseen */
    p->durable_watermark = p->flight_watermark;
    p->space_due = true;
    p->durable_events = p->flight_events;
    p->failing_since_us = 0;
    p->flight = NULL;
    partition_numbers_flushed(p);
    partition_shared_flushed(p);
    partition_carry_flushed(p);
    p->events->flushed(p->events->arg);
    partition_transfers_flushed(p);
    if (!p->first_flush_done) {
        p->first_flush_done = true;
        if (p->next_offset >= p->recover_end && !p->recovered)
            partition_recovered(p);
    }
    if (p->dirty)
        p->events->want_flush(p->events->arg);
}

static void done(void *arg, struct log_batch *b, int status)
{
    struct partition *p = arg;
    if (p->closed)
        return;
    if (status == RM_OK) {
        flushed(p, b);
        return;
    }
    if (status == RM_ECLOSED || p->lost) { /* given up or lost; of this nothing more is written */
        keep_deliveries(p, b);
        p->flight = NULL;
        if (p->lost && p->late)
            p->dirty = true;
        if (p->lost && p->dirty)
            p->events->want_flush(p->events->arg);
        return;
    }
    if (!p->failing_since_us) {
        p->failing_since_us = clock_boot_us();
        p->events->trouble(p->events->arg, status,
                           "outcomes cannot be written; they are kept and written again");
    }
    log_batch_keep(b);
    p->flight_waits = true;
}

uint64_t partition_failing_since_us(const struct partition *p)
{
    if (p->failing_since_us || !p->flight)
        return p->failing_since_us;
    return clock_boot_us() - p->flight_since_us > SLOW_FLUSH_US ? p->flight_since_us : 0;
}

bool partition_dirty(const struct partition *p)
{
    return p->dirty || p->flight;
}

void partition_housekeep(struct partition *p, uint64_t wall_ms, uint64_t events_keep)
{
    ENSURE(!p->lost);
    if (p->n_unread)
        partition_read_again(p);
    if (p->flight_waits) {
        p->flight_waits = false;
        log_submit(p->client, p->flight, done, p);
        return;
    }
    partition_shared_read(p);
    if (!p->flight)
        partition_transfers_again(p);
    partition_make_space(p, wall_ms, events_keep);
}
