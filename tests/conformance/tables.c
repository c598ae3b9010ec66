/* Conformance: compacted logs, index keys, ownership. */
#include <stdlib.h>

#include "proto/codec.h"
#include "tests/conformance/cases.h"

void case_last_value_stays(void **state)
{
    struct rig *r = *state;
    rig_put(r, LOG_STATE, 1, "b", "1");
    rig_put(r, LOG_STATE, 1, "a", "2");
    rig_put(r, LOG_STATE, 2, "b", "other");
    rig_put(r, LOG_STATE, 1, "b", "3");
    rig_put(r, LOG_STATE, 1, "ba", "4");
    assert_string_equal(rig_keys(r, LOG_STATE, 1), "a=2 b=3 ba=4 ");
    assert_string_equal(rig_keys(r, LOG_STATE, 0), "");
    rig_erase(r, LOG_STATE, 1, "a");
    rig_erase(r, LOG_STATE, 1, "absent");
    if (r->backend->persistent)
        rig_reopen(r);
    assert_string_equal(rig_keys(r, LOG_STATE, 1), "b=3 ba=4 ");
    assert_string_equal(rig_keys(r, LOG_STATE, 2), "b=other ");
    struct log_reader *reader;
    struct span value;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    assert_int_equal(log_read_key(reader, LOG_STATE, 1, SPAN_LIT("b"), &value), RM_OK);
    assert_true(span_eq(value, SPAN_LIT("3")));
    assert_int_equal(log_read_key(reader, LOG_STATE, 1, SPAN_LIT("a"), &value), RM_ENOTFOUND);
    log_read_end(reader);
}

void case_ops_of_a_batch_in_order(void **state)
{
    struct rig *r = *state;
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_put(b, LOG_BACKLOG, 0, SPAN_LIT("k"), SPAN_LIT("one"));
    log_batch_erase(b, LOG_BACKLOG, 0, SPAN_LIT("k"));
    log_batch_put(b, LOG_BACKLOG, 0, SPAN_LIT("k"), SPAN_LIT("two"));
    log_batch_put(b, LOG_BACKLOG, 0, SPAN_LIT("gone"), SPAN_LIT("three"));
    log_batch_erase(b, LOG_BACKLOG, 0, SPAN_LIT("gone"));
    assert_int_equal(rig_commit(r, b), RM_OK);
    assert_string_equal(rig_keys(r, LOG_BACKLOG, 0), "k=two ");
    assert_string_equal(rig_index(r, 0), "two:k ");
}

void case_index_follows_values(void **state)
{
    struct rig *r = *state;
    rig_put(r, LOG_BACKLOG, 1, "row2", "due1 lane");
    rig_put(r, LOG_BACKLOG, 1, "row1", "due1 cause");
    rig_put(r, LOG_BACKLOG, 2, "row3", "due1");
    assert_string_equal(rig_index(r, 1), "cause:row1 due1:row1 due1:row2 lane:row2 ");
    assert_string_equal(rig_index(r, 2), "due1:row3 ");
    rig_put(r, LOG_BACKLOG, 1, "row1", "due2 cause");
    assert_string_equal(rig_index(r, 1), "cause:row1 due1:row2 due2:row1 lane:row2 ");
    rig_erase(r, LOG_BACKLOG, 1, "row2");
    assert_string_equal(rig_index(r, 1), "cause:row1 due2:row1 ");
    rig_put(r, LOG_BACKLOG, 1, "row1", "");
    assert_string_equal(rig_index(r, 1), "");
    assert_string_equal(rig_keys(r, LOG_BACKLOG, 1), "row1= ");
    rig_put(r, LOG_STATE, 1, "row9", "not indexed");
    assert_string_equal(rig_index(r, 1), "");
}

