/*
 * What the owner has read of its mail log, told along with its events: each offset once, with the identities
 * of what became its own. It is written before a position passes it, so that it outlives the mail, and it is
 * made when a record is read, not when it is settled: the account (relay/api/account.h) holds the two against
 * each other.
 */
#include "queue/partition_private.h"

enum {
    TAKEN_BYTES = 64 * 1024, /* goes in a batch of its own from here on: see LOG_VALUE_MOST */
};

static void add_message(struct buf *out, unsigned field, const ProtobufCMessage *m)
{
    buf_add_char(out, (char)(field << 3 | 2));
    partition_add_varint(out, protobuf_c_message_get_packed_size(m));
    proto_pack(out, m);
}

static void add(struct partition *p, const Remuda__TakenRecord *r)
{
    if (p->lost)
        return;
    add_message(&p->taken, 3, &r->base);
    if (p->taken.len < TAKEN_BYTES)
        return;
    struct buf events = p->event_batch;
    p->event_batch = (struct buf)BUF_INIT;
    partition_events_close(p);
    buf_fini(&p->event_batch);
    p->event_batch = events;
}

void partition_taken_to(struct partition *p, uint64_t offset)
{
    if (p->taken_to <= offset)
        p->taken_to = offset + 1;
}

static Remuda__TakenKind kind_of(const Remuda__Record *record)
{
    if (record->carried)
        return REMUDA__TAKEN_KIND__TAKEN_CARRIED;
    bool copy = record->transfer && !record->transfer->from.len; /* else it has come into this log */
    switch (record->kind) {
    case REMUDA__RECORD_KIND__RECORD_FEEDBACK:
        return REMUDA__TAKEN_KIND__TAKEN_FEEDBACK;
    case REMUDA__RECORD_KIND__RECORD_BOUNCE:
    case REMUDA__RECORD_KIND__RECORD_DELAY_NOTICE:
        if (!copy || record->transfer->kind == REMUDA__TRANSFER_KIND__TRANSFER_BOUNCE ||
            record->transfer->kind == REMUDA__TRANSFER_KIND__TRANSFER_DELAY_NOTICE)
            return REMUDA__TAKEN_KIND__TAKEN_REPORT;
        break;
    default:
        break;
    }
    return copy ? REMUDA__TAKEN_KIND__TAKEN_COPY : REMUDA__TAKEN_KIND__TAKEN_MESSAGE;
}

static bool same_record(const Remuda__SubmissionId *a, const Remuda__SubmissionId *b)
{
    return a->partition == b->partition && a->offset == b->offset;
}

/* The submissions from the first on that stem from one record: all of them, in what this version writes. */
static size_t fill(const struct partition *p, const Remuda__Record *record, size_t from,
                   Remuda__TakenRecord *out)
{
    size_t n = 0;
    for (size_t i = from; i < record->n_submissions; i++, n++) {
        Remuda__SubmissionId id = record_submission_id(record, p->number, out->offset, i);
        if (!n)
            *out->first = id;
        else if (!same_record(out->first, &id))
            break;
        out->indexes[n] = id.index;
        out->domains[n] = record->submissions[i]->domain;
    }
    out->n_indexes = out->n_domains = n;
    return n;
}

static void add_submissions(struct partition *p, const Remuda__Record *record, Remuda__TakenRecord *t)
{
    struct arena a = ARENA_INIT;
    Remuda__SubmissionId first = REMUDA__SUBMISSION_ID__INIT;
    t->first = &first;
    t->indexes = arena_alloc(&a, record->n_submissions * sizeof(*t->indexes));
    t->domains = arena_alloc(&a, record->n_submissions * sizeof(*t->domains));
    for (size_t i = 0; i < record->n_submissions;) {
        i += fill(p, record, i, t);
        add(p, t);
    }
    arena_fini(&a);
}

void partition_taken_record(struct partition *p, const Remuda__Record *record, uint64_t offset)
{
    Remuda__TakenRecord t = REMUDA__TAKEN_RECORD__INIT;
    t.kind = kind_of(record);
    t.offset = offset;
    t.message_id = record->id;
    partition_taken_to(p, offset);
    if (record->kind == REMUDA__RECORD_KIND__RECORD_STATE)
        return; /* no message */
    if (record->carried) {
        t.from_offset = record->carried->from_offset;
        add(p, &t);
        return;
    }
    if (t.kind == REMUDA__TAKEN_KIND__TAKEN_COPY) {
        t.giver = record->transfer->partition;
        t.epoch = record->transfer->epoch;
        t.sequence = record->transfer->sequence;
    }
    add_submissions(p, record, &t);
}

void partition_taken_mark(struct partition *p, Remuda__TakenKind kind, uint64_t offset)
{
    Remuda__TakenRecord t = REMUDA__TAKEN_RECORD__INIT;
    t.kind = kind;
    t.offset = offset;
    partition_taken_to(p, offset);
    add(p, &t);
}

void partition_taken_end(struct partition *p, Remuda__TakenKind kind, struct subid id, uint64_t at,
                         struct span message_id)
{
    Remuda__TakenRecord t = REMUDA__TAKEN_RECORD__INIT;
    Remuda__SubmissionId first = REMUDA__SUBMISSION_ID__INIT;
    t.kind = kind;
    t.offset = at;
    t.message_id = (ProtobufCBinaryData){message_id.len, (uint8_t *)(uintptr_t)message_id.ptr};
    first.partition = id.partition;
    first.offset = id.offset;
    first.index = id.index;
    t.first = &first;
    t.indexes = &first.index;
    t.n_indexes = 1;
    p->taken_ends = true;
    add(p, &t);
    partition_mark_dirty(p);
}

void partition_ended(struct partition *p, struct subid id, uint64_t at, struct span message_id)
{
    partition_taken_end(p, REMUDA__TAKEN_KIND__TAKEN_ENDED, id, at, message_id);
}

/* An end goes with the flush that erases its row; what was read may wait until it is passed. */
bool partition_taken_due(const struct partition *p, uint64_t watermark)
{
    return p->taken_ends || (p->taken_to > p->taken_from && watermark > p->taken_from);
}

void partition_taken_close(struct partition *p)
{
    if (p->lost || (!p->taken.len && p->taken_to <= p->taken_from))
        return;
    struct buf head = BUF_INIT;
    buf_add_char(&head, 1 << 3 | 0);
    partition_add_varint(&head, p->taken_from);
    buf_add_char(&head, 2 << 3 | 0);
    partition_add_varint(&head, p->taken_to);
    buf_add_char(&p->event_batch, 4 << 3 | 2);
    partition_add_varint(&p->event_batch, head.len + p->taken.len);
    buf_add_span(&p->event_batch, buf_span(&head));
    buf_add_span(&p->event_batch, buf_span(&p->taken));
    buf_fini(&head);
    buf_clear(&p->taken);
    p->taken_from = p->taken_to;
    p->taken_ends = false;
}
