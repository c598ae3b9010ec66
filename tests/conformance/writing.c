/* Conformance: appending, order, durability, refusals, waking, deletion, offsets across restarts. */
#include <stdlib.h>
#include <unistd.h>

#include "tests/conformance/cases.h"

void case_appends_are_read_in_order(void **state)
{
    struct rig *r = *state;
    uint64_t first = rig_append(r, LOG_MAIL, 1, "a");
    assert_int_equal(rig_append(r, LOG_MAIL, 1, "b"), first + 1);
    rig_append(r, LOG_MAIL, 2, "other");
    rig_append(r, LOG_EVENTS, 1, "event");
    assert_int_equal(rig_append(r, LOG_MAIL, 1, "c"), first + 2);
    assert_string_equal(rig_records(r, LOG_MAIL, 1, 0), "a b c ");
    assert_string_equal(rig_records(r, LOG_MAIL, 1, first + 1), "b c ");
    assert_string_equal(rig_records(r, LOG_MAIL, 2, 0), "other ");
    assert_string_equal(rig_records(r, LOG_MAIL, 0, 0), "");
    assert_string_equal(rig_records(r, LOG_MAIL, 3, 0), "");
    assert_string_equal(rig_records(r, LOG_EVENTS, 1, 0), "event ");
    struct log_reader *reader;
    struct span value;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    assert_int_equal(log_read_at(reader, LOG_MAIL, 1, first + 1, &value), RM_OK);
    assert_true(span_eq(value, SPAN_LIT("b")));
    assert_int_equal(log_read_at(reader, LOG_MAIL, 1, first + 3, &value), RM_ENOTFOUND);
    assert_int_equal(log_read_end_offset(reader, LOG_MAIL, 1), first + 3);
    log_read_end(reader);
}

void case_small_logs(void **state)
{
    struct rig *r = *state;
    rig_append(r, LOG_CONTROL, 0, "control");
    rig_append(r, LOG_AUDIT, 0, "audit");
    rig_append(r, LOG_DEAD, 0, "dead");
    rig_put(r, LOG_SUPPRESSION, 0, "who", "why");
    rig_put(r, LOG_QUOTA, 0, "who", "how much");
    rig_put(r, LOG_EVIDENCE, 0, "who", "what");
    assert_string_equal(rig_records(r, LOG_CONTROL, 0, 0), "control ");
    assert_string_equal(rig_records(r, LOG_AUDIT, 0, 0), "audit ");
    assert_string_equal(rig_records(r, LOG_DEAD, 0, 0), "dead ");
    assert_string_equal(rig_keys(r, LOG_SUPPRESSION, 0), "who=why ");
    assert_string_equal(rig_keys(r, LOG_QUOTA, 0), "who=how much ");
    assert_string_equal(rig_keys(r, LOG_EVIDENCE, 0), "who=what ");
}

void case_offsets_survive(void **state)
{
    struct rig *r = *state;
    rig_append(r, LOG_MAIL, 0, "a");
    uint64_t last = rig_append(r, LOG_MAIL, 0, "b");
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_delete_below(b, LOG_MAIL, 0, last + 1);
    assert_int_equal(rig_commit(r, b), RM_OK);
    assert_string_equal(rig_records(r, LOG_MAIL, 0, 0), "");
    if (r->backend->persistent)
        rig_reopen(r);
    assert_int_equal(rig_append(r, LOG_MAIL, 0, "c"), last + 1);
    if (r->backend->persistent)
        rig_reopen(r);
    assert_string_equal(rig_records(r, LOG_MAIL, 0, 0), "c ");
}

void case_head_and_body(void **state)
{
    struct rig *r = *state;
    struct blob *body = blob_of("body", 4);
    struct log_batch *b = log_batch_new(LOG_INTAKE);
    log_batch_append(b, LOG_MAIL, 0, SPAN_LIT("head+"), body, NULL);
    assert_true(log_batch_bytes(b) >= 9);
    assert_int_equal(log_batch_ops(b), 1);
    assert_int_equal(rig_commit(r, b), RM_OK);
    assert_string_equal(rig_records(r, LOG_MAIL, 0, 0), "head+body ");
    blob_unref(body);
}

