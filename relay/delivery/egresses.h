/*
 * Which egresses live, as one shard sees it. An egress is dead from the first connection that fails because
 * of it, or a probe that does; then its sources are left out, and probes (after 1 s, 2 s, 4 s, at most 15 s)
 * bring them back. One that lives is probed every 5 s, so that a frozen one is found without mail. All on the
 * shard's loop thread.
 */
#ifndef REMUDA_RELAY_DELIVERY_EGRESSES_H
#define REMUDA_RELAY_DELIVERY_EGRESSES_H

#include "relay/node.h"

struct egresses;

/* changed is called when one was found dead or came back; egress is its index. */
typedef void (*egresses_cb)(void *arg, int egress, bool up);
/* By the shard's settings; without the role delivery nothing is probed. What before (may be NULL, is freed)
 * knew of egresses of the same name stays. */
struct egresses *egresses_new(struct shard *shard, struct egresses *before, egresses_cb changed, void *arg);
void egresses_free(struct egresses *e);

int egresses_n_down(const struct egresses *e);
/* egress -1 (no egress) is never down. */
bool egresses_is_down(const struct egresses *e, int egress);
/* A connection failed because of it. */
void egresses_broke(struct egresses *e, int egress, const char *trouble);

#endif
