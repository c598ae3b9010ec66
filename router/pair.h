/*
 * What the router learns of a (source, provider) pair and of a (tenant, provider) pair: warm-up, reputation,
 * pace, suspension. It lives in struct router_state beside what is exact (router/decide.h), is fed by every
 * answer, and is kept in the partition's state log. Pure: time is handed in; no function here does I/O.
 *
 * now_us is the boot clock in microseconds, wall_ms the wall clock in milliseconds since 1970. All on the
 * thread that owns the state.
 *
 * For the provider "other", warm-up, reputation and suspension belong to (source, "other"); pace and stops
 * belong to (source, site), are not stored, and are forgotten with the site's scope or a restart.
 */
#ifndef REMUDA_ROUTER_PAIR_H
#define REMUDA_ROUTER_PAIR_H

#include "lib/base/buf.h"
#include "remuda.pb-c.h"
#include "router/answer.h"
#include "router/contrast.h"
#include "router/decide.h"
#include "router/tally.h"
#include "router/warmup.h"

enum { ROUTER_PAIR_FORMAT = 1, ROUTER_TAKEN_BYTES = 16 };

/* The schedule that a pair goes by: the source's own, else its pool's, else the provider's; NULL: none. */
const struct warmup_schedule *router_warmup_of(const struct router_config *c, int source, int provider);

/* ---- what is told to it ---- */

struct router_report {
    int source; /* index; -1 (gone meanwhile) counts for the tenant only */
    struct span tenant;
    const struct router_answer *answer;
    uint32_t recipients; /* that got this answer, at least 1 */
    uint64_t now_us;
};

/*
 * An attempt's answer. Counts it, changes the pace, stops or suspends the pair as the answer's reaction says;
 * faults are attributed by contrast where there is one (router/contrast.h), else by the answer's own blame.
 * True when the pair has just been suspended: an alert is due (router_pair_view tells of it).
 */
bool router_answered(struct router_state *s, struct router_scope *scope, const struct router_report *r);
/* What comes back late about a message that went from a source to a provider: all by name. */
struct router_late {
    struct span source, provider, tenant;
    uint64_t wall_ms;
};
/* A recipient complained. */
void router_complained(struct router_state *s, const struct router_late *l);
/* There was no such mailbox, said in a bounce after the message had been accepted. */
void router_bad_mailbox(struct router_state *s, const struct router_late *l);
/* Days end, faults are settled, names that are long gone are forgotten. Call about four times a second, and
 * once before the first decision. True when something that was held by a cap, or by connections that a lost
 * owner may have left, may go now. */
bool router_tick(struct router_state *s, uint64_t now_us, uint64_t wall_ms);

/* ---- what is stored ---- */

/*
 * Before the first decision, with what state[p] holds. Today's grant counts as used. A record of a format
 * that is not known, or none of the message's (NULL), is refused: false, and the pair may send nothing under
 * a cap today if its names can be read.
 */
bool router_load_pair(struct router_state *s, const Remuda__PairState *r, uint64_t wall_ms);
bool router_load_tenant(struct router_state *s, const Remuda__TenantState *r);

/* ---- connections that owners before may have left (router/opened.c) ---- */

/* Whether the owner of that epoch is known to have closed all of its connections. */
typedef bool (*router_closed_fn)(void *arg, uint64_t epoch);
/*
 * Before the first scope, with what state[p] holds under "open:" + key. NULL: it cannot be read, and nothing
 * is opened until lost_ms is over. Returns how many of that pair count as open. A record that says nothing
 * any more is erased.
 */
uint32_t router_load_open(struct router_state *s, struct span key, const Remuda__OpenState *r,
                          uint64_t wall_ms, router_closed_fn closed, void *arg);
/* The owner of that epoch has closed all that it had. True when something may go now. */
bool router_open_closed(struct router_state *s, uint64_t epoch);
/* From now on they count for lost_ms at most, 0: not any more. True likewise. */
bool router_open_bound(struct router_state *s, uint64_t lost_ms);
/* Some count for that source and provider, or for all sources of that provider together. */
bool router_has_lost(const struct router_state *s, const char *source, const char *provider);

/* ---- from one partition to another (relay/delivery/homes.h) ---- */

/* What the pair's record says: versions of the lane table by which it was taken over and given away; 0:
 * never. */
struct router_pair_home {
    uint64_t home, given;
};
struct router_pair_home router_pair_home(const struct router_state *s, struct span source,
                                         struct span provider);
