/*
 * The contract of the logs: append-only, partitioned, durable. Two products implement it (queue/embedded on
 * LMDB, queue/kafka on librdkafka) and one for tests (queue/memory); one conformance body
 * (tests/conformance) runs over all of them. Whatever holds only in one backend is a bug.
 *
 * Logs: mail, events, backlog, state are partitioned alike: partition p of each has the same owner.
 * control, audit, dead, suppression, quota, evidence are small and have the single partition 0.
 * Appended logs (mail, events, control, audit, dead) are read by offset. Compacted logs (backlog, state,
 * suppression, quota, evidence) keep the last value of each key; they are written with PUT and ERASE and read
 * by key order from the backend's materialised table, which also keeps the index keys that the schema derives
 * of each backlog value.
 *
 * Writing is by batches. Ops of a batch become durable in their order; none is visible to readers or
 * followers before it is durable. With LOG_ATOMIC the whole batch happens at once or not at all, across
 * partitions too. Batches of one client are applied in the order of their submission. A batch that fails
 * has had no effect in a LOG_ATOMIC backend.
 *
 * Threads: a client belongs to one thread (a shard's loop); its callbacks run there, inside log_client_poll.
 * Reading is allowed on any thread; a reader must end before its loop turn does.
 */
#ifndef REMUDA_QUEUE_LOG_H
#define REMUDA_QUEUE_LOG_H

#include <stdint.h>

#include "lib/base/blob.h"
#include "lib/base/err.h"
#include "lib/base/span.h"
#include "queue/message.h"

enum log_name {
    LOG_MAIL,
    LOG_EVENTS,
    LOG_BACKLOG,
    LOG_STATE,
    LOG_CONTROL,
    LOG_AUDIT,
    LOG_DEAD,
    LOG_SUPPRESSION,
    LOG_QUOTA,
    LOG_EVIDENCE,
    LOG_NAMES
};

enum {
    LOG_ATOMIC = 1,     /* capability: a batch is one transaction */
    LOG_KEY_MOST = 200, /* bytes of a key of a compacted log */
    LOG_INDEX_KEY_MOST = 200,
    LOG_INDEX_KEYS_MOST = 4,     /* index keys of one backlog value */
    LOG_VALUE_MOST = 900 * 1024, /* bytes of a value: under Kafka's default message.max.bytes */
    LOG_PARTITIONS_MOST = 4096,
};

struct log;
struct log_client;
struct log_batch;
struct log_reader;

/* Writes at most LOG_INDEX_KEYS_MOST keys for a backlog value and returns how many. Pure; called on the
 * backend's thread. A value that does not decode has no keys. */
struct log_index_key {
    unsigned char bytes[LOG_INDEX_KEY_MOST];
    size_t len;
};
typedef int (*log_index_fn)(struct span value, struct log_index_key out[LOG_INDEX_KEYS_MOST]);
/* From which offset on the owner of a partition reads its mail, or its events, by the value of "position" in
 * its state; 0 when that does not decode. Pure. Where they have to be fetched first, only this is before the
 * partition is gained. */
typedef uint64_t (*log_start_fn)(enum log_name name, struct span position);

struct log_options {
    /* 1..LOG_PARTITIONS_MOST, of a log that is made; one that has fewer gets more, one that has more keeps
     * them. */
    uint32_t partitions;
    log_index_fn index;
    log_start_fn start;         /* NULL: all of both is read */
    uint64_t floor_free_bytes;  /* below this much free disk intake is refused */
    uint64_t floor_queue_bytes; /* more than this queued for the writer: intake is refused; 0: 256 MiB */
    uint64_t carry_after;       /* dead records behind which live ones are carried forward (I7); 0: 20,000 */
    /* Called once on the writer's thread for a trouble that an operator must see, or with RM_OK for what
     * should be known; may be NULL. */
    void (*trouble)(void *arg, int err, const char *what);
    void *arg;
};

/* ---- opening and stopping -------------------------------------------------------------------- */

/* Each backend has its own open (queue/embedded/embedded.h ...) that yields a struct log. */
unsigned log_capabilities(const struct log *log);
/* How many there are: grows (log_grow), never falls. Any thread. */
uint32_t log_partitions(const struct log *log);
/*
 * Adds partitions to a log that runs until there are so many; each is owned by somebody soon, here or
 * elsewhere. Waits, so not on a loop's thread; any other, while no client is being freed. RM_OK:
 * log_partitions is at least that (also when it was before); RM_EINVAL: more than LOG_PARTITIONS_MOST; else
 * some may have been added, and it may be asked for again.
 */
int log_grow(struct log *log, uint32_t partitions) MUST_CHECK;
/* Another process is known to have added some: log_partitions grows as soon as they can be used here. Any
 * thread. */
void log_grown(struct log *log, uint32_t partitions);
/* carry_after of the options, never 0. */
uint64_t log_carry_after(const struct log *log);
/* All clients must be freed. Waits for what was submitted. */
void log_close(struct log *log);

