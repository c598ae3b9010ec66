/*
 * Failures of which the sender gets a report, where report, event and row do not become durable together.
 * Else a report could be durable and its owner die before anything says why it was made; the next owner would
 * try again, and the sender hold a report that is not true any more. The steps of tests/model/report.pml:
 *
 *   seal_event, seal_put (a): a row in ROW_TRANSFERRING with the event to be told and the report's number:
 * decided
 *   -> durable and read back with no newer claim before it: bound, also for an owner after this one
 * (seal_resume)
 *   -> seal_transfer: (b) the report under that number, (c) the event, and what comes next, in one flush,
 * whose order makes the report durable first
 *
 * Until (a) binds the recipients are pending in it. A delivery that another owner tells before (b) takes it
 * back (seal_drop).
 */
#include <stdlib.h>

#include "lib/base/crashpoint.h"
#include "relay/delivery/delivery_private.h"

struct sealed {
    struct arena arena; /* the event's */
    Remuda__Event *event;
    Remuda__TransferTo number; /* of the report; it names no destination */
    struct transfer *transfer; /* from seal_put or seal_resume on */
};

bool seal_is_needless(const struct sub *s)
{
    return log_capabilities(s->owner->delivery->shard->node->log) & LOG_ATOMIC;
}

void seal_event(struct sub *s, const Remuda__Event *e)
{
    struct sealed *sealed = calloc(1, sizeof(*sealed));
    struct buf packed = BUF_INIT;
    ENSURE(sealed && !s->sealed);
    proto_pack(&packed, &e->base);
    sealed->event = event_decode(&sealed->arena, buf_span(&packed));
    ENSURE(sealed->event);
    buf_fini(&packed);
    remuda__transfer_to__init(&sealed->number);
    sealed->number.partition = s->owner->number;
    sealed->number.kind = REMUDA__TRANSFER_KIND__TRANSFER_BOUNCE;
    s->sealed = sealed;
}

void seal_free(struct sub *s)
{
    if (!s->sealed)
        return;
    arena_fini(&s->sealed->arena);
    free(s->sealed);
    s->sealed = NULL;
}

uint32_t seal_left(const struct sub *s)
{
    return s->n_pending - (s->sealed ? (uint32_t)s->sealed->event->n_recipients : 0);
}

void seal_fill_row(const struct sub *s, Remuda__BacklogRow *row)
{
    row->sealed = s->sealed->event;
    row->transfer_to = &s->sealed->number;
}

static struct transfer_options options_of(struct sub *s)
{
    return (struct transfer_options){.message = s->message,
                                     .at = s->at,
                                     .target = s->owner->number,
                                     .kind = REMUDA__TRANSFER_KIND__TRANSFER_BOUNCE,
                                     .arg = s};
}

static void tell(struct sub *s, const struct transfer *bound)
{
    settle_sealed(s, s->sealed->event, bound);
    seal_free(s);
    if (s->n_pending && !s->due_ms)
        sub_put_row(s, REMUDA__ROW_STATE__ROW_IN_HAND, "in-hand"); /* no row binds it any more */
    settle_go_on(s, s->due_ms);
}

void seal_put(struct sub *s, uint64_t due_ms)
{
    struct sealed *sealed = s->sealed;
    s->due_ms = due_ms;
    if (seal_is_needless(s)) { /* it came from another log */
        tell(s, NULL);
        return;
    }
    struct transfer_options options = options_of(s);
    sealed->transfer = partition_transfer_new(s->owner->partition, &options);
    struct transfer_number n = partition_transfer_number(sealed->transfer);
    sealed->number.epoch = n.epoch;
    sealed->number.sequence = n.sequence;
    sub_move(s, SUB_MOVING);
    sub_put_row(s, REMUDA__ROW_STATE__ROW_TRANSFERRING, "transfer");
}

void seal_take_row(struct sub *s, const Remuda__BacklogRow *row)
{
    if (row->sealed && row->transfer_to->kind == REMUDA__TRANSFER_KIND__TRANSFER_BOUNCE) {
        seal_event(s, row->sealed);
        s->sealed->number.epoch = row->transfer_to->epoch;
        s->sealed->number.sequence = row->transfer_to->sequence;
    }
}

void seal_resume(struct sub *s)
{
    struct transfer_number n = {s->sealed->number.epoch, s->sealed->number.sequence};
    struct transfer_options options = options_of(s);
    s->sealed->transfer = partition_transfer_resume(s->owner->partition, &options, n);
    sub_move(s, SUB_MOVING);
}

void seal_transfer(struct transfer *t)
{
    CRASH_POINT(REPORT_BOUND);
    tell(partition_transfer_arg(t), t);
}

void seal_drop(struct sub *s)
{
    partition_transfer_drop(s->sealed->transfer);
    seal_free(s);
}
