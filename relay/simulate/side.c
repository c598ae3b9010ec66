/* What happens in virtual time, one thing after another; who goes next in a lane. */
#include "relay/simulate/side_private.h"

#include <stdlib.h>

#include "lib/base/err.h"

enum {
    TICK_MS = 1000,
    MINUTE_MS = 60000,
    UNKNOWN_WAIT_MS = 1000,
    NO_SOURCE_WAIT_MS = 60000,
    ASIDE_MS = 30000,
    SWEEP_MS = 10000,
    ROUND_OVERFLOWS = 10, /* as in relay/delivery/reroute.c */
};

struct side *side_new(const struct side_world *world, const struct settings *settings, int number)
{
    struct side *s = calloc(1, sizeof(*s));
    ENSURE(s);
    s->w = *world;
    s->settings = settings;
    s->number = number;
    s->free_lane = NOTHING;
    s->router = router_virtual_new(&settings->router, world->wall_ms);
    s->source_names = calloc((size_t)settings->router.n_sources + 1, sizeof(*s->source_names));
    ENSURE(s->source_names);
    for (int i = 0; i < settings->router.n_sources; i++)
        s->source_names[i] = names_number(world->names, span_str(settings->router.sources[i].name));
    timeline_add(&s->timeline, (struct moment){.kind = MOMENT_TICK});
    return s;
}

static void free_values(struct map *m)
{
    size_t at = 0;
    struct span key;
    void *value;
    while (map_next(m, &at, &key, &value))
        free(value);
    map_fini(m);
}

void side_free(struct side *s)
{
    side_lanes_free(s);
    router_virtual_free(s->router);
    timeline_fini(&s->timeline);
    free_values(&s->verdicts);
    free_values(&s->pairs);
    map_fini(&s->tenants);
    map_fini(&s->providers);
    free(s->source_names);
    free(s);
}

bool side_load(struct side *s, const Remuda__PairState *record)
{
    return router_load_pair(router_virtual_state(s->router), record, s->w.wall_ms);
}

/* ---- figures ---- */

uint32_t side_waiting(const struct side *s)
{
    return s->waiting;
}

const struct pair_use *side_next_pair(const struct side *s, size_t *pos)
{
    struct span key;
    void *value;
    return map_next(&s->pairs, pos, &key, &value) ? value : NULL;
}

uint64_t side_held_ms(const struct side *s, enum router_verdict cause)
{
    return s->held_ms[cause];
}

uint64_t side_attempts(const struct side *s)
{
    return s->attempts;
}

uint64_t side_drawn(const struct side *s)
{
    return s->drawn;
}

uint64_t side_overflowed(const struct side *s)
{
    return s->overflowed;
}

uint64_t side_quarantined(const struct side *s)
{
    return s->quarantined;
}

/* ---- waiting ---- */

static void wake_at(struct side *s, struct lane *l, uint64_t at_ms)
{
    if (l->wake_at_ms && l->wake_at_ms <= at_ms)
        return;
    l->wake_at_ms = (uint32_t)at_ms;
    timeline_add(&s->timeline,
                 (struct moment){.at_ms = at_ms, .kind = MOMENT_WAKE, .a = (uint32_t)(l - s->lanes)});
}

static bool is_out(const struct side *s, const struct lane *l)
{
    return router_scope_outage(router_virtual_state(s->router), l->scope, l->cause,
                               router_virtual_us(s->now_ms));
}

/* When it goes to another pool: 0 for never. */
static uint64_t overflow_at(struct side *s, const struct lane *l, uint32_t message, uint32_t *bit)
{
    const struct passage *p = side_passage(s, message);
    uint64_t after = s->settings->delivery.overflow_ms;
    const struct settings_tenant *t = side_tenant(s, side_message(s, message)->tenant);
    bool alone = !p->left && t->n_pools == 1 && s->settings->router.pools[p->pool].fallback < 0;
    if (!after || alone)
        return 0;
    bool goes = side_next_pool(s, message, bit) >= 0;
    if (goes && !is_out(s, l))
        return (l->out_ms > p->ready_ms ? l->out_ms : p->ready_ms) + after;
    return goes || p->left ? p->ready_ms + after * ROUND_OVERFLOWS : 0;
}

static void move(struct side *s, uint32_t message, int pool, uint32_t bit)
{
    struct passage *p = side_passage(s, message);
    p->left |= bit;
    p->pool = (int16_t)pool;
    s->overflowed++;
    side_ready_at(s, message, s->now_ms);
}

/* True when the head of the queue has gone to another pool. */
static bool overflow(struct side *s, struct lane *l, struct queue *q)
{
    uint32_t bit, message = q->first;
    uint64_t at = overflow_at(s, l, message, &bit);
    if (!at || s->now_ms < at)
        return false;
    struct passage *p = side_passage(s, message);
    if (side_next_pool(s, message, &bit) < 0)
        p->left = 0; /* has been in all: they are worth trying again */
    int pool = side_next_pool(s, message, &bit);
    if (pool < 0)
        return false;
    p->waited_ms += s->now_ms - p->ready_ms;
    s->held_ms[l->cause] += s->now_ms - p->ready_ms;
    (void)side_pop(s, l, q);
    move(s, message, pool, bit);
    return true;
}

