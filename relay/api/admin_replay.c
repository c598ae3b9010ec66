/*
 * Gives a record that was put aside back to its partition as a new message, for those of its recipients whose
 * end the history does not know: the record may have died with some of them delivered.
 */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/id.h"
#include "lib/base/map.h"
#include "relay/api/admin_private.h"
#include "relay/api/json.h"

enum { CATCH_UP_MS = 2000 };

struct replay {
    struct admin *admin;
    uint32_t partition;
    bool all;
    int status;
    uint64_t offset;
    size_t sent, left_out; /* recipients */
    const char *refused;   /* why nothing was done; NULL */
};

static void replay_done(void *arg, struct log_batch *b, int status)
{
    struct replay *out = arg;
    out->status = status;
    if (status == RM_OK)
        out->offset = log_batch_offset(b, 0);
}

static int replay_append(struct replay *out, struct span value)
{
    struct admin *a = out->admin;
    out->status = RM_ECLOSED;
    pthread_mutex_lock(&a->lock);
    struct log_batch *b = log_batch_new(LOG_INTAKE);
    log_batch_append(b, LOG_MAIL, out->partition, value, NULL, NULL);
    log_submit(a->client, b, replay_done, out);
    log_client_flush(a->client);
    pthread_mutex_unlock(&a->lock);
    return out->status;
}

/* Appends chunk number sequence of the message, which stands in dead below offset end, as young as new. */
static int replay_chunk(struct replay *out, uint64_t end, ProtobufCBinaryData id, uint32_t sequence)
{
    int rc = RM_OK, status = RM_ENOTFOUND;
    for (uint64_t at = 0; status == RM_ENOTFOUND; at++) {
        struct arena a = ARENA_INIT;
        const Remuda__DeadRecord *dead = admin_dead_next(out->admin->node->log, &a, &at, &rc);
        Remuda__ChunkHeader *c = dead && at < end ? admin_dead_chunk(&a, dead) : NULL;
        if (c && c->sequence == sequence && c->id.len == id.len && memcmp(c->id.data, id.data, id.len) == 0) {
            struct buf value = BUF_INIT;
            struct mail_view view;
            size_t need;
            ENSURE(mail_view(span_of((const char *)dead->value.data, dead->value.len), &view, &need) ==
                   RM_OK);
            c->started_ms = clock_wall_ms();
            mail_frame_chunk(&value, c);
            buf_add(&value, dead->value.data + view.body_at, dead->value.len - view.body_at);
            status = replay_append(out, buf_span(&value));
            buf_fini(&value);
        }
        arena_fini(&a);
        if ((!dead && rc != RM_ECORRUPT) || at >= end)
            break;
    }
    return status;
}

/* ---- whom it is still for ----------------------------------------------------------------------------- */

/* Addresses of the message that have had their end. */
static void note_ends(struct map *ends, const struct history_events *events, ProtobufCBinaryData id)
{
    for (size_t i = 0; i < events->n; i++) {
        const Remuda__Event *e = events->list[i].event;
        if (e->message_id.len != id.len || memcmp(e->message_id.data, id.data, id.len) != 0)
            continue; /* of a report about it */
        for (size_t k = 0; k < e->n_recipients; k++)
            if (e->recipients[k]->state != REMUDA__RECIPIENT_STATE__RCPT_PENDING)
                map_put(ends, span_str(e->recipients[k]->address), ends);
    }
}

/* Keeps those that have had no end; returns how many there are. What was known of each goes with it. */
static size_t keep_pending(Remuda__Submission *s, const struct map *ends)
{
    bool known = s->n_results == s->n_recipients;
    size_t n = 0;
    for (size_t i = 0; i < s->n_recipients; i++) {
        if (map_get(ends, span_str(s->recipients[i]->address)))
            continue;
        if (known)
            s->results[n] = s->results[i];
        s->recipients[n++] = s->recipients[i];
    }
    s->n_recipients = n;
    s->n_results = known ? n : 0;
    return n;
}

static void leave_out_ends(struct replay *out, Remuda__Record *record, const struct map *ends)
{
    size_t n = 0;
    for (size_t i = 0; i < record->n_submissions; i++) {
        size_t all = record->submissions[i]->n_recipients, kept = keep_pending(record->submissions[i], ends);
        out->left_out += all - kept;
        out->sent += kept;
        if (kept)
            record->submissions[n++] = record->submissions[i];
    }
    record->n_submissions = n;
}

