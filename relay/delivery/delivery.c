/*
 * A shard's delivery: gaining and losing partitions, the end of the turn (flushes), the tick (rows for what
 * takes long, space, drain), and a changed configuration.
 */
#include "relay/delivery/delivery.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/suspect.h"
#include "relay/api/history.h"
#include "relay/delivery/delivery_private.h"
#include "relay/delivery/egresses.h"
#include "relay/delivery/homes.h"
#include "relay/delivery/lane_pairs.h"
#include "relay/delivery/late.h"
#include "relay/delivery/learn.h"
#include "relay/delivery/own.h"
#include "relay/delivery/suppress.h"
#include "relay/delivery/tenants.h"
#include "relay/metrics_table.h"

enum { DRAIN_TICK_MS = 20 };

/* ---- flushes ---- */

void owner_flush_now(struct owner *o)
{
    if (o->lost) {
        partition_flush(o->partition);
        return;
    }
    if (o->in_flight)
        return;
    learn_gather(o);
    if (!partition_dirty(o->partition))
        return;
    struct list *node;
    partition_prepare(o->partition);
    while ((node = list_pop_front(&o->settled)))
        list_push_back(&o->settled_flight, node);
    o->in_flight = true;
    lane_pairs_flush(o);
    late_flush(o);
    o->due_flight = o->due_gathered;
    o->due_gathered = 0;
    partition_flush(o->partition);
}

static void flush_all(struct loop_defer *defer)
{
    struct delivery *d = CONTAINER_OF(defer, struct delivery, flush);
    LIST_FOREACH(it, &d->owners)
    owner_flush_now(CONTAINER_OF(it, struct owner, node));
}

static void on_want_flush(void *arg)
{
    struct owner *o = arg;
    loop_defer(o->delivery->shard->loop, &o->delivery->flush, flush_all);
}

void owner_retry_flows(struct owner *o)
{
    struct list *node;
    while ((node = list_pop_front(&o->flows_retry)))
        flow_enter_ring(CONTAINER_OF(node, struct flow, retry_node));
}

static void on_flushed(void *arg)
{
    struct owner *o = arg;
    struct list *node;
    o->in_flight = false;
    while ((node = list_pop_front(&o->settled_flight))) {
        struct sub *s = CONTAINER_OF(node, struct sub, node);
        if (s->parked)
            place_parked(s);
        sub_free(s);
    }
    if (o->due_flight)
        owner_due_arm(o, o->due_flight);
    learn_flushed(o);
    lane_pairs_flushed(o);
    late_flushed(o);
    owner_retry_flows(o);
}

/* ---- what the partition tells ---- */

static void on_submission(void *arg, struct message *m, uint64_t offset, size_t i)
{
    struct owner *o = arg;
    if (m->record->kind == REMUDA__RECORD_KIND__RECORD_STATE) {
        learn_take(o, m->record);
        partition_cover(o->partition, offset); /* no final: taken twice it changes nothing */
        return;
    }
    struct sub *s = sub_from_record(o, m, offset, i);
    const Remuda__Kept *kept = s->submission->kept;
    if (kept && kept->sealed) {
        seal_event(s, kept->sealed);
        seal_put(s, s->due_ms);
    } else if (s->due_ms > clock_wall_ms())
        place_later(s, kept->in_doubt ? "in-doubt" : "retry");
    else
        place_begin(s);
}

static void on_moved(void *arg, struct subid id, struct message *m, uint64_t at, uint64_t first_live)
{
    struct sub *s = sub_find(arg, id);
    if (!s || s->at != m->record->carried->from_offset || !s->has_row ||
        (s->state == SUB_SETTLED && !s->keeps_row))
        return;
    sub_moved(s, m, at, first_live);
    char *cause = strdup(s->row_cause ? s->row_cause : "");
    sub_put_row(s, s->row_state, cause);
    free(cause);
}

/* One that is on its way to a receiver is not called back, but starts no more; one that was given away then
 * may be back. A failure that is not reported yet is none any more. */
static int on_ended_elsewhere(void *arg, const Remuda__Event *e)
{
    struct sub *s = sub_find(arg, subid_of(e->submission));
    if (!s || (s->state == SUB_SETTLED && !s->keeps_row))
        return RM_ENOTFOUND;
    if (e->type == REMUDA__EVENT_TYPE__EVENT_REROUTED && e->record_offset < s->at)
        return RM_ENOTFOUND;
    if (!sub_waits(s) && !s->sealed)
        return RM_EAGAIN;
    if (s->sealed)
        seal_drop(s);
    sub_finish(s);
    return RM_OK;
}

