/* The limit of open descriptors. What happens at the limit is lib/net/listener.c's: accepting pauses. */
#include "relay/descriptors.h"

#include <sys/resource.h>

enum { BESIDE_CONNECTIONS = 256 }; /* log, index, listeners, loops, DNS, admin */

void descriptors_raise(const struct settings *s, struct logger *logger)
{
    struct rlimit limit;
    rlim_t need = (rlim_t)s->connections + s->delivery.connections + BESIDE_CONNECTIONS;
    for (int i = 0; i < s->n_egresses; i++)
        if (settings_egress_here(s, i))
            need += 2 * (rlim_t)s->egresses[i].connections;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= need)
        return;
    limit.rlim_cur = limit.rlim_max < need ? limit.rlim_max : need;
    int failed = setrlimit(RLIMIT_NOFILE, &limit);
    if (failed || limit.rlim_cur < need)
        logger_log(logger, LOG_WARN, "relay.descriptors",
                   LF_STR("trouble", "fewer files may be open than the configured connections need"),
                   LF_NUM("limit", limit.rlim_max), LF_NUM("needed", need));
}
