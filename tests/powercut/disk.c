#include "tests/powercut/disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/err.h"
#include "tests/powercut/journal.h"

enum { FILES = 16, SECTOR = 512, CHILD_SECONDS = 60 };

struct entry {
    struct journal_record head;
    const char *data;
    uint64_t end;       /* position of the journal behind it */
    uint64_t safe_from; /* a cut at or behind this position keeps it for sure */
};

struct disk {
    char *journal;
    struct entry *entries;
    size_t n;
};

/* ---- reading ----------------------------------------------------------------------------------------- */

char *disk_slurp(const char *path, size_t *len)
{
    struct stat st;
    int fd = open(path, O_RDONLY);
    ENSURE(fd >= 0 && fstat(fd, &st) == 0);
    *len = (size_t)st.st_size;
    char *bytes = malloc(*len + 1);
    ENSURE(bytes);
    for (size_t at = 0; at < *len;) {
        ssize_t n = read(fd, bytes + at, *len - at);
        ENSURE(n > 0);
        at += (size_t)n;
    }
    close(fd);
    return bytes;
}

/* The last record may be torn: the process was killed while it wrote it, and has told nobody since. */
static void load_entries(struct disk *d, size_t len)
{
    size_t cap = 0;
    for (size_t at = 0; len - at >= sizeof(struct journal_record);) {
        if (d->n == cap) {
            cap = cap ? cap * 2 : 4096;
            d->entries = realloc(d->entries, cap * sizeof(*d->entries));
            ENSURE(d->entries);
        }
        struct entry *e = &d->entries[d->n];
        memcpy(&e->head, d->journal + at, sizeof(e->head));
        if (e->head.len > len - at - sizeof(e->head))
            return;
        e->data = d->journal + at + sizeof(e->head);
        at += sizeof(e->head) + e->head.len;
        e->end = at;
        e->safe_from = e->head.kind == JOURNAL_FILE || e->head.synced ? at : UINT64_MAX;
        d->n++;
    }
}

/* A write is safe from the end of the next sync of its file on. */
static void find_syncs(struct disk *d)
{
    uint64_t next[FILES];
    for (int i = 0; i < FILES; i++)
        next[i] = UINT64_MAX;
    for (size_t i = d->n; i-- > 0;) {
        struct entry *e = &d->entries[i];
        ENSURE(e->head.file < FILES);
        if (e->head.kind == JOURNAL_SYNC)
            next[e->head.file] = e->end;
        else if (next[e->head.file] < e->safe_from)
            e->safe_from = next[e->head.file];
    }
}

struct disk *disk_load(const char *journal)
{
    size_t len;
    struct disk *d = calloc(1, sizeof(*d));
    ENSURE(d);
    d->journal = disk_slurp(journal, &len);
    load_entries(d, len);
    ENSURE(d->n > 0);
    find_syncs(d);
    return d;
}

void disk_free(struct disk *d)
{
    free(d->entries);
    free(d->journal);
    free(d);
}

uint64_t disk_end(const struct disk *d)
{
    return d->entries[d->n - 1].end;
}

/* ---- building ---------------------------------------------------------------------------------------- */

static void write_at(int fd, const char *bytes, size_t n, uint64_t at)
{
    ENSURE(pwrite(fd, bytes, n, (off_t)at) == (ssize_t)n);
}

/* An unsynced write: all of it, nothing, or any of its sectors. */
static void write_perhaps(int fd, const struct entry *e)
{
    int fate = (int)(random() % 3);
    if (fate == 0)
        write_at(fd, e->data, e->head.len, e->head.offset);
    if (fate != 1)
        return;
    for (size_t at = 0; at < e->head.len; at += SECTOR) {
        size_t n = e->head.len - at < SECTOR ? e->head.len - at : SECTOR;
        if (random() % 2)
            write_at(fd, e->data + at, n, e->head.offset + at);
    }
}

