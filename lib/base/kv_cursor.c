/* Cursors of the LMDB wrapper: ordered walks inside one transaction. */
#include <stdlib.h>

#include "lib/base/kv_private.h"

struct kv_cursor *kv_cursor_new(struct kv_txn *txn, kv_table t)
{
    struct kv_cursor *c = malloc(sizeof(*c));
    ENSURE(c);
    *c = (struct kv_cursor){.txn = txn};
    if (txn->err == RM_OK) {
        int rc = mdb_cursor_open(txn->mdb, t, &c->mdb);
        if (rc) {
            c->mdb = NULL;
            txn->err = kv_error_of(txn->env, rc, false);
        }
    }
    txn->cursors++;
    return c;
}

void kv_cursor_free(struct kv_cursor *c)
{
    if (!c)
        return;
    if (c->mdb)
        mdb_cursor_close(c->mdb);
    c->txn->cursors--;
    free(c);
}

static bool usable(const struct kv_cursor *c)
{
    return c->mdb && c->txn->err == RM_OK;
}

/* One LMDB step. False at the end, and on an error, which becomes the sticky one. */
static bool step(struct kv_cursor *c, MDB_val *k, MDB_val *v, MDB_cursor_op op)
{
    int rc = mdb_cursor_get(c->mdb, k, v, op);
    if (rc && rc != MDB_NOTFOUND)
        c->txn->err = kv_error_of(c->txn->env, rc, false);
    return rc == 0;
}

static bool give(const MDB_val *k, const MDB_val *v, struct span *key_out, struct span *value)
{
    *key_out = span_of(k->mv_data, k->mv_size);
    *value = span_of(v->mv_data, v->mv_size);
    return true;
}

bool kv_cursor_seek(struct kv_cursor *c, struct span key, struct span *key_out, struct span *value)
{
    if (!usable(c))
        return false;
    MDB_val k = {key.len, (void *)(uintptr_t)key.ptr}, v;
    /* LMDB has no empty keys, also not to look for. */
    if (!step(c, &k, &v, key.len ? MDB_SET_RANGE : MDB_FIRST))
        return false;
    return give(&k, &v, key_out, value);
}

bool kv_cursor_next(struct kv_cursor *c, struct span *key_out, struct span *value)
{
    MDB_val k, v;
    return usable(c) && step(c, &k, &v, MDB_NEXT) && give(&k, &v, key_out, value);
}

bool kv_cursor_seek_before(struct kv_cursor *c, struct span key, struct span *key_out, struct span *value)
{
    if (!usable(c) || key.len == 0)
        return false;
    MDB_val k = {key.len, (void *)(uintptr_t)key.ptr}, v;
    bool at_or_after = step(c, &k, &v, MDB_SET_RANGE);
    if (!usable(c) || !step(c, &k, &v, at_or_after ? MDB_PREV : MDB_LAST))
        return false;
    return give(&k, &v, key_out, value);
}

void kv_cursor_delete(struct kv_cursor *c)
{
    ENSURE(c->txn->writes);
    if (!usable(c))
        return;
    /* LMDB marks the cursor, so that the next MDB_NEXT returns the entry that moved into this place. */
    int rc = mdb_cursor_del(c->mdb, 0);
    if (rc)
        c->txn->err = kv_error_of(c->txn->env, rc, false);
}
