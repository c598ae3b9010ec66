/*
 * Transfers and reports between two partitions, broken off at every stage of each flush: the giver dies there
 * or writes again, the receiver dies too, copies come twice. Each submission and each report must arrive
 * exactly once (I1, I2). Over a log that is atomic and over one that is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "queue/log_private.h"
#include "queue/memory/memory.h"
#include "queue/partition.h"

enum { SUBS_MOST = 64, GIVER = 0, TAKER = 1, CHUNKS = 2 };

struct held {
    struct subid id;
    uint64_t at;
    struct message *message;
    size_t i;
    bool moving, covered;
};

struct rig;

struct side {
    struct rig *rig;
    uint32_t number;
    struct partition *p;
    struct partition_events events;
    struct held subs[SUBS_MOST];
    size_t n;
    struct group *groups; /* all ever made */
    bool recovered;
};

struct group {
    struct group *next;
    struct transfer *transfer;
    size_t n;
    size_t subs[4]; /* in side->subs */
};

struct rig {
    bool atomic;
    struct log *log;
    struct log_client *client;
    struct side sides[2];
    uint64_t epoch, appended;
    unsigned delivered[SUBS_MOST]; /* by offset of the identity * 4 + index, at the taker */
    unsigned reports;
    bool report; /* the giver bounces instead of handing on */
    bool lone;   /* each submission in a copy of its own */
};

/* ---- the owners ---- */

static void on_submission(void *arg, struct message *m, uint64_t offset, size_t i)
{
    struct side *s = arg;
    Remuda__SubmissionId id = record_submission_id(m->record, s->number, offset, i);
    assert_true(s->n < SUBS_MOST);
    s->subs[s->n++] = (struct held){.id = subid_of(&id), .at = offset, .message = message_ref(m), .i = i};
}

static void on_flushed(void *arg)
{
    (void)arg;
}

static void on_moved(void *arg, struct subid id, struct message *m, uint64_t at, uint64_t first_live)
{
    (void)arg, (void)id, (void)m, (void)at, (void)first_live;
}

static bool in_memory(void *arg, struct subid id)
{
    (void)arg, (void)id;
    return true;
}

static void on_trouble(void *arg, int err, const char *what)
{
    (void)arg, (void)err, (void)what;
}

static Remuda__SubmissionId wire_id(struct subid id)
{
    Remuda__SubmissionId out = REMUDA__SUBMISSION_ID__INIT;
    out.partition = id.partition;
    out.offset = id.offset;
    out.index = id.index;
    return out;
}

static void final(struct side *s, size_t at)
{
    struct held *h = &s->subs[at];
    Remuda__Event e = REMUDA__EVENT__INIT;
    Remuda__SubmissionId id = wire_id(h->id);
    e.submission = &id;
    e.final = true;
    e.record_offset = h->at;
    partition_event(s->p, &e);
    partition_erase_row(s->p, h->id);
    if (!h->covered)
        partition_cover(s->p, h->at);
    message_unref(h->message);
    h->message = NULL;
}

static void on_transfer(void *arg, struct transfer *t, int status)
{
    struct side *s = arg;
    struct group *g = partition_transfer_arg(t);
    assert_true(status == RM_OK || s->rig->atomic);
    if (status != RM_OK) { /* decided anew */
        for (size_t i = 0; i < g->n; i++)
            s->subs[g->subs[i]].moving = false;
        return;
    }
    Remuda__Submission subs[4], *list[4];
    Remuda__SubmissionId ids[4];
    for (size_t i = 0; i < g->n; i++) {
        const struct held *h = &s->subs[g->subs[i]];
        subs[i] = *h->message->record->submissions[h->i];
        ids[i] = wire_id(h->id);
        subs[i].origin = &ids[i];
        list[i] = &subs[i];
    }
    partition_transfer_give(t, list, g->n, 1);
    for (size_t i = 0; i < g->n; i++)
        final(s, g->subs[i]);
}

