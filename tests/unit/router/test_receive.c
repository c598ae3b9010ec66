/* What another log knew of pairs and tenants is taken over: once, on top of what is known here, never over a
 * cap. */
#include "tests/unit/router/pair_rig.h"

enum { S = 1000000 };
static const uint8_t FIRST[ROUTER_TAKEN_BYTES] = {1}, SECOND[ROUTER_TAKEN_BYTES] = {2};

static struct pair_rig *rig_start(void)
{
    struct pair_rig *r = pair_rig_new(1, (struct router_limits){0});
    r->rig.sources[0].warmup = warmup_stages();
    pair_rig_start(r);
    return r;
}

/* Sends at most n; how many the cap lets go. */
static int send(struct pair_rig *r, int n)
{
    int sent = 0;
    for (int i = 0; i < n; i++) {
        pair_rig_flush(r, ROUTER_WRITE_DUE);
        if (pair_rig_send(r, (struct router_query){0}) == 0) {
            pair_rig_answer(r, 0, "t", ACCEPTED);
            sent++;
        }
        pair_rig_pass(r, 40ull * S);
    }
    return sent;
}

static bool receive(struct pair_rig *to, struct buf *packed, const uint8_t *id)
{
    struct arena a = ARENA_INIT;
    struct router_receipt t = {.id = id, .wall_ms = to->wall_ms, .put = store_put, .arg = to->store};
    const Remuda__PairState *record = pair_decode(&a, buf_span(packed));
    assert_non_null(record);
    bool known = router_pair_receive(to->s, record, &t);
    arena_fini(&a);
    return known;
}

/* Granted and used of a relay that was stopped. */
static void export(struct pair_rig *r, struct buf *out)
{
    pair_rig_flush(r, ROUTER_WRITE_LAST);
    assert_true(router_pair_export(r->s, span_str("s0"), span_str("big"), r->wall_ms, out));
}

static void test_what_both_have_used_counts(void **state)
{
    (void)state;
    struct pair_rig *from = rig_start(), *to = rig_start();
    struct buf packed = BUF_INIT;
    int cap = (int)pair_rig_view(to, 0).cap;
    assert_int_equal(send(from, 12), 12);
    assert_int_equal(send(to, 5), 5);
    export(from, &packed);
    assert_true(receive(to, &packed, FIRST));
    assert_int_equal(pair_rig_view(to, 0).used, 17);
    assert_true(receive(to, &packed, FIRST)); /* its record came twice */
    assert_int_equal(pair_rig_view(to, 0).used, 17);
    assert_float_equal(pair_rig_view(to, 0).counts->n[TALLY_WEEK][TALLY_ACCEPTED], 17, 0.1);
    store_land(to->store, true);
    pair_rig_crash(to);
    pair_rig_start(to);
    assert_true(receive(to, &packed, FIRST)); /* read again after a start */
    int left = cap - (int)pair_rig_view(to, 0).used;
    assert_in_range(left, 1, cap - 17);
    assert_int_equal(send(to, 4 * cap), left); /* through the hours of the day */
    buf_fini(&packed);
    pair_rig_free(from);
    pair_rig_free(to);
}

static void test_stage_and_suspension_come_along(void **state)
{
    (void)state;
    struct pair_rig *from = rig_start(), *to = rig_start();
    struct buf packed = BUF_INIT;
    struct arena a = ARENA_INIT;
    export(from, &packed);
    Remuda__PairState *record = pair_decode(&a, buf_span(&packed));
    assert_non_null(record);
    record->stage = 3;
    record->suspended_until_ms = to->wall_ms + RIG_DAY_MS;
    record->why = (char *)(uintptr_t) "listed";
    buf_clear(&packed);
    proto_pack(&packed, &record->base);
    assert_true(receive(to, &packed, FIRST));
    assert_int_equal(pair_rig_view(to, 0).stage, 3);
    assert_int_equal(pair_rig_view(to, 0).suspended_until_ms, to->wall_ms + RIG_DAY_MS);
    assert_string_equal(pair_rig_view(to, 0).why, "listed");
    assert_int_equal(send(to, 3), 0);
    arena_fini(&a);
    buf_fini(&packed);
    pair_rig_free(from);
    pair_rig_free(to);
}

static void test_of_another_day_only_its_stage_counts(void **state)
{
    (void)state;
    struct pair_rig *from = rig_start(), *to = rig_start();
    struct buf packed = BUF_INIT;
    assert_int_equal(send(from, 12), 12);
    export(from, &packed);
    pair_rig_pass(to, 24ull * 3600 * S);
    assert_int_equal(send(to, 2), 2);
    assert_true(receive(to, &packed, FIRST));
    assert_int_equal(pair_rig_view(to, 0).used, 2);
    buf_fini(&packed);
    pair_rig_free(from);
    pair_rig_free(to);
}

static void test_each_migration_counts(void **state)
{
    (void)state;
    struct pair_rig *from = rig_start(), *to = rig_start();
    struct buf packed = BUF_INIT;
    assert_int_equal(send(from, 4), 4);
    export(from, &packed);
    assert_true(receive(to, &packed, FIRST));
    assert_true(receive(to, &packed, SECOND));
    assert_int_equal(pair_rig_view(to, 0).used, 8);
    buf_fini(&packed);
    pair_rig_free(from);
    pair_rig_free(to);
}

static void test_a_tenants_counts_are_added_once(void **state)
{
    (void)state;
    struct pair_rig *to = rig_start();
    Remuda__TenantState r = REMUDA__TENANT_STATE__INIT;
    Remuda__Counts counts = REMUDA__COUNTS__INIT;
    double n[TALLY_CLASSES] = {100, 0, 0, 7, 3};
    struct router_receipt t = {.id = FIRST, .wall_ms = to->wall_ms, .put = store_put, .arg = to->store};
    r.tenant = (char *)(uintptr_t) "t";
    r.provider = (char *)(uintptr_t) "big";
    r.format = ROUTER_PAIR_FORMAT;
    counts.at_s = to->wall_ms / 1000;
    counts.hour = counts.day = counts.week = n;
    counts.n_hour = counts.n_day = counts.n_week = TALLY_CLASSES;
    r.counts = &counts;
    assert_int_equal(send(to, 5), 5);
    assert_true(router_tenant_receive(to->s, &r, &t));
    assert_true(router_tenant_receive(to->s, &r, &t));
    store_land(to->store, true);
    for (int i = 0; i < to->store->n; i++) {
        if (strcmp(to->store->rows[i].key, "tenant:t/big") != 0)
            continue;
        struct arena a = ARENA_INIT;
        const Remuda__TenantState *stored = tenant_decode(&a, buf_span(&to->store->rows[i].value));
        assert_non_null(stored);
        assert_float_equal(stored->counts->week[TALLY_ACCEPTED], 105, 0.2);
        assert_float_equal(stored->counts->week[TALLY_BAD_MAILBOX], 7, 0.1);
        assert_int_equal(stored->taken.len, ROUTER_TAKEN_BYTES);
        arena_fini(&a);
        pair_rig_free(to);
        return;
    }
    fail_msg("no record of the tenant was put");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_both_have_used_counts),
        cmocka_unit_test(test_stage_and_suspension_come_along),
        cmocka_unit_test(test_of_another_day_only_its_stage_counts),
        cmocka_unit_test(test_each_migration_counts),
        cmocka_unit_test(test_a_tenants_counts_are_added_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
