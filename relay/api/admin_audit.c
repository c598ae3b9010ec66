/* The account of mail (account.h) as JSON. One at a time: it reads much. */
#include "lib/base/clock.h"
#include "relay/api/account.h"
#include "relay/api/admin_private.h"
#include "relay/api/json.h"

enum { DEFAULT_MS = 24 * 3600 * 1000, MOST_US = 50 * 1000 * 1000 }; /* a client waits for a minute */

static const char *const states[] = {
    [ACCOUNT_JUDGED] = "judged", [ACCOUNT_ELSEWHERE] = "elsewhere", [ACCOUNT_UNJUDGED] = "unjudged"};

static const char *const troubles[] = {
    [ACCOUNT_NO_END] = "no-end",           [ACCOUNT_NO_BEGINNING] = "no-beginning",
    [ACCOUNT_NOT_ARRIVED] = "not-arrived", [ACCOUNT_BODY_GONE] = "body-gone",
    [ACCOUNT_NOT_READ] = "not-read",       [ACCOUNT_GAP] = "gap"};

static const char *const counts[ACCOUNT_COUNTS] = {
    [ACCOUNT_ACCEPTED] = "accepted", [ACCOUNT_REPORTS] = "reports", [ACCOUNT_FEEDBACK] = "feedback",
    [ACCOUNT_RECEIVED] = "received", [ACCOUNT_GIVEN] = "given",     [ACCOUNT_DELIVERED] = "delivered",
    [ACCOUNT_BOUNCED] = "bounced",   [ACCOUNT_EXPIRED] = "expired", [ACCOUNT_READ] = "read",
    [ACCOUNT_DEAD] = "dead",         [ACCOUNT_WAITING] = "waiting", [ACCOUNT_LOST] = "lost",
    [ACCOUNT_TWICE] = "twice"};

static json_t *partitions_json(const struct account *a)
{
    json_t *list = json_array();
    for (uint32_t p = 0; p < a->n_partitions; p++) {
        const struct account_partition *from = &a->partitions[p];
        json_t *v = json_object();
        json_object_set_new(v, "partition", json_integer(p));
        json_set_text(v, "state", states[from->state]);
        json_set_text(v, "why", from->why);
        json_set_num(v, "watermark", from->watermark);
        json_set_num(v, "above", from->above);
        json_set_num(v, "dead", from->dead);
        json_array_append_new(list, v);
    }
    return list;
}

static json_t *hours_json(const struct account *a)
{
    json_t *list = json_array();
    for (size_t i = 0; i < a->n_hours; i++) {
        json_t *v = json_object();
        json_object_set_new(v, "partition", json_integer(a->hours[i].partition));
        json_set_num(v, "hour_ms", (uint64_t)a->hours[i].hour * 3600000);
        for (int c = 0; c < ACCOUNT_COUNTS; c++)
            json_object_set_new(v, counts[c], json_integer((json_int_t)a->hours[i].counts[c]));
        json_array_append_new(list, v);
    }
    return list;
}

static json_t *exception_json(const struct account_exception *e)
{
    static const struct msgid none;
    json_t *v = json_object();
    json_set_text(v, "trouble", troubles[e->trouble]);
    json_object_set_new(v, "partition", json_integer(e->partition));
    json_set_num(v, "offset", e->offset);
    if (e->trouble == ACCOUNT_NOT_READ || e->trouble == ACCOUNT_GAP) {
        json_set_num(v, "to", e->to);
        return v;
    }
    if (memcmp(&e->message, &none, sizeof(none)) != 0)
        json_set_id(v, "id", (ProtobufCBinaryData){MSGID_BYTES, (uint8_t *)(uintptr_t)e->message.bytes});
    json_set_text(v, "domain", e->domain);
    json_object_set_new(v, "submission",
                        json_pack("{s:I, s:I, s:I}", "partition", (json_int_t)e->id.partition, "offset",
                                  (json_int_t)e->id.offset, "index", (json_int_t)e->id.index));
    json_set_true(v, "in_log", e->in_log);
    if (e->trouble == ACCOUNT_NOT_ARRIVED)
        json_object_set_new(v, "target", json_integer(e->target));
    return v;
}

static json_t *account_json(const struct account *a)
{
    json_t *list = json_array();
    for (size_t i = 0; i < a->n_exceptions; i++)
        json_array_append_new(list, exception_json(&a->exceptions[i]));
    return json_pack("{s:I, s:o, s:o, s:o, s:I}", "since_ms", (json_int_t)a->since_ms, "partitions",
                     partitions_json(a), "hours", hours_json(a), "exceptions", list, "exceptions_in_all",
                     (json_int_t)a->exceptions_in_all);
}

void admin_audit_mail(const struct admin_request *q, struct admin_reply *r)
{
    uint64_t now = clock_wall_ms();
    struct account_options o = {.log = q->admin->node->log, .deadline_us = clock_boot_us() + MOST_US};
    if (!admin_history_here(q, r) || /* what was given to a partition here stands in the events of others */
        !admin_arg_num(q, r, "since", now > DEFAULT_MS ? now - DEFAULT_MS : 0, INT64_MAX, &o.since_ms))
        return;
    if (pthread_mutex_trylock(&q->admin->accounting) != 0) {
        admin_reply_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, "an account is being made: try again");
        return;
    }
    struct account a;
    int rc = account_make(&o, &a);
    if (rc == RM_OK)
        admin_reply_json(r, MHD_HTTP_OK, account_json(&a));
    else
        admin_reply_error(r, MHD_HTTP_INTERNAL_SERVER_ERROR, rm_strerror(rc));
    account_fini(&a);
    pthread_mutex_unlock(&q->admin->accounting);
}
