/*
 * `remuda simulate`: recorded submissions and answers played against two configurations, the running one and
 * another, by the same model, so that what differs is the configuration's doing and not the model's. How the
 * model answers is in docs/ROUTER.md. The same input gives the same figures.
 *
 * Events are read as a stream, an hour ahead of the virtual time. Memory: about 250 bytes for each message of
 * that hour and each that still waits, and something for every distinct tenant, sender's domain and answer.
 */
#ifndef REMUDA_RELAY_SIMULATE_SIMULATE_H
#define REMUDA_RELAY_SIMULATE_SIMULATE_H

#include "relay/simulate/histogram.h"
#include "relay/simulate/side.h"

struct simulate_options {
    const struct settings *settings[SIDES]; /* borrowed */
    struct recorded_feed *feed;
    const json_t *pairs; /* what `remuda warmup export` prints; NULL: nothing is known of any pair */
};

/* What became of the messages for one provider, by its recorded name. */
struct provider_change {
    uint64_t messages, moved, changed;
    uint64_t fates[SIDES][FATES];
    uint64_t waited_ms[SIDES];
    struct histogram took[SIDES];   /* acceptance to delivery, of those delivered on both sides */
    struct histogram later, sooner; /* of these: how much later (0 included), or sooner, with the new one */
};

struct tenant_change {
    uint64_t messages, moved, later, changed; /* later: by over a minute; changed: another fate */
    uint64_t waited_ms[SIDES];
};

/* Delivered from one source with the old, from another with the new: names. */
struct move {
    uint32_t provider, from, to;
    uint64_t messages;
};

struct simulation {
    struct simulate_options options;
    bool sharded; /* a pool is */
    struct side_world world;
    struct names names;
    struct messages messages;
    struct answers *answers;
    struct side *sides[SIDES];
    struct late *late;
    uint32_t n_late, cap_late;
    struct provider_change **providers; /* by name, NULL where there is none */
    struct tenant_change **tenants;
    uint32_t n_providers, n_tenants;
    struct map moves;
    /* input */
    uint64_t events, first_ms, last_ms, hour;
    uint64_t replayed, unrouted; /* messages; those that ended and never wanted a source */
    uint64_t known, as_recorded; /* delivered as recorded: known of, and from the same source */
    uint32_t pairs_loaded, pairs_refused;
};

/* Plays all of it. NULL: what is wrong is in *error. */
struct simulation *simulate(const struct simulate_options *options, struct buf *error);
void simulate_free(struct simulation *s);

/* JSON of all figures; every list in an order of its own content. */
json_t *simulate_json(const struct simulation *s);

#endif
