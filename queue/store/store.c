/* Opening, checking and closing the environment of the tables; sizes. */
#include <stdlib.h>
#include <sys/statvfs.h>

#include "queue/store/store.h"

enum { DEFAULT_READERS = 512 }; /* 64 shards, each with up to three at once, and those that look */

#if defined(__SANITIZE_THREAD__)
#define DEFAULT_MAP_BYTES (8ull << 30)
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define DEFAULT_MAP_BYTES (8ull << 30)
#endif
#endif
#ifndef DEFAULT_MAP_BYTES
#define DEFAULT_MAP_BYTES (1ull << 40)
#endif

static const char *const table_names[LOG_NAMES] = {
    [LOG_MAIL] = "mail",         [LOG_EVENTS] = "events",           [LOG_BACKLOG] = "backlog",
    [LOG_STATE] = "state",       [LOG_CONTROL] = "control",         [LOG_AUDIT] = "audit",
    [LOG_DEAD] = "dead",         [LOG_SUPPRESSION] = "suppression", [LOG_QUOTA] = "quota",
    [LOG_EVIDENCE] = "evidence",
};

static int open_tables(struct store *e)
{
    int err = RM_OK;
    for (int name = 0; name < LOG_NAMES && err == RM_OK; name++)
        err = kv_table_open(e->env, table_names[name], &e->tables.logs[name]);
    if (err == RM_OK)
        err = kv_table_open(e->env, "index", &e->tables.index);
    if (err == RM_OK)
        err = kv_table_open(e->env, "meta", &e->tables.meta);
    return err;
}

/* RM_OK when the stored number is want, or was absent and is now written in txn. */
static int check_number(struct store *e, struct kv_txn *txn, struct span key, uint64_t want)
{
    struct span value;
    int err = kv_get(txn, e->tables.meta, key, &value);
    if (err == RM_OK)
        return value.len == 8 && key_get_u64(value.ptr) == want ? RM_OK : RM_EINVAL;
    if (err != RM_ENOTFOUND)
        return err;
    char bytes[8];
    key_put_u64(bytes, want);
    kv_put(txn, e->tables.meta, key, span_of(bytes, sizeof(bytes)));
    return kv_error(txn);
}

/* More than it was made with: the new ones begin empty. Never fewer: what would become of the others' mail?
 */
static int check_partitions(struct store *e, struct kv_txn *txn, const char **why)
{
    struct span value;
    char bytes[8];
    *why = "the log's number of partitions can't be read";
    int err = kv_get(txn, e->tables.meta, SPAN_LIT("partitions"), &value);
    if (err != RM_OK && err != RM_ENOTFOUND)
        return err;
    uint64_t had = err == RM_OK && value.len == 8 ? key_get_u64(value.ptr) : 0;
    if (had > LOG_PARTITIONS_MOST || (err == RM_OK && had == 0))
        return RM_ECORRUPT;
    *why = "the log has more partitions than the one it is a copy of";
    if (had > log_partitions(&e->log) && e->copy)
        return RM_EINVAL;
    log_set_partitions(&e->log, (uint32_t)had);
    key_put_u64(bytes, log_partitions(&e->log));
    kv_put(txn, e->tables.meta, SPAN_LIT("partitions"), span_of(bytes, sizeof(bytes)));
    return kv_error(txn);
}

static int check_format(struct store *e, const char **why)
{
    struct kv_txn *txn;
    int err = kv_write_begin(e->env, &txn);
    if (err != RM_OK)
        return err;
    *why = "the log was written by another format version";
    err = check_number(e, txn, SPAN_LIT("format"), STORE_FORMAT);
    if (err == RM_OK)
        err = check_partitions(e, txn, why);
    if (err != RM_OK) {
        kv_abort(txn);
        return err;
    }
    *why = "the log's format can't be written";
    return kv_commit(txn);
}

void store_init(struct store *e, const struct log_backend *backend, const struct store_options *o,
                const struct log_options *common)
{
    log_init(&e->log, backend, common);
    e->dir = strdup(o->dir);
    e->copy = o->copy;
    ENSURE(e->dir);
    e->options = (struct kv_options){
        .dir = e->dir,
        .map_bytes = o->map_bytes ? o->map_bytes : DEFAULT_MAP_BYTES,
        .sync = o->sync,
        .max_tables = LOG_NAMES + 4,
        .max_readers = o->max_readers ? o->max_readers : DEFAULT_READERS,
    };
    ENSURE(pthread_rwlock_init(&e->env_lock, NULL) == 0);
    streams_init(e);
}

void store_fini(struct store *e)
{
    if (e->env)
        kv_close(e->env);
    streams_fini(e);
    buf_fini(&e->scratch);
    pthread_rwlock_destroy(&e->env_lock);
    log_fini(&e->log);
    free(e->dir);
}

int store_open(struct store *e, const char **why)
{
    const char *reason = "the log's environment can't be opened";
    int err = kv_open(&e->options, &e->env, &reason);
    if (err == RM_OK)
        err = open_tables(e);
    if (err == RM_OK)
        err = check_format(e, &reason);
    if (err == RM_OK) {
        reason = "the log's offsets can't be read";
        err = streams_load(e);
    }
    if (err != RM_OK && e->env) {
        kv_close(e->env);
        e->env = NULL;
    }
    if (why)
        *why = reason;
    return err;
}

uint64_t store_disk_free(const struct store *e)
{
    struct statvfs fs;
    if (statvfs(e->dir, &fs) != 0)
        return UINT64_MAX;
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}

void store_figures(struct store *e, struct log_figures *out)
{
    struct kv_stat stat = {0};
    pthread_rwlock_rdlock(&e->env_lock);
    int err = e->env ? kv_stat(e->env, &stat) : RM_EIO;
    pthread_rwlock_unlock(&e->env_lock);
    if (err != RM_OK)
        return;
    out->used_bytes = stat.used_bytes;
    out->free_bytes = stat.free_bytes;
    out->file_bytes = stat.file_bytes;
    out->disk_free_bytes = store_disk_free(e);
}
