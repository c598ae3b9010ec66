/* What the files of a side share. */
#ifndef REMUDA_RELAY_SIMULATE_SIDE_PRIVATE_H
#define REMUDA_RELAY_SIMULATE_SIDE_PRIVATE_H

#include "lib/base/timeline.h"
#include "relay/simulate/side.h"
#include "router/tenant.h"
#include "router/virtual.h"

enum { HOUR_MS = 3600000, DAY_MS = 24 * HOUR_MS, NOTHING = UINT32_MAX };

enum moment_kind {
    MOMENT_READY,    /* a = message: arrives, or may be tried again */
    MOMENT_FINISHED, /* its attempt */
    MOMENT_WAKE,     /* a = lane */
    MOMENT_LATE,     /* a = world->late */
    MOMENT_TICK,
};

/* Messages of one tenant that wait in a lane. */
struct queue {
    uint32_t tenant, first, last, held_until_ms;
};

/* What the router calls a scope. */
struct lane {
    struct router_scope *scope; /* NULL: free */
    struct queue *queues;
    uint32_t n_queues, cap_queues, turn, waiting, in_flight;
    uint32_t held_until_ms, wake_at_ms; /* wake: of the moment that is on its way, 0 for none */
    uint32_t out_ms;                    /* when it was last held for the receiver */
    uint32_t next_free;
    enum router_verdict cause;
    int pool, provider;
    uint32_t shard;
    uint64_t site;
};

struct verdict {
    uint32_t tenant;
    int provider;
    enum tenant_verdict now;
};

struct side {
    struct side_world w;
    const struct settings *settings;
    int number;
    struct router_virtual *router;
    struct timeline timeline;
    struct lane *lanes;
    uint32_t n_lanes, cap_lanes, free_lane;
    struct map by_key; /* lanes, by number + 1 */
    struct map tenants, providers, verdicts, pairs;
    uint32_t *source_names;
    uint32_t now_ms, waiting;
    uint64_t held_ms[ROUTER_VERDICTS];
    uint64_t attempts, drawn, overflowed, quarantined;
};

static inline struct replayed *side_message(const struct side *s, uint32_t i)
{
    return &s->w.messages->list[i];
}
static inline struct passage *side_passage(const struct side *s, uint32_t i)
{
    return &s->w.messages->list[i].passages[s->number];
}

/* ---- side_lanes.c ---- */
/* The lane that the message goes in, by its pool. */
uint32_t side_lane(struct side *s, uint32_t message);
void side_push(struct side *s, uint32_t message);
uint32_t side_pop(struct side *s, struct lane *l, struct queue *q);
/* Gives it back when it has nothing. */
void side_lane_done(struct side *s, uint32_t lane);
void side_lanes_free(struct side *s);

/* ---- side_pools.c ---- */
/* NULL: not in this configuration. */
const struct settings_tenant *side_tenant(struct side *s, uint32_t tenant);
int side_provider(struct side *s, uint32_t provider, struct span domain, struct span mx_host);
const struct retry_schedule *side_schedule(struct side *s, const struct replayed *m, const struct passage *p);
/* The pool in which a message has to be now: its own, or the quarantine's. */
int side_pool(struct side *s, uint32_t message);
/* The next one to go to, -1 for none; *bit marks the one that it leaves. */
int side_next_pool(struct side *s, uint32_t message, uint32_t *bit);
/* Judges all tenants. */
void side_judge(struct side *s);
struct verdict *side_verdict(struct side *s, uint32_t tenant, int provider);

/* ---- side_attempt.c ---- */
void side_start(struct side *s, uint32_t message, int source);
void side_finish(struct side *s, uint32_t message);
void side_end(struct side *s, uint32_t message, enum fate fate);
/* It waits until then, out of its queue. */
void side_ready_at(struct side *s, uint32_t message, uint32_t at_ms);

#endif
