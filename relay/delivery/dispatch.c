/*
 * Who goes next, and from which source. A scope serves its flows in rotation: the head's submission is
 * decided, and either starts or blocks the scope until what binds it frees. The next action for a submission
 * is a list of preconditions, each with an early return.
 */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "relay/delivery/delivery_private.h"
#include "relay/delivery/egresses.h"
#include "relay/delivery/suppress.h"
#include "relay/feedback/return_path.h"
#include "relay/metrics_table.h"
#include "router/tenant.h"

enum { CANDIDATES_MOST = ROUTER_LANE_SOURCES_MOST };

/* ---- attempts ---- */

static bool may_finish(const struct attempt *a)
{
    const struct run *r = a->owner;
    bool may = owner_may_start(r->sub->owner);
    r->sub->finishing |= may;
    return may;
}

/* What MAIL says: the sender, or a return path of ours that leads back to this submission. */
static const char *sender_of(const struct sub *s, const struct link *l, uint64_t now_ms, struct arena *a)
{
    const struct owner *o = s->owner;
    const Remuda__Record *r = s->message->record;
    struct return_path p = {.tenant = map_get(&o->tenants, span_str(r->tenant)),
                            .source = l->source,
                            .provider = s->lane->provider,
                            .message = r->id.data,
                            .submission = s->id,
                            .now_ms = now_ms};
    const char *own = r->sender[0] ? return_path_make(o->settings, &p, a) : NULL;
    return own ? own : r->sender;
}

struct run *run_new(struct sub *s, struct link *l, const struct router_decision *d)
{
    struct run *r = calloc(1, sizeof(*r) + s->n_pending * sizeof(r->indexes[0]));
    ENSURE(r);
    struct attempt *a = &r->attempt;
    arena_init(&a->arena);
    for (uint32_t i = 0; i < s->submission->n_recipients; i++)
        if (sub_pending(s, i))
            r->indexes[a->n_recipients++] = i;
    a->message = message_ref(s->message); /* carry-forward may give it another meanwhile */
    a->submission = s->submission;
    a->recipients = r->indexes;
    r->started_ms = clock_wall_ms();
    a->sender = sender_of(s, l, r->started_ms, &a->arena);
    a->body = (struct body_source){.log = s->owner->delivery->shard->node->log,
                                   .partition = s->owner->number,
                                   .at = s->at,
                                   .message = a->message};
    a->owner = r;
    a->may_finish = may_finish;
    r->sub = s;
    r->link = l;
    r->runner_up = "";
    if (d) {
        r->decision = *d;
        if (d->runner_up >= 0)
            r->runner_up = arena_strdup(&a->arena, s->owner->settings->router.sources[d->runner_up].name);
    }
    s->finishing = false;
    s->owner->delivery->attempts_started++;
    return r;
}

void run_free(struct run *r)
{
    arena_fini(&r->attempt.arena);
    message_unref(r->attempt.message);
    free(r);
}

/* ---- deciding ---- */

static int index_of_source(const int *sources, int n, int source)
{
    for (int i = 0; i < n; i++)
        if (sources[i] == source)
            return i;
    return -1;
}

static void count_idle(struct scope *s, const struct sub *sub, uint8_t idle[CANDIDATES_MOST])
{
    int n;
    const int *sources = router_scope_sources(s->limits, &n);
    LIST_FOREACH(it, &s->idle)
    {
        const struct link *l = CONTAINER_OF(it, struct link, idle_node);
        int i = link_serves(l, sub) ? index_of_source(sources, n, l->source_index) : -1;
        if (i >= 0 && idle[i] < UINT8_MAX)
            idle[i]++;
    }
}

static struct link *find_idle(struct scope *s, const struct sub *sub, int source)
{
    for (struct list *it = s->idle.prev; it != &s->idle; it = it->prev) {
        struct link *l = CONTAINER_OF(it, struct link, idle_node);
        if (l->source_index == source && link_serves(l, sub))
            return l;
    }
    return NULL;
}

