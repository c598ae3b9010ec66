/* The history index over a log in memory: trace, search, starting over, forgetting. */
#include "tests/unit/api/event_log.h"

#include "queue/log_private.h"
#include "relay/api/history_private.h"

enum { HOUR = 3600 * 1000, DAY = 24 * HOUR };

static struct history *open_history(struct event_log *l)
{
    struct history_options o = {.dir = l->dir,
                                .log = l->log,
                                .history_ms = 7ull * DAY,
                                .lifetime_ms = 3ull * DAY,
                                .map_bytes = 1 << 28};
    struct history *h;
    assert_int_equal(history_new(&o, &h), RM_OK);
    assert_true(history_catch_up(h, 5000));
    return h;
}

static int setup(void **state)
{
    struct event_log *l = calloc(1, sizeof(*l));
    event_log_open(l);
    *state = l;
    return 0;
}

static int teardown(void **state)
{
    event_log_close(*state);
    free(*state);
    return 0;
}

static void trace_tells_a_life_in_order(void **state)
{
    struct event_log *l = *state;
    uint64_t now = clock_wall_ms();
    struct msgid id = msgid_make(now), other = msgid_make(now), bounce = msgid_make(now + 5);
    event_log_tell(
        l, 1,
        &(struct told){
            .id = bounce, .type = REMUDA__EVENT_TYPE__EVENT_DELIVERED, .time_ms = now + 9, .related = &id});
    event_log_tell(l, 0,
                   &(struct told){.id = id, .type = REMUDA__EVENT_TYPE__EVENT_DEFERRED, .time_ms = now + 1});
    event_log_tell(
        l, 0, &(struct told){.id = other, .type = REMUDA__EVENT_TYPE__EVENT_DELIVERED, .time_ms = now + 2});
    event_log_tell(
        l, 0,
        &(struct told){
            .id = id, .type = REMUDA__EVENT_TYPE__EVENT_BOUNCED, .time_ms = now + 5, .related = &bounce});
    struct history *h = open_history(l);
    struct history_events e;
    history_events_init(&e);
    assert_int_equal(history_trace(h, &id, &e), RM_OK);
    assert_int_equal(e.n, 3);
    assert_int_equal(e.list[0].event->type, REMUDA__EVENT_TYPE__EVENT_DEFERRED);
    assert_int_equal(e.list[1].event->type, REMUDA__EVENT_TYPE__EVENT_BOUNCED);
    assert_int_equal(e.list[2].event->type, REMUDA__EVENT_TYPE__EVENT_DELIVERED);
    assert_memory_equal(e.list[2].event->message_id.data, bounce.bytes, MSGID_BYTES);
    history_events_fini(&e);
    struct msgid unknown = msgid_make(now);
    history_events_init(&e);
    assert_int_equal(history_trace(h, &unknown, &e), RM_ENOTFOUND);
    history_events_fini(&e);
    history_free(h);
}

/* A batch is what one flush had to tell: each event of it is found by its own place. */
static void events_of_one_batch_are_told_apart(void **state)
{
    struct event_log *l = *state;
    enum { N = 300 };
    Remuda__Event events[N], *list[N];
    struct msgid ids[N];
    char domains[N][32];
    for (int i = 0; i < N; i++) {
        ids[i] = msgid_make(clock_wall_ms());
        remuda__event__init(&events[i]);
        snprintf(domains[i], sizeof(domains[i]), "d%d.example", i);
        events[i].message_id = (ProtobufCBinaryData){MSGID_BYTES, ids[i].bytes};
        events[i].domain = domains[i];
        list[i] = &events[i];
    }
    event_log_append(l, 0, list, N);
    struct history *h = open_history(l);
    for (int i = 0; i < N; i++) {
        struct history_events e;
        history_events_init(&e);
        assert_int_equal(history_trace(h, &ids[i], &e), RM_OK);
        assert_int_equal(e.n, 1);
        assert_int_equal(e.list[0].index, i);
        assert_string_equal(e.list[0].event->domain, domains[i]);
        history_events_fini(&e);
    }
    history_free(h);
}

