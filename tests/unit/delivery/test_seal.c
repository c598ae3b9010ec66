/*
 * Failures that are reported, on a log where a flush is not one transaction: the owner dies at every stage of
 * the decision and of what follows, and for the next one the failure would be none. Its sender gets a report
 * and nothing is tried any more, or no report and it is tried on; never both, never neither.
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
#include "lib/net/dns.h"
#include "queue/log_private.h"
#include "queue/memory/memory.h"
#include "relay/delivery/delivery_private.h"
#include "relay/delivery/own.h"
#include "relay/dest.h"
#include "relay/metrics_table.h"

enum { PARTITION = 0, DAY_MS = 24 * 3600 * 1000 };

/* Its mail has expired in a day; and in a hundred. */
static const char config[] =
    "node: { name: n1, hostname: relay.example, data: %s }\n"
    "log: { backend: memory, partitions: 1 }\n"
    "listeners: [ { address: \"127.0.0.1:1\", tls: none } ]\n"
    "sources: [ { name: s1, address: 127.0.0.9 } ]\n"
    "pools: [ { name: main, members: [ { source: s1 } ] } ]\n"
    "retries: [ { name: own, steps: [10m], delay_notice: 0s, lifetime: %s } ]\n"
    "tenants: [ { name: acme, networks: [127.0.0.0/8], domains: [\"*\"], pool: main, retry: own } ]\n"
    "routes: [ { domain: a.test, hosts: [\"127.0.0.1:1\"] }, { domain: s.test, hosts: [\"127.0.0.1:1\"] } "
    "]\n";

struct rig {
    char dir[64];
    struct settings *strict, *patient;
    struct node node;
    struct shard *shard;
    struct log_client *writer; /* of nobody in particular */
    uint64_t epoch;
};

/* ---- a node without a thread ---- */

static struct settings *load(const struct rig *r, const char *lifetime)
{
    char path[96];
    struct settings *s = NULL;
    struct buf error = BUF_INIT;
    (void)snprintf(path, sizeof(path), "%s/remuda.yaml", r->dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fprintf(f, config, r->dir, lifetime) > 0);
    (void)fclose(f);
    if (settings_load(path, &s, &error) != RM_OK)
        fail_msg("%s", buf_cstr(&error));
    buf_fini(&error);
    return s;
}

static void wake(void *arg)
{
    (void)arg;
}

static struct owner *owner(const struct rig *r)
{
    return CONTAINER_OF(r->shard->delivery->owners.next, struct owner, node);
}

/* All that follows of what stands in the log, without a flush. */
static void turn(struct rig *r)
{
    for (int i = 0; i < 4; i++) {
        log_client_flush(r->writer);
        log_client_flush(r->shard->log);
    }
}

static void flush(struct rig *r)
{
    owner_flush_now(owner(r));
    turn(r);
}

static void live(struct rig *r, struct settings *s)
{
    r->shard->settings = settings_ref(s);
    r->shard->log = log_client_new(r->node.log, wake, r);
    r->shard->dests = dests_new(r->shard);
    r->shard->delivery = delivery_new(r->shard);
    delivery_gained(r->shard->delivery, PARTITION, ++r->epoch);
    turn(r);
    flush(r);
    assert_true(owner(r)->recovered);
}

static void die(struct rig *r)
{
    delivery_free(r->shard->delivery);
    dests_free(r->shard->dests);
    log_client_free(r->shard->log);
    settings_unref(r->shard->settings);
}

