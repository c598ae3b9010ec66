/* The rig of the conformance tests. */
#include "tests/conformance/rig.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

void waker_init(struct waker *w)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->woken, &attr);
    pthread_condattr_destroy(&attr);
    w->wakes = w->seen = 0;
}

void waker_wake(void *waker)
{
    struct waker *w = waker;
    pthread_mutex_lock(&w->lock);
    w->wakes++;
    pthread_cond_signal(&w->woken);
    pthread_mutex_unlock(&w->lock);
}

int waker_count(struct waker *w)
{
    pthread_mutex_lock(&w->lock);
    int wakes = w->wakes;
    pthread_mutex_unlock(&w->lock);
    return wakes;
}

bool waker_wait(struct waker *w)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += 10;
    int late = 0;
    pthread_mutex_lock(&w->lock);
    while (w->seen == w->wakes && !late)
        late = pthread_cond_timedwait(&w->woken, &w->lock, &until);
    w->seen = w->wakes;
    pthread_mutex_unlock(&w->lock);
    return !late;
}

int rig_index_fn(struct span value, struct log_index_key out[LOG_INDEX_KEYS_MOST])
{
    int n = 0;
    while (value.len && n < LOG_INDEX_KEYS_MOST) {
        struct span word = span_cut(&value, ' ');
        memcpy(out[n].bytes, word.ptr, word.len);
        out[n++].len = word.len;
    }
    return n;
}

void rig_open(struct rig *r)
{
    const char *why = NULL;
    int err = r->backend->open(r->dir, &r->options, &r->log, &why);
    if (err != RM_OK)
        print_error("%s\n", why);
    assert_int_equal(err, RM_OK);
    waker_init(&r->waker);
    r->client = log_client_new(r->log, waker_wake, &r->waker);
    r->finished = r->failed = 0;
}

void rig_close(struct rig *r)
{
    if (!r->log)
        return;
    log_client_flush(r->client);
    log_client_free(r->client);
    log_close(r->log);
    r->log = NULL;
}

void rig_reopen(struct rig *r)
{
    rig_close(r);
    rig_open(r);
}

int rig_setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    r->backend = *state;
    r->options = (struct log_options){.partitions = RIG_PARTITIONS, .index = rig_index_fn};
    snprintf(r->dir, sizeof(r->dir), "%s/conformance-XXXXXX", getenv("TMPDIR"));
    assert_non_null(mkdtemp(r->dir));
    rig_open(r);
    *state = r;
    return 0;
}

int rig_teardown(void **state)
{
    struct rig *r = *state;
    rig_close(r);
    free(r);
    return 0;
}

static void note_done(void *arg, struct log_batch *b, int status)
{
    struct rig *r = arg;
    r->finished++;
    r->failed += status != RM_OK;
    r->last_status = status;
    if (status == RM_OK && log_batch_ops(b) > 0)
        r->last_offset = log_batch_offset(b, 0);
}

void rig_submit(struct rig *r, struct log_batch *b)
{
    log_submit(r->client, b, note_done, r);
}

void rig_await(struct rig *r, int n)
{
    while (r->finished < n) {
        assert_true(waker_wait(&r->waker));
        log_client_poll(r->client);
    }
}

int rig_commit(struct rig *r, struct log_batch *b)
{
    int n = r->finished + 1;
    rig_submit(r, b);
    rig_await(r, n);
    return r->last_status;
}

uint64_t rig_append(struct rig *r, enum log_name name, uint32_t partition, const char *text)
{
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_append(b, name, partition, span_str(text), NULL, NULL);
    assert_int_equal(rig_commit(r, b), RM_OK);
    return r->last_offset;
}

void rig_put(struct rig *r, enum log_name name, uint32_t partition, const char *key, const char *value)
{
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_put(b, name, partition, span_str(key), span_str(value));
    assert_int_equal(rig_commit(r, b), RM_OK);
}

void rig_erase(struct rig *r, enum log_name name, uint32_t partition, const char *key)
{
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_erase(b, name, partition, span_str(key));
    assert_int_equal(rig_commit(r, b), RM_OK);
}

static char *room(void)
{
    static char text[65536];
    text[0] = '\0';
    return text;
}

const char *rig_records(struct rig *r, enum log_name name, uint32_t partition, uint64_t from)
{
    char *out = room(), *at = out;
    struct log_reader *reader;
    struct span value;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    for (uint64_t offset = from; log_read_next(reader, name, partition, &offset, &value); offset++)
        at += sprintf(at, "%.*s ", SPAN_FMT(value));
    log_read_end(reader);
    return out;
}

const char *rig_keys(struct rig *r, enum log_name name, uint32_t partition)
{
    char *out = room(), *at = out, from[LOG_KEY_MOST + 1];
    struct log_reader *reader;
    struct span seek = {NULL, 0}, key, value;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    while (log_read_key_next(reader, name, partition, seek, &key, &value)) {
        at += sprintf(at, "%.*s=%.*s ", SPAN_FMT(key), SPAN_FMT(value));
        memcpy(from, key.ptr, key.len);
        from[key.len] = '\0'; /* the next key in byte order: this one and a zero */
        seek = span_of(from, key.len + 1);
    }
    log_read_end(reader);
    return out;
}

const char *rig_index(struct rig *r, uint32_t partition)
{
    char *out = room(), *at = out;
    struct log_reader *reader;
    struct span from = {NULL, 0}, after = {NULL, 0}, key, row;
    assert_int_equal(log_read_begin(r->log, &reader), RM_OK);
    while (log_read_index(reader, partition, from, after, &key, &row)) {
        at += sprintf(at, "%.*s:%.*s ", SPAN_FMT(key), SPAN_FMT(row));
        from = key;
        after = row;
    }
    log_read_end(reader);
    return out;
}
