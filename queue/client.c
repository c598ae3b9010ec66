/*
 * Clients: handing batches to the writer and running callbacks on the client's thread. Also ownership of
 * partitions in a process that owns them all (join claims each, leave gives all up).
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "queue/log_private.h"

enum { DEFAULT_QUEUE_BYTES = 256 * 1024 * 1024 };

struct log_client *log_client_new(struct log *log, void (*wake)(void *arg), void *arg)
{
    struct log_client *c = calloc(1, sizeof(*c));
    ENSURE(c);
    c->log = log;
    c->wake = wake;
    c->arg = arg;
    atomic_init(&c->in_flight, 0);
    ENSURE(pthread_mutex_init(&c->lock, NULL) == 0);
    ENSURE(pthread_cond_init(&c->changed, NULL) == 0);
    list_init(&c->done);
    list_init(&c->running);
    list_init(&c->follows);
    list_init(&c->flights);
    pthread_mutex_lock(&log->clients_lock);
    list_push_back(&log->clients, &c->link);
    pthread_mutex_unlock(&log->clients_lock);
    return c;
}

void log_client_free(struct log_client *c)
{
    if (!c)
        return;
    log_follows_free(c);
    pthread_mutex_lock(&c->log->clients_lock);
    list_remove(&c->link);
    for (uint32_t i = 0; i < c->log->n_owners; i++)
        if (c->log->owners[i] == c)
            c->log->owners[i] = NULL;
    pthread_mutex_unlock(&c->log->clients_lock);
    ENSURE(atomic_load(&c->in_flight) == 0 && list_empty(&c->done) && list_empty(&c->running));
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    buf_fini(&c->told);
    free(c->epochs);
    free(c);
}

void log_client_wake_marked(struct log_client *c)
{
    pthread_mutex_lock(&c->lock);
    bool due = c->wake_due;
    c->wake_due = false;
    c->woken |= due;
    pthread_mutex_unlock(&c->lock);
    if (due && c->wake)
        c->wake(c->arg);
}

void log_wake_clients(struct log *log)
{
    pthread_mutex_lock(&log->clients_lock);
    LIST_FOREACH(it, &log->clients)
    log_client_wake_marked(CONTAINER_OF(it, struct log_client, link));
    pthread_mutex_unlock(&log->clients_lock);
}

void log_poke_clients(struct log *log)
{
    pthread_mutex_lock(&log->clients_lock);
    LIST_FOREACH(it, &log->clients)
    {
        struct log_client *c = CONTAINER_OF(it, struct log_client, link);
        pthread_mutex_lock(&c->lock);
        log_client_mark(c);
        pthread_mutex_unlock(&c->lock);
        log_client_wake_marked(c);
    }
    pthread_mutex_unlock(&log->clients_lock);
}

void log_batch_finish(struct log_batch *b, int status)
{
    struct log_client *c = b->client;
    b->status = status;
    atomic_fetch_sub_explicit(&c->log->queued_bytes, b->total_bytes, memory_order_relaxed);
    pthread_mutex_lock(&c->lock);
    if (b->claims) {
        c->claimed = true;
        c->claim_status = status;
        pthread_cond_broadcast(&c->changed);
    }
    list_push_back(&c->done, &b->link);
    if (atomic_fetch_sub(&c->in_flight, 1) == 1)
        pthread_cond_broadcast(&c->changed);
    log_client_mark(c);
    pthread_mutex_unlock(&c->lock);
}

/* ---- submitting ------------------------------------------------------------------------------------ */

/* The epoch of the partition whose events, rows or state the batch writes; LOG_LOST when it is not this
 * client's any more. */
static uint64_t epoch_of(const struct log_client *c, const struct log_batch *b)
{
    uint64_t epoch = 0;
    bool only_events = true;
    for (size_t i = 0; c->epochs && i < b->n_ops; i++) {
        const struct log_op *op = &b->ops[i];
        only_events = only_events && op->name == LOG_EVENTS;
        if (op->name == LOG_EVENTS || op->name == LOG_BACKLOG || op->name == LOG_STATE)
            epoch = c->epochs[op->partition];
    }
    return epoch == LOG_LOST && only_events && c->log->backend->join ? LOG_LATE : epoch;
}

