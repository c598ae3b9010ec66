/*
 * Which stored record a thread is working on, so that a record whose processing ends the process by a fatal
 * signal can be told from one that was merely there. The work is marked while it runs; a fatal signal
 * (SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT) of a marked thread adds the mark to a file before the process
 * dies as it would have; the next start reads the file. A kill from outside leaves nothing.
 *
 * The file is a row of 16-byte entries; an entry that is torn counts as none. It is not synced: it has to
 * survive the process, not the machine.
 */
#ifndef REMUDA_LIB_BASE_SUSPECT_H
#define REMUDA_LIB_BASE_SUSPECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

struct suspect_mark {
    uint64_t offset; /* 0: none */
    uint32_t partition;
};

/* Marks the work of this thread; returns what was marked before, for suspect_end. Costs a few stores. */
struct suspect_mark suspect_begin(uint32_t partition, uint64_t offset);
void suspect_end(struct suspect_mark before);

/* Gives this thread a stack of its own for signal handlers, so that the overflow of its stack is counted too.
 * Freed when the thread ends. */
void suspect_stack_use(void);

/* What earlier lives of the process left in the file. */
struct suspects;
/* Reads the file, if there is one, and watches for fatal signals from now on, until the process ends: once in
 * a process; the calling thread gets its stack for handlers. RM_EIO when the file can be neither opened nor
 * made; *out is to be freed also then. */
int suspects_watch(const char *path, struct suspects **out) MUST_CHECK;
/* Frees what was read; the watch goes on. */
void suspects_free(struct suspects *s);
/* How often a process died while it worked on that record. Any thread. */
unsigned suspects_count(const struct suspects *s, uint32_t partition, uint64_t offset);

#endif
