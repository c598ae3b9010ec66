/*
 * What the conformance tests stand on: a log of one backend in a fresh directory, one client whose wakes are
 * counted, and helpers that write and read in one line.
 */
#ifndef REMUDA_TESTS_CONFORMANCE_RIG_H
#define REMUDA_TESTS_CONFORMANCE_RIG_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "queue/log.h"

struct test_backend {
    const char *name;
    bool persistent; /* survives log_close */
    int (*open)(const char *dir, const struct log_options *options, struct log **out, const char **why);
    void (*hold)(struct log *log); /* NULL: this backend can't */
    void (*release)(struct log *log);
    void (*fail_next)(struct log *log, int status, int n);
    void (*refuse_intake)(struct log *log);
    const struct test_backend *owner; /* the same log, read as far as its partitions are owned; NULL */
};

struct waker {
    pthread_mutex_t lock;
    pthread_cond_t woken;
    int wakes; /* all so far */
    int seen;  /* what waker_wait has returned for */
};

struct rig {
    const struct test_backend *backend;
    char dir[160];
    struct log_options options;
    struct log *log;
    struct log_client *client;
    struct waker waker;
    int finished, failed, last_status; /* of batches by rig_submit */
    uint64_t last_offset;              /* of op 0 of the last one that went well */
};

enum { RIG_PARTITIONS = 4 };

void waker_init(struct waker *w);
void waker_wake(void *waker);
/* How often it was woken so far. */
int waker_count(struct waker *w);
/* Until there was a wake that no call returned for; false after 10 s. */
bool waker_wait(struct waker *w);

/* cmocka set-up and tear-down: *state is the backend before, the rig between. */
int rig_setup(void **state);
int rig_teardown(void **state);
void rig_open(struct rig *r);
void rig_close(struct rig *r);
void rig_reopen(struct rig *r);

void rig_submit(struct rig *r, struct log_batch *b);
/* Polls when woken until n batches in all have finished; fails the test after 10 s. */
void rig_await(struct rig *r, int n);
/* Submits and waits for exactly this one. */
int rig_commit(struct rig *r, struct log_batch *b);

uint64_t rig_append(struct rig *r, enum log_name name, uint32_t partition, const char *text);
void rig_put(struct rig *r, enum log_name name, uint32_t partition, const char *key, const char *value);
void rig_erase(struct rig *r, enum log_name name, uint32_t partition, const char *key);
/* All records of the log from offset on, each followed by a space; "" when there is none. Static buffer. */
const char *rig_records(struct rig *r, enum log_name name, uint32_t partition, uint64_t from);
/* All keys as "k=v " in order. */
const char *rig_keys(struct rig *r, enum log_name name, uint32_t partition);
/* All index entries as "index:row " in order. */
const char *rig_index(struct rig *r, uint32_t partition);

/* The index function of the rig: a value is words separated by blanks, each word is an index key. */
int rig_index_fn(struct span value, struct log_index_key out[LOG_INDEX_KEYS_MOST]);

#endif
