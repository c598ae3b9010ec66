/*
 * Mail that stood in a partition before this process had it, and that somebody asks for now (log_read_at):
 * the bodies of rows. The offsets wanted are kept in order, and each partition's are read in one session
 * upwards. What lies between two of them is read along and kept, unless it is much: then the session seeks,
 * as it does to begin again from below. Uses a consumer of its own, made at first use: the reader is at the
 * end of the same partitions.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "queue/kafka/kafka_private.h"

enum {
    PIECE = 1000,
    WANTED_MOST = 4096,          /* of one partition; what is beyond has to be asked for again */
    AT_ONCE = 4,                 /* sessions */
    GAP_BYTES = 4 * 1024 * 1024, /* read along; more is passed over by a seek, which costs some ms */
    MEAN_BYTES = 10 * 1024,      /* of a record, while nothing is known */
    IDLE_US = 1000000,           /* a session that nobody needs any more ends after this */
    TURN_US = 2000000,           /* and one that others wait for */
    PAUSE_US = 1000000,          /* when the copy cannot be written */
    TELL_US = 50000,             /* at most so often, unless all is there */
    TRIES = 3,                   /* a record that so many sessions have gone past is not in the topic */
};
#define QUEUED_KB                                                                                            \
    "32768" /* lasts for a second, after which librdkafka 2.0.2 looks again whether it is less */

/* ---- what is wanted: any thread ---- */

/* Of the first one wanted at or above the offset. */
static size_t place_of(const struct kafka_sweep *s, uint64_t offset)
{
    size_t low = 0, high = s->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (s->wanted[mid] < offset)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static void insert(struct kafka_sweep *s, uint64_t offset)
{
    size_t at = place_of(s, offset);
    if (s->n == WANTED_MOST || (at < s->n && s->wanted[at] == offset))
        return;
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 64;
        s->wanted = realloc(s->wanted, s->cap * sizeof(*s->wanted));
        ENSURE(s->wanted);
    }
    memmove(&s->wanted[at + 1], &s->wanted[at], (s->n++ - at) * sizeof(*s->wanted));
    s->wanted[at] = offset;
}

/* False: it was not wanted. */
static bool take_out(struct kafka_sweep *s, uint64_t offset)
{
    size_t at = place_of(s, offset);
    if (at == s->n || s->wanted[at] != offset)
        return false;
    memmove(&s->wanted[at], &s->wanted[at + 1], (--s->n - at) * sizeof(*s->wanted));
    return true;
}

static void want(struct kafka *k, uint32_t partition, uint64_t offset)
{
    struct kafka_sweep *s = &k->sweeps[partition];
    pthread_mutex_lock(&k->sweep_lock);
    bool first = s->n == 0;
    insert(s, offset);
    pthread_mutex_unlock(&k->sweep_lock);
    atomic_store(&k->sweep_due, true);
    if (first)
        k->store.log.backend->wake(&k->store.log);
}

int kafka_sweep_read_at(struct log_reader *r, enum log_name name, uint32_t partition, uint64_t offset,
                        struct span *value)
{
    int err = store_read_at(r, name, partition, offset, value);
    if (name != LOG_MAIL || !kafka_group_owns(r->log, partition))
        return err;
    if (err == RM_OK)
        return value->len ? RM_OK : RM_ENOTFOUND; /* written by give_up */
    if (err != RM_ENOTFOUND || !store_read_covers(r, name, partition, offset))
        return err;
    want(kafka_of(r->log), partition, offset);
    return RM_EAGAIN;
}

/* ---- sessions ---- */

static void open_consumer(struct kafka *k)
{
    char why[KAFKA_WHY_MOST], topic[KAFKA_TOPIC_MOST];
    rd_kafka_conf_t *c = kafka_conf_new(k);
    kafka_conf_set(c, "auto.offset.reset", "error");
    kafka_conf_set(c, "enable.auto.commit", "false");
    kafka_conf_set(c, "enable.auto.offset.store", "false");
    kafka_conf_set(c, "fetch.wait.max.ms", "10");
    kafka_conf_set(c, "fetch.error.backoff.ms", "100");
    kafka_conf_set(c, "queued.max.messages.kbytes", QUEUED_KB);
    k->sweeper = kafka_handle_new(k, RD_KAFKA_CONSUMER, c, why);
    ENSURE(k->sweeper); /* the same settings as the reader's */
    k->sweep_queue = rd_kafka_queue_new(k->sweeper);
    static const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(k->sweep_queue, k->wake_fd, &one, sizeof(one));
    kafka_topic_name(k, LOG_MAIL, topic);
    k->sweep_topic = rd_kafka_topic_new(k->sweeper, topic, rd_kafka_default_topic_conf_dup(k->sweeper));
    ENSURE(k->sweep_topic);
}

rd_kafka_t *kafka_sweeper(struct kafka *k)
{
    if (!k->sweeper)
        open_consumer(k);
    return k->sweeper;
}

