/* lanes: which partition each lane is in, moving one or some. partitions: adding some. */
#include <stdlib.h>
#include <string.h>

#include "relay/ctl/client.h"
#include "relay/ctl/text.h"

enum { LANE_ROOM = 512 };

static void lane_text(const json_t *v, char out[LANE_ROOM])
{
    snprintf(out, LANE_ROOM, "%s/%s/%llu", text_get(v, "pool"), text_get(v, "provider"),
             (unsigned long long)text_num(v, "shard"));
}

static int lane_order(const void *a, const void *b)
{
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    int by_pool = strcmp(text_get(x, "pool"), text_get(y, "pool"));
    int by_provider = strcmp(text_get(x, "provider"), text_get(y, "provider"));
    uint64_t n = text_num(x, "shard"), m = text_num(y, "shard");
    return by_pool ? by_pool : by_provider ? by_provider : (n > m) - (n < m);
}

static void print_list(const struct ctl_call *call, const json_t *v)
{
    static const char *const header[] = {"LANE",           ">PARTITION", "STATE",
                                         ">SINCE VERSION", ">SOURCES",   ">MOVING"};
    const json_t *lanes = json_object_get(v, "lanes");
    size_t n = json_array_size(lanes);
    json_t **sorted = calloc(n + 1, sizeof(json_t *));
    struct text_table *t = text_table_new(header, 6);
    for (size_t i = 0; sorted && i < n; i++)
        sorted[i] = json_array_get(lanes, i);
    if (sorted)
        qsort(sorted, n, sizeof(json_t *), lane_order);
    for (size_t i = 0; sorted && i < n; i++) {
        char lane[LANE_ROOM];
        lane_text(sorted[i], lane);
        text_table_cell(t, lane);
        text_table_number(t, text_num(sorted[i], "partition"));
        text_table_cell(t, text_get(sorted[i], "state"));
        text_table_number(t, text_num(sorted[i], "since"));
        text_table_number(t, text_num(sorted[i], "pairs"));
        text_table_number(t, text_num(sorted[i], "moving"));
    }
    text_table_print(t, call->out);
    fprintf(call->out, "version %llu, %llu partitions\n", (unsigned long long)text_num(v, "version"),
            (unsigned long long)text_num(v, "partitions"));
    free(sorted);
}

int ctl_lanes_list(struct ctl_call *call)
{
    json_t *v;
    int rc = client_ask(call, "GET", "/v1/lanes", &v);
    if (rc == CTL_OK && !client_prints_json(call, v))
        print_list(call, v);
    json_decref(v);
    return rc;
}

/* "POOL/PROVIDER/SHARD" into the arguments of a request; false: it is none. */
static bool add_lane(struct buf *path, const char *lane)
{
    char room[LANE_ROOM];
    uint64_t shard;
    if (strlen(lane) >= sizeof(room))
        return false;
    strcpy(room, lane);
    char *provider = strchr(room, '/'), *number = provider ? strchr(provider + 1, '/') : NULL;
    if (!number || !span_u64(span_str(number + 1), &shard))
        return false;
    *provider++ = *number++ = '\0';
    http_path_add(path, "pool", room);
    http_path_add(path, "provider", provider);
    http_path_add(path, "shard", number);
    return true;
}

static void print_moved(const struct ctl_call *call, const json_t *v)
{
    unsigned long long moved = text_num(v, "moved"), version = text_num(v, "version");
    if (moved == 0)
        fprintf(call->out, "%s is in partition %s already\n", call->arguments[0], call->arguments[1]);
    else if (moved == 1)
        fprintf(call->out, "%s moves to partition %s by version %llu\n", call->arguments[0],
                call->arguments[1], version);
    else
        fprintf(call->out,
                "%s and %llu other lanes of its provider, whose limits are for all sources together, move to "
                "partition %s by version %llu\n",
                call->arguments[0], moved - 1, call->arguments[1], version);
}

int ctl_lanes_move(struct ctl_call *call)
{
    struct buf path = BUF_INIT;
    json_t *v;
    uint64_t partition;
    buf_add_str(&path, "/v1/lanes/move");
    bool fits = add_lane(&path, call->arguments[0]);
    if (!fits)
        fprintf(call->err, "remuda lanes move: found \"%s\", expected POOL/PROVIDER/SHARD\n",
                call->arguments[0]);
    else if (!(fits = span_u64(span_str(call->arguments[1]), &partition)))
        fprintf(call->err, "remuda lanes move: found \"%s\", expected the number of a partition\n",
                call->arguments[1]);
    if (!fits) {
        buf_fini(&path);
        return CTL_USAGE;
    }
    http_path_add(&path, "partition", call->arguments[1]);
    http_path_add(&path, "reason", ctl_value(call, "--reason"));
    int rc = client_ask(call, "POST", buf_cstr(&path), &v);
    buf_fini(&path);
    if (rc == CTL_OK && !client_prints_json(call, v))
        print_moved(call, v);
    json_decref(v);
    return rc;
}

int ctl_lanes_spread(struct ctl_call *call)
{
    struct buf path = BUF_INIT;
    json_t *v;
    buf_add_str(&path, "/v1/lanes/spread");
    http_path_add(&path, "reason", ctl_value(call, "--reason"));
    int rc = client_ask(call, "POST", buf_cstr(&path), &v);
    buf_fini(&path);
    if (rc == CTL_OK && !client_prints_json(call, v)) {
        if (text_num(v, "moved"))
            fprintf(call->out, "%llu lanes move by version %llu\n", (unsigned long long)text_num(v, "moved"),
                    (unsigned long long)text_num(v, "version"));
        else
            fputs("they are spread already\n", call->out);
    }
    json_decref(v);
    return rc;
}

static void print_grown(const struct ctl_call *call, const json_t *v)
{
    unsigned long long now = text_num(v, "partitions"), before = text_num(v, "before");
    if (now == before)
        fprintf(call->out, "there are %llu partitions already\n", now);
    else
        fprintf(call->out,
                "%llu partitions, %llu before; lanes stay where they are until `remuda lanes spread`\n", now,
                before);
}

int ctl_partitions_grow(struct ctl_call *call)
{
    struct buf path = BUF_INIT;
    json_t *v;
    uint64_t number;
    if (!span_u64(span_str(call->arguments[0]), &number)) {
        fprintf(call->err, "remuda partitions grow: found \"%s\", expected a number\n", call->arguments[0]);
        return CTL_USAGE;
    }
    buf_add_str(&path, "/v1/partitions/grow");
    http_path_add(&path, "partitions", call->arguments[0]);
    http_path_add(&path, "reason", ctl_value(call, "--reason"));
    int rc = client_ask(call, "POST", buf_cstr(&path), &v);
    buf_fini(&path);
    if (rc == CTL_OK && !client_prints_json(call, v))
        print_grown(call, v);
    json_decref(v);
    return rc;
}