/* Of all tenants, while the whole lane waits. */
static void sweep(struct side *s, struct lane *l)
{
    bool any = s->settings->delivery.overflow_ms > 0;
    for (uint32_t i = 0; any && i < l->n_queues; i++)
        while (l->queues[i].first != MESSAGE_NONE && overflow(s, l, &l->queues[i]))
            ;
    uint64_t next = any ? s->now_ms + SWEEP_MS : UINT64_MAX;
    if (s->now_ms < l->held_until_ms && l->held_until_ms < next)
        next = l->held_until_ms;
    if (l->waiting && next != UINT64_MAX)
        wake_at(s, l, next);
}

/* A wait without a known end is looked at again soon where nothing else wakes the lane. */
static void hold(struct side *s, struct lane *l, const struct virtual_choice *c)
{
    bool others = c->cause == ROUTER_TOTAL_CONNECTIONS || c->cause == ROUTER_TOTAL_RATE;
    l->cause = c->cause;
    l->out_ms = is_out(s, l) ? s->now_ms : l->out_ms;
    if (c->until_ms > s->now_ms) {
        l->held_until_ms = (uint32_t)c->until_ms;
        wake_at(s, l, c->until_ms);
    } else if (others || !l->in_flight) {
        wake_at(s, l, s->now_ms + (c->cause == ROUTER_NO_SOURCE ? NO_SOURCE_WAIT_MS : UNKNOWN_WAIT_MS));
    }
    sweep(s, l);
}

/* ---- one message ---- */

enum step { STEP_GONE, STEP_TENANT_WAITS, STEP_LANE_WAITS };

/* It has a past that holds it, and the mail behind it may go. */
static bool waits_alone(struct side *s, struct virtual_ask *ask, const struct virtual_choice *c)
{
    if (c->hold == VIRTUAL_HOLD_ALONE)
        return true;
    if (c->cause != ROUTER_WARMING)
        return false;
    ask->past = (struct virtual_past){.sticky = -1, .avoid = -1};
    return router_virtual_choose(s->router, ask, s->now_ms).source >= 0;
}

static bool leaves(struct side *s, struct lane *l, struct queue *q)
{
    uint32_t message = q->first;
    const struct replayed *m = side_message(s, message);
    if (s->now_ms >= m->at_ms + side_schedule(s, m, &m->passages[s->number])->lifetime_ms) {
        struct passage *p = side_passage(s, message);
        p->waited_ms += s->now_ms - p->ready_ms;
        s->held_ms[l->cause] += s->now_ms - p->ready_ms;
        (void)side_pop(s, l, q);
        side_end(s, message, FATE_EXPIRED);
        return true;
    }
    if (side_pool(s, message) != l->pool) {
        side_ready_at(s, side_pop(s, l, q), s->now_ms);
        return true;
    }
    return overflow(s, l, q);
}

static bool tenant_waits(struct side *s, struct lane *l, struct queue *q)
{
    uint64_t until_us;
    if (router_tenant_may(router_virtual_state(s->router), span_str(names_text(s->w.names, q->tenant)),
                          span_str(s->settings->router.providers[l->provider].name),
                          router_virtual_us(s->now_ms), &until_us))
        return false;
    uint64_t wait_ms = (until_us - router_virtual_us(s->now_ms)) / 1000 + 1;
    q->held_until_ms = s->now_ms + (uint32_t)wait_ms;
    wake_at(s, l, q->held_until_ms);
    return true;
}

static bool next_pool_has(struct side *s, struct lane *l, struct queue *q)
{
    uint32_t bit;
    int pool = side_next_pool(s, q->first, &bit);
    if (pool >= 0)
        move(s, side_pop(s, l, q), pool, bit);
    return pool >= 0;
}

static enum step step(struct side *s, struct lane *l, struct queue *q)
{
    if (leaves(s, l, q))
        return STEP_GONE;
    if (tenant_waits(s, l, q))
        return STEP_TENANT_WAITS;
    uint32_t message = q->first;
    const struct replayed *m = side_message(s, message);
    const struct passage *p = &m->passages[s->number];
    struct virtual_ask ask = {.scope = l->scope,
                              .sender = span_str(names_text(s->w.names, m->sender)),
                              .past = {p->sticky, p->avoid, p->rounds}};
    struct virtual_choice c = router_virtual_choose(s->router, &ask, s->now_ms);
    if (c.source >= 0) {
        (void)side_pop(s, l, q);
        side_start(s, message, c.source);
        return STEP_GONE;
    }
    if (c.cause == ROUTER_NO_SOURCE && next_pool_has(s, l, q))
        return STEP_GONE;
    if (waits_alone(s, &ask, &c)) {
        uint64_t until = c.until_ms > s->now_ms ? c.until_ms : s->now_ms + ASIDE_MS;
        side_ready_at(s, side_pop(s, l, q), (uint32_t)until);
        return STEP_GONE;
    }
    hold(s, l, &c);
    return STEP_LANE_WAITS;
}

