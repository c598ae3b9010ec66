/* simulate: another configuration on recorded mail. events: what was recorded, in the order of time. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "relay/ctl/client.h"
#include "relay/ctl/text.h"
#include "relay/simulate/simulate.h"

/* ---- tables ---- */

static uint64_t side_of(const json_t *v, const char *key, int side)
{
    return (uint64_t)json_integer_value(json_array_get(json_object_get(v, key), (size_t)side));
}

static void cell_both(struct text_table *t, const json_t *v, const char *key)
{
    text_table_number(t, side_of(v, key, SIDE_OLD));
    text_table_number(t, side_of(v, key, SIDE_NEW));
}

static void cell_ms(struct text_table *t, uint64_t ms)
{
    char room[TEXT_ROOM];
    text_table_cell(t, ms ? text_age(ms, room) : "-");
}

static void cell_hours(struct text_table *t, uint64_t ms)
{
    char room[TEXT_ROOM];
    snprintf(room, sizeof(room), "%.1f", (double)ms / 3600000);
    text_table_cell(t, room);
}

static uint64_t share(uint64_t part, uint64_t whole)
{
    return whole ? part * 1000 / whole : 0;
}

static void print_head(const json_t *v, FILE *out)
{
    char first[TEXT_ROOM], last[TEXT_ROOM];
    uint64_t known = text_num(v, "recorded"), same = share(text_num(v, "as_recorded"), known);
    uint64_t days = text_num(v, "days_later");
    fprintf(out, "%llu messages of %llu events, %s to %s\n", (unsigned long long)text_num(v, "messages"),
            (unsigned long long)text_num(v, "events"), text_time(text_num(v, "first_ms"), first),
            text_time(text_num(v, "last_ms"), last));
    if (text_num(v, "unrouted"))
        fprintf(out, "and %llu that never wanted a source (no such domain, suppressed)\n",
                (unsigned long long)text_num(v, "unrouted"));
    if (text_num(v, "pairs_known"))
        fprintf(out, "%llu pairs as they were exported, the mail as if it came %llu day(s) later\n",
                (unsigned long long)text_num(v, "pairs_known"), (unsigned long long)days);
    else
        fputs("nothing is known of any pair: all begin anew, warm-ups at their first stage\n", out);
    fprintf(out,
            "the model with the old configuration: %llu.%llu %% of %llu deliveries from the source that made "
            "them\n",
            (unsigned long long)same / 10, (unsigned long long)same % 10, (unsigned long long)known);
    for (int i = 0; i < SIDES; i++) {
        uint64_t drawn = share(side_of(v, "drawn", i), side_of(v, "attempts", i));
        fprintf(out, "%s: %llu attempts, %llu.%llu %% with a drawn answer\n", i == SIDE_OLD ? "old" : "new",
                (unsigned long long)side_of(v, "attempts", i), (unsigned long long)drawn / 10,
                (unsigned long long)drawn % 10);
    }
}

static void print_providers(const json_t *v, FILE *out)
{
    static const char *const header[] = {"PROVIDER", ">MESSAGES", ">MOVED", ">DELIVERED", ">NEW", ">BOUNCED",
                                         ">NEW",     ">EXPIRED",  ">NEW",   ">WAITING",   ">NEW"};
    const json_t *p;
    size_t i;
    struct text_table *t = text_table_new(header, 11);
    json_array_foreach(json_object_get(v, "providers"), i, p)
    {
        text_table_cell(t, text_get(p, "provider"));
        text_table_number(t, text_num(p, "messages"));
        text_table_number(t, text_num(p, "moved"));
        cell_both(t, p, "delivered");
        cell_both(t, p, "bounced");
        cell_both(t, p, "expired");
        cell_both(t, p, "waiting");
    }
    fputc('\n', out);
    text_table_print(t, out);
}

