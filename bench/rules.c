/*
 * What understanding an answer costs: nanoseconds a reply with the built-in rules, over the examples of all
 * rules as their provider's and as anybody's, and over replies that no rule knows.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "router/rules.h"

enum { REPLIES_MOST = 4096, ROUNDS = 200 };

struct replies {
    struct router_reply r[REPLIES_MOST];
    int n;
};

/* CPU time: what else runs on the machine does not count. */
static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void add(struct replies *all, const char *provider, const char *raw)
{
    size_t room = strlen(raw) + 1;
    char *text = malloc(room);
    struct router_reply *r = &all->r[all->n];
    ENSURE(text && all->n < REPLIES_MOST);
    *r = (struct router_reply){.code = 0};
    ENSURE(router_reply_read(span_str(raw), r, text, room));
    r->provider = span_str(provider);
    all->n++;
}

static void run(const char *what, const struct router_rules *rules, const struct replies *all)
{
    struct pattern_scratch *scratch = pattern_scratch_new();
    struct router_answer a;
    size_t bytes = 0, hard = 0;
    uint64_t start = cpu_ns();
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < all->n; i++) {
            router_rules_judge(rules, scratch, &all->r[i], &a);
            hard += a.hard;
        }
    uint64_t took = cpu_ns() - start;
    for (int i = 0; i < all->n; i++)
        bytes += all->r[i].text.len;
    printf("%-24s %5d replies of %4zu bytes: %6.0f ns each (%zu hard)\n", what, all->n,
           bytes / (size_t)all->n, (double)took / ROUNDS / all->n, hard / ROUNDS);
    pattern_scratch_free(scratch);
}

int main(void)
{
    static struct replies own, others, unknown;
    struct buf trouble = BUF_INIT;
    struct conf_errors errors = {.out = &trouble};
    struct router_rules *rules;
    uint64_t start = cpu_ns();
    if (router_rules_load(NULL, &errors, &rules)) {
        fputs(buf_cstr(&trouble), stderr);
        return 1;
    }
    printf("%d rules, loaded and checked in %.1f ms\n", router_rules_count(rules),
           (double)(cpu_ns() - start) / 1000000);
    for (int i = 0; i < router_rules_count(rules); i++) {
        struct router_rule_view v;
        router_rules_view(rules, i, &v);
        for (int k = 0; k < v.n_examples; k++) {
            add(&own, v.n_providers ? v.providers[0] : "other", v.examples[k]);
            add(&others, "other", v.examples[k]);
        }
    }
    for (int i = 0; i < 100; i++) {
        char raw[200];
        snprintf(raw, sizeof(raw),
                 "550 the quick brown fox %d jumps over the lazy dog, and whoever counts the letters of this "
                 "finds that they are as many as those of a common answer",
                 i);
        add(&unknown, "other", raw);
    }
    run("by their provider", rules, &own);
    run("by a provider not known", rules, &others);
    run("unknown", rules, &unknown);
    router_rules_free(rules);
    return 0;
}
