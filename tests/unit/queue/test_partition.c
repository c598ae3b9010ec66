/*
 * The life of a partition over the memory log and the embedded one: what is open after a crash at each point
 * (a close without a flush is one), the watermark, rows, transfer keys, a log that refuses, space and
 * carry-forward.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "queue/embedded/embedded.h"
#include "queue/log_private.h"
#include "queue/memory/memory.h"
#include "queue/partition.h"

enum { HELD_MOST = 64, CARRY_AFTER = 16 };

struct rig {
    bool embedded, staged;
    char dir[64];
    struct log *log;
    struct log_client *client;
    struct partition *p;
    struct partition_events events;
    uint64_t epoch;
    uint64_t told[HELD_MOST]; /* offset * 100 + index of each submission handed out */
    int n_told, flushes, recovered, troubles, moves;
    uint64_t closed; /* epoch of the last owner past that has told so */
    bool want;
    uint64_t appended; /* offset of the last append */
    uint64_t busy;     /* record whose submissions are in memory, in an attempt; 0: none */
    uint64_t guilty;   /* record at which the process has died so often */
    unsigned deaths;
    bool rows_fail; /* after the next crash */
    int status;
};

/* ---- what the partition asks of its owner ---- */

static void on_submission(void *arg, struct message *m, uint64_t offset, size_t i)
{
    struct rig *r = arg;
    (void)m;
    assert_true(r->n_told < HELD_MOST);
    r->told[r->n_told++] = offset * 100 + i;
}

static void on_flushed(void *arg)
{
    ((struct rig *)arg)->flushes++;
}

static void on_closed(void *arg, uint64_t epoch)
{
    ((struct rig *)arg)->closed = epoch;
}

static void on_moved(void *arg, struct subid id, struct message *m, uint64_t at, uint64_t first_live)
{
    (void)id, (void)m, (void)at, (void)first_live;
    ((struct rig *)arg)->moves++;
}

static bool in_memory(void *arg, struct subid id)
{
    const struct rig *r = arg;
    return r->busy && id.offset == r->busy;
}

static int on_ended_elsewhere(void *arg, const Remuda__Event *e)
{
    (void)arg, (void)e;
    return RM_EAGAIN;
}

static void on_recovered(void *arg)
{
    ((struct rig *)arg)->recovered++;
}

static void on_trouble(void *arg, int err, const char *what)
{
    (void)err, (void)what;
    ((struct rig *)arg)->troubles++;
}

static void on_want(void *arg)
{
    ((struct rig *)arg)->want = true;
}

static unsigned deaths(void *arg, uint64_t offset)
{
    const struct rig *r = arg;
    return offset == r->guilty ? r->deaths : 0;
}

/* ---- a log whose rows cannot be read for a while, and a piece of mail not yet ---- */

static struct {
    const struct log_backend *real;
    struct log_backend wrapped;
    bool fails;
    uint64_t away; /* being fetched; 0: nothing is */
} rows;

static int read_key(struct log_reader *r, enum log_name name, uint32_t partition, struct span key,
                    struct span *value)
{
    if (rows.fails && name == LOG_BACKLOG)
        return RM_EIO;
    return rows.real->read_key(r, name, partition, key, value);
}

static int read_at(struct log_reader *r, enum log_name name, uint32_t partition, uint64_t offset,
                   struct span *value)
{
    if (rows.away && name == LOG_MAIL && offset == rows.away)
        return RM_EAGAIN;
    return rows.real->read_at(r, name, partition, offset, value);
}

static void wrap(struct log *log)
{
    rows.fails = false;
    rows.away = 0;
    rows.real = log->backend;
    rows.wrapped = *log->backend;
    rows.wrapped.read_key = read_key;
    rows.wrapped.read_at = read_at;
    log->backend = &rows.wrapped;
}

/* ---- opening, crashing ---- */

static void open_log(struct rig *r)
{
    struct log_options o = {.partitions = 2, .index = row_index_keys, .carry_after = CARRY_AFTER};
    struct embedded_options e = {.dir = r->dir, .map_bytes = 1u << 28};
    if (r->embedded)
        assert_int_equal(embedded_log_open(&e, &o, &r->log, NULL), RM_OK);
    else if (r->staged)
        assert_int_equal(memory_log_open_staged(&o, &r->log), RM_OK);
    else
        assert_int_equal(memory_log_open(&o, &r->log), RM_OK);
    wrap(r->log);
    r->client = log_client_new(r->log, NULL, NULL);
}

static void open_partition(struct rig *r)
{
    r->n_told = r->recovered = 0;
    assert_int_equal(partition_open(r->log, r->client, 0, ++r->epoch, &r->events, &r->p), RM_OK);
}

static void turn(struct rig *r)
{
    for (int i = 0; i < 8; i++)
        log_client_flush(r->client);
}

static void flush(struct rig *r)
{
    partition_flush(r->p);
    turn(r);
}

/* What was not flushed is gone. The memory log stays, the other one is opened again from its file. */
static void crash(struct rig *r)
{
    partition_close(r->p);
    if (r->embedded) {
        log_client_free(r->client);
        log_close(r->log);
        open_log(r);
    }
    rows.fails = r->rows_fail;
    open_partition(r);
    turn(r);
}

static int setup(void **state, bool embedded, bool staged)
{
    struct rig *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    r->embedded = embedded;
    r->staged = staged;
    snprintf(r->dir, sizeof(r->dir), "/tmp/remuda-partition-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    r->events = (struct partition_events){.submission = on_submission,
                                          .flushed = on_flushed,
                                          .closed = on_closed,
                                          .moved = on_moved,
                                          .in_memory = in_memory,
                                          .ended_elsewhere = on_ended_elsewhere,
                                          .recovered = on_recovered,
                                          .deaths = deaths,
                                          .trouble = on_trouble,
                                          .want_flush = on_want,
                                          .arg = r};
    open_log(r);
    open_partition(r);
    flush(r);
    assert_int_equal(r->recovered, 1);
    *state = r;
    return 0;
}

static int setup_memory(void **state)
{
    return setup(state, false, false);
}

static int setup_embedded(void **state)
{
    return setup(state, true, false);
}

static int setup_staged(void **state)
{
    return setup(state, false, true);
}

static int teardown(void **state)
{
    struct rig *r = *state;
    char command[128];
    partition_close(r->p);
    log_client_free(r->client);
    log_close(r->log);
    snprintf(command, sizeof(command), "rm -rf %s", r->dir);
    int status = system(command);
    free(r);
    return status;
}

/* ---- writing ---- */

static void note(void *arg, struct log_batch *b, int status)
{
    struct rig *r = arg;
    r->status = status;
    if (status == RM_OK)
        r->appended = log_batch_offset(b, 0);
}

