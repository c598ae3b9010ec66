/*
 * Writing. A batch goes out stage by stage (enum log_stage); batches of one client never overtake each
 * other within a stage, so each log keeps the order of submission. A batch whose message is refused goes no
 * further.
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/crashpoint.h"
#include "queue/kafka/kafka_private.h"

enum { EPOCH_BYTES = 8 };

/* ---- rings of offsets and hints ---- */

void kafka_ring_push(struct kafka_ring *r, struct kafka_hint h)
{
    if (r->count == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 64;
        struct kafka_hint *at = malloc(cap * sizeof(*at));
        ENSURE(at);
        for (size_t i = 0; i < r->count; i++)
            at[i] = r->at[(r->head + i) & (r->cap - 1)];
        free(r->at);
        r->at = at;
        r->cap = cap;
        r->head = 0;
    }
    r->at[(r->head + r->count++) & (r->cap - 1)] = h;
}

static struct kafka_hint *ring_first(const struct kafka_ring *r)
{
    return r->count ? &r->at[r->head & (r->cap - 1)] : NULL;
}

static void ring_drop(struct kafka_ring *r)
{
    r->head = (r->head + 1) & (r->cap - 1);
    r->count--;
}

void kafka_ring_clear(struct kafka_ring *r)
{
    for (; r->count; ring_drop(r))
        message_unref(ring_first(r)->message);
    free(r->at);
    *r = (struct kafka_ring){0};
}

void kafka_ring_truncate(struct kafka_ring *r, uint64_t offset)
{
    for (; r->count; r->count--) {
        struct kafka_hint *last = &r->at[(r->head + r->count - 1) & (r->cap - 1)];
        if (last->offset < offset)
            return;
        message_unref(last->message);
    }
}

/* The hint of one of ours that was acknowledged; NULL. */
static struct message *take_hint(struct kafka_part *p, uint64_t offset)
{
    struct kafka_hint *h;
    while ((h = ring_first(&p->hints)) && h->offset < offset) {
        message_unref(h->message);
        ring_drop(&p->hints);
    }
    if (!h || h->offset != offset)
        return NULL;
    struct message *m = h->message;
    ring_drop(&p->hints);
    return m;
}

/* A record read is told as soon as it is known whether it is ours: its report may come after it. */
void kafka_tell(struct kafka *k, uint32_t partition)
{
    struct kafka_part *p = &k->parts[partition];
    const struct kafka_hint *t;
    while ((t = ring_first(&p->told)) && (!p->mail_unacked || t->offset <= p->mail_acked)) {
        uint64_t offset = t->offset;
        ring_drop(&p->told);
        log_publish_record(&k->store.log, partition, offset, take_hint(p, offset));
    }
}

/* ---- sending ---- */

static rd_kafka_headers_t *epoch_header(const char *name, uint64_t epoch)
{
    char bytes[EPOCH_BYTES];
    key_put_u64(bytes, epoch);
    rd_kafka_headers_t *h = rd_kafka_headers_new(1);
    ENSURE(h && rd_kafka_header_add(h, name, -1, bytes, sizeof(bytes)) == RD_KAFKA_RESP_ERR_NO_ERROR);
    return h;
}

struct outgoing {
    enum log_name name;
    uint32_t partition;
    struct span key, value; /* key.ptr NULL: none; value.ptr NULL: a tombstone */
    char *owned;            /* value, to be freed by librdkafka */
    rd_kafka_headers_t *headers;
    struct kafka_sent *sent;
};

static int send_message(struct kafka *k, struct outgoing *o)
{
    for (;;) {
        rd_kafka_resp_err_t err = rd_kafka_producev(
            k->producer, RD_KAFKA_V_RKT(k->out[o->name]), RD_KAFKA_V_PARTITION((int32_t)o->partition),
            RD_KAFKA_V_KEY(o->key.ptr, o->key.len),
            RD_KAFKA_V_VALUE(o->owned ? o->owned : (char *)(uintptr_t)o->value.ptr, o->value.len),
            RD_KAFKA_V_MSGFLAGS((o->owned ? RD_KAFKA_MSG_F_FREE : RD_KAFKA_MSG_F_COPY)),
            RD_KAFKA_V_OPAQUE(o->sent), RD_KAFKA_V_HEADERS(o->headers), RD_KAFKA_V_END);
        if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
            return RM_OK;
        if (err == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            rd_kafka_poll(k->producer, 10); /* reports only count here: nothing is sent from inside */
            continue;
        }
        free(o->owned);
        if (o->headers)
            rd_kafka_headers_destroy(o->headers);
        return RM_EIO;
    }
}

