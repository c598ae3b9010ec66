/*
 * Token buckets as one time each. The burst is one and what 20 ms bring, at most a fiftieth of the count, so
 * that the coarseness of a loop's timers costs no rate; the rest refills, count - burst + 1 per window. So in
 * any window of that length, wherever it begins, at most count tokens are taken, and 98 % of the rate are
 * reached.
 */
#include "router/state_private.h"

bool router_bucket_has(const struct bucket_rule *r, uint64_t full_at, uint64_t now_us, uint64_t *until_us)
{
    uint64_t now = now_us << BUCKET_SHIFT;
    *until_us = now_us;
    if (full_at < r->floor)
        full_at = r->floor;
    if (r->step == 0 || full_at <= now + r->slack)
        return true;
    uint64_t at = full_at - r->slack;
    *until_us = (at + (1u << BUCKET_SHIFT) - 1) >> BUCKET_SHIFT;
    return false;
}

uint64_t router_bucket_take(const struct bucket_rule *r, uint64_t full_at, uint64_t now_us)
{
    uint64_t now = now_us << BUCKET_SHIFT;
    if (r->step == 0)
        return full_at;
    if (full_at < r->floor)
        full_at = r->floor;
    return (full_at > now ? full_at : now) + r->step;
}

uint64_t router_slot_full_at(const struct router_scope *scope, int slot, const struct bucket_rule *rule)
{
    uint64_t since = scope->lane->standings[slot]->since_us, full_at = scope->pairs[slot].full_at;
    uint64_t empty = since && rule->step ? (since << BUCKET_SHIFT) + rule->slack + rule->step : 0;
    return full_at > empty ? full_at : empty;
}

const struct bucket_rule *router_slot_rule(const struct bucket_rule *provider, const struct pace *pace,
                                           struct bucket_rule *rule)
{
    if (!pace || pace->rate <= 0)
        return provider;
    double step = 1e6 * (1 << BUCKET_SHIFT) / pace->rate;
    if (step <= (double)provider->step)
        return provider;
    *rule = (struct bucket_rule){.step = (uint64_t)step, .slack = 0, .floor = provider->floor};
    return rule;
}
