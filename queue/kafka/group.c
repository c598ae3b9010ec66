/*
 * Membership: which partitions this process owns, and until when it may start attempts from them.
 *
 *   assigned -> READING the four logs -> CLAIMING: the claim goes to state, its offset is the epoch ->
 * MARKING: with that epoch to backlog and events -> SETTLING: all three are durable; reads what was there by
 * then -> OWNED (gained) -> LOSING: handed over when its client has released it, or after LOG_RELEASE_MOST_MS
 * -> NONE
 *
 * The group subscribes to mail alone and never fetches: its partitions are paused. The commit of an offset is
 * the lease. Everything runs on the backend's thread; the rebalance callback never waits.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/base/crashpoint.h"
#include "queue/kafka/kafka_private.h"

enum {
    CLAIM_RETRY_US = 2000000,
    JOIN_EMPTY_US = 5000000, /* no share after so long: others have them all */
    JOIN_MOST_MS = 60000,
    UNHEARD_US = 3000000, /* three times that between commits */
    REJOIN_US = 1000000,  /* until a request to join again is on its way */
    LOGS_OF_PART = LOG_STATE + 1,
};

static bool may_write_state(const struct kafka_part *p)
{
    return p->ownership == PART_OWNED || p->ownership == PART_LOSING;
}

/* ---- one partition ---- */

static void part_drop(struct kafka *k, uint32_t n)
{
    struct kafka_part *p = &k->parts[n];
    bool told = may_write_state(p);
    atomic_store(&k->owned[n], 0);
    p->ownership = PART_NONE;
    p->epoch = 0;
    for (int name = 0; name < LOGS_OF_PART; name++)
        kafka_follow_stop(k, (enum log_name)name, n);
    kafka_sweep_drop(k, n);
    kafka_voids_forget(p);
    if (told)
        log_tell(&k->store.log, LOG_TOLD_LOST, n, 0);
    kafka_ring_clear(&p->told);
    kafka_ring_clear(&p->hints);
}

static bool read_all(struct kafka *k, uint32_t n)
{
    for (int name = 0; name < LOGS_OF_PART; name++)
        if (!kafka_follow_caught_up(k, (enum log_name)name, n))
            return false;
    return true;
}

/* The state first: it says from where on mail and events are read. */
static bool start_all(struct kafka *k, uint32_t n)
{
    return kafka_follow_start(k, LOG_STATE, n) == RM_OK && kafka_follow_start(k, LOG_BACKLOG, n) == RM_OK &&
           kafka_follow_caught_up(k, LOG_STATE, n) && kafka_follow_start(k, LOG_EVENTS, n) == RM_OK &&
           kafka_follow_start(k, LOG_MAIL, n) == RM_OK;
}

/* Events that were left out, and that the owner cannot do without: behind its position, which is never lower
 * than it was; and the ends of submissions of which only a void row is left. */
static bool misses_events(struct kafka *k, uint32_t n)
{
    return kafka_fill_misses(k, n, kafka_follow_needed(k, LOG_EVENTS, n)) ||
           (kafka_fill_misses(k, n, 0) && kafka_voids_lone(k, n));
}

static bool new_targets(struct kafka *k, uint32_t n)
{
    for (int name = 0; name < LOGS_OF_PART; name++)
        if (kafka_follow_target(k, (enum log_name)name, n) != RM_OK)
            return false;
    return true;
}

/* A claim behind ours: from a process that was stopped for long, or the group has another owner by now. */
static void step_back(struct kafka *k, uint32_t n, uint64_t now)
{
    struct kafka_part *p = &k->parts[n];
    part_drop(k, n);
    p->overtaken = false;
    p->retry_at_us = now + CLAIM_RETRY_US;
    p->ownership = PART_READING; /* revoked soon when it is not ours */
}