/* Head and body as one value. */
static void join_value(const struct log_batch *b, const struct log_op *op, struct outgoing *o)
{
    struct span head = log_op_value(b, op);
    o->value = span_of(head.ptr ? head.ptr : "", head.len);
    if (!op->body)
        return;
    o->owned = malloc(head.len + op->body->len + 1);
    ENSURE(o->owned);
    if (head.len)
        memcpy(o->owned, head.ptr, head.len);
    memcpy(o->owned + head.len, op->body->data, op->body->len);
    o->value.len = head.len + op->body->len;
}

static bool is_owners(const struct log_op *op)
{
    return op->name == LOG_EVENTS || op->name == LOG_BACKLOG || op->name == LOG_STATE;
}

/* What only an owner may write needs the epoch under which its client gathered it. */
static bool may_write(const struct kafka *k, const struct log_batch *b, const struct log_op *op)
{
    return !is_owners(op) || !k->owner || b->epoch == LOG_LATE || k->parts[op->partition].epoch == b->epoch;
}

static void send_op(struct kafka *k, struct kafka_flight *f, size_t i)
{
    struct log_op *op = &f->batch->ops[i];
    struct outgoing o = {.name = (enum log_name)op->name, .partition = op->partition, .sent = &f->sent[i]};
    if (op->offset)
        return; /* durable since an earlier submission of this batch, which failed later */
    if (!may_write(k, f->batch, op)) {
        f->status = RM_ECLOSED;
        return;
    }
    if (log_op_done(op))
        return;
    f->sent[i] = (struct kafka_sent){.flight = f, .op = (uint32_t)i, .partition = op->partition};
    if (op->name == LOG_MAIL) {
        f->pending++;
        kafka_outbox_add(k, &f->sent[i]);
        return;
    }
    if (op->key_len)
        o.key = log_op_key(f->batch, op);
    if (op->kind != LOG_OP_ERASE)
        join_value(f->batch, op, &o);
    if (is_owners(op) && f->batch->epoch)
        o.headers = epoch_header("e", f->batch->epoch);
    if (send_message(k, &o) != RM_OK) {
        f->status = RM_EIO;
        return;
    }
    f->pending++;
}

void kafka_produce_join(struct kafka_sent *s)
{
    const struct log_batch *b = s->flight->batch;
    struct outgoing o = {.owned = NULL};
    join_value(b, &b->ops[s->op], &o);
    s->value = o.value;
    s->owned = o.owned;
}

int kafka_produce_mail(struct kafka *k, struct kafka_sent *s)
{
    struct outgoing o = {
        .name = LOG_MAIL, .partition = s->partition, .value = s->value, .owned = s->owned, .sent = s};
    int status = send_message(k, &o);
    k->parts[s->partition].mail_unacked += status == RM_OK;
    return status;
}

static void note_delete(struct kafka *k, const struct log_op *op)
{
    struct stream *s = kafka_stream(k, (enum log_name)op->name, op->partition);
    if (!k->follows[op->name][op->partition].on)
        return; /* only who reads a log says what of it may go */
    if (!k->store.txn) {
        if (kv_write_begin(k->store.env, &k->store.txn) != RM_OK)
            return; /* the next one says it again */
        kv_write_reserve(k->store.txn);
    }
    apply_line(&k->store, s, op->offset);
}

/* The lines of this batch, in the copy; the brokers are told later (kafka.c). */
static void send_deletes(struct kafka *k, struct kafka_flight *f)
{
    for (size_t i = 0; i < f->batch->n_ops; i++)
        if (f->batch->ops[i].kind == LOG_OP_DELETE_BELOW)
            note_delete(k, &f->batch->ops[i]);
    if (!k->store.txn)
        return;
    streams_store(&k->store);
    int err = kv_commit(k->store.txn);
    k->store.txn = NULL;
    if (err == RM_OK)
        streams_committed(&k->store);
    else
        streams_rolled_back(&k->store);
}

