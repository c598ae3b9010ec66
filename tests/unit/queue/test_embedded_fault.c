/*
 * The embedded log on a disk that fails to sync: what was submitted fails and has had no effect, the log
 * opens its environment again by itself, readers and followers go on. This program's own fdatasync stands
 * before the C library's, also for LMDB.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "queue/embedded/embedded.h"

static _Atomic int fail_syncs;

int fdatasync(int fd)
{
    if (atomic_load(&fail_syncs) > 0) {
        atomic_fetch_sub(&fail_syncs, 1);
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

struct rig {
    char dir[64];
    struct log *log;
    struct log_client *client;
    int last_status;
    uint64_t last_offset;
    int told;
    uint64_t told_last;
    _Atomic int troubles;
    _Atomic bool stop;
    _Atomic int reads, refused_reads;
};

static void on_trouble(void *arg, int err, const char *what)
{
    struct rig *r = arg;
    assert_int_equal(err, RM_EIO);
    assert_non_null(what);
    atomic_fetch_add(&r->troubles, 1);
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    snprintf(r->dir, sizeof(r->dir), "/tmp/remuda-fault-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    struct embedded_options options = {.dir = r->dir, .map_bytes = 1u << 30, .sync = true};
    struct log_options common = {.partitions = 2, .trouble = on_trouble, .arg = r};
    assert_int_equal(embedded_log_open(&options, &common, &r->log, NULL), RM_OK);
    r->client = log_client_new(r->log, NULL, NULL);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    log_client_free(r->client);
    log_close(r->log);
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", r->dir);
    int status = system(command);
    free(r);
    return status;
}

static void on_done(void *arg, struct log_batch *b, int status)
{
    struct rig *r = arg;
    r->last_status = status;
    if (status == RM_OK)
        r->last_offset = log_batch_offset(b, 0);
}

static int append(struct rig *r, const char *text)
{
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_append(b, LOG_MAIL, 0, span_str(text), NULL, NULL);
    log_submit(r->client, b, on_done, r);
    log_client_flush(r->client);
    return r->last_status;
}

static void on_told(void *arg, uint32_t partition, uint64_t offset, struct message *hint)
{
    struct rig *r = arg;
    (void)partition;
    message_unref(hint);
    r->told++;
    r->told_last = offset;
}

static void test_failed_sync(void **state)
{
    struct rig *r = *state;
    log_follow(r->client, 0, 0, on_told, r);
    assert_int_equal(append(r, "before"), RM_OK);
    uint64_t before = r->last_offset;
    atomic_store(&fail_syncs, 1);
    assert_int_equal(append(r, "lost"), RM_EIO);
    assert_int_equal(atomic_load(&r->troubles), 1);
    assert_int_equal(append(r, "after"), RM_OK);
    assert_int_equal(r->last_offset, before + 1);
    struct log_reader *reader;
    struct span value;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    assert_int_equal(log_read_at(reader, LOG_MAIL, 0, before + 1, &value), RM_OK);
    assert_true(span_eq(value, SPAN_LIT("after")));
    assert_int_equal(log_read_end_offset(reader, LOG_MAIL, 0), before + 2);
    log_read_end(reader);
    for (int i = 0; i < 5; i++)
        log_client_poll(r->client);
    assert_int_equal(r->told, 2);
    assert_int_equal(r->told_last, before + 1);
}

static void *read_on(void *arg)
{
    struct rig *r = arg;
    while (!atomic_load(&r->stop)) {
        struct log_reader *reader;
        struct span value;
        if (log_read_begin(r->log, &reader) != RM_OK) {
            atomic_fetch_add(&r->refused_reads, 1);
            continue;
        }
        uint64_t n = 0;
        for (uint64_t offset = 0; log_read_next(reader, LOG_MAIL, 0, &offset, &value); offset++)
            n++;
        ENSURE(n + 1 == log_read_end_offset(reader, LOG_MAIL, 0));
        log_read_end(reader);
        atomic_fetch_add(&r->reads, 1);
    }
    return NULL;
}

/* Failures again and again beside a busy reader: each costs one batch, none costs more. */
static void test_many_failures_beside_readers(void **state)
{
    struct rig *r = *state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_on, r), 0);
    int ok = 0;
    for (int i = 0; i < 40; i++) {
        if (i % 4 == 3)
            atomic_store(&fail_syncs, 1);
        int status = append(r, "x");
        assert_int_equal(status, i % 4 == 3 ? RM_EIO : RM_OK);
        ok += status == RM_OK;
    }
    assert_int_equal(r->last_offset, ok);
    atomic_store(&r->stop, true);
    pthread_join(thread, NULL);
    assert_true(atomic_load(&r->reads) > 0);
}

/* While it can't be opened at all, batches fail and reading too; then it recovers within some seconds. */
static void test_disk_stays_away(void **state)
{
    struct rig *r = *state;
    assert_int_equal(append(r, "before"), RM_OK);
    atomic_store(&fail_syncs, 1000);
    assert_int_equal(append(r, "lost"), RM_EIO);
    assert_int_equal(append(r, "lost"), RM_EIO);
    atomic_store(&fail_syncs, 0);
    int status = RM_EIO;
    for (int i = 0; i < 100 && status != RM_OK; i++) {
        usleep(50000);
        status = append(r, "after");
    }
    assert_int_equal(status, RM_OK);
    assert_int_equal(r->last_offset, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_failed_sync, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_failures_beside_readers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_disk_stays_away, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
