/* Nonces are kept in two generations: a header is good for EGRESS_CLOCK_MS before and after its time, so one
 * that left with the older generation is refused for its time. */
#include "relay/egress/guard.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "lib/base/map.h"

enum { GENERATION_MS = 2 * EGRESS_CLOCK_MS };

struct egress_guard {
    _Atomic int refs;
    pthread_mutex_t lock;
    uint64_t since_ms;
    uint64_t turn_ms;       /* when the present generation began */
    struct map now, before; /* nonce -> itself: sets */
};

struct egress_guard *egress_guard_new(uint64_t wall_ms)
{
    struct egress_guard *g = calloc(1, sizeof(*g));
    ENSURE(g);
    atomic_init(&g->refs, 1);
    ENSURE(pthread_mutex_init(&g->lock, NULL) == 0);
    g->since_ms = g->turn_ms = wall_ms;
    return g;
}

struct egress_guard *egress_guard_ref(struct egress_guard *g)
{
    atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
    return g;
}

void egress_guard_unref(struct egress_guard *g)
{
    if (!g || atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) != 1)
        return;
    map_fini(&g->now);
    map_fini(&g->before);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

static void turn(struct egress_guard *g, uint64_t wall_ms)
{
    if (wall_ms < g->turn_ms + GENERATION_MS)
        return;
    map_fini(&g->before);
    g->before = g->now;
    g->now = MAP_INIT;
    g->turn_ms = wall_ms;
}

static enum egress_answer admit(struct egress_guard *g, const struct egress_stamp *stamp, uint64_t wall_ms)
{
    turn(g, wall_ms);
    if (stamp->wall_ms < g->since_ms || stamp->wall_ms + EGRESS_CLOCK_MS < wall_ms ||
        stamp->wall_ms > wall_ms + EGRESS_CLOCK_MS)
        return EGRESS_CLOCK;
    if (map_get(&g->before, stamp->nonce) || map_put(&g->now, stamp->nonce, g))
        return EGRESS_AUTH;
    return EGRESS_ACCEPTED;
}

enum egress_answer egress_guard_admit(struct egress_guard *g, const struct egress_stamp *stamp,
                                      uint64_t wall_ms)
{
    pthread_mutex_lock(&g->lock);
    enum egress_answer answer = admit(g, stamp, wall_ms);
    pthread_mutex_unlock(&g->lock);
    return answer;
}
