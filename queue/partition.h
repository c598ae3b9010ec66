/*
 * The life of one owned partition on its log: which submissions are open, the watermark, the finals since the
 * last position, transfers seen, what may be deleted, what must be carried forward.
 *
 * Invariant of the watermark: every submission of a record below it is final (its event is durable) or has a
 * backlog row. What the owner learns is gathered and written as one batch per flush, in the order
 * transfers and bounces -> events -> backlog -> position; one flush is in flight at a time, the next gathers
 * meanwhile. A flush that fails is repeated until it succeeds: nothing of it is forgotten.
 *
 * All on the owner's thread (the thread of its log client).
 */
#ifndef REMUDA_QUEUE_PARTITION_H
#define REMUDA_QUEUE_PARTITION_H

#include "queue/log.h"

struct partition;
struct transfer;

/* The identity of a submission as a value. */
struct subid {
    uint64_t offset;
    uint32_t partition;
    uint32_t index;
};

/* The number of a transfer: a count within the epoch of the owner that decided it. Ordered. */
struct transfer_number {
    uint64_t epoch, sequence;
};

static inline int transfer_number_order(struct transfer_number a, struct transfer_number b)
{
    if (a.epoch != b.epoch)
        return a.epoch < b.epoch ? -1 : 1;
    return (a.sequence > b.sequence) - (a.sequence < b.sequence);
}

enum { PARTITION_GUILTY_DEATHS = 2 };

struct partition_events {
    /*
     * A submission to be scheduled: number i of the record at offset. m is borrowed (reference it to keep
     * it); its body may be absent. Called for new ones and, after a start, for those that were open.
     */
    void (*submission)(void *arg, struct message *m, uint64_t offset, size_t i);
    /* Another process that had the partition before has told the end of a submission that is in memory: what
     * the end stands for was durable before it. RM_OK: it is settled here now; RM_EAGAIN: it is busy, ask
     * again; RM_ENOTFOUND: the end says nothing of it. Only in a log that is shared. */
    int (*ended_elsewhere)(void *arg, const Remuda__Event *e);
    /* Another owner, of that epoch, has closed all connections that it had opened. May be NULL. Only in a log
     * that is shared. */
    void (*closed)(void *arg, uint64_t epoch);
    /* An event that is no end: one behind the position, from within partition_open, or what another process
     * tells later. Who wrote it may have died before what was to follow it. Only in a log that is shared; may
     * be NULL. */
    void (*told_before)(void *arg, struct log_reader *r, const Remuda__Event *e);
    /* A flush became durable: everything put before the one that began it is now in the log. */
    void (*flushed)(void *arg);
    /* The record of a submission in memory was copied by carry-forward (m->record->carried says from where):
     * its body is at the new place from now on, its chunks where m says, and the owner puts its row anew.
     * (Rows that are not in memory are rewritten here.) */
    void (*moved)(void *arg, struct subid id, struct message *m, uint64_t at, uint64_t first_live);
    /*
     * All submissions of t may go: with RM_OK call partition_transfer_give and, in the same turn, gather the
     * finals; else (LOG_ATOMIC only) their message cannot be read or copied now, and they are the owner's
     * again. t ends with the call; into another log it ends with sent, and this may be called again before.
     * NULL where no transfers are made.
     */
    void (*transfer)(void *arg, struct transfer *t, int status);
    /* Transfers into another log: the copy is durable there. Gather the finals in the same turn; t ends with
     * the call. */
    void (*sent)(void *arg, struct transfer *t);
    /* True while the submission is in the owner's memory: its record is not carried forward now. */
    bool (*in_memory)(void *arg, struct subid id);
    /* Everything that was in the log at the start has been handed out and a position is durable: senders may
     * be let in. */
    void (*recovered)(void *arg);
    /* How often the process has died of a fatal signal while it worked on the record at offset: from
     * PARTITION_GUILTY_DEATHS on it is put into dead instead of being handed out. May be NULL. */
    unsigned (*deaths)(void *arg, uint64_t offset);
    /* A trouble that an operator must see. */
    void (*trouble)(void *arg, int err, const char *what);
    /* The owner's loop must call partition_flush before it sleeps. */
    void (*want_flush)(void *arg);
    void *arg;
};

/*
 * Reads the position and the finals behind it, then follows the mail log from the watermark. RM_ECORRUPT when
 * the position is missing although the log is not empty: an alert, never a guess.
 * events is borrowed. The callbacks begin with the next log_client_poll.
 */
int partition_open(struct log *log, struct log_client *client, uint32_t number, uint64_t epoch,
                   const struct partition_events *events, struct partition **out) MUST_CHECK;
