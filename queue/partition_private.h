/* What the files of the partition's life share. Nobody else includes this. */
#ifndef REMUDA_QUEUE_PARTITION_PRIVATE_H
#define REMUDA_QUEUE_PARTITION_PRIVATE_H

#include "lib/base/list.h"
#include "lib/base/map.h"
#include "queue/partition.h"

/* A record at or above the watermark. */
struct open_record {
    uint64_t offset;
    uint32_t uncovered; /* submissions neither final nor in backlog */
    uint64_t events_at; /* finals of its submissions, and of later records', are in no event below this */
};

/* A place in mail that the delete line may not pass although the watermark has. */
struct pin {
    uint64_t first;    /* lowest offset needed */
    uint64_t record;   /* chunked record: needed while the durable watermark is not past it; else 0 */
    uint64_t until_ms; /* young chunks: wall clock; else 0 */
    uint8_t id[16];    /* young chunks: the message they belong to */
    size_t chunks;     /* how many of them */
};

/* The number of a transfer whose final is not durable. */
enum number_step { NUMBER_OPEN, NUMBER_GATHERED, NUMBER_IN_FLIGHT };
struct open_number {
    struct transfer_number number;
    enum number_step step;
};

/* A copy of a record to another place, in steps because chunks come first (partition_carry.c). */
struct carry {
    struct list node;
    struct partition *partition;
    struct message *message;
    uint64_t from;
    uint64_t *chunk_offsets;
    size_t next_chunk;
};

struct partition {
    struct log *log;
    struct log_client *client;
    const struct partition_events *events;
    uint32_t number;
    uint64_t epoch;

    /* open records, ascending by offset: a ring of cap (a power of two) entries */
    struct open_record *ring;
    size_t ring_head, ring_count, ring_cap;
    uint64_t next_offset; /* one past the last record told */

    /* after a start */
    uint64_t recover_end;    /* records below it may be final or have rows already */
    uint64_t recover_events; /* their finals are in no event below this */
    bool recovered, first_flush_done;
    struct map finals; /* subid -> offset of the copy that was final, plus 1; by events behind the position */

    struct map told; /* subid -> struct told (partition_told.c): by events behind the position, not final */

    uint64_t *unread; /* records that could not be read: open, tried again */
    size_t n_unread, cap_unread;
    struct map buried; /* offsets put into dead in this life */

    /* gathered for the next flush */
    struct log_batch *appends;
    struct buf event_batch;
    struct buf taken;              /* fields `records` of Taken */
    uint64_t taken_from, taken_to; /* what they are of */
    bool taken_ends;               /* one of them is an end: it goes with the next flush */
    struct buf row_ops;            /* row_key, u32 length (UINT32_MAX: erase), value */
    struct buf state_ops;          /* u32 log, u32 length of key, u32 length of value, key, value */
    bool has_copies;               /* appends has transfers or bounces */
    bool dirty;
    uint64_t events_next; /* no event that is yet to be written will stand below this */

    /* in flight */
    struct log_batch *flight;
    uint64_t flight_since_us; /* submitted */
    bool flight_waits;        /* refused, to be submitted again */
    uint64_t flight_watermark, flight_events;
    uint64_t failing_since_us;
    size_t flight_event_op;
    bool flight_has_event, flight_has_copies;
    size_t event_op;        /* in appends: the last event batch that was full, plus 1; 0: none */
    uint64_t event_batches; /* written or gathered in this epoch */

    /* space */
    uint64_t durable_watermark, durable_events, delete_line, events_line;
    struct pin *pins;
    size_t n_pins, cap_pins;
    struct list carries;
    size_t n_carries;
    bool space_due; /* something became durable, or a pin went, since the line was last looked for */

    struct list transfers;       /* struct transfer */
    size_t n_copying;            /* of their chunks on the way */
    uint64_t last_number;        /* given in this epoch */
    struct open_number *numbers; /* ascending */
    size_t n_numbers, cap_numbers;

