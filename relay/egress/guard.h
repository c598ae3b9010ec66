/*
 * That a signed header is fresh: its time is near our clock's and its nonce was not seen before. Shared by
 * all loops; any thread.
 */
#ifndef REMUDA_RELAY_EGRESS_GUARD_H
#define REMUDA_RELAY_EGRESS_GUARD_H

#include "relay/egress/wire.h"

struct egress_guard;

/* Headers from before wall_ms are refused: what was seen until then is not known. */
struct egress_guard *egress_guard_new(uint64_t wall_ms);
struct egress_guard *egress_guard_ref(struct egress_guard *g);
void egress_guard_unref(struct egress_guard *g);
/* EGRESS_ACCEPTED, and remembers the nonce; or EGRESS_CLOCK or EGRESS_AUTH. */
enum egress_answer egress_guard_admit(struct egress_guard *g, const struct egress_stamp *stamp,
                                      uint64_t wall_ms);

#endif
