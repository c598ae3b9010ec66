/*
 * The in-memory log: one sorted array per log, changed by the writer thread under a write lock, read under a
 * read lock. Simple before fast: a put in the middle moves what follows.
 */
#include "queue/memory/memory.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "queue/log_private.h"

struct entry {
    uint32_t partition;
    uint64_t offset; /* appended logs */
    char *bytes;     /* key, then value; owned */
    size_t key_len, value_len;
};

struct table {
    struct entry *entries; /* by partition, then offset or key */
    size_t n, cap;
};

struct stream {
    uint64_t next, line;
};

struct memory {
    struct log log;
    pthread_t thread;
    pthread_rwlock_t data_lock; /* tables and streams */
    struct table tables[LOG_NAMES];
    struct table index; /* key: index key, value: row key */
    struct stream *streams[LOG_NAMES];
    pthread_mutex_t fault_lock; /* what follows */
    pthread_cond_t released;
    bool held;
    int fail_status, fail_times;
    bool break_due, break_silent; /* the next flush is broken off */
    int break_stage;
    struct log_backend staged; /* memory_log_open_staged: the same without LOG_ATOMIC */
    struct buf told;           /* struct told: appends to mail by the group; the writer's only */
};

struct told {
    uint32_t partition;
    uint64_t offset;
};

struct memory_reader {
    struct log_reader base;
};

static struct memory *memory_of(struct log *log)
{
    return CONTAINER_OF(log, struct memory, log);
}

/* ---- tables ------------------------------------------------------------------------------------ */

static struct span entry_key(const struct entry *e)
{
    return span_of(e->bytes, e->key_len);
}

static struct span entry_value(const struct entry *e)
{
    return span_of(e->bytes + e->key_len, e->value_len);
}

