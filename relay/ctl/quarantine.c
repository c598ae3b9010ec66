/* quarantine: tenants that are slowed down or go from a quarantine pool, the evidence, and an operator's
 * word.
 */
#include <string.h>

#include "relay/ctl/client.h"
#include "relay/ctl/text.h"

static double real_of(const json_t *v, const char *key)
{
    return json_number_value(json_object_get(v, key));
}

static void cell_count(struct text_table *t, double n)
{
    text_table_number(t, (uint64_t)(n + 0.5));
}

/* Confidence limits and the limit: "6.10-9.30%/10%" */
static void cell_share(struct text_table *t, const json_t *evidence, const char *what)
{
    char low[32], high[32], limit[32], room[TEXT_ROOM];
    snprintf(low, sizeof(low), "%s_low", what);
    snprintf(high, sizeof(high), "%s_high", what);
    snprintf(limit, sizeof(limit), "%s_limit", what);
    snprintf(room, sizeof(room), "%.2f-%.2f%%/%.3g%%", real_of(evidence, low) * 100,
             real_of(evidence, high) * 100, real_of(evidence, limit) * 100);
    text_table_cell(t, room);
}

static void cells_evidence(struct text_table *t, const json_t *e)
{
    cell_count(t, real_of(e, "recipients"));
    cell_share(t, e, "bad_mailbox");
    cell_share(t, e, "complaint");
    cell_share(t, e, "refused");
}

static const char *const list_header[] = {"SINCE",       "TENANT",      "PROVIDER",  "ACTION",  "BY",
                                          ">RECIPIENTS", "BAD MAILBOX", "COMPLAINT", "REFUSED", "REASON"};

static void list_row(struct text_table *t, const json_t *d)
{
    char since[TEXT_ROOM];
    bool kept = json_is_true(json_object_get(d, "kept"));
    text_table_cell(t, text_time(text_num(d, "time_ms"), since));
    text_table_cell(t, text_get(d, "tenant"));
    text_table_cell(t, text_get(d, "provider"));
    text_table_cell(t, text_get(d, "action"));
    text_table_cell(t, kept                                              ? "kept"
                       : json_is_true(json_object_get(d, "by_operator")) ? "operator"
                                                                         : "router");
    cells_evidence(t, json_object_get(d, "evidence"));
    text_table_cell(t, text_get(d, "reason"));
}

static void print_list(const struct ctl_call *call, const json_t *v)
{
    const json_t *rows = json_object_get(v, "tenants");
    struct text_table *t = text_table_new(list_header, 10);
    size_t i;
    const json_t *d;
    json_array_foreach(rows, i, d) list_row(t, d);
    if (json_array_size(rows) == 0)
        fputs("no tenant is slowed down or in quarantine\n", call->out);
    text_table_print(t, call->out);
}

int ctl_quarantine_list(struct ctl_call *call)
{
    json_t *v;
    int rc = client_ask(call, "GET", "/v1/quarantine", &v);
    if (rc == CTL_OK && !client_prints_json(call, v))
        print_list(call, v);
    json_decref(v);
    return rc;
}

static void print_review(const struct ctl_call *call, const json_t *v)
{
    static const char *const header[] = {"PROVIDER",  "HOLDS",   "NOW",     ">RECIPIENTS", "BAD MAILBOX",
                                         "COMPLAINT", "REFUSED", ">PACE/S", "REASON"};
    const json_t *rows = json_object_get(v, "tenants");
    struct text_table *t = text_table_new(header, 9);
    size_t i;
    const json_t *d;
    json_array_foreach(rows, i, d)
    {
        char pace[TEXT_ROOM];
        const json_t *now = json_object_get(d, "now");
        snprintf(pace, sizeof(pace), "%.2f", real_of(d, "pace"));
        text_table_cell(t, text_get(d, "provider"));
        text_table_cell(t, text_num(d, "time_ms") ? text_get(d, "action") : "fine");
        text_table_cell(t, text_get(now, "action"));
        cells_evidence(t, json_object_get(now, "evidence"));
        text_table_cell(t, real_of(d, "pace") > 0 ? pace : "-");
        text_table_cell(t, text_get(d, "reason"));
    }
    if (json_array_size(rows) == 0)
        fputs("nothing was counted for this tenant yet\n", call->out);
    text_table_print(t, call->out);
}

int ctl_quarantine_review(struct ctl_call *call)
{
    struct buf path = BUF_INIT;
    json_t *v;
    buf_add_str(&path, "/v1/quarantine");
    http_path_add(&path, "tenant", call->arguments[0]);
    int rc = client_ask(call, "GET", buf_cstr(&path), &v);
    buf_fini(&path);
    if (rc == CTL_OK && !client_prints_json(call, v))
        print_review(call, v);
    json_decref(v);
    return rc;
}

static int post(struct ctl_call *call, const char *what)
{
    struct buf path = BUF_INIT;
    json_t *v;
    if (!ctl_value(call, "--reason")) {
        fprintf(call->err, "remuda quarantine %s: --reason is needed\n", what);
        return CTL_USAGE;
    }
    buf_printf(&path, "/v1/quarantine/%s", what);
    http_path_add(&path, "tenant", call->arguments[0]);
    http_path_add(&path, "provider", ctl_value(call, "--provider"));
    http_path_add(&path, "reason", ctl_value(call, "--reason"));
    int rc = client_ask(call, "POST", buf_cstr(&path), &v);
    buf_fini(&path);
    if (rc == CTL_OK && !client_prints_json(call, v)) {
        size_t i;
        const json_t *d;
        json_array_foreach(json_object_get(v, "tenants"), i, d)
            fprintf(call->out, "%s at %s: %s\n", text_get(d, "tenant"), text_get(d, "provider"),
                    strcmp(what, "lift") == 0 ? "lifted" : text_get(d, "action"));
    }
    json_decref(v);
    return rc;
}

int ctl_quarantine_lift(struct ctl_call *call)
{
    return post(call, "lift");
}

int ctl_quarantine_keep(struct ctl_call *call)
{
    return post(call, "keep");
}