static void on_closed(void *arg, uint64_t epoch)
{
    learn_closed(arg, epoch);
}

static void on_transfer(void *arg, struct transfer *t, int status)
{
    if (partition_transfer_kind(t) == REMUDA__TRANSFER_KIND__TRANSFER_BOUNCE)
        seal_transfer(t);
    else
        reroute_transfer(arg, t, status);
}

static bool on_in_memory(void *arg, struct subid id)
{
    return sub_find(arg, id) != NULL;
}

void owner_wake(struct owner *o, enum router_verdict cause)
{
    size_t pos = 0, at;
    struct span key;
    void *lane, *scope;
    while (map_next(&o->lanes, &pos, &key, &lane)) {
        at = 0;
        while (map_next(&((struct lane *)lane)->scopes, &at, &key, &scope))
            if (cause == ROUTER_CHOSEN || ((struct scope *)scope)->cause == cause)
                scope_wake(scope);
    }
}

static unsigned on_deaths(void *arg, uint64_t offset)
{
    const struct owner *o = arg;
    return suspects_count(o->delivery->shard->node->suspects, o->number, offset);
}

static void on_recovered(void *arg)
{
    struct owner *o = arg;
    o->recovered = true;
    o->load_due = !owner_load_after_start(o);
    owner_wake(o, ROUTER_CHOSEN);
    atomic_fetch_add(&o->delivery->shard->node->recovered, 1);
}

static void on_trouble(void *arg, int err, const char *what)
{
    struct owner *o = arg;
    logger_log(o->delivery->shard->node->logger, LOG_ERROR, "partition.trouble",
               LF_NUM("partition", o->number), LF_STR("error", rm_strerror(err)), LF_STR("what", what));
}

/* ---- gaining and losing ---- */

static void index_tenants(struct owner *o)
{
    map_fini(&o->tenants);
    for (int i = 0; i < o->settings->n_tenants; i++)
        map_put(&o->tenants, span_str(o->settings->tenants[i].name),
                (void *)(uintptr_t)&o->settings->tenants[i]);
}

static void due_fired(struct loop_timer *t)
{
    owner_due_run(CONTAINER_OF(t, struct owner, due_timer));
}

static struct owner *owner_new(struct delivery *d, uint32_t number)
{
    struct owner *o = calloc(1, sizeof(*o));
    ENSURE(o);
    o->delivery = d;
    o->number = number;
    o->ahead_left = FETCH_AHEAD;
    o->settings = settings_ref(d->shard->settings);
    o->router = router_state_new(&o->settings->router);
    router_state_started(o->router, clock_boot_us());
    index_tenants(o);
    list_init(&o->fresh);
    list_init(&o->resolving);
    list_init(&o->running);
    list_init(&o->moving);
    list_init(&o->settled);
    list_init(&o->settled_flight);
    list_init(&o->flows_retry);
    list_init(&o->links);
    list_init(&o->moves);
    list_init(&o->late_waiting);
    loop_timer_init(&o->due_timer, d->shard->loop, due_fired);
    o->events = (struct partition_events){.submission = on_submission,
                                          .ended_elsewhere = on_ended_elsewhere,
                                          .closed = on_closed,
                                          .told_before = late_told_before,
                                          .flushed = on_flushed,
                                          .moved = on_moved,
                                          .transfer = on_transfer,
                                          .in_memory = on_in_memory,
                                          .deaths = on_deaths,
                                          .recovered = on_recovered,
                                          .trouble = on_trouble,
                                          .want_flush = on_want_flush,
                                          .arg = o};
    return o;
}

static void free_subs(struct owner *o)
{
    for (size_t i = 0; i < o->table_cap; i++)
        while (o->table[i])
            sub_free(o->table[i]);
    free(o->table);
}

void owner_free(struct owner *o)
{
    if (o->recovered)
        atomic_fetch_sub(&o->delivery->shard->node->recovered, 1);
    if (o->partition)
        partition_close(o->partition);
    reroute_free_all(o);
    free_subs(o);
    late_fini(o);
    buf_fini(&o->late_swept);
    buf_fini(&o->suppression_swept);
    loop_timer_stop(&o->due_timer);
    owner_lanes_free(o);
    homes_free(o->homes);
    judge_free(o->judge);
    router_state_free(o->router);
    map_fini(&o->tenants);
    map_fini(&o->members);
    settings_unref(o->settings);
    list_remove(&o->node);
    free(o);
}

