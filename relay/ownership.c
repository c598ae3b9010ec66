/* From the log's ownership callbacks to the shard's delivery. */
#include "relay/ownership.h"

#include <stdatomic.h>

#include "relay/delivery/delivery.h"
#include "relay/owned.h"

/* In a cluster they move, and an operator wants to see when. */
static bool moves(const struct shard *s)
{
    return !(log_capabilities(s->node->log) & LOG_ATOMIC);
}

static void say_moved(const struct shard *s, const char *what, uint32_t partition)
{
    if (moves(s))
        logger_log(s->node->logger, LOG_INFO, what, LF_NUM("partition", partition));
}

static void note_owned(const struct shard *s, uint32_t partition, uint64_t epoch)
{
    int err = owned_note(s->node->settings->data, partition, epoch);
    if (err != RM_OK)
        logger_log(s->node->logger, LOG_WARN, "partition.not_noted", LF_NUM("partition", partition),
                   LF_STR("error", rm_strerror(err)));
}

static void on_gained(void *arg, uint32_t partition, uint64_t epoch)
{
    struct shard *s = arg;
    if (moves(s)) {
        logger_log(s->node->logger, LOG_INFO, "partition.gained", LF_NUM("partition", partition),
                   LF_NUM("epoch", epoch));
        note_owned(s, partition, epoch);
    }
    atomic_fetch_add(&s->node->owned, 1);
    delivery_gained(s->delivery, partition, epoch);
}

static void on_losing(void *arg, uint32_t partition)
{
    struct shard *s = arg;
    say_moved(s, "partition.losing", partition);
    delivery_losing(s->delivery, partition);
}

static void on_lost(void *arg, uint32_t partition)
{
    struct shard *s = arg;
    say_moved(s, "partition.lost", partition);
    atomic_fetch_sub(&s->node->owned, 1);
    delivery_lost(s->delivery, partition);
}

static void on_fetched(void *arg, uint32_t partition)
{
    struct shard *s = arg;
    delivery_fetched(s->delivery, partition);
}

struct log_ownership ownership_table(struct shard *s)
{
    return (struct log_ownership){
        .gained = on_gained, .losing = on_losing, .lost = on_lost, .fetched = on_fetched, .arg = s};
}
