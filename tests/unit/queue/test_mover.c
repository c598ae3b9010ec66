/*
 * What waits in one log moves into another, broken off after every step: by the mover's death (once, and once
 * more), by answers that are lost, by the death of the other log's owner, with copies that come twice. Each
 * recipient must arrive exactly once, with all that was known of it, and nothing may be left.
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
#include "queue/mover.h"

enum {
    PARTS = 2,
    SUBS_MOST = 64,
    RECIPIENTS = 10,
    CHUNKS = 2,
    EXPIRES = 900000,
    DUE = 7777,
    STEPS = 14 /* enough for all to be over */
};

static const uint8_t ID[TRANSFER_FROM_BYTES] = {0xab, 1, 2, 3};

struct held {
    struct subid id;
    uint64_t at;
    struct message *message;
    size_t i;
};

struct rig;

/* A partition of the log that the mail moves into, and its owner. */
struct taker {
    struct rig *rig;
    uint32_t number;
    struct partition *p;
    struct partition_events events;
    struct held subs[SUBS_MOST];
    size_t n;
};

struct rig {
    struct log *from, *to;
    struct log_client *client, *abroad;
    struct mover *movers[PARTS];
    struct taker takers[PARTS];
    uint64_t epoch, appended;
    unsigned arrived[RECIPIENTS];
    unsigned troubles;
};

static char *lit(const char *s)
{
    return (char *)(uintptr_t)s;
}

/* ---- the log that it comes to ---- */

static void on_submission(void *arg, struct message *m, uint64_t offset, size_t i)
{
    struct taker *t = arg;
    Remuda__SubmissionId id = record_submission_id(m->record, t->number, offset, i);
    assert_true(t->n < SUBS_MOST);
    assert_int_equal(id.offset, offset); /* its identity there, not the one that it had */
    assert_int_equal(id.partition, t->number);
    t->subs[t->n++] = (struct held){.id = subid_of(&id), .at = offset, .message = message_ref(m), .i = i};
}

static void nothing(void *arg)
{
    (void)arg;
}

static bool never(void *arg, struct subid id)
{
    (void)arg, (void)id;
    return false;
}

static void on_trouble(void *arg, int err, const char *what)
{
    (void)arg, (void)err, (void)what;
}

static void open_taker(struct rig *r, uint32_t number)
{
    struct taker *t = &r->takers[number];
    *t = (struct taker){.rig = r, .number = number};
    t->events = (struct partition_events){.submission = on_submission,
                                          .flushed = nothing,
                                          .in_memory = never,
                                          .recovered = nothing,
                                          .trouble = on_trouble,
                                          .want_flush = nothing,
                                          .arg = t};
    assert_int_equal(partition_open(r->to, r->abroad, number, ++r->epoch, &t->events, &t->p), RM_OK);
}

static void close_taker(struct rig *r, uint32_t number)
{
    struct taker *t = &r->takers[number];
    partition_close(t->p);
    for (size_t i = 0; i < t->n; i++)
        message_unref(t->subs[i].message);
}

static void poll(struct rig *r)
{
    for (int i = 0; i < 4; i++) {
        log_client_flush(r->client);
        log_client_flush(r->abroad);
    }
}

static void check_body(struct rig *r, const struct taker *t, const struct held *h)
{
    const Remuda__Record *record = h->message->record;
    struct log_reader *reader;
    struct span value;
    assert_int_equal(log_read_begin(r->to, &reader), RM_OK);
    for (size_t i = 0; i < record->n_chunks; i++) {
        assert_int_equal(log_read_at(reader, LOG_MAIL, t->number, record->chunks[i]->offset, &value), RM_OK);
        assert_memory_equal(value.ptr + value.len - 6, i ? "second" : "first ", 6);
    }
    assert_int_equal(log_read_at(reader, LOG_MAIL, t->number, h->at, &value), RM_OK);
    if (!record->n_chunks)
        assert_memory_equal(value.ptr + value.len - 4, "body", 4);
    log_read_end(reader);
}

/* Its row told of the second recipient's end; the first one had had its mail. */
static void check_sealed(const Remuda__Submission *s)
{
    const Remuda__Event *e = s->kept->sealed;
    assert_non_null(e);
    assert_int_equal(e->type, REMUDA__EVENT_TYPE__EVENT_EXPIRED);
    assert_int_equal(e->n_recipients, 1);
    assert_int_equal(e->recipients[0]->index, 0);
    assert_string_equal(e->recipients[0]->address, s->recipients[0]->address);
}

