/*
 * The embedded log on a full disk: senders are refused, owners go on, nothing breaks, and it recovers by
 * itself. The small disk is a tmpfs in a mount namespace of this process where that is allowed (root), else
 * only the cases with a small map run.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cmocka.h>

#include "queue/embedded/embedded.h"

enum { DISK_BYTES = 24 << 20, FLOOR_BYTES = 4 << 20, BODY_BYTES = 10240, PARTITIONS = 2 };

struct rig {
    char dir[64];
    bool small_disk;
    uint64_t map_bytes, floor_bytes;
    struct log *log;
    struct log_client *client;
    struct blob *body;
    int last_status;
    uint64_t last_offset;
};

static int index_of(struct span value, struct log_index_key out[LOG_INDEX_KEYS_MOST])
{
    memcpy(out[0].bytes, value.ptr, value.len);
    out[0].len = value.len;
    return 1;
}

static void open_log(struct rig *r)
{
    char data[80];
    const char *why = "";
    snprintf(data, sizeof(data), "%s/data", r->dir);
    struct embedded_options options = {.dir = data, .map_bytes = r->map_bytes, .sync = r->small_disk};
    struct log_options common = {
        .partitions = PARTITIONS, .index = index_of, .floor_free_bytes = r->floor_bytes};
    assert_int_equal(embedded_log_open(&options, &common, &r->log, &why), RM_OK);
    r->client = log_client_new(r->log, NULL, NULL);
}

static void close_log(struct rig *r)
{
    log_client_free(r->client);
    log_close(r->log);
}

static void on_done(void *arg, struct log_batch *b, int status)
{
    struct rig *r = arg;
    r->last_status = status;
    if (status == RM_OK)
        r->last_offset = log_batch_offset(b, 0);
}

static int commit(struct rig *r, struct log_batch *b)
{
    log_submit(r->client, b, on_done, r);
    log_client_flush(r->client);
    return r->last_status;
}

static int intake(struct rig *r)
{
    struct log_batch *b = log_batch_new(LOG_INTAKE);
    log_batch_append(b, LOG_MAIL, 0, SPAN_LIT("head"), r->body, NULL);
    return commit(r, b);
}

static int outcome(struct rig *r, int number)
{
    char key[32];
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_append(b, LOG_EVENTS, 0, SPAN_LIT("event"), NULL, NULL);
    log_batch_put(b, LOG_BACKLOG, 0, span_of(key, (size_t)snprintf(key, sizeof(key), "row%06d", number)),
                  SPAN_LIT("due"));
    return commit(r, b);
}

static int put_state(struct rig *r, int number)
{
    char key[32];
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_put(b, LOG_STATE, 0, span_of(key, (size_t)snprintf(key, sizeof(key), "key%06d", number)),
                  span_of(r->body->data, 500));
    return commit(r, b);
}

static int delete_below(struct rig *r, uint64_t offset)
{
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_append(b, LOG_EVENTS, 1, SPAN_LIT("deleted"), NULL, NULL);
    log_batch_delete_below(b, LOG_MAIL, 0, offset);
    return commit(r, b);
}

/* Fills with messages until one is refused; how many were taken. */
static int fill(struct rig *r)
{
    int taken = 0, status;
    while ((status = intake(r)) == RM_OK)
        assert_true(++taken < 100000);
    assert_int_equal(status, RM_EFULL);
    return taken;
}

static void await_admission(struct rig *r)
{
    for (int i = 0; i < 500 && log_admits(r->log) != RM_OK; i++)
        usleep(20000);
    assert_int_equal(log_admits(r->log), RM_OK);
}

