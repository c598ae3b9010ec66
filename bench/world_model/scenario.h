/*
 * A scenario as its file says: receivers, sources, tenants, events. Data only; read by scenario.c from YAML,
 * drawn from a seed by drawn.c. What the numbers mean stands in bench/scenarios/receivers.yaml. Shares are in
 * ten thousandths.
 */
#ifndef REMUDA_BENCH_SCENARIO_H
#define REMUDA_BENCH_SCENARIO_H

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/conf/conf.h"

enum { WORLD_SOURCES_MOST = 64, WORLD_PROVIDERS_MOST = 16, WORLD_TENANTS_MOST = 64, WORLD_DAYS_MOST = 60 };
enum { HOUR_MS = 3600000, DAY_MS = 24 * HOUR_MS };

/* What a receiver can say; its words for each are in receivers.yaml. */
enum saying {
    SAY_ACCEPTED,
    SAY_BAD_MAILBOX,
    SAY_FULL,
    SAY_GREYLIST,
    SAY_CONNECTIONS,
    SAY_RATE,       /* more than it expects of this address */
    SAY_REPUTATION, /* its standing is low */
    SAY_WARNING,    /* ... and near the block */
    SAY_BLOCK,      /* the receiver's own block */
    SAY_LIST,       /* a public list */
    SAY_DOMAIN,     /* standing of the sender's domain */
    SAY_AUTHENTICATION,
    SAY_CONTENT,
    SAY_BUSY,
    SAY_NETWORK, /* no answer at all; no words */
    SAYINGS
};
extern const char *const saying_words[];

struct receiver {
    const char *name;
    const char *domain;
    const char *texts[SAYINGS];
    uint32_t connections, published_connections;
    struct conf_rate rate;
    uint64_t latency_ms;
    uint64_t cold;
    uint32_t growth_percent, burst_percent, cold_level, warm_level;
    uint32_t complaint_limit, bad_mailbox_limit, junk_limit, press_limit;
    uint32_t throttle_below, block_below;
    uint64_t block_ms, greylist_ms;
    uint32_t greylisted, content_caught;
    bool uses_lists, tells_complaints;
    const struct conf_node *says;
};

enum curve { CURVE_FLAT, CURVE_BUSINESS, CURVE_BLAST };

struct share {
    const char *provider;
    uint32_t share;
    int index;
};

struct tenant {
    const char *name;
    uint64_t per_day;
    int curve;
    uint32_t blast_hour;
    uint32_t from_day, until_day; /* sends on from_day <= day < until_day */
    uint32_t bad_mailboxes, full, spam, complaints, late_bounces;
    bool authenticated, culprit;
    /* from day turns_day on */
    uint32_t turns_day, turns_until, turned_bad_mailboxes, turned_spam, turned_complaints;
    uint64_t turned_per_day;
    struct share *shares;
    int n_shares;
    uint32_t shares_sum;
};

enum happening { HAPPEN_OUTAGE, HAPPEN_BUSY, HAPPEN_LISTED };

struct happening_at {
    int kind;
    uint64_t at_ms, for_ms;
    const char *provider, *source, *list;
    int provider_index, source_index;
};

struct source {
    const char *name;
    uint32_t weight;
    bool fresh, quarantine;
};

struct scenario {
    const char *name, *about;
    uint32_t days;
    uint64_t seed;
    struct source *sources;
    int n_sources;
    struct receiver *receivers;
    int n_receivers;
    struct tenant *tenants;
    int n_tenants;
    struct happening_at *happenings;
    int n_happenings;
    const char *warmup;
};

/* Reads a file, with its receivers from receivers.yaml beside it. All of it lives in arena. False: errors has
 * lines. */
bool scenario_read(const char *path, struct arena *arena, struct conf_errors *errors, struct scenario *out);
/* Scenario number n drawn within the ranges of a file. */
bool scenario_draw(const char *path, uint64_t seed, uint32_t n, struct arena *arena,
                   struct conf_errors *errors, struct scenario *out);
/* The receivers of a file, into *out. */
bool receivers_read(const char *path, struct arena *arena, struct conf_errors *errors, struct scenario *out);
/* Resolves names to indexes; false with errors at node. */
bool scenario_link(struct scenario *s, struct conf_errors *errors, const struct conf_node *node);

/* What a tenant does on a day. */
bool tenant_has_turned(const struct tenant *t, uint32_t day);
/* Some tenant does harm, so that there are others to be protected. */
bool scenario_has_culprit(const struct scenario *s);
/* When its message of this number comes, from_ms being when the one before came (0 for the first): a Poisson
 * process whose rate follows its curve. At or after the scenario's last day: there is none. */
uint64_t traffic_next(const struct scenario *s, uint32_t tenant, uint32_t number, uint64_t from_ms);
/* The receiver that it goes to. */
int traffic_provider(const struct scenario *s, uint32_t tenant, uint32_t number);

#endif
