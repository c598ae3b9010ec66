/*
 * I6 for connections where the log has other owners: what an owner that was lost may have left open counts
 * with those that follow, until its time is over or it says that all are closed.
 */
#include "tests/unit/router/pair_rig.h"

enum { LOST_MS = 600000, LIMIT = 3, SOURCES = 2, STEPS = 100000 };

static struct pair_rig *rig_shared(struct router_limits limits)
{
    struct pair_rig *r = pair_rig_new(SOURCES, limits);
    r->lost_ms = LOST_MS;
    pair_rig_start(r);
    return r;
}

static struct router_decision decide_from(struct pair_rig *r, int source)
{
    return pair_rig_decide(r, (struct router_query){.sticky = span_str(r->rig.names[source])});
}

/* Opens one as dispatch does; false: none may be opened, or it has to be written first. */
static bool open_one(struct pair_rig *r, int source)
{
    struct router_decision d = decide_from(r, source);
    if (d.source < 0)
        return false;
    if (!router_may_open(r->s, r->scope, d.source)) {
        router_open_ask(r->s, r->scope, d.source);
        return false;
    }
    router_take(r->s, r->scope, &d, r->now_us);
    return true;
}

/* As many as can be. */
static int open_all(struct pair_rig *r, int source)
{
    int n = 0;
    for (int i = 0; i < 20; i++) {
        n += open_one(r, source);
        pair_rig_flush(r, ROUTER_WRITE_DUE);
    }
    return n;
}

static void takeover(struct pair_rig *r)
{
    pair_rig_crash(r);
    pair_rig_start(r);
}

static void test_none_before_it_is_durable(void **state)
{
    (void)state;
    struct pair_rig *r = rig_shared((struct router_limits){.connections = LIMIT});
    assert_false(open_one(r, 0));
    assert_true(router_write_wanted(r->s, ROUTER_WRITE_DUE, r->wall_ms));
    router_write(r->s, ROUTER_WRITE_DUE, r->wall_ms, store_put, r->store);
    assert_false(open_one(r, 0)); /* on its way */
    store_land(r->store, true);
    assert_true(router_written(r->s));
    assert_true(open_one(r, 0));
    assert_false(open_one(r, 0));
    assert_int_equal(open_all(r, 0), LIMIT - 1);
    pair_rig_free(r);
}

static void test_what_a_lost_owner_may_have_counts(void **state)
{
    (void)state;
    struct pair_rig *r = rig_shared((struct router_limits){.connections = LIMIT});
    assert_false(open_one(r, 0));
    pair_rig_flush(r, ROUTER_WRITE_DUE);
    assert_true(open_one(r, 0));
    takeover(r);
    assert_true(router_has_lost(r->s, "s0", "big"));
    assert_false(router_has_lost(r->s, "s1", "big") || router_has_lost(r->s, "s0", "bi"));
    assert_int_equal(open_all(r, 0), LIMIT - 1);
    assert_int_equal(open_all(r, 1), LIMIT);
    assert_int_equal(decide_from(r, 0).cause, ROUTER_CONNECTIONS);
    takeover(r); /* the third one counts both, and nothing is left */
    assert_int_equal(open_all(r, 0), 0);
    pair_rig_pass(r, (LOST_MS - 1000) * 1000ull);
    assert_int_equal(open_all(r, 0), 0);
    r->now_us += 2000000;
    r->wall_ms += 2000;
    assert_true(router_tick(r->s, r->now_us, r->wall_ms));
    assert_false(router_has_lost(r->s, "s0", "big"));
    assert_int_equal(open_all(r, 0), LIMIT);
    pair_rig_free(r);
}

/* An operator knows that a machine is gone for good. */
static void test_how_long_they_count_may_be_shortened(void **state)
{
    (void)state;
    struct pair_rig *r = rig_shared((struct router_limits){.connections = LIMIT});
    assert_int_equal(open_all(r, 0), LIMIT);
    takeover(r);
    assert_false(router_open_bound(r->s, LOST_MS));
    assert_int_equal(open_all(r, 0), 0);
    assert_false(router_open_bound(r->s, 5000));
    r->now_us += 4000000;
    r->wall_ms += 4000;
    assert_false(router_tick(r->s, r->now_us, r->wall_ms));
    r->now_us += 2000000;
    r->wall_ms += 2000;
    assert_true(router_tick(r->s, r->now_us, r->wall_ms));
    assert_int_equal(open_all(r, 0), LIMIT);
    takeover(r);
    assert_int_equal(open_all(r, 0), 0);
    assert_true(router_open_bound(r->s, 0));
    assert_int_equal(open_all(r, 0), LIMIT);
    pair_rig_free(r);
}