static void part_step(struct kafka *k, uint32_t n, uint64_t now)
{
    struct kafka_part *p = &k->parts[n];
    if (p->overtaken && p->epoch)
        step_back(k, n, now);
    if (may_write_state(p) && p->voids.len)
        kafka_voids_repair(k, n);
    switch (p->ownership) {
    case PART_READING:
        if (now < p->retry_at_us || !start_all(k, n) || !read_all(k, n) || p->marks_pending)
            return;
        p->overtaken = false;
        p->ownership = PART_CLAIMING;
        kafka_produce_claim(k, LOG_STATE, n);
        return;
    case PART_SETTLING:
        if (!read_all(k, n) || misses_events(k, n))
            return;
        p->ownership = PART_OWNED;
        atomic_store(&k->released[n], 0);
        atomic_store(&k->owned[n], 1);
        log_tell(&k->store.log, LOG_TOLD_GAINED, n, p->epoch);
        return;
    case PART_LOSING:
        if (atomic_load(&k->released[n]) || now >= p->release_at_us)
            part_drop(k, n);
        return;
    default:
        return;
    }
}

void kafka_group_marked(struct kafka *k, enum log_name name, uint32_t n, uint64_t offset, bool failed)
{
    struct kafka_part *p = &k->parts[n];
    p->marks_pending--;
    if (p->ownership != PART_CLAIMING && p->ownership != PART_MARKING)
        return;
    if (failed) {
        p->ownership = PART_READING; /* a new claim */
        p->epoch = 0;
        return;
    }
    /* In this order: a position that is valid has its rows before the mark in backlog. */
    if (name == LOG_STATE) {
        CRASH_POINT(CLAIM_DURABLE);
        p->epoch = offset;
        p->ownership = PART_MARKING;
        kafka_produce_claim(k, LOG_BACKLOG, n);
    } else if (name == LOG_BACKLOG) {
        CRASH_POINT(CLAIM_MARKED);
        kafka_produce_claim(k, LOG_EVENTS, n);
    } else {
        p->ownership = new_targets(k, n) ? PART_SETTLING : PART_READING;
    }
}

/* ---- the group's callbacks ---- */

/* NULL: there is no room for one of that number, and what is in it waits. */
static struct kafka_part *part_of(struct kafka *k, const rd_kafka_topic_partition_t *t)
{
    return t->partition < LOG_PARTITIONS_MOST ? &k->parts[t->partition] : NULL;
}

static void tell_unknown(struct kafka *k, const rd_kafka_topic_partition_t *t)
{
    char what[KAFKA_TOPIC_MOST + 200];
    snprintf(what, sizeof(what),
             "topic %s has a partition %d, Remuda works with %d at most: what is there waits", t->topic,
             t->partition, LOG_PARTITIONS_MOST);
    kafka_trouble(k, RM_EINVAL, what);
}

static void on_assign(struct kafka *k, rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_error_t *error = rd_kafka_incremental_assign(rk, list);
    if (error)
        rd_kafka_error_destroy(error);
    (void)rd_kafka_pause_partitions(rk, list);
    for (int i = 0; i < list->cnt; i++) {
        struct kafka_part *p = part_of(k, &list->elems[i]);
        if (!p) {
            tell_unknown(k, &list->elems[i]);
            continue;
        }
        p->ownership = PART_READING;
        log_grown(&k->store.log, (uint32_t)list->elems[i].partition + 1);
    }
    k->assigned_once = true;
    k->commit_at_us = 0;
}

static void unassign(struct kafka *k, rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *list)
{
    atomic_store(&k->joining, true); /* it joins again at once */
    rd_kafka_error_t *error = rd_kafka_incremental_unassign(rk, list);
    if (error)
        rd_kafka_error_destroy(error);
}

