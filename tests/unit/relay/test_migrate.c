/* What `remuda migrate` moves besides mail, between two logs in memory: each piece as often as it is run
 * comes once, and what the other log knows better stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/codec.h"
#include "queue/memory/memory.h"
#include "relay/migrate/migrate_private.h"

enum { PARTS_HERE = 4, PARTS_THERE = 2, GIVES = 3 /* partition of pairs that another one has now */ };

static const int members[] = {0, 1};
static const int tenant_pools[] = {0};
static const struct router_source sources[] = {{.name = "s1", .enabled = true, .weight = 1},
                                               {.name = "s2", .enabled = true, .weight = 1, .shard = 1}};
static const struct router_pool pools[] = {
    {.name = "main", .shards = 2, .members = members, .n_members = 2, .fallback = -1}};
static const struct router_provider providers[] = {{.name = "other"}, {.name = "big"}};
static const struct settings_tenant tenants[] = {{.name = "acme", .pools = tenant_pools, .n_pools = 1}};

struct rig {
    struct migrate m;
    struct settings settings;
};

static char *lit(const char *s)
{
    return (char *)(uintptr_t)s;
}

static void wake(void *arg)
{
    static const uint64_t one = 1;
    ssize_t n = write(((struct migrate *)arg)->wake_fd, &one, sizeof(one));
    (void)n;
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    struct log_options here = {.partitions = PARTS_HERE, .index = row_index_keys};
    struct log_options there = {.partitions = PARTS_THERE, .index = row_index_keys};
    assert_non_null(r);
    r->settings.router = (struct router_config){.sources = sources,
                                                .n_sources = 2,
                                                .pools = pools,
                                                .n_pools = 1,
                                                .providers = providers,
                                                .n_providers = 2};
    r->settings.tenants = tenants;
    r->settings.n_tenants = 1;
    r->m.o =
        (struct migrate_options){.from = &r->settings, .to = &r->settings, .out = tmpfile(), .err = stderr};
    assert_non_null(r->m.o.out);
    r->m.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    r->m.migration.id.bytes[0] = 7;
    assert_int_equal(memory_log_open(&here, &r->m.from), RM_OK);
    assert_int_equal(memory_log_open_staged(&there, &r->m.to), RM_OK);
    r->m.here = log_client_new(r->m.from, wake, &r->m);
    r->m.there = log_client_new(r->m.to, wake, &r->m);
    assert_int_equal(lanes_load(r->m.to, &r->settings.router, &r->m.lanes), RM_OK);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    lanes_free(r->m.lanes);
    log_client_free(r->m.here);
    log_client_free(r->m.there);
    log_close(r->m.from);
    log_close(r->m.to);
    close(r->m.wake_fd);
    fclose(r->m.o.out);
    free(r);
    return 0;
}

static void write_out(struct rig *r, bool here, struct log_batch *b)
{
    assert_int_equal(migrate_write(&r->m, here ? r->m.here : r->m.there, b), RM_OK);
}

static void put(struct rig *r, bool here, enum log_name name, uint32_t partition, const char *key,
                const ProtobufCMessage *value)
{
    struct buf packed = BUF_INIT;
    struct log_batch *b = log_batch_new(LOG_OWNER);
    proto_pack(&packed, value);
    log_batch_put(b, name, partition, span_str(key), buf_span(&packed));
    write_out(r, here, b);
    buf_fini(&packed);
}

static void append(struct rig *r, bool here, enum log_name name, const ProtobufCMessage *value)
{
    struct buf packed = BUF_INIT;
    struct log_batch *b = log_batch_new(LOG_OWNER);
    proto_pack(&packed, value);
    log_batch_append(b, name, 0, buf_span(&packed), NULL, NULL);
    write_out(r, here, b);
    buf_fini(&packed);
}

static size_t count(struct log *log, enum log_name name)
{
    struct log_reader *reader;
    struct span value;
    size_t n = 0;
    assert_int_equal(log_read_begin(log, &reader), RM_OK);
    for (uint64_t at = 0; log_read_next(reader, name, 0, &at, &value); at++)
        n++;
    log_read_end(reader);
    return n;
}

/* ---- suppression ---- */

static void put_suppression(struct rig *r, bool here, const char *address, uint64_t expires_ms)
{
    Remuda__Suppression s = REMUDA__SUPPRESSION__INIT;
    char key[64];
    snprintf(key, sizeof(key), "acme/%s", address);
    s.tenant = lit("acme");
    s.address = lit(address);
    s.expires_ms = expires_ms;
    put(r, here, LOG_SUPPRESSION, 0, key, &s.base);
}