static void test_an_owner_says_that_all_are_closed(void **state)
{
    (void)state;
    struct pair_rig *r = rig_shared((struct router_limits){.connections = LIMIT});
    assert_int_equal(open_all(r, 0), LIMIT);
    takeover(r);
    takeover(r);
    assert_int_equal(open_all(r, 0), 0);
    assert_false(router_open_closed(r->s, 7));
    assert_true(router_open_closed(r->s, 1));
    assert_int_equal(open_all(r, 0), LIMIT);
    takeover(r); /* and its record does not know of the first any more */
    assert_true(router_open_closed(r->s, 3));
    assert_int_equal(open_all(r, 0), LIMIT);
    pair_rig_free(r);
}

static bool first_is_closed(void *arg, uint64_t epoch)
{
    (void)arg;
    return epoch == 1;
}

static void test_what_was_closed_before_the_start_is_erased(void **state)
{
    (void)state;
    struct pair_rig *r = rig_shared((struct router_limits){.connections = LIMIT});
    Remuda__OpenState old = REMUDA__OPEN_STATE__INIT;
    Remuda__OpenLost lost = REMUDA__OPEN_LOST__INIT, *list[] = {&lost};
    router_scope_unref(r->s, r->scope);
    takeover(r);
    old.epoch = 1;
    old.n = 3;
    old.lost = list;
    old.n_lost = 1;
    lost.n = 1;
    lost.until_ms = r->wall_ms - 1;
    assert_int_equal(router_load_open(r->s, SPAN_LIT("s0/x"), &old, r->wall_ms, first_is_closed, NULL), 0);
    pair_rig_flush(r, ROUTER_WRITE_LAST);
    assert_string_equal(r->store->rows[0].key, "open:s0/x");
    assert_int_equal(r->store->rows[0].value.len, 0);
    lost.until_ms = r->wall_ms + 1000 * LOST_MS;
    assert_int_equal(router_load_open(r->s, SPAN_LIT("s0/x"), &old, r->wall_ms, store_closed, NULL), 4);
    pair_rig_pass(r, (LOST_MS + 1) * 1000ull); /* a time that is too far away is not believed */
    assert_false(router_has_lost(r->s, "s0", "x"));
    pair_rig_free(r);
}

static void test_an_unreadable_record_holds(void **state)
{
    (void)state;
    struct pair_rig *r = rig_shared((struct router_limits){.connections = LIMIT});
    router_state_free(r->s);
    r->s = router_state_new(&r->rig.config);
    router_state_shared(r->s, LOST_MS);
    assert_true(router_load_open(r->s, SPAN_LIT("s0/big"), NULL, r->wall_ms, store_closed, NULL) > LIMIT);
    router_tick(r->s, r->now_us, r->wall_ms);
    r->scope = router_scope_ref(r->s, 0, 1, 0, span_str(""));
    assert_int_equal(open_all(r, 0), 0);
    assert_int_equal(open_all(r, 1), LIMIT);
    pair_rig_pass(r, (LOST_MS + 1) * 1000ull);
    assert_int_equal(open_all(r, 0), LIMIT);
    pair_rig_free(r);
}

static void test_an_orderly_end_leaves_what_is_open(void **state)
{
    (void)state;
    struct pair_rig *r = rig_shared((struct router_limits){.connections = LIMIT});
    assert_int_equal(open_all(r, 0), LIMIT);
    assert_int_equal(open_all(r, 1), LIMIT);
    for (int i = 0; i < LIMIT; i++)
        router_connection_closed(r->s, r->scope, 0);
    for (int i = 0; i < LIMIT - 1; i++) /* one still waits for its answer */
        router_connection_closed(r->s, r->scope, 1);
    pair_rig_flush(r, ROUTER_WRITE_LAST);
    takeover(r);
    assert_int_equal(open_all(r, 0), LIMIT);
    assert_int_equal(open_all(r, 1), LIMIT - 1);
    pair_rig_free(r);
}

