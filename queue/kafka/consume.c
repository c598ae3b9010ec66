/*
 * Reading into the local copy: the partitions followed are fetched from the position the copy carries, into
 * one queue; a piece of what came is applied in one transaction, positions included. Uses the consumer
 * without a group: membership is group.c's.
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/crashpoint.h"
#include "queue/kafka/kafka_private.h"

enum {
    PIECE = 10000, /* messages in one transaction: each writes the pages that it touches anew */
    TRIM_WHEN_FULL = 256,
};
/* Fetched ahead. When so much waits librdkafka 2.0.2 looks again after a second: it has to last that long. */
#define QUEUED_KB       "49152"
#define QUEUED_MESSAGES "1000000"

static enum log_name name_of(const rd_kafka_topic_t *topic)
{
    return (enum log_name)((uintptr_t)rd_kafka_topic_opaque(topic) - 1);
}

/* ---- following ---- */

static int commit_copy(struct kafka *k)
{
    streams_store(&k->store);
    int status = kv_commit(k->store.txn);
    k->store.txn = NULL;
    if (status == RM_OK)
        streams_committed(&k->store);
    else
        streams_rolled_back(&k->store);
    return status;
}

/* Forgets everything. */
static int clear_copy(struct kafka *k, struct stream *s)
{
    int status = kv_write_begin(k->store.env, &k->store.txn);
    if (status != RM_OK)
        return status;
    apply_clear(&k->store, s);
    if (s->name == LOG_EVENTS)
        kafka_fill_forget(k, s->partition);
    return commit_copy(k);
}

/* What is below line is gone, what is below from and not there is left out. */
static int skip_copy(struct kafka *k, struct stream *s, uint64_t from, uint64_t line)
{
    int status = kv_write_begin(k->store.env, &k->store.txn);
    if (status != RM_OK)
        return status;
    if (from > s->now.next && s->name == LOG_EVENTS && from > line)
        kafka_fill_later(k, s, from);
    else if (from > s->now.next)
        apply_leave_out(&k->store, s, from);
    if (!log_name_compacted(s->name))
        apply_line(&k->store, s, line);
    return commit_copy(k);
}

uint64_t kafka_follow_needed(struct kafka *k, enum log_name name, uint32_t partition)
{
    char bytes[KEY_MOST];
    struct kv_txn *txn;
    struct span value, key = key_of_row(bytes, partition, SPAN_LIT("position"));
    uint64_t from = 0;
    if (!k->store.log.options.start || kv_read_begin(k->store.env, &txn) != RM_OK)
        return 0;
    if (kv_get(txn, k->store.tables.logs[LOG_STATE], key, &value) == RM_OK)
        from = k->store.log.options.start(name, value);
    kv_read_end(txn);
    return from;
}

int kafka_follow_target(struct kafka *k, enum log_name name, uint32_t partition)
{
    char topic[KAFKA_TOPIC_MOST];
    int64_t low, high;
    kafka_topic_name(k, name, topic);
    rd_kafka_resp_err_t err =
        rd_kafka_query_watermark_offsets(k->reader, topic, (int32_t)partition, &low, &high, KAFKA_CALL_MS);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        return RM_ETIMEDOUT;
    struct stream *s = kafka_stream(k, name, partition);
    uint64_t end = (uint64_t)high + 1, line = (uint64_t)low + 1;
    k->follows[name][partition].target = end;
    k->follows[name][partition].deleted = line;
    if (s->durable.next > end)
        return clear_copy(k, s); /* it knows more than the cluster: it is another one's */
    if (s->durable.next >= line && (s->durable.line >= line || log_name_compacted(name)))
        return RM_OK;
    return skip_copy(k, s, line, line); /* others have deleted what the copy has or has not read */
}

static struct span mark_key(char out[7], enum log_name name, uint32_t partition)
{
    memcpy(out, "mark", 4);
    out[4] = (char)name;
    out[5] = (char)(partition >> 8);
    out[6] = (char)partition;
    return span_of(out, 7);
}

