/*
 * What waits in a partition, from finding it to its final: open records as the partition hands them out, rows
 * by a cursor over all of them, those that are bound already first of all. What a copy holds is in
 * mover_copy.c.
 */
#include "queue/mover.h"

#include <stdlib.h>

#include "lib/base/clock.h"
#include "queue/mover_private.h"

enum {
    PARCELS_MOST = 256,         /* copies on their way at once */
    WAITING_MOST = 1024,        /* rows read ahead */
    PARCEL_ROWS_BYTES = 131072, /* of what rows know, in one copy */
    FLIGHT_BYTES = 8 * 1048576, /* of bodies on their way at once */
    HOUSEKEEP_MS = 250,
};

/* ---- items ---- */

static struct span id_span(const struct subid *id)
{
    return span_of((const char *)id, sizeof(*id));
}

static struct item *item_find(const struct mover *m, struct subid id)
{
    return map_get(&m->items, id_span(&id));
}

static struct item *item_new(struct mover *m, struct message *message, size_t i, struct subid id)
{
    struct item *it = calloc(1, sizeof(*it));
    ENSURE(it);
    it->id = id;
    it->message = message_ref(message);
    it->submission = message->record->submissions[i];
    map_put(&m->items, id_span(&it->id), it);
    list_push_back(&m->waiting, &it->node);
    m->n_waiting++;
    m->figures.found++;
    return it;
}

static void item_free(struct mover *m, struct item *it)
{
    map_remove(&m->items, id_span(&it->id));
    list_remove(&it->node);
    message_unref(it->message);
    arena_fini(&it->arena);
    free(it);
}

/* Needs the log no more: final, or its row is put. */
static void item_cover(struct mover *m, struct item *it)
{
    if (!it->covered)
        partition_cover(m->partition, it->told_at);
    it->covered = true;
}

static void item_end(struct mover *m, struct item *it)
{
    if (it->has_row)
        partition_erase_row(m->partition, it->id);
    item_cover(m, it);
    item_free(m, it);
}

/* ---- parcels: one copy, and what goes with it ---- */

static struct parcel *parcel_new(struct mover *m, const struct item *first)
{
    struct parcel *p = calloc(1, sizeof(*p));
    ENSURE(p);
    list_init(&p->items);
    p->at = first->at;
    p->target = first->to.partition;
    p->within = first->to.kind != REMUDA__TRANSFER_KIND__TRANSFER_MIGRATE;
    p->bytes = first->message->record->body_bytes;
    m->n_parcels++;
    m->quiet = false;
    m->flight_bytes += p->bytes;
    list_push_back(&m->parcels, &p->node);
    return p;
}

static struct transfer_options options_of(const struct mover *m, struct parcel *p, const struct item *it)
{
    struct transfer_options o = {
        .message = it->message, .at = p->at, .target = p->target, .kind = it->to.kind, .arg = p};
    if (!p->within) {
        o.abroad = m->o.abroad;
        o.from = m->o.id;
    }
    return o;
}

static void parcel_add(struct mover *m, struct parcel *p, struct item *it)
{
    list_remove(&it->node);
    list_push_back(&p->items, &it->node);
    it->parcel = p;
    m->n_waiting--;
    p->n++;
    p->row_bytes += it->row_bytes;
}

static void parcel_free(struct mover *m, struct parcel *p)
{
    list_remove(&p->node);
    m->n_parcels--;
    m->flight_bytes -= p->bytes;
    free(p);
}

static void parcel_final(struct mover *m, struct parcel *p)
{
    struct list *node;
    while ((node = list_pop_front(&p->items))) {
        struct item *it = CONTAINER_OF(node, struct item, node);
        mover_tell(m, it);
        if (p->within)
            m->figures.within++;
        else
            m->figures.submissions++;
        item_end(m, it);
    }
    if (!p->within) {
        m->figures.records++;
        m->figures.bytes += p->bytes;
    }
    parcel_free(m, p);
}

static void on_transfer(void *arg, struct transfer *t, int status)
{
    struct mover *m = arg;
    struct parcel *p = partition_transfer_arg(t);
    ENSURE(status == RM_OK); /* bound, all of them */
    mover_give(m, p, t);
    if (p->within)
        parcel_final(m, p);
}

