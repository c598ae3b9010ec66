/* A scenario played with a strategy in virtual time. */
#ifndef REMUDA_BENCH_WORLD_H
#define REMUDA_BENCH_WORLD_H

#include "bench/world_model/report.h"
#include "bench/world_model/strategy.h"

/* Plays all days and three more without new mail, the life time of the last. Both are borrowed for the call.
 */
void world_play(const struct scenario *s, const struct suspensions *rules, const struct strategy *how,
                struct result *out);

#endif
