/*
 * What waits: sums over the backlog's rows, read in bounded pieces on the admin's thread, with what the
 * shards hold in memory beside them; and explain, which only the shards can answer.
 */
#include <stdio.h>

#include "lib/base/clock.h"
#include "lib/base/map.h"
#include "relay/api/admin_private.h"
#include "relay/api/json.h"

enum { ROWS_MOST = 10000 };

struct group {
    json_t *json; /* names */
    uint64_t submissions, recipients, bytes, oldest_ms, next_due_ms;
};

struct scan {
    struct span lane, cause, tenant, state, domain; /* selection; empty: any */
    struct map groups;
    json_t *rows;
    uint64_t rows_wanted, total;
    struct arena arena; /* of the groups */
};

static bool selected(struct span wanted, const char *value)
{
    return wanted.len == 0 || span_eq(wanted, span_str(value));
}

/* "pool", "pool/provider" or "pool/provider/shard". */
static bool lane_selected(struct span lane, const Remuda__BacklogRow *row)
{
    struct span rest = lane;
    if (lane.len == 0)
        return true;
    if (!selected(span_cut(&rest, '/'), row->pool))
        return false;
    if (!rest.ptr)
        return true;
    uint64_t shard;
    return selected(span_cut(&rest, '/'), row->provider) &&
           (!rest.ptr || (span_u64(rest, &shard) && shard == row->shard));
}

static struct group *group_of(struct scan *s, const Remuda__BacklogRow *row)
{
    char key[1024];
    int n = snprintf(key, sizeof(key), "%s/%s/%u/%d/%s", row->pool, row->provider, row->shard, row->state,
                     row->cause);
    struct span name = span_of(key, n < (int)sizeof(key) ? (size_t)n : sizeof(key) - 1);
    struct group *g = map_get(&s->groups, name);
    if (g)
        return g;
    g = arena_alloc(&s->arena, sizeof(*g));
    g->json = json_object();
    json_set_text(g->json, "pool", row->pool);
    json_set_text(g->json, "provider", row->provider);
    json_object_set_new(g->json, "shard", json_integer((json_int_t)row->shard));
    json_object_set_new(g->json, "state", json_string(json_row_state(row->state)));
    json_object_set_new(g->json, "cause", json_text(span_str(row->cause)));
    map_put(&s->groups, name, g);
    return g;
}

static void count(void *arg, const Remuda__BacklogRow *row)
{
    struct scan *s = arg;
    if (!lane_selected(s->lane, row) || !selected(s->cause, row->cause) ||
        !selected(s->tenant, row->tenant) || !selected(s->state, json_row_state(row->state)) ||
        !selected(s->domain, row->domain))
        return;
    struct group *g = group_of(s, row);
    g->submissions++;
    for (size_t i = 0; i < row->n_results; i++)
        g->recipients += row->results[i]->state == REMUDA__RECIPIENT_STATE__RCPT_PENDING;
    g->bytes += row->bytes;
    if (g->oldest_ms == 0 || row->accepted_ms < g->oldest_ms)
        g->oldest_ms = row->accepted_ms;
    if (row->due_ms > 0 && (g->next_due_ms == 0 || row->due_ms < g->next_due_ms))
        g->next_due_ms = row->due_ms;
    s->total++;
    if (json_array_size(s->rows) < s->rows_wanted)
        json_array_append_new(s->rows, json_row(row));
}

static json_t *groups_json(struct scan *s)
{
    json_t *list = json_array();
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(&s->groups, &pos, &key, &value)) {
        struct group *g = value;
        json_set_num(g->json, "submissions", g->submissions);
        json_set_num(g->json, "recipients", g->recipients);
        json_set_num(g->json, "bytes", g->bytes);
        json_set_num(g->json, "oldest_ms", g->oldest_ms);
        json_set_num(g->json, "next_due_ms", g->next_due_ms);
        json_array_append_new(list, g->json);
    }
    return list;
}

static json_t *shards_answer(const struct admin_request *q, const struct admin_question *question,
                             int *missing)
{
    struct admin_answers a;
    admin_ask(q->admin->node, question, q->admin->ask, &a);
    *missing = a.missing;
    return a.answers;
}

/* A state that does not exist would select nothing and look like an empty queue. */
static bool state_exists(struct span state, struct admin_reply *r)
{
    char text[160] = "state: expected one of";
    size_t n = strlen(text);
    for (int s = REMUDA__ROW_STATE__ROW_DEFERRED; s <= REMUDA__ROW_STATE__ROW_IN_DOUBT; s++) {
        const char *word = json_row_state((Remuda__RowState)s);
        if (selected(state, word))
            return true;
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s %s",
                              s > REMUDA__ROW_STATE__ROW_DEFERRED ? "," : "", word);
    }
    admin_reply_error(r, MHD_HTTP_BAD_REQUEST, text);
    return false;
}

void admin_queue(const struct admin_request *q, struct admin_reply *r)
{
    struct scan s = {.lane = admin_arg_span(q, "lane"),
                     .cause = admin_arg_span(q, "cause"),
                     .tenant = admin_arg_span(q, "tenant"),
                     .state = admin_arg_span(q, "state"),
                     .domain = admin_arg_span(q, "domain")};
    if (!admin_arg_num(q, r, "limit", 0, ROWS_MOST, &s.rows_wanted) || !state_exists(s.state, r))
        return;
    s.rows = json_array();
    bool whole;
    int missing, rc = admin_rows_each(q->admin->node->log, count, &s, &whole);
    json_t *groups = groups_json(&s);
    struct admin_question question = {.kind = ADMIN_QUERY_LANES};
    json_t *lanes = shards_answer(q, &question, &missing);
    json_t *v = json_pack("{s:I,s:I,s:b,s:o,s:o,s:i,s:o}", "now_ms", (json_int_t)clock_wall_ms(), "total",
                          (json_int_t)s.total, "whole", whole, "groups", groups, "lanes", lanes,
                          "silent_shards", missing, "rows", s.rows);
    admin_add_elsewhere(q, v);
    map_fini(&s.groups);
    arena_fini(&s.arena);
    if (rc == RM_OK) {
        admin_reply_json(r, MHD_HTTP_OK, v);
        return;
    }
    json_decref(v);
    admin_reply_error(r, MHD_HTTP_INTERNAL_SERVER_ERROR, rm_strerror(rc));
}

/* ---- explain ------------------------------------------------------------------------------------------ */

void admin_explain(const struct admin_request *q, struct admin_reply *r)
{
    struct admin_question question = {.kind = ADMIN_QUERY_EXPLAIN,
                                      .from = admin_arg(q, "from"),
                                      .to = admin_arg(q, "to"),
                                      .tenant = admin_arg(q, "tenant")};
    if (!question.to || question.to[0] == '\0') {
        admin_reply_error(r, MHD_HTTP_BAD_REQUEST, "to: a recipient's address is needed");
        return;
    }
    struct admin_form form = {.list = "lanes", .none = "no partition of this node owns such a lane"};
    admin_reply_answers(q, r, &question, &form);
}
