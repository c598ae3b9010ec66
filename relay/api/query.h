/*
 * A question from the admin threads to the shards, whose live state only their own loop thread may read.
 * The admin thread posts one struct admin_query to each shard's loop and waits, bounded; the shard's
 * delivery_query fills in the answer, at once or later (explain may have to wait for DNS), and calls
 * admin_query_done. A question that nobody waits for any more is freed by the shard's answer.
 */
#ifndef REMUDA_RELAY_API_QUERY_H
#define REMUDA_RELAY_API_QUERY_H

#include <jansson.h>

#include "lib/net/loop.h"
#include "relay/node.h"

enum admin_query_kind {
    /*
     * What the shard's lanes hold in memory. Answer: an array of
     *   {"pool": s, "provider": s, "shard": n, "partition": n, "scope": s, "memory": n, "in_hand": n,
     *    "connections": n}
     * memory: submissions in the window, not started; in_hand: with a running attempt; connections: open to
     * receivers. Lanes without any of them are left out.
     */
    ADMIN_QUERY_LANES,
    /*
     * What router_decide would say now for a message from `from` to `to` by `tenant` (empty: the tenant with
     * the sender's domain). Each shard is asked; it answers an array with one object for each of the
     * tenant's pools whose lane it owns, and an empty array when it owns none:
     *   {"rank": place of the pool in the tenant's list, "tenant": s, "pool": s, "provider": s, "shard": n,
     *    "partition": n, "site": s, "hosts": [s, ...], "route": true when static,
     *    "source": s or null when held, "cause": verdict word, "until_ms": n (from now; 0: when a slot
     * frees), "runner_up": s or null, "waiting": n, "candidates": [{"source": s, "address": s, "weight": f,
     * "verdict": s, "connections": n}, ...]} A question that cannot be answered (no such tenant, the address
     * does not parse, DNS failed) sets error.
     */
    ADMIN_QUERY_EXPLAIN,
    /*
     * What the router has learned of (source, provider) pairs (router/pair.h). Answer: an array of
     *   {"source": s, "provider": s, "partition": n, "schedule": s, "stage": n, "stages": n, "cap": n or
     * null, "hour_cap": n or null, "used": n, "days_left": n, "score": f, "doubt": f, "pace": f (0: not
     * slowed down), "connections": n (0: not bounded), "stopped_ms": n (from now), "suspended_until_ms": n,
     *    "alert_ms": n, "why": s, "mark": s, "configured": b,
     *    "record": s (hexadecimal PairState; only when text is "record")}
     */
    ADMIN_QUERY_PAIRS,
    /*
     * What waits, by cause and for how long (relay/delivery/waits.h). Answer: an array of one object of names
     * of the configuration in use,
     *   {"counted": b (false: rows of an earlier life are still being counted), "providers": [s, ...],
     *    "pools": [s, ...], "tenants": [s, ...]},
     * and one for each lane that has had mail,
     *   {"pool": s, "provider": s, "shard": n, "partition": n, "limits": {"sources": n, "usable": n (enabled
     *    and not suspended), "uncapped": n (of these), "cap_left": n, "cap_day": n, "rate": f (a second; 0:
     * no limit)}, "tenants": [{"tenant": s, "causes": [{"cause": s, "waiting": n, "lately": f, "hour": f},
     * ...] (seconds waited), "arrived": [f, f], "gone": [f, f] (a second, lately and in an hour), "phases":
     * {s: f, ...}}]}
     */
    ADMIN_QUERY_WAITS,
    /* Changes one pair: source, provider, and text (the reason). Answer: as above, of the pair, from the
     * shard that owns it; error when it owns it and cannot; else an empty array. */
    ADMIN_QUERY_MARK_WARM,
    ADMIN_QUERY_CLEAR,
    /* text: a hexadecimal PairState. */
    ADMIN_QUERY_IMPORT,
    /* Whether a tenant of that name is configured. Answer: an array of its name, or empty. */
    ADMIN_QUERY_TENANT,
    /*
     * What holds for tenants, from the first shard (tenant empty), or all that is known of one tenant's mail,
     * from the shard that has partition 0. Answer: an array of json_tenant_decision objects; for one tenant
     * with "now" (evidence as of now) and "verdict" (what it would be judged).
     */
    ADMIN_QUERY_TENANTS,
    /* Lifts what holds for a tenant, or keeps it for good: tenant, provider ("": all where something holds),
     * text (the reason). Answer, when it is durable: the decisions made. */
    ADMIN_QUERY_TENANT_LIFT,
    ADMIN_QUERY_TENANT_KEEP,
};

struct admin_wait; /* shared by the questions of one request; private to query.c */

/* Arguments are NUL-terminated, never NULL, and live until admin_query_done. */
struct admin_query {
    enum admin_query_kind kind;
    const char *from, *to, *tenant;
    const char *source, *provider, *text;
    struct shard *shard;
    /* ---- filled in on the shard's thread ---- */
    json_t *answer;  /* a new reference, given away; NULL together with error */
    char error[160]; /* "" when answered */
    /* ---- private ---- */
    struct loop_msg msg;
    struct admin_wait *wait;
};

/* Hands the question back; q must not be touched afterwards. Exactly once, on the shard's thread; a
 * shard that stops gives back the questions that it still has. */
void admin_query_done(struct admin_query *q);

/* How a question reaches the shard's delivery module: run on the shard's thread. */
typedef void (*admin_query_fn)(struct admin_query *q);

enum { ADMIN_QUERY_MS = 5000 };

struct admin_question {
    enum admin_query_kind kind;
    const char *from, *to, *tenant; /* copied; NULL counts as "" */
    const char *source, *provider, *text;
    uint32_t timeout_ms; /* 0: ADMIN_QUERY_MS */
};

struct admin_answers {
    json_t *answers; /* array: the shards' arrays joined; never NULL; the caller's reference */
    int missing;     /* shards that did not answer in time */
    char error[160]; /* the first shard's that gave one, "" for none */
};

/*
 * Asks all shards of the node and waits for them. Any thread but a shard's. fn is posted to each shard's
 * loop. Fills out in any case.
 */
void admin_ask(struct node *node, const struct admin_question *question, admin_query_fn fn,
               struct admin_answers *out);

#endif