static int next_stage(const struct kafka_flight *f)
{
    int next = LOG_STAGES;
    for (size_t i = 0; i < f->batch->n_ops; i++) {
        int stage = (int)log_op_stage(f->batch, i);
        if (stage > f->stage && stage < next)
            next = stage;
    }
    return next;
}

static void send_stage(struct kafka *k, struct kafka_flight *f, int stage)
{
    f->stage = stage;
    if (stage == LOG_STAGE_DELETES) {
        send_deletes(k, f);
        return;
    }
    for (size_t i = 0; i < f->batch->n_ops && f->status == RM_OK; i++)
        if ((int)log_op_stage(f->batch, i) == stage)
            send_op(k, f, i);
}

/* ---- from stage to stage ---- */

static struct kafka_flight *by_client(struct list *node)
{
    return CONTAINER_OF(node, struct kafka_flight, client_node);
}

static void finish(struct kafka *k, struct kafka_flight *f)
{
    list_remove(&f->node);
    k->in_flight_bytes -= f->batch->total_bytes;
    log_batch_finish(f->batch, f->status);
    free(f);
}

/* Sends the stages that may go now; moves it on when all are acknowledged. True when it is past what it was
 * in before, so that the one behind it may follow. */
static bool advance(struct kafka *k, struct kafka_flight *f)
{
    struct list *clients = &f->batch->client->flights;
    struct kafka_flight *ahead = f->client_node.prev == clients ? NULL : by_client(f->client_node.prev);
    bool moved = false;
    while (f->pending == 0 && f->status == RM_OK) {
        int stage = next_stage(f);
        if (stage < LOG_STAGES && ahead && ahead->stage < stage)
            return moved;
        moved = true;
        f->moved_us = clock_boot_us();
        if (stage == LOG_STAGES)
            break;
        send_stage(k, f, stage);
    }
    if (f->pending)
        return moved;
    list_remove(&f->client_node);
    list_remove(&f->node);
    if (f->status == RM_OK) {
        list_push_back(&k->acked, &f->node);
        k->look_acked = true; /* it may wait for no report at all */
    } else {
        finish(k, f);
    }
    return true;
}

static bool is_lost(const struct kafka *k, const struct log_batch *b)
{
    for (size_t i = 0; i < b->n_ops; i++)
        if (!may_write(k, b, &b->ops[i]))
            return true;
    return false;
}

static void take(struct kafka *k, struct log_batch *b)
{
    if (is_lost(k, b) || log_gave_up(&k->store.log)) {
        log_batch_finish(b, is_lost(k, b) ? RM_ECLOSED : RM_ETIMEDOUT);
        return;
    }
    struct kafka_flight *f = calloc(1, sizeof(*f) + b->n_ops * sizeof(f->sent[0]));
    ENSURE(f);
    f->batch = b;
    f->stage = -1;
    f->stage = next_stage(f) - 1;
    f->moved_us = clock_boot_us();
    k->in_flight_bytes += b->total_bytes;
    list_push_back(&k->flights, &f->node);
    list_push_back(&b->client->flights, &f->client_node);
    (void)advance(k, f);
}

bool kafka_produce_take(struct kafka *k)
{
    struct list group, *it;
    if (k->in_flight_bytes > KAFKA_IN_FLIGHT_BYTES)
        return false;
    list_init(&group);
    k->closing = !log_queue_take(&k->store.log, &group, 0);
    bool any = !list_empty(&group);
    while ((it = list_pop_front(&group)))
        take(k, CONTAINER_OF(it, struct log_batch, link));
    kafka_outbox_send(k);
    return any;
}

/* ---- reports ---- */

static int status_of(rd_kafka_resp_err_t err)
{
    switch (err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return RM_OK;
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
        return RM_ETIMEDOUT;
    default:
        return RM_EIO;
    }
}

static void note_mail(struct kafka *k, struct log_op *op, int status)
{
    struct kafka_part *p = &k->parts[op->partition];
    p->mail_unacked--;
    p->outbox_late |= status == RM_ETIMEDOUT && !list_empty(&p->outbox);
    if (status != RM_OK)
        return;
    p->mail_acked = op->offset;
    if (!op->hint || !k->follows[LOG_MAIL][op->partition].on)
        return;
    kafka_ring_push(&p->hints, (struct kafka_hint){op->offset, op->hint});
    op->hint = NULL;
}

