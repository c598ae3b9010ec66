/*
 * Handing submissions of a record to another partition (DESIGN: life of a message, 6): one copy with all of
 * them, under a key that is never used for anything else.
 *
 *   new -> GATHERED --flush--> DECIDED --durable and read back--> BOUND -> [chunk copied]* -> given
 *   resumed (its rows say so) -> BOUND
 *   into another log: BOUND -> [chunk copied]* -> SENT --durable there--> given
 *   a report: GATHERED -> DECIDED -> BOUND -> given; nothing is copied (tests/model/report.pml)
 *
 * (a) is the rows in ROW_TRANSFERRING, (b) the copy, (c) the finals; (b) and (c) go with one flush, whose
 * order makes the copy durable first. Once (a) is durable nothing else may become of the submissions, whoever
 * owns the partition: an earlier owner may have given the copy already, and the receiver drops the second
 * one. (Steps of tests/model/transfer.pml.) With LOG_ATOMIC copy and finals happen at once or not at all: no
 * (a), and what fails is decided anew. Into another log nothing is one flush: the copy is made durable there
 * before the finals are gathered here.
 */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/crashpoint.h"
#include "queue/partition_private.h"

enum transfer_step {
    TRANSFER_GATHERED,
    TRANSFER_DECIDED,
    TRANSFER_BOUND,
    TRANSFER_COPYING, /* a chunk is on its way */
    TRANSFER_SENT,    /* the copy is on its way into another log */
};

struct transfer {
    struct list node; /* partition.transfers */
    struct partition *partition;
    struct transfer_options o; /* message referenced */
    struct transfer_number number;
    enum transfer_step step;
    uint64_t *chunk_offsets;
    size_t next_chunk;
    struct blob *body;
    bool troubled; /* told */
};

/* Copy and finals happen together. */
static bool is_atomic(const struct transfer *t)
{
    return log_capabilities(t->partition->log) & LOG_ATOMIC && !t->o.abroad;
}

static bool is_under_way(const struct transfer *t)
{
    return t->step == TRANSFER_COPYING || t->step == TRANSFER_SENT;
}

static struct log_client *client_of(const struct transfer *t)
{
    return t->o.abroad ? t->o.abroad : t->partition->client;
}

static struct transfer *transfer_new(struct partition *p, const struct transfer_options *o,
                                     struct transfer_number n, enum transfer_step step)
{
    struct transfer *t = calloc(1, sizeof(*t));
    ENSURE(t);
    *t = (struct transfer){.partition = p, .o = *o, .number = n, .step = step};
    message_ref(o->message);
    t->chunk_offsets = calloc(o->message->record->n_chunks + 1, sizeof(*t->chunk_offsets));
    ENSURE(t->chunk_offsets);
    list_push_back(&p->transfers, &t->node);
    partition_mark_dirty(p);
    return t;
}

static void transfer_free(struct transfer *t)
{
    list_remove(&t->node);
    t->partition->n_copying -= is_under_way(t);
    message_unref(t->o.message);
    blob_unref(t->body);
    free(t->chunk_offsets);
    free(t);
}

struct transfer *partition_transfer_new(struct partition *p, const struct transfer_options *o)
{
    return transfer_new(p, o, partition_number_new(p), TRANSFER_GATHERED);
}

struct transfer *partition_transfer_resume(struct partition *p, const struct transfer_options *o,
                                           struct transfer_number n)
{
    partition_number_resume(p, n);
    return transfer_new(p, o, n, TRANSFER_BOUND);
}

struct transfer_number partition_transfer_number(const struct transfer *t)
{
    return t->number;
}

void *partition_transfer_arg(const struct transfer *t)
{
    return t->o.arg;
}

Remuda__TransferKind partition_transfer_kind(const struct transfer *t)
{
    return t->o.kind;
}

static bool is_report(const struct transfer *t)
{
    return t->o.kind == REMUDA__TRANSFER_KIND__TRANSFER_BOUNCE;
}

bool partition_transfer_open(const struct transfer *t)
{
    return t->step == TRANSFER_GATHERED || (t->step == TRANSFER_COPYING && is_atomic(t));
}

/* ---- reading ---- */

static int read_body(struct transfer *t)
{
    const struct partition *p = t->partition;
    struct log_reader *r;
    struct span value;
    struct mail_view view;
    size_t need;
    if (t->body)
        return RM_OK;
    if (t->o.message->body) {
        t->body = blob_ref(t->o.message->body);
        return RM_OK;
    }
    int err = log_read_begin(p->log, &r);
    if (err != RM_OK)
        return err;
    err = log_read_at(r, LOG_MAIL, p->number, t->o.at, &value);
    if (err == RM_OK)
        err = mail_view(value, &view, &need);
    if (err == RM_OK)
        t->body = blob_of(value.ptr + view.body_at, value.len - view.body_at);
    log_read_end(r);
    return err;
}

