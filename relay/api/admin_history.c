/* What became of messages: /v1/trace, /v1/search, /v1/events. The index finds, this lays out. */
#include "lib/base/clock.h"
#include "relay/api/admin_private.h"
#include "relay/api/json.h"

enum {
    CATCH_UP_MS = 1000, /* a trace shows what was durable when it was asked for, if the index can make it */
    NEW_MESSAGE_MS = 10000, /* a message has its first event at most about five seconds after its 250 */
    SEARCH_DEFAULT = 50,
    EVENTS_DEFAULT = 1000,
    EVENTS_MOST = 10000,
};

static json_t *placed_event(const struct history_event *e)
{
    json_t *v = json_event(e->event);
    json_object_set_new(v, "partition", json_integer((json_int_t)e->partition));
    json_object_set_new(v, "offset", json_integer((json_int_t)e->offset));
    json_object_set_new(v, "index", json_integer((json_int_t)e->index));
    return v;
}

bool admin_history_here(const struct admin_request *q, struct admin_reply *r)
{
    if (q->admin->all_events)
        return true;
    admin_reply_error(r, MHD_HTTP_SERVICE_UNAVAILABLE,
                      "this node does not read the events of all partitions: ask one with the role admin");
    return false;
}

static void trace_unknown(const struct msgid *id, struct admin_reply *r)
{
    uint64_t now = clock_wall_ms();
    bool fresh = msgid_ms(id) <= now && now - msgid_ms(id) < NEW_MESSAGE_MS;
    admin_reply_error(r, MHD_HTTP_NOT_FOUND,
                      fresh ? "nothing is known of this message yet: it is only seconds old, ask again"
                            : "no such message in the history that is kept");
}

void admin_trace(const struct admin_request *q, struct admin_reply *r)
{
    struct msgid id;
    if (!admin_history_here(q, r))
        return;
    if (!msgid_parse(span_str(q->rest), &id)) {
        admin_reply_error(r, MHD_HTTP_BAD_REQUEST, "a message id has 26 characters, as in \"queued as\"");
        return;
    }
    struct history *h = q->admin->node->history;
    (void)history_catch_up(h, CATCH_UP_MS); /* late: it shows what it has */
    struct history_events e;
    history_events_init(&e);
    int rc = history_trace(h, &id, &e);
    if (rc == RM_OK) {
        json_t *list = json_array();
        for (size_t i = 0; i < e.n; i++)
            json_array_append_new(list, placed_event(&e.list[i]));
        char text[MSGID_TEXT + 1];
        admin_reply_json(r, MHD_HTTP_OK,
                         json_pack("{s:s,s:I,s:o}", "id", msgid_text(&id, text), "accepted_ms",
                                   (json_int_t)msgid_ms(&id), "events", list));
    } else if (rc == RM_ENOTFOUND) {
        trace_unknown(&id, r);
    } else {
        admin_reply_error(r, MHD_HTTP_INTERNAL_SERVER_ERROR, rm_strerror(rc));
    }
    history_events_fini(&e);
}

/* ---- search ------------------------------------------------------------------------------------------- */

/* The last word on each recipient: later events replace earlier ones. */
static void recipients_note(json_t *recipients, const Remuda__Event *e)
{
    for (size_t i = 0; i < e->n_recipients; i++) {
        const Remuda__RecipientOutcome *o = e->recipients[i];
        json_t *v = json_object();
        json_object_set_new(v, "state", json_string(json_outcome_word(e, o)));
        json_set_text(v, "text", o->text);
        json_set_num(v, "time_ms", e->time_ms);
        json_t *address = json_text(span_str(o->address));
        json_object_set_new(recipients, json_string_value(address), v);
        json_decref(address);
    }
}

static json_t *message_summary(const struct msgid *id, const struct history_events *e)
{
    json_t *v = json_object(), *recipients = json_object();
    char text[MSGID_TEXT + 1];
    json_object_set_new(v, "id", json_string(msgid_text(id, text)));
    json_object_set_new(v, "accepted_ms", json_integer((json_int_t)msgid_ms(id)));
    for (size_t i = 0; i < e->n; i++) {
        const Remuda__Event *event = e->list[i].event;
        if (memcmp(event->message_id.data, id->bytes, MSGID_BYTES) != 0)
            continue; /* a bounce made of it */
        json_set_text(v, "tenant", event->tenant);
        json_object_set_new(v, "sender", json_text(span_str(event->sender)));
        json_set_num(v, "bytes", event->bytes);
        recipients_note(recipients, event);
    }
    json_object_set_new(v, "recipients", recipients);
    return v;
}

