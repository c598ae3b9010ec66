/* What the files of the router's state share. A pair costs 32 bytes, so that tens of thousands of sites are
 * cheap. */
#ifndef REMUDA_ROUTER_STATE_PRIVATE_H
#define REMUDA_ROUTER_STATE_PRIVATE_H

#include "lib/base/list.h"
#include "lib/base/map.h"
#include "router/pace.h"
#include "router/pair.h"

/* Times of buckets count 1/1024 us: fine enough for any rate, and 64 bits last for 500 years. */
enum { BUCKET_SHIFT = 10 };

/* A rate as the virtual scheduling algorithm uses it (ITU-T I.371, GCRA); step 0: no limit. */
struct bucket_rule {
    uint64_t step;  /* time that one token takes to come back */
    uint64_t slack; /* (burst - 1) * step */
    uint64_t floor; /* every bucket was empty at the start: full_at is never taken to be below this */
};

/* full_at: when the bucket would be full again, in bucket time; 0: it is. */
struct pair {
    uint64_t full_at;
    int32_t rotation; /* credit of the smooth rotation */
    uint32_t connections;
    struct pace *pace;     /* provider other: what the site's answers did; NULL: nothing */
    struct opened *opened; /* NULL: its connections need no record, or none is known */
    float recent;          /* attempts lately, fading by half in RECENT_HALF_LIFE_S */
    uint32_t recent_s;     /* boot clock */
};

enum { OPEN_LOST_MOST = 4 };

/* Connections of a pair, or of a provider with limits for all sources, in a log that has other owners
 * (opened.c). */
struct open_lost {
    uint64_t epoch; /* of the owner that may have left them open; 0: of several */
    uint64_t until_ms;
    uint32_t n;
};

enum { RECENT_HALF_LIFE_S = 60, WRITE_EVERY_MS = 10000, SCORE_ONE = 256, ROUTER_RELAPSES_MOST = 16 };

/* Something with a record in the state log. */
struct kept {
    enum { KEPT_PAIR, KEPT_TENANT, KEPT_OPENED } kind;
    struct list dirty;  /* router_state.urgent or .dirty: it is to be written */
    struct list flight; /* router_state.flight: being written */
    bool gone;          /* to be erased */
    uint32_t seen_day;  /* last used or told of */
};

struct opened {
    struct kept kept;
    uint32_t users;                   /* pairs and totals that point to it */
    uint32_t connections;             /* theirs */
    uint32_t granted, asked, writing; /* durable; with the next write; with the one under way */
    uint32_t peak, peak_before;       /* of this minute and of the last */
    uint32_t n_lost;
    struct open_lost lost[OPEN_LOST_MOST];
    char key[];
};

/* What is learned of (source, provider). */
struct standing {
    struct kept kept;
    char *source, *provider;
    bool configured;
    const struct warmup_schedule *schedule; /* of the configuration; NULL: none */
    char *schedule_name;                    /* that stage counts in; NULL: never had one */
    struct warmup warmup;
    uint64_t granted;        /* durable: used may grow to it */
    uint64_t asked, writing; /* granted with the next write; with the one under way */
    uint32_t writing_day;
    uint64_t hour, hour_from; /* clock hour since 1970, and what was used at its beginning */
    struct tally tally;
    struct contrast contrast;
    double pending[2]; /* deferrals of this minute and of the last: then they count, unless all have them */
    struct pace *pace; /* providers but other; NULL: not slowed down */
    uint64_t suspended_until_ms, alert_ms;
    uint64_t suspended_for_ms; /* the last time */
    uint32_t relapses;         /* each doubles the next suspension */
    bool forgiven;             /* accepted since the last one ended */
    char *why, *mark;
    uint64_t home, given;              /* as in its record */
    bool elsewhere;                    /* nothing goes by it here */
    uint64_t since_us;                 /* its buckets were empty then, boot clock; 0: as all others */
    uint8_t taken[ROUTER_TAKEN_BYTES]; /* id of the migration that it came by last; zero: none */
    /* derived, so that a decision only reads */
    bool capped;
    uint64_t cap, hour_cap;
    uint64_t rest;  /* of the cap, were it used evenly over the day, as of this minute; 0: not known */
    uint32_t score; /* of SCORE_ONE, at least 1 */
};

struct tenant_standing {
    struct kept kept;
    char *tenant, *provider;
    struct tally tally;
    struct contrast contrast;
    float recent; /* messages answered lately, fading by half in RECENT_HALF_LIFE_S */
    uint32_t recent_s;
    struct tenant_pace *pace; /* NULL: not slowed down; counted in router_state.n_paced */
    uint8_t taken[ROUTER_TAKEN_BYTES];
};

