/*
 * Events of a partition that its new owner does not begin with: those before the place in its position, as
 * many as are kept. They are left out when it is gained, what is missing is noted in the copy, and they are
 * read afterwards, upwards and a piece at a time, so that deliveries do not wait: a fifth of the thread at
 * most. What reads all events (the history) goes no further than to what is missing (log_read_missing).
 *
 * A partition that is lost meanwhile keeps what it has; the next gain goes on. One at a time is filled.
 */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "queue/kafka/kafka_private.h"

enum { PIECE = 500, REST = 4 /* times as long as a piece took */, RETRY_US = 1000000, VALUE = 16 };

static struct span fill_key(char out[6], uint32_t partition)
{
    memcpy(out, "fill", 4);
    out[4] = (char)(partition >> 8);
    out[5] = (char)partition;
    return span_of(out, 6);
}

/* ---- what is missing ---- */

static bool unpack(struct span value, struct kafka_fill *out)
{
    if (value.len != VALUE)
        return false;
    *out = (struct kafka_fill){key_get_u64(value.ptr), key_get_u64(value.ptr + 8)};
    return out->from < out->to;
}

static void put(struct kafka *k, uint32_t partition)
{
    char key[6], value[VALUE];
    const struct kafka_fill *f = &k->fills[partition];
    if (f->from >= f->to) {
        (void)kv_delete(k->store.txn, k->store.tables.meta, fill_key(key, partition));
        return;
    }
    key_put_u64(value, f->from);
    key_put_u64(value + 8, f->to);
    kv_put(k->store.txn, k->store.tables.meta, fill_key(key, partition), span_of(value, sizeof(value)));
}

void kafka_fill_load(struct kafka *k)
{
    char key[6];
    struct kv_txn *txn;
    struct span value;
    if (kv_read_begin(k->store.env, &txn) != RM_OK)
        return;
    for (uint32_t p = 0; p < LOG_PARTITIONS_MOST; p++)
        if (kv_get(txn, k->store.tables.meta, fill_key(key, p), &value) != RM_OK ||
            !unpack(value, &k->fills[p]))
            k->fills[p] = (struct kafka_fill){0, 0};
    kv_read_end(txn);
}

void kafka_fill_later(struct kafka *k, struct stream *s, uint64_t offset)
{
    struct kafka_fill *f = &k->fills[s->partition];
    if (f->from >= f->to)
        f->from = s->now.next;
    f->to = offset;
    put(k, s->partition);
    apply_leave_out(&k->store, s, offset);
}

void kafka_fill_forget(struct kafka *k, uint32_t partition)
{
    k->fills[partition] = (struct kafka_fill){0, 0};
    put(k, partition);
}

bool kafka_fill_misses(const struct kafka *k, uint32_t partition, uint64_t offset)
{
    const struct kafka_fill *f = &k->fills[partition];
    return f->from < f->to && offset < f->to;
}

bool kafka_fill_read_missing(struct log_reader *r, uint32_t partition, uint64_t *from, uint64_t *to)
{
    char key[6];
    struct span value;
    struct kafka_fill f;
    if (store_read_meta(r, fill_key(key, partition), &value) != RM_OK || !unpack(value, &f))
        return false;
    *from = f.from;
    *to = f.to;
    return true;
}

/* ---- reading it ---- */

static void stop(struct kafka *k)
{
    if (k->filling)
        (void)rd_kafka_consume_stop(k->fill_topic, (int32_t)k->filling - 1);
    k->filling = 0;
}

static void open_topic(struct kafka *k)
{
    char topic[KAFKA_TOPIC_MOST];
    static const uint64_t one = 1;
    rd_kafka_t *consumer = kafka_sweeper(k);
    kafka_topic_name(k, LOG_EVENTS, topic);
    k->fill_queue = rd_kafka_queue_new(consumer);
    rd_kafka_queue_io_event_enable(k->fill_queue, k->wake_fd, &one, sizeof(one));
    k->fill_topic = rd_kafka_topic_new(consumer, topic, rd_kafka_default_topic_conf_dup(consumer));
    ENSURE(k->fill_topic);
}