    struct map seen; /* giver partition -> struct seen */
    bool closed, lost;
    struct log_batch *late; /* lost: deliveries that had been told and are not known to be durable */

    /* a log that others write to (partition_shared.c) */
    uint64_t events_read;           /* events below were looked at for what others wrote */
    uint64_t foreign_at;            /* lowest of those whose consequences are not durable yet; 0: none */
    bool foreign_flight;            /* they are in the flush in flight */
    struct buf closed_epochs;       /* whose owners had closed all connections by the start */
    struct map ended, ended_flight; /* submissions whose rows were erased for what others told: gathered; in
                                     * the flush in flight. Until it is durable the rows can still be read */
    struct heard_end *heard;        /* ends of what was busy: looked at again */
    size_t n_heard, cap_heard;

    struct map moved, moved_flight; /* subid -> struct row_place: likewise for moved rows */
    uint64_t carried, dead;
};

/* An end that another owner has told, in the batch of events at `told_at`. */
struct heard_end {
    struct subid id;
    Remuda__EventType type;
    uint64_t record_offset, told_at;
};

/* What carry-forward has made of a row. */
struct row_place {
    uint64_t from, at, first_live;
};

static inline struct span subid_span(const struct subid *id)
{
    return span_of((const char *)id, sizeof(*id));
}

/* Lowest offset not covered. */
uint64_t partition_watermark(const struct partition *p);
/* Finals of records at or above the watermark are in no event below this. */
uint64_t partition_events_position(const struct partition *p);
void partition_mark_dirty(struct partition *p);
void partition_recovered(struct partition *p);
/* Tries the records again that could not be read. */
void partition_read_again(struct partition *p);
/* A carried record was read: moves the rows that still point to the old copy. */
void partition_take_carried(struct partition *p, struct message *m, uint64_t offset);
void partition_carry_free_all(struct partition *p);
/* The row gets the place to which its record was carried, where that is not durable yet. */
void partition_row_moved(const struct partition *p, Remuda__BacklogRow *row);
/* Where a row stands that was moved with a flush not durable yet; NULL. */
const struct row_place *partition_row_place(const struct partition *p, struct subid id);
/* What was gathered is in flight; is durable. */
void partition_carry_flush(struct partition *p);
void partition_carry_flushed(struct partition *p);

/* dead records (partition_dead.c) */
/* RM_EAGAIN, and nothing is done: its chunks are being fetched. */
int partition_bury(struct partition *p, struct log_reader *r, uint64_t offset, struct span value,
                   const char *reason) MUST_CHECK;

/* ---- partition_shared.c: what a log without LOG_ATOMIC, that several processes write, asks for ---- */

static inline bool partition_is_shared(const struct partition *p)
{
    return !(log_capabilities(p->log) & LOG_ATOMIC);
}
/* An event that is no end, behind the position or of another owner. */
void partition_shared_told(struct partition *p, struct log_reader *r, const Remuda__Event *e);
/* A final behind the position: the row that it should have erased goes. */
void partition_shared_final(struct partition *p, struct log_reader *r, const Remuda__Event *e);
/* Rows of which only a void value is left: in doubt, unless the submission has had its end or is read again.
 */
void partition_shared_voids(struct partition *p, struct log_reader *r);
/* Reads what others have told in events since it was looked last. */
void partition_shared_read(struct partition *p);
/* At the start: what a batch says of the connections of its owner. */
void partition_shared_closed(struct partition *p, const Remuda__EventBatch *batch);
/* What was gathered is in flight; is durable. */
void partition_shared_flush(struct partition *p);
void partition_shared_flushed(struct partition *p);
/* Where a position may stand at most: before what others told and is not durable here. */
uint64_t partition_shared_position(const struct partition *p, uint64_t events_at);

/* ---- partition_told.c: what was told of some recipients of a submission that goes on, and its row does not
 * say ---- */