/* Keys of any bytes and length keep their byte order, and a key is not taken for its prefix. */
void case_index_order(void **state)
{
    struct rig *r = *state;
    rig_put(r, LOG_BACKLOG, 0, "r1", "abcdefgh abcdefghi abcdefg abcdefgh1");
    rig_put(r, LOG_BACKLOG, 0, "r0", "abcdefgh");
    assert_string_equal(rig_index(r, 0), "abcdefg:r1 abcdefgh:r0 abcdefgh:r1 abcdefgh1:r1 abcdefghi:r1 ");
    struct log_batch *b = log_batch_new(LOG_OWNER);
    char zeros[LOG_INDEX_KEY_MOST] = {0}, key[LOG_KEY_MOST];
    memset(key, 0, sizeof(key));
    log_batch_put(b, LOG_BACKLOG, 1, span_of(key, sizeof(key)), span_of(zeros, sizeof(zeros)));
    log_batch_put(b, LOG_BACKLOG, 1, SPAN_LIT("a"), span_of(zeros, 1));
    log_batch_put(b, LOG_BACKLOG, 1, SPAN_LIT("b"), SPAN_LIT("\x01"));
    assert_int_equal(rig_commit(r, b), RM_OK);
    struct log_reader *reader;
    struct span index, row;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    assert_true(log_read_index(reader, 1, span_of(NULL, 0), span_of(NULL, 0), &index, &row));
    assert_true(span_eq(index, span_of(zeros, 1)) && span_eq(row, SPAN_LIT("a")));
    assert_true(log_read_index(reader, 1, index, row, &index, &row));
    assert_true(span_eq(index, span_of(zeros, sizeof(zeros))) && span_eq(row, span_of(key, sizeof(key))));
    assert_true(log_read_index(reader, 1, index, row, &index, &row));
    assert_true(span_eq(index, SPAN_LIT("\x01")) && span_eq(row, SPAN_LIT("b")));
    assert_false(log_read_index(reader, 1, index, row, &index, &row));
    assert_true(log_read_index(reader, 1, SPAN_LIT("\x01"), span_of(NULL, 0), &index, &row));
    assert_true(span_eq(row, SPAN_LIT("b")));
    log_read_end(reader);
}

/* ---- ownership -------------------------------------------------------------------------------------- */

struct owner {
    uint64_t epochs[RIG_PARTITIONS + 3];
    int gained, lost;
};

static void on_gained(void *arg, uint32_t partition, uint64_t epoch)
{
    struct owner *o = arg;
    o->epochs[partition] = epoch;
    o->gained++;
}

static void on_lost(void *arg, uint32_t partition)
{
    struct owner *o = arg;
    o->epochs[partition] = 0;
    o->lost++;
}

static void join(struct rig *r, struct owner *o)
{
    struct log_ownership table = {.gained = on_gained, .lost = on_lost, .arg = o};
    *o = (struct owner){.gained = 0};
    assert_int_equal(log_join(r->log, &r->client, &table, 1, "node1"), RM_OK);
    assert_int_equal(o->gained, 0); /* only in a poll */
    log_client_poll(r->client);
    assert_int_equal(o->gained, RIG_PARTITIONS);
}

static void check_claim(struct rig *r, uint32_t partition, uint64_t epoch)
{
    struct log_reader *reader;
    struct span key, value;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    assert_true(log_read_key_next(reader, LOG_STATE, partition, SPAN_LIT("claim:"), &key, &value));
    assert_true(span_istarts(key, SPAN_LIT("claim:")));
    Remuda__Claim *claim = remuda__claim__unpack(NULL, value.len, (const uint8_t *)value.ptr);
    assert_non_null(claim);
    assert_int_equal(claim->epoch, epoch);
    assert_string_equal(claim->owner, "node1");
    remuda__claim__free_unpacked(claim, NULL);
    char after[LOG_KEY_MOST];
    memcpy(after, key.ptr, key.len);
    after[key.len] = '\0';
    assert_false(log_read_key_next(reader, LOG_STATE, partition, span_of(after, key.len + 1), &key, &value));
    log_read_end(reader);
}