static void begin_handover(struct kafka *k, const rd_kafka_topic_partition_list_t *list)
{
    if (k->revoking)
        rd_kafka_topic_partition_list_destroy(k->revoking);
    k->revoking = rd_kafka_topic_partition_list_copy(list);
    for (int i = 0; i < list->cnt; i++) {
        uint32_t n = (uint32_t)list->elems[i].partition;
        struct kafka_part *p = part_of(k, &list->elems[i]);
        if (!p)
            continue;
        if (p->ownership != PART_OWNED) {
            part_drop(k, n);
            continue;
        }
        p->ownership = PART_LOSING;
        atomic_store(&k->released[n], 0);
        p->release_at_us = clock_boot_us() + LOG_RELEASE_MOST_MS * 1000;
        log_tell(&k->store.log, LOG_TOLD_LOSING, n, p->epoch);
    }
}

static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *list,
                         void *opaque)
{
    struct kafka *k = opaque;
    if (err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        on_assign(k, rk, list);
        return;
    }
    if (err == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS && !rd_kafka_assignment_lost(rk) && !k->leave_due) {
        begin_handover(k, list);
        return;
    }
    for (int i = 0; i < list->cnt; i++)
        if (part_of(k, &list->elems[i]))
            part_drop(k, (uint32_t)list->elems[i].partition);
    unassign(k, rk, list);
}

static void on_commit(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *list,
                      void *opaque)
{
    struct kafka *k = opaque;
    (void)rk;
    (void)list;
    k->commit_pending = false;
    for (int i = 0; list && err == RD_KAFKA_RESP_ERR_NO_ERROR && i < list->cnt; i++)
        err = list->elems[i].err;
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        k->heard_us = k->commit_sent_us;
        atomic_store(&k->lease_until_us, k->commit_sent_us + (uint64_t)KAFKA_LEASE_MOST_MS * 1000);
    } else {
        k->commit_at_us = clock_boot_us() + 200000; /* in the middle of a rebalance it is refused */
    }
}

/* ---- the lease ---- */

/*
 * The broker answers one request of a connection after the other, and JoinGroup only when all members have
 * joined: a commit sent behind one arrives in the next generation, is refused for its own, and librdkafka
 * then takes the whole assignment for lost. So none is sent from JoinGroup until SyncGroup is answered; the
 * requests are seen by interceptors, which run on librdkafka's threads.
 */
enum { API_JOIN_GROUP = 11, API_SYNC_GROUP = 14 };

