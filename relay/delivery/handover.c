/*
 * Partitions that come and go while the relay runs (a cluster), and the lease.
 *
 *   owned -> losing: nothing is started, attempts before their final dot are broken off, those behind it are
 *   waited for shortly; what is still unanswered gets a row in doubt; when all is written: log_release
 *   -> lost: memory goes; only connections with an unanswered final dot stay, and a delivery that they tell
 * is still written to events (the new owner honours it); when the last one has ended that is told too
 *
 * Lost may come without losing: the lease has run out then, nothing was started any more.
 */
#include <stdatomic.h>

#include "lib/base/clock.h"
#include "relay/delivery/delivery_private.h"

enum {
    WAIT_US = (LOG_RELEASE_MOST_MS - 2000) * 1000, /* for answers; the rest is for writing */
    DOUBT_MS = 10 * 60 * 1000,                     /* RFC 5321 4.5.3.2.6: the receiver may take so long */
};

bool owner_may_start(const struct owner *o)
{
    return !o->losing && !o->lost && log_may_start(o->delivery->shard->log, o->number);
}

static struct owner *find_owner(struct delivery *d, uint32_t partition)
{
    LIST_FOREACH(it, &d->owners)
    {
        struct owner *o = CONTAINER_OF(it, struct owner, node);
        if (o->number == partition && !o->lost)
            return o;
    }
    return NULL;
}

/* The receiver may have the whole message: its answer decides. */
static bool awaits_answer(const struct link *l)
{
    enum session_stage stage = l->session ? session_stage(l->session) : STAGE_CONNECT;
    return l->n_running && (stage == STAGE_DOT || stage == STAGE_BODY);
}

static void abort_early(struct owner *o)
{
    LIST_FOREACH_SAFE(it, next, &o->links)
    {
        struct link *l = CONTAINER_OF(it, struct link, owner_node);
        if (awaits_answer(l))
            link_end(l); /* after its answer */
        else
            link_abort(l, "the partition moves to another node");
    }
}

void delivery_losing(struct delivery *d, uint32_t partition)
{
    struct owner *o = find_owner(d, partition);
    if (!o) {
        log_release(d->shard->log, partition);
        return;
    }
    o->losing = true;
    o->losing_until_us = clock_boot_us() + WAIT_US;
    abort_early(o);
}

/* What went along behind another one's final dot has none of its own, and gets none any more: the next owner
 * may begin with it at once. */
static void put_in_doubt(struct owner *o)
{
    LIST_FOREACH(it, &o->running)
    {
        struct sub *s = CONTAINER_OF(it, struct sub, node);
        if (!s->finishing && !s->has_row)
            sub_put_row(s, REMUDA__ROW_STATE__ROW_IN_HAND, "in-hand");
        if (!s->finishing || s->row_state == REMUDA__ROW_STATE__ROW_IN_DOUBT)
            continue;
        s->in_doubt_until_ms = clock_wall_ms() + DOUBT_MS;
        sub_put_row(s, REMUDA__ROW_STATE__ROW_IN_DOUBT, "in-doubt");
    }
}

static void losing_step(struct owner *o, uint64_t now)
{
    if (o->released)
        return;
    if (!list_empty(&o->links) && now < o->losing_until_us)
        return;
    put_in_doubt(o);
    if (!o->last_written)
        o->events.want_flush(o);
    if (!o->last_written || partition_dirty(o->partition))
        return;
    o->released = true;
    log_release(o->delivery->shard->log, o->number);
}

void delivery_lost(struct delivery *d, uint32_t partition)
{
    struct owner *o = find_owner(d, partition);
    if (!o)
        return;
    if (o->recovered)
        atomic_fetch_sub(&d->shard->node->recovered, 1);
    o->recovered = false;
    o->lost = true;
    loop_timer_stop(&o->due_timer);
    partition_lost(o->partition);
    abort_early(o);
}

static void look_at_lease(struct owner *o)
{
    bool out = !o->losing && !log_may_start(o->delivery->shard->log, o->number);
    if (o->lease_out && !out)
        owner_wake(o, ROUTER_CHOSEN);
    o->lease_out = out;
}

/* Its last word: its successor may use what these connections took of the limits. */
static void lost_step(struct owner *o)
{
    partition_tell_again(o->partition);
    if (!list_empty(&o->links) || partition_in_flight(o->partition) || partition_dirty(o->partition))
        return;
    if (o->told_closed) {
        owner_free(o);
        return;
    }
    o->told_closed = true;
    partition_closed(o->partition);
}

bool delivery_told(const struct delivery *d)
{
    LIST_FOREACH(it, &d->owners)
    if (CONTAINER_OF(it, struct owner, node)->lost)
        return false;
    return true;
}

void handover_tick(struct delivery *d)
{
    uint64_t now = clock_boot_us();
    LIST_FOREACH_SAFE(it, next, &d->owners)
    {
        struct owner *o = CONTAINER_OF(it, struct owner, node);
        if (o->lost)
            lost_step(o);
        else if (o->losing)
            losing_step(o, now);
        else
            look_at_lease(o);
    }
}
