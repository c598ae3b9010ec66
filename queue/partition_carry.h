/* Carry-forward, between partition_space.c (which decides) and partition_carry.c (which copies). */
#ifndef REMUDA_QUEUE_PARTITION_CARRY_H
#define REMUDA_QUEUE_PARTITION_CARRY_H

#include "queue/partition_private.h"

struct carry_place {
    struct subid row;
};

/* Copies the record that the row points to to the end of the partition's mail log, unless a submission of it
 * is in memory. Asynchronous; at most one copy of a record is under way. */
void partition_carry_start(struct partition *p, struct log_reader *r, struct subid row);

#endif
