/*
 * What a decision costs: nanoseconds for router_decide, router_frame_pack and router_take with 1, 10, 50 and
 * 256 candidates, plain and with all there is (warm-up caps, a sender's own sources, a second attempt), and
 * what an accepted answer costs; and that none of it allocates (malloc is counted).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench/allocations.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "router/frame.h"
#include "router/pair.h"

enum { ROUNDS = 1000000 };

/* Of this process alone: the machine may be busy with others. */
static uint64_t cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void put_nothing(void *arg, struct span key, struct span value)
{
    (void)arg;
    (void)key;
    (void)value;
}

/* As a flush that is durable at once. */
static void write_grants(struct router_state *s, uint64_t wall_ms)
{
    router_write(s, ROUTER_WRITE_DUE, wall_ms, put_nothing, NULL);
    router_written(s);
}

static void run(int n, bool full)
{
    static struct router_source sources[ROUTER_LANE_SOURCES_MOST];
    static char names[ROUTER_LANE_SOURCES_MOST][20];
    static int members[ROUTER_LANE_SOURCES_MOST];
    static struct router_candidate list[ROUTER_LANE_SOURCES_MOST];
    for (int i = 0; i < n; i++) {
        snprintf(names[i], sizeof(names[i]), "source%d", i);
        sources[i] = (struct router_source){.name = names[i],
                                            .address = "192.0.2.1",
                                            .ehlo = "x.test",
                                            .enabled = true,
                                            .warmup = full && i % 2 ? warmup_stages() : NULL,
                                            .weight = 1 + (uint32_t)i % 5};
        members[i] = i;
    }
    struct router_pool pool = {
        .name = "main", .shards = 1, .fallback = -1, .members = members, .n_members = n};
    struct router_provider other = {
        .name = "other", .limits = {.connections = 10, .rate_count = 1000, .rate_per_us = 1000000}};
    struct router_config config = {.sources = sources,
                                   .n_sources = n,
                                   .pools = &pool,
                                   .n_pools = 1,
                                   .providers = &other,
                                   .n_providers = 1};
    struct router_state *s = router_state_new(&config);
    uint64_t start = clock_boot_us(), wall_ms = clock_wall_ms(), taken = 0;
    router_tick(s, start, wall_ms);
    struct router_scope *scope = router_scope_ref(s, 0, ROUTER_OTHER, 0, span_str("mx.test"));
    write_grants(s, wall_ms);
    struct router_answer accepted = {.class = ANSWER_ACCEPTED};
    struct router_report report = {
        .tenant = span_str("acme"), .answer = &accepted, .recipients = 1, .now_us = start};
    router_answered(s, scope, &report);
    uint64_t before = *allocations(), began = cpu_us();
    start = clock_boot_us();
    for (uint64_t i = 0; i < ROUNDS; i++) {
        struct router_decision d = {.source = -1, .candidates = list};
        uint64_t now = start + i * 40;
        struct router_query q = {
            .now_us = now, .sender = span_str(full ? "sender.example" : ""), .tried = full && i % 8 == 0};
        router_decide(s, scope, &q, &d);
        if (d.source < 0)
            continue;
        router_frame_pack(list, &d, router_scope_members(scope), now, &d.frame);
        router_take(s, scope, &d, now);
        router_connection_closed(s, scope, d.source);
        taken++;
    }
    uint64_t spent = cpu_us() - began, answers = cpu_us();
    for (uint64_t i = 0; i < ROUNDS; i++) {
        report.source = (int)(i % (uint64_t)n);
        report.now_us = start + i * 100;
        router_answered(s, scope, &report);
    }
    answers = cpu_us() - answers;
    ENSURE(*allocations() == before);
    printf("candidates=%d %s ns_per_decision=%" PRIu64 " taken=%" PRIu64 " ns_per_answer=%" PRIu64 "\n", n,
           full ? "full" : "plain", spent * 1000 / ROUNDS, taken, answers * 1000 / ROUNDS);
    router_scope_unref(s, scope);
    router_state_free(s);
}

int main(void)
{
    (void)count_allocations();
    static const int counts[] = {1, 10, 50, 256};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        for (int full = 0; full < 2; full++)
            run(counts[i], full);
    return 0;
}
