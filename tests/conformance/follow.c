/* Conformance: followers are told everything, once, in order, whoever appends meanwhile. */
#include <stdlib.h>

#include "tests/conformance/cases.h"

struct follow_note {
    uint64_t first, next; /* offsets told without a gap: [first, next) */
    int told, hinted, disorder;
};

static void on_told(void *arg, uint32_t partition, uint64_t offset, struct message *hint)
{
    struct follow_note *n = arg;
    (void)partition;
    if (n->told == 0)
        n->first = n->next = offset;
    n->disorder += offset != n->next;
    n->next = offset + 1;
    n->told++;
    n->hinted += hint != NULL;
    message_unref(hint);
}

static void append_many(struct rig *r, uint32_t partition, int n, struct message *hint)
{
    struct log_batch *b = log_batch_new(LOG_OWNER);
    for (int i = 0; i < n; i++)
        log_batch_append(b, LOG_MAIL, partition, SPAN_LIT("x"), NULL, hint);
    assert_int_equal(rig_commit(r, b), RM_OK);
}

static void await_told(struct rig *r, const struct follow_note *n, int told)
{
    while (n->told < told) {
        assert_true(waker_wait(&r->waker));
        log_client_poll(r->client);
    }
}

void case_follow_from_the_middle(void **state)
{
    struct rig *r = *state;
    uint64_t first = rig_append(r, LOG_MAIL, 1, "a");
    append_many(r, 1, 4, NULL);
    append_many(r, 2, 4, NULL);
    struct follow_note n = {.told = 0};
    log_follow(r->client, 1, first + 2, on_told, &n);
    await_told(r, &n, 3);
    assert_int_equal(n.first, first + 2);
    assert_int_equal(n.disorder, 0);
    log_client_poll(r->client);
    log_client_poll(r->client);
    struct message *hint = message_new();
    append_many(r, 1, 10, hint);
    await_told(r, &n, 13);
    assert_int_equal(n.hinted, 10);
    assert_int_equal(n.disorder, 0);
    log_unfollow(r->client, 1);
    append_many(r, 1, 10, hint);
    log_client_poll(r->client);
    assert_int_equal(n.told, 13);
    message_unref(hint);
}

void case_follow_from_beyond_the_end(void **state)
{
    struct rig *r = *state;
    uint64_t first = rig_append(r, LOG_MAIL, 0, "a");
    struct follow_note n = {.told = 0};
    log_follow(r->client, 0, first + 3, on_told, &n);
    append_many(r, 0, 5, NULL);
    await_told(r, &n, 3);
    assert_int_equal(n.first, first + 3);
    assert_int_equal(n.disorder, 0);
}

/* What waits is handed out in pieces, so that a loop turn stays short. */
void case_follow_in_pieces(void **state)
{
    struct rig *r = *state;
    enum { RECORDS = 20000, PIECE_MOST = 2000 };
    append_many(r, 0, RECORDS, NULL);
    struct follow_note n = {.told = 0};
    log_follow(r->client, 0, 0, on_told, &n);
    int most = 0;
    while (n.told < RECORDS) {
        int before = n.told;
        assert_true(waker_wait(&r->waker));
        log_client_poll(r->client);
        most = n.told - before > most ? n.told - before : most;
    }
    assert_true(most <= PIECE_MOST);
    assert_int_equal(n.disorder, 0);
}

/* A follower that never polls while much arrives is told all of it all the same. */
void case_slow_follower(void **state)
{
    struct rig *r = *state;
    enum { RECORDS = 150000, BATCH = 1000 };
    struct follow_note n = {.told = 0};
    log_follow(r->client, 0, 0, on_told, &n);
    for (int i = 0; i < 4; i++)
        log_client_poll(r->client);
    struct waker waker;
    waker_init(&waker);
    struct log_client *other = log_client_new(r->log, waker_wake, &waker);
    struct message *hint = message_new();
    hint->body = blob_new(4096);
    hint->body->len = 4096;
    for (int i = 0; i < RECORDS / BATCH; i++) {
        struct log_batch *b = log_batch_new(LOG_OWNER);
        for (int k = 0; k < BATCH; k++)
            log_batch_append(b, LOG_MAIL, 0, SPAN_LIT("x"), NULL, hint);
        log_submit(other, b, NULL, NULL);
    }
    log_client_flush(other);
    message_unref(hint);
    await_told(r, &n, RECORDS);
    assert_int_equal(n.told, RECORDS);
    assert_int_equal(n.disorder, 0);
    assert_true(n.hinted > 0 && n.hinted < RECORDS);
    append_many(r, 0, 1, NULL);
    await_told(r, &n, RECORDS + 1);
    log_client_free(other);
}

