/* queue and explain: what waits and why, and what the router would decide. */
#include <stdlib.h>
#include <string.h>

#include "relay/ctl/client.h"
#include "relay/ctl/text.h"

/* ---- queue -------------------------------------------------------------------------------------------- */

static const char *lane_text(const json_t *v, char *out, size_t room)
{
    snprintf(out, room, "%s/%s/%llu", text_get(v, "pool"), text_get(v, "provider"),
             (unsigned long long)text_num(v, "shard"));
    return out;
}

static const char *age_of(uint64_t now_ms, uint64_t then_ms, char out[TEXT_ROOM])
{
    return then_ms == 0 ? strcpy(out, "-") : text_age(now_ms > then_ms ? now_ms - then_ms : 0, out);
}

static const char *until(uint64_t now_ms, uint64_t then_ms, char out[TEXT_ROOM])
{
    if (then_ms > 0 && then_ms <= now_ms)
        return strcpy(out, "now");
    return age_of(then_ms, then_ms == 0 ? 0 : now_ms, out);
}

/* The most first. */
static int group_order(const void *a, const void *b)
{
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    uint64_t n = text_num(x, "submissions"), m = text_num(y, "submissions");
    return n > m ? -1 : n < m;
}

static void print_groups(const json_t *v, FILE *out)
{
    static const char *const header[] = {"LANE",        "STATE", "CAUSE",   ">WAITING",
                                         ">RECIPIENTS", ">SIZE", ">OLDEST", ">NEXT"};
    const json_t *groups = json_object_get(v, "groups");
    size_t n = json_array_size(groups);
    json_t **sorted = calloc(n + 1, sizeof(json_t *));
    for (size_t i = 0; sorted && i < n; i++)
        sorted[i] = json_array_get(groups, i);
    if (sorted)
        qsort(sorted, n, sizeof(json_t *), group_order);
    struct text_table *t = text_table_new(header, 8);
    for (size_t i = 0; sorted && i < n; i++) {
        char lane[512], room[TEXT_ROOM];
        uint64_t now = text_num(v, "now_ms");
        text_table_cell(t, lane_text(sorted[i], lane, sizeof(lane)));
        text_table_cell(t, text_get(sorted[i], "state"));
        text_table_cell(t, text_get(sorted[i], "cause")[0] ? text_get(sorted[i], "cause") : "-");
        text_table_number(t, text_num(sorted[i], "submissions"));
        text_table_number(t, text_num(sorted[i], "recipients"));
        text_table_cell(t, text_bytes(text_num(sorted[i], "bytes"), room));
        text_table_cell(t, age_of(now, text_num(sorted[i], "oldest_ms"), room));
        text_table_cell(t, until(now, text_num(sorted[i], "next_due_ms"), room));
    }
    text_table_print(t, out);
    free(sorted);
}

