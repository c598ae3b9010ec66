/*
 * What binds now, for a provider, a pool or a tenant: the lanes' own counters summed
 * (relay/delivery/waits.h), the ages of what waits from the backlog's rows, and a forecast for each lane of
 * which the latest counts.
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "relay/api/admin_private.h"
#include "relay/api/forecast.h"
#include "relay/api/json.h"

enum kind { KIND_PROVIDER, KIND_POOL, KIND_TENANT, KINDS };
static const char *const kind_words[KINDS] = {"provider", "pool", "tenant"};
static const char *const kind_lists[KINDS] = {"providers", "pools", "tenants"};

/* What was asked for, and what is known of it. */
struct subject {
    enum kind kind;
    const char *name;
    json_t *causes; /* word -> its sums */
    json_t *phases, *lanes, *last_retry;
    double arrived[2], gone[2];
    uint64_t waiting, now_ms;
    bool counted;
    struct forecast forecast;
};

static const char *member(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

static double real(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static uint64_t whole_number(const json_t *object, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(object, key));
    return n > 0 ? (uint64_t)n : 0;
}

static void add_real(json_t *object, const char *key, double more)
{
    json_object_set_new(object, key, json_real(real(object, key) + more));
}

static void add_number(json_t *object, const char *key, uint64_t more)
{
    json_object_set_new(object, key, json_integer((json_int_t)(whole_number(object, key) + more)));
}

/* ---- summing ------------------------------------------------------------------------------------------ */

static json_t *cause_of(struct subject *s, const char *word)
{
    json_t *c = json_object_get(s->causes, word);
    if (c)
        return c;
    c = json_pack("{s:s, s:i, s:f, s:f}", "cause", word, "waiting", 0, "lately", 0.0, "hour", 0.0);
    json_object_set_new(s->causes, word, c);
    return c;
}

/* Returns how many of the tenant wait in the lane. */
static uint64_t add_tenant(struct subject *s, const json_t *tenant)
{
    uint64_t waiting = 0;
    size_t i;
    json_t *c, *seconds;
    const char *phase;
    json_array_foreach(json_object_get(tenant, "causes"), i, c)
    {
        json_t *sum = cause_of(s, member(c, "cause"));
        add_number(sum, "waiting", whole_number(c, "waiting"));
        add_real(sum, "lately", real(c, "lately"));
        add_real(sum, "hour", real(c, "hour"));
        waiting += whole_number(c, "waiting");
    }
    json_object_foreach(json_object_get(tenant, "phases"), phase, seconds)
        add_real(s->phases, phase, json_number_value(seconds));
    for (size_t m = 0; m < 2; m++) {
        s->arrived[m] += json_number_value(json_array_get(json_object_get(tenant, "arrived"), m));
        s->gone[m] += json_number_value(json_array_get(json_object_get(tenant, "gone"), m));
    }
    return waiting;
}

static void lane_name(const json_t *lane, char *out, size_t room)
{
    snprintf(out, room, "%s/%s/%llu", member(lane, "pool"), member(lane, "provider"),
             (unsigned long long)whole_number(lane, "shard"));
}

/* Of all tenants. */
static uint64_t lane_waiting(const json_t *lane)
{
    uint64_t waiting = 0;
    size_t i, k;
    json_t *t, *c;
    json_array_foreach(json_object_get(lane, "tenants"), i, t)
        json_array_foreach(json_object_get(t, "causes"), k, c) waiting += whole_number(c, "waiting");
    return waiting;
}

static struct forecast lane_forecast(const struct subject *s, const json_t *lane, uint64_t waiting,
                                     double gone)
{
    char name[512];
    const json_t *limits = json_object_get(lane, "limits");
    lane_name(lane, name, sizeof(name));
    struct forecast_lane l = {.now_ms = s->now_ms,
                              .waiting = waiting,
                              .waiting_all = lane_waiting(lane),
                              .gone = gone,
                              .usable = whole_number(limits, "usable"),
                              .uncapped = whole_number(limits, "uncapped"),
                              .cap_left = whole_number(limits, "cap_left"),
                              .cap_day = whole_number(limits, "cap_day"),
                              .rate = real(limits, "rate"),
                              .last_retry_ms = whole_number(s->last_retry, name)};
    return forecast_of(&l);
}

static bool lane_matches(const struct subject *s, const json_t *lane)
{
    return s->kind == KIND_TENANT || strcmp(member(lane, kind_words[s->kind]), s->name) == 0;
}

/* A lane's waiting mail of the subject, what went, and the forecast made of both. */
static void add_lane(struct subject *s, const json_t *lane)
{
    uint64_t waiting = 0;
    double before = s->gone[0];
    bool any = false;
    size_t i;
    json_t *t;
    json_array_foreach(json_object_get(lane, "tenants"), i, t)
    {
        if (s->kind == KIND_TENANT && strcmp(member(t, "tenant"), s->name) != 0)
            continue;
        waiting += add_tenant(s, t);
        any = true;
    }
    if (!any)
        return;
    struct forecast f = lane_forecast(s, lane, waiting, s->gone[0] - before);
    s->waiting += waiting;
    s->forecast = forecast_later(s->forecast, f);
    char name[512];
    lane_name(lane, name, sizeof(name));
    json_array_append_new(s->lanes, json_pack("{s:s, s:I, s:f, s:s, s:I, s:O}", "lane", name, "waiting",
                                              (json_int_t)waiting, "gone_a_second", s->gone[0] - before, "by",
                                              forecast_basis_text(f.basis), "in_ms", (json_int_t)f.in_ms,
                                              "limits", json_object_get(lane, "limits")));
}

/* ---- ages --------------------------------------------------------------------------------------------- */

struct subjects {
    struct subject list[KINDS];
    size_t n;
};

static void note_row(struct subject *s, const Remuda__BacklogRow *row)
{
    const char *names[KINDS] = {row->provider, row->pool, row->tenant};
    if (strcmp(names[s->kind], s->name) != 0)
        return;
    json_t *c = cause_of(s, row->cause);
    uint64_t oldest = whole_number(c, "oldest_ms");
    if (oldest == 0 || row->accepted_ms < oldest)
        json_set_num(c, "oldest_ms", row->accepted_ms);
    if (row->state != REMUDA__ROW_STATE__ROW_DEFERRED)
        return;
    char lane[512];
    snprintf(lane, sizeof(lane), "%s/%s/%u", row->pool, row->provider, row->shard);
    if (row->due_ms > whole_number(s->last_retry, lane))
        json_set_num(s->last_retry, lane, row->due_ms);
}

static void note_rows(void *arg, const Remuda__BacklogRow *row)
{
    struct subjects *all = arg;
    for (size_t i = 0; i < all->n; i++)
        note_row(&all->list[i], row);
}

/* ---- names -------------------------------------------------------------------------------------------- */

static bool list_has(const json_t *list, const char *name)
{
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) if (strcmp(json_string_value(v), name) == 0) return true;
    return false;
}