/* Recipient 1 had a row: deferred; 2: held; 3: in doubt; 8: sealed. */
static void check_kept(const Remuda__Submission *s, unsigned recipient)
{
    assert_non_null(s->kept);
    if (recipient == 8)
        check_sealed(s);
    else
        assert_null(s->kept->sealed);
    if (recipient < 1 || recipient > 3) {
        assert_int_equal(s->kept->due_ms, 0);
        assert_int_equal(s->attempts, 0);
        return;
    }
    assert_int_equal(s->attempts, 4);
    assert_int_equal(s->kept->expires_ms, EXPIRES);
    assert_string_equal(s->kept->sticky_source, "a1");
    assert_int_equal(s->kept->due_ms, recipient == 1 ? DUE : recipient == 2 ? 0 : DUE + 1);
    assert_int_equal(s->kept->in_doubt, recipient == 3);
    assert_int_equal(s->n_results, 1);
    assert_string_equal(s->results[0]->last_reply, "450 4.2.0 later");
}

static void arrive(struct rig *r, struct taker *t, const struct held *h)
{
    const Remuda__Submission *s = h->message->record->submissions[h->i];
    for (size_t i = 0; i < s->n_recipients; i++) {
        unsigned n = (unsigned)(s->recipients[i]->address[0] - '0');
        assert_true(n < RECIPIENTS);
        assert_string_equal(s->pool, "there");
        check_kept(s, n);
        r->arrived[n]++;
    }
    check_body(r, t, h);
}

static void deliver(struct rig *r)
{
    for (uint32_t p = 0; p < PARTS; p++) {
        struct taker *t = &r->takers[p];
        for (size_t i = 0; i < t->n; i++) {
            struct held *h = &t->subs[i];
            if (!h->message)
                continue;
            arrive(r, t, h);
            Remuda__Event e = REMUDA__EVENT__INIT;
            Remuda__SubmissionId id = REMUDA__SUBMISSION_ID__INIT;
            id.partition = h->id.partition;
            id.offset = h->id.offset;
            id.index = h->id.index;
            e.submission = &id;
            e.final = true;
            e.record_offset = h->at;
            partition_event(t->p, &e);
            partition_cover(t->p, h->at);
            message_unref(h->message);
            h->message = NULL;
        }
        partition_flush(t->p);
    }
    poll(r);
}

/* ---- the log that it leaves ---- */

static void place(void *arg, const Remuda__Record *record, const Remuda__Submission *s,
                  Remuda__TransferTo *to)
{
    (void)arg, (void)record;
    assert_string_equal(to->pool, "here");
    to->pool = lit("there");
    to->provider = lit("other");
    to->partition = s->domain[0] == 'a' ? 0 : 1;
}

static void trouble(void *arg, int err, const char *what)
{
    struct rig *r = arg;
    (void)err, (void)what;
    r->troubles++;
}

static void open_mover(struct rig *r, uint32_t number)
{
    struct mover_options o = {.log = r->from,
                              .client = r->client,
                              .partition = number,
                              .epoch = ++r->epoch,
                              .abroad = r->abroad,
                              .id = ID,
                              .table_version = 3,
                              .place = place,
                              .trouble = trouble,
                              .arg = r};
    assert_int_equal(mover_open(&o, &r->movers[number]), RM_OK);
}

static void crash_movers(struct rig *r)
{
    for (uint32_t i = 0; i < PARTS; i++) {
        mover_close(r->movers[i]);
        open_mover(r, i);
    }
}

static void step(struct rig *r, int i)
{
    for (uint32_t n = 0; n < PARTS; n++)
        mover_step(r->movers[n]);
    log_client_flush(i % 2 ? r->abroad : r->client);
}

static bool all_done(const struct rig *r)
{
    return mover_done(r->movers[0]) && mover_done(r->movers[1]);
}

static void run_to_end(struct rig *r)
{
    uint64_t until = clock_boot_us() + 20000000; /* what failed is tried again at each housekeeping */
    for (int i = 0; !all_done(r); i++) {
        assert_true(clock_boot_us() < until);
        step(r, i);
    }
}