static void fill_record(Remuda__Record *record, Remuda__Submission *subs, Remuda__Submission **list, size_t n)
{
    static Remuda__Recipient to = REMUDA__RECIPIENT__INIT;
    static Remuda__Recipient *recipients[] = {&to};
    static uint8_t id[16];
    to.address = (char *)(uintptr_t) "r@a.test";
    remuda__record__init(record);
    record->id.data = id;
    record->id.len = sizeof(id);
    record->tenant = (char *)(uintptr_t) "t";
    record->sender = (char *)(uintptr_t) "s@b.test";
    for (size_t i = 0; i < n; i++) {
        remuda__submission__init(&subs[i]);
        subs[i].index = (uint32_t)i;
        subs[i].domain = (char *)(uintptr_t) "a.test";
        subs[i].recipients = recipients;
        subs[i].n_recipients = 1;
        list[i] = &subs[i];
    }
    record->submissions = list;
    record->n_submissions = n;
}

static uint64_t append_record(struct rig *r, const Remuda__Record *record)
{
    struct buf head = BUF_INIT;
    mail_frame_record(&head, record);
    buf_add_str(&head, "Subject: x\r\n\r\nbody\r\n");
    struct log_batch *b = log_batch_new(LOG_INTAKE);
    log_batch_append(b, LOG_MAIL, 0, buf_span(&head), NULL, NULL);
    buf_fini(&head);
    log_submit(r->client, b, note, r);
    turn(r);
    assert_int_equal(r->status, RM_OK);
    return r->appended;
}

/* A record of n submissions; its offset. */
static uint64_t take(struct rig *r, size_t n)
{
    Remuda__Record record;
    Remuda__Submission subs[4], *list[4];
    fill_record(&record, subs, list, n);
    return append_record(r, &record);
}

static uint64_t append_chunk(struct rig *r, uint8_t name)
{
    Remuda__ChunkHeader c = REMUDA__CHUNK_HEADER__INIT;
    uint8_t id[16] = {name};
    c.id.data = id;
    c.id.len = sizeof(id);
    c.started_ms = clock_wall_ms();
    struct buf head = BUF_INIT;
    mail_frame_chunk(&head, &c);
    struct log_batch *b = log_batch_new(LOG_INTAKE);
    log_batch_append(b, LOG_MAIL, 0, buf_span(&head), NULL, NULL);
    buf_fini(&head);
    log_submit(r->client, b, note, r);
    turn(r);
    return r->appended;
}

static Remuda__SubmissionId identity(uint64_t offset, uint32_t index)
{
    Remuda__SubmissionId id = REMUDA__SUBMISSION_ID__INIT;
    id.offset = offset;
    id.index = index;
    return id;
}

static void tell_final(struct rig *r, uint64_t offset, uint32_t index)
{
    Remuda__Event e = REMUDA__EVENT__INIT;
    Remuda__SubmissionId id = identity(offset, index);
    e.submission = &id;
    e.final = true;
    e.record_offset = offset;
    partition_event(r->p, &e);
    partition_cover(r->p, offset);
}

/* By another owner, whose batches have another epoch. */
static void tell_from_past(struct rig *r, uint64_t offset, Remuda__EventType type)
{
    Remuda__EventBatch batch = REMUDA__EVENT_BATCH__INIT;
    Remuda__Event e = REMUDA__EVENT__INIT, *list[] = {&e};
    Remuda__SubmissionId id = identity(offset, 0);
    struct buf value = BUF_INIT;
    e.submission = &id;
    e.type = type;
    e.final = true;
    e.record_offset = offset;
    batch.events = list;
    batch.n_events = 1;
    batch.epoch = 1000;
    proto_pack(&value, &batch.base);
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_append(b, LOG_EVENTS, 0, buf_span(&value), NULL, NULL);
    log_submit(r->client, b, note, r);
    turn(r);
    buf_fini(&value);
}

static void put_row_of(struct rig *r, uint64_t offset, uint32_t index, uint64_t first_live)
{
    Remuda__BacklogRow row = REMUDA__BACKLOG_ROW__INIT;
    Remuda__SubmissionId id = identity(offset, index);
    uint8_t message_id[16] = {0};
    row.message_id.data = message_id;
    row.message_id.len = sizeof(message_id);
    row.id = &id;
    row.at = offset;
    row.first_live = first_live;
    row.due_ms = 1;
    partition_put_row(r->p, &row);
    partition_cover(r->p, offset);
}

static void put_row(struct rig *r, uint64_t offset, uint32_t index)
{
    put_row_of(r, offset, index, offset);
}

/* Where the row's record stands; UINT64_MAX without a row. */
static uint64_t row_at(struct rig *r, uint64_t offset, uint32_t index)
{
    Remuda__SubmissionId id = identity(offset, index);
    struct row_key key = row_key_make(subid_of(&id));
    struct log_reader *reader;
    struct span value;
    struct arena a = ARENA_INIT;
    uint64_t at = UINT64_MAX;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    if (log_read_key(reader, LOG_BACKLOG, 0, span_of((char *)key.bytes, sizeof(key.bytes)), &value) == RM_OK)
        at = row_decode(&a, value)->at;
    log_read_end(reader);
    arena_fini(&a);
    return at;
}

static bool readable(struct rig *r, uint64_t offset)
{
    struct log_reader *reader;
    struct span value;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    int err = log_read_at(reader, LOG_MAIL, 0, offset, &value);
    log_read_end(reader);
    return err == RM_OK;
}

static uint64_t watermark(struct rig *r)
{
    struct partition_figures f;
    partition_figures(r->p, &f);
    return f.watermark;
}

/* ---- the tests ---- */

static void housekeep(struct rig *r, int times)
{
    for (int i = 0; i < times; i++) {
        partition_housekeep(r->p, clock_wall_ms(), 0);
        flush(r);
    }
}

static void the_watermark_is_the_oldest_open(void **state)
{
    struct rig *r = *state;
    uint64_t a = take(r, 2), b = take(r, 1);
    assert_int_equal(r->n_told, 3);
    tell_final(r, b, 0);
    assert_int_equal(watermark(r), a);
    tell_final(r, a, 1);
    assert_int_equal(watermark(r), a);
    put_row(r, a, 0);
    assert_int_equal(watermark(r), b + 1);
}

static void a_crash_forgets_what_was_not_flushed(void **state)
{
    struct rig *r = *state;
    uint64_t a = take(r, 1);
    tell_final(r, a, 0);
    crash(r);
    assert_int_equal(r->n_told, 1);
    assert_int_equal(r->told[0], a * 100);
}

/* What is not known to be open is not handed out: it waits until rows and finals can be read, and holds the
 * watermark meanwhile. */
