/*
 * Followers of mail partitions. The writer pushes what becomes durable into the follower's ring; what was
 * there before is read from the log, in bounded pieces, on the client's thread.
 *
 * A follower is COLD while it reads what exists and the writer pushes nothing to it. At the end of a snapshot
 * it lets the writer push and becomes WARM: it reads on once more, for what became durable between that
 * snapshot and the first push. At the end of that it is LIVE and takes from the ring, dropping what it has
 * read already. A ring that grows too long stops the pushing; once emptied the follower is COLD again.
 */
#include <stdlib.h>

#include "queue/log_private.h"

enum {
    READ_PIECE = 256,  /* offsets read and told in one poll */
    RING_PIECE = 1024, /* told from the ring in one poll */
    RING_MOST = 65536,
    HINTED_BYTES_MOST = 64 * 1024 * 1024, /* of one client; beyond it the follower reads from the log */
    HINT_OVERHEAD_BYTES = 1024,           /* what a decoded header counts as */
};

struct told {
    uint64_t offset;
    struct message *hint;
};

enum follow_phase { FOLLOW_COLD, FOLLOW_WARM, FOLLOW_LIVE };

struct follower {
    struct list link;
    struct log_client *client;
    uint32_t partition;
    log_follow_cb cb;
    void *arg;
    /* Client's thread. */
    uint64_t next; /* lowest offset not told */
    enum follow_phase phase;
    bool dead; /* unfollowed; freed when no poll runs */
    /* Under the client's lock. */
    bool live; /* the writer pushes */
    struct told *ring;
    size_t head, count, cap; /* cap is a power of two */
};

/* ---- the writer's side ------------------------------------------------------------------------------ */

static size_t hint_bytes(const struct message *m)
{
    return HINT_OVERHEAD_BYTES + (m->body ? m->body->len : 0);
}

static void ring_grow(struct follower *f)
{
    size_t cap = f->cap ? f->cap * 2 : 64;
    struct told *ring = malloc(cap * sizeof(*ring));
    ENSURE(ring);
    for (size_t i = 0; i < f->count; i++)
        ring[i] = f->ring[(f->head + i) & (f->cap - 1)];
    free(f->ring);
    f->ring = ring;
    f->head = 0;
    f->cap = cap;
}

/* Takes the hint over when it is kept, and then clears it. */
static void push(struct follower *f, uint64_t offset, struct message **hint)
{
    struct log_client *c = f->client;
    if (!f->live)
        return;
    if (f->count >= RING_MOST) {
        f->live = false;
        return;
    }
    if (f->count == f->cap)
        ring_grow(f);
    struct told *t = &f->ring[(f->head + f->count++) & (f->cap - 1)];
    *t = (struct told){offset, NULL};
    if (*hint && c->hinted_bytes < HINTED_BYTES_MOST) {
        t->hint = *hint;
        *hint = NULL;
        c->hinted_bytes += hint_bytes(t->hint);
    }
    log_client_mark(c);
}

static void publish(struct log *log, uint32_t partition, uint64_t offset, struct message **hint)
{
    pthread_mutex_lock(&log->follow_lock);
    struct follower *f = log->followers[partition];
    if (f) {
        pthread_mutex_lock(&f->client->lock);
        push(f, offset, hint);
        pthread_mutex_unlock(&f->client->lock);
    }
    pthread_mutex_unlock(&log->follow_lock);
}

void log_publish(struct log *log, struct log_batch *b)
{
    for (size_t i = 0; i < b->n_ops; i++) {
        struct log_op *op = &b->ops[i];
        if (op->kind == LOG_OP_APPEND && op->name == LOG_MAIL)
            publish(log, op->partition, op->offset, &op->hint);
    }
}

void log_publish_record(struct log *log, uint32_t partition, uint64_t offset, struct message *hint)
{
    publish(log, partition, offset, &hint);
    message_unref(hint);
}

/* ---- the client's side -------------------------------------------------------------------------------- */

static void tell(struct follower *f, uint64_t offset, struct message *hint)
{
    if (f->dead || offset < f->next) {
        message_unref(hint);
        return;
    }
    f->next = offset + 1;
    f->cb(f->arg, f->partition, offset, hint);
}

/* Reads and tells one piece; *at_end when the snapshot has nothing more. False when reading failed. */
static bool read_piece(struct follower *f, bool *at_end)
{
    uint64_t found[READ_PIECE];
    size_t n = 0;
    struct log_reader *r;
    if (log_read_begin(f->client->log, &r) != RM_OK)
        return false;
    uint64_t offset = f->next;
    struct span value;
    while (n < READ_PIECE && log_read_next(r, LOG_MAIL, f->partition, &offset, &value))
        found[n++] = offset++;
    log_read_end(r);
    for (size_t i = 0; i < n; i++)
        tell(f, found[i], NULL);
    *at_end = n < READ_PIECE;
    return true;
}

