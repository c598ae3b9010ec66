/*
 * The two strategies to compare with. Rotation: smooth weighted round robin over all sources, within the
 * receivers' published limits; 4xx is retried by the schedule, 5xx bounces, whatever it says. Suspensions:
 * the same, and fixed reactions for a fixed time by a table of rules; a source that is suspended at a
 * receiver is passed over, and when all are, the mail waits for the first to come back.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/world_model/draw.h"
#include "bench/world_model/strategy.h"
#include "lib/base/err.h"
#include "router/retry.h"

enum { RECENT_MOST = 16 };

struct way { /* a source at a receiver */
    int64_t credit;
    uint32_t open;
    double full_at_ms; /* of the published rate's bucket, and of a rule's */
    double slow_full_at_ms;
    uint64_t suspended_until_ms, slow_until_ms, few_until_ms;
    struct conf_rate slow;
    uint32_t few;
    uint64_t recent[SUSPENSIONS_MOST][RECENT_MOST]; /* times of the last matches of each rule */
    uint32_t n_recent[SUSPENSIONS_MOST];
};

struct rotation {
    const struct scenario *s;
    const struct suspensions *rules; /* NULL: none */
    struct way ways[WORLD_PROVIDERS_MOST][WORLD_SOURCES_MOST];
};

uint64_t strategy_retry_at(const struct scenario *s, const struct mail *m, uint64_t asked_ms, uint64_t now_ms)
{
    uint64_t who = (uint64_t)m->tenant << 32 | m->number;
    uint32_t random = (uint32_t)draw_bits(s->seed, DRAW_RETRY, who, m->tries);
    return now_ms + retry_wait_ms(retry_default(), m->attempts, asked_ms, random);
}

static void *rotation_new(const struct scenario *s, const struct suspensions *rules)
{
    (void)rules;
    struct rotation *r = calloc(1, sizeof(*r));
    ENSURE(r);
    r->s = s;
    return r;
}

static void *suspensions_new(const struct scenario *s, const struct suspensions *rules)
{
    struct rotation *r = rotation_new(s, rules);
    r->rules = rules;
    return r;
}

/* ---- choosing ---- */

static double step_ms(struct conf_rate rate)
{
    return (double)rate.per_us / 1e3 / rate.count;
}

/* A published rate lets a second's worth through at once, a rule's one message at a time. */
static uint64_t free_at_ms(const struct way *w, struct conf_rate published, uint64_t now_ms)
{
    double at = 0;
    if (published.count)
        at = w->full_at_ms - (double)published.per_us / 1e3 + step_ms(published);
    if (now_ms < w->slow_until_ms && w->slow.count)
        at = fmax(at, w->slow_full_at_ms);
    return at > (double)now_ms ? (uint64_t)ceil(at) : 0;
}

/* 0: may go now; UINT64_MAX: when a connection ends. */
static uint64_t way_blocked(const struct rotation *r, const struct way *w, int provider, uint64_t now_ms)
{
    const struct receiver *rcv = &r->s->receivers[provider];
    if (now_ms < w->suspended_until_ms)
        return w->suspended_until_ms;
    if (rcv->published_connections && w->open >= rcv->published_connections)
        return UINT64_MAX;
    if (now_ms < w->few_until_ms && w->open >= w->few)
        return UINT64_MAX;
    return free_at_ms(w, rcv->rate, now_ms);
}

static struct choice rotation_choose(void *self, const struct mail *m, uint64_t now_ms)
{
    struct rotation *r = self;
    struct way *ways = r->ways[m->provider];
    struct choice c = {.source = -1};
    uint64_t first = UINT64_MAX;
    bool slot = false;
    for (int i = 0; i < r->s->n_sources; i++) {
        uint64_t until = way_blocked(r, &ways[i], m->provider, now_ms);
        slot |= until == UINT64_MAX;
        if (until && until < first)
            first = until;
        if (!until && (c.source < 0 || ways[i].credit + (int64_t)r->s->sources[i].weight >
                                           ways[c.source].credit + (int64_t)r->s->sources[c.source].weight))
            c.source = i;
    }
    if (c.source < 0)
        c.until_ms = slot || first == UINT64_MAX ? 0 : first;
    return c;
}