static void unreadable_records_are_tried_again(void **state)
{
    struct rig *r = *state;
    uint64_t a = take(r, 3), b = take(r, 1);
    put_row(r, a, 0);
    tell_final(r, a, 1);
    tell_final(r, b, 0);
    flush(r);
    r->rows_fail = true;
    crash(r);
    flush(r);
    assert_int_equal(r->n_told, 0);
    assert_int_equal(r->troubles, 1); /* of a alone: b is final, its row need not be looked for */
    assert_int_equal(watermark(r), a);
    partition_housekeep(r->p, clock_wall_ms(), 0);
    assert_int_equal(r->n_told, 0);
    rows.fails = false;
    partition_housekeep(r->p, clock_wall_ms(), 0);
    assert_int_equal(r->n_told, 1);
    assert_int_equal(r->told[0], a * 100 + 2);
    tell_final(r, a, 2);
    assert_int_equal(watermark(r), b + 1);
}

static size_t dead_records(struct rig *r, uint64_t offset)
{
    struct log_reader *reader;
    struct span value;
    size_t n = 0;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    for (uint64_t at = 0; log_read_next(reader, LOG_DEAD, 0, &at, &value); at++) {
        Remuda__DeadRecord *d = remuda__dead_record__unpack(NULL, value.len, (const uint8_t *)value.ptr);
        assert_non_null(d);
        assert_true(d->time_ms > 0);
        n += d->offset == offset && d->value.len > 0;
        remuda__dead_record__free_unpacked(d, NULL);
    }
    log_read_end(reader);
    return n;
}

/* One death is chance, two are guilt; who was only there goes on. */
static void a_record_that_kills_twice_goes_to_dead(void **state)
{
    struct rig *r = *state;
    uint64_t a = take(r, 2), b = take(r, 1);
    flush(r);
    r->guilty = a;
    r->deaths = 1;
    crash(r);
    assert_int_equal(r->n_told, 3);
    r->deaths = 2;
    crash(r);
    assert_int_equal(r->n_told, 1);
    assert_int_equal(r->told[0], b * 100);
    flush(r);
    assert_int_equal(dead_records(r, a), 1);
    assert_int_equal(watermark(r), b);
    crash(r);
    assert_int_equal(dead_records(r, a), 1);
}

/* Of n submissions, its body in the chunks from first to last. */
static uint64_t append_chunked(struct rig *r, uint64_t first, uint64_t last, size_t n)
{
    Remuda__Record record;
    Remuda__Submission subs[2], *list[2];
    Remuda__Chunk chunks[] = {REMUDA__CHUNK__INIT, REMUDA__CHUNK__INIT}, *of[] = {&chunks[0], &chunks[1]};
    fill_record(&record, subs, list, n);
    chunks[0].offset = first;
    chunks[1].offset = last;
    record.chunks = of;
    record.n_chunks = first == last ? 1 : 2;
    return append_record(r, &record);
}

static int bury(struct rig *r, uint64_t a, uint32_t index)
{
    Remuda__SubmissionId id = identity(a, index);
    struct log_reader *reader;
    Remuda__BacklogRow row = REMUDA__BACKLOG_ROW__INIT;
    row.id = &id;
    row.at = a;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    int err = partition_bury_row(r->p, reader, &row, "why");
    log_read_end(reader);
    return err;
}

/* A chunked record is of use only with its chunks; its rows go, and it goes once. */
static void dead_by_rows_with_its_chunks(void **state)
{
    struct rig *r = *state;
    uint64_t c = append_chunk(r, 0);
    uint64_t a = append_chunked(r, c, c, 2);
    put_row(r, a, 0);
    put_row(r, a, 1);
    flush(r);
    rows.away = c;
    assert_int_equal(bury(r, a, 0), RM_EAGAIN);
    assert_int_equal(row_at(r, a, 0), a);
    rows.away = 0;
    assert_int_equal(bury(r, a, 0), RM_OK);
    assert_int_equal(bury(r, a, 1), RM_OK);
    flush(r);
    assert_int_equal(dead_records(r, c), 1);
    assert_int_equal(dead_records(r, a), 1);
    assert_true(row_at(r, a, 0) == UINT64_MAX && row_at(r, a, 1) == UINT64_MAX);
}

/* In a cluster a new owner reads from its position on, and chunks may stand below: their record waits for
 * them, holds what is needed, and delays no other. */
static void a_record_waits_for_its_chunks(void **state)
{
    struct rig *r = *state;
    uint64_t c = append_chunk(r, 0);
    flush(r);
    rows.away = c;
    uint64_t a = append_chunked(r, c, c, 2), b = take(r, 1);
    assert_int_equal(r->n_told, 1);
    assert_int_equal(r->told[0], b * 100);
    tell_final(r, b, 0);
    flush(r);
    partition_fetched(r->p);
    partition_housekeep(r->p, clock_wall_ms() + 31 * 60 * 1000, 0);
    flush(r);
    assert_int_equal(r->n_told, 1);
    assert_int_equal(watermark(r), a);
    rows.away = 0;
    assert_true(readable(r, c));
    partition_fetched(r->p);
    assert_int_equal(r->n_told, 3);
    assert_int_equal(r->troubles, 0);
    tell_final(r, a, 0);
    tell_final(r, a, 1);
    assert_int_equal(watermark(r), b + 1);
}

/* Else those that can be read would be copied again and again. */
static void nothing_is_carried_without_its_chunks(void **state)
{
    struct rig *r = *state;
    uint64_t c = append_chunk(r, 0), d = append_chunk(r, 0), a = append_chunked(r, c, d, 1);
    struct partition_figures before, after;
    put_row_of(r, a, 0, c);
    for (int i = 0; i < 3 * CARRY_AFTER / 2; i++)
        tell_final(r, take(r, 1), 0);
    rows.away = d;
    flush(r);
    partition_figures(r->p, &before);
    housekeep(r, 6);
    partition_figures(r->p, &after);
    assert_int_equal(after.end, before.end);
    assert_int_equal(row_at(r, a, 0), a);
    rows.away = 0;
    tell_final(r, take(r, 1), 0);
    flush(r);
    housekeep(r, 6);
    assert_true(row_at(r, a, 0) > a);
}

/* The finals behind the oldest open record are honoured, however many flushes and crashes ago they were. */
static void finals_above_the_watermark_are_remembered(void **state)
{
    struct rig *r = *state;
    uint64_t a = take(r, 2);
    uint64_t b = take(r, 1), c = take(r, 1);
    tell_final(r, b, 0);
    flush(r);
    tell_final(r, a, 1);
    flush(r);
    put_row(r, c, 0);
    flush(r);
    for (int i = 0; i < 4; i++) {
        crash(r);
        assert_int_equal(r->n_told, 1);
        assert_int_equal(r->told[0], a * 100);
        if (i % 2)
            flush(r);
    }
    tell_final(r, a, 0);
    flush(r);
    crash(r);
    assert_int_equal(r->n_told, 0);
    assert_int_equal(watermark(r), c + 1);
}

