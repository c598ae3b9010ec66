/* Counters that fade: S' = n - S / memory, solved exactly between two changes. Knows nothing of submissions.
 */
#include "relay/delivery/waits.h"

#include <math.h>
#include <string.h>

static const double memory_s[WAIT_MEMORIES] = {WAIT_LATELY_S, WAIT_HOUR_S};

const char *wait_cause_text(enum wait_cause c)
{
    static const char *const texts[WAIT_CAUSES - ROUTER_VERDICTS] = {
        "window", "retry", "dns", "in-hand", "transfer", "in-doubt", "other",
    };
    if (c == WAIT_TURN)
        return "turn";
    return c < WAIT_WINDOW   ? router_verdict_text((enum router_verdict)c)
           : c < WAIT_CAUSES ? texts[c - WAIT_WINDOW]
                             : "none";
}

enum wait_cause wait_cause_of(const char *text)
{
    for (int c = 0; c < WAIT_CAUSES; c++)
        if (strcmp(text, wait_cause_text((enum wait_cause)c)) == 0)
            return (enum wait_cause)c;
    return WAIT_OTHER;
}

const char *wait_phase_text(enum wait_phase p)
{
    static const char *const texts[WAIT_PHASES] = {"dns",      "connect", "greeting", "tls",
                                                   "envelope", "data",    "answer"};
    return p < WAIT_PHASES ? texts[p] : "none";
}

void waits_init(struct waits *w, uint64_t now_us)
{
    *w = (struct waits){.began_us = now_us, .phases_at_us = now_us};
    w->arrived.at_us = w->gone.at_us = now_us;
    for (int c = 0; c < WAIT_CAUSES; c++)
        w->cells[c].at_us = now_us;
}

/* What is left of a sum after that time. */
static double fade(uint64_t from_us, uint64_t now_us, double memory)
{
    return now_us > from_us ? exp(-(double)(now_us - from_us) / (memory * 1e6)) : 1;
}

double waits_seconds(const struct waits *w, enum wait_cause c, enum wait_memory m, uint64_t now_us)
{
    const struct wait_cell *cell = &w->cells[c];
    double left = fade(cell->at_us, now_us, memory_s[m]);
    return cell->seconds[m] * left + (double)cell->n * memory_s[m] * (1 - left);
}

void waits_add(struct waits *w, enum wait_cause c, int64_t n, uint64_t now_us)
{
    struct wait_cell *cell = &w->cells[c];
    if (now_us > cell->at_us) {
        for (int m = 0; m < WAIT_MEMORIES; m++)
            cell->seconds[m] = waits_seconds(w, c, (enum wait_memory)m, now_us);
        cell->at_us = now_us;
    }
    cell->n = n < 0 && (uint64_t)-n > cell->n ? 0 : (uint32_t)(cell->n + n);
}

static void count(struct wait_count *c, uint64_t now_us)
{
    for (int m = 0; now_us > c->at_us && m < WAIT_MEMORIES; m++)
        c->sums[m] *= fade(c->at_us, now_us, memory_s[m]);
    if (now_us > c->at_us)
        c->at_us = now_us;
    for (int m = 0; m < WAIT_MEMORIES; m++)
        c->sums[m]++;
}

void waits_arrived(struct waits *w, uint64_t now_us)
{
    count(&w->arrived, now_us);
}

void waits_gone(struct waits *w, uint64_t now_us)
{
    count(&w->gone, now_us);
}

double waits_rate(const struct waits *w, const struct wait_count *c, enum wait_memory m, uint64_t now_us)
{
    double seen = memory_s[m] * (1 - fade(w->began_us, now_us, memory_s[m]));
    return seen < 1 ? 0 : c->sums[m] * fade(c->at_us, now_us, memory_s[m]) / seen;
}

void waits_phases(struct waits *w, const uint64_t us[WAIT_PHASES], uint64_t now_us)
{
    double left = fade(w->phases_at_us, now_us, memory_s[WAIT_LATELY]);
    for (int p = 0; p < WAIT_PHASES; p++)
        w->phases[p] = w->phases[p] * left + (double)us[p] / 1e6;
    if (now_us > w->phases_at_us)
        w->phases_at_us = now_us;
}

double waits_phase_seconds(const struct waits *w, enum wait_phase p, uint64_t now_us)
{
    return w->phases[p] * fade(w->phases_at_us, now_us, memory_s[WAIT_LATELY]);
}
