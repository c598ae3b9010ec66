/* why: what binds a provider, a pool or a tenant now, and when its backlog will be gone. */
#include "relay/ctl/client.h"
#include "relay/ctl/text.h"

static double real(const json_t *v, const char *key)
{
    return json_number_value(json_object_get(v, key));
}

static double nth(const json_t *v, const char *key, size_t i)
{
    return json_number_value(json_array_get(json_object_get(v, key), i));
}

static const char *percent(double share, char out[TEXT_ROOM])
{
    snprintf(out, TEXT_ROOM, "%.1f %%", share * 100);
    return out;
}

static void print_causes(const json_t *subject, uint64_t now_ms, FILE *out)
{
    static const char *const header[] = {"CAUSE", ">10 MIN", ">1 H", ">WAITING", ">OLDEST"};
    struct text_table *t = text_table_new(header, 5);
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(subject, "causes"), i, c)
    {
        char room[TEXT_ROOM];
        uint64_t oldest = text_num(c, "oldest_ms");
        if (text_num(c, "waiting") == 0 && real(c, "share_lately") < 0.0005 && real(c, "share_hour") < 0.0005)
            continue;
        text_table_cell(t, text_get(c, "cause"));
        text_table_cell(t, percent(real(c, "share_lately"), room));
        text_table_cell(t, percent(real(c, "share_hour"), room));
        text_table_number(t, text_num(c, "waiting"));
        text_table_cell(t, oldest > 0 && text_num(c, "waiting") > 0 && now_ms >= oldest
                               ? text_age(now_ms - oldest, room)
                               : "-");
    }
    text_table_print(t, out);
}

/* Where the time of attempts goes. */
static void print_phases(const json_t *subject, FILE *out)
{
    const json_t *phases = json_object_get(subject, "phases");
    const char *name, *before = "\nattempts' time: ";
    double all = 0;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)phases, name, v) all += json_number_value(v);
    json_object_foreach((json_t *)(uintptr_t)phases, name, v)
    {
        if (json_number_value(v) < all / 200 || all <= 0)
            continue;
        fprintf(out, "%s%s %.0f %%", before, name, json_number_value(v) * 100 / all);
        before = ", ";
    }
    fputs(before[0] == ',' ? "\n" : "", out);
}

static void print_end(const json_t *subject, FILE *out)
{
    static const struct {
        const char *by, *text;
    } bases[] = {
        {"throughput", "at what went out in the last minutes"},
        {"rate", "at the most that rates and paces allow"},
        {"cap", "by warm-up caps as they are today"},
        {"retry", "when the last retry is due"},
        {"no-source", "no source of a lane may send: never, as it is"},
        {"unknown", "not known: nothing went out lately and nothing limits it"},
    };
    char room[TEXT_ROOM];
    const char *by = text_get(subject, "by");
    for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
        if (strcmp(bases[i].by, by) != 0)
            continue;
        if (text_num(subject, "in_ms") > 0)
            fprintf(out, "gone in about %s, %s\n", text_age(text_num(subject, "in_ms"), room), bases[i].text);
        else
            fprintf(out, "gone: %s\n", bases[i].text);
    }
    if (json_is_true(json_object_get(subject, "grows")))
        fputs("more arrives than goes: the estimate leaves out what is still to come\n", out);
}

static void print_subject(const json_t *subject, uint64_t now_ms, FILE *out)
{
    fprintf(out, "%s ", text_get(subject, "kind"));
    text_print(out, text_get(subject, "name"), 0);
    fprintf(out, ": %llu waiting in %zu lane(s)\n", (unsigned long long)text_num(subject, "waiting"),
            json_array_size(json_object_get(subject, "lanes")));
    if (json_array_size(json_object_get(subject, "causes")) > 0)
        print_causes(subject, now_ms, out);
    print_phases(subject, out);
    fprintf(out, "out %.2f/s, in %.2f/s (10 min); out %.2f/s, in %.2f/s (1 h)\n",
            nth(subject, "gone_a_second", 0), nth(subject, "arrived_a_second", 0),
            nth(subject, "gone_a_second", 1), nth(subject, "arrived_a_second", 1));
    print_end(subject, out);
    if (!json_is_true(json_object_get(subject, "counted")))
        fputs("only a part is counted yet: the relay has just started\n", out);
}

static void print_why(const json_t *v, FILE *out)
{
    const json_t *subjects = json_object_get(v, "subjects");
    size_t i, n = json_array_size(subjects);
    json_t *s;
    if (n > 1)
        fprintf(out, "the name stands for %zu things; --kind chooses\n\n", n);
    json_array_foreach(subjects, i, s)
    {
        fputs(i > 0 ? "\n" : "", out);
        print_subject(s, text_num(v, "now_ms"), out);
    }
    if (!json_is_true(json_object_get(v, "whole")))
        fputs("\nthe oldest may be older: the queue is too long to be read in time\n", out);
    if (text_num(v, "silent_shards") > 0)
        fprintf(out, "\n%llu shard(s) did not answer in time\n",
                (unsigned long long)text_num(v, "silent_shards"));
}

int ctl_why(struct ctl_call *call)
{
    struct buf path = BUF_INIT;
    json_t *v;
    buf_add_str(&path, "/v1/why");
    http_path_add(&path, "name", call->arguments[0]);
    http_path_add(&path, "kind", ctl_value(call, "--kind"));
    int rc = client_ask(call, "GET", buf_cstr(&path), &v);
    buf_fini(&path);
    if (rc == CTL_OK && !client_prints_json(call, v))
        print_why(v, call->out);
    json_decref(v);
    return rc;
}