/* ---- what waits ---- */

static void note(void *arg, struct log_batch *b, int status)
{
    assert_int_equal(status, RM_OK);
    ((struct rig *)arg)->appended = log_batch_offset(b, 0);
}

static uint64_t append(struct rig *r, struct span value)
{
    struct log_batch *b = log_batch_new(LOG_INTAKE);
    log_batch_append(b, LOG_MAIL, 0, value, NULL, NULL);
    log_submit(r->client, b, note, r);
    poll(r);
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
    uint64_t at = append(r, buf_span(&value));
    buf_fini(&value);
    return at;
}

/* A message with a submission for each recipient, by number, to domain a or b in turn. Its offset. */
static uint64_t take(struct rig *r, unsigned first, unsigned n, bool chunked)
{
    static char addresses[RECIPIENTS][2];
    Remuda__Record record = REMUDA__RECORD__INIT;
    Remuda__Submission subs[RECIPIENTS], *list[RECIPIENTS];
    Remuda__Recipient to[RECIPIENTS], *recipients[RECIPIENTS];
    Remuda__Chunk chunks[CHUNKS], *chunk_list[CHUNKS];
    uint8_t id[16] = {1, (uint8_t)first};
    record.id.data = id;
    record.id.len = sizeof(id);
    for (unsigned i = 0; i < n; i++) {
        addresses[first + i][0] = (char)('0' + first + i);
        remuda__recipient__init(&to[i]);
        to[i].address = addresses[first + i];
        recipients[i] = &to[i];
        remuda__submission__init(&subs[i]);
        subs[i].index = i;
        subs[i].domain = lit((first + i) % 2 ? "b.test" : "a.test");
        subs[i].pool = lit("here");
        subs[i].recipients = &recipients[i];
        subs[i].n_recipients = 1;
        list[i] = &subs[i];
    }
    record.submissions = list;
    record.n_submissions = n;
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
    uint64_t at = append(r, buf_span(&value));
    buf_fini(&value);
    return at;
}

static Remuda__BacklogRow row_of(Remuda__SubmissionId *id, uint8_t message_id[16])
{
    Remuda__BacklogRow row = REMUDA__BACKLOG_ROW__INIT;
    row.id = id;
    row.at = row.first_live = id->offset;
    row.message_id.data = message_id;
    row.message_id.len = 16;
    row.pool = lit("here");
    row.tenant = row.domain = row.scope = lit("");
    row.attempts = 4;
    row.expires_ms = EXPIRES;
    row.sticky_source = lit("a1");
    return row;
}

static void note_ok(void *arg, struct log_batch *b, int status)
{
    (void)arg, (void)b;
    assert_int_equal(status, RM_OK);
}

static void put_row(struct rig *r, Remuda__BacklogRow *row)
{
    Remuda__RecipientResult result = REMUDA__RECIPIENT_RESULT__INIT, *results[] = {&result};
    struct buf packed = BUF_INIT;
    struct row_key key = row_key_make(subid_of(row->id));
    result.last_reply = lit("450 4.2.0 later");
    if (!row->n_results) {
        row->results = results;
        row->n_results = 1;
    }
    proto_pack(&packed, &row->base);
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_put(b, LOG_BACKLOG, 0, span_of((const char *)key.bytes, ROW_KEY_BYTES), buf_span(&packed));
    log_submit(r->client, b, note_ok, NULL);
    poll(r);
    buf_fini(&packed);
}

/* Of the message at this offset: submission 1 deferred, 2 held, 3 in doubt. */
static void put_rows(struct rig *r, uint64_t at)
{
    static const Remuda__RowState states[] = {REMUDA__ROW_STATE__ROW_DEFERRED, REMUDA__ROW_STATE__ROW_HELD,
                                              REMUDA__ROW_STATE__ROW_IN_DOUBT};
    uint8_t message_id[16] = {1};
    for (uint32_t i = 0; i < 3; i++) {
        Remuda__SubmissionId id = REMUDA__SUBMISSION_ID__INIT;
        id.offset = at;
        id.index = i + 1;
        Remuda__BacklogRow row = row_of(&id, message_id);
        row.state = states[i];
        row.due_ms = DUE;
        row.in_doubt_until_ms = i == 2 ? DUE + 1 : 0;
        put_row(r, &row);
    }
}

