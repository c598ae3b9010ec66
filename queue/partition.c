/*
 * The owner's view of its partition: following the mail log, the records still open, the watermark.
 * Writing is in partition_flush.c, space in partition_space.c and partition_carry.c.
 */
#include "queue/partition.h"

#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/crashpoint.h"
#include "lib/base/suspect.h"
#include "queue/partition_private.h"

/* ---- the ring of open records ---- */

static struct open_record *ring_at(const struct partition *p, size_t i)
{
    return &p->ring[(p->ring_head + i) & (p->ring_cap - 1)];
}

static void ring_push(struct partition *p, struct open_record r)
{
    if (p->ring_count == p->ring_cap) {
        size_t cap = p->ring_cap ? p->ring_cap * 2 : 64;
        struct open_record *grown = malloc(cap * sizeof(*grown));
        ENSURE(grown);
        for (size_t i = 0; i < p->ring_count; i++)
            grown[i] = *ring_at(p, i);
        free(p->ring);
        p->ring = grown;
        p->ring_cap = cap;
        p->ring_head = 0;
    }
    p->ring_count++;
    *ring_at(p, p->ring_count - 1) = r;
}

static struct open_record *ring_find(const struct partition *p, uint64_t offset)
{
    size_t low = 0, high = p->ring_count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (ring_at(p, mid)->offset < offset)
            low = mid + 1;
        else
            high = mid;
    }
    return low < p->ring_count && ring_at(p, low)->offset == offset ? ring_at(p, low) : NULL;
}

static void ring_pop_covered(struct partition *p)
{
    while (p->ring_count && ring_at(p, 0)->uncovered == 0) {
        p->ring_head = (p->ring_head + 1) & (p->ring_cap - 1);
        p->ring_count--;
    }
}

uint64_t partition_watermark(const struct partition *p)
{
    return p->ring_count ? ring_at(p, 0)->offset : p->next_offset;
}

uint64_t partition_events_position(const struct partition *p)
{
    if (p->ring_count)
        return partition_shared_position(p, ring_at(p, 0)->events_at);
    return partition_shared_position(p, p->next_offset < p->recover_end ? p->recover_events : p->events_next);
}

void partition_cover(struct partition *p, uint64_t offset)
{
    struct open_record *r = ring_find(p, offset);
    if (!r)
        return; /* below the watermark: it had a row */
    ENSURE(r->uncovered > 0);
    r->uncovered--;
    ring_pop_covered(p);
    partition_mark_dirty(p);
}

/* ---- following the mail log ---- */

/* The row is of this copy, or of what it was carried to; not of one that left before this one came back. */
static bool row_covers(struct span value, uint64_t offset)
{
    struct arena a = ARENA_INIT;
    const Remuda__BacklogRow *row = row_decode(&a, value);
    bool covers = !row || row->at >= offset;
    arena_fini(&a);
    return covers;
}

/* Final by an event behind the position, or waiting by a row: only possible for what was there at the start.
 * A copy that came back later than the one that was final here is open. */
static int already_settled(struct partition *p, struct log_reader *r, struct subid id, uint64_t offset,
                           bool *settled)
{
    struct row_key key = row_key_make(id);
    struct span value;
    *settled = (uintptr_t)map_get(&p->finals, subid_span(&id)) > offset;
    if (*settled)
        return RM_OK;
    int err =
        log_read_key(r, LOG_BACKLOG, p->number, span_of((const char *)key.bytes, sizeof(key.bytes)), &value);
    *settled = err == RM_OK && row_covers(value, offset);
    return err == RM_ENOTFOUND ? RM_OK : err;
}

/* Which submissions of the record are to be scheduled: all of them, unless it is older than the start. Then
 * it must be known for sure: to take one for open that is final would deliver it twice. */
static int pick_open(struct partition *p, struct message *m, uint64_t offset, bool *open, uint32_t *count)
{
    size_t n = m->record->n_submissions;
    struct log_reader *r = NULL;
    int err = offset < p->recover_end ? log_read_begin(p->log, &r) : RM_OK;
    *count = 0;
    for (size_t i = 0; i < n && err == RM_OK; i++) {
        Remuda__SubmissionId sid = record_submission_id(m->record, p->number, offset, i);
        bool settled = false;
        if (r)
            err = already_settled(p, r, subid_of(&sid), offset, &settled);
        open[i] = !settled;
        *count += open[i];
    }
    if (r)
        log_read_end(r);
    return err;
}

