/*
 * Two connections made one: what arrives on either leaves on the other, with the pace of the slower one. Ends
 * of streams are passed on one by one (half-close); when one connection breaks, the other is ended after what
 * had arrived for it. All on the loop's thread.
 */
#ifndef REMUDA_RELAY_EGRESS_SPLICE_H
#define REMUDA_RELAY_EGRESS_SPLICE_H

#include "lib/net/conn.h"

struct splice;

enum splice_end { SPLICE_CLOSED, SPLICE_BROKE, SPLICE_IDLE, SPLICE_CUT };
const char *splice_end_name(enum splice_end why); /* constant */

struct splice_totals {
    uint64_t forth, back; /* bytes from near to far, and from far to near */
};

/*
 * Takes both over (conn_ops_set). idle_ms: closed after so long without a byte in either direction.
 * gone is called once, when both have ended; then the splice is freed.
 */
struct splice *splice_new(struct conn *near, struct conn *far, uint64_t idle_ms,
                          void (*gone)(void *arg, enum splice_end why, const struct splice_totals *totals),
                          void *arg);
/* Ends both now. gone follows. */
void splice_cut(struct splice *s);

#endif