/* As above, when the process dies between the first flush of a start and the reading of the log. */
static void a_start_cut_short_forgets_no_final(void **state)
{
    struct rig *r = *state;
    uint64_t a = take(r, 1), b = take(r, 1);
    tell_final(r, b, 0);
    flush(r);
    partition_close(r->p);
    open_partition(r);
    partition_flush(r->p); /* durable before anything is read back */
    crash(r);
    assert_int_equal(r->n_told, 1);
    assert_int_equal(r->told[0], a * 100);
}

static void rows_are_put_and_erased(void **state)
{
    struct rig *r = *state;
    uint64_t a = take(r, 1);
    put_row(r, a, 0);
    assert_int_equal(row_at(r, a, 0), UINT64_MAX);
    flush(r);
    assert_int_equal(row_at(r, a, 0), a);
    crash(r);
    assert_int_equal(r->n_told, 0);
    Remuda__SubmissionId id = identity(a, 0);
    partition_erase_row(r->p, subid_of(&id));
    flush(r);
    assert_int_equal(row_at(r, a, 0), UINT64_MAX);
}

/* An event of an owner past, whose flush came late. */
static void tell_late(struct rig *r, Remuda__EventType type, uint64_t offset, uint32_t index)
{
    Remuda__Event e = REMUDA__EVENT__INIT, *events[] = {&e};
    Remuda__EventBatch batch = REMUDA__EVENT_BATCH__INIT;
    Remuda__SubmissionId id = identity(offset, index);
    e.type = type;
    e.submission = &id;
    e.final = true;
    e.record_offset = offset;
    batch.events = events;
    batch.n_events = 1;
    batch.epoch = 7777;
    struct buf packed = BUF_INIT;
    proto_pack(&packed, &batch.base);
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_append(b, LOG_EVENTS, 0, buf_span(&packed), NULL, NULL);
    buf_fini(&packed);
    log_submit(r->client, b, note, r);
    turn(r);
}

/* Its event is honoured, whatever the end: the bounce, or the copy, was durable before it. */
static void late_ends_of_owners_past_count(void **state)
{
    static const Remuda__EventType types[] = {
        REMUDA__EVENT_TYPE__EVENT_DELIVERED, REMUDA__EVENT_TYPE__EVENT_BOUNCED,
        REMUDA__EVENT_TYPE__EVENT_EXPIRED, REMUDA__EVENT_TYPE__EVENT_REROUTED};
    struct rig *r = *state;
    if (!r->staged)
        return; /* its owner is alone */
    uint64_t a = take(r, 4);
    for (uint32_t i = 0; i < 4; i++)
        put_row(r, a, i);
    flush(r);
    for (uint32_t i = 0; i < 4; i++)
        tell_late(r, types[i], a, i);
    partition_housekeep(r->p, clock_wall_ms(), 0);
    flush(r);
    for (uint32_t i = 0; i < 4; i++)
        assert_true(row_at(r, a, i) == UINT64_MAX);
    crash(r);
    assert_int_equal(r->n_told, 0);
}

/* As a copy shows a row whose only value left is void. */
static void show_void_row(struct rig *r, uint64_t offset, uint32_t index, uint64_t ms)
{
    Remuda__BacklogRow row = REMUDA__BACKLOG_ROW__INIT;
    Remuda__SubmissionId id = identity(offset, index);
    struct row_key key = row_key_make(subid_of(&id));
    struct buf name = BUF_INIT, value = BUF_INIT;
    uint8_t message_id[16] = {0};
    row.message_id = (ProtobufCBinaryData){16, message_id};
    row.id = &id;
    row.at = row.first_live = offset;
    buf_add_str(&name, LOG_VOID_ROW);
    buf_add(&name, key.bytes, sizeof(key.bytes));
    for (int i = 0; i < 8; i++)
        buf_add_char(&value, (char)(ms >> (56 - 8 * i)));
    proto_pack(&value, &row.base);
    partition_put_state(r->p, buf_span(&name), buf_span(&value));
    buf_fini(&name);
    buf_fini(&value);
}

static uint64_t in_doubt_until(struct rig *r, uint64_t offset, uint32_t index)
{
    Remuda__SubmissionId id = identity(offset, index);
    struct row_key key = row_key_make(subid_of(&id));
    struct log_reader *reader;
    struct span value;
    struct arena a = ARENA_INIT;
    uint64_t until = 0;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    if (log_read_key(reader, LOG_BACKLOG, 0, span_of((char *)key.bytes, sizeof(key.bytes)), &value) == RM_OK)
        until = row_decode(&a, value)->state == REMUDA__ROW_STATE__ROW_IN_DOUBT
                    ? row_decode(&a, value)->in_doubt_until_ms
                    : 1;
    log_read_end(reader);
    arena_fini(&a);
    return until;
}

/* Only a void row is left: in doubt until its time plus ten minutes, never absent. Not what has had its end,
 * however long ago, and not what is read again. */
static void void_rows_are_in_doubt(void **state)
{
    struct rig *r = *state;
    if (!r->staged)
        return; /* its rows are one transaction with the claim */
    uint64_t a = take(r, 3);
    tell_final(r, a, 1);
    partition_cover(r->p, a);
    partition_cover(r->p, a);
    flush(r);
    uint64_t b = take(r, 1); /* above the watermark */
    for (uint32_t i = 0; i < 2; i++)
        show_void_row(r, a, i, 5000);
    show_void_row(r, b, 0, 5000);
    flush(r);
    assert_int_equal(watermark(r), b);
    crash(r);
    flush(r);
    assert_int_equal(in_doubt_until(r, a, 0), 5000 + 600000);
    assert_int_equal(in_doubt_until(r, a, 1), 0);
    assert_int_equal(in_doubt_until(r, a, 2), 0); /* nothing is known of it: the account names it */
    assert_int_equal(in_doubt_until(r, b, 0), 0);
    assert_int_equal(r->n_told, 1);
    assert_int_equal(r->told[0], b * 100);
}

static void append_copy(struct rig *r, uint64_t sequence, uint64_t origin)
{
    Remuda__Record record;
    Remuda__Submission subs[1], *list[1];
    Remuda__Transfer key = REMUDA__TRANSFER__INIT;
    Remuda__SubmissionId id = identity(origin, 0);
    fill_record(&record, subs, list, 1);
    id.partition = 1;
    subs[0].origin = &id;
    key.partition = 1;
    key.sequence = key.floor = sequence;
    record.transfer = &key;
    append_record(r, &record);
}

