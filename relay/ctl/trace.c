/* trace and search: a message's life and the list of messages, laid out for people. */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "relay/ctl/client.h"
#include "relay/ctl/text.h"

enum { WORDS_AT = 8 }; /* column at which a recipient's words continue */

/* ---- trace -------------------------------------------------------------------------------------------- */

/* "label  value" when there is a value. */
static void line(FILE *out, const char *label, const char *value)
{
    if (value[0] == '\0')
        return;
    fprintf(out, "  %-10s ", label);
    text_print(out, value, 13);
    fputc('\n', out);
}

static void pair(FILE *out, const char *before, const char *value)
{
    if (value[0] == '\0')
        return;
    fputs(before, out);
    text_print(out, value, WORDS_AT);
}

/* The first event that carries the acceptance; else any of the message. */
static const json_t *acceptance_event(const json_t *events, const char *id)
{
    const json_t *any = NULL;
    size_t i;
    json_t *e;
    json_array_foreach(events, i, e)
    {
        if (strcmp(text_get(e, "id"), id) != 0)
            continue;
        if (json_object_get(e, "acceptance"))
            return e;
        any = any ? any : e;
    }
    return any;
}

static void print_acceptance(const json_t *v, FILE *out)
{
    char room[TEXT_ROOM];
    const char *id = text_get(v, "id");
    const json_t *e = acceptance_event(json_object_get(v, "events"), id);
    const json_t *a = json_object_get(e, "acceptance");
    fprintf(out, "message %s\n", id);
    line(out, "accepted",
         text_time(text_num(e, "accepted_ms") > 0 ? text_num(e, "accepted_ms") : text_num(v, "accepted_ms"),
                   room));
    if (a) {
        fprintf(out, "  %-10s ", "from");
        text_print(out, text_get(a, "client_address"), 13);
        pair(out, ", helo ", text_get(a, "helo"));
        pair(out, ", user ", text_get(a, "user"));
        pair(out, ", listener ", text_get(a, "listener"));
        pair(out, ", ", text_get(a, "tls")[0] ? text_get(a, "tls") : "no TLS");
        fputc('\n', out);
    }
    line(out, "tenant", text_get(e, "tenant"));
    line(out, "sender", text_get(e, "sender")[0] ? text_get(e, "sender") : "<>");
    if (text_num(e, "bytes") > 0)
        line(out, "size", text_bytes(text_num(e, "bytes"), room));
    line(out, "Message-ID", text_get(a, "header_message_id"));
}

static void print_phases(const json_t *phases, FILE *out)
{
    static const char *const names[] = {"dns", "connect", "greeting", "tls", "envelope", "data", "answer"};
    const char *before = "    took ";
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        uint64_t us = text_num(phases, names[i]);
        if (us == 0)
            continue;
        fprintf(out, "%s%s %.1f ms", before, names[i], (double)us / 1000);
        before = ", ";
    }
    if (before[0] == ',')
        fputc('\n', out);
}

static void print_road(const json_t *e, FILE *out)
{
    if (text_get(e, "source")[0] == '\0' && text_get(e, "mx_host")[0] == '\0')
        return;
    fputs("    from ", out);
    text_print(out, text_get(e, "source"), WORDS_AT);
    pair(out, " ", text_get(e, "source_address"));
    pair(out, " to ", text_get(e, "mx_host"));
    if (text_get(e, "mx_address")[0]) {
        pair(out, " [", text_get(e, "mx_address"));
        fputc(']', out);
    }
    pair(out, ", ",
         text_get(e, "tls")[0]          ? text_get(e, "tls")
         : text_get(e, "mx_address")[0] ? "no TLS"
                                        : "");
    if (json_is_true(json_object_get(e, "reused")))
        fputs(", connection reused", out);
    fputc('\n', out);
    if (text_get(e, "passed_over")[0]) {
        pair(out, "    tried before: ", text_get(e, "passed_over"));
        fputc('\n', out);
    }
}