static void on_sent(void *arg, struct transfer *t)
{
    parcel_final(arg, partition_transfer_arg(t));
}

/* ---- what the partition tells ---- */

static void on_submission(void *arg, struct message *message, uint64_t offset, size_t i)
{
    struct mover *m = arg;
    Remuda__SubmissionId sid = record_submission_id(message->record, m->o.partition, offset, i);
    struct item *it = item_new(m, message, i, subid_of(&sid));
    it->at = it->told_at = offset;
    it->first_live = record_first(message->record, offset);
    it->told = it->submission->origin != NULL;
}

static int on_ended_elsewhere(void *arg, const Remuda__Event *e)
{
    struct mover *m = arg;
    struct item *it = item_find(m, subid_of(e->submission));
    if (!it || it->parcel)
        return RM_ENOTFOUND; /* bound: it has gone */
    if (e->type == REMUDA__EVENT_TYPE__EVENT_REROUTED && e->record_offset < it->at)
        return RM_ENOTFOUND; /* it has come back since */
    m->n_waiting--;
    m->figures.ended++;
    item_end(m, it);
    return RM_OK;
}

static void on_moved(void *arg, struct subid id, struct message *message, uint64_t at, uint64_t first_live)
{
    struct mover *m = arg;
    struct item *it = item_find(m, id);
    if (!it || it->at != message->record->carried->from_offset)
        return;
    int i = record_find(message->record, m->o.partition, at, id);
    ENSURE(i >= 0); /* it was asked for by what the record tells of */
    message_ref(message);
    message_unref(it->message);
    it->message = message;
    it->submission = message->record->submissions[i];
    it->at = at;
    it->first_live = first_live;
    if (it->has_row)
        mover_put_row(m, it);
}

static bool on_in_memory(void *arg, struct subid id)
{
    return item_find(arg, id) != NULL;
}

static void on_recovered(void *arg)
{
    ((struct mover *)arg)->recovered = true;
}

static void on_trouble(void *arg, int err, const char *what)
{
    struct mover *m = arg;
    m->o.trouble(m->o.arg, err, what);
}

static void nothing(void *arg)
{
    (void)arg;
}

/* ---- rows ---- */

static int message_at(struct mover *m, struct log_reader *r, uint64_t at, struct message **out)
{
    struct span value;
    if (m->last && m->last_at == at) {
        *out = message_ref(m->last);
        return RM_OK;
    }
    int err = log_read_at(r, LOG_MAIL, m->o.partition, at, &value);
    if (err != RM_OK)
        return err;
    err = message_decode(value, false, out);
    if (err != RM_OK)
        return RM_ECORRUPT;
    message_unref(m->last);
    m->last = message_ref(*out);
    m->last_at = at;
    return RM_OK;
}

/* One that cannot be worked on is dead; what cannot be read now stays. */
static void unreadable(struct mover *m, struct log_reader *r, const Remuda__BacklogRow *row, int err)
{
    if (err == RM_ECORRUPT &&
        partition_bury_row(m->partition, r, row, "record does not decode, or lacks what its row tells of") ==
            RM_OK)
        return;
    if (!m->troubled)
        on_trouble(m, err, "the record of a row cannot be read");
    m->troubled = true;
}

/* The row as it will be when all gathered is durable; NULL: it does not decode, or goes. */
static Remuda__BacklogRow *row_now(struct mover *m, struct arena *a, struct span value)
{
    Remuda__BacklogRow *row = row_decode(a, value);
    if (!row || partition_row_ended(m->partition, subid_of(row->id), row->at))
        return NULL;
    partition_row_now(m->partition, row, a);
    return row;
}

/* The row, decoded, in an item's own arena; NULL: it cannot be worked on. */
static struct item *item_of_row(struct mover *m, struct log_reader *r, struct span value)
{
    struct arena a = ARENA_INIT;
    struct message *message = NULL;
    Remuda__BacklogRow *row = row_now(m, &a, value);
    int err = row ? message_at(m, r, row->at, &message) : RM_ECORRUPT;
    int i = err == RM_OK ? record_find(message->record, m->o.partition, row->at, subid_of(row->id)) : -1;
    if (i < 0) {
        if (row)
            unreadable(m, r, row, err == RM_OK ? RM_ECORRUPT : err);
        message_unref(message);
        arena_fini(&a);
        return NULL;
    }
    struct item *it = item_new(m, message, (size_t)i, subid_of(row->id));
    message_unref(message);
    it->arena = a;
    it->row = row;
    it->row_bytes = value.len;
    it->at = row->at;
    it->first_live = row->first_live;
    it->has_row = it->covered = it->told = true;
    return it;
}

