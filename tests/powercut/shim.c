/*
 * Preloaded into a program, writes down every change and every sync of the files below one directory:
 * POWERCUT_DIR names it, POWERCUT_JOURNAL the journal. Descriptors are known from open on; copies made by dup
 * are not followed (nothing under test makes any).
 *
 * A preloaded library has no main to own its state: it is the one struct below.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/powercut/journal.h"

enum { FDS = 1024, FILES = 16 };

static struct {
    pthread_mutex_t lock;
    int journal;       /* descriptor; 0 before the first use, -1 when not watching */
    uint64_t position; /* bytes written to it */
    char dir[512];
    char *names[FILES];
    int n_files;
    struct {
        bool watched, dsync;
        uint32_t file;
    } fds[FDS];
} shim = {.lock = PTHREAD_MUTEX_INITIALIZER};

typedef ssize_t (*write_fn)(int, const void *, size_t);
typedef ssize_t (*pwrite_fn)(int, const void *, size_t, off_t);
typedef ssize_t (*writev_fn)(int, const struct iovec *, int);
typedef ssize_t (*pwritev_fn)(int, const struct iovec *, int, off_t);
typedef int (*fd_fn)(int);
typedef int (*open_fn)(const char *, int, ...);
typedef int (*truncate_fn)(int, off_t);

static void *next(const char *name)
{
    void *f = dlsym(RTLD_NEXT, name);
    if (!f)
        abort();
    return f;
}

/* ---- the journal; all under shim.lock ---------------------------------------------------------------- */

static void put(const void *bytes, size_t n)
{
    write_fn real = (write_fn)next("write");
    const char *at = bytes;
    shim.position += n;
    while (n > 0) {
        ssize_t done = real(shim.journal, at, n);
        if (done <= 0)
            abort();
        at += done;
        n -= (size_t)done;
    }
}

