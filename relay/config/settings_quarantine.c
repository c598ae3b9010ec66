/* What a tenant's mail may do at a provider before it is slowed down and quarantined: the file's defaults and
 * what tenants have of their own. */
#include <math.h>
#include <stdlib.h>

#include "relay/config/settings_private.h"

/* "5%", "0.1%" */
static bool parse_share(const char *text, double *out)
{
    char *end;
    double percent = strtod(text, &end);
    if (end == text || strcmp(end, "%") != 0 || !isfinite(percent) || percent < 0.001 || percent > 100)
        return false;
    *out = percent / 100;
    return true;
}

static void take_share(const struct settings_load *l, const struct conf_node *node, const char *key,
                       const char *text, double *out)
{
    if (text && !parse_share(text, out))
        conf_error(l->errors, conf_place(node, key),
                   "%s: found \"%s\", expected a share such as 5%% or 0.1%%", key, text);
}

struct settings_quarantine settings_quarantine_of(const struct settings_load *l, const struct conf_node *node,
                                                  const struct raw_quarantine *raw,
                                                  struct settings_quarantine defaults)
{
    struct settings_quarantine q = defaults;
    if (raw->pool)
        q.pool = settings_pool_index(l, conf_place(node, "pool"), raw->pool);
    take_share(l, node, "bad_mailbox", raw->bad_mailbox, &q.bounds.bad_mailbox);
    take_share(l, node, "complaint", raw->complaint, &q.bounds.complaint);
    if (raw->minimum)
        q.bounds.volume = (double)raw->minimum;
    return q;
}