static int compare_spans(struct span a, struct span b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n ? memcmp(a.ptr, b.ptr, n) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

struct place {
    uint32_t partition;
    uint64_t offset;
    struct span key, value; /* value only orders the index */
};

static int compare(const struct entry *e, const struct place *p, bool with_value)
{
    if (e->partition != p->partition)
        return e->partition < p->partition ? -1 : 1;
    if (e->offset != p->offset)
        return e->offset < p->offset ? -1 : 1;
    int order = compare_spans(entry_key(e), p->key);
    return order || !with_value ? order : compare_spans(entry_value(e), p->value);
}

/* Index of the first entry not before p. */
static size_t table_seek(const struct table *t, const struct place *p, bool with_value)
{
    size_t low = 0, high = t->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (compare(&t->entries[mid], p, with_value) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static void table_insert(struct table *t, size_t at, const struct place *p, struct span head,
                         struct span body)
{
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 64;
        t->entries = realloc(t->entries, t->cap * sizeof(*t->entries));
        ENSURE(t->entries);
    }
    memmove(&t->entries[at + 1], &t->entries[at], (t->n - at) * sizeof(*t->entries));
    t->n++;
    struct buf bytes = BUF_INIT;
    buf_reserve(&bytes, p->key.len + head.len + body.len + 1);
    buf_add_span(&bytes, p->key);
    buf_add_span(&bytes, head);
    buf_add_span(&bytes, body);
    t->entries[at] =
        (struct entry){p->partition, p->offset, buf_take(&bytes), p->key.len, head.len + body.len};
}

static void table_remove(struct table *t, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        free(t->entries[i].bytes);
    if (to > from)
        memmove(&t->entries[from], &t->entries[to], (t->n - to) * sizeof(*t->entries));
    t->n -= to - from;
}

static void table_fini(struct table *t)
{
    table_remove(t, 0, t->n);
    free(t->entries);
}

static bool is_at(const struct table *t, size_t at, const struct place *p, bool with_value)
{
    return at < t->n && compare(&t->entries[at], p, with_value) == 0;
}

/* ---- applying ------------------------------------------------------------------------------------ */

static struct stream *stream_of(struct memory *m, const struct log_op *op)
{
    return &m->streams[op->name][op->partition];
}

static void append(struct memory *m, const struct log_batch *b, struct log_op *op)
{
    struct table *t = &m->tables[op->name];
    struct place p = {.partition = op->partition, .offset = stream_of(m, op)->next++};
    op->offset = p.offset;
    table_insert(t, table_seek(t, &p, false), &p, log_op_value(b, op), blob_span(op->body));
}

static void index_change(struct memory *m, uint32_t partition, struct span row_key, struct span value,
                         bool add)
{
    struct log_index_key keys[LOG_INDEX_KEYS_MOST];
    int n = m->log.options.index ? m->log.options.index(value, keys) : 0;
    for (int i = 0; i < n; i++) {
        struct place p = {partition, 0, span_of((const char *)keys[i].bytes, keys[i].len), row_key};
        size_t at = table_seek(&m->index, &p, true);
        bool there = is_at(&m->index, at, &p, true);
        if (add && !there)
            table_insert(&m->index, at, &p, row_key, span_of(NULL, 0));
        else if (!add && there)
            table_remove(&m->index, at, at + 1);
    }
}

/* value NULL: erase. */
static void set_key(struct memory *m, enum log_name name, uint32_t partition, struct span key,
                    const struct span *value)
{
    struct table *t = &m->tables[name];
    struct place p = {.partition = partition, .key = key};
    size_t at = table_seek(t, &p, false);
    if (is_at(t, at, &p, false)) {
        if (name == LOG_BACKLOG)
            index_change(m, partition, key, entry_value(&t->entries[at]), false);
        table_remove(t, at, at + 1);
    }
    if (!value)
        return;
    table_insert(t, at, &p, *value, span_of(NULL, 0));
    if (name == LOG_BACKLOG)
        index_change(m, partition, key, *value, true);
}

static void put_or_erase(struct memory *m, const struct log_batch *b, struct log_op *op)
{
    op->offset = stream_of(m, op)->next++;
    struct span value = log_op_value(b, op);
    set_key(m, (enum log_name)op->name, op->partition, log_op_key(b, op),
            op->kind == LOG_OP_PUT ? &value : NULL);
}

static void claim(struct memory *m, const struct log_batch *b, struct log_op *op)
{
    struct table *t = &m->tables[LOG_STATE];
    struct place first = {.partition = op->partition, .key = SPAN_LIT("claim:")};
    struct place end = {.partition = op->partition, .key = SPAN_LIT("claim;")};
    table_remove(t, table_seek(t, &first, false), table_seek(t, &end, false));
    op->offset = stream_of(m, op)->next++;
    char key[LOG_CLAIM_KEY_BYTES + 1];
    log_claim_key(op->offset, key);
    struct buf packed = BUF_INIT;
    log_claim_pack(&packed, op->offset, log_op_value(b, op));
    struct span value = buf_span(&packed);
    set_key(m, LOG_STATE, op->partition, span_str(key), &value);
    buf_fini(&packed);
}

static void delete_below(struct memory *m, const struct log_op *op)
{
    struct stream *s = stream_of(m, op);
    uint64_t line = op->offset < s->next ? op->offset : s->next;
    if (line <= s->line)
        return;
    s->line = line;
    struct table *t = &m->tables[op->name];
    struct place first = {.partition = op->partition}, end = {.partition = op->partition, .offset = line};
    table_remove(t, table_seek(t, &first, false), table_seek(t, &end, false));
}

static void apply_op(struct memory *m, struct log_batch *b, struct log_op *op)
{
    if (op->kind == LOG_OP_APPEND)
        append(m, b, op);
    else if (op->kind == LOG_OP_DELETE_BELOW)
        delete_below(m, op);
    else if (op->kind == LOG_OP_CLAIM)
        claim(m, b, op);
    else if (op->kind != LOG_OP_GROW) /* there is room for all */
        put_or_erase(m, b, op);
}

static void apply(struct memory *m, struct log_batch *b)
{
    for (size_t i = 0; i < b->n_ops; i++)
        apply_op(m, b, &b->ops[i]);
}

/* ---- not at once ---- */

static bool is_staged(const struct memory *m)
{
    return !(m->log.backend->capabilities & LOG_ATOMIC);
}

static void apply_stage(struct memory *m, struct log_batch *b, int stage)
{
    for (size_t i = 0; i < b->n_ops; i++) {
        struct log_op *op = &b->ops[i];
        if ((int)log_op_stage(b, i) != stage || log_op_done(op))
            continue;
        apply_op(m, b, op);
        if (op->name == LOG_MAIL && op->kind == LOG_OP_APPEND) {
            struct told t = {op->partition, op->offset};
            buf_add(&m->told, &t, sizeof(t));
        }
    }
}

/* What was applied and never answered. */
static void forget_offsets(struct log_batch *b, int stage)
{
    for (size_t i = 0; i < b->n_ops; i++)
        if ((int)log_op_stage(b, i) == stage && b->ops[i].kind == LOG_OP_APPEND)
            b->ops[i].offset = 0;
}

static bool is_flush(const struct log_batch *b)
{
    return b->n_ops && b->class == LOG_OWNER && log_op_stage(b, b->n_ops - 1) >= LOG_STAGE_POSITION;
}

/* Stage by stage, all of them or up to where it is broken off. */
static int apply_staged(struct memory *m, struct log_batch *b)
{
    pthread_mutex_lock(&m->fault_lock);
    bool breaks = m->break_due && is_flush(b);
    if (breaks)
        m->break_due = false;
    int end = breaks ? m->break_stage : LOG_STAGES;
    bool silent = breaks && m->break_silent && end < LOG_STAGES;
    pthread_mutex_unlock(&m->fault_lock);
    for (int stage = 0; stage < end; stage++)
        apply_stage(m, b, stage);
    if (silent) {
        apply_stage(m, b, end);
        forget_offsets(b, end);
    }
    return breaks ? RM_ETIMEDOUT : RM_OK;
}

static void publish_staged(struct memory *m)
{
    for (size_t at = 0; at < m->told.len; at += sizeof(struct told)) {
        struct told t;
        memcpy(&t, m->told.data + at, sizeof(t));
        log_publish_record(&m->log, t.partition, t.offset, NULL);
    }
    buf_clear(&m->told);
}

/* ---- the writer thread ------------------------------------------------------------------------------- */

/* Waits while commits are held; the status that the group shall have. */
static int await_release(struct memory *m)
{
    pthread_mutex_lock(&m->fault_lock);
    while (m->held)
        pthread_cond_wait(&m->released, &m->fault_lock);
    int status = m->fail_times > 0 ? m->fail_status : RM_OK;
    if (m->fail_times > 0)
        m->fail_times--;
    pthread_mutex_unlock(&m->fault_lock);
    return status;
}

static void commit(struct memory *m, struct list *group)
{
    int status = await_release(m), admits = log_admits(&m->log);
    uint64_t started = clock_boot_us(), bytes = 0;
    size_t batches = 0;
    pthread_rwlock_wrlock(&m->data_lock);
    LIST_FOREACH(it, group)
    {
        struct log_batch *b = CONTAINER_OF(it, struct log_batch, link);
        b->status = status != RM_OK ? status : b->class == LOG_INTAKE ? admits : RM_OK;
        if (b->status != RM_OK)
            continue;
        if (is_staged(m))
            b->status = apply_staged(m, b);
        else
            apply(m, b);
        batches++;
        bytes += b->total_bytes;
    }
    pthread_rwlock_unlock(&m->data_lock);
    log_count_commit(&m->log, clock_boot_us() - started, batches, bytes);
    publish_staged(m);
    struct list *it;
    while ((it = list_pop_front(group))) {
        struct log_batch *b = CONTAINER_OF(it, struct log_batch, link);
        if (b->status == RM_OK && !is_staged(m))
            log_publish(&m->log, b);
        log_batch_finish(b, b->status);
    }
}

static void *run(void *arg)
{
    struct memory *m = arg;
    struct list group;
    list_init(&group);
    while (log_queue_take(&m->log, &group, -1)) {
        if (!list_empty(&group))
            commit(m, &group);
        log_wake_clients(&m->log);
    }
    return NULL;
}

static void memory_close(struct log *log)
{
    struct memory *m = memory_of(log);
    memory_log_release(log);
    log_queue_close(log);
    ENSURE(pthread_join(m->thread, NULL) == 0);
    for (int name = 0; name < LOG_NAMES; name++) {
        table_fini(&m->tables[name]);
        free(m->streams[name]);
    }
    table_fini(&m->index);
    buf_fini(&m->told);
    pthread_cond_destroy(&m->released);
    pthread_mutex_destroy(&m->fault_lock);
    pthread_rwlock_destroy(&m->data_lock);
    log_fini(log);
    free(m);
}

/* ---- reading ---------------------------------------------------------------------------------------- */

static int read_begin(struct log *log, struct log_reader **out)
{
    struct memory_reader *r = calloc(1, sizeof(*r));
    ENSURE(r);
    r->base.log = log;
    pthread_rwlock_rdlock(&memory_of(log)->data_lock);
    *out = &r->base;
    return RM_OK;
}

static void read_end(struct log_reader *base)
{
    pthread_rwlock_unlock(&memory_of(base->log)->data_lock);
    free(CONTAINER_OF(base, struct memory_reader, base));
}

static bool read_next(struct log_reader *r, enum log_name name, uint32_t partition, uint64_t *offset,
                      struct span *value)
{
    ENSURE(!log_name_compacted(name));
    const struct table *t = &memory_of(r->log)->tables[name];
    struct place p = {.partition = partition, .offset = *offset};
    size_t at = table_seek(t, &p, false);
    if (at == t->n || t->entries[at].partition != partition)
        return false;
    *offset = t->entries[at].offset;
    *value = entry_value(&t->entries[at]);
    return true;
}

static int read_at(struct log_reader *r, enum log_name name, uint32_t partition, uint64_t offset,
                   struct span *value)
{
    uint64_t found = offset;
    return read_next(r, name, partition, &found, value) && found == offset ? RM_OK : RM_ENOTFOUND;
}

static uint64_t read_end_offset(struct log_reader *r, enum log_name name, uint32_t partition)
{
    return memory_of(r->log)->streams[name][partition].next;
}

static bool read_key_next(struct log_reader *r, enum log_name name, uint32_t partition, struct span from,
                          struct span *key, struct span *value)
{
    ENSURE(log_name_compacted(name));
    const struct table *t = &memory_of(r->log)->tables[name];
    struct place p = {.partition = partition, .key = from};
    size_t at = table_seek(t, &p, false);
    if (at == t->n || t->entries[at].partition != partition)
        return false;
    *key = entry_key(&t->entries[at]);
    *value = entry_value(&t->entries[at]);
    return true;
}

static int read_key(struct log_reader *r, enum log_name name, uint32_t partition, struct span key,
                    struct span *value)
{
    struct span found;
    bool there = read_key_next(r, name, partition, key, &found, value);
    return there && span_eq(found, key) ? RM_OK : RM_ENOTFOUND;
}

static bool read_index(struct log_reader *r, uint32_t partition, struct span from, struct span after,
                       struct span *index_key, struct span *row_key)
{
    const struct table *t = &memory_of(r->log)->index;
    struct place p = {.partition = partition, .key = from, .value = after};
    size_t at = table_seek(t, &p, true);
    if (after.len && is_at(t, at, &p, true))
        at++;
    if (at == t->n || t->entries[at].partition != partition)
        return false;
    *index_key = entry_key(&t->entries[at]);
    *row_key = entry_value(&t->entries[at]);
    return true;
}

static void figures(struct log *log, struct log_figures *out)
{
    (void)log;
    (void)out;
}

/* ---- faults and opening ---------------------------------------------------------------------------------
 */

void memory_log_hold(struct log *log)
{
    struct memory *m = memory_of(log);
    pthread_mutex_lock(&m->fault_lock);
    m->held = true;
    pthread_mutex_unlock(&m->fault_lock);
}

void memory_log_release(struct log *log)
{
    struct memory *m = memory_of(log);
    pthread_mutex_lock(&m->fault_lock);
    m->held = false;
    pthread_mutex_unlock(&m->fault_lock);
    pthread_cond_signal(&m->released);
}

void memory_log_fail_next(struct log *log, int status, int n)
{
    struct memory *m = memory_of(log);
    pthread_mutex_lock(&m->fault_lock);
    m->fail_status = status;
    m->fail_times = n;
    pthread_mutex_unlock(&m->fault_lock);
}

void memory_log_break_flush(struct log *log, int stages, bool silent)
{
    struct memory *m = memory_of(log);
    pthread_mutex_lock(&m->fault_lock);
    m->break_due = true;
    m->break_stage = stages;
    m->break_silent = silent;
    pthread_mutex_unlock(&m->fault_lock);
}

void memory_log_set_admits(struct log *log, int admits)
{
    atomic_store_explicit(&log->admits, admits, memory_order_relaxed);
}

static const struct log_backend backend = {
    .capabilities = LOG_ATOMIC,
    .close = memory_close,
    .figures = figures,
    .read_begin = read_begin,
    .read_end = read_end,
    .read_next = read_next,
    .read_at = read_at,
    .read_end_offset = read_end_offset,
    .read_key = read_key,
    .read_key_next = read_key_next,
    .read_index = read_index,
};

int memory_log_open(const struct log_options *options, struct log **out)
{
    struct memory *m = calloc(1, sizeof(*m));
    ENSURE(m);
    log_init(&m->log, &backend, options);
    ENSURE(pthread_rwlock_init(&m->data_lock, NULL) == 0);
    ENSURE(pthread_mutex_init(&m->fault_lock, NULL) == 0);
    ENSURE(pthread_cond_init(&m->released, NULL) == 0);
    for (int name = 0; name < LOG_NAMES; name++) {
        uint32_t n = log_name_partitions_most((enum log_name)name);
        m->streams[name] = calloc(n, sizeof(struct stream));
        ENSURE(m->streams[name]);
        for (uint32_t p = 0; p < n; p++)
            m->streams[name][p] = (struct stream){1, 1};
    }
    ENSURE(pthread_create(&m->thread, NULL, run, m) == 0);
    *out = &m->log;
    return RM_OK;
}

int memory_log_open_staged(const struct log_options *options, struct log **out)
{
    int status = memory_log_open(options, out);
    struct memory *m = memory_of(*out);
    m->staged = backend;
    m->staged.capabilities = 0;
    m->log.backend = &m->staged;
    return status;
}
