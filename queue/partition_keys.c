/*
 * Numbers of transfers, the giver's side. A number is (epoch, count within it), so it is never used for two
 * copies: an owner counts in an epoch that only it has had. It is open from the decision until the final of
 * what it moved is durable; the lowest open one is the floor that each copy carries, below which the
 * receivers forget.
 */
#include <stdlib.h>

#include "queue/partition_private.h"

/* The first that is not below n. */
static size_t seek(const struct partition *p, struct transfer_number n)
{
    size_t low = 0, high = p->n_numbers;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (transfer_number_order(p->numbers[mid].number, n) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool is_at(const struct partition *p, size_t at, struct transfer_number n)
{
    return at < p->n_numbers && transfer_number_order(p->numbers[at].number, n) == 0;
}

void partition_number_resume(struct partition *p, struct transfer_number n)
{
    size_t at = seek(p, n);
    if (is_at(p, at, n)) {
        p->numbers[at].step = NUMBER_OPEN;
        return;
    }
    if (p->n_numbers == p->cap_numbers) {
        p->cap_numbers = p->cap_numbers ? p->cap_numbers * 2 : 16;
        p->numbers = realloc(p->numbers, p->cap_numbers * sizeof(*p->numbers));
        ENSURE(p->numbers);
    }
    memmove(&p->numbers[at + 1], &p->numbers[at], (p->n_numbers - at) * sizeof(*p->numbers));
    p->numbers[at] = (struct open_number){.number = n, .step = NUMBER_OPEN};
    p->n_numbers++;
}

struct transfer_number partition_number_new(struct partition *p)
{
    struct transfer_number n = {p->epoch, ++p->last_number};
    partition_number_resume(p, n);
    return n;
}

void partition_number_close(struct partition *p, struct transfer_number n)
{
    size_t at = seek(p, n);
    ENSURE(is_at(p, at, n));
    p->numbers[at].step = NUMBER_GATHERED;
    partition_mark_dirty(p);
}

void partition_number_done(struct partition *p, struct transfer_number n)
{
    if (is_at(p, seek(p, n), n))
        partition_number_close(p, n);
}

void partition_number_fill(const struct partition *p, struct transfer_number n, Remuda__Transfer *out)
{
    struct transfer_number floor = p->n_numbers ? p->numbers[0].number : n;
    out->partition = p->number;
    out->epoch = n.epoch;
    out->sequence = n.sequence;
    out->floor_epoch = floor.epoch;
    out->floor = floor.sequence;
}

void partition_number_report(struct partition *p, const struct transfer *bound, Remuda__Transfer *out)
{
    struct transfer_number n = bound ? partition_transfer_number(bound) : partition_number_new(p);
    partition_number_fill(p, n, out);
    partition_number_close(p, n);
}

void partition_numbers_flush(struct partition *p)
{
    for (size_t i = 0; i < p->n_numbers; i++)
        if (p->numbers[i].step == NUMBER_GATHERED)
            p->numbers[i].step = NUMBER_IN_FLIGHT;
}

void partition_numbers_flushed(struct partition *p)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->n_numbers; i++)
        if (p->numbers[i].step != NUMBER_IN_FLIGHT)
            p->numbers[kept++] = p->numbers[i];
    p->n_numbers = kept;
}

void partition_numbers_load(struct partition *p, struct log_reader *r)
{
    struct span from = SPAN_LIT("H"), after = span_str(NULL), key, row_key, value;
    while (log_read_index(r, p->number, from, after, &key, &row_key) && key.ptr[0] == 'H') {
        struct arena a = ARENA_INIT;
        const Remuda__BacklogRow *row =
            log_read_key(r, LOG_BACKLOG, p->number, row_key, &value) == RM_OK ? row_decode(&a, value) : NULL;
        if (row && row->state == REMUDA__ROW_STATE__ROW_TRANSFERRING && row->transfer_to)
            partition_number_resume(
                p, (struct transfer_number){row->transfer_to->epoch, row->transfer_to->sequence});
        arena_fini(&a);
        from = key;
        after = row_key;
    }
}