static void test_what_is_not_used_is_given_back(void **state)
{
    (void)state;
    struct pair_rig *r = rig_shared((struct router_limits){.connections = LIMIT});
    assert_int_equal(open_all(r, 0), LIMIT);
    for (int i = 0; i < LIMIT - 1; i++)
        router_connection_closed(r->s, r->scope, 0);
    for (int i = 0; i < 3; i++) {
        pair_rig_pass(r, 61000000);
        pair_rig_flush(r, ROUTER_WRITE_DUE);
    }
    takeover(r);
    assert_int_equal(open_all(r, 0), LIMIT - 1);
    for (int i = 0; i < LIMIT - 1; i++)
        router_connection_closed(r->s, r->scope, 0);
    pair_rig_pass(r, (LOST_MS + 1) * 1000ull);
    for (int i = 0; i < 3; i++) {
        pair_rig_pass(r, 61000000);
        pair_rig_flush(r, ROUTER_WRITE_DUE);
    }
    for (int i = 0; i < r->store->n; i++)
        assert_true(strncmp(r->store->rows[i].key, "open:", 5) != 0 || r->store->rows[i].value.len == 0);
    pair_rig_free(r);
}

/* Of a limit of four or more the last connection is not the owner's: its successor has it at once. */
static void left_for_a_successor(bool total)
{
    enum { FOUR = 4 };
    struct pair_rig *r = rig_shared((struct router_limits){.connections = FOUR, .total = total});
    assert_int_equal(open_all(r, 0), FOUR - 1);
    takeover(r);
    assert_int_equal(open_all(r, 0), 1);
    takeover(r);
    assert_int_equal(open_all(r, 0), 0); /* two owners lost, and nothing told of either */
    assert_true(router_open_closed(r->s, 1));
    assert_int_equal(open_all(r, 0), FOUR - 2); /* the second one's, and one to leave */
    pair_rig_free(r);
}

static void test_one_is_left_for_a_successor(void **state)
{
    (void)state;
    left_for_a_successor(false);
    left_for_a_successor(true);
}

static void test_limits_for_all_sources_together(void **state)
{
    (void)state;
    struct pair_rig *r = rig_shared((struct router_limits){.connections = LIMIT, .total = true});
    assert_int_equal(open_all(r, 0), LIMIT);
    router_connection_closed(r->s, r->scope, 0);
    assert_true(open_one(r, 1));
    router_connection_closed(r->s, r->scope, 1);
    pair_rig_flush(r, ROUTER_WRITE_LAST);
    takeover(r);
    assert_true(router_has_lost(r->s, "s1", "big"));
    assert_int_equal(open_all(r, 1), 1);
    assert_int_equal(decide_from(r, 0).cause, ROUTER_TOTAL_CONNECTIONS);
    pair_rig_free(r);
}

static void test_sites_count_each_for_itself(void **state)
{
    (void)state;
    struct pair_rig *r = rig_shared((struct router_limits){.connections = LIMIT});
    r->scope = router_scope_ref(r->s, 0, 0, 0, SPAN_LIT("a.example"));
    assert_int_equal(open_all(r, 0), LIMIT);
    takeover(r);
    r->scope = router_scope_ref(r->s, 0, 0, 0, SPAN_LIT("a.example"));
    assert_int_equal(open_all(r, 0), 0);
    assert_true(router_has_lost(r->s, "s0", "other"));
    r->scope = router_scope_ref(r->s, 0, 0, 0, SPAN_LIT("b.example"));
    assert_int_equal(open_all(r, 0), LIMIT);
    pair_rig_free(r);
}

static void test_a_changed_configuration_keeps_counts(void **state)
{
    (void)state;
    struct pair_rig *r = rig_shared((struct router_limits){.connections = 0});
    assert_true(open_one(r, 0) && open_one(r, 0)); /* no limit, no record */
    struct rig next;
    rig_init(&next, SOURCES, (struct router_limits){.connections = LIMIT});
    router_state_configure(r->s, &next.config);
    pair_rig_flush(r, ROUTER_WRITE_DUE);
    assert_int_equal(open_all(r, 0), LIMIT - 2);
    next.providers[1].limits.total = true;
    router_state_configure(r->s, &next.config);
    pair_rig_flush(r, ROUTER_WRITE_DUE);
    assert_int_equal(open_all(r, 1), 0);
    router_connection_closed(r->s, r->scope, 0);
    assert_int_equal(open_all(r, 1), 1);
    pair_rig_flush(r, ROUTER_WRITE_LAST);
    pair_rig_crash(r);
    r->rig.providers[1].limits = next.providers[1].limits;
    pair_rig_start(r);
    assert_int_equal(open_all(r, 1), 0);
    pair_rig_free(r);
}

/* ---- whatever happens ---- */

