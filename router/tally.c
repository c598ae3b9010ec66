/* Decayed counts and the bounds of shares. */
#include "router/tally.h"

#include <math.h>

static const double half_life_s[TALLY_WINDOWS] = {3600, 86400, 604800};

void tally_decay(struct tally *t, uint64_t now_s)
{
    if (now_s <= t->at_s)
        return;
    double passed = t->at_s ? (double)(now_s - t->at_s) : 0;
    t->at_s = now_s;
    for (int w = 0; passed > 0 && w < TALLY_WINDOWS; w++) {
        double keep = exp2(-passed / half_life_s[w]);
        for (int c = 0; c < TALLY_CLASSES; c++)
            t->n[w][c] *= keep;
    }
}

void tally_add(struct tally *t, enum tally_class class, double n, uint64_t now_s)
{
    tally_decay(t, now_s);
    for (int w = 0; w < TALLY_WINDOWS; w++)
        t->n[w][class] += n;
}

double tally_sum(const struct tally *t, enum tally_window window)
{
    double sum = 0;
    for (int c = 0; c < TALLY_CLASSES; c++)
        sum += t->n[window][c];
    return sum;
}

static double wilson(double k, double n, double z)
{
    double p = k / n, zz = z * z / n;
    double root = sqrt(p * (1 - p) / n + zz / (4 * n));
    return (p + zz / 2 + z * root) / (1 + zz);
}

double share_low(double k, double n)
{
    return n > 0 && k > 0 ? wilson(k, n, -1.645) : 0;
}

double share_high(double k, double n)
{
    return n > 0 && k < n ? wilson(k, n, 1.645) : 1;
}
