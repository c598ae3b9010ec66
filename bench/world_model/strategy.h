/*
 * How a sending side decides: choose a source or wait, and what an answer means. A strategy sees the
 * scenario's own configuration (sources, weights, which are new, published limits), replies as text, late
 * bounces and complaints, and nothing of the model.
 */
#ifndef REMUDA_BENCH_STRATEGY_H
#define REMUDA_BENCH_STRATEGY_H

#include "bench/world_model/model.h"
#include "bench/world_model/suspensions.h"

struct mail {
    uint64_t sent_ms;
    uint32_t number, next;
    int16_t sticky, avoid; /* the strategy's: sources to go back from, and not to try; -1 for none */
    uint16_t tenant;
    uint8_t provider;
    uint8_t attempts; /* that count for the schedule of retries */
    uint8_t tries;    /* all */
};

enum hold { HOLD_LANE, HOLD_TENANT, HOLD_MAIL };

struct choice {
    int source; /* -1: wait */
    enum hold hold;
    uint64_t until_ms; /* 0: until something at this receiver is over */
};

enum consequence { THEN_DELIVERED, THEN_BOUNCE, THEN_RETRY };

struct consequence_at {
    enum consequence then;
    uint64_t at_ms; /* THEN_RETRY */
};

struct strategy {
    const char *name;
    void *(*new)(const struct scenario *s, const struct suspensions *rules);
    void (*free)(void *self);
    struct choice (*choose)(void *self, const struct mail *m, uint64_t now_ms);
    /* A transaction began over a connection of its own; it ends with answered. */
    void (*started)(void *self, const struct mail *m, int source, uint64_t now_ms);
    /* text: the reply, "" for none (the connection failed). May change sticky and avoid. */
    struct consequence_at (*answered)(void *self, struct mail *m, int source, const char *text,
                                      uint64_t now_ms);
    void (*complained)(void *self, int source, int provider, int tenant, uint64_t now_ms); /* NULL: ignored */
    void (*bounced_late)(void *self, int source, int provider, int tenant, uint64_t now_ms);
    /* Every second of the run; NULL: none. True: whatever waits may go sooner than was said. */
    bool (*tick)(void *self, uint64_t now_ms);
};

extern const struct strategy strategy_rotation, strategy_suspensions, strategy_remuda, strategy_remuda_open;
extern const struct strategy *const strategies[]; /* NULL-terminated */

/* By the schedule that all strategies share (router/retry.h's default); asked_ms: what the reply asked for, 0
 * when that is not looked at. */
uint64_t strategy_retry_at(const struct scenario *s, const struct mail *m, uint64_t asked_ms,
                           uint64_t now_ms);

#endif
