/*
 * LMDB, wrapped once: only the kv*.c files name it. Ordered byte keys (at most 511 bytes) to values in named
 * tables of one environment (a directory). One write transaction at a time in the process; read transactions
 * are cheap snapshots and must not outlive a loop turn.
 *
 * The error of a write transaction is sticky: after the first failed put or delete every later call on it
 * returns the same error and commit aborts, so that a sequence of writes is checked once, at the commit.
 *
 * A small part of the map (1/32, at most 4096 pages, at least 32) is kept for deletes: puts fail with
 * RM_EFULL before it is touched, so that a full environment can be emptied again by transactions that only
 * delete.
 */
#ifndef REMUDA_LIB_BASE_KV_H
#define REMUDA_LIB_BASE_KV_H

#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/span.h"

struct kv_env;
struct kv_txn;
struct kv_cursor;

typedef unsigned kv_table;

struct kv_options {
    const char *dir;    /* created (0700) when absent */
    uint64_t map_bytes; /* upper bound of the file; sparse. Capped to 4 times the file system's size */
    bool sync;          /* false: no fsync at all (index and cache environments only) */
    unsigned max_tables;
    unsigned max_readers; /* threads that may read at once; at least 16 */
};

/*
 * Opens (and creates) the environment. RM_ELOCKED: another process has it (an exclusive flock on dir/lock).
 * RM_EIO, RM_EFULL, RM_ECORRUPT. On error *out is NULL and *why, if given, a constant phrase.
 */
int kv_open(const struct kv_options *options, struct kv_env **out, const char **why) MUST_CHECK;
/* No transaction may be open. */
void kv_close(struct kv_env *env);

/* Opens or creates a table; once per name, before threads start. */
int kv_table_open(struct kv_env *env, const char *name, kv_table *out) MUST_CHECK;

/* Blocks while another thread has the write transaction. RM_EIO after a fatal error: close and reopen. */
int kv_write_begin(struct kv_env *env, struct kv_txn **out) MUST_CHECK;
/* Makes it durable (when the environment syncs) and frees the transaction. On error nothing of it happened.
 * RM_EFULL: map or disk full; the environment goes on. RM_EIO, RM_ECORRUPT: the disk failed; no more writes
 * until the environment is closed and opened again, which also decides a commit that failed in its last
 * write. */
int kv_commit(struct kv_txn *txn) MUST_CHECK;
/* Lets this write transaction's puts take the reserve that is otherwise kept for deleting: for the few that
 * write down what was deleted. */
void kv_write_reserve(struct kv_txn *txn);
/* Read or write transaction; frees it. */
void kv_abort(struct kv_txn *txn);
/* The sticky error so far, RM_OK when none. */
int kv_error(const struct kv_txn *txn);

/* Read snapshot. Reuses a reset transaction of the calling thread where there is one: about 0.2 us. */
int kv_read_begin(struct kv_env *env, struct kv_txn **out) MUST_CHECK;
void kv_read_end(struct kv_txn *txn);

/* *value stays valid until the transaction ends or, in a write transaction, the next write. RM_ENOTFOUND. */
int kv_get(struct kv_txn *txn, kv_table t, struct span key, struct span *value) MUST_CHECK;
/* Sticky. Overwrites. */
void kv_put(struct kv_txn *txn, kv_table t, struct span key, struct span value);
/* Sticky. Stores a value of len bytes and returns where to fill it before the next call; NULL after an error.
 */
char *kv_put_reserve(struct kv_txn *txn, kv_table t, struct span key, size_t len);
/* Sticky. Absent key is no error; returns whether it was there. */
bool kv_delete(struct kv_txn *txn, kv_table t, struct span key);

/* Cursors live inside one transaction and are closed before it ends. */
struct kv_cursor *kv_cursor_new(struct kv_txn *txn, kv_table t);
void kv_cursor_free(struct kv_cursor *c);
/* First entry with a key >= key. False at the end or on a sticky error. */
bool kv_cursor_seek(struct kv_cursor *c, struct span key, struct span *key_out, struct span *value);
bool kv_cursor_next(struct kv_cursor *c, struct span *key_out, struct span *value);
/* Last entry with a key < key. */
bool kv_cursor_seek_before(struct kv_cursor *c, struct span key, struct span *key_out, struct span *value);
/* Deletes the current entry; the cursor then stands on the one that followed (kv_cursor_next returns it). */
void kv_cursor_delete(struct kv_cursor *c);

struct kv_stat {
    uint64_t used_bytes; /* pages in use, times page size */
    uint64_t free_bytes; /* pages on the free list */
    uint64_t file_bytes;
    uint64_t map_bytes;
    unsigned readers;
    uint64_t oldest_reader_txns; /* how many commits the oldest read snapshot lags */
};
int kv_stat(struct kv_env *env, struct kv_stat *out) MUST_CHECK;
/* Writes a compacted copy of the environment into dir (created). */
int kv_copy_compact(struct kv_env *env, const char *dir) MUST_CHECK;

#endif
