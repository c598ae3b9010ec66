/* The log on Kafka: its thread, what it does every second, opening and closing. */
#include "queue/kafka/kafka.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "queue/kafka/kafka_private.h"

enum {
    IDLE_MS = 50,
    OUTBOX_MS = 1, /* submissions do not wake while something waits for a report anyway */
    CATCH_UP_S = 120,
    FOLLOW_TRIES = 100,
    FOLLOW_RETRY_MS = 100,
    CLOSE_MOST_US = 30 * 1000000
};

void kafka_trouble(struct kafka *k, int err, const char *what)
{
    const struct log_options *o = &k->store.log.options;
    if (o->trouble)
        o->trouble(o->arg, err, what);
}

/* ---- every second ---- */

/* Takes what is below a line from the list of what is to be deleted. */
static void add_deletes(struct kafka *k, enum log_name name, rd_kafka_topic_partition_list_t *list)
{
    char topic[KAFKA_TOPIC_MOST];
    kafka_topic_name(k, name, topic);
    for (uint32_t p = 0; p < log_name_partitions(&k->store.log, name); p++) {
        struct kafka_follow *f = &k->follows[name][p];
        uint64_t line = kafka_stream(k, name, p)->durable.line;
        if (!f->on || line <= f->deleted)
            continue;
        rd_kafka_topic_partition_list_add(list, topic, (int32_t)p)->offset = (int64_t)line - 1;
        f->deleted = line;
    }
}

/* The brokers are asked once a second at most; a request that fails is repeated with the next line. */
static void delete_records(struct kafka *k)
{
    rd_kafka_event_t *ev;
    while ((ev = rd_kafka_queue_poll(k->admin_queue, 0))) {
        k->deleting--;
        rd_kafka_event_destroy(ev);
    }
    if (k->deleting)
        return;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    for (int name = 0; name < LOG_NAMES; name++)
        if (!log_name_compacted((enum log_name)name))
            add_deletes(k, (enum log_name)name, list);
    if (list->cnt) {
        rd_kafka_DeleteRecords_t *request = rd_kafka_DeleteRecords_new(list);
        rd_kafka_DeleteRecords(k->producer, &request, 1, NULL, k->admin_queue);
        rd_kafka_DeleteRecords_destroy(request);
        k->deleting++;
    }
    rd_kafka_topic_partition_list_destroy(list);
}

static bool all_caught_up(struct kafka *k)
{
    for (int name = 0; name < LOG_NAMES; name++)
        for (uint32_t p = 0; p < log_name_partitions(&k->store.log, (enum log_name)name); p++)
            if (k->follows[name][p].on && !kafka_follow_caught_up(k, (enum log_name)name, p))
                return false;
    return true;
}

static void look_caught_up(struct kafka *k)
{
    if (k->caught_up || !all_caught_up(k))
        return;
    pthread_mutex_lock(&k->lock);
    k->caught_up = true;
    pthread_cond_broadcast(&k->changed);
    pthread_mutex_unlock(&k->lock);
}

/* ---- the thread ---- */

static void wait_for_work(struct kafka *k, int most_ms)
{
    struct pollfd fd = {.fd = k->wake_fd, .events = POLLIN};
    struct timespec most = {.tv_nsec = most_ms * 1000000L};
    uint64_t n, now = clock_boot_us();
    if (k->push_at_us)
        most.tv_nsec = k->push_at_us > now ? (long)(k->push_at_us - now) * 1000 : 0;
    if (ppoll(&fd, 1, &most, NULL) > 0)
        while (read(k->wake_fd, &n, sizeof(n)) > 0)
            ;
}

static void finish_the_rest(struct kafka *k)
{
    struct list *it;
    while ((it = list_pop_front(&k->acked))) { /* durable; only not read back */
        struct kafka_flight *f = CONTAINER_OF(it, struct kafka_flight, node);
        log_batch_finish(f->batch, RM_OK);
        free(f);
    }
    log_wake_clients(&k->store.log);
}