void delivery_gained(struct delivery *d, uint32_t partition, uint64_t epoch)
{
    struct owner *o = owner_new(d, partition);
    list_push_back(&d->owners, &o->node);
    int err = partition_open(d->shard->node->log, d->shard->log, partition, epoch, &o->events, &o->partition);
    if (err == RM_OK)
        err = learn_load(o, epoch);
    if (err == RM_OK) {
        lane_pairs_init(o);
        o->judge = partition == 0 ? judge_new() : NULL;
        tenants_follow(d);
        tenants_apply_all(o);
        return;
    }
    on_trouble(o, err, "the partition cannot be opened: its position or state is missing or unreadable");
    owner_free(o);
}

int delivery_recovering(const struct delivery *d)
{
    int n = 0;
    LIST_FOREACH(it, &d->owners)
    n += !CONTAINER_OF(it, struct owner, node)->recovered;
    return n;
}

/* ---- the tick ---- */

/* No outcome and no row for 5 s: a row, so that it never holds the watermark. */
static void give_row(struct sub *s)
{
    if (s->has_row && !sub_waits(s))
        return; /* it came from a row, which will do until the attempt ends */
    switch (s->state) {
    case SUB_QUEUED:
    case SUB_ASIDE:
        place_wait_on(s);
        break;
    case SUB_MOVING:
        settle_tell_waiting(s, "");
        sub_put_row(s, REMUDA__ROW_STATE__ROW_TRANSFERRING, "transfer");
        break;
    default:
        settle_tell_waiting(s, "");
        sub_put_row(s, REMUDA__ROW_STATE__ROW_IN_HAND, s->state == SUB_RUNNING ? "in-hand" : "dns");
        break;
    }
}

/* A pool that is to be left sooner than that: the row is what wakes it. */
static uint64_t row_after_us(const struct owner *o)
{
    uint64_t overflow_us = o->settings->delivery.overflow_ms * 1000;
    return overflow_us && overflow_us < ROW_AFTER_US ? overflow_us : ROW_AFTER_US;
}

static void give_rows(struct owner *o)
{
    uint64_t now = loop_now_us(o->delivery->shard->loop);
    uint64_t after = row_after_us(o);
    while (!list_empty(&o->fresh)) {
        struct sub *s = CONTAINER_OF(o->fresh.next, struct sub, age_node);
        if (now - s->arrived_us < after)
            return;
        list_remove(&s->age_node);
        if (s->state != SUB_SETTLED)
            give_row(s);
    }
}

static void sweep_scopes(struct owner *o)
{
    size_t pos = 0;
    struct span key;
    void *lane;
    while (map_next(&o->lanes, &pos, &key, &lane)) {
        struct lane *l = lane;
        if (l->scopes.count < 1000)
            continue;
        struct scope **all = calloc(l->scopes.count, sizeof(*all));
        ENSURE(all);
        size_t n = 0, at = 0;
        void *scope;
        while (map_next(&l->scopes, &at, &key, &scope))
            all[n++] = scope;
        for (size_t i = 0; i < n; i++)
            scope_free_if_idle(all[i]);
        free(all);
    }
}

static void tell_counts(struct owner *o)
{
    struct metrics *metrics = o->delivery->shard->node->metrics;
    const char *none[] = {NULL};
    struct partition_figures now;
    partition_figures(o->partition, &now);
    if (now.carried != o->carried_told)
        metric_add(metrics_cell(metrics, M_CARRIED, none), now.carried - o->carried_told);
    if (now.dead != o->dead_told)
        metric_add(metrics_cell(metrics, M_DEAD, none), now.dead - o->dead_told);
    o->carried_told = now.carried;
    o->dead_told = now.dead;
}