static uint64_t suppressed_until(struct rig *r, const char *address)
{
    struct log_reader *reader;
    struct span value;
    char key[64];
    snprintf(key, sizeof(key), "acme/%s", address);
    assert_int_equal(log_read_begin(r->m.to, &reader), RM_OK);
    assert_int_equal(log_read_key(reader, LOG_SUPPRESSION, 0, span_str(key), &value), RM_OK);
    Remuda__Suppression *s = remuda__suppression__unpack(NULL, value.len, (const uint8_t *)value.ptr);
    assert_non_null(s);
    uint64_t until = s->expires_ms;
    remuda__suppression__free_unpacked(s, NULL);
    log_read_end(reader);
    return until;
}

static void the_longer_suppression_holds(void **state)
{
    struct rig *r = *state;
    put_suppression(r, true, "a@x.test", 100);
    put_suppression(r, true, "b@x.test", 100);
    put_suppression(r, true, "c@x.test", 0); /* for ever */
    put_suppression(r, true, "d@x.test", 100);
    put_suppression(r, false, "b@x.test", 200);
    put_suppression(r, false, "c@x.test", 200);
    put_suppression(r, false, "d@x.test", 0);
    assert_int_equal(migrate_suppression(&r->m), RM_OK);
    assert_int_equal(r->m.moved.suppressed, 2);
    assert_int_equal(migrate_suppression(&r->m), RM_OK);
    assert_int_equal(r->m.moved.suppressed, 2);
    assert_int_equal(suppressed_until(r, "a@x.test"), 100);
    assert_int_equal(suppressed_until(r, "b@x.test"), 200);
    assert_int_equal(suppressed_until(r, "c@x.test"), 0);
    assert_int_equal(suppressed_until(r, "d@x.test"), 0);
}

/* ---- claims ---- */

static void put_claim(struct rig *r, bool here, const char *key, uint64_t claimed)
{
    Remuda__QuotaClaim c = REMUDA__QUOTA_CLAIM__INIT;
    Remuda__QuotaWindow w = REMUDA__QUOTA_WINDOW__INIT;
    w.number = 20000;
    w.claimed = claimed;
    c.day = &w;
    put(r, here, LOG_QUOTA, 0, key, &c.base);
}

static void claims_of_both_count(void **state)
{
    struct rig *r = *state;
    struct log_reader *reader;
    struct span key, value, from = span_str(NULL);
    char after[64];
    size_t n = 0;
    put_claim(r, true, "acme/0123456789abcdef", 5);
    put_claim(r, true, "acme/0123456789abcdeg", 7);
    put_claim(r, false, "acme/0123456789abcdeh", 9);
    for (int i = 0; i < 2; i++)
        assert_int_equal(migrate_claims(&r->m), RM_OK);
    assert_int_equal(r->m.moved.claims, 2);
    assert_int_equal(log_read_begin(r->m.to, &reader), RM_OK);
    for (; log_read_key_next(reader, LOG_QUOTA, 0, from, &key, &value); n++) {
        assert_true(key.len < sizeof(after));
        memcpy(after, key.ptr, key.len);
        after[key.len] = '\0';
        from = span_of(after, key.len + 1);
    }
    log_read_end(reader);
    assert_int_equal(n, 3);
}

/* ---- decisions ---- */

static void append_decision(struct rig *r, bool here, const char *tenant, uint64_t time_ms)
{
    Remuda__TenantDecision d = REMUDA__TENANT_DECISION__INIT;
    Remuda__Control c = REMUDA__CONTROL__INIT;
    d.tenant = lit(tenant);
    d.provider = lit("big");
    d.action = REMUDA__TENANT_ACTION__TENANT_QUARANTINE;
    d.time_ms = time_ms;
    c.tenant = &d;
    append(r, here, LOG_CONTROL, &c.base);
}

static void the_newest_decision_counts(void **state)
{
    struct rig *r = *state;
    append_decision(r, true, "acme", 10);
    append_decision(r, true, "acme", 30); /* of the two, this one */
    append_decision(r, true, "else", 10);
    append_decision(r, false, "else", 20); /* they know better there */
    size_t before = count(r->m.to, LOG_CONTROL);
    assert_int_equal(migrate_decisions(&r->m), RM_OK);
    assert_int_equal(migrate_decisions(&r->m), RM_OK);
    assert_int_equal(r->m.moved.decisions, 1);
    assert_int_equal(count(r->m.to, LOG_CONTROL), before + 1);
}

