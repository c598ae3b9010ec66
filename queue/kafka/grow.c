/*
 * Partitions that are added while the log runs. Who adds them makes them in the topics (topics.c), mail last.
 * Every process takes them up by itself when it hears of them, from log_grown or by being given one: each of
 * its handles asks the brokers until it knows them, because what is sent to one that it does not know is
 * refused; only then the number changes. The group is asked last, and joins again by what it learns.
 */
#include <stdatomic.h>
#include <time.h>

#include "lib/base/clock.h"
#include "queue/kafka/kafka_private.h"

enum { LOOK_US = 200000, AT_ONCE_US = 200000, GROW_MOST_MS = 20000 };

static bool handles_know(const struct kafka *k, uint32_t partitions)
{
    return kafka_topics_show(k, k->producer, partitions) && kafka_topics_show(k, k->reader, partitions) &&
           (!k->sweeper || kafka_topics_show(k, k->sweeper, partitions));
}

static void take_up(struct kafka *k, uint32_t partitions)
{
    pthread_mutex_lock(&k->lock);
    log_set_partitions(&k->store.log, partitions);
    pthread_cond_broadcast(&k->changed);
    pthread_mutex_unlock(&k->lock);
}

/* Those of the logs that this process reads whole, some at a time: each asks the brokers, and the lease must
 * not run out meanwhile. False: not all yet. */
static bool follow_new(struct kafka *k)
{
    uint64_t until = clock_boot_us() + AT_ONCE_US;
    for (int name = 0; name <= LOG_STATE; name++) {
        uint32_t n = k->follow_all >> name & 1 ? log_partitions(&k->store.log) : 0;
        for (uint32_t p = 0; p < n; p++) {
            if (k->follows[name][p].on)
                continue;
            if (clock_boot_us() > until || kafka_follow_start(k, (enum log_name)name, p) != RM_OK)
                return false;
        }
    }
    return true;
}

void kafka_grow_poll(struct kafka *k, uint64_t now)
{
    uint32_t grown = atomic_load(&k->grown), known = log_partitions(&k->store.log);
    if (grown <= known && k->grown_group >= grown)
        return;
    if (now < k->grow_at_us)
        return;
    k->grow_at_us = now + LOOK_US;
    if (grown > known) {
        if (!handles_know(k, grown))
            return;
        take_up(k, grown);
    }
    if (follow_new(k) && kafka_group_grow(k, grown))
        k->grown_group = grown;
}

void kafka_grown(struct log *log, uint32_t partitions)
{
    struct kafka *k = kafka_of(log);
    uint32_t now = atomic_load(&k->grown);
    while (now < partitions && !atomic_compare_exchange_weak(&k->grown, &now, partitions))
        continue;
    log->backend->wake(log);
}

static int await(struct kafka *k, uint32_t partitions)
{
    struct timespec until;
    int late = 0;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += GROW_MOST_MS / 1000;
    pthread_mutex_lock(&k->lock);
    while (log_partitions(&k->store.log) < partitions && !late)
        late = pthread_cond_timedwait(&k->changed, &k->lock, &until);
    pthread_mutex_unlock(&k->lock);
    return late ? RM_ETIMEDOUT : RM_OK;
}

int kafka_grow(struct log *log, uint32_t partitions)
{
    struct kafka *k = kafka_of(log);
    char why[KAFKA_WHY_MOST] = "";
    if (partitions <= log_partitions(log))
        return RM_OK;
    int status = kafka_topics_grow(k, partitions, why);
    if (status != RM_OK) {
        kafka_trouble(k, status, why);
        return status;
    }
    kafka_grown(log, partitions);
    return await(k, partitions);
}
