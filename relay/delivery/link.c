/*
 * Outbound connections: opening one, what it carries, idling, its end. Where it connects to is hops.c's. A
 * link holds its (source, scope) connection slot from router_take to link_gone, the one place through which
 * every link ends.
 */
#include "relay/delivery/session.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/net/dns.h"
#include "relay/delivery/delivery_private.h"
#include "relay/delivery/egresses.h"
#include "relay/metrics_table.h"

enum { PASSED_MOST = 1000 }; /* bytes of the words about hosts passed over */

/* ---- what it can carry ---- */

bool link_serves(const struct link *l, const struct sub *s)
{
    if (l->dest == s->dest)
        return true;
    return l->dest && s->dest && l->dest->tls == s->dest->tls && l->up &&
           dest_has_host(s->dest, &l->dest->hosts[l->host]);
}

static void leave_idle(struct link *l)
{
    list_remove(&l->idle_node);
    list_remove(&l->lru_node);
    loop_timer_stop(&l->idle_timer);
}

static void start_run(struct link *l, struct run *r)
{
    r->sub->link = l;
    l->n_running++;
    session_give(l->session, &r->attempt);
}

void link_give(struct link *l, struct run *r)
{
    leave_idle(l);
    start_run(l, r);
}

static uint64_t idle_ms(const struct link *l)
{
    const struct lane *lane = l->scope->lane;
    uint64_t own =
        lane->provider_index >= 0 ? l->owner->settings->router.providers[lane->provider_index].idle_ms : 0;
    return own ? own : l->owner->settings->delivery.idle_ms;
}

static bool worn_out(const struct link *l)
{
    return l->per_connection && session_messages(l->session) >= l->per_connection;
}

/* Somebody waits for a connection of the node. */
static bool is_wanted(const struct delivery *d)
{
    return d->n_links >= d->max_links && !list_empty(&d->starved);
}

static void wake_total(struct link *l);

static void become_idle(struct link *l)
{
    struct delivery *d = l->owner->delivery;
    if (d->draining || l->source_index < 0 || worn_out(l) || is_wanted(d) ||
        egresses_is_down(d->egresses, l->egress)) {
        link_end(l);
        return;
    }
    list_push_back(&l->scope->idle, &l->idle_node);
    list_push_back(&l->owner->delivery->idle_lru, &l->lru_node);
    loop_timer_start(&l->idle_timer, idle_ms(l));
    scope_wake(l->scope);
    wake_total(l);
}

static void carry_on(struct link *l)
{
    struct run *next = dispatch_next(l);
    if (next)
        start_run(l, next);
    else
        become_idle(l);
}

/* ---- ending ---- */

static void wake_total(struct link *l)
{
    struct owner *o = l->owner;
    int provider = l->scope->lane->provider_index;
    if (provider < 0 || !o->settings->router.providers[provider].limits.total)
        return;
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(&o->lanes, &pos, &key, &value)) {
        struct lane *lane = value;
        struct scope *s = lane->provider_index == provider ? map_get(&lane->scopes, span_str("")) : NULL;
        if (s)
            scope_wake(s);
    }
}

static void count_open(const struct link *l, int by)
{
    const char *labels[] = {l->source};
    metric_inc(metrics_cell(l->owner->delivery->shard->node->metrics, M_OUT_CONNECTIONS_OPEN, labels), by);
}

static void link_gone(struct link *l)
{
    struct scope *s = l->scope;
    struct delivery *d = l->owner->delivery;
    leave_idle(l);
    list_remove(&l->owner_node);
    loop_defer_cancel(d->shard->loop, &l->later);
    if (l->request)
        dns_cancel(l->request);
    dns_host_unref(l->addrs);
    if (s->limits)
        router_connection_closed(l->owner->router, s->limits, l->source_index);
    s->n_links--;
    d->n_links--;
    count_open(l, -1);
    scope_wake(s);
    wake_total(l);
    dispatch_starved(d);
    dest_unref(l->dest);
    free(l->trouble);
    free(l->passed_over);
    free(l->failed);
    free(l->source);
    free(l);
}

void link_end(struct link *l)
{
    if (l->ending)
        return;
    l->ending = true;
    leave_idle(l);
    if (l->session)
        session_retire(l->session);
}

void link_abort(struct link *l, const char *why)
{
    l->ending = true;
    leave_idle(l);
    if (l->session) {
        session_abort(l->session, why);
        return;
    }
    if (l->sub)
        place_again(l->sub);
    link_gone(l);
}

static void idle_too_long(struct loop_timer *t)
{
    link_end(CONTAINER_OF(t, struct link, idle_timer));
}

/* ---- session events ---- */

static void count_result(const struct link *l, const char *result)
{
    const char *labels[] = {l->source, result};
    metric_add(metrics_cell(l->owner->delivery->shard->node->metrics, M_OUT_CONNECTIONS_TOTAL, labels), 1);
}

static void on_up(void *arg, struct session *session)
{
    struct link *l = arg;
    (void)session;
    l->up = true;
    dest_mark_good(l->dest);
    count_result(l, "up");
    struct sub *s = l->sub;
    if (s && !owner_may_start(l->owner)) {
        link_end(l); /* closed gives the submission back */
        return;
    }
    l->sub = NULL;
    if (s)
        start_run(l, run_new(s, l, &l->decision));
    else
        carry_on(l);
}

static struct attempt *on_next(void *arg, struct session *session)
{
    struct link *l = arg;
    (void)session;
    struct run *r = dispatch_next(l);
    if (!r)
        return NULL;
    l->n_running++;
    return &r->attempt;
}

