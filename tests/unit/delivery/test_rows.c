/*
 * Walks over the index of rows: for every state of a row, the walk over its keys meets each row once and
 * nothing else. A state that no walk meets is mail that nobody loads after a start (I1).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "queue/memory/memory.h"
#include "relay/delivery/delivery_private.h"

enum { PARTITION = 0, STATES = 5, OF_EACH = 3 };

struct rig {
    struct log *log;
    struct log_client *client;
    struct owner owner;
};

static void wake(void *arg)
{
    (void)arg;
}

static void on_done(void *arg, struct log_batch *b, int status)
{
    (void)b;
    *(int *)arg = status;
}

/* Identities tell state and number. */
static void put(struct log_batch *b, uint32_t state, uint32_t number)
{
    Remuda__BacklogRow row = REMUDA__BACKLOG_ROW__INIT;
    Remuda__SubmissionId id = REMUDA__SUBMISSION_ID__INIT;
    id.offset = state + 1;
    id.index = number;
    uint8_t message_id[16] = {0};
    row.id = &id;
    row.message_id.data = message_id;
    row.message_id.len = sizeof(message_id);
    row.at = row.first_live = id.offset;
    row.state = (Remuda__RowState)state;
    row.pool = row.provider = row.tenant = row.scope = (char *)(uintptr_t) "x";
    row.due_ms = row.in_doubt_until_ms = row.expires_ms = 1000 + number;
    struct buf packed = BUF_INIT;
    proto_pack(&packed, &row.base);
    struct row_key key = row_key_make(subid_of(&id));
    log_batch_put(b, LOG_BACKLOG, PARTITION, span_of((const char *)key.bytes, sizeof(key.bytes)),
                  buf_span(&packed));
    buf_fini(&packed);
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    struct log_options options = {.partitions = 1, .index = row_index_keys};
    int status = RM_EAGAIN;
    assert_non_null(r);
    assert_int_equal(memory_log_open(&options, &r->log), RM_OK);
    r->client = log_client_new(r->log, wake, NULL);
    r->owner.number = PARTITION;
    struct log_batch *b = log_batch_new(LOG_OWNER);
    for (uint32_t i = 0; i < STATES * OF_EACH; i++)
        put(b, i % STATES, i / STATES);
    log_submit(r->client, b, on_done, &status);
    log_client_flush(r->client);
    assert_int_equal(status, RM_OK);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    log_client_free(r->client);
    log_close(r->log);
    free(r);
    return 0;
}

/* How often the walk over prefix meets rows of each state. */
static void walk(const struct rig *r, const struct log_index_key *prefix, int met[STATES])
{
    struct log_reader *reader;
    struct index_place at = {0};
    memset(met, 0, STATES * sizeof(met[0]));
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    for (int n = 0; rows_next(&r->owner, reader, prefix, &at); n++) {
        assert_in_range(n, 0, STATES * OF_EACH);
        assert_in_range(rows_id(&at).offset, 1, STATES);
        met[rows_id(&at).offset - 1]++;
    }
    log_read_end(reader);
}

static void assert_met(const int met[STATES], unsigned states)
{
    for (unsigned i = 0; i < STATES; i++)
        assert_int_equal(met[i], states >> i & 1 ? OF_EACH : 0);
}

static void rows_in_hand_and_under_way_to_others(void **state)
{
    static const struct log_index_key in_hand = {.bytes = {'H'}, .len = 1};
    int met[STATES];
    walk(*state, &in_hand, met);
    assert_met(met, 1u << REMUDA__ROW_STATE__ROW_IN_HAND | 1u << REMUDA__ROW_STATE__ROW_TRANSFERRING);
}

static void rows_by_time(void **state)
{
    static const struct log_index_key times = {.bytes = {'T'}, .len = 1};
    int met[STATES];
    walk(*state, &times, met);
    assert_met(met, 1u << REMUDA__ROW_STATE__ROW_DEFERRED | 1u << REMUDA__ROW_STATE__ROW_IN_DOUBT |
                        1u << REMUDA__ROW_STATE__ROW_HELD);
}

static void rows_by_cause(void **state)
{
    struct log_index_key of_flow, of_another;
    int met[STATES];
    row_cause_prefix("x", "x", 0, "x", "x", &of_flow);
    walk(*state, &of_flow, met);
    assert_met(met, 1u << REMUDA__ROW_STATE__ROW_HELD);
    row_cause_prefix("x", "x", 0, "x", "y", &of_another);
    walk(*state, &of_another, met);
    assert_met(met, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rows_in_hand_and_under_way_to_others, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_by_time, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_by_cause, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