static void stop(struct kafka *k, uint32_t partition)
{
    struct kafka_sweep *s = &k->sweeps[partition];
    if (!s->on)
        return;
    s->on = false;
    k->sweeping--;
    (void)rd_kafka_consume_stop(k->sweep_topic, (int32_t)partition);
}

static void start(struct kafka *k, uint32_t partition, uint64_t from)
{
    struct kafka_sweep *s = &k->sweeps[partition];
    (void)kafka_sweeper(k);
    stop(k, partition);
    s->tries = s->from == from ? s->tries + 1 : 1;
    s->from = s->at = from;
    s->started_us = s->needed_us = clock_boot_us();
    if (rd_kafka_consume_start_queue(k->sweep_topic, (int32_t)partition, (int64_t)from - 1, k->sweep_queue) !=
        0)
        return; /* the next round tries it */
    s->on = true;
    k->sweeping++;
}

/* Every session that began there went past it: the brokers have lost it. Its place is taken by nothing. */
static void give_up(struct kafka *k, uint32_t partition, uint64_t offset)
{
    kafka_trouble(k, RM_ECORRUPT, "a record that waits is not in the topic of mail any more");
    if (kv_write_begin(k->store.env, &k->store.txn) != RM_OK)
        return;
    apply_missed(&k->store, kafka_stream(k, LOG_MAIL, partition), offset, span_of("", 0));
    int err = kv_commit(k->store.txn);
    k->store.txn = NULL;
    pthread_mutex_lock(&k->sweep_lock);
    k->sweeps[partition].fetched |= err == RM_OK && take_out(&k->sweeps[partition], offset);
    pthread_mutex_unlock(&k->sweep_lock);
}

/* The lowest wanted at or above offset; 0: none. */
static uint64_t next_wanted(struct kafka *k, uint32_t partition, uint64_t offset)
{
    const struct kafka_sweep *s = &k->sweeps[partition];
    pthread_mutex_lock(&k->sweep_lock);
    size_t at = place_of(s, offset);
    uint64_t found = at < s->n ? s->wanted[at] : 0;
    pthread_mutex_unlock(&k->sweep_lock);
    return found;
}

static bool is_far(const struct kafka_sweep *s, uint64_t offset)
{
    uint64_t mean = s->passed ? s->bytes / s->passed : MEAN_BYTES;
    return (offset - s->at) * mean > GAP_BYTES;
}

static void tell(struct kafka *k, uint32_t partition, uint64_t now, bool all)
{
    struct kafka_sweep *s = &k->sweeps[partition];
    if (!s->fetched || (!all && now - s->told_us < TELL_US))
        return;
    s->fetched = false;
    s->told_us = now;
    log_tell(&k->store.log, LOG_TOLD_FETCHED, partition, 0);
}

/* Its session ends: nobody needs it, or it is the turn of others. */
static bool is_over(const struct kafka *k, const struct kafka_sweep *s, uint64_t next, uint64_t now)
{
    if (k->sweeps_wait)
        return !next || now - s->started_us > TURN_US;
    return now - s->needed_us > IDLE_US;
}

/* Goes on with the next one wanted, where it stands. False: nothing is. */
static bool go_on(struct kafka *k, uint32_t partition, uint64_t now)
{
    struct kafka_sweep *s = &k->sweeps[partition];
    uint64_t lowest = next_wanted(k, partition, 0), next = s->on ? next_wanted(k, partition, s->at) : 0;
    tell(k, partition, now, !lowest);
    if (lowest)
        s->needed_us = now;
    if (s->on && is_over(k, s, next, now)) {
        stop(k, partition);
    } else if (next && is_far(s, next)) {
        s->at = next;
        (void)rd_kafka_seek(k->sweep_topic, (int32_t)partition, (int64_t)next - 1, 0);
    } else if (lowest && !next && s->from == lowest && s->tries >= TRIES) {
        stop(k, partition);
        give_up(k, partition, lowest);
    } else if (lowest && !next && (s->on || k->sweeping < AT_ONCE)) {
        start(k, partition, lowest);
    }
    return lowest;
}

static void forget(struct kafka *k, uint32_t partition)
{
    pthread_mutex_lock(&k->sweep_lock);
    k->sweeps[partition].n = 0;
    pthread_mutex_unlock(&k->sweep_lock);
}

void kafka_sweep_drop(struct kafka *k, uint32_t partition)
{
    stop(k, partition);
    forget(k, partition);
    k->sweeps[partition].fetched = false;
}

static void go_on_all(struct kafka *k, uint64_t now)
{
    uint32_t n = log_partitions(&k->store.log), wait = 0;
    bool any = false;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t p = (k->sweep_turn + i) % n;
        if (!kafka_group_owns(&k->store.log, p)) {
            forget(k, p); /* asked for by one who had not heard yet */
            continue;
        }
        bool wanted = go_on(k, p, now);
        any |= wanted;
        wait += wanted && !k->sweeps[p].on;
    }
    k->sweeps_wait = wait;
    k->sweep_turn++;
    if (any)
        atomic_store(&k->sweep_due, true);
}