void case_big_value(void **state)
{
    struct rig *r = *state;
    struct blob *body = blob_new(LOG_VALUE_MOST);
    for (body->len = 0; body->len < LOG_VALUE_MOST; body->len++)
        body->data[body->len] = (char)(body->len * 31 >> 5);
    struct log_batch *b = log_batch_new(LOG_INTAKE);
    for (int i = 0; i < 4; i++)
        log_batch_append(b, LOG_MAIL, 0, (struct span){NULL, 0}, body, NULL);
    assert_int_equal(rig_commit(r, b), RM_OK);
    struct log_reader *reader;
    struct span value;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    assert_int_equal(log_read_at(reader, LOG_MAIL, 0, r->last_offset + 3, &value), RM_OK);
    assert_true(span_eq(value, blob_span(body)));
    log_read_end(reader);
    blob_unref(body);
}

static struct log_batch *batch_over_all(const char *text)
{
    struct log_batch *b = log_batch_new(LOG_OWNER);
    for (uint32_t p = 0; p < RIG_PARTITIONS; p++) {
        log_batch_append(b, LOG_MAIL, p, span_str(text), NULL, NULL);
        log_batch_put(b, LOG_BACKLOG, p, span_str(text), span_str("i"));
        log_batch_append(b, LOG_EVENTS, p, span_str(text), NULL, NULL);
    }
    return b;
}

/* A reader beside the writer sees the same number of records everywhere, whenever it looks. */
void case_batches_are_atomic(void **state)
{
    struct rig *r = *state;
    if (!(log_capabilities(r->log) & LOG_ATOMIC))
        skip();
    enum { BATCHES = 200 };
    for (int i = 0; i < BATCHES; i++)
        rig_submit(r, batch_over_all("x"));
    for (int look = 0; look < 200; look++) {
        struct log_reader *reader;
        assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
        uint64_t end = log_read_end_offset(reader, LOG_MAIL, 0);
        for (uint32_t p = 0; p < RIG_PARTITIONS; p++) {
            assert_int_equal(log_read_end_offset(reader, LOG_MAIL, p), end);
            assert_int_equal(log_read_end_offset(reader, LOG_EVENTS, p), end);
            assert_int_equal(log_read_end_offset(reader, LOG_BACKLOG, p), end);
        }
        log_read_end(reader);
    }
    rig_await(r, BATCHES);
    assert_int_equal(r->failed, 0);
}

void case_failed_batch_leaves_nothing(void **state)
{
    struct rig *r = *state;
    if (!r->backend->fail_next)
        skip();
    uint64_t before = rig_append(r, LOG_MAIL, 0, "before");
    r->backend->fail_next(r->log, RM_EIO, 1);
    assert_int_equal(rig_commit(r, batch_over_all("lost")), RM_EIO);
    assert_string_equal(rig_records(r, LOG_MAIL, 0, 0), "before ");
    assert_string_equal(rig_keys(r, LOG_BACKLOG, 1), "");
    assert_string_equal(rig_index(r, 1), "");
    assert_int_equal(rig_append(r, LOG_MAIL, 0, "after"), before + 1);
}

void case_told_only_when_durable(void **state)
{
    struct rig *r = *state;
    if (!r->backend->hold)
        skip();
    r->backend->hold(r->log);
    struct log_batch *b = log_batch_new(LOG_INTAKE);
    log_batch_append(b, LOG_MAIL, 0, SPAN_LIT("a"), NULL, NULL);
    rig_submit(r, b);
    usleep(30000);
    log_client_poll(r->client);
    assert_int_equal(r->finished, 0);
    assert_int_equal(waker_count(&r->waker), 0);
    assert_string_equal(rig_records(r, LOG_MAIL, 0, 0), "");
    struct log_figures figures;
    log_figures(r->log, &figures);
    assert_true(figures.queued_bytes > 0);
    r->backend->release(r->log);
    rig_await(r, 1);
    assert_string_equal(rig_records(r, LOG_MAIL, 0, 0), "a ");
    log_figures(r->log, &figures);
    assert_int_equal(figures.queued_bytes, 0);
}

