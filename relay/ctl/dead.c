/* The records put aside: list, show, replay. */
#include "relay/ctl/client.h"
#include "relay/ctl/text.h"

static void print_list(const json_t *v, FILE *out)
{
    static const char *const header[] = {">OFFSET", "WHEN", "ID", "TENANT", "SENDER", ">SIZE", "REASON"};
    const json_t *list = json_object_get(v, "dead");
    size_t i;
    json_t *d;
    if (json_array_size(list) == 0) {
        fputs("no dead records\n", out);
        return;
    }
    struct text_table *t = text_table_new(header, 7);
    json_array_foreach(list, i, d)
    {
        char room[TEXT_ROOM];
        text_table_number(t, text_num(d, "offset"));
        text_table_cell(t, text_time(text_num(d, "time_ms"), room));
        text_table_cell(t, text_get(d, "id")[0] ? text_get(d, "id") : "-");
        text_table_cell(t, text_get(d, "tenant"));
        text_table_cell(t, text_get(d, "sender"));
        text_table_cell(t, text_bytes(text_num(d, "value_bytes"), room));
        text_table_cell(t, text_get(d, "reason"));
    }
    text_table_print(t, out);
}

int ctl_dead_list(struct ctl_call *call)
{
    json_t *v;
    int rc = client_ask(call, "GET", "/v1/dead?limit=10000", &v);
    if (rc == CTL_OK && !client_prints_json(call, v))
        print_list(v, call->out);
    json_decref(v);
    return rc;
}

/* "/v1/dead/N" + tail; false when N is not a number. */
static bool dead_path(struct ctl_call *call, const char *tail, char *out, size_t room)
{
    uint64_t offset;
    if (!span_u64(span_str(call->arguments[0]), &offset)) {
        fputs("remuda: OFFSET is the number in the first column of `remuda dead list`\n", call->err);
        return false;
    }
    snprintf(out, room, "/v1/dead/%llu%s", (unsigned long long)offset, tail);
    return true;
}

static void print_dead(const json_t *d, FILE *out)
{
    char room[TEXT_ROOM];
    size_t i;
    json_t *r;
    fprintf(out, "dead record %llu, of mail %llu in partition %llu\n",
            (unsigned long long)text_num(d, "offset"), (unsigned long long)text_num(d, "at"),
            (unsigned long long)text_num(d, "partition"));
    fprintf(out, "  when       %s\n  reason     ", text_time(text_num(d, "time_ms"), room));
    text_print(out, text_get(d, "reason"), 13);
    fputc('\n', out);
    if (!json_is_true(json_object_get(d, "decodes"))) {
        fprintf(out, "  its %llu bytes do not decode\n", (unsigned long long)text_num(d, "value_bytes"));
        return;
    }
    fprintf(out, "  message    %s\n", text_get(d, "id"));
    fprintf(out, "  accepted   %s\n", text_time(text_num(d, "accepted_ms"), room));
    fprintf(out, "  size       %s\n  tenant     ", text_bytes(text_num(d, "body_bytes"), room));
    text_print(out, text_get(d, "tenant"), 13);
    fputs("\n  sender     ", out);
    text_print(out, text_get(d, "sender")[0] ? text_get(d, "sender") : "<>", 13);
    json_array_foreach(json_object_get(d, "recipients"), i, r)
    {
        fputs("\n  recipient  ", out);
        text_print(out, json_string_value(r) ? json_string_value(r) : "", 13);
    }
    fputc('\n', out);
}

int ctl_dead_show(struct ctl_call *call)
{
    char path[64];
    json_t *v;
    if (!dead_path(call, "", path, sizeof(path)))
        return CTL_USAGE;
    int rc = client_ask(call, "GET", path, &v);
    if (rc == CTL_OK && !client_prints_json(call, v))
        print_dead(v, call->out);
    json_decref(v);
    return rc;
}

int ctl_dead_replay(struct ctl_call *call)
{
    char path[64];
    json_t *v;
    if (!dead_path(call, ctl_flag(call, "--all") ? "/replay?all=1" : "/replay", path, sizeof(path)))
        return CTL_USAGE;
    int rc = client_ask(call, "POST", path, &v);
    if (rc == CTL_OK && !client_prints_json(call, v)) {
        fprintf(call->out, "appended to partition %llu as mail %llu, for %llu recipients\n",
                (unsigned long long)text_num(v, "partition"), (unsigned long long)text_num(v, "offset"),
                (unsigned long long)text_num(v, "recipients"));
        if (text_num(v, "left_out"))
            fprintf(call->out, "left out: %llu that have had their end\n",
                    (unsigned long long)text_num(v, "left_out"));
    }
    json_decref(v);
    return rc;
}
