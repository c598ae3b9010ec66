/*
 * The account over the memory log, with partitions that live on it: clean whatever goes on, and each thing
 * that is taken away, forged or passed over is named. Both a log whose flush is one transaction and one where
 * it goes in stages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "queue/memory/memory.h"
#include "relay/api/account.h"

enum { PARTITIONS = 2, HOUR_MS = 3600000 };

struct rig {
    struct log *log;
    struct log_client *client;
    struct partition *p[PARTITIONS];
    struct partition_events events;
    uint64_t epoch, appended, now_ms;
    int status;
    uint8_t last_id;
    struct account account;
};

static void on_submission(void *arg, struct message *m, uint64_t offset, size_t i)
{
    (void)arg, (void)m, (void)offset, (void)i;
}

static void on_nothing(void *arg)
{
    (void)arg;
}

static bool in_memory(void *arg, struct subid id)
{
    (void)arg, (void)id;
    return false;
}

static void on_trouble(void *arg, int err, const char *what)
{
    (void)arg, (void)err, (void)what;
}

static void turn(struct rig *r)
{
    for (int i = 0; i < 8; i++)
        log_client_flush(r->client);
}

static void flush(struct rig *r)
{
    for (int i = 0; i < PARTITIONS; i++)
        partition_flush(r->p[i]);
    turn(r);
}

static void open_all(struct rig *r)
{
    for (uint32_t i = 0; i < PARTITIONS; i++)
        assert_int_equal(partition_open(r->log, r->client, i, ++r->epoch, &r->events, &r->p[i]), RM_OK);
    turn(r);
    flush(r);
}

/* What was not flushed is gone. */
static void crash(struct rig *r)
{
    for (int i = 0; i < PARTITIONS; i++)
        partition_close(r->p[i]);
    open_all(r);
}

static int setup(void **state, bool staged)
{
    struct rig *r = calloc(1, sizeof(*r));
    struct log_options o = {.partitions = PARTITIONS, .index = row_index_keys, .carry_after = 16};
    assert_non_null(r);
    r->events = (struct partition_events){.submission = on_submission,
                                          .flushed = on_nothing,
                                          .in_memory = in_memory,
                                          .recovered = on_nothing,
                                          .trouble = on_trouble,
                                          .want_flush = on_nothing,
                                          .arg = r};
    assert_int_equal(staged ? memory_log_open_staged(&o, &r->log) : memory_log_open(&o, &r->log), RM_OK);
    r->client = log_client_new(r->log, NULL, NULL);
    r->now_ms = clock_wall_ms();
    open_all(r);
    *state = r;
    return 0;
}

static int setup_atomic(void **state)
{
    return setup(state, false);
}

static int setup_staged(void **state)
{
    return setup(state, true);
}

static int teardown(void **state)
{
    struct rig *r = *state;
    account_fini(&r->account);
    for (int i = 0; i < PARTITIONS; i++)
        partition_close(r->p[i]);
    log_client_free(r->client);
    log_close(r->log);
    free(r);
    return 0;
}

/* ---- what happens ---- */

static void note(void *arg, struct log_batch *b, int status)
{
    struct rig *r = arg;
    r->status = status;
    if (status == RM_OK && log_batch_ops(b))
        r->appended = log_batch_offset(b, 0);
}

static void note_status(void *arg, struct log_batch *b, int status)
{
    (void)b;
    ((struct rig *)arg)->status = status;
}

static void submit(struct rig *r, struct log_batch *b)
{
    log_submit(r->client, b, note, r);
    turn(r);
    assert_int_equal(r->status, RM_OK);
}

static uint64_t append(struct rig *r, enum log_name name, uint32_t partition, struct buf *value)
{
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_append(b, name, partition, buf_span(value), NULL, NULL);
    buf_fini(value);
    submit(r, b);
    return r->appended;
}

/* An id of that age, all others different. */
static void next_id(struct rig *r, uint64_t age_ms, uint8_t id[16])
{
    uint64_t ms = r->now_ms - age_ms;
    memset(id, 0, 16);
    for (int i = 0; i < 6; i++)
        id[i] = (uint8_t)(ms >> (40 - 8 * i));
    id[15] = ++r->last_id;
}

/* A submission and its message. */
struct sent {
    Remuda__SubmissionId id;
    uint64_t at;
    uint32_t partition;
    uint8_t message[16];
};

