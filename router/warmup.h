/*
 * Warm-up of a (source, provider) pair: a schedule of day caps, and how a pair moves through it by what
 * really happened. Pure; days are days since 1970 in UTC.
 *
 * A day counts as done when at least half of its cap was used and the share accepted since the stage began is
 * above 0.9 by its lower confidence limit: then the next stage begins; in a quick schedule the next but one,
 * when nine tenths of the cap were used and that is no more than double. When it is certainly bad (of at
 * least 20 outcomes the upper limit is below 0.9) the pair steps back one stage. Any other day is repeated,
 * and adds to what is known of the stage: a cap of ten messages needs three good days to prove that. Each
 * full week without a message steps back one stage, and after 30 days the pair begins anew. After the last
 * stage there is no cap.
 */
#ifndef REMUDA_ROUTER_WARMUP_H
#define REMUDA_ROUTER_WARMUP_H

#include <stdbool.h>
#include <stdint.h>

enum { WARMUP_STAGES_MOST = 64, WARMUP_HOURLY_PERCENT = 20 };

struct warmup_schedule {
    const char *name;
    const uint64_t *caps;    /* messages a day, stage 0 first, rising */
    int n_caps;              /* 0: no warm-up */
    bool quick;              /* a day whose cap was used up counts twice, up to twice the volume */
    uint32_t hourly_percent; /* at most this share of the day's cap in one clock hour */
};

/* The built-in schedule of 29 caps from 200 to 10,000,000 a day (with "done" 30 stages). */
const struct warmup_schedule *warmup_stages(void);
/* Fills caps with start, start * factor, ... up to and including the first at or above full; factor over 1.
 * Returns how many, at most WARMUP_STAGES_MOST. */
int warmup_geometric(double start, double factor, double full, uint64_t caps[WARMUP_STAGES_MOST]);

/* What is known of a pair's warm-up. */
struct warmup {
    uint32_t stage;
    uint32_t day;           /* that used is of; 0: none yet */
    uint32_t last_used_day; /* 0: never */
    uint64_t used;          /* attempts of the day */
    /* Outcomes since the stage began; refused are policy deferrals, blocks, bad mailboxes, complaints. */
    uint64_t accepted, refused;
};

/* The day's cap; UINT64_MAX when there is none (any more). */
uint64_t warmup_cap(const struct warmup_schedule *s, uint32_t stage);
/* At most so many in one clock hour: at least 1; UINT64_MAX without a cap. */
uint64_t warmup_hour_cap(const struct warmup_schedule *s, uint32_t stage);
/* Ends the days before today, if any, and begins today with nothing used. */
void warmup_roll(struct warmup *w, const struct warmup_schedule *s, uint32_t today);
/* The stage of a schedule whose cap is nearest below a volume that the pair had: for a change of schedules.
 */
uint32_t warmup_stage_for(const struct warmup_schedule *s, uint64_t cap);
/* Days until there is no cap, if each counts; 0 when there is none. */
uint32_t warmup_days_left(const struct warmup_schedule *s, const struct warmup *w);

#endif
