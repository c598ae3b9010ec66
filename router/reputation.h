/*
 * How well a (source, provider) pair, or a tenant at a provider, stands: a score in 0..1 from decayed counts.
 * The formula with a worked example is in docs/ROUTER.md. Pure.
 *
 * For each window: good = accepted, bad = deferred + 4 blocked + 3 bad mailboxes + 100 complaints, and the
 * score is the mean of a Beta distribution that began as Beta(18, 2): (18 + good) / (20 + good + bad). The
 * windows of an hour, a day and a week count 0.5, 0.3 and 0.2. So ten messages prove nothing, more accepted
 * mail never lowers it, more trouble never raises it, and what is long ago is forgotten: it returns to 0.9.
 */
#ifndef REMUDA_ROUTER_REPUTATION_H
#define REMUDA_ROUTER_REPUTATION_H

#include <stdbool.h>

#include "router/tally.h"

double reputation_score(const struct tally *t);
/* Half the width of what the score may really be (one standard deviation of the hour's Beta distribution). */
double reputation_doubt(const struct tally *t);
/*
 * True when the receiver certainly blocks the pair although no answer named a list: the lower bound of the
 * share of blocked answers of the last hour is over one half, of at least 20.
 */
bool reputation_is_blocked(const struct tally *t);

#endif
