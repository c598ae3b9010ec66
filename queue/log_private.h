/*
 * What the backends of queue/log.h share: the batch as built by the caller, the queue to the one writer
 * thread, the clients' completion queues, and followers. A backend brings a table of functions, a writer
 * thread that takes groups from the queue, and readers. Only for files in queue/.
 *
 * Life of a batch: built on the client's thread; log_submit puts it on the log's queue; the writer takes it
 * with a group, makes it durable (or not), tells followers with log_publish, gives it back with
 * log_batch_finish and, once per group, wakes with log_wake_clients; log_client_poll runs done and frees it.
 *
 * Lock order: clients_lock, follow_lock, then one client's lock. queue_lock is never held with another.
 */
#ifndef REMUDA_QUEUE_LOG_PRIVATE_H
#define REMUDA_QUEUE_LOG_PRIVATE_H

#include <pthread.h>

#include "lib/base/buf.h"
#include "lib/base/list.h"
#include "queue/log.h"

enum {
    LOG_GROUP_BYTES = 8 * 1024 * 1024, /* of one commit: keeps its list of changed pages short */
    LOG_GROUP_BATCHES = 1000,
    LOG_GROUP_OPS = 10000,
    LOG_TRIM_MOST = 4096,     /* records deleted by one commit */
    LOG_CLAIM_KEY_BYTES = 26, /* "claim:" and 20 digits */
};

enum log_op_kind {
    LOG_OP_APPEND,
    LOG_OP_PUT,
    LOG_OP_ERASE,
    LOG_OP_DELETE_BELOW,
    LOG_OP_CLAIM,
    LOG_OP_GROW, /* the log is to have that many partitions, its offset: alone in its batch */
};

struct log_op {
    uint8_t kind; /* enum log_op_kind */
    uint8_t name; /* enum log_name */
    uint32_t partition;
    uint32_t key_len;
    uint32_t value_len;   /* of the head, without the body */
    size_t at;            /* where in the batch's bytes key and head stand, one behind the other */
    struct blob *body;    /* a reference, or NULL */
    struct message *hint; /* a reference, or NULL; log_publish takes it */
    uint64_t offset;      /* result of APPEND and CLAIM; the line of DELETE_BELOW; the number of GROW */
};

enum { LOG_OPS_INLINE = 2 };

struct log_batch {
    struct list link;
    enum log_class class;
    struct log_client *client;
    log_done_cb done;
    void *arg;
    int status;
    bool claims;    /* made by log_join */
    uint64_t epoch; /* of its client for the partition whose events, rows or state it writes; 0: none */
    bool kept;      /* its done callback has taken it back */
    size_t total_bytes;
    size_t n_ops, cap_ops;
    struct log_op *ops; /* inline_ops until there are more */
    struct buf bytes;
    struct log_op inline_ops[LOG_OPS_INLINE];
};

static inline struct span log_op_key(const struct log_batch *b, const struct log_op *op)
{
    return span_of(b->bytes.data + op->at, op->key_len);
}

static inline struct span log_op_value(const struct log_batch *b, const struct log_op *op)
{
    return span_of(b->bytes.data + op->at + op->key_len, op->value_len);
}

/*
 * The order in which the ops of a batch become durable where that does not happen at once: each stage only
 * when all before it are. The position, last op of a flush, never stands without what it speaks of.
 */
enum log_stage {
    LOG_STAGE_APPENDS,
    LOG_STAGE_EVENTS,
    LOG_STAGE_BACKLOG,
    LOG_STAGE_STATE,
    LOG_STAGE_POSITION,
    LOG_STAGE_DELETES,
    LOG_STAGES
};
enum log_stage log_op_stage(const struct log_batch *b, size_t op);

/* In a batch submitted again, without LOG_ATOMIC: the append is known to be durable since the time before and
 * must not be repeated. Puts and erases are repeated: of two for one key the last must stay the last. */
static inline bool log_op_done(const struct log_op *op)
{
    return op->kind == LOG_OP_APPEND && op->offset;
}

/* The number, from open on; never a smaller one. The backend's, and log_grow's. */
void log_set_partitions(struct log *log, uint32_t partitions);
void log_batch_grow(struct log_batch *b, uint32_t partitions);
/* Claims what it has not claimed of c's share, and waits for it. Any thread, one at a time. */
int log_client_claim(struct log_client *c) MUST_CHECK;