static void spend(double *full_at_ms, double step, uint64_t now_ms)
{
    *full_at_ms = fmax(*full_at_ms, (double)now_ms) + step;
}

static void rotation_started(void *self, const struct mail *m, int source, uint64_t now_ms)
{
    struct rotation *r = self;
    struct way *ways = r->ways[m->provider];
    int64_t sum = 0;
    for (int i = 0; i < r->s->n_sources; i++) {
        if (i != source && way_blocked(r, &ways[i], m->provider, now_ms))
            continue;
        ways[i].credit += (int64_t)r->s->sources[i].weight;
        sum += (int64_t)r->s->sources[i].weight;
    }
    ways[source].credit -= sum;
    ways[source].open++;
    if (r->s->receivers[m->provider].rate.count)
        spend(&ways[source].full_at_ms, step_ms(r->s->receivers[m->provider].rate), now_ms);
    if (ways[source].slow.count)
        spend(&ways[source].slow_full_at_ms, step_ms(ways[source].slow), now_ms);
}

/* ---- answers ---- */

static void act(struct way *w, const struct suspension *rule, uint64_t now_ms)
{
    uint64_t until = now_ms + rule->for_ms;
    if (rule->action == ACTION_SUSPEND)
        w->suspended_until_ms = until > w->suspended_until_ms ? until : w->suspended_until_ms;
    if (rule->action == ACTION_RATE || rule->action == ACTION_RATE_AND_CONNECTIONS) {
        w->slow = rule->rate;
        w->slow_until_ms = until;
        w->slow_full_at_ms = (double)now_ms;
    }
    if (rule->action == ACTION_CONNECTIONS || rule->action == ACTION_RATE_AND_CONNECTIONS) {
        w->few = rule->connections;
        w->few_until_ms = until;
    }
}

static void apply_rules(struct rotation *r, struct way *w, int provider, const char *text, uint64_t now_ms)
{
    for (int i = 0; i < r->rules->n; i++) {
        const struct suspension *rule = &r->rules->rules[i];
        if (rule->provider && strcmp(rule->provider, r->s->receivers[provider].name) != 0)
            continue;
        if (!strstr(text, rule->text))
            continue;
        uint64_t *recent = w->recent[i];
        recent[w->n_recent[i]++ % RECENT_MOST] = now_ms;
        uint32_t within = 0;
        for (uint32_t k = 0; k < RECENT_MOST && k < w->n_recent[i]; k++)
            within += recent[k] + HOUR_MS > now_ms;
        if (within >= rule->matches)
            act(w, rule, now_ms);
    }
}

static struct consequence_at rotation_answered(void *self, struct mail *m, int source, const char *text,
                                               uint64_t now_ms)
{
    struct rotation *r = self;
    struct way *w = &r->ways[m->provider][source];
    w->open--;
    if (text[0] == '2')
        return (struct consequence_at){.then = THEN_DELIVERED};
    if (r->rules && text[0])
        apply_rules(r, w, m->provider, text, now_ms);
    if (text[0] == '5')
        return (struct consequence_at){.then = THEN_BOUNCE};
    m->attempts++;
    return (struct consequence_at){.then = THEN_RETRY, .at_ms = strategy_retry_at(r->s, m, 0, now_ms)};
}

const struct strategy strategy_rotation = {.name = "rotation",
                                           .new = rotation_new,
                                           .free = free,
                                           .choose = rotation_choose,
                                           .started = rotation_started,
                                           .answered = rotation_answered};
const struct strategy strategy_suspensions = {.name = "suspensions",
                                              .new = suspensions_new,
                                              .free = free,
                                              .choose = rotation_choose,
                                              .started = rotation_started,
                                              .answered = rotation_answered};
