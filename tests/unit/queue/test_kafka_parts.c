/*
 * Pieces of the Kafka backend against librdkafka's mock brokers, driven from here instead of by its thread:
 * topics of a wrong shape, brokers that go away, void values. (The whole of it is tried on a real broker:
 * tests/conformance, tests/e2e/test_kafka.py.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "queue/kafka/kafka_private.h"

#include <librdkafka/rdkafka_mock.h>

enum { PARTITIONS = 2, WAIT_US = 30000000, ACK_MS = 1500 };

struct rig {
    rd_kafka_t *brokers; /* and what others write */
    rd_kafka_mock_cluster_t *cluster;
    char dir[64], bootstraps[256];
    struct kafka *k;
    struct log_client *client;
    int status;
    bool done;
    struct log_batch *batch;
};

static rd_kafka_conf_t *plain_conf(void)
{
    rd_kafka_conf_t *c = rd_kafka_conf_new();
    char error[200];
    assert_int_equal(rd_kafka_conf_set(c, "log_level", "0", error, sizeof(error)), RD_KAFKA_CONF_OK);
    return c;
}

static void start_brokers(struct rig *r)
{
    char error[200];
    r->brokers = rd_kafka_new(RD_KAFKA_PRODUCER, plain_conf(), error, sizeof(error));
    assert_non_null(r->brokers);
    r->cluster = rd_kafka_mock_cluster_new(r->brokers, 1);
    assert_non_null(r->cluster);
    snprintf(r->bootstraps, sizeof(r->bootstraps), "%s", rd_kafka_mock_cluster_bootstraps(r->cluster));
    rd_kafka_brokers_add(r->brokers, r->bootstraps);
}

static void make_topics(struct rig *r, int partitions)
{
    for (int name = 0; name < LOG_NAMES; name++) {
        char topic[100];
        bool many = name == LOG_MAIL || name == LOG_EVENTS || name == LOG_BACKLOG || name == LOG_STATE;
        snprintf(topic, sizeof(topic), "x.%s", kafka_log_names[name]);
        assert_int_equal(rd_kafka_mock_topic_create(r->cluster, topic, many ? partitions : 1, 1), 0);
    }
}

static void open_producer(struct rig *r)
{
    char why[KAFKA_WHY_MOST];
    struct log_options common = {.partitions = PARTITIONS};
    struct kafka_options o = {
        .dir = r->dir, .brokers = r->bootstraps, .prefix = "x", .map_bytes = 1 << 26, .ack_ms = ACK_MS};
    r->k = kafka_new(&o, &common);
    assert_int_equal(kafka_produce_open(r->k, why), RM_OK);
    r->k->admin_queue = rd_kafka_queue_new(r->k->producer);
}

static void open_all(struct rig *r)
{
    char why[KAFKA_WHY_MOST];
    const char *reason;
    open_producer(r);
    assert_int_equal(store_open(&r->k->store, &reason), RM_OK);
    assert_int_equal(kafka_consume_open(r->k, why), RM_OK);
    r->client = log_client_new(&r->k->store.log, NULL, NULL);
}

static void close_all(struct rig *r)
{
    if (r->client)
        log_client_free(r->client);
    r->client = NULL;
    kafka_free(r->k);
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    snprintf(r->dir, sizeof(r->dir), "/tmp/remuda-kafka-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    static const char *const files[] = {"data.mdb", "lock.mdb", "lock"};
    rd_kafka_mock_cluster_destroy(r->cluster);
    rd_kafka_destroy(r->brokers);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", r->dir, files[i]);
        unlink(path);
    }
    rmdir(r->dir);
    free(r);
    return 0;
}

static void turn(struct rig *r)
{
    (void)kafka_produce_take(r->k);
    kafka_produce_poll(r->k);
    (void)kafka_consume_poll(r->k);
    rd_kafka_poll(r->k->reader, 1);
    if (r->client)
        log_client_poll(r->client);
}

/* ---- shapes ---- */

static void the_topics_say_how_many_partitions_there_are(void **state)
{
    struct rig *r = *state;
    start_brokers(r);
    make_topics(r, 3);
    char why[KAFKA_WHY_MOST] = "";
    open_producer(r);
    assert_int_equal(log_partitions(&r->k->store.log), PARTITIONS);
    assert_int_not_equal(kafka_topics_ensure(r->k, why), RM_OK); /* mock brokers tell nothing of settings */
    assert_int_equal(log_partitions(&r->k->store.log), 3);
    kafka_free(r->k);
}

/* ---- brokers that go away ---- */