static void put_decision(struct side *s, struct held *h, struct transfer_number n)
{
    Remuda__BacklogRow row = REMUDA__BACKLOG_ROW__INIT;
    Remuda__TransferTo to = REMUDA__TRANSFER_TO__INIT;
    Remuda__SubmissionId id = wire_id(h->id);
    uint8_t message_id[16] = {0};
    row.message_id.data = message_id;
    row.message_id.len = sizeof(message_id);
    row.id = &id;
    row.at = row.first_live = h->at;
    if (h->message->record->n_chunks)
        row.first_live = h->message->record->chunks[0]->offset;
    row.state = REMUDA__ROW_STATE__ROW_TRANSFERRING;
    to.partition = TAKER;
    to.epoch = n.epoch;
    to.sequence = n.sequence;
    row.transfer_to = &to;
    partition_put_row(s->p, &row);
    partition_cover(s->p, h->at);
    h->covered = true;
}

static struct group *group_new(struct side *s)
{
    struct group *g = calloc(1, sizeof(*g));
    assert_non_null(g);
    g->next = s->groups;
    s->groups = g;
    return g;
}

static void group_add(struct side *s, struct group *g, size_t at)
{
    g->subs[g->n++] = at;
    s->subs[at].moving = true;
}

static struct transfer_options options_of(const struct held *h, struct group *g)
{
    return (struct transfer_options){.message = h->message, .at = h->at, .target = TAKER, .arg = g};
}

/* Hands on what is open: of one record together. */
static void decide_all(struct side *s)
{
    struct group *g = NULL;
    uint64_t at = 0;
    for (size_t i = 0; i < s->n; i++) {
        struct held *h = &s->subs[i];
        if (!h->message || h->moving)
            continue;
        if (!g || h->at != at || s->rig->lone) {
            g = group_new(s);
            struct transfer_options o = options_of(h, g);
            g->transfer = partition_transfer_new(s->p, &o);
            at = h->at;
        }
        group_add(s, g, i);
        if (!s->rig->atomic)
            put_decision(s, h, partition_transfer_number(g->transfer));
    }
}

static bool is_known(const struct side *s, struct subid id)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->subs[i].message && s->subs[i].id.offset == id.offset && s->subs[i].id.index == id.index)
            return true;
    return false;
}

static void resume(struct side *s, struct group **groups, const Remuda__BacklogRow *row)
{
    struct log_reader *r;
    struct span value;
    struct message *m;
    assert_int_equal(log_read_begin(s->rig->log, &r), RM_OK);
    assert_int_equal(log_read_at(r, LOG_MAIL, s->number, row->at, &value), RM_OK);
    assert_int_equal(message_decode(value, true, &m), RM_OK);
    log_read_end(r);
    if (m->record->n_chunks) {
        blob_unref(m->body);
        m->body = NULL;
    }
    on_submission(s, m, row->at, row->id->index);
    s->subs[s->n - 1].covered = true;
    message_unref(m);
    struct group *g = groups[row->transfer_to->sequence];
    if (!g) {
        g = groups[row->transfer_to->sequence] = group_new(s);
        struct transfer_options o = options_of(&s->subs[s->n - 1], g);
        struct transfer_number n = {row->transfer_to->epoch, row->transfer_to->sequence};
        g->transfer = partition_transfer_resume(s->p, &o, n);
    }
    group_add(s, g, s->n - 1);
}

static void on_recovered(void *arg)
{
    struct side *s = arg;
    struct log_reader *r;
    struct arena a = ARENA_INIT;
    struct span from = SPAN_LIT("H"), after = span_str(NULL), key, row_key, value;
    Remuda__BacklogRow *rows[16];
    struct group *groups[16] = {0};
    size_t n = 0;
    s->recovered = true;
    assert_int_equal(log_read_begin(s->rig->log, &r), RM_OK);
    while (log_read_index(r, s->number, from, after, &key, &row_key) && key.ptr[0] == 'H') {
        assert_int_equal(log_read_key(r, LOG_BACKLOG, s->number, row_key, &value), RM_OK);
        assert_true(n < 16);
        rows[n] = row_decode(&a, value);
        assert_non_null(rows[n]->transfer_to);
        n++;
        from = key;
        after = row_key;
    }
    log_read_end(r);
    for (size_t i = 0; i < n; i++)
        if (!is_known(s, subid_of(rows[i]->id))) /* decided since the start */
            resume(s, groups, rows[i]);
    arena_fini(&a);
}

