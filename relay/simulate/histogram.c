/* Cells as wide as the value is long: 32 for each doubling. */
#include "relay/simulate/histogram.h"

enum { STEP_BITS = 5, STEPS = 1 << STEP_BITS };

static unsigned cell_of(uint64_t v)
{
    if (v < STEPS)
        return (unsigned)v;
    unsigned length = 63 - (unsigned)__builtin_clzll(v), shift = length - STEP_BITS;
    unsigned cell = (shift + 1) * STEPS + (unsigned)(v >> shift) - STEPS;
    return cell < HISTOGRAM_CELLS ? cell : HISTOGRAM_CELLS - 1;
}

static uint64_t least_of(unsigned cell)
{
    if (cell < STEPS)
        return cell;
    unsigned shift = cell / STEPS - 1;
    return (uint64_t)(cell % STEPS + STEPS) << shift;
}

void histogram_add(struct histogram *h, uint64_t value)
{
    h->cells[cell_of(value)]++;
    h->n++;
    if (value > h->most)
        h->most = value;
}

uint64_t histogram_percentile(const struct histogram *h, unsigned percent)
{
    uint64_t wanted = (h->n * percent + 99) / 100, seen = 0;
    for (unsigned i = 0; h->n && i < HISTOGRAM_CELLS; i++) {
        seen += h->cells[i];
        if (seen >= wanted && seen)
            return least_of(i);
    }
    return 0;
}
