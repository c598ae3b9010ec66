/* What of a submission goes into its copy, its row and its final when it moves to another log. */
#include "lib/base/clock.h"
#include "queue/mover_private.h"

static const char CAUSE[] = "migrate";

static char *text(const char *s)
{
    return (char *)(uintptr_t)(s ? s : "");
}

/* ---- the row ---- */

static Remuda__BacklogRow row_of_record(const struct item *it)
{
    Remuda__BacklogRow row = REMUDA__BACKLOG_ROW__INIT;
    const Remuda__Record *record = it->message->record;
    const Remuda__Submission *s = it->submission;
    row.message_id = record->id;
    row.tenant = record->tenant;
    row.domain = s->domain;
    row.pool = s->pool;
    row.provider = s->provider;
    row.shard = s->shard;
    row.accepted_ms = record->accepted_ms;
    row.attempts = s->attempts;
    row.uncounted = s->uncounted;
    row.pools_tried = s->pools_tried;
    row.n_pools_tried = s->n_pools_tried;
    row.results = s->results;
    row.n_results = s->n_results == s->n_recipients ? s->n_results : 0;
    row.bytes = record->body_bytes;
    if (s->kept) {
        row.due_ms = s->kept->due_ms;
        row.expires_ms = s->kept->expires_ms;
        row.last_attempt_ms = s->kept->last_attempt_ms;
        row.in_doubt_until_ms = s->kept->in_doubt ? s->kept->due_ms : 0;
        row.sticky_source = s->kept->sticky_source;
        row.last_source = s->kept->last_source;
        row.last_host = s->kept->last_host;
        row.sealed = s->kept->sealed;
    }
    return row;
}

/* When it may be tried: the time of a held row only says when to look at it. */
static uint64_t not_before(const Remuda__BacklogRow *row)
{
    if (row->state == REMUDA__ROW_STATE__ROW_IN_DOUBT)
        return row->in_doubt_until_ms;
    return row->state == REMUDA__ROW_STATE__ROW_HELD ? 0 : row->due_ms;
}

void mover_put_row(struct mover *m, const struct item *it)
{
    Remuda__BacklogRow row = it->row ? *it->row : row_of_record(it);
    Remuda__SubmissionId id = REMUDA__SUBMISSION_ID__INIT;
    Remuda__TransferTo to = it->to;
    id.partition = it->id.partition;
    id.offset = it->id.offset;
    id.index = it->id.index;
    row.id = &id;
    row.at = it->at;
    row.first_live = it->first_live;
    if (it->parcel) {
        row.due_ms = it->row ? not_before(it->row) : row.due_ms;
        row.state = REMUDA__ROW_STATE__ROW_TRANSFERRING;
        row.transfer_to = &to;
        row.cause = text(CAUSE);
    }
    partition_put_row(m->partition, &row);
}

/* ---- the copy ---- */

static void copy_pending(const struct item *it, const Remuda__BacklogRow *row, struct arena *a,
                         Remuda__Submission *out)
{
    const Remuda__Submission *s = it->submission;
    bool known = row->n_results == s->n_recipients;
    out->recipients = arena_alloc(a, sizeof(Remuda__Recipient *) * s->n_recipients);
    out->results = arena_alloc(a, sizeof(Remuda__RecipientResult *) * s->n_recipients);
    out->n_recipients = out->n_results = 0;
    for (size_t i = 0; i < s->n_recipients; i++) {
        if (known && row->results[i]->state != REMUDA__RECIPIENT_STATE__RCPT_PENDING)
            continue;
        out->recipients[out->n_recipients++] = s->recipients[i];
        if (known)
            out->results[out->n_results++] = row->results[i];
    }
}