/* Adds a claim of state[partition]: owner is kept as the op's value. The backend writes it. */
void log_batch_claim(struct log_batch *b, uint32_t partition, struct span owner);
/* The key of a claim, and the packed Remuda.Claim. */
void log_claim_key(uint64_t epoch, char out[LOG_CLAIM_KEY_BYTES + 1]);
void log_claim_pack(struct buf *out, uint64_t epoch, struct span owner);

/*
 * Keys of state that only a reader's copy has: this and a row's key, for a row of backlog whose last value an
 * owner past wrote behind a newer claim, and that has no valid value. 8 bytes: when (ms, big-endian), then
 * the row. It goes when the row is put or erased.
 */
#define LOG_VOID_ROW "void:"
enum { LOG_VOID_ROW_HEAD = 8 };

struct follower;

/* All functions but the last are required. Readers come from read_begin and are the backend's own struct. */
struct log_backend {
    unsigned capabilities;
    /* Stops the thread after the last submitted batch and frees the log. */
    void (*close)(struct log *log);
    void (*figures)(struct log *log, struct log_figures *out);
    int (*read_begin)(struct log *log, struct log_reader **out);
    void (*read_end)(struct log_reader *r);
    bool (*read_next)(struct log_reader *r, enum log_name name, uint32_t partition, uint64_t *offset,
                      struct span *value);
    int (*read_at)(struct log_reader *r, enum log_name name, uint32_t partition, uint64_t offset,
                   struct span *value);
    uint64_t (*read_end_offset)(struct log_reader *r, enum log_name name, uint32_t partition);
    int (*read_key)(struct log_reader *r, enum log_name name, uint32_t partition, struct span key,
                    struct span *value);
    /* NULL: nothing is ever missing. */
    bool (*read_missing)(struct log_reader *r, uint32_t partition, uint64_t *from, uint64_t *to);
    bool (*read_key_next)(struct log_reader *r, enum log_name name, uint32_t partition, struct span from,
                          struct span *key, struct span *value);
    bool (*read_index)(struct log_reader *r, uint32_t partition, struct span from, struct span after,
                       struct span *index_key, struct span *row_key);

    /* ---- NULL in a backend whose one process owns all partitions from log_join to log_leave ---- */
    /* Takes part in the sharing out of partitions: calls log_tell from its thread for what this process gets
     * and loses. Returns when the first share is known and its claims are read back. */
    int (*join)(struct log *log, const char *owner);
    /* Gives all up: log_tell was called for each when it returns. */
    void (*leave)(struct log *log);
    void (*release)(struct log *log, uint32_t partition);
    bool (*may_start)(const struct log *log, uint32_t partition);
    bool (*is_current)(const struct log *log, uint32_t partition);
    /* log_grow and log_grown, of more than there are. */
    int (*grow)(struct log *log, uint32_t partitions);
    void (*grown)(struct log *log, uint32_t partitions);
    /* A thread that does not wait on the queue's condition is woken by this, when log_queue_arm said it would
     * wait. */
    void (*wake)(struct log *log);
};

/* First member of a backend's log. */
struct log {
    const struct log_backend *backend;
    struct log_options options;
    _Atomic int admits;          /* RM_OK or RM_EFULL: kept by the backend */
    _Atomic uint64_t stop_by_us; /* 0: no stop is ordered */
    _Atomic bool gave_up;        /* set by the backend */
    _Atomic uint32_t partitions; /* what is kept of each has room for LOG_PARTITIONS_MOST */
    pthread_mutex_t grow_lock;   /* log_grow, one at a time */

    pthread_mutex_t queue_lock;
    pthread_cond_t queue_filled;
    struct list queue;
    bool writer_waits, closing;
    _Atomic uint64_t queued_bytes;

    pthread_mutex_t clients_lock;
    struct list clients;
    struct log_client **owners; /* those that joined: partition p is owners[p mod n_owners]'s */
    uint32_t n_owners;
    char *owner; /* of the claims */

    pthread_mutex_t follow_lock;
    struct follower **followers; /* by partition */

    pthread_mutex_t hook_lock;
    void (*commit_hook)(void *arg, uint64_t us, size_t batches);
    void *commit_hook_arg;

