/* The hot path allocates nothing: deciding, noting, taking, the next over an open connection, an accepted
 * answer. */
#include "bench/allocations.h"
#include "router/frame.h"
#include "tests/unit/router/pair_rig.h"

static int begin_counting(void **state)
{
    static bool counted;
    counted = count_allocations();
    *state = &counted;
    return 0;
}

static void test_the_hook_counts(void **state)
{
    if (!*(bool *)*state)
        skip();
    uint64_t before = *allocations();
    char *volatile p = malloc(100);
    assert_non_null(p); /* so that the compiler keeps it */
    p[0] = 1;
    free(p);
    assert_true(*allocations() > before);
}

static void test_hot_path(void **state)
{
    (void)state;
    enum { N = 50 };
    struct pair_rig *r = pair_rig_new(N, (struct router_limits){.rate_count = 1000, .rate_per_us = 1000000});
    for (int i = 0; i < N; i += 2)
        r->rig.sources[i].warmup = warmup_stages();
    pair_rig_start(r);
    pair_rig_answer(r, 0, "t", SLOW_DOWN); /* one of them is slowed down */
    pair_rig_answer(r, 0, "t", ACCEPTED);
    pair_rig_flush(r, ROUTER_WRITE_DUE);
    uint64_t before = *allocations();
    int sent = 0;
    for (int i = 0; i < 10000; i++) {
        r->now_us += 40;
        struct router_candidate list[N];
        struct router_decision d = {.source = -1, .candidates = list};
        struct router_query q = {
            .now_us = r->now_us, .sender = span_str("sender.example"), .tried = i % 7 == 0};
        router_decide(r->s, r->scope, &q, &d);
        if (d.source < 0)
            continue;
        sent++;
        router_frame_pack(list, &d, router_scope_members(r->scope), r->now_us, &d.frame);
        router_take(r->s, r->scope, &d, r->now_us);
        router_connection_closed(r->s, r->scope, d.source);
        router_take_next(r->s, r->scope, d.source, r->now_us);
        pair_rig_answer(r, d.source, "t", ACCEPTED);
    }
    assert_int_equal(*allocations(), before);
    assert_true(sent > 100);
    pair_rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_hook_counts),
        cmocka_unit_test(test_hot_path),
    };
    return cmocka_run_group_tests(tests, begin_counting, NULL);
}
