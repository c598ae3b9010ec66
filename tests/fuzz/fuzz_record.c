/* Stored values: framing stays inside its bytes; what decodes keeps its bounds and comes back the same. */
#include "proto/codec.h"
#include "tests/fuzz/fuzz.h"

/* Packs, decodes and packs again: the two packed forms are alike. */
static struct buf pack(const ProtobufCMessage *message)
{
    struct buf b = BUF_INIT;
    proto_pack(&b, message);
    return b;
}

static void same(struct buf *a, struct buf *b)
{
    ENSURE(span_eq(buf_span(a), buf_span(b)));
    buf_fini(a);
    buf_fini(b);
}

static bool all_known(const ProtobufCMessage *m);

static bool field_known(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    const char *at = (const char *)m + f->offset;
    if (f->type != PROTOBUF_C_TYPE_MESSAGE) {
        return true;
    }
    if (f->label != PROTOBUF_C_LABEL_REPEATED) {
        const ProtobufCMessage *one = *(ProtobufCMessage *const *)at;
        return one == NULL || all_known(one);
    }
    size_t n = *(const size_t *)((const char *)m + f->quantifier_offset);
    ProtobufCMessage *const *many = *(ProtobufCMessage *const *const *)at;
    for (size_t i = 0; i < n; i++) {
        if (!all_known(many[i])) {
            return false;
        }
    }
    return true;
}

/* No field at any depth that our .proto does not have. Such fields are kept as they came, and protobuf-c
 * writes back what it would not read again (a field numbered 0). */
static bool all_known(const ProtobufCMessage *m)
{
    bool known = m->n_unknown_fields == 0;
    for (unsigned i = 0; known && i < m->descriptor->n_fields; i++) {
        known = field_known(m, &m->descriptor->fields[i]);
    }
    return known;
}

static void try_record(struct arena *a, struct span packed)
{
    Remuda__Record *r = record_decode(a, packed);
    if (r == NULL) {
        return;
    }
    ENSURE(r->id.len == 16 && r->n_submissions > 0);
    for (size_t i = 0; i < r->n_submissions; i++) {
        const Remuda__Submission *s = r->submissions[i];
        ENSURE(s->n_recipients >= 1 && s->n_recipients <= 100 && s->domain[0] != '\0');
        Remuda__SubmissionId id = record_submission_id(r, 3, 77, i);
        ENSURE(s->origin != NULL || (id.partition == 3 && id.index == s->index));
    }
    if (!all_known(&r->base)) {
        return;
    }
    struct buf once = pack(&r->base);
    Remuda__Record *again = record_decode(a, buf_span(&once));
    ENSURE(again != NULL);
    struct buf twice = pack(&again->base);
    same(&once, &twice);
}

static void try_row(struct arena *a, struct span packed)
{
    Remuda__BacklogRow *row = row_decode(a, packed);
    if (row == NULL) {
        return;
    }
    ENSURE(row->id != NULL && row->message_id.len == 16);
    if (!all_known(&row->base)) {
        return;
    }
    struct buf once = pack(&row->base);
    Remuda__BacklogRow *again = row_decode(a, buf_span(&once));
    ENSURE(again != NULL);
    struct buf twice = pack(&again->base);
    same(&once, &twice);
}

static void try_events(struct arena *a, struct span packed)
{
    Remuda__EventBatch *batch = event_batch_decode(a, packed);
    if (batch == NULL || !all_known(&batch->base)) {
        return;
    }
    struct buf once = pack(&batch->base);
    Remuda__EventBatch *again = event_batch_decode(a, buf_span(&once));
    ENSURE(again != NULL && again->n_events == batch->n_events);
    struct buf twice = pack(&again->base);
    same(&once, &twice);
}

static void try_view(struct arena *a, struct span value)
{
    struct mail_view view, part;
    size_t need, need_part;
    int rc = mail_view(value, &view, &need);
    if (rc == RM_EAGAIN) {
        ENSURE(need > value.len && need <= (size_t)MAIL_FRAME_BYTES + MAIL_HEADER_MOST);
        return;
    }
    if (rc != RM_OK) {
        ENSURE(rc == RM_ECORRUPT);
        return;
    }
    ENSURE(fuzz_inside(view.header, value) && view.body_at == need && need <= value.len);
    ENSURE(mail_view(span_of(value.ptr, need - 1), &part, &need_part) == RM_EAGAIN);
    if (view.kind == MAIL_RECORD) {
        try_record(a, view.header);
    } else {
        Remuda__ChunkHeader *c = chunk_decode(a, view.header);
        ENSURE(c == NULL || c->id.len == 16);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct arena a = ARENA_INIT;
    struct span rest = span_of((const char *)data + 1, size - 1);
    switch (data[0] & 3) {
    case 0:
        try_view(&a, rest);
        break;
    case 1:
        try_record(&a, rest);
        break;
    case 2:
        try_row(&a, rest);
        break;
    default:
        try_events(&a, rest);
    }
    arena_fini(&a);
    return 0;
}
