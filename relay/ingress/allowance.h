/*
 * Tenants' messages per minute and per day, exact over all shards and nodes that follow one quota log, with
 * nobody to ask. A shard may accept only what it has claimed. A claim is a record of its own in the log; when
 * that is durable and read back, the shard sums what all others have claimed and keeps what still fits below
 * the limit. Of two that claim at once the later one reads the earlier one's claim, so together they never
 * keep more than there is.
 *
 *   claimed by the shard  <=  limit - claimed by all others, as of a time behind its own record
 *
 * It claims ahead what it will need soon (below), so most messages wait for nothing. What it has claimed and
 * does not use it gives back when the limit is nearly used up, and when it stops. What a process that died
 * had claimed counts as used: a restart gives nobody anything, and wastes at most what was claimed ahead.
 *
 * One for each shard, on its loop's thread.
 */
#ifndef REMUDA_RELAY_INGRESS_ALLOWANCE_H
#define REMUDA_RELAY_INGRESS_ALLOWANCE_H

#include "lib/base/list.h"
#include "lib/base/metrics.h"
#include "queue/log.h"
#include "relay/config/settings.h"
#include "relay/ingress/inbound.h"

/* Claimed ahead: one of so many parts of the limit, divided among the node's shards; less than one message is
 * nothing. No more than that is claimed and unused. */
enum { ALLOWANCE_AHEAD_MINUTE = 20, ALLOWANCE_AHEAD_DAY = 100 };

struct allowance;

struct allowance_options {
    struct log *log;
    struct log_client *client;
    const char *node; /* its name; copied */
    int shards;       /* of the node */
    uint64_t (*wall_ms)(void);
    struct metric_cell *claims; /* counts records written; may be NULL */
};

struct allowance *allowance_new(const struct allowance_options *o);
/* Nobody may wait. Records on their way are finished without it. */
void allowance_free(struct allowance *a);

/* A session that asks for one message. */
struct allowance_waiter {
    struct list node; /* initialised; on a list while it waits */
    /* Exactly once, from inside allowance_take or later; over is set for INBOUND_QUOTA_OVER. */
    void (*answered)(struct allowance_waiter *w, enum inbound_quota_answer answer,
                     const struct inbound_quota *over);
};
void allowance_take(struct allowance *a, const struct settings_tenant *t, struct allowance_waiter *w);
/* It will not be answered any more. Harmless when it does not wait. */
void allowance_forget(struct allowance_waiter *w);
/* The message that was counted at wall_ms came to nothing. A window that has passed since is left alone. What
 * is unused then beyond what is claimed ahead is given back at once: of a small limit others may need it now.
 */
void allowance_return(struct allowance *a, const struct settings_tenant *t, uint64_t wall_ms);

/* Once a second: gives back what others may need, 200 tenants in turn; now and then erases what is old (with
 * erase: on one shard of the node is enough). */
void allowance_tick(struct allowance *a, bool erase);
/* The shard accepts no more: gives back all that is unused. */
void allowance_stop(struct allowance *a);

#endif
