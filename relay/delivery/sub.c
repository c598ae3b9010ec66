/*
 * Submissions in memory: made from a record or a row, found by identity, moved between states, and let go
 * when the log knows all of them. What should become of them is decided elsewhere.
 */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/suspect.h"
#include "relay/delivery/late.h"

/* ---- table by identity ---- */

static size_t hash_of(struct subid id)
{
    uint64_t h = id.offset * 0x9e3779b97f4a7c15u ^ ((uint64_t)id.index << 32 | id.partition);
    return (size_t)(h ^ h >> 29);
}

static bool same(struct subid a, struct subid b)
{
    return a.offset == b.offset && a.index == b.index && a.partition == b.partition;
}

struct sub *sub_find(const struct owner *o, struct subid id)
{
    if (!o->table_cap)
        return NULL;
    struct sub *s = o->table[hash_of(id) & (o->table_cap - 1)];
    while (s && !same(s->id, id))
        s = s->hash_next;
    return s;
}

static void table_grow(struct owner *o)
{
    size_t cap = o->table_cap ? o->table_cap * 2 : 256;
    struct sub **table = calloc(cap, sizeof(struct sub *));
    ENSURE(table);
    for (size_t i = 0; i < o->table_cap; i++) {
        struct sub *s = o->table[i];
        while (s) {
            struct sub *next = s->hash_next;
            size_t at = hash_of(s->id) & (cap - 1);
            s->hash_next = table[at];
            table[at] = s;
            s = next;
        }
    }
    free(o->table);
    o->table = table;
    o->table_cap = cap;
}

static void table_add(struct owner *o, struct sub *s)
{
    if (o->table_count >= o->table_cap)
        table_grow(o);
    size_t at = hash_of(s->id) & (o->table_cap - 1);
    s->hash_next = o->table[at];
    o->table[at] = s;
    o->table_count++;
}

static void table_remove(struct owner *o, struct sub *s)
{
    struct sub **at = &o->table[hash_of(s->id) & (o->table_cap - 1)];
    while (*at != s)
        at = &(*at)->hash_next;
    *at = s->hash_next;
    o->table_count--;
}

/* ---- making and letting go ---- */

/* True when its row is still there: the one that takes its place has it from now on. */
static bool make_room(struct sub *s)
{
    bool row = s->state == SUB_MOVING && s->has_row;
    ENSURE(s->state == SUB_MOVING || (s->state == SUB_SETTLED && !s->keeps_row));
    table_remove(s->owner, s);
    s->unlisted = true;
    s->has_row = false;
    return row;
}

struct destination *destination_new(const Remuda__TransferTo *to, const char *why)
{
    struct destination *d = calloc(1, sizeof(*d));
    ENSURE(d);
    d->to = *to;
    d->to.pool = strdup(to->pool);
    d->to.provider = strdup(to->provider);
    d->why = strdup(why);
    ENSURE(d->to.pool && d->to.provider && d->why);
    return d;
}

void destination_free(struct destination *d)
{
    if (!d)
        return;
    free(d->to.pool);
    free(d->to.provider);
    free(d->why);
    free(d);
}

static struct sub *sub_new(struct owner *o, struct message *m, const Remuda__Submission *submission,
                           struct subid id)
{
    struct sub *s = calloc(1, sizeof(*s));
    ENSURE(s);
    s->owner = o;
    s->id = id;
    s->message = message_ref(m);
    s->submission = submission;
    s->n_pending = (uint32_t)submission->n_recipients;
    s->accepted_ms = m->record->accepted_ms;
    s->arrived_us = loop_now_us(o->delivery->shard->loop);
    s->state = SUB_RESOLVING;
    s->waits_as = WAIT_NONE;
    list_init(&s->age_node);
    list_init(&s->move_node);
    list_init(&s->waiter.node);
    list_push_back(&o->resolving, &s->node);
    table_add(o, s);
    return s;
}

void sub_text_set(char **slot, const char *text)
{
    if (text && text == *slot)
        return;
    free(*slot);
    *slot = text && text[0] ? strdup(text) : NULL;
}

void sub_results_need(struct sub *s)
{
    if (s->results)
        return;
    s->results = calloc(s->submission->n_recipients, sizeof(*s->results));
    ENSURE(s->results);
}

