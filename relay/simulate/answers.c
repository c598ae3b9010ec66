/* Meanings are told apart by their content; counts are kept for the hour that is read and the one before. */
#include "relay/simulate/answers.h"

#include <stdlib.h>

#include "lib/base/err.h"

enum { HOURS = 2, PERIODS = HOURS + 1, ALL_TIME = HOURS };
static const uint32_t any_source = UINT32_MAX;

struct count {
    uint32_t number;
    uint64_t n, took_ms;
};

struct counts {
    struct count *list;
    uint32_t n, cap;
    uint64_t sum, hour;
};

/* Of (source, provider). */
struct tallies {
    struct counts periods[PERIODS];
};

struct answers {
    const struct settings *settings[SIDES];
    struct pattern_scratch *scratch;
    struct said *list;
    uint32_t n, cap;
    struct map by_content, tallies;
};

struct answers *answers_new(const struct settings *const settings[SIDES])
{
    struct answers *a = calloc(1, sizeof(*a));
    ENSURE(a);
    for (int i = 0; i < SIDES; i++)
        a->settings[i] = settings[i];
    a->scratch = pattern_scratch_new();
    return a;
}

void answers_free(struct answers *a)
{
    size_t at = 0;
    struct span key;
    void *value;
    while (map_next(&a->tallies, &at, &key, &value)) {
        struct tallies *t = value;
        for (int i = 0; i < PERIODS; i++)
            free(t->periods[i].list);
        free(t);
    }
    map_fini(&a->tallies);
    map_fini(&a->by_content);
    pattern_scratch_free(a->scratch);
    free(a->list);
    free(a);
}

/* ---- meanings ---- */

static void judge(const struct answers *a, const struct recorded *e, int side, struct router_answer *out)
{
    if (e->type == RECORDED_DELIVERED || e->code == 0) {
        bool accepted = e->type == RECORDED_DELIVERED;
        *out = (struct router_answer){.rule = "none", .class = accepted ? ANSWER_ACCEPTED : ANSWER_NETWORK};
        return;
    }
    struct router_reply reply = {
        .provider = e->provider, .code = e->code, .enhanced = e->enhanced, .text = e->text};
    router_rules_judge(a->settings[side]->rules, a->scratch, &reply, out);
    if (out->class == ANSWER_ACCEPTED) /* and lost after it */
        out->class = ANSWER_UNKNOWN_SOFT;
}

static void add_content(struct buf *key, const struct router_answer *r)
{
    buf_printf(key, "%s %d %d %d %d%d%d %llu %s\n", r->rule, (int)r->class, (int)r->blame, (int)r->reaction,
               r->hard, r->refused, r->asked, (unsigned long long)r->wait_ms, r->list);
}

uint32_t answers_number(struct answers *a, const struct recorded *e)
{
    struct said s;
    struct buf key = BUF_INIT;
    for (int i = 0; i < SIDES; i++) {
        judge(a, e, i, &s.by[i]);
        add_content(&key, &s.by[i]);
    }
    if (e->type == RECORDED_DEFERRED && s.by[SIDE_OLD].hard) /* said to the connection, not of the message */
        s.by[SIDE_OLD].hard = s.by[SIDE_NEW].hard = false;
    enum answer_blame blame = s.by[SIDE_OLD].blame;
    s.of_message =
        s.by[SIDE_OLD].class != ANSWER_ACCEPTED && (blame == BLAME_RECIPIENT || blame == BLAME_TENANT);
    uintptr_t known = (uintptr_t)map_get(&a->by_content, buf_span(&key));
    if (!known) {
        if (a->n == a->cap) {
            a->cap = a->cap ? a->cap * 2 : 64;
            a->list = realloc(a->list, a->cap * sizeof(*a->list));
            ENSURE(a->list);
        }
        a->list[a->n++] = s;
        known = a->n;
        map_put(&a->by_content, buf_span(&key), (void *)known);
    }
    buf_fini(&key);
    return (uint32_t)known - 1;
}

const struct said *answers_get(const struct answers *a, uint32_t number)
{
    return &a->list[number];
}

/* ---- counts ---- */

static struct tallies *tallies_of(const struct answers *a, uint32_t source, uint32_t provider)
{
    uint32_t key[2] = {source, provider};
    return map_get(&a->tallies, span_of((const char *)key, sizeof(key)));
}

static struct tallies *tallies_need(struct answers *a, uint32_t source, uint32_t provider)
{
    uint32_t key[2] = {source, provider};
    struct tallies *t = tallies_of(a, source, provider);
    if (t)
        return t;
    t = calloc(1, sizeof(*t));
    ENSURE(t);
    map_put(&a->tallies, span_of((const char *)key, sizeof(key)), t);
    return t;
}

static void count(struct counts *c, uint32_t number, uint64_t took_ms)
{
    uint32_t i = 0;
    while (i < c->n && c->list[i].number != number)
        i++;
    if (i == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 8;
        c->list = realloc(c->list, c->cap * sizeof(*c->list));
        ENSURE(c->list);
    }
    if (i == c->n)
        c->list[c->n++] = (struct count){.number = number};
    c->list[i].n++;
    c->list[i].took_ms += took_ms;
    c->sum++;
}

void answers_count(struct answers *a, const struct answer_place *where, uint32_t number, uint64_t took_ms)
{
    const uint32_t sources[] = {where->source, any_source};
    for (size_t i = 0; i < 2; i++) {
        struct tallies *t = tallies_need(a, sources[i], where->provider);
        struct counts *hour = &t->periods[where->hour % HOURS];
        if (hour->hour != where->hour) {
            hour->hour = where->hour;
            hour->n = 0;
            hour->sum = 0;
        }
        count(hour, number, took_ms);
        count(&t->periods[ALL_TIME], number, took_ms);
    }
}

static bool draw(const struct counts *c, uint64_t random, struct drawn *out)
{
    if (!c->sum)
        return false;
    uint64_t at = random % c->sum;
    uint32_t i = 0;
    while (at >= c->list[i].n)
        at -= c->list[i++].n;
    *out = (struct drawn){c->list[i].number, c->list[i].took_ms / c->list[i].n};
    return true;
}

bool answers_draw(const struct answers *a, const struct answer_place *where, uint64_t random,
                  struct drawn *out)
{
    const uint32_t sources[] = {where->source, any_source};
    for (size_t i = 0; i < 2; i++) {
        const struct tallies *t = tallies_of(a, sources[i], where->provider);
        if (!t)
            continue;
        const struct counts *hour = &t->periods[where->hour % HOURS];
        if ((hour->hour == where->hour && draw(hour, random, out)) ||
            draw(&t->periods[ALL_TIME], random, out))
            return true;
    }
    return false;
}
