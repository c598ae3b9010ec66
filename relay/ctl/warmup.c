/* warmup and alerts: what the router has learned of each (source, provider), and what an operator changes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "relay/ctl/client.h"
#include "relay/ctl/text.h"

static const uint64_t day_ms = 86400000;

static double real_of(const json_t *v, const char *key)
{
    return json_number_value(json_object_get(v, key));
}

static int pair_order(const void *a, const void *b)
{
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    int by_provider = strcmp(text_get(x, "provider"), text_get(y, "provider"));
    return by_provider ? by_provider : strcmp(text_get(x, "source"), text_get(y, "source"));
}

/* The pairs in order, NULL-terminated; the caller frees the array. */
static json_t **sorted_pairs(const json_t *v)
{
    const json_t *pairs = json_object_get(v, "pairs");
    size_t n = json_array_size(pairs);
    json_t **list = calloc(n + 1, sizeof(json_t *));
    for (size_t i = 0; list && i < n; i++)
        list[i] = json_array_get(pairs, i);
    if (list)
        qsort(list, n, sizeof(json_t *), pair_order);
    return list;
}

static void cell_cap(struct text_table *t, const json_t *pair, const char *key)
{
    if (json_is_integer(json_object_get(pair, key)))
        text_table_number(t, text_num(pair, key));
    else
        text_table_cell(t, "-");
}

static void cell_real(struct text_table *t, double value)
{
    char room[TEXT_ROOM];
    snprintf(room, sizeof(room), "%.2f", value);
    text_table_cell(t, value > 0 ? room : "-");
}

static void cell_day(struct text_table *t, uint64_t ms)
{
    char room[TEXT_ROOM];
    text_time(ms, room);
    room[strlen("2026-11-23")] = '\0';
    text_table_cell(t, room);
}

static void cell_stage(struct text_table *t, const json_t *pair)
{
    char room[TEXT_ROOM];
    uint64_t stage = text_num(pair, "stage"), stages = text_num(pair, "stages");
    if (stages == 0)
        snprintf(room, sizeof(room), "-");
    else if (stage >= stages)
        snprintf(room, sizeof(room), "warm");
    else
        snprintf(room, sizeof(room), "%llu of %llu", (unsigned long long)stage + 1,
                 (unsigned long long)stages);
    text_table_cell(t, room);
}

static void pair_row(struct text_table *t, const json_t *p, uint64_t now_ms)
{
    text_table_cell(t, text_get(p, "source"));
    text_table_cell(t, text_get(p, "provider"));
    text_table_cell(t, text_get(p, "schedule"));
    cell_stage(t, p);
    cell_cap(t, p, "cap");
    cell_cap(t, p, "hour_cap");
    text_table_number(t, text_num(p, "used"));
    if (text_num(p, "days_left"))
        cell_day(t, now_ms + text_num(p, "days_left") * day_ms);
    else
        text_table_cell(t, "-");
    cell_real(t, real_of(p, "score"));
    cell_real(t, real_of(p, "pace"));
    text_table_cell(t, text_num(p, "suspended_until_ms") ? "suspended"
                       : text_num(p, "stopped_ms")       ? "stopped"
                       : text_get(p, "mark")[0]          ? text_get(p, "mark")
                                                         : "");
}

static bool is_asked_for(const struct ctl_call *call, const json_t *pair)
{
    const char *source = ctl_value(call, "--source"), *provider = ctl_value(call, "--provider");
    return (!source || strcmp(source, text_get(pair, "source")) == 0) &&
           (!provider || strcmp(provider, text_get(pair, "provider")) == 0) &&
           json_is_true(json_object_get(pair, "configured"));
}

static void print_warmup(const struct ctl_call *call, const json_t *v)
{
    static const char *const header[] = {"SOURCE", "PROVIDER", "SCHEDULE",    "STAGE",   ">CAP", ">HOUR",
                                         ">USED",  "FULL ON",  ">REPUTATION", ">PACE/S", "NOTE"};
    json_t **pairs = sorted_pairs(v);
    struct text_table *t = text_table_new(header, 11);
    for (size_t i = 0; pairs && pairs[i]; i++)
        if (is_asked_for(call, pairs[i]))
            pair_row(t, pairs[i], text_num(v, "now_ms"));
    text_table_print(t, call->out);
    free(pairs);
}

static int ask_pairs(struct ctl_call *call, const char *path, json_t **v)
{
    int rc = client_ask(call, "GET", path, v);
    if (rc == CTL_OK && text_num(*v, "silent_shards") > 0)
        fprintf(call->err, "%llu shard(s) did not answer in time\n",
                (unsigned long long)text_num(*v, "silent_shards"));
    return rc;
}