/* A report under an id that its cause alone makes, as relay/feedback/bounce.c does. */
static void report_all(struct side *s)
{
    for (size_t i = 0; i < s->n; i++) {
        struct held *h = &s->subs[i];
        if (!h->message)
            continue;
        Remuda__Record record = *h->message->record;
        Remuda__Submission sub = *record.submissions[0], *list[] = {&sub};
        Remuda__Transfer key = REMUDA__TRANSFER__INIT;
        uint8_t id[16] = {9, (uint8_t)h->id.offset, (uint8_t)h->id.index};
        record.id.data = id;
        record.kind = REMUDA__RECORD_KIND__RECORD_BOUNCE;
        record.submissions = list;
        record.n_submissions = 1;
        record.transfer = &key;
        record.n_chunks = 0;
        key.kind = REMUDA__TRANSFER_KIND__TRANSFER_BOUNCE;
        partition_number_report(s->p, NULL, &key);
        struct buf head = BUF_INIT;
        mail_frame_record(&head, &record);
        partition_append(s->p, TAKER, buf_span(&head), NULL, NULL);
        buf_fini(&head);
        final(s, i);
    }
}

/* ---- the rig ---- */

static void turn(struct rig *r)
{
    for (int i = 0; i < 8; i++)
        log_client_flush(r->client);
}

static void open_side(struct rig *r, uint32_t number)
{
    struct side *s = &r->sides[number];
    *s = (struct side){.rig = r, .number = number};
    s->events = (struct partition_events){.submission = on_submission,
                                          .flushed = on_flushed,
                                          .moved = on_moved,
                                          .transfer = on_transfer,
                                          .in_memory = in_memory,
                                          .recovered = on_recovered,
                                          .trouble = on_trouble,
                                          .want_flush = on_flushed,
                                          .arg = s};
    assert_int_equal(partition_open(r->log, r->client, number, ++r->epoch, &s->events, &s->p), RM_OK);
}

static void close_side(struct rig *r, uint32_t number)
{
    struct side *s = &r->sides[number];
    partition_close(s->p);
    for (size_t i = 0; i < s->n; i++)
        message_unref(s->subs[i].message);
    for (struct group *g = s->groups, *next; g; g = next) {
        next = g->next;
        free(g);
    }
}

static void crash(struct rig *r, uint32_t number)
{
    close_side(r, number);
    open_side(r, number);
}

static void flush(struct rig *r, uint32_t number)
{
    partition_prepare(r->sides[number].p);
    partition_flush(r->sides[number].p);
    turn(r);
}

static void open_rig(struct rig *r, bool atomic)
{
    struct log_options o = {.partitions = 2, .index = row_index_keys};
    bool report = r->report, lone = r->lone;
    *r = (struct rig){.atomic = atomic, .report = report, .lone = lone};
    if (atomic)
        assert_int_equal(memory_log_open(&o, &r->log), RM_OK);
    else
        assert_int_equal(memory_log_open_staged(&o, &r->log), RM_OK);
    r->client = log_client_new(r->log, NULL, NULL);
    for (uint32_t i = 0; i < 2; i++) {
        open_side(r, i);
        flush(r, i);
        assert_true(r->sides[i].recovered);
    }
}

static void close_rig(struct rig *r)
{
    for (uint32_t i = 0; i < 2; i++)
        close_side(r, i);
    log_client_free(r->client);
    log_close(r->log);
}

/* ---- messages ---- */

static void note(void *arg, struct log_batch *b, int status)
{
    assert_int_equal(status, RM_OK);
    ((struct rig *)arg)->appended = log_batch_offset(b, 0);
}

static uint64_t append(struct rig *r, uint32_t partition, struct span value)
{
    struct log_batch *b = log_batch_new(LOG_INTAKE);
    log_batch_append(b, LOG_MAIL, partition, value, NULL, NULL);
    log_submit(r->client, b, note, r);
    turn(r);
    return r->appended;
}

