/* The lane table of two nodes over one log: which versions count, and that no change is lost. */
#include "relay/lanes.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proto/codec.h"
#include "queue/memory/memory.h"
#include "relay/lane_table.h"

enum { PARTITIONS = 6, MOVES = 60 };

/* a has s0 in shard 0 and s1 in shard 1; b has s2. */
static const struct router_source sources[] = {
    {.name = "s0", .pool = 0, .shard = 0}, {.name = "s1", .pool = 0, .shard = 1}, {.name = "s2", .pool = 1}};
static const struct router_pool pools[] = {{.name = "a", .shards = 2}, {.name = "b", .shards = 1}};
static const struct router_provider providers[] = {{.name = "other"}, {.name = "big"}};
static const struct router_config config = {.sources = sources,
                                            .n_sources = 3,
                                            .pools = pools,
                                            .n_pools = 2,
                                            .providers = providers,
                                            .n_providers = 2};

struct pair {
    struct log *log;
    struct lanes *one, *two;
};

static int setup(void **state)
{
    struct pair *p = calloc(1, sizeof(*p));
    struct log_options options = {.partitions = PARTITIONS};
    assert_non_null(p);
    assert_int_equal(memory_log_open(&options, &p->log), RM_OK);
    assert_int_equal(lanes_load(p->log, &config, &p->one), RM_OK);
    assert_int_equal(lanes_load(p->log, &config, &p->two), RM_OK);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct pair *p = *state;
    lanes_free(p->one);
    lanes_free(p->two);
    log_close(p->log);
    free(p);
    return 0;
}

static void wake_nobody(void *arg)
{
    (void)arg;
}

static void put(struct pair *p, struct span value)
{
    struct log_client *c = log_client_new(p->log, wake_nobody, NULL);
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_append(b, LOG_CONTROL, 0, value, NULL, NULL);
    log_submit(c, b, NULL, NULL);
    log_client_flush(c);
    log_client_free(c);
}

/* A table as of another node, with a/big/1 in a partition. */
static void put_version(struct pair *p, uint64_t version, uint32_t partition)
{
    struct buf packed = BUF_INIT;
    struct lane_table *t = lane_table_new(PARTITIONS);
    lane_table_add(t, "a", "big", 1, partition);
    t->version = version;
    lane_table_encode(t, &packed);
    put(p, buf_span(&packed));
    lane_table_free(t);
    buf_fini(&packed);
}

static void the_second_node_takes_the_first_ones_table(void **state)
{
    struct pair *p = *state;
    assert_int_equal(lanes_version(p->one), 1);
    assert_int_equal(lanes_version(p->two), 1);
    for (uint32_t shard = 0; shard < 2; shard++)
        assert_int_equal(lanes_partition(p->one, "a", "big", shard),
                         lanes_partition(p->two, "a", "big", shard));
    assert_int_equal(lanes_partition(p->one, "b", "big", 1), -1);
}

static void a_move_is_followed(void **state)
{
    struct pair *p = *state;
    uint32_t to = ((uint32_t)lanes_partition(p->one, "a", "big", 1) + 1) % PARTITIONS;
    struct lane_order order = {"a", "big", 1, to};
    int moved;
    assert_int_equal(lanes_move(p->one, &order, &moved), RM_OK);
    assert_int_equal(moved, 1);
    assert_int_equal(lanes_partition(p->one, "a", "big", 1), to);
    assert_int_not_equal(lanes_partition(p->two, "a", "big", 1), to);
    assert_int_equal(lanes_follow(p->two), RM_OK);
    assert_int_equal(lanes_partition(p->two, "a", "big", 1), to);
    assert_int_equal(lanes_version(p->two), 2);
    assert_int_equal(lanes_move(p->two, &order, &moved), RM_OK); /* is there already */
    assert_int_equal(moved, 0);
    assert_int_equal(lanes_version(p->two), 2);
    order.provider = "none";
    assert_int_equal(lanes_move(p->one, &order, &moved), RM_ENOTFOUND);
    order = (struct lane_order){"a", "big", 1, PARTITIONS};
    assert_int_equal(lanes_move(p->one, &order, &moved), RM_EINVAL);
    assert_int_equal(lanes_version(p->one), 2);
}

static void what_does_not_follow_is_void(void **state)
{
    struct pair *p = *state;
    int home = lanes_partition(p->one, "a", "big", 1);
    uint32_t away = ((uint32_t)home + 1) % PARTITIONS;
    put_version(p, 1, away); /* made at the same time as the first */
    put_version(p, 3, away); /* follows one that never counted */
    assert_int_equal(lanes_follow(p->one), RM_OK);
    assert_int_equal(lanes_version(p->one), 1);
    assert_int_equal(lanes_partition(p->one, "a", "big", 1), home);
    put_version(p, 2, away);
    put_version(p, 2, (uint32_t)home); /* the second of two */
    assert_int_equal(lanes_follow(p->one), RM_OK);
    assert_int_equal(lanes_partition(p->one, "a", "big", 1), away);
    assert_int_equal(lanes_update(p->two, &config), RM_OK); /* adds what the configuration needs */
    assert_int_equal(lanes_version(p->two), 3);
    assert_int_equal(lanes_partition(p->two, "a", "big", 1), away);
    put(p, SPAN_LIT("\xff\xff"));
    assert_int_equal(lanes_follow(p->one), RM_ECORRUPT);
    assert_int_equal(lanes_version(p->one), 3);
}