/* n more of its submissions are open. It may have been pushed before it could be read. */
static void open_record(struct partition *p, uint64_t offset, uint32_t n)
{
    struct open_record *known = ring_find(p, offset);
    if (known) {
        known->uncovered += n;
        return;
    }
    uint64_t events = offset < p->recover_end ? p->recover_events : p->events_next;
    ring_push(p, (struct open_record){.offset = offset, .uncovered = n, .events_at = events});
}

static int take_open(struct partition *p, struct message *m, uint64_t offset, bool *open)
{
    const Remuda__Record *record = m->record;
    uint32_t n;
    int err = pick_open(p, m, offset, open, &n);
    if (err != RM_OK || (record->transfer && !partition_seen_take(p, record, offset)))
        return err;
    partition_taken_record(p, record, offset);
    if (n)
        open_record(p, offset, n);
    for (size_t i = 0; i < record->n_submissions; i++)
        if (open[i])
            p->events->submission(p->events->arg, m, offset, i);
    return RM_OK;
}

int partition_chunks_here(const struct partition *p, struct log_reader *r, const Remuda__Record *record)
{
    int err = RM_OK;
    struct span value;
    for (size_t i = 0; i < record->n_chunks; i++)
        if (log_read_at(r, LOG_MAIL, p->number, record->chunks[i]->offset, &value) == RM_EAGAIN)
            err = RM_EAGAIN;
    return err;
}

/* Chunks may stand below where this owner began to read. */
static int await_chunks(struct partition *p, const Remuda__Record *record)
{
    struct log_reader *r;
    if (record->n_chunks == 0 || !partition_is_shared(p))
        return RM_OK;
    int err = log_read_begin(p->log, &r);
    if (err != RM_OK)
        return err;
    err = partition_chunks_here(p, r, record);
    log_read_end(r);
    return err;
}

static int take_record(struct partition *p, struct message *m, uint64_t offset)
{
    const Remuda__Record *record = m->record;
    partition_pin_record(p, record, offset);
    if (record->carried) {
        partition_taken_record(p, record, offset);
        partition_take_carried(p, m, offset);
        return RM_OK;
    }
    int err = await_chunks(p, record);
    if (err != RM_OK)
        return err;
    if (record->transfer)
        CRASH_POINT(TRANSFER_READ);
    bool *open = calloc(record->n_submissions, sizeof(*open));
    ENSURE(open);
    err = take_open(p, m, offset, open);
    free(open);
    return err;
}

static void take_chunk(struct partition *p, struct span header, uint64_t offset)
{
    struct arena a = ARENA_INIT;
    const Remuda__ChunkHeader *c = chunk_decode(&a, header);
    if (c)
        partition_pin_chunk(p, c, offset);
    arena_fini(&a);
}

static int bury(struct partition *p, struct log_reader *r, uint64_t offset, struct span value,
                const char *reason)
{
    int err = partition_bury(p, r, offset, value, reason);
    if (err == RM_OK)
        partition_taken_mark(p, REMUDA__TAKEN_KIND__TAKEN_DEAD, offset);
    return err;
}

static int take_value(struct partition *p, struct log_reader *r, uint64_t offset, struct span value)
{
    struct mail_view view;
    size_t need;
    if (mail_view(value, &view, &need) != RM_OK)
        return bury(p, r, offset, value, "record frame does not decode");
    if (view.kind == MAIL_CHUNK) {
        take_chunk(p, view.header, offset);
        return RM_OK;
    }
    if (partition_deaths(p, offset) >= PARTITION_GUILTY_DEATHS)
        return bury(p, r, offset, value, partition_guilty_reason());
    struct message *m;
    if (message_decode(value, false, &m) != RM_OK)
        return bury(p, r, offset, value, "record header does not decode");
    int err = take_record(p, m, offset);
    message_unref(m);
    return err;
}

static int take_stored(struct partition *p, uint64_t offset)
{
    struct log_reader *r;
    struct span value;
    int err = log_read_begin(p->log, &r);
    if (err != RM_OK)
        return err;
    err = log_read_at(r, LOG_MAIL, p->number, offset, &value);
    if (err == RM_OK)
        err = take_value(p, r, offset, value);
    else if (err == RM_ENOTFOUND)
        err = RM_OK; /* deleted: everything of it is final */
    log_read_end(r);
    return err;
}

