/* Times counted with an error of at most three percent, in constant room. Zeroed: empty. */
#ifndef REMUDA_RELAY_SIMULATE_HISTOGRAM_H
#define REMUDA_RELAY_SIMULATE_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_CELLS = 1024 };

struct histogram {
    uint64_t cells[HISTOGRAM_CELLS], n, most;
};

void histogram_add(struct histogram *h, uint64_t value);
/* The value that so many of 100 are not above; 0 of none. */
uint64_t histogram_percentile(const struct histogram *h, unsigned percent);

#endif
