/*
 * The writer thread: takes a group, commits it as one transaction, gives it back; deletes in the background;
 * decides what becomes of a group that can't be committed.
 *
 * No space: the intake of the group fails and the rest is tried again, if need be batch by batch, so that
 * outcomes and deletions go on while there is any space at all. A failing disk: all of it fails and the
 * environment is opened anew, because LMDB takes no write after that; only then do readers wait.
 */
#include "lib/base/clock.h"
#include "lib/base/crashpoint.h"
#include "queue/embedded/embedded_private.h"

enum {
    REOPEN_MS = 1000,
    FULL_LOOK_MS = 100, /* while intake is refused or deletion found no space */
    TRIM_WHEN_FULL = 256,
};

static void finish_all(struct list *group, int status)
{
    struct list *it;
    while ((it = list_pop_front(group))) {
        struct log_batch *b = CONTAINER_OF(it, struct log_batch, link);
        if (status == RM_OK)
            log_publish(b->client->log, b);
        log_batch_finish(b, status);
    }
}

static void finish_intake(struct list *group, int status)
{
    LIST_FOREACH_SAFE(it, nxt, group)
    {
        struct log_batch *b = CONTAINER_OF(it, struct log_batch, link);
        if (b->class != LOG_INTAKE)
            continue;
        list_remove(it);
        log_batch_finish(b, status);
    }
}

/* One transaction with all of the group and up to trims deletions; nothing of it has happened on error. With
 * reserve it may take the pages that are kept for deletion. */
static int attempt(struct embedded *e, struct list *group, int trims, bool reserve)
{
    struct store *w = &e->store;
    uint64_t started = clock_boot_us(), bytes = 0;
    size_t batches = 0;
    int err = kv_write_begin(w->env, &w->txn);
    if (err != RM_OK)
        return err;
    if (reserve)
        kv_write_reserve(w->txn);
    LIST_FOREACH(it, group)
    {
        struct log_batch *b = CONTAINER_OF(it, struct log_batch, link);
        apply_batch(w, b);
        bytes += b->total_bytes;
        batches++;
    }
    apply_trims(w, trims);
    streams_store(w);
    if (batches)
        CRASH_POINT(COMMIT_BEFORE);
    err = kv_commit(w->txn);
    w->txn = NULL;
    if (err != RM_OK) {
        streams_rolled_back(w);
        return err;
    }
    if (batches)
        CRASH_POINT(COMMIT_AFTER);
    streams_committed(w);
    log_count_commit(&e->store.log, clock_boot_us() - started, batches, bytes);
    return RM_OK;
}

static bool is_fatal(int err)
{
    return err != RM_OK && err != RM_EFULL;
}

/* The environment is opened again; readers wait meanwhile. */
static bool reopen(struct embedded *e)
{
    uint64_t now = clock_boot_us();
    if (now < e->reopen_at_us)
        return false;
    e->reopen_at_us = now + REOPEN_MS * 1000;
    pthread_rwlock_wrlock(&e->store.env_lock);
    if (e->store.env)
        kv_close(e->store.env);
    e->store.env = NULL;
    int err = store_open(&e->store, NULL);
    pthread_rwlock_unlock(&e->store.env_lock);
    if (err == RM_OK)
        log_poke_clients(&e->store.log);
    return err == RM_OK;
}

static void disk_failed(struct embedded *e, int err)
{
    if (e->store.log.options.trouble)
        e->store.log.options.trouble(e->store.log.options.arg, err,
                                     "the log's disk failed: opening it again");
    e->reopen_at_us = 0;
    reopen(e);
}

static bool deletes(const struct log_batch *b)
{
    for (size_t i = 0; i < b->n_ops; i++)
        if (b->ops[i].kind == LOG_OP_ERASE || b->ops[i].kind == LOG_OP_DELETE_BELOW)
            return true;
    return false;
}

/* Each owner batch for itself, then a small piece of deletion; a fatal error ends it. What deletes may take
 * the last pages: it is what makes room again. */
static int commit_singly(struct embedded *e, struct list *group)
{
    struct list one, *it;
    list_init(&one);
    while ((it = list_pop_front(group))) {
        list_push_back(&one, it);
        bool reserve = deletes(CONTAINER_OF(it, struct log_batch, link));
        int err = attempt(e, &one, 0, reserve);
        finish_all(&one, is_fatal(err) ? RM_EIO : err);
        if (is_fatal(err))
            return err;
    }
    int err = attempt(e, &one, TRIM_WHEN_FULL, true);
    e->trim_failed = err != RM_OK;
    return is_fatal(err) ? err : RM_OK;
}

static uint64_t group_bytes(const struct list *group)
{
    uint64_t bytes = 0;
    LIST_FOREACH(it, group)
    bytes += CONTAINER_OF(it, struct log_batch, link)->total_bytes;
    return bytes;
}

static void commit_group(struct embedded *e, struct list *group)
{
    space_check(&e->store, group_bytes(group));
    if (log_admits(&e->store.log) != RM_OK)
        finish_intake(group, RM_EFULL);
    int err = attempt(e, group, LOG_TRIM_MOST, false);
    if (err == RM_EFULL) {
        space_exhausted(&e->store);
        finish_intake(group, RM_EFULL);
        err = commit_singly(e, group);
    } else {
        e->trim_failed = false;
    }
    if (is_fatal(err))
        disk_failed(e,
                    err); /* first: who hears of the failure finds the log open again, if that is possible */
    finish_all(group, err == RM_OK ? RM_OK : RM_EIO);
}

static int64_t idle_ms(const struct embedded *e)
{
    const struct embedded *w = e;
    if (!e->store.env)
        return REOPEN_MS;
    if (log_admits(&e->store.log) != RM_OK || w->trim_failed)
        return FULL_LOOK_MS;
    return list_empty(&e->store.trims) ? -1 : 0;
}

void *writer_run(void *embedded)
{
    struct embedded *e = embedded;
    struct list group;
    list_init(&group);
    while (log_queue_take(&e->store.log, &group, idle_ms(e))) {
        if (!e->store.env && !reopen(e))
            finish_all(&group, RM_EIO);
        else if (!list_empty(&group) || !list_empty(&e->store.trims))
            commit_group(e, &group);
        else
            space_check(&e->store, 0);
        log_wake_clients(&e->store.log);
    }
    return NULL;
}