static void print_delays(const json_t *v, FILE *out)
{
    static const char *const header[] = {"ADDED DELAY", ">MESSAGES", ">MEDIAN",     ">P95",
                                         ">MOST",       ">SOONER",   ">HOURS HELD", ">NEW"};
    const json_t *p;
    size_t i;
    struct text_table *t = text_table_new(header, 8);
    json_array_foreach(json_object_get(v, "providers"), i, p)
    {
        const json_t *later = json_object_get(p, "later");
        text_table_cell(t, text_get(p, "provider"));
        text_table_number(t, text_num(later, "messages"));
        cell_ms(t, text_num(later, "median_ms"));
        cell_ms(t, text_num(later, "p95_ms"));
        cell_ms(t, text_num(later, "most_ms"));
        text_table_number(t, text_num(json_object_get(p, "sooner"), "messages"));
        cell_hours(t, side_of(p, "waited_ms", SIDE_OLD));
        cell_hours(t, side_of(p, "waited_ms", SIDE_NEW));
    }
    fputc('\n', out);
    text_table_print(t, out);
}

static void print_sources(const json_t *v, FILE *out)
{
    static const char *const header[] = {"PROVIDER", "SOURCE",     ">ATTEMPTS", ">NEW",      ">DEFERRED",
                                         ">NEW",     ">CAP HOURS", ">NEW",      ">CAP DAYS", ">NEW"};
    const json_t *p;
    size_t i;
    struct text_table *t = text_table_new(header, 10);
    json_array_foreach(json_object_get(v, "sources"), i, p)
    {
        text_table_cell(t, text_get(p, "provider"));
        text_table_cell(t, text_get(p, "source"));
        cell_both(t, p, "attempts");
        cell_both(t, p, "deferred");
        cell_both(t, p, "cap_hours");
        cell_both(t, p, "cap_days");
    }
    fputc('\n', out);
    text_table_print(t, out);
}

static void print_moves(const json_t *v, FILE *out)
{
    static const char *const header[] = {"PROVIDER", "MOVED FROM", "TO", ">MESSAGES"};
    const json_t *m, *list = json_object_get(v, "moved");
    size_t i;
    struct text_table *t = text_table_new(header, 4);
    json_array_foreach(list, i, m)
    {
        text_table_cell(t, text_get(m, "provider"));
        text_table_cell(t, text_get(m, "from"));
        text_table_cell(t, text_get(m, "to"));
        text_table_number(t, text_num(m, "messages"));
    }
    fputs(json_array_size(list) ? "\n" : "\nno mail moves\n", out);
    text_table_print(t, out);
}

static void print_tenants(const json_t *v, FILE *out)
{
    static const char *const header[] = {"TENANT",     ">MESSAGES",   ">MOVED", ">OVER A MINUTE LATER",
                                         ">OTHER END", ">HOURS HELD", ">NEW"};
    const json_t *p;
    size_t i;
    struct text_table *t = text_table_new(header, 7);
    json_array_foreach(json_object_get(v, "tenants"), i, p)
    {
        text_table_cell(t, text_get(p, "tenant"));
        text_table_number(t, text_num(p, "messages"));
        text_table_number(t, text_num(p, "moved"));
        text_table_number(t, text_num(p, "later"));
        text_table_number(t, text_num(p, "changed"));
        cell_hours(t, side_of(p, "waited_ms", SIDE_OLD));
        cell_hours(t, side_of(p, "waited_ms", SIDE_NEW));
    }
    fputc('\n', out);
    text_table_print(t, out);
}

static void print_causes(const json_t *v, FILE *out)
{
    static const char *const header[] = {"HELD FOR", ">HOURS", ">NEW"};
    const char *cause;
    json_t *both;
    json_t *causes = json_object_get(v, "waited_ms");
    struct text_table *t = text_table_new(header, 3);
    json_object_foreach(causes, cause, both)
    {
        text_table_cell(t, cause);
        cell_hours(t, side_of(causes, cause, SIDE_OLD));
        cell_hours(t, side_of(causes, cause, SIDE_NEW));
    }
    fputs(json_object_size(causes) ? "\n" : "\nnothing was held\n", out);
    text_table_print(t, out);
}

static void print_all(const struct ctl_call *call, const json_t *v)
{
    print_head(v, call->out);
    print_providers(v, call->out);
    print_delays(v, call->out);
    print_sources(v, call->out);
    print_moves(v, call->out);
    print_tenants(v, call->out);
    print_causes(v, call->out);
}

