/*
 * Moves everything that waits in one owned partition of a log into another log, message by message, by the
 * transfer primitive (queue/partition_transfer.c):
 *
 *   (a) the row of a submission says where it goes and under which number: durable, it is bound
 *   (b) the copy is durable in the other log, under the key (id of the migration, partition, number), which
 *       its partition's owner there takes once
 *   (c) the submission's final and the end of its row
 *
 * Whoever has the partition next, after a crash at any of these, goes on with what is bound under the same
 * numbers, and decides anew about the rest. What was bound to a transfer within the log before is ended as it
 * was begun, and then moved from where it has gone to.
 *
 * The partition's owner starts no attempts: nothing but this runs on the log. All on the thread of the two
 * clients.
 */
#ifndef REMUDA_QUEUE_MOVER_H
#define REMUDA_QUEUE_MOVER_H

#include "queue/partition.h"

struct mover;

struct mover_options {
    struct log *log;
    struct log_client *client; /* that gained the partition */
    uint32_t partition;
    uint64_t epoch;
    struct log_client *abroad; /* of the other log */
    const uint8_t *id;         /* TRANSFER_FROM_BYTES, of the migration: the same when it is run again */
    uint64_t table_version;    /* of the other log's lane table */
    /*
     * Where a submission goes. to comes with the pool, provider and shard that it has here; the callee sets
     * them, with texts that outlive the mover, and partition to those of the other log.
     */
    void (*place)(void *arg, const Remuda__Record *record, const Remuda__Submission *submission,
                  Remuda__TransferTo *to);
    void (*trouble)(void *arg, int err, const char *what);
    void *arg;
};

/* Borrows what the options point to. Errors as partition_open. */
int mover_open(const struct mover_options *o, struct mover **out) MUST_CHECK;
/* Does what can be done now without waiting: call after log_client_poll of either client, and four times a
 * second. */
void mover_step(struct mover *m);
/* Nothing waits, every record is final, and all of that is durable. New mail may come, and make it false. */
bool mover_done(const struct mover *m);
/* As by a crash: waits for what is in flight, writes nothing more. */
void mover_close(struct mover *m);

struct mover_figures {
    uint64_t found;                       /* submissions that waited: moved + within + ended, at the end */
    uint64_t submissions, records, bytes; /* moved: finals gathered; copies; bytes of their bodies */
    uint64_t within;                      /* submissions that ended a transfer within the log */
    uint64_t ended;                       /* an earlier owner has told its end meanwhile */
    uint64_t dead;                        /* records put aside: they go with the log of the dead */
    uint64_t unreadable;                  /* rows whose record cannot be read: still waiting here */
};
void mover_figures(const struct mover *m, struct mover_figures *out);

#endif
