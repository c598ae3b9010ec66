/*
 * The part of a log that all backends share: the queue to the writer thread, figures, and the dispatch of
 * reads to the backend. Batches are in batch.c, clients in client.c, followers in follow.c.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "queue/log_private.h"

enum { CARRY_AFTER = 20000 };

static void init_monotonic(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    ENSURE(pthread_condattr_init(&attr) == 0);
    ENSURE(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    ENSURE(pthread_cond_init(cond, &attr) == 0);
    pthread_condattr_destroy(&attr);
}

void log_init(struct log *log, const struct log_backend *backend, const struct log_options *options)
{
    ENSURE(options->partitions >= 1 && options->partitions <= LOG_PARTITIONS_MOST);
    memset(log, 0, sizeof(*log));
    log->backend = backend;
    log->options = *options;
    atomic_init(&log->partitions, options->partitions);
    if (!log->options.carry_after)
        log->options.carry_after = CARRY_AFTER;
    list_init(&log->queue);
    list_init(&log->clients);
    ENSURE(pthread_mutex_init(&log->grow_lock, NULL) == 0);
    ENSURE(pthread_mutex_init(&log->queue_lock, NULL) == 0);
    init_monotonic(&log->queue_filled);
    ENSURE(pthread_mutex_init(&log->clients_lock, NULL) == 0);
    ENSURE(pthread_mutex_init(&log->follow_lock, NULL) == 0);
    ENSURE(pthread_mutex_init(&log->hook_lock, NULL) == 0);
    log->followers = calloc(LOG_PARTITIONS_MOST, sizeof(struct follower *));
    ENSURE(log->followers);
}

void log_fini(struct log *log)
{
    ENSURE(list_empty(&log->queue) && list_empty(&log->clients));
    free(log->followers);
    free(log->owners);
    free(log->owner);
    pthread_mutex_destroy(&log->hook_lock);
    pthread_mutex_destroy(&log->follow_lock);
    pthread_mutex_destroy(&log->clients_lock);
    pthread_cond_destroy(&log->queue_filled);
    pthread_mutex_destroy(&log->queue_lock);
    pthread_mutex_destroy(&log->grow_lock);
}

unsigned log_capabilities(const struct log *log)
{
    return log->backend->capabilities;
}

uint64_t log_carry_after(const struct log *log)
{
    return log->options.carry_after;
}

uint32_t log_partitions(const struct log *log)
{
    return atomic_load(&log->partitions);
}

uint32_t log_name_partitions(const struct log *log, enum log_name name)
{
    return name <= LOG_STATE ? log_partitions(log) : 1;
}

void log_close(struct log *log)
{
    if (log)
        log->backend->close(log);
}

void log_stop_by(struct log *log, uint64_t by_us)
{
    atomic_store(&log->stop_by_us, by_us);
    if (log->backend->wake)
        log->backend->wake(log);
}

bool log_gave_up(const struct log *log)
{
    return atomic_load_explicit(&log->gave_up, memory_order_relaxed);
}

int log_admits(const struct log *log)
{
    return atomic_load_explicit(&log->admits, memory_order_relaxed);
}

/* ---- the queue to the writer --------------------------------------------------------------------- */

static void take_group(struct log *log, struct list *group)
{
    size_t batches = 0, bytes = 0, ops = 0;
    while (!list_empty(&log->queue) && batches < LOG_GROUP_BATCHES) {
        struct log_batch *b = CONTAINER_OF(log->queue.next, struct log_batch, link);
        if (batches > 0 && (bytes + b->total_bytes > LOG_GROUP_BYTES || ops + b->n_ops > LOG_GROUP_OPS))
            break;
        list_remove(&b->link);
        list_push_back(group, &b->link);
        bytes += b->total_bytes;
        ops += b->n_ops;
        batches++;
    }
}

static struct timespec after_ms(int64_t ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t ns = t.tv_nsec + ms * 1000000;
    t.tv_sec += ns / 1000000000;
    t.tv_nsec = ns % 1000000000;
    return t;
}

bool log_queue_take(struct log *log, struct list *group, int64_t wait_ms)
{
    struct timespec until = after_ms(wait_ms > 0 ? wait_ms : 0);
    bool late = wait_ms == 0;
    pthread_mutex_lock(&log->queue_lock);
    while (!late && list_empty(&log->queue) && !log->closing) {
        log->writer_waits = true;
        if (wait_ms < 0)
            pthread_cond_wait(&log->queue_filled, &log->queue_lock);
        else
            late = pthread_cond_timedwait(&log->queue_filled, &log->queue_lock, &until) == ETIMEDOUT;
    }
    log->writer_waits = false;
    take_group(log, group);
    bool more = !list_empty(group) || !log->closing;
    pthread_mutex_unlock(&log->queue_lock);
    return more;
}

