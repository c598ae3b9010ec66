/*
 * What a tenant's mail does at a provider, and what follows for the tenant alone: slowed down, then
 * quarantined, so that its neighbours' mail goes on as if it were not there. Pure: time is handed in.
 *
 * Two things slow a tenant down. Answers that blame it (or deferrals that only its mail has) halve its pace;
 * mail that is accepted gives the pace back in ten minutes. A verdict, judged from the counts of all
 * partitions, holds it at half of its rate for as long as it stands.
 */
#ifndef REMUDA_ROUTER_TENANT_H
#define REMUDA_ROUTER_TENANT_H

#include "remuda.pb-c.h"
#include "router/decide.h"
#include "router/tally.h"

/* ---- verdicts ---- */

enum tenant_verdict { TENANT_FINE, TENANT_SLOW, TENANT_QUARANTINE };
/* "fine", "slow", "quarantine" */
const char *tenant_verdict_text(enum tenant_verdict v);

struct tenant_bounds {
    /* Shares at which it is quarantined. refused: for its content, domain or missing authentication. */
    double bad_mailbox, complaint, refused;
    double volume; /* recipients below which nothing is judged */
};
/* 10 % bad mailboxes, 0.5 % complaints (where Amazon SES may pause an account), 10 % refused (from where
 * Microsoft's SNDS shows the address as no longer clean), 100 recipients. */
extern const struct tenant_bounds tenant_bounds_default;

/* Recipients of a time, by what became of them; they fade, so they are no whole numbers. */
struct tenant_window {
    double recipients, bad_mailbox, complaint, refused, deferred;
};
struct tenant_counts {
    struct tenant_window day, week;
};

/* Confidence limits (Wilson, 95 % on each side) of the last day's shares. */
struct tenant_view {
    struct tenant_counts counts;
    double bad_mailbox_low, bad_mailbox_high;
    double complaint_low, complaint_high;
    double refused_low, refused_high;
};

/* The counts of a tally as of at_s (not before the tally's own time). */
struct tenant_counts tenant_counts_of(const struct tally *t, uint64_t at_s);
/* Of a record in the state log. */
struct tenant_counts tenant_counts_stored(const Remuda__TenantState *r, uint64_t at_s);
/* What is left of them after so long. */
struct tenant_counts tenant_counts_faded(struct tenant_counts c, uint64_t passed_s);
/* a + factor * b, never below 0. */
struct tenant_counts tenant_counts_plus(struct tenant_counts a, struct tenant_counts b, double factor);

/* Bounds over which it is slowed down: half, and of complaints a fifth (Amazon SES reviews an account at 5 %
 * and 0.1 %). */
struct tenant_bounds tenant_slow_bounds(const struct tenant_bounds *b);

/*
 * What the counts prove. A verdict begins when a lower limit of the last day's shares is over its bound, of
 * at least the volume. before is the one that holds: QUARANTINE ends when all of the week's shares are under
 * the bounds of SLOW (in quarantine little is sent, and a day's silence proves nothing), SLOW when the day's
 * are; or when the volume has faded. A share is under a bound when its upper limit is, or the share itself is
 * under half of it: of small shares only thousands could be certain. view may be NULL.
 */
enum tenant_verdict tenant_judge(const struct tenant_counts *counts, const struct tenant_bounds *bounds,
                                 enum tenant_verdict before, struct tenant_view *view);
/* The same for what this state alone knows of (tenant, provider), as of its last count. */
enum tenant_verdict tenant_verdict(const struct router_state *s, struct span tenant, struct span provider,
                                   const struct tenant_bounds *bounds, enum tenant_verdict before,
                                   struct tenant_view *view);

/* ---- pace ---- */

/* True when the tenant may send to the provider now; else *until_us (boot clock) is when it may. Costs
 * nothing while no tenant is slowed down. */
bool router_tenant_may(const struct router_state *s, struct span tenant, struct span provider,
                       uint64_t now_us, uint64_t *until_us);
/* An attempt of it begins. */
void router_tenant_take(struct router_state *s, struct span tenant, struct span provider, uint64_t now_us);
/* The verdict "slow" begins or ends: while it holds the tenant keeps to half of the rate that it had. Saying
 * the same again changes nothing. */
void router_tenant_hold(struct router_state *s, struct span tenant, struct span provider, bool slow,
                        uint64_t now_us);
/* Messages a second; 0: not slowed down. */
double router_tenant_pace(const struct router_state *s, struct span tenant, struct span provider);

#endif
