/* /v1/rules/unknown: the kinds of answers that no rule knows, the most frequent first. */
#include <stdlib.h>

#include "relay/api/admin_private.h"
#include "relay/api/json.h"
#include "relay/unknown.h"

static json_t *kind_json(const struct unknown_kind *k)
{
    json_t *v = json_object();
    json_set_num(v, "count", k->count);
    json_set_text(v, "provider", k->provider);
    json_set_num(v, "code", (uint64_t)k->code);
    json_set_text(v, "masked", k->masked);
    json_set_text(v, "sample", k->sample);
    json_set_num(v, "first_ms", k->first_ms);
    json_set_num(v, "last_ms", k->last_ms);
    return v;
}

void admin_rules_unknown(const struct admin_request *q, struct admin_reply *r)
{
    uint64_t limit;
    if (!admin_arg_num(q, r, "limit", 50, UNKNOWN_MOST, &limit))
        return;
    struct unknown_answers *u = q->admin->node->unknown;
    struct unknown_kind *kinds = calloc(UNKNOWN_MOST, sizeof(*kinds));
    ENSURE(kinds);
    int n = u ? unknown_list(u, kinds, (int)limit) : 0;
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, kind_json(&kinds[i]));
    free(kinds);
    json_t *v = json_object();
    json_object_set_new(v, "total", json_integer(u ? (json_int_t)unknown_total(u) : 0));
    json_object_set_new(v, "unknown", list);
    admin_reply_json(r, MHD_HTTP_OK, v);
}
