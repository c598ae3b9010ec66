/* An attempt, what is said to it, and what follows. */
#include "relay/simulate/side_private.h"

#include <stdlib.h>

#include "lib/base/err.h"

static struct pair_use *use_of(struct side *s, int source, int provider)
{
    uint32_t name = names_number(s->w.names, span_str(s->settings->router.providers[provider].name));
    uint32_t parts[2] = {s->source_names[source], name};
    struct span key = span_of((const char *)parts, sizeof(parts));
    struct pair_use *u = map_get(&s->pairs, key);
    if (u)
        return u;
    u = calloc(1, sizeof(*u));
    ENSURE(u);
    u->source = parts[0];
    u->provider = name;
    map_put(&s->pairs, key, u);
    return u;
}

/* An attempt that uses up a cap counts it: each hour and each day once. */
static void count_caps(struct side *s, struct pair_use *u)
{
    struct router_pair_view v;
    uint64_t wall_ms = s->w.wall_ms + s->now_ms;
    if (u->hour != wall_ms / HOUR_MS)
        u->hour_attempts = 0;
    u->hour = wall_ms / HOUR_MS;
    u->hour_attempts++;
    if (!router_pair_find(router_virtual_state(s->router), span_str(names_text(s->w.names, u->source)),
                          span_str(names_text(s->w.names, u->provider)), router_virtual_us(s->now_ms), &v) ||
        v.cap == UINT64_MAX)
        return;
    u->cap_hours += u->hour_attempts == v.hour_cap;
    if (v.used >= v.cap && u->day != wall_ms / DAY_MS) {
        u->day = wall_ms / DAY_MS;
        u->cap_days++;
    }
}

/* ---- what is said ---- */

/* The next recorded answer to this message that this source got, or that is about the message itself. */
static uint32_t recorded(const struct side *s, const struct replayed *m, const struct passage *p,
                         uint32_t source)
{
    const struct record *records = s->w.messages->records;
    uint32_t at = p->record == NOTHING ? m->first : records[p->record].next;
    while (at != NOTHING && records[at].source != source &&
           !answers_get(s->w.answers, records[at].number)->of_message)
        at = records[at].next;
    return at;
}

static struct drawn what_is_said(struct side *s, uint32_t message, uint32_t source)
{
    const struct replayed *m = side_message(s, message);
    struct passage *p = side_passage(s, message);
    uint32_t at = recorded(s, m, p, source);
    if (at != NOTHING) {
        const struct record *r = &s->w.messages->records[at];
        p->record = at;
        return (struct drawn){r->number, r->took_ms};
    }
    struct answer_place where = {source, m->provider, (s->w.base_ms + s->now_ms) / HOUR_MS};
    uint64_t parts[2] = {m->id, p->tries};
    struct drawn d = {.number = NOTHING};
    s->drawn++;
    (void)answers_draw(s->w.answers, &where, hash64(parts, sizeof(parts)), &d);
    return d;
}

static const struct router_answer *meaning(const struct side *s, const struct passage *p)
{
    static const struct router_answer accepted = {.rule = "none", .class = ANSWER_ACCEPTED};
    return p->said == NOTHING ? &accepted : &answers_get(s->w.answers, p->said)->by[s->number];
}

/* ---- begin ---- */

void side_start(struct side *s, uint32_t message, int source)
{
    struct passage *p = side_passage(s, message);
    struct lane *l = &s->lanes[p->lane];
    const char *provider = s->settings->router.providers[l->provider].name;
    router_virtual_start(s->router, l->scope, s->now_ms);
    router_tenant_take(router_virtual_state(s->router),
                       span_str(names_text(s->w.names, side_message(s, message)->tenant)), span_str(provider),
                       router_virtual_us(s->now_ms));
    uint32_t waited = s->now_ms - p->ready_ms;
    p->waited_ms += waited;
    s->held_ms[waited ? l->cause : ROUTER_CHOSEN] += waited;
    struct drawn d = what_is_said(s, message, s->source_names[source]);
    p->said = d.number;
    p->source = (int16_t)source;
    p->left = 0;
    p->tries += p->tries < UINT8_MAX;
    l->in_flight++;
    s->attempts++;
    struct pair_use *u = use_of(s, source, l->provider);
    u->attempts++;
    if (router_warms_up(l->scope, source))
        count_caps(s, u);
    uint32_t at = s->now_ms + (uint32_t)(d.took_ms ? d.took_ms : 1);
    timeline_add(&s->timeline, (struct moment){.at_ms = at, .kind = MOMENT_FINISHED, .a = message});
}

/* ---- end ---- */

void side_ready_at(struct side *s, uint32_t message, uint32_t at_ms)
{
    timeline_add(&s->timeline, (struct moment){.at_ms = at_ms, .kind = MOMENT_READY, .a = message});
}

void side_end(struct side *s, uint32_t message, enum fate fate)
{
    struct passage *p = side_passage(s, message);
    p->fate = (uint8_t)fate;
    p->ended_ms = s->now_ms;
    s->waiting--;
    s->w.ended(s->w.arg, message, s->number);
}

static void try_again(struct side *s, uint32_t message, uint64_t asked_ms)
{
    const struct replayed *m = side_message(s, message);
    struct passage *p = side_passage(s, message);
    const struct retry_schedule *schedule = side_schedule(s, m, p);
    p->rounds += p->rounds < UINT8_MAX;
    uint64_t parts[2] = {m->id, p->rounds};
    uint64_t wait = retry_wait_ms(schedule, p->rounds, asked_ms, (uint32_t)hash64(parts, sizeof(parts)));
    uint64_t due = s->now_ms + wait, last = m->at_ms + schedule->lifetime_ms;
    side_ready_at(s, message, (uint32_t)(due < last ? due : last));
}

void side_finish(struct side *s, uint32_t message)
{
    struct passage *p = side_passage(s, message);
    struct lane *l = &s->lanes[p->lane];
    struct span tenant = span_str(names_text(s->w.names, side_message(s, message)->tenant));
    struct virtual_answer said = {p->source, l->scope, tenant, meaning(s, p)};
    struct virtual_ask ask = {.scope = l->scope,
                              .sender = span_str(names_text(s->w.names, side_message(s, message)->sender)),
                              .past = {p->sticky, p->avoid, p->rounds}};
    struct virtual_consequence c = router_virtual_answered(s->router, &said, &ask, s->now_ms);
    struct pair_use *u = use_of(s, p->source, l->provider);
    p->sticky = (int16_t)ask.past.sticky;
    p->avoid = (int16_t)ask.past.avoid;
    l->in_flight--;
    u->delivered += c.then == VIRTUAL_DELIVERED;
    u->bounced += c.then == VIRTUAL_BOUNCED;
    u->deferred += c.then == VIRTUAL_AT_ONCE || c.then == VIRTUAL_WAITS;
    if (c.then == VIRTUAL_DELIVERED)
        side_end(s, message, FATE_DELIVERED);
    else if (c.then == VIRTUAL_BOUNCED)
        side_end(s, message, FATE_BOUNCED);
    else if (c.then == VIRTUAL_AT_ONCE)
        side_ready_at(s, message, s->now_ms + 1);
    else
        try_again(s, message, c.asked_ms);
}
