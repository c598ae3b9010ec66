/* `audit mail`: the accounts of all nodes named, put together; what nobody answered for is said. */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "relay/ctl/client.h"
#include "relay/ctl/text.h"

enum { AUDIT_CLEAN = 0, AUDIT_EXCEPTIONS = 1, AUDIT_UNANSWERED = 2, ADDRESS_ROOM = 128 };

static const char *const columns[] = {"accepted", "feedback", "reports", "received", "delivered",
                                      "bounced",  "expired",  "given",   "read",     "dead",
                                      "waiting",  "twice",    "lost"};
enum { COLUMNS = sizeof(columns) / sizeof(columns[0]) };

/* The answers of all nodes. */
struct audit {
    json_t *partitions; /* the answer that judged it, else any; by number */
    json_t *hours;
    json_t *exceptions;
    uint64_t exceptions_in_all, since_ms;
    bool unanswered; /* a node, or a partition of it */
};

static bool judged(const json_t *partition)
{
    return strcmp(text_get(partition, "state"), "judged") == 0;
}

static void take_partition(struct audit *a, json_t *partition)
{
    size_t n = (size_t)text_num(partition, "partition");
    while (json_array_size(a->partitions) <= n)
        json_array_append_new(a->partitions, json_null());
    const json_t *known = json_array_get(a->partitions, n);
    bool better = json_is_null(known) || judged(partition) ||
                  (!judged(known) && strcmp(text_get(partition, "state"), "unjudged") == 0);
    if (better)
        json_array_set(a->partitions, n, partition);
}

static void take_answer(struct audit *a, const json_t *v)
{
    size_t i;
    json_t *p;
    json_array_foreach(json_object_get(v, "partitions"), i, p) take_partition(a, p);
    json_array_extend(a->hours, json_object_get(v, "hours"));
    json_array_extend(a->exceptions, json_object_get(v, "exceptions"));
    a->exceptions_in_all += text_num(v, "exceptions_in_all");
    if (text_num(v, "since_ms") > a->since_ms)
        a->since_ms = text_num(v, "since_ms");
}

/* ---- printing ---- */

static void cells(struct text_table *t, const json_t *sums)
{
    for (int c = 0; c < COLUMNS; c++)
        text_table_number(t, text_num(sums, columns[c]));
}

static void add_up(json_t *sums, const json_t *hour)
{
    for (int c = 0; c < COLUMNS; c++)
        json_object_set_new(
            sums, columns[c],
            json_integer((json_int_t)(text_num(sums, columns[c]) + text_num(hour, columns[c]))));
}

static struct text_table *table_new(const char *first, const char *second)
{
    char names[COLUMNS][16] = {""};
    const char *header[COLUMNS + 2] = {first, second};
    for (int c = 0; c < COLUMNS; c++) {
        names[c][0] = '>';
        for (size_t i = 0; columns[c][i]; i++)
            names[c][i + 1] = (char)(columns[c][i] - 'a' + 'A');
        header[c + 2] = names[c];
    }
    return text_table_new(header, COLUMNS + 2);
}

static void print_hours(const struct audit *a, FILE *out)
{
    struct text_table *t = table_new(">PARTITION", "HOUR OF ACCEPTANCE");
    size_t i;
    json_t *h;
    json_array_foreach(a->hours, i, h)
    {
        char room[TEXT_ROOM];
        text_table_number(t, text_num(h, "partition"));
        text_table_cell(t, text_time(text_num(h, "hour_ms"), room));
        cells(t, h);
    }
    text_table_print(t, out);
    fputc('\n', out);
}

static void print_partitions(const struct audit *a, FILE *out)
{
    struct text_table *t = table_new(">PARTITION", ">ABOVE");
    size_t i, k;
    json_t *p, *h;
    json_array_foreach(a->partitions, i, p)
    {
        json_t *sums = json_object();
        if (judged(p)) {
            json_array_foreach(a->hours, k, h) if (text_num(h, "partition") == i) add_up(sums, h);
            text_table_number(t, i);
            text_table_number(t, text_num(p, "above"));
            cells(t, sums);
        }
        json_decref(sums);
    }
    text_table_print(t, out);
}

static const char *words_of(const char *trouble)
{
    static const struct {
        const char *trouble, *words;
    } all[] = {{"no-end", "came in, has had no end and does not wait"},
               {"no-beginning", "has had an end and never came in"},
               {"not-arrived", "was given to another partition and never arrived there"},
               {"body-gone", "waits, but its record is not in the log any more"},
               {"not-read", "the watermark has passed mail that nobody has read"},
               {"gap", "mail above the watermark is not in the log"}};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (strcmp(all[i].trouble, trouble) == 0)
            return all[i].words;
    return trouble;
}