/* What is sealed has to be told and reported by an owner: it goes along to the one that it gets. */
static bool is_bound(const Remuda__BacklogRow *row)
{
    return row->state == REMUDA__ROW_STATE__ROW_TRANSFERRING && row->transfer_to &&
           row->transfer_to->kind != REMUDA__TRANSFER_KIND__TRANSFER_BOUNCE;
}

/* Goes on under its number; all rows of one number go with one copy. */
static void resume(struct mover *m, struct item *it, struct map *parcels)
{
    struct transfer_number n = {it->row->transfer_to->epoch, it->row->transfer_to->sequence};
    struct span key = span_of((const char *)&n, sizeof(n));
    struct parcel *p = map_get(parcels, key);
    it->to = *it->row->transfer_to;
    if (!p) {
        p = parcel_new(m, it);
        struct transfer_options o = options_of(m, p, it);
        (void)partition_transfer_resume(m->partition, &o, n);
        map_put(parcels, key, p);
    }
    parcel_add(m, p, it);
}

static bool row_is_bound(struct span value)
{
    struct arena a = ARENA_INIT;
    const Remuda__BacklogRow *row = row_decode(&a, value);
    bool bound = row && is_bound(row);
    arena_fini(&a);
    return bound;
}

static void load_bound(struct mover *m, struct log_reader *r)
{
    struct span from = SPAN_LIT("H"), after = span_str(NULL), key, row_key, value;
    struct map parcels = MAP_INIT;
    while (log_read_index(r, m->o.partition, from, after, &key, &row_key) && key.ptr[0] == 'H') {
        struct item *it = NULL;
        if (log_read_key(r, LOG_BACKLOG, m->o.partition, row_key, &value) == RM_OK && row_is_bound(value))
            it = item_of_row(m, r, value);
        if (it)
            resume(m, it, &parcels);
        from = key;
        after = row_key;
    }
    map_fini(&parcels);
}

/* Once: what earlier owners have bound, when everything that the start moves is durable. */
static bool settled(struct mover *m)
{
    struct log_reader *r;
    if (m->settled)
        return true;
    if (!m->recovered || partition_dirty(m->partition) || log_read_begin(m->o.log, &r) != RM_OK)
        return false;
    load_bound(m, r);
    log_read_end(r);
    m->settled = true;
    return true;
}

/* One row behind the cursor; false at the end. */
static bool read_row(struct mover *m, struct log_reader *r)
{
    struct span from = m->has_cursor ? span_of((const char *)m->cursor, sizeof(m->cursor)) : span_str(NULL);
    struct span key, value;
    if (!log_read_key_next(r, LOG_BACKLOG, m->o.partition, from, &key, &value))
        return false;
    ENSURE(key.len == ROW_KEY_BYTES);
    memcpy(m->cursor, key.ptr, ROW_KEY_BYTES);
    m->cursor[ROW_KEY_BYTES] = 0; /* the smallest key behind it */
    m->has_cursor = true;
    m->pass_found++;
    if (!item_find(m, row_key_parse(key)) && !row_is_bound(value) && item_of_row(m, r, value))
        m->pass_taken++;
    return true;
}

/* Passes go on until one finds nothing. One that finds only what it cannot take, although nothing is under
 * way, tells what is stuck. */
static void read_rows(struct mover *m)
{
    struct log_reader *r;
    bool more = true;
    if (m->n_waiting > 0 || m->empty || log_read_begin(m->o.log, &r) != RM_OK)
        return;
    while (more && m->n_waiting < WAITING_MOST)
        more = read_row(m, r);
    log_read_end(r);
    if (more || m->n_parcels || m->n_waiting || partition_dirty(m->partition))
        return;
    m->empty = m->pass_found == 0;
    m->figures.unreadable = m->quiet && !m->pass_taken ? m->pass_found : 0;
    m->pass_found = m->pass_taken = 0;
    m->has_cursor = false;
    m->quiet = true;
}

