/* The LMDB wrapper: order, sticky errors, a full map that can be emptied, locks, snapshots, a model check. */
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/buf.h"
#include "lib/base/kv.h"

/* This program's own fsync stands before the C library's: which directories were brought to the disk. */
static struct {
    char paths[8][128];
    size_t n;
} fsynced;

int fsync(int fd)
{
    char link[64];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    if (fsynced.n < 8) {
        ssize_t n = readlink(link, fsynced.paths[fsynced.n], sizeof(fsynced.paths[0]) - 1);
        if (n > 0)
            fsynced.paths[fsynced.n++][n] = '\0';
    }
    return (int)syscall(SYS_fsync, fd);
}

static bool was_fsynced(const char *path)
{
    for (size_t i = 0; i < fsynced.n; i++)
        if (strcmp(fsynced.paths[i], path) == 0)
            return true;
    return false;
}

struct fixture {
    char dir[64];
    struct kv_env *env;
    kv_table t;
};

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static void reopen(struct fixture *f, uint64_t map_bytes)
{
    kv_close(f->env);
    struct kv_options o = {
        .dir = f->dir, .map_bytes = map_bytes, .sync = true, .max_tables = 4, .max_readers = 8};
    const char *why = NULL;
    assert_int_equal(kv_open(&o, &f->env, &why), RM_OK);
    assert_int_equal(kv_table_open(f->env, "t", &f->t), RM_OK);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    snprintf(f->dir, sizeof(f->dir), "/tmp/test_kv.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    reopen(f, 64 << 20);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    kv_close(f->env);
    nftw(f->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

static struct kv_txn *begin(struct fixture *f)
{
    struct kv_txn *txn;
    assert_int_equal(kv_write_begin(f->env, &txn), RM_OK);
    return txn;
}

static struct kv_txn *snapshot(struct fixture *f)
{
    struct kv_txn *txn;
    assert_int_equal(kv_read_begin(f->env, &txn), RM_OK);
    return txn;
}

static void put(struct fixture *f, const char *key, const char *value)
{
    struct kv_txn *txn = begin(f);
    kv_put(txn, f->t, span_str(key), span_str(value));
    assert_int_equal(kv_commit(txn), RM_OK);
}

static void test_put_get_delete(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "1");
    put(f, "a", "2");
    reopen(f, 64 << 20);
    struct span v;
    struct kv_txn *r = snapshot(f);
    assert_int_equal(kv_get(r, f->t, SPAN_LIT("a"), &v), RM_OK);
    assert_true(span_eq(v, SPAN_LIT("2")));
    assert_int_equal(kv_get(r, f->t, SPAN_LIT("b"), &v), RM_ENOTFOUND);
    kv_read_end(r);
    struct kv_txn *w = begin(f);
    assert_true(kv_delete(w, f->t, SPAN_LIT("a")));
    assert_false(kv_delete(w, f->t, SPAN_LIT("a")));
    char *at = kv_put_reserve(w, f->t, SPAN_LIT("c"), 3);
    memcpy(at, "xyz", 3);
    assert_int_equal(kv_commit(w), RM_OK);
    r = snapshot(f);
    assert_int_equal(kv_get(r, f->t, SPAN_LIT("c"), &v), RM_OK);
    assert_true(span_eq(v, SPAN_LIT("xyz")));
    kv_read_end(r);
}

static void test_abort_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct kv_txn *w = begin(f);
    kv_put(w, f->t, SPAN_LIT("a"), SPAN_LIT("1"));
    kv_abort(w);
    struct span v;
    struct kv_txn *r = snapshot(f);
    assert_int_equal(kv_get(r, f->t, SPAN_LIT("a"), &v), RM_ENOTFOUND);
    kv_abort(r);
}

static void test_error_is_sticky(void **state)
{
    struct fixture *f = *state;
    char big[600];
    memset(big, 'k', sizeof(big));
    struct kv_txn *w = begin(f);
    kv_put(w, f->t, SPAN_LIT("a"), SPAN_LIT("1"));
    kv_put(w, f->t, span_of(big, sizeof(big)), SPAN_LIT("1"));
    assert_int_equal(kv_error(w), RM_EINVAL);
    kv_put(w, f->t, SPAN_LIT("b"), SPAN_LIT("1"));
    assert_null(kv_put_reserve(w, f->t, SPAN_LIT("c"), 1));
    assert_false(kv_delete(w, f->t, SPAN_LIT("a")));
    assert_int_equal(kv_commit(w), RM_EINVAL);
    put(f, "d", "1");
    struct span v;
    struct kv_txn *r = snapshot(f);
    assert_int_equal(kv_get(r, f->t, SPAN_LIT("a"), &v), RM_ENOTFOUND);
    assert_int_equal(kv_get(r, f->t, SPAN_LIT("d"), &v), RM_OK);
    kv_read_end(r);
}

static void test_snapshot_stands_still(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "1");
    struct kv_txn *r = snapshot(f);
    put(f, "a", "2");
    put(f, "a", "3");
    struct span v;
    assert_int_equal(kv_get(r, f->t, SPAN_LIT("a"), &v), RM_OK);
    assert_true(span_eq(v, SPAN_LIT("1")));
    struct kv_stat st;
    assert_int_equal(kv_stat(f->env, &st), RM_OK);
    assert_int_equal(st.readers, 1);
    assert_int_equal(st.oldest_reader_txns, 2);
    kv_read_end(r);
    r = snapshot(f);
    assert_int_equal(kv_get(r, f->t, SPAN_LIT("a"), &v), RM_OK);
    assert_true(span_eq(v, SPAN_LIT("3")));
    kv_read_end(r);
}

