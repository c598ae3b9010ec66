/* Error phrases and the one place where the process stops because of a bug. */
#include "lib/base/err.h"

#include <stdio.h>
#include <stdlib.h>

const char *rm_strerror(int err)
{
    switch (err) {
    case RM_OK:
        return "success";
    case RM_ENOMEM:
        return "out of memory";
    case RM_EINVAL:
        return "invalid input";
    case RM_ENOTFOUND:
        return "not found";
    case RM_EFULL:
        return "full";
    case RM_EIO:
        return "input/output error";
    case RM_EAGAIN:
        return "not now";
    case RM_ECLOSED:
        return "closed";
    case RM_ELOCKED:
        return "locked by another process";
    case RM_ECORRUPT:
        return "stored data does not decode";
    case RM_ETIMEDOUT:
        return "timed out";
    case RM_EREFUSED:
        return "refused";
    default:
        return "unknown error";
    }
}

void rm_bug(const char *file, int line, const char *what)
{
    fprintf(stderr, "remuda: bug at %s:%d: %s\n", file, line, what);
    abort();
}