/* Whether it may be used here; true when that is a change. When it begins (again) its buckets are empty, and
 * a grant is asked for. A pair that nothing was said of may. */
bool router_pair_here(struct router_state *s, const char *source, const char *provider, bool here,
                      uint64_t now_us);
/* It is used here no more: that is written with the next router_write, with exactly what was spent. No
 * connection of it may be open. */
void router_pair_give(struct router_state *s, const char *source, const char *provider, uint64_t version);
/* The partition that gave it away says what is known: written with the next router_write; it may not be used
 * before router_pair_here. False as for router_load_pair. */
bool router_pair_take(struct router_state *s, const Remuda__PairState *r, uint64_t version, uint64_t wall_ms);

enum router_write {
    ROUTER_WRITE_DUE,  /* grants that are needed, and changes older than ten seconds */
    ROUTER_WRITE_LAST, /* before a stop: all changes; what was granted and not used is given back */
};
/* True when router_write would write something. */
bool router_write_wanted(const struct router_state *s, enum router_write what, uint64_t wall_ms);
/*
 * Hands out the records to be put, and keys to be erased (value of length 0), of the state log. After it
 * router_written must be called once all of them are durable; router_write does nothing until then.
 */
typedef void (*router_put_cb)(void *arg, struct span key, struct span value);
void router_write(struct router_state *s, enum router_write what, uint64_t wall_ms, router_put_cb put,
                  void *arg);
/* True when a pair got a grant that it had nothing of, or may open a connection: what waits for its cap or
 * for a connection may go. */
bool router_written(struct router_state *s);

/* ---- looking at it ---- */

struct router_pair_view {
    const char *source, *provider;
    const char *schedule; /* "none" */
    uint32_t stage, stages;
    uint64_t cap, hour_cap; /* UINT64_MAX: none */
    uint64_t used, granted; /* today */
    uint32_t days_left;     /* until there is no cap, if each day counts */
    double score, doubt;
    double rate;                           /* messages a second by what was learned; 0: not slowed down */
    uint32_t connections;                  /* by what was learned; 0: not bounded */
    uint64_t stopped_ms;                   /* full stop for so long from now; 0: none */
    uint64_t suspended_until_ms, alert_ms; /* wall clock; 0: not suspended, no alert */
    const char *why;                       /* of the suspension or the alert, else "" */
    const char *mark;                      /* why it was marked warm, "" */
    const struct tally *counts;            /* as of counts->at_s */
    bool elsewhere;                        /* it comes from another partition, or has gone to one */
    bool configured; /* false: kept for a source or provider that is not in the configuration */
};
/* Those that are used here, in no order. Borrowed until the state changes. */
bool router_pair_next(const struct router_state *s, size_t *pos, uint64_t now_us,
                      struct router_pair_view *out);
bool router_pair_find(const struct router_state *s, struct span source, struct span provider, uint64_t now_us,
                      struct router_pair_view *out);

/* ---- what an operator does; false: there is no such pair ---- */

/* Past its schedule, with a reason that is kept. False also when it goes by no schedule. */
bool router_pair_mark_warm(struct router_state *s, struct span source, struct span provider,
                           struct span reason);
/* Lifts the suspension and clears the alert. */
bool router_pair_clear(struct router_state *s, struct span source, struct span provider);
/* Takes over stage and counts from another relay's export; makes the pair when its names are configured. */
bool router_pair_import(struct router_state *s, const Remuda__PairState *r, uint64_t wall_ms);
/*
 * Takes over what another log knew, once for each migration: what was used of today there counts here too,
 * and so do the outcomes; stage, schedule, pace and suspension are those that come. put is called with the
 * record to be durable before what comes is let go; not when it was taken before. False: it cannot be read.
 */
struct router_receipt {
    const uint8_t *id; /* ROUTER_TAKEN_BYTES, of the migration */
    uint64_t wall_ms;
    router_put_cb put;
    void *arg;
};
bool router_pair_receive(struct router_state *s, const Remuda__PairState *r, const struct router_receipt *t);
bool router_tenant_receive(struct router_state *s, const Remuda__TenantState *r,
                           const struct router_receipt *t);
/* The record as router_write would put it, into out (packed). */
bool router_pair_export(const struct router_state *s, struct span source, struct span provider,
                        uint64_t wall_ms, struct buf *out);

#endif