int ctl_warmup(struct ctl_call *call)
{
    json_t *v;
    int rc = ask_pairs(call, "/v1/pairs", &v);
    if (rc == CTL_OK && !client_prints_json(call, v))
        print_warmup(call, v);
    json_decref(v);
    return rc;
}

/* ---- changes ------------------------------------------------------------------------------------------ */

static int post_pair(struct ctl_call *call, const char *what, const char *done)
{
    struct buf path = BUF_INIT;
    buf_printf(&path, "/v1/pairs/%s", what);
    http_path_add(&path, "source", call->arguments[0]);
    http_path_add(&path, "provider", call->arguments[1]);
    http_path_add(&path, "reason", ctl_value(call, "--reason"));
    json_t *v;
    int rc = client_ask(call, "POST", buf_cstr(&path), &v);
    buf_fini(&path);
    if (rc == CTL_OK && !client_prints_json(call, v))
        fprintf(call->out, "%s at %s: %s\n", call->arguments[0], call->arguments[1], done);
    json_decref(v);
    return rc;
}

int ctl_warmup_mark(struct ctl_call *call)
{
    if (!ctl_flag(call, "--warm") || !ctl_value(call, "--reason")) {
        fputs("remuda warmup mark: --warm and --reason are needed\n", call->err);
        return CTL_USAGE;
    }
    return post_pair(call, "mark", "warm, without a cap");
}

int ctl_warmup_export(struct ctl_call *call)
{
    json_t *v;
    int rc = ask_pairs(call, "/v1/pairs?records=1", &v);
    if (rc == CTL_OK) {
        json_dumpf(json_object_get(v, "pairs"), call->out, JSON_INDENT(1) | JSON_SORT_KEYS);
        fputc('\n', call->out);
    }
    json_decref(v);
    return rc;
}

static int import_one(struct ctl_call *call, const json_t *pair)
{
    struct buf path = BUF_INIT;
    buf_add_str(&path, "/v1/pairs/import");
    http_path_add(&path, "record", text_get(pair, "record"));
    json_t *v;
    int rc = client_ask(call, "POST", buf_cstr(&path), &v);
    buf_fini(&path);
    if (rc != CTL_OK)
        fprintf(call->err, "%s at %s was not imported\n", text_get(pair, "source"),
                text_get(pair, "provider"));
    json_decref(v);
    return rc;
}

int ctl_warmup_import(struct ctl_call *call)
{
    json_error_t error;
    json_t *list = json_load_file(call->arguments[0], 0, &error);
    if (!json_is_array(list)) {
        fprintf(call->err, "%s:%d:%d: %s\n", call->arguments[0], list ? 1 : error.line,
                list ? 1 : error.column,
                list ? "found no list, expected what `remuda warmup export` prints" : error.text);
        json_decref(list);
        return CTL_FAILED;
    }
    int rc = CTL_OK;
    size_t i, done = 0;
    json_t *pair;
    json_array_foreach(list, i, pair)
    {
        int one = import_one(call, pair);
        done += one == CTL_OK;
        rc = one != CTL_OK ? one : rc;
        if (one == CTL_UNREACHABLE || one == CTL_CONFIG)
            break;
    }
    fprintf(call->out, "%zu of %zu pairs imported\n", done, json_array_size(list));
    json_decref(list);
    return rc;
}

/* ---- alerts ------------------------------------------------------------------------------------------- */

static void print_alerts(const struct ctl_call *call, const json_t *v)
{
    static const char *const header[] = {"RAISED", "SOURCE", "PROVIDER", "WHY", "SUSPENDED UNTIL"};
    json_t **pairs = sorted_pairs(v);
    struct text_table *t = text_table_new(header, 5);
    size_t n = 0;
    for (size_t i = 0; pairs && pairs[i]; i++) {
        char raised[TEXT_ROOM], until[TEXT_ROOM];
        if (!text_num(pairs[i], "alert_ms"))
            continue;
        n++;
        text_table_cell(t, text_time(text_num(pairs[i], "alert_ms"), raised));
        text_table_cell(t, text_get(pairs[i], "source"));
        text_table_cell(t, text_get(pairs[i], "provider"));
        text_table_cell(t, text_get(pairs[i], "why"));
        text_table_cell(t, text_time(text_num(pairs[i], "suspended_until_ms"), until));
    }
    if (n == 0)
        fputs("no alerts\n", call->out);
    text_table_print(t, call->out);
    free(pairs);
}

int ctl_alerts_list(struct ctl_call *call)
{
    json_t *v;
    int rc = ask_pairs(call, "/v1/pairs", &v);
    if (rc == CTL_OK && !client_prints_json(call, v))
        print_alerts(call, v);
    json_decref(v);
    return rc;
}

int ctl_alerts_clear(struct ctl_call *call)
{
    return post_pair(call, "clear", "the alert is cleared and the suspension lifted");
}
