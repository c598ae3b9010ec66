/*
 * What tenants may do at a provider: decisions in the control log, which every node follows, made by the
 * owner of partition 0, who sums what all owners tell of (tenant, provider) in the evidence log. A tenant
 * that is slowed down keeps to a pace in each lane owner's router; the mail of one in quarantine, new and
 * waiting, goes to its quarantine pool. On the owner's loop.
 */
#ifndef REMUDA_RELAY_DELIVERY_TENANTS_H
#define REMUDA_RELAY_DELIVERY_TENANTS_H

#include "relay/delivery/delivery_private.h"
#include "router/tenant.h"

/* Why a submission goes to a quarantine pool, in events and rows. */
#define TENANTS_QUARANTINE "quarantine"

/* ---- tenants.c: what holds ---- */

struct tenants;

/* The newest decision of a (tenant, provider). */
struct decision {
    struct arena arena;
    Remuda__TenantDecision *d; /* in the arena */
    struct tenant_counts ignored;
    uint64_t ignored_s; /* as of then, seconds since 1970; 0: nothing is ignored */
};

struct tenants *tenants_new(void);
void tenants_free(struct tenants *t);
/* Reads what is new in control, applies it to the shard's owners. */
void tenants_follow(struct delivery *d);
/* Where the next record of control will be read. */
uint64_t tenants_followed(const struct delivery *d);
/* All that holds, to an owner that is new or has another configuration. */
void tenants_apply_all(struct owner *o);
/* Each tick: partition 0 judges; waiting mail leaves lanes that it is to leave. */
void tenants_tick(struct owner *o);
/* NULL: never decided. Borrowed until the next tenants_follow. */
struct decision *tenants_find(const struct delivery *d, struct span tenant, struct span provider);
/* In no order; start with *pos = 0. */
struct decision *tenants_next(const struct delivery *d, size_t *pos);
/* Of the tenant's configuration, or the default. */
const struct settings_quarantine *tenants_settings(const struct owner *o, const char *tenant);

/* What follows of a decision (NULL: there is none): QUARANTINE only where there is a pool for it, else SLOW.
 */
enum tenant_verdict tenants_holds(const struct decision *d, const struct settings_quarantine *s);
/* The pool that its mail must go from because the tenant is in quarantine at its lane's provider; NULL: it is
 * not. Borrowed from the configuration. */
const char *tenants_pool(const struct sub *s);
/* It waits in a quarantine pool that its tenant is not in (any more): the tenant's own pool; else NULL. */
const char *tenants_pool_back(const struct sub *s);

/* ---- judge.c: who decides ---- */

struct judge;

struct judge *judge_new(void);
void judge_free(struct judge *j);
/* Sums on, and judges when all evidence has been read. */
void judge_tick(struct owner *o);
/* The decision read at this place of control, if this owner made it: tells it. */
void judge_tell(struct owner *o, uint64_t offset, const Remuda__TenantDecision *d);
/* The first round is over: before it nothing is known of anybody. */
bool judge_knows(const struct owner *o);
/* As of the last round: counts of one (tenant, provider), less what is ignored; false: nothing is known. */
bool judge_counts(const struct owner *o, struct span tenant, struct span provider, uint64_t now_s,
                  struct tenant_counts *out);
/* The providers that the last round knows of for a tenant: calls back with each. */
void judge_providers(const struct owner *o, struct span tenant,
                     void (*found)(void *arg, struct span provider), void *arg);
/* What an operator decides, into a batch. action and kept as of d; its evidence is filled in; ignore: what
 * was counted until now proves nothing any more. */
void judge_add(const struct owner *o, struct log_batch *b, Remuda__TenantDecision *d, bool ignore);
/* Evidence as of now. */
void judge_evidence(const struct owner *o, struct span tenant, struct span provider,
                    Remuda__TenantEvidence *out, Remuda__TenantWeek *week);
/* An append is under way: what it holds is not followed, and nothing more is appended, before it is known
 * where it stands. */
bool judge_is_appending(const struct owner *o);
/* Appends the batch; it is told when it is read back. done may be NULL, else is called in any case. Not while
 * judge_is_appending. */
void judge_submit(struct owner *o, struct log_batch *b, void (*done)(void *arg, int status), void *arg);

#endif