/* Everybody at a provider. */
struct crowd {
    struct contrast contrast;
};

/* All sources of a provider together, matched by name when the configuration changes. */
struct total {
    uint64_t full_at;
    uint32_t connections;
    struct opened *opened; /* as of a pair */
};

struct router_lane {
    char *pool, *provider; /* names: they outlive a configuration */
    uint32_t shard;
    int provider_index;          /* -1: gone */
    int *sources;                /* indexes into the configuration's sources */
    int32_t *seed;               /* rotation that the next new scope starts from */
    struct standing **standings; /* as sources */
    uint64_t *hashes;            /* of the sources' names */
    uint32_t members;            /* of all these hashes */
    struct crowd *crowd;
    int n;
    struct list scopes;
};

struct router_scope {
    struct router_lane *lane;
    struct list in_lane;
    struct list idle;                             /* on router_state.idle while unreferenced */
    struct pair *pairs;                           /* as many as the lane has sources */
    uint64_t able[ROUTER_LANE_SOURCES_MOST / 64]; /* slots that could send at the last decision */
    uint32_t refs;
    uint32_t key_len;
    char key[];
};

struct router_state {
    const struct router_config *config;
    struct bucket_rule *rules; /* per provider */
    struct total *totals;      /* per provider */
    struct map lanes, scopes;
    struct list idle;    /* unreferenced scopes whose state still counts */
    uint64_t started_us; /* 0: buckets begin full */
    uint64_t latest_us;  /* newest time seen: enough to tell which buckets are full */
    uint64_t version;
    struct map standings; /* "source/provider" -> struct standing */
    struct map tenants;   /* "tenant/provider" -> struct tenant_standing */
    uint32_t n_paced;     /* tenants with a pace */
    struct map crowds;    /* provider -> struct crowd */
    struct list urgent, dirty, flight;
    uint64_t written_ms;
    int64_t wall_offset_ms; /* wall clock minus boot clock, as of the last tick */
    uint32_t day;           /* since 1970; 0: no tick yet */
    uint64_t minute;
    uint64_t epoch;
    struct map opened;    /* key -> struct opened */
    uint64_t lost_ms;     /* for so long a lost owner's connections count; 0: connections need no record */
    uint64_t lost_due_ms; /* when the first of those counted ends; 0: none is counted */
};

static inline uint64_t router_wall_ms(const struct router_state *s, uint64_t now_us)
{
    return (uint64_t)((int64_t)(now_us / 1000) + s->wall_offset_ms);
}

/* The pace that binds a slot of a scope; NULL: not slowed down. */
static inline struct pace *const *router_pace_of(const struct router_scope *scope, int slot)
{
    const struct router_lane *l = scope->lane;
    return l->provider_index == ROUTER_OTHER ? &scope->pairs[slot].pace : &l->standings[slot]->pace;
}

/* ---- opened.c ---- */
/* What records the connections of a slot; NULL: none yet, or they need none. */
struct opened *router_opened_of(const struct router_state *s, const struct router_scope *scope, int slot);
/* Binds a new pair, or one that has been moved, to what is known of it. */
void router_opened_bind(struct router_state *s, const struct router_scope *scope, int slot);
/* The pair is forgotten. */
void router_opened_unbind(struct pair *p);
/* After a change of the configuration: binds all pairs and totals anew. */
void router_opened_configure(struct router_state *s);
void router_opened_count(struct opened *o, int by);
/* That others may have left open. */
static inline uint32_t router_opened_lost(const struct opened *o)
{
    uint32_t n = 0;
    for (uint32_t i = 0; o && i < o->n_lost; i++)
        n += o->lost[i].n;
    return n;
}
/* How many connections the owner may have of its own where limit is for all: what others may have left open
 * is not its to use, and neither is the last one, which is its successor's: so that some mail moves at once
 * when an owner is lost that had all it could. Of a small limit that would cost too much. */
enum { OPENED_SPARE_FROM = 4 };
static inline uint32_t router_opened_most(const struct router_state *s, const struct opened *o,
                                          uint32_t limit)
{
    uint32_t lost = router_opened_lost(o), left = limit > lost ? limit - lost : 0;
    return s->lost_ms && limit >= OPENED_SPARE_FROM && left > 1 ? left - 1 : left;
}
/* Forgets what has ended; true when something may go now. */
bool router_opened_tick(struct router_state *s, uint64_t wall_ms);
void router_opened_minute(struct router_state *s);
/* Before the last write: exactly what is open. */
void router_opened_settle(struct router_state *s);
/* Empty: to be erased. */
void router_opened_pack(const struct router_state *s, const struct opened *o, struct buf *out);
/* What was put is durable; true when more may be opened. */
bool router_opened_written(struct router_state *s, struct opened *o);
void router_opened_free_all(struct router_state *s);