static uint64_t append_chunk(struct rig *r, uint8_t *id, uint32_t i)
{
    Remuda__ChunkHeader c = REMUDA__CHUNK_HEADER__INIT;
    c.id.data = id;
    c.id.len = 16;
    c.sequence = i;
    c.started_ms = clock_wall_ms();
    struct buf value = BUF_INIT;
    mail_frame_chunk(&value, &c);
    buf_add_str(&value, i ? "second" : "first ");
    uint64_t at = append(r, GIVER, buf_span(&value));
    buf_fini(&value);
    return at;
}

/* A message of three submissions, its body in two chunks or behind its record. Its offset. */
static uint64_t take(struct rig *r, bool chunked)
{
    Remuda__Record record = REMUDA__RECORD__INIT;
    Remuda__Submission subs[3], *list[3];
    Remuda__Recipient to = REMUDA__RECIPIENT__INIT, *recipients[] = {&to};
    Remuda__Chunk chunks[CHUNKS], *chunk_list[CHUNKS];
    uint8_t id[16] = {1, (uint8_t)r->appended};
    to.address = (char *)(uintptr_t) "r@a.test";
    record.id.data = id;
    record.id.len = sizeof(id);
    for (uint32_t i = 0; i < 3; i++) {
        remuda__submission__init(&subs[i]);
        subs[i].index = i;
        subs[i].domain = (char *)(uintptr_t) "a.test";
        subs[i].recipients = recipients;
        subs[i].n_recipients = 1;
        list[i] = &subs[i];
    }
    record.submissions = list;
    record.n_submissions = 3;
    for (uint32_t i = 0; chunked && i < CHUNKS; i++) {
        remuda__chunk__init(&chunks[i]);
        chunks[i].offset = append_chunk(r, id, i);
        chunks[i].bytes = 6;
        chunk_list[i] = &chunks[i];
    }
    record.chunks = chunk_list;
    record.n_chunks = chunked ? CHUNKS : 0;
    struct buf value = BUF_INIT;
    mail_frame_record(&value, &record);
    if (!chunked)
        buf_add_str(&value, "body");
    uint64_t at = append(r, GIVER, buf_span(&value));
    buf_fini(&value);
    return at;
}

/* ---- what arrives ---- */

static void check_body(struct rig *r, const struct held *h)
{
    const Remuda__Record *record = h->message->record;
    struct log_reader *reader;
    struct span value;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    for (size_t i = 0; i < record->n_chunks; i++) {
        assert_int_equal(log_read_at(reader, LOG_MAIL, TAKER, record->chunks[i]->offset, &value), RM_OK);
        assert_memory_equal(value.ptr + value.len - 6, i ? "second" : "first ", 6);
    }
    assert_int_equal(log_read_at(reader, LOG_MAIL, TAKER, h->at, &value), RM_OK);
    if (!record->n_chunks && record->kind == REMUDA__RECORD_KIND__RECORD_MESSAGE)
        assert_memory_equal(value.ptr + value.len - 4, "body", 4);
    log_read_end(reader);
}

/* Those open at the taker, of one record or (0) of all. */
static void deliver(struct rig *r, uint64_t record)
{
    struct side *s = &r->sides[TAKER];
    for (size_t i = 0; i < s->n; i++) {
        struct held *h = &s->subs[i];
        if (!h->message || (record && h->id.offset != record))
            continue;
        check_body(r, h);
        if (h->message->record->kind == REMUDA__RECORD_KIND__RECORD_BOUNCE)
            r->reports++;
        else
            r->delivered[h->id.offset * 4 + h->id.index]++;
        final(s, i);
    }
    flush(r, TAKER);
}

static void deliver_all(struct rig *r)
{
    deliver(r, 0);
}

/* An answer that was lost, or an owner that was thought dead: every copy comes once more. */
static void repeat_copies(struct rig *r)
{
    struct log_reader *reader;
    struct span value;
    struct blob *copies[SUBS_MOST];
    size_t n = 0;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    for (uint64_t at = 0; log_read_next(reader, LOG_MAIL, TAKER, &at, &value); at++)
        if (value.ptr[0] == MAIL_RECORD && n < SUBS_MOST)
            copies[n++] = blob_of(value.ptr, value.len);
    log_read_end(reader);
    for (size_t i = 0; i < n; i++) {
        append(r, TAKER, blob_span(copies[i]));
        blob_unref(copies[i]);
    }
}