/* Of owners past: each may be frozen, and close nothing before its time is over. */
struct receiver {
    struct {
        uint64_t epoch, until_ms;
        int open[SOURCES];
    } left[64];
    int n_left;
    int open[SOURCES]; /* of the owner of now */
    uint64_t limit, most, all;
};

static void check(const struct pair_rig *r, struct receiver *at, int source)
{
    int sum = at->open[source];
    for (int i = 0; i < at->n_left; i++)
        if (at->left[i].until_ms > r->wall_ms)
            sum += at->left[i].open[source];
    assert_in_range(sum, 0, at->limit);
    at->most = (uint64_t)sum > at->most ? (uint64_t)sum : at->most;
}

static void leave(struct pair_rig *r, struct receiver *at)
{
    int kept = 0;
    for (int i = 0; i < at->n_left; i++)
        if (at->left[i].until_ms > r->wall_ms)
            at->left[kept++] = at->left[i];
    at->n_left = kept;
    assert_true(kept < 64);
    at->left[kept].epoch = r->epoch;
    at->left[kept].until_ms = r->wall_ms + LOST_MS;
    memcpy(at->left[kept].open, at->open, sizeof(at->open));
    memset(at->open, 0, sizeof(at->open));
    at->n_left++;
}

static void one_wakes(struct pair_rig *r, struct receiver *at, uint32_t which)
{
    if (at->n_left == 0)
        return;
    which %= (uint32_t)at->n_left;
    memset(at->left[which].open, 0, sizeof(at->left[which].open));
    router_open_closed(r->s, at->left[which].epoch);
}

static void step(struct pair_rig *r, struct receiver *at, uint64_t *seed)
{
    uint32_t dice = rig_random(seed) % 1000;
    int source = (int)(rig_random(seed) % SOURCES);
    if (dice < 500) {
        if (open_one(r, source)) {
            at->open[source]++;
            at->all++;
            check(r, at, source);
        }
    } else if (dice < 700) {
        if (at->open[source]) {
            at->open[source]--;
            router_connection_closed(r->s, r->scope, source);
        }
    } else if (dice < 850) {
        router_write(r->s, ROUTER_WRITE_DUE, r->wall_ms, store_put, r->store);
    } else if (dice < 950) {
        store_land(r->store, true);
        router_written(r->s);
    } else if (dice < 980) {
        pair_rig_pass(r, rig_random(seed) % 100 * 1000000ull);
    } else if (dice < 985) {
        one_wakes(r, at, rig_random(seed));
    } else if (dice < 987) {
        router_state_configure(r->s, &r->rig.config);
    } else if (dice < 990) { /* lost: what was under way is durable, or is not */
        leave(r, at);
        store_land(r->store, rig_random(seed) % 2);
        takeover(r);
    } else if (dice < 992) { /* handed over */
        store_land(r->store, true);
        router_written(r->s);
        pair_rig_flush(r, ROUTER_WRITE_LAST);
        leave(r, at);
        takeover(r);
    }
}

static void hold_whatever_happens(uint32_t limit)
{
    uint64_t seed = 20261126;
    struct receiver at = {.limit = limit};
    struct pair_rig *r = rig_shared((struct router_limits){.connections = limit});
    for (int i = 0; i < STEPS; i++)
        step(r, &at, &seed);
    assert_int_equal(at.most, limit);
    assert_true(at.all > STEPS / 100);
    pair_rig_free(r);
}

static void test_limits_hold_whatever_happens(void **state)
{
    (void)state;
    hold_whatever_happens(LIMIT);
    hold_whatever_happens(2 * LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none_before_it_is_durable),
        cmocka_unit_test(test_what_a_lost_owner_may_have_counts),
        cmocka_unit_test(test_how_long_they_count_may_be_shortened),
        cmocka_unit_test(test_an_owner_says_that_all_are_closed),
        cmocka_unit_test(test_what_was_closed_before_the_start_is_erased),
        cmocka_unit_test(test_an_unreadable_record_holds),
        cmocka_unit_test(test_an_orderly_end_leaves_what_is_open),
        cmocka_unit_test(test_what_is_not_used_is_given_back),
        cmocka_unit_test(test_one_is_left_for_a_successor),
        cmocka_unit_test(test_limits_for_all_sources_together),
        cmocka_unit_test(test_sites_count_each_for_itself),
        cmocka_unit_test(test_a_changed_configuration_keeps_counts),
        cmocka_unit_test(test_limits_hold_whatever_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