static void print_recipient(const json_t *o, FILE *out)
{
    char code[16] = "";
    if (text_num(o, "code") > 0)
        snprintf(code, sizeof(code), "%llu ", (unsigned long long)text_num(o, "code"));
    fputs("    ", out);
    text_print(out, text_get(o, "address"), WORDS_AT);
    fprintf(out, ": %s\n", text_get(o, "state"));
    bool local = json_is_true(json_object_get(o, "local"));
    if (text_get(o, "text")[0] == '\0' && code[0] == '\0')
        return;
    fprintf(out, "      %s", local ? "(relay) " : "");
    /* The words are the receiver's own; its code stands in them unless the text was stored without it. */
    bool coded = code[0] && strncmp(text_get(o, "text"), code, 3) == 0;
    fputs(coded || local ? "" : code, out);
    text_print(out, text_get(o, "text"), WORDS_AT);
    fputc('\n', out);
    if (text_get(o, "rule")[0]) {
        pair(out, "      means ", text_get(o, "class"));
        pair(out, " (", text_get(o, "list"));
        fputs(text_get(o, "list")[0] ? ")" : "", out);
        pair(out, ", by rule ", text_get(o, "rule"));
        fputc('\n', out);
    }
}

static void print_why(const json_t *e, FILE *out)
{
    char room[TEXT_ROOM];
    const json_t *decision = json_object_get(e, "decision"), *to = json_object_get(e, "transfer_to");
    const char *cause = text_get(e, "cause");
    uint64_t due = json_is_true(json_object_get(e, "final")) ? 0 : text_num(e, "next_due_ms");
    pair(out, "    cause ", cause);
    if (due > 0)
        fprintf(out, "%snext attempt %s", cause[0] ? ", " : "    ", text_time(due, room));
    fputs(cause[0] || due > 0 ? "\n" : "", out);
    if (to) {
        pair(out, "    to pool ", text_get(to, "pool"));
        pair(out, ", provider ", text_get(to, "provider"));
        fputc('\n', out);
    }
    if (decision && text_get(decision, "reason")[0]) {
        pair(out, "    chosen: ", text_get(decision, "reason"));
        pair(out, ", second ", text_get(decision, "runner_up"));
        fputc('\n', out);
    }
    if (text_get(e, "related_id")[0])
        fprintf(out, "    see %s\n", text_get(e, "related_id"));
}

static void print_event(const json_t *e, const char *id, FILE *out)
{
    char room[TEXT_ROOM];
    size_t i;
    json_t *o;
    fprintf(out, "\n%s  %s", text_time(text_num(e, "time_ms"), room), text_get(e, "type"));
    if (strcmp(text_get(e, "id"), id) != 0)
        fprintf(out, " (report %s)", text_get(e, "id"));
    pair(out, "  ", text_get(e, "domain"));
    pair(out, "  ", text_get(e, "pool"));
    pair(out, "/", text_get(e, "provider"));
    if (text_num(e, "attempt") > 0)
        fprintf(out, "  attempt %llu", (unsigned long long)text_num(e, "attempt"));
    fputc('\n', out);
    print_road(e, out);
    print_phases(json_object_get(e, "phases_us"), out);
    json_array_foreach(json_object_get(e, "recipients"), i, o) print_recipient(o, out);
    print_why(e, out);
}

/* The last word on each recipient of the message itself, counted. */
static void print_end(const json_t *events, const char *id, FILE *out)
{
    size_t i, k;
    json_t *e, *o, *last = json_object(), *counts = json_object(), *state;
    const char *key;
    json_array_foreach(events, i, e)
    {
        if (strcmp(text_get(e, "id"), id) != 0)
            continue;
        json_array_foreach(json_object_get(e, "recipients"), k, o)
            json_object_set(last, text_get(o, "address"), json_object_get(o, "state"));
    }
    json_object_foreach(last, key, state)
    {
        const char *word = json_string_value(state) ? json_string_value(state) : "unknown";
        word = strcmp(word, "pending") == 0 ? "waiting" : word;
        json_object_set_new(counts, word, json_integer((json_int_t)text_num(counts, word) + 1));
    }
    fputs("\nnow:", out);
    const char *before = " ";
    json_object_foreach(counts, key, state)
    {
        fprintf(out, "%s%lld %s", before, (long long)json_integer_value(state), key);
        before = ", ";
    }
    fputs(before[0] == ' ' ? " accepted, nothing tried yet\n" : "\n", out);
    json_decref(last);
    json_decref(counts);
}