static void load_claim(struct kafka *k, enum log_name name, uint32_t partition)
{
    struct kv_txn *txn;
    struct span value;
    char key[7];
    k->parts[partition].claims[name] = 0;
    if (kv_read_begin(k->store.env, &txn) != RM_OK)
        return;
    if (kv_get(txn, k->store.tables.meta, mark_key(key, name, partition), &value) == RM_OK && value.len == 8)
        k->parts[partition].claims[name] = key_get_u64(value.ptr);
    kv_read_end(txn);
}

int kafka_follow_start(struct kafka *k, enum log_name name, uint32_t partition)
{
    struct kafka_follow *f = &k->follows[name][partition];
    if (f->on)
        return RM_OK;
    int status = kafka_follow_target(k, name, partition);
    if (status != RM_OK)
        return status;
    load_claim(k, name, partition);
    if (name == LOG_BACKLOG || name == LOG_STATE)
        kafka_voids_load(k, name, partition);
    struct stream *s = kafka_stream(k, name, partition);
    bool part = (name == LOG_MAIL || name == LOG_EVENTS) && !(k->follow_all >> name & 1);
    uint64_t needed = part ? kafka_follow_needed(k, name, partition) : 0;
    if (needed > f->target)
        needed = f->target;
    if (needed > s->durable.next && (status = skip_copy(k, s, needed, s->durable.line)) != RM_OK)
        return status;
    int64_t from = (int64_t)s->durable.next - 1;
    if (rd_kafka_consume_start_queue(k->in[name], (int32_t)partition, from, k->read_queue) != 0)
        return RM_EIO;
    f->on = true;
    return RM_OK;
}

void kafka_follow_stop(struct kafka *k, enum log_name name, uint32_t partition)
{
    struct kafka_follow *f = &k->follows[name][partition];
    if (!f->on || k->follow_all >> name & 1)
        return;
    f->on = false;
    (void)rd_kafka_consume_stop(k->in[name], (int32_t)partition);
}

static int restart(struct kafka *k, enum log_name name, uint32_t partition)
{
    struct kafka_follow *f = &k->follows[name][partition];
    if (!f->on)
        return RM_OK;
    (void)rd_kafka_consume_stop(k->in[name], (int32_t)partition);
    f->on = false;
    int status = kafka_follow_start(k, name, partition);
    f->on = true; /* also when that failed: it is tried again */
    return status;
}

void kafka_follow_restart(struct kafka *k)
{
    k->restart_at_us = 0;
    for (int name = 0; name < LOG_NAMES; name++)
        for (uint32_t p = 0; p < log_name_partitions(&k->store.log, (enum log_name)name); p++)
            if (restart(k, (enum log_name)name, p) != RM_OK)
                k->restart_at_us = clock_boot_us() + 1000000;
    for (uint32_t p = 0; p < log_partitions(&k->store.log); p++)
        kafka_ring_truncate(&k->parts[p].told, kafka_stream(k, LOG_MAIL, p)->durable.next);
}

bool kafka_follow_caught_up(struct kafka *k, enum log_name name, uint32_t partition)
{
    const struct kafka_follow *f = &k->follows[name][partition];
    return f->on && kafka_stream(k, name, partition)->durable.next >= f->target;
}

/* ---- applying ---- */

static bool has_header(const rd_kafka_message_t *m, const char *name, uint64_t *value)
{
    rd_kafka_headers_t *h;
    const void *bytes;
    size_t len;
    if (rd_kafka_message_headers(m, &h) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        rd_kafka_header_get_last(h, name, &bytes, &len) != RD_KAFKA_RESP_ERR_NO_ERROR || len != 8)
        return false;
    *value = key_get_u64(bytes);
    return true;
}

static void skip(struct kafka *k, struct stream *s, uint64_t offset)
{
    stream_touch(&k->store, s->name, s->partition);
    s->now.next = offset + 1;
}

