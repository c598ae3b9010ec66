/*
 * The gauges of (source, provider) pairs, asked of the shards at each scrape: a pair that another node has
 * now is not shown with its last values.
 */
#include <stdlib.h>

#include "relay/api/admin_private.h"
#include "relay/metrics_table.h"

enum { SHOWN_MOST = 2000 };

static const struct {
    enum metric_row row;
    const char *member; /* of the shards' answer; null: no sample */
} gauges[] = {
    {M_PAIR_STAGE, "stage"}, {M_PAIR_CAP, "cap"},     {M_PAIR_USED, "used"},
    {M_PAIR_PACE, "pace"},   {M_PAIR_SCORE, "score"}, {M_PAIR_SUSPENDED, "suspended_until_ms"},
};

static double value_of(const json_t *pair, size_t gauge)
{
    double v = json_number_value(json_object_get(pair, gauges[gauge].member));
    return gauges[gauge].row == M_PAIR_SUSPENDED ? v > 0 : v;
}

/* Those that an operator would miss: in use today, or kept from it. */
static bool matters(const json_t *pair)
{
    return json_integer_value(json_object_get(pair, "used")) > 0 ||
           json_integer_value(json_object_get(pair, "suspended_until_ms")) > 0 ||
           json_integer_value(json_object_get(pair, "alert_ms")) > 0;
}

static bool is_shown(const json_t *pair)
{
    return json_is_true(json_object_get(pair, "configured")) &&
           json_is_string(json_object_get(pair, "source")) &&
           json_is_string(json_object_get(pair, "provider"));
}

/* At most SHOWN_MOST, those that matter first; how many there are. */
static size_t choose(const json_t *pairs, const json_t *shown[SHOWN_MOST], size_t *n)
{
    size_t all = 0, i;
    json_t *pair;
    *n = 0;
    for (int turn = 0; turn < 2; turn++)
        json_array_foreach(pairs, i, pair)
        {
            if (!is_shown(pair) || matters(pair) != (turn == 0))
                continue;
            all++;
            if (*n < SHOWN_MOST)
                shown[(*n)++] = pair;
        }
    return all;
}

static void add_gauge(struct buf *out, size_t gauge, const json_t *const shown[], size_t n)
{
    const struct metric_def *def = &metric_table[gauges[gauge].row];
    bool begun = false;
    for (size_t i = 0; i < n; i++) {
        const char *labels[] = {json_string_value(json_object_get(shown[i], "source")),
                                json_string_value(json_object_get(shown[i], "provider"))};
        if (!json_is_number(json_object_get(shown[i], gauges[gauge].member)))
            continue;
        if (!begun)
            metrics_put_head(def, out);
        begun = true;
        metrics_put_sample(def, labels, value_of(shown[i], gauge), out);
    }
}

void admin_add_pair_metrics(const struct admin_request *q, struct buf *out)
{
    struct admin_question question = {.kind = ADMIN_QUERY_PAIRS};
    struct admin_answers a;
    const json_t **shown = calloc(SHOWN_MOST, sizeof(*shown));
    size_t n;
    ENSURE(shown);
    admin_ask(q->admin->node, &question, q->admin->ask, &a);
    size_t all = choose(a.answers, shown, &n);
    for (size_t i = 0; i < sizeof(gauges) / sizeof(gauges[0]); i++)
        add_gauge(out, i, shown, n);
    metric_set(metrics_cell(q->admin->node->metrics, M_PAIRS_OMITTED, NULL), (int64_t)(all - n));
    json_decref(a.answers);
    free(shown);
}