static void test_seeks(void **state)
{
    struct fixture *f = *state;
    struct kv_txn *w = begin(f);
    struct kv_cursor *c = kv_cursor_new(w, f->t);
    struct span k, v;
    assert_false(kv_cursor_seek(c, SPAN_LIT(""), &k, &v));
    assert_false(kv_cursor_seek_before(c, SPAN_LIT("x"), &k, &v));
    kv_put(w, f->t, SPAN_LIT("b"), SPAN_LIT("1"));
    kv_put(w, f->t, SPAN_LIT("d"), SPAN_LIT("2"));
    assert_true(kv_cursor_seek(c, SPAN_LIT("c"), &k, &v) && span_eq(k, SPAN_LIT("d")));
    assert_false(kv_cursor_next(c, &k, &v));
    assert_true(kv_cursor_seek_before(c, SPAN_LIT("d"), &k, &v) && span_eq(k, SPAN_LIT("b")));
    assert_true(kv_cursor_seek_before(c, SPAN_LIT("z"), &k, &v) && span_eq(k, SPAN_LIT("d")));
    assert_false(kv_cursor_seek_before(c, SPAN_LIT("b"), &k, &v));
    assert_true(kv_cursor_seek(c, SPAN_LIT(""), &k, &v) && span_eq(k, SPAN_LIT("b")));
    assert_false(kv_cursor_seek(c, SPAN_LIT("e"), &k, &v));
    kv_cursor_free(c);
    assert_int_equal(kv_commit(w), RM_OK);
}

/* Deletes while walking, over many pages and with large values, against an array of what is there. */
static void test_cursor_delete_against_model(void **state)
{
    enum { KEYS = 3000, ROUNDS = 30 };
    struct fixture *f = *state;
    static bool there[KEYS];
    static char value[9000];
    unsigned seed = 7;
    memset(there, 0, sizeof(there));
    for (int round = 0; round < ROUNDS; round++) {
        struct kv_txn *w = begin(f);
        char key[16];
        for (int i = 0; i < KEYS / 4; i++) {
            int n = rand_r(&seed) % KEYS;
            snprintf(key, sizeof(key), "key%08d", n);
            size_t len = rand_r(&seed) % 50 ? 100 : sizeof(value);
            kv_put(w, f->t, span_str(key), span_of(value, len));
            there[n] = true;
        }
        int every = 1 + rand_r(&seed) % 4, expected = -1;
        struct kv_cursor *c = kv_cursor_new(w, f->t);
        struct span k, v;
        for (bool more = kv_cursor_seek(c, SPAN_LIT("key"), &k, &v); more; more = kv_cursor_next(c, &k, &v)) {
            while (!there[++expected])
                ;
            snprintf(key, sizeof(key), "key%08d", expected);
            assert_true(span_eq(k, span_str(key)));
            if (rand_r(&seed) % every == 0) {
                kv_cursor_delete(c);
                there[expected] = false;
            }
        }
        while (++expected < KEYS)
            assert_false(there[expected]);
        kv_cursor_free(c);
        assert_int_equal(kv_commit(w), RM_OK);
    }
}