/* One wake for all that one poll will find; the next only after that poll. */
void case_woken_once(void **state)
{
    struct rig *r = *state;
    enum { BATCHES = 500 };
    for (int i = 0; i < BATCHES; i++) {
        struct log_batch *b = log_batch_new(LOG_INTAKE);
        log_batch_append(b, LOG_MAIL, 0, SPAN_LIT("a"), NULL, NULL);
        rig_submit(r, b);
    }
    for (int tries = 0; tries < 1000; tries++) {
        struct log_figures figures;
        log_figures(r->log, &figures);
        if (figures.queued_bytes == 0)
            break;
        usleep(10000);
    }
    usleep(10000);
    assert_int_equal(waker_count(&r->waker), 1);
    log_client_poll(r->client);
    assert_int_equal(r->finished, BATCHES);
    usleep(10000);
    assert_int_equal(waker_count(&r->waker), 1);
    rig_append(r, LOG_MAIL, 0, "b");
    assert_int_equal(waker_count(&r->waker), 2);
}

void case_intake_is_refused_first(void **state)
{
    struct rig *r = *state;
    if (r->backend->persistent) {
        rig_close(r);
        r->options.floor_free_bytes = UINT64_MAX / 2;
        rig_open(r);
    } else {
        r->backend->refuse_intake(r->log);
    }
    assert_int_equal(log_admits(r->log), RM_EFULL);
    struct log_batch *b = log_batch_new(LOG_INTAKE);
    log_batch_append(b, LOG_MAIL, 0, SPAN_LIT("refused"), NULL, NULL);
    assert_int_equal(rig_commit(r, b), RM_EFULL);
    rig_append(r, LOG_MAIL, 0, "bounce");
    assert_string_equal(rig_records(r, LOG_MAIL, 0, 0), "bounce ");
}

void case_long_queue_refuses_intake(void **state)
{
    struct rig *r = *state;
    if (!r->backend->hold)
        skip();
    rig_close(r);
    r->options.floor_queue_bytes = 1;
    rig_open(r);
    r->backend->hold(r->log);
    for (int i = 0; i < 2; i++) {
        struct log_batch *b = log_batch_new(LOG_INTAKE);
        log_batch_append(b, LOG_MAIL, 0, SPAN_LIT("a"), NULL, NULL);
        rig_submit(r, b);
    }
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_append(b, LOG_MAIL, 0, SPAN_LIT("b"), NULL, NULL);
    rig_submit(r, b);
    log_client_poll(r->client);
    assert_int_equal(r->finished, 1);
    assert_int_equal(r->last_status, RM_EFULL);
    r->backend->release(r->log);
    rig_await(r, 3);
    assert_int_equal(r->failed, 1);
}

