/*
 * Which partitions this data directory's process has owned, and under which epochs: a file beside the log's
 * lock. Who holds the lock knows that the process before is dead and so has no connection open; it tells the
 * owners that came after (partition_closed_value), so that they need not wait for that (router/opened.c).
 *
 * A line for each partition gained, "boot partition epoch". The file is not synced: it has to survive the
 * process. After a failure of the machine, which another boot id shows, receivers may have connections open
 * that nobody has: nothing is told then, and they are counted until their time is over.
 */
#ifndef REMUDA_RELAY_OWNED_H
#define REMUDA_RELAY_OWNED_H

#include "relay/node.h"

/* A partition was gained. Any thread. RM_EIO: it cannot be written, and will not be told after a kill. */
int owned_note(const char *data, uint32_t partition, uint64_t epoch) MUST_CHECK;
/* At the start, before log_join: tells of what the process before had, by the client, and forgets it when
 * that is durable. On the client's thread. */
void owned_tell(const struct node *node, struct log_client *client);
/* After an orderly end: there is nothing to be told. */
void owned_forget(const char *data);

#endif