static size_t count(struct history *h, struct history_query q)
{
    struct history_ids ids;
    q.limit = q.limit > 0 ? q.limit : 100;
    assert_int_equal(history_search(h, &q, &ids), RM_OK);
    size_t n = ids.n;
    for (size_t i = 1; i < n; i++)
        assert_true(memcmp(ids.ids[i - 1].bytes, ids.ids[i].bytes, MSGID_BYTES) > 0);
    history_ids_fini(&ids);
    return n;
}

static void search_finds_by_what_is_indexed(void **state)
{
    struct event_log *l = *state;
    uint64_t now = clock_wall_ms();
    for (uint64_t i = 0; i < 40; i++) {
        struct told t = {.id = msgid_make(now - i * 5 * HOUR), .time_ms = now};
        t.recipient = i % 4 == 0 ? "Dave@Example.org" : "erin@example.org";
        t.tenant = i % 2 == 0 ? "acme" : "zeta";
        t.sender = i % 10 == 0 ? "" : "bob@acme.example";
        event_log_tell(l, (uint32_t)i % 2, &t);
        event_log_tell(l, (uint32_t)i % 2, &t); /* a retry: the message is found once */
    }
    struct history *h = open_history(l);
    assert_int_equal(count(h, (struct history_query){0}), 40);
    assert_int_equal(count(h, (struct history_query){.recipient = SPAN_LIT("dave@example.org")}), 10);
    assert_int_equal(count(h, (struct history_query){.recipient = SPAN_LIT("ERIN@example.org")}), 30);
    assert_int_equal(count(h, (struct history_query){.recipient = SPAN_LIT("nobody@example.org")}), 0);
    assert_int_equal(count(h, (struct history_query){.tenant = SPAN_LIT("zeta")}), 20);
    assert_int_equal(count(h, (struct history_query){.sender = SPAN_LIT("bob@acme.example")}), 36);
    assert_int_equal(count(h, (struct history_query){.recipient = SPAN_LIT("dave@example.org"),
                                                     .tenant = SPAN_LIT("zeta")}),
                     0);
    assert_int_equal(count(h, (struct history_query){.since_ms = now - 21 * HOUR}), 5);
    assert_int_equal(count(h, (struct history_query){.until_ms = now - 21 * HOUR}), 35);
    assert_int_equal(count(h, (struct history_query){.recipient = SPAN_LIT("dave@example.org"),
                                                     .since_ms = now - 41 * HOUR,
                                                     .until_ms = now - HOUR}),
                     2);
    history_free(h);
}

static void search_goes_on_where_it_ended(void **state)
{
    struct event_log *l = *state;
    uint64_t now = clock_wall_ms();
    for (uint64_t i = 0; i < 600; i++)
        event_log_tell(l, 0, &(struct told){.id = msgid_make(now - i * 600000), .time_ms = now});
    struct history *h = open_history(l);
    struct msgid before;
    struct history_query q = {.recipient = SPAN_LIT("carol@gmail.com"), .limit = 70};
    size_t all = 0;
    bool more = true;
    while (more) {
        struct history_ids ids;
        assert_int_equal(history_search(h, &q, &ids), RM_OK);
        all += ids.n;
        before = ids.last;
        q.before = &before;
        more = ids.more;
        history_ids_fini(&ids);
    }
    assert_int_equal(all, 600);
    history_free(h);
}

static void a_closed_index_goes_on(void **state)
{
    struct event_log *l = *state;
    uint64_t now = clock_wall_ms();
    event_log_tell(l, 0, &(struct told){.id = msgid_make(now), .time_ms = now});
    struct history *h = open_history(l);
    assert_int_equal(history_rebuilds(h), 1); /* it was not there */
    history_free(h);
    event_log_tell(l, 0, &(struct told){.id = msgid_make(now), .time_ms = now});
    h = open_history(l);
    assert_int_equal(history_rebuilds(h), 0);
    assert_int_equal(count(h, (struct history_query){0}), 2);
    assert_int_equal(history_lag(h), 0);
    history_free(h);
}

