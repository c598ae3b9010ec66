/* Schedules, and the step from one day to the next. */
#include "router/warmup.h"

#include "router/tally.h"

enum { IDLE_STEP_DAYS = 7, IDLE_ANEW_DAYS = 30, PROOF_LEAST = 20 };

static const double share_bound = 0.9;

const struct warmup_schedule *warmup_stages(void)
{
    static const uint64_t caps[] = {200,     500,     1000,    2000,    5000,    10000,   20000,   40000,
                                    50000,   75000,   100000,  150000,  200000,  250000,  325000,  400000,
                                    500000,  600000,  750000,  1000000, 1250000, 1750000, 2000000, 3000000,
                                    4250000, 5000000, 6000000, 7500000, 10000000};
    static const struct warmup_schedule stages = {.name = "stages",
                                                  .caps = caps,
                                                  .n_caps = sizeof(caps) / sizeof(caps[0]),
                                                  .hourly_percent = WARMUP_HOURLY_PERCENT};
    return &stages;
}

int warmup_geometric(double start, double factor, double full, uint64_t caps[WARMUP_STAGES_MOST])
{
    int n = 0;
    for (double cap = start; n < WARMUP_STAGES_MOST; cap *= factor) {
        caps[n++] = (uint64_t)(cap + 0.5);
        if (cap >= full)
            break;
    }
    return n;
}

uint64_t warmup_cap(const struct warmup_schedule *s, uint32_t stage)
{
    return s && stage < (uint32_t)s->n_caps ? s->caps[stage] : UINT64_MAX;
}

uint64_t warmup_hour_cap(const struct warmup_schedule *s, uint32_t stage)
{
    uint64_t cap = warmup_cap(s, stage);
    if (cap == UINT64_MAX)
        return cap;
    uint64_t share = cap * s->hourly_percent / 100;
    return share ? share : 1;
}

/* Nine tenths of the cap: the pair could have sent more. The next but one stage is no more than twice as
 * much. */
static bool is_used_up(const struct warmup *w, const struct warmup_schedule *s)
{
    uint64_t cap = warmup_cap(s, w->stage), next = warmup_cap(s, w->stage + 2);
    return s->quick && w->used >= cap - cap / 10 && next != UINT64_MAX && next <= 2 * cap;
}

static void judge_day(struct warmup *w, const struct warmup_schedule *s)
{
    uint64_t cap = warmup_cap(s, w->stage);
    double accepted = (double)w->accepted, all = accepted + (double)w->refused;
    if (cap == UINT64_MAX)
        return;
    if (all >= PROOF_LEAST && share_high(accepted, all) < share_bound)
        w->stage -= w->stage > 0;
    else if (w->used >= (cap + 1) / 2 && share_low(accepted, all) > share_bound)
        w->stage += is_used_up(w, s) ? 2 : 1;
    else
        return; /* repeated: what is known of the stage grows */
    w->accepted = w->refused = 0;
}

static void step_back_for_silence(struct warmup *w, const struct warmup_schedule *s, uint32_t today)
{
    if (!w->last_used_day || !s || s->n_caps == 0)
        return;
    uint32_t silent = today - w->last_used_day - 1;
    uint32_t before =
        w->day > w->last_used_day ? w->day - w->last_used_day - 1 : 0; /* answered for already */
    if (silent >= IDLE_ANEW_DAYS) {
        w->stage = 0;
        return;
    }
    uint32_t steps = silent / IDLE_STEP_DAYS - before / IDLE_STEP_DAYS;
    w->stage = w->stage > steps ? w->stage - steps : 0;
}

void warmup_roll(struct warmup *w, const struct warmup_schedule *s, uint32_t today)
{
    if (today <= w->day)
        return;
    if (w->day)
        judge_day(w, s);
    if (w->used)
        w->last_used_day = w->day;
    step_back_for_silence(w, s, today);
    w->day = today;
    w->used = 0;
}

uint32_t warmup_stage_for(const struct warmup_schedule *s, uint64_t cap)
{
    uint32_t stage = 0;
    while (stage < (uint32_t)s->n_caps && warmup_cap(s, stage + 1) <= cap)
        stage++;
    return stage;
}

uint32_t warmup_days_left(const struct warmup_schedule *s, const struct warmup *w)
{
    return s && w->stage < (uint32_t)s->n_caps ? (uint32_t)s->n_caps - w->stage : 0;
}