/*
 * The process is to end. From by_us (boot-time clock) on, as soon as a batch has waited LOG_STALL_MS for its
 * next answer, it, everything else under way and what is submitted later are refused (RM_ETIMEDOUT, RM_EIO);
 * so is what log_leave finds, when no broker hears it. Nothing changes while answers come, and where the log
 * is on this machine. Any thread.
 */
enum { LOG_STALL_MS = 3000 };
void log_stop_by(struct log *log, uint64_t by_us);
/* Whether that has happened: the process is to end now, without log_close, which waits for connections that
 * nobody answers. Any thread. */
bool log_gave_up(const struct log *log);

/* ---- clients: one per submitting thread -------------------------------------------------------- */

/* wake(arg) is called from the backend's thread when there is something for log_client_poll and there was
 * nothing before: it must only signal the client's thread (an eventfd, uv_async_send). */
struct log_client *log_client_new(struct log *log, void (*wake)(void *arg), void *arg);
/* Runs the callbacks of all batches finished and all appends to follow. On the client's thread. */
void log_client_poll(struct log_client *c);
/* Blocks until all batches submitted so far are finished, then polls: for stopping and tests. */
void log_client_flush(struct log_client *c);
/* Nothing may be in flight; follows end. */
void log_client_free(struct log_client *c);

/* ---- writing ------------------------------------------------------------------------------------ */

/*
 * LOG_INTAKE: a sender's message; refused with RM_EFULL below the floors. LOG_OWNER: outcomes, rows,
 * positions, deletes; they go on while there is any space at all.
 */
enum log_class { LOG_INTAKE, LOG_OWNER };

struct log_batch *log_batch_new(enum log_class class);
/* Frees a batch that was never submitted. */
void log_batch_free(struct log_batch *b);
size_t log_batch_ops(const struct log_batch *b);
size_t log_batch_bytes(const struct log_batch *b);

/*
 * Appends a value (head, then the body's bytes if body is given) to an appended log. head is copied; body is
 * referenced until the batch is done. hint, if given, is referenced and handed to the follower of the
 * partition (mail only). Returns the op's number in the batch, for log_batch_offset.
 */
size_t log_batch_append(struct log_batch *b, enum log_name name, uint32_t partition, struct span head,
                        struct blob *body, struct message *hint);
/* Sets the value of a key of a compacted log. Both are copied. */
void log_batch_put(struct log_batch *b, enum log_name name, uint32_t partition, struct span key,
                   struct span value);
/* Removes a key of a compacted log (a tombstone). Absent is no error. */
void log_batch_erase(struct log_batch *b, enum log_name name, uint32_t partition, struct span key);
/*
 * Allows everything of an appended log below offset to be deleted. Readers never see it again; the space is
 * given back soon after, in bounded pieces (at most 4,096 records a commit).
 */
void log_batch_delete_below(struct log_batch *b, enum log_name name, uint32_t partition, uint64_t offset);

/*
 * Hands the batch to the backend. done(arg, b, status) runs on the client's thread once it is durable
 * (RM_OK) or refused: RM_EFULL (space, floors), RM_EIO (disk or broker failed; it is not durable and, in a
 * backend without LOG_ATOMIC, may still become so), RM_ETIMEDOUT, RM_ECLOSED. The batch is freed after done.
 */
typedef void (*log_done_cb)(void *arg, struct log_batch *b, int status);
void log_submit(struct log_client *c, struct log_batch *b, log_done_cb done, void *arg);
/* In done with a status other than RM_OK: the batch stays the caller's, to be submitted again or freed.
 * Without LOG_ATOMIC some of its ops may be durable; submitted again, appends known to be are not repeated,
 * those never answered are, and may so stand there twice. */
void log_batch_keep(struct log_batch *b);
/* In done with RM_OK: the offset that op number op (an append) got. */
uint64_t log_batch_offset(const struct log_batch *b, size_t op);
/* The next append to that log from op number *op on that is not known to be durable: its head, borrowed from
 * the batch; *op is behind it. Not while the batch is on its way. False: none. */
bool log_batch_next(const struct log_batch *b, enum log_name name, size_t *op, struct span *head);

/* RM_OK, or RM_EFULL while intake would be refused: lets ingress say 452 before the data. Any thread. */
int log_admits(const struct log *log);

/* ---- ownership ----------------------------------------------------------------------------------- */

/*
 * Callbacks on the client's thread. gained: the claim is durable and read back; epoch is its offset in
 * state[p], never 0, larger than any before. losing: another process is to have the partition: start nothing
 * more, write what is known, then call log_release; it is bounded (LOG_RELEASE_MOST_MS), and may be NULL:
 * released at once. lost: nothing more may be started; what only an owner may write fails with RM_ECLOSED
 * from then on. A partition may be gained again after lost.
 */