/* A claim stands here: what follows of older epochs is void. */
static void note_claim(struct kafka *k, const struct stream *s, uint64_t epoch)
{
    struct kafka_part *p = &k->parts[s->partition];
    char key[7], value[8];
    if (epoch <= p->claims[s->name])
        return;
    p->claims[s->name] = epoch;
    p->overtaken |= p->epoch && epoch > p->epoch;
    key_put_u64(value, epoch);
    kv_put(k->store.txn, k->store.tables.meta, mark_key(key, s->name, s->partition), span_of(value, 8));
}

/* Written by an owner past, behind a newer claim. Its tombstones of rows state the truth all the same. */
static bool is_void(struct kafka *k, const struct stream *s, const rd_kafka_message_t *m)
{
    uint64_t epoch;
    return has_header(m, "e", &epoch) && epoch < k->parts[s->partition].claims[s->name] &&
           (m->payload || s->name != LOG_BACKLOG);
}

static void apply_keyed(struct kafka *k, struct stream *s, const rd_kafka_message_t *m, uint64_t offset)
{
    struct span key = span_of(m->key, m->key_len), value = span_of(m->payload, m->len);
    uint64_t epoch;
    if (!m->key || m->key_len > LOG_KEY_MOST) {
        skip(k, s, offset);
    } else if (has_header(m, "c", &epoch)) {
        bool claim = s->name == LOG_STATE;
        note_claim(k, s, claim ? offset : epoch);
        if (claim && m->payload)
            apply_claim(&k->store, s, offset, value);
        else
            skip(k, s, offset);
    } else if (is_void(k, s, m)) {
        kafka_void_note(k, s, key, value, (uint64_t)rd_kafka_message_timestamp(m, NULL));
        skip(k, s, offset);
    } else {
        kafka_void_passed(k, s, key);
        apply_value(&k->store, s, offset, key, value);
    }
}

static void apply_appended(struct kafka *k, struct stream *s, const rd_kafka_message_t *m, uint64_t offset)
{
    uint64_t epoch;
    if (s->name == LOG_EVENTS && has_header(m, "c", &epoch))
        note_claim(k, s, epoch);
    apply_record(&k->store, s, offset, span_of(m->payload ? m->payload : "", m->len));
}

static void apply_message(struct kafka *k, const rd_kafka_message_t *m)
{
    enum log_name name = name_of(m->rkt);
    uint32_t partition = (uint32_t)m->partition;
    struct stream *s = kafka_stream(k, name, partition);
    uint64_t offset = (uint64_t)m->offset + 1;
    if (!k->follows[name][partition].on || offset < s->now.next)
        return; /* fetched before it was stopped, or seen */
    if (log_name_compacted(name))
        apply_keyed(k, s, m, offset);
    else
        apply_appended(k, s, m, offset);
    if (name == LOG_MAIL)
        kafka_ring_push(&k->parts[partition].told, (struct kafka_hint){offset, NULL});
}

/* The end of a log whose last offsets hold nothing. */
static void on_event(struct kafka *k, const rd_kafka_message_t *m)
{
    enum log_name name = name_of(m->rkt);
    struct stream *s = kafka_stream(k, name, (uint32_t)m->partition);
    if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        if (k->follows[name][m->partition].on && (uint64_t)m->offset + 1 > s->now.next)
            skip(k, s, (uint64_t)m->offset);
    } else if (m->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
               m->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE) {
        k->restart_at_us = clock_boot_us(); /* others have deleted what was to be read next */
    }
}