static void owner_tick(struct owner *o, bool sweep)
{
    struct node *node = o->delivery->shard->node;
    uint64_t keep = node->history ? history_events_keep_from(node->history, o->number) : 0;
    o->ahead_left = FETCH_AHEAD;
    give_rows(o);
    learn_tick(o);
    lane_pairs_tick(o);
    tenants_tick(o);
    if (o->load_due)
        o->load_due = !owner_load_after_start(o);
    if (o->due_waits && o->delivery->ticks % 4 == 0)
        owner_due_run(o); /* should delivery_fetched not have come */
    if (!partition_dirty(o->partition))
        owner_retry_flows(o); /* no flush is coming that would */
    partition_housekeep(o->partition, clock_wall_ms(), keep);
    bool failing = partition_failing_since_us(o->partition) != 0;
    if (o->was_failing && !failing)
        owner_wake(o, ROUTER_CHOSEN);
    o->was_failing = failing;
    tell_counts(o);
    park_count_rows(o);
    if (o->delivery->ticks % 4 == 0)
        park_flows(o);
    if (!sweep)
        return;
    sweep_scopes(o);
    if (!o->recovered || o->lost)
        return;
    late_sweep(o);
    if (o->number == 0)
        suppress_sweep(o);
}

static void drain_step(struct delivery *d);

static void on_tick(struct loop_timer *t)
{
    struct delivery *d = CONTAINER_OF(t, struct delivery, tick);
    d->ticks++;
    tenants_follow(d);
    LIST_FOREACH(it, &d->owners)
    {
        struct owner *o = CONTAINER_OF(it, struct owner, node);
        if (!o->lost)
            owner_tick(o, d->ticks % 240 == 0);
    }
    handover_tick(d);
    loop_timer_start(&d->tick, d->draining ? DRAIN_TICK_MS : TICK_MS);
    if (d->draining)
        drain_step(d);
}

/* ---- drain ---- */

static void abort_links(struct delivery *d)
{
    LIST_FOREACH(it, &d->owners)
    {
        struct owner *o = CONTAINER_OF(it, struct owner, node);
        LIST_FOREACH_SAFE(at, next, &o->links)
        link_abort(CONTAINER_OF(at, struct link, owner_node), "the relay stops");
    }
}

static bool all_written(struct delivery *d)
{
    bool all = true;
    LIST_FOREACH(it, &d->owners)
    {
        struct owner *o = CONTAINER_OF(it, struct owner, node);
        if (!o->lost && !o->last_written)
            on_want_flush(o);
        all = all && !o->lost && o->last_written && !partition_dirty(o->partition);
    }
    return all;
}

static void drain_step(struct delivery *d)
{
    uint64_t now = clock_boot_us();
    bool gave_up = log_gave_up(d->shard->node->log);
    if (d->n_links) {
        if (now >= d->drain_until_us || gave_up)
            abort_links(d);
        return;
    }
    if (!all_written(d) && now < d->drain_until_us + 5000000 && !gave_up)
        return;
    if (d->drained) {
        void (*done)(void *) = d->drained;
        d->drained = NULL;
        loop_timer_stop(&d->tick);
        done(d->drained_arg);
    }
}

void delivery_drain(struct delivery *d, uint64_t bound_ms, void (*done)(void *arg), void *arg)
{
    d->draining = true;
    d->drain_until_us = clock_boot_us() + bound_ms * 1000;
    d->drained = done;
    d->drained_arg = arg;
    LIST_FOREACH(it, &d->owners)
    {
        struct owner *o = CONTAINER_OF(it, struct owner, node);
        LIST_FOREACH_SAFE(at, next, &o->links)
        {
            struct link *l = CONTAINER_OF(at, struct link, owner_node);
            if (l->up)
                link_end(l);
        }
    }
    loop_timer_start(&d->tick, 1);
}

/* ---- configuration ---- */

/* Index of the same source, -1 when it is gone. */
static int remap_source(const struct owner *o, const struct settings *old, int source)
{
    return source < 0 ? -1
                      : router_source_find(&o->settings->router, span_str(old->router.sources[source].name));
}

static void remap_links(struct owner *o, const struct settings *old)
{
    LIST_FOREACH_SAFE(it, next, &o->links)
    {
        struct link *l = CONTAINER_OF(it, struct link, owner_node);
        l->source_index = router_source_find(&o->settings->router, span_str(l->source));
        l->egress = l->source_index < 0 ? -1 : o->settings->router.sources[l->source_index].egress;
        l->decision.runner_up = remap_source(o, old, l->decision.runner_up);
        if ((l->source_index < 0 || lane_has_left(l->scope->lane)) && l->up)
            link_end(l); /* its lane's new home opens its own */
    }
}