static void on_done(void *arg, struct log_batch *b, int status)
{
    struct rig *r = arg;
    r->status = status;
    r->done = true;
    if (status == RM_OK)
        return;
    log_batch_keep(b);
    r->batch = b;
}

static void await(struct rig *r)
{
    uint64_t until = clock_boot_us() + WAIT_US;
    while (!r->done && clock_boot_us() < until)
        turn(r);
    assert_true(r->done);
    r->done = false;
}

static void a_batch_is_answered_without_brokers(void **state)
{
    struct rig *r = *state;
    start_brokers(r);
    make_topics(r, PARTITIONS);
    open_all(r);
    struct log_batch *b = log_batch_new(LOG_INTAKE);
    log_batch_append(b, LOG_MAIL, 1, SPAN_LIT("first"), NULL, NULL);
    log_submit(r->client, b, on_done, r);
    await(r);
    assert_int_equal(r->status, RM_OK);
    rd_kafka_mock_broker_set_down(r->cluster, 1);
    b = log_batch_new(LOG_INTAKE);
    log_batch_append(b, LOG_MAIL, 1, SPAN_LIT("second"), NULL, NULL);
    uint64_t began = clock_boot_us();
    log_submit(r->client, b, on_done, r);
    await(r);
    assert_int_equal(r->status, RM_ETIMEDOUT);
    assert_true(clock_boot_us() - began >= ACK_MS * 900);
    rd_kafka_mock_broker_set_up(r->cluster, 1);
    log_submit(r->client, r->batch, on_done, r);
    await(r);
    assert_int_equal(r->status, RM_OK);
    close_all(r);
}

/* ---- groups of mail ---- */

enum { MAIL_MOST = 8, LARGE = 400 * 1024 };

/* What became of batches with one record each, in the order of their ends. */
struct ends {
    int n, status[MAIL_MOST];
    uint64_t offset[MAIL_MOST];
};

static void on_end(void *arg, struct log_batch *b, int status)
{
    struct ends *e = arg;
    e->offset[e->n] = status == RM_OK ? log_batch_offset(b, 0) : 0;
    e->status[e->n++] = status;
}

static void submit_mail(struct rig *r, struct ends *e, uint32_t partition, size_t bytes)
{
    struct blob *body = blob_new(bytes);
    struct log_batch *b = log_batch_new(LOG_INTAKE);
    memset(body->data, 'x', bytes);
    body->len = bytes;
    log_batch_append(b, LOG_MAIL, partition, SPAN_LIT("head"), body, NULL);
    blob_unref(body);
    log_submit(r->client, b, on_end, e);
    (void)kafka_produce_take(r->k); /* serves no reports */
}

static void await_ends(struct rig *r, const struct ends *e, int n)
{
    uint64_t until = clock_boot_us() + WAIT_US;
    while (e->n < n && clock_boot_us() < until) {
        kafka_outbox_push(r->k);
        kafka_produce_poll(r->k);
        log_client_poll(r->client);
    }
    assert_true(e->n >= n);
}

static void mail_waits_for_the_group_before_it(void **state)
{
    struct rig *r = *state;
    struct ends ends = {0}, other = {0};
    start_brokers(r);
    make_topics(r, PARTITIONS);
    open_all(r);
    const struct kafka_part *p = &r->k->parts[0];
    submit_mail(r, &ends, 0, 10);
    for (int i = 0; i < 3; i++)
        submit_mail(r, &ends, 0, LARGE);
    assert_int_equal(p->mail_unacked, 1);
    submit_mail(r, &other, 1, 10);
    assert_int_equal(r->k->parts[1].mail_unacked, 1);
    await_ends(r, &ends, 1);
    assert_int_equal(p->mail_unacked, 2); /* a third would not fit in one request */
    await_ends(r, &ends, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(ends.status[i], RM_OK);
        assert_int_equal(ends.offset[i], i + 1);
    }
    assert_int_equal(p->mail_unacked, 0);
    assert_true(list_empty(&r->k->outboxes));
    await_ends(r, &other, 1);
    close_all(r);
}

static void mail_behind_a_group_without_answer_fails_with_it(void **state)
{
    struct rig *r = *state;
    struct ends ends = {0};
    start_brokers(r);
    make_topics(r, PARTITIONS);
    open_all(r);
    submit_mail(r, &ends, 0, 10);
    await_ends(r, &ends, 1);
    rd_kafka_mock_broker_set_down(r->cluster, 1);
    for (int i = 0; i < 4; i++)
        submit_mail(r, &ends, 0, 10);
    await_ends(r, &ends, 2);
    assert_int_equal(ends.n, 5);
    for (int i = 1; i < 5; i++)
        assert_int_equal(ends.status[i], RM_ETIMEDOUT);
    assert_true(list_empty(&r->k->outboxes));
    rd_kafka_mock_broker_set_up(r->cluster, 1);
    submit_mail(r, &ends, 0, 10);
    await_ends(r, &ends, 6);
    assert_int_equal(ends.status[5], RM_OK);
    close_all(r);
}

