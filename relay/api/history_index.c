/*
 * What the history index stores: its environment, whether it still fits the log, and the entries made of each
 * batch of events. When to index and when to forget is decided in history.c and history_keep.c.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/map.h"
#include "relay/api/event_line.h"
#include "relay/api/history_private.h"

/* A pass reads at most so much of all partitions together, which bounds its memory and its commit. */
enum { PASS_BATCHES = 1024, PASS_BYTES = 4 * 1024 * 1024, LINES_BYTES = 64 * 1024, TABLES_MOST = 4 };
static const char FORMAT[] = "1";

uint32_t history_hour(uint64_t ms)
{
    return (uint32_t)(ms / 3600000);
}

/* Addresses are looked up in any case, so they are hashed in lower case. */
static uint64_t hash_lower(struct span what)
{
    char small[512];
    size_t n = what.len < sizeof(small) ? what.len : sizeof(small);
    for (size_t i = 0; i < n; i++) {
        char c = what.ptr[i];
        small[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    return hash64(small, n);
}

void history_find_prefix(uint32_t hour, enum history_kind kind, struct span what,
                         unsigned char out[HISTORY_FIND_PREFIX])
{
    history_put32(out, hour);
    out[4] = (unsigned char)kind;
    history_put64(out + 5, hash_lower(what));
}

/* ---- opening ---------------------------------------------------------------------------------------- */

static bool boot_id(char out[64])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out, 63) : -1;
    if (fd >= 0)
        close(fd);
    out[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static int env_open(struct history *h)
{
    struct kv_options o = {.dir = h->dir,
                           .map_bytes = h->map_bytes,
                           .sync = false,
                           .max_tables = TABLES_MOST,
                           .max_readers = 64};
    int rc = kv_open(&o, &h->env, NULL);
    if (rc == RM_OK)
        rc = kv_table_open(h->env, "ids", &h->ids);
    if (rc == RM_OK)
        rc = kv_table_open(h->env, "find", &h->find);
    if (rc == RM_OK)
        rc = kv_table_open(h->env, "meta", &h->meta);
    if (rc != RM_OK && h->env) {
        kv_close(h->env);
        h->env = NULL;
    }
    return rc;
}

static struct span position_key(uint32_t partition, unsigned char room[HISTORY_KEY_ROOM])
{
    memcpy(room, "position", 8);
    history_put16(room + 8, partition);
    return span_of((const char *)room, 10);
}

/* True when the index was made by this format, and nothing of it can have been lost with the machine. */
static bool meta_fits(struct history *h, struct kv_txn *t)
{
    struct span v;
    char boot[64];
    if (kv_get(t, h->meta, SPAN_LIT("format"), &v) != RM_OK || !span_eq(v, span_str(FORMAT)))
        return false;
    if (kv_get(t, h->meta, SPAN_LIT("clean"), &v) == RM_OK)
        return true;
    return boot_id(boot) && kv_get(t, h->meta, SPAN_LIT("boot"), &v) == RM_OK && span_eq(v, span_str(boot));
}

/* Reads the positions; false when one is ahead of the log: it is the index of another log. */
static bool positions_load(struct history *h, struct kv_txn *t)
{
    struct log_reader *r;
    if (log_read_begin(h->log, &r) != RM_OK)
        return false;
    bool fits = true;
    for (uint32_t p = 0; p < log_partitions(h->log); p++) {
        unsigned char room[HISTORY_KEY_ROOM];
        struct span v;
        uint64_t at = 0;
        if (kv_get(t, h->meta, position_key(p, room), &v) == RM_OK && v.len == 8)
            at = history_get(v.ptr, 8);
        if (at > log_read_end_offset(r, LOG_EVENTS, p))
            fits = false;
        h->position[p] = at;
    }
    log_read_end(r);
    return fits;
}

static bool index_fits(struct history *h)
{
    struct kv_txn *t;
    if (kv_read_begin(h->env, &t) != RM_OK)
        return false;
    bool fits = meta_fits(h, t) && positions_load(h, t);
    kv_read_end(t);
    return fits;
}

static int meta_begin(struct history *h)
{
    struct kv_txn *t;
    int rc = kv_write_begin(h->env, &t);
    if (rc != RM_OK)
        return rc;
    char boot[64];
    boot_id(boot);
    kv_put(t, h->meta, SPAN_LIT("format"), span_str(FORMAT));
    kv_put(t, h->meta, SPAN_LIT("boot"), span_str(boot));
    kv_delete(t, h->meta, SPAN_LIT("clean"));
    return kv_commit(t);
}

/* Calls fn for each file of the directory; false when it failed for one. */
static bool each_file(const char *dir, bool (*fn)(int dirfd, const char *name))
{
    DIR *d = opendir(dir);
    if (!d)
        return false;
    bool ok = true;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.')
            ok = fn(dirfd(d), e->d_name) && ok;
    closedir(d);
    return ok;
}

static bool file_delete(int dir, const char *name)
{
    return unlinkat(dir, name, 0) == 0;
}

static bool file_sync(int dir, const char *name)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    bool ok = fsync(fd) == 0;
    close(fd);
    return ok;
}

int history_index_restart(struct history *h)
{
    if (h->env)
        kv_close(h->env);
    h->env = NULL;
    if (!each_file(h->dir, file_delete))
        return RM_EIO;
    for (uint32_t p = 0; p < log_partitions(h->log); p++)
        h->position[p] = 0;
    h->rebuilds++;
    h->tell_from_ms = h->started_ms;
    int rc = env_open(h);
    return rc == RM_OK ? meta_begin(h) : rc;
}

int history_index_open(struct history *h)
{
    int rc = env_open(h);
    if (rc == RM_ECORRUPT)
        return history_index_restart(h);
    if (rc != RM_OK)
        return rc;
    return index_fits(h) ? meta_begin(h) : history_index_restart(h);
}

void history_index_close(struct history *h)
{
    if (!h->env)
        return;
    struct kv_txn *t;
    /* What the mark vouches for must be on the disk before it. */
    if (each_file(h->dir, file_sync) && kv_write_begin(h->env, &t) == RM_OK) {
        kv_put(t, h->meta, SPAN_LIT("clean"), SPAN_LIT("1"));
        if (kv_commit(t) == RM_OK)
            (void)each_file(h->dir, file_sync);
    }
    kv_close(h->env);
    h->env = NULL;
}

/* ---- indexing --------------------------------------------------------------------------------------- */

struct entry {
    bool find;
    unsigned char key[HISTORY_KEY_ROOM];
};

/*
 * What a pass has read. Entries are put in key order, so that they touch each page of the tree once. Events
 * stay decoded until they are told to the program's log, which is after the commit: a pass that fails is read
 * again.
 */
struct gather {
    struct entry *list;
    size_t n, room;
    struct arena arena;
    const Remuda__EventBatch *batches[PASS_BATCHES];
    size_t n_batches, bytes;
};

static struct entry *gather_add(struct gather *g, bool find)
{
    if (g->n == g->room) {
        g->room = g->room > 0 ? g->room * 2 : 1024;
        g->list = realloc(g->list, g->room * sizeof(*g->list));
        ENSURE(g->list != NULL);
    }
    struct entry *e = &g->list[g->n++];
    e->find = find;
    memset(e->key, 0, sizeof(e->key));
    return e;
}

static void gather_find(struct gather *g, const struct msgid *id, enum history_kind kind, const char *what)
{
    if (!what || what[0] == '\0')
        return;
    struct entry *e = gather_add(g, true);
    history_find_prefix(history_hour(msgid_ms(id)), kind, span_str(what), e->key);
    memcpy(e->key + HISTORY_FIND_PREFIX, id->bytes, MSGID_BYTES);
}

static void gather_event(struct gather *g, const Remuda__Event *event, uint32_t partition, uint64_t offset,
                         uint32_t index)
{
    if (event->message_id.len != MSGID_BYTES)
        return;
    struct msgid id;
    memcpy(id.bytes, event->message_id.data, MSGID_BYTES);
    struct entry *e = gather_add(g, false);
    memcpy(e->key, id.bytes, MSGID_BYTES);
    history_put16(e->key + MSGID_BYTES, partition);
    history_put64(e->key + MSGID_BYTES + 2, offset);
    history_put32(e->key + MSGID_BYTES + 10, index);
    gather_find(g, &id, HISTORY_SENDER, event->sender);
    gather_find(g, &id, HISTORY_TENANT, event->tenant);
    for (size_t i = 0; i < event->n_recipients; i++)
        gather_find(g, &id, HISTORY_RECIPIENT, event->recipients[i]->address);
}

static void gather_batch(struct gather *g, const Remuda__EventBatch *batch, uint32_t partition,
                         uint64_t offset)
{
    for (size_t i = 0; batch && i < batch->n_events; i++)
        gather_event(g, batch->events[i], partition, offset, (uint32_t)i);
    g->batches[g->n_batches++] = batch;
}

/* How far it can be read: what is missing comes later, and goes before what is behind it. */
static uint64_t readable_end(struct history *h, struct log_reader *r, uint32_t partition, uint64_t offset)
{
    uint64_t from, to;
    bool waits = log_read_missing(r, partition, &from, &to) && offset < to;
    h->waits[partition] = waits && log_is_current(h->log, partition);
    return !waits ? log_read_end_offset(r, LOG_EVENTS, partition) : from > offset ? from : offset;
}

/* Reads on from *offset, which becomes where the next pass begins. */
static void gather_partition(struct history *h, struct gather *g, struct log_reader *r, uint32_t partition,
                             uint64_t *offset)
{
    struct span value;
    uint64_t end = readable_end(h, r, partition, *offset);
    while (g->n_batches < PASS_BATCHES && g->bytes < PASS_BYTES) {
        uint64_t at = *offset;
        if (!log_read_next(r, LOG_EVENTS, partition, &at, &value) || at >= end) {
            *offset = end;
            return;
        }
        const Remuda__EventBatch *batch = event_batch_decode(&g->arena, value);
        if (!batch || !history_twice(h, r, partition, batch, at))
            gather_batch(g, batch, partition, at);
        g->bytes += value.len;
        *offset = at + 1;
    }
}

/* After the index was started over its old events come by again: those were told in their time. */
static void batch_tell(const struct history *h, const Remuda__EventBatch *batch, struct buf *lines)
{
    for (size_t i = 0; batch && i < batch->n_events; i++)
        if (batch->events[i]->time_ms >= h->tell_from_ms)
            event_line_append(h->logger, lines, batch->events[i]);
}

static void gather_tell(const struct history *h, const struct gather *g)
{
    if (!h->logger || !logger_enabled(h->logger, LOG_INFO))
        return;
    struct buf lines = BUF_INIT;
    for (size_t i = 0; i < g->n_batches; i++) {
        batch_tell(h, g->batches[i], &lines);
        if (lines.len < LINES_BYTES && i + 1 < g->n_batches)
            continue;
        logger_write_lines(h->logger, buf_span(&lines));
        buf_clear(&lines);
    }
    buf_fini(&lines);
}

static int entry_order(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->find != y->find)
        return x->find ? 1 : -1;
    return memcmp(x->key, y->key, sizeof(x->key));
}