/* It stays open, so that the watermark never passes it, and is tried again at each housekeeping. */
static void unreadable(struct partition *p, uint64_t offset, int err)
{
    open_record(p, offset, 1);
    partition_taken_mark(p, REMUDA__TAKEN_KIND__TAKEN_UNREADABLE, offset);
    if (p->n_unread == p->cap_unread) {
        p->cap_unread = p->cap_unread ? p->cap_unread * 2 : 16;
        p->unread = realloc(p->unread, p->cap_unread * sizeof(*p->unread));
        ENSURE(p->unread);
    }
    p->unread[p->n_unread++] = offset;
    if (err != RM_EAGAIN)
        p->events->trouble(p->events->arg, err, "a record of the mail log cannot be read; it is tried again");
}

/* All records that stood there at the start were taken. */
static void forget_told(struct partition *p)
{
    map_fini(&p->finals);
    partition_told_free(p);
}

void partition_read_again(struct partition *p)
{
    size_t kept = 0, n = p->n_unread;
    for (size_t i = 0; i < n; i++) {
        uint64_t offset = p->unread[i];
        if (take_stored(p, offset) == RM_OK)
            partition_cover(p, offset);
        else
            p->unread[kept++] = offset;
    }
    p->n_unread = kept;
    if (n && !kept && p->recovered)
        forget_told(p);
}

void partition_fetched(struct partition *p)
{
    if (p->lost)
        return;
    partition_read_again(p);
    if (!p->flight)
        partition_transfers_again(p);
}

static void maybe_recovered(struct partition *p)
{
    if (p->recovered || !p->first_flush_done || p->next_offset < p->recover_end)
        return;
    partition_recovered(p);
}

void partition_recovered(struct partition *p)
{
    p->recovered = true;
    if (!p->n_unread)
        forget_told(p);
    p->events->recovered(p->events->arg);
}

static void on_append(void *arg, uint32_t number, uint64_t offset, struct message *hint)
{
    struct partition *p = arg;
    (void)number;
    struct suspect_mark before = suspect_begin(p->number, offset);
    int err = hint ? take_record(p, hint, offset) : take_stored(p, offset);
    if (err != RM_OK)
        unreadable(p, offset, err);
    message_unref(hint);
    CRASH_POINT(RECORD_TAKEN);
    suspect_end(before);
    p->next_offset = offset + 1;
    partition_taken_to(p, offset);
    partition_mark_dirty(p);
    maybe_recovered(p);
}

/* ---- opening ---- */

static void note_finals(struct partition *p, struct log_reader *r, const Remuda__EventBatch *batch,
                        uint64_t watermark)
{
    for (size_t i = 0; i < batch->n_events; i++) {
        const Remuda__Event *e = batch->events[i];
        partition_told_note(p, e);
        if (!e->final)
            partition_shared_told(p, r, e);
        if (!e->final || !e->submission)
            continue;
        partition_shared_final(p, r, e);
        /* A copy's identity may be older than the watermark of this partition: keep those of other places. */
        struct subid id = subid_of(e->submission);
        if (id.partition != p->number || id.offset >= watermark || e->record_offset >= watermark)
            map_put(&p->finals, subid_span(&id), (void *)(uintptr_t)(e->record_offset + 1));
    }
}

static void read_finals(struct partition *p, struct log_reader *r, uint64_t watermark)
{
    uint64_t at = p->events_next;
    struct span value;
    while (log_read_next(r, LOG_EVENTS, p->number, &at, &value)) {
        struct arena a = ARENA_INIT;
        const Remuda__EventBatch *batch = event_batch_decode(&a, value);
        if (batch) {
            note_finals(p, r, batch, watermark);
            partition_shared_closed(p, batch);
        } else {
            p->events->trouble(p->events->arg, RM_ECORRUPT, "an event batch does not decode");
        }
        arena_fini(&a);
        at++;
    }
    p->events_next = p->events_read = log_read_end_offset(r, LOG_EVENTS, p->number);
}

/*
 * Nothing was ever owned here, or the position is lost. Where one process has the log, mail comes in only
 * after the first position is durable. In a cluster it may come in before the first owner does: all of it is
 * open then, provided that neither mail nor events have lost their beginning.
 */
