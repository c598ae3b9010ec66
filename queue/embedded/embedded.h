/*
 * The embedded log: one synced kv environment, one writer thread that commits in groups. While a commit syncs
 * the next group gathers; nothing is delayed to make groups larger. Capability LOG_ATOMIC: a batch is part of
 * one transaction.
 *
 * Tables: mail, events, control, audit, dead (partition, offset -> value); backlog, state, suppression,
 * quota, evidence (partition, key -> value); index (partition, index key, row key -> nothing); meta (format,
 * number of partitions, and per log and partition the next offset, the delete line and how far deletion has
 * got).
 *
 * When a group fails for want of space it is tried again without its intake, then batch by batch. After a
 * failing disk (RM_EIO, RM_ECORRUPT) the environment is closed and opened again, once a second until that
 * works; what is submitted meanwhile fails with RM_EIO.
 */
#ifndef REMUDA_QUEUE_EMBEDDED_H
#define REMUDA_QUEUE_EMBEDDED_H

#include "queue/log.h"

struct embedded_options {
    const char *dir;      /* created when absent */
    uint64_t map_bytes;   /* most the file may grow to; 0: 1 TiB (8 GiB under the thread sanitizer) */
    bool sync;            /* false only in tests and benchmarks: what is told durable may be lost */
    unsigned max_readers; /* snapshots held at once; 0: 512 */
};

/*
 * Opens or creates the log. RM_ELOCKED: another process has it. RM_EINVAL: made with another number of
 * partitions or by another format version. RM_EIO, RM_EFULL, RM_ECORRUPT. On error *out is NULL and *why, if
 * given, a constant phrase.
 */
int embedded_log_open(const struct embedded_options *options, const struct log_options *common,
                      struct log **out, const char **why) MUST_CHECK;

#endif
