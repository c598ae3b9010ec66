/*
 * A router in virtual time: its decisions and its state as they are in the relay, with the little around them
 * that the relay's delivery does (relay/delivery/dispatch.c, settle.c): go back to the same source after
 * greylisting, once at once to another source when an answer blames the source, else wait. Grants are durable
 * at once; each attempt opens a connection of its own. What judges a router (bench/world) and what asks what
 * another configuration would have done (`remuda simulate`) drive the same one.
 *
 * Times are milliseconds of the run; the caller's calls come in the order of their times. Queues, retries and
 * answers are the caller's. Single-threaded, no clock, no I/O; the same calls give the same choices.
 */
#ifndef REMUDA_ROUTER_VIRTUAL_H
#define REMUDA_ROUTER_VIRTUAL_H

#include "router/pair.h"

struct router_virtual;

/* config is borrowed until router_virtual_free. wall_ms: the wall clock at the run's 0, since 1970. */
struct router_virtual *router_virtual_new(const struct router_config *config, uint64_t wall_ms);
void router_virtual_free(struct router_virtual *v);
/* Its state, for scopes, and for records before the first choice. Borrowed. */
struct router_state *router_virtual_state(struct router_virtual *v);
/* The run's time as the state counts it. */
uint64_t router_virtual_us(uint64_t now_ms);

/* What of a message's past counts. Sources by index, -1 for none. */
struct virtual_past {
    int sticky, avoid; /* to go back from; not to try, when there is another */
    uint32_t attempts;
};

struct virtual_ask {
    struct router_scope *scope;
    struct span sender; /* domain, or whatever keeps to its own sources */
    struct virtual_past past;
};

enum virtual_hold {
    VIRTUAL_HOLD_SCOPE, /* any message of the scope would wait */
    VIRTUAL_HOLD_ALONE, /* only this one, for its own past */
};

struct virtual_choice {
    int source; /* -1: wait */
    enum virtual_hold hold;
    enum router_verdict cause;
    uint64_t until_ms; /* 0: until something of the scope is over */
};

/* Changes nothing. */
struct virtual_choice router_virtual_choose(struct router_virtual *v, const struct virtual_ask *ask,
                                            uint64_t now_ms);
/* An attempt from the source that was chosen last, by this scope; it ends with router_virtual_answered. */
void router_virtual_start(struct router_virtual *v, struct router_scope *scope, uint64_t now_ms);

struct virtual_answer {
    int source;
    struct router_scope *from; /* the scope it was started in */
    struct span tenant;
    const struct router_answer *answer;
};

enum virtual_then { VIRTUAL_DELIVERED, VIRTUAL_BOUNCED, VIRTUAL_AT_ONCE, VIRTUAL_WAITS };
struct virtual_consequence {
    enum virtual_then then;
    uint64_t asked_ms; /* VIRTUAL_WAITS: what the receiver asked for, 0 for nothing */
};
/* ask: of the message, with the scope that it goes on in; its past is changed. */
struct virtual_consequence router_virtual_answered(struct router_virtual *v, const struct virtual_answer *a,
                                                   struct virtual_ask *ask, uint64_t now_ms);

/* About every second. True: what waits for a cap may go sooner than was said. */
bool router_virtual_tick(struct router_virtual *v, uint64_t now_ms);

#endif
