/*
 * Records that cannot be worked on go to the log of the dead, whole, and are done with (DESIGN: life of a
 * message, 10): those that do not decode, and those at which the process died twice of a fatal signal. Chunks
 * go ahead of their record, because the mail log gives their space back.
 */
#include "lib/base/clock.h"
#include "queue/partition_private.h"

unsigned partition_deaths(const struct partition *p, uint64_t offset)
{
    return p->events->deaths ? p->events->deaths(p->events->arg, offset) : 0;
}

const char *partition_guilty_reason(void)
{
    return "the process died twice of a fatal signal while it worked on this record";
}

static void append_dead(struct partition *p, uint64_t offset, struct span value, const char *reason)
{
    Remuda__DeadRecord d = REMUDA__DEAD_RECORD__INIT;
    d.partition = p->number;
    d.offset = offset;
    d.reason = (char *)(uintptr_t)reason;
    d.time_ms = clock_wall_ms();
    d.value.data = (uint8_t *)(uintptr_t)value.ptr;
    d.value.len = value.len;
    struct buf packed = BUF_INIT;
    proto_pack(&packed, &d.base);
    if (!p->appends)
        p->appends = log_batch_new(LOG_OWNER);
    log_batch_append(p->appends, LOG_DEAD, 0, buf_span(&packed), NULL, NULL);
    buf_fini(&packed);
}

static int append_chunks(struct partition *p, struct log_reader *r, struct span value)
{
    struct message *m;
    struct span chunk;
    if (message_decode(value, false, &m) != RM_OK)
        return RM_OK;
    int err = partition_chunks_here(p, r, m->record);
    for (size_t i = 0; err == RM_OK && i < m->record->n_chunks; i++) {
        uint64_t at = m->record->chunks[i]->offset;
        if (log_read_at(r, LOG_MAIL, p->number, at, &chunk) == RM_OK)
            append_dead(p, at, chunk, "a chunk of a dead record");
    }
    message_unref(m);
    return err;
}

static struct span offset_span(const uint64_t *offset)
{
    return span_of((const char *)offset, sizeof(*offset));
}

int partition_bury(struct partition *p, struct log_reader *r, uint64_t offset, struct span value,
                   const char *reason)
{
    /* When even looking for its chunks has ended the process, it goes without. */
    int err = partition_deaths(p, offset) <= PARTITION_GUILTY_DEATHS ? append_chunks(p, r, value) : RM_OK;
    if (err != RM_OK)
        return err;
    append_dead(p, offset, value, reason);
    map_put(&p->buried, offset_span(&offset), p);
    p->dead++;
    partition_mark_dirty(p);
    p->events->trouble(p->events->arg, RM_ECORRUPT, reason);
    return RM_OK;
}

int partition_bury_row(struct partition *p, struct log_reader *r, const Remuda__BacklogRow *row,
                       const char *reason)
{
    struct span value, message_id = span_of((const char *)row->message_id.data, row->message_id.len);
    int err = RM_OK;
    if (!map_get(&p->buried, offset_span(&row->at))) {
        err = log_read_at(r, LOG_MAIL, p->number, row->at, &value);
        if (err == RM_OK)
            err = partition_bury(p, r, row->at, value, reason);
    }
    if (err != RM_OK)
        return err;
    partition_taken_end(p, REMUDA__TAKEN_KIND__TAKEN_BURIED, subid_of(row->id), row->at, message_id);
    partition_erase_row(p, subid_of(row->id));
    return RM_OK;
}
