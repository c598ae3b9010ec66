/* The parts of the embedded log. Its tables are queue/store's. */
#ifndef REMUDA_QUEUE_EMBEDDED_PRIVATE_H
#define REMUDA_QUEUE_EMBEDDED_PRIVATE_H

#include "queue/embedded/embedded.h"
#include "queue/store/store.h"

struct embedded {
    struct store store;
    pthread_t thread;
    uint64_t reopen_at_us; /* not before */
    bool trim_failed;      /* the last piece of deletion found no space: pause */
};

/* ---- writer.c -------------------------------------------------------------------------------------------
 */

void *writer_run(void *embedded);

#endif
