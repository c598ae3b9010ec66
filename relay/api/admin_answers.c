/*
 * From what the shards of this node answered to a reply, and what such a reply cannot tell: in a cluster
 * other nodes own partitions too. Who they are stands in the claims of the state log, which a node with the
 * role admin has of all partitions.
 */
#include <stdio.h>

#include "lib/base/clock.h"
#include "proto/codec.h"
#include "relay/api/admin_private.h"
#include "relay/api/json.h"

/* The node that claimed the partition last, into owner; "" when that is not known here. */
static void last_owner(struct log_reader *r, uint32_t partition, char owner[ADMIN_OWNER_MOST])
{
    static const char prefix[] = "claim:";
    struct arena a = ARENA_INIT;
    ProtobufCAllocator in_arena = arena_allocator(&a);
    struct buf from = BUF_INIT, last = BUF_INIT;
    struct span key, value;
    buf_add_str(&from, prefix);
    while (log_read_key_next(r, LOG_STATE, partition, buf_span(&from), &key, &value) &&
           key.len > strlen(prefix) && memcmp(key.ptr, prefix, strlen(prefix)) == 0) {
        buf_clear(&last);
        buf_add_span(&last, value);
        buf_clear(&from);
        buf_add_span(&from, key);
        buf_add_char(&from, '\0');
    }
    const Remuda__Claim *c =
        last.len ? remuda__claim__unpack(&in_arena, last.len, (const uint8_t *)last.data) : NULL;
    snprintf(owner, ADMIN_OWNER_MOST, "%s", c ? c->owner : "");
    buf_fini(&last);
    buf_fini(&from);
    arena_fini(&a);
}

bool admin_elsewhere(struct log *log, uint32_t partition, char owner[ADMIN_OWNER_MOST])
{
    struct log_reader *r;
    owner[0] = '\0';
    if (log_is_current(log, partition))
        return false;
    if (log_read_begin(log, &r) == RM_OK) {
        last_owner(r, partition, owner);
        log_read_end(r);
    }
    return true;
}

void admin_add_elsewhere(const struct admin_request *q, json_t *v)
{
    struct log *log = q->admin->node->log;
    char owner[ADMIN_OWNER_MOST];
    json_t *list = json_array();
    for (uint32_t p = 0; p < log_partitions(log); p++) {
        if (!admin_elsewhere(log, p, owner))
            continue;
        json_t *one = json_object();
        json_set_num(one, "partition", p);
        json_object_set_new(one, "node", json_text(span_str(owner)));
        json_array_append_new(list, one);
    }
    json_object_set_new(v, "partitions", json_integer((json_int_t)log_partitions(log)));
    json_object_set_new(v, "elsewhere", list);
}

void admin_reply_answers(const struct admin_request *q, struct admin_reply *r,
                         const struct admin_question *question, const struct admin_form *form)
{
    struct admin_answers a;
    admin_ask(q->admin->node, question, q->admin->ask, &a);
    bool none = json_array_size(a.answers) == 0;
    if (!none || (form->may_be_empty && a.missing == 0 && a.error[0] == '\0')) {
        json_t *v = json_pack("{s:I,s:o,s:i}", "now_ms", (json_int_t)clock_wall_ms(), form->list, a.answers,
                              "silent_shards", a.missing);
        if (!form->whole)
            admin_add_elsewhere(q, v);
        admin_reply_json(r, MHD_HTTP_OK, v);
        return;
    }
    json_decref(a.answers);
    if (a.error[0] != '\0')
        admin_reply_error(r, MHD_HTTP_UNPROCESSABLE_CONTENT, a.error);
    else if (a.missing > 0)
        admin_reply_error(r, MHD_HTTP_GATEWAY_TIMEOUT, "a shard did not answer in time");
    else
        admin_reply_error(r, MHD_HTTP_NOT_FOUND, form->none);
}