bool log_queue_arm(struct log *log)
{
    pthread_mutex_lock(&log->queue_lock);
    log->writer_waits = list_empty(&log->queue) && !log->closing;
    bool waits = log->writer_waits;
    pthread_mutex_unlock(&log->queue_lock);
    return waits;
}

void log_queue_close(struct log *log)
{
    pthread_mutex_lock(&log->queue_lock);
    log->closing = true;
    pthread_mutex_unlock(&log->queue_lock);
    if (log->backend->wake)
        log->backend->wake(log);
    else
        pthread_cond_signal(&log->queue_filled);
}

/* ---- figures --------------------------------------------------------------------------------------- */

void log_count_commit(struct log *log, uint64_t us, size_t batches, uint64_t bytes)
{
    atomic_fetch_add_explicit(&log->commits, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&log->commit_us_sum, us, memory_order_relaxed);
    atomic_fetch_add_explicit(&log->committed_batches, batches, memory_order_relaxed);
    atomic_fetch_add_explicit(&log->committed_bytes, bytes, memory_order_relaxed);
    pthread_mutex_lock(&log->hook_lock);
    if (log->commit_hook)
        log->commit_hook(log->commit_hook_arg, us, batches);
    pthread_mutex_unlock(&log->hook_lock);
}

void log_on_commit(struct log *log, void (*cb)(void *arg, uint64_t us, size_t batches), void *arg)
{
    pthread_mutex_lock(&log->hook_lock);
    log->commit_hook = cb;
    log->commit_hook_arg = arg;
    pthread_mutex_unlock(&log->hook_lock);
}

void log_figures(struct log *log, struct log_figures *out)
{
    *out = (struct log_figures){
        .commits = atomic_load_explicit(&log->commits, memory_order_relaxed),
        .commit_us_sum = atomic_load_explicit(&log->commit_us_sum, memory_order_relaxed),
        .committed_batches = atomic_load_explicit(&log->committed_batches, memory_order_relaxed),
        .committed_bytes = atomic_load_explicit(&log->committed_bytes, memory_order_relaxed),
        .queued_bytes = atomic_load_explicit(&log->queued_bytes, memory_order_relaxed),
        .index_reads = atomic_load_explicit(&log->index_reads, memory_order_relaxed),
    };
    log->backend->figures(log, out);
}

/* ---- reading ---------------------------------------------------------------------------------------- */

bool log_is_current(const struct log *log, uint32_t partition)
{
    return !log->backend->is_current || log->backend->is_current(log, partition);
}

int log_read_begin(struct log *log, struct log_reader **out)
{
    return log->backend->read_begin(log, out);
}

void log_read_end(struct log_reader *r)
{
    if (r)
        r->log->backend->read_end(r);
}

bool log_read_next(struct log_reader *r, enum log_name name, uint32_t partition, uint64_t *offset,
                   struct span *value)
{
    return r->log->backend->read_next(r, name, partition, offset, value);
}

int log_read_at(struct log_reader *r, enum log_name name, uint32_t partition, uint64_t offset,
                struct span *value)
{
    return r->log->backend->read_at(r, name, partition, offset, value);
}

bool log_read_missing(struct log_reader *r, uint32_t partition, uint64_t *from, uint64_t *to)
{
    const struct log_backend *b = r->log->backend;
    return b->read_missing && b->read_missing(r, partition, from, to);
}

uint64_t log_read_end_offset(struct log_reader *r, enum log_name name, uint32_t partition)
{
    return r->log->backend->read_end_offset(r, name, partition);
}

int log_read_key(struct log_reader *r, enum log_name name, uint32_t partition, struct span key,
                 struct span *value)
{
    return r->log->backend->read_key(r, name, partition, key, value);
}

bool log_read_key_next(struct log_reader *r, enum log_name name, uint32_t partition, struct span from,
                       struct span *key, struct span *value)
{
    return r->log->backend->read_key_next(r, name, partition, from, key, value);
}

bool log_read_index(struct log_reader *r, uint32_t partition, struct span from, struct span after,
                    struct span *index_key, struct span *row_key)
{
    atomic_fetch_add_explicit(&r->log->index_reads, 1, memory_order_relaxed);
    return r->log->backend->read_index(r, partition, from, after, index_key, row_key);
}
