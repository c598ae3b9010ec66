/*
 * The log in memory, for tests: the same contract (LOG_ATOMIC) with its own writer thread, so that callbacks
 * are as asynchronous as those of a real log; nothing survives log_close. Commits can be held and made to
 * fail.
 *
 * A reader here keeps the writer from committing, instead of holding an old snapshot.
 */
#ifndef REMUDA_QUEUE_MEMORY_H
#define REMUDA_QUEUE_MEMORY_H

#include "queue/log.h"

/* RM_OK always; *out is the log. */
int memory_log_open(const struct log_options *options, struct log **out) MUST_CHECK;
/* Without LOG_ATOMIC: the ops of a batch happen stage by stage, as in a cluster. */
int memory_log_open_staged(const struct log_options *options, struct log **out) MUST_CHECK;

/* The functions below are for logs of memory_log_open only. Any thread. */

/* Commits are held back until released: nothing becomes durable, visible or told. log_close releases. */
void memory_log_hold(struct log *log);
void memory_log_release(struct log *log);
/* The next n groups fail as a whole with status (RM_EFULL, RM_EIO) and have no effect. */
void memory_log_fail_next(struct log *log, int status, int n);
/*
 * Staged logs: of the next batch that ends with a position only the first so many stages
 * (queue/log_private.h) happen, then it fails with RM_ETIMEDOUT; silent: one more happens, whose answers are
 * lost.
 */
void memory_log_break_flush(struct log *log, int stages, bool silent);
/* What log_admits tells, and whether intake that is queued already is refused: RM_OK or RM_EFULL. */
void memory_log_set_admits(struct log *log, int admits);

#endif