/* An owner before has bound it to partition 1 of the same log, and may have given the copy. */
static void bind_within(struct rig *r, uint64_t at)
{
    uint8_t message_id[16] = {1, 9};
    Remuda__SubmissionId id = REMUDA__SUBMISSION_ID__INIT;
    Remuda__TransferTo to = REMUDA__TRANSFER_TO__INIT;
    id.offset = at;
    Remuda__BacklogRow row = row_of(&id, message_id);
    row.attempts = 0;
    row.expires_ms = 0;
    row.state = REMUDA__ROW_STATE__ROW_TRANSFERRING;
    row.transfer_to = &to;
    to.partition = 1;
    to.pool = lit("here");
    to.provider = lit("other");
    to.epoch = 1;
    to.sequence = 1;
    put_row(r, &row);
}

/* A submission of two recipients: one is done with, of the other a report was decided, and maybe made. */
static void take_sealed(struct rig *r)
{
    Remuda__Record record = REMUDA__RECORD__INIT;
    Remuda__Submission s = REMUDA__SUBMISSION__INIT, *list[] = {&s};
    Remuda__Recipient to[2] = {REMUDA__RECIPIENT__INIT, REMUDA__RECIPIENT__INIT},
                      *recipients[] = {&to[0], &to[1]};
    Remuda__RecipientResult had = REMUDA__RECIPIENT_RESULT__INIT, none = had, *results[] = {&had, &none};
    Remuda__SubmissionId id = REMUDA__SUBMISSION_ID__INIT;
    Remuda__TransferTo number = REMUDA__TRANSFER_TO__INIT;
    Remuda__RecipientOutcome outcome = REMUDA__RECIPIENT_OUTCOME__INIT, *outcomes[] = {&outcome};
    Remuda__Event sealed = REMUDA__EVENT__INIT;
    uint8_t message_id[16] = {1, 8};
    to[0].address = lit("0");
    to[1].address = outcome.address = lit("8");
    s.domain = lit("a.test");
    s.pool = lit("here");
    s.recipients = recipients;
    s.n_recipients = 2;
    record.id.data = message_id;
    record.id.len = sizeof(message_id);
    record.submissions = list;
    record.n_submissions = 1;
    struct buf value = BUF_INIT;
    mail_frame_record(&value, &record);
    buf_add_str(&value, "body");
    id.offset = append(r, buf_span(&value));
    buf_fini(&value);
    Remuda__BacklogRow row = row_of(&id, message_id);
    had.state = REMUDA__RECIPIENT_STATE__RCPT_DELIVERED;
    row.results = results;
    row.n_results = 2;
    row.attempts = 0;
    row.state = REMUDA__ROW_STATE__ROW_TRANSFERRING;
    number.kind = REMUDA__TRANSFER_KIND__TRANSFER_BOUNCE;
    number.epoch = number.sequence = 2;
    row.transfer_to = &number;
    outcome.index = 1;
    sealed.type = REMUDA__EVENT_TYPE__EVENT_EXPIRED;
    sealed.recipients = outcomes;
    sealed.n_recipients = 1;
    row.sealed = &sealed;
    put_row(r, &row);
}

static void open_log(bool atomic, struct log **out)
{
    struct log_options o = {.partitions = PARTS, .index = row_index_keys};
    assert_int_equal(atomic ? memory_log_open(&o, out) : memory_log_open_staged(&o, out), RM_OK);
}

/* Ten recipients of five messages wait: open, in rows, in chunks, on the way, sealed. */
static void open_rig(struct rig *r, bool atomic)
{
    *r = (struct rig){0};
    open_log(atomic, &r->from);
    open_log(!atomic, &r->to);
    r->client = log_client_new(r->from, NULL, NULL);
    r->abroad = log_client_new(r->to, NULL, NULL);
    r->epoch = 10;
    for (uint32_t i = 0; i < PARTS; i++) {
        open_taker(r, i);
        partition_flush(r->takers[i].p);
        open_mover(r, i);
    }
    poll(r);
    crash_movers(r); /* positions are there now */
    for (uint32_t i = 0; i < PARTS; i++)
        partition_flush(r->takers[i].p);
    poll(r);
    for (uint32_t i = 0; i < PARTS; i++)
        mover_step(r->movers[i]);
    poll(r);
    for (uint32_t i = 0; i < PARTS; i++)
        mover_close(r->movers[i]);
    put_rows(r, take(r, 0, 5, false));
    take(r, 5, 2, true);
    take(r, 7, 1, false);
    take_sealed(r);
    uint64_t last = take(r, 9, 1, false);
    if (!atomic)
        bind_within(r, last);
    for (uint32_t i = 0; i < PARTS; i++)
        open_mover(r, i);
}