static enum log_name name_of(const rd_kafka_topic_t *topic)
{
    return (enum log_name)((uintptr_t)rd_kafka_topic_opaque(topic) - 1);
}

/* Where a test lets it die: a stage of an owner's flush is durable, the next one is not. */
static void pass_stage(const struct kafka_flight *f)
{
    if (f->pending || !f->batch->epoch)
        return;
    switch ((enum log_stage)f->stage) {
    case LOG_STAGE_APPENDS:
        CRASH_POINT(APPENDS_DURABLE);
        return;
    case LOG_STAGE_EVENTS:
        CRASH_POINT(EVENTS_DURABLE);
        return;
    case LOG_STAGE_BACKLOG:
        CRASH_POINT(BACKLOG_DURABLE);
        return;
    case LOG_STAGE_STATE:
        CRASH_POINT(STATE_DURABLE);
        return;
    default:
        return;
    }
}

/* Only counts: what follows is done after the poll. */
static void on_report(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    struct kafka *k = opaque;
    struct kafka_sent *s = m->_private;
    (void)rk;
    int status = status_of(m->err);
    k->look_flights = true;
    if (!s->flight && s->repair) {
        if (status != RM_OK)
            kafka_void_again(&k->parts[s->partition], name_of(m->rkt), span_of(m->key, m->key_len));
        free(s);
        return;
    }
    if (!s->flight) {
        kafka_group_marked(k, name_of(m->rkt), s->partition, (uint64_t)m->offset + 1, status != RM_OK);
        free(s);
        return;
    }
    struct kafka_flight *f = s->flight;
    struct log_op *op = &f->batch->ops[s->op];
    op->offset = status == RM_OK ? (uint64_t)m->offset + 1 : 0;
    f->pending--;
    if (status != RM_OK && f->status == RM_OK)
        f->status = status;
    pass_stage(f);
    if (op->name == LOG_MAIL)
        note_mail(k, op, status);
}

static bool readable(struct kafka *k, struct kafka_flight *f)
{
    for (; f->seen < f->batch->n_ops; f->seen++) {
        const struct log_op *op = &f->batch->ops[f->seen];
        if (op->kind != LOG_OP_DELETE_BELOW && k->follows[op->name][op->partition].on &&
            kafka_stream(k, (enum log_name)op->name, op->partition)->durable.next <= op->offset)
            return false;
    }
    return true;
}

static void finish_acked(struct kafka *k)
{
    LIST_FOREACH_SAFE(it, next, &k->acked)
    {
        struct kafka_flight *f = CONTAINER_OF(it, struct kafka_flight, node);
        if (!readable(k, f) && !log_gave_up(&k->store.log))
            continue;
        if (is_lost(k, f->batch))
            f->status = RM_ECLOSED; /* perhaps behind a newer claim: void */
        finish(k, f);
    }
}

static void advance_all(struct kafka *k)
{
    k->look_flights = false;
    LIST_FOREACH_SAFE(it, next, &k->flights)
    {
        struct kafka_flight *f = CONTAINER_OF(it, struct kafka_flight, node);
        if (f->pending == 0)
            (void)advance(k, f);
    }
    kafka_outbox_send(k);
}

void kafka_produce_poll(struct kafka *k)
{
    rd_kafka_poll(k->producer, 0);
    bool any = k->look_flights;
    while (k->look_flights)
        advance_all(k);
    for (uint32_t p = 0; any && p < log_partitions(&k->store.log); p++)
        kafka_tell(k, p);
    if (any || k->look_acked)
        finish_acked(k);
    k->look_acked = false;
}

void kafka_produce_claim(struct kafka *k, enum log_name name, uint32_t partition)
{
    char key[400];
    struct kafka_part *p = &k->parts[partition];
    struct kafka_sent *s = calloc(1, sizeof(*s));
    ENSURE(s);
    s->partition = partition;
    /* Each under a key of its own: compaction keeps them all. */
    if (name == LOG_STATE)
        snprintf(key, sizeof(key), "claim:%s:%llu", k->owner, (unsigned long long)clock_wall_ms());
    else
        log_claim_key(p->epoch, key);
    struct outgoing o = {
        .name = name, .partition = partition, .key = span_str(key), .value = span_str(k->owner), .sent = s};
    if (name == LOG_EVENTS) {
        o.key = span_of(NULL, 0);
        o.value = span_of("", 0); /* an empty EventBatch */
    }
    o.headers = epoch_header("c", p->epoch);
    p->marks_pending++;
    if (send_message(k, &o) != RM_OK) {
        free(s);
        kafka_group_marked(k, name, partition, 0, true);
    }
}