/* ---- what goes in ---- */

struct input {
    struct settings *settings[SIDES];
    char address[128];
    json_t *answer; /* the relay's, or the file's */
    const json_t *pairs;
    struct recorded_feed *feed;
};

static int load(struct ctl_call *call, const char *path, struct settings **out)
{
    struct buf error = BUF_INIT;
    int rc = settings_load(path, out, &error);
    fputs(buf_cstr(&error), call->err);
    buf_fini(&error);
    return rc == RM_OK ? CTL_OK : CTL_CONFIG;
}

static const char *old_path(const struct ctl_call *call)
{
    const char *given = ctl_value(call, "--old"), *environment = getenv("REMUDA_CONFIG");
    if (given)
        return given;
    return environment && environment[0] ? environment : "/etc/remuda/remuda.yaml";
}

/* "12h": since then; "3d..1d", "1764000000000..1764086400000": from, to. */
static bool read_range(const char *text, uint64_t *since_ms, uint64_t *until_ms)
{
    uint64_t now = clock_wall_ms();
    const char *dots = text ? strstr(text, "..") : NULL;
    char from[32];
    *since_ms = *until_ms = 0;
    if (!text)
        return true;
    snprintf(from, sizeof(from), "%.*s", (int)(dots ? dots - text : 31), text);
    return text_parse_time(from, now, since_ms) && (!dots || text_parse_time(dots + 2, now, until_ms)) &&
           (!*until_ms || *until_ms > *since_ms);
}

static int find_admin(struct ctl_call *call, const struct settings *settings, char *out, size_t room)
{
    const char *given = ctl_value(call, "--admin");
    if (!given && !settings->admin.address) {
        fputs("remuda: no admin listener is configured (admin.address)\n", call->err);
        return CTL_CONFIG;
    }
    snprintf(out, room, "%s", given ? given : settings->admin.address);
    return CTL_OK;
}

/* What the configuration says may be less than the log has. */
static int ask_partitions(struct ctl_call *call, const char *address, uint32_t *out)
{
    struct http_answer answer;
    int err = http_request(address, "GET", "/v1/lanes", &answer);
    if (err != RM_OK) {
        buf_fini(&answer.body);
        return client_trouble(call, address, err);
    }
    json_t *v = json_loadb(answer.body.data ? answer.body.data : "", answer.body.len, 0, NULL);
    *out = (uint32_t)text_num(v, "partitions");
    json_decref(v);
    buf_fini(&answer.body);
    if (!*out)
        fputs("remuda: the relay does not tell how many partitions its log has\n", call->err);
    return *out ? CTL_OK : CTL_FAILED;
}

/* The relay answers at all: what is wrong is told before anything is read. */
static int open_relay(struct ctl_call *call, struct input *in, const char *range)
{
    uint64_t since, until;
    if (!read_range(range, &since, &until)) {
        fprintf(call->err, "remuda: \"%s\" is no range, expected such as 12h or 3d..1d\n", range);
        return CTL_USAGE;
    }
    int rc = find_admin(call, in->settings[SIDE_OLD], in->address, sizeof(in->address));
    struct http_answer answer;
    uint32_t partitions = 0;
    if (rc == CTL_OK)
        rc = ask_partitions(call, in->address, &partitions);
    if (rc != CTL_OK)
        return rc;
    int err = http_request(in->address, "GET", "/v1/pairs?records=1", &answer);
    if (err != RM_OK) {
        buf_fini(&answer.body);
        return client_trouble(call, in->address, err);
    }
    in->answer = json_loadb(answer.body.data ? answer.body.data : "", answer.body.len, 0, NULL);
    in->pairs = json_object_get(in->answer, "pairs");
    in->feed = recorded_feed_admin(in->address, partitions, since, until);
    buf_fini(&answer.body);
    if (!in->pairs)
        fputs("remuda: the relay does not tell what it knows of its pairs\n", call->err);
    return in->pairs ? CTL_OK : CTL_FAILED;
}