static void close_rig(struct rig *r)
{
    for (uint32_t i = 0; i < PARTS; i++) {
        mover_close(r->movers[i]);
        close_taker(r, i);
    }
    log_client_free(r->client);
    log_client_free(r->abroad);
    log_close(r->from);
    log_close(r->to);
}

/* ---- afterwards ---- */

/* Every copy comes once more. */
static void repeat_copies(struct rig *r)
{
    for (uint32_t p = 0; p < PARTS; p++) {
        struct log_reader *reader;
        struct span value;
        struct blob *copies[SUBS_MOST];
        size_t n = 0;
        assert_int_equal(log_read_begin(r->to, &reader), RM_OK);
        for (uint64_t at = 0; log_read_next(reader, LOG_MAIL, p, &at, &value); at++)
            if (value.ptr[0] == MAIL_RECORD && n < SUBS_MOST)
                copies[n++] = blob_of(value.ptr, value.len);
        log_read_end(reader);
        for (size_t i = 0; i < n; i++) {
            struct log_batch *b = log_batch_new(LOG_INTAKE);
            log_batch_append(b, LOG_MAIL, p, blob_span(copies[i]), NULL, NULL);
            log_submit(r->abroad, b, note_ok, NULL);
            blob_unref(copies[i]);
        }
    }
    poll(r);
}

static void check_nothing_left(struct rig *r)
{
    struct log_reader *reader;
    struct span key, value;
    assert_int_equal(log_read_begin(r->from, &reader), RM_OK);
    for (uint32_t p = 0; p < PARTS; p++)
        assert_false(log_read_key_next(reader, LOG_BACKLOG, p, span_str(NULL), &key, &value));
    log_read_end(reader);
}

static void check_all_arrived(struct rig *r)
{
    for (uint32_t p = 0; p < PARTS; p++) {
        struct mover_figures f;
        mover_figures(r->movers[p], &f);
        assert_int_equal(f.found, f.submissions + f.within + f.ended);
    }
    for (unsigned i = 0; i < RECIPIENTS; i++)
        assert_int_equal(r->arrived[i], 1);
    check_nothing_left(r);
}

static void crash_takers(struct rig *r)
{
    for (uint32_t i = 0; i < PARTS; i++) {
        partition_flush(r->takers[i].p);
        poll(r);
        close_taker(r, i);
        open_taker(r, i);
    }
    poll(r);
}

/* ---- the cases ---- */

struct where {
    bool atomic;
    int first, second; /* steps until the mover dies; until it dies again */
    int fails;         /* of the copies' groups in the other log */
    int stages;        /* of a flush here, of which the rest is not answered; LOG_STAGES + 1: none */
    bool taker_dies;
};

static void run_case(const struct where *w)
{
    struct rig *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    open_rig(r, w->atomic);
    if (w->fails)
        memory_log_fail_next(w->atomic ? r->from : r->to, RM_EIO, w->fails);
    if (!w->atomic && w->stages <= LOG_STAGES)
        memory_log_break_flush(r->from, w->stages, w->stages % 2);
    for (int i = 0; i < w->first; i++)
        step(r, i);
    crash_movers(r);
    for (int i = 0; i < w->second; i++)
        step(r, i);
    if (w->taker_dies)
        crash_takers(r);
    crash_movers(r);
    run_to_end(r);
    repeat_copies(r);
    deliver(r);
    if (w->taker_dies)
        crash_takers(r);
    repeat_copies(r);
    deliver(r);
    check_all_arrived(r);
    close_rig(r);
    free(r);
}