static void gather_put(struct history *h, struct kv_txn *t, struct gather *g)
{
    if (g->n > 0)
        qsort(g->list, g->n, sizeof(*g->list), entry_order);
    for (size_t i = 0; i < g->n; i++) {
        const struct entry *e = &g->list[i];
        if (i > 0 && entry_order(e - 1, e) == 0)
            continue;
        struct span key = span_of((const char *)e->key, e->find ? HISTORY_FIND_KEY : HISTORY_ID_KEY);
        struct span had;
        /* A read leaves the page clean: retries of a message would else rewrite pages for nothing. */
        if (!e->find || kv_get(t, h->find, key, &had) == RM_ENOTFOUND)
            kv_put(t, e->find ? h->find : h->ids, key, SPAN_LIT(""));
    }
}

static int pass_commit(struct history *h, struct gather *g, const uint64_t *next, uint32_t n)
{
    struct kv_txn *t;
    int rc = kv_write_begin(h->env, &t);
    if (rc != RM_OK)
        return rc;
    gather_put(h, t, g);
    for (uint32_t p = 0; p < n; p++) {
        unsigned char room[HISTORY_KEY_ROOM], at[8];
        if (next[p] == h->position[p])
            continue;
        history_put64(at, next[p]);
        kv_put(t, h->meta, position_key(p, room), span_of((const char *)at, sizeof(at)));
    }
    rc = kv_commit(t);
    for (uint32_t p = 0; rc == RM_OK && p < n; p++)
        h->position[p] = next[p];
    return rc;
}