static uint64_t watermark(struct rig *r, uint32_t number)
{
    struct partition_figures f;
    partition_figures(r->sides[number].p, &f);
    return f.watermark;
}

static uint64_t end_of(struct rig *r, uint32_t number)
{
    struct log_reader *reader;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    uint64_t end = log_read_end_offset(reader, LOG_MAIL, number);
    log_read_end(reader);
    return end;
}

static void act(struct rig *r)
{
    if (r->report)
        report_all(&r->sides[GIVER]);
    else
        decide_all(&r->sides[GIVER]);
}

static void carry_on(struct rig *r)
{
    for (int i = 0; i < 6; i++) {
        partition_housekeep(r->sides[GIVER].p, clock_wall_ms(), 0);
        act(r);
        flush(r, GIVER);
    }
}

static void check_all_arrived(struct rig *r, unsigned messages)
{
    unsigned arrived = 0;
    for (size_t i = 0; i < SUBS_MOST; i++) {
        assert_true(r->delivered[i] <= 1);
        arrived += r->delivered[i];
    }
    assert_int_equal(r->report ? r->reports : arrived, 3 * messages);
    assert_int_equal(watermark(r, GIVER), end_of(r, GIVER));
}

/* ---- the cases ---- */

struct where {
    int flush; /* 0: the decision, where that is a step of its own; 1: the copy and the finals */
    int stages;
    bool silent, dies, chunked, taker_dies, repeats;
};

/* The taker may die before anything is delivered, and what was repeated before and after. */
static void arrive(struct rig *r, const struct where *w)
{
    if (w->repeats)
        repeat_copies(r);
    if (w->taker_dies) {
        flush(r, TAKER);
        crash(r, TAKER);
        turn(r);
    }
    for (int i = 0; i < 3; i++) {
        deliver_all(r);
        if (w->taker_dies)
            crash(r, TAKER);
        turn(r);
        repeat_copies(r);
    }
    deliver_all(r);
}

static void break_off(struct rig *r, const struct where *w)
{
    if (r->atomic)
        memory_log_fail_next(r->log, RM_EIO, 1);
    else
        memory_log_break_flush(r->log, w->stages, w->silent);
    flush(r, GIVER);
    if (w->dies)
        crash(r, GIVER);
    if (w->taker_dies)
        crash(r, TAKER);
    turn(r);
}

static void run_case(struct rig *r, bool atomic, const struct where *w)
{
    open_rig(r, atomic);
    take(r, w->chunked);
    take(r, false); /* overtakes the one with chunks */
    flush(r, GIVER);
    act(r);
    if (w->flush == 1)
        flush(r, GIVER);
    break_off(r, w);
    carry_on(r);
    take(r, false); /* a later transfer raises the floor */
    carry_on(r);
    arrive(r, w);
    check_all_arrived(r, 3);
    close_rig(r);
}

static void run_cases(bool atomic, bool report, bool lone)
{
    struct rig *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    r->report = report;
    r->lone = lone;
    for (int flushes = 0; flushes < 2; flushes++)
        for (int stages = 0; stages <= (atomic ? 0 : LOG_STAGES); stages++)
            for (unsigned bits = 0; bits < 32; bits++) {
                struct where w = {flushes,         stages,          (bits & 1) != 0, (bits & 2) != 0,
                                  (bits & 4) != 0, (bits & 8) != 0, (bits & 16) != 0};
                run_case(r, atomic, &w);
            }
    free(r);
}

static void transfers_arrive_once_stage_by_stage(void **state)
{
    (void)state;
    run_cases(false, false, false);
}

static void lone_transfers_arrive_once_stage_by_stage(void **state)
{
    (void)state;
    run_cases(false, false, true);
}

static void reports_arrive_once_stage_by_stage(void **state)
{
    (void)state;
    run_cases(false, true, false);
}

static void transfers_arrive_once_at_once(void **state)
{
    (void)state;
    run_cases(true, false, false);
}

static void reports_arrive_once_at_once(void **state)
{
    (void)state;
    run_cases(true, true, false);
}