static bool writes(const struct kafka_flight *f, const struct stream *s, struct span key)
{
    for (size_t i = 0; i < f->batch->n_ops; i++) {
        const struct log_op *op = &f->batch->ops[i];
        if (op->key_len && op->name == s->name && op->partition == s->partition &&
            (!op->offset || op->offset >= s->durable.next) && span_eq(log_op_key(f->batch, op), key))
            return true;
    }
    return false;
}

bool kafka_produce_has(struct kafka *k, enum log_name name, uint32_t partition, struct span key)
{
    struct list *const all[] = {&k->flights, &k->acked};
    const struct stream *s = kafka_stream(k, name, partition);
    for (int i = 0; i < 2; i++)
        LIST_FOREACH(it, all[i])
    if (writes(CONTAINER_OF(it, struct kafka_flight, node), s, key))
        return true;
    return false;
}

void kafka_produce_again(struct kafka *k, enum log_name name, uint32_t partition, struct span key)
{
    char bytes[KEY_MOST];
    struct kv_txn *txn;
    struct kafka_sent *s = calloc(1, sizeof(*s));
    ENSURE(s);
    *s = (struct kafka_sent){.partition = partition, .repair = true};
    struct outgoing o = {.name = name, .partition = partition, .key = key, .sent = s};
    if (kv_read_begin(k->store.env, &txn) != RM_OK) {
        free(s);
        return;
    }
    if (kv_get(txn, k->store.tables.logs[name], key_of_row(bytes, partition, key), &o.value) != RM_OK)
        o.value = span_of(NULL, 0);
    o.headers = epoch_header("e", k->parts[partition].epoch);
    if (send_message(k, &o) != RM_OK)
        free(s);
    kv_read_end(txn);
}

/* ---- opening ---- */

int kafka_produce_open(struct kafka *k, char why[KAFKA_WHY_MOST])
{
    char ack_ms[24], linger_ms[24];
    rd_kafka_conf_t *c = kafka_conf_new(k);
    snprintf(ack_ms, sizeof(ack_ms), "%llu", (unsigned long long)k->ack_ms);
    snprintf(linger_ms, sizeof(linger_ms), "%.3f", KAFKA_LINGER_US / 1000.0);
    kafka_conf_set(c, "enable.idempotence", "true");
    kafka_conf_set(c, "acks", "all");
    kafka_conf_set(c, "linger.ms", linger_ms);
    kafka_conf_set(c, "batch.size", "1000000");
    kafka_conf_set(c, "message.timeout.ms", ack_ms);
    kafka_conf_set(c, "message.max.bytes", "1048000");
    kafka_conf_set(c, "queue.buffering.max.messages", "2000000");
    kafka_conf_set(c, "queue.buffering.max.kbytes", "1048576");
    rd_kafka_conf_set_dr_msg_cb(c, on_report);
    k->producer = kafka_handle_new(k, RD_KAFKA_PRODUCER, c, why);
    if (!k->producer)
        return RM_EINVAL;
    for (int name = 0; name < LOG_NAMES; name++) {
        char topic[KAFKA_TOPIC_MOST];
        rd_kafka_topic_conf_t *tc = rd_kafka_default_topic_conf_dup(k->producer);
        rd_kafka_topic_conf_set_opaque(tc, (void *)(uintptr_t)(name + 1));
        kafka_topic_name(k, (enum log_name)name, topic);
        k->out[name] = rd_kafka_topic_new(k->producer, topic, tc);
        ENSURE(k->out[name]);
    }
    return RM_OK;
}

void kafka_produce_close(struct kafka *k)
{
    for (int name = 0; name < LOG_NAMES; name++)
        if (k->out[name])
            rd_kafka_topic_destroy(k->out[name]);
    if (k->producer)
        rd_kafka_destroy(k->producer);
}
