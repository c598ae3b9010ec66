/*
 * What an earlier owner has told of some recipients of a submission that goes on, and not written into its
 * row any more. Where a flush is not one transaction the event is durable before the row is: without this the
 * next owner would give the message to them again.
 */
#include <stdlib.h>

#include "queue/partition_private.h"

enum { RECIPIENTS_MOST = 100 }; /* of a submission */

struct told {
    size_t n, cap;
    struct told_result *results;
};

static struct told *told_of(struct partition *p, struct subid id)
{
    struct told *t = map_get(&p->told, subid_span(&id));
    if (t)
        return t;
    t = calloc(1, sizeof(*t));
    ENSURE(t);
    map_put(&p->told, subid_span(&id), t);
    return t;
}

static void note(struct told *t, const Remuda__RecipientOutcome *o)
{
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 4;
        t->results = realloc(t->results, t->cap * sizeof(*t->results));
        ENSURE(t->results);
    }
    char *reply = strdup(o->text);
    ENSURE(reply);
    t->results[t->n++] = (struct told_result){o->index, o->state, o->code, reply};
}

/* Results stand in the order of the recipients; those that a row does not have are pending. */
void partition_told_merge(const struct partition *p, Remuda__BacklogRow *row, struct arena *a)
{
    struct subid id = subid_of(row->id);
    const struct told *t = map_get(&p->told, subid_span(&id));
    size_t n = row->n_results;
    if (!t)
        return;
    for (size_t i = 0; i < t->n; i++)
        if (t->results[i].index >= n)
            n = t->results[i].index + 1;
    Remuda__RecipientResult **list = arena_alloc(a, n * sizeof(*list));
    for (size_t i = 0; i < n; i++) {
        list[i] = i < row->n_results ? row->results[i] : arena_alloc(a, sizeof(*list[i]));
        if (i >= row->n_results)
            remuda__recipient_result__init(list[i]);
    }
    for (size_t i = 0; i < t->n; i++) {
        Remuda__RecipientResult *r = list[t->results[i].index];
        r->state = t->results[i].state;
        r->last_code = t->results[i].code;
        r->last_reply = t->results[i].reply;
    }
    row->results = list;
    row->n_results = n;
}

void partition_row_now(const struct partition *p, Remuda__BacklogRow *row, struct arena *a)
{
    partition_row_moved(p, row);
    partition_told_merge(p, row, a);
}

/* So that a later owner finds it there: the position passes the event. */
static bool write_row(struct partition *p, struct log_reader *r, struct subid id)
{
    struct row_key key = row_key_make(id);
    struct span value;
    if (log_read_key(r, LOG_BACKLOG, p->number, span_of((const char *)key.bytes, sizeof(key.bytes)),
                     &value) != RM_OK)
        return false;
    struct arena a = ARENA_INIT;
    Remuda__BacklogRow *row = row_decode(&a, value);
    bool written = row && row->id && !partition_row_ended(p, id, row->at);
    if (written) {
        partition_row_now(p, row, &a);
        partition_put_row(p, row);
    }
    arena_fini(&a);
    return written;
}

void partition_told_note(struct partition *p, const Remuda__Event *e)
{
    if (!partition_is_shared(p) || e->final || !e->submission)
        return;
    for (size_t i = 0; i < e->n_recipients; i++)
        if (e->recipients[i]->state != REMUDA__RECIPIENT_STATE__RCPT_PENDING &&
            e->recipients[i]->index < RECIPIENTS_MOST)
            note(told_of(p, subid_of(e->submission)), e->recipients[i]);
}

void partition_told_write(struct partition *p, struct log_reader *r)
{
    struct span key;
    void *t;
    for (size_t pos = 0; map_next(&p->told, &pos, &key, &t);) {
        struct subid id;
        memcpy(&id, key.ptr, sizeof(id));
        (void)write_row(p, r, id);
    }
}

bool partition_told_late(struct partition *p, struct log_reader *r, const Remuda__Event *e)
{
    struct subid id = subid_of(e->submission);
    if (p->events->in_memory(p->events->arg, id))
        return false;
    partition_told_note(p, e);
    return map_get(&p->told, subid_span(&id)) && write_row(p, r, id);
}

const struct told_result *partition_told(const struct partition *p, struct subid id, size_t *n)
{
    const struct told *t = map_get(&p->told, subid_span(&id));
    *n = t ? t->n : 0;
    return t ? t->results : NULL;
}

void partition_told_free(struct partition *p)
{
    struct span key;
    void *value;
    for (size_t pos = 0; map_next(&p->told, &pos, &key, &value);) {
        struct told *t = value;
        for (size_t i = 0; i < t->n; i++)
            free(t->results[i].reply);
        free(t->results);
        free(t);
    }
    map_fini(&p->told);
}
