/*
 * Recipient domain -> where it goes: a static route or its MX hosts, the provider and the site. Built on the
 * shard's DNS cache; the ingress uses what is known at once, the owner waits for the answer.
 */
#ifndef REMUDA_RELAY_CLASSIFY_H
#define REMUDA_RELAY_CLASSIFY_H

#include "relay/node.h"

/*
 * Begins the lookup that classification needs, if it is not cached, and returns at once: for RCPT time.
 * domain: A-label, lower case.
 */
void classify_begin(struct shard *shard, struct span domain);
/* Provider index (settings->router) as far as known now; ROUTER_OTHER when unknown. */
int classify_now(struct shard *shard, struct span domain);

#endif