static void print_exception(const json_t *e, FILE *out)
{
    fprintf(out, "EXCEPTION %s: %s\n  partition %llu, offset %llu", text_get(e, "trouble"),
            words_of(text_get(e, "trouble")), (unsigned long long)text_num(e, "partition"),
            (unsigned long long)text_num(e, "offset"));
    if (json_object_get(e, "to"))
        fprintf(out, " up to, not with, %llu", (unsigned long long)text_num(e, "to"));
    if (json_object_get(e, "target"))
        fprintf(out, ", given to partition %llu", (unsigned long long)text_num(e, "target"));
    if (json_object_get(e, "id")) {
        fprintf(out, ", message %s", text_get(e, "id"));
        fputs(text_get(e, "domain")[0] ? ", for " : "", out);
        text_print(out, text_get(e, "domain"), 2);
    }
    if (json_is_true(json_object_get(e, "in_log")))
        fputs("; its record is still in the log", out);
    fputc('\n', out);
}

static void print_unjudged(const struct audit *a, FILE *out)
{
    size_t i;
    json_t *p;
    json_array_foreach(a->partitions, i, p)
    {
        if (judged(p))
            continue;
        bool elsewhere = !p || json_is_null(p) || strcmp(text_get(p, "state"), "elsewhere") == 0;
        fprintf(out, "NOT JUDGED partition %zu: %s\n", i,
                elsewhere ? "no node that was asked owns it" : text_get(p, "why"));
    }
}

static void print(const struct audit *a, bool hours, FILE *out)
{
    char room[TEXT_ROOM];
    size_t i;
    json_t *e;
    fprintf(out, "submissions of mail accepted since %s\n\n", text_time(a->since_ms, room));
    if (hours)
        print_hours(a, out);
    print_partitions(a, out);
    fputc('\n', out);
    print_unjudged(a, out);
    json_array_foreach(a->exceptions, i, e) print_exception(e, out);
    if (a->exceptions_in_all > json_array_size(a->exceptions))
        fprintf(out, "and %llu more\n",
                (unsigned long long)(a->exceptions_in_all - json_array_size(a->exceptions)));
    fprintf(out, "exceptions: %llu\n", (unsigned long long)a->exceptions_in_all);
}

/* ---- asking ---- */

static int path_of(struct ctl_call *call, struct buf *out)
{
    char number[24];
    uint64_t since;
    const char *given = ctl_value(call, "--since");
    buf_add_str(out, "/v1/audit/mail");
    if (!given)
        return CTL_OK;
    if (!text_parse_time(given, clock_wall_ms(), &since)) {
        fprintf(call->err, "remuda: --since: %s is no time: an age as 12h or 7d, or ms since 1970\n", given);
        return CTL_USAGE;
    }
    snprintf(number, sizeof(number), "%llu", (unsigned long long)since);
    http_path_add(out, "since", number);
    return CTL_OK;
}

/* What went wrong was reported; a node without an answer is one that could not answer. */
static void ask(struct ctl_call *call, const char *address, const char *path, struct audit *a)
{
    json_t *v;
    if (client_ask_at(call, address, path, &v) == CTL_OK)
        take_answer(a, v);
    else
        a->unanswered = true;
    json_decref(v);
}

static void ask_all(struct ctl_call *call, const char *addresses, const char *path, struct audit *a)
{
    struct span rest = span_str(addresses);
    while (rest.len) {
        char address[ADDRESS_ROOM];
        struct span one = span_cut(&rest, ',');
        snprintf(address, sizeof(address), "%.*s", SPAN_FMT(one));
        if (one.len)
            ask(call, address, path, a);
    }
}

static int verdict(const struct audit *a)
{
    size_t i;
    json_t *p;
    bool unanswered = a->unanswered || json_array_size(a->partitions) == 0;
    json_array_foreach(a->partitions, i, p) unanswered = unanswered || !judged(p);
    if (a->exceptions_in_all)
        return AUDIT_EXCEPTIONS;
    return unanswered ? AUDIT_UNANSWERED : AUDIT_CLEAN;
}

int ctl_audit_mail(struct ctl_call *call)
{
    char addresses[2048];
    struct buf path = BUF_INIT;
    int rc = path_of(call, &path);
    if (rc == CTL_OK)
        rc = client_address(call, addresses, sizeof(addresses));
    if (rc != CTL_OK) {
        buf_fini(&path);
        return rc;
    }
    struct audit a = {.partitions = json_array(), .hours = json_array(), .exceptions = json_array()};
    ask_all(call, addresses, buf_cstr(&path), &a);
    rc = verdict(&a);
    json_t *all = json_pack("{s:I, s:o, s:o, s:o, s:I, s:b}", "since_ms", (json_int_t)a.since_ms,
                            "partitions", a.partitions, "hours", a.hours, "exceptions", a.exceptions,
                            "exceptions_in_all", (json_int_t)a.exceptions_in_all, "clean", rc == AUDIT_CLEAN);
    if (!client_prints_json(call, all))
        print(&a, ctl_flag(call, "--hours"), call->out);
    json_decref(all);
    buf_fini(&path);
    return rc;
}