/* ---- dead records ---- */

static void append_dead(struct rig *r, uint32_t partition, uint64_t offset, const char *value)
{
    Remuda__DeadRecord d = REMUDA__DEAD_RECORD__INIT;
    d.partition = partition;
    d.offset = offset;
    d.reason = lit("does not decode");
    d.value.data = (uint8_t *)lit(value);
    d.value.len = strlen(value);
    append(r, true, LOG_DEAD, &d.base);
}

static void dead_records_come_once(void **state)
{
    struct rig *r = *state;
    append_dead(r, 0, 5, "chunk");
    append_dead(r, 0, 6, "record");
    append_dead(r, PARTS_HERE - 1, 5, "of a partition that is not there");
    assert_int_equal(migrate_dead(&r->m), RM_OK);
    assert_int_equal(r->m.moved.dead, 3);
    append_dead(r, 1, 9, "late");
    assert_int_equal(migrate_dead(&r->m), RM_OK);
    assert_int_equal(r->m.moved.dead, 4);
    assert_int_equal(count(r->m.to, LOG_DEAD), 4);
    struct log_reader *reader;
    struct span value;
    assert_int_equal(log_read_begin(r->m.to, &reader), RM_OK);
    for (uint64_t at = 1; at <= 4; at++) {
        assert_int_equal(log_read_at(reader, LOG_DEAD, 0, at, &value), RM_OK);
        Remuda__DeadRecord *d = remuda__dead_record__unpack(NULL, value.len, (const uint8_t *)value.ptr);
        assert_non_null(d);
        assert_true(d->partition < PARTS_THERE); /* where a replay goes */
        assert_int_equal(d->from.len, MSGID_BYTES);
        remuda__dead_record__free_unpacked(d, NULL);
    }
    log_read_end(reader);
}

/* ---- what was learned ---- */

static void put_pair(struct rig *r, uint32_t partition, const char *source, uint64_t used,
                     uint64_t written_ms)
{
    Remuda__PairState p = REMUDA__PAIR_STATE__INIT;
    char key[64];
    snprintf(key, sizeof(key), "pair:%s/big", source);
    p.source = lit(source);
    p.provider = lit("big");
    p.used = used;
    p.written_ms = written_ms;
    p.home = 3;
    p.given = partition == GIVES ? 4 : 0;
    put(r, true, LOG_STATE, partition, key, &p.base);
}

static void release(struct rig *r, const char *source, uint64_t used, uint64_t written_ms)
{
    Remuda__PairState p = REMUDA__PAIR_STATE__INIT, *list[] = {&p};
    Remuda__Release out = REMUDA__RELEASE__INIT;
    Remuda__Control c = REMUDA__CONTROL__INIT;
    p.source = lit(source);
    p.provider = lit("big");
    p.used = used;
    p.written_ms = written_ms;
    p.home = 3;
    p.given = 4;
    out.pairs = list;
    out.n_pairs = 1;
    c.release = &out;
    append(r, true, LOG_CONTROL, &c.base);
}

static void put_tenant(struct rig *r, uint32_t partition, double accepted)
{
    Remuda__TenantState t = REMUDA__TENANT_STATE__INIT;
    Remuda__Counts c = REMUDA__COUNTS__INIT;
    double n[] = {accepted, 0, 0, 0, 0};
    t.tenant = lit("acme");
    t.provider = lit("big");
    c.at_s = 4000000000; /* later than now: nothing fades */
    c.hour = c.day = c.week = n;
    c.n_hour = c.n_day = c.n_week = 5;
    t.counts = &c;
    put(r, true, LOG_STATE, partition, "tenant:acme/big", &t.base);
}

struct found {
    size_t records, pairs, tenants;
    uint64_t used[2];
    double accepted;
};