bool sub_pool_tried(const struct sub *s, const char *pool)
{
    for (uint32_t i = 0; i < s->n_pools_tried; i++)
        if (strcmp(s->pools_tried[i], pool) == 0)
            return true;
    return false;
}

void sub_pools_tried_add(struct sub *s, const char *pool)
{
    if (sub_pool_tried(s, pool))
        return;
    s->pools_tried = realloc(s->pools_tried, sizeof(char *) * (s->n_pools_tried + 1));
    ENSURE(s->pools_tried && (s->pools_tried[s->n_pools_tried] = strdup(pool)));
    s->n_pools_tried++;
}

void sub_pools_tried_clear(struct sub *s)
{
    while (s->n_pools_tried)
        free(s->pools_tried[--s->n_pools_tried]);
    free(s->pools_tried);
    s->pools_tried = NULL;
}

static void take_pools(struct sub *s, char *const *pools, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sub_pools_tried_add(s, pools[i]);
}

bool sub_pending(const struct sub *s, size_t i)
{
    return !s->results || s->results[i].state == REMUDA__RECIPIENT_STATE__RCPT_PENDING;
}

static void count_pending(struct sub *s)
{
    s->n_pending = 0;
    for (uint32_t i = 0; i < s->submission->n_recipients; i++)
        s->n_pending += sub_pending(s, i);
}

static void take_results(struct sub *s, Remuda__RecipientResult *const *results, size_t n)
{
    if (n == 0 || n > s->submission->n_recipients)
        return;
    sub_results_need(s);
    for (size_t i = 0; i < n; i++) {
        s->results[i].state = results[i]->state;
        s->results[i].noticed = results[i]->delay_noticed;
        sub_text_set(&s->results[i].reply, results[i]->last_reply);
        s->results[i].code = (int)results[i]->last_code;
    }
    count_pending(s);
}

/* An owner past has told it, and has not come to write a row. */
static void take_told(struct sub *s)
{
    size_t n = 0;
    const struct partition *p = s->owner->partition;
    const struct told_result *told = p ? partition_told(p, s->id, &n) : NULL;
    for (size_t i = 0; i < n && told[i].index < s->submission->n_recipients; i++) {
        sub_results_need(s);
        struct sub_result *r = &s->results[told[i].index];
        r->state = told[i].state;
        r->code = (int)told[i].code;
        sub_text_set(&r->reply, told[i].reply);
    }
    count_pending(s);
}

/* It waited in another log. */
static void take_kept(struct sub *s, const Remuda__Kept *kept)
{
    s->due_ms = kept->due_ms;
    if (kept->expires_ms)
        s->expires_ms = kept->expires_ms;
    s->last_attempt_ms = kept->last_attempt_ms;
    sub_text_set(&s->sticky, kept->sticky_source);
    sub_text_set(&s->last_source, kept->last_source);
    sub_text_set(&s->last_host, kept->last_host);
}

struct sub *sub_from_record(struct owner *o, struct message *m, uint64_t offset, size_t i)
{
    const Remuda__Submission *submission = m->record->submissions[i];
    Remuda__SubmissionId sid = record_submission_id(m->record, o->number, offset, i);
    struct subid id = subid_of(&sid);
    struct sub *left = sub_find(o, id); /* went to another partition, which has given it back already */
    bool has_row = left && make_room(left);
    struct sub *s = sub_new(o, m, submission, id);
    s->has_row = has_row;
    s->at = s->told_at = offset;
    s->first_live =
        m->record->n_chunks && m->record->chunks[0]->offset < offset ? m->record->chunks[0]->offset : offset;
    s->lane = lane_get(o, submission->pool, submission->provider, submission->shard);
    s->lane->in_memory++;
    park_sub(s);
    s->attempts = submission->attempts;
    s->uncounted = submission->uncounted;
    s->told = submission->origin != NULL; /* a copy: told where it came from */
    take_pools(s, submission->pools_tried, submission->n_pools_tried);
    take_results(s, submission->results, submission->n_results);
    take_told(s);
    s->expires_ms = s->accepted_ms + settle_schedule(s)->lifetime_ms;
    if (submission->kept)
        take_kept(s, submission->kept);
    list_push_back(&o->fresh, &s->age_node);
    return s;
}

static void take_bound(struct sub *s, const Remuda__BacklogRow *row)
{
    seal_take_row(s, row);
    if (!s->sealed)
        s->destination = destination_new(row->transfer_to, row->cause);
}