static int open_file(struct ctl_call *call, struct input *in, const char *path)
{
    in->feed = recorded_feed_file(path);
    if (!in->feed)
        fprintf(call->err, "remuda: %s: %s\n", path, strerror(errno));
    return in->feed ? CTL_OK : CTL_FAILED;
}

static int open_pairs(struct ctl_call *call, struct input *in, const char *path)
{
    json_error_t error;
    json_decref(in->answer);
    in->pairs = in->answer = json_load_file(path, 0, &error);
    if (json_is_array(in->pairs))
        return CTL_OK;
    fprintf(call->err, "%s:%d:%d: %s\n", path, in->pairs ? 1 : error.line, in->pairs ? 1 : error.column,
            in->pairs ? "found no list, expected what `remuda warmup export` prints" : error.text);
    return CTL_FAILED;
}

static int open_input(struct ctl_call *call, struct input *in)
{
    const char *file = ctl_value(call, "--file"), *range = ctl_value(call, "--events");
    const char *state = ctl_value(call, "--state");
    if (file && range) {
        fputs("remuda simulate: --events is of a running relay, --file of a file: one of them\n", call->err);
        return CTL_USAGE;
    }
    int rc = load(call, old_path(call), &in->settings[SIDE_OLD]);
    if (rc == CTL_OK)
        rc = load(call, ctl_value(call, "--config"), &in->settings[SIDE_NEW]);
    if (rc == CTL_OK)
        rc = file ? open_file(call, in, file) : open_relay(call, in, range);
    if (rc == CTL_OK && state)
        rc = open_pairs(call, in, state);
    return rc;
}

static void close_input(struct input *in)
{
    if (in->feed)
        recorded_feed_free(in->feed);
    json_decref(in->answer);
    for (int i = 0; i < SIDES; i++)
        settings_unref(in->settings[i]);
}

int ctl_simulate(struct ctl_call *call)
{
    struct input in = {0};
    struct buf error = BUF_INIT;
    if (!ctl_value(call, "--config")) {
        fputs("remuda simulate: --config is needed: the configuration to try\n", call->err);
        return CTL_USAGE;
    }
    int rc = open_input(call, &in);
    if (rc == CTL_OK) {
        struct simulate_options options = {
            .settings = {in.settings[SIDE_OLD], in.settings[SIDE_NEW]}, .feed = in.feed, .pairs = in.pairs};
        struct simulation *s = simulate(&options, &error);
        json_t *v = s ? simulate_json(s) : NULL;
        if (v && !client_prints_json(call, v))
            print_all(call, v);
        json_decref(v);
        if (s)
            simulate_free(s);
        fputs(buf_cstr(&error), call->err);
        rc = s ? CTL_OK : CTL_FAILED;
    }
    close_input(&in);
    buf_fini(&error);
    return rc;
}

/* ---- events ---- */

int ctl_events(struct ctl_call *call)
{
    uint64_t since, until;
    char address[128];
    struct settings *settings = NULL;
    struct buf error = BUF_INIT;
    json_t *event;
    if (!read_range(ctl_value(call, "--range"), &since, &until)) {
        fprintf(call->err, "remuda: \"%s\" is no range, expected such as 12h or 3d..1d\n",
                ctl_value(call, "--range"));
        return CTL_USAGE;
    }
    int rc = load(call, ctl_config_path(call), &settings);
    if (rc == CTL_OK)
        rc = find_admin(call, settings, address, sizeof(address));
    uint32_t partitions = 0;
    if (rc == CTL_OK)
        rc = ask_partitions(call, address, &partitions);
    if (rc == CTL_OK) {
        struct recorded_feed *feed = recorded_feed_admin(address, partitions, since, until);
        while ((event = recorded_feed_next(feed, &error))) {
            json_dumpf(event, call->out, JSON_COMPACT);
            fputc('\n', call->out);
            json_decref(event);
        }
        recorded_feed_free(feed);
        rc = error.len ? CTL_UNREACHABLE : CTL_OK;
    }
    fputs(buf_cstr(&error), call->err);
    settings_unref(settings);
    buf_fini(&error);
    return rc;
}
