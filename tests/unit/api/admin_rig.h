/*
 * A node with a log in memory, its history, one shard and an admin listener on a free port: for the tests of
 * the listener and of the verbs that ask it. Header only.
 */
#ifndef REMUDA_TESTS_UNIT_API_ADMIN_RIG_H
#define REMUDA_TESTS_UNIT_API_ADMIN_RIG_H

#include "tests/unit/api/event_log.h"

#include <fcntl.h>

#include "relay/api/admin.h"
#include "relay/api/history.h"
#include "relay/metrics_table.h"

struct admin_rig {
    struct event_log events;
    struct node node;
    struct admin *admin;
    char address[32];
    int null;
};

/* The shard's side: lanes at once; explain by the domain asked for: error.example fails, silent.example keeps
 * the question until rig_answer_kept, anything else is held. */
static struct admin_query *_Atomic rig_kept;

/* There are 2,100 pairs; the last one alone is in use, without a cap. */
static bool _Atomic rig_many_pairs;

static inline json_t *rig_many(void)
{
    json_t *list = json_array();
    for (int i = 0; i < 2100; i++) {
        char source[16];
        snprintf(source, sizeof(source), "s%d", i);
        json_array_append_new(
            list, json_pack("{s:s,s:s,s:b,s:i,s:o,s:i,s:f,s:f,s:I}", "source", source, "provider", "gmail",
                            "configured", 1, "stage", 3, "cap", i == 2099 ? json_null() : json_integer(50),
                            "used", i == 2099 ? 5 : 0, "pace", 0.25, "score", 0.875, "suspended_until_ms",
                            (json_int_t)(i == 0 ? 1795000000000 : 0)));
    }
    return list;
}

/* Pairs: a1 at gmail, in the third of 29 stages, suspended; a2 at yahoo, warm. Only a1 at gmail can be
 * changed; at "stuck" nothing can and a reason is given; source "silent" keeps the question, a record is
 * "0a0b". */
static inline json_t *rig_pair(const char *source, bool record)
{
    bool first = strcmp(source, "a1") == 0;
    json_t *v = json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:f, s:f, s:b}", "source", source, "provider",
                          first ? "gmail" : "yahoo", "schedule", first ? "stages" : "none", "stage",
                          first ? 2 : 0, "stages", first ? 29 : 0, "used", first ? 7 : 0, "score", 0.9,
                          "pace", first ? 0.25 : 0.0, "configured", 1);
    if (first)
        json_object_update_new(v, json_pack("{s:i, s:i, s:i, s:I, s:I, s:s}", "cap", 400, "hour_cap", 80,
                                            "days_left", 26, "suspended_until_ms", (json_int_t)1795100000000,
                                            "alert_ms", (json_int_t)1795000000000, "why", "listed by zen"));
    if (record)
        json_object_set_new(v, "record", json_string(first ? "0a0b" : "0c0d"));
    return v;
}

static inline bool rig_pairs(struct admin_query *q)
{
    bool is_a1 = strcmp(q->source, "a1") == 0 && strcmp(q->provider, "gmail") == 0;
    bool import = q->kind == ADMIN_QUERY_IMPORT, record = strcmp(q->text, "record") == 0;
    if (strcmp(q->source, "silent") == 0) {
        rig_kept = q;
        return false;
    }
    if (strcmp(q->provider, "stuck") == 0 || (import && strcmp(q->text, "0a0b") != 0))
        snprintf(q->error, sizeof(q->error), "it goes by no schedule");
    else if (q->kind == ADMIN_QUERY_PAIRS && rig_many_pairs)
        q->answer = rig_many();
    else if (q->kind == ADMIN_QUERY_PAIRS)
        q->answer = json_pack("[o, o]", rig_pair("a2", record), rig_pair("a1", record));
    else
        q->answer = is_a1 || import ? json_pack("[o]", rig_pair("a1", false)) : json_array();
    return true;
}

static inline void rig_ask(struct admin_query *q)
{
    if (q->kind == ADMIN_QUERY_PAIRS || q->kind == ADMIN_QUERY_MARK_WARM || q->kind == ADMIN_QUERY_CLEAR ||
        q->kind == ADMIN_QUERY_IMPORT) {
        if (!rig_pairs(q))
            return;
    } else if (q->kind == ADMIN_QUERY_LANES) {
        q->answer =
            json_pack("[{s:s,s:s,s:i,s:i,s:s,s:i,s:i,s:i}]", "pool", "shared", "provider", "gmail", "shard",
                      0, "partition", 1, "scope", "", "memory", 3, "in_hand", 2, "connections", 1);
    } else if (strstr(q->to, "@error.example")) {
        snprintf(q->error, sizeof(q->error), "DNS: no answer for error.example");
    } else if (strstr(q->to, "@silent.example")) {
        rig_kept = q;
        return;
    } else {
        q->answer =
            json_pack("[{s:i,s:s,s:s,s:s,s:i,s:i,s:s,s:[s],s:n,s:s,s:i,s:n,s:i,s:[{s:s,s:s,s:f,s:s,s:i}]}]",
                      "rank", 0, "tenant", "acme", "pool", "shared", "provider", "gmail", "shard", 0,
                      "partition", 1, "site", "", "hosts", "mx.gmail.com", "source", "cause", "rate",
                      "until_ms", 1500, "runner_up", "waiting", 4, "candidates", "source", "a1", "address",
                      "192.0.2.10", "weight", 2.0, "verdict", "rate", "connections", 3);
    }
    admin_query_done(q);
}

