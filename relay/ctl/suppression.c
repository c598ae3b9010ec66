/* suppression: a tenant's list of addresses that its mail is not sent to. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "relay/ctl/client.h"
#include "relay/ctl/text.h"

enum { IMPORT_AT_ONCE = 50, IMPORT_BYTES = 8000, LINE_MOST = 8192 };

/* ---- showing ------------------------------------------------------------------------------------- */

static void print_end(const json_t *e, FILE *out)
{
    char room[TEXT_ROOM];
    fputs(text_num(e, "expires_ms") ? text_time(text_num(e, "expires_ms"), room) : "never", out);
}

static void print_entries(const json_t *entries, FILE *out)
{
    static const char *const header[] = {"TENANT", "ADDRESS", "REASON", "SINCE", "UNTIL", "EVIDENCE"};
    struct text_table *t = text_table_new(header, 6);
    size_t i;
    json_t *e;
    json_array_foreach(entries, i, e)
    {
        char since[TEXT_ROOM], until[TEXT_ROOM];
        text_table_cell(t, text_get(e, "tenant"));
        text_table_cell(t, text_get(e, "address"));
        text_table_cell(t, text_get(e, "reason"));
        text_table_cell(t, text_time(text_num(e, "added_ms"), since));
        text_table_cell(t, text_num(e, "expires_ms") ? text_time(text_num(e, "expires_ms"), until) : "never");
        text_table_cell(t, text_get(e, "evidence"));
    }
    text_table_print(t, out);
}

int ctl_suppression_list(struct ctl_call *call)
{
    struct buf path = BUF_INIT;
    json_t *v;
    buf_add_str(&path, "/v1/suppression");
    http_path_add(&path, "tenant", ctl_value(call, "--tenant"));
    http_path_add(&path, "after", ctl_value(call, "--after"));
    http_path_add(&path, "limit", ctl_value(call, "--limit"));
    int rc = client_ask(call, "GET", buf_cstr(&path), &v);
    buf_fini(&path);
    if (rc == CTL_OK && !client_prints_json(call, v)) {
        const json_t *entries = json_object_get(v, "entries");
        if (json_array_size(entries) == 0)
            fputs("nobody is suppressed\n", call->out);
        else
            print_entries(entries, call->out);
        if (json_is_true(json_object_get(v, "more")))
            fprintf(call->out, "there are more: --after %s\n", text_get(v, "next"));
    }
    json_decref(v);
    return rc;
}

static void print_entry(const json_t *e, FILE *out)
{
    char room[TEXT_ROOM];
    text_print(out, text_get(e, "address"), 0);
    fprintf(out, ": suppressed for tenant %s\n  reason    %s\n  since     %s\n  until     ",
            text_get(e, "tenant"), text_get(e, "reason"), text_time(text_num(e, "added_ms"), room));
    print_end(e, out);
    if (text_get(e, "evidence")[0]) {
        fputs("\n  evidence  ", out);
        text_print(out, text_get(e, "evidence"), 12);
    }
    if (text_get(e, "id")[0])
        fprintf(out, "\n  message   %s", text_get(e, "id"));
    fputc('\n', out);
}

static int about_one(struct ctl_call *call, const char *method, const char *path, json_t **out)
{
    struct buf full = BUF_INIT;
    buf_add_str(&full, path);
    http_path_add(&full, "tenant", call->arguments[0]);
    http_path_add(&full, "address", call->arguments[1]);
    int rc = client_ask(call, method, buf_cstr(&full), out);
    buf_fini(&full);
    return rc;
}

int ctl_suppression_lookup(struct ctl_call *call)
{
    json_t *v;
    int rc = about_one(call, "GET", "/v1/suppression", &v);
    if (rc == CTL_OK && !client_prints_json(call, v))
        print_entry(v, call->out);
    json_decref(v);
    return rc;
}

int ctl_suppression_remove(struct ctl_call *call)
{
    json_t *v;
    int rc = about_one(call, "POST", "/v1/suppression/remove", &v);
    if (rc == CTL_OK && !client_prints_json(call, v)) {
        text_print(call->out, text_get(v, "address"), 0);
        fprintf(call->out, ": removed from the list of tenant %s\n", text_get(v, "tenant"));
    }
    json_decref(v);
    return rc;
}

/* ---- adding -------------------------------------------------------------------------------------- */

/* --for as the time of the end; false when it does not parse. */
static bool take_end(struct ctl_call *call, json_t *entry)
{
    const char *given = ctl_value(call, "--for");
    uint64_t ms, now = clock_wall_ms();
    if (!given)
        return true;
    if (!text_parse_time(given, now, &ms) || ms > now) {
        fputs("remuda: --for: expected a time such as 12h or 30d\n", call->err);
        return false;
    }
    uint64_t end = now + (now - ms);
    json_object_set_new(entry, "expires_ms", json_integer((json_int_t)end));
    return true;
}

