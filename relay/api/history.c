/*
 * The life of the history index: opening, the indexer's thread, stopping. What it stores is in
 * history_index.c, what it forgets in history_keep.c, what it answers in history_read.c and history_search.c.
 */
#include "relay/api/history.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "lib/base/clock.h"
#include "relay/api/history_private.h"

enum {
    POLL_MS = 250,     /* between two passes when there is little to read */
    TROUBLE_MS = 5000, /* after an error of the environment */
    LAST_PASSES = 16,
};

static void deadline(struct timespec *t, uint64_t ms)
{
    clock_gettime(CLOCK_MONOTONIC, t);
    t->tv_sec += (time_t)(ms / 1000);
    t->tv_nsec += (long)(ms % 1000) * 1000000;
    if (t->tv_nsec >= 1000000000) {
        t->tv_sec++;
        t->tv_nsec -= 1000000000;
    }
}

static void warn(struct history *h, const char *what, int err)
{
    if (h->logger)
        logger_log(h->logger, LOG_WARN, "history.trouble", LF_STR("what", what),
                   LF_STR("error", rm_strerror(err)));
}

/* A full disk is waited for; any other error of the index is cured by starting over. */
static void recover(struct history *h, int err)
{
    warn(h, "index", err);
    if (err == RM_EFULL)
        return;
    pthread_rwlock_wrlock(&h->env_lock);
    int rc = history_index_restart(h);
    pthread_rwlock_unlock(&h->env_lock);
    if (rc != RM_OK)
        warn(h, "index cannot be started over", rc);
}

/* One round: index until little is left, then forget. Returns how long to sleep, 0: go on at once. */
static uint64_t round_trip(struct history *h)
{
    int rc = h->env ? history_index_pass(h) : RM_EIO;
    if (rc == RM_OK)
        rc = history_expire(h, clock_wall_ms());
    if (rc != RM_OK) {
        recover(h, rc);
        return TROUBLE_MS;
    }
    return (h->lag > 0 && h->moved) || h->expire_more ? 0 : POLL_MS;
}

/* Pokes while it sleeps are gathered: at most four passes a second, unless somebody waits for one. */
static void sleep_until_due(struct history *h, uint64_t ms)
{
    struct timespec until;
    deadline(&until, ms);
    while (!h->stop && !h->urgent && pthread_cond_timedwait(&h->wake, &h->lock, &until) != ETIMEDOUT)
        continue;
}

static void *indexer(void *arg)
{
    struct history *h = arg;
    pthread_mutex_lock(&h->lock);
    while (!h->stop) {
        h->urgent = false;
        pthread_mutex_unlock(&h->lock);
        uint64_t ms = round_trip(h);
        pthread_mutex_lock(&h->lock);
        h->passes++;
        pthread_cond_broadcast(&h->advanced);
        if (ms > 0)
            sleep_until_due(h, ms);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

static struct history *history_alloc(const struct history_options *o)
{
    struct history *h = calloc(1, sizeof(*h));
    ENSURE(h != NULL);
    h->dir = strdup(o->dir);
    h->log = o->log;
    h->logger = o->logger;
    h->map_bytes = o->map_bytes > 0 ? o->map_bytes : (uint64_t)64 << 30;
    h->history_ms = o->history_ms;
    h->lifetime_ms = o->lifetime_ms;
    h->started_ms = clock_wall_ms();
    h->position = calloc(LOG_PARTITIONS_MOST, sizeof(*h->position));
    h->batches = calloc(LOG_PARTITIONS_MOST, sizeof(*h->batches));
    h->keep = calloc(LOG_PARTITIONS_MOST, sizeof(*h->keep));
    h->waits = calloc(LOG_PARTITIONS_MOST, sizeof(*h->waits));
    ENSURE(h->dir && h->position && h->batches && h->keep && h->waits);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&h->lock, NULL);
    pthread_rwlock_init(&h->env_lock, NULL);
    pthread_cond_init(&h->wake, &attr);
    pthread_cond_init(&h->advanced, &attr);
    pthread_condattr_destroy(&attr);
    return h;
}

static void history_dealloc(struct history *h)
{
    pthread_cond_destroy(&h->advanced);
    pthread_cond_destroy(&h->wake);
    pthread_rwlock_destroy(&h->env_lock);
    pthread_mutex_destroy(&h->lock);
    free((void *)h->keep);
    free((void *)h->waits);
    free((void *)h->position);
    free(h->batches);
    free(h->dir);
    free(h);
}

int history_new(const struct history_options *options, struct history **out)
{
    *out = NULL;
    struct history *h = history_alloc(options);
    int rc = history_index_open(h);
    if (rc == RM_OK && pthread_create(&h->thread, NULL, indexer, h) != 0)
        rc = RM_EIO;
    if (rc != RM_OK) {
        history_index_close(h);
        history_dealloc(h);
        return rc;
    }
    *out = h;
    return RM_OK;
}

/* What the last moments brought is told and indexed before the end, unless it is much. */
static void finish(struct history *h)
{
    int rc = h->env ? RM_OK : RM_EIO;
    h->lag = 1;
    h->moved = true;
    for (int i = 0; rc == RM_OK && h->lag > 0 && h->moved && i < LAST_PASSES; i++)
        rc = history_index_pass(h);
}

void history_free(struct history *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->stop = true;
    pthread_cond_broadcast(&h->wake);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->thread, NULL);
    finish(h);
    history_index_close(h);
    history_dealloc(h);
}

void history_configure(struct history *h, uint64_t history_ms, uint64_t lifetime_ms)
{
    h->history_ms = history_ms;
    h->lifetime_ms = lifetime_ms;
}

bool history_covers(const struct history *h, uint64_t wall_ms)
{
    return wall_ms + h->history_ms > clock_wall_ms();
}

/* Called with the lock held: true when every event that was in the log at the given ends is indexed. */
static bool caught_up(const struct history *h, const uint64_t *ends, uint32_t n)
{
    for (uint32_t p = 0; p < n; p++)
        if (h->position[p] < ends[p])
            return false;
    return true;
}

bool history_catch_up(struct history *h, uint32_t timeout_ms)
{
    struct log_reader *r;
    if (log_read_begin(h->log, &r) != RM_OK)
        return false;
    uint32_t n = log_partitions(h->log);
    uint64_t *ends = calloc(n, sizeof(*ends));
    ENSURE(ends != NULL);
    for (uint32_t p = 0; p < n; p++)
        ends[p] = log_read_end_offset(r, LOG_EVENTS, p);
    log_read_end(r);
    struct timespec until;
    deadline(&until, timeout_ms);
    pthread_mutex_lock(&h->lock);
    bool late = false;
    while (!caught_up(h, ends, n) && !late) {
        h->urgent = true;
        pthread_cond_signal(&h->wake);
        late = pthread_cond_timedwait(&h->advanced, &h->lock, &until) == ETIMEDOUT;
    }
    bool ok = caught_up(h, ends, n);
    pthread_mutex_unlock(&h->lock);
    free(ends);
    return ok;
}

uint64_t history_events_keep_from(const struct history *h, uint32_t partition)
{
    ENSURE(partition < log_partitions(h->log));
    uint64_t indexed = h->position[partition], wanted = h->keep[partition];
    return indexed < wanted ? indexed : wanted;
}

uint64_t history_lag(const struct history *h)
{
    return h->lag;
}

bool history_waits(const struct history *h)
{
    for (uint32_t p = 0; p < log_partitions(h->log); p++)
        if (h->waits[p])
            return true;
    return false;
}

uint64_t history_rebuilds(const struct history *h)
{
    return h->rebuilds;
}