static void a_transfer_seen_is_dropped(void **state)
{
    struct rig *r = *state;
    append_copy(r, 1, 70);
    append_copy(r, 2, 71);
    append_copy(r, 1, 70);
    append_copy(r, 2, 71);
    assert_int_equal(r->n_told, 2);
    flush(r);
    append_copy(r, 2, 71);
    assert_int_equal(r->n_told, 2);
}

static void a_refused_flush_is_written_again(void **state)
{
    struct rig *r = *state;
    if (r->embedded)
        skip();
    uint64_t a = take(r, 1);
    put_row(r, a, 0);
    memory_log_fail_next(r->log, RM_EIO, 2);
    int before = r->flushes;
    flush(r);
    assert_int_equal(r->flushes, before);
    assert_int_equal(r->troubles, 1);
    assert_true(partition_failing_since_us(r->p) != 0);
    for (int i = 0; i < 4; i++) {
        partition_housekeep(r->p, clock_wall_ms(), 0);
        turn(r);
    }
    assert_int_equal(r->flushes, before + 1);
    assert_true(partition_failing_since_us(r->p) == 0);
    assert_int_equal(row_at(r, a, 0), a);
}

/* It has not failed, and nothing says yet that it will not: what would be sent meanwhile could be sent twice.
 */
static void a_slow_flush_is_told_like_a_failing_one(void **state)
{
    struct rig *r = *state;
    if (r->embedded)
        skip();
    put_row(r, take(r, 1), 0);
    memory_log_hold(r->log);
    partition_flush(r->p);
    assert_true(partition_failing_since_us(r->p) == 0);
    usleep(1100 * 1000);
    assert_true(partition_failing_since_us(r->p) != 0);
    memory_log_release(r->log);
    for (int i = 0; i < 100 && partition_failing_since_us(r->p); i++)
        turn(r);
    assert_true(partition_failing_since_us(r->p) == 0);
}

static void closing_waits_for_the_flush_in_flight(void **state)
{
    struct rig *r = *state;
    uint64_t a = take(r, 1);
    put_row(r, a, 0);
    partition_flush(r->p);
    crash(r);
    assert_int_equal(row_at(r, a, 0), a);
}

static void the_delete_line_stops_at_the_living(void **state)
{
    struct rig *r = *state;
    uint64_t a = take(r, 1), b = take(r, 1), c = take(r, 1);
    tell_final(r, a, 0);
    put_row(r, b, 0);
    tell_final(r, c, 0);
    flush(r);
    housekeep(r, 3);
    assert_false(readable(r, a));
    assert_true(readable(r, b));
}

static void a_live_record_is_carried_over_dead_space(void **state)
{
    struct rig *r = *state;
    uint64_t a = take(r, 2);
    put_row(r, a, 0);
    put_row(r, a, 1);
    for (int i = 0; i < 3 * CARRY_AFTER / 2; i++)
        tell_final(r, take(r, 1), 0);
    flush(r);
    housekeep(r, 6);
    uint64_t at = row_at(r, a, 0);
    assert_true(at != UINT64_MAX && at > a);
    assert_int_equal(row_at(r, a, 1), at);
    assert_false(readable(r, a));
    assert_true(readable(r, at));
    crash(r);
    assert_true(readable(r, row_at(r, a, 0)));
}

/* A record at which the process has died is known by its place. */
static void a_suspect_is_not_carried(void **state)
{
    struct rig *r = *state;
    uint64_t a = take(r, 1);
    put_row(r, a, 0);
    r->guilty = a;
    r->deaths = 1;
    for (int i = 0; i < 3 * CARRY_AFTER / 2; i++)
        tell_final(r, take(r, 1), 0);
    flush(r);
    housekeep(r, 6);
    assert_true(row_at(r, a, 0) == a && readable(r, a));
}

/* The copy is durable, the rows still point to the old place: the next owner moves them. */
static void a_crash_between_copy_and_rows_moves_them_later(void **state)
{
    struct rig *r = *state;
    uint64_t a = take(r, 1);
    put_row(r, a, 0);
    for (int i = 0; i < 3 * CARRY_AFTER / 2; i++)
        tell_final(r, take(r, 1), 0);
    flush(r);
    housekeep(r, 1); /* the line moves up to the record */
    partition_housekeep(r->p, clock_wall_ms(), 0);
    turn(r);
    assert_int_equal(row_at(r, a, 0), a);
    crash(r);
    flush(r);
    assert_true(row_at(r, a, 0) > a);
    assert_true(readable(r, row_at(r, a, 0)));
}

/* A record with one row is copied to the end, and that its row has moved is not durable. */
static uint64_t carry_begun(struct rig *r)
{
    uint64_t a = take(r, 1);
    put_row(r, a, 0);
    for (int i = 0; i < 3 * CARRY_AFTER / 2; i++)
        tell_final(r, take(r, 1), 0);
    flush(r);
    housekeep(r, 1);
    partition_housekeep(r->p, clock_wall_ms(), 0);
    turn(r);
    assert_int_equal(row_at(r, a, 0), a);
    return a;
}

/* Where a row would be loaded from that can be read with the place a. */
static uint64_t place_of(struct rig *r, uint64_t a)
{
    Remuda__BacklogRow row = REMUDA__BACKLOG_ROW__INIT;
    Remuda__SubmissionId id = identity(a, 0);
    row.id = &id;
    row.at = row.first_live = a;
    struct arena arena = ARENA_INIT;
    partition_row_now(r->p, &row, &arena);
    arena_fini(&arena);
    assert_int_equal(row.first_live, row.at);
    return row.at;
}

/* Written back with its old place it would be without its record when that is deleted (I1). */
static void a_row_that_is_being_moved_is_known_by_its_new_place(void **state)
{
    struct rig *r = *state;
    uint64_t a = carry_begun(r), at = place_of(r, a);
    assert_true(at > a && row_at(r, a, 0) == a);
    partition_flush(r->p);
    assert_int_equal(place_of(r, a), at);
    flush(r);
    assert_int_equal(row_at(r, a, 0), at);
    assert_int_equal(place_of(r, a), a); /* nothing is kept of it */
}

/* The end of a submission is durable, the erasure of its row is not, and its copy by carry-forward is read by
 * the next owner: its row does not come back (I2). */
static void an_ended_row_is_not_moved(void **state)
{
    struct rig *r = *state;
    if (!r->staged)
        skip();
    uint64_t a = carry_begun(r);
    memory_log_break_flush(r->log, LOG_STAGE_BACKLOG, false);
    tell_final(r, a, 0);
    flush(r);
    crash(r);
    flush(r);
    assert_true(row_at(r, a, 0) == UINT64_MAX);
    crash(r);
    flush(r);
    assert_true(row_at(r, a, 0) == UINT64_MAX);
}