/* Not while the partition's other logs are read, which its owner waits for. */
static bool is_due(const struct kafka *k, uint32_t partition)
{
    return kafka_fill_misses(k, partition, 0) && k->follows[LOG_EVENTS][partition].on &&
           k->parts[partition].ownership >= PART_SETTLING;
}

/* Others have deleted some of it. */
static int pass_line(struct kafka *k, uint32_t partition)
{
    int err = kafka_follow_target(k, LOG_EVENTS, partition);
    struct kafka_fill *f = &k->fills[partition];
    if (err == RM_OK && f->from < k->follows[LOG_EVENTS][partition].deleted)
        f->from = k->follows[LOG_EVENTS][partition].deleted;
    return err;
}

static void start(struct kafka *k, uint32_t partition, uint64_t now)
{
    if (!k->fill_topic)
        open_topic(k);
    uint64_t from = k->fills[partition].from;
    if (rd_kafka_consume_start_queue(k->fill_topic, (int32_t)partition, (int64_t)from - 1, k->fill_queue) ==
        0)
        k->filling = partition + 1;
    else
        k->fill_next_us = now + RETRY_US;
}

static void start_next(struct kafka *k, uint64_t now)
{
    for (uint32_t p = 0; p < log_partitions(&k->store.log) && !k->filling; p++)
        if (is_due(k, p))
            start(k, p, now);
}

static void apply(struct kafka *k, const rd_kafka_message_t *m)
{
    struct kafka_fill *f = &k->fills[m->partition];
    uint64_t offset = (uint64_t)m->offset + 1;
    if ((uint32_t)m->partition + 1 != k->filling || offset < f->from)
        return; /* of a session that is over */
    if (offset < f->to)
        apply_missed(&k->store, kafka_stream(k, LOG_EVENTS, (uint32_t)m->partition), offset,
                     span_of(m->payload ? m->payload : "", m->len));
    f->from = offset < f->to ? offset + 1 : f->to;
}

/* False: the copy cannot be written, or the brokers have not answered; it begins again with what is noted. */
static bool apply_all(struct kafka *k, rd_kafka_message_t **messages, ssize_t n)
{
    bool lost = false;
    uint32_t partition = k->filling - 1;
    struct kafka_fill before = k->fills[partition];
    for (ssize_t i = 0; i < n; i++)
        lost |= messages[i]->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
                messages[i]->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE;
    if (lost && pass_line(k, partition) != RM_OK)
        return false;
    if (kv_write_begin(k->store.env, &k->store.txn) != RM_OK)
        return false;
    for (ssize_t i = 0; i < n; i++)
        if (messages[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            apply(k, messages[i]);
    put(k, partition);
    int err = kv_commit(k->store.txn);
    k->store.txn = NULL;
    if (err != RM_OK)
        k->fills[partition] = before;
    return err == RM_OK && !lost;
}

static void read_piece(struct kafka *k, uint64_t now)
{
    rd_kafka_message_t *messages[PIECE];
    uint64_t began = clock_boot_us();
    ssize_t n = rd_kafka_consume_batch_queue(k->fill_queue, 0, messages, PIECE);
    if (n <= 0)
        return;
    bool well = apply_all(k, messages, n);
    for (ssize_t i = 0; i < n; i++)
        rd_kafka_message_destroy(messages[i]);
    uint64_t took = clock_boot_us() - began;
    if (k->parts[k->filling - 1].ownership != PART_SETTLING) /* else it may wait for this */
        k->fill_next_us = began + took + REST * took;
    if (!well)
        k->fill_next_us = now + RETRY_US;
    if (!well || !is_due(k, k->filling - 1))
        stop(k);
}

void kafka_fill_poll(struct kafka *k, uint64_t now)
{
    if (k->filling && !is_due(k, k->filling - 1))
        stop(k);
    if (now < k->fill_next_us)
        return;
    if (!k->filling)
        start_next(k, now);
    if (k->filling)
        read_piece(k, now);
}

void kafka_fill_close(struct kafka *k)
{
    stop(k);
    if (k->fill_topic)
        rd_kafka_topic_destroy(k->fill_topic);
    if (k->fill_queue)
        rd_kafka_queue_destroy(k->fill_queue);
    free(k->fills);
}
