/* A decision in words, for `remuda explain` and the admin page. Pure. */
#ifndef REMUDA_ROUTER_EXPLAIN_H
#define REMUDA_ROUTER_EXPLAIN_H

#include "lib/base/buf.h"
#include "router/decide.h"

/*
 * Appends a line with the outcome ("source a1, runner-up a2" or "held: rate, until in 1.250 s") and, when the
 * decision carries its candidates, a table with one line each: source, address, weight, open connections,
 * verdict and what the verdict means. now_us: the time of the decision.
 */
void router_explain(const struct router_config *config, const struct router_state *state,
                    const struct router_scope *scope, const struct router_decision *d, uint64_t now_us,
                    struct buf *out);
/* A sentence on what the verdict means. Constant. */
const char *router_verdict_help(enum router_verdict v);

#endif
