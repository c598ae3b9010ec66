/* Reads an hour of events, lets both sides live through it, counts what became of each message. */
#include "relay/simulate/simulate.h"

#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/err.h"
#include "proto/codec.h"
#include "relay/ctl/text.h"
#include "router/pair.h"

enum {
    HOUR_MS = 3600000,
    DAY_MS = 24 * HOUR_MS,
    TOLD_LATE_MS = 60000, /* an acceptance is told some seconds later */
    LATER_MS = 60000
};
/* Times of the run have 32 bits of milliseconds: a range and what still waits at its end. */
static const uint64_t range_most_ms = 35ull * DAY_MS, drain_most_ms = 10ull * DAY_MS;

/* ---- what became of a message ---- */

static void *at_number(void ***list, uint32_t *n, uint32_t number, size_t bytes)
{
    if (number >= *n) {
        uint32_t more = number + 64;
        *list = realloc(*list, more * sizeof(**list));
        ENSURE(*list);
        memset(*list + *n, 0, (more - *n) * sizeof(**list));
        *n = more;
    }
    if (!(*list)[number]) {
        (*list)[number] = calloc(1, bytes);
        ENSURE((*list)[number]);
    }
    return (*list)[number];
}

static struct provider_change *provider_of(struct simulation *s, uint32_t number)
{
    return at_number((void ***)&s->providers, &s->n_providers, number, sizeof(struct provider_change));
}

static struct tenant_change *tenant_of(struct simulation *s, uint32_t number)
{
    return at_number((void ***)&s->tenants, &s->n_tenants, number, sizeof(struct tenant_change));
}

static uint32_t source_name(const struct simulation *s, const struct replayed *m, int side)
{
    int source = m->passages[side].source;
    const struct router_config *c = &s->options.settings[side]->router;
    return source < 0 ? NAME_NONE : names_find(&s->names, span_str(c->sources[source].name));
}

static void count_move(struct simulation *s, uint32_t provider, uint32_t from, uint32_t to)
{
    uint32_t parts[3] = {provider, from, to};
    struct span key = span_of((const char *)parts, sizeof(parts));
    struct move *m = map_get(&s->moves, key);
    if (!m) {
        m = calloc(1, sizeof(*m));
        ENSURE(m);
        *m = (struct move){.provider = provider, .from = from, .to = to};
        map_put(&s->moves, key, m);
    }
    m->messages++;
}

/* Delivered on both sides. Returns true when it is over a minute later with the new configuration. */
static bool count_delay(struct provider_change *p, const struct replayed *m)
{
    uint32_t before = m->passages[SIDE_OLD].ended_ms, after = m->passages[SIDE_NEW].ended_ms;
    for (int i = 0; i < SIDES; i++)
        histogram_add(&p->took[i], m->passages[i].ended_ms - m->at_ms);
    if (after >= before)
        histogram_add(&p->later, after - before);
    else
        histogram_add(&p->sooner, before - after);
    return after > before && after - before > LATER_MS;
}

static void count_waiting(const struct replayed *m, uint64_t waited_ms[SIDES])
{
    for (int i = 0; i < SIDES; i++)
        waited_ms[i] += m->passages[i].waited_ms;
}

static void count(struct simulation *s, const struct replayed *m)
{
    struct provider_change *p = provider_of(s, m->provider);
    struct tenant_change *t = tenant_of(s, m->tenant);
    enum fate before = m->passages[SIDE_OLD].fate, after = m->passages[SIDE_NEW].fate;
    uint32_t from = source_name(s, m, SIDE_OLD), to = source_name(s, m, SIDE_NEW);
    p->messages++;
    t->messages++;
    p->fates[SIDE_OLD][before]++;
    p->fates[SIDE_NEW][after]++;
    count_waiting(m, p->waited_ms);
    count_waiting(m, t->waited_ms);
    p->changed += before != after;
    t->changed += before != after;
    if (before == FATE_DELIVERED && m->went_from != NAME_NONE) {
        s->known++;
        s->as_recorded += m->went_from == from;
    }
    if (before != FATE_DELIVERED || after != FATE_DELIVERED)
        return;
    t->later += count_delay(p, m);
    if (from == to)
        return;
    p->moved++;
    t->moved++;
    count_move(s, m->provider, from, to);
}

static void ended(void *arg, uint32_t message, int side)
{
    struct simulation *s = arg;
    const struct replayed *m = &s->messages.list[message];
    if (m->passages[!side].fate == FATE_WAITING)
        return;
    count(s, m);
    messages_drop(&s->messages, message);
}

/* ---- begin and end ---- */

/* Whole days later than recorded, so that what is stored of the pairs is from before the first message. */
static uint64_t wall_after(uint64_t base_ms, uint64_t known_ms)
{
    uint64_t days = known_ms > base_ms ? (known_ms - base_ms + DAY_MS - 1) / DAY_MS : 0;
    return base_ms + days * DAY_MS;
}

