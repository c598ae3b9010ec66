/*
 * Which source carries this submission now, or what it waits for. Pure functions over explicit state and
 * time. The state of a partition's lanes lives in one struct router_state, owned by that partition's thread.
 *
 * The unit of limits is a pair: (source, provider), and for the provider "other" (source, site). The set of
 * pairs that one submission may choose from is its scope: (pool, provider, shard) and, for "other", the site.
 * A provider with total limits has one more pair for all its sources together.
 *
 * decide() looks only; router_take() and the connection calls change the state. So explain, simulate and
 * live sending run the same code.
 */
#ifndef REMUDA_ROUTER_DECIDE_H
#define REMUDA_ROUTER_DECIDE_H

#include "lib/base/arena.h"
#include "router/config.h"

struct router_state;
struct router_scope;

/* config is borrowed until router_state_free or the next router_state_configure. */
struct router_state *router_state_new(const struct router_config *config);
/* What was sent before now_us (boot clock) is not known, as after a crash: every bucket counts as empty then,
 * so that no rate is exceeded across a start. Without it buckets begin full. Before the first decision. */
void router_state_started(struct router_state *s, uint64_t now_us);
/*
 * The log has other owners, before and after: what owners that are lost may have left open counts for lost_ms
 * (router_load_open), and no connection is opened before a record says so (router_may_open). Before the first
 * scope.
 */
void router_state_shared(struct router_state *s, uint64_t lost_ms);
/* The claim under which it is written. State versions begin above those of any earlier claim. Before the
 * first decision. */
void router_state_epoch(struct router_state *s, uint64_t epoch);
void router_state_free(struct router_state *s);
/* Borrowed until the next configure. */
const struct router_config *router_state_config(const struct router_state *s);
/*
 * Swaps the configuration: sources, pools and providers are matched by name, so that open connections,
 * tokens and rotation of what still exists stay. Scopes of lanes that are gone answer HOLD with
 * ROUTER_NO_SOURCE. Handles (struct router_scope *) stay valid.
 */
void router_state_configure(struct router_state *s, const struct router_config *config);

/* The scope of a lane; site is "" except for provider other. Created at first use, kept while it has open
 * connections or a reference. */
struct router_scope *router_scope_ref(struct router_state *s, int pool, int provider, uint32_t shard,
                                      struct span site);
void router_scope_unref(struct router_state *s, struct router_scope *scope);

/* Why a candidate lost, or what binds when none can take it. The words are in router_verdict_text. */
enum router_verdict {
    ROUTER_CHOSEN,
    ROUTER_WEIGHED_OUT,       /* could have, but another weighed more */
    ROUTER_DISABLED,          /* drained by the operator */
    ROUTER_EXCLUDED,          /* the caller's: cannot be used for this destination now */
    ROUTER_EGRESS,            /* the caller's: the egress that it is reached through does not answer */
    ROUTER_NOT_STICKY,        /* another source is to be kept */
    ROUTER_CONNECTIONS,       /* no free connection slot */
    ROUTER_RATE,              /* no token in the bucket */
    ROUTER_TOTAL_CONNECTIONS, /* provider-wide limit */
    ROUTER_TOTAL_RATE,
    ROUTER_NO_SOURCE, /* the pool has no enabled source */
    ROUTER_CAP, /* warm-up cap of the day or its share of the hour is used up, or its grant is on the way */
    ROUTER_BACKOFF, /* stopped or suspended after the receiver's answers */
    ROUTER_WARMING, /* had its one attempt on a source that warms up: goes from a warm one */
    ROUTER_TENANT,  /* no source's: the tenant is slowed down at this provider (router/tenant.h) */
    ROUTER_MOVING,  /* another partition has the pair's state, or its last connections are still to end */
    ROUTER_VERDICTS
};
/* Constant lower-case words: "connections", "rate", "no-source", ... Used in rows, events, metrics, explain.
 */
const char *router_verdict_text(enum router_verdict v);

struct router_query {
    uint64_t now_us;    /* boot clock */
    struct span sticky; /* name of the source to go back from, empty for any */
    /* Domain of the sender: goes from the same few sources where there is room; empty: from any. */
    struct span sender;
    bool tried;          /* an attempt failed already: it goes from a warm source when the lane has one */
    const int *excluded; /* source indexes not to choose */
    int n_excluded;
    const int *cut_off; /* source indexes whose egress is dead: not to choose, and nobody waits for them */
    int n_cut_off;
    /* idle[i] > 0: candidate i of the scope has an idle connection that this submission could use (same host
     * and TLS policy); NULL for none. i counts as router_scope_sources. */
    const uint8_t *idle;
};

struct router_candidate {
    int source;
    double weight; /* pool weight x reputation, less when ahead of an even use of the cap */
    double score;  /* reputation, 0..1 */
    enum router_verdict verdict;
    int rank;       /* able: what comes before the rotation */
    int64_t credit; /* able: of the rotation, with this turn's weight */
    uint64_t until_us;
};

/* A decision's candidates, packed by router_frame_pack (router/frame.h); n 0: none. */
enum { ROUTER_FRAME_MOST = 42 };
struct router_frame {
    uint8_t n, bytes[ROUTER_FRAME_MOST];
};

