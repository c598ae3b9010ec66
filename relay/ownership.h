/* What the log tells a shard of its partitions: counted, logged and handed to its delivery. */
#ifndef REMUDA_RELAY_OWNERSHIP_H
#define REMUDA_RELAY_OWNERSHIP_H

#include "relay/node.h"

/* For log_join. s is borrowed until log_leave. */
struct log_ownership ownership_table(struct shard *s);

#endif
