/* Queues of what waits, by scope and tenant. */
#include "relay/simulate/side_private.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/err.h"
#include "relay/lanes.h"

static uint32_t place_for_lane(struct side *s)
{
    uint32_t i = s->free_lane;
    if (i != NOTHING) {
        s->free_lane = s->lanes[i].next_free;
        return i;
    }
    if (s->n_lanes == s->cap_lanes) {
        s->cap_lanes = s->cap_lanes ? s->cap_lanes * 2 : 64;
        s->lanes = realloc(s->lanes, s->cap_lanes * sizeof(*s->lanes));
        ENSURE(s->lanes);
    }
    return s->n_lanes++;
}

/* Of what makes it this lane. */
static uint64_t key_of(const struct lane *l)
{
    uint64_t parts[] = {(uint64_t)l->pool, (uint64_t)l->provider, l->shard, l->site};
    return hash64(parts, sizeof(parts));
}

static uint32_t lane_get(struct side *s, const struct lane *like)
{
    uint64_t key = key_of(like);
    struct span as_key = span_of((const char *)&key, sizeof(key));
    uintptr_t found = (uintptr_t)map_get(&s->by_key, as_key);
    if (found)
        return (uint32_t)found - 1;
    char site[20] = "";
    if (like->provider == ROUTER_OTHER)
        snprintf(site, sizeof(site), "%016llx", (unsigned long long)like->site);
    uint32_t i = place_for_lane(s);
    s->lanes[i] = *like;
    s->lanes[i].scope = router_scope_ref(router_virtual_state(s->router), like->pool, like->provider,
                                         like->shard, span_str(site));
    map_put(&s->by_key, as_key, (void *)((uintptr_t)i + 1));
    return i;
}

uint32_t side_lane(struct side *s, uint32_t message)
{
    const struct replayed *m = side_message(s, message);
    const struct passage *p = &m->passages[s->number];
    struct lane like = {.pool = p->pool, .provider = p->provider, .cause = ROUTER_CHOSEN};
    like.site = p->provider == ROUTER_OTHER ? m->site : 0;
    if (m->domain)
        like.shard = lanes_pool_shard(&s->settings->router, p->pool,
                                      span_str(names_text(s->w.names, m->sender)), span_str(m->domain));
    return lane_get(s, &like);
}

void side_lane_done(struct side *s, uint32_t lane)
{
    struct lane *l = &s->lanes[lane];
    if (!l->scope || l->waiting || l->in_flight || l->wake_at_ms || l->provider != ROUTER_OTHER)
        return;
    uint64_t key = key_of(l);
    map_remove(&s->by_key, span_of((const char *)&key, sizeof(key)));
    router_scope_unref(router_virtual_state(s->router), l->scope);
    free(l->queues);
    *l = (struct lane){.next_free = s->free_lane};
    s->free_lane = lane;
}

void side_lanes_free(struct side *s)
{
    for (uint32_t i = 0; i < s->n_lanes; i++) {
        if (s->lanes[i].scope)
            router_scope_unref(router_virtual_state(s->router), s->lanes[i].scope);
        free(s->lanes[i].queues);
    }
    free(s->lanes);
    map_fini(&s->by_key);
}

/* ---- queues ---- */

static struct queue *queue_of(struct lane *l, uint32_t tenant)
{
    for (uint32_t i = 0; i < l->n_queues; i++)
        if (l->queues[i].tenant == tenant)
            return &l->queues[i];
    if (l->n_queues == l->cap_queues) {
        l->cap_queues = l->cap_queues ? l->cap_queues * 2 : 2;
        l->queues = realloc(l->queues, l->cap_queues * sizeof(*l->queues));
        ENSURE(l->queues);
    }
    l->queues[l->n_queues] = (struct queue){.tenant = tenant, .first = MESSAGE_NONE, .last = MESSAGE_NONE};
    return &l->queues[l->n_queues++];
}

void side_push(struct side *s, uint32_t message)
{
    struct passage *p = side_passage(s, message);
    struct lane *l = &s->lanes[p->lane];
    struct queue *q = queue_of(l, side_message(s, message)->tenant);
    p->next = MESSAGE_NONE;
    p->ready_ms = s->now_ms;
    if (q->first == MESSAGE_NONE)
        q->first = message;
    else
        side_passage(s, q->last)->next = message;
    q->last = message;
    l->waiting++;
}

uint32_t side_pop(struct side *s, struct lane *l, struct queue *q)
{
    uint32_t i = q->first;
    q->first = side_passage(s, i)->next;
    l->waiting--;
    return i;
}
