/* Between homes.c and the lanes: a pair is used by one lane at a time, and by none while it moves. */
#include "relay/delivery/lane_pairs.h"

#include "lib/base/clock.h"
#include "relay/delivery/homes.h"

static bool is_total(const struct owner *o, const char *provider)
{
    int p = router_provider_find(&o->settings->router, span_str(provider));
    return p >= 0 && o->settings->router.providers[p].limits.total;
}

/* Limits for all sources together are counted by the holder of them all. What a lost owner may have left open
 * is in use too. */
static bool in_use(void *arg, const char *source, const char *provider)
{
    const struct owner *o = arg;
    bool total = is_total(o, provider);
    if (router_has_lost(o->router, source, provider))
        return true;
    LIST_FOREACH(it, &o->links)
    {
        const struct link *l = CONTAINER_OF(it, struct link, owner_node);
        if (strcmp(l->scope->lane->provider, provider) == 0 && (total || strcmp(l->source, source) == 0))
            return true;
    }
    return false;
}

static void on_trouble(void *arg, const char *source, const char *provider, uint64_t at)
{
    const struct owner *o = arg;
    logger_log(o->delivery->shard->node->logger, LOG_ERROR, "router.record", LF_NUM("partition", o->number),
               LF_STR("source", source), LF_STR("provider", provider), LF_NUM("control", at),
               LF_STR("what",
                      "the release of the pair cannot be read, or is of a newer version: the pair may "
                      "send nothing under a cap today"));
}

void lane_pairs_init(struct owner *o)
{
    struct homes_options options = {.partition = o->number,
                                    .lanes = o->delivery->shard->node->lanes,
                                    .log = o->delivery->shard->node->log,
                                    .client = o->delivery->shard->log,
                                    .router = o->router,
                                    .in_use = in_use,
                                    .trouble = on_trouble,
                                    .arg = o};
    o->homes = homes_new(&options);
    lane_pairs_look(o);
}

/* ---- what the router may choose from ---- */

/* The source was in another lane, and a connection of it from there has not ended yet. */
static bool leaves_another_lane(const struct lane *l, const char *source)
{
    LIST_FOREACH(it, &l->owner->links)
    {
        const struct link *k = CONTAINER_OF(it, struct link, owner_node);
        const struct lane *other = k->scope->lane;
        if (other != l && strcmp(other->provider, l->provider) == 0 && strcmp(k->source, source) == 0)
            return true;
    }
    return false;
}

static void wake(const struct lane *l)
{
    size_t pos = 0;
    struct span key;
    void *scope;
    while (map_next(&l->scopes, &pos, &key, &scope))
        scope_wake(scope);
}

static bool has_source(const struct lane *l, int source)
{
    const struct router_source *s = &l->owner->settings->router.sources[source];
    return s->pool == l->pool_index && s->shard == l->shard;
}

static bool is_here(const struct lane *l, int source)
{
    struct router_pair_view v;
    const struct router_config *c = &l->owner->settings->router;
    return source >= 0 && has_source(l, source) &&
           !(router_pair_find(l->owner->router, span_str(c->sources[source].name), span_str(l->provider), 0,
                              &v) &&
             v.elsewhere);
}

void lane_pairs_tell(struct lane *l)
{
    struct owner *o = l->owner;
    const struct router_config *c = &o->settings->router;
    if (l->pool_index < 0 || l->provider_index < 0)
        return;
    const struct router_pool *pool = &c->pools[l->pool_index];
    uint64_t now = loop_now_us(o->delivery->shard->loop);
    bool came = false, gathered = !c->providers[l->provider_index].limits.total ||
                                  lanes_gathered(o->delivery->shard->node->lanes, l->provider, o->number);
    for (int i = 0; i < pool->n_members; i++) {
        const char *source = c->sources[pool->members[i]].name;
        if (!has_source(l, pool->members[i]))
            continue;
        bool ours = gathered && homes_here(o->homes, source, l->provider);
        bool here = ours && !leaves_another_lane(l, source);
        came |= router_pair_here(o->router, source, l->provider, here, now) && here;
        o->pairs_waiting |= ours && !here;
    }
    if (came)
        wake(l);
}

/* What is up ends after the answers that are due; what is not takes its submission back at once. */
static void end_links(struct owner *o)
{
    LIST_FOREACH_SAFE(it, next, &o->links)
    {
        struct link *k = CONTAINER_OF(it, struct link, owner_node);
        if (is_here(k->scope->lane, k->source_index))
            continue;
        if (k->up)
            link_end(k);
        else if (!k->ending)
            link_abort(k, "the lane moves to another partition");
    }
}

static void tell_all(struct owner *o)
{
    size_t pos = 0;
    struct span key;
    void *lane;
    o->pairs_waiting = false;
    while (map_next(&o->lanes, &pos, &key, &lane))
        lane_pairs_tell(lane);
}

void lane_pairs_look(struct owner *o)
{
    if (o->lost || o->losing)
        return;
    tell_all(o);
    end_links(o);
    homes_look(o->homes, loop_now_us(o->delivery->shard->loop), clock_wall_ms());
    if (router_write_wanted(o->router, ROUTER_WRITE_DUE, clock_wall_ms()))
        o->events.want_flush(o);
}

void lane_pairs_tick(struct owner *o)
{
    if (o->pairs_waiting || homes_unsettled(o->homes))
        lane_pairs_look(o);
}

void lane_pairs_flush(struct owner *o)
{
    homes_flush(o->homes);
}

void lane_pairs_flushed(struct owner *o)
{
    homes_flushed(o->homes);
    lane_pairs_tick(o);
}
