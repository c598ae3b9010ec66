/* explain ID: the decisions about a message that has been. */
#include "relay/ctl/client.h"
#include "relay/ctl/text.h"

static void print_candidates(const json_t *decision, FILE *out)
{
    static const char *const header[] = {"    SOURCE", ">WEIGHT", ">REPUTATION", ">CREDIT", "VERDICT"};
    const json_t *list = json_object_get(decision, "candidates");
    size_t i;
    json_t *c;
    if (json_array_size(list) == 0)
        return;
    struct text_table *t = text_table_new(header, 5);
    json_array_foreach(list, i, c)
    {
        char room[280];
        snprintf(room, sizeof(room), "    %s", text_get(c, "source"));
        text_table_cell(t, room);
        snprintf(room, sizeof(room), "%.2f", json_number_value(json_object_get(c, "weight")));
        text_table_cell(t, room);
        snprintf(room, sizeof(room), "%.2f", json_number_value(json_object_get(c, "score")));
        text_table_cell(t, room);
        snprintf(room, sizeof(room), "%lld", (long long)json_integer_value(json_object_get(c, "credit")));
        text_table_cell(t, room);
        text_table_cell(t, text_get(c, "verdict"));
    }
    text_table_print(t, out);
}

/* Sources that the event had no room for: "and 40 weighed-out, 3 cap". */
static void print_others(const json_t *decision, FILE *out)
{
    const char *verdict, *before = "    and ";
    json_t *n, *others = json_object_get(decision, "others");
    json_object_foreach(others, verdict, n)
    {
        fprintf(out, "%s%lld %s", before, (long long)json_integer_value(n), verdict);
        before = ", ";
    }
    if (json_object_size(others))
        fputc('\n', out);
}

static void print_replay(const json_t *e, FILE *out)
{
    const json_t *replay = json_object_get(e, "replay");
    if (!replay) {
        fprintf(out, "    not made again: %s\n", text_get(e, "not_replayed"));
        return;
    }
    bool held = text_get(replay, "source")[0] == '\0';
    fprintf(out, "    made again: %s%s%s%s, %s\n", held ? "held for " : "goes from ",
            text_get(replay, held ? "cause" : "source"), text_get(replay, "runner_up")[0] ? ", second " : "",
            text_get(replay, "runner_up"),
            json_is_true(json_object_get(replay, "same")) ? "the same" : "NOT the same");
    if (text_get(replay, "approximated")[0])
        fprintf(out, "    approximated: %s\n", text_get(replay, "approximated"));
}

static void print_pool(const json_t *e, FILE *out)
{
    const json_t *to = json_object_get(e, "transfer_to"), *decided = json_object_get(e, "decided");
    if (!text_get(e, "why_pool")[0])
        return;
    fprintf(out, "    to %s/%s: %s\n", text_get(to, "pool"), text_get(to, "provider"),
            text_get(e, "why_pool"));
    if (!decided)
        return;
    char room[TEXT_ROOM];
    const json_t *evidence = json_object_get(decided, "evidence");
    fprintf(out, "    decided %s: %s, by %s", text_time(text_num(decided, "time_ms"), room),
            text_get(decided, "action"),
            json_is_true(json_object_get(decided, "by_operator")) ? "an operator" : "the router");
    if (text_get(decided, "reason")[0]) {
        fputs(": ", out);
        text_print(out, text_get(decided, "reason"), 6);
    }
    if (evidence)
        fprintf(out, "; of %.0f recipients %.0f did not exist, %.0f complained, %.0f refused",
                json_number_value(json_object_get(evidence, "recipients")),
                json_number_value(json_object_get(evidence, "bad_mailbox")),
                json_number_value(json_object_get(evidence, "complaint")),
                json_number_value(json_object_get(evidence, "refused")));
    fputc('\n', out);
}

static void print_answers(const json_t *e, FILE *out)
{
    size_t i;
    json_t *o;
    json_array_foreach(json_object_get(e, "recipients"), i, o)
    {
        if (text_get(o, "rule")[0] == '\0')
            continue;
        fputs("    ", out);
        text_print(out, text_get(o, "address"), 6);
        fprintf(out, ": answer means %s, by rule %s\n", text_get(o, "class"), text_get(o, "rule"));
    }
}

static void print_event(const json_t *e, FILE *out)
{
    char room[TEXT_ROOM];
    const json_t *d = json_object_get(e, "decision");
    fprintf(out, "\n%s  %s  %s/%s", text_time(text_num(e, "time_ms"), room), text_get(e, "type"),
            text_get(e, "pool"), text_get(e, "provider"));
    fprintf(out, "%s%s%s%s\n", text_get(e, "source")[0] ? "  from " : "", text_get(e, "source"),
            text_get(e, "cause")[0] ? "  for " : "", text_get(e, "cause"));
    if (d)
        fprintf(out, "    decided by %s%s%s, state version %llu\n", text_get(d, "reason"),
                text_get(d, "runner_up")[0] ? ", second " : "", text_get(d, "runner_up"),
                (unsigned long long)text_num(d, "state_version"));
    print_candidates(d, out);
    print_others(d, out);
    print_replay(e, out);
    print_pool(e, out);
    print_answers(e, out);
}

int past_explain(struct ctl_call *call)
{
    struct buf path = BUF_INIT;
    json_t *v;
    buf_add_str(&path, "/v1/explain/");
    for (const char *p = call->arguments[0]; *p; p++)
        if ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z'))
            buf_add_char(&path, *p);
    int rc = client_ask(call, "GET", buf_cstr(&path), &v);
    buf_fini(&path);
    if (rc == CTL_OK && !client_prints_json(call, v)) {
        size_t i;
        json_t *e;
        fprintf(call->out, "message %s\n", text_get(v, "id"));
        json_array_foreach(json_object_get(v, "events"), i, e) print_event(e, call->out);
    }
    json_decref(v);
    return rc;
}
