/* Inside of the LMDB wrapper, shared by kv.c (environments), kv_txn.c (transactions) and kv_cursor.c. */
#ifndef REMUDA_LIB_BASE_KV_PRIVATE_H
#define REMUDA_LIB_BASE_KV_PRIVATE_H

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "lib/base/kv.h"
#include "lib/base/list.h"

struct kv_txn {
    struct kv_env *env;
    MDB_txn *mdb;
    bool writes;
    int err;            /* sticky */
    int cursors;        /* open ones: must be 0 at the end */
    int64_t pages_left; /* write: pages that puts may still take, see kv_txn.c; below 0: in the reserve */
    bool free_counted;  /* write: pages_left includes the free list */
    struct list link;   /* read: on env->reads_idle or env->reads_busy */
    size_t snapshot;    /* read: the number of the commit it sees */
};

struct kv_cursor {
    struct kv_txn *txn;
    MDB_cursor *mdb; /* NULL when it could not be opened (the transaction has the error) */
};

struct kv_env {
    MDB_env *mdb;
    int lock_fd;
    int dir_fd;
    uint64_t page_bytes;
    uint64_t map_pages;
    uint64_t reserve_pages; /* kept for transactions that only delete */
    atomic_bool dead;       /* after a fatal error: no more writes until reopened */
    struct kv_txn write;    /* whose thread holds LMDB's write lock */
    pthread_mutex_t reads_lock;
    struct list reads_idle; /* reset read transactions, their reader slots kept */
    struct list reads_busy;
};

/* Our code for LMDB's or errno's. Tells a full disk from a broken one by asking the file system, since LMDB
 * reports a write cut short by a full disk as EIO. Sets env->dead where no write may follow. */
int kv_error_of(struct kv_env *env, int rc, bool committing);
/* Pages on the free list of the last commit. Uses a read transaction of its own. */
int kv_free_pages(struct kv_env *env, uint64_t *pages) MUST_CHECK;

#endif