static void a_stop_gives_up_what_has_no_answer(void **state)
{
    struct rig *r = *state;
    struct ends ends = {0};
    const uint64_t stall = LOG_STALL_MS * 1000;
    start_brokers(r);
    make_topics(r, PARTITIONS);
    open_all(r);
    submit_mail(r, &ends, 0, 10);
    await_ends(r, &ends, 1);
    rd_kafka_mock_broker_set_down(r->cluster, 1);
    uint64_t before = clock_boot_us();
    submit_mail(r, &ends, 0, 10);
    submit_mail(r, &ends, 0, 10); /* behind it */
    uint64_t after = clock_boot_us();
    kafka_stop_poll(r->k, after + stall + 1);
    assert_false(log_gave_up(&r->k->store.log)); /* no stop is ordered */
    log_stop_by(&r->k->store.log, after + 2 * stall);
    kafka_stop_poll(r->k, after + stall + 1);
    assert_false(log_gave_up(&r->k->store.log)); /* there is time left */
    log_stop_by(&r->k->store.log, before);
    kafka_stop_poll(r->k, before + stall);
    assert_false(log_gave_up(&r->k->store.log)); /* it may yet be answered */
    kafka_stop_poll(r->k, after + stall + 1);
    assert_true(log_gave_up(&r->k->store.log));
    await_ends(r, &ends, 3);
    submit_mail(r, &ends, 1, 10);
    log_client_poll(r->client);
    assert_int_equal(ends.n, 4); /* at once */
    for (int i = 1; i < 4; i++)
        assert_int_not_equal(ends.status[i], RM_OK);
    close_all(r);
}

/* ---- void values ---- */

/* What somebody writes to backlog[0]; value NULL: a tombstone. */
static void write_as(struct rig *r, const char *header, uint64_t epoch, const char *key, const char *value)
{
    char bytes[8];
    rd_kafka_headers_t *h = rd_kafka_headers_new(1);
    key_put_u64(bytes, epoch);
    assert_int_equal(rd_kafka_header_add(h, header, -1, bytes, 8), 0);
    assert_int_equal(rd_kafka_producev(r->brokers, RD_KAFKA_V_TOPIC("x.backlog"), RD_KAFKA_V_PARTITION(0),
                                       RD_KAFKA_V_KEY(key, strlen(key)),
                                       RD_KAFKA_V_VALUE((char *)(uintptr_t)value, value ? strlen(value) : 0),
                                       RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_HEADERS(h),
                                       RD_KAFKA_V_END),
                     0);
    assert_int_equal(rd_kafka_flush(r->brokers, 20000), 0);
}

static void read_to(struct rig *r, uint64_t offset)
{
    uint64_t until = clock_boot_us() + WAIT_US;
    while (kafka_stream(r->k, LOG_BACKLOG, 0)->durable.next < offset && clock_boot_us() < until)
        turn(r);
    assert_int_equal(kafka_stream(r->k, LOG_BACKLOG, 0)->durable.next, offset);
}

static void restart(struct rig *r)
{
    close_all(r);
    open_all(r);
    assert_int_equal(kafka_follow_start(r->k, LOG_BACKLOG, 0), RM_OK);
}

static void copy_has(struct rig *r, const char *key, const char *value)
{
    struct log_reader *reader;
    struct span found;
    assert_int_equal(log_read_begin(&r->k->store.log, &reader), RM_OK);
    int rc = log_read_key(reader, LOG_BACKLOG, 0, span_str(key), &found);
    assert_int_equal(rc, value ? RM_OK : RM_ENOTFOUND);
    if (value)
        assert_true(span_eq(found, span_str(value)));
    log_read_end(reader);
}

static bool shows_lone(struct rig *r, const char *key)
{
    char name[64];
    struct log_reader *reader;
    struct span found;
    snprintf(name, sizeof(name), "%s%s", LOG_VOID_ROW, key);
    assert_int_equal(log_read_begin(&r->k->store.log, &reader), RM_OK);
    int rc = log_read_key(reader, LOG_STATE, 0, span_str(name), &found);
    if (rc == RM_OK)
        assert_true(
            span_eq(span_of(found.ptr + LOG_VOID_ROW_HEAD, found.len - LOG_VOID_ROW_HEAD), SPAN_LIT("void")));
    log_read_end(reader);
    return rc == RM_OK;
}