static int read_without_position(struct partition *p, struct log_reader *r)
{
    uint64_t mail = 0, events = 0;
    struct span value;
    p->next_offset = p->durable_watermark = p->recover_end;
    if (!log_read_next(r, LOG_MAIL, p->number, &mail, &value))
        return RM_OK;
    bool has_events = log_read_next(r, LOG_EVENTS, p->number, &events, &value);
    if (log_capabilities(p->log) & LOG_ATOMIC || mail != 1 || (has_events && events != 1))
        return RM_ECORRUPT;
    p->next_offset = p->durable_watermark = 1;
    p->events_next = p->recover_events = 1;
    return RM_OK;
}

uint64_t partition_start_of(enum log_name name, struct span value)
{
    Remuda__Position *pos = remuda__position__unpack(NULL, value.len, (const uint8_t *)value.ptr);
    uint64_t from = !pos ? 0 : name == LOG_EVENTS ? pos->events_offset : pos->watermark;
    remuda__position__free_unpacked(pos, NULL);
    return from;
}

static int read_position(struct partition *p, struct log_reader *r)
{
    struct span value;
    p->recover_end = log_read_end_offset(r, LOG_MAIL, p->number);
    if (log_read_key(r, LOG_STATE, p->number, SPAN_LIT("position"), &value) != RM_OK) {
        return read_without_position(p, r);
    }
    Remuda__Position *pos = remuda__position__unpack(NULL, value.len, (const uint8_t *)value.ptr);
    if (!pos)
        return RM_ECORRUPT;
    p->next_offset = p->durable_watermark = pos->watermark;
    p->events_next = p->recover_events = pos->events_offset;
    p->delete_line = pos->delete_line;
    if (pos->young_chunks) {
        Remuda__ChunkHeader c = REMUDA__CHUNK_HEADER__INIT;
        c.started_ms = pos->time_ms;
        partition_pin_chunk(p, &c, pos->young_chunks);
    }
    remuda__position__free_unpacked(pos, NULL);
    return RM_OK;
}

int partition_open(struct log *log, struct log_client *client, uint32_t number, uint64_t epoch,
                   const struct partition_events *events, struct partition **out)
{
    *out = NULL;
    struct log_reader *r;
    int err = log_read_begin(log, &r);
    if (err != RM_OK)
        return err;
    struct partition *p = calloc(1, sizeof(*p));
    ENSURE(p);
    *p = (struct partition){.log = log, .client = client, .events = events, .number = number, .epoch = epoch};
    list_init(&p->carries);
    list_init(&p->transfers);
    err = read_position(p, r);
    if (err == RM_OK) {
        partition_numbers_load(p, r);
        read_finals(p, r, p->next_offset);
        partition_seen_load(p, r);
        partition_shared_voids(p, r);
        partition_told_write(p, r);
        p->taken_from = p->taken_to = p->next_offset;
    }
    log_read_end(r);
    if (err != RM_OK) {
        partition_close(p);
        return err;
    }
    log_follow(client, number, p->next_offset, on_append, p);
    partition_mark_dirty(p); /* the first flush makes a position durable before any sender is let in */
    *out = p;
    return RM_OK;
}

void partition_close(struct partition *p)
{
    p->closed = true;
    if (!p->lost)
        log_unfollow(p->client, p->number);
    if (partition_in_flight(p))
        log_client_flush(p->client); /* their callbacks know the partition */
    log_batch_free(p->appends);
    log_batch_free(p->late);
    if (p->flight_waits)
        log_batch_free(p->flight);
    buf_fini(&p->event_batch);
    buf_fini(&p->taken);
    buf_fini(&p->row_ops);
    buf_fini(&p->state_ops);
    buf_fini(&p->closed_epochs);
    map_fini(&p->finals);
    map_fini(&p->buried);
    map_fini(&p->ended);
    map_fini(&p->ended_flight);
    free(p->heard);
    partition_told_free(p);
    partition_seen_free(p);
    partition_carry_free_all(p);
    partition_transfers_end(p);
    free(p->numbers);
    free(p->unread);
    free(p->pins);
    free(p->ring);
    free(p);
}

bool partition_in_flight(const struct partition *p)
{
    return (p->flight && !p->flight_waits) || p->n_carries || p->n_copying;
}

uint32_t partition_number(const struct partition *p)
{
    return p->number;
}

uint64_t partition_epoch(const struct partition *p)
{
    return p->epoch;
}