static void set_given(json_t *entry, const char *key, const char *value)
{
    if (value)
        json_object_set_new(entry, key, json_string(value));
}

int ctl_suppression_add(struct ctl_call *call)
{
    json_t *v = NULL, *entry = json_object();
    struct buf path = BUF_INIT;
    set_given(entry, "tenant", call->arguments[0]);
    set_given(entry, "address", call->arguments[1]);
    set_given(entry, "reason", ctl_value(call, "--reason"));
    set_given(entry, "evidence", ctl_value(call, "--evidence"));
    int rc = CTL_USAGE;
    if (take_end(call, entry)) {
        char *text = json_dumps(entry, JSON_COMPACT);
        buf_add_str(&path, "/v1/suppression/add");
        http_path_add(&path, "entry", text);
        free(text);
        rc = client_ask(call, "POST", buf_cstr(&path), &v);
    }
    if (rc == CTL_OK && !client_prints_json(call, v))
        fprintf(call->out, "added to the list of tenant %s\n", call->arguments[0]);
    buf_fini(&path);
    json_decref(entry);
    json_decref(v);
    return rc;
}

/* ---- whole lists --------------------------------------------------------------------------------- */

int ctl_suppression_export(struct ctl_call *call)
{
    char *after = NULL;
    int rc;
    bool more;
    do {
        struct buf path = BUF_INIT;
        json_t *v, *e;
        size_t i;
        buf_add_str(&path, "/v1/suppression");
        http_path_add(&path, "tenant", ctl_value(call, "--tenant"));
        http_path_add(&path, "after", after);
        http_path_add(&path, "limit", "1000");
        rc = client_ask(call, "GET", buf_cstr(&path), &v);
        buf_fini(&path);
        free(after);
        after = NULL;
        more = rc == CTL_OK && json_is_true(json_object_get(v, "more"));
        if (more)
            after = strdup(text_get(v, "next"));
        json_array_foreach(json_object_get(v, "entries"), i, e)
        {
            json_dumpf(e, call->out, JSON_COMPACT);
            fputc('\n', call->out);
        }
        json_decref(v);
    } while (more);
    return rc;
}

struct import {
    struct ctl_call *call;
    struct buf path; /* of the request being made */
    size_t n, lines, added;
};

static int import_send(struct import *m)
{
    json_t *v = NULL;
    if (!m->n)
        return CTL_OK;
    int rc = client_ask(m->call, "POST", buf_cstr(&m->path), &v);
    if (rc == CTL_OK)
        m->added += m->n;
    else
        fprintf(m->call->err, "remuda: in the %zu lines up to %zu; nothing of them was added\n", m->n,
                m->lines);
    json_decref(v);
    buf_clear(&m->path);
    buf_add_str(&m->path, "/v1/suppression/add");
    m->n = 0;
    return rc;
}

/* A line of an export, or an address alone. */
static json_t *import_entry(struct import *m, const char *line)
{
    json_error_t error;
    const char *tenant = ctl_value(m->call, "--tenant");
    json_t *v = line[0] == '{' ? json_loads(line, 0, &error) : json_object();
    if (!json_is_object(v)) {
        fprintf(m->call->err, "%s:%zu: expected an entry of `remuda suppression export`, or an address\n",
                m->call->arguments[0], m->lines);
        json_decref(v);
        return NULL;
    }
    if (line[0] != '{')
        json_object_set_new(v, "address", json_string(line));
    set_given(v, "tenant", tenant);
    return v;
}

static int import_line(struct import *m, char *line)
{
    line[strcspn(line, "\r\n")] = '\0';
    m->lines++;
    if (!line[0] || line[0] == '#')
        return CTL_OK;
    json_t *v = import_entry(m, line);
    if (!v)
        return CTL_FAILED;
    char *text = json_dumps(v, JSON_COMPACT);
    http_path_add(&m->path, "entry", text);
    m->n++;
    free(text);
    json_decref(v);
    return m->n >= IMPORT_AT_ONCE || m->path.len > IMPORT_BYTES ? import_send(m) : CTL_OK;
}

int ctl_suppression_import(struct ctl_call *call)
{
    char line[LINE_MOST];
    const char *name = call->arguments[0];
    FILE *f = strcmp(name, "-") == 0 ? stdin : fopen(name, "r");
    if (!f) {
        fprintf(call->err, "remuda: %s: %s\n", name, strerror(errno));
        return CTL_FAILED;
    }
    struct import m = {.call = call, .path = BUF_INIT};
    buf_add_str(&m.path, "/v1/suppression/add");
    int rc = CTL_OK;
    while (rc == CTL_OK && fgets(line, sizeof(line), f))
        rc = import_line(&m, line);
    if (rc == CTL_OK)
        rc = import_send(&m);
    fprintf(call->out, "%zu of %zu lines added\n", m.added, m.lines);
    buf_fini(&m.path);
    if (f != stdin)
        fclose(f);
    return rc;
}