/* ---- standing.c ---- */
void router_kept_init(struct kept *k, int kind);
struct standing *router_standing_get(struct router_state *s, const char *source, const char *provider);
/* NULL when nothing is known of it. */
struct standing *router_standing_find(const struct router_state *s, struct span source, struct span provider);
struct tenant_standing *router_tenant_get(struct router_state *s, struct span tenant, const char *provider);
/* NULL when nothing is known of it. */
struct tenant_standing *router_tenant_find(const struct router_state *s, struct span tenant,
                                           struct span provider);
struct crowd *router_crowd_get(struct router_state *s, const char *provider);
/* Matches it with the configuration: indexes, -1 for gone. */
void router_standing_bind(struct router_state *s, struct standing *st, int source, int provider);
void router_standings_configure(struct router_state *s);
void router_standings_free(struct router_state *s);
/* Out of the state for good. */
void router_kept_drop(struct router_state *s, struct kept *k);
/* Derived values anew. */
void router_standing_derive(struct standing *st);
/* It is to be written: soon (a grant) or with the next batch. */
void router_keep(struct router_state *s, struct kept *k, bool urgent);
/* An attempt begins; one was given back before it began. */
void router_standing_spend(struct router_state *s, struct standing *st, uint64_t now_us);
void router_standing_unspend(const struct router_state *s, struct standing *st);
/* Asks for a grant when half of the last is spent. */
void router_standing_ask(struct router_state *s, struct standing *st);
void router_standing_roll(struct router_state *s, struct standing *st);
/* Of the hour that wall_ms is in. */
uint64_t router_standing_hour_used(const struct standing *st, uint64_t wall_ms);
struct pace_bounds router_pace_bounds(const struct router_config *c, int provider);
void router_text_set(char **slot, struct span text);

/* What of the cap would be left if it were used evenly over the day. */
void router_standing_plan(struct standing *st, uint64_t wall_ms);
/* Share of the rotation, in 1/SCORE_ONE: pool weight x reputation, and less where more of today's cap is used
 * than of the day has passed. */
int32_t router_slot_weight(const struct router_config *c, const struct router_lane *l, int slot);

/* The rule that a slot's own bucket goes by: the provider's, or slower by what was learned. *rule is used
 * when it has to be made. */
const struct bucket_rule *router_slot_rule(const struct bucket_rule *provider, const struct pace *pace,
                                           struct bucket_rule *rule);
/* Of a slot's own bucket: no fuller than what may have been sent before the pair came here leaves. */
uint64_t router_slot_full_at(const struct router_scope *scope, int slot, const struct bucket_rule *rule);
/* True when a token is there at now; else *until_us is when one will be. */
bool router_bucket_has(const struct bucket_rule *r, uint64_t full_at, uint64_t now_us, uint64_t *until_us);
/* Takes a token that is there; returns the new full_at. */
uint64_t router_bucket_take(const struct bucket_rule *r, uint64_t full_at, uint64_t now_us);
/* One rule per provider, of the heap. */
struct bucket_rule *router_rules_new(const struct router_config *c, uint64_t started_us);
/* The lane's sources in the order of its pool, of the heap; *n is 0 when it is not configured. */
int *router_lane_sources(const struct router_config *c, const struct router_lane *l, int *n);
int router_lane_slot(const struct router_lane *l, int source);
/* A connection of the slot is open: may one more message go over it now? */
bool router_slot_may_continue(const struct router_state *s, const struct router_scope *scope, int slot,
                              uint64_t now_us);
/* Standings and hashes of the lane's sources, of the heap. */
void router_lane_learned(struct router_state *s, struct router_lane *l);

/* ---- tenant.c ---- */
/* So many of its messages were answered. */
void router_tenant_seen(struct tenant_standing *t, double n, uint64_t now_us);
/* The receiver blames it: half as fast. */
void router_tenant_slower(struct router_state *s, struct tenant_standing *t, uint64_t now_us);
/* The receiver refuses its domain for good. Where it does that with most of its mail, the tenant stops: for a
 * minute, doubled up to an hour while nothing is accepted, so that not all of its mail bounces. */
void router_tenant_refused(struct router_state *s, struct tenant_standing *t, uint64_t now_us);
void router_tenant_accepted(struct router_state *s, struct tenant_standing *t, uint64_t now_us);
void router_tenant_pace_free(struct router_state *s, struct tenant_standing *t);

#endif
