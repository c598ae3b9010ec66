/*
 * Adding partitions to a log that runs. All that is kept of each partition has room for LOG_PARTITIONS_MOST
 * from the start, so only the number changes: when it does, a new partition can be written and read.
 */
#include <stdatomic.h>

#include "queue/log_private.h"

void log_set_partitions(struct log *log, uint32_t partitions)
{
    uint32_t now = atomic_load(&log->partitions);
    while (now < partitions && !atomic_compare_exchange_weak(&log->partitions, &now, partitions))
        continue;
}

/* ---- where one process has the log: its writer notes the number, its clients claim what is new ---- */

static void note_status(void *arg, struct log_batch *b, int status)
{
    int *out = arg;
    (void)b;
    *out = status;
}

static int write_number(struct log *log, uint32_t partitions)
{
    int status = RM_ECLOSED;
    struct log_client *c = log_client_new(log, NULL, NULL);
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_grow(b, partitions);
    log_submit(c, b, note_status, &status);
    log_client_flush(c);
    log_client_free(c);
    return status;
}

static int grow_alone(struct log *log, uint32_t partitions)
{
    int status = partitions > log_partitions(log) ? write_number(log, partitions) : RM_OK;
    if (status != RM_OK)
        return status;
    log_set_partitions(log, partitions);
    for (uint32_t i = 0; i < log->n_owners; i++) {
        int err = log->owners[i] ? log_client_claim(log->owners[i]) : RM_OK;
        status = err != RM_OK ? err : status;
    }
    return status;
}

int log_grow(struct log *log, uint32_t partitions)
{
    if (partitions > LOG_PARTITIONS_MOST)
        return RM_EINVAL;
    pthread_mutex_lock(&log->grow_lock);
    int status = log->backend->grow ? log->backend->grow(log, partitions) : grow_alone(log, partitions);
    pthread_mutex_unlock(&log->grow_lock);
    return status;
}

void log_grown(struct log *log, uint32_t partitions)
{
    if (log->backend->grown && partitions > log_partitions(log) && partitions <= LOG_PARTITIONS_MOST)
        log->backend->grown(log, partitions);
}