static rd_kafka_resp_err_t on_sent(rd_kafka_t *rk, int fd, const char *name, int32_t id, int16_t api,
                                   int16_t version, int32_t number, size_t size, void *opaque)
{
    struct kafka *k = opaque;
    (void)rk, (void)fd, (void)name, (void)id, (void)version, (void)number, (void)size;
    if (api == API_JOIN_GROUP)
        atomic_store(&k->joining, true);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_answer(rd_kafka_t *rk, int fd, const char *name, int32_t id, int16_t api,
                                     int16_t version, int32_t number, size_t size, int64_t rtt,
                                     rd_kafka_resp_err_t err, void *opaque)
{
    struct kafka *k = opaque;
    (void)rk, (void)fd, (void)name, (void)id, (void)version, (void)number, (void)size, (void)rtt, (void)err;
    if (api == API_SYNC_GROUP)
        atomic_store(&k->joining, false);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t watch_requests(rd_kafka_t *rk, const rd_kafka_conf_t *c, void *opaque, char *error,
                                          size_t size)
{
    (void)c, (void)error, (void)size;
    rd_kafka_resp_err_t err = rd_kafka_interceptor_add_on_request_sent(rk, "lease", on_sent, opaque);
    return err ? err : rd_kafka_interceptor_add_on_response_received(rk, "lease", on_answer, opaque);
}

static void commit_lease(struct kafka *k, uint64_t now)
{
    if (k->commit_pending || now < k->commit_at_us || now < k->rejoin_until_us || atomic_load(&k->joining))
        return;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    char topic[KAFKA_TOPIC_MOST];
    kafka_topic_name(k, LOG_MAIL, topic);
    for (uint32_t n = 0; n < log_partitions(&k->store.log); n++)
        if (k->parts[n].ownership != PART_NONE)
            rd_kafka_topic_partition_list_add(list, topic, (int32_t)n)->offset = 0;
    k->commit_at_us = now + KAFKA_LEASE_MS * 1000;
    k->commit_sent_us = now;
    if (list->cnt && rd_kafka_commit(k->group, list, 1) == RD_KAFKA_RESP_ERR_NO_ERROR)
        k->commit_pending = true;
    rd_kafka_topic_partition_list_destroy(list);
}

bool kafka_group_owns(const struct log *log, uint32_t partition)
{
    const struct kafka *k = CONTAINER_OF(log, const struct kafka, store.log);
    return atomic_load_explicit(&k->owned[partition], memory_order_relaxed);
}

bool kafka_group_may_start(const struct log *log, uint32_t partition)
{
    const struct kafka *k = CONTAINER_OF(log, const struct kafka, store.log);
    return atomic_load_explicit(&k->owned[partition], memory_order_relaxed) &&
           clock_boot_us() < atomic_load_explicit(&k->lease_until_us, memory_order_relaxed);
}

/* ---- joining and leaving ---- */

static void join(struct kafka *k)
{
    char group[300], topic[KAFKA_TOPIC_MOST], why[KAFKA_WHY_MOST], session_ms[24], heartbeat_ms[24];
    rd_kafka_conf_t *c = kafka_conf_new(k);
    snprintf(session_ms, sizeof(session_ms), "%d", KAFKA_SESSION_MS);
    snprintf(heartbeat_ms, sizeof(heartbeat_ms), "%d", KAFKA_HEARTBEAT_MS);
    snprintf(group, sizeof(group), "%s.owners", k->prefix);
    kafka_topic_name(k, LOG_MAIL, topic);
    kafka_conf_set(c, "group.id", group);
    kafka_conf_set(c, "partition.assignment.strategy", "cooperative-sticky");
    kafka_conf_set(c, "session.timeout.ms", session_ms);
    kafka_conf_set(c, "heartbeat.interval.ms", heartbeat_ms);
    kafka_conf_set(c, "enable.auto.commit", "false");
    kafka_conf_set(c, "auto.offset.reset", "earliest");
    kafka_conf_set(c, "queued.max.messages.kbytes", "1024");
    ENSURE(rd_kafka_conf_interceptor_add_on_new(c, "lease", watch_requests, k) == RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_conf_set_rebalance_cb(c, on_rebalance);
    rd_kafka_conf_set_offset_commit_cb(c, on_commit);
    k->group = kafka_handle_new(k, RD_KAFKA_CONSUMER, c, why);
    ENSURE(k->group); /* the same settings as the reader's */
    rd_kafka_poll_set_consumer(k->group);
    rd_kafka_queue_t *q = rd_kafka_queue_get_consumer(k->group);
    static const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(q, k->wake_fd, &one, sizeof(one));
    rd_kafka_queue_destroy(q);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, RD_KAFKA_PARTITION_UA);
    ENSURE(rd_kafka_subscribe(k->group, list) == RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_topic_partition_list_destroy(list);
    k->subscribed_us = clock_boot_us();
}

/* librdkafka closes a member only when its last commit was answered or has timed out. Commits are of the
 * partitions assigned: a member without any says nothing. */
static bool is_heard(const struct kafka *k)
{
    bool any = false;
    for (uint32_t n = 0; n < log_partitions(&k->store.log); n++)
        any |= k->parts[n].ownership != PART_NONE;
    return !any || !k->heard_us || atomic_load(&k->joining) || clock_boot_us() < k->heard_us + UNHEARD_US;
}

static void leave(struct kafka *k)
{
    if (!k->group)
        return;
    if (!is_heard(k))
        kafka_stop_unheard(k);
    for (uint32_t n = 0; n < log_partitions(&k->store.log); n++)
        part_drop(k, n);
    if (log_gave_up(&k->store.log))
        return; /* the group will miss this member by itself */
    if (k->revoking) {
        unassign(k, k->group, k->revoking);
        rd_kafka_topic_partition_list_destroy(k->revoking);
    }
    k->revoking = NULL;
    rd_kafka_consumer_close(k->group);
    rd_kafka_destroy(k->group);
    k->group = NULL;
}

static bool settled(const struct kafka *k)
{
    for (uint32_t n = 0; n < log_partitions(&k->store.log); n++)
        if (k->parts[n].ownership != PART_NONE && k->parts[n].ownership != PART_OWNED)
            return false;
    return k->assigned_once || clock_boot_us() - k->subscribed_us > JOIN_EMPTY_US;
}

static void answer_requests(struct kafka *k)
{
    pthread_mutex_lock(&k->lock);
    bool do_join = k->join_due && !k->group, do_leave = k->leave_due && !k->left;
    pthread_mutex_unlock(&k->lock);
    if (do_leave)
        leave(k);
    else if (do_join)
        join(k);
    pthread_mutex_lock(&k->lock);
    k->left |= do_leave;
    k->join_due &= !do_leave;
    if (do_leave)
        pthread_cond_broadcast(&k->changed);
    pthread_mutex_unlock(&k->lock);
}

static void finish_handover(struct kafka *k)
{
    for (int i = 0; i < k->revoking->cnt; i++) {
        const struct kafka_part *p = part_of(k, &k->revoking->elems[i]);
        if (p && p->ownership == PART_LOSING)
            return;
    }
    unassign(k, k->group, k->revoking);
    rd_kafka_topic_partition_list_destroy(k->revoking);
    k->revoking = NULL;
}

static void serve(struct kafka *k)
{
    rd_kafka_message_t *m;
    while ((m = rd_kafka_consumer_poll(k->group, 0)))
        rd_kafka_message_destroy(m); /* paused: only events */
}

/* It joins again when it learns of more: a commit must not come behind that request, which is not seen at
 * once. */
bool kafka_group_grow(struct kafka *k, uint32_t partitions)
{
    if (!k->group)
        return true;
    if (k->commit_pending || atomic_load(&k->joining))
        return false;
    bool known = kafka_topics_show(k, k->group, partitions);
    k->rejoin_until_us = clock_boot_us() + REJOIN_US;
    return known;
}

void kafka_group_poll(struct kafka *k, uint64_t now)
{
    answer_requests(k);
    if (!k->group || log_gave_up(&k->store.log))
        return;
    serve(k);
    for (uint32_t n = 0; n < log_partitions(&k->store.log); n++)
        part_step(k, n, now);
    if (k->revoking)
        finish_handover(k);
    commit_lease(k, now);
    if (k->joined || !settled(k))
        return;
    pthread_mutex_lock(&k->lock);
    k->joined = true;
    pthread_cond_broadcast(&k->changed);
    pthread_mutex_unlock(&k->lock);
}

static void wait_until(struct kafka *k, const bool *flag)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += JOIN_MOST_MS / 1000;
    int late = 0;
    while (!*flag && !late)
        late = pthread_cond_timedwait(&k->changed, &k->lock, &until);
}

int kafka_group_join(struct log *log, const char *owner)
{
    struct kafka *k = kafka_of(log);
    pthread_mutex_lock(&k->lock);
    k->owner = strndup(owner, 64);
    ENSURE(k->owner);
    k->join_due = true;
    log->backend->wake(log);
    wait_until(k, &k->joined);
    bool joined = k->joined;
    pthread_mutex_unlock(&k->lock);
    return joined ? RM_OK : RM_ETIMEDOUT;
}

void kafka_group_leave(struct log *log)
{
    struct kafka *k = kafka_of(log);
    pthread_mutex_lock(&k->lock);
    k->leave_due = true;
    log->backend->wake(log);
    wait_until(k, &k->left);
    pthread_mutex_unlock(&k->lock);
}

void kafka_group_release(struct log *log, uint32_t partition)
{
    struct kafka *k = kafka_of(log);
    atomic_store(&k->released[partition], 1);
    log->backend->wake(log);
}
