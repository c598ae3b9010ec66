/* Pairs that come from another partition and go to one: what is written of that, and what holds meanwhile. */
#include "lib/base/err.h"
#include "router/state_private.h"

struct router_pair_home router_pair_home(const struct router_state *s, struct span source,
                                         struct span provider)
{
    const struct standing *st = router_standing_find(s, source, provider);
    return st ? (struct router_pair_home){st->home, st->given} : (struct router_pair_home){0, 0};
}

/* The provider's own bucket, where limits are for all sources together. */
static void empty_total(struct router_state *s, const char *provider, uint64_t now_us)
{
    int p = router_provider_find(s->config, span_str(provider));
    if (p < 0 || !s->config->providers[p].limits.total)
        return;
    const struct bucket_rule *r = &s->rules[p];
    uint64_t empty = r->step ? (now_us << BUCKET_SHIFT) + r->slack + r->step : 0;
    if (s->totals[p].full_at < empty)
        s->totals[p].full_at = empty;
}

bool router_pair_here(struct router_state *s, const char *source, const char *provider, bool here,
                      uint64_t now_us)
{
    struct standing *st = router_standing_find(s, span_str(source), span_str(provider));
    if (here ? !st || !st->elsewhere : st && st->elsewhere)
        return false;
    if (!st)
        st = router_standing_get(s, source, provider);
    st->elsewhere = !here;
    s->version++;
    if (!here)
        return true;
    st->since_us = now_us;
    empty_total(s, provider, now_us);
    if (s->day)
        router_standing_roll(s, st);
    return true;
}

void router_pair_give(struct router_state *s, const char *source, const char *provider, uint64_t version)
{
    struct standing *st = router_standing_get(s, source, provider);
    st->given = version;
    st->elsewhere = true;
    st->asked = st->granted = st->writing =
        st->warmup.used; /* what was granted and not used goes along unspent */
    router_keep(s, &st->kept, true);
    s->version++;
}

bool router_pair_take(struct router_state *s, const Remuda__PairState *r, uint64_t version, uint64_t wall_ms)
{
    bool known = router_load_pair(s, r, wall_ms);
    struct standing *st = router_standing_get(s, r->source, r->provider);
    st->home = version;
    st->given = 0;
    st->elsewhere = true; /* until the record is durable */
    st->writing = 0;      /* a write under way tells of another life of the pair */
    router_keep(s, &st->kept, true);
    s->version++;
    return known;
}
