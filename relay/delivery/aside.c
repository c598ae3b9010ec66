/*
 * A message has one attempt on a source that warms up; after it, it waits for a warm one. It does not make
 * those behind it wait, which any source may take: it is set aside in its flow, and goes before what is ready
 * as soon as a warm source of the lane is free. Only a part of the window is given to that.
 */
#include "relay/delivery/delivery_private.h"

bool aside_put(struct sub *s, uint64_t until_us)
{
    struct scope *scope = s->flow->scope;
    const struct settings_delivery *d = &s->owner->settings->delivery;
    if (s->state != SUB_ASIDE) {
        if (s->flow->n_aside >= d->window_tenant / 2 || s->lane->n_aside >= d->window / 4)
            return false;
        sub_move(s, SUB_ASIDE);
    }
    scope->no_warm = true;
    uint64_t now = loop_now_us(s->owner->delivery->shard->loop);
    if (until_us)
        loop_timer_start(&scope->warm_timer, until_us > now ? (until_us - now + 999) / 1000 : 1);
    return true;
}

void aside_return(struct scope *s)
{
    struct list *node;
    s->no_warm = false;
    while ((node = list_pop_front(&s->resting))) {
        CONTAINER_OF(node, struct flow, ring_node)->resting = false;
        list_push_back(&s->ring, node);
    }
}

void aside_rest(struct flow *f)
{
    if (!f->n_aside || !list_empty(&f->ring_node))
        return;
    f->resting = true;
    list_push_back(&f->scope->resting, &f->ring_node);
}
