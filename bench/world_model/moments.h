/* What can happen in the world's virtual time (lib/base/timeline.h). */
#ifndef REMUDA_BENCH_MOMENTS_H
#define REMUDA_BENCH_MOMENTS_H

#include "lib/base/timeline.h"

enum moment_kind {
    MOMENT_HOUR,      /* the receivers judge */
    MOMENT_ARRIVAL,   /* of a tenant's next message: a = tenant */
    MOMENT_FINISHED,  /* an attempt: a = mail, b = source, c = what was said */
    MOMENT_RETRY,     /* a = mail */
    MOMENT_WAKE,      /* a = receiver */
    MOMENT_COMPLAINT, /* a = tenant, b = source, c = receiver */
    MOMENT_LATE,      /* a late bounce: likewise */
    MOMENT_TICK,
};

#endif