/* An event behind the position, in order. */
void partition_told_note(struct partition *p, const Remuda__Event *e);
/* All have been noted: their rows are written. */
void partition_told_write(struct partition *p, struct log_reader *r);
/* An earlier owner has told it now. True when a row was written for it. */
bool partition_told_late(struct partition *p, struct log_reader *r, const Remuda__Event *e);
/* Into what was read of a row. */
void partition_told_merge(const struct partition *p, Remuda__BacklogRow *row, struct arena *a);
void partition_told_free(struct partition *p);

/* ---- partition_taken.c: what was read of mail, for the account ---- */

/* A record or chunk at offset was read, whatever becomes of it. */
void partition_taken_to(struct partition *p, uint64_t offset);
/* Its submissions are the owner's from now on; of a carried record: it stands here. */
void partition_taken_record(struct partition *p, const Remuda__Record *record, uint64_t offset);
/* Nothing is known of it (TAKEN_DEAD, TAKEN_UNREADABLE). */
void partition_taken_mark(struct partition *p, Remuda__TakenKind kind, uint64_t offset);
/* TAKEN_ENDED, TAKEN_BURIED: goes with the flush that erases its row. */
void partition_taken_end(struct partition *p, Remuda__TakenKind kind, struct subid id, uint64_t at,
                         struct span message_id);
/* Has to be written with this flush: it has an end, or a position with this watermark passes what was read.
 */
bool partition_taken_due(const struct partition *p, uint64_t watermark);
/* Adds the field to the batch of events that is about to be closed. */
void partition_taken_close(struct partition *p);
/* Closes a batch of its own (partition_flush.c). */
void partition_events_close(struct partition *p);
void partition_add_varint(struct buf *b, uint64_t n);

/* seen transfers (partition_seen.c) */
/* False: another copy with its key was read before, or the giver has said that it can come no more. */
bool partition_seen_take(struct partition *p, const Remuda__Record *record, uint64_t offset);
/* Adds the keys that a position with this watermark passes. */
void partition_seen_flush(struct partition *p, uint64_t watermark, struct log_batch *b);
void partition_seen_load(struct partition *p, struct log_reader *r);
void partition_seen_free(struct partition *p);

/* numbers of transfers (partition_keys.c) */
struct transfer_number partition_number_new(struct partition *p);
/* Giver, number and floor. */
void partition_number_fill(const struct partition *p, struct transfer_number n, Remuda__Transfer *out);
/* The final of what it moved is gathered. */
void partition_number_close(struct partition *p, struct transfer_number n);
/* The same for one that an earlier owner has ended, if it is known. */
void partition_number_done(struct partition *p, struct transfer_number n);
/* Open again, also when it was not known. */
void partition_number_resume(struct partition *p, struct transfer_number n);
/* What is gathered is in flight; is durable. */
void partition_numbers_flush(struct partition *p);
void partition_numbers_flushed(struct partition *p);
/* Those that rows are bound to. */
void partition_numbers_load(struct partition *p, struct log_reader *r);

/* transfers (partition_transfer.c) */
/* The rows of those gathered go with the flush; are durable and read back. */
void partition_transfers_flush(struct partition *p);
void partition_transfers_flushed(struct partition *p);
/* A carried record was read: it is read from there. */
void partition_transfers_moved(struct partition *p, struct message *m, uint64_t offset);
/* Tries what could not be carried out. */
void partition_transfers_again(struct partition *p);
/* Waits for what is under way, and frees all. */
void partition_transfers_end(struct partition *p);

/* space (partition_space.c) */
void partition_make_space(struct partition *p, uint64_t wall_ms, uint64_t events_keep);
void partition_pin_chunk(struct partition *p, const Remuda__ChunkHeader *c, uint64_t offset);
void partition_pin_record(struct partition *p, const Remuda__Record *r, uint64_t offset);
uint64_t partition_young_chunks(const struct partition *p);

static inline uint64_t record_first_live(const Remuda__Record *r, uint64_t offset)
{
    return r->n_chunks && r->chunks[0]->offset < offset ? r->chunks[0]->offset : offset;
}

#endif
