/*
 * Transfers: a submission goes to the lane that owns what it needs, another provider's or another pool's.
 * Within the partition that is a change of mind; into another one it is one copy of the record with what is
 * still pending of all its submissions that go there about now. How the copy gets there, once, is the
 * partition's (queue/partition_transfer.c); here is where to, what it holds and what is told.
 */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "relay/delivery/delivery_private.h"
#include "relay/delivery/tell.h"
#include "relay/delivery/tenants.h"
#include "relay/metrics_table.h"

/* When all pools have been tried, or would wait for the same, a submission is held where it is for so many
 * times delivery.overflow; then another round of them begins. */
enum { ROUND_OVERFLOWS = 10 };

/* A copy to be, with the submissions that go with it. */
struct move {
    struct list node; /* owner->moves */
    struct list subs; /* move_node */
    size_t n;
    struct transfer *transfer;
    uint32_t target;
    uint64_t at;
};

enum { JOIN_LOOK = 16 }; /* submissions of one record are decided close together */

/* ---- where to ---- */

static bool pool_has_source(const struct router_config *router, int pool)
{
    for (int i = 0; i < router->pools[pool].n_members; i++)
        if (router->sources[router->pools[pool].members[i]].enabled)
            return true;
    return false;
}

/* Not one that it was in in this round, as long as the one where it is has a source at all. */
static bool pool_to_try(const struct sub *s, int pool)
{
    const struct router_config *router = &s->owner->settings->router;
    int here = s->lane->pool_index;
    if (pool == here || !pool_has_source(router, pool))
        return false;
    return !sub_pool_tried(s, router->pools[pool].name) || here < 0 || !pool_has_source(router, here);
}

const char *reroute_next_pool(const struct sub *s)
{
    const struct owner *o = s->owner;
    const struct router_config *router = &o->settings->router;
    const struct settings_tenant *t = map_get(&o->tenants, span_str(s->message->record->tenant));
    int from = -1;
    if (tenants_pool(s))
        return NULL; /* where its tenant's mail has to go, and nowhere else */
    for (int i = 0; t && i < t->n_pools; i++)
        if (t->pools[i] == s->lane->pool_index)
            from = i;
    for (int i = 1; t && i <= t->n_pools; i++) { /* the list's end is followed by its beginning */
        int pool = t->pools[(from + i) % t->n_pools];
        if (pool_to_try(s, pool))
            return router->pools[pool].name;
    }
    int fallback = s->lane->pool_index >= 0 ? router->pools[s->lane->pool_index].fallback : -1;
    return fallback >= 0 && pool_to_try(s, fallback) ? router->pools[fallback].name : NULL;
}

/* NULL: nothing waits there. */
static const struct scope *scope_of(const struct sub *s)
{
    return s->flow ? s->flow->scope : map_get(&s->lane->scopes, span_str(s->scope_text ? s->scope_text : ""));
}

uint64_t reroute_due_ms(const struct sub *s)
{
    uint64_t after = s->owner->settings->delivery.overflow_ms;
    const struct scope *scope = scope_of(s);
    if (!after || (!s->n_pools_tried && !reroute_next_pool(s)))
        return 0;
    if (!reroute_next_pool(s) || (scope && scope_is_out(scope)))
        return s->held_since_ms + after * ROUND_OVERFLOWS;
    return (scope && scope->out_ms > s->held_since_ms ? scope->out_ms : s->held_since_ms) + after;
}

uint64_t reroute_look_ms(const struct sub *s)
{
    uint64_t due = reroute_due_ms(s), after = s->owner->settings->delivery.overflow_ms;
    uint64_t again = clock_wall_ms() + after; /* what it waits for may be another thing then */
    return due > again && reroute_next_pool(s) ? again : due;
}

const char *reroute_overflow(struct sub *s)
{
    uint64_t due = reroute_due_ms(s);
    if (!due || clock_wall_ms() < due)
        return NULL;
    if (!reroute_next_pool(s))
        sub_pools_tried_clear(s);
    return reroute_next_pool(s);
}

/* Its own, while there is one of that number. */
static uint32_t pool_shard(const struct sub *s, const char *pool)
{
    const struct router_config *router = &s->owner->settings->router;
    int index = router_pool_find(router, span_str(pool));
    if (strcmp(pool, s->lane->pool) == 0 && (index < 0 || s->lane->shard < router->pools[index].shards))
        return s->lane->shard;
    const char *at = strrchr(s->message->record->sender, '@');
    return index < 0
               ? 0
               : lanes_pool_shard(router, index, span_str(at ? at + 1 : ""), span_str(s->submission->domain));
}

