/* Framing and bounded decoding of stored messages. */
#include "proto/codec.h"

static void frame(struct buf *out, enum mail_kind kind, const ProtobufCMessage *message)
{
    size_t n = protobuf_c_message_get_packed_size(message);
    ENSURE(n <= MAIL_HEADER_MOST);
    char *at = buf_reserve(out, MAIL_FRAME_BYTES + n);
    at[0] = (char)kind;
    for (int i = 0; i < 4; i++)
        at[1 + i] = (char)(n >> (24 - 8 * i));
    protobuf_c_message_pack(message, (uint8_t *)at + MAIL_FRAME_BYTES);
    out->len += MAIL_FRAME_BYTES + n;
}

void mail_frame_record(struct buf *out, const Remuda__Record *record)
{
    frame(out, MAIL_RECORD, &record->base);
}

void mail_frame_chunk(struct buf *out, const Remuda__ChunkHeader *header)
{
    frame(out, MAIL_CHUNK, &header->base);
}

int mail_view(struct span value, struct mail_view *out, size_t *need)
{
    *need = MAIL_FRAME_BYTES;
    if (value.len < MAIL_FRAME_BYTES)
        return RM_EAGAIN;
    const unsigned char *p = (const unsigned char *)value.ptr;
    size_t n = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
    if ((p[0] != MAIL_RECORD && p[0] != MAIL_CHUNK) || n > MAIL_HEADER_MOST)
        return RM_ECORRUPT;
    *need = MAIL_FRAME_BYTES + n;
    if (value.len < *need)
        return RM_EAGAIN;
    *out = (struct mail_view){(enum mail_kind)p[0], span_of(value.ptr + MAIL_FRAME_BYTES, n), *need};
    return RM_OK;
}

static void *alloc_in_arena(void *arena, size_t n)
{
    return arena_alloc(arena, n);
}

static void free_in_arena(void *arena, void *p)
{
    (void)arena;
    (void)p;
}

ProtobufCAllocator arena_allocator(struct arena *a)
{
    return (ProtobufCAllocator){.alloc = alloc_in_arena, .free = free_in_arena, .allocator_data = a};
}

static void *decode(struct arena *a, const ProtobufCMessageDescriptor *type, struct span packed)
{
    ProtobufCAllocator in_arena = arena_allocator(a);
    return protobuf_c_message_unpack(type, &in_arena, packed.len, (const uint8_t *)packed.ptr);
}

static bool submission_valid(const Remuda__Submission *s)
{
    return s->domain[0] && s->n_recipients >= 1 && s->n_recipients <= 100;
}

Remuda__Record *record_decode(struct arena *a, struct span packed)
{
    Remuda__Record *r = decode(a, &remuda__record__descriptor, packed);
    if (!r || r->id.len != 16 || r->n_submissions == 0)
        return NULL;
    if (r->kind == REMUDA__RECORD_KIND__RECORD_STATE)
        return r->learned && r->n_submissions == 1 ? r : NULL;
    for (size_t i = 0; i < r->n_submissions; i++)
        if (!submission_valid(r->submissions[i]))
            return NULL;
    return r;
}

Remuda__ChunkHeader *chunk_decode(struct arena *a, struct span packed)
{
    Remuda__ChunkHeader *c = decode(a, &remuda__chunk_header__descriptor, packed);
    return c && c->id.len == 16 ? c : NULL;
}

Remuda__BacklogRow *row_decode(struct arena *a, struct span packed)
{
    Remuda__BacklogRow *row = decode(a, &remuda__backlog_row__descriptor, packed);
    return row && row->id && row->message_id.len == 16 ? row : NULL;
}

Remuda__EventBatch *event_batch_decode(struct arena *a, struct span packed)
{
    return decode(a, &remuda__event_batch__descriptor, packed);
}

Remuda__Event *event_decode(struct arena *a, struct span packed)
{
    return decode(a, &remuda__event__descriptor, packed);
}

static bool counts_hold(const Remuda__Counts *c)
{
    enum { CLASSES = 5 };
    if (!c || c->n_hour != CLASSES || c->n_day != CLASSES || c->n_week != CLASSES)
        return !c;
    for (size_t i = 0; i < CLASSES; i++)
        if (!(c->hour[i] >= 0 && c->day[i] >= 0 && c->week[i] >= 0 && c->hour[i] < 1e15 && c->day[i] < 1e15 &&
              c->week[i] < 1e15))
            return false;
    return true;
}

/* An import may hold anything: numbers that later sums and casts can bear. */
static bool pair_holds(const Remuda__PairState *p)
{
    const uint64_t most = 1ull << 50;
    return p->source[0] && p->provider[0] && counts_hold(p->counts) && p->pace >= 0 && p->pace < 1e9 &&
           p->pace_from >= 0 && p->pace_from < 1e9 && p->suspended_for_ms < most && p->relapses <= 64 &&
           p->connections >= 0 && p->connections < 1e9 && p->day <= UINT32_MAX && p->used < most &&
           p->granted < most && p->accepted < most && p->refused < most && p->hour < most &&
           p->stopped_until_ms < most && p->suspended_until_ms < most && p->alert_ms < most;
}

Remuda__PairState *pair_decode(struct arena *a, struct span packed)
{
    Remuda__PairState *p = decode(a, &remuda__pair_state__descriptor, packed);
    return p && pair_holds(p) ? p : NULL;
}