/* Puts until the map refuses; returns how many keys were committed. */
static int fill(struct fixture *f, size_t value_bytes, int per_commit)
{
    static char value[100000];
    for (int n = 0;; n += per_commit) {
        struct kv_txn *w = begin(f);
        for (int i = 0; i < per_commit; i++) {
            char key[16];
            snprintf(key, sizeof(key), "fill%08d", n + i);
            kv_put(w, f->t, span_str(key), span_of(value, value_bytes));
        }
        int rc = kv_commit(w);
        if (rc < 0) {
            assert_int_equal(rc, RM_EFULL);
            return n;
        }
        assert_true(n < 1000000);
    }
}

static void full_map_case(struct fixture *f, size_t value_bytes, int per_commit)
{
    reopen(f, 2 << 20);
    int kept = fill(f, value_bytes, per_commit);
    assert_true(kept > 0);
    struct span v;
    for (int i = 0; i < kept; i++) {
        char key[16];
        snprintf(key, sizeof(key), "fill%08d", i);
        struct kv_txn *r = snapshot(f);
        assert_int_equal(kv_get(r, f->t, span_str(key), &v), RM_OK);
        assert_int_equal(v.len, value_bytes);
        kv_read_end(r);
        struct kv_txn *w = begin(f);
        assert_true(kv_delete(w, f->t, span_str(key)));
        assert_int_equal(kv_commit(w), RM_OK);
    }
    /* And the space is usable again. */
    int again = fill(f, value_bytes, per_commit);
    assert_true(again >= kept / 2);
    struct kv_txn *w = begin(f);
    struct kv_cursor *c = kv_cursor_new(w, f->t);
    struct span k;
    for (bool more = kv_cursor_seek(c, SPAN_LIT(""), &k, &v); more; more = kv_cursor_next(c, &k, &v))
        kv_cursor_delete(c);
    kv_cursor_free(c);
    assert_int_equal(kv_commit(w), RM_OK);
}

static void test_full_map_small_values(void **state)
{
    full_map_case(*state, 300, 1);
}

static void test_full_map_batches(void **state)
{
    full_map_case(*state, 300, 50);
}

static void test_full_map_large_values(void **state)
{
    full_map_case(*state, 20000, 1);
}

static void test_full_map_large_batches(void **state)
{
    full_map_case(*state, 40000, 5);
}

