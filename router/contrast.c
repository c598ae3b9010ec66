/* Fault attribution by contrast. */
#include "router/contrast.h"

#include <math.h>

#include "router/tally.h"

static const double lately_s = 600, usually_s = 86400, answers_least = 10;

void contrast_decay(struct contrast *c, uint64_t now_s)
{
    if (now_s <= c->at_s)
        return;
    double passed = c->at_s ? (double)(now_s - c->at_s) : 0;
    double keep = exp2(-passed / lately_s), keep_base = exp2(-passed / usually_s);
    c->ok *= keep;
    c->deferred *= keep;
    c->base_ok *= keep_base;
    c->base_deferred *= keep_base;
    c->at_s = now_s;
}

void contrast_add(struct contrast *c, bool deferred, double n, uint64_t now_s)
{
    contrast_decay(c, now_s);
    *(deferred ? &c->deferred : &c->ok) += n;
    *(deferred ? &c->base_deferred : &c->base_ok) += n;
}

static bool is_enough(const struct contrast *c)
{
    return c->ok + c->deferred >= answers_least;
}

bool contrast_jumps(const struct contrast *c)
{
    if (!is_enough(c))
        return false;
    /* What is usual without what is new: a jump does not hide itself. */
    double ok = fmax(c->base_ok - c->ok, 0), deferred = fmax(c->base_deferred - c->deferred, 0);
    double usual = deferred / (ok + deferred + 1);
    return share_low(c->deferred, c->ok + c->deferred) > 2 * usual + 0.05;
}

static struct contrast without(const struct contrast *all, const struct contrast *one)
{
    return (struct contrast){.ok = fmax(all->ok - one->ok, 0),
                             .deferred = fmax(all->deferred - one->deferred, 0),
                             .base_ok = fmax(all->base_ok - one->base_ok, 0),
                             .base_deferred = fmax(all->base_deferred - one->base_deferred, 0),
                             .at_s = all->at_s};
}

/* Of its answers a clearly larger share is deferred lately than of the others'. */
static bool is_worse(const struct contrast *one, const struct contrast *others)
{
    return share_low(one->deferred, one->ok + one->deferred) >
           share_high(others->deferred, others->ok + others->deferred);
}

/* It jumps, and those beside it, of whom there are enough, do not: neither from what is usual for them, nor
 * are they as bad as it is because that has become usual. */
static bool stands_out(const struct contrast *one, const struct contrast *others)
{
    return contrast_jumps(one) && is_enough(others) && !contrast_jumps(others) && is_worse(one, others);
}

enum fault contrast_judge(const struct contrast *all, const struct contrast *source,
                          const struct contrast *tenant)
{
    struct contrast other_sources = without(all, source), other_tenants = without(all, tenant);
    bool by_source = stands_out(source, &other_sources), by_tenant = stands_out(tenant, &other_tenants);
    if (contrast_jumps(&other_sources) && contrast_jumps(&other_tenants))
        return FAULT_PROVIDER;
    if (by_source == by_tenant)
        return FAULT_UNKNOWN;
    return by_source ? FAULT_SOURCE : FAULT_TENANT;
}