/* One partition of a pass; *lag grows by what it leaves unread. */
static int pass_read(struct history *h, struct gather *g, uint32_t partition, uint64_t *next, uint64_t *lag)
{
    struct log_reader *r;
    int rc = log_read_begin(h->log, &r);
    if (rc != RM_OK)
        return rc;
    gather_partition(h, g, r, partition, next);
    uint64_t end = log_read_end_offset(r, LOG_EVENTS, partition);
    *lag += end > *next ? end - *next : 0;
    log_read_end(r);
    return RM_OK;
}

int history_index_pass(struct history *h)
{
    struct gather *g = calloc(1, sizeof(*g));
    uint32_t n = log_partitions(h->log);
    uint64_t *next = calloc(n, sizeof(*next));
    ENSURE(g && next);
    uint64_t lag = 0;
    int rc = RM_OK;
    uint32_t first = h->first_partition++; /* a busy partition does not keep the others waiting */
    for (uint32_t i = 0; i < n; i++) {
        uint32_t p = (first + i) % n;
        next[p] = h->position[p];
        if (rc == RM_OK)
            rc = pass_read(h, g, p, &next[p], &lag);
    }
    bool moved = false;
    for (uint32_t p = 0; p < n; p++)
        moved = moved || next[p] != h->position[p];
    if (rc == RM_OK && moved)
        rc = pass_commit(h, g, next, n);
    if (rc == RM_OK) {
        gather_tell(h, g);
        h->lag = lag;
        h->moved = moved;
    }
    arena_fini(&g->arena);
    free(g->list);
    free(g);
    free(next);
    return rc;
}
