/* The router's functions in the order in which the relay's delivery calls them. */
#include "router/virtual.h"

#include <stdlib.h>

#include "lib/base/err.h"

enum { STICKY_WAIT_MS = 30000 };
/* The run begins some time after the machine's start. */
static const uint64_t boot_us = 1000000000;

struct router_virtual {
    struct router_state *state;
    uint64_t wall_ms;
    struct router_decision chosen; /* by the last choice */
    bool wakes;                    /* what waits for a cap may go */
};

uint64_t router_virtual_us(uint64_t now_ms)
{
    return boot_us + now_ms * 1000;
}

struct router_virtual *router_virtual_new(const struct router_config *config, uint64_t wall_ms)
{
    struct router_virtual *v = calloc(1, sizeof(*v));
    ENSURE(v);
    v->wall_ms = wall_ms;
    v->state = router_state_new(config);
    router_state_epoch(v->state, 1);
    (void)router_virtual_tick(v, 0);
    return v;
}

void router_virtual_free(struct router_virtual *v)
{
    router_state_free(v->state);
    free(v);
}

struct router_state *router_virtual_state(struct router_virtual *v)
{
    return v->state;
}

/* ---- choosing ---- */

/* bound: by the source to go back to. When the one to avoid is the only one that there is, it is taken. */
static struct router_decision decide(const struct router_virtual *v, const struct virtual_ask *ask,
                                     bool bound, uint64_t now_ms)
{
    int n, excluded = ask->past.avoid;
    const struct router_source *sources = router_state_config(v->state)->sources;
    const char *sticky = bound && ask->past.sticky >= 0 ? sources[ask->past.sticky].name : NULL;
    struct router_query q = {.now_us = router_virtual_us(now_ms),
                             .sticky = span_str(sticky),
                             .sender = ask->sender,
                             .tried = ask->past.attempts > 0,
                             .excluded = &excluded,
                             .n_excluded = excluded >= 0};
    struct router_decision d = {.source = -1, .cause = ROUTER_NO_SOURCE};
    (void)router_scope_sources(ask->scope, &n);
    if (n == 0)
        return d;
    router_decide(v->state, ask->scope, &q, &d);
    if (d.cause != ROUTER_EXCLUDED)
        return d;
    q.n_excluded = 0;
    d = (struct router_decision){.source = -1};
    router_decide(v->state, ask->scope, &q, &d);
    return d;
}

/* A connection that ends is looked at by the caller when no time is given. */
static uint64_t until_ms(const struct router_decision *d)
{
    if (d->cause == ROUTER_CONNECTIONS || d->cause == ROUTER_TOTAL_CONNECTIONS)
        return 0;
    return d->until_us > boot_us ? (d->until_us - boot_us + 999) / 1000 : 0;
}

struct virtual_choice router_virtual_choose(struct router_virtual *v, const struct virtual_ask *ask,
                                            uint64_t now_ms)
{
    v->chosen = decide(v, ask, true, now_ms);
    struct virtual_choice c = {
        .source = v->chosen.source, .cause = v->chosen.cause, .until_ms = until_ms(&v->chosen)};
    if (c.source >= 0 || ask->past.sticky < 0)
        return c;
    struct router_decision any = decide(v, ask, false, now_ms);
    if (any.source >= 0) {
        c.hold = VIRTUAL_HOLD_ALONE;
        c.until_ms = c.until_ms ? c.until_ms : now_ms + STICKY_WAIT_MS;
    } else {
        c.cause = any.cause;
        c.until_ms = until_ms(&any);
    }
    return c;
}

/* ---- the state is durable at once ---- */

static void put_nothing(void *arg, struct span key, struct span value)
{
    (void)arg;
    (void)key;
    (void)value;
}

static void flush(struct router_virtual *v, uint64_t now_ms)
{
    if (!router_write_wanted(v->state, ROUTER_WRITE_DUE, v->wall_ms + now_ms))
        return;
    router_write(v->state, ROUTER_WRITE_DUE, v->wall_ms + now_ms, put_nothing, NULL);
    v->wakes = router_written(v->state) || v->wakes;
}

bool router_virtual_tick(struct router_virtual *v, uint64_t now_ms)
{
    v->wakes = router_tick(v->state, router_virtual_us(now_ms), v->wall_ms + now_ms) || v->wakes;
    flush(v, now_ms);
    bool wakes = v->wakes;
    v->wakes = false;
    return wakes;
}

void router_virtual_start(struct router_virtual *v, struct router_scope *scope, uint64_t now_ms)
{
    ENSURE(v->chosen.source >= 0);
    router_take(v->state, scope, &v->chosen, router_virtual_us(now_ms));
    flush(v, now_ms);
}

/* ---- answers ---- */

/* Once in a round, and only when another may take it now. */
static bool goes_elsewhere(const struct router_virtual *v, struct virtual_ask *ask, int source,
                           uint64_t now_ms)
{
    if (ask->past.avoid >= 0)
        return false;
    ask->past.avoid = source;
    struct router_decision d = decide(v, ask, false, now_ms);
    if (d.source < 0 || d.source == source)
        ask->past.avoid = -1;
    return ask->past.avoid >= 0;
}

struct virtual_consequence router_virtual_answered(struct router_virtual *v, const struct virtual_answer *a,
                                                   struct virtual_ask *ask, uint64_t now_ms)
{
    struct router_report report = {.source = a->source,
                                   .tenant = a->tenant,
                                   .answer = a->answer,
                                   .recipients = 1,
                                   .now_us = router_virtual_us(now_ms)};
    router_connection_closed(v->state, a->from, a->source);
    router_answered(v->state, a->from, &report);
    flush(v, now_ms);
    ask->past.attempts++;
    if (a->answer->class == ANSWER_ACCEPTED)
        return (struct virtual_consequence){.then = VIRTUAL_DELIVERED};
    if (a->answer->hard)
        return (struct virtual_consequence){.then = VIRTUAL_BOUNCED};
    ask->past.sticky = -1;
    if (answer_elsewhere(a->answer) && goes_elsewhere(v, ask, a->source, now_ms))
        return (struct virtual_consequence){.then = VIRTUAL_AT_ONCE};
    ask->past.avoid = -1;
    if (a->answer->reaction == REACT_SAME_SOURCE)
        ask->past.sticky = a->source;
    bool theirs = a->answer->asked || a->answer->blame != BLAME_SOURCE;
    return (struct virtual_consequence){.then = VIRTUAL_WAITS, .asked_ms = theirs ? a->answer->wait_ms : 0};
}