/* One recipient has it, another is tried again: an event that is no end. */
static void tell_part(struct rig *r, uint64_t offset, uint32_t recipient)
{
    Remuda__Event e = REMUDA__EVENT__INIT;
    Remuda__RecipientOutcome o = REMUDA__RECIPIENT_OUTCOME__INIT, *list[] = {&o};
    Remuda__SubmissionId id = identity(offset, 0);
    o.index = recipient;
    o.state = REMUDA__RECIPIENT_STATE__RCPT_DELIVERED;
    e.submission = &id;
    e.recipients = list;
    e.n_recipients = 1;
    e.record_offset = offset;
    partition_event(r->p, &e);
}

static bool is_told(struct rig *r, uint64_t offset, uint32_t recipient)
{
    size_t n;
    Remuda__SubmissionId id = identity(offset, 0);
    const struct told_result *told = partition_told(r->p, subid_of(&id), &n);
    return n > 0 && told[n - 1].index == recipient &&
           told[n - 1].state == REMUDA__RECIPIENT_STATE__RCPT_DELIVERED;
}

/* What the row says that can be read. */
static bool row_tells(struct rig *r, uint64_t offset, uint32_t recipient)
{
    Remuda__SubmissionId id = identity(offset, 0);
    struct row_key key = row_key_make(subid_of(&id));
    struct log_reader *reader;
    struct span value;
    struct arena a = ARENA_INIT;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    assert_int_equal(
        log_read_key(reader, LOG_BACKLOG, 0, span_of((char *)key.bytes, sizeof(key.bytes)), &value), RM_OK);
    const Remuda__BacklogRow *row = row_decode(&a, value);
    bool tells = row->n_results > recipient &&
                 row->results[recipient]->state == REMUDA__RECIPIENT_STATE__RCPT_DELIVERED;
    log_read_end(reader);
    arena_fini(&a);
    return tells;
}

/* The event that one of two recipients has it is durable, the row is not: the next owner knows it (I2). */
static void what_was_told_of_one_recipient_counts_without_a_row(void **state)
{
    struct rig *r = *state;
    if (!r->staged)
        skip();
    uint64_t a = take(r, 1);
    tell_part(r, a, 1);
    put_row(r, a, 0);
    memory_log_break_flush(r->log, LOG_STAGE_BACKLOG, false);
    partition_flush(r->p);
    turn(r);
    crash(r);
    assert_true(row_at(r, a, 0) == UINT64_MAX);
    assert_true(is_told(r, a, 1));
}

/* The same where an older row stands, and over a second death. */
static void what_was_told_of_one_recipient_is_written_into_its_row(void **state)
{
    struct rig *r = *state;
    if (!r->staged)
        skip();
    uint64_t a = take(r, 1);
    put_row(r, a, 0);
    flush(r);
    tell_part(r, a, 1);
    memory_log_break_flush(r->log, LOG_STAGE_BACKLOG, false);
    partition_flush(r->p);
    turn(r);
    crash(r);
    assert_true(is_told(r, a, 1) && !row_tells(r, a, 1));
    flush(r);
    assert_true(row_tells(r, a, 1) && !row_tells(r, a, 0));
    crash(r);
    flush(r);
    assert_true(row_tells(r, a, 1) && row_at(r, a, 0) == a);
}

/* An owner past tells an end by the place of the record that it knew; the row has been moved since. */
static void a_late_end_erases_a_row_that_was_moved(void **state)
{
    struct rig *r = *state;
    if (!r->staged)
        skip();
    uint64_t a = carry_begun(r);
    crash(r);
    flush(r);
    assert_true(row_at(r, a, 0) > a);
    tell_from_past(r, a, REMUDA__EVENT_TYPE__EVENT_REROUTED);
    housekeep(r, 2);
    assert_true(row_at(r, a, 0) > a); /* it may have come back */
    tell_from_past(r, a, REMUDA__EVENT_TYPE__EVENT_DELIVERED);
    housekeep(r, 2);
    assert_true(row_at(r, a, 0) == UINT64_MAX);
}

/* The row as who loads it now sees it; 0: not at all. */
static uint64_t place_now(struct rig *r, uint64_t offset)
{
    struct log_reader *reader;
    struct span value;
    struct arena a = ARENA_INIT;
    uint64_t at = 0;
    Remuda__SubmissionId id = identity(offset, 0);
    struct row_key key = row_key_make(subid_of(&id));
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    if (log_read_key(reader, LOG_BACKLOG, 0, span_of((const char *)key.bytes, sizeof(key.bytes)), &value) ==
        RM_OK) {
        Remuda__BacklogRow *row = row_decode(&a, value);
        partition_row_now(r->p, row, &a);
        at = partition_row_ended(r->p, subid_of(&id), row->at) ? 0 : row->at;
    }
    arena_fini(&a);
    log_read_end(reader);
    return at;
}

/* What is in memory puts its row itself, and may leave before that is durable. */
static void what_leaves_memory_while_it_moves_is_known_too(void **state)
{
    struct rig *r = *state;
    uint64_t a = carry_begun(r);
    r->busy = a;
    crash(r);
    r->busy = 0;
    assert_true(place_of(r, a) > a);
}

static void erase_from_past(struct rig *r, uint64_t offset)
{
    Remuda__SubmissionId id = identity(offset, 0);
    struct row_key key = row_key_make(subid_of(&id));
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_erase(b, LOG_BACKLOG, 0, span_of((const char *)key.bytes, sizeof(key.bytes)));
    log_submit(r->client, b, note, r);
    turn(r);
}

/* The owner past erases the row itself while the one of now moves it: it does not come back. */
static void a_row_erased_while_it_moves_stays_erased(void **state)
{
    struct rig *r = *state;
    if (!r->staged)
        skip();
    uint64_t a = carry_begun(r);
    tell_from_past(r, a, REMUDA__EVENT_TYPE__EVENT_DELIVERED);
    erase_from_past(r, a);
    partition_housekeep(r->p, clock_wall_ms(), 0);
    flush(r);
    assert_true(row_at(r, a, 0) == UINT64_MAX);
}

/* The end of what is in an attempt is heard: when that is over its row goes and is loaded no more, and until
 * then an owner to come finds the end again. */
