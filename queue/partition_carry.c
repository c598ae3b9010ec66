/*
 * Carry-forward: a live record under much dead space is copied whole to the end of its partition, its chunks
 * first. The copy says where it came from; when it is read (now, or after a crash) every row that still
 * points to the old place is moved to the new one. The identity of its submissions does not change, and the
 * old copy is dead only when all its rows are durable with the new place: the delete line sees to that.
 *
 * Step carry of tests/model (space.pml, carry.pml):
 *   start -> [chunk copied]* -> record copied -> the follower reads it -> rows moved
 */
#include "queue/partition_carry.h"

#include <stdlib.h>

#include "lib/base/crashpoint.h"
#include "lib/base/suspect.h"

static void carry_free(struct carry *c)
{
    list_remove(&c->node);
    c->partition->n_carries--;
    message_unref(c->message);
    free(c->chunk_offsets);
    free(c);
}

static void places_free(struct map *places)
{
    size_t pos = 0;
    struct span key;
    void *place;
    while (map_next(places, &pos, &key, &place))
        free(place);
    map_fini(places);
}

void partition_carry_free_all(struct partition *p)
{
    LIST_FOREACH_SAFE(it, next, &p->carries)
    carry_free(CONTAINER_OF(it, struct carry, node));
    places_free(&p->moved);
    places_free(&p->moved_flight);
}

static void step(struct carry *c);

static void copied(void *arg, struct log_batch *b, int status)
{
    struct carry *c = arg;
    if (c->partition->closed || status != RM_OK) {
        carry_free(c); /* nothing has changed: the old copy stays, a later round tries again */
        return;
    }
    if (c->next_chunk < c->message->record->n_chunks) {
        CRASH_POINT(CARRY_CHUNK);
        c->chunk_offsets[c->next_chunk++] = log_batch_offset(b, 0);
        step(c);
        return;
    }
    CRASH_POINT(CARRY_RECORD);
    c->partition->carried++;
    carry_free(c);
}

/* The record's header with the new places of its chunks and the mark of where it came from. */
static void frame_copy(const struct carry *c, struct buf *out)
{
    Remuda__Record copy = *c->message->record;
    Remuda__Carried mark = REMUDA__CARRIED__INIT;
    mark.from_offset = c->from;
    mark.origin_offset = copy.carried ? copy.carried->origin_offset : c->from;
    copy.carried = &mark;
    Remuda__Chunk *chunks = calloc(copy.n_chunks, sizeof(*chunks));
    Remuda__Chunk **list = calloc(copy.n_chunks, sizeof(*list));
    ENSURE((chunks && list) || copy.n_chunks == 0);
    for (size_t i = 0; i < copy.n_chunks; i++) {
        chunks[i] = *copy.chunks[i];
        chunks[i].offset = c->chunk_offsets[i];
        list[i] = &chunks[i];
    }
    copy.chunks = list;
    mail_frame_record(out, &copy);
    free(chunks);
    free(list);
}

static int load(struct carry *c, uint64_t offset, struct blob **out)
{
    struct log_reader *r;
    struct span value;
    int err = log_read_begin(c->partition->log, &r);
    if (err != RM_OK)
        return err;
    err = log_read_at(r, LOG_MAIL, c->partition->number, offset, &value);
    if (err == RM_OK)
        *out = blob_of(value.ptr, value.len);
    log_read_end(r);
    return err;
}

/* Appends the next piece: a chunk as it stands, or at the end the record with its body. */
static void step(struct carry *c)
{
    struct blob *stored;
    const Remuda__Record *record = c->message->record;
    bool chunk = c->next_chunk < record->n_chunks;
    if (load(c, chunk ? record->chunks[c->next_chunk]->offset : c->from, &stored) != RM_OK) {
        carry_free(c);
        return;
    }
    struct log_batch *b = log_batch_new(LOG_OWNER);
    if (chunk) {
        log_batch_append(b, LOG_MAIL, c->partition->number, span_of(NULL, 0), stored, NULL);
    } else {
        struct mail_view view;
        size_t need;
        ENSURE(mail_view(blob_span(stored), &view, &need) == RM_OK);
        struct buf value = BUF_INIT;
        frame_copy(c, &value);
        buf_add(&value, stored->data + view.body_at, stored->len - view.body_at);
        log_batch_append(b, LOG_MAIL, c->partition->number, buf_span(&value), NULL, NULL);
        buf_fini(&value);
    }
    blob_unref(stored);
    log_submit(c->partition->client, b, copied, c);
}

static bool any_in_memory(struct partition *p, const Remuda__Record *record, uint64_t offset)
{
    for (size_t i = 0; i < record->n_submissions; i++) {
        Remuda__SubmissionId id = record_submission_id(record, p->number, offset, i);
        if (p->events->in_memory(p->events->arg, subid_of(&id)))
            return true;
    }
    return false;
}

