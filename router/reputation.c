/* The score. Its numbers are explained in docs/ROUTER.md. */
#include "router/reputation.h"

#include <math.h>

static const double prior_good = 18, prior_bad = 2, blocked_least = 20;
static const double badness[TALLY_CLASSES] = {
    [TALLY_DEFERRED] = 1, [TALLY_BLOCKED] = 4, [TALLY_BAD_MAILBOX] = 3, [TALLY_COMPLAINT] = 100};
static const double window_weight[TALLY_WINDOWS] = {0.5, 0.3, 0.2};

static double bad_of(const double n[TALLY_CLASSES])
{
    double bad = 0;
    for (int c = 0; c < TALLY_CLASSES; c++)
        bad += badness[c] * n[c];
    return bad;
}

static double mean(const double n[TALLY_CLASSES])
{
    double good = prior_good + n[TALLY_ACCEPTED];
    return good / (good + prior_bad + bad_of(n));
}

double reputation_score(const struct tally *t)
{
    double score = 0;
    for (int w = 0; w < TALLY_WINDOWS; w++)
        score += window_weight[w] * mean(t->n[w]);
    return score;
}

double reputation_doubt(const struct tally *t)
{
    const double *n = t->n[TALLY_HOUR];
    double m = mean(n), all = prior_good + prior_bad + n[TALLY_ACCEPTED] + bad_of(n);
    return sqrt(m * (1 - m) / (all + 1));
}

bool reputation_is_blocked(const struct tally *t)
{
    double all = tally_sum(t, TALLY_HOUR);
    return all >= blocked_least && share_low(t->n[TALLY_HOUR][TALLY_BLOCKED], all) > 0.5;
}
