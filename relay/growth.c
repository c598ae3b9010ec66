/* Adding partitions: the log first, then the owners, then the lane table. */
#include "relay/growth.h"

#include <stdatomic.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "queue/log.h"
#include "relay/lanes.h"
#include "relay/node.h"

enum { LOOK_US = 5000, OPEN_MOST_US = 20000000 };

/* Where one process has the log, no mail may come into a partition before its first position is durable. In a
 * cluster it may: whoever gets the partition begins with the first. */
static int await_open(const struct node *node)
{
    uint64_t until = clock_boot_us() + OPEN_MOST_US;
    if (!(log_capabilities(node->log) & LOG_ATOMIC))
        return RM_OK;
    while (atomic_load(&node->recovered) < (int)log_partitions(node->log)) {
        if (clock_boot_us() > until)
            return RM_ETIMEDOUT;
        (void)usleep(LOOK_US);
    }
    return RM_OK;
}

int growth_run(struct node *node, uint32_t partitions)
{
    int err = log_grow(node->log, partitions);
    if (err == RM_OK)
        err = await_open(node);
    return err == RM_OK ? lanes_grow(node->lanes, partitions) : err;
}