/* ---- telling ---- */

static void tell_rerouted(struct sub *s, const Remuda__TransferTo *to, const char *why, bool final)
{
    struct tell t;
    tell_init_local(&t, REMUDA__RECIPIENT_STATE__RCPT_PENDING);
    t.transfer = to;
    t.cause = why;
    show_held(s);
    t.final = final;
    tell_event(s, &t);
    const char *labels[] = {s->lane->pool, to->pool};
    metric_add(metrics_cell(s->owner->delivery->shard->node->metrics, M_REROUTED, labels), 1);
}

/* ---- the copy ---- */

static void copy_pending(const struct sub *s, struct arena *a, Remuda__Submission *out)
{
    out->recipients = arena_alloc(a, sizeof(Remuda__Recipient *) * s->submission->n_recipients);
    out->results = arena_alloc(a, sizeof(Remuda__RecipientResult *) * s->submission->n_recipients);
    out->n_recipients = out->n_results = 0;
    for (size_t i = 0; i < s->submission->n_recipients; i++) {
        if (!sub_pending(s, i))
            continue;
        out->recipients[out->n_recipients++] = s->submission->recipients[i];
        if (!s->results)
            continue;
        Remuda__RecipientResult *known = arena_alloc(a, sizeof(*known));
        sub_result_fill(&s->results[i], known);
        out->results[out->n_results++] = known;
    }
}

static Remuda__Submission *copy_submission(const struct sub *s, struct arena *a)
{
    const Remuda__TransferTo *to = &s->destination->to;
    Remuda__Submission *out = arena_alloc(a, sizeof(*out));
    *out = *s->submission;
    copy_pending(s, a, out);
    out->pool = to->pool;
    out->provider = to->provider;
    out->shard = to->shard;
    out->attempts = s->attempts;
    out->uncounted = s->uncounted;
    out->origin = arena_alloc(a, sizeof(*out->origin));
    remuda__submission_id__init(out->origin);
    out->origin->partition = s->id.partition;
    out->origin->offset = s->id.offset;
    out->origin->index = s->id.index;
    out->pools_tried = s->pools_tried;
    out->n_pools_tried = s->n_pools_tried;
    return out;
}

/* ---- moves ---- */

static struct move *move_new(struct owner *o, uint32_t target, uint64_t at)
{
    struct move *m = calloc(1, sizeof(*m));
    ENSURE(m);
    list_init(&m->subs);
    m->target = target;
    m->at = at;
    list_push_back(&o->moves, &m->node);
    return m;
}

static void move_free(struct move *m)
{
    struct list *node;
    while ((node = list_pop_front(&m->subs)))
        ;
    list_remove(&m->node);
    free(m);
}

void reroute_free_all(struct owner *o)
{
    LIST_FOREACH_SAFE(it, next, &o->moves)
    move_free(CONTAINER_OF(it, struct move, node));
}

static void join(struct move *m, struct sub *s)
{
    struct transfer_number n = partition_transfer_number(m->transfer);
    s->destination->to.epoch = n.epoch;
    s->destination->to.sequence = n.sequence;
    list_push_back(&m->subs, &s->move_node);
    m->n++;
    sub_move(s, SUB_MOVING);
}

static struct transfer_options options_of(const struct sub *s, struct move *m)
{
    return (struct transfer_options){
        .message = s->message, .at = s->at, .target = m->target, .kind = s->destination->to.kind, .arg = m};
}

/* One of the same record to the same partition that has not gone yet. */
static struct move *find_move(const struct sub *s, uint32_t target)
{
    int looked = 0;
    for (struct list *it = s->owner->moves.prev; it != &s->owner->moves && looked < JOIN_LOOK;
         it = it->prev) {
        struct move *m = CONTAINER_OF(it, struct move, node);
        if (m->at == s->at && m->target == target && partition_transfer_open(m->transfer))
            return m;
        looked++;
    }
    return NULL;
}

static void decide(struct sub *s, const Remuda__TransferTo *to, const char *why)
{
    struct owner *o = s->owner;
    struct move *m = find_move(s, to->partition);
    s->destination = destination_new(to, why);
    if (!m) {
        m = move_new(o, to->partition, s->at);
        struct transfer_options options = options_of(s, m);
        m->transfer = partition_transfer_new(o->partition, &options);
    }
    join(m, s);
    if (!(log_capabilities(o->delivery->shard->node->log) & LOG_ATOMIC))
        sub_put_row(s, REMUDA__ROW_STATE__ROW_TRANSFERRING, why);
}