/* The chunk under a new date: as young as its copy, it is kept until its record comes. */
static int read_chunk(struct transfer *t, struct buf *head, struct blob **bytes)
{
    const struct partition *p = t->partition;
    struct log_reader *r;
    struct span value;
    struct mail_view view;
    size_t need;
    int err = log_read_begin(p->log, &r);
    if (err != RM_OK)
        return err;
    struct arena a = ARENA_INIT;
    err = log_read_at(r, LOG_MAIL, p->number, t->o.message->record->chunks[t->next_chunk]->offset, &value);
    if (err == RM_OK)
        err = mail_view(value, &view, &need);
    Remuda__ChunkHeader *c = err == RM_OK && view.kind == MAIL_CHUNK ? chunk_decode(&a, view.header) : NULL;
    if (c) {
        c->started_ms = clock_wall_ms();
        mail_frame_chunk(head, c);
        *bytes = blob_of(value.ptr + view.body_at, value.len - view.body_at);
    } else if (err == RM_OK) {
        err = RM_ECORRUPT;
    }
    arena_fini(&a);
    log_read_end(r);
    return err;
}

/* ---- step by step ---- */

static void advance(struct transfer *t);

/* Bound, it stays and is tried again with each housekeeping; else it is decided anew. */
static void failed(struct transfer *t, int err)
{
    struct partition *p = t->partition;
    if (is_atomic(t)) {
        p->events->transfer(p->events->arg, t, err);
        partition_number_close(p, t->number);
        transfer_free(t);
        return;
    }
    if (err == RM_EAGAIN)
        return; /* it is being fetched */
    if (!t->troubled)
        p->events->trouble(p->events->arg, err, "a transfer cannot be carried out now; it is tried again");
    t->troubled = true;
}

static void chunk_copied(void *arg, struct log_batch *b, int status)
{
    struct transfer *t = arg;
    struct partition *p = t->partition;
    t->step = TRANSFER_BOUND;
    p->n_copying--;
    if (p->closed || p->lost)
        return;
    if (status != RM_OK) {
        failed(t, status);
        return;
    }
    CRASH_POINT(TRANSFER_CHUNK);
    t->chunk_offsets[t->next_chunk++] = log_batch_offset(b, 0);
    advance(t);
}

static void copy_chunk(struct transfer *t)
{
    struct buf head = BUF_INIT;
    struct blob *bytes = NULL;
    int err = read_chunk(t, &head, &bytes);
    if (err == RM_OK) {
        struct log_batch *b = log_batch_new(t->o.abroad ? LOG_INTAKE : LOG_OWNER);
        log_batch_append(b, LOG_MAIL, t->o.target, buf_span(&head), bytes, NULL);
        t->step = TRANSFER_COPYING;
        t->partition->n_copying++;
        log_submit(client_of(t), b, chunk_copied, t);
    }
    blob_unref(bytes);
    buf_fini(&head);
    if (err != RM_OK)
        failed(t, err);
}

static void given(struct transfer *t)
{
    partition_number_close(t->partition, t->number);
    transfer_free(t);
}

/* The copy is durable in the other log, or not: under the same number it can be sent again. */
static void sent(void *arg, struct log_batch *b, int status)
{
    struct transfer *t = arg;
    struct partition *p = t->partition;
    (void)b;
    t->step = TRANSFER_BOUND;
    p->n_copying--;
    if (p->closed || p->lost)
        return;
    if (status != RM_OK) {
        failed(t, status);
        return;
    }
    CRASH_POINT(TRANSFER_ABROAD);
    p->events->sent(p->events->arg, t);
    given(t);
}

void partition_transfer_drop(struct transfer *t)
{
    ENSURE(is_report(t) && !is_under_way(t));
    given(t);
}

static void send_abroad(struct transfer *t, struct span head)
{
    struct log_batch *b = log_batch_new(LOG_INTAKE);
    log_batch_append(b, LOG_MAIL, t->o.target, head, t->body, NULL);
    t->step = TRANSFER_SENT;
    t->partition->n_copying++;
    log_submit(t->o.abroad, b, sent, t);
}

static void advance(struct transfer *t)
{
    struct partition *p = t->partition;
    size_t n = is_report(t) ? 0 : t->o.message->record->n_chunks;
    if (t->next_chunk < n) {
        copy_chunk(t);
        return;
    }
    int err = n || is_report(t) ? RM_OK : read_body(t);
    if (err != RM_OK) {
        failed(t, err);
        return;
    }
    p->events->transfer(p->events->arg, t, RM_OK);
    if (!t->o.abroad)
        given(t);
}

