/* Suppression lists of tenants: showing, adding to, removing from. A change is durable when it is answered.
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/id.h"
#include "relay/api/admin_private.h"
#include "relay/api/json.h"
#include "relay/feedback/suppression.h"

enum { LIST_DEFAULT = 100, LIST_MOST = 5000, ENTRIES_MOST = 200 };

static json_t *entry_json(const Remuda__Suppression *s)
{
    json_t *v = json_object();
    json_set_text(v, "tenant", s->tenant);
    json_object_set_new(v, "address", json_text(span_str(s->address)));
    json_set_text(v, "reason", suppression_reason(s->reason));
    json_set_text(v, "evidence", s->evidence);
    json_set_id(v, "id", s->message_id);
    json_set_num(v, "added_ms", s->added_ms);
    json_set_num(v, "expires_ms", s->expires_ms);
    return v;
}

/* ---- showing ------------------------------------------------------------------------------------- */

static void look_up(const struct admin_request *q, struct admin_reply *r)
{
    struct arena a = ARENA_INIT;
    Remuda__Suppression *found;
    struct suppression_query query = {.tenant = admin_arg_span(q, "tenant"),
                                      .address = admin_arg_span(q, "address"),
                                      .now_ms = clock_wall_ms()};
    int rc = suppression_find(q->admin->node->log, &a, &query, &found);
    if (!suppression_canonical(&a, query.address))
        admin_reply_error(r, MHD_HTTP_BAD_REQUEST, "address: expected local@domain");
    else if (rc != RM_OK)
        admin_reply_error(r, MHD_HTTP_INTERNAL_SERVER_ERROR, rm_strerror(rc));
    else if (!found)
        admin_reply_error(r, MHD_HTTP_NOT_FOUND, "the address is not on the tenant's suppression list");
    else
        admin_reply_json(r, MHD_HTTP_OK, entry_json(found));
    arena_fini(&a);
}

struct listing {
    struct log_reader *reader;
    struct span prefix; /* of keys; empty: all tenants */
    struct buf from;
    uint64_t now_ms;
    json_t *entries;
};

/* The next key; false at the end. */
static bool list_next(struct listing *l)
{
    struct arena a = ARENA_INIT;
    struct span key, value;
    bool more = log_read_key_next(l->reader, LOG_SUPPRESSION, 0, buf_span(&l->from), &key, &value) &&
                key.len >= l->prefix.len && memcmp(key.ptr, l->prefix.ptr, l->prefix.len) == 0;
    if (more) {
        const Remuda__Suppression *s = suppression_decode(&a, value);
        if (s && (!s->expires_ms || s->expires_ms > l->now_ms))
            json_array_append_new(l->entries, entry_json(s));
        buf_clear(&l->from);
        buf_add_span(&l->from, key);
        buf_add_char(&l->from, '\0');
    }
    arena_fini(&a);
    return more;
}

/* after: the last entry of the page before, "TENANT/ADDRESS". */
static void list(const struct admin_request *q, struct admin_reply *r)
{
    uint64_t limit;
    struct suppression_key prefix = {.len = 0};
    struct span tenant = admin_arg_span(q, "tenant"), after = admin_arg_span(q, "after");
    if (!admin_arg_num(q, r, "limit", LIST_DEFAULT, LIST_MOST, &limit))
        return;
    if (tenant.len > 63) {
        admin_reply_error(r, MHD_HTTP_BAD_REQUEST, "tenant: a name has at most 63 characters");
        return;
    }
    if (tenant.len)
        suppression_key_tenant(tenant, &prefix);
    struct listing l = {.prefix = suppression_key_span(&prefix), .from = BUF_INIT, .now_ms = clock_wall_ms()};
    int rc = log_read_begin(q->admin->node->log, &l.reader);
    if (rc != RM_OK) {
        admin_reply_error(r, MHD_HTTP_INTERNAL_SERVER_ERROR, rm_strerror(rc));
        return;
    }
    buf_add_span(&l.from, after.len ? after : l.prefix);
    if (after.len)
        buf_add_char(&l.from, '\0');
    l.entries = json_array();
    bool more = true;
    while (more && json_array_size(l.entries) < limit)
        more = list_next(&l);
    log_read_end(l.reader);
    json_t *out = json_pack("{s:o,s:b}", "entries", l.entries, "more", more);
    if (more && l.from.len)
        json_object_set_new(out, "next", json_text(span_of(l.from.data, l.from.len - 1)));
    buf_fini(&l.from);
    admin_reply_json(r, MHD_HTTP_OK, out);
}

void admin_suppression(const struct admin_request *q, struct admin_reply *r)
{
    if (admin_arg(q, "address"))
        look_up(q, r);
    else
        list(q, r);
}

/* ---- changing ------------------------------------------------------------------------------------ */

static void write_done(void *arg, struct log_batch *b, int status)
{
    (void)b;
    *(int *)arg = status;
}

static int write_batch(struct admin *a, struct log_batch *b)
{
    int status = RM_ECLOSED;
    pthread_mutex_lock(&a->lock);
    log_submit(a->client, b, write_done, &status);
    log_client_flush(a->client);
    pthread_mutex_unlock(&a->lock);
    return status;
}

/* Takes the reference of written, the answer when it was. */
static void reply_written(struct admin_reply *r, int rc, json_t *written)
{
    if (rc == RM_OK) {
        admin_reply_json(r, MHD_HTTP_OK, written);
        return;
    }
    json_decref(written);
    admin_reply_error(r, MHD_HTTP_INTERNAL_SERVER_ERROR, rm_strerror(rc));
}

