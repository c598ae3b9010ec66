/*
 * Destinations: a recipient domain and where its mail goes: a static route or its MX hosts, with the provider
 * and the site that follow from them. One cache per shard, on the shard's thread. A destination outlives its
 * TTL while somebody holds it; who asks again gets a fresh one.
 */
#ifndef REMUDA_RELAY_DEST_H
#define REMUDA_RELAY_DEST_H

#include "lib/base/list.h"
#include "lib/net/addr.h"
#include "relay/delivery/session.h"
#include "relay/node.h"

enum dest_status {
    DEST_PENDING,    /* the lookup is under way */
    DEST_OK,         /* hosts are known */
    DEST_NO_DOMAIN,  /* NXDOMAIN: bounce 5.1.2 */
    DEST_NULL_MX,    /* RFC 7505: bounce 5.1.10 */
    DEST_NO_HOST,    /* neither MX nor address, or no domain name: bounce 5.4.4 */
    DEST_DNS_FAILED, /* DNS trouble: defer 4.4.3 */
};

enum { DEST_HAS_V4 = 1, DEST_HAS_V6 = 2 };

struct dest_host {
    const char *name;    /* MX host, or what the route says, without port */
    uint16_t preference; /* routes: 0, 1, 2 ... in their order */
    uint16_t port;
};

struct dest {
    int refs;
    struct dests *cache;
    const char *domain;
    enum dest_status status;
    int provider; /* index into settings->router.providers of the time of the lookup */
    const char *provider_name;
    const char *site;        /* "" unless provider is other */
    struct dest_host *hosts; /* best first, random among equals */
    int n_hosts;
    bool from_route;
    enum tls_policy tls;
    const char *trouble;   /* DNS status in words, "" when well */
    uint64_t expires_ms;   /* loop time */
    uint64_t bad_until_us; /* no host could be reached: boot clock; 0 */
    const char *bad_text;  /* why, in words; owned */
    unsigned families;     /* all its hosts' addresses are of these kinds; 0: not known, any */
    /* private to dest.c */
    struct arena arena;
    struct list waiters;
    struct list lru;
    bool cached;
    struct dns_request *request;
};

struct dest_waiter {
    struct list node; /* list_init'ed by dest_wait */
    void (*ready)(struct dest_waiter *w);
};

struct dests;
struct dests *dests_new(struct shard *shard);
/* Waiters are dropped without a call. */
void dests_free(struct dests *d);
/* Provider numbers and routes may have changed: forgets all (holders keep theirs). */
void dests_forget(struct dests *d);

/* A reference to the destination of a domain (A-label, lower case), begun to be looked up when it is not
 * known. */
struct dest *dest_get(struct dests *all, struct span domain);
struct dest *dest_ref(struct dest *d);
void dest_unref(struct dest *d);
bool dest_fresh(const struct dest *d);
/* Calls w->ready once the status is no longer DEST_PENDING, never from inside; take w->node off its list to
 * cancel. The caller's reference must last until then. */
void dest_wait(struct dest *d, struct dest_waiter *w);
/* All hosts failed: nobody needs to try again before until_us. text is copied. */
void dest_mark_bad(struct dest *d, uint64_t until_us, const char *text);
/* Its hosts have addresses of one kind only. Looked up again soon: that may change any time. */
void dest_note_families(struct dest *d, unsigned families);
/* A connection came up. */
void dest_mark_good(struct dest *d);
/* True when host, with its port, is one of its hosts. */
bool dest_has_host(const struct dest *d, const struct dest_host *host);

#endif