static void take_row(struct sub *s, const Remuda__BacklogRow *row)
{
    s->at = row->at;
    s->first_live = row->first_live;
    s->has_row = s->covered = s->told = true;
    s->attempts = row->attempts;
    s->uncounted = row->uncounted;
    take_pools(s, row->pools_tried, row->n_pools_tried);
    s->expires_ms = row->expires_ms;
    s->due_ms = row->due_ms;
    s->held_since_ms = row->held_since_ms;
    s->last_attempt_ms = row->last_attempt_ms;
    sub_text_set(&s->sticky, row->sticky_source);
    sub_text_set(&s->last_source, row->last_source);
    sub_text_set(&s->last_host, row->last_host);
    sub_text_set(&s->scope_text, row->scope);
    sub_text_set(&s->row_cause, row->cause);
    s->row_state = row->state;
    if (row->state == REMUDA__ROW_STATE__ROW_TRANSFERRING && row->transfer_to)
        take_bound(s, row);
    take_results(s, row->results, row->n_results);
    s->lane = lane_get(s->owner, row->pool, row->provider, row->shard);
    s->lane->in_memory++;
    s->arrival_counted = true;
    park_sub(s);
}

/* The message that a row is of, with its chunks at hand. RM_ECORRUPT with why: it will never be worked on. */
static int message_of_row(struct owner *o, struct log_reader *r, const Remuda__BacklogRow *row,
                          struct message **out, const char **why)
{
    struct span value;
    *out = NULL;
    *why = NULL;
    int err = log_read_at(r, LOG_MAIL, o->number, row->at, &value);
    if (err != RM_OK)
        return err;
    if (partition_deaths(o->partition, row->at) >= PARTITION_GUILTY_DEATHS)
        *why = partition_guilty_reason();
    else if (message_decode_one(value, row->id->index, out) != RM_OK ||
             record_find((*out)->record, o->number, row->at, subid_of(row->id)) < 0)
        *why = "record does not decode, or lacks what its row tells of";
    return *why ? RM_ECORRUPT : partition_chunks_here(o->partition, r, (*out)->record);
}

void sub_moved(struct sub *s, struct message *m, uint64_t at, uint64_t first_live)
{
    int i = record_find(m->record, s->owner->number, at, s->id);
    ENSURE(i >= 0); /* it was asked for by what the record tells of */
    message_ref(m);
    message_unref(s->message);
    s->message = m;
    s->submission = m->record->submissions[i];
    s->at = at;
    s->first_live = first_live;
}

static struct sub *from_message(struct owner *o, struct message *m, const Remuda__BacklogRow *row)
{
    struct subid id = subid_of(row->id);
    int i = record_find(m->record, o->number, row->at, id);
    struct sub *s = sub_new(o, m, m->record->submissions[i], id);
    take_row(s, row);
    return s;
}

static int from_row(struct owner *o, struct log_reader *r, const Remuda__BacklogRow *row, struct sub **out)
{
    const char *why;
    struct message *m;
    struct suspect_mark before = suspect_begin(o->number, row->at);
    int err = message_of_row(o, r, row, &m, &why);
    if (err == RM_OK)
        *out = from_message(o, m, row);
    message_unref(m);
    suspect_end(before);
    if (why && partition_bury_row(o->partition, r, row, why) == RM_EAGAIN)
        err = RM_EAGAIN;
    if (err == RM_OK || (why && err != RM_EAGAIN))
        park_row_taken(o, subid_of(row->id), row);
    return err;
}

/* The row of a submission; NULL. */
static const Remuda__BacklogRow *row_of(struct owner *o, struct log_reader *r, struct subid id,
                                        struct arena *a)
{
    struct row_key key = row_key_make(id);
    struct span value, bytes = span_of((const char *)key.bytes, sizeof(key.bytes));
    if (log_read_key(r, LOG_BACKLOG, o->number, bytes, &value) != RM_OK)
        return NULL;
    Remuda__BacklogRow *row = row_decode(a, value);
    if (!row || !row->id || partition_row_ended(o->partition, id, row->at))
        return NULL;
    partition_row_now(o->partition, row, a);
    return row;
}

