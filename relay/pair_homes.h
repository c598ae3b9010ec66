/*
 * Which partition has each pair of source and provider, and where it goes next: what the control log tells,
 * read in order. A pair goes where its lane is by the lane tables, one version after the other; each of these
 * moves is over when its holder has released it (a Release record), and only the next one's release counts:
 * any other was written by an owner that was replaced, or twice. For relay/lanes.c alone; single-threaded.
 */
#ifndef REMUDA_RELAY_PAIR_HOMES_H
#define REMUDA_RELAY_PAIR_HOMES_H

#include "relay/lane_table.h"

struct pair_homes;

struct pair_homes *pair_homes_new(void);
void pair_homes_free(struct pair_homes *h);
/* The next table that counts. True when a pair is to move. */
bool pair_homes_table(struct pair_homes *h, const struct lane_table *t);
/* The record of control at offset. True when it counts for a pair. */
bool pair_homes_release(struct pair_homes *h, uint64_t offset, const Remuda__Release *r);

/* False: in no table yet. out borrows its names until the next table. */
bool pair_homes_find(const struct pair_homes *h, const char *source, const char *provider,
                     struct lanes_pair *out);
/* In no order; false at the end. */
bool pair_homes_next(const struct pair_homes *h, size_t *pos, struct lanes_pair *out);

#endif
