/*
 * The small HTTP client of the command line: one request to the admin listener, blocking, over a connection
 * of its own. Understands what that listener answers: a status line, headers, a body up to the end.
 */
#ifndef REMUDA_RELAY_CTL_HTTP_H
#define REMUDA_RELAY_CTL_HTTP_H

#include "lib/base/buf.h"
#include "lib/base/err.h"

struct http_answer {
    int status;
    struct buf body;
};

/*
 * address: "127.0.0.1:8025" or "[::1]:8025". method GET or POST (without a body); path begins with "/" and is
 * already percent-encoded. RM_EINVAL: the address does not parse; RM_EREFUSED: no connection; RM_EIO:
 * it broke; RM_ETIMEDOUT: silent for 60 s; RM_ECORRUPT: not HTTP. body is initialised here and the caller's.
 */
int http_request(const char *address, const char *method, const char *path,
                 struct http_answer *out) MUST_CHECK;

/* Appends "name=value" with a leading ? or &, percent-encoded; nothing when value is NULL. */
void http_path_add(struct buf *path, const char *name, const char *value);

#endif
