/*
 * What a new owner leaves out: mail below the position of the partition is fetched when it is asked for,
 * events before the place in it come afterwards, in order. Only where partitions move, so on Kafka alone. One
 * process fills the log and says the position; another one, whose copy is empty, becomes the owner.
 */
#include "tests/conformance/cases.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RECORDS = 600, BODY = 20000, POSITION = 590, DELETED = 20, EVENTS = 12000, PLACE = 11900 };

struct owner {
    struct rig rig; /* of a directory of its own, on the topics of the other one */
    int gained, fetched;
};

static uint64_t start_of(enum log_name name, struct span position)
{
    char text[24] = "";
    if (name == LOG_EVENTS)
        return PLACE;
    memcpy(text, position.ptr, position.len < sizeof(text) ? position.len : sizeof(text) - 1);
    return strtoull(text, NULL, 10);
}

static void fill(struct rig *r)
{
    char text[32];
    struct blob *body = blob_new(BODY);
    memset(body->data, 'x', BODY);
    body->len = BODY;
    for (int i = 0; i < RECORDS; i += 100) {
        struct log_batch *b = log_batch_new(LOG_OWNER);
        for (int n = 0; n < 100; n++) {
            snprintf(text, sizeof(text), "record %d ", i + n + 1);
            log_batch_append(b, LOG_MAIL, 0, span_str(text), body, NULL);
        }
        assert_int_equal(rig_commit(r, b), RM_OK);
    }
    blob_unref(body);
    snprintf(text, sizeof(text), "%d", POSITION);
    rig_put(r, LOG_STATE, 0, "position", text);
}

static void on_gained(void *arg, uint32_t partition, uint64_t epoch)
{
    struct owner *o = arg;
    (void)partition;
    (void)epoch;
    o->gained++;
}

static void on_fetched(void *arg, uint32_t partition)
{
    struct owner *o = arg;
    assert_int_equal(partition, 0);
    o->fetched++;
}

/* Topics are named after the last part of the directory: another copy of the same ones. */
static void use_topics(struct rig *r, const struct rig *filled, const char *name)
{
    char dir[100];
    snprintf(dir, sizeof(dir), "%.60s/%s", filled->dir, name);
    assert_int_equal(mkdir(dir, 0700), 0);
    snprintf(r->dir, sizeof(r->dir), "%s/%.50s", dir, strrchr(filled->dir, '/') + 1);
}

static void own(struct owner *o, struct rig *filled)
{
    struct log_ownership table = {.gained = on_gained, .fetched = on_fetched, .arg = o};
    o->rig.backend = filled->backend->owner;
    o->rig.options = filled->options;
    o->rig.options.start = start_of;
    use_topics(&o->rig, filled, "owner");
    rig_open(&o->rig);
    assert_int_equal(log_join(o->rig.log, &o->rig.client, &table, 1, "owner"), RM_OK);
    while (o->gained < RIG_PARTITIONS) {
        assert_true(waker_wait(&o->rig.waker));
        log_client_poll(o->rig.client);
    }
}

/* What reading says now; RM_OK only with the right text. */
static int read_one(struct owner *o, uint64_t offset)
{
    struct log_reader *r;
    struct span value;
    char text[16];
    assert_int_equal(log_read_begin(o->rig.log, &r), RM_OK);
    int err = log_read_at(r, LOG_MAIL, 0, offset, &value);
    if (err == RM_OK) {
        snprintf(text, sizeof(text), "record %d ", (int)offset);
        assert_int_equal(value.len, strlen(text) + BODY);
        assert_memory_equal(value.ptr, text, strlen(text));
    }
    log_read_end(r);
    return err;
}

/* Asks for all at once, and again when told that some were fetched. */
static void await(struct owner *o, const uint64_t *offsets, int n, int expected)
{
    for (int i = 0; i < n; i++)
        assert_int_equal(read_one(o, offsets[i]), RM_EAGAIN);
    for (int i = 0; i < n; i++) {
        while (read_one(o, offsets[i]) == RM_EAGAIN) {
            assert_true(waker_wait(&o->rig.waker));
            log_client_poll(o->rig.client);
        }
        assert_int_equal(read_one(o, offsets[i]), expected);
    }
}