void case_delete_below(void **state)
{
    struct rig *r = *state;
    enum { RECORDS = 10000 };
    struct log_batch *b = log_batch_new(LOG_OWNER);
    for (int i = 0; i < RECORDS; i++)
        log_batch_append(b, LOG_MAIL, 2, SPAN_LIT("x"), NULL, NULL);
    log_batch_append(b, LOG_MAIL, 2, SPAN_LIT("kept"), NULL, NULL);
    log_batch_append(b, LOG_MAIL, 3, SPAN_LIT("neighbour"), NULL, NULL);
    assert_int_equal(rig_commit(r, b), RM_OK);
    uint64_t line = r->last_offset + RECORDS;
    b = log_batch_new(LOG_OWNER);
    log_batch_delete_below(b, LOG_MAIL, 2, line);
    log_batch_delete_below(b, LOG_MAIL, 2, line - 5); /* the line never goes back */
    assert_int_equal(rig_commit(r, b), RM_OK);
    assert_string_equal(rig_records(r, LOG_MAIL, 2, 0), "kept ");
    struct log_reader *reader;
    struct span value;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    assert_int_equal(log_read_at(reader, LOG_MAIL, 2, line - 1, &value), RM_ENOTFOUND);
    assert_int_equal(log_read_at(reader, LOG_MAIL, 2, line, &value), RM_OK);
    log_read_end(reader);
    if (r->backend->persistent)
        rig_reopen(r);
    assert_string_equal(rig_records(r, LOG_MAIL, 2, 0), "kept ");
    assert_string_equal(rig_records(r, LOG_MAIL, 3, 0), "neighbour ");
}

void case_delete_beyond_the_end(void **state)
{
    struct rig *r = *state;
    uint64_t offset = rig_append(r, LOG_EVENTS, 0, "a");
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_delete_below(b, LOG_EVENTS, 0, offset + 1000);
    assert_int_equal(rig_commit(r, b), RM_OK);
    assert_int_equal(rig_append(r, LOG_EVENTS, 0, "b"), offset + 1);
    assert_string_equal(rig_records(r, LOG_EVENTS, 0, 0), "b ");
}

void case_reader_keeps_its_snapshot(void **state)
{
    struct rig *r = *state;
    uint64_t offset = rig_append(r, LOG_MAIL, 0, "a");
    rig_put(r, LOG_STATE, 0, "k", "old");
    struct log_reader *reader;
    struct span value;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_append(b, LOG_MAIL, 0, SPAN_LIT("b"), NULL, NULL);
    log_batch_put(b, LOG_STATE, 0, SPAN_LIT("k"), SPAN_LIT("new"));
    log_batch_delete_below(b, LOG_MAIL, 0, offset + 1);
    rig_submit(r, b);
    usleep(50000);
    assert_int_equal(log_read_end_offset(reader, LOG_MAIL, 0), offset + 1);
    assert_int_equal(log_read_at(reader, LOG_MAIL, 0, offset, &value), RM_OK);
    assert_true(span_eq(value, SPAN_LIT("a")));
    assert_int_equal(log_read_key(reader, LOG_STATE, 0, SPAN_LIT("k"), &value), RM_OK);
    assert_true(span_eq(value, SPAN_LIT("old")));
    log_read_end(reader);
    rig_await(r, r->finished + 1);
    assert_string_equal(rig_records(r, LOG_MAIL, 0, 0), "b ");
    assert_string_equal(rig_keys(r, LOG_STATE, 0), "k=new ");
}

void case_partitions_are_added_and_never_taken_away(void **state)
{
    struct rig *r = *state;
    if (!r->backend->persistent)
        skip();
    rig_append(r, LOG_MAIL, 3, "a");
    rig_close(r);
    r->options.partitions = RIG_PARTITIONS + 2;
    rig_open(r);
    assert_int_equal(log_partitions(r->log), RIG_PARTITIONS + 2);
    assert_string_equal(rig_records(r, LOG_MAIL, 3, 0), "a ");
    rig_append(r, LOG_MAIL, RIG_PARTITIONS + 1, "b");
    rig_reopen(r);
    assert_string_equal(rig_records(r, LOG_MAIL, RIG_PARTITIONS + 1, 0), "b ");
    rig_close(r);
    r->options.partitions = 1; /* the log knows better */
    rig_open(r);
    assert_int_equal(log_partitions(r->log), RIG_PARTITIONS + 2);
    assert_string_equal(rig_records(r, LOG_MAIL, RIG_PARTITIONS + 1, 0), "b ");
    struct log *log;
    const char *why = NULL;
    assert_int_equal(r->backend->open(r->dir, &r->options, &log, &why), RM_ELOCKED);
}
