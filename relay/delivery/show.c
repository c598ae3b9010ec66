/* Decisions with all their candidates, as events tell them: so rare that the copies do not count. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/delivery/delivery_private.h"
#include "router/frame.h"

enum { HELD_EVERY_US = 1000000 };

/* ---- frames ---- */

static void put_members(struct owner *o, const struct router_scope *limits, uint32_t members)
{
    struct buf names = BUF_INIT;
    char key[24];
    int n;
    const int *sources = router_scope_sources(limits, &n);
    for (int i = 0; i < n; i++)
        buf_printf(&names, "%s\n", o->settings->router.sources[sources[i]].name);
    int len = snprintf(key, sizeof(key), "members:%08" PRIx32, members);
    partition_put_state(o->partition, span_of(key, (size_t)len), buf_span(&names));
    buf_fini(&names);
}

static void show_members(struct scope *scope)
{
    struct owner *o = scope->lane->owner;
    uint32_t members = router_scope_members(scope->limits);
    struct span key = span_of((const char *)&members, sizeof(members));
    if (scope->members_noted == members)
        return;
    scope->members_noted = members;
    if (!map_put(&o->members, key, o))
        put_members(o, scope->limits, members);
}

void show_frame(struct scope *scope, struct router_decision *d)
{
    show_members(scope);
    router_frame_pack(d->candidates, d, scope->members_noted,
                      loop_now_us(scope->lane->owner->delivery->shard->loop), &d->frame);
}

/* ---- whole lists ---- */

static Remuda__Candidate *candidate(struct arena *a, const struct router_candidate *c, const char *source,
                                    uint64_t now_us)
{
    Remuda__Candidate *out = arena_alloc(a, sizeof(*out));
    remuda__candidate__init(out);
    out->source = arena_strdup(a, source);
    out->weight = c->weight;
    out->score = c->score;
    out->verdict = (char *)(uintptr_t)router_verdict_text(c->verdict);
    out->rank = (uint32_t)c->rank;
    out->credit = c->credit;
    out->wait_us = c->until_us > now_us ? c->until_us - now_us : c->until_us > 0;
    return out;
}

/* whole: with all candidates; else with their frame. */
static void note(struct scope *scope, struct sub *s, bool whole)
{
    struct router_candidate list[ROUTER_LANE_SOURCES_MOST];
    struct router_decision d = {.source = -1, .candidates = list};
    const struct owner *o = scope->lane->owner;
    const struct router_source *sources = o->settings->router.sources;
    dispatch_decide(scope, s, &d);
    show_frame(scope, &d);
    show_free(s);
    s->shown = calloc(1, sizeof(*s->shown));
    ENSURE(s->shown);
    struct arena *a = &s->shown->arena;
    Remuda__Decision *out = &s->shown->decision;
    arena_init(a);
    remuda__decision__init(out);
    out->reason = (char *)(uintptr_t)router_verdict_text(d.cause);
    out->runner_up = arena_strdup(a, d.runner_up >= 0 ? sources[d.runner_up].name : "");
    out->state_version = d.state_version;
    s->shown->frame = d.frame;
    out->frame = (ProtobufCBinaryData){whole ? 0 : d.frame.n, s->shown->frame.bytes};
    out->n_candidates = whole ? (size_t)d.n_candidates : 0;
    out->candidates = arena_alloc(a, sizeof(*out->candidates) * (out->n_candidates + 1));
    for (size_t i = 0; i < out->n_candidates; i++)
        out->candidates[i] =
            candidate(a, &list[i], sources[list[i].source].name, loop_now_us(o->delivery->shard->loop));
}

void show_chosen(struct scope *scope, struct sub *s)
{
    note(scope, s, true);
}

void show_held(struct sub *s)
{
    struct scope *scope = s->flow ? s->flow->scope : NULL;
    uint64_t now = loop_now_us(s->owner->delivery->shard->loop);
    if (!scope || !scope->limits || !s->dest)
        return;
    bool whole = now - scope->shown_us >= HELD_EVERY_US;
    scope->shown_us = whole ? now : scope->shown_us;
    note(scope, s, whole);
}

void show_free(struct sub *s)
{
    if (!s->shown)
        return;
    arena_fini(&s->shown->arena);
    free(s->shown);
    s->shown = NULL;
}