static Remuda__Recipient recipient = REMUDA__RECIPIENT__INIT;
static Remuda__Recipient *recipients[] = {&recipient};

static void take_record(struct rig *r, struct sent *s, Remuda__Transfer *key)
{
    Remuda__Record record = REMUDA__RECORD__INIT;
    Remuda__Submission sub = REMUDA__SUBMISSION__INIT, *subs[] = {&sub};
    recipient.address = (char *)(uintptr_t) "r@a.test";
    record.id = (ProtobufCBinaryData){16, s->message};
    record.submissions = subs;
    record.n_submissions = 1;
    record.transfer = key;
    sub.domain = (char *)(uintptr_t) "a.test";
    sub.recipients = recipients;
    sub.n_recipients = 1;
    sub.origin = key ? &s->id : NULL;
    struct buf head = BUF_INIT;
    mail_frame_record(&head, &record);
    buf_add_str(&head, "Subject: x\r\n\r\n");
    s->at = append(r, LOG_MAIL, s->partition, &head);
}

static struct sent take(struct rig *r, uint64_t age_ms)
{
    struct sent s = {.id = REMUDA__SUBMISSION_ID__INIT};
    next_id(r, age_ms, s.message);
    take_record(r, &s, NULL);
    s.id.offset = s.at;
    return s;
}

static void fill_end(Remuda__Event *e, struct sent *s, Remuda__EventType type)
{
    remuda__event__init(e);
    e->type = type;
    e->submission = &s->id;
    e->message_id = (ProtobufCBinaryData){16, s->message};
    e->time_ms = clock_wall_ms();
    e->domain = (char *)(uintptr_t) "a.test";
    e->final = true;
    e->record_offset = s->at;
}

static void end(struct rig *r, struct sent *s, Remuda__EventType type)
{
    Remuda__Event e;
    fill_end(&e, s, type);
    partition_event(r->p[s->partition], &e);
    partition_cover(r->p[s->partition], s->at);
}

static void deliver(struct rig *r, struct sent *s)
{
    end(r, s, REMUDA__EVENT_TYPE__EVENT_DELIVERED);
    flush(r);
}

static void wait(struct rig *r, struct sent *s)
{
    Remuda__BacklogRow row = REMUDA__BACKLOG_ROW__INIT;
    row.message_id = (ProtobufCBinaryData){16, s->message};
    row.id = &s->id;
    row.at = row.first_live = s->at;
    row.due_ms = 1;
    partition_put_row(r->p[s->partition], &row);
    partition_cover(r->p[s->partition], s->at);
    flush(r);
}

/* From partition 0 to 1: its end there, and when it is to arrive the copy. */
static struct sent give(struct rig *r, struct sent *s, uint64_t sequence, bool arrives)
{
    Remuda__Event e;
    Remuda__TransferTo to = REMUDA__TRANSFER_TO__INIT;
    Remuda__Transfer key = REMUDA__TRANSFER__INIT;
    struct sent copy = *s;
    key.epoch = to.epoch = 1;
    key.sequence = to.sequence = sequence;
    key.floor_epoch = key.floor = 1;
    to.partition = copy.partition = 1;
    if (arrives)
        take_record(r, &copy, &key);
    fill_end(&e, s, REMUDA__EVENT_TYPE__EVENT_REROUTED);
    e.transfer_to = &to;
    partition_event(r->p[0], &e);
    partition_cover(r->p[0], s->at);
    flush(r);
    return copy;
}

/* ---- looking ---- */

static void look_since(struct rig *r, uint64_t since_ms)
{
    struct account_options o = {.log = r->log,
                                .since_ms = since_ms,
                                .deadline_us = clock_boot_us() + 60 * UINT64_C(1000000),
                                .settle_ms = 1};
    account_fini(&r->account);
    assert_int_equal(account_make(&o, &r->account), RM_OK);
    for (int i = 0; i < PARTITIONS; i++)
        assert_int_equal(r->account.partitions[i].state, ACCOUNT_JUDGED);
}

static void look(struct rig *r)
{
    look_since(r, r->now_ms - 10 * (uint64_t)HOUR_MS);
}

static uint64_t sum(const struct rig *r, enum account_count count)
{
    uint64_t n = 0;
    for (size_t i = 0; i < r->account.n_hours; i++)
        n += r->account.hours[i].counts[count];
    return n;
}