/* Sends what may go, tenant after tenant; stops when the whole lane has to wait. */
static void dispatch(struct side *s, uint32_t lane)
{
    struct lane *l = &s->lanes[lane];
    for (uint32_t idle = 0; idle < l->n_queues && s->now_ms >= l->held_until_ms;) {
        struct queue *q = &l->queues[l->turn % l->n_queues];
        if (q->first == MESSAGE_NONE || s->now_ms < q->held_until_ms) {
            if (q->first != MESSAGE_NONE)
                wake_at(s, l, q->held_until_ms);
            l->turn++;
            idle++;
            continue;
        }
        enum step did = step(s, l, q);
        if (did == STEP_LANE_WAITS)
            return;
        l->turn++;
        idle = did == STEP_GONE ? 0 : idle + 1;
    }
}

/* ---- what happens ---- */

static void take_in(struct side *s, uint32_t message)
{
    struct passage *p = side_passage(s, message);
    int pool = side_pool(s, message);
    s->quarantined +=
        pool != p->pool && side_tenant(s, side_message(s, message)->tenant)->quarantine.pool == pool;
    p->pool = (int16_t)pool;
    p->lane = side_lane(s, message);
    side_push(s, message);
    dispatch(s, p->lane);
}

void side_arrives(struct side *s, uint32_t message, struct span domain, struct span mx_host)
{
    const struct replayed *m = side_message(s, message);
    struct passage *p = side_passage(s, message);
    const struct settings_tenant *t = side_tenant(s, m->tenant);
    *p = (struct passage){.record = NOTHING, .said = NOTHING, .sticky = -1, .avoid = -1, .source = -1};
    uint32_t at = m->at_ms > s->now_ms ? m->at_ms : s->now_ms;
    s->waiting++;
    if (!t) {
        side_end(s, message, FATE_REFUSED);
        return;
    }
    p->pool = (int16_t)t->pools[0];
    p->provider = (int16_t)side_provider(s, m->provider, domain, mx_host);
    (void)side_verdict(s, m->tenant, p->provider);
    side_ready_at(s, message, at);
}

void side_late(struct side *s, uint32_t i, uint32_t at_ms)
{
    timeline_add(&s->timeline, (struct moment){.at_ms = at_ms, .kind = MOMENT_LATE, .a = i});
}

static void comes_back(struct side *s, const struct late *what)
{
    struct router_late late = {.source = span_str(names_text(s->w.names, what->source)),
                               .provider = span_str(names_text(s->w.names, what->provider)),
                               .tenant = span_str(names_text(s->w.names, what->tenant)),
                               .wall_ms = s->w.wall_ms + s->now_ms};
    struct router_state *state = router_virtual_state(s->router);
    if (what->complaint)
        router_complained(state, &late);
    else
        router_bad_mailbox(state, &late);
}

static void tick(struct side *s)
{
    bool wakes = router_virtual_tick(s->router, s->now_ms);
    if (s->now_ms % MINUTE_MS == 0)
        side_judge(s);
    for (uint32_t i = 0; wakes && i < s->n_lanes; i++) {
        struct lane *l = &s->lanes[i];
        if (!l->waiting || (l->cause != ROUTER_CAP && l->cause != ROUTER_WARMING))
            continue;
        l->held_until_ms = 0;
        dispatch(s, i);
    }
    timeline_add(&s->timeline, (struct moment){.at_ms = s->now_ms + TICK_MS, .kind = MOMENT_TICK});
}

static void happen(struct side *s, const struct moment *m)
{
    uint32_t lane = m->a;
    switch ((enum moment_kind)m->kind) {
    case MOMENT_READY:
        take_in(s, m->a);
        break;
    case MOMENT_FINISHED:
        lane = side_passage(s, m->a)->lane;
        side_finish(s, m->a);
        dispatch(s, lane);
        side_lane_done(s, lane);
        break;
    case MOMENT_WAKE:
        if (s->lanes[lane].wake_at_ms != m->at_ms)
            break;
        s->lanes[lane].wake_at_ms = 0;
        if (s->now_ms < s->lanes[lane].held_until_ms)
            sweep(s, &s->lanes[lane]);
        dispatch(s, lane);
        side_lane_done(s, lane);
        break;
    case MOMENT_LATE:
        comes_back(s, &(*s->w.late)[m->a]);
        break;
    case MOMENT_TICK:
        tick(s);
        break;
    }
}

void side_run(struct side *s, uint32_t until_ms)
{
    const struct moment *first;
    while ((first = timeline_first(&s->timeline)) && first->at_ms < until_ms) {
        struct moment m;
        (void)timeline_next(&s->timeline, &m);
        if (m.at_ms > s->now_ms)
            s->now_ms = (uint32_t)m.at_ms;
        happen(s, &m);
    }
    s->now_ms = until_ms > s->now_ms ? until_ms : s->now_ms;
}