/* From which offset on an owner reads mail or events, by its position: a log_start_fn. */
uint64_t partition_start_of(enum log_name name, struct span position);
/* Mail that could not be read at first (RM_EAGAIN) can be now. */
void partition_fetched(struct partition *p);
/* Whether the chunks of a record in the partition can be read: RM_OK, or RM_EAGAIN and all are being fetched.
 * One that is gone is no reason to wait: reading the body will tell. */
int partition_chunks_here(const struct partition *p, struct log_reader *r,
                          const Remuda__Record *record) MUST_CHECK;
/*
 * Into a batch of its claimed owner: the position of one that has found nothing, when there is none yet. From
 * then on mail may be appended before an owner follows it. Where there is one: nothing.
 */
void partition_found(struct log_reader *r, uint32_t number, uint64_t epoch, struct log_batch *b);
/* Nothing more is written; what was not flushed is lost to memory only, as by a crash. */
void partition_close(struct partition *p);

/*
 * Another owner has it, or is about to: nothing is read or written any more but events of deliveries, which
 * state the truth whoever writes them; of those gathered and not yet durable too.
 */
void partition_lost(struct partition *p);
/* After partition_lost, now and then: tells again what the log has refused. */
void partition_tell_again(struct partition *p);
/* After partition_lost: tells the owners that come that no connection opened under this epoch is left. */
void partition_closed(struct partition *p);
/* Whether the owner of that epoch had told so by the start. */
bool partition_closed_by(const struct partition *p, uint64_t epoch);
/* The value of a batch of events that tells so of an epoch; out is at least PARTITION_CLOSED_MOST. */
enum { PARTITION_CLOSED_MOST = 16 };
struct span partition_closed_value(uint64_t epoch, char out[PARTITION_CLOSED_MOST]);
/* A batch of it is on its way, or a record that is carried forward or copied. */
bool partition_in_flight(const struct partition *p);

uint32_t partition_number(const struct partition *p);
uint64_t partition_epoch(const struct partition *p);

/* ---- gathering: all of it goes out with the next flush ---------------------------------------------- */

void partition_event(struct partition *p, Remuda__Event *event);      /* epoch is filled in */
void partition_put_row(struct partition *p, Remuda__BacklogRow *row); /* epoch is filled in */
void partition_erase_row(struct partition *p, struct subid id);
/* Another owner has told its end; its row, which can still be read and points to `at`, goes with a flush not
 * durable yet. */
bool partition_row_ended(const struct partition *p, struct subid id, uint64_t at);
/* The same of a submission in memory, its record at `at`, that was busy then (ended_elsewhere): nothing is
 * started any more. */
bool partition_end_heard(const struct partition *p, struct subid id, uint64_t at);
/* A row as it was read gets what is known and not durable yet: the place to which its record was carried, and
 * results that an earlier owner has told. What is new of it lives in a and in p, for the same turn. Whoever
 * loads or changes a row asks: written back with the old place it would keep nothing there from deletion. */
void partition_row_now(const struct partition *p, Remuda__BacklogRow *row, struct arena *a);
/* What an earlier owner has told of recipients of the submission, in this order, the last one counting; for
 * the same turn. */
struct told_result {
    uint32_t index;
    Remuda__RecipientState state;
    uint32_t code;
    char *reply;
};
const struct told_result *partition_told(const struct partition *p, struct subid id, size_t *n);
/* For the account: a submission, its record at `at`, is done with, and no event says so. message_id has 16
 * bytes. */
void partition_ended(struct partition *p, struct subid id, uint64_t at, struct span message_id);
/* A key of state[p] that belongs to the layer above (copied; an empty value erases it). */
void partition_put_state(struct partition *p, struct span key, struct span value);
/* A key of a small compacted log, likewise. */
void partition_put_small(struct partition *p, enum log_name name, struct span key, struct span value);
/* Submission i of the record at offset needs the log no more: it is final or has a row (put before this). */
void partition_cover(struct partition *p, uint64_t offset);
/*
 * A new record in any partition: a transferred copy or a bounce. head as mail_frame_record wrote it; body and
 * hint referenced.
 */
void partition_append(struct partition *p, uint32_t target, struct span head, struct blob *body,
                      struct message *hint);
/* Giver, number and floor of the key of a report that goes with this flush: under the number of `bound`, from
 * events.transfer only, or, with NULL, under one that binds nobody. */
void partition_number_report(struct partition *p, const struct transfer *bound, Remuda__Transfer *key);

/* ---- transfers: one copy of a record for another partition ------------------------------------------ */
/*
 * One of kind TRANSFER_BOUNCE is the report of how a submission has ended: a new message, so nothing is
 * copied. events.transfer appends it with partition_number_report. Not with LOG_ATOMIC, where nothing has to
 * bind.
 */