static void clean(struct rig *r)
{
    look(r);
    assert_int_equal(r->account.exceptions_in_all, 0);
}

/* Exactly one exception, and it is this one. */
static const struct account_exception *only(struct rig *r, enum account_trouble trouble)
{
    look(r);
    assert_int_equal(r->account.exceptions_in_all, 1);
    assert_int_equal(r->account.exceptions[0].trouble, trouble);
    return &r->account.exceptions[0];
}

static void names(const struct account_exception *e, const struct sent *s)
{
    assert_memory_equal(e->message.bytes, s->message, 16);
    assert_int_equal(e->partition, s->partition);
    assert_int_equal(e->offset, s->at);
    assert_string_equal(e->domain, "a.test");
}

/* ---- the tests ---- */

static void all_is_accounted_for(void **state)
{
    struct rig *r = *state;
    struct sent a = take(r, 0), b = take(r, HOUR_MS), c = take(r, 2 * HOUR_MS), d = take(r, 0),
                open = take(r, 0);
    clean(r);
    assert_int_equal(r->account.partitions[0].above, 5);
    deliver(r, &a);
    end(r, &b, REMUDA__EVENT_TYPE__EVENT_BOUNCED);
    wait(r, &c);
    clean(r);
    struct sent copy = give(r, &d, 1, true);
    clean(r);
    crash(r); /* the open one, and the copy, are read again */
    clean(r);
    deliver(r, &copy);
    clean(r);
    assert_int_equal(sum(r, ACCOUNT_ACCEPTED), 4);
    assert_int_equal(sum(r, ACCOUNT_DELIVERED), 2);
    assert_int_equal(sum(r, ACCOUNT_BOUNCED), 1);
    assert_int_equal(sum(r, ACCOUNT_WAITING), 1);
    assert_int_equal(sum(r, ACCOUNT_GIVEN), 1);
    assert_int_equal(sum(r, ACCOUNT_RECEIVED), 1);
    assert_int_equal(r->account.n_hours, 4); /* three of partition 0, one of 1 */
    assert_int_equal(r->account.partitions[0].above, 1);
    deliver(r, &open);
    clean(r);
    assert_int_equal(sum(r, ACCOUNT_ACCEPTED), 5);
}

/* What came in before the time asked for is left out, on all sides. */
static void older_mail_is_left_out(void **state)
{
    struct rig *r = *state;
    struct sent a = take(r, 5 * HOUR_MS), b = take(r, 5 * HOUR_MS), c = take(r, 0);
    deliver(r, &a);
    wait(r, &b);
    deliver(r, &c);
    look_since(r, r->now_ms - HOUR_MS);
    assert_int_equal(r->account.exceptions_in_all, 0);
    assert_int_equal(sum(r, ACCOUNT_ACCEPTED), 1);
    assert_int_equal(sum(r, ACCOUNT_WAITING), 0);
}

static void a_row_that_vanishes_is_named(void **state)
{
    struct rig *r = *state;
    struct sent a = take(r, HOUR_MS), b = take(r, 0);
    wait(r, &a);
    wait(r, &b);
    partition_erase_row(r->p[0], subid_of(&a.id));
    flush(r);
    const struct account_exception *e = only(r, ACCOUNT_NO_END);
    names(e, &a);
    assert_true(e->in_log);
    assert_int_equal(sum(r, ACCOUNT_LOST), 1);
    deliver(r, &a);
    clean(r);
}

/* As if the watermark had passed it without an outcome. */
static void a_record_that_is_forgotten_is_named(void **state)
{
    struct rig *r = *state;
    struct sent a = take(r, 0), b = take(r, 0);
    partition_cover(r->p[0], a.at);
    deliver(r, &b);
    names(only(r, ACCOUNT_NO_END), &a);
    crash(r);
    names(only(r, ACCOUNT_NO_END), &a);
}

static void an_end_without_a_beginning_is_named(void **state)
{
    struct rig *r = *state;
    struct sent a = take(r, 0), forged = a;
    deliver(r, &a);
    next_id(r, 0, forged.message);
    forged.id.index = 7;
    forged.at = 1;
    end(r, &forged, REMUDA__EVENT_TYPE__EVENT_DELIVERED);
    flush(r);
    names(only(r, ACCOUNT_NO_BEGINNING), &forged);
}