/* ---- applying ---- */

static bool is_there(struct kafka *k, uint32_t partition, uint64_t offset)
{
    char key[OFFSET_KEY_BYTES];
    struct span value;
    return kv_get(k->store.txn, k->store.tables.logs[LOG_MAIL], key_of_offset(key, partition, offset),
                  &value) == RM_OK;
}

static void apply_message(struct kafka *k, const rd_kafka_message_t *m)
{
    struct kafka_sweep *s = &k->sweeps[m->partition];
    struct stream *stream = kafka_stream(k, LOG_MAIL, (uint32_t)m->partition);
    uint64_t offset = (uint64_t)m->offset + 1;
    if (!s->on || offset < s->at || offset >= stream->now.next)
        return; /* from before a seek; or the reader's */
    s->at = offset + 1;
    s->passed++;
    s->bytes += m->len;
    if (!is_there(k, (uint32_t)m->partition, offset))
        apply_missed(&k->store, stream, offset, span_of(m->payload, m->len));
}

/* Others have deleted what was wanted. */
static void on_error(struct kafka *k, uint32_t partition)
{
    struct kafka_sweep *s = &k->sweeps[partition];
    stop(k, partition);
    if (kafka_follow_target(k, LOG_MAIL, partition) != RM_OK)
        return;
    uint64_t line = kafka_stream(k, LOG_MAIL, partition)->durable.line;
    pthread_mutex_lock(&k->sweep_lock);
    size_t gone = place_of(s, line);
    memmove(s->wanted, s->wanted + gone, (s->n -= gone) * sizeof(*s->wanted));
    s->fetched |= gone > 0; /* it can be read that they are gone */
    pthread_mutex_unlock(&k->sweep_lock);
}

static bool is_lost(const rd_kafka_message_t *m)
{
    return m->rkt && (m->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
                      m->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE);
}

static void note_read(struct kafka *k, rd_kafka_message_t **messages, ssize_t n)
{
    pthread_mutex_lock(&k->sweep_lock);
    for (ssize_t i = 0; i < n; i++)
        if (messages[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            struct kafka_sweep *s = &k->sweeps[messages[i]->partition];
            uint64_t offset = (uint64_t)messages[i]->offset + 1;
            bool wanted = take_out(s, offset);
            s->fetched |= wanted;
            if (wanted && offset == s->from)
                s->tries = 0;
        }
    pthread_mutex_unlock(&k->sweep_lock);
}

static int apply_all(struct kafka *k, rd_kafka_message_t **messages, ssize_t n)
{
    int status = kv_write_begin(k->store.env, &k->store.txn);
    if (status != RM_OK)
        return status;
    for (ssize_t i = 0; i < n; i++)
        if (messages[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            apply_message(k, messages[i]);
    status = kv_commit(k->store.txn);
    k->store.txn = NULL;
    return status;
}

/* What was fetched is gone from the queue. */
static void begin_again(struct kafka *k, int status, uint64_t now)
{
    kafka_trouble(k, status, "the local copy cannot be written; it is tried again");
    for (uint32_t p = 0; p < log_partitions(&k->store.log); p++) {
        stop(k, p);
        k->sweeps[p].tries = 0;
    }
    k->sweep_pause_us = now + PAUSE_US;
}

bool kafka_sweep_poll(struct kafka *k, uint64_t now)
{
    if (now < k->sweep_pause_us || (!atomic_exchange(&k->sweep_due, false) && !k->sweeping))
        return false;
    rd_kafka_message_t *messages[PIECE];
    ssize_t n = k->sweeping ? rd_kafka_consume_batch_queue(k->sweep_queue, 0, messages, PIECE) : 0;
    int status = n > 0 ? apply_all(k, messages, n) : RM_OK;
    if (n > 0 && status == RM_OK)
        note_read(k, messages, n);
    for (ssize_t i = 0; i < n; i++) {
        if (is_lost(messages[i]))
            on_error(k, (uint32_t)messages[i]->partition);
        rd_kafka_message_destroy(messages[i]);
    }
    if (status != RM_OK)
        begin_again(k, status, now);
    else
        go_on_all(k, now);
    return n == PIECE;
}

void kafka_sweep_close(struct kafka *k)
{
    for (uint32_t p = 0; p < log_partitions(&k->store.log); p++) {
        stop(k, p);
        free(k->sweeps[p].wanted);
    }
    if (k->sweep_topic)
        rd_kafka_topic_destroy(k->sweep_topic);
    if (k->sweep_queue)
        rd_kafka_queue_destroy(k->sweep_queue);
    if (k->sweeper)
        rd_kafka_destroy(k->sweeper);
    free(k->sweeps);
    pthread_mutex_destroy(&k->sweep_lock);
}