    _Atomic uint64_t commits, commit_us_sum, committed_batches, committed_bytes, index_reads;
};

/* First member of a backend's reader. */
struct log_reader {
    struct log *log;
};

void log_init(struct log *log, const struct log_backend *backend, const struct log_options *options);
void log_fini(struct log *log);

/* Partitions of a log: 1 for the small ones. */
uint32_t log_name_partitions(const struct log *log, enum log_name name);
/* How many it may ever get. */
static inline uint32_t log_name_partitions_most(enum log_name name)
{
    return name <= LOG_STATE ? LOG_PARTITIONS_MOST : 1;
}
bool log_name_compacted(enum log_name name);

/* ---- the writer's side ------------------------------------------------------------------------- */

/*
 * Moves the next group (whole batches in order of submission, bounded by LOG_GROUP_*) to group, which is
 * empty before. Waits for one: at most wait_ms, without end when negative. False when the log is closing and
 * nothing is left; an empty group with true means: nothing queued in that time.
 */
bool log_queue_take(struct log *log, struct list *group, int64_t wait_ms);
/* For backends with wake: true when nothing is queued, and from then on a submission wakes. */
bool log_queue_arm(struct log *log);
/* Lets the writer end: log_queue_take goes false after the last batch. */
void log_queue_close(struct log *log);

/* Tells the followers of the batch's appends to mail. After it is durable, in the order of the log. */
void log_publish(struct log *log, struct log_batch *b);
/* The same for one record that is durable at offset; takes the hint over. */
void log_publish_record(struct log *log, uint32_t partition, uint64_t offset, struct message *hint);
/* Tells the client that partition belongs to, and marks it to be woken. */
enum log_told { LOG_TOLD_GAINED, LOG_TOLD_LOSING, LOG_TOLD_LOST, LOG_TOLD_FETCHED };
void log_tell(struct log *log, enum log_told what, uint32_t partition, uint64_t epoch);
/* Gives the batch back to its client. The client is not woken yet. */
void log_batch_finish(struct log_batch *b, int status);
/* Wakes each client that got something since it was woken last. */
void log_wake_clients(struct log *log);
/* After a time in which reading failed: makes every client poll again. */
void log_poke_clients(struct log *log);
/* Counts a commit and calls the hook. */
void log_count_commit(struct log *log, uint64_t us, size_t batches, uint64_t bytes);

/* ---- the client ----------------------------------------------------------------------------------- */

struct log_client {
    struct log *log;
    struct list link;
    void (*wake)(void *arg);
    void *arg;
    _Atomic size_t in_flight; /* submitted and not finished; falls only under lock */

    pthread_mutex_t lock;
    pthread_cond_t changed; /* in_flight fell to 0, or the claims are answered */
    struct list done;       /* finished, not seen by poll */
    bool wake_due;          /* something was added since the last wake or poll */
    bool woken;             /* wake was called and poll has not run since */
    struct buf told;        /* struct log_told_one: ownership that poll has not run yet */
    bool claimed;           /* the claims under way are answered: claim_status */
    int claim_status;
    size_t hinted_bytes; /* of messages referenced by followers' rings */

    /* The client's thread only. */
    struct list running;
    struct list follows;
    int depth;        /* of log_client_poll */
    uint64_t *epochs; /* by partition: 0 or LOG_LOST when it is not this client's; NULL before log_join */
    struct log_ownership ownership;
    uint32_t number, of;    /* partitions p with p mod of = number may be this client's; of 0: none */
    uint32_t claimed_below; /* log_client_claim's: of its share all below is claimed */

    struct list flights; /* the backend's thread only */
};

#define LOG_LATE (UINT64_MAX - 1) /* of a batch of events only: written after the partition was lost */
#define LOG_LOST UINT64_MAX       /* was this client's and is not any more */

struct log_told_one {
    enum log_told what;
    uint32_t partition;
    uint64_t epoch;
};

/* Marks that the client should be woken. Under its lock. */
static inline void log_client_mark(struct log_client *c)
{
    if (!c->woken)
        c->wake_due = true;
}

/* Wakes c when it is marked. */
void log_client_wake_marked(struct log_client *c);

/* Runs what followers of c may be told now; true when more is left. */
bool log_follows_poll(struct log_client *c);
/* Ends all. */
void log_follows_free(struct log_client *c);

#endif
