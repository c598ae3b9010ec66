/* Shared messages: counting and decoding. */
#include "queue/message.h"

#include <stdatomic.h>
#include <stdlib.h>

struct message *message_new(void)
{
    struct message *m = calloc(1, sizeof(*m));
    ENSURE(m);
    atomic_init(&m->refs, 1);
    arena_init(&m->arena);
    m->record = arena_alloc(&m->arena, sizeof(*m->record));
    remuda__record__init(m->record);
    return m;
}

int message_decode(struct span value, bool with_body, struct message **out)
{
    struct mail_view view;
    size_t need;
    if (mail_view(value, &view, &need) != RM_OK || view.kind != MAIL_RECORD)
        return RM_ECORRUPT;
    struct message *m = message_new();
    Remuda__Record *record = record_decode(&m->arena, view.header);
    if (!record) {
        message_unref(m);
        return RM_ECORRUPT;
    }
    m->record = record;
    message_count(m);
    if (with_body && record->n_chunks == 0)
        m->body = blob_of(value.ptr + view.body_at, value.len - view.body_at);
    *out = m;
    return RM_OK;
}

int message_decode_one(struct span value, uint32_t index, struct message **out)
{
    struct mail_view view;
    size_t need;
    if (mail_view(value, &view, &need) != RM_OK || view.kind != MAIL_RECORD)
        return RM_ECORRUPT;
    struct buf picked = BUF_INIT;
    bool some = record_pick(view.header, index, &picked);
    struct message *m = message_new();
    m->record = record_decode(&m->arena, some ? buf_span(&picked) : view.header);
    buf_fini(&picked);
    if (!m->record) {
        message_unref(m);
        return RM_ECORRUPT;
    }
    message_count(m);
    *out = m;
    return RM_OK;
}

void message_count(struct message *m)
{
    size_t held = arena_held_bytes(&m->arena);
    blob_count((ptrdiff_t)(held - m->counted));
    m->counted = held;
}

struct message *message_ref(struct message *m)
{
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void message_unref(struct message *m)
{
    if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
        return;
    blob_unref(m->body);
    blob_count(-(ptrdiff_t)m->counted);
    arena_fini(&m->arena);
    free(m);
}