/* ---- sending ---- */

static struct item *first_waiting(struct mover *m)
{
    return list_empty(&m->waiting) ? NULL : CONTAINER_OF(m->waiting.next, struct item, node);
}

static void place(struct mover *m, struct item *it)
{
    remuda__transfer_to__init(&it->to);
    it->to.kind = REMUDA__TRANSFER_KIND__TRANSFER_MIGRATE;
    it->to.pool = it->row ? it->row->pool : it->submission->pool;
    it->to.provider = it->row ? it->row->provider : it->submission->provider;
    it->to.shard = it->row ? it->row->shard : it->submission->shard;
    m->o.place(m->o.arg, it->message->record, it->submission, &it->to);
}

/* (a), together with those behind it that go with the same copy. */
static void bind(struct mover *m, struct item *it)
{
    place(m, it);
    struct parcel *p = parcel_new(m, it);
    struct transfer_options o = options_of(m, p, it);
    struct transfer_number n = partition_transfer_number(partition_transfer_new(m->partition, &o));
    do {
        it->to.epoch = n.epoch;
        it->to.sequence = n.sequence;
        parcel_add(m, p, it);
        it->has_row = true;
        mover_put_row(m, it);
        item_cover(m, it);
        it = first_waiting(m);
        if (it && it->at == p->at)
            place(m, it);
    } while (it && it->at == p->at && it->to.partition == p->target && p->row_bytes < PARCEL_ROWS_BYTES);
}

void mover_step(struct mover *m)
{
    uint64_t now = clock_boot_us() / 1000;
    if (settled(m)) {
        read_rows(m);
        struct item *it;
        while (m->n_parcels < PARCELS_MOST && m->flight_bytes < FLIGHT_BYTES && (it = first_waiting(m)))
            bind(m, it);
    }
    partition_prepare(m->partition);
    partition_flush(m->partition);
    if (now - m->housekept_ms < HOUSEKEEP_MS)
        return;
    m->housekept_ms = now;
    partition_housekeep(m->partition, clock_wall_ms(), 0);
}

bool mover_done(const struct mover *m)
{
    struct partition_figures f;
    partition_figures(m->partition, &f);
    return m->empty && !m->n_waiting && !m->n_parcels && !f.open_records && !partition_dirty(m->partition);
}

void mover_figures(const struct mover *m, struct mover_figures *out)
{
    struct partition_figures f;
    partition_figures(m->partition, &f);
    *out = m->figures;
    out->dead = f.dead;
}

/* ---- opening ---- */

int mover_open(const struct mover_options *o, struct mover **out)
{
    struct mover *m = calloc(1, sizeof(*m));
    ENSURE(m);
    m->o = *o;
    list_init(&m->waiting);
    list_init(&m->parcels);
    m->events = (struct partition_events){.submission = on_submission,
                                          .ended_elsewhere = on_ended_elsewhere,
                                          .flushed = nothing,
                                          .moved = on_moved,
                                          .transfer = on_transfer,
                                          .sent = on_sent,
                                          .in_memory = on_in_memory,
                                          .recovered = on_recovered,
                                          .trouble = on_trouble,
                                          .want_flush = nothing,
                                          .arg = m};
    int err = partition_open(o->log, o->client, o->partition, o->epoch, &m->events, &m->partition);
    if (err != RM_OK) {
        free(m);
        m = NULL;
    }
    *out = m;
    return err;
}

static void items_free(struct mover *m, struct list *items)
{
    LIST_FOREACH_SAFE(at, next, items)
    item_free(m, CONTAINER_OF(at, struct item, node));
}

void mover_close(struct mover *m)
{
    if (!m)
        return;
    partition_close(m->partition);
    items_free(m, &m->waiting);
    LIST_FOREACH_SAFE(at, next, &m->parcels)
    {
        struct parcel *p = CONTAINER_OF(at, struct parcel, node);
        items_free(m, &p->items);
        parcel_free(m, p);
    }
    message_unref(m->last);
    map_fini(&m->items);
    free(m);
}