static int search_run(struct history *h, const struct history_query *query, json_t **out)
{
    struct history_ids ids;
    int rc = history_search(h, query, &ids);
    if (rc != RM_OK)
        return rc;
    json_t *messages = json_array();
    for (size_t i = 0; rc == RM_OK && i < ids.n; i++) {
        struct history_events e;
        history_events_init(&e);
        rc = history_trace(h, &ids.ids[i], &e);
        if (rc == RM_OK)
            json_array_append_new(messages, message_summary(&ids.ids[i], &e));
        rc = rc == RM_ENOTFOUND ? RM_OK : rc; /* its events went meanwhile */
        history_events_fini(&e);
    }
    *out = json_pack("{s:o,s:b}", "messages", messages, "more", ids.more);
    char text[MSGID_TEXT + 1];
    if (ids.more)
        json_object_set_new(*out, "next", json_string(msgid_text(&ids.last, text)));
    history_ids_fini(&ids);
    return rc;
}

void admin_search(const struct admin_request *q, struct admin_reply *r)
{
    struct history_query query = {.recipient = admin_arg_span(q, "recipient"),
                                  .sender = admin_arg_span(q, "sender"),
                                  .tenant = admin_arg_span(q, "tenant")};
    struct span before = admin_arg_span(q, "before");
    struct msgid last;
    uint64_t limit;
    if (!admin_history_here(q, r) || !admin_arg_num(q, r, "since", 0, INT64_MAX, &query.since_ms) ||
        !admin_arg_num(q, r, "until", 0, INT64_MAX, &query.until_ms) ||
        !admin_arg_num(q, r, "limit", SEARCH_DEFAULT, HISTORY_SEARCH_MOST, &limit))
        return;
    if (before.len > 0 && !msgid_parse(before, &last)) {
        admin_reply_error(r, MHD_HTTP_BAD_REQUEST, "before: expected a message id");
        return;
    }
    query.limit = (size_t)limit;
    query.before = before.len > 0 ? &last : NULL;
    (void)history_catch_up(q->admin->node->history, CATCH_UP_MS);
    json_t *found = NULL;
    int rc = search_run(q->admin->node->history, &query, &found);
    if (rc == RM_OK) {
        admin_reply_json(r, MHD_HTTP_OK, found);
        return;
    }
    json_decref(found);
    admin_reply_error(r, MHD_HTTP_INTERNAL_SERVER_ERROR, rm_strerror(rc));
}

/* ---- raw events --------------------------------------------------------------------------------------- */

static int events_of_partition(struct history *h, uint32_t partition, uint64_t since, size_t *limit,
                               struct buf *out)
{
    int rc = RM_OK;
    uint64_t before;
    do { /* one batch at a time: memory is bounded by the largest */
        struct history_events e;
        history_events_init(&e);
        before = since;
        rc = history_read(h, partition, &since, 1, &e);
        for (size_t i = 0; rc == RM_OK && i < e.n; i++) {
            json_dump_to(out, placed_event(&e.list[i]));
            buf_add_char(out, '\n');
        }
        history_events_fini(&e);
        *limit -= since != before;
    } while (rc == RM_OK && since != before && *limit > 0);
    return rc;
}

void admin_events(const struct admin_request *q, struct admin_reply *r)
{
    uint64_t since, limit, first, all = log_partitions(q->admin->node->log);
    if (!admin_history_here(q, r) || !admin_arg_num(q, r, "since", 0, INT64_MAX, &since) ||
        !admin_arg_num(q, r, "limit", EVENTS_DEFAULT, EVENTS_MOST, &limit) ||
        !admin_arg_num(q, r, "partition", 0, all - 1, &first))
        return;
    uint64_t end = admin_arg(q, "partition") ? first + 1 : all;
    size_t left = (size_t)limit;
    int rc = RM_OK;
    r->status = MHD_HTTP_OK;
    r->type = "application/x-ndjson";
    for (uint64_t p = first; rc == RM_OK && p < end && left > 0; p++)
        rc = events_of_partition(q->admin->node->history, (uint32_t)p, since, &left, &r->body);
    if (rc != RM_OK)
        admin_reply_error(r, MHD_HTTP_INTERNAL_SERVER_ERROR, rm_strerror(rc));
}