int dispatch_unfit(const struct owner *o, const struct router_scope *scope, const struct dest *dest,
                   int out[CANDIDATES_MOST])
{
    int n, unfit = 0;
    uint64_t now = loop_now_us(o->delivery->shard->loop);
    if (!dest->families && now >= o->delivery->any_broken_until_us)
        return 0;
    const int *sources = router_scope_sources(scope, &n);
    for (int i = 0; i < n; i++) {
        bool other_family = dest->families && !(dest->families & hops_family(o, sources[i]));
        if (other_family || now < o->delivery->broken_until_us[sources[i]])
            out[unfit++] = sources[i];
    }
    return unfit;
}

int dispatch_cut_off(const struct owner *o, const struct router_scope *scope, int out[CANDIDATES_MOST])
{
    int n, cut = 0;
    const struct egresses *e = o->delivery->egresses;
    if (!egresses_n_down(e))
        return 0;
    const int *sources = router_scope_sources(scope, &n);
    for (int i = 0; i < n; i++)
        if (egresses_is_down(e, o->settings->router.sources[sources[i]].egress))
            out[cut++] = sources[i];
    return cut;
}

/* Leaves out the source that an answer to this submission has blamed in this round. */
static int leave_out(const struct scope *s, const struct sub *sub, int *unfit, int n)
{
    int source =
        sub->avoid ? router_source_find(&s->lane->owner->settings->router, span_str(sub->avoid)) : -1;
    if (source >= 0 && n < CANDIDATES_MOST)
        unfit[n++] = source;
    return n;
}

static struct span sender_domain(const struct sub *sub)
{
    const char *at = strrchr(sub->message->record->sender, '@');
    return span_str(at ? at + 1 : "");
}

/* An attempt of it has failed: it has had its chance on a source that warms up. */
static bool was_tried(const struct sub *sub)
{
    return sub->attempts > 0 || sub->avoid;
}

/* What of a submission's past counts in a decision. */
enum past {
    PAST_NONE,   /* as if it were new */
    PAST_TRIED,  /* that an attempt has failed */
    PAST_BLAMED, /* and the source that was blamed for it in this round */
    PAST_ALL,    /* and the one to go back to */
};

static void decide(struct scope *s, const struct sub *sub, enum past past, struct router_decision *d)
{
    uint8_t idle[CANDIDATES_MOST] = {0};
    int unfit[CANDIDATES_MOST], cut_off[CANDIDATES_MOST];
    count_idle(s, sub, idle);
    struct router_query q = {.now_us = loop_now_us(s->lane->owner->delivery->shard->loop),
                             .sticky = span_str(past == PAST_ALL ? sub->sticky : NULL),
                             .sender = sender_domain(sub),
                             .tried = past != PAST_NONE && was_tried(sub),
                             .excluded = unfit,
                             .cut_off = cut_off,
                             .n_cut_off = dispatch_cut_off(s->lane->owner, s->limits, cut_off),
                             .idle = idle};
    int broken = dispatch_unfit(s->lane->owner, s->limits, sub->dest, unfit);
    q.n_excluded = past >= PAST_BLAMED ? leave_out(s, sub, unfit, broken) : broken;
    router_decide(s->lane->owner->router, s->limits, &q, d);
    if (d->cause != ROUTER_EXCLUDED || q.n_excluded == broken)
        return;
    q.n_excluded = broken; /* the one to avoid is the only one that there is */
    router_decide(s->lane->owner->router, s->limits, &q, d);
}

void dispatch_decide(struct scope *s, const struct sub *sub, struct router_decision *d)
{
    decide(s, sub, PAST_ALL, d);
}

bool dispatch_elsewhere(struct sub *sub, const char *source)
{
    struct router_decision d = {.source = -1};
    struct scope *s = sub->flow->scope;
    if (sub->avoid || !s->limits)
        return false;
    sub_text_set(&sub->avoid, source);
    decide(s, sub, PAST_BLAMED, &d);
    if (d.source < 0 || strcmp(s->lane->owner->settings->router.sources[d.source].name, source) == 0)
        sub_text_set(&sub->avoid, NULL);
    return sub->avoid != NULL;
}

/* ---- blocked ---- */