static void start(void)
{
    const char *dir = getenv("POWERCUT_DIR"), *journal = getenv("POWERCUT_JOURNAL");
    shim.journal = -1;
    if (!dir || !journal)
        return;
    snprintf(shim.dir, sizeof(shim.dir), "%s/", dir);
    open_fn real = (open_fn)next("open");
    shim.journal = real(journal, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (shim.journal < 0)
        abort();
}

static void enter(void)
{
    pthread_mutex_lock(&shim.lock);
    if (shim.journal == 0)
        start();
}

static void leave(void)
{
    pthread_mutex_unlock(&shim.lock);
}

static bool watched(int fd)
{
    return shim.journal > 0 && fd >= 0 && fd < FDS && shim.fds[fd].watched;
}

static void note(int fd, enum journal_kind kind, uint64_t offset, const struct iovec *parts, int n)
{
    struct journal_record r = {kind, shim.fds[fd].file, offset, 0, shim.fds[fd].dsync};
    for (int i = 0; i < n; i++)
        r.len += (uint32_t)parts[i].iov_len;
    put(&r, sizeof(r));
    for (int i = 0; i < n; i++)
        put(parts[i].iov_base, parts[i].iov_len);
}

static uint32_t file_number(int fd, const char *name)
{
    for (int i = 0; i < shim.n_files; i++)
        if (strcmp(shim.names[i], name) == 0)
            return (uint32_t)i;
    if (shim.n_files == FILES)
        abort();
    shim.names[shim.n_files] = strdup(name);
    shim.fds[fd].file = (uint32_t)shim.n_files++;
    struct iovec part = {(void *)(uintptr_t)name, strlen(name)};
    note(fd, JOURNAL_FILE, 0, &part, 1);
    return shim.fds[fd].file;
}

static int opened(int fd, const char *path, int flags)
{
    int saved = errno;
    enter();
    size_t n = strlen(shim.dir);
    if (fd >= 0 && shim.journal > 0 && strncmp(path, shim.dir, n) == 0) {
        if (fd >= FDS)
            abort();
        shim.fds[fd].watched = true;
        shim.fds[fd].dsync = (flags & O_DSYNC) != 0;
        shim.fds[fd].file = file_number(fd, path + n);
        if (flags & O_TRUNC)
            note(fd, JOURNAL_TRUNCATE, 0, NULL, 0);
    }
    leave();
    errno = saved;
    return fd;
}

/* Notes what of parts was really written. */
static ssize_t wrote(int fd, const struct iovec *parts, int n, int64_t offset, ssize_t result)
{
    int saved = errno;
    enter();
    if (result > 0 && watched(fd)) {
        uint64_t at = offset >= 0 ? (uint64_t)offset : (uint64_t)lseek(fd, 0, SEEK_CUR) - (uint64_t)result;
        size_t left = (size_t)result;
        for (int i = 0; i < n && left > 0; i++) {
            struct iovec part = parts[i];
            part.iov_len = part.iov_len < left ? part.iov_len : left;
            note(fd, JOURNAL_WRITE, at, &part, 1);
            at += part.iov_len;
            left -= part.iov_len;
        }
    }
    leave();
    errno = saved;
    return result;
}

static int synced(int fd, int result)
{
    int saved = errno;
    enter();
    if (result == 0 && watched(fd))
        note(fd, JOURNAL_SYNC, 0, NULL, 0);
    leave();
    errno = saved;
    return result;
}

/* For the program under test: bytes in the journal so far. */
uint64_t powercut_position(void);
uint64_t powercut_position(void)
{
    enter();
    uint64_t position = shim.position;
    leave();
    return position;
}

/* ---- the calls ------------------------------------------------------------------------------------------
 */

#define MODE_OF(flags, last)                                                                                 \
    va_list args;                                                                                            \
    va_start(args, last);                                                                                    \
    mode_t mode = (flags) & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;                                \
    va_end(args)

int open(const char *path, int flags, ...)
{
    MODE_OF(flags, flags);
    return opened(((open_fn)next("open"))(path, flags, mode), path, flags);
}

int open64(const char *path, int flags, ...)
{
    MODE_OF(flags, flags);
    return opened(((open_fn)next("open64"))(path, flags, mode), path, flags);
}

int openat(int dir, const char *path, int flags, ...)
{
    MODE_OF(flags, flags);
    int (*real)(int, const char *, int, ...) = (int (*)(int, const char *, int, ...))next("openat");
    return opened(real(dir, path, flags, mode), path, flags);
}

int close(int fd)
{
    enter();
    if (fd >= 0 && fd < FDS)
        shim.fds[fd].watched = false;
    leave();
    return ((fd_fn)next("close"))(fd);
}

ssize_t write(int fd, const void *bytes, size_t n)
{
    struct iovec part = {(void *)(uintptr_t)bytes, n};
    return wrote(fd, &part, 1, -1, ((write_fn)next("write"))(fd, bytes, n));
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at)
{
    struct iovec part = {(void *)(uintptr_t)bytes, n};
    return wrote(fd, &part, 1, at, ((pwrite_fn)next("pwrite"))(fd, bytes, n, at));
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t at)
{
    struct iovec part = {(void *)(uintptr_t)bytes, n};
    return wrote(fd, &part, 1, at, ((pwrite_fn)next("pwrite64"))(fd, bytes, n, at));
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
    return wrote(fd, parts, n, -1, ((writev_fn)next("writev"))(fd, parts, n));
}

ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t at)
{
    return wrote(fd, parts, n, at, ((pwritev_fn)next("pwritev"))(fd, parts, n, at));
}

ssize_t pwritev64(int fd, const struct iovec *parts, int n, off64_t at)
{
    return wrote(fd, parts, n, at, ((pwritev_fn)next("pwritev64"))(fd, parts, n, at));
}

static int truncated(int fd, off_t size, int result)
{
    enter();
    if (result == 0 && watched(fd))
        note(fd, JOURNAL_TRUNCATE, (uint64_t)size, NULL, 0);
    leave();
    return result;
}

int ftruncate(int fd, off_t size)
{
    return truncated(fd, size, ((truncate_fn)next("ftruncate"))(fd, size));
}

int ftruncate64(int fd, off64_t size)
{
    return truncated(fd, size, ((truncate_fn)next("ftruncate64"))(fd, size));
}

int fsync(int fd)
{
    return synced(fd, ((fd_fn)next("fsync"))(fd));
}

int fdatasync(int fd)
{
    return synced(fd, ((fd_fn)next("fdatasync"))(fd));
}

/* A mapping's writes can't be seen here: a log that writes through one would need another test. */
int msync(void *at, size_t len, int flags)
{
    int (*real)(void *, size_t, int) = (int (*)(void *, size_t, int))next("msync");
    enter();
    if (shim.journal > 0 && (flags & MS_SYNC)) {
        fputs("powercut: msync: the files under test are written through a mapping\n", stderr);
        abort();
    }
    leave();
    return real(at, len, flags);
}