static size_t traced(struct history *h, const struct msgid *id)
{
    struct history_events e;
    history_events_init(&e);
    assert_int_equal(history_trace(h, id, &e), RM_OK);
    size_t n = e.n;
    history_events_fini(&e);
    return n;
}

/* A flush whose answer was lost stands twice in the log: told once, also when the index was closed between.
 */
static void a_batch_written_twice_is_told_once(void **state)
{
    struct event_log *l = *state;
    uint64_t now = clock_wall_ms();
    struct msgid id = msgid_make(now);
    struct told t = {.id = id, .time_ms = now};
    l->epoch = 3;
    for (l->sequence = 1; l->sequence <= 2; l->sequence++)
        event_log_tell(l, 0, &t);
    l->sequence = 2;
    event_log_tell(l, 0, &t);
    struct history *h = open_history(l);
    assert_int_equal(traced(h, &id), 2);
    history_free(h);
    event_log_tell(l, 0, &t);
    event_log_tell(l, 1, &t); /* another partition's number 2 */
    l->epoch = 4;
    event_log_tell(l, 0, &t); /* another owner's */
    h = open_history(l);
    assert_int_equal(traced(h, &id), 4);
    history_free(h);
}

static void a_lost_index_is_made_again(void **state)
{
    struct event_log *l = *state;
    uint64_t now = clock_wall_ms();
    for (int i = 0; i < 1000; i++)
        event_log_tell(l, (uint32_t)i % 2, &(struct told){.id = msgid_make(now), .time_ms = now});
    struct history *h = open_history(l);
    history_free(h);
    event_log_wipe(l);
    h = open_history(l);
    assert_int_equal(history_rebuilds(h), 1);
    assert_int_equal(count(h, (struct history_query){.limit = 1000}), 1000);
    history_free(h);
}

static void an_index_of_another_log_is_thrown_away(void **state)
{
    struct event_log *l = *state;
    uint64_t now = clock_wall_ms();
    for (int i = 0; i < 5; i++)
        event_log_tell(l, 0, &(struct told){.id = msgid_make(now), .time_ms = now});
    history_free(open_history(l));
    struct event_log fresh;
    event_log_open(&fresh);
    event_log_tell(&fresh, 0, &(struct told){.id = msgid_make(now), .time_ms = now});
    struct event_log mixed = fresh;
    memcpy(mixed.dir, l->dir, sizeof(mixed.dir));
    struct history *h = open_history(&mixed);
    assert_int_equal(history_rebuilds(h), 1);
    assert_int_equal(count(h, (struct history_query){0}), 1);
    history_free(h);
    event_log_close(&fresh);
}

static void wait_for_keep(struct history *h, uint64_t wanted)
{
    for (int i = 0; i < 200 && history_events_keep_from(h, 0) != wanted; i++)
        usleep(20000);
    assert_int_equal(history_events_keep_from(h, 0), wanted);
}

static void old_events_may_go(void **state)
{
    struct event_log *l = *state;
    uint64_t now = clock_wall_ms();
    uint64_t ages[] = {12ull * DAY, 11ull * DAY, 8ull * DAY, 6ull * DAY, HOUR};
    for (size_t i = 0; i < 5; i++)
        event_log_tell(l, 0, &(struct told){.id = msgid_make(now - ages[i]), .time_ms = now - ages[i]});
    struct history *h = open_history(l);
    struct history_events e;
    uint64_t at = 0;
    history_events_init(&e);
    assert_int_equal(history_read(h, 0, &at, 4, &e), RM_OK);
    wait_for_keep(h, e.list[3].offset); /* the first that is young enough */
    history_events_fini(&e);
    assert_int_equal(history_events_keep_from(h, 1), 0);
    /* Entries stay a retry lifetime longer than events: two of twelve and eleven days are gone. */
    assert_int_equal(count(h, (struct history_query){0}), 3);
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_delete_below(b, LOG_EVENTS, 0, history_events_keep_from(h, 0));
    event_log_submit(l, b);
    assert_int_equal(count(h, (struct history_query){0}), 2);
    history_free(h);
    event_log_wipe(l);
    h = open_history(l); /* begins at the first event that is left */
    assert_int_equal(count(h, (struct history_query){0}), 2);
    assert_int_equal(history_lag(h), 0);
    history_free(h);
}