static bool may_end(struct kafka *k, uint64_t now)
{
    if (!k->closing)
        return false;
    if (!k->closing_since_us)
        k->closing_since_us = now;
    if (!list_empty(&k->flights))
        return false; /* bounded: each is answered within ack_ms */
    return list_empty(&k->acked) || now - k->closing_since_us > CLOSE_MOST_US;
}

static void every_second(struct kafka *k, uint64_t now)
{
    if (k->restart_at_us && now >= k->restart_at_us)
        kafka_follow_restart(k);
    if (now < k->next_second_us)
        return;
    k->next_second_us = now + 1000000;
    space_check(&k->store, 0);
    delete_records(k);
}

static void *kafka_run(void *arg)
{
    struct kafka *k = arg;
    for (;;) {
        uint64_t now = clock_boot_us();
        bool taken = kafka_produce_take(k);
        kafka_produce_poll(k);
        bool more = kafka_consume_poll(k);
        more |= kafka_sweep_poll(k, now);
        kafka_fill_poll(k, now);
        rd_kafka_poll(k->reader, 0);
        kafka_grow_poll(k, now);
        kafka_group_poll(k, now);
        kafka_outbox_push(k);
        kafka_stop_poll(k, now);
        kafka_produce_poll(k);
        every_second(k, now);
        look_caught_up(k);
        log_wake_clients(&k->store.log);
        if (may_end(k, now))
            break;
        bool full = k->in_flight_bytes > KAFKA_IN_FLIGHT_BYTES;
        if (more)
            continue;
        if (!list_empty(&k->outboxes))
            wait_for_work(k, OUTBOX_MS);
        else if (!taken && (full || k->closing || log_queue_arm(&k->store.log)))
            wait_for_work(k, IDLE_MS);
    }
    finish_the_rest(k);
    return NULL;
}

static void kafka_wake(struct log *log)
{
    static const uint64_t one = 1;
    ssize_t n = write(kafka_of(log)->wake_fd, &one, sizeof(one));
    (void)n; /* full: it is awake */
}

/* ---- opening and closing ---- */

void kafka_free(struct kafka *k)
{
    kafka_fill_close(k);
    kafka_sweep_close(k);
    kafka_consume_close(k);
    if (k->admin_queue)
        rd_kafka_queue_destroy(k->admin_queue);
    kafka_produce_close(k);
    kafka_login_free(k->login);
    for (uint32_t p = 0; p < log_partitions(&k->store.log); p++) {
        kafka_ring_clear(&k->parts[p].hints);
        kafka_ring_clear(&k->parts[p].told);
        buf_fini(&k->parts[p].voids);
    }
    for (int name = 0; name < LOG_NAMES; name++)
        free(k->follows[name]);
    free(k->parts);
    free((void *)(uintptr_t)k->owned);
    free((void *)(uintptr_t)k->released);
    close(k->wake_fd);
    pthread_cond_destroy(&k->changed);
    pthread_mutex_destroy(&k->lock);
    store_fini(&k->store);
    free(k->prefix);
    free(k->brokers);
    free(k->ca);
    free(k->mechanism);
    free(k->user);
    free(k->password);
    free(k->owner);
    free(k);
}

static void kafka_close(struct log *log)
{
    struct kafka *k = kafka_of(log);
    kafka_group_leave(log);
    log_queue_close(log);
    ENSURE(pthread_join(k->thread, NULL) == 0);
    kafka_free(k);
}

static void kafka_figures(struct log *log, struct log_figures *out)
{
    store_figures(&kafka_of(log)->store, out);
}

static const struct log_backend backend = {
    .capabilities = 0,
    .close = kafka_close,
    .figures = kafka_figures,
    .read_begin = store_read_begin,
    .read_end = store_read_end,
    .read_next = store_read_next,
    .read_at = kafka_sweep_read_at,
    .read_missing = kafka_fill_read_missing,
    .read_end_offset = store_read_end_offset,
    .read_key = store_read_key,
    .read_key_next = store_read_key_next,
    .read_index = store_read_index,
    .join = kafka_group_join,
    .leave = kafka_group_leave,
    .release = kafka_group_release,
    .may_start = kafka_group_may_start,
    .is_current = kafka_group_owns,
    .grow = kafka_grow,
    .grown = kafka_grown,
    .wake = kafka_wake,
};

