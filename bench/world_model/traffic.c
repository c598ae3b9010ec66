/* What tenants send, and when. */
#include <math.h>

#include "bench/world_model/draw.h"
#include "bench/world_model/scenario.h"

bool tenant_has_turned(const struct tenant *t, uint32_t day)
{
    return day >= t->turns_day && day < t->turns_until;
}

bool scenario_has_culprit(const struct scenario *s)
{
    for (int i = 0; i < s->n_tenants; i++)
        if (s->tenants[i].culprit)
            return true;
    return false;
}

static uint64_t per_day_of(const struct tenant *t, uint32_t day)
{
    if (day < t->from_day || day >= t->until_day)
        return 0;
    return tenant_has_turned(t, day) && t->turned_per_day ? t->turned_per_day : t->per_day;
}

/* Messages an hour. */
static double rate_at(const struct tenant *t, uint64_t at_ms)
{
    /* Percent of the day's mail in each hour: people at work in one time zone. */
    static const double business[24] = {1, 1, 1, 1, 1, 1, 2, 4, 7, 9, 9, 8,
                                        6, 7, 8, 8, 7, 5, 4, 3, 2, 2, 2, 1};
    uint32_t hour = (uint32_t)(at_ms / HOUR_MS % 24);
    double per_day = (double)per_day_of(t, (uint32_t)(at_ms / DAY_MS));
    if (t->curve == CURVE_BUSINESS)
        return per_day * business[hour] / 100;
    if (t->curve == CURVE_FLAT)
        return per_day / 24;
    return hour == t->blast_hour ? per_day : 0;
}

uint64_t traffic_next(const struct scenario *s, uint32_t tenant, uint32_t number, uint64_t from_ms)
{
    uint64_t at_ms = from_ms, end_ms = (uint64_t)s->days * DAY_MS;
    for (uint64_t k = 0; at_ms < end_ms; k++) {
        double rate = rate_at(&s->tenants[tenant], at_ms) / HOUR_MS;
        uint64_t hour_end = (at_ms / HOUR_MS + 1) * HOUR_MS;
        double u = draw_share(s->seed, DRAW_GAP, (uint64_t)tenant << 32 | number, k);
        double gap = rate > 0 ? -log(1 - u) / rate : HOUR_MS;
        if (gap < (double)(hour_end - at_ms))
            return at_ms + (uint64_t)gap;
        at_ms = hour_end;
    }
    return end_ms;
}

int traffic_provider(const struct scenario *s, uint32_t tenant, uint32_t number)
{
    const struct tenant *t = &s->tenants[tenant];
    uint64_t drawn = draw_bits(s->seed, DRAW_PROVIDER, tenant, number) % t->shares_sum;
    for (int i = 0; i < t->n_shares; i++) {
        if (drawn < t->shares[i].share)
            return t->shares[i].index;
        drawn -= t->shares[i].share;
    }
    return t->shares[0].index;
}
