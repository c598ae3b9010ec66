/*
 * What the history forgets: entries of messages that are too old, in bounded pieces, and the offset below
 * which the owner of a partition may delete events. Deleting those is the owner's business.
 */
#include "lib/base/clock.h"
#include "relay/api/history_private.h"

enum { EXPIRE_PIECE = 20000, EXPIRE_EVERY_US = 10 * 1000 * 1000 };

/* Deletes from the left edge of the table what is below the bound; returns how many, at most EXPIRE_PIECE. */
static size_t delete_below(struct kv_txn *t, kv_table table, struct span bound)
{
    struct kv_cursor *c = kv_cursor_new(t, table);
    struct span key, value;
    size_t n = 0;
    bool more = kv_cursor_seek(c, SPAN_LIT("\0"), &key, &value);
    while (more && n < EXPIRE_PIECE && memcmp(key.ptr, bound.ptr, bound.len) < 0) {
        kv_cursor_delete(c);
        n++;
        more = kv_cursor_next(c, &key, &value);
    }
    kv_cursor_free(c);
    return n;
}

static int expire_entries(struct history *h, uint64_t cut_ms)
{
    struct kv_txn *t;
    int rc = kv_write_begin(h->env, &t);
    if (rc != RM_OK)
        return rc;
    unsigned char id[8], hour[4];
    history_put64(id, cut_ms << 16); /* the time is an id's first 48 bits */
    history_put32(hour, history_hour(cut_ms));
    size_t ids = delete_below(t, h->ids, span_of((const char *)id, 6));
    size_t found = delete_below(t, h->find, span_of((const char *)hour, 4));
    h->expire_more = ids == EXPIRE_PIECE || found == EXPIRE_PIECE;
    if (ids + found == 0) {
        kv_abort(t);
        return RM_OK;
    }
    return kv_commit(t);
}

/* Time of the newest event of a batch; 0: it has none, as the claim of an owner, or does not decode. */
static uint64_t newest(struct span value)
{
    struct arena arena = ARENA_INIT;
    const Remuda__EventBatch *batch = event_batch_decode(&arena, value);
    uint64_t time = 0;
    for (size_t i = 0; batch && i < batch->n_events; i++)
        time = batch->events[i]->time_ms > time ? batch->events[i]->time_ms : time;
    arena_fini(&arena);
    return time;
}

/* Time of the first batch with events at or after *offset, which becomes its offset; 0 for none. */
static uint64_t batch_time(struct log_reader *r, uint32_t partition, uint64_t *offset)
{
    struct span value;
    uint64_t time = 0;
    for (; time == 0 && log_read_next(r, LOG_EVENTS, partition, offset, &value); *offset += time == 0)
        time = newest(value);
    return time;
}

/* The lowest offset whose batch is not older than cut_ms. Times rise with offsets, so halving finds it. */
static int keep_forward(struct history *h, uint32_t partition, uint64_t cut_ms)
{
    struct log_reader *r;
    int rc = log_read_begin(h->log, &r);
    if (rc != RM_OK)
        return rc;
    uint64_t low = h->keep[partition], high = h->position[partition];
    uint64_t first = low;
    if (batch_time(r, partition, &first) >= cut_ms)
        high = low;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2, at = middle;
        uint64_t time = batch_time(r, partition, &at);
        if (time == 0 || time >= cut_ms || at >= high)
            high = middle;
        else
            low = at + 1;
    }
    log_read_end(r);
    h->keep[partition] = low;
    return RM_OK;
}

int history_expire(struct history *h, uint64_t wall_ms)
{
    uint64_t now = clock_boot_us();
    if (!h->expire_more && h->expired_us != 0 && now - h->expired_us < EXPIRE_EVERY_US)
        return RM_OK;
    h->expired_us = now;
    uint64_t age = h->history_ms, life = h->lifetime_ms;
    if (wall_ms <= age + life)
        return RM_OK;
    int rc = expire_entries(h, wall_ms - age - life);
    for (uint32_t p = 0; rc == RM_OK && p < log_partitions(h->log); p++)
        rc = keep_forward(h, p, wall_ms - age);
    return rc;
}