void case_epochs_grow(void **state)
{
    struct rig *r = *state;
    struct owner o;
    join(r, &o);
    uint64_t first = o.epochs[2];
    assert_true(first > 0);
    check_claim(r, 2, first);
    if (!r->backend->persistent)
        return;
    rig_put(r, LOG_STATE, 2, "a", "1");
    rig_erase(r, LOG_STATE, 2, "a");
    rig_reopen(r);
    join(r, &o);
    assert_true(o.epochs[2] > first + 1);
    check_claim(r, 2, o.epochs[2]);
}

void case_partitions_are_shared_out(void **state)
{
    struct rig *r = *state;
    struct waker waker;
    waker_init(&waker);
    struct log_client *second = log_client_new(r->log, waker_wake, &waker);
    struct log_client *clients[2] = {r->client, second};
    struct owner owners[2] = {{.gained = 0}, {.gained = 0}};
    struct log_ownership tables[2] = {{.gained = on_gained, .lost = on_lost, .arg = &owners[0]},
                                      {.gained = on_gained, .lost = on_lost, .arg = &owners[1]}};
    assert_int_equal(log_join(r->log, clients, tables, 2, "node1"), RM_OK);
    log_client_poll(r->client);
    log_client_poll(second);
    assert_int_equal(owners[0].gained, 2);
    assert_int_equal(owners[1].gained, 2);
    assert_true(owners[0].epochs[0] && owners[0].epochs[2]);
    assert_true(owners[1].epochs[1] && owners[1].epochs[3]);
    log_client_free(second);
}

static void grow(struct rig *r, struct owner *o, int partitions)
{
    assert_int_equal(log_grow(r->log, (uint32_t)partitions), RM_OK);
    assert_int_equal(log_partitions(r->log), partitions);
    while (o->gained < partitions) {
        assert_true(waker_wait(&r->waker));
        log_client_poll(r->client);
    }
}

void case_partitions_are_added_while_it_runs(void **state)
{
    struct rig *r = *state;
    struct owner o;
    join(r, &o);
    rig_append(r, LOG_MAIL, 3, "a");
    grow(r, &o, RIG_PARTITIONS + 2);
    assert_int_equal(log_grow(r->log, RIG_PARTITIONS), RM_OK); /* there are more */
    assert_int_equal(log_grow(r->log, LOG_PARTITIONS_MOST + 1), RM_EINVAL);
    assert_int_equal(log_partitions(r->log), RIG_PARTITIONS + 2);
    grow(r, &o, RIG_PARTITIONS + 3);
    assert_int_equal(o.gained, RIG_PARTITIONS + 3); /* once each: none was lost meanwhile */
    assert_int_equal(o.lost, 0);
    for (uint32_t p = 0; p < RIG_PARTITIONS + 3; p++)
        assert_true(o.epochs[p] > 0 && log_may_start(r->client, p));
    check_claim(r, RIG_PARTITIONS + 2, o.epochs[RIG_PARTITIONS + 2]);
    assert_int_equal(rig_append(r, LOG_MAIL, RIG_PARTITIONS + 2, "b"), 1);
    rig_put(r, LOG_BACKLOG, RIG_PARTITIONS, "row", "due");
    if (r->backend->persistent)
        rig_reopen(r); /* the options still say the smaller number */
    assert_int_equal(log_partitions(r->log), RIG_PARTITIONS + 3);
    assert_string_equal(rig_records(r, LOG_MAIL, 3, 0), "a ");
    assert_string_equal(rig_records(r, LOG_MAIL, RIG_PARTITIONS + 2, 0), "b ");
    assert_string_equal(rig_keys(r, LOG_BACKLOG, RIG_PARTITIONS), "row=due ");
}

void case_nothing_after_lost(void **state)
{
    struct rig *r = *state;
    struct owner o;
    join(r, &o);
    rig_put(r, LOG_BACKLOG, 1, "row", "due");
    log_leave(r->log);
    assert_int_equal(o.lost, 0);
    log_client_poll(r->client);
    assert_int_equal(o.lost, RIG_PARTITIONS);
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_erase(b, LOG_BACKLOG, 1, SPAN_LIT("row"));
    assert_int_equal(rig_commit(r, b), RM_ECLOSED);
    assert_string_equal(rig_keys(r, LOG_BACKLOG, 1), "row=due ");
}