/* An owner that was too late and the one after it both delivered: no loss, counted. */
static void two_ends_are_counted(void **state)
{
    struct rig *r = *state;
    struct sent a = take(r, 0);
    deliver(r, &a);
    Remuda__Event e;
    Remuda__Event *events[] = {&e};
    Remuda__EventBatch batch = REMUDA__EVENT_BATCH__INIT;
    fill_end(&e, &a, REMUDA__EVENT_TYPE__EVENT_DELIVERED);
    batch.events = events;
    batch.n_events = 1;
    batch.epoch = batch.sequence = 77;
    for (int i = 0; i < 2; i++) { /* a flush whose answer was lost stands twice: that is told once */
        struct buf packed = BUF_INIT;
        proto_pack(&packed, &batch.base);
        append(r, LOG_EVENTS, 0, &packed);
    }
    clean(r);
    assert_int_equal(sum(r, ACCOUNT_TWICE), 1);
    assert_int_equal(sum(r, ACCOUNT_DELIVERED), 2);
}

static void a_copy_that_never_arrives_is_named(void **state)
{
    struct rig *r = *state;
    struct sent a = take(r, 0), b = take(r, 0);
    struct sent copy = give(r, &a, 1, true);
    give(r, &b, 2, false);
    const struct account_exception *e = only(r, ACCOUNT_NOT_ARRIVED);
    names(e, &b);
    assert_int_equal(e->target, 1);
    deliver(r, &copy);
    names(only(r, ACCOUNT_NOT_ARRIVED), &b);
}

static void a_row_without_its_record_is_named(void **state)
{
    struct rig *r = *state;
    struct sent a = take(r, 0);
    wait(r, &a);
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_delete_below(b, LOG_MAIL, 0, a.at + 1);
    log_submit(r->client, b, note_status, r);
    turn(r);
    const struct account_exception *e = only(r, ACCOUNT_BODY_GONE);
    assert_memory_equal(e->message.bytes, a.message, 16);
    assert_int_equal(e->offset, a.at);
}

/* In a cluster bodies are not at hand: the delete line of the position tells. */
static void a_row_below_the_line_is_named(void **state)
{
    struct rig *r = *state;
    struct sent a = take(r, 0);
    wait(r, &a);
    clean(r);
    Remuda__Position pos = REMUDA__POSITION__INIT;
    pos.watermark = pos.delete_line = a.at + 1;
    struct buf packed = BUF_INIT;
    proto_pack(&packed, &pos.base);
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_put(b, LOG_STATE, 0, SPAN_LIT("position"), buf_span(&packed));
    buf_fini(&packed);
    log_submit(r->client, b, note_status, r);
    turn(r);
    assert_int_equal(only(r, ACCOUNT_BODY_GONE)->offset, a.at);
}

/* Mail that is deleted before it was read, as by a log that lost its beginning. */
static void mail_that_nobody_has_read_is_named(void **state)
{
    struct rig *r = *state;
    struct sent a = take(r, 0);
    deliver(r, &a);
    Remuda__Taken taken = REMUDA__TAKEN__INIT;
    Remuda__EventBatch batch = REMUDA__EVENT_BATCH__INIT;
    struct buf inner = BUF_INIT, packed = BUF_INIT;
    taken.from = a.at + 3;
    taken.to = a.at + 5;
    proto_pack(&inner, &taken.base);
    batch.taken = (ProtobufCBinaryData){inner.len, (uint8_t *)inner.data};
    proto_pack(&packed, &batch.base);
    buf_fini(&inner);
    append(r, LOG_EVENTS, 0, &packed);
    const struct account_exception *e = only(r, ACCOUNT_NOT_READ);
    assert_int_equal(e->offset, a.at + 1);
    assert_int_equal(e->to, a.at + 3);
}

static void mail_missing_above_the_watermark_is_named(void **state)
{
    struct rig *r = *state;
    take(r, 0);
    take(r, 0);
    flush(r);
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_delete_below(b, LOG_MAIL, 0, 2);
    log_submit(r->client, b, note_status, r);
    turn(r);
    const struct account_exception *e = only(r, ACCOUNT_GAP);
    assert_int_equal(e->offset, 1);
    assert_int_equal(e->to, 2);
}