static int refusal(const struct log_client *c, struct log_batch *b)
{
    const struct log *log = c->log;
    b->epoch = epoch_of(c, b);
    if (b->epoch == LOG_LOST)
        return RM_ECLOSED;
    if (b->class != LOG_INTAKE)
        return RM_OK;
    uint64_t most = log->options.floor_queue_bytes ? log->options.floor_queue_bytes : DEFAULT_QUEUE_BYTES;
    if (atomic_load_explicit(&log->queued_bytes, memory_order_relaxed) > most)
        return RM_EFULL;
    return atomic_load_explicit(&log->admits, memory_order_relaxed);
}

static void check_partitions(const struct log *log, const struct log_batch *b)
{
    for (size_t i = 0; i < b->n_ops; i++)
        ENSURE(b->ops[i].partition < log_name_partitions(log, (enum log_name)b->ops[i].name));
}

static void enqueue(struct log *log, struct log_batch *b)
{
    pthread_mutex_lock(&log->queue_lock);
    ENSURE(!log->closing);
    list_push_back(&log->queue, &b->link);
    bool waits = log->writer_waits;
    log->writer_waits = false;
    pthread_mutex_unlock(&log->queue_lock);
    if (waits && log->backend->wake)
        log->backend->wake(log);
    else if (waits)
        pthread_cond_signal(&log->queue_filled);
}

void log_submit(struct log_client *c, struct log_batch *b, log_done_cb done, void *arg)
{
    b->client = c;
    b->done = done;
    b->arg = arg;
    check_partitions(c->log, b);
    int refused = refusal(c, b);
    atomic_fetch_add(&c->in_flight, 1);
    atomic_fetch_add_explicit(&c->log->queued_bytes, b->total_bytes, memory_order_relaxed);
    if (refused == RM_OK) {
        enqueue(c->log, b);
        return;
    }
    log_batch_finish(b, refused);
    log_client_wake_marked(c);
}

/* ---- polling --------------------------------------------------------------------------------------- */

