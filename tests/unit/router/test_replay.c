/* A decision made once more from its candidates, or from the frame of them that an event carries: always the
 * same, whatever the state was. */
#include <stdlib.h>

#include "router/frame.h"
#include "tests/unit/router/rig.h"

enum { SOURCES = 12, STEPS = 20000 };

struct play {
    struct rig rig;
    struct router_state *state;
    struct router_scope *scope;
    uint64_t now_us, seed;
    int open[SOURCES];
    int held, chosen, whole, parts;
};

/* From its frame alone. */
static void check_frame(struct play *p, const struct router_candidate *list, const struct router_decision *d,
                        uint64_t now_us)
{
    static struct router_frame_view v;
    struct router_frame f;
    struct router_decision again;
    router_frame_pack(list, d, router_scope_members(p->scope), now_us, &f);
    assert_true(f.n <= ROUTER_FRAME_MOST);
    assert_true(router_frame_read(span_of((const char *)f.bytes, f.n), &v));
    assert_int_equal(v.members, router_scope_members(p->scope));
    assert_int_equal(v.n_all, d->n_candidates);
    uint32_t all = (uint32_t)v.n;
    for (int i = 0; i < ROUTER_VERDICTS; i++)
        all += v.others[i];
    assert_int_equal(all, d->n_candidates);
    for (int i = 0; i < v.n; i++) {
        const struct router_candidate *had = &list[v.list[i].source];
        bool could = had->verdict == ROUTER_CHOSEN || had->verdict == ROUTER_WEIGHED_OUT;
        assert_int_equal(v.list[i].verdict, could ? ROUTER_WEIGHED_OUT : had->verdict);
        assert_true(v.list[i].score == had->score);
        assert_true(!could || (v.list[i].weight == had->weight && v.list[i].credit == had->credit &&
                               v.list[i].rank == had->rank));
    }
    router_replay(v.list, v.n, &again);
    assert_int_equal(again.source < 0 ? -1 : list[v.list[again.source].source].source, d->source);
    assert_int_equal(again.runner_up < 0 ? -1 : list[v.list[again.runner_up].source].source, d->runner_up);
    assert_int_equal(again.cause, d->cause);
    p->whole += v.n == v.n_all;
    p->parts += v.n < v.n_all;
    if (again.source < 0 || again.runner_up < 0)
        return;
    /* What it would have been with another credit: the result does not stand in the frame, it comes of it. */
    v.list[again.source].rank = -1;
    struct router_decision other;
    router_replay(v.list, v.n, &other);
    assert_int_equal(other.source, again.runner_up);
}

static void check(struct play *p, const struct router_query *q, struct router_decision *d)
{
    struct router_candidate list[ROUTER_LANE_SOURCES_MOST];
    struct router_decision again;
    *d = (struct router_decision){.source = -1, .candidates = list};
    router_decide(p->state, p->scope, q, d);
    check_frame(p, list, d, q->now_us);
    for (int i = 0; i < d->n_candidates; i++) /* as an event keeps it: from the decision on */
        list[i].until_us = list[i].until_us > q->now_us ? list[i].until_us - q->now_us : list[i].until_us > 0;
    router_replay(list, d->n_candidates, &again);
    assert_int_equal(again.source < 0 ? -1 : list[again.source].source, d->source);
    assert_int_equal(again.runner_up < 0 ? -1 : list[again.runner_up].source, d->runner_up);
    assert_int_equal(again.cause, d->cause);
    d->candidates = NULL;
    p->held += d->source < 0;
    p->chosen += d->source >= 0;
}

static void step(struct play *p)
{
    static const char *const senders[] = {"", "a.example", "b.example", "c.example", "d.example"};
    uint8_t idle[SOURCES] = {0};
    int excluded[2] = {(int)(rig_random(&p->seed) % SOURCES), (int)(rig_random(&p->seed) % SOURCES)};
    struct router_query q = {.now_us = p->now_us,
                             .sender = span_str(senders[rig_random(&p->seed) % 5]),
                             .sticky = span_str(rig_random(&p->seed) % 5 ? "" : "s3"),
                             .excluded = excluded,
                             .n_excluded = (int)(rig_random(&p->seed) % 3),
                             .idle = idle};
    for (int i = 0; i < SOURCES; i++)
        idle[i] = p->open[i] > 0 && rig_random(&p->seed) % 4 == 0;
    struct router_decision d;
    check(p, &q, &d);
    if (d.source >= 0) {
        router_take(p->state, p->scope, &d, p->now_us);
        p->open[d.source] += !d.reuse;
    }
    int close = (int)(rig_random(&p->seed) % SOURCES);
    if (p->open[close] > 0 && rig_random(&p->seed) % 3) {
        router_connection_closed(p->state, p->scope, close);
        p->open[close]--;
    }
    p->now_us += rig_random(&p->seed) % 3000;
}

