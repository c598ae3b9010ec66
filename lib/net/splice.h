/*
 * Two connections made one: what arrives on either leaves on the other, with the pace of the slower one. When
 * one connection breaks, the other is ended after what had arrived for it. All on the loop's thread.
 */
#ifndef REMUDA_LIB_NET_SPLICE_H
#define REMUDA_LIB_NET_SPLICE_H

#include "lib/net/conn.h"

struct splice;

enum splice_end { SPLICE_CLOSED, SPLICE_BROKE, SPLICE_IDLE, SPLICE_CUT };
const char *splice_end_name(enum splice_end why); /* constant */

struct splice_totals {
    uint64_t forth, back; /* bytes from near to far, and from far to near */
};

struct splice_options {
    uint64_t idle_ms; /* closed after so long without a byte in either direction; 0: never */
    bool half_close;  /* the end of one stream is passed on and the other goes on; else both end */
    /* Called once, when both have ended; then the splice is freed. */
    void (*gone)(void *arg, enum splice_end why, const struct splice_totals *totals);
    void *arg;
};

/* Takes both over (conn_ops_set); their deadlines are off. Never NULL. */
struct splice *splice_new(struct conn *near, struct conn *far, const struct splice_options *options);
/* Ends both now. gone follows. */
void splice_cut(struct splice *s);

#endif