static void all_arrive_once_wherever_the_mover_dies(void **state)
{
    (void)state;
    for (int first = 0; first < STEPS; first++)
        for (int second = 0; second < STEPS; second += 1 + first % 2)
            for (int bits = 0; bits < 4; bits++) {
                struct where w = {.atomic = bits & 1,
                                  .first = first,
                                  .second = second,
                                  .stages = LOG_STAGES + 1,
                                  .taker_dies = bits & 2};
                run_case(&w);
            }
}

static void all_arrive_once_when_flushes_break_off(void **state)
{
    (void)state;
    for (int stages = 0; stages <= LOG_STAGES; stages++)
        for (int first = 0; first < STEPS; first += 3) {
            struct where w = {.first = first, .second = 4, .stages = stages, .taker_dies = first % 2};
            run_case(&w);
        }
}

static void all_arrive_once_when_the_other_log_fails(void **state)
{
    (void)state;
    for (int atomic = 0; atomic < 2; atomic++) {
        struct where w = {
            .atomic = atomic, .first = STEPS, .second = STEPS, .fails = 2, .stages = LOG_STAGES + 1};
        run_case(&w);
    }
}

/* The copies as a partition of the log itself would give them, under numbers that the other log used too. */
static void give_within(struct rig *r)
{
    struct log_reader *reader;
    struct span value;
    struct buf copies[SUBS_MOST] = {0};
    size_t n = 0, need;
    assert_int_equal(log_read_begin(r->to, &reader), RM_OK);
    for (uint64_t at = 0; log_read_next(reader, LOG_MAIL, 0, &at, &value); at++) {
        struct mail_view view;
        struct arena a = ARENA_INIT;
        assert_int_equal(mail_view(value, &view, &need), RM_OK);
        Remuda__Record *record = view.kind == MAIL_RECORD ? record_decode(&a, view.header) : NULL;
        if (record && !record->n_chunks) {
            record->transfer->from.len = 0;
            mail_frame_record(&copies[n], record);
            buf_add(&copies[n++], value.ptr + view.body_at, value.len - view.body_at);
        }
        arena_fini(&a);
    }
    log_read_end(reader);
    assert_true(n > 0);
    for (size_t i = 0; i < n; i++) {
        struct log_batch *b = log_batch_new(LOG_INTAKE);
        log_batch_append(b, LOG_MAIL, 0, buf_span(&copies[i]), NULL, NULL);
        log_submit(r->abroad, b, note_ok, NULL);
        buf_fini(&copies[i]);
    }
    poll(r);
}

static void a_number_of_another_log_is_another_number(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    unsigned before = 0, after = 0;
    (void)state;
    assert_non_null(r);
    open_rig(r, true);
    run_to_end(r);
    deliver(r);
    give_within(r);
    deliver(r);
    for (unsigned i = 0; i < RECIPIENTS; i++)
        before += r->arrived[i];
    assert_true(before > RECIPIENTS);
    for (int i = 0; i < 2; i++) {
        crash_takers(r);
        repeat_copies(r);
        deliver(r);
    }
    for (unsigned i = 0; i < RECIPIENTS; i++)
        after += r->arrived[i];
    assert_int_equal(after, before);
    close_rig(r);
    free(r);
}

/* What a row tells of is gone: it is told, and is not taken for moved. */
static void a_row_without_its_record_is_told(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    uint8_t message_id[16] = {0};
    struct mover_figures f = {0};
    (void)state;
    assert_non_null(r);
    open_rig(r, true);
    Remuda__SubmissionId id = REMUDA__SUBMISSION_ID__INIT;
    id.offset = 5000;
    Remuda__BacklogRow row = row_of(&id, message_id);
    put_row(r, &row);
    for (int i = 0; i < 200 && !f.unreadable; i++) {
        step(r, i);
        mover_figures(r->movers[0], &f);
    }
    assert_int_equal(f.unreadable, 1);
    assert_int_equal(r->troubles, 1);
    assert_false(mover_done(r->movers[0]));
    deliver(r);
    for (unsigned i = 0; i < RECIPIENTS; i++)
        assert_int_equal(r->arrived[i], 1);
    close_rig(r);
    free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_arrive_once_wherever_the_mover_dies),
        cmocka_unit_test(all_arrive_once_when_flushes_break_off),
        cmocka_unit_test(all_arrive_once_when_the_other_log_fails),
        cmocka_unit_test(a_number_of_another_log_is_another_number),
        cmocka_unit_test(a_row_without_its_record_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