/* The claim of an owner is a batch without events, and so without a time: what stands before it is kept. */
static void a_claim_among_the_events_makes_none_old(void **state)
{
    struct event_log *l = *state;
    uint64_t now = clock_wall_ms();
    for (int i = 0; i < 9; i++) {
        event_log_append(l, 0, NULL, 0);
        event_log_tell(l, 0, &(struct told){.id = msgid_make(now), .time_ms = now});
    }
    struct history *h = open_history(l);
    usleep(300000); /* the first look at what may go */
    assert_true(history_events_keep_from(h, 0) <= 2);
    history_free(h);
}

static void what_does_not_decode_is_passed_over(void **state)
{
    struct event_log *l = *state;
    uint64_t now = clock_wall_ms();
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_append(b, LOG_EVENTS, 0, SPAN_LIT("\x0a\xff\xff\xff\xff\x0fnonsense"), NULL, NULL);
    event_log_submit(l, b);
    struct msgid id = msgid_make(now);
    event_log_tell(l, 0, &(struct told){.id = id, .time_ms = now});
    struct history *h = open_history(l);
    assert_int_equal(count(h, (struct history_query){0}), 1);
    struct history_events e;
    history_events_init(&e);
    uint64_t at = 0;
    assert_int_equal(history_read(h, 0, &at, 10, &e), RM_ECORRUPT);
    history_events_fini(&e);
    history_free(h);
}

static _Atomic bool first_is_missing;

static bool missing_first(struct log_reader *r, uint32_t partition, uint64_t *from, uint64_t *to)
{
    (void)r;
    *from = 0;
    *to = 3;
    return partition == 0 && first_is_missing;
}

/* As long as they do not come it looks four times a second, not again and again. */
static void what_is_missing_is_waited_for(void **state)
{
    struct event_log *l = *state;
    const struct log_backend *own = l->log->backend;
    static struct log_backend late;
    uint64_t now = clock_wall_ms();
    struct msgid id = msgid_make(now);
    for (int i = 0; i < 5; i++)
        event_log_tell(l, 0,
                       &(struct told){.id = id, .type = REMUDA__EVENT_TYPE__EVENT_DEFERRED, .time_ms = now});
    late = *own;
    late.read_missing = missing_first;
    first_is_missing = true;
    l->log->backend = &late;
    struct history_options o = {.dir = l->dir,
                                .log = l->log,
                                .history_ms = 7ull * DAY,
                                .lifetime_ms = 3ull * DAY,
                                .map_bytes = 1 << 28};
    struct history *h;
    assert_int_equal(history_new(&o, &h), RM_OK);
    usleep(600000);
    pthread_mutex_lock(&h->lock);
    uint64_t passes = h->passes;
    pthread_mutex_unlock(&h->lock);
    assert_in_range(passes, 1, 20);
    assert_true(h->position[0] <= 1 && h->lag >= 4);
    first_is_missing = false;
    assert_true(history_catch_up(h, 5000));
    history_free(h);
    l->log->backend = own;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(trace_tells_a_life_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(events_of_one_batch_are_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(search_finds_by_what_is_indexed, setup, teardown),
        cmocka_unit_test_setup_teardown(search_goes_on_where_it_ended, setup, teardown),
        cmocka_unit_test_setup_teardown(a_closed_index_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(a_batch_written_twice_is_told_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_index_is_made_again, setup, teardown),
        cmocka_unit_test_setup_teardown(an_index_of_another_log_is_thrown_away, setup, teardown),
        cmocka_unit_test_setup_teardown(old_events_may_go, setup, teardown),
        cmocka_unit_test_setup_teardown(a_claim_among_the_events_makes_none_old, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_missing_is_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(what_does_not_decode_is_passed_over, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