static int open_file(const char *dir, const struct entry *e)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%.*s", dir, (int)e->head.len, e->data);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    ENSURE(fd >= 0);
    return fd;
}

static void play(const struct entry *e, int fd, bool safe)
{
    if (e->head.kind == JOURNAL_WRITE && safe)
        write_at(fd, e->data, e->head.len, e->head.offset);
    else if (e->head.kind == JOURNAL_WRITE)
        write_perhaps(fd, e);
    else if (e->head.kind == JOURNAL_TRUNCATE && (safe || random() % 2))
        ENSURE(ftruncate(fd, (off_t)e->head.offset) == 0);
}

static void build(const struct disk *d, uint64_t cut, bool whole, const char *dir)
{
    int fds[FILES];
    for (int i = 0; i < FILES; i++)
        fds[i] = -1;
    for (size_t i = 0; i < d->n; i++) {
        const struct entry *e = &d->entries[i];
        if (e->head.kind == JOURNAL_FILE)
            fds[e->head.file] = open_file(dir, e);
        play(e, fds[e->head.file], whole || e->safe_from <= cut);
        if (e->end > cut)
            break; /* that one was under way */
    }
    for (int i = 0; i < FILES; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

void disk_build(const struct disk *d, uint64_t cut, const char *dir)
{
    build(d, cut, false, dir);
}

void disk_build_whole(const struct disk *d, const char *dir)
{
    build(d, UINT64_MAX, true, dir);
}

static bool all_zero(const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i])
            return false;
    return true;
}

bool disk_same(const char *a, const char *b, const char *name)
{
    char path[512];
    size_t n_a, n_b;
    snprintf(path, sizeof(path), "%s/%s", a, name);
    char *bytes_a = disk_slurp(path, &n_a);
    snprintf(path, sizeof(path), "%s/%s", b, name);
    char *bytes_b = disk_slurp(path, &n_b);
    size_t common = n_a < n_b ? n_a : n_b;
    bool same = memcmp(bytes_a, bytes_b, common) == 0 && all_zero(bytes_a + common, n_a - common) &&
                all_zero(bytes_b + common, n_b - common);
    free(bytes_a);
    free(bytes_b);
    return same;
}

void disk_empty_dir(const char *dir)
{
    char path[512];
    DIR *d = opendir(dir);
    ENSURE(d);
    for (struct dirent *e; (e = readdir(d));) {
        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        ENSURE(e->d_name[0] == '.' || unlink(path) == 0);
    }
    closedir(d);
}

/* ---- cutting ----------------------------------------------------------------------------------------- */

static int look_in_child(const char *dir, uint64_t cut, disk_look_fn look, void *arg)
{
    fflush(stdout);
    pid_t pid = fork();
    ENSURE(pid >= 0);
    if (pid == 0) {
        alarm(CHILD_SECONDS);
        int null = open("/dev/null", O_WRONLY);
        if (null >= 0)
            dup2(null, 2);
        _exit(look(arg, dir, cut) != 0);
    }
    int status;
    ENSURE(waitpid(pid, &status, 0) == pid);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

int disk_cuts(const struct disk *d, int cuts, unsigned seed, uint64_t first, disk_look_fn look, void *arg)
{
    int lost = 0;
    char dir[] = "/tmp/remuda-powercut-XXXXXX";
    ENSURE(mkdtemp(dir) && disk_end(d) > first);
    srandom(seed);
    for (int i = 0; i < cuts; i++) {
        uint64_t cut = first + (uint64_t)(((double)random() / RAND_MAX) * (double)(disk_end(d) - first));
        disk_build(d, cut, dir);
        int bad = look_in_child(dir, cut, look, arg);
        if (bad && lost == 0)
            printf("first loss: cut at %llu of %llu\n", (unsigned long long)cut,
                   (unsigned long long)disk_end(d));
        lost += bad;
        disk_empty_dir(dir);
    }
    ENSURE(rmdir(dir) == 0);
    printf("cuts=%d lost=%d\n", cuts, lost);
    return lost;
}
