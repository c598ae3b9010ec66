/*
 * Mail on its way to the producer: of each partition one group at a time, which goes as one request. What is
 * submitted meanwhile waits here and is the next group, so groups grow with the load. librdkafka 2.0 would
 * send no second request either while five messages of a partition are unanswered, but its thread then turns
 * without sleeping, which cost as much CPU as all the rest of an ingress node.
 *
 * The first message of a group wakes that thread, which leaves it for linger.ms, so that the group goes
 * undivided, but sleeps in whole milliseconds; so it is woken again as soon as it may send.
 */
#include "lib/base/clock.h"
#include "queue/kafka/kafka_private.h"

enum {
    OVERHEAD_BYTES = 100, /* of a message in a request, at most */
    PUSH_AFTER_US = KAFKA_LINGER_US + 20,
};

void kafka_outbox_init(struct kafka_part *p)
{
    list_init(&p->outbox);
    list_init(&p->outbox_node);
}

void kafka_outbox_add(struct kafka *k, struct kafka_sent *s)
{
    struct kafka_part *p = &k->parts[s->partition];
    if (list_empty(&p->outbox))
        list_push_back(&k->outboxes, &p->outbox_node);
    list_push_back(&p->outbox, &s->node);
}

/* There will be no report of it. */
static void fail(struct kafka *k, struct kafka_sent *s, int status)
{
    s->flight->pending--;
    if (s->flight->status == RM_OK)
        s->flight->status = status;
    k->look_flights = true;
}

/* The brokers had as long as any of these may take: their senders are not kept waiting for as long again. */
static void fail_all(struct kafka *k, struct kafka_part *p)
{
    for (struct list *it; (it = list_pop_front(&p->outbox)) != NULL;)
        fail(k, CONTAINER_OF(it, struct kafka_sent, node), RM_ETIMEDOUT);
}

static size_t bytes_of(const struct kafka_sent *s)
{
    const struct log_op *op = &s->flight->batch->ops[s->op];
    return op->value_len + (op->body ? op->body->len : 0) + OVERHEAD_BYTES;
}

/* What fits in one request; at least one. Copying is done here, so that handing over takes no time. */
static void take_group(struct kafka_part *p, struct list *group)
{
    size_t bytes = 0;
    while (!list_empty(&p->outbox)) {
        struct kafka_sent *s = CONTAINER_OF(p->outbox.next, struct kafka_sent, node);
        bytes += bytes_of(s);
        if (bytes > KAFKA_GROUP_BYTES && !list_empty(group))
            return;
        list_remove(&s->node);
        list_push_back(group, &s->node);
        kafka_produce_join(s);
    }
}

static void send_group(struct kafka *k, struct kafka_part *p)
{
    struct list group;
    list_init(&group);
    take_group(p, &group);
    k->handed_us = clock_boot_us();
    if (!k->push_at_us)
        k->push_at_us = k->handed_us + PUSH_AFTER_US;
    for (struct list *it; (it = list_pop_front(&group)) != NULL;) {
        struct kafka_sent *s = CONTAINER_OF(it, struct kafka_sent, node);
        if (kafka_produce_mail(k, s) != RM_OK)
            fail(k, s, RM_EIO);
    }
}

void kafka_outbox_send(struct kafka *k)
{
    LIST_FOREACH_SAFE(it, next, &k->outboxes)
    {
        struct kafka_part *p = CONTAINER_OF(it, struct kafka_part, outbox_node);
        if (p->outbox_late)
            fail_all(k, p);
        p->outbox_late = false;
        if (!p->mail_unacked && !list_empty(&p->outbox))
            send_group(k, p);
        if (list_empty(&p->outbox))
            list_remove(&p->outbox_node);
    }
}

void kafka_outbox_drop(struct kafka *k)
{
    for (struct list *it; (it = list_pop_front(&k->outboxes)) != NULL;)
        fail_all(k, CONTAINER_OF(it, struct kafka_part, outbox_node));
}

void kafka_outbox_push(struct kafka *k)
{
    uint64_t now = clock_boot_us();
    if (!k->push_at_us || now < k->push_at_us)
        return;
    k->push_at_us = k->handed_us + PUSH_AFTER_US > now ? k->handed_us + PUSH_AFTER_US : 0;
    (void)rd_kafka_flush(k->producer, 0); /* waits for nothing: it wakes */
}
