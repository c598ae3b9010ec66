/* Timers: a binary heap of borrowed pointers over one uv timer. Deadlines that move later stay where they are
 * in the heap until the old time comes; then they sink to the new one. */
#include <stdlib.h>

#include "lib/net/loop_private.h"

static void place(struct loop *l, uint32_t at, struct loop_timer *t)
{
    l->heap[at] = t;
    t->slot = at + 1;
}

static void sift_up(struct loop *l, uint32_t at, struct loop_timer *t)
{
    while (at > 0) {
        uint32_t parent = (at - 1) / 2;
        if (l->heap[parent]->queued_ms <= t->queued_ms)
            break;
        place(l, at, l->heap[parent]);
        at = parent;
    }
    place(l, at, t);
}

static void sift_down(struct loop *l, uint32_t at, struct loop_timer *t)
{
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= l->n_heap)
            break;
        if (child + 1 < l->n_heap && l->heap[child + 1]->queued_ms < l->heap[child]->queued_ms)
            child++;
        if (l->heap[child]->queued_ms >= t->queued_ms)
            break;
        place(l, at, l->heap[child]);
        at = child;
    }
    place(l, at, t);
}

static void insert(struct loop *l, struct loop_timer *t)
{
    if (l->n_heap == l->heap_cap) {
        l->heap_cap = l->heap_cap ? l->heap_cap * 2 : 64;
        l->heap = realloc(l->heap, l->heap_cap * sizeof(struct loop_timer *));
        ENSURE(l->heap);
    }
    sift_up(l, l->n_heap++, t);
}

static void extract(struct loop *l, struct loop_timer *t)
{
    uint32_t at = t->slot - 1;
    struct loop_timer *last = l->heap[--l->n_heap];
    t->slot = 0;
    if (last == t)
        return;
    if (at > 0 && l->heap[(at - 1) / 2]->queued_ms > last->queued_ms)
        sift_up(l, at, last);
    else
        sift_down(l, at, last);
}

static void on_uv_timer(uv_timer_t *uv)
{
    struct loop *l = CONTAINER_OF(uv, struct loop, timer);
    l->armed_ms = UINT64_MAX;
    loop_timers_run(l);
}

static void arm(struct loop *l)
{
    if (l->n_heap == 0 || l->heap[0]->queued_ms >= l->armed_ms)
        return;
    uint64_t now = loop_now_ms(l);
    l->armed_ms = l->heap[0]->queued_ms;
    uv_update_time(&l->uv);
    uv_timer_start(&l->timer, on_uv_timer, l->armed_ms > now ? l->armed_ms - now : 0, 0);
}

void loop_timers_run(struct loop *l)
{
    uint64_t now = loop_now_ms(l);
    l->firing_ms = now;
    while (l->n_heap && l->heap[0]->queued_ms <= now) {
        struct loop_timer *t = l->heap[0];
        if (t->due_ms > now) {
            t->queued_ms = t->due_ms;
            sift_down(l, 0, t);
            continue;
        }
        extract(l, t);
        t->fire(t);
    }
    l->firing_ms = 0;
    arm(l);
}

void loop_timer_init(struct loop_timer *t, struct loop *l, void (*fire)(struct loop_timer *t))
{
    *t = (struct loop_timer){.loop = l, .fire = fire};
}

void loop_timer_at(struct loop_timer *t, uint64_t at_ms)
{
    struct loop *l = t->loop;
    if (at_ms <= l->firing_ms)
        at_ms = l->firing_ms + 1;
    t->due_ms = at_ms;
    if (t->slot) {
        if (at_ms >= t->queued_ms)
            return;
        extract(l, t);
    }
    t->queued_ms = at_ms;
    insert(l, t);
    if (!l->firing_ms)
        arm(l);
}

void loop_timer_start(struct loop_timer *t, uint64_t delay_ms)
{
    /* Rounded up, so that it never fires early. */
    loop_timer_at(t, (loop_now_us(t->loop) + 999) / 1000 + delay_ms);
}

void loop_timer_stop(struct loop_timer *t)
{
    if (t->slot)
        extract(t->loop, t);
}