/* Letters to change, add or drop to make one of the other; at most 64 of each are looked at. */
static size_t distance(const char *a, const char *b)
{
    size_t row[65], n = strnlen(b, 64), m = strnlen(a, 64);
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; i <= m; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            size_t step = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = change < step ? change : step;
        }
    }
    return row[n];
}

static bool resembles(const char *asked, const char *name)
{
    return distance(asked, name) <= 1 + strlen(name) / 3 || strstr(name, asked) || strstr(asked, name);
}

static void suggest(const json_t *names, const char *asked, struct buf *out)
{
    const char *before = "; did you mean ";
    for (int k = 0; k < KINDS; k++) {
        size_t i;
        json_t *v;
        json_array_foreach(json_object_get(names, kind_lists[k]), i, v)
        {
            if (!resembles(asked, json_string_value(v)) || out->len > 400)
                continue;
            buf_printf(out, "%s%s (%s)", before, json_string_value(v), kind_words[k]);
            before = ", ";
        }
    }
    buf_add_str(out, before[0] == ',' ? "?" : "");
}

/* The subjects that the name stands for; none: answered. */
static size_t find_subjects(const struct admin_request *q, struct admin_reply *r, const json_t *names,
                            struct subjects *out)
{
    const char *name = admin_arg(q, "name"), *kind = admin_arg(q, "kind");
    for (int k = 0; k < KINDS; k++) {
        if ((kind && strcmp(kind, kind_words[k]) != 0) ||
            !list_has(json_object_get(names, kind_lists[k]), name))
            continue;
        out->list[out->n++] = (struct subject){.kind = (enum kind)k,
                                               .name = name,
                                               .causes = json_object(),
                                               .phases = json_object(),
                                               .lanes = json_array(),
                                               .last_retry = json_object(),
                                               .counted = true,
                                               .now_ms = clock_wall_ms()};
    }
    if (out->n > 0)
        return out->n;
    struct buf text = BUF_INIT;
    buf_printf(&text, "no %s is called %s", kind ? kind : "provider, pool or tenant", name);
    suggest(names, name, &text);
    admin_reply_error(r, MHD_HTTP_NOT_FOUND, buf_cstr(&text));
    buf_fini(&text);
    return 0;
}

/* ---- the answer --------------------------------------------------------------------------------------- */