struct router_decision {
    int source;                /* chosen source index; -1: held */
    enum router_verdict cause; /* ROUTER_CHOSEN, or what binds: the verdict of the candidate free soonest */
    uint64_t until_us;         /* held: earliest time at which a candidate may be free by itself; 0: none is
                                  known. A connection that ends may free one before that, whatever binds. */
    int runner_up;             /* source index that came second, -1 for none */
    bool reuse;                /* chosen for its idle connection: opens no new one */
    uint64_t state_version;
    struct router_candidate
        *candidates; /* caller's array of at least router_scope_sources entries, or NULL */
    int n_candidates;
    struct router_frame frame; /* the caller's, to go where the decision goes */
    uint64_t
        rotating[ROUTER_LANE_SOURCES_MOST / 64];  /* private: who takes part in the turn of the rotation */
    uint64_t able[ROUTER_LANE_SOURCES_MOST / 64]; /* private: who could have been chosen */
};

/* Source indexes of the scope's lane, in order. Borrowed until the next configure. */
const int *router_scope_sources(const struct router_scope *scope, int *n);

/* Stands for the names of these sources and their order, in records and frames: the same for ever. */
uint32_t router_scope_members(const struct router_scope *scope);

/* The source is under a warm-up cap for the scope. */
bool router_warms_up(const struct router_scope *scope, int source);
/* Name of the scope's provider. Borrowed from it. */
struct span router_scope_provider(const struct router_scope *scope);
/* Messages a second that a source may send to the scope by what was learned; 0: not slowed down. */
double router_scope_pace(const struct router_scope *scope, int source);
/* What is held for cause waits for the receiver, and would from another pool too: every enabled source meets
 * nothing but its trouble (sources that warm up may not have tried), or is stopped or slowed down while, by
 * contrast, the provider has trouble with everybody. */
bool router_scope_outage(const struct router_state *s, const struct router_scope *scope,
                         enum router_verdict cause, uint64_t now_us);

/* Fills *out (out->candidates as given by the caller). Allocates nothing. */
void router_decide(const struct router_state *s, const struct router_scope *scope,
                   const struct router_query *q, struct router_decision *out);

/*
 * The same choice once more, from candidates as a decision gave them (a verdict may be ROUTER_WEIGHED_OUT).
 * *out gets source and runner_up as places in the list, -1 for none, cause and until_us. Same list, same
 * answer.
 */
void router_replay(const struct router_candidate *candidates, int n, struct router_decision *out);

/*
 * What is exact. Connections: never more than the limit are counted open, those that lost owners may have
 * left included. Rate: a token bucket that holds one
 * token and what 20 ms bring (at most a fiftieth of rate_count), and refills so much slower that in any
 * window of rate_per_us, wherever it begins, at most rate_count tokens are taken, plus those given back
 * within it. The steady rate is at least 98 % of the limit's. The bucket outlives the scope's last reference
 * until it is full again. A state that is new (a start, a takeover) has full buckets.
 *
 * Caps: never more attempts begin in a day, or in a clock hour, than the pair's warm-up allows, and never
 * more than its durable grant (router/pair.h); a router that has had no router_tick lets nothing go under a
 * cap.
 *
 * Who is chosen: with an idle connection before without; then the few sources of the sender's domain before
 * others, except those that are 32 messages ahead of their weight's share; then the rotation, nginx's smooth
 * weighted round robin over all candidates that are equal in idle connections: each gains its weight, the
 * chosen one pays the sum, the richest of the first class is chosen. Ties go to the first. New scopes of a
 * lane start from the lane's own rotation, so that many sites with one message each spread over the sources
 * too.
 *
 * Sticky: while the named source is in the lane, enabled, not excluded and not cut off, no other is taken;
 * the submission is held for whatever binds that source.
 */

/* Makes a decision true, before any other change of the state: takes the token, turns the rotation. When
 * !reuse also takes a connection slot. */
void router_take(struct router_state *s, struct router_scope *scope, const struct router_decision *d,
                 uint64_t now_us);
/*
 * Whether a decision without reuse may be taken now. False: router_open_ask has the connection written with
 * the next router_write, and router_written tells that it may be opened. Always true where the log is not
 * shared or the pair's connections have no limit.
 */
bool router_may_open(const struct router_state *s, const struct router_scope *scope, int source);
void router_open_ask(struct router_state *s, struct router_scope *scope, int source);
/* A next message over a connection in use, without a new decision: true (and the token is taken) when the
 * pair has a token now; false leaves all as it was. The rotation turns as if it had been chosen among those
 * that could have been at the last decision. */
bool router_take_next(struct router_state *s, struct router_scope *scope, int source, uint64_t now_us);
/* Gives a token back that was taken for an attempt that never reached MAIL; the bucket holds no more than its
 * burst. */
void router_give_back(struct router_state *s, struct router_scope *scope, int source);
/*
 * A connection slot taken by router_take is free again: once for each router_take without reuse. After a
 * configure source indexes are the new configuration's. What left the lane is counted no more, also not in
 * the provider's total: its owner ends it; telling of it (with -1 or an index) does nothing.
 */
void router_connection_closed(struct router_state *s, struct router_scope *scope, int source);
/* Open connections of the pair (source, scope). */
uint32_t router_connections(const struct router_state *s, const struct router_scope *scope, int source);

#endif
