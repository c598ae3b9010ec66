/*
 * What receivers said, as each of the two configurations' rules understands it: every distinct meaning once,
 * and how often each was said to a source by a provider, by the hour. Answers that are about the recipient or
 * the message go with their message and are not counted here.
 */
#ifndef REMUDA_RELAY_SIMULATE_ANSWERS_H
#define REMUDA_RELAY_SIMULATE_ANSWERS_H

#include "lib/base/map.h"
#include "relay/config/settings.h"
#include "relay/simulate/recorded.h"

enum side_number { SIDE_OLD, SIDE_NEW, SIDES };

struct said {
    struct router_answer by[SIDES];
    bool of_message; /* as the old rules have it, it blames the recipient or the tenant */
};

struct answers;

/* Settings are borrowed. */
struct answers *answers_new(const struct settings *const settings[SIDES]);
void answers_free(struct answers *a);

/* Number of what an event says. */
uint32_t answers_number(struct answers *a, const struct recorded *e);
const struct said *answers_get(const struct answers *a, uint32_t number);

/* Pairs by number of source and provider (simulate/names.h). */
struct answer_place {
    uint32_t source, provider;
    uint64_t hour;
};
void answers_count(struct answers *a, const struct answer_place *where, uint32_t number, uint64_t took_ms);

struct drawn {
    uint32_t number;
    uint64_t took_ms; /* what such answers took on the average */
};
/*
 * One of those that were said to this source by this provider in this hour, by 64 random bits, each as often
 * as it was said; when there were none then: in all of the time until now; to no matter which source: in
 * this hour, in all of the time. False: the provider has not said anything yet.
 */
bool answers_draw(const struct answers *a, const struct answer_place *where, uint64_t random,
                  struct drawn *out);

#endif