/* A valid value, a tombstone, and behind the claim of 9 what the owner of 5 still writes over both. */
static void write_voids(struct rig *r)
{
    write_as(r, "c", 5, "claim:5", "a");
    write_as(r, "e", 5, "row", "valid");
    write_as(r, "e", 5, "gone", "valid");
    write_as(r, "e", 5, "gone", NULL);
    write_as(r, "c", 9, "claim:9", "b");
    write_as(r, "e", 5, "row", "void");
    write_as(r, "e", 5, "gone", "void");
}

static void void_values_are_written_over_also_after_a_restart(void **state)
{
    struct rig *r = *state;
    start_brokers(r);
    make_topics(r, PARTITIONS);
    write_voids(r);
    open_all(r);
    assert_int_equal(kafka_follow_start(r->k, LOG_BACKLOG, 0), RM_OK);
    read_to(r, 8);
    copy_has(r, "row", "valid");
    copy_has(r, "gone", NULL);
    assert_false(shows_lone(r, "row"));
    restart(r); /* before anybody has written over them */
    assert_int_equal(r->k->parts[0].void_notes, 2);
    r->k->parts[0].epoch = 12;
    kafka_voids_repair(r->k, 0);
    assert_int_equal(r->k->parts[0].voids.len, 0);
    assert_true(shows_lone(r, "gone"));
    write_as(r, "e", 12, "gone", NULL); /* as the owner does for what has had its end */
    read_to(r, 10);
    copy_has(r, "row", "valid");
    copy_has(r, "gone", NULL);
    restart(r);
    assert_int_equal(r->k->parts[0].void_notes, 0);
    assert_int_equal(r->k->parts[0].voids.len, 0);
    close_all(r);
}

/* What is left of a row is a void value: it is shown, and left to who owns the partition, until it is put or
 * erased. */
static void lone_void_rows_are_left_to_the_owner(void **state)
{
    struct rig *r = *state;
    start_brokers(r);
    make_topics(r, PARTITIONS);
    write_as(r, "c", 9, "claim:9", "b");
    write_as(r, "e", 5, "row", "void");
    open_all(r);
    assert_int_equal(kafka_follow_start(r->k, LOG_BACKLOG, 0), RM_OK);
    read_to(r, 3);
    restart(r);
    assert_true(shows_lone(r, "row"));
    copy_has(r, "row", NULL);
    r->k->parts[0].epoch = 12;
    kafka_voids_repair(r->k, 0);
    write_as(r, "e", 12, "row", "decided");
    read_to(r, 4); /* nothing but that was written */
    copy_has(r, "row", "decided");
    assert_false(shows_lone(r, "row"));
    restart(r);
    assert_int_equal(r->k->parts[0].void_notes, 0);
    close_all(r);
}

/* The owner's own newer value is on its way: what the copy says must not be written behind it. */
static void a_write_under_way_is_not_written_over(void **state)
{
    struct rig *r = *state;
    start_brokers(r);
    make_topics(r, PARTITIONS);
    write_voids(r);
    open_all(r);
    assert_int_equal(kafka_follow_start(r->k, LOG_BACKLOG, 0), RM_OK);
    read_to(r, 8);
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_put(b, LOG_BACKLOG, 0, SPAN_LIT("row"), SPAN_LIT("newer"));
    log_submit(r->client, b, on_done, r);
    (void)kafka_produce_take(r->k);
    assert_true(kafka_produce_has(r->k, LOG_BACKLOG, 0, SPAN_LIT("row")));
    assert_false(kafka_produce_has(r->k, LOG_BACKLOG, 0, SPAN_LIT("gone")));
    assert_false(kafka_produce_has(r->k, LOG_BACKLOG, 1, SPAN_LIT("row")));
    r->k->parts[0].epoch = 12;
    kafka_voids_repair(r->k, 0);
    await(r);
    read_to(r, 9); /* the value and nothing else */
    copy_has(r, "row", "newer");
    copy_has(r, "gone", NULL);
    assert_false(kafka_produce_has(r->k, LOG_BACKLOG, 0, SPAN_LIT("row")));
    close_all(r);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_topics_say_how_many_partitions_there_are),
        TEST(a_batch_is_answered_without_brokers),
        TEST(mail_waits_for_the_group_before_it),
        TEST(mail_behind_a_group_without_answer_fails_with_it),
        TEST(a_stop_gives_up_what_has_no_answer),
        TEST(void_values_are_written_over_also_after_a_restart),
        TEST(lone_void_rows_are_left_to_the_owner),
        TEST(a_write_under_way_is_not_written_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