static void set_live(struct follower *f)
{
    pthread_mutex_lock(&f->client->lock);
    f->live = true;
    pthread_mutex_unlock(&f->client->lock);
}

static size_t take_told(struct follower *f, struct told *out, size_t most, bool *live)
{
    struct log_client *c = f->client;
    pthread_mutex_lock(&c->lock);
    size_t n = f->count < most ? f->count : most;
    for (size_t i = 0; i < n; i++) {
        out[i] = f->ring[(f->head + i) & (f->cap - 1)];
        if (out[i].hint)
            c->hinted_bytes -= hint_bytes(out[i].hint);
    }
    f->count -= n;
    f->head = f->count ? (f->head + n) & (f->cap - 1) : 0;
    *live = f->live;
    pthread_mutex_unlock(&c->lock);
    return n;
}

/* True when more may be told at once. */
static bool poll_ring(struct follower *f)
{
    struct told piece[64];
    for (int told = 0; told < RING_PIECE;) {
        bool live;
        size_t n = take_told(f, piece, sizeof(piece) / sizeof(piece[0]), &live);
        for (size_t i = 0; i < n; i++)
            tell(f, piece[i].offset, piece[i].hint);
        if (n == 0 && !live)
            f->phase = FOLLOW_COLD;
        if (n == 0)
            return !live;
        told += (int)n;
    }
    return true;
}

/* A failed read is tried again when the backend pokes its clients. */
static bool poll_one(struct follower *f)
{
    bool at_end = false;
    if (f->phase == FOLLOW_LIVE)
        return poll_ring(f);
    if (!read_piece(f, &at_end))
        return false;
    if (at_end && f->phase == FOLLOW_COLD) {
        set_live(f);
        f->phase = FOLLOW_WARM;
    } else if (at_end) {
        f->phase = FOLLOW_LIVE;
    }
    return true;
}

static void follower_free(struct follower *f)
{
    bool live;
    struct told t;
    while (take_told(f, &t, 1, &live) == 1)
        message_unref(t.hint);
    list_remove(&f->link);
    free(f->ring);
    free(f);
}

static void sweep_dead(struct log_client *c)
{
    LIST_FOREACH_SAFE(it, nxt, &c->follows)
    {
        struct follower *f = CONTAINER_OF(it, struct follower, link);
        if (f->dead)
            follower_free(f);
    }
}

bool log_follows_poll(struct log_client *c)
{
    bool more = false;
    LIST_FOREACH(it, &c->follows)
    {
        struct follower *f = CONTAINER_OF(it, struct follower, link);
        if (!f->dead)
            more |= poll_one(f);
    }
    if (c->depth == 1)
        sweep_dead(c);
    return more;
}

void log_follow(struct log_client *c, uint32_t partition, uint64_t from, log_follow_cb cb, void *arg)
{
    ENSURE(partition < log_partitions(c->log));
    struct follower *f = calloc(1, sizeof(*f));
    ENSURE(f);
    f->client = c;
    f->partition = partition;
    f->next = from;
    f->cb = cb;
    f->arg = arg;
    list_push_back(&c->follows, &f->link);
    pthread_mutex_lock(&c->log->follow_lock);
    ENSURE(!c->log->followers[partition]);
    c->log->followers[partition] = f;
    pthread_mutex_unlock(&c->log->follow_lock);
    pthread_mutex_lock(&c->lock);
    log_client_mark(c);
    pthread_mutex_unlock(&c->lock);
    log_client_wake_marked(c);
}

static void detach(struct follower *f)
{
    struct log *log = f->client->log;
    pthread_mutex_lock(&log->follow_lock);
    if (log->followers[f->partition] == f)
        log->followers[f->partition] = NULL;
    pthread_mutex_unlock(&log->follow_lock);
    f->dead = true;
}

void log_unfollow(struct log_client *c, uint32_t partition)
{
    LIST_FOREACH(it, &c->follows)
    {
        struct follower *f = CONTAINER_OF(it, struct follower, link);
        if (f->partition == partition && !f->dead)
            detach(f);
    }
    if (c->depth == 0)
        sweep_dead(c);
}

void log_follows_free(struct log_client *c)
{
    LIST_FOREACH(it, &c->follows)
    detach(CONTAINER_OF(it, struct follower, link));
    sweep_dead(c);
}