/* In one session: 301 is read along, 570 lies in a gap that is passed over; then it begins again from below.
 */
static void fetch_here_and_there(struct owner *o)
{
    static const uint64_t spread[] = {580, 300, 302, 589}, behind[] = {100, 570};
    await(o, spread, 4, RM_OK);
    assert_true(o->fetched > 0);
    assert_int_equal(read_one(o, 301), RM_OK);
    await(o, behind, 2, RM_OK);
}

static void delete_and_see(struct rig *r, uint64_t line)
{
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_delete_below(b, LOG_MAIL, 0, line);
    assert_int_equal(rig_commit(r, b), RM_OK);
}

/* Waits until the brokers have deleted: a copy that is begun then has nothing below. */
static void await_deleted(struct rig *filled)
{
    uint64_t first = 0;
    for (int i = 0; first < DELETED; i++) {
        struct rig look = {.backend = filled->backend, .options = filled->options};
        char name[16];
        snprintf(name, sizeof(name), "look%d", i);
        assert_true(i < 30);
        use_topics(&look, filled, name);
        rig_open(&look);
        struct log_reader *r;
        struct span value;
        first = 0;
        assert_int_equal(log_read_begin(look.log, &r), RM_OK);
        assert_true(log_read_next(r, LOG_MAIL, 0, &first, &value));
        log_read_end(r);
        rig_close(&look);
    }
    assert_int_equal(first, DELETED);
}

void case_left_out_is_fetched(void **state)
{
    struct rig *filled = *state;
    struct owner o = {.gained = 0};
    static const uint64_t gone[] = {10};
    fill(filled);
    own(&o, filled);
    for (uint64_t offset = POSITION; offset <= RECORDS; offset++)
        assert_int_equal(read_one(&o, offset), RM_OK);
    fetch_here_and_there(&o);
    assert_int_equal(read_one(&o, RECORDS + 1), RM_ENOTFOUND);
    delete_and_see(filled, DELETED);
    await_deleted(filled);
    await(&o, gone, 1, RM_ENOTFOUND);
    log_leave(o.rig.log);
    rig_close(&o.rig);
}

static void append_events(struct rig *r)
{
    char text[16];
    for (int i = 0; i < EVENTS; i += 1000) {
        struct log_batch *b = log_batch_new(LOG_OWNER);
        for (int n = 0; n < 1000; n++) {
            snprintf(text, sizeof(text), "event %d", i + n + 1);
            log_batch_append(b, LOG_EVENTS, 0, span_str(text), NULL, NULL);
        }
        assert_int_equal(rig_commit(r, b), RM_OK);
    }
    snprintf(text, sizeof(text), "%d", POSITION);
    rig_put(r, LOG_STATE, 0, "position", text);
}

/* All that can be read from an offset on, without a hole; returns what would be next. */
static uint64_t read_on(struct log_reader *r, uint64_t from)
{
    struct span value;
    uint64_t at = from;
    while (log_read_next(r, LOG_EVENTS, 0, &at, &value) && at == from) {
        char text[16];
        snprintf(text, sizeof(text), "event %d", (int)at);
        assert_true(at > EVENTS || span_eq(value, span_str(text))); /* behind them: marks of claims */
        from = ++at;
    }
    return from;
}

/* True while some are missing; what is not can be read, and nothing above is taken for what is. */
static bool look_at_events(struct log *log)
{
    struct log_reader *r;
    uint64_t from = 0, to = 0;
    assert_int_equal(log_read_begin(log, &r), RM_OK);
    bool missing = log_read_missing(r, 0, &from, &to);
    if (missing) {
        assert_true(from >= 1 && from < to && to == PLACE);
        assert_int_equal(read_on(r, 1), from);
    }
    assert_true(read_on(r, missing ? PLACE : 1) > EVENTS);
    log_read_end(r);
    return missing;
}

void case_older_events_come_afterwards(void **state)
{
    struct rig *filled = *state;
    struct owner o = {.gained = 0};
    append_events(filled);
    own(&o, filled);
    for (int i = 0; look_at_events(o.rig.log); i++) {
        assert_true(i < 6000);
        (void)usleep(10000);
    }
    log_leave(o.rig.log);
    rig_close(&o.rig);
}