static int row_read(struct partition *p, struct log_reader *r, struct subid id, struct span *value)
{
    struct row_key key = row_key_make(id);
    return log_read_key(r, LOG_BACKLOG, p->number, span_of((const char *)key.bytes, sizeof(key.bytes)),
                        value);
}

static bool row_place(struct span value, uint64_t *at)
{
    struct arena a = ARENA_INIT;
    const Remuda__BacklogRow *row = row_decode(&a, value);
    if (row)
        *at = row->at;
    arena_fini(&a);
    return row != NULL;
}

static struct message *decode_at(struct partition *p, struct log_reader *r, uint64_t at)
{
    struct span value;
    struct message *m = NULL;
    struct suspect_mark before = suspect_begin(p->number, at);
    if (log_read_at(r, LOG_MAIL, p->number, at, &value) != RM_OK || message_decode(value, false, &m) != RM_OK)
        m = NULL;
    suspect_end(before);
    return m;
}

void partition_carry_start(struct partition *p, struct log_reader *r, struct subid id)
{
    struct span value;
    uint64_t at;
    if (row_read(p, r, id, &value) != RM_OK || !row_place(value, &at) || at >= p->durable_watermark)
        return;
    if (partition_deaths(p, at))
        return; /* its guilt is known by its place */
    struct message *m = decode_at(p, r, at);
    if (!m)
        return;
    if (any_in_memory(p, m->record, at) || partition_chunks_here(p, r, m->record) != RM_OK) {
        message_unref(m);
        return;
    }
    struct carry *c = calloc(1, sizeof(*c));
    ENSURE(c);
    *c = (struct carry){.partition = p, .message = m, .from = at};
    c->chunk_offsets = calloc(m->record->n_chunks + 1, sizeof(*c->chunk_offsets));
    ENSURE(c->chunk_offsets);
    list_push_back(&p->carries, &c->node);
    p->n_carries++;
    step(c);
}

/* ---- reading a copy ---- */

static void note_moved(struct partition *p, struct subid id, struct row_place place)
{
    struct row_place *new = malloc(sizeof(*new));
    ENSURE(new);
    *new = place;
    free(map_put(&p->moved, subid_span(&id), new));
}

const struct row_place *partition_row_place(const struct partition *p, struct subid id)
{
    const struct row_place *place = map_get(&p->moved, subid_span(&id));
    return place ? place : map_get(&p->moved_flight, subid_span(&id));
}

void partition_row_moved(const struct partition *p, Remuda__BacklogRow *row)
{
    const struct row_place *place = partition_row_place(p, subid_of(row->id));
    if (!place || row->at != place->from)
        return;
    row->at = place->at;
    row->first_live = place->first_live;
}

void partition_carry_flush(struct partition *p)
{
    places_free(&p->moved_flight); /* of one that was given up */
    p->moved_flight = p->moved;
    p->moved = (struct map)MAP_INIT;
}

void partition_carry_flushed(struct partition *p)
{
    places_free(&p->moved_flight);
}

/* Put again, an ended row would stand behind its erasure. */
static bool row_moves(const struct partition *p, const Remuda__BacklogRow *row, uint64_t from)
{
    return row && row->at == from && !partition_row_ended(p, subid_of(row->id), row->at);
}

static void move_row(struct partition *p, struct log_reader *r, struct subid id, struct message *m,
                     struct row_place to)
{
    struct span value;
    struct arena a = ARENA_INIT;
    if (p->events->in_memory(p->events->arg, id)) {
        p->events->moved(p->events->arg, id, m, to.at, to.first_live);
        note_moved(p, id, to); /* it may leave memory before that row is durable */
    } else if (row_read(p, r, id, &value) == RM_OK) {
        Remuda__BacklogRow *row = row_decode(&a, value);
        if (row_moves(p, row, to.from)) {
            row->at = to.at;
            row->first_live = to.first_live;
            partition_put_row(p, row);
            note_moved(p, id, to);
        }
    }
    arena_fini(&a);
}

void partition_take_carried(struct partition *p, struct message *m, uint64_t offset)
{
    struct log_reader *r;
    CRASH_POINT(CARRY_READ);
    if (log_read_begin(p->log, &r) != RM_OK)
        return;
    struct row_place to = {m->record->carried->from_offset, offset, record_first_live(m->record, offset)};
    for (size_t i = 0; i < m->record->n_submissions; i++) {
        Remuda__SubmissionId id = record_submission_id(m->record, p->number, offset, i);
        move_row(p, r, subid_of(&id), m, to);
    }
    log_read_end(r);
    partition_transfers_moved(p, m, offset);
    CRASH_POINT(CARRY_MOVED);
}