int ctl_trace(struct ctl_call *call)
{
    struct buf path = BUF_INIT;
    buf_add_str(&path, "/v1/trace/");
    for (const char *p = call->arguments[0]; *p; p++)
        if ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z'))
            buf_add_char(&path, *p);
    json_t *v;
    int rc = client_ask(call, "GET", buf_cstr(&path), &v);
    buf_fini(&path);
    if (rc != CTL_OK)
        return rc;
    if (!client_prints_json(call, v)) {
        const json_t *events = json_object_get(v, "events");
        size_t i;
        json_t *e;
        print_acceptance(v, call->out);
        json_array_foreach(events, i, e) print_event(e, text_get(v, "id"), call->out);
        print_end(events, text_get(v, "id"), call->out);
    }
    json_decref(v);
    return CTL_OK;
}

/* ---- search ------------------------------------------------------------------------------------------- */

static void print_message(const json_t *m, FILE *out)
{
    char time[TEXT_ROOM], size[TEXT_ROOM];
    const char *address;
    json_t *r;
    fprintf(out, "%s  %s  %s  %s  ", text_get(m, "id"), text_time(text_num(m, "accepted_ms"), time),
            text_bytes(text_num(m, "bytes"), size), text_get(m, "tenant"));
    text_print(out, text_get(m, "sender")[0] ? text_get(m, "sender") : "<>", 0);
    fputc('\n', out);
    json_object_foreach(json_object_get(m, "recipients"), address, r)
    {
        fprintf(out, "    %-10s ", text_get(r, "state"));
        text_print(out, address, WORDS_AT);
        fputc('\n', out);
    }
}

/* Adds a time argument as milliseconds; false when it does not parse. */
static bool add_time(struct ctl_call *call, struct buf *path, const char *option, const char *name)
{
    const char *given = ctl_value(call, option);
    uint64_t ms;
    char text[TEXT_ROOM];
    if (!given)
        return true;
    if (!text_parse_time(given, clock_wall_ms(), &ms)) {
        fprintf(call->err, "remuda: %s: expected an age such as 30m, 12h, 7d, or milliseconds\n", option);
        return false;
    }
    snprintf(text, sizeof(text), "%llu", (unsigned long long)ms);
    http_path_add(path, name, text);
    return true;
}

int ctl_search(struct ctl_call *call)
{
    struct buf path = BUF_INIT;
    buf_add_str(&path, "/v1/search");
    http_path_add(&path, "recipient", ctl_value(call, "--recipient"));
    http_path_add(&path, "sender", ctl_value(call, "--sender"));
    http_path_add(&path, "tenant", ctl_value(call, "--tenant"));
    http_path_add(&path, "before", ctl_value(call, "--before"));
    http_path_add(&path, "limit", ctl_value(call, "--limit"));
    json_t *v = NULL;
    int rc = CTL_USAGE;
    if (add_time(call, &path, "--since", "since") && add_time(call, &path, "--until", "until"))
        rc = client_ask(call, "GET", buf_cstr(&path), &v);
    buf_fini(&path);
    if (rc == CTL_OK && !client_prints_json(call, v)) {
        const json_t *messages = json_object_get(v, "messages");
        size_t i;
        json_t *m;
        json_array_foreach(messages, i, m) print_message(m, call->out);
        if (json_array_size(messages) == 0)
            fputs("no message found\n", call->out);
        if (json_is_true(json_object_get(v, "more")))
            fprintf(call->out, "there may be older ones: --before %s\n", text_get(v, "next"));
    }
    json_decref(v);
    return rc;
}