/* Counts messages, each of them whole; rows and index agree. */
static int count_messages(struct rig *r)
{
    struct log_reader *reader;
    struct span value, index, row, from = {NULL, 0}, after = {NULL, 0};
    int n = 0;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    for (uint64_t offset = 0; log_read_next(reader, LOG_MAIL, 0, &offset, &value); offset++, n++) {
        assert_int_equal(value.len, 4 + BODY_BYTES);
        assert_memory_equal(value.ptr + 4, r->body->data, BODY_BYTES);
    }
    while (log_read_index(reader, 0, from, after, &index, &row)) {
        assert_int_equal(log_read_key(reader, LOG_BACKLOG, 0, row, &value), RM_OK);
        from = index;
        after = row;
    }
    log_read_end(reader);
    return n;
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    snprintf(r->dir, sizeof(r->dir), "/tmp/remuda-full-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    r->body = blob_new(BODY_BYTES);
    for (; r->body->len < BODY_BYTES; r->body->len++)
        r->body->data[r->body->len] = (char)(r->body->len * 7);
    *state = r;
    return 0;
}

static int setup_small_disk(void **state)
{
    setup(state);
    struct rig *r = *state;
    char options[32];
    snprintf(options, sizeof(options), "size=%d", DISK_BYTES);
    r->small_disk = unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                    mount("tmpfs", r->dir, "tmpfs", 0, options) == 0;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s/*", r->dir);
    int status = system(command);
    if (r->small_disk)
        status |= umount(r->dir);
    status |= rmdir(r->dir);
    blob_unref(r->body);
    free(r);
    return status;
}

/* The same story for a disk and for a map that fill up. */
static void fills_and_recovers(struct rig *r)
{
    open_log(r);
    int taken = fill(r);
    assert_true(taken > 50);
    uint64_t last = r->last_offset;
    assert_int_equal(log_admits(r->log), RM_EFULL);
    for (int i = 0; i < 300; i++)
        assert_int_equal(outcome(r, i), RM_OK);
    assert_int_equal(intake(r), RM_EFULL);
    assert_int_equal(count_messages(r), taken);
    assert_int_equal(delete_below(r, last - 9), RM_OK);
    await_admission(r);
    assert_int_equal(intake(r), RM_OK);
    assert_int_equal(r->last_offset, last + 1);
    assert_int_equal(count_messages(r), 11);
    int more = fill(r);
    assert_true(more > taken / 2);
    close_log(r);
    open_log(r);
    assert_int_equal(count_messages(r), 11 + more);
    assert_int_equal(delete_below(r, UINT64_MAX), RM_OK);
    await_admission(r);
    assert_int_equal(count_messages(r), 0);
    close_log(r);
}

static void test_disk_fills_up(void **state)
{
    struct rig *r = *state;
    if (!r->small_disk)
        skip();
    r->floor_bytes = FLOOR_BYTES;
    fills_and_recovers(r);
}

static void test_map_fills_up(void **state)
{
    struct rig *r = *state;
    r->map_bytes = 16 << 20;
    r->floor_bytes = FLOOR_BYTES;
    fills_and_recovers(r);
}

static void test_map_fills_up_without_floor(void **state)
{
    struct rig *r = *state;
    r->map_bytes = 16 << 20;
    fills_and_recovers(r);
}

/* Owners use the map up to the last page that they may have: deletion still goes through and makes room. */
static void test_owners_fill_the_map(void **state)
{
    struct rig *r = *state;
    r->map_bytes = 16 << 20;
    open_log(r);
    int taken = fill(r), rows = 0;
    uint64_t last = r->last_offset;
    while (outcome(r, rows) == RM_OK)
        assert_true(++rows < 1000000);
    assert_int_equal(r->last_status, RM_EFULL);
    int states = 0;
    while (put_state(r, states) == RM_OK)
        assert_true(++states < 1000000);
    assert_int_equal(r->last_status, RM_EFULL);
    assert_int_equal(count_messages(r), taken);
    assert_int_equal(delete_below(r, last + 1), RM_OK);
    await_admission(r);
    assert_int_equal(outcome(r, rows), RM_OK);
    assert_int_equal(intake(r), RM_OK);
    assert_int_equal(count_messages(r), 1);
    close_log(r);
}

static void take_all_space(const struct rig *r, const char *name)
{
    char path[96], block[4096] = {1};
    snprintf(path, sizeof(path), "%s/%s", r->dir, name);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    while (write(fd, block, sizeof(block)) > 0)
        ;
    assert_int_equal(errno, ENOSPC);
    close(fd);
}

/* Others fill the disk to the last block: what fails has had no effect, and the rest is whole afterwards. */
static void test_others_fill_the_disk(void **state)
{
    struct rig *r = *state;
    if (!r->small_disk)
        skip();
    r->floor_bytes = FLOOR_BYTES;
    open_log(r);
    for (int i = 0; i < 100; i++)
        assert_int_equal(intake(r), RM_OK);
    take_all_space(r, "filler");
    int full = 0, taken = 100, done = 0;
    for (int i = 0; i < 300; i++) {
        int status = intake(r);
        assert_true(status == RM_OK || status == RM_EFULL);
        taken += status == RM_OK;
        status = outcome(r, i);
        assert_true(status == RM_OK || status == RM_EFULL);
        done += status == RM_OK;
        full += status == RM_EFULL;
    }
    assert_true(full > 0); /* else the disk was not full enough to prove anything */
    assert_int_equal(log_admits(r->log), RM_EFULL);
    assert_int_equal(count_messages(r), taken);
    char path[96];
    snprintf(path, sizeof(path), "%s/filler", r->dir);
    assert_int_equal(unlink(path), 0);
    await_admission(r);
    assert_int_equal(outcome(r, 1000), RM_OK);
    assert_int_equal(r->last_offset, (uint64_t)done + 1);
    assert_int_equal(intake(r), RM_OK);
    close_log(r);
    open_log(r);
    assert_int_equal(count_messages(r), taken + 1);
    close_log(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_disk_fills_up, setup_small_disk, teardown),
        cmocka_unit_test_setup_teardown(test_others_fill_the_disk, setup_small_disk, teardown),
        cmocka_unit_test_setup_teardown(test_map_fills_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_map_fills_up_without_floor, setup, teardown),
        cmocka_unit_test_setup_teardown(test_owners_fill_the_map, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