static Remuda__Chunk **copied_chunks(const struct transfer *t, struct arena *a)
{
    const Remuda__Record *record = t->o.message->record;
    Remuda__Chunk **list = arena_alloc(a, sizeof(*list) * (record->n_chunks + 1));
    for (size_t i = 0; i < record->n_chunks; i++) {
        list[i] = arena_alloc(a, sizeof(*list[i]));
        *list[i] = *record->chunks[i];
        list[i]->offset = t->chunk_offsets[i];
    }
    return list;
}

static Remuda__Transfer key_of(const struct transfer *t, struct arena *a, Remuda__Submission **submissions,
                               size_t n)
{
    Remuda__Transfer key = REMUDA__TRANSFER__INIT;
    key.offset = submissions[0]->origin->offset;
    key.kind = t->o.kind;
    key.indexes = arena_alloc(a, sizeof(uint32_t) * n);
    key.n_indexes = n;
    for (size_t i = 0; i < n; i++)
        key.indexes[i] = submissions[i]->origin->index;
    partition_number_fill(t->partition, t->number, &key);
    if (t->o.abroad) {
        key.from.data = (uint8_t *)(uintptr_t)t->o.from;
        key.from.len = TRANSFER_FROM_BYTES;
    }
    return key;
}

/* What they were here says nothing in another log: their identity for life begins again with their place. */
static Remuda__Submission **without_origin(struct arena *a, Remuda__Submission **submissions, size_t n)
{
    Remuda__Submission **out = arena_alloc(a, sizeof(Remuda__Submission *) * n);
    for (size_t i = 0; i < n; i++) {
        out[i] = arena_alloc(a, sizeof(*out[i]));
        *out[i] = *submissions[i];
        out[i]->origin = NULL;
        out[i]->index = (uint32_t)i;
    }
    return out;
}

void partition_transfer_give(struct transfer *t, Remuda__Submission **submissions, size_t n,
                             uint64_t table_version)
{
    struct arena a = ARENA_INIT;
    Remuda__Record copy = *t->o.message->record;
    Remuda__Transfer key = key_of(t, &a, submissions, n);
    copy.submissions = t->o.abroad ? without_origin(&a, submissions, n) : submissions;
    copy.n_submissions = n;
    copy.carried = NULL;
    copy.table_version = table_version;
    copy.transfer = &key;
    copy.chunks = copied_chunks(t, &a);
    struct buf head = BUF_INIT;
    mail_frame_record(&head, &copy);
    if (t->o.abroad)
        send_abroad(t, buf_span(&head));
    else
        partition_append(t->partition, t->o.target, buf_span(&head), t->body, NULL);
    buf_fini(&head);
    arena_fini(&a);
    CRASH_POINT(TRANSFER_GATHERED);
}

/* ---- from the life of the partition ---- */

static void advance_bound(struct partition *p)
{
    LIST_FOREACH_SAFE(it, next, &p->transfers)
    {
        struct transfer *t = CONTAINER_OF(it, struct transfer, node);
        if (t->step == TRANSFER_BOUND)
            advance(t);
    }
}

static void all_from_to(struct partition *p, enum transfer_step from, enum transfer_step to)
{
    LIST_FOREACH(it, &p->transfers)
    {
        struct transfer *t = CONTAINER_OF(it, struct transfer, node);
        if (t->step == from)
            t->step = to;
    }
}

void partition_prepare(struct partition *p)
{
    if (p->flight || p->lost)
        return;
    LIST_FOREACH(it, &p->transfers)
    {
        struct transfer *t = CONTAINER_OF(it, struct transfer, node);
        if (t->step == TRANSFER_GATHERED && is_atomic(t))
            t->step = TRANSFER_BOUND;
    }
    advance_bound(p);
}

void partition_transfers_flush(struct partition *p)
{
    all_from_to(p, TRANSFER_GATHERED, TRANSFER_DECIDED);
}

void partition_transfers_flushed(struct partition *p)
{
    all_from_to(p, TRANSFER_DECIDED, TRANSFER_BOUND);
    advance_bound(p);
}

void partition_transfers_moved(struct partition *p, struct message *m, uint64_t offset)
{
    LIST_FOREACH(it, &p->transfers)
    {
        struct transfer *t = CONTAINER_OF(it, struct transfer, node);
        if (t->o.at != m->record->carried->from_offset)
            continue;
        t->o.at = offset;
        message_unref(t->o.message);
        t->o.message = message_ref(m);
    }
}

void partition_transfers_again(struct partition *p)
{
    advance_bound(p);
}

void partition_transfers_end(struct partition *p)
{
    LIST_FOREACH(it, &p->transfers)
    {
        struct transfer *t = CONTAINER_OF(it, struct transfer, node);
        if (is_under_way(t))
            log_client_flush(client_of(t)); /* their callbacks know the partition */
    }
    LIST_FOREACH_SAFE(it, next, &p->transfers)
    transfer_free(CONTAINER_OF(it, struct transfer, node));
}