static void test_locked(void **state)
{
    struct fixture *f = *state;
    struct kv_options o = {.dir = f->dir, .map_bytes = 1 << 20, .sync = true, .max_tables = 4};
    struct kv_env *second = (void *)f;
    const char *why = NULL;
    assert_int_equal(kv_open(&o, &second, &why), RM_ELOCKED);
    assert_null(second);
    assert_non_null(why);
    pid_t child = fork();
    if (child == 0)
        _exit(kv_open(&o, &second, &why) == RM_ELOCKED ? 0 : 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* A directory whose entry is not on the disk is gone after a power failure, with all that was synced in it.
 */
static void test_new_directories_are_synced(void **state)
{
    struct fixture *f = *state;
    char one[100], two[100], three[100];
    snprintf(one, sizeof(one), "%.63s/one", f->dir);
    snprintf(two, sizeof(two), "%.63s/one/two", f->dir);
    snprintf(three, sizeof(three), "%.63s/one/two/three", f->dir);
    fsynced.n = 0;
    struct kv_options o = {.dir = three, .map_bytes = 1 << 20, .sync = true, .max_tables = 4};
    struct kv_env *env;
    assert_int_equal(kv_open(&o, &env, NULL), RM_OK);
    kv_close(env);
    assert_true(was_fsynced(f->dir) && was_fsynced(one) && was_fsynced(two) && was_fsynced(three));
    fsynced.n = 0;
    assert_int_equal(kv_open(&o, &env, NULL), RM_OK);
    kv_close(env);
    assert_false(was_fsynced(two)); /* it was there */
}

static void test_not_an_environment(void **state)
{
    struct fixture *f = *state;
    kv_close(f->env);
    f->env = NULL;
    char path[96];
    snprintf(path, sizeof(path), "%s/data.mdb", f->dir);
    int fd = open(path, O_WRONLY);
    char junk[16384];
    memset(junk, 'x', sizeof(junk));
    assert_int_equal(pwrite(fd, junk, sizeof(junk), 0), sizeof(junk));
    close(fd);
    struct kv_options o = {.dir = f->dir, .map_bytes = 1 << 20, .sync = true, .max_tables = 4};
    const char *why = NULL;
    assert_int_equal(kv_open(&o, &f->env, &why), RM_ECORRUPT);
    assert_null(f->env);
    assert_non_null(why);
}

static void test_map_is_capped(void **state)
{
    struct fixture *f = *state;
    reopen(f, UINT64_C(1) << 46);
    struct kv_stat st;
    assert_int_equal(kv_stat(f->env, &st), RM_OK);
    assert_true(st.map_bytes < UINT64_C(1) << 46);
}

static void test_compact_copy(void **state)
{
    struct fixture *f = *state;
    fill(f, 90000, 10);
    struct kv_txn *w = begin(f);
    struct kv_cursor *c = kv_cursor_new(w, f->t);
    struct span k, v;
    for (bool more = kv_cursor_seek(c, SPAN_LIT(""), &k, &v); more; more = kv_cursor_next(c, &k, &v))
        kv_cursor_delete(c);
    kv_cursor_free(c);
    kv_put(w, f->t, SPAN_LIT("a"), SPAN_LIT("1"));
    assert_int_equal(kv_commit(w), RM_OK);
    struct kv_stat before, after;
    assert_int_equal(kv_stat(f->env, &before), RM_OK);
    assert_true(before.free_bytes > 32 << 20 && before.used_bytes < 1 << 20);
    char copy[80];
    snprintf(copy, sizeof(copy), "%s/new/copy", f->dir);
    assert_int_equal(kv_copy_compact(f->env, copy), RM_OK);
    struct kv_options o = {.dir = copy, .map_bytes = 64 << 20, .sync = true, .max_tables = 4};
    struct kv_env *env;
    assert_int_equal(kv_open(&o, &env, NULL), RM_OK);
    assert_int_equal(kv_stat(env, &after), RM_OK);
    assert_true(after.file_bytes < 1 << 20);
    kv_close(env);
}

static void *read_much(void *arg)
{
    struct fixture *f = arg;
    for (int i = 0; i < 500; i++) {
        struct kv_txn *r = snapshot(f);
        struct span a, b;
        assert_int_equal(kv_get(r, f->t, SPAN_LIT("a"), &a), RM_OK);
        assert_int_equal(kv_get(r, f->t, SPAN_LIT("b"), &b), RM_OK);
        assert_true(span_eq(a, b));
        kv_read_end(r);
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "0");
    put(f, "b", "0");
    pthread_t readers[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_much, f), 0);
    for (int i = 0; i < 50; i++) {
        char text[16];
        snprintf(text, sizeof(text), "%d", i);
        struct kv_txn *w = begin(f);
        kv_put(w, f->t, SPAN_LIT("a"), span_str(text));
        kv_put(w, f->t, SPAN_LIT("b"), span_str(text));
        assert_int_equal(kv_commit(w), RM_OK);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(readers[i], NULL);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_put_get_delete),
        CASE(test_abort_leaves_nothing),
        CASE(test_error_is_sticky),
        CASE(test_snapshot_stands_still),
        CASE(test_seeks),
        CASE(test_cursor_delete_against_model),
        CASE(test_full_map_small_values),
        CASE(test_full_map_batches),
        CASE(test_full_map_large_values),
        CASE(test_full_map_large_batches),
        CASE(test_locked),
        CASE(test_new_directories_are_synced),
        CASE(test_not_an_environment),
        CASE(test_map_is_capped),
        CASE(test_compact_copy),
        CASE(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