static void evict_idle_of_scope(struct scope *s, bool warm)
{
    LIST_FOREACH(it, &s->idle)
    {
        struct link *l = CONTAINER_OF(it, struct link, idle_node);
        if (!warm || !router_warms_up(s->limits, l->source_index)) {
            link_end(l);
            return;
        }
    }
}

/* Total limits: an idle connection of another lane to the same provider may hold the slot. */
static void evict_idle_of_provider(struct scope *s)
{
    struct owner *o = s->lane->owner;
    LIST_FOREACH(it, &o->links)
    {
        struct link *l = CONTAINER_OF(it, struct link, owner_node);
        if (!list_empty(&l->idle_node) && strcmp(l->scope->lane->provider, s->lane->provider) == 0) {
            link_end(l);
            return;
        }
    }
}

/* Another host's idle connection may hold the slot. warm: only those of sources that do not warm up do. */
static void make_room(struct scope *s, enum router_verdict cause, bool warm)
{
    if (cause == ROUTER_CONNECTIONS)
        evict_idle_of_scope(s, warm);
    else if (cause == ROUTER_TOTAL_CONNECTIONS)
        evict_idle_of_provider(s);
}

static void wait_alone(struct sub *sub, uint64_t until_us)
{
    uint64_t now = loop_now_us(sub->owner->delivery->shard->loop);
    settle_defer_local(sub, "4.4.5", "no source may take it now",
                       until_us > now ? (until_us - now) / 1000 + 1 : 30000);
}

/* Blocked by its own past only: it waits without the others, by itself for the source to go back to, set
 * aside for a warm one. When any other would have to wait too it keeps its place, and *d is what they all
 * wait for. */
static bool step_aside(struct scope *s, struct sub *sub, struct router_decision *d)
{
    struct router_decision any = {.source = -1};
    if (sub->sticky || sub->avoid) {
        decide(s, sub, PAST_TRIED, &any);
        if (any.source >= 0) {
            wait_alone(sub, d->until_us);
            return true;
        }
        *d = any;
    }
    if (!was_tried(sub))
        return false;
    decide(s, sub, PAST_NONE, &any);
    if (any.source < 0) {
        *d = any;
        return false;
    }
    make_room(s, d->cause, true);
    if (!aside_put(sub, d->until_us))
        wait_alone(sub, d->until_us);
    return true;
}

/* Returns true when the submission is out of the way, false when the scope is blocked. */
static bool blocked(struct scope *s, struct sub *sub, struct router_decision *d)
{
    struct shard *shard = s->lane->owner->delivery->shard;
    s->cause = d->cause;
    if (d->cause == ROUTER_NO_SOURCE) {
        const char *next = reroute_next_pool(sub);
        if (next)
            reroute(sub, next, s->lane->provider, "no-source");
        return next != NULL;
    }
    if (step_aside(s, sub, d))
        return true;
    s->cause = d->cause;
    if (d->cause == ROUTER_EXCLUDED)
        d->until_us = s->lane->owner->delivery->any_broken_until_us;
    if (d->until_us) {
        uint64_t now = loop_now_us(shard->loop);
        loop_timer_start(&s->timer, d->until_us > now ? (d->until_us - now + 999) / 1000 : 1);
    }
    make_room(s, d->cause, false);
    return false;
}

/* The node's own bound on connections: an idle one makes room, else the scope waits its turn. */
static bool node_has_connection(struct scope *s)
{
    struct delivery *d = s->lane->owner->delivery;
    if (d->n_links < d->max_links)
        return true;
    if (!list_empty(&d->idle_lru))
        link_end(CONTAINER_OF(d->idle_lru.next, struct link, lru_node));
    if (list_empty(&s->starved_node))
        list_push_back(&d->starved, &s->starved_node);
    s->cause = ROUTER_CONNECTIONS;
    return false;
}

/* ---- one submission ---- */

static void take_of_tenant(const struct scope *s, const struct sub *sub, uint64_t now)
{
    router_tenant_take(s->lane->owner->router, span_str(sub->message->record->tenant),
                       span_str(s->lane->provider), now);
}