static const Remuda__PairState *decode_pair(struct arena *a, const json_t *pair, struct buf *bytes)
{
    buf_clear(bytes);
    const char *hex = text_get(pair, "record");
    unsigned byte;
    for (; sscanf(hex, "%2x", &byte) == 1 && hex[0] && hex[1]; hex += 2)
        buf_add_char(bytes, (char)byte);
    return bytes->len ? pair_decode(a, buf_span(bytes)) : NULL;
}

static uint64_t pairs_known_ms(const json_t *pairs)
{
    uint64_t newest = 0;
    struct arena a = ARENA_INIT;
    struct buf bytes = BUF_INIT;
    for (size_t i = 0; i < json_array_size(pairs); i++) {
        const Remuda__PairState *r = decode_pair(&a, json_array_get(pairs, i), &bytes);
        if (r && r->written_ms > newest)
            newest = r->written_ms;
    }
    buf_fini(&bytes);
    arena_fini(&a);
    return newest;
}

static void load_pairs(struct simulation *s)
{
    struct arena a = ARENA_INIT;
    struct buf bytes = BUF_INIT;
    for (size_t i = 0; i < json_array_size(s->options.pairs); i++) {
        const Remuda__PairState *r = decode_pair(&a, json_array_get(s->options.pairs, i), &bytes);
        bool good = r && side_load(s->sides[SIDE_OLD], r) && side_load(s->sides[SIDE_NEW], r);
        s->pairs_loaded += good;
        s->pairs_refused += !good;
    }
    buf_fini(&bytes);
    arena_fini(&a);
}

static void begin(struct simulation *s, uint64_t first_ms)
{
    uint64_t early = first_ms > TOLD_LATE_MS ? first_ms - TOLD_LATE_MS : 0;
    s->first_ms = first_ms;
    s->world = (struct side_world){.names = &s->names,
                                   .messages = &s->messages,
                                   .answers = s->answers,
                                   .late = &s->late,
                                   .base_ms = early / HOUR_MS * HOUR_MS,
                                   .ended = ended,
                                   .arg = s};
    s->world.wall_ms = wall_after(s->world.base_ms, pairs_known_ms(s->options.pairs));
    for (int i = 0; i < SIDES; i++)
        s->sides[i] = side_new(&s->world, s->options.settings[i], i);
    load_pairs(s);
}

static void run_until(struct simulation *s, uint64_t ms)
{
    for (int i = 0; i < SIDES; i++)
        side_run(s->sides[i], (uint32_t)ms);
}

/* Whatever still waits goes on without new mail; what has not ended after that is counted as waiting. */
static void drain(struct simulation *s)
{
    uint64_t at = s->hour * HOUR_MS, last = at + drain_most_ms;
    while (at < last && (side_waiting(s->sides[SIDE_OLD]) || side_waiting(s->sides[SIDE_NEW]))) {
        at += HOUR_MS;
        run_until(s, at);
    }
    for (uint32_t i = 0; i < s->messages.n; i++)
        if (messages_find(&s->messages, s->messages.list[i].id) == i)
            count(s, &s->messages.list[i]);
}

/* ---- one event ---- */

static bool is_late(const struct recorded *e)
{
    return e->type == RECORDED_COMPLAINT || e->type == RECORDED_LATE_BOUNCE;
}

static uint32_t now_of(const struct simulation *s, uint64_t wall_ms)
{
    return wall_ms > s->world.base_ms ? (uint32_t)(wall_ms - s->world.base_ms) : 0;
}

static void take_late(struct simulation *s, const struct recorded *e)
{
    if (s->n_late == s->cap_late) {
        s->cap_late = s->cap_late ? s->cap_late * 2 : 64;
        s->late = realloc(s->late, s->cap_late * sizeof(*s->late));
        ENSURE(s->late);
    }
    s->late[s->n_late] = (struct late){.source = names_number(&s->names, e->source),
                                       .provider = names_number(&s->names, e->provider),
                                       .tenant = names_number(&s->names, e->tenant),
                                       .complaint = e->type == RECORDED_COMPLAINT};
    for (int i = 0; i < SIDES; i++)
        side_late(s->sides[i], s->n_late, now_of(s, e->time_ms));
    s->n_late++;
}

static bool any_shards(const struct simulation *s)
{
    for (int i = 0; i < SIDES; i++)
        for (int p = 0; p < s->options.settings[i]->router.n_pools; p++)
            if (s->options.settings[i]->router.pools[p].shards > 1)
                return true;
    return false;
}