static uint64_t bytes_of(rd_kafka_message_t **messages, ssize_t n)
{
    uint64_t bytes = 0;
    for (ssize_t i = 0; i < n; i++)
        if (messages[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            bytes += messages[i]->len + messages[i]->key_len;
    return bytes;
}

static int apply_all(struct kafka *k, rd_kafka_message_t **messages, ssize_t n)
{
    space_check(&k->store, bytes_of(messages, n));
    int status = kv_write_begin(k->store.env, &k->store.txn);
    if (status != RM_OK)
        return status;
    for (ssize_t i = 0; i < n; i++) {
        if (messages[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            apply_message(k, messages[i]);
        else if (messages[i]->rkt)
            on_event(k, messages[i]);
    }
    apply_trims(&k->store, LOG_TRIM_MOST);
    CRASH_POINT(COMMIT_BEFORE);
    status = commit_copy(k);
    CRASH_POINT(COMMIT_AFTER);
    return status;
}

/* What is below the lines goes, though nothing comes to be applied with it, or there is no space to do that.
 */
static int trim(struct kafka *k, int most)
{
    int status = kv_write_begin(k->store.env, &k->store.txn);
    if (status != RM_OK)
        return status;
    kv_write_reserve(k->store.txn);
    apply_trims(&k->store, most);
    return commit_copy(k);
}

static void tell_all(struct kafka *k)
{
    kafka_produce_poll(k); /* reports that have come meanwhile */
    for (uint32_t p = 0; p < log_partitions(&k->store.log); p++)
        kafka_tell(k, p);
}

bool kafka_consume_poll(struct kafka *k)
{
    rd_kafka_message_t *messages[PIECE];
    ssize_t n = rd_kafka_consume_batch_queue(k->read_queue, 0, messages, PIECE);
    if (n <= 0)
        return !list_empty(&k->store.trims) && trim(k, LOG_TRIM_MOST) == RM_OK;
    uint64_t started = clock_boot_us();
    int status = apply_all(k, messages, n);
    for (ssize_t i = 0; i < n; i++)
        rd_kafka_message_destroy(messages[i]);
    if (status == RM_EFULL) {
        space_exhausted(&k->store);
        (void)trim(k, TRIM_WHEN_FULL);
    }
    if (status != RM_OK) { /* what was fetched is gone from the queue */
        kafka_trouble(k, status, "the local copy cannot be written; it is tried again");
        k->restart_at_us = clock_boot_us() + 1000000;
        return false;
    }
    log_count_commit(&k->store.log, clock_boot_us() - started, (size_t)n, 0);
    k->look_acked = true;
    tell_all(k);
    return n == PIECE;
}

/* ---- opening ---- */

int kafka_consume_open(struct kafka *k, char why[KAFKA_WHY_MOST])
{
    rd_kafka_conf_t *c = kafka_conf_new(k);
    kafka_conf_set(c, "auto.offset.reset", "error");
    kafka_conf_set(c, "enable.auto.commit", "false");
    kafka_conf_set(c, "enable.auto.offset.store", "false");
    kafka_conf_set(c, "enable.partition.eof", "true");
    kafka_conf_set(c, "fetch.wait.max.ms", "100");
    kafka_conf_set(c, "fetch.error.backoff.ms", "100");
    kafka_conf_set(c, "queued.max.messages.kbytes", QUEUED_KB);
    kafka_conf_set(c, "queued.min.messages", QUEUED_MESSAGES);
    k->reader = kafka_handle_new(k, RD_KAFKA_CONSUMER, c, why);
    if (!k->reader)
        return RM_EINVAL;
    k->read_queue = rd_kafka_queue_new(k->reader);
    for (int name = 0; name < LOG_NAMES; name++) {
        char topic[KAFKA_TOPIC_MOST];
        rd_kafka_topic_conf_t *tc = rd_kafka_default_topic_conf_dup(k->reader);
        rd_kafka_topic_conf_set_opaque(tc, (void *)(uintptr_t)(name + 1));
        kafka_topic_name(k, (enum log_name)name, topic);
        k->in[name] = rd_kafka_topic_new(k->reader, topic, tc);
        ENSURE(k->in[name]);
    }
    return RM_OK;
}

void kafka_consume_close(struct kafka *k)
{
    for (int name = 0; name < LOG_NAMES; name++)
        for (uint32_t p = 0; k->reader && p < log_name_partitions(&k->store.log, (enum log_name)name); p++)
            if (k->follows[name][p].on)
                (void)rd_kafka_consume_stop(k->in[name], (int32_t)p);
    for (int name = 0; name < LOG_NAMES; name++)
        if (k->in[name])
            rd_kafka_topic_destroy(k->in[name]);
    if (k->read_queue)
        rd_kafka_queue_destroy(k->read_queue);
    if (k->reader)
        rd_kafka_destroy(k->reader);
}
