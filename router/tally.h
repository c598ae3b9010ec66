/*
 * Outcome counts that forget: each class is counted three times, with half-lives of an hour, a day and a
 * week. Pure; time is handed in as wall seconds. A clock that goes back decays nothing.
 */
#ifndef REMUDA_ROUTER_TALLY_H
#define REMUDA_ROUTER_TALLY_H

#include <stdint.h>

enum tally_class {
    TALLY_ACCEPTED,
    TALLY_DEFERRED,    /* for policy: rate, reputation; not greylisting, not the receiver's own trouble */
    TALLY_BLOCKED,     /* refused for the source's sake */
    TALLY_BAD_MAILBOX, /* unknown recipients */
    TALLY_COMPLAINT,
    TALLY_CLASSES
};

enum tally_window { TALLY_HOUR, TALLY_DAY, TALLY_WEEK, TALLY_WINDOWS };

struct tally {
    double n[TALLY_WINDOWS][TALLY_CLASSES];
    uint64_t at_s; /* the counts are as of this time; 0: nothing counted yet */
};

/* Brings the counts to now. */
void tally_decay(struct tally *t, uint64_t now_s);
void tally_add(struct tally *t, enum tally_class class, double n, uint64_t now_s);
/* All that is counted in a window. */
double tally_sum(const struct tally *t, enum tally_window window);

/*
 * Wilson's bounds of the true share after k of n, at 95 % one-sided (z = 1.645): what is at least, and at
 * most, to be believed. 0 and 1 when n is 0. Fractions are fine: decayed counts are no integers.
 */
double share_low(double k, double n);
double share_high(double k, double n);

#endif
