/*
 * Inside of the history index, shared by its files: history.c (life, indexer thread), history_index.c (what
 * is stored), history_keep.c (what goes), history_read.c (trace), history_search.c.
 *
 * Tables of the environment:
 *   "ids"   id(16) partition(2) offset(8) index(4) -> ""    the events of a message
 *   "find"  hour(4) kind(1) hash(8) id(16) -> ""            the messages of a recipient, sender, tenant
 *   "meta"  "position" partition(2) -> offset(8); "format"; "boot"; "clean"
 * Numbers are big-endian. The hour is that of the id, so the tree grows at its right edge only, entries of a
 * message written again fall on themselves, and what is too old is a contiguous range at the left edge.
 */
#ifndef REMUDA_RELAY_API_HISTORY_PRIVATE_H
#define REMUDA_RELAY_API_HISTORY_PRIVATE_H

#include <pthread.h>

#include "lib/base/kv.h"
#include "relay/api/history.h"

enum {
    HISTORY_ID_KEY = MSGID_BYTES + 2 + 8 + 4,
    HISTORY_FIND_PREFIX = 4 + 1 + 8,
    HISTORY_FIND_KEY = HISTORY_FIND_PREFIX + MSGID_BYTES,
    HISTORY_KEY_ROOM = 32,
};
enum history_kind { HISTORY_RECIPIENT = 'r', HISTORY_SENDER = 's', HISTORY_TENANT = 't' };

/* The batches of a partition read last. */
enum { HISTORY_RECENT = 8 };
struct history_batch {
    uint64_t epoch, sequence, offset;
};
struct history_batches {
    struct history_batch list[HISTORY_RECENT];
    size_t next;
    bool primed;
};

struct history {
    char *dir;
    struct log *log;
    struct logger *logger;
    uint64_t map_bytes;
    _Atomic uint64_t history_ms, lifetime_ms;

    pthread_rwlock_t env_lock; /* read: using env; write: closing and opening it again */
    struct kv_env *env;
    kv_table ids, find, meta;

    /* Per partition, with room for all that there may ever be. */
    struct history_batches *batches; /* the indexing thread's */
    _Atomic uint64_t *position;      /* next offset of events to index */
    _Atomic uint64_t *keep;          /* lowest offset wanted by time */
    _Atomic bool *waits;             /* older events are to come */
    _Atomic uint64_t lag;
    _Atomic uint64_t rebuilds;

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;     /* for the indexer */
    pthread_cond_t advanced; /* for history_catch_up: a pass has ended */
    bool stop, urgent;
    uint64_t passes;

    /* the indexer's own */
    uint32_t first_partition; /* where the next pass begins */
    uint64_t started_ms;      /* wall clock of history_new */
    uint64_t tell_from_ms;    /* older events are not told to the program's log */
    bool moved;          /* the last pass got forward: what is left unread may be missing, and come later */
    bool expire_more;    /* the last deletion was cut off at its bound */
    uint64_t expired_us; /* boot clock of the last round of deletions */
};

/* True when the batch repeats one of those noted; notes it otherwise. Any thread that owns seen. */
bool history_batch_note(struct history_batches *seen, const struct history_batch *b);

/* ---- history_index.c: the indexer's thread, or before it runs ---- */

/* The batch at offset repeats one before it. */
bool history_twice(struct history *h, struct log_reader *r, uint32_t partition, const Remuda__EventBatch *b,
                   uint64_t offset);

/* Opens env and tables, starts over when they do not fit the log, fills position[]. */
int history_index_open(struct history *h) MUST_CHECK;
/* Marks the index as complete on disk and closes it. */
void history_index_close(struct history *h);
/* Closes it without the mark, deletes it, opens an empty one. */
int history_index_restart(struct history *h) MUST_CHECK;
/* Reads a bounded piece of new events into the index, in one commit, and tells them to the program's log. */
int history_index_pass(struct history *h) MUST_CHECK;

void history_find_prefix(uint32_t hour, enum history_kind kind, struct span what,
                         unsigned char out[HISTORY_FIND_PREFIX]);
uint32_t history_hour(uint64_t ms);

/* ---- history_keep.c: the indexer's thread ---- */

/* Deletes entries that are too old, in a bounded piece, and moves keep[] forward. */
int history_expire(struct history *h, uint64_t wall_ms) MUST_CHECK;

/* ---- history_read.c: any thread ---- */

/* Event number index of a packed EventBatch, decoded alone; NULL when there is none or it does not decode. */
Remuda__Event *history_event_pick(struct arena *a, struct span packed, uint32_t index);
/* Adds the events of exactly this message to out, in the order of the index. */
int history_events_of(struct history *h, const struct msgid *id, struct history_events *out) MUST_CHECK;

static inline void history_put16(unsigned char *p, uint32_t n)
{
    p[0] = (unsigned char)(n >> 8);
    p[1] = (unsigned char)n;
}

static inline void history_put32(unsigned char *p, uint32_t n)
{
    history_put16(p, n >> 16);
    history_put16(p + 2, n & 0xffff);
}

static inline void history_put64(unsigned char *p, uint64_t n)
{
    history_put32(p, (uint32_t)(n >> 32));
    history_put32(p + 4, (uint32_t)n);
}

static inline uint64_t history_get(const void *bytes, int n)
{
    const unsigned char *p = bytes;
    uint64_t out = 0;
    while (n-- > 0)
        out = out << 8 | *p++;
    return out;
}

#endif
