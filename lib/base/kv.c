/*
 * Environments: opening with the exclusive lock, the size of the map, error codes, figures, copies.
 * Transactions are in kv_txn.c, cursors in kv_cursor.c.
 */
#include "lib/base/kv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "lib/base/kv_private.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__) && !defined(UNDER_TSAN)
#define UNDER_TSAN 1
#endif

enum { READERS_LEAST = 16, FULL_DISK_BYTES = 1 << 20 };

static bool disk_is_full(const struct kv_env *env)
{
    struct statvfs fs;
    return fstatvfs(env->dir_fd, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < FULL_DISK_BYTES;
}

int kv_error_of(struct kv_env *env, int rc, bool committing)
{
    switch (rc) {
    case MDB_SUCCESS:
        return RM_OK;
    case MDB_NOTFOUND:
        return RM_ENOTFOUND;
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
    case ENOSPC:
    case EDQUOT:
        return RM_EFULL;
    case ENOMEM:
        return RM_ENOMEM;
    case MDB_READERS_FULL:
        return RM_EAGAIN;
    case MDB_BAD_VALSIZE:
    case MDB_DBS_FULL:
    case EINVAL:
        return RM_EINVAL;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_INCOMPATIBLE:
    case MDB_CURSOR_FULL:
    case MDB_PAGE_FULL:
        if (committing)
            atomic_store(&env->dead, true);
        return RM_ECORRUPT;
    default:
        if (rc == EIO && disk_is_full(env))
            return RM_EFULL;
        if (committing || rc == MDB_PANIC)
            atomic_store(&env->dead, true);
        return RM_EIO;
    }
}

/* The entry of the directory just made, on the disk: without it all that is synced inside is lost with it. */
static int sync_parent(const char *made)
{
    int dir = open(made, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int parent = dir < 0 ? -1 : openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = parent >= 0 && fsync(parent) == 0 ? RM_OK : RM_EIO;
    if (dir >= 0)
        close(dir);
    if (parent >= 0)
        close(parent);
    return rc;
}

static int make_dir(const char *path)
{
    if (mkdir(path, 0700) == 0)
        return sync_parent(path);
    if (errno == EEXIST)
        return RM_OK;
    return errno == ENOSPC || errno == EDQUOT ? RM_EFULL : RM_EIO;
}

/* Creates path and its missing parents. */
static int make_dirs(const char *path)
{
    char at[PATH_MAX];
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof(at))
        return RM_EINVAL;
    memcpy(at, path, len + 1);
    for (size_t i = 1; i <= len; i++) {
        if (at[i] != '/' && at[i] != '\0')
            continue;
        char c = at[i];
        at[i] = '\0';
        int rc = make_dir(at);
        if (rc < 0)
            return rc;
        at[i] = c;
    }
    return RM_OK;
}

static int lock_dir(struct kv_env *env, const char *dir)
{
    int rc = make_dirs(dir);
    if (rc < 0)
        return rc;
    env->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (env->dir_fd < 0)
        return RM_EIO;
    env->lock_fd = openat(env->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (env->lock_fd < 0)
        return errno == ENOSPC || errno == EDQUOT ? RM_EFULL : RM_EIO;
    if (flock(env->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? RM_ELOCKED : RM_EIO;
    return RM_OK;
}

static uint64_t map_size(const struct kv_env *env, uint64_t wanted)
{
    struct statvfs fs;
    uint64_t most = wanted;
    if (fstatvfs(env->dir_fd, &fs) == 0 && fs.f_blocks)
        most = (uint64_t)fs.f_blocks * fs.f_frsize * 4;
#ifdef UNDER_TSAN
    /* The sanitizer leaves no larger hole in the address space. */
    if (most > (uint64_t)16 << 30)
        most = (uint64_t)16 << 30;
#endif
    uint64_t bytes = wanted < most ? wanted : most;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page;
}

static int open_mdb(struct kv_env *env, const struct kv_options *o)
{
    int rc = mdb_env_create(&env->mdb);
    if (rc)
        return rc;
    unsigned readers = o->max_readers > READERS_LEAST ? o->max_readers : READERS_LEAST;
    if ((rc = mdb_env_set_mapsize(env->mdb, map_size(env, o->map_bytes))) ||
        (rc = mdb_env_set_maxdbs(env->mdb, o->max_tables)) ||
        (rc = mdb_env_set_maxreaders(env->mdb, readers + 1)))
        return rc;
    unsigned flags = MDB_NOTLS | MDB_NORDAHEAD;
    if (!o->sync)
        flags |= MDB_NOSYNC | MDB_NOMETASYNC;
    if ((rc = mdb_env_open(env->mdb, o->dir, flags, 0600)))
        return rc;
    /* LMDB syncs its files, not the directory entry that names them. */
    return o->sync && fsync(env->dir_fd) < 0 ? errno : 0;
}

static void measure(struct kv_env *env)
{
    MDB_envinfo info;
    MDB_stat stat;
    ENSURE(mdb_env_info(env->mdb, &info) == 0 && mdb_env_stat(env->mdb, &stat) == 0);
    env->page_bytes = stat.ms_psize;
    env->map_pages = info.me_mapsize / stat.ms_psize;
    uint64_t reserve = env->map_pages / 32;
    if (reserve > 4096)
        reserve = 4096;
    if (reserve < 32)
        reserve = 32;
    env->reserve_pages = reserve;
}

static void env_free(struct kv_env *env)
{
    if (env->mdb)
        mdb_env_close(env->mdb);
    if (env->lock_fd >= 0)
        close(env->lock_fd);
    if (env->dir_fd >= 0)
        close(env->dir_fd);
    pthread_mutex_destroy(&env->reads_lock);
    free(env);
}

int kv_open(const struct kv_options *options, struct kv_env **out, const char **why)
{
    *out = NULL;
    struct kv_env *env = calloc(1, sizeof(*env));
    ENSURE(env);
    env->lock_fd = env->dir_fd = -1;
    list_init(&env->reads_idle);
    list_init(&env->reads_busy);
    ENSURE(pthread_mutex_init(&env->reads_lock, NULL) == 0);
    int rc = lock_dir(env, options->dir), mdb_rc = 0;
    if (rc == RM_OK) {
        mdb_rc = open_mdb(env, options);
        rc = kv_error_of(env, mdb_rc, false);
    }
    if (rc < 0) {
        if (why)
            *why = mdb_rc < 0 ? mdb_strerror(mdb_rc) : rm_strerror(rc);
        env_free(env);
        return rc;
    }
    measure(env);
    *out = env;
    return RM_OK;
}

void kv_close(struct kv_env *env)
{
    if (!env)
        return;
    ENSURE(list_empty(&env->reads_busy));
    for (struct list *l; (l = list_pop_front(&env->reads_idle));) {
        struct kv_txn *txn = CONTAINER_OF(l, struct kv_txn, link);
        mdb_txn_abort(txn->mdb);
        free(txn);
    }
    env_free(env);
}

int kv_table_open(struct kv_env *env, const char *name, kv_table *out)
{
    struct kv_txn *txn;
    int rc = kv_write_begin(env, &txn);
    if (rc < 0)
        return rc;
    MDB_dbi dbi;
    int mdb_rc = mdb_dbi_open(txn->mdb, name, MDB_CREATE, &dbi);
    if (mdb_rc) {
        kv_abort(txn);
        return kv_error_of(env, mdb_rc, false);
    }
    *out = dbi;
    return kv_commit(txn);
}

int kv_free_pages(struct kv_env *env, uint64_t *pages)
{
    struct kv_txn *txn;
    int rc = kv_read_begin(env, &txn);
    if (rc < 0)
        return rc;
    *pages = 0;
    /* Table 0 is LMDB's free list: each value is a count and that many page numbers. */
    struct kv_cursor *c = kv_cursor_new(txn, 0);
    struct span key, value;
    for (bool more = kv_cursor_seek(c, (struct span){NULL, 0}, &key, &value); more;
         more = kv_cursor_next(c, &key, &value)) {
        size_t count = 0;
        if (value.len >= sizeof(count))
            memcpy(&count, value.ptr, sizeof(count));
        *pages += count;
    }
    kv_cursor_free(c);
    rc = kv_error(txn);
    kv_read_end(txn);
    return rc;
}

static void reader_figures(struct kv_env *env, uint64_t last_txn, struct kv_stat *out)
{
    pthread_mutex_lock(&env->reads_lock);
    LIST_FOREACH(l, &env->reads_busy)
    {
        const struct kv_txn *txn = CONTAINER_OF(l, struct kv_txn, link);
        uint64_t lag = last_txn > txn->snapshot ? last_txn - txn->snapshot : 0;
        if (lag > out->oldest_reader_txns)
            out->oldest_reader_txns = lag;
        out->readers++;
    }
    pthread_mutex_unlock(&env->reads_lock);
}

int kv_stat(struct kv_env *env, struct kv_stat *out)
{
    *out = (struct kv_stat){0};
    uint64_t free_pages;
    int rc = kv_free_pages(env, &free_pages);
    if (rc < 0)
        return rc;
    MDB_envinfo info;
    ENSURE(mdb_env_info(env->mdb, &info) == 0);
    uint64_t pages = info.me_last_pgno + 1;
    struct stat st;
    if (fstatat(env->dir_fd, "data.mdb", &st, 0) < 0)
        return RM_EIO;
    out->free_bytes = free_pages * env->page_bytes;
    out->used_bytes = pages > free_pages ? (pages - free_pages) * env->page_bytes : 0;
    out->file_bytes = (uint64_t)st.st_size;
    out->map_bytes = info.me_mapsize;
    reader_figures(env, info.me_last_txnid, out);
    return RM_OK;
}

int kv_copy_compact(struct kv_env *env, const char *dir)
{
    int rc = make_dirs(dir);
    if (rc < 0)
        return rc;
    rc = kv_error_of(env, mdb_env_copy2(env->mdb, dir, MDB_CP_COMPACT), false);
    if (rc < 0)
        return rc;
    /* The copy is worth nothing until it and its name are on the disk. */
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = dir_fd < 0 ? -1 : openat(dir_fd, "data.mdb", O_RDWR | O_CLOEXEC);
    rc = fd >= 0 && fsync(fd) == 0 && fsync(dir_fd) == 0 ? RM_OK : RM_EIO;
    if (fd >= 0)
        close(fd);
    if (dir_fd >= 0)
        close(dir_fd);
    return rc;
}
