/*
 * The receiving side: what each receiver hides about each sending address and each sender's domain, and what
 * it answers. Pure: the time is handed in (milliseconds of the run), draws depend on the seed. The same model
 * serves virtual time and real sockets.
 *
 * For every (source, receiver) the receiver keeps
 *   expected   how much wanted mail a day it is used to from there. A day with more raises it, at most by
 *              growth_percent; a day with less lowers it by 5 % of the difference. Of a day it takes
 *              expected x growth (at least cold_per_day), of an hour hour_percent of that; more is deferred
 *              as too fast (all of it from 1.5 times on, half of it before).
 *   level      its standing, 0..1. Each hour, by the counts of about the last day: over = how far the shares
 *              of complaints, bad mailboxes, junk (what a filter or the domain's standing
 *              condemns) and refused attempts (pressing on) exceed their limits, as a
 *              multiple of the limit. It falls by 0.02 x over, at most 0.15; without any excess it rises by a
 *              hundredth of what is missing. Below throttle_below some mail is deferred, below block_below
 *              the address is blocked for a while, and begins again at twice that level.
 * For every (tenant, receiver) a level likewise: below block_below its mail is refused for its domain.
 */
#ifndef REMUDA_BENCH_MODEL_H
#define REMUDA_BENCH_MODEL_H

#include "bench/world_model/scenario.h"

struct model;

/* What a message is, drawn from the seed and its number. */
struct nature {
    bool bad_mailbox, full, spam, complains, bounces_late, greylisted;
    uint64_t complaint_lag_ms, late_lag_ms;
};

/* A message on its way, as a receiver sees it. */
struct attempt {
    int source, tenant, provider;
    uint32_t number;  /* of the tenant's messages */
    uint32_t attempt; /* of this message, from 0 */
    uint64_t sent_ms; /* when it was submitted: what the tenant was then */
    uint64_t now_ms;
};

enum { REPLY_MOST = 400 };

/* scenario is borrowed. */
struct model *model_new(const struct scenario *s);
void model_free(struct model *m);

struct nature model_nature(const struct scenario *s, const struct attempt *a);
/* A connection opens; it counts until model_closed. */
void model_opened(struct model *m, int source, int provider);
/* What is said to a message that comes over an open connection. */
enum saying model_answer(struct model *m, const struct attempt *a);
/* The receiver's words for it; "" for SAY_NETWORK. */
void model_text(const struct model *m, const struct attempt *a, enum saying said, char text[REPLY_MOST]);
void model_closed(struct model *m, int source, int provider);
/* A user of the receiver complains. */
void model_complain(struct model *m, int source, int tenant, int provider);
/* Once an hour of the run, before any attempt of that hour. */
void model_hour(struct model *m, uint64_t now_ms);
/* Pairs that are blocked now by the receiver's own block: for the report, no strategy sees it. */
uint32_t model_blocked_pairs(const struct model *m, uint64_t now_ms);

#endif