/* ---- pairs ---- */

static void put_release(struct pair *p, uint32_t partition, uint64_t version, const char *source)
{
    struct buf packed = BUF_INIT;
    Remuda__Control record = REMUDA__CONTROL__INIT;
    Remuda__Release release = REMUDA__RELEASE__INIT;
    Remuda__PairState state = REMUDA__PAIR_STATE__INIT, *list[] = {&state};
    state.source = (char *)(uintptr_t)source;
    state.provider = (char *)(uintptr_t) "big";
    state.given = version;
    release.partition = partition;
    release.pairs = list;
    release.n_pairs = 1;
    record.release = &release;
    proto_pack(&packed, &record.base);
    put(p, buf_span(&packed));
    buf_fini(&packed);
    assert_int_equal(lanes_follow(p->one), RM_OK);
}

static struct lanes_pair find(struct lanes *l, const char *source)
{
    struct lanes_pair out;
    assert_true(lanes_pair(l, source, "big", &out));
    return out;
}

static uint32_t move_on(struct lanes *l)
{
    int moved;
    struct lane_order order = {"a", "big", 1, 0};
    order.to = ((uint32_t)lanes_partition(l, "a", "big", 1) + 1) % PARTITIONS;
    assert_int_equal(lanes_move(l, &order, &moved), RM_OK);
    return order.to;
}

static void count(void *arg, const struct lanes_pair *p)
{
    (void)p;
    ++*(int *)arg;
}

static void find_lane(void *arg, const struct lane_entry *e)
{
    struct lane_entry *out = arg;
    if (strcmp(e->pool, "a") == 0 && strcmp(e->provider, "big") == 0 && e->shard == 1)
        *out = *e;
}

static void a_pair_is_its_holder_s_until_that_releases_it(void **state)
{
    struct pair *p = *state;
    int seen = 0;
    struct lane_entry e;
    uint32_t home = (uint32_t)lanes_partition(p->one, "a", "big", 1);
    struct lanes_pair at_first = find(p->one, "s1");
    assert_true(at_first.holder == home && at_first.version == 1 && at_first.at == 0 && at_first.next == 0);
    uint32_t second = move_on(p->one), third = move_on(p->one);
    struct lanes_pair s1 = find(p->one, "s1");
    assert_true(s1.holder == home && s1.version == 1 && s1.next == 2 && s1.to == third);
    assert_true(find(p->one, "s0").next == 0); /* of the other shard */
    lanes_each(p->one, find_lane, &e);
    assert_true(e.partition == third && e.since == 3 && e.pairs == 1 && e.moving == 1);
    uint64_t changes = lanes_changes(p->one);
    put_release(p, second, 3, "s1"); /* not the next one's */
    put_release(p, second, 2, "s1"); /* not the holder's */
    put_release(p, home, 2, "s0");   /* does not move */
    assert_int_equal(lanes_changes(p->one), changes);
    put_release(p, home, 2, "s1");
    s1 = find(p->one, "s1");
    assert_true(s1.holder == second && s1.version == 2 && s1.at > 0 && s1.next == 3);
    put_release(p, home, 2, "s1"); /* told twice */
    assert_int_equal(lanes_changes(p->one), changes + 1);
    put_release(p, second, 3, "s1");
    s1 = find(p->one, "s1");
    assert_true(s1.holder == third && s1.version == 3 && s1.next == 0);
    lanes_pairs_moving(p->one, third, count, &seen);
    assert_int_equal(seen, 1);
    lanes_each(p->one, find_lane, &e);
    assert_int_equal(e.moving, 0);
    assert_int_equal(lanes_follow(p->two), RM_OK); /* reads the same */
    assert_int_equal(find(p->two, "s1").holder, third);
}

/* The source's own way: to another shard, out of the configuration, and back. */
static void a_source_keeps_its_pairs(void **state)
{
    struct pair *p = *state;
    struct router_source moved[] = {sources[0], sources[1], sources[2]};
    struct router_config next = config;
    next.sources = moved;
    moved[1].shard = 0;
    assert_int_equal(lanes_update(p->one, &next), RM_OK);
    uint32_t home = find(p->one, "s1").holder;
    assert_int_equal(home, lanes_partition(p->one, "a", "big", 1));
    assert_int_equal(find(p->one, "s1").to, lanes_partition(p->one, "a", "big", 0));
    put_release(p, home, 2, "s1");
    next.n_sources = 1;
    assert_int_equal(lanes_update(p->one, &next), RM_OK);
    assert_int_equal(lanes_version(p->one), 2); /* nothing is taken out of the table */
    next.n_sources = 3;
    moved[1].pool = 1;
    assert_int_equal(lanes_update(p->one, &next), RM_OK);
    assert_int_equal(find(p->one, "s1").holder, lanes_partition(p->one, "a", "big", 0));
    assert_int_equal(find(p->one, "s1").to, lanes_partition(p->one, "b", "big", 0));
}