static void look_at_record(struct rig *r, const Remuda__Record *record, uint32_t partition, struct found *f)
{
    struct arena a = ARENA_INIT;
    assert_int_equal(record->kind, REMUDA__RECORD_KIND__RECORD_STATE);
    assert_memory_equal(record->id.data, r->m.migration.id.bytes, MSGID_BYTES);
    f->records++;
    for (size_t i = 0; i < record->learned->n_pairs; i++, f->pairs++) {
        const ProtobufCBinaryData *b = &record->learned->pairs[i];
        const Remuda__PairState *p = pair_decode(&a, span_of((const char *)b->data, b->len));
        assert_non_null(p);
        int second = strcmp(p->source, "s2") == 0;
        f->used[second] = p->used;
        assert_int_equal(partition, lanes_partition(r->m.lanes, "main", "big", (uint32_t)second));
    }
    for (size_t i = 0; i < record->learned->n_tenants; i++, f->tenants++) {
        const ProtobufCBinaryData *b = &record->learned->tenants[i];
        const Remuda__TenantState *t = tenant_decode(&a, span_of((const char *)b->data, b->len));
        assert_non_null(t);
        f->accepted = t->counts->week[0];
    }
    arena_fini(&a);
}

static struct found look(struct rig *r)
{
    struct found f = {0};
    struct log_reader *reader;
    struct span value;
    assert_int_equal(log_read_begin(r->m.to, &reader), RM_OK);
    for (uint32_t p = 0; p < PARTS_THERE; p++)
        for (uint64_t at = 0; log_read_next(reader, LOG_MAIL, p, &at, &value); at++) {
            struct message *m;
            assert_int_equal(message_decode(value, false, &m), RM_OK);
            look_at_record(r, m->record, p, &f);
            message_unref(m);
        }
    log_read_end(reader);
    return f;
}

/* What stays of a pair that has gone is where it belongs here. */
static bool says_something(struct span value)
{
    struct arena a = ARENA_INIT;
    const Remuda__PairState *p = pair_decode(&a, value);
    assert_non_null(p);
    assert_int_equal(p->home, 3);
    bool something = p->used || p->written_ms;
    arena_fini(&a);
    return something;
}

static size_t learned_here(struct rig *r)
{
    size_t n = 0;
    struct log_reader *reader;
    struct span value;
    assert_int_equal(log_read_begin(r->m.from, &reader), RM_OK);
    for (uint32_t p = 0; p < PARTS_HERE; p++) {
        static const char *const keys[] = {"pair:s1/big", "pair:s2/big", "pair:s9/big", "tenant:acme/big"};
        for (size_t i = 0; i < 4; i++)
            if (log_read_key(reader, LOG_STATE, p, span_str(keys[i]), &value) == RM_OK)
                n += i == 3 || says_something(value);
    }
    log_read_end(reader);
    return n;
}

static void what_was_learned_goes_to_its_home_and_is_gone_here(void **state)
{
    struct rig *r = *state;
    put_pair(r, 0, "s1", 11, 200);
    put_pair(r, 1, "s1", 99, 100); /* older */
    put_pair(r, GIVES, "s1", 98, 300);
    release(r, "s2", 23, 150); /* on its way: later than what its old home had */
    put_pair(r, 1, "s2", 22, 100);
    put_pair(r, 2, "s9", 1, 100); /* no such source there */
    put_tenant(r, 0, 100);
    put_tenant(r, 2, 11);
    assert_int_equal(migrate_learned(&r->m), RM_OK);
    struct found f = look(r);
    assert_int_equal(f.pairs, 2);
    assert_int_equal(f.used[0], 11);
    assert_int_equal(f.used[1], 23);
    assert_int_equal(f.tenants, 1);
    assert_float_equal(f.accepted, 111, 0.01);
    assert_int_equal(r->m.moved.pairs, 2);
    assert_int_equal(r->m.moved.tenants, 1);
    assert_int_equal(learned_here(r), 1); /* of s9 */
    size_t records = f.records;
    assert_int_equal(migrate_learned(&r->m), RM_OK);
    assert_int_equal(look(r).records,
                     records + 1); /* what stands in control stays there: its taker knows the id */
}

/* ---- control ---- */

static void say(struct rig *r, Remuda__MigrationState state, uint8_t id)
{
    struct migration said = {.state = state, .other = "elsewhere", .id.bytes = {id}};
    assert_int_equal(migration_append(r->m.here, &said), RM_OK);
}

