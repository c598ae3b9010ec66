/*
 * bench_world: simulated receivers judge how a router sends. What it takes and prints: bench/world --help.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/world_model/serve.h"
#include "bench/world_model/verdict.h"
#include "bench/world_model/world.h"

const struct strategy *const strategies[] = {&strategy_rotation, &strategy_suspensions, &strategy_remuda_open,
                                             &strategy_remuda, NULL};

struct options {
    bool json;
    uint32_t days; /* 0: as the scenario says */
    uint64_t seed;
    uint32_t drawn;
    const char *only, *rules, *ranges;
    struct serve_options serve; /* net NULL: not asked for */
    uint64_t traffic_ms;        /* list what is sent until then; 0: not asked for */
};

static int usage(void)
{
    fprintf(stderr,
            "usage: bench_world [--json] [--days N] [--strategy NAME] --suspensions FILE SCENARIO...\n"
            "       bench_world [...] --suspensions FILE --draw RANGES --drawn N --seed N\n");
    return 2;
}

static bool number(const char *text, uint64_t *out)
{
    if (span_u64(span_str(text), out))
        return true;
    fprintf(stderr, "bench_world: \"%s\" is no number\n", text);
    return false;
}

/* Where an option's number goes; its bounds. */
static bool take_number(struct options *o, int c, const char *text)
{
    uint64_t n = 0;
    if (!number(text, &n))
        return false;
    switch (c) {
    case 'd':
        o->days = (uint32_t)n;
        return n >= 1 && n <= WORLD_DAYS_MOST;
    case 'n':
        o->drawn = (uint32_t)n;
        return n >= 1 && n <= 1000;
    case 'S':
        o->seed = n;
        return true;
    case 't':
        o->traffic_ms = n;
        return n >= 1;
    case 'p':
        o->serve.port = (uint16_t)n;
        return n >= 1 && n <= UINT16_MAX;
    case 'f':
        o->serve.factor = (uint32_t)n;
        return n >= 1 && n <= 100000;
    default:
        o->serve.start_ms = n;
        return n < (uint64_t)WORLD_DAYS_MOST * DAY_MS;
    }
}

static bool options_read(struct options *o, int argc, char **argv)
{
    static const struct option names[] = {{"json", no_argument, NULL, 'j'},
                                          {"days", required_argument, NULL, 'd'},
                                          {"strategy", required_argument, NULL, 's'},
                                          {"suspensions", required_argument, NULL, 'r'},
                                          {"draw", required_argument, NULL, 'D'},
                                          {"drawn", required_argument, NULL, 'n'},
                                          {"seed", required_argument, NULL, 'S'},
                                          {"traffic", required_argument, NULL, 't'},
                                          {"serve", required_argument, NULL, 'N'},
                                          {"port", required_argument, NULL, 'p'},
                                          {"factor", required_argument, NULL, 'f'},
                                          {"start", required_argument, NULL, 'b'},
                                          {0}};
    int c;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (c == 'j')
            o->json = true;
        else if (c == 's')
            o->only = optarg;
        else if (c == 'r')
            o->rules = optarg;
        else if (c == 'D')
            o->ranges = optarg;
        else if (c == 'N')
            o->serve.net = optarg;
        else if (c == '?' || !take_number(o, c, optarg))
            return false;
    }
    if (o->serve.net || o->traffic_ms)
        return optind + 1 == argc && (!o->serve.net || o->serve.port);
    return o->rules && (optind < argc || (o->ranges && o->drawn));
}

static bool fail(struct conf_errors *errors)
{
    fputs(buf_cstr(errors->out), stderr);
    return false;
}

/* The runs of a scenario that the last one is judged by. */
enum { RIVALS = 2 };
struct contest {
    struct rival rivals[RIVALS + 1];
    double metrics[RIVALS][METRICS];
    int n;
};

static bool is_baseline(const struct strategy *how)
{
    return how == &strategy_rotation || how == &strategy_suspensions;
}

static const struct rival *judged(struct contest *c, const struct strategy *how,
                                  const double metrics[METRICS])
{
    static const struct rival nobody = {.strategy = NULL};
    if (how != &strategy_remuda)
        return &nobody;
    for (int i = 0; i < c->n; i++)
        c->rivals[i].verdict = verdict_of(metrics, c->metrics[i]);
    return c->rivals;
}