enum { TRANSFER_FROM_BYTES = 16 };
struct transfer_options {
    struct message *message; /* referenced */
    uint64_t at;             /* where it stands in this partition */
    uint32_t target;
    Remuda__TransferKind kind;
    void *arg; /* for partition_transfer_arg */
    /* Into another log (target is its partition): a client of this thread there. NULL: this log. */
    struct log_client *abroad;
    const uint8_t *from; /* TRANSFER_FROM_BYTES: what this log is called there; borrowed */
};
/*
 * A new one, with its number. Without LOG_ATOMIC, and always into another log, the owner puts a row in
 * ROW_TRANSFERRING, with the destination and that number, for each submission before the next flush: from
 * when that is durable the destination binds it and every later owner.
 */
struct transfer *partition_transfer_new(struct partition *p, const struct transfer_options *o);
/* The one that rows in ROW_TRANSFERRING tell of after a start; all of their submissions go with it. */
struct transfer *partition_transfer_resume(struct partition *p, const struct transfer_options *o,
                                           struct transfer_number number);
struct transfer_number partition_transfer_number(const struct transfer *t);
void *partition_transfer_arg(const struct transfer *t);
Remuda__TransferKind partition_transfer_kind(const struct transfer *t);
/* Of kind TRANSFER_BOUNCE, before events.transfer has told of it: it is not made. Its row, if it has one, is
 * the owner's to erase in the same turn. */
void partition_transfer_drop(struct transfer *t);
/* A further submission may still go with it. */
bool partition_transfer_open(const struct transfer *t);
/* Gathers the copy, or sends it into the other log; from events.transfer only. Each submission has its
 * origin (without which it stands in another log). */
void partition_transfer_give(struct transfer *t, Remuda__Submission **submissions, size_t n,
                             uint64_t table_version);
/* Before partition_flush: gathers the copies that may go with it. */
void partition_prepare(struct partition *p);

/* What events.deaths says, and what is said of a record that has died too often. */
unsigned partition_deaths(const struct partition *p, uint64_t offset);
const char *partition_guilty_reason(void);
/* The record that a row points to cannot be worked on: it goes to dead (once, whatever rows it has) and the
 * row goes. Else nothing is changed: it cannot be read, or not yet (RM_EAGAIN). */
int partition_bury_row(struct partition *p, struct log_reader *r, const Remuda__BacklogRow *row,
                       const char *reason) MUST_CHECK;

/* True when something is gathered or in flight. */
bool partition_dirty(const struct partition *p);
/* Submits what is gathered, unless a flush is in flight (then it follows it). */
void partition_flush(struct partition *p);
/* When the flush in flight began to fail, or was submitted if that is a second ago, boot clock us; 0 while
 * all is well. What is sent meanwhile is sent again if this process ends first. */
uint64_t partition_failing_since_us(const struct partition *p);

/* ---- space ------------------------------------------------------------------------------------------- */

/*
 * Moves the delete line, forgets old chunks, starts to carry records forward where the dead outweighs the
 * living. Call about four times a second. events_keep: offset below which events may go (history), 0: none.
 */
void partition_housekeep(struct partition *p, uint64_t wall_ms, uint64_t events_keep);

struct partition_figures {
    uint64_t watermark, delete_line, end, open_records, carried, dead;
};
void partition_figures(const struct partition *p, struct partition_figures *out);

/* ---- rows -------------------------------------------------------------------------------------------- */

enum { ROW_KEY_BYTES = 16 };
struct row_key {
    unsigned char bytes[ROW_KEY_BYTES];
};
struct row_key row_key_make(struct subid id);
struct subid row_key_parse(struct span key);
struct subid subid_of(const Remuda__SubmissionId *id);
/* Which of the submissions of a record that stands at `at` has this identity; -1: none. */
int record_find(const Remuda__Record *r, uint32_t partition, uint64_t at, struct subid id);

/*
 * The index over rows (the log's schema function). Prefixes:
 *   'T' due_ms                                   by time: deferred and in doubt until their next attempt,
 * held until something is due although nothing has freed 'C' lane, scope, tenant hashes, expires_ms   held,
 * by what blocks them; oldest first 'H'                                          in hand or transferring:
 * looked at after a start only 'A' first_live                               every row, by the place its
 * record needs Numbers are 8 bytes big-endian.
 */
int row_index_keys(struct span value, struct log_index_key out[LOG_INDEX_KEYS_MOST]);

/* The 'C' prefix of (lane, scope, tenant); with tenant NULL of (lane, scope). Returns its length in out->len.
 */
void row_cause_prefix(const char *pool, const char *provider, uint32_t shard, const char *scope,
                      const char *tenant, struct log_index_key *out);
/* The 'T' key of a time. */
void row_due_key(uint64_t due_ms, struct log_index_key *out);

#endif