Remuda__OpenState *open_decode(struct arena *a, struct span packed)
{
    return decode(a, &remuda__open_state__descriptor, packed);
}

Remuda__TenantState *tenant_decode(struct arena *a, struct span packed)
{
    Remuda__TenantState *t = decode(a, &remuda__tenant_state__descriptor, packed);
    return t && t->tenant[0] && t->provider[0] && counts_hold(t->counts) ? t : NULL;
}

static bool window_holds(const Remuda__QuotaWindow *w)
{
    const uint64_t most = 1ull << 50;
    return w && w->number < most && w->claimed < most && w->before < most;
}

Remuda__QuotaClaim *quota_claim_decode(struct arena *a, struct span packed)
{
    Remuda__QuotaClaim *c = decode(a, &remuda__quota_claim__descriptor, packed);
    return c && window_holds(c->minute) && window_holds(c->day) ? c : NULL;
}

static bool count_holds(double n)
{
    return n >= 0 && n < 1e15;
}

static bool evidence_holds(const Remuda__TenantEvidence *e)
{
    const Remuda__TenantWeek *w = e ? e->week : NULL;
    bool week = !w || (count_holds(w->recipients) && count_holds(w->bad_mailbox) &&
                       count_holds(w->complaint) && count_holds(w->refused));
    return !e || (week && count_holds(e->recipients) && count_holds(e->bad_mailbox) &&
                  count_holds(e->complaint) && count_holds(e->refused) && count_holds(e->deferred));
}

Remuda__Control *control_decode(struct arena *a, struct span packed)
{
    Remuda__Control *c = decode(a, &remuda__control__descriptor, packed);
    if (!c || (!c->lanes && !c->tenant && !c->release && !c->migration) ||
        (c->migration && c->migration->id.len != 16))
        return NULL;
    const Remuda__TenantDecision *t = c->tenant;
    bool holds =
        !t || (t->tenant[0] && t->provider[0] && evidence_holds(t->evidence) && evidence_holds(t->ignored));
    for (size_t i = 0; c->release && i < c->release->n_pairs; i++)
        holds = holds && pair_holds(c->release->pairs[i]);
    return holds ? c : NULL;
}

void proto_pack(struct buf *out, const ProtobufCMessage *message)
{
    size_t n = protobuf_c_message_get_packed_size(message);
    protobuf_c_message_pack(message, (uint8_t *)buf_reserve(out, n));
    out->len += n;
}

Remuda__SubmissionId record_submission_id(const Remuda__Record *r, uint32_t partition, uint64_t offset,
                                          size_t i)
{
    const Remuda__Submission *s = r->submissions[i];
    if (s->origin)
        return *s->origin;
    Remuda__SubmissionId id = REMUDA__SUBMISSION_ID__INIT;
    id.partition = partition;
    id.offset = r->carried ? r->carried->origin_offset : offset;
    id.index = s->index;
    return id;
}

/* ---- picking by frames ---- */

static bool take_varint(struct span *rest, uint64_t *out)
{
    *out = 0;
    for (int shift = 0; rest->len && shift < 64; shift += 7) {
        unsigned char c = (unsigned char)*rest->ptr;
        *rest = span_of(rest->ptr + 1, rest->len - 1);
        *out |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80))
            return true;
    }
    return false;
}

bool proto_field_take(struct span *rest, struct proto_field *f)
{
    const char *begin = rest->ptr;
    uint64_t tag, len = 0;
    f->varint = 0;
    if (!take_varint(rest, &tag))
        return false;
    f->number = (uint32_t)(tag >> 3);
    switch (tag & 7) {
    case 0:
        if (!take_varint(rest, &f->varint))
            return false;
        break;
    case 1:
        len = 8;
        break;
    case 2:
        if (!take_varint(rest, &len))
            return false;
        break;
    case 5:
        len = 4;
        break;
    default:
        return false;
    }
    if (len > rest->len)
        return false;
    f->bytes = span_of(rest->ptr, (size_t)len);
    *rest = span_of(rest->ptr + len, rest->len - (size_t)len);
    f->all = span_of(begin, (size_t)(rest->ptr - begin));
    return true;
}

enum { RECORD_CHUNKS = 8, RECORD_SUBMISSIONS = 13, SUBMISSION_INDEX = 1 };

static bool index_is(struct span submission, uint32_t index)
{
    struct proto_field f = {0};
    uint64_t found = 0;
    while (submission.len && proto_field_take(&submission, &f))
        if (f.number == SUBMISSION_INDEX)
            found = f.varint;
    return found == index;
}

bool record_is_chunked(struct span packed)
{
    struct proto_field f = {0};
    while (packed.len && proto_field_take(&packed, &f))
        if (f.number == RECORD_CHUNKS)
            return true;
    return false;
}

bool record_pick(struct span packed, uint32_t index, struct buf *out)
{
    struct proto_field f = {0};
    bool found = false;
    while (packed.len) {
        if (!proto_field_take(&packed, &f))
            return false;
        bool submission = f.number == RECORD_SUBMISSIONS;
        if (submission && !index_is(f.bytes, index))
            continue;
        found = found || submission;
        buf_add_span(out, f.all);
    }
    return found;
}