/* Done with, and no event is due: feedback, and what goes to dead by its row. */
static void ends_without_events(void **state)
{
    struct rig *r = *state;
    struct sent a = take(r, 0), b = take(r, 0);
    partition_ended(r->p[0], subid_of(&a.id), a.at, span_of((const char *)a.message, 16));
    partition_cover(r->p[0], a.at);
    wait(r, &b);
    clean(r);
    assert_int_equal(sum(r, ACCOUNT_READ), 1);
    struct log_reader *reader;
    Remuda__BacklogRow row = REMUDA__BACKLOG_ROW__INIT;
    row.id = &b.id;
    row.at = b.at;
    row.message_id = (ProtobufCBinaryData){16, b.message};
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    assert_int_equal(partition_bury_row(r->p[0], reader, &row, "why"), RM_OK);
    log_read_end(reader);
    flush(r);
    clean(r);
    assert_int_equal(sum(r, ACCOUNT_DEAD), 1);
    assert_int_equal(sum(r, ACCOUNT_WAITING), 0);
}

/* Much dead space under a row: its record moves up, and is no new one. */
static void what_is_carried_comes_in_once(void **state)
{
    struct rig *r = *state;
    struct sent low = take(r, 0);
    wait(r, &low);
    for (int i = 0; i < 40; i++) {
        struct sent s = take(r, 0);
        deliver(r, &s);
    }
    for (int i = 0; i < 8; i++) {
        partition_housekeep(r->p[0], clock_wall_ms(), 0);
        turn(r);
        flush(r);
    }
    struct partition_figures f;
    partition_figures(r->p[0], &f);
    assert_int_equal(f.carried, 1);
    assert_true(f.delete_line > low.at);
    clean(r);
    assert_int_equal(sum(r, ACCOUNT_WAITING), 1);
    low.at = f.end - 1;
    Remuda__SubmissionId id = low.id;
    partition_erase_row(r->p[0], subid_of(&id));
    Remuda__Event e;
    fill_end(&e, &low, REMUDA__EVENT_TYPE__EVENT_DELIVERED);
    partition_event(r->p[0], &e);
    flush(r);
    clean(r);
    assert_int_equal(sum(r, ACCOUNT_ACCEPTED), 41);
    assert_int_equal(sum(r, ACCOUNT_DELIVERED), 41);
}

/* More names than fit into memory at a time are looked for in turns; time that runs out is not called clean.
 */
static void many_are_named_in_turns(void **state)
{
    struct rig *r = *state;
    for (int i = 0; i < 40; i++) {
        struct sent s = take(r, 0);
        partition_cover(r->p[0], s.at);
        flush(r);
    }
    struct account_options o = {.log = r->log,
                                .deadline_us = clock_boot_us() + 60 * UINT64_C(1000000),
                                .names_most = 16,
                                .settle_ms = 1};
    assert_int_equal(account_make(&o, &r->account), RM_OK);
    assert_int_equal(r->account.partitions[0].state, ACCOUNT_JUDGED);
    assert_int_equal(r->account.exceptions_in_all, 40);
    assert_int_equal(sum(r, ACCOUNT_LOST), 40);
    account_fini(&r->account);
    o.names_most = 1;
    assert_int_equal(account_make(&o, &r->account), RM_OK);
    assert_true(r->account.partitions[0].state == ACCOUNT_UNJUDGED || r->account.exceptions_in_all == 40);
    account_fini(&r->account);
    o.deadline_us = 0;
    assert_int_equal(account_make(&o, &r->account), RM_OK);
    assert_int_equal(r->account.partitions[0].state, ACCOUNT_UNJUDGED);
}

#define EACH(test)                                                                                           \
    cmocka_unit_test_setup_teardown(test, setup_atomic, teardown),                                           \
        cmocka_unit_test_setup_teardown(test, setup_staged, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(all_is_accounted_for),
        EACH(older_mail_is_left_out),
        EACH(a_row_that_vanishes_is_named),
        EACH(a_record_that_is_forgotten_is_named),
        EACH(an_end_without_a_beginning_is_named),
        EACH(two_ends_are_counted),
        EACH(a_copy_that_never_arrives_is_named),
        cmocka_unit_test_setup_teardown(a_row_without_its_record_is_named, setup_atomic, teardown),
        cmocka_unit_test_setup_teardown(a_row_below_the_line_is_named, setup_staged, teardown),
        EACH(mail_that_nobody_has_read_is_named),
        EACH(mail_missing_above_the_watermark_is_named),
        EACH(ends_without_events),
        EACH(what_is_carried_comes_in_once),
        EACH(many_are_named_in_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
