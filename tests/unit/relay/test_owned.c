/* What a process that was killed had is told by the next one on its data directory, once, and only on the
 * same start of the machine. */
#include "relay/owned.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/codec.h"
#include "queue/memory/memory.h"

enum { PARTITIONS = 3 };

struct rig {
    char dir[64];
    struct settings settings;
    struct node node;
    struct log_client *client;
};

static void wake_nobody(void *arg)
{
    (void)arg;
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    struct log_options options = {.partitions = PARTITIONS};
    assert_non_null(r);
    snprintf(r->dir, sizeof(r->dir), "/tmp/remuda-owned-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    assert_int_equal(memory_log_open(&options, &r->node.log), RM_OK);
    r->settings.data = r->dir;
    r->settings.partitions = PARTITIONS;
    r->node.settings = &r->settings;
    r->client = log_client_new(r->node.log, wake_nobody, NULL);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    log_client_free(r->client);
    log_close(r->node.log);
    owned_forget(r->dir);
    assert_int_equal(rmdir(r->dir), 0); /* and nothing else is left */
    free(r);
    return 0;
}

/* Of partition p, as digits of epochs told. */
static uint64_t told(struct rig *r, uint32_t p)
{
    struct log_reader *reader;
    struct span value;
    uint64_t found = 0;
    log_client_flush(r->client);
    assert_int_equal(log_read_begin(r->node.log, &reader), RM_OK);
    for (uint64_t at = 0; log_read_next(reader, LOG_EVENTS, p, &at, &value); at++) {
        struct arena a = ARENA_INIT;
        const Remuda__EventBatch *b = event_batch_decode(&a, value);
        assert_true(b && b->closed && b->n_events == 0);
        found = found * 10 + b->epoch;
        arena_fini(&a);
    }
    log_read_end(reader);
    return found;
}

static void test_a_killed_one_is_told_once(void **state)
{
    struct rig *r = *state;
    owned_tell(&r->node, r->client); /* the first start */
    assert_int_equal(owned_note(r->dir, 0, 7), RM_OK);
    assert_int_equal(owned_note(r->dir, 2, 8), RM_OK);
    assert_int_equal(owned_note(r->dir, 0, 9), RM_OK);
    assert_int_equal(owned_note(r->dir, PARTITIONS, 9), RM_OK); /* there are fewer now */
    owned_tell(&r->node, r->client);
    assert_int_equal(owned_note(r->dir, 1, 3), RM_OK); /* of this start */
    assert_int_equal(told(r, 0), 79);
    assert_int_equal(told(r, 1), 0);
    assert_int_equal(told(r, 2), 8);
    owned_tell(&r->node, r->client);
    assert_int_equal(told(r, 0), 79);
    assert_int_equal(told(r, 1), 3);
}

static void test_an_orderly_end_has_nothing_to_tell(void **state)
{
    struct rig *r = *state;
    assert_int_equal(owned_note(r->dir, 0, 7), RM_OK);
    owned_forget(r->dir);
    owned_tell(&r->node, r->client);
    assert_int_equal(told(r, 0), 0);
}

static void test_another_start_of_the_machine_is_not_told_of(void **state)
{
    struct rig *r = *state;
    char path[128];
    snprintf(path, sizeof(path), "%s/owned", r->dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("00000000-0000-0000-0000-000000000000 0 7\n0 7\ntorn", f);
    fclose(f);
    owned_tell(&r->node, r->client);
    assert_int_equal(told(r, 0), 0);
}

/* What could not be told is told by the next start, before what that one has. */
static void test_what_was_not_durable_is_told_again(void **state)
{
    struct rig *r = *state;
    assert_int_equal(owned_note(r->dir, 0, 5), RM_OK);
    memory_log_fail_next(r->node.log, RM_EIO, 1);
    owned_tell(&r->node, r->client);
    assert_int_equal(told(r, 0), 0);
    assert_int_equal(owned_note(r->dir, 0, 6), RM_OK);
    owned_tell(&r->node, r->client);
    assert_int_equal(told(r, 0), 5);
    owned_tell(&r->node, r->client);
    assert_int_equal(told(r, 0), 56);
    assert_int_equal(owned_note("/nonexistent", 0, 6), RM_EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_killed_one_is_told_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_orderly_end_has_nothing_to_tell, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_start_of_the_machine_is_not_told_of, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_was_not_durable_is_told_again, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
