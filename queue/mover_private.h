/* What the files of the mover share. Nobody else includes this. */
#ifndef REMUDA_QUEUE_MOVER_PRIVATE_H
#define REMUDA_QUEUE_MOVER_PRIVATE_H

#include "lib/base/list.h"
#include "lib/base/map.h"
#include "queue/mover.h"

/* A submission that waits, until its final is gathered. */
struct item {
    struct list node; /* mover->waiting; from when it is bound on, parcel->items */
    struct subid id;
    uint64_t at, first_live, told_at;
    struct message *message; /* a reference */
    const Remuda__Submission *submission;
    struct arena arena;      /* of row */
    Remuda__BacklogRow *row; /* as it was found; NULL: it had none */
    size_t row_bytes;
    bool has_row, covered, told; /* told: its acceptance */
    Remuda__TransferTo to;
    struct parcel *parcel; /* NULL: not bound */
};

/* One copy. */
struct parcel {
    struct list node; /* mover->parcels */
    struct list items;
    size_t n, row_bytes;
    uint64_t at, bytes;
    uint32_t target;
    bool within; /* into another partition of the same log */
};

struct mover {
    struct mover_options o;
    struct partition *partition;
    struct partition_events events;
    struct map items; /* subid -> struct item */
    struct list waiting, parcels;
    size_t n_waiting, n_parcels;
    uint64_t flight_bytes;
    bool recovered, settled;
    unsigned char cursor[ROW_KEY_BYTES + 1];
    bool has_cursor;
    uint64_t pass_found, pass_taken; /* rows met in this pass over all of them; of them, those taken */
    bool quiet;                      /* nothing has been under way in this pass */
    bool empty;                      /* the last pass met none */
    bool troubled;                   /* told */
    struct message *last;            /* of the row read last: its neighbours are of the same record */
    uint64_t last_at;
    uint64_t housekept_ms;
    struct mover_figures figures;
};

static inline uint64_t record_first(const Remuda__Record *r, uint64_t offset)
{
    return r->n_chunks && r->chunks[0]->offset < offset ? r->chunks[0]->offset : offset;
}

/* ---- mover_copy.c ---- */

/* Its row, bound to its destination. */
void mover_put_row(struct mover *m, const struct item *it);
/* What still waits of the parcel's submissions, with all that is known of it. */
void mover_give(struct mover *m, struct parcel *p, struct transfer *t);
/* Its final: where it went. */
void mover_tell(struct mover *m, const struct item *it);

#endif