/* What is in work is known by lane alone: nothing of it belongs under any other selection. */
static bool lanes_asked(const struct ctl_call *call)
{
    static const char *const others[] = {"--cause", "--tenant", "--domain", "--state"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (ctl_value(call, others[i]))
            return false;
    return true;
}

/* wanted: "pool", "pool/provider", "pool/provider/shard", or NULL for any. */
static bool lane_within(const char *lane, const char *wanted)
{
    size_t n = wanted ? strlen(wanted) : 0;
    return !wanted || (strncmp(lane, wanted, n) == 0 && (lane[n] == '\0' || lane[n] == '/'));
}

static void print_lanes(const json_t *v, const char *wanted, FILE *out)
{
    static const char *const header[] = {"LANE", "SITE", ">IN MEMORY", ">IN HAND", ">CONNECTIONS"};
    const json_t *lanes = json_object_get(v, "lanes");
    size_t i;
    json_t *l;
    struct text_table *t = NULL;
    json_array_foreach(lanes, i, l)
    {
        char lane[512];
        if (!lane_within(lane_text(l, lane, sizeof(lane)), wanted))
            continue;
        if (!t)
            t = text_table_new(header, 5);
        text_table_cell(t, lane);
        text_table_cell(t, text_get(l, "scope")[0] ? text_get(l, "scope") : "-");
        text_table_number(t, text_num(l, "memory"));
        text_table_number(t, text_num(l, "in_hand"));
        text_table_number(t, text_num(l, "connections"));
    }
    if (!t)
        return;
    fputs("\nin work now:\n", out);
    text_table_print(t, out);
}

static void print_rows(const json_t *v, FILE *out)
{
    static const char *const header[] = {"ID",     "TENANT", "DOMAIN", "STATE",     "CAUSE",
                                         ">TRIES", ">AGE",   ">NEXT",  "LAST WORDS"};
    const json_t *rows = json_object_get(v, "rows");
    uint64_t now = text_num(v, "now_ms");
    size_t i;
    json_t *r;
    if (json_array_size(rows) == 0)
        return;
    fputc('\n', out);
    struct text_table *t = text_table_new(header, 9);
    json_array_foreach(rows, i, r)
    {
        char room[TEXT_ROOM];
        text_table_cell(t, text_get(r, "id"));
        text_table_cell(t, text_get(r, "tenant"));
        text_table_cell(t, text_get(r, "domain"));
        text_table_cell(t, text_get(r, "state"));
        text_table_cell(t, text_get(r, "cause")[0] ? text_get(r, "cause") : "-");
        text_table_number(t, text_num(r, "attempts"));
        text_table_cell(t, age_of(now, text_num(r, "accepted_ms"), room));
        text_table_cell(t, until(now, text_num(r, "due_ms"), room));
        text_table_cell(t, text_get(json_array_get(json_object_get(r, "recipients"), 0), "last_reply"));
    }
    text_table_print(t, out);
}

static void print_queue(const struct ctl_call *call, const json_t *v)
{
    FILE *out = call->out;
    if (text_num(v, "total") == 0)
        fputs("nothing waits\n", out);
    else
        print_groups(v, out);
    if (lanes_asked(call))
        print_lanes(v, ctl_value(call, "--lane"), out);
    print_rows(v, out);
    if (!json_is_true(json_object_get(v, "whole")))
        fputs("\nonly a part was counted: the queue is too long to be read in time\n", out);
    if (text_num(v, "silent_shards") > 0)
        fprintf(out, "\n%llu shard(s) did not answer in time\n",
                (unsigned long long)text_num(v, "silent_shards"));
}

int ctl_queue(struct ctl_call *call)
{
    static const char *const options[] = {"--lane", "--cause", "--tenant", "--domain", "--state", "--limit"};
    struct buf path = BUF_INIT;
    buf_add_str(&path, "/v1/queue");
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        http_path_add(&path, options[i] + 2, ctl_value(call, options[i]));
    json_t *v;
    int rc = client_ask(call, "GET", buf_cstr(&path), &v);
    buf_fini(&path);
    if (rc == CTL_OK && !client_prints_json(call, v))
        print_queue(call, v);
    json_decref(v);
    return rc;
}

/* ---- explain ------------------------------------------------------------------------------------------ */

static void print_hosts(const json_t *lane, FILE *out)
{
    size_t i;
    json_t *h;
    fputs(json_is_true(json_object_get(lane, "route")) ? "  route    " : "  MX hosts ", out);
    json_array_foreach(json_object_get(lane, "hosts"), i, h)
    {
        fputs(i > 0 ? ", " : "", out);
        text_print(out, json_string_value(h) ? json_string_value(h) : "", 11);
    }
    fputc('\n', out);
}

/* What was learned of a candidate: reputation, what of today's cap is used, pace. */
static void learned_cells(struct text_table *t, const json_t *c)
{
    char room[TEXT_ROOM];
    double pace = json_number_value(json_object_get(c, "pace"));
    snprintf(room, sizeof(room), "%.2f", json_number_value(json_object_get(c, "score")));
    text_table_cell(t, room);
    if (json_is_integer(json_object_get(c, "cap")))
        snprintf(room, sizeof(room), "%llu of %llu", (unsigned long long)text_num(c, "used"),
                 (unsigned long long)text_num(c, "cap"));
    else
        strcpy(room, "-");
    text_table_cell(t, room);
    snprintf(room, sizeof(room), "%.2f/s", pace);
    text_table_cell(t, pace > 0 ? room : "-");
}

static void print_candidates(const json_t *lane, FILE *out)
{
    static const char *const header[] = {"  SOURCE", "ADDRESS", ">WEIGHT",      ">REPUTATION",
                                         ">CAP",     ">PACE",   ">CONNECTIONS", "VERDICT"};
    size_t i;
    json_t *c;
    struct text_table *t = text_table_new(header, 8);
    json_array_foreach(json_object_get(lane, "candidates"), i, c)
    {
        char name[256], weight[32];
        snprintf(name, sizeof(name), "  %s", text_get(c, "source"));
        snprintf(weight, sizeof(weight), "%.2f", json_number_value(json_object_get(c, "weight")));
        text_table_cell(t, name);
        text_table_cell(t, text_get(c, "address"));
        text_table_cell(t, weight);
        learned_cells(t, c);
        text_table_number(t, text_num(c, "connections"));
        snprintf(name, sizeof(name), "%s%s%s", text_get(c, "verdict"), text_get(c, "why")[0] ? ": " : "",
                 text_get(c, "why"));
        text_table_cell(t, name);
    }
    text_table_print(t, out);
}

/* What the tenant's own mail did there binds before any source does. */
static void print_tenant(const json_t *lane, FILE *out)
{
    double pace = json_number_value(json_object_get(lane, "tenant_pace"));
    const json_t *decided = json_object_get(lane, "decided");
    if (strcmp(text_get(lane, "tenant_state"), "quarantine") == 0)
        fprintf(out, "  tenant   in quarantine at %s: its mail goes from this pool alone",
                text_get(lane, "provider"));
    else if (pace > 0)
        fprintf(out, "  tenant   slowed down at %s to %.2f/s", text_get(lane, "provider"), pace);
    else
        return;
    if (text_get(decided, "reason")[0]) {
        fputs(": ", out);
        text_print(out, text_get(decided, "reason"), 11);
    }
    fputc('\n', out);
}

static void print_lane(const json_t *lane, FILE *out)
{
    char name[512], room[TEXT_ROOM];
    bool held = json_is_null(json_object_get(lane, "source")) || text_get(lane, "source")[0] == '\0';
    fprintf(out, "lane %s, partition %llu, tenant %s\n", lane_text(lane, name, sizeof(name)),
            (unsigned long long)text_num(lane, "partition"), text_get(lane, "tenant"));
    print_hosts(lane, out);
    if (text_get(lane, "site")[0])
        fprintf(out, "  site     %s\n", text_get(lane, "site"));
    print_tenant(lane, out);
    if (held && text_num(lane, "until_ms") > 0)
        fprintf(out, "  held     for %s, for another %s\n", text_get(lane, "cause"),
                text_age(text_num(lane, "until_ms"), room));
    else if (held)
        fprintf(out, "  held     for %s, until that changes\n", text_get(lane, "cause"));
    else
        fprintf(out, "  goes     from %s%s%s\n", text_get(lane, "source"),
                text_get(lane, "runner_up")[0] ? ", second choice " : "", text_get(lane, "runner_up"));
    if (text_num(lane, "waiting") > 0)
        fprintf(out, "  waiting  %llu submission(s) before it\n",
                (unsigned long long)text_num(lane, "waiting"));
    print_candidates(lane, out);
}

static int rank_order(const void *a, const void *b)
{
    uint64_t n = text_num(*(json_t *const *)a, "rank"), m = text_num(*(json_t *const *)b, "rank");
    return n < m ? -1 : n > m;
}

static void print_explain(const json_t *v, FILE *out)
{
    const json_t *lanes = json_object_get(v, "lanes");
    size_t n = json_array_size(lanes);
    json_t **sorted = calloc(n + 1, sizeof(json_t *));
    if (!sorted)
        return;
    for (size_t i = 0; i < n; i++)
        sorted[i] = json_array_get(lanes, i);
    qsort(sorted, n, sizeof(json_t *), rank_order);
    for (size_t i = 0; i < n; i++) {
        fputs(i > 0 ? "\notherwise:\n" : "", out);
        print_lane(sorted[i], out);
    }
    free(sorted);
}

int ctl_explain(struct ctl_call *call)
{
    if (call->arguments[0]) {
        if (!ctl_value(call, "--to") && !ctl_value(call, "--from") && !ctl_value(call, "--tenant"))
            return past_explain(call);
        fputs("remuda explain: either ID, or --from and --to\n", call->err);
        return CTL_USAGE;
    }
    if (!ctl_value(call, "--to") || !ctl_value(call, "--from")) {
        fputs("remuda explain: ID, or --from and --to are needed\n", call->err);
        return CTL_USAGE;
    }
    struct buf path = BUF_INIT;
    buf_add_str(&path, "/v1/explain");
    http_path_add(&path, "from", ctl_value(call, "--from"));
    http_path_add(&path, "to", ctl_value(call, "--to"));
    http_path_add(&path, "tenant", ctl_value(call, "--tenant"));
    json_t *v;
    int rc = client_ask(call, "GET", buf_cstr(&path), &v);
    buf_fini(&path);
    if (rc == CTL_OK && !client_prints_json(call, v))
        print_explain(v, call->out);
    json_decref(v);
    return rc;
}