static void play_all(struct scenario *s, const struct suspensions *rules, const struct options *o)
{
    struct result *r = malloc(sizeof(*r));
    struct contest c = {.n = 0};
    for (int i = 0; r && strategies[i]; i++) {
        double metrics[METRICS];
        if (o->only && strcmp(o->only, strategies[i]->name) != 0)
            continue;
        world_play(s, rules, strategies[i], r);
        verdict_metrics(r, s, metrics);
        result_print(r, s, strategies[i]->name, judged(&c, strategies[i], metrics), o->json);
        fflush(stdout);
        if (!is_baseline(strategies[i]))
            continue;
        memcpy(c.metrics[c.n], metrics, sizeof(metrics));
        c.rivals[c.n++].strategy = strategies[i]->name;
    }
    free(r);
}

/* A line for each message of the beginning: when, tenant, receiver, its domain, number. */
static void list_traffic(const struct scenario *s, uint64_t until_ms)
{
    uint64_t next[WORLD_TENANTS_MOST];
    uint32_t numbers[WORLD_TENANTS_MOST] = {0};
    for (uint32_t t = 0; t < (uint32_t)s->n_tenants; t++)
        next[t] = traffic_next(s, t, 0, 0);
    for (;;) {
        uint32_t first = 0;
        for (uint32_t t = 1; t < (uint32_t)s->n_tenants; t++)
            if (next[t] < next[first])
                first = t;
        if (next[first] >= until_ms || next[first] >= (uint64_t)s->days * DAY_MS)
            return;
        const struct receiver *to = &s->receivers[traffic_provider(s, first, numbers[first])];
        printf("%" PRIu64 " %s %s %s %" PRIu32 "\n", next[first], s->tenants[first].name, to->name,
               to->domain, numbers[first]);
        numbers[first]++;
        next[first] = traffic_next(s, first, numbers[first], next[first]);
    }
}

static bool play_one(struct scenario *s, const struct suspensions *rules, const struct options *o)
{
    struct buf error = BUF_INIT;
    bool good = true;
    if (o->traffic_ms) {
        list_traffic(s, o->traffic_ms);
    } else if (o->serve.net) {
        good = serve(s, &o->serve, &error);
        fputs(buf_cstr(&error), stderr);
    } else {
        play_all(s, rules, o);
    }
    buf_fini(&error);
    return good;
}

/* One scenario: of a file, or number n drawn. */
static bool play(const char *path, uint32_t n, const struct suspensions *rules, const struct options *o)
{
    struct arena arena = ARENA_INIT;
    struct buf lines = BUF_INIT;
    struct conf_errors errors = {.out = &lines};
    struct scenario s;
    bool good = path ? scenario_read(path, &arena, &errors, &s)
                     : scenario_draw(o->ranges, o->seed, n, &arena, &errors, &s);
    if (good && o->days)
        s.days = o->days;
    good = good ? play_one(&s, rules, o) : fail(&errors);
    buf_fini(&lines);
    arena_fini(&arena);
    return good;
}

static bool is_strategy(const char *name)
{
    for (int i = 0; strategies[i]; i++)
        if (!name || strcmp(name, strategies[i]->name) == 0)
            return true;
    fprintf(stderr, "bench_world: there is no strategy \"%s\"\n", name);
    return false;
}

int main(int argc, char **argv)
{
    struct options o = {.seed = 1, .serve = {.factor = 1}};
    if (!options_read(&o, argc, argv))
        return usage();
    struct arena arena = ARENA_INIT;
    struct buf lines = BUF_INIT;
    struct conf_errors errors = {.out = &lines};
    struct suspensions rules = {.n = 0};
    bool good = is_strategy(o.only) &&
                (!o.rules || suspensions_read(o.rules, &arena, &errors, &rules) || fail(&errors));
    if (good && !o.json && o.rules)
        result_heading();
    for (int i = optind; good && i < argc; i++)
        good = play(argv[i], 0, &rules, &o);
    for (uint32_t n = 0; good && o.ranges && n < o.drawn; n++)
        good = play(NULL, n, &rules, &o);
    buf_fini(&lines);
    arena_fini(&arena);
    return good ? 0 : 1;
}