static void the_end_of_what_is_busy_is_remembered(void **state)
{
    struct rig *r = *state;
    if (!r->staged)
        skip();
    uint64_t a = take(r, 1);
    Remuda__SubmissionId id = identity(a, 0);
    put_row(r, a, 0);
    flush(r);
    r->busy = a;
    tell_from_past(r, a, REMUDA__EVENT_TYPE__EVENT_DELIVERED);
    for (int i = 0; i < 3; i++) {
        tell_final(r, take(r, 1), 0);
        housekeep(r, 1);
    }
    assert_int_equal(row_at(r, a, 0), a);
    assert_true(partition_end_heard(r->p, subid_of(&id), a));
    assert_int_equal(place_now(r, a), 0);
    crash(r);
    r->busy = 0;
    assert_int_equal(place_now(r, a), 0);
    flush(r);
    assert_true(row_at(r, a, 0) == UINT64_MAX);
    put_row(r, a, 0); /* as by an attempt that ended otherwise */
    flush(r);
    r->busy = a;
    tell_from_past(r, a, REMUDA__EVENT_TYPE__EVENT_DELIVERED);
    housekeep(r, 1);
    r->busy = 0;
    housekeep(r, 2);
    assert_true(row_at(r, a, 0) == UINT64_MAX);
    assert_false(partition_end_heard(r->p, subid_of(&id), a));
}

static void append_events(struct rig *r, struct span value)
{
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_append(b, LOG_EVENTS, 0, value, NULL, NULL);
    log_submit(r->client, b, note, r);
    turn(r);
}

/* Told while it is owned, by a node that comes back; and by the time of the next start, at which it is read
 * as far as the position goes. */
static void an_owner_past_tells_that_its_connections_are_closed(void **state)
{
    char room[PARTITION_CLOSED_MOST];
    struct rig *r = *state;
    if (!r->staged)
        skip();
    append_events(r, partition_closed_value(1000, room));
    append_events(r, SPAN_LIT(""));
    housekeep(r, 2);
    assert_int_equal(r->closed, 1000);
    append_events(r, partition_closed_value(r->epoch, room)); /* not by itself */
    append_events(r, partition_closed_value(1001, room));
    crash(r);
    assert_true(partition_closed_by(r->p, 1001));
    assert_false(partition_closed_by(r->p, 1002) || partition_closed_by(r->p, 100));
    housekeep(r, 2);
    assert_int_equal(r->closed, 1000);
}

/* When it is lost; what had been gathered before and is no delivery is not told. */
static void a_lost_owner_tells_that_its_connections_are_closed(void **state)
{
    struct rig *r = *state;
    if (!r->staged)
        skip();
    uint64_t epoch = partition_epoch(r->p);
    tell_final(r, take(r, 1), 0);
    partition_lost(r->p);
    partition_closed(r->p);
    flush(r);
    r->n_told = 0;
    crash(r);
    assert_true(partition_closed_by(r->p, epoch));
    assert_int_equal(r->n_told, 1); /* and the message is open again */
}

/* Though a flush is on its way or refused when it is lost, and the log goes on to refuse for a while. */
static void a_lost_owner_tells_when_the_log_can_again(void **state)
{
    struct rig *r = *state;
    if (!r->staged)
        skip();
    for (int refused = 0; refused < 2; refused++) {
        uint64_t epoch = partition_epoch(r->p);
        put_row(r, take(r, 1), 0);
        memory_log_fail_next(r->log, RM_ETIMEDOUT, 3);
        partition_flush(r->p);
        if (refused)
            turn(r);
        partition_lost(r->p);
        partition_closed(r->p);
        turn(r);
        assert_true(partition_dirty(r->p));
        for (int i = 0; i < 3; i++) {
            partition_flush(r->p);
            turn(r);
            partition_tell_again(r->p);
            turn(r);
        }
        assert_false(partition_dirty(r->p));
        crash(r);
        assert_true(partition_closed_by(r->p, epoch));
    }
}

static void tell_delivered(struct rig *r, uint64_t offset)
{
    Remuda__Event e = REMUDA__EVENT__INIT;
    Remuda__SubmissionId id = identity(offset, 0);
    e.type = REMUDA__EVENT_TYPE__EVENT_DELIVERED;
    e.submission = &id;
    e.final = true;
    e.record_offset = offset;
    partition_event(r->p, &e);
    partition_cover(r->p, offset);
}

/* Nobody may get a message again whose delivery its owner knew of, though it could not write it in time. */
static void a_lost_owner_tells_of_deliveries_that_it_could_not_write(void **state)
{
    struct rig *r = *state;
    if (!r->staged)
        skip();
    for (int refused = 0; refused < 2; refused++) {
        uint64_t in_flight = take(r, 1), bounced = take(r, 1), gathered = take(r, 1);
        flush(r);
        tell_delivered(r, in_flight);
        tell_final(r, bounced, 0);
        memory_log_fail_next(r->log, RM_ETIMEDOUT, 1);
        partition_flush(r->p);
        if (refused)
            turn(r);
        tell_delivered(r, gathered);
        partition_lost(r->p);
        for (int i = 0; i < 3; i++)
            flush(r);
        crash(r);
        assert_int_equal(r->n_told, 1 + refused); /* what bounced is open again, and stays so here */
    }
}

/* Flush after flush is broken off while a record is carried forward, and the owner dies: at every instant its
 * row points to a record that is there (I1), and at the end the old copy goes (I7). */
static void carry_broken_off(struct rig *r, int stages, bool silent)
{
    r->n_told = 0;
    uint64_t a = take(r, 1);
    put_row(r, a, 0);
    for (int i = 0; i < 3 * CARRY_AFTER / 2; i++)
        tell_final(r, take(r, 1), 0);
    flush(r);
    for (int i = 0; i < 6; i++) {
        memory_log_break_flush(r->log, stages, silent);
        housekeep(r, 1);
        assert_true(readable(r, row_at(r, a, 0)));
        if (i % 3 == 2)
            crash(r);
        assert_true(readable(r, row_at(r, a, 0)));
    }
    housekeep(r, 8);
    assert_true(row_at(r, a, 0) > a && readable(r, row_at(r, a, 0)));
    assert_false(readable(r, a));
    Remuda__SubmissionId id = identity(a, 0);
    partition_erase_row(r->p, subid_of(&id));
    flush(r);
}

static void a_carried_record_is_never_without_its_bytes(void **state)
{
    struct rig *r = *state;
    if (!r->staged)
        skip();
    for (int stages = 0; stages < LOG_STAGES; stages++)
        for (int silent = 0; silent < 2; silent++)
            carry_broken_off(r, stages, silent);
}

static void young_chunks_are_kept_over_crashes(void **state)
{
    struct rig *r = *state;
    uint64_t chunk = append_chunk(r, 9);
    tell_final(r, take(r, 1), 0);
    flush(r);
    for (int i = 0; i < 3; i++) {
        housekeep(r, 2);
        assert_true(readable(r, chunk));
        crash(r);
    }
    for (int i = 0; i < 3; i++) {
        partition_housekeep(r->p, clock_wall_ms() + 31 * 60 * 1000, 0);
        flush(r);
    }
    assert_false(readable(r, chunk));
}

/* All that there ever was is the beginning of a message whose sender hung up: it goes, though nothing else
 * comes. */