/* Its recipients are among those that go along: they are pending until it is told. */
static Remuda__Event *sealed_of(const Remuda__Event *sealed, const struct item *it,
                                const Remuda__Submission *copy, struct arena *a)
{
    Remuda__Event *e = arena_alloc(a, sizeof(*e));
    *e = *sealed;
    e->recipients = arena_alloc(a, sizeof(Remuda__RecipientOutcome *) * (sealed->n_recipients + 1));
    e->n_recipients = 0;
    for (uint32_t at = 0; at < copy->n_recipients; at++)
        for (size_t i = 0; i < sealed->n_recipients; i++) {
            uint32_t index = sealed->recipients[i]->index;
            if (index >= it->submission->n_recipients ||
                it->submission->recipients[index] != copy->recipients[at])
                continue;
            Remuda__RecipientOutcome *o = arena_alloc(a, sizeof(*o));
            *o = *sealed->recipients[i];
            o->index = at;
            e->recipients[e->n_recipients++] = o;
        }
    return e;
}

static Remuda__Kept *kept_of(const Remuda__BacklogRow *row, struct arena *a)
{
    Remuda__Kept *k = arena_alloc(a, sizeof(*k));
    remuda__kept__init(k);
    k->due_ms = not_before(row);
    k->expires_ms = row->expires_ms;
    k->last_attempt_ms = row->last_attempt_ms;
    k->sticky_source = row->sticky_source;
    k->last_source = row->last_source;
    k->last_host = row->last_host;
    k->in_doubt = row->in_doubt_until_ms != 0;
    return k;
}

static Remuda__Submission *copy_of(const struct item *it, bool within, struct arena *a)
{
    Remuda__BacklogRow row = it->row ? *it->row : row_of_record(it);
    Remuda__Submission *out = arena_alloc(a, sizeof(*out));
    *out = *it->submission;
    copy_pending(it, &row, a, out);
    out->pool = it->to.pool;
    out->provider = it->to.provider;
    out->shard = it->to.shard;
    out->attempts = row.attempts;
    out->uncounted = row.uncounted;
    out->pools_tried = row.pools_tried;
    out->n_pools_tried = row.n_pools_tried;
    out->origin = arena_alloc(a, sizeof(*out->origin));
    remuda__submission_id__init(out->origin);
    out->origin->partition = it->id.partition;
    out->origin->offset = it->id.offset;
    out->origin->index = it->id.index;
    if (within)
        return out;
    out->kept = kept_of(&row, a);
    if (row.sealed)
        out->kept->sealed = sealed_of(row.sealed, it, out, a);
    return out;
}

void mover_give(struct mover *m, struct parcel *p, struct transfer *t)
{
    struct arena a = ARENA_INIT;
    Remuda__Submission **list = arena_alloc(&a, sizeof(*list) * p->n);
    size_t n = 0;
    LIST_FOREACH(at, &p->items)
    list[n++] = copy_of(CONTAINER_OF(at, struct item, node), p->within, &a);
    partition_transfer_give(t, list, n, p->within ? 0 : m->o.table_version);
    arena_fini(&a);
}

/* ---- the final ---- */

void mover_tell(struct mover *m, const struct item *it)
{
    Remuda__Event e = REMUDA__EVENT__INIT;
    Remuda__SubmissionId id = REMUDA__SUBMISSION_ID__INIT;
    Remuda__TransferTo to = it->to;
    const Remuda__Record *record = it->message->record;
    id.partition = it->id.partition;
    id.offset = it->id.offset;
    id.index = it->id.index;
    e.type = REMUDA__EVENT_TYPE__EVENT_REROUTED;
    e.submission = &id;
    e.final = true;
    e.message_id = record->id;
    e.time_ms = clock_wall_ms();
    e.tenant = record->tenant;
    e.sender = record->sender;
    e.domain = it->submission->domain;
    e.pool = it->row ? it->row->pool : it->submission->pool;
    e.provider = it->row ? it->row->provider : it->submission->provider;
    e.attempt = it->row ? it->row->attempts : it->submission->attempts;
    e.record_offset = it->at;
    e.cause = text(CAUSE);
    e.transfer_to = &to;
    if (!it->told) {
        e.accepted_ms = record->accepted_ms;
        e.acceptance = record->acceptance;
        e.bytes = record->body_bytes + record->prefix.len;
    }
    partition_event(m->partition, &e);
}