/* Of most records it is enough that they can be read: they are not decoded for that. */
static bool record_is_here(struct owner *o, struct log_reader *r, const Remuda__BacklogRow *row)
{
    struct span value;
    struct mail_view view;
    size_t need;
    int err = log_read_at(r, LOG_MAIL, o->number, row->at, &value);
    if (err != RM_OK || mail_view(value, &view, &need) != RM_OK || !record_is_chunked(view.header))
        return err != RM_EAGAIN;
    const char *why;
    struct message *m;
    struct suspect_mark before = suspect_begin(o->number, row->at);
    bool here = message_of_row(o, r, row, &m, &why) != RM_EAGAIN;
    message_unref(m);
    suspect_end(before);
    return here;
}

bool sub_is_fetched(struct owner *o, struct log_reader *r, struct subid id)
{
    struct arena a = ARENA_INIT;
    const Remuda__BacklogRow *row = row_of(o, r, id, &a);
    bool here = !row || record_is_here(o, r, row);
    arena_fini(&a);
    return here;
}

int sub_from_row(struct owner *o, struct log_reader *r, struct subid id, struct sub **out)
{
    struct arena a = ARENA_INIT;
    *out = NULL;
    const Remuda__BacklogRow *row = row_of(o, r, id, &a);
    int err = row ? from_row(o, r, row, out) : RM_ENOTFOUND;
    arena_fini(&a);
    if (err != RM_OK && err != RM_EAGAIN)
        logger_log(o->delivery->shard->node->logger, LOG_ERROR, "delivery.row_unreadable",
                   LF_NUM("partition", o->number), LF_NUM("offset", id.offset), LF_NUM("index", id.index));
    return err;
}

static void leave_queue(struct sub *s)
{
    if (s->flow && s->state == SUB_QUEUED)
        s->flow->n_ready--;
    if (s->flow && s->state == SUB_ASIDE) {
        s->flow->n_aside--;
        s->lane->n_aside--;
    }
}

void sub_leave_flow(struct sub *s)
{
    struct flow *f = s->flow;
    if (!f)
        return;
    f->in_memory--;
    leave_queue(s);
    if (s->state == SUB_QUEUED)
        park_flow(f);
    s->flow = NULL;
    flow_room_freed(f);
}

void sub_free(struct sub *s)
{
    struct lane *lane = s->lane;
    late_forget(s);
    park_sub_end(s);
    park_row_left(s);
    show_free(s);
    if (!s->unlisted)
        table_remove(s->owner, s);
    list_remove(&s->node);
    list_remove(&s->age_node);
    list_remove(&s->move_node);
    list_remove(&s->waiter.node);
    sub_leave_flow(s);
    if (s->loaded_by) {
        s->loaded_by->n_loading--;
        s->owner->n_loading--;
    }
    dest_unref(s->dest);
    for (size_t i = 0; s->results && i < s->submission->n_recipients; i++)
        free(s->results[i].reply);
    free(s->results);
    sub_pools_tried_clear(s);
    free(s->sticky);
    free(s->avoid);
    free(s->last_source);
    free(s->last_host);
    free(s->scope_text);
    free(s->row_cause);
    destination_free(s->destination);
    seal_free(s);
    message_unref(s->message);
    free(s);
    lane->in_memory--;
    lane_memory_freed(lane);
}

/* ---- states ---- */

void sub_move(struct sub *s, enum sub_state state)
{
    struct owner *o = s->owner;
    list_remove(&s->node);
    leave_queue(s);
    bool was_queued = s->state == SUB_QUEUED;
    s->state = state;
    park_sub(s);
    switch (state) {
    case SUB_RESOLVING:
        list_push_back(&o->resolving, &s->node);
        break;
    case SUB_QUEUED:
        list_push_back(&s->flow->ready, &s->node);
        s->flow->n_ready++;
        break;
    case SUB_ASIDE:
        list_push_back(&s->flow->aside, &s->node);
        s->flow->n_aside++;
        s->lane->n_aside++;
        break;
    case SUB_RUNNING:
        list_push_back(&o->running, &s->node);
        break;
    case SUB_MOVING:
        list_push_back(&o->moving, &s->node);
        break;
    case SUB_SETTLED:
        list_push_back(&o->settled, &s->node);
        break;
    }
    if (s->flow && (was_queued || state == SUB_QUEUED))
        park_flow(s->flow);
}