/* ---- with concurrent appends ------------------------------------------------------------------------- */

enum { APPENDERS = 3, EACH = 2000 };

struct appender {
    struct rig *rig;
    pthread_t thread;
    uint64_t last;
    int done, failed, disorder;
};

static void on_appended(void *arg, struct log_batch *b, int status)
{
    struct appender *a = arg;
    a->done++;
    a->failed += status != RM_OK;
    if (status != RM_OK)
        return;
    a->disorder += log_batch_offset(b, 0) <= a->last;
    a->last = log_batch_offset(b, 0);
}

static void *append_loop(void *arg)
{
    struct appender *a = arg;
    struct waker waker;
    waker_init(&waker);
    struct log_client *c = log_client_new(a->rig->log, waker_wake, &waker);
    for (int i = 0; i < EACH; i++) {
        struct log_batch *b = log_batch_new(LOG_INTAKE);
        struct message *hint = message_new();
        log_batch_append(b, LOG_MAIL, 0, SPAN_LIT("x"), NULL, hint);
        message_unref(hint);
        log_submit(c, b, on_appended, a);
        if (i % 50 == 49)
            log_client_flush(c);
    }
    log_client_flush(c);
    log_client_free(c);
    return NULL;
}

static void start_appenders(struct rig *r, struct appender appenders[APPENDERS])
{
    for (int i = 0; i < APPENDERS; i++) {
        appenders[i] = (struct appender){.rig = r};
        assert_int_equal(pthread_create(&appenders[i].thread, NULL, append_loop, &appenders[i]), 0);
    }
}

static void join_appenders(struct appender appenders[APPENDERS])
{
    for (int i = 0; i < APPENDERS; i++) {
        pthread_join(appenders[i].thread, NULL);
        assert_int_equal(appenders[i].done, EACH);
        assert_int_equal(appenders[i].failed, 0);
        assert_int_equal(appenders[i].disorder, 0);
    }
}

void case_follow_beside_appenders(void **state)
{
    struct rig *r = *state;
    append_many(r, 0, 3000, NULL);
    struct appender appenders[APPENDERS];
    start_appenders(r, appenders);
    struct follow_note n = {.told = 0};
    log_follow(r->client, 0, 0, on_told, &n);
    await_told(r, &n, 3000 + APPENDERS * EACH);
    join_appenders(appenders);
    log_client_poll(r->client);
    assert_int_equal(n.told, 3000 + APPENDERS * EACH);
    assert_int_equal(n.disorder, 0);
}

/* Follows anew after every few appends: the change from reading to being told loses and doubles nothing. */
void case_follow_again_and_again(void **state)
{
    struct rig *r = *state;
    uint64_t first = rig_append(r, LOG_MAIL, 0, "x");
    struct appender appenders[APPENDERS];
    start_appenders(r, appenders);
    struct follow_note n = {.first = first, .next = first};
    while (n.told < 1 + APPENDERS * EACH) {
        int before = n.told;
        log_follow(r->client, 0, n.next, on_told, &n);
        await_told(r, &n, before + 1);
        for (int i = 0; i < 3; i++)
            log_client_poll(r->client);
        log_unfollow(r->client, 0);
    }
    join_appenders(appenders);
    assert_int_equal(n.told, 1 + APPENDERS * EACH);
    assert_int_equal(n.disorder, 0);
}

struct appending_note {
    struct follow_note note;
    struct log_client *other;
    int appended;
};

static void on_told_append(void *arg, uint32_t partition, uint64_t offset, struct message *hint)
{
    struct appending_note *a = arg;
    on_told(&a->note, partition, offset, hint);
    if (a->appended == 20)
        return;
    a->appended++;
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_append(b, LOG_MAIL, 0, SPAN_LIT("x"), NULL, NULL);
    log_submit(a->other, b, NULL, NULL);
    log_client_flush(a->other);
}

/* What becomes durable between the end of reading and the first push is neither lost nor told twice. */
void case_append_while_told(void **state)
{
    struct rig *r = *state;
    rig_append(r, LOG_MAIL, 0, "x");
    struct waker waker;
    waker_init(&waker);
    struct appending_note a = {.other = log_client_new(r->log, waker_wake, &waker)};
    log_follow(r->client, 0, 0, on_told_append, &a);
    await_told(r, &a.note, 21);
    log_client_poll(r->client);
    assert_int_equal(a.note.told, 21);
    assert_int_equal(a.note.disorder, 0);
    log_client_free(a.other);
}