static bool begin(struct scope *s, struct sub *sub, struct router_decision *d)
{
    uint64_t now = loop_now_us(s->lane->owner->delivery->shard->loop);
    struct link *idle = d->reuse ? find_idle(s, sub, d->source) : NULL;
    if (!idle && now < s->pause_until_us) {
        s->cause = ROUTER_CONNECTIONS;
        loop_timer_start(&s->timer, (s->pause_until_us - now) / 1000 + 1);
        return false;
    }
    if (!idle && !node_has_connection(s))
        return false;
    if (!idle && !router_may_open(s->lane->owner->router, s->limits, d->source)) {
        s->cause = ROUTER_CONNECTIONS; /* until that is durable */
        router_open_ask(s->lane->owner->router, s->limits, d->source);
        s->lane->owner->events.want_flush(s->lane->owner);
        return false;
    }
    show_frame(s, d);
    struct router_decision taken = *d;
    taken.candidates = NULL;
    taken.reuse = idle != NULL;
    if (s->lane->owner->delivery->decisions++ % SHOWN_ONE_IN == 0)
        show_chosen(s, sub);
    router_take(s->lane->owner->router, s->limits, &taken, now);
    take_of_tenant(s, sub, now);
    s->cause = ROUTER_CHOSEN;
    sub->held_since_ms = 0;
    sub_move(sub, SUB_RUNNING);
    if (idle)
        link_give(idle, run_new(sub, idle, &taken));
    else
        link_open(s, sub, &taken);
    return true;
}

/* Hosts with one kind of addresses, sources of the other. */
static bool no_source_of_kind(const struct scope *s, const struct sub *sub)
{
    int n;
    const struct owner *o = s->lane->owner;
    const int *sources = router_scope_sources(s->limits, &n);
    bool any = false;
    for (int i = 0; sub->dest->families && i < n; i++) {
        if (!o->settings->router.sources[sources[i]].enabled)
            continue;
        if (sub->dest->families & hops_family(o, sources[i]))
            return false;
        any = true;
    }
    return any;
}

/* True when the submission is no longer at the head; false when the scope is blocked. */
static bool try_start(struct scope *s, struct sub *sub)
{
    if (partition_end_heard(s->lane->owner->partition, sub->id, sub->at)) {
        sub_finish(sub);
        return true;
    }
    if (clock_wall_ms() >= sub->expires_ms) {
        settle_expired(sub);
        return true;
    }
    if (!dest_fresh(sub->dest) || lane_has_left(s->lane)) {
        place_begin(sub);
        return true;
    }
    uint64_t now_us = loop_now_us(s->lane->owner->delivery->shard->loop);
    if (sub->dest->bad_until_us > now_us) {
        settle_not_tried(sub);
        return true;
    }
    if (s->limits && no_source_of_kind(s, sub)) {
        sub->attempts++;
        settle_defer_local(sub, "4.4.1",
                           sub->dest->families == DEST_HAS_V6
                               ? "its hosts have IPv6 addresses only, and the pool has none"
                               : "its hosts have IPv4 addresses only, and the pool has none",
                           0);
        return true;
    }
    struct router_candidate list[CANDIDATES_MOST];
    struct router_decision d = {.source = -1, .cause = ROUTER_NO_SOURCE, .candidates = list};
    if (s->limits)
        decide(s, sub, PAST_ALL, &d);
    if (d.source < 0)
        return blocked(s, sub, &d);
    if (settle_suppressed(sub))
        return true;
    return begin(s, sub, &d);
}

/* ---- rotation ---- */

static struct sub *first_ready(const struct flow *f)
{
    return f->n_ready ? CONTAINER_OF(f->ready.next, struct sub, node) : NULL;
}

static struct sub *head_of(const struct flow *f)
{
    return f->n_aside && !f->scope->no_warm ? CONTAINER_OF(f->aside.next, struct sub, node) : first_ready(f);
}

void dispatch_starved(struct delivery *d)
{
    struct list *node = d->n_links < d->max_links ? list_pop_front(&d->starved) : NULL;
    if (node)
        scope_wake(CONTAINER_OF(node, struct scope, starved_node));
}