/* NULL, or why it cannot be told for whom the record still is, or that it is for nobody. */
static const char *choose_recipients(struct replay *out, Remuda__Record *record)
{
    struct history *h = out->admin->node->history;
    struct msgid id;
    if (record->id.len != MSGID_BYTES || !h || !history_covers(h, record->accepted_ms))
        return "the history does not reach back to this message, so some recipients may have it: "
               "--all sends it to all of them";
    memcpy(id.bytes, record->id.data, MSGID_BYTES);
    struct history_events events;
    struct map ends = MAP_INIT;
    history_events_init(&events);
    bool told = history_catch_up(h, CATCH_UP_MS);
    int rc = told ? history_trace(h, &id, &events) : RM_EAGAIN;
    if (rc == RM_OK)
        note_ends(&ends, &events, record->id);
    if (rc == RM_OK || rc == RM_ENOTFOUND)
        leave_out_ends(out, record, &ends);
    map_fini(&ends);
    history_events_fini(&events);
    if (rc != RM_OK && rc != RM_ENOTFOUND)
        return "the history cannot be read now: --all sends it to all recipients";
    return out->sent ? NULL : "each of its recipients has had its end: --all sends it to all of them again";
}

/* Two owners put it aside, the second because the first died before it had told so: it is one. */
static const char *refuse_second(struct log *log, const Remuda__DeadRecord *dead, uint64_t offset)
{
    return admin_dead_first(log, dead, offset) < offset
               ? "it was put aside before: replay the first one, which is in the list"
               : NULL;
}

/* ---- the record --------------------------------------------------------------------------------------- */

static int append_record(struct replay *out, Remuda__Record *record, struct span body, uint64_t offset)
{
    int err = RM_OK;
    for (size_t i = 0; i < record->n_chunks && err == RM_OK; i++) {
        err = replay_chunk(out, offset, record->id, (uint32_t)i);
        record->chunks[i]->offset = out->offset;
    }
    if (err != RM_OK)
        return err;
    record->transfer = NULL;
    record->carried = NULL;
    for (size_t i = 0; i < record->n_submissions; i++)
        record->submissions[i]->origin = NULL;
    struct buf value = BUF_INIT;
    mail_frame_record(&value, record);
    buf_add_span(&value, body);
    err = replay_append(out, buf_span(&value));
    buf_fini(&value);
    return err;
}

/*
 * As a message of its own: without the marks of the copy that it was, by which its partition would know it as
 * seen, its chunks first. What does not decode is appended as it stands, for a newer program that may read
 * it.
 */
static int replay(struct replay *out, const Remuda__DeadRecord *dead, uint64_t offset)
{
    struct arena a = ARENA_INIT;
    struct mail_view view;
    struct span value = span_of((const char *)dead->value.data, dead->value.len);
    Remuda__Record *record = admin_dead_record(&a, dead, &view);
    struct map nobody = MAP_INIT;
    int err = RM_OK;
    if (record && out->all)
        leave_out_ends(out, record, &nobody);
    else if (record)
        out->refused = choose_recipients(out, record);
    if (!record)
        err = replay_append(out, value);
    else if (!out->refused)
        err = append_record(out, record, span_of(value.ptr + view.body_at, value.len - view.body_at), offset);
    arena_fini(&a);
    return err;
}

static void answer(struct admin_reply *r, const struct replay *done, int err)
{
    if (done->refused)
        admin_reply_error(r, MHD_HTTP_CONFLICT, done->refused);
    else if (err == RM_OK)
        admin_reply_json(r, MHD_HTTP_OK,
                         json_pack("{s:I,s:I,s:I,s:I}", "partition", (json_int_t)done->partition, "offset",
                                   (json_int_t)done->offset, "recipients", (json_int_t)done->sent, "left_out",
                                   (json_int_t)done->left_out));
    else
        admin_reply_error(r, MHD_HTTP_SERVICE_UNAVAILABLE,
                          err == RM_ENOTFOUND ? "a chunk of its body is gone" : rm_strerror(err));
}

void admin_dead_replay(const struct admin_request *q, struct admin_reply *r)
{
    struct span number = span_str(q->rest);
    struct arena a = ARENA_INIT;
    if (!span_iends(number, SPAN_LIT("/replay"))) {
        admin_reply_error(r, MHD_HTTP_NOT_FOUND, "no such path");
        return;
    }
    number.len -= strlen("/replay");
    const Remuda__DeadRecord *dead = admin_dead_at(q, r, number, &a);
    struct node *node = q->admin->node;
    uint64_t at = 0, all = 0;
    if (dead && !admin_arg_num(q, r, "all", 0, 1, &all))
        dead = NULL;
    if (dead && dead->partition < log_partitions(node->log) && span_u64(number, &at)) {
        struct replay done = {.admin = q->admin, .partition = dead->partition, .all = all != 0};
        done.refused = refuse_second(node->log, dead, at);
        int err = done.refused ? RM_OK : replay(&done, dead, at);
        answer(r, &done, err);
        logger_log(node->logger, LOG_WARN, "dead.replayed", LF_SPAN("dead", number),
                   LF_NUM("partition", dead->partition),
                   LF_STR("result", done.refused ? done.refused : rm_strerror(err)));
    } else if (dead) {
        admin_reply_error(r, MHD_HTTP_CONFLICT, "its partition does not exist here");
    }
    arena_fini(&a);
}
