/*
 * The table of crash points and their one action. Which places exist is crashpoint.h's; where they are is
 * seen by who calls CRASH_POINT.
 */
#include "lib/base/crashpoint.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *what;
} points[CRASH_POINTS] = {
#define CRASH_POINT_ROW(constant, text, meaning) [CRASH_##constant] = {text, meaning},
    CRASH_POINT_TABLE(CRASH_POINT_ROW)
#undef CRASH_POINT_ROW
};

const char *crash_point_name(enum crash_point p)
{
    return points[p].name;
}

const char *crash_point_what(enum crash_point p)
{
    return points[p].what;
}

bool crash_points_built(void)
{
#ifdef REMUDA_CRASH_POINTS
    return true;
#else
    return false;
#endif
}

void crash_point_pass(enum crash_point p)
{
    /* The environment is for the whole process, and so is the count of passes; only tests get this far. */
    static atomic_ulong passes;
    const char *at = getenv("REMUDA_CRASH_AT");
    size_t n = strlen(points[p].name);
    if (!at || strncmp(at, points[p].name, n) != 0 || (at[n] && at[n] != ':'))
        return;
    unsigned long wanted = at[n] ? strtoul(at + n + 1, NULL, 10) : 1;
    if (atomic_fetch_add(&passes, 1) + 1 != wanted)
        return;
    const char *signo = getenv("REMUDA_CRASH_SIGNAL");
    (void)raise(signo ? (int)strtol(signo, NULL, 10) : SIGKILL);
}
