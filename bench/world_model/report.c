/* The figures of a run. */
#include "bench/world_model/report.h"

#include <inttypes.h>
#include <stdio.h>

#include "bench/world_model/verdict.h"

static const double full_share = 0.75, full_within_day = 0.95;

static double percent(uint64_t n, uint64_t of)
{
    return of ? 100.0 * (double)n / (double)of : 0;
}

static bool is_full_day(const struct result *r, const struct scenario *s, uint32_t day)
{
    double weights = 0, fresh_weights = 0;
    uint64_t all = 0, fresh = 0;
    for (int i = 0; i < s->n_sources; i++) {
        if (s->sources[i].quarantine)
            continue;
        all += r->delivered[day][i];
        weights += s->sources[i].weight;
        if (s->sources[i].fresh) {
            fresh += r->delivered[day][i];
            fresh_weights += s->sources[i].weight;
        }
    }
    const struct outcome *o = &r->days[day];
    return (double)fresh >= full_share * (double)all * fresh_weights / weights &&
           (double)o->within_day >= full_within_day * (double)o->submitted;
}

void result_finish(struct result *r, const struct scenario *s)
{
    for (int i = 0; i < s->n_sources; i++)
        r->has_new |= s->sources[i].fresh;
    r->full_day = -1;
    for (uint32_t day = s->days; r->has_new && day > 0 && is_full_day(r, s, day - 1); day--)
        r->full_day = (int)day - 1;
}

void result_heading(void)
{
    printf("%-22s %-12s %8s %8s %7s %8s %9s %5s %10s %10s  %s\n", "scenario", "strategy", "1h %", "1d %",
           "lost %", "refused", "blocked h", "full", "harm late%", "harm lost%",
           "against rotation, suspensions");
}

static void print_json(const struct result *r, const struct scenario *s, const char *strategy)
{
    printf("{\"scenario\":\"%s\",\"strategy\":\"%s\",\"seed\":%" PRIu64 ",\"days\":%u,\"messages\":%" PRIu64
           ",\"attempts\":%" PRIu64,
           s->name, strategy, s->seed, s->days, r->messages, r->attempts);
    printf(",\"deliverable\":%" PRIu64 ",\"within_hour\":%" PRIu64 ",\"within_day\":%" PRIu64
           ",\"late\":%" PRIu64 ",\"lost\":%" PRIu64,
           r->all.submitted, r->all.within_hour, r->all.within_day, r->all.late, r->all.lost);
    printf(",\"refused\":%" PRIu64 ",\"blocked_hours\":%" PRIu64, r->refused, r->blocked_hours);
    if (r->has_new && r->full_day >= 0)
        printf(",\"full_day\":%d", r->full_day);
    else
        printf(",\"full_day\":%s", r->has_new ? "\"never\"" : "null");
    if (scenario_has_culprit(s))
        printf(",\"innocent\":%" PRIu64 ",\"innocent_late\":%" PRIu64 ",\"innocent_lost\":%" PRIu64,
               r->innocent.submitted, r->innocent.submitted - r->innocent.within_hour - r->innocent.lost,
               r->innocent.lost);
    printf(",\"answers\":{");
    for (int i = 0; i < SAYINGS; i++)
        printf("%s\"%s\":%" PRIu64, i ? "," : "", i == SAY_NETWORK ? "network" : saying_words[i], r->said[i]);
    printf("}");
}

static void print_metrics(const char *word, const bool is[METRICS])
{
    const char *comma = "";
    printf(",\"%s\":[", word);
    for (int m = 0; m < METRICS; m++)
        if (is[m]) {
            printf("%s\"%s\"", comma, metric_words[m]);
            comma = ",";
        }
    printf("]");
}

static void print_rivals(const struct rival *rivals, bool json)
{
    if (json && rivals->strategy)
        printf(",\"against\":[");
    for (const struct rival *r = rivals; r->strategy; r++) {
        if (!json) {
            printf("%s%s", r == rivals ? "  " : ", ", verdict_text(&r->verdict));
            continue;
        }
        printf("%s{\"strategy\":\"%s\",\"verdict\":\"%s\"", r == rivals ? "" : ",", r->strategy,
               verdict_text(&r->verdict));
        print_metrics("better", r->verdict.better);
        print_metrics("worse", r->verdict.worse);
        printf("}");
    }
    if (json && rivals->strategy)
        printf("]");
    printf(json ? "}\n" : "\n");
}

static void print_line(const struct result *r, const struct scenario *s, const char *strategy)
{
    char full[16] = "-", late[16] = "-", lost[16] = "-";
    if (r->has_new)
        snprintf(full, sizeof(full), r->full_day < 0 ? "never" : "%d", r->full_day);
    if (scenario_has_culprit(s)) {
        const struct outcome *o = &r->innocent;
        snprintf(late, sizeof(late), "%.2f", percent(o->submitted - o->within_hour - o->lost, o->submitted));
        snprintf(lost, sizeof(lost), "%.2f", percent(o->lost, o->submitted));
    }
    printf("%-22s %-12s %8.2f %8.2f %7.2f %8" PRIu64 " %9" PRIu64 " %5s %10s %10s", s->name, strategy,
           percent(r->all.within_hour, r->all.submitted), percent(r->all.within_day, r->all.submitted),
           percent(r->all.lost, r->all.submitted), r->refused, r->blocked_hours, full, late, lost);
}

void result_print(const struct result *r, const struct scenario *s, const char *strategy,
                  const struct rival *rivals, bool json)
{
    if (json)
        print_json(r, s, strategy);
    else
        print_line(r, s, strategy);
    print_rivals(rivals, json);
}
