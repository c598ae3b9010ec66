/*
 * Transactions of the LMDB wrapper: the one writer, the pool of read snapshots, single reads and writes.
 *
 * LMDB copies pages even to delete, so a map filled to its last page could never be emptied again. Puts
 * are therefore charged against the pages left, less a reserve; only deletes may use the reserve. The
 * free list is counted only when the untouched end of the map does not suffice.
 */
#include <stdlib.h>

#include "lib/base/kv_private.h"

/* A put copies the pages from the root to the leaf and may split the leaf. */
enum { PUT_PAGES = 4 };

static int fail(struct kv_txn *txn, int mdb_rc)
{
    if (txn->err == RM_OK)
        txn->err = kv_error_of(txn->env, mdb_rc, false);
    return txn->err;
}

static MDB_val val_of(struct span s)
{
    return (MDB_val){s.len, (void *)(uintptr_t)s.ptr};
}

int kv_write_begin(struct kv_env *env, struct kv_txn **out)
{
    *out = NULL;
    if (atomic_load(&env->dead))
        return RM_EIO;
    MDB_txn *mdb;
    int rc = mdb_txn_begin(env->mdb, NULL, 0, &mdb);
    if (rc)
        return kv_error_of(env, rc, false);
    if (atomic_load(&env->dead)) {
        mdb_txn_abort(mdb);
        return RM_EIO;
    }
    MDB_envinfo info;
    ENSURE(mdb_env_info(env->mdb, &info) == 0);
    struct kv_txn *txn = &env->write;
    *txn = (struct kv_txn){.env = env, .mdb = mdb, .writes = true};
    txn->pages_left = (int64_t)env->map_pages - (int64_t)(info.me_last_pgno + 1 + env->reserve_pages);
    *out = txn;
    return RM_OK;
}

void kv_write_reserve(struct kv_txn *txn)
{
    ENSURE(txn->writes);
    txn->pages_left += txn->env->reserve_pages;
}

int kv_commit(struct kv_txn *txn)
{
    ENSURE(txn->writes && txn->cursors == 0);
    struct kv_env *env = txn->env;
    if (txn->err < 0) {
        int err = txn->err;
        kv_abort(txn);
        return err;
    }
    /* From here on the next writer may own env->write. LMDB frees its transaction also on errors. A failed
     * write of data pages harms nothing (they were free); one of the meta page makes LMDB panic. */
    return kv_error_of(env, mdb_txn_commit(txn->mdb), true);
}

void kv_abort(struct kv_txn *txn)
{
    ENSURE(txn->cursors == 0);
    if (txn->writes)
        mdb_txn_abort(txn->mdb);
    else
        kv_read_end(txn);
}

int kv_error(const struct kv_txn *txn)
{
    return txn->err;
}

static struct kv_txn *take_idle(struct kv_env *env)
{
    pthread_mutex_lock(&env->reads_lock);
    struct list *l = list_pop_front(&env->reads_idle);
    pthread_mutex_unlock(&env->reads_lock);
    return l ? CONTAINER_OF(l, struct kv_txn, link) : NULL;
}

int kv_read_begin(struct kv_env *env, struct kv_txn **out)
{
    *out = NULL;
    struct kv_txn *txn = take_idle(env);
    int rc;
    if (txn) {
        rc = mdb_txn_renew(txn->mdb);
    } else {
        txn = calloc(1, sizeof(*txn));
        ENSURE(txn);
        txn->env = env;
        list_init(&txn->link);
        rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn->mdb);
    }
    if (rc) {
        if (txn->mdb)
            mdb_txn_abort(txn->mdb);
        free(txn);
        return kv_error_of(env, rc, false);
    }
    txn->err = RM_OK;
    txn->cursors = 0;
    txn->snapshot = mdb_txn_id(txn->mdb);
    pthread_mutex_lock(&env->reads_lock);
    list_push_front(&env->reads_busy, &txn->link);
    pthread_mutex_unlock(&env->reads_lock);
    *out = txn;
    return RM_OK;
}

void kv_read_end(struct kv_txn *txn)
{
    ENSURE(!txn->writes && txn->cursors == 0);
    struct kv_env *env = txn->env;
    mdb_txn_reset(txn->mdb);
    pthread_mutex_lock(&env->reads_lock);
    list_remove(&txn->link);
    list_push_front(&env->reads_idle, &txn->link);
    pthread_mutex_unlock(&env->reads_lock);
}

int kv_get(struct kv_txn *txn, kv_table t, struct span key, struct span *value)
{
    if (txn->err < 0)
        return txn->err;
    MDB_val k = val_of(key), v;
    int rc = mdb_get(txn->mdb, t, &k, &v);
    if (rc == MDB_NOTFOUND)
        return RM_ENOTFOUND;
    if (rc)
        return fail(txn, rc);
    *value = span_of(v.mv_data, v.mv_size);
    return RM_OK;
}

/* Takes the pages a put may need; false with the sticky error when only the reserve is left. */
static bool charge(struct kv_txn *txn, size_t bytes)
{
    int64_t pages = (int64_t)(bytes / txn->env->page_bytes) + PUT_PAGES;
    if (pages > txn->pages_left && !txn->free_counted) {
        uint64_t free_pages;
        int rc = kv_free_pages(txn->env, &free_pages);
        if (rc < 0) {
            txn->err = rc;
            return false;
        }
        txn->free_counted = true;
        txn->pages_left += (int64_t)free_pages;
    }
    if (pages > txn->pages_left) {
        txn->err = RM_EFULL;
        return false;
    }
    txn->pages_left -= pages;
    return true;
}

void kv_put(struct kv_txn *txn, kv_table t, struct span key, struct span value)
{
    ENSURE(txn->writes);
    if (txn->err < 0 || !charge(txn, key.len + value.len))
        return;
    MDB_val k = val_of(key), v = val_of(value);
    int rc = mdb_put(txn->mdb, t, &k, &v, 0);
    if (rc)
        fail(txn, rc);
}

char *kv_put_reserve(struct kv_txn *txn, kv_table t, struct span key, size_t len)
{
    ENSURE(txn->writes);
    if (txn->err < 0 || !charge(txn, key.len + len))
        return NULL;
    MDB_val k = val_of(key), v = {len, NULL};
    int rc = mdb_put(txn->mdb, t, &k, &v, MDB_RESERVE);
    if (rc) {
        fail(txn, rc);
        return NULL;
    }
    return v.mv_data;
}

bool kv_delete(struct kv_txn *txn, kv_table t, struct span key)
{
    ENSURE(txn->writes);
    if (txn->err < 0)
        return false;
    MDB_val k = val_of(key);
    int rc = mdb_del(txn->mdb, t, &k, NULL);
    if (rc && rc != MDB_NOTFOUND)
        fail(txn, rc);
    return rc == 0;
}