static struct rig *rig_new(bool atomic)
{
    struct rig *r = calloc(1, sizeof(*r));
    struct log_options options = {.partitions = 1, .index = row_index_keys};
    struct dns_options dns = {0};
    assert_non_null(r);
    (void)snprintf(r->dir, sizeof(r->dir), "/tmp/remuda-seal-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    r->strict = load(r, "1d");
    r->patient = load(r, "100d");
    r->node.settings = settings_ref(r->strict);
    r->node.logger = logger_new(&(struct logger_options){.level = LOG_ERROR + 1, .fd = 2});
    r->node.metrics = metrics_new(metric_table, METRIC_ROWS);
    r->node.n_shards = 1;
    r->shard = &r->node.shards[0];
    r->shard->node = &r->node;
    if (atomic)
        assert_int_equal(memory_log_open(&options, &r->node.log), RM_OK);
    else
        assert_int_equal(memory_log_open_staged(&options, &r->node.log), RM_OK);
    assert_int_equal(lanes_load(r->node.log, &r->strict->router, &r->node.lanes), RM_OK);
    assert_int_equal(loop_new("seal", &r->shard->loop), RM_OK);
    assert_int_equal(dns_new(r->shard->loop, &dns, &r->shard->dns), RM_OK);
    r->writer = log_client_new(r->node.log, wake, r);
    return r;
}

static void rig_free(struct rig *r)
{
    log_client_free(r->writer);
    dns_free(r->shard->dns);
    loop_stop(r->shard->loop);
    loop_run(r->shard->loop);
    loop_free(r->shard->loop);
    lanes_free(r->node.lanes);
    log_close(r->node.log);
    settings_unref(r->node.settings);
    settings_unref(r->strict);
    settings_unref(r->patient);
    metrics_free(r->node.metrics);
    logger_free(r->node.logger);
    char path[96];
    (void)snprintf(path, sizeof(path), "%s/remuda.yaml", r->dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(r->dir), 0);
    free(r);
}

/* ---- a message, accepted two days ago ---- */

static void on_append(void *arg, struct log_batch *b, int status)
{
    assert_int_equal(status, RM_OK);
    *(uint64_t *)arg = log_batch_offset(b, 0);
}

static struct subid take(struct rig *r, const char *domain, size_t n, Remuda__Kept *kept)
{
    Remuda__Record record = REMUDA__RECORD__INIT;
    Remuda__Submission s = REMUDA__SUBMISSION__INIT, *list[] = {&s};
    Remuda__Recipient to[2] = {REMUDA__RECIPIENT__INIT, REMUDA__RECIPIENT__INIT},
                      *recipients[] = {&to[0], &to[1]};
    uint8_t id[16] = {1};
    uint64_t at = 0;
    to[0].address = (char *)(uintptr_t) "r@a.test";
    to[1].address = (char *)(uintptr_t) "other@a.test";
    s.kept = kept;
    s.domain = (char *)(uintptr_t)domain;
    s.pool = (char *)(uintptr_t) "main";
    s.provider = (char *)(uintptr_t) "other";
    s.recipients = recipients;
    s.n_recipients = n;
    record.id.data = id;
    record.id.len = sizeof(id);
    record.tenant = (char *)(uintptr_t) "acme";
    record.sender = (char *)(uintptr_t) "s@s.test";
    record.accepted_ms = clock_wall_ms() - 2 * DAY_MS;
    record.submissions = list;
    record.n_submissions = 1;
    struct buf value = BUF_INIT;
    mail_frame_record(&value, &record);
    buf_add_str(&value, "Subject: x\r\n\r\n");
    struct log_batch *b = log_batch_new(LOG_INTAKE);
    log_batch_append(b, LOG_MAIL, PARTITION, buf_span(&value), NULL, NULL);
    log_submit(r->writer, b, on_append, &at);
    turn(r);
    buf_fini(&value);
    return (struct subid){.offset = at};
}

static struct subid take_message(struct rig *r)
{
    return take(r, "a.test", 1, NULL);
}

/* One that came from another log, where the first recipient's end was sealed; the others are due then. */
static struct subid take_sealed(struct rig *r, size_t n, uint64_t due_ms)
{
    Remuda__Kept kept = REMUDA__KEPT__INIT;
    Remuda__Event sealed = REMUDA__EVENT__INIT;
    Remuda__RecipientOutcome outcome = REMUDA__RECIPIENT_OUTCOME__INIT, *outcomes[] = {&outcome};
    outcome.address = (char *)(uintptr_t) "r@a.test";
    outcome.state = REMUDA__RECIPIENT_STATE__RCPT_EXPIRED;
    sealed.type = REMUDA__EVENT_TYPE__EVENT_EXPIRED;
    sealed.recipients = outcomes;
    sealed.n_recipients = 1;
    kept.sealed = &sealed;
    kept.due_ms = due_ms;
    kept.expires_ms = clock_wall_ms() + DAY_MS;
    return take(r, "a.test", n, &kept);
}

/* Another owner's word that the receiver has it. */
static void tell_delivered(struct rig *r, struct subid id)
{
    Remuda__Event e = REMUDA__EVENT__INIT;
    Remuda__EventBatch batch = REMUDA__EVENT_BATCH__INIT;
    Remuda__Event *events[] = {&e};
    Remuda__SubmissionId sid = REMUDA__SUBMISSION_ID__INIT;
    uint64_t at;
    sid.offset = id.offset;
    e.type = REMUDA__EVENT_TYPE__EVENT_DELIVERED;
    e.submission = &sid;
    e.final = true;
    e.record_offset = id.offset;
    batch.events = events;
    batch.n_events = 1;
    batch.epoch = 1000;
    struct buf value = BUF_INIT;
    proto_pack(&value, &batch.base);
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_append(b, LOG_EVENTS, PARTITION, buf_span(&value), NULL, NULL);
    log_submit(r->writer, b, on_append, &at);
    log_client_flush(r->writer);
    buf_fini(&value);
}

/* ---- what the log holds ---- */

struct found {
    unsigned reports;  /* records; a second one under the same number is none */
    unsigned failures; /* events */
    unsigned finals;   /* of them, ends of the submission */
    unsigned row;      /* its state and 1; 0: none */
    bool sealed;       /* the row tells of a failure */
    uint64_t epochs;   /* of the numbers of all reports, summed */
};

static void count_reports(struct log_reader *r, struct found *f)
{
    struct span value;
    uint64_t known = 0;
    for (uint64_t at = 0; log_read_next(r, LOG_MAIL, PARTITION, &at, &value); at++) {
        struct message *m;
        if (message_decode(value, false, &m) != RM_OK)
            continue;
        const Remuda__Transfer *key = m->record->transfer;
        if (m->record->kind == REMUDA__RECORD_KIND__RECORD_BOUNCE &&
            key->epoch * 1000 + key->sequence != known) {
            known = key->epoch * 1000 + key->sequence;
            f->epochs += key->epoch;
            f->reports++;
        }
        message_unref(m);
    }
}

static void count_failures(struct log_reader *r, struct found *f)
{
    struct span value;
    for (uint64_t at = 0; log_read_next(r, LOG_EVENTS, PARTITION, &at, &value); at++) {
        struct arena a = ARENA_INIT;
        const Remuda__EventBatch *batch = event_batch_decode(&a, value);
        assert_non_null(batch);
        for (size_t i = 0; i < batch->n_events; i++) {
            const Remuda__Event *e = batch->events[i];
            if (e->type != REMUDA__EVENT_TYPE__EVENT_EXPIRED)
                continue;
            f->finals += e->final;
            assert_true(e->n_recipients == 1 && e->related_id.len == MSGID_BYTES);
            assert_string_equal(e->recipients[0]->address, "r@a.test");
            f->failures++;
        }
        arena_fini(&a);
    }
}

static struct found look(struct rig *rig, struct subid id)
{
    struct found f = {0};
    struct log_reader *r;
    struct row_key key = row_key_make(id);
    struct span value;
    struct arena a = ARENA_INIT;
    assert_int_equal(log_read_begin(rig->node.log, &r), RM_OK);
    count_reports(r, &f);
    count_failures(r, &f);
    if (log_read_key(r, LOG_BACKLOG, PARTITION, span_of((const char *)key.bytes, sizeof(key.bytes)),
                     &value) == RM_OK) {
        const Remuda__BacklogRow *row = row_decode(&a, value);
        f.row = (unsigned)row->state + 1;
        f.sealed = row->sealed != NULL;
    }
    log_read_end(r);
    arena_fini(&a);
    return f;
}

static unsigned reports_in_hand(const struct rig *r)
{
    unsigned n = 0;
    for (size_t i = 0; i < owner(r)->table_cap; i++)
        for (const struct sub *s = owner(r)->table[i]; s; s = s->hash_next)
            n += s->message->record->kind == REMUDA__RECORD_KIND__RECORD_BOUNCE;
    return n;
}

/* ---- cases ---- */

static void its_row_comes_first(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    live(r, r->strict);
    struct subid id = take_message(r);
    flush(r);
    struct found f = look(r, id);
    assert_true(f.reports == 0 && f.failures == 0 && f.sealed);
    assert_int_equal(f.row, 1 + REMUDA__ROW_STATE__ROW_TRANSFERRING);
    flush(r);
    f = look(r, id);
    assert_true(f.reports == 1 && f.failures == 1 && f.row == 0);
    turn(r);
    assert_int_equal(reports_in_hand(r), 1);
    die(r);
    rig_free(r);
}

static void a_transaction_needs_no_row(void **state)
{
    (void)state;
    struct rig *r = rig_new(true);
    live(r, r->strict);
    struct subid id = take_message(r);
    flush(r);
    struct found f = look(r, id);
    assert_true(f.reports == 1 && f.failures == 1 && f.row == 0);
    die(r);
    rig_free(r);
}

/* Dies when so many stages of the flush (1: of the decision, 2: of report and event) have happened. */
static void die_at(int number, int stages)
{
    struct rig *r = rig_new(false);
    live(r, r->strict);
    struct subid id = take_message(r);
    if (number == 2)
        flush(r);
    memory_log_break_flush(r->node.log, stages, false);
    flush(r);
    die(r);
    bool bound = number == 2 || stages > LOG_STAGE_BACKLOG;
    live(r, r->patient);
    for (int i = 0; i < 4; i++)
        flush(r);
    struct found f = look(r, id);
    assert_int_equal(f.reports, bound);
    assert_int_equal(reports_in_hand(r), bound);
    assert_int_equal(sub_find(owner(r), id) != NULL, !bound);
    assert_true(bound ? f.failures >= 1 && f.row == 0 && f.epochs == 1 : f.failures == 0);
    die(r);
    live(r, r->strict); /* and nothing is left of it */
    for (int i = 0; i < 4; i++)
        flush(r);
    assert_int_equal(look(r, id).reports, 1);
    assert_int_equal(reports_in_hand(r), 1);
    die(r);
    rig_free(r);
}

static void death_at_every_stage(void **state)
{
    (void)state;
    for (int number = 1; number <= 2; number++)
        for (int stages = 0; stages < LOG_STAGES; stages++)
            die_at(number, stages);
}

/* A flush that failed and is written again is no death. */
static void refused_flushes(void **state)
{
    (void)state;
    for (int number = 1; number <= 2; number++)
        for (int stages = 0; stages < LOG_STAGES; stages++)
            for (int silent = 0; silent < 2; silent++) {
                struct rig *r = rig_new(false);
                live(r, r->strict);
                struct subid id = take_message(r);
                if (number == 2)
                    flush(r);
                memory_log_break_flush(r->node.log, stages, silent);
                for (int i = 0; i < 4; i++) {
                    flush(r);
                    partition_housekeep(owner(r)->partition, clock_wall_ms(), 0);
                    turn(r);
                }
                struct found f = look(r, id);
                assert_true(f.reports == 1 && f.failures >= 1 && f.row == 0);
                assert_int_equal(reports_in_hand(r), 1);
                die(r);
                rig_free(r);
            }
}

/* It is read with the decision's own durability: before the report is made. */
static void a_delivery_told_late_takes_it_back(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    live(r, r->strict);
    struct subid id = take_message(r);
    tell_delivered(r, id);
    flush(r);
    assert_true(look(r, id).sealed);
    flush(r);
    struct found f = look(r, id);
    assert_true(f.reports == 0 && f.failures == 0 && f.row == 0);
    assert_null(sub_find(owner(r), id));
    die(r);
    live(r, r->strict);
    flush(r);
    assert_int_equal(look(r, id).reports, 0);
    assert_null(sub_find(owner(r), id));
    die(r);
    rig_free(r);
}

/* The next owner reads both at its start. */
static void a_delivery_told_late_takes_a_dead_owners_back(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    live(r, r->strict);
    struct subid id = take_message(r);
    flush(r);
    die(r);
    tell_delivered(r, id);
    live(r, r->strict);
    for (int i = 0; i < 3; i++)
        flush(r);
    struct found f = look(r, id);
    assert_true(f.reports == 0 && f.failures == 0 && f.row == 0);
    die(r);
    rig_free(r);
}

/* It is in an attempt, which then fails. */
static void a_delivery_told_during_an_attempt_counts(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    live(r, r->patient);
    struct subid id = take_message(r);
    struct sub *s = sub_find(owner(r), id);
    assert_non_null(s);
    for (int i = 0; i < 10000 && s->state != SUB_RUNNING; i++) { /* a token, and a durable grant */
        usleep(1000);
        scope_run(s->flow->scope);
        flush(r);
    }
    assert_int_equal(s->state, SUB_RUNNING);
    tell_delivered(r, id);
    flush(r);
    assert_int_equal(s->state, SUB_RUNNING);
    link_abort(s->link, "the test ends it");
    partition_housekeep(owner(r)->partition, clock_wall_ms(), 0);
    flush(r);
    assert_null(sub_find(owner(r), id));
    struct found f = look(r, id);
    assert_true(f.reports == 0 && f.row == 0);
    die(r);
    rig_free(r);
}

/* Nobody knows yet where it goes. */
static void a_delivery_told_during_a_lookup_counts(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    live(r, r->strict);
    struct subid id = take(r, "elsewhere.test", 1, NULL);
    struct sub *s = sub_find(owner(r), id);
    assert_non_null(s);
    assert_int_equal(s->state, SUB_RESOLVING);
    tell_delivered(r, id);
    flush(r);
    list_remove(&s->waiter.node);
    place_resolved(s);
    for (int i = 0; i < 3; i++)
        flush(r);
    assert_null(sub_find(owner(r), id));
    struct found f = look(r, id);
    assert_true(f.reports == 0 && f.failures == 0 && f.row == 0);
    die(r);
    rig_free(r);
}

static void what_came_sealed_is_told(void **state)
{
    (void)state;
    for (int atomic = 0; atomic < 2; atomic++) {
        struct rig *r = rig_new(atomic);
        live(r, r->strict);
        struct subid id = take_sealed(r, 1, 0);
        flush(r);
        flush(r);
        struct found f = look(r, id);
        assert_true(f.reports == 1 && f.failures == 1 && f.finals == 1 && f.row == 0);
        die(r);
        rig_free(r);
    }
}

/* At their time, which the row of a decision keeps for the next owner; or at once. */
static void the_others_go_on(void **state)
{
    (void)state;
    for (int bits = 0; bits < 8; bits++) {
        bool atomic = bits & 1, deferred = bits & 2, dies = bits & 4;
        struct rig *r = rig_new(atomic);
        live(r, r->patient);
        struct subid id = take_sealed(r, 2, deferred ? clock_wall_ms() + DAY_MS : 0);
        flush(r);
        if (dies) {
            die(r);
            live(r, r->patient);
        }
        flush(r);
        flush(r);
        struct found f = look(r, id);
        assert_true(f.reports == 1 && f.failures == 1 && f.finals == 0 && !f.sealed);
        assert_int_equal(f.row,
                         1 + (deferred ? REMUDA__ROW_STATE__ROW_DEFERRED : REMUDA__ROW_STATE__ROW_IN_HAND));
        const struct sub *s = sub_find(owner(r), id);
        assert_int_equal(s != NULL, !deferred);
        assert_true(deferred || (s->n_pending == 1 && sub_pending(s, 1) && s->flow));
        die(r);
        rig_free(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_row_comes_first),
        cmocka_unit_test(a_transaction_needs_no_row),
        cmocka_unit_test(death_at_every_stage),
        cmocka_unit_test(refused_flushes),
        cmocka_unit_test(a_delivery_told_late_takes_it_back),
        cmocka_unit_test(a_delivery_told_late_takes_a_dead_owners_back),
        cmocka_unit_test(a_delivery_told_during_an_attempt_counts),
        cmocka_unit_test(a_delivery_told_during_a_lookup_counts),
        cmocka_unit_test(what_came_sealed_is_told),
        cmocka_unit_test(the_others_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