static bool tenant_exists(const struct admin *a, const char *name)
{
    struct admin_question question = {.kind = ADMIN_QUERY_TENANT, .tenant = name};
    struct admin_answers answers;
    admin_ask(a->node, &question, a->ask, &answers);
    bool found = json_array_size(answers.answers) > 0;
    json_decref(answers.answers);
    return found;
}

struct change {
    const struct admin_request *q;
    struct log_batch *batch;
    struct arena arena;
    struct buf packed;
    uint64_t now_ms;
    size_t n;
    const char *checked; /* tenant known to exist */
    const char *wrong;   /* what is wrong with the last entry; NULL: nothing */
};

static const char *text_of(const json_t *v, const char *key)
{
    const char *text = json_string_value(json_object_get(v, key));
    return text ? text : "";
}

static uint64_t number_of(const json_t *v, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(v, key));
    return n > 0 ? (uint64_t)n : 0;
}

static const char *check_tenant(struct change *c, const char *tenant)
{
    if (c->checked && strcmp(c->checked, tenant) == 0)
        return NULL;
    if (!tenant[0] || strlen(tenant) > 63 || !tenant_exists(c->q->admin, tenant))
        return "tenant: no such tenant";
    c->checked = arena_strdup(&c->arena, tenant);
    return NULL;
}

static const char *add_entry(struct change *c, const json_t *v)
{
    Remuda__Suppression s = REMUDA__SUPPRESSION__INIT;
    struct suppression_key key;
    struct msgid id;
    const char *wrong = check_tenant(c, text_of(v, "tenant"));
    if (wrong)
        return wrong;
    s.tenant = arena_strdup(&c->arena, text_of(v, "tenant"));
    s.address = suppression_canonical(&c->arena, span_str(text_of(v, "address")));
    if (!s.address)
        return "address: expected local@domain";
    s.reason = REMUDA__SUPPRESSION_REASON__SUPPRESSED_MANUAL;
    if (text_of(v, "reason")[0] && !suppression_reason_parse(span_str(text_of(v, "reason")), &s.reason))
        return "reason: expected bounce, complaint or manual";
    s.evidence = arena_printf(&c->arena, "%.*s", SUPPRESSION_EVIDENCE_MOST, text_of(v, "evidence"));
    if (msgid_parse(span_str(text_of(v, "id")), &id)) {
        s.message_id.data = id.bytes;
        s.message_id.len = MSGID_BYTES;
    }
    s.added_ms = number_of(v, "added_ms") ? number_of(v, "added_ms") : c->now_ms;
    s.expires_ms = number_of(v, "expires_ms");
    suppression_key_make(span_str(s.tenant), span_str(s.address), &key);
    buf_clear(&c->packed);
    proto_pack(&c->packed, &s.base);
    log_batch_put(c->batch, LOG_SUPPRESSION, 0, suppression_key_span(&key), buf_span(&c->packed));
    logger_log(c->q->admin->node->logger, LOG_INFO, "suppression.added", LF_STR("tenant", s.tenant),
               LF_ADDR("address", span_str(s.address)), LF_STR("reason", suppression_reason(s.reason)));
    return NULL;
}

static enum MHD_Result each_entry(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct change *c = arg;
    (void)kind;
    if (strcmp(name, "entry") != 0)
        return MHD_YES;
    json_error_t error;
    json_t *v = json_loads(value ? value : "", 0, &error);
    c->wrong = ++c->n > ENTRIES_MOST ? "too many entries in one request"
               : json_is_object(v)   ? add_entry(c, v)
                                     : "entry: expected a JSON object";
    json_decref(v);
    return c->wrong ? MHD_NO : MHD_YES;
}

/* All entries of the request, or none. */
void admin_suppression_add(const struct admin_request *q, struct admin_reply *r)
{
    struct change c = {.q = q,
                       .batch = log_batch_new(LOG_OWNER),
                       .arena = ARENA_INIT,
                       .packed = BUF_INIT,
                       .now_ms = clock_wall_ms()};
    MHD_get_connection_values(q->connection, MHD_GET_ARGUMENT_KIND, each_entry, &c);
    if (!c.n)
        c.wrong = "entry: is needed";
    if (c.wrong) {
        log_batch_free(c.batch);
        admin_reply_error(r, MHD_HTTP_BAD_REQUEST, c.wrong);
    } else {
        reply_written(r, write_batch(q->admin, c.batch), json_pack("{s:I}", "added", (json_int_t)c.n));
    }
    buf_fini(&c.packed);
    arena_fini(&c.arena);
}

void admin_suppression_remove(const struct admin_request *q, struct admin_reply *r)
{
    struct arena a = ARENA_INIT;
    Remuda__Suppression *found = NULL;
    struct suppression_query query = {.tenant = admin_arg_span(q, "tenant"),
                                      .address = admin_arg_span(q, "address"),
                                      .now_ms = clock_wall_ms()};
    int rc = suppression_find(q->admin->node->log, &a, &query, &found);
    if (rc == RM_OK && found) {
        struct suppression_key key;
        struct log_batch *b = log_batch_new(LOG_OWNER);
        suppression_key_make(query.tenant, span_str(found->address), &key);
        log_batch_erase(b, LOG_SUPPRESSION, 0, suppression_key_span(&key));
        rc = write_batch(q->admin, b);
        logger_log(q->admin->node->logger, LOG_INFO, "suppression.removed", LF_STR("tenant", found->tenant),
                   LF_ADDR("address", span_str(found->address)));
    }
    if (rc == RM_OK && !found)
        admin_reply_error(r, MHD_HTTP_NOT_FOUND, "the address is not on the tenant's suppression list");
    else
        reply_written(r, rc, found ? entry_json(found) : NULL);
    arena_fini(&a);
}
