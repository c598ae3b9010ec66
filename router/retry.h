/* When to try again. Pure. */
#ifndef REMUDA_ROUTER_RETRY_H
#define REMUDA_ROUTER_RETRY_H

#include <stdint.h>

#include "lib/base/span.h"

struct retry_schedule {
    const char *name;
    const uint64_t *steps_ms; /* wait after attempt 1, 2, ...; the last repeats */
    int n_steps;
    uint32_t jitter_percent;  /* the wait is drawn evenly from +- this share */
    uint64_t lifetime_ms;     /* from acceptance to expiry */
    uint64_t delay_notice_ms; /* a delay notice after this age; 0: none */
};

/* The built-in default: 5, 10, 20, 40, 80 min, then every 2 h, jitter 10 %, lifetime 72 h, notice after 4 h.
 */
const struct retry_schedule *retry_default(void);

/*
 * Wait before attempt number attempts + 1 (attempts >= 1 already made). random: 32 random bits handed in.
 * asked_ms: what the receiver asked for ("try again in N"), 0 for none; honoured when longer than the
 * schedule's wait and at most 24 h.
 */
uint64_t retry_wait_ms(const struct retry_schedule *s, uint32_t attempts, uint64_t asked_ms, uint32_t random);

/* How many attempts a message of this age would have behind it, had none been missed; at least 1. */
uint32_t retry_attempts_by(const struct retry_schedule *s, uint64_t age_ms);

/*
 * The wait that a reply's text asks for, in ms; 0 when it asks for none. Understands "try again in N
 * seconds/minutes/hours", "retry in 00:04:59", "greylisted for 300 seconds", "in 5 min" and the like.
 */
uint64_t retry_asked_ms(struct span reply_text);

#endif