/* Two runs that begin at once have one id; what one of them says late changes nothing that was said since. */
static void words_that_come_late_do_not_count(void **state)
{
    static const struct {
        Remuda__MigrationState said;
        uint8_t by, state, id; /* who says it; what holds then */
    } words[] = {
        {REMUDA__MIGRATION_STATE__MIGRATION_LEAVING, 1, REMUDA__MIGRATION_STATE__MIGRATION_LEAVING, 1},
        {REMUDA__MIGRATION_STATE__MIGRATION_LEAVING, 2, REMUDA__MIGRATION_STATE__MIGRATION_LEAVING, 1},
        {REMUDA__MIGRATION_STATE__MIGRATION_LEFT, 2, REMUDA__MIGRATION_STATE__MIGRATION_LEAVING, 1},
        {REMUDA__MIGRATION_STATE__MIGRATION_CAME, 2, REMUDA__MIGRATION_STATE__MIGRATION_LEAVING, 1},
        {REMUDA__MIGRATION_STATE__MIGRATION_LEFT, 1, REMUDA__MIGRATION_STATE__MIGRATION_LEFT, 1},
        {REMUDA__MIGRATION_STATE__MIGRATION_LEAVING, 3, REMUDA__MIGRATION_STATE__MIGRATION_LEFT, 1},
        {REMUDA__MIGRATION_STATE__MIGRATION_CAME, 4, REMUDA__MIGRATION_STATE__MIGRATION_CAME, 4},
        {REMUDA__MIGRATION_STATE__MIGRATION_LEFT, 1, REMUDA__MIGRATION_STATE__MIGRATION_CAME, 4},
        {REMUDA__MIGRATION_STATE__MIGRATION_LEAVING, 5, REMUDA__MIGRATION_STATE__MIGRATION_LEAVING, 5},
        {REMUDA__MIGRATION_STATE__MIGRATION_CAME, 5, REMUDA__MIGRATION_STATE__MIGRATION_CAME, 5},
        {REMUDA__MIGRATION_STATE__MIGRATION_LEFT, 5, REMUDA__MIGRATION_STATE__MIGRATION_CAME, 5},
    };
    struct rig *r = *state;
    struct migration m = {0};
    uint64_t next = 0;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        say(r, words[i].said, words[i].by);
        assert_int_equal(migration_follow(r->m.from, &next, &m), RM_OK);
        assert_int_equal(m.state, words[i].state);
        assert_int_equal(m.id.bytes[0], words[i].id);
    }
}

/* Both have read that the log is in use before either says that it leaves. */
static void two_that_begin_at_once_have_one_id(void **state)
{
    struct rig *r = *state;
    struct migration a = {0}, b = {0};
    uint64_t next_a = 0, next_b = 0;
    assert_int_equal(migration_begin(r->m.here, r->m.from, "one", &next_a, &a), RM_OK);
    assert_int_equal(migration_begin(r->m.here, r->m.from, "other", &next_b, &b), RM_OK);
    assert_memory_equal(a.id.bytes, b.id.bytes, sizeof(a.id.bytes));
    assert_string_equal(a.other, "one");
    assert_string_equal(b.other, "one");
}

static void the_newest_word_on_a_log_counts(void **state)
{
    struct rig *r = *state;
    struct migration m = {0}, said = {.other = "elsewhere"};
    uint64_t next = 0;
    assert_int_equal(migration_follow(r->m.from, &next, &m), RM_OK);
    assert_false(m.known || migration_is_away(&m));
    static const Remuda__MigrationState states[] = {REMUDA__MIGRATION_STATE__MIGRATION_LEAVING,
                                                    REMUDA__MIGRATION_STATE__MIGRATION_LEFT,
                                                    REMUDA__MIGRATION_STATE__MIGRATION_CAME};
    for (size_t i = 0; i < 3; i++) {
        said.state = states[i];
        said.id.bytes[0] = (uint8_t)(i / 2); /* a move has one id, and what comes later another */
        assert_int_equal(migration_append(r->m.here, &said), RM_OK);
        append_decision(r, true, "acme", 1); /* another kind of record */
        assert_int_equal(migration_follow(r->m.from, &next, &m), RM_OK);
        assert_true(m.known);
        assert_int_equal(m.id.bytes[0], i / 2);
        assert_string_equal(m.other, "elsewhere");
        assert_int_equal(migration_is_away(&m), i < 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_longer_suppression_holds, setup, teardown),
        cmocka_unit_test_setup_teardown(claims_of_both_count, setup, teardown),
        cmocka_unit_test_setup_teardown(the_newest_decision_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(dead_records_come_once, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_learned_goes_to_its_home_and_is_gone_here, setup, teardown),
        cmocka_unit_test_setup_teardown(the_newest_word_on_a_log_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(words_that_come_late_do_not_count, setup, teardown),
        cmocka_unit_test_setup_teardown(two_that_begin_at_once_have_one_id, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