static inline void admin_rig_open(struct admin_rig *r)
{
    event_log_open(&r->events);
    r->null = open("/dev/null", O_WRONLY);
    struct logger_options quiet = {.level = LOG_ERROR, .fd = r->null};
    r->node.logger = logger_new(&quiet);
    r->node.metrics = metrics_new(metric_table, METRIC_ROWS);
    r->node.log = r->events.log;
    r->node.n_shards = 1;
    r->node.shards[0].node = &r->node;
    assert_int_equal(loop_new("shard0", &r->node.shards[0].loop), RM_OK);
    assert_int_equal(loop_start(r->node.shards[0].loop), RM_OK);
    struct history_options o = {.dir = r->events.dir,
                                .log = r->events.log,
                                .history_ms = 604800000,
                                .lifetime_ms = 259200000,
                                .map_bytes = 1 << 28};
    assert_int_equal(history_new(&o, &r->node.history), RM_OK);
    assert_int_equal(admin_start(&r->node, "127.0.0.1:0", rig_ask, &r->admin, NULL), RM_OK);
    snprintf(r->address, sizeof(r->address), "127.0.0.1:%u", admin_port(r->admin));
}

static inline void admin_rig_close(struct admin_rig *r)
{
    admin_stop(r->admin);
    history_free(r->node.history);
    loop_stop(r->node.shards[0].loop);
    loop_join(r->node.shards[0].loop);
    loop_free(r->node.shards[0].loop);
    metrics_free(r->node.metrics);
    logger_free(r->node.logger);
    close(r->null);
    event_log_close(&r->events);
}

/* A waiting submission of tenant acme in lane shared/gmail/0. */
static inline void admin_rig_row(struct admin_rig *r, uint32_t partition, uint64_t offset,
                                 Remuda__RowState state, char *cause, uint64_t accepted_ms)
{
    Remuda__SubmissionId id = REMUDA__SUBMISSION_ID__INIT;
    Remuda__BacklogRow row = REMUDA__BACKLOG_ROW__INIT;
    Remuda__RecipientResult result = REMUDA__RECIPIENT_RESULT__INIT, *results[] = {&result, &result};
    struct msgid message = msgid_make(accepted_ms);
    id.partition = partition;
    id.offset = offset;
    row.id = &id;
    row.state = state;
    row.message_id = (ProtobufCBinaryData){MSGID_BYTES, message.bytes};
    row.tenant = "acme";
    row.domain = "gmail.com";
    row.pool = "shared";
    row.provider = "gmail";
    row.scope = "";
    row.cause = cause;
    row.accepted_ms = accepted_ms;
    row.due_ms = accepted_ms + 300000;
    row.expires_ms = accepted_ms + 259200000;
    row.attempts = 1;
    row.bytes = 10240;
    result.last_reply = "421 4.7.0 try \xff later";
    row.results = results;
    row.n_results = 2;
    struct buf packed = BUF_INIT;
    proto_pack(&packed, &row.base);
    struct row_key key = row_key_make(subid_of(&id));
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_put(b, LOG_BACKLOG, partition, span_of((const char *)key.bytes, ROW_KEY_BYTES),
                  buf_span(&packed));
    event_log_submit(&r->events, b);
    buf_fini(&packed);
}

/* A record put aside, of a message to carol@ and dave@gmail.com; its body is "hello". from: the migration by
 * which it came from another log; NULL: none. */
static inline struct msgid admin_rig_dead_from(struct admin_rig *r, uint32_t partition, uint64_t accepted_ms,
                                               const char *from)
{
    Remuda__Recipient recipient = REMUDA__RECIPIENT__INIT, second = recipient;
    Remuda__Recipient *recipients[] = {&recipient, &second};
    Remuda__Submission submission = REMUDA__SUBMISSION__INIT, *submissions[] = {&submission};
    Remuda__Record record = REMUDA__RECORD__INIT;
    Remuda__Transfer transfer = REMUDA__TRANSFER__INIT;
    struct msgid id = msgid_make(accepted_ms);
    recipient.address = "carol@gmail.com";
    second.address = "dave@gmail.com";
    record.accepted_ms = accepted_ms;
    submission.domain = "gmail.com";
    submission.recipients = recipients;
    submission.n_recipients = 2;
    record.id = (ProtobufCBinaryData){MSGID_BYTES, id.bytes};
    record.tenant = "acme";
    record.sender = "bob@acme.example";
    record.body_bytes = 5;
    record.transfer = &transfer;
    record.submissions = submissions;
    record.n_submissions = 1;
    struct buf value = BUF_INIT, packed = BUF_INIT;
    mail_frame_record(&value, &record);
    buf_add_str(&value, "hello");
    Remuda__DeadRecord dead = REMUDA__DEAD_RECORD__INIT;
    dead.partition = partition;
    dead.offset = 77;
    dead.from.data = (uint8_t *)(uintptr_t)from;
    dead.from.len = from ? strlen(from) : 0;
    dead.reason = "two deaths while it was processed";
    dead.time_ms = clock_wall_ms();
    dead.value = (ProtobufCBinaryData){value.len, (uint8_t *)value.data};
    proto_pack(&packed, &dead.base);
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_append(b, LOG_DEAD, 0, buf_span(&packed), NULL, NULL);
    event_log_submit(&r->events, b);
    buf_fini(&packed);
    buf_fini(&value);
    return id;
}

static inline struct msgid admin_rig_dead(struct admin_rig *r, uint32_t partition, uint64_t accepted_ms)
{
    return admin_rig_dead_from(r, partition, accepted_ms, NULL);
}

#endif