static void owner_reconfigure(struct owner *o)
{
    struct settings *old = o->settings;
    o->settings = settings_ref(o->delivery->shard->settings);
    index_tenants(o);
    router_state_configure(o->router, &o->settings->router);
    learn_reconfigure(o);
    for (size_t i = 0; i < o->table_cap; i++)
        for (struct sub *s = o->table[i]; s; s = s->hash_next)
            if (s->dest && s->dest->status != DEST_PENDING)
                s->dest->expires_ms = 0; /* its provider or route may be another now: looked up again */
    owner_lanes_reconfigure(o);
    tenants_apply_all(o);
    remap_links(o, old);
    lane_pairs_look(o);
    settings_unref(old);
}

static void set_max_links(struct delivery *d)
{
    uint32_t all = d->shard->settings->delivery.connections;
    d->max_links = all / (uint32_t)d->shard->node->n_shards;
    if (d->max_links == 0)
        d->max_links = 1;
}

static void learn_sources(struct delivery *d)
{
    own_free(d->own);
    free(d->broken_until_us);
    d->own = own_load(d->shard);
    d->broken_until_us =
        calloc((size_t)d->shard->settings->router.n_sources + 1, sizeof(*d->broken_until_us));
    ENSURE(d->broken_until_us);
    d->any_broken_until_us = 0;
}

void delivery_source_broke(struct delivery *d, int source, const char *trouble)
{
    if (source < 0)
        return;
    d->any_broken_until_us = d->broken_until_us[source] = loop_now_us(d->shard->loop) + SOURCE_BROKEN_US;
    const struct router_source *s = &d->shard->settings->router.sources[source];
    logger_log(d->shard->node->logger, LOG_ERROR, "delivery.source_unusable", LF_STR("source", s->name),
               LF_STR("address", s->address), LF_STR("trouble", trouble));
}

/* Idle connections through it would break at their next message. */
static void end_idle(struct delivery *d, int egress)
{
    LIST_FOREACH_SAFE(it, next, &d->idle_lru)
    {
        struct link *l = CONTAINER_OF(it, struct link, lru_node);
        if (l->egress == egress)
            link_end(l);
    }
}

static void on_egress(void *arg, int egress, bool up)
{
    struct delivery *d = arg;
    if (!up)
        end_idle(d, egress);
    LIST_FOREACH(it, &d->owners)
    owner_wake(CONTAINER_OF(it, struct owner, node), ROUTER_CHOSEN);
}

uint32_t delivery_random(struct delivery *d)
{
    d->random ^= d->random << 13;
    d->random ^= d->random >> 17;
    d->random ^= d->random << 5;
    return d->random;
}

void delivery_reconfigure(struct delivery *d)
{
    set_max_links(d);
    learn_sources(d);
    d->egresses = egresses_new(d->shard, d->egresses, on_egress, d);
    LIST_FOREACH(it, &d->owners)
    owner_reconfigure(CONTAINER_OF(it, struct owner, node));
}

void delivery_lanes_changed(struct delivery *d)
{
    LIST_FOREACH(it, &d->owners)
    {
        struct owner *o = CONTAINER_OF(it, struct owner, node);
        owner_lanes_reconfigure(o);
        remap_links(o, o->settings);
        lane_pairs_look(o);
    }
}

struct delivery *delivery_new(struct shard *shard)
{
    struct delivery *d = calloc(1, sizeof(*d));
    ENSURE(d);
    d->shard = shard;
    list_init(&d->owners);
    list_init(&d->idle_lru);
    list_init(&d->starved);
    d->random = (uint32_t)clock_boot_us() | 1;
    d->scratch = pattern_scratch_new();
    d->tenants = tenants_new();
    set_max_links(d);
    learn_sources(d);
    d->egresses = egresses_new(shard, NULL, on_egress, d);
    loop_timer_init(&d->tick, shard->loop, on_tick);
    loop_timer_start(&d->tick, TICK_MS);
    return d;
}

void delivery_free(struct delivery *d)
{
    LIST_FOREACH_SAFE(it, next, &d->owners)
    owner_free(CONTAINER_OF(it, struct owner, node));
    loop_timer_stop(&d->tick);
    loop_defer_cancel(d->shard->loop, &d->flush);
    egresses_free(d->egresses);
    own_free(d->own);
    tenants_free(d->tenants);
    free(d->broken_until_us);
    pattern_scratch_free(d->scratch);
    free(d);
}