/* The flow whose turn it is; those that their tenant's own limit holds leave the ring. */
static struct flow *next_flow(struct scope *s)
{
    const struct owner *o = s->lane->owner;
    uint64_t until, now = loop_now_us(o->delivery->shard->loop);
    while (!list_empty(&s->ring)) {
        struct flow *f = CONTAINER_OF(s->ring.next, struct flow, ring_node);
        if (router_tenant_may(o->router, span_str(f->tenant), span_str(s->lane->provider), now, &until))
            return f;
        flow_pause(f, until);
    }
    return NULL;
}

static void run_ring(struct scope *s)
{
    struct flow *f;
    while ((f = next_flow(s))) {
        list_remove(&f->ring_node);
        if (!head_of(f) && (!f->disk || !flow_refill(f))) {
            aside_rest(f);
            continue; /* it enters again when it has something */
        }
        bool moved_on = try_start(s, head_of(f));
        if ((head_of(f) || (f->disk && list_empty(&f->retry_node))) && list_empty(&f->ring_node)) {
            if (moved_on)
                list_push_back(&s->ring, &f->ring_node);
            else
                list_push_front(&s->ring, &f->ring_node);
        }
        aside_rest(f);
        if (!moved_on) {
            s->blocked = true;
            s->out_ms = scope_is_out(s) ? clock_wall_ms() : s->out_ms;
            flow_shed(f);
            return;
        }
    }
}

/* An attempt may begin now. What is refused because outcomes cannot be written, or without a lease, is woken
 * by the tick behind it. */
static bool may_begin(struct owner *o)
{
    bool failing = partition_failing_since_us(o->partition) != 0, out = !owner_may_start(o);
    o->was_failing |= failing;
    o->lease_out |= out;
    return !o->delivery->draining && o->recovered && !failing && !out;
}

void scope_run(struct scope *s)
{
    struct owner *o = s->lane->owner;
    if (!may_begin(o))
        return;
    s->running = true;
    aside_return(s);
    run_ring(s);
    s->running = false;
    dispatch_starved(o->delivery); /* this one may have been woken for a connection it had no use for */
}

/* ---- the next one over a connection in use ---- */

static bool fits(const struct link *l, const struct sub *sub)
{
    if (partition_end_heard(l->owner->partition, sub->id, sub->at))
        return false;
    if (sub->sticky && strcmp(sub->sticky, l->source) != 0)
        return false;
    if (sub->avoid && strcmp(sub->avoid, l->source) == 0)
        return false;
    if (was_tried(sub) && router_warms_up(l->scope->limits, l->source_index))
        return false;
    return clock_wall_ms() < sub->expires_ms && dest_fresh(sub->dest) && link_serves(l, sub) &&
           !suppress_any(sub);
}

static bool link_may_take_more(const struct link *l)
{
    if (l->ending || l->source_index < 0 || lane_has_left(l->scope->lane) || !l->scope->limits ||
        !may_begin(l->owner))
        return false;
    return !egresses_is_down(l->owner->delivery->egresses, l->egress) &&
           (l->per_connection == 0 || session_messages(l->session) < l->per_connection);
}

struct run *dispatch_next(struct link *l)
{
    struct scope *s = l->scope;
    if (!link_may_take_more(l))
        return NULL;
    bool warm = !router_warms_up(s->limits, l->source_index);
    if (warm)
        aside_return(s);
    if (list_empty(&s->ring))
        return NULL;
    struct flow *f = next_flow(s);
    struct sub *sub = !f ? NULL : warm ? head_of(f) : first_ready(f);
    uint64_t now = loop_now_us(l->owner->delivery->shard->loop);
    if (!sub || !fits(l, sub) || !router_take_next(l->owner->router, s->limits, l->source_index, now))
        return NULL;
    take_of_tenant(s, sub, now);
    sub->held_since_ms = 0;
    sub->link = l;
    sub_move(sub, SUB_RUNNING);
    list_remove(&f->ring_node);
    if (head_of(f) || f->disk)
        list_push_back(&s->ring, &f->ring_node);
    aside_rest(f);
    return run_new(sub, l, NULL);
}