static struct span number_span(const Remuda__TransferTo *to, uint64_t out[2])
{
    out[0] = to->epoch;
    out[1] = to->sequence;
    return span_of((const char *)out, 2 * sizeof(*out));
}

void reroute_resume(struct sub *s, struct map *moves)
{
    uint64_t bytes[2];
    const Remuda__TransferTo *to = &s->destination->to;
    struct span number = number_span(to, bytes);
    struct move *m = map_get(moves, number);
    if (!m) {
        m = move_new(s->owner, to->partition, s->at);
        struct transfer_options options = options_of(s, m);
        struct transfer_number n = {to->epoch, to->sequence};
        m->transfer = partition_transfer_resume(s->owner->partition, &options, n);
        map_put(moves, number, m);
    }
    join(m, s);
}

/* It cannot be read or copied now: all are the owner's again. */
static void give_up(struct move *m)
{
    struct list *node;
    while ((node = list_pop_front(&m->subs))) {
        struct sub *s = CONTAINER_OF(node, struct sub, move_node);
        destination_free(s->destination);
        s->destination = NULL;
        settle_defer_local(s, "4.3.0", "the message could not be moved to another queue", 0);
    }
}

static void give(struct move *m, struct owner *o)
{
    struct arena a = ARENA_INIT;
    struct list *node;
    size_t n = 0;
    Remuda__Submission **list = arena_alloc(&a, sizeof(*list) * m->n);
    LIST_FOREACH(it, &m->subs)
    list[n++] = copy_submission(CONTAINER_OF(it, struct sub, move_node), &a);
    partition_transfer_give(m->transfer, list, n, lanes_version(o->delivery->shard->node->lanes));
    arena_fini(&a);
    while ((node = list_pop_front(&m->subs))) {
        struct sub *s = CONTAINER_OF(node, struct sub, move_node);
        tell_rerouted(s, &s->destination->to, s->destination->why, true);
        sub_finish(s);
    }
}

void reroute_transfer(void *arg, struct transfer *t, int status)
{
    struct move *m = partition_transfer_arg(t);
    if (status == RM_OK)
        give(m, arg);
    else
        give_up(m);
    move_free(m);
}

/* ---- deciding ---- */

/* Another lane of the same partition: nothing is copied, the next row says it. */
static void change_lane(struct sub *s, const Remuda__TransferTo *to, const char *why)
{
    bool pool_changes = strcmp(s->lane->pool, to->pool) != 0;
    bool shard_changes = s->lane->shard != to->shard;
    if (pool_changes)
        tell_rerouted(s, to, why, false);
    struct lane *lane = lane_get(s->owner, to->pool, to->provider, to->shard);
    if (s->state != SUB_RESOLVING)
        sub_move(s, SUB_RESOLVING);
    struct flow *left = s->flow;
    struct lane *old = s->lane;
    s->flow = NULL;
    s->lane = lane;
    park_sub(s);
    lane->in_memory++;
    old->in_memory--;
    if ((pool_changes || shard_changes) && s->has_row && s->row_state == REMUDA__ROW_STATE__ROW_HELD)
        place_hold_row(s, why); /* else it would be looked for in the old lane */
    if (left) {
        left->in_memory--;
        flow_room_freed(left);
    }
    lane_memory_freed(old);
    place_begin(s);
}

void reroute(struct sub *s, const char *pool, const char *provider, const char *why)
{
    Remuda__TransferTo to = REMUDA__TRANSFER_TO__INIT;
    to.pool = (char *)(uintptr_t)pool;
    to.provider = (char *)(uintptr_t)provider;
    to.kind = strcmp(why, TENANTS_QUARANTINE) == 0 ? REMUDA__TRANSFER_KIND__TRANSFER_QUARANTINE
                                                   : REMUDA__TRANSFER_KIND__TRANSFER_REROUTE;
    to.shard = pool_shard(s, pool);
    int target = lanes_partition(s->owner->delivery->shard->node->lanes, pool, provider, to.shard);
    if (target < 0) {
        settle_defer_local(s, "4.3.5", "no lane for this pool and provider is configured", 60000);
        return;
    }
    to.partition = (uint32_t)target;
    if (strcmp(pool, s->lane->pool) != 0) {
        sub_pools_tried_add(s, s->lane->pool);
        s->held_since_ms = 0; /* counts anew in the next one */
    }
    if (to.partition == s->owner->number)
        change_lane(s, &to, why);
    else
        decide(s, &to, why);
}