enum { LOG_RELEASE_MOST_MS = 5000 };
struct log_ownership {
    void (*gained)(void *arg, uint32_t partition, uint64_t epoch);
    void (*losing)(void *arg, uint32_t partition);
    void (*lost)(void *arg, uint32_t partition);
    /* Mail that log_read_at was asked for and did not have can be read now, not always all of it; may be
     * NULL. */
    void (*fetched)(void *arg, uint32_t partition);
    void *arg;
};
/*
 * Joins with the clients that shall own partitions (n of them, one ownership table each, borrowed until
 * log_leave); partition p goes to client p mod n. owner names the node in the claim. Call once, before the
 * clients' threads run or from any thread. Returns when this process's first share is claimed: all partitions
 * in the embedded log, any number in a cluster, where shares change later.
 */
int log_join(struct log *log, struct log_client *const *clients, const struct log_ownership *tables, int n,
             const char *owner) MUST_CHECK;
/* Gives all partitions up; lost is called for each. */
void log_leave(struct log *log);
/* After losing: this process starts nothing more from the partition and has written what it knows. */
void log_release(struct log_client *c, uint32_t partition);
/*
 * Whether an attempt may be started, or its final dot be sent, from an owned partition at this moment: false
 * when the lease of this process has run out (I3). Any thread.
 */
bool log_may_start(const struct log_client *c, uint32_t partition);

/*
 * From now on every durable append to mail[partition] with an offset >= from that was not seen before is told
 * in offset order, exactly once, with its hint if the writer gave one to this process (the callee takes
 * over that reference), else NULL: read it then. Called by the owner, from gained or later.
 */
typedef void (*log_follow_cb)(void *arg, uint32_t partition, uint64_t offset, struct message *hint);
void log_follow(struct log_client *c, uint32_t partition, uint64_t from, log_follow_cb cb, void *arg);
void log_unfollow(struct log_client *c, uint32_t partition);

/* ---- reading --------------------------------------------------------------------------------------- */

/* Whether what this process reads of a partition's rows and state is how it stands: true for all in the
 * embedded log, in a cluster for those that it owns. Any thread. */
bool log_is_current(const struct log *log, uint32_t partition);

/* A snapshot of what is durable. All spans that come from it live until log_read_end. */
int log_read_begin(struct log *log, struct log_reader **out) MUST_CHECK;
void log_read_end(struct log_reader *r);

/* First record not deleted with an offset >= *offset, which is set to the one found; false at the end. */
bool log_read_next(struct log_reader *r, enum log_name name, uint32_t partition, uint64_t *offset,
                   struct span *value);
/* RM_ENOTFOUND when deleted or never written. RM_EAGAIN: mail from before this process had the partition,
 * which is being fetched from now on: its owner's `fetched` is called when there is some. Of what is asked
 * for at once a few thousand records are remembered, those beyond have to be asked for again. */
int log_read_at(struct log_reader *r, enum log_name name, uint32_t partition, uint64_t offset,
                struct span *value) MUST_CHECK;
/* Events from before this process had the partition that are not here yet: those from *from on and below *to,
 * which log_read_next passes over. They come by themselves, in order, while it has the partition. False: none
 * is missing. */
bool log_read_missing(struct log_reader *r, uint32_t partition, uint64_t *from, uint64_t *to);
/* The offset that the next append will get. */
uint64_t log_read_end_offset(struct log_reader *r, enum log_name name, uint32_t partition);

/* Value of a key of a compacted log; RM_ENOTFOUND. */
int log_read_key(struct log_reader *r, enum log_name name, uint32_t partition, struct span key,
                 struct span *value) MUST_CHECK;
/* First key >= from (an empty span: the first) of a compacted log; false at the end. */
bool log_read_key_next(struct log_reader *r, enum log_name name, uint32_t partition, struct span from,
                       struct span *key, struct span *value);
/*
 * First index key >= from of backlog[partition], and the row key it belongs to; false at the end. Rows
 * with equal index keys come in row-key order: to go on, seek with the key found and its row key as after
 * (an empty span: from the first).
 */
bool log_read_index(struct log_reader *r, uint32_t partition, struct span from, struct span after,
                    struct span *index_key, struct span *row_key);

/* ---- figures ----------------------------------------------------------------------------------------- */

struct log_figures {
    uint64_t used_bytes, free_bytes, file_bytes, disk_free_bytes;
    uint64_t commits, commit_us_sum, committed_batches, committed_bytes;
    uint64_t queued_bytes; /* submitted, not durable yet */
    uint64_t index_reads;  /* calls of log_read_index: what parked work costs */
};
void log_figures(struct log *log, struct log_figures *out);
/* Commit time histogram hook: called on the writer's thread after each commit; may be NULL. */
void log_on_commit(struct log *log, void (*cb)(void *arg, uint64_t us, size_t batches), void *arg);

#endif
