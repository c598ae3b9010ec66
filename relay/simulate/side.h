/*
 * One of the two configurations of a simulation in virtual time: its router (router/virtual.h), and around it
 * the relay's queues as far as they decide when and from where a message goes: tenants of a scope take turns,
 * what no source takes moves to the next pool after delivery.overflow or when the pool has none, a tenant in
 * quarantine goes from that pool, retries by the schedules. An attempt opens a connection of its own for as
 * long as the recorded one took.
 */
#ifndef REMUDA_RELAY_SIMULATE_SIDE_H
#define REMUDA_RELAY_SIMULATE_SIDE_H

#include "relay/simulate/messages.h"

/* What came back later: names by number. */
struct late {
    uint32_t source, provider, tenant;
    bool complaint;
};

/* What both sides share and one of them asks for. */
struct side_world {
    struct names *names;
    struct messages *messages;
    struct answers *answers;
    struct late *const *late;
    uint64_t base_ms; /* recorded wall clock at the run's 0 */
    uint64_t wall_ms; /* simulated wall clock then: whole days later */
    /* The message has ended on this side: its passage says how. May drop it. */
    void (*ended)(void *arg, uint32_t message, int side);
    void *arg;
};

/* What one source did at one provider. */
struct pair_use {
    uint32_t source, provider; /* names */
    uint64_t attempts, delivered, deferred, bounced;
    uint64_t cap_hours, cap_days; /* in which its cap of the hour, of the day was used up */
    uint64_t hour, hour_attempts, day;
};

struct side;

struct side *side_new(const struct side_world *world, const struct settings *settings, int number);
void side_free(struct side *s);
/* A record of `remuda warmup export`, before anything happens. False: of a format that is not known. */
bool side_load(struct side *s, const Remuda__PairState *record);

/* The message arrives at its time: passages[number] is filled in. */
void side_arrives(struct side *s, uint32_t message, struct span domain, struct span mx_host);
/* (*world->late)[i] comes back then. */
void side_late(struct side *s, uint32_t i, uint32_t at_ms);
/* Lets everything happen that happens before until_ms. */
void side_run(struct side *s, uint32_t until_ms);
/* Messages that have arrived, or will, and have not ended. */
uint32_t side_waiting(const struct side *s);

/* In no order; NULL at the end. */
const struct pair_use *side_next_pair(const struct side *s, size_t *pos);
/* Milliseconds that messages waited for their turn because of this, those that have begun an attempt. */
uint64_t side_held_ms(const struct side *s, enum router_verdict cause);
uint64_t side_attempts(const struct side *s);
/* Answers that were drawn because nothing was recorded of the message from the source. */
uint64_t side_drawn(const struct side *s);
/* Messages that went from another pool than their tenant's first: for overflow, for quarantine. */
uint64_t side_overflowed(const struct side *s);
uint64_t side_quarantined(const struct side *s);

#endif
