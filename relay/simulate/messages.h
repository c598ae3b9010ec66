/*
 * The messages of a simulation that have not ended on both sides yet, and what was recorded of each: its
 * attempts, in order. Times are milliseconds of the run. About 250 bytes each; who has ended is forgotten.
 */
#ifndef REMUDA_RELAY_SIMULATE_MESSAGES_H
#define REMUDA_RELAY_SIMULATE_MESSAGES_H

#include "relay/simulate/answers.h"
#include "relay/simulate/names.h"

enum { MESSAGE_NONE = UINT32_MAX, MESSAGES_MOST = 4000000 };

enum fate {
    FATE_WAITING, /* not ended yet */
    FATE_DELIVERED,
    FATE_BOUNCED,
    FATE_EXPIRED,
    FATE_REFUSED, /* its tenant is not in the configuration */
    FATES
};

/* A message on one of the sides. Sources, pools and providers by index in the side's configuration. */
struct passage {
    uint32_t ready_ms; /* waits for its turn since */
    uint32_t waited_ms, ended_ms;
    uint32_t left; /* pools that it left since its last attempt: bits by place in the tenant's list */
    uint32_t next; /* in its queue */
    uint32_t lane, record, said;
    int16_t sticky, avoid, source, pool, provider;
    uint8_t fate, rounds, tries;
};

/* A recorded attempt. */
struct record {
    uint32_t next, source, number, took_ms;
};

struct replayed {
    uint64_t id, site;
    char *domain; /* owned; NULL when no pool has shards */
    uint32_t at_ms, tenant, sender, provider;
    uint32_t first, last, last_attempt; /* records */
    uint32_t went_from;                 /* recorded: the source that delivered it, NAME_NONE */
    uint32_t next_free;
    struct passage passages[SIDES];
};

struct messages {
    struct replayed *list;
    struct record *records;
    uint32_t n, cap, free, alive;
    uint32_t n_records, cap_records, free_records;
    struct map by_id;
};

void messages_init(struct messages *m);
void messages_fini(struct messages *m);
/* MESSAGE_NONE: there are MESSAGES_MOST. Pointers to messages are good until the next one is made. */
uint32_t messages_new(struct messages *m, uint64_t id);
/* MESSAGE_NONE: not known, or ended. */
uint32_t messages_find(const struct messages *m, uint64_t id);
void messages_drop(struct messages *m, uint32_t i);
void messages_record(struct messages *m, uint32_t i, const struct record *what);

#endif