/* A submission's first event. */
static uint32_t take_message(struct simulation *s, const struct recorded *e, struct buf *error)
{
    uint32_t i = messages_new(&s->messages, e->submission);
    if (i == MESSAGE_NONE) {
        buf_printf(error, "more than %d messages wait at once: choose a shorter range\n", MESSAGES_MOST);
        return i;
    }
    struct replayed *m = &s->messages.list[i];
    struct span site = e->scope.len ? e->scope : e->domain;
    m->at_ms = now_of(s, e->accepted_ms);
    m->tenant = names_number(&s->names, e->tenant);
    m->sender = names_number(&s->names, e->sender);
    m->provider = names_number(&s->names, e->provider);
    m->site = hash64(site.ptr, site.len);
    m->domain = s->sharded ? strndup(e->domain.len ? e->domain.ptr : "", e->domain.len) : NULL;
    s->replayed++;
    for (int k = 0; k < SIDES; k++)
        side_arrives(s->sides[k], i, e->domain, e->mx_host);
    return messages_find(&s->messages, e->submission);
}

/* Only the first event of an attempt counts: its recipients may have had different answers. */
static void take_attempt(struct simulation *s, uint32_t message, const struct recorded *e)
{
    struct replayed *m = message == MESSAGE_NONE ? NULL : &s->messages.list[message];
    if (m && e->attempt && m->last_attempt == e->attempt)
        return;
    struct record r = {.source = names_number(&s->names, e->source),
                       .number = answers_number(s->answers, e),
                       .took_ms = e->took_ms < HOUR_MS ? (uint32_t)e->took_ms : HOUR_MS};
    struct answer_place where = {r.source, names_number(&s->names, e->provider), e->time_ms / HOUR_MS};
    if (!answers_get(s->answers, r.number)->of_message)
        answers_count(s->answers, &where, r.number, r.took_ms);
    if (!m)
        return;
    m->last_attempt = e->attempt;
    if (e->type == RECORDED_DELIVERED)
        m->went_from = r.source;
    messages_record(&s->messages, message, &r);
}

/* It was tried from a source, and this is what came of it. */
static bool is_attempt(const struct recorded *e)
{
    bool answered =
        e->type == RECORDED_DELIVERED || e->type == RECORDED_DEFERRED || e->type == RECORDED_BOUNCED;
    return answered && e->source.len && !span_eq(e->cause, SPAN_LIT("next-host"));
}

/* No such domain, suppressed: no source was ever wanted. */
static bool wants_no_source(const struct recorded *e)
{
    return e->final && !e->source.len && (e->type == RECORDED_BOUNCED || e->type == RECORDED_SUPPRESSED);
}

static bool take(struct simulation *s, const struct recorded *e, struct buf *error)
{
    if (is_late(e))
        take_late(s, e);
    if (is_late(e) || !e->submission)
        return true;
    uint32_t message = messages_find(&s->messages, e->submission);
    if (e->accepted_ms && message == MESSAGE_NONE) {
        if (wants_no_source(e)) {
            s->unrouted++;
            return true;
        }
        message = take_message(s, e, error);
        if (error->len)
            return false;
    }
    if (is_attempt(e))
        take_attempt(s, message, e);
    return true;
}

/* Lets both sides live through the hours that have been read whole. */
static bool take_timely(struct simulation *s, const struct recorded *e, struct buf *error)
{
    if (!s->sides[SIDE_OLD])
        begin(s, e->time_ms);
    if (e->time_ms > s->first_ms + range_most_ms) {
        buf_add_str(error, "the events are of more than 35 days: choose a shorter range\n");
        return false;
    }
    while (e->time_ms >= s->world.base_ms + (s->hour + 1) * HOUR_MS + TOLD_LATE_MS)
        run_until(s, ++s->hour * HOUR_MS);
    s->events++;
    s->last_ms = e->time_ms > s->last_ms ? e->time_ms : s->last_ms;
    return take(s, e, error);
}

struct simulation *simulate(const struct simulate_options *options, struct buf *error)
{
    struct simulation *s = calloc(1, sizeof(*s));
    json_t *event;
    bool good = true;
    ENSURE(s);
    s->options = *options;
    s->sharded = any_shards(s);
    messages_init(&s->messages);
    s->answers = answers_new(options->settings);
    while (good && (event = recorded_feed_next(options->feed, error))) {
        struct recorded e;
        good = !recorded_read(event, &e) || take_timely(s, &e, error);
        json_decref(event);
    }
    if (good && !error->len && !s->replayed)
        buf_add_str(error, "there is no message among these events\n");
    if (error->len) {
        simulate_free(s);
        return NULL;
    }
    drain(s);
    return s;
}

static void free_all(void **list, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        free(list[i]);
    free(list);
}

void simulate_free(struct simulation *s)
{
    size_t at = 0;
    struct span key;
    void *value;
    for (int i = 0; i < SIDES; i++)
        if (s->sides[i])
            side_free(s->sides[i]);
    while (map_next(&s->moves, &at, &key, &value))
        free(value);
    map_fini(&s->moves);
    free_all((void **)s->providers, s->n_providers);
    free_all((void **)s->tenants, s->n_tenants);
    free(s->late);
    answers_free(s->answers);
    messages_fini(&s->messages);
    names_fini(&s->names);
    free(s);
}
