/* A log in memory with events in it, for the tests of what reads events: header only, one per program. */
#ifndef REMUDA_TESTS_UNIT_API_EVENT_LOG_H
#define REMUDA_TESTS_UNIT_API_EVENT_LOG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/id.h"
#include "queue/memory/memory.h"
#include "queue/partition.h"

struct event_log {
    struct log *log;
    struct log_client *client;
    char dir[64];             /* for an index */
    uint64_t epoch, sequence; /* of the batches appended; 0: without */
};

static inline void event_log_wake(void *arg)
{
    (void)arg;
}

static inline void event_log_open(struct event_log *l)
{
    struct log_options options = {.partitions = 2, .index = row_index_keys};
    assert_int_equal(memory_log_open(&options, &l->log), RM_OK);
    l->client = log_client_new(l->log, event_log_wake, NULL);
    snprintf(l->dir, sizeof(l->dir), "/tmp/remuda-history-XXXXXX");
    assert_non_null(mkdtemp(l->dir));
}

/* The index's directory, emptied. */
static inline void event_log_wipe(struct event_log *l)
{
    DIR *d = opendir(l->dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.')
            unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
}

static inline void event_log_close(struct event_log *l)
{
    log_client_free(l->client);
    log_close(l->log);
    event_log_wipe(l);
    rmdir(l->dir);
}

static inline void event_log_status(void *arg, struct log_batch *b, int status)
{
    (void)b;
    *(int *)arg = status;
}

static inline void event_log_submit(struct event_log *l, struct log_batch *b)
{
    int status = RM_EAGAIN;
    log_submit(l->client, b, event_log_status, &status);
    log_client_flush(l->client);
    assert_int_equal(status, RM_OK);
}

/* One batch with these events (NULL-terminated list of n). */
static inline void event_log_append(struct event_log *l, uint32_t partition, Remuda__Event **events, size_t n)
{
    Remuda__EventBatch batch = REMUDA__EVENT_BATCH__INIT;
    batch.events = events;
    batch.n_events = n;
    batch.epoch = l->epoch;
    batch.sequence = l->sequence;
    struct buf packed = BUF_INIT;
    proto_pack(&packed, &batch.base);
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_append(b, LOG_EVENTS, partition, buf_span(&packed), NULL, NULL);
    buf_fini(&packed);
    event_log_submit(l, b);
}

/* What most tests want to tell: an outcome of one recipient. */
struct told {
    struct msgid id;
    Remuda__EventType type;
    uint64_t time_ms;
    char *tenant, *sender, *recipient;
    Remuda__RecipientState state;
    char *text;
    const struct msgid *related;
};

static inline void event_log_tell(struct event_log *l, uint32_t partition, const struct told *t)
{
    Remuda__Event e = REMUDA__EVENT__INIT;
    Remuda__RecipientOutcome o = REMUDA__RECIPIENT_OUTCOME__INIT, *outcomes[] = {&o};
    Remuda__Event *events[] = {&e};
    struct msgid id = t->id, related;
    e.type = t->type;
    e.message_id = (ProtobufCBinaryData){MSGID_BYTES, id.bytes};
    e.time_ms = t->time_ms;
    e.accepted_ms = msgid_ms(&id);
    e.tenant = t->tenant ? t->tenant : "acme";
    e.sender = t->sender ? t->sender : "bob@acme.example";
    o.address = t->recipient ? t->recipient : "carol@gmail.com";
    o.state = t->state;
    o.text = t->text ? t->text : "250 2.0.0 OK";
    e.recipients = outcomes;
    e.n_recipients = 1;
    if (t->related) {
        related = *t->related;
        e.related_id = (ProtobufCBinaryData){MSGID_BYTES, related.bytes};
    }
    event_log_append(l, partition, events, 1);
}

#endif