/* Of three copies the first is done with; the floor that the last one carries is above the second. */
static void a_later_floor_hides_no_earlier_copy(void **state)
{
    struct rig r = {0};
    (void)state;
    open_rig(&r, false);
    uint64_t first = take(&r, false);
    carry_on(&r);
    for (int i = 0; i < 2; i++) {
        take(&r, false);
        carry_on(&r);
    }
    deliver(&r, first);
    crash(&r, TAKER);
    turn(&r);
    deliver_all(&r);
    check_all_arrived(&r, 3);
    close_rig(&r);
}

/* An owner dies between a report and its event; the next one hands on much else, whose floors speak of its
 * own numbers alone, before it comes to the same report. */
static void a_dead_owners_reports_are_remembered(void **state)
{
    struct rig r = {.report = true};
    struct side *s = &r.sides[GIVER];
    (void)state;
    open_rig(&r, false);
    take(&r, false);
    act(&r);
    memory_log_break_flush(r.log, LOG_STAGE_EVENTS, false);
    flush(&r, GIVER);
    crash(&r, GIVER);
    turn(&r);
    assert_int_equal(s->n, 3);
    for (size_t i = 0; i < s->n; i++)
        s->subs[i].moving = true; /* they wait */
    r.report = false;
    for (int i = 0; i < 3; i++) {
        take(&r, false);
        carry_on(&r);
        deliver_all(&r);
    }
    crash(&r, TAKER);
    turn(&r);
    report_all(s);
    flush(&r, GIVER);
    deliver_all(&r);
    assert_int_equal(r.reports, 3);
    check_all_arrived(&r, 3);
    close_rig(&r);
}

static unsigned records(struct rig *r, uint32_t partition)
{
    struct log_reader *reader;
    struct span value;
    unsigned n = 0;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    for (uint64_t at = 0; log_read_next(reader, LOG_MAIL, partition, &at, &value); at++)
        n++;
    log_read_end(reader);
    return n;
}

/* A copy whose answer came is not written again with the rest of its flush; one without answer is. */
static void what_is_known_to_be_durable_is_not_repeated(void **state)
{
    (void)state;
    for (int silent = 0; silent < 2; silent++) {
        struct rig r = {0};
        open_rig(&r, false);
        take(&r, false);
        act(&r);
        flush(&r, GIVER);
        memory_log_break_flush(r.log, silent ? LOG_STAGE_APPENDS : LOG_STAGE_EVENTS, silent);
        flush(&r, GIVER);
        carry_on(&r);
        assert_int_equal(records(&r, TAKER), silent ? 2 : 1);
        deliver_all(&r);
        check_all_arrived(&r, 1);
        close_rig(&r);
    }
}

/* What is remembered of a giver does not grow with what it gave. */
static void keys_are_forgotten(void **state)
{
    (void)state;
    for (int report = 0; report < 2; report++) {
        struct rig r = {.report = report};
        struct log_reader *reader;
        struct span value;
        open_rig(&r, false);
        for (int i = 0; i < 4; i++) {
            take(&r, false);
            carry_on(&r);
            deliver_all(&r);
        }
        assert_int_equal(log_read_begin(r.log, &reader), RM_OK);
        assert_int_equal(log_read_key(reader, LOG_STATE, TAKER, SPAN_LIT("seen:0"), &value), RM_OK);
        Remuda__SeenTransfers *row =
            remuda__seen_transfers__unpack(NULL, value.len, (const uint8_t *)value.ptr);
        assert_non_null(row);
        assert_true(row->n_keys <= (report ? 3 : 1)); /* those of the last flush */
        remuda__seen_transfers__free_unpacked(row, NULL);
        log_read_end(reader);
        check_all_arrived(&r, 4);
        close_rig(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transfers_arrive_once_stage_by_stage),
        cmocka_unit_test(lone_transfers_arrive_once_stage_by_stage),
        cmocka_unit_test(reports_arrive_once_stage_by_stage),
        cmocka_unit_test(transfers_arrive_once_at_once),
        cmocka_unit_test(reports_arrive_once_at_once),
        cmocka_unit_test(a_later_floor_hides_no_earlier_copy),
        cmocka_unit_test(a_dead_owners_reports_are_remembered),
        cmocka_unit_test(what_is_known_to_be_durable_is_not_repeated),
        cmocka_unit_test(keys_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
