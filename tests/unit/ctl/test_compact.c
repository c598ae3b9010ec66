/* compact and check on real files: the log keeps its contents and loses its free pages; a running relay's is
 * left alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/embedded/embedded.h"
#include "queue/partition.h"
#include "relay/ctl/ctl.h"

enum { RECORDS = 400, KEPT = 10, RECORD_BYTES = 20000 };

struct rig {
    char dir[64], config[96];
    struct log *log;
    struct log_client *client;
};

static void no_wake(void *arg)
{
    (void)arg;
}

static int no_relay(const char *path, const char *roles)
{
    (void)roles;
    (void)path;
    return CTL_FAILED;
}

static void log_open(struct rig *r)
{
    char dir[96];
    snprintf(dir, sizeof(dir), "%s/data/log", r->dir);
    struct log_options common = {.partitions = 1, .index = row_index_keys};
    struct embedded_options options = {.dir = dir, .map_bytes = 1 << 30, .sync = true};
    assert_int_equal(embedded_log_open(&options, &common, &r->log, NULL), RM_OK);
    r->client = log_client_new(r->log, no_wake, NULL);
}

static void log_shut(struct rig *r)
{
    log_client_flush(r->client);
    log_client_free(r->client);
    log_close(r->log);
}

static void file_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    char path[96], text[1024];
    snprintf(r->dir, sizeof(r->dir), "/tmp/remuda-compact-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    snprintf(path, sizeof(path), "%s/data", r->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(r->config, sizeof(r->config), "%s/remuda.yaml", r->dir);
    snprintf(text, sizeof(text),
             "node: { name: test, hostname: relay.test, data: %s/data }\n"
             "log: { partitions: 1, map: 1GiB }\n"
             "admin: { address: \"127.0.0.1:8025\" }\n"
             "listeners: [ { address: \"127.0.0.1:2525\", tls: none } ]\n"
             "sources: [ { name: s1, address: 127.0.0.1, ehlo: s1.relay.test } ]\n"
             "pools: [ { name: main, members: [ { source: s1 } ] } ]\n"
             "tenants: [ { name: t, networks: [127.0.0.0/8], domains: [\"*\"], pools: [main] } ]\n",
             r->dir);
    file_write(r->config, text);
    *state = r;
    return 0;
}

static void remove_tree(const char *path)
{
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        char below[512];
        snprintf(below, sizeof(below), "%s/%s", path, e->d_name);
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (unlink(below) != 0)
            remove_tree(below);
    }
    if (d)
        closedir(d);
    rmdir(path);
}

static int teardown(void **state)
{
    struct rig *r = *state;
    remove_tree(r->dir);
    free(r);
    return 0;
}

/* RECORDS large records, of which all but the last KEPT are deleted. */
static void log_fill(struct rig *r)
{
    char bytes[RECORD_BYTES];
    for (int i = 0; i < RECORDS; i++) {
        memset(bytes, 'a' + i % 26, sizeof(bytes));
        struct log_batch *b = log_batch_new(LOG_OWNER);
        log_batch_append(b, LOG_MAIL, 0, span_of(bytes, sizeof(bytes)), NULL, NULL);
        log_submit(r->client, b, NULL, NULL);
    }
    log_client_flush(r->client);
    struct log_reader *reader;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    uint64_t end = log_read_end_offset(reader, LOG_MAIL, 0);
    log_read_end(reader);
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_delete_below(b, LOG_MAIL, 0, end - KEPT);
    log_submit(r->client, b, NULL, NULL);
    log_client_flush(r->client);
    for (int i = 0; i < 500; i++) { /* the space is given back in pieces, soon after */
        struct log_figures f;
        log_figures(r->log, &f);
        if (f.used_bytes < (uint64_t)RECORDS * RECORD_BYTES / 4)
            return;
        usleep(10000);
    }
}

static int count_records(struct rig *r)
{
    struct log_reader *reader;
    struct span value;
    int n = 0;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    for (uint64_t at = 0; log_read_next(reader, LOG_MAIL, 0, &at, &value); at++, n++) {
        assert_int_equal(value.len, RECORD_BYTES);
        assert_int_equal(value.ptr[0], 'a' + (RECORDS - KEPT + n) % 26);
    }
    log_read_end(reader);
    return n;
}

static int run(struct rig *r, char *verb, char **err)
{
    char *argv[] = {"remuda", verb, "--config", r->config}, *out;
    size_t n;
    FILE *to = open_memstream(&out, &n), *trouble = open_memstream(err, &n);
    int rc = ctl_run(4, argv, no_relay, to, trouble);
    fclose(to);
    fclose(trouble);
    free(out);
    return rc;
}

static off_t log_size(struct rig *r)
{
    char path[128];
    struct stat st;
    snprintf(path, sizeof(path), "%s/data/log/data.mdb", r->dir);
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

static void space_is_given_back(void **state)
{
    struct rig *r = *state;
    char *err;
    log_open(r);
    log_fill(r);
    log_shut(r);
    off_t before = log_size(r);
    int rc = run(r, "compact", &err);
    assert_string_equal(err, "");
    assert_int_equal(rc, CTL_OK);
    free(err);
    assert_true(log_size(r) < before / 4);
    log_open(r);
    assert_int_equal(count_records(r), KEPT);
    log_shut(r);
}

static void a_running_relay_is_left_alone(void **state)
{
    struct rig *r = *state;
    char *err;
    log_open(r);
    log_fill(r);
    assert_int_equal(run(r, "compact", &err), CTL_FAILED);
    assert_non_null(strstr(err, "the relay is running"));
    free(err);
    assert_int_equal(count_records(r), KEPT);
    log_shut(r);
}

static void a_missing_log_is_told(void **state)
{
    struct rig *r = *state;
    char *err;
    assert_int_equal(run(r, "compact", &err), CTL_FAILED);
    assert_non_null(strstr(err, "there is no log"));
    free(err);
}

/* What a crash between the exchange and the removal leaves behind. */
static void leftovers_are_removed(void **state)
{
    struct rig *r = *state;
    char path[128], *err;
    log_open(r);
    log_fill(r);
    log_shut(r);
    snprintf(path, sizeof(path), "%s/data/log.compact", r->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    strcat(path, "/data.mdb");
    file_write(path, "half a copy");
    int rc = run(r, "compact", &err);
    assert_string_equal(err, "");
    assert_int_equal(rc, CTL_OK);
    free(err);
    assert_int_not_equal(access(path, F_OK), 0);
    log_open(r);
    assert_int_equal(count_records(r), KEPT);
    log_shut(r);
}

static void a_configuration_is_checked(void **state)
{
    struct rig *r = *state;
    char *err;
    int rc = run(r, "check", &err);
    assert_string_equal(err, "");
    assert_int_equal(rc, CTL_OK);
    free(err);
    file_write(r->config, "node: { name: test, colour: red }\n");
    assert_int_equal(run(r, "check", &err), CTL_CONFIG);
    assert_non_null(strstr(err, "remuda.yaml:1:"));
    assert_non_null(strstr(err, "colour"));
    free(err);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(space_is_given_back),   CASE(a_running_relay_is_left_alone), CASE(a_missing_log_is_told),
        CASE(leftovers_are_removed), CASE(a_configuration_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
