/*
 * What the submissions of one tenant in one lane wait for, how long, and how many come and go: counters that
 * are told of each change and forget with time, for `remuda why`. A cause's waiting time is the integral of
 * how many wait under it, so ten that wait for a second count as one that waits for ten. Nothing is allocated
 * or printed for a message. now_us is the boot clock and never goes back. On the thread of the partition's
 * owner.
 */
#ifndef REMUDA_RELAY_DELIVERY_WAITS_H
#define REMUDA_RELAY_DELIVERY_WAITS_H

#include "router/decide.h"

/* The router's verdicts, and what is not the router's. */
enum wait_cause {
    WAIT_TURN = ROUTER_CHOSEN, /* ready, and nothing binds: it is looked at in this turn */
    WAIT_WINDOW = ROUTER_VERDICTS,
    WAIT_RETRY,
    WAIT_DNS,
    WAIT_IN_HAND, /* with a connection: the receiver's time, or the way there */
    WAIT_TRANSFER,
    WAIT_IN_DOUBT,
    WAIT_OTHER, /* a row's cause that this version has no word for */
    WAIT_CAUSES,
    WAIT_NONE = WAIT_CAUSES
};
/* Constant words, as in rows: "cap", "rate", "retry", ... */
const char *wait_cause_text(enum wait_cause c);
/* Of a row's cause; WAIT_OTHER for a word that is not known. */
enum wait_cause wait_cause_of(const char *text);

/* Two memories: what was longer ago than that counts 1/e, and less and less. */
enum wait_memory { WAIT_LATELY, WAIT_HOUR, WAIT_MEMORIES };
enum { WAIT_LATELY_S = 600, WAIT_HOUR_S = 3600 };

enum wait_phase {
    PHASE_DNS,
    PHASE_CONNECT,
    PHASE_GREETING,
    PHASE_TLS,
    PHASE_ENVELOPE,
    PHASE_DATA,
    PHASE_ANSWER,
    WAIT_PHASES
};
const char *wait_phase_text(enum wait_phase p);

struct wait_cell {
    uint32_t n; /* wait now */
    uint64_t at_us;
    double seconds[WAIT_MEMORIES];
};

struct wait_count {
    uint64_t at_us;
    double sums[WAIT_MEMORIES];
};

struct waits {
    uint64_t began_us;
    struct wait_cell cells[WAIT_CAUSES];
    struct wait_count arrived, gone;
    uint64_t phases_at_us;
    double phases[WAIT_PHASES]; /* seconds in attempts, with the memory WAIT_LATELY */
};

void waits_init(struct waits *w, uint64_t now_us);
/* So many more (less, when negative) wait under the cause from now on. */
void waits_add(struct waits *w, enum wait_cause c, int64_t n, uint64_t now_us);
/* Submission-seconds waited under the cause, up to now. */
double waits_seconds(const struct waits *w, enum wait_cause c, enum wait_memory m, uint64_t now_us);
void waits_arrived(struct waits *w, uint64_t now_us);
/* Final: delivered, bounced or expired. */
void waits_gone(struct waits *w, uint64_t now_us);
/* Submissions a second, since the counters began when that is less than the memory. */
double waits_rate(const struct waits *w, const struct wait_count *c, enum wait_memory m, uint64_t now_us);
/* An attempt has ended: microseconds of each phase. */
void waits_phases(struct waits *w, const uint64_t us[WAIT_PHASES], uint64_t now_us);
double waits_phase_seconds(const struct waits *w, enum wait_phase p, uint64_t now_us);

#endif