static void on_done(void *arg, struct session *session, struct attempt *a)
{
    struct link *l = arg;
    struct run *r = a->owner;
    l->n_running--;
    settle_attempt(r);
    run_free(r);
    if (session_idle(session) && !l->ending && l->n_running == 0)
        carry_on(l);
}

void link_failed(struct link *l, const char *words)
{
    free(l->failed);
    l->failed = strdup(words);
    ENSURE(l->failed);
}

/* Another place is tried now: the last failure is one on the way there. */
static void pass_on(struct link *l)
{
    char text[PASSED_MOST];
    if (!l->failed)
        return;
    snprintf(text, sizeof(text), "%s%s%s", l->passed_over ? l->passed_over : "", l->passed_over ? "; " : "",
             l->failed);
    free(l->failed);
    l->failed = NULL;
    free(l->passed_over);
    l->passed_over = strdup(text);
    ENSURE(l->passed_over);
}

static void note_failure(struct link *l, const struct session_failure *f)
{
    char text[1024];
    const char *said = f->reply.code ? f->reply.text : f->trouble;
    snprintf(text, sizeof(text), "%s [%s] at %s: %s", l->dest->hosts[l->host].name,
             session_remote(l->session), session_stage_text(f->stage), said ? said : "failed");
    link_failed(l, text);
    free(l->trouble);
    l->trouble = strdup(f->reply.code ? (said ? said : "") : text);
    ENSURE(l->trouble);
    l->refusal = f->reply;
    l->refusal.text = l->trouble;
}

/* It is not the receiver's fault: no other address is tried from here, and other sources are taken. */
static void source_failed(struct link *l)
{
    l->failure = OUTCOME_FAILURE_SOURCE;
    delivery_source_broke(l->owner->delivery, l->source_index, l->trouble);
    link_fail(l);
}

/* No attempt of anybody's: others of the pool take over until it is back. */
static void egress_failed(struct link *l)
{
    l->failure = OUTCOME_FAILURE_SOURCE;
    egresses_broke(l->owner->delivery->egresses, l->egress, l->trouble);
    link_fail(l);
}

static void on_closed(void *arg, struct session *session)
{
    struct link *l = arg;
    const struct session_failure *f = session_failure(session);
    if (!l->up && f->failed && !l->ending) {
        count_result(l, "failed");
        note_failure(l, f);
        if (f->tls_broke && l->tls == TLS_POLICY_OPPORTUNISTIC) {
            l->tls = TLS_POLICY_NONE; /* the same address again, in the clear */
            l->addr--;
        } else {
            l->tls = l->dest->tls;
        }
        bool source_broke = session_source_broke(session), egress_broke = session_egress_broke(session);
        l->session = NULL;
        if (egress_broke)
            egress_failed(l);
        else if (source_broke)
            source_failed(l);
        else
            link_try_next(l);
        return;
    }
    l->session = NULL;
    if (l->sub) {
        struct sub *s = l->sub;
        l->sub = NULL;
        place_again(s);
    }
    link_gone(l);
}

/* ---- opening ---- */

void link_fail(struct link *l)
{
    struct sub *s = l->sub;
    l->sub = NULL;
    if (s)
        settle_unreachable(l, s);
    link_gone(l);
}

void link_connect(struct link *l, struct addr a)
{
    const struct dest_host *h = &l->dest->hosts[l->host];
    const struct router_source *src = &l->owner->settings->router.sources[l->source_index];
    struct session_target target = {.source_address = src->address,
                                    .egress =
                                        src->egress < 0 ? NULL : &l->owner->settings->egresses[src->egress],
                                    .ehlo = src->ehlo,
                                    .host = h->name,
                                    .tls = l->tls,
                                    .settings = l->owner->settings};
    a.port = h->port;
    pass_on(l);
    addr_to_sockaddr(&a, &target.remote);
    l->events =
        (struct session_events){.up = on_up, .next = on_next, .done = on_done, .closed = on_closed, .arg = l};
    l->session = session_open(l->owner->delivery->shard, &target, &l->events);
}

static void begin(struct loop_defer *d)
{
    link_try_next(CONTAINER_OF(d, struct link, later));
}

void link_open(struct scope *s, struct sub *sub, const struct router_decision *d)
{
    struct owner *o = s->lane->owner;
    struct link *l = calloc(1, sizeof(*l));
    ENSURE(l);
    l->scope = s;
    l->owner = o;
    l->source_index = d->source;
    l->source = strdup(o->settings->router.sources[d->source].name);
    ENSURE(l->source);
    l->egress = o->settings->router.sources[d->source].egress;
    l->decision = *d;
    l->dest = dest_ref(sub->dest);
    l->tls = l->dest->tls;
    link_hops_begin(l, sub);
    l->sub = sub;
    sub->link = l;
    l->per_connection = o->settings->router.providers[s->lane->provider_index].limits.per_connection;
    l->started_us = loop_now_us(o->delivery->shard->loop);
    const char *labels[] = {l->source, s->lane->provider};
    l->attempts = metrics_cell(o->delivery->shard->node->metrics, M_ATTEMPTS, labels);
    list_init(&l->idle_node);
    list_init(&l->lru_node);
    list_push_back(&o->links, &l->owner_node);
    loop_timer_init(&l->idle_timer, o->delivery->shard->loop, idle_too_long);
    s->n_links++;
    o->delivery->n_links++;
    count_open(l, 1);
    loop_defer(o->delivery->shard->loop, &l->later, begin);
}
