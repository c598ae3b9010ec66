/*
 * Rules that answer a reply with a fixed reaction for a fixed time, as the traffic shaping automation of
 * other mail servers does. Data: bench/scenarios/suspensions.yaml.
 */
#ifndef REMUDA_BENCH_SUSPENSIONS_H
#define REMUDA_BENCH_SUSPENSIONS_H

#include "lib/base/arena.h"
#include "lib/conf/conf.h"

enum suspension_action { ACTION_SUSPEND, ACTION_RATE, ACTION_CONNECTIONS, ACTION_RATE_AND_CONNECTIONS };

struct suspension {
    const char *provider; /* NULL: any */
    const char *text;     /* stands in the reply */
    uint32_t matches;     /* so many within an hour, of one source at one receiver */
    int action;
    struct conf_rate rate; /* ACTION_RATE: at most */
    uint32_t connections;
    uint64_t for_ms;
};

struct suspensions {
    struct suspension *rules;
    int n;
};

enum { SUSPENSIONS_MOST = 48 };

bool suspensions_read(const char *path, struct arena *arena, struct conf_errors *errors,
                      struct suspensions *out);

#endif
