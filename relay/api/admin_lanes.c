/* The lane table as it is, and an operator's changes: a lane moves, all are spread, partitions are added. */
#include "relay/api/admin_private.h"
#include "relay/growth.h"

static void add_lane(void *arg, const struct lane_entry *e)
{
    json_array_append_new(arg,
                          json_pack("{s:s, s:s, s:i, s:i, s:s, s:I, s:i, s:i}", "pool", e->pool, "provider",
                                    e->provider, "shard", (int)e->shard, "partition", (int)e->partition,
                                    "state", e->moving ? "moving" : "settled", "since", (json_int_t)e->since,
                                    "pairs", (int)e->pairs, "moving", (int)e->moving));
}

static bool has_table(const struct admin_request *q, struct admin_reply *r)
{
    if (q->admin->node->lanes && q->admin->node->history)
        return true;
    admin_reply_error(r, MHD_HTTP_UNPROCESSABLE_CONTENT, "this node does not read the log: ask another one");
    return false;
}

void admin_lanes(const struct admin_request *q, struct admin_reply *r)
{
    struct lanes *lanes = q->admin->node->lanes;
    if (!has_table(q, r))
        return;
    json_t *list = json_array();
    json_int_t version = (json_int_t)lanes_version(lanes);
    lanes_each(lanes, add_lane, list);
    admin_reply_json(r, MHD_HTTP_OK,
                     json_pack("{s:I, s:i, s:o}", "version", version, "partitions",
                               (int)log_partitions(q->admin->node->log), "lanes", list));
}

static void refuse(const struct admin_request *q, struct admin_reply *r, const struct lane_order *o, int err)
{
    char text[400];
    unsigned status = MHD_HTTP_CONFLICT;
    if (err == RM_ENOTFOUND) {
        status = MHD_HTTP_NOT_FOUND;
        snprintf(text, sizeof(text), "there is no lane %.80s/%.80s/%u", o->pool, o->provider, o->shard);
    } else if (err == RM_EINVAL) {
        status = MHD_HTTP_BAD_REQUEST;
        snprintf(text, sizeof(text), "partition: found %u, expected a number from 0 to %u", o->to,
                 log_partitions(q->admin->node->log) - 1);
    } else if (err == RM_EREFUSED) {
        snprintf(text, sizeof(text), "another node has moved the lane at the same time");
    } else if (err == RM_EAGAIN) {
        snprintf(text, sizeof(text), "other nodes kept changing the lane table: try again");
    } else {
        status = MHD_HTTP_SERVICE_UNAVAILABLE;
        snprintf(text, sizeof(text),
                 "the lane table could not be written (%s): look whether the lane has moved",
                 rm_strerror(err));
    }
    admin_reply_error(r, status, text);
}

static void move(const struct admin_request *q, struct admin_reply *r, const struct lane_order *o)
{
    struct node *node = q->admin->node;
    const char *reason = admin_arg(q, "reason");
    int moved, err = lanes_move(node->lanes, o, &moved);
    if (err != RM_OK) {
        refuse(q, r, o, err);
        return;
    }
    uint64_t version = lanes_version(node->lanes);
    if (moved)
        logger_log(node->logger, LOG_WARN, "lanes.moved", LF_STR("pool", o->pool),
                   LF_STR("provider", o->provider), LF_NUM("shard", o->shard), LF_NUM("partition", o->to),
                   LF_NUM("lanes", moved), LF_NUM("version", version),
                   LF_STR("reason", reason ? reason : ""));
    admin_reply_json(r, MHD_HTTP_OK,
                     json_pack("{s:i, s:i, s:I}", "moved", moved, "partition", (int)o->to, "version",
                               (json_int_t)version));
}

void admin_lanes_move(const struct admin_request *q, struct admin_reply *r)
{
    uint64_t shard, partition;
    struct lane_order o = {.pool = admin_arg(q, "pool"), .provider = admin_arg(q, "provider")};
    if (!has_table(q, r))
        return;
    if (!o.pool || !o.provider || !admin_arg(q, "partition")) {
        admin_reply_error(r, MHD_HTTP_BAD_REQUEST, "pool, provider and partition: are needed");
        return;
    }
    if (!admin_arg_num(q, r, "shard", 0, UINT32_MAX, &shard) ||
        !admin_arg_num(q, r, "partition", 0, UINT32_MAX, &partition))
        return;
    o.shard = (uint32_t)shard;
    o.to = (uint32_t)partition;
    move(q, r, &o);
}

/* ---- many lanes, more partitions ---- */

static void refuse_change(struct admin_reply *r, int err)
{
    char text[200];
    if (err == RM_EAGAIN) {
        admin_reply_error(r, MHD_HTTP_CONFLICT, "other nodes kept changing the lane table: try again");
        return;
    }
    snprintf(text, sizeof(text), "it could not all be written (%s): ask for the same again",
             rm_strerror(err));
    admin_reply_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, text);
}

void admin_lanes_spread(const struct admin_request *q, struct admin_reply *r)
{
    const char *reason = admin_arg(q, "reason");
    if (!has_table(q, r))
        return;
    struct node *node = q->admin->node;
    int moved, err = lanes_spread(node->lanes, &moved);
    if (err != RM_OK) {
        refuse_change(r, err);
        return;
    }
    uint64_t version = lanes_version(node->lanes);
    if (moved)
        logger_log(node->logger, LOG_WARN, "lanes.spread", LF_NUM("lanes", moved), LF_NUM("version", version),
                   LF_STR("reason", reason ? reason : ""));
    admin_reply_json(r, MHD_HTTP_OK, json_pack("{s:i, s:I}", "moved", moved, "version", (json_int_t)version));
}

static void refuse_number(struct admin_reply *r, uint64_t found, uint32_t now)
{
    char text[200];
    snprintf(text, sizeof(text),
             "partitions: found %llu, expected a number from %u, which there are, to %d: they are never made "
             "fewer",
             (unsigned long long)found, now, LOG_PARTITIONS_MOST);
    admin_reply_error(r, MHD_HTTP_BAD_REQUEST, text);
}

void admin_partitions_grow(const struct admin_request *q, struct admin_reply *r)
{
    const char *reason = admin_arg(q, "reason");
    uint64_t number;
    if (!has_table(q, r) || !admin_arg_num(q, r, "partitions", 0, UINT32_MAX, &number))
        return;
    struct node *node = q->admin->node;
    uint32_t before = log_partitions(node->log);
    int err =
        number < before || number > LOG_PARTITIONS_MOST ? RM_EINVAL : growth_run(node, (uint32_t)number);
    if (err == RM_EINVAL) {
        refuse_number(r, number, log_partitions(node->log));
        return;
    }
    if (err != RM_OK) {
        refuse_change(r, err);
        return;
    }
    if (number > before)
        logger_log(node->logger, LOG_WARN, "partitions.grown", LF_NUM("partitions", number),
                   LF_NUM("before", before), LF_STR("reason", reason ? reason : ""));
    admin_reply_json(r, MHD_HTTP_OK,
                     json_pack("{s:I, s:i}", "partitions", (json_int_t)number, "before", (int)before));
}