static void the_same_again(void **state)
{
    (void)state;
    static struct play p;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        p = (struct play){.now_us = 1000000, .seed = seed * 7919};
        struct router_limits limits = {
            .connections = 3, .rate_count = 40, .rate_per_us = 1000000, .total = seed == 5};
        rig_init(&p.rig, SOURCES, limits);
        for (int i = 0; i < SOURCES; i++)
            p.rig.sources[i].weight = 1 + (uint32_t)i % 4;
        p.rig.sources[7].enabled = false;
        p.state = router_state_new(&p.rig.config);
        p.scope = router_scope_ref(p.state, 0, 1, 0, span_str(""));
        for (int i = 0; i < STEPS; i++)
            step(&p);
        assert_true(p.held > 100 && p.chosen > 100); /* both kinds were seen */
        assert_true(p.whole > 100 && p.parts > 100);
        router_state_free(p.state);
    }
}

/* 256 candidates, the last of them the one that is chosen. */
static void the_last_place_has_its_octet(void **state)
{
    (void)state;
    static struct router_candidate list[ROUTER_LANE_SOURCES_MOST];
    static struct router_frame_view v;
    enum { N = ROUTER_LANE_SOURCES_MOST };
    for (int i = 0; i < N; i++)
        list[i] = (struct router_candidate){.source = i,
                                            .verdict = i % 3 ? ROUTER_WEIGHED_OUT : ROUTER_CAP,
                                            .weight = 1000 * 255.0 / 256,
                                            .score = 255.0 / 256,
                                            .credit = i - 70000};
    list[N - 1].verdict = ROUTER_CHOSEN;
    struct router_decision again, d = {.source = N - 1, .runner_up = N - 2, .n_candidates = N};
    struct router_frame f;
    router_frame_pack(list, &d, 7, 1000, &f);
    assert_true(router_frame_read(span_of((const char *)f.bytes, f.n), &v));
    router_replay(v.list, v.n, &again);
    assert_int_equal(v.list[again.source].source, N - 1);
    assert_int_equal(v.list[again.runner_up].source, N - 2);
    assert_int_equal(v.others[ROUTER_CAP], 85);
}

static void what_is_no_frame_is_refused(void **state)
{
    (void)state;
    static struct router_frame_view v;
    struct router_candidate list[] = {{.verdict = ROUTER_CHOSEN, .score = 0.5, .weight = 3, .credit = -5},
                                      {.source = 1, .verdict = ROUTER_RATE, .until_us = 3000}};
    struct router_decision d = {.source = -1, .n_candidates = 2};
    struct router_frame f;
    router_frame_pack(list, &d, 7, 1000, &f);
    struct span good = span_of((const char *)f.bytes, f.n);
    assert_true(router_frame_read(good, &v));
    assert_int_equal(v.list[1].until_us, 2000);
    for (size_t n = 0; n < good.len; n++)
        assert_false(router_frame_read(span_of(good.ptr, n), &v));
    uint64_t seed = 5;
    for (int i = 0; i < 100000; i++) { /* whatever the octets are, nothing is read beyond them */
        uint8_t bytes[ROUTER_FRAME_MOST];
        size_t n = rig_random(&seed) % sizeof(bytes);
        for (size_t k = 0; k < n; k++)
            bytes[k] = (uint8_t)rig_random(&seed);
        if (n)
            bytes[0] = (uint8_t)(16 | bytes[0] % 16);
        char *exact = malloc(n + 1);
        memcpy(exact, bytes, n);
        (void)!router_frame_read(span_of(exact, n), &v);
        free(exact);
    }
}

static void an_empty_list_has_no_source(void **state)
{
    (void)state;
    struct router_decision d;
    router_replay(NULL, 0, &d);
    assert_int_equal(d.source, -1);
    assert_int_equal(d.cause, ROUTER_NO_SOURCE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_again),
        cmocka_unit_test(the_last_place_has_its_octet),
        cmocka_unit_test(what_is_no_frame_is_refused),
        cmocka_unit_test(an_empty_list_has_no_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