/* All lanes of a provider with limits for all sources together are moved by one order. */
static void what_shares_limits_moves_together(void **state)
{
    struct pair *p = *state;
    struct router_provider total[] = {providers[0],
                                      {.name = "big", .limits = {.connections = 2, .total = true}}};
    struct router_config next = config;
    next.providers = total;
    int moved;
    assert_int_equal(lanes_update(p->one, &next), RM_OK);
    int home = lanes_partition(p->one, "a", "big", 0);
    assert_int_equal(lanes_partition(p->one, "b", "big", 0), home);
    assert_false(lanes_gathered(p->one, "big", (uint32_t)home));
    struct lane_order order = {"b", "big", 0, ((uint32_t)home + 1) % PARTITIONS};
    assert_int_equal(lanes_move(p->one, &order, &moved), RM_OK);
    assert_int_equal(moved, 3);
    for (uint32_t shard = 0; shard < 2; shard++)
        assert_int_equal(lanes_partition(p->one, "a", "big", shard), order.to);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 3; i++) {
            struct lanes_pair one = find(p->one, sources[i].name);
            if (one.next)
                put_release(p, one.holder, one.next, sources[i].name);
        }
    assert_true(lanes_gathered(p->one, "big", order.to));
}

struct mover {
    struct lanes *lanes;
    struct lane_order order;
    int failed;
};

static void *move_around(void *arg)
{
    struct mover *m = arg;
    int moved;
    for (int i = 0; i < MOVES; i++) {
        uint32_t now = (uint32_t)lanes_partition(m->lanes, m->order.pool, m->order.provider, m->order.shard);
        m->order.to = (now + 1) % PARTITIONS;
        m->failed += lanes_move(m->lanes, &m->order, &moved) != RM_OK;
    }
    return NULL;
}

static void changes_at_once_all_count(void **state)
{
    struct pair *p = *state;
    struct mover movers[] = {{p->one, {"a", "big", 0, 0}, 0}, {p->two, {"b", "other", 0, 0}, 0}};
    pthread_t threads[2];
    int homes[] = {lanes_partition(p->one, "a", "big", 0), lanes_partition(p->one, "b", "other", 0)};
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, move_around, &movers[i]), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(movers[0].failed + movers[1].failed, 0);
    assert_int_equal(lanes_follow(p->one), RM_OK);
    assert_int_equal(lanes_follow(p->two), RM_OK);
    struct lanes *lanes[] = {p->one, p->two};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(lanes_version(lanes[i]), 1 + 2 * MOVES);
        for (int k = 0; k < 2; k++) /* 60 steps around 6 partitions: back where it was */
            assert_int_equal(lanes_partition(lanes[i], movers[k].order.pool, movers[k].order.provider,
                                             movers[k].order.shard),
                             homes[k]);
    }
}

/* control holds decisions about tenants too: they leave the table as it is, wherever they stand. */
static void other_records_are_passed_over(void **state)
{
    struct pair *p = *state;
    struct buf packed = BUF_INIT;
    Remuda__Control record = REMUDA__CONTROL__INIT;
    Remuda__TenantDecision decision = REMUDA__TENANT_DECISION__INIT;
    decision.tenant = "bee";
    decision.provider = "big";
    record.tenant = &decision;
    proto_pack(&packed, &record.base);
    put(p, buf_span(&packed));
    assert_int_equal(lanes_follow(p->one), RM_OK);
    assert_int_equal(lanes_version(p->one), 1);
    put_version(p, 2, 0);
    put(p, buf_span(&packed));
    assert_int_equal(lanes_follow(p->one), RM_OK);
    assert_int_equal(lanes_version(p->one), 2);
    put(p, SPAN_LIT("no record"));
    assert_int_equal(lanes_follow(p->one), RM_ECORRUPT);
    buf_fini(&packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_second_node_takes_the_first_ones_table, setup, teardown),
        cmocka_unit_test_setup_teardown(a_move_is_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(what_does_not_follow_is_void, setup, teardown),
        cmocka_unit_test_setup_teardown(a_pair_is_its_holder_s_until_that_releases_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_source_keeps_its_pairs, setup, teardown),
        cmocka_unit_test_setup_teardown(what_shares_limits_moves_together, setup, teardown),
        cmocka_unit_test_setup_teardown(other_records_are_passed_over, setup, teardown),
        cmocka_unit_test_setup_teardown(changes_at_once_all_count, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