static void splice(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

static void run_done(struct log_client *c)
{
    struct list *it;
    while ((it = list_pop_front(&c->running))) {
        struct log_batch *b = CONTAINER_OF(it, struct log_batch, link);
        b->kept = false;
        if (b->done)
            b->done(b->arg, b, b->status);
        if (!b->kept)
            log_batch_free(b);
    }
}

static void run_told(struct log_client *c, const struct log_told_one *t)
{
    const struct log_ownership *o = &c->ownership;
    if (t->what == LOG_TOLD_FETCHED) {
        if (o->fetched)
            o->fetched(o->arg, t->partition);
        return;
    }
    if (t->what != LOG_TOLD_LOSING)
        c->epochs[t->partition] = t->what == LOG_TOLD_GAINED ? t->epoch : LOG_LOST;
    if (t->what == LOG_TOLD_GAINED && o->gained)
        o->gained(o->arg, t->partition, t->epoch);
    if (t->what == LOG_TOLD_LOST && o->lost)
        o->lost(o->arg, t->partition);
    if (t->what == LOG_TOLD_LOSING && o->losing)
        o->losing(o->arg, t->partition);
    else if (t->what == LOG_TOLD_LOSING)
        log_release(c, t->partition);
}

static void run_ownership(struct log_client *c, struct buf *told)
{
    struct log_told_one t;
    for (size_t at = 0; at < told->len; at += sizeof(t)) {
        memcpy(&t, told->data + at, sizeof(t));
        run_told(c, &t);
    }
    buf_fini(told);
}

void log_client_poll(struct log_client *c)
{
    pthread_mutex_lock(&c->lock);
    c->woken = c->wake_due = false;
    splice(&c->running, &c->done);
    struct buf told = c->told;
    buf_init(&c->told);
    pthread_mutex_unlock(&c->lock);
    c->depth++;
    run_done(c);
    run_ownership(c, &told);
    /* A poll inside a callback (a flush) leaves followers to the outer one: it may be in the middle of a
     * piece. */
    bool more = c->depth == 1 ? log_follows_poll(c) : !list_empty(&c->follows);
    c->depth--;
    if (!more)
        return;
    pthread_mutex_lock(&c->lock);
    log_client_mark(c);
    pthread_mutex_unlock(&c->lock);
    log_client_wake_marked(c);
}

void log_client_flush(struct log_client *c)
{
    pthread_mutex_lock(&c->lock);
    while (atomic_load(&c->in_flight) > 0)
        pthread_cond_wait(&c->changed, &c->lock);
    pthread_mutex_unlock(&c->lock);
    log_client_poll(c);
}

/* ---- ownership -------------------------------------------------------------------------------------- */

static void claims_done(void *arg, struct log_batch *b, int status)
{
    struct log_client *c = arg;
    if (status != RM_OK)
        return;
    for (size_t i = 0; i < b->n_ops; i++)
        run_told(c, &(struct log_told_one){LOG_TOLD_GAINED, b->ops[i].partition, b->ops[i].offset});
}

static void claim_share(struct log_client *c, uint32_t end)
{
    struct log_batch *b = log_batch_new(LOG_OWNER);
    for (uint32_t p = c->number; p < end; p += c->of)
        if (p >= c->claimed_below)
            log_batch_claim(b, p, span_str(c->log->owner));
    b->claims = true;
    c->claimed = false;
    log_submit(c, b, claims_done, c);
}

static int await_claims(struct log_client *c, uint32_t end)
{
    pthread_mutex_lock(&c->lock);
    while (!c->claimed)
        pthread_cond_wait(&c->changed, &c->lock);
    int status = c->claim_status;
    pthread_mutex_unlock(&c->lock);
    if (status == RM_OK)
        c->claimed_below = end;
    return status;
}

static int claim_all(struct log *log, struct log_client *const *clients, int n)
{
    int status = RM_OK;
    for (int i = 0; i < n; i++)
        claim_share(clients[i], log_partitions(log));
    for (int i = 0; i < n; i++) {
        int err = await_claims(clients[i], log_partitions(log));
        if (err != RM_OK)
            status = err;
    }
    return status;
}

int log_client_claim(struct log_client *c)
{
    uint32_t end = log_partitions(c->log);
    if (c->claimed_below >= end)
        return RM_OK;
    claim_share(c, end);
    return await_claims(c, end);
}

int log_join(struct log *log, struct log_client *const *clients, const struct log_ownership *tables, int n,
             const char *owner)
{
    ENSURE(n >= 1 && !log->owners);
    log->owners = calloc((size_t)n, sizeof(*log->owners));
    log->owner = strdup(owner);
    ENSURE(log->owners && log->owner);
    for (int i = 0; i < n; i++) {
        struct log_client *c = clients[i];
        c->ownership = tables[i];
        c->number = (uint32_t)i;
        c->of = (uint32_t)n;
        c->epochs = calloc(LOG_PARTITIONS_MOST, sizeof(*c->epochs));
        ENSURE(c->epochs);
    }
    pthread_mutex_lock(&log->clients_lock);
    memcpy(log->owners, clients, (size_t)n * sizeof(*clients));
    log->n_owners = (uint32_t)n;
    pthread_mutex_unlock(&log->clients_lock);
    return log->backend->join ? log->backend->join(log, owner) : claim_all(log, clients, n);
}

void log_tell(struct log *log, enum log_told what, uint32_t partition, uint64_t epoch)
{
    struct log_told_one t = {.what = what, .partition = partition, .epoch = epoch};
    pthread_mutex_lock(&log->clients_lock);
    struct log_client *c = log->owners[partition % log->n_owners];
    if (c) {
        pthread_mutex_lock(&c->lock);
        buf_add(&c->told, &t, sizeof(t));
        log_client_mark(c);
        pthread_mutex_unlock(&c->lock);
    }
    pthread_mutex_unlock(&log->clients_lock);
}

void log_leave(struct log *log)
{
    if (!log->owners)
        return;
    if (log->backend->leave) {
        log->backend->leave(log);
    } else {
        for (uint32_t p = 0; p < log_partitions(log); p++)
            log_tell(log, LOG_TOLD_LOST, p, 0);
    }
    log_wake_clients(log);
}

void log_release(struct log_client *c, uint32_t partition)
{
    if (c->log->backend->release)
        c->log->backend->release(c->log, partition);
}

bool log_may_start(const struct log_client *c, uint32_t partition)
{
    return !c->log->backend->may_start || c->log->backend->may_start(c->log, partition);
}
