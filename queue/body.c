/*
 * Bodies in pieces. Which piece comes next and how many bytes have been given out is all the state there is.
 * What stands in the log is checked against the record before it is handed out: a receiver must never get a
 * part of a message, or of another one, as a whole.
 */
#include "queue/body.h"

void body_read_begin(struct body_reader *r, const struct body_source *source)
{
    *r = (struct body_reader){.source = *source};
}

/* The chunk is number r->next_piece of this very message. */
static bool chunk_belongs(const struct body_reader *r, struct span header)
{
    const Remuda__Record *record = r->source.message->record;
    struct arena a = ARENA_INIT;
    const Remuda__ChunkHeader *h = chunk_decode(&a, header);
    bool same = h && h->sequence == r->next_piece && h->id.len == record->id.len &&
                (h->id.len == 0 || memcmp(h->id.data, record->id.data, h->id.len) == 0);
    arena_fini(&a);
    return same;
}

static int read_piece(struct body_reader *r, uint64_t offset, enum mail_kind kind)
{
    struct log_reader *reader;
    struct span value;
    struct mail_view view;
    size_t need;
    int err = log_read_begin(r->source.log, &reader);
    if (err != RM_OK)
        return err;
    err = log_read_at(reader, LOG_MAIL, r->source.partition, offset, &value);
    if (err == RM_OK && (mail_view(value, &view, &need) != RM_OK || view.kind != kind))
        err = RM_ECORRUPT;
    if (err == RM_OK && kind == MAIL_CHUNK && !chunk_belongs(r, view.header))
        err = RM_ECORRUPT;
    if (err == RM_OK)
        r->held = blob_of(value.ptr + view.body_at, value.len - view.body_at);
    log_read_end(reader);
    return err;
}

static int whole_body(struct body_reader *r)
{
    if (!r->source.message->body)
        return read_piece(r, r->source.at, MAIL_RECORD);
    r->held = blob_ref(r->source.message->body);
    return RM_OK;
}

int body_read_next(struct body_reader *r, struct span *piece)
{
    const Remuda__Record *record = r->source.message->record;
    size_t pieces = record->n_chunks ? record->n_chunks : 1;
    *piece = span_of(NULL, 0);
    body_read_end(r);
    if (r->next_piece >= pieces)
        return r->given == record->body_bytes ? RM_OK : RM_ECORRUPT;
    int err =
        record->n_chunks ? read_piece(r, record->chunks[r->next_piece]->offset, MAIL_CHUNK) : whole_body(r);
    if (err != RM_OK)
        return err;
    r->next_piece++;
    r->given += r->held->len;
    *piece = blob_span(r->held);
    return RM_OK;
}

void body_read_end(struct body_reader *r)
{
    blob_unref(r->held);
    r->held = NULL;
}