static int most_waited(const void *a, const void *b)
{
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    double n = real(x, "lately"), m = real(y, "lately");
    return n != m ? (n > m ? -1 : 1) : strcmp(member(x, "cause"), member(y, "cause"));
}

/* With the share of all waiting time, the largest first. */
static json_t *causes_json(struct subject *s)
{
    size_t n = 0;
    double lately = 0, hour = 0;
    const char *word;
    json_t *c, *list = json_array(), **sorted = calloc(json_object_size(s->causes) + 1, sizeof(json_t *));
    ENSURE(sorted);
    json_object_foreach(s->causes, word, c)
    {
        lately += real(c, "lately");
        hour += real(c, "hour");
        sorted[n++] = c;
    }
    qsort(sorted, n, sizeof(json_t *), most_waited);
    for (size_t i = 0; i < n; i++) {
        json_object_set_new(sorted[i], "share_lately",
                            json_real(lately > 0 ? real(sorted[i], "lately") / lately : 0));
        json_object_set_new(sorted[i], "share_hour",
                            json_real(hour > 0 ? real(sorted[i], "hour") / hour : 0));
        json_array_append(list, sorted[i]);
    }
    free(sorted);
    return list;
}

static json_t *subject_json(struct subject *s)
{
    json_t *v =
        json_pack("{s:s, s:s, s:I, s:b, s:o, s:O, s:[f, f], s:[f, f], s:O}", "kind", kind_words[s->kind],
                  "name", s->name, "waiting", (json_int_t)s->waiting, "counted", s->counted, "causes",
                  causes_json(s), "phases", s->phases, "arrived_a_second", s->arrived[0], s->arrived[1],
                  "gone_a_second", s->gone[0], s->gone[1], "lanes", s->lanes);
    json_object_set_new(v, "by", json_string(forecast_basis_text(s->forecast.basis)));
    json_object_set_new(v, "in_ms", json_integer((json_int_t)s->forecast.in_ms));
    json_object_set_new(v, "grows", json_boolean(s->waiting > 0 && s->arrived[0] > s->gone[0]));
    json_decref(s->causes);
    json_decref(s->phases);
    json_decref(s->lanes);
    json_decref(s->last_retry);
    return v;
}

static void answer(const struct admin_request *q, struct admin_reply *r, const struct admin_answers *a,
                   struct subjects *all)
{
    bool whole;
    int rc = admin_rows_each(q->admin->node->log, note_rows, all, &whole);
    json_t *subjects = json_array(), *lane;
    for (size_t i = 0, k; i < all->n; i++) {
        json_array_foreach(a->answers, k, lane)
        {
            if (json_is_false(json_object_get(lane, "counted")))
                all->list[i].counted = false;
            if (json_object_get(lane, "tenants") && json_object_get(lane, "pool") &&
                lane_matches(&all->list[i], lane))
                add_lane(&all->list[i], lane);
        }
        json_array_append_new(subjects, subject_json(&all->list[i]));
    }
    json_t *v = json_pack("{s:I, s:b, s:i, s:o}", "now_ms", (json_int_t)clock_wall_ms(), "whole", whole,
                          "silent_shards", a->missing, "subjects", subjects);
    admin_add_elsewhere(q, v);
    if (rc == RM_OK) {
        admin_reply_json(r, MHD_HTTP_OK, v);
        return;
    }
    json_decref(v);
    admin_reply_error(r, MHD_HTTP_INTERNAL_SERVER_ERROR, rm_strerror(rc));
}

static bool asked_rightly(const struct admin_request *q, struct admin_reply *r)
{
    const char *name = admin_arg(q, "name"), *kind = admin_arg(q, "kind");
    bool known = !kind;
    for (int k = 0; k < KINDS; k++)
        known = known || strcmp(kind, kind_words[k]) == 0;
    if (!name || !name[0])
        admin_reply_error(r, MHD_HTTP_BAD_REQUEST, "name: of a provider, a pool or a tenant is needed");
    else if (!known)
        admin_reply_error(r, MHD_HTTP_BAD_REQUEST, "kind: expected one of provider, pool, tenant");
    return name && name[0] && known;
}

void admin_why(const struct admin_request *q, struct admin_reply *r)
{
    struct admin_question question = {.kind = ADMIN_QUERY_WAITS};
    struct admin_answers a;
    struct subjects all = {.n = 0};
    if (!asked_rightly(q, r))
        return;
    admin_ask(q->admin->node, &question, q->admin->ask, &a);
    if (json_array_size(a.answers) == 0)
        admin_reply_error(r, MHD_HTTP_GATEWAY_TIMEOUT, "no shard answered in time");
    else if (find_subjects(q, r, json_array_get(a.answers, 0), &all))
        answer(q, r, &a, &all);
    json_decref(a.answers);
}