static char *dup_or_null(const char *s)
{
    char *out = s ? strdup(s) : NULL;
    ENSURE(out || !s);
    return out;
}

struct kafka *kafka_new(const struct kafka_options *o, const struct log_options *common)
{
    struct kafka *k = calloc(1, sizeof(*k));
    ENSURE(k);
    struct store_options store = {.dir = o->dir, .map_bytes = o->map_bytes, .copy = true};
    store_init(&k->store, &backend, &store, common);
    k->prefix = dup_or_null(o->prefix);
    k->brokers = dup_or_null(o->brokers);
    k->ca = dup_or_null(o->ca);
    k->mechanism = dup_or_null(o->mechanism ? o->mechanism : "SCRAM-SHA-512");
    k->user = dup_or_null(o->user);
    k->password = dup_or_null(o->password);
    k->tls = o->tls;
    k->development = o->development;
    k->follow_all = o->follow | 1u << LOG_CONTROL | 1u << LOG_DEAD | 1u << LOG_SUPPRESSION;
    k->ack_ms = o->ack_ms ? o->ack_ms : KAFKA_ACK_MS;
    k->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    ENSURE(k->wake_fd >= 0);
    for (int name = 0; name < LOG_NAMES; name++) {
        k->follows[name] = calloc(log_name_partitions_most((enum log_name)name), sizeof(struct kafka_follow));
        ENSURE(k->follows[name]);
    }
    k->parts = calloc(LOG_PARTITIONS_MOST, sizeof(*k->parts));
    k->owned = calloc(LOG_PARTITIONS_MOST, sizeof(*k->owned));
    k->released = calloc(LOG_PARTITIONS_MOST, sizeof(*k->released));
    k->sweeps = calloc(LOG_PARTITIONS_MOST, sizeof(*k->sweeps));
    k->fills = calloc(LOG_PARTITIONS_MOST, sizeof(*k->fills));
    ENSURE(k->parts && k->owned && k->released && k->sweeps && k->fills);
    ENSURE(pthread_mutex_init(&k->sweep_lock, NULL) == 0);
    for (uint32_t p = 0; p < LOG_PARTITIONS_MOST; p++)
        kafka_outbox_init(&k->parts[p]);
    list_init(&k->flights);
    list_init(&k->acked);
    list_init(&k->outboxes);
    ENSURE(pthread_mutex_init(&k->lock, NULL) == 0);
    pthread_condattr_t attr;
    ENSURE(pthread_condattr_init(&attr) == 0 && pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    ENSURE(pthread_cond_init(&k->changed, &attr) == 0);
    pthread_condattr_destroy(&attr);
    return k;
}

static int wipe_copy(struct kafka *k)
{
    char path[4200];
    if (k->store.env)
        kv_close(k->store.env);
    k->store.env = NULL;
    snprintf(path, sizeof(path), "%s/data.mdb", k->store.dir);
    (void)unlink(path);
    return RM_OK;
}

/* The copy is this cluster's and prefix's, or empty from now on. */
static int check_origin(struct kafka *k, const char *origin)
{
    struct span value;
    struct kv_txn *txn;
    int err = kv_write_begin(k->store.env, &txn);
    if (err != RM_OK)
        return err;
    err = kv_get(txn, k->store.tables.meta, SPAN_LIT("origin"), &value);
    if (err == RM_OK && !span_eq(value, span_str(origin)))
        err = RM_ECORRUPT;
    if (err == RM_ENOTFOUND) {
        kv_put(txn, k->store.tables.meta, SPAN_LIT("origin"), span_str(origin));
        return kv_commit(txn);
    }
    kv_abort(txn);
    return err;
}

static int open_copy(struct kafka *k, char why[KAFKA_WHY_MOST])
{
    const char *reason = "";
    char origin[400];
    char *cluster = rd_kafka_clusterid(k->producer, KAFKA_CALL_MS);
    snprintf(origin, sizeof(origin), "%s/%s", cluster ? cluster : "", k->prefix);
    if (cluster)
        rd_kafka_mem_free(k->producer, cluster);
    int err = store_open(&k->store, &reason);
    if (err == RM_OK)
        err = check_origin(k, origin);
    if (err == RM_EINVAL || err == RM_ECORRUPT) {
        err = wipe_copy(k);
        if (err == RM_OK)
            err = store_open(&k->store, &reason);
        if (err == RM_OK)
            err = check_origin(k, origin);
    }
    if (err != RM_OK)
        snprintf(why, KAFKA_WHY_MOST, "%s", reason);
    else
        kafka_fill_load(k);
    return err;
}

/* Where librdkafka's own login does not do. */
static int open_login(struct kafka *k, char why[KAFKA_WHY_MOST])
{
    struct kafka_login_options o = {
        .tls = k->tls, .ca = k->ca, .mechanism = k->mechanism, .user = k->user, .password = k->password};
    return k->user && kafka_login_needed(k->mechanism) ? kafka_login_new(&o, &k->login, why) : RM_OK;
}

/* Topics made just now are not served at once. */
static int follow_soon(struct kafka *k, enum log_name name, uint32_t partition)
{
    int err = kafka_follow_start(k, name, partition);
    for (int tries = 0; err == RM_ETIMEDOUT && tries < FOLLOW_TRIES; tries++) {
        rd_kafka_poll(k->reader, FOLLOW_RETRY_MS);
        err = kafka_follow_start(k, name, partition);
    }
    return err;
}

static int follow_common(struct kafka *k, char why[KAFKA_WHY_MOST])
{
    int err = RM_OK;
    for (int name = 0; name < LOG_NAMES && err == RM_OK; name++) {
        uint32_t n = k->follow_all >> name & 1 ? log_name_partitions(&k->store.log, (enum log_name)name) : 0;
        for (uint32_t p = 0; p < n && err == RM_OK; p++)
            err = follow_soon(k, (enum log_name)name, p);
        if (err != RM_OK)
            snprintf(why, KAFKA_WHY_MOST, "topic %s.%s cannot be read", k->prefix, kafka_log_names[name]);
    }
    return err;
}

static void enable_wakes(struct kafka *k)
{
    static const uint64_t one = 1;
    rd_kafka_queue_t *main = rd_kafka_queue_get_main(k->producer);
    rd_kafka_queue_io_event_enable(main, k->wake_fd, &one, sizeof(one));
    rd_kafka_queue_destroy(main);
    rd_kafka_queue_io_event_enable(k->read_queue, k->wake_fd, &one, sizeof(one));
}

static int await_caught_up(struct kafka *k)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += CATCH_UP_S;
    int late = 0;
    pthread_mutex_lock(&k->lock);
    while (!k->caught_up && !late)
        late = pthread_cond_timedwait(&k->changed, &k->lock, &until);
    bool done = k->caught_up;
    pthread_mutex_unlock(&k->lock);
    return done ? RM_OK : RM_ETIMEDOUT;
}

int kafka_log_open(const struct kafka_options *options, const struct log_options *common, struct log **out,
                   char why[KAFKA_WHY_MOST])
{
    *out = NULL;
    struct kafka *k = kafka_new(options, common);
    int err = open_login(k, why);
    if (err == RM_OK)
        err = kafka_produce_open(k, why);
    if (err == RM_OK) {
        k->admin_queue = rd_kafka_queue_new(k->producer);
        err = kafka_topics_ensure(k, why);
    }
    if (err == RM_OK)
        err = open_copy(k, why);
    if (err == RM_OK)
        err = kafka_consume_open(k, why);
    if (err == RM_OK)
        err = follow_common(k, why);
    if (err != RM_OK) {
        kafka_free(k);
        return err;
    }
    enable_wakes(k);
    space_check(&k->store, 0);
    k->opened = true;
    ENSURE(pthread_create(&k->thread, NULL, kafka_run, k) == 0);
    err = await_caught_up(k);
    if (err != RM_OK) {
        snprintf(why, KAFKA_WHY_MOST, "the small logs cannot be read");
        kafka_close(&k->store.log);
        return err;
    }
    *out = &k->store.log;
    return RM_OK;
}
