/* Sums. Who waits and what limits a lane is told by others. */
#include "relay/api/forecast.h"

#include <stddef.h>

enum { DAY_MS = 86400000 };

const char *forecast_basis_text(enum forecast_basis b)
{
    static const char *const texts[] = {
        [FORECAST_NOTHING_WAITS] = "nothing-waits",
        [FORECAST_THROUGHPUT] = "throughput",
        [FORECAST_RATE] = "rate",
        [FORECAST_CAP] = "cap",
        [FORECAST_RETRY] = "retry",
        [FORECAST_NO_SOURCE] = "no-source",
        [FORECAST_UNKNOWN] = "unknown",
    };
    return (size_t)b < sizeof(texts) / sizeof(texts[0]) ? texts[b] : "unknown";
}

static bool is_never(enum forecast_basis b)
{
    return b == FORECAST_NO_SOURCE || b == FORECAST_UNKNOWN;
}

struct forecast forecast_later(struct forecast a, struct forecast b)
{
    if (is_never(a.basis) || is_never(b.basis))
        return is_never(a.basis) ? a : b;
    if (a.basis == FORECAST_NOTHING_WAITS || b.basis == FORECAST_NOTHING_WAITS)
        return a.basis == FORECAST_NOTHING_WAITS ? b : a;
    return b.in_ms > a.in_ms ? b : a;
}

/* What does not fit into today's caps goes on the next days, each day's share evenly over it. */
static uint64_t by_caps(const struct forecast_lane *l)
{
    if (l->uncapped || !l->cap_day || l->waiting_all <= l->cap_left)
        return 0;
    uint64_t to_midnight = DAY_MS - l->now_ms % DAY_MS;
    double days = (double)(l->waiting_all - l->cap_left) / (double)l->cap_day;
    return to_midnight + (uint64_t)(days * DAY_MS);
}

static uint64_t at_rate(uint64_t waiting, double rate)
{
    return (uint64_t)((double)waiting * 1000 / rate) + 1;
}

struct forecast forecast_of(const struct forecast_lane *l)
{
    struct forecast f = {.basis = FORECAST_NOTHING_WAITS};
    if (!l->waiting)
        return f;
    if (!l->usable)
        return (struct forecast){.basis = FORECAST_NO_SOURCE};
    if (l->gone > 0)
        f = (struct forecast){FORECAST_THROUGHPUT, at_rate(l->waiting, l->gone)};
    if (l->rate > 0)
        f = forecast_later(f, (struct forecast){FORECAST_RATE, at_rate(l->waiting_all, l->rate)});
    if (by_caps(l) > 0)
        f = forecast_later(f, (struct forecast){FORECAST_CAP, by_caps(l)});
    if (l->last_retry_ms > l->now_ms)
        f = forecast_later(f, (struct forecast){FORECAST_RETRY, l->last_retry_ms - l->now_ms});
    return f.basis == FORECAST_NOTHING_WAITS ? (struct forecast){.basis = FORECAST_UNKNOWN} : f;
}
