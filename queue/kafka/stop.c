/*
 * The end of a process whose brokers do not answer. Until the time it was given (log_stop_by) it waits for
 * them as ever; then what was not acknowledged is refused at once, so that whoever waits for it tells its
 * sender to come again, and nothing that follows waits for a broker.
 */
#include <stdatomic.h>

#include "queue/kafka/kafka_private.h"

static bool stalled(const struct list *flights, uint64_t now_us)
{
    LIST_FOREACH(it, flights)
    if (now_us > CONTAINER_OF(it, struct kafka_flight, node)->moved_us + LOG_STALL_MS * 1000)
        return true;
    return false;
}

static void give_up(struct kafka *k)
{
    kafka_trouble(k, RM_ETIMEDOUT,
                  "no broker answers: what they have not acknowledged is refused, so that the stop ends");
    atomic_store(&k->store.log.gave_up, true);
    kafka_outbox_drop(k);
    (void)rd_kafka_purge(k->producer,
                         RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
    k->look_acked = true;
}

void kafka_stop_poll(struct kafka *k, uint64_t now_us)
{
    uint64_t by_us = atomic_load_explicit(&k->store.log.stop_by_us, memory_order_relaxed);
    if (!by_us || now_us < by_us || log_gave_up(&k->store.log))
        return;
    if (stalled(&k->flights, now_us) || stalled(&k->acked, now_us))
        give_up(k);
}

void kafka_stop_unheard(struct kafka *k)
{
    bool ordered = atomic_load_explicit(&k->store.log.stop_by_us, memory_order_relaxed) != 0;
    if (ordered && !log_gave_up(&k->store.log))
        give_up(k);
}