static void cover(struct sub *s)
{
    if (s->covered)
        return;
    s->covered = true;
    list_remove(&s->age_node);
    partition_cover(s->owner->partition, s->told_at);
}

/* ---- rows ---- */

static char *text_or_empty(char *s)
{
    return s ? s : (char *)(uintptr_t) "";
}

void sub_result_fill(const struct sub_result *r, Remuda__RecipientResult *out)
{
    remuda__recipient_result__init(out);
    out->state = r->state;
    out->delay_noticed = r->noticed;
    out->last_reply = text_or_empty(r->reply);
    out->last_code = (uint32_t)r->code;
}

static void fill_results(const struct sub *s, Remuda__RecipientResult *results,
                         Remuda__RecipientResult **list)
{
    for (size_t i = 0; i < s->submission->n_recipients; i++) {
        sub_result_fill(&s->results[i], &results[i]);
        list[i] = &results[i];
    }
}

static void fill_row(const struct sub *s, Remuda__BacklogRow *row)
{
    const Remuda__Record *record = s->message->record;
    row->at = s->at;
    row->first_live = s->first_live;
    row->message_id = record->id;
    row->tenant = record->tenant;
    row->domain = s->submission->domain;
    row->pool = s->lane->pool;
    row->provider = s->lane->provider;
    row->shard = s->lane->shard;
    row->scope = s->flow ? s->flow->scope->site : text_or_empty(s->scope_text);
    row->due_ms = s->due_ms;
    row->in_doubt_until_ms = s->in_doubt_until_ms;
    row->accepted_ms = s->accepted_ms;
    row->expires_ms = s->expires_ms;
    row->attempts = s->attempts;
    row->uncounted = s->uncounted;
    row->pools_tried = s->pools_tried;
    row->n_pools_tried = s->n_pools_tried;
    row->last_attempt_ms = s->last_attempt_ms;
    row->sticky_source = text_or_empty(s->sticky);
    row->last_source = text_or_empty(s->last_source);
    row->last_host = text_or_empty(s->last_host);
    row->held_since_ms = s->held_since_ms;
    row->bytes = record->body_bytes;
}

static void note_due(struct owner *o, uint64_t due_ms)
{
    if (!o->due_gathered || due_ms < o->due_gathered)
        o->due_gathered = due_ms;
}

void sub_put_row(struct sub *s, Remuda__RowState state, const char *cause)
{
    Remuda__BacklogRow row = REMUDA__BACKLOG_ROW__INIT;
    Remuda__SubmissionId id = REMUDA__SUBMISSION_ID__INIT;
    Remuda__RecipientResult results[100], *list[100];
    id.partition = s->id.partition;
    id.offset = s->id.offset;
    id.index = s->id.index;
    row.id = &id;
    row.state = state;
    row.cause = (char *)(uintptr_t)cause;
    fill_row(s, &row);
    if (s->results) {
        fill_results(s, results, list);
        row.results = list;
        row.n_results = s->submission->n_recipients;
    }
    if (state != REMUDA__ROW_STATE__ROW_IN_DOUBT)
        row.in_doubt_until_ms = 0;
    if (state == REMUDA__ROW_STATE__ROW_TRANSFERRING && !seal_is_needless(s)) { /* from then on it binds */
        if (s->sealed)
            seal_fill_row(s, &row);
        else
            row.transfer_to = &s->destination->to;
    }
    partition_put_row(s->owner->partition, &row);
    s->has_row = true;
    s->row_state = state;
    sub_text_set(&s->row_cause, cause);
    cover(s);
    if (state == REMUDA__ROW_STATE__ROW_DEFERRED || state == REMUDA__ROW_STATE__ROW_HELD)
        note_due(s->owner, s->due_ms);
}

void sub_unload(struct sub *s, Remuda__RowState state, const char *cause)
{
    if (!s->flow && s->dest && s->dest->status == DEST_OK)
        sub_text_set(&s->scope_text, s->dest->site);
    sub_put_row(s, state, cause);
    s->keeps_row = true;
    sub_leave_flow(s);
    sub_move(s, SUB_SETTLED);
}

void sub_finish(struct sub *s)
{
    if (s->has_row)
        partition_erase_row(s->owner->partition, s->id);
    cover(s);
    sub_leave_flow(s);
    sub_move(s, SUB_SETTLED);
}
