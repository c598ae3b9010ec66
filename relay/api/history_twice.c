/*
 * Batches of events that stand twice in the log: a flush whose answer was lost is written again. The second
 * one has the number of the first, and follows it closely: one flush of a partition is on its way at a time.
 */
#include "relay/api/history_private.h"

bool history_batch_note(struct history_batches *seen, const struct history_batch *b)
{
    if (!b->sequence)
        return false;
    for (size_t i = 0; i < HISTORY_RECENT; i++)
        if (seen->list[i].offset && seen->list[i].offset < b->offset && seen->list[i].epoch == b->epoch &&
            seen->list[i].sequence == b->sequence)
            return true;
    seen->list[seen->next++ % HISTORY_RECENT] = *b;
    return false;
}

static bool note(struct history_batches *seen, const Remuda__EventBatch *b, uint64_t offset)
{
    return history_batch_note(seen, &(struct history_batch){b->epoch, b->sequence, offset});
}

/* Those before the place where indexing goes on after a start. */
static void read_back(struct history_batches *seen, struct log_reader *r, uint32_t partition, uint64_t before)
{
    uint64_t at = before > HISTORY_RECENT ? before - HISTORY_RECENT : 0;
    struct span value;
    for (; log_read_next(r, LOG_EVENTS, partition, &at, &value) && at < before; at++) {
        struct arena a = ARENA_INIT;
        const Remuda__EventBatch *b = event_batch_decode(&a, value);
        if (b)
            (void)note(seen, b, at);
        arena_fini(&a);
    }
    seen->primed = true;
}

bool history_twice(struct history *h, struct log_reader *r, uint32_t partition, const Remuda__EventBatch *b,
                   uint64_t offset)
{
    struct history_batches *seen = &h->batches[partition];
    if (!seen->primed)
        read_back(seen, r, partition, offset);
    return note(seen, b, offset);
}