static void a_lone_chunk_goes(void **state)
{
    struct rig *r = *state;
    uint64_t chunk = append_chunk(r, 9);
    housekeep(r, 2);
    assert_true(readable(r, chunk));
    partition_housekeep(r->p, clock_wall_ms() + 29 * 60 * 1000, 0);
    flush(r);
    assert_true(readable(r, chunk));
    for (int i = 0; i < 3; i++) {
        partition_housekeep(r->p, clock_wall_ms() + 31 * 60 * 1000, 0);
        flush(r);
    }
    assert_false(readable(r, chunk));
}

/* A record above the watermark whose chunks are below it: nothing goes before it has been read again. */
static void a_start_deletes_nothing_before_it_has_read_all(void **state)
{
    struct rig *r = *state;
    Remuda__Record record;
    Remuda__Submission subs[1], *list[1];
    Remuda__Chunk piece = REMUDA__CHUNK__INIT, *pieces[] = {&piece};
    uint64_t chunk = append_chunk(r, 0);
    tell_final(r, take(r, 1), 0);
    fill_record(&record, subs, list, 1);
    piece.offset = chunk;
    record.chunks = pieces;
    record.n_chunks = 1;
    append_record(r, &record);
    flush(r);
    housekeep(r, 2);
    partition_close(r->p);
    open_partition(r);
    partition_housekeep(r->p, clock_wall_ms() + 31 * 60 * 1000, 0);
    flush(r);
    housekeep(r, 2);
    assert_true(readable(r, chunk));
}

/* ---- keys of the layer above ---- */

/* Value of a key of state[0], as it is durable; "-" without one. */
static void state_is(struct rig *r, const char *key, const char *wanted)
{
    struct log_reader *reader;
    struct span value;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    if (log_read_key(reader, LOG_STATE, 0, span_str(key), &value) != RM_OK)
        value = SPAN_LIT("-");
    if (!span_eq(value, span_str(wanted)))
        fail_msg("%s is \"%.*s\", not \"%s\"", key, SPAN_FMT(value), wanted);
    log_read_end(reader);
}

static void state_goes_with_the_flush(void **state)
{
    struct rig *r = *state;
    char key[] = "pair:a/b", value[] = "one";
    partition_put_state(r->p, span_str(key), span_str(value));
    partition_put_state(r->p, SPAN_LIT("pair:c/d"), SPAN_LIT("x"));
    memset(key, '?', sizeof(key) - 1); /* both were copied */
    memset(value, '?', sizeof(value) - 1);
    state_is(r, "pair:a/b", "-");
    flush(r);
    state_is(r, "pair:a/b", "one");
    state_is(r, "pair:c/d", "x");
    partition_put_state(r->p, SPAN_LIT("pair:a/b"), SPAN_LIT("two"));
    partition_put_state(r->p, SPAN_LIT("pair:a/b"), SPAN_LIT("three")); /* the last one counts */
    partition_put_state(r->p, SPAN_LIT("pair:c/d"), span_str(""));
    flush(r);
    state_is(r, "pair:a/b", "three");
    state_is(r, "pair:c/d", "-");
    partition_put_state(r->p, SPAN_LIT("pair:a/b"), SPAN_LIT("never durable"));
    partition_put_state(r->p, SPAN_LIT("pair:c/d"), SPAN_LIT("never durable"));
    crash(r);
    flush(r);
    state_is(r, "pair:a/b", "three");
    state_is(r, "pair:c/d", "-");
    partition_put_state(r->p, SPAN_LIT("pair:none"), span_str("")); /* erasing what is not there */
    flush(r);
    state_is(r, "pair:none", "-");
    assert_int_equal(r->troubles, 0);
}

/* What is put while a flush is in flight, or refused, goes with the next one. */
static void state_put_during_a_flush_is_kept(void **state)
{
    struct rig *r = *state;
    partition_put_state(r->p, SPAN_LIT("k"), SPAN_LIT("first"));
    partition_flush(r->p);
    partition_put_state(r->p, SPAN_LIT("k"), SPAN_LIT("second"));
    turn(r);
    flush(r);
    state_is(r, "k", "second");
}

#define ALL(test)                                                                                            \
    cmocka_unit_test_setup_teardown(test, setup_memory, teardown),                                           \
        cmocka_unit_test_setup_teardown(test, setup_staged, teardown),                                       \
        cmocka_unit_test_setup_teardown(test, setup_embedded, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALL(the_watermark_is_the_oldest_open),
        ALL(a_crash_forgets_what_was_not_flushed),
        ALL(unreadable_records_are_tried_again),
        ALL(a_record_that_kills_twice_goes_to_dead),
        ALL(dead_by_rows_with_its_chunks),
        cmocka_unit_test_setup_teardown(a_record_waits_for_its_chunks, setup_staged, teardown),
        ALL(nothing_is_carried_without_its_chunks),
        ALL(finals_above_the_watermark_are_remembered),
        ALL(a_start_cut_short_forgets_no_final),
        ALL(rows_are_put_and_erased),
        ALL(late_ends_of_owners_past_count),
        ALL(void_rows_are_in_doubt),
        ALL(a_transfer_seen_is_dropped),
        ALL(a_refused_flush_is_written_again),
        ALL(a_slow_flush_is_told_like_a_failing_one),
        ALL(closing_waits_for_the_flush_in_flight),
        ALL(the_delete_line_stops_at_the_living),
        ALL(a_live_record_is_carried_over_dead_space),
        ALL(a_suspect_is_not_carried),
        ALL(a_crash_between_copy_and_rows_moves_them_later),
        ALL(a_row_that_is_being_moved_is_known_by_its_new_place),
        ALL(a_carried_record_is_never_without_its_bytes),
        ALL(an_ended_row_is_not_moved),
        ALL(what_was_told_of_one_recipient_counts_without_a_row),
        ALL(what_was_told_of_one_recipient_is_written_into_its_row),
        ALL(a_late_end_erases_a_row_that_was_moved),
        ALL(what_leaves_memory_while_it_moves_is_known_too),
        ALL(a_row_erased_while_it_moves_stays_erased),
        ALL(the_end_of_what_is_busy_is_remembered),
        ALL(an_owner_past_tells_that_its_connections_are_closed),
        ALL(a_lost_owner_tells_that_its_connections_are_closed),
        ALL(a_lost_owner_tells_when_the_log_can_again),
        ALL(a_lost_owner_tells_of_deliveries_that_it_could_not_write),
        ALL(young_chunks_are_kept_over_crashes),
        ALL(a_lone_chunk_goes),
        ALL(a_start_deletes_nothing_before_it_has_read_all),
        ALL(state_goes_with_the_flush),
        ALL(state_put_during_a_flush_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
