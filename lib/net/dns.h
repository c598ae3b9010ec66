/*
 * DNS for mail: MX sets and host addresses, with a cache. One instance per loop, all on the loop's thread.
 * Domains are A-labels (IDN already converted), in any case, with or without the final dot.
 *
 * Answers are immutable and counted (not atomically: they stay on their loop; what crosses threads is
 * copied). Callbacks never come from inside the call that asked; dns_mx_get and dns_host_get are the
 * synchronous way to what is cached. Asking twice for a name in flight sends one query.
 *
 * When DNS fails (SERVFAIL, refused, timeout) an expired good answer is served, marked stale by
 * dns_mx_is_stale, for up to stale_ms, and DNS is tried again after 30 s at the earliest. A failure without
 * such an answer is cached for 30 s too.
 */
#ifndef REMUDA_LIB_NET_DNS_H
#define REMUDA_LIB_NET_DNS_H

#include "lib/net/addr.h"
#include "lib/net/loop.h"

enum dns_status {
    DNS_OK,
    DNS_NODATA,   /* the name exists, without what was asked */
    DNS_NXDOMAIN, /* the name does not exist: a bounce */
    DNS_NULL_MX,  /* "MX 0 .", RFC 7505: takes no mail, a bounce (556 5.1.10) */
    DNS_SERVFAIL, /* servers fail, refuse or answer nonsense: a deferral */
    DNS_TIMEOUT,  /* no server answered: a deferral */
    DNS_LOOP,     /* CNAMEs that lead nowhere: a deferral */
    DNS_BADNAME,  /* not a domain name: a bounce */
};
/* "NXDOMAIN", "timeout", ...; constant. */
const char *dns_status_name(enum dns_status s);
/* True for trouble that may pass. */
bool dns_status_temporary(enum dns_status s);

struct dns;
struct dns_request;

/* A number below n (n > 0). */
typedef uint32_t (*dns_random_fn)(void *arg, uint32_t n);

struct dns_options {
    const char *const *servers; /* "ip", "ip:port", "[v6]:port"; none: the system's */
    int n_servers;
    uint64_t timeout_ms;           /* of the first try of each server; 0: 2000 */
    int tries;                     /* per server; 0: 3 */
    uint32_t cache_entries;        /* least recently used go first; 0: 100000 */
    uint64_t stale_ms;             /* 0: 7 days */
    uint64_t negative_ms;          /* bound of negative TTLs (RFC 2308); 0: 1 h */
    bool no_ipv6;                  /* do not ask for AAAA */
    uint64_t (*now_ms)(void *arg); /* NULL: loop_now_ms */
    dns_random_fn random;          /* order among equal preferences; NULL: the system's generator */
    void *arg;                     /* of now_ms and random */
};

/* RM_EINVAL: a server does not parse. RM_EIO: c-ares. */
int dns_new(struct loop *l, const struct dns_options *options, struct dns **out) MUST_CHECK;
/* Drops requests without their callbacks. On the loop's thread, or when the loop has ended. Answers that the
 * caller holds stay valid. */
void dns_free(struct dns *d);

struct dns_stats {
    uint64_t queries, hits, misses, stale, failures; /* since the start */
    uint32_t entries;
};
struct dns_stats dns_stats(const struct dns *d);

/* ---- MX -------------------------------------------------------------------------------------- */

struct dns_mx_host {
    const char *name; /* lower case, without final dot */
    uint16_t preference;
};

struct dns_mx {
    int refs;
    enum dns_status status;
    bool implicit;              /* no MX but an address: the domain itself, preference 0 (RFC 5321 5.1) */
    uint64_t expires_ms;        /* in the time of options.now_ms */
    int n_hosts;                /* > 0 exactly when status is DNS_OK */
    struct dns_mx_host hosts[]; /* by preference, then name: always the same for the same set */
};
struct dns_mx *dns_mx_ref(struct dns_mx *mx);
void dns_mx_unref(struct dns_mx *mx); /* NULL allowed */
bool dns_mx_is_stale(const struct dns *d, const struct dns_mx *mx);

/* What is cached and fresh (any status), borrowed until the end of the turn; NULL: ask. Sends nothing. */
struct dns_mx *dns_mx_get(struct dns *d, const char *domain);
/* mx: borrowed, ref it to keep it; never NULL. */
typedef void (*dns_mx_cb)(void *arg, struct dns_mx *mx);
/* Follows CNAMEs; falls back to the domain's own address when there is no MX. The request is valid until its
 * callback. */
struct dns_request *dns_mx_lookup(struct dns *d, const char *domain, dns_mx_cb fn, void *arg);
/* The callback will not come. The query goes on for the cache. */
void dns_cancel(struct dns_request *r);

/* An order to try the hosts: ascending preference, random among equals (RFC 5321 5.1). order: room for
 * n_hosts indexes. */
void dns_mx_order(struct dns *d, const struct dns_mx *mx, int *order);

/* ---- addresses ------------------------------------------------------------------------------- */

struct dns_host {
    int refs;
    enum dns_status status; /* DNS_OK when at least one address is known */
    uint64_t expires_ms;
    int n_addrs;
    struct addr addrs[]; /* port 0; IPv6 first, else in the order of the answer */
};
struct dns_host *dns_host_ref(struct dns_host *h);
void dns_host_unref(struct dns_host *h);
bool dns_host_is_stale(const struct dns *d, const struct dns_host *h);
struct dns_host *dns_host_get(struct dns *d, const char *name);
typedef void (*dns_host_cb)(void *arg, struct dns_host *h);
/* A and AAAA at once. An address as name is answered without DNS. */
struct dns_request *dns_host_lookup(struct dns *d, const char *name, dns_host_cb fn, void *arg);

#endif
