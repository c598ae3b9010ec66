/*
 * The resolver as its files share it: dns_parse.c reads answers, dns_query.c sends one question (c-ares),
 * dns.c caches and tells the waiters, dns_answer.c makes MX and address answers out of questions.
 */
#ifndef REMUDA_LIB_NET_DNS_PRIVATE_H
#define REMUDA_LIB_NET_DNS_PRIVATE_H

#include <ares.h>
#include <arpa/nameser.h>

#include "lib/base/map.h"
#include "lib/net/dns.h"
#include "lib/net/loop_private.h"

enum {
    DNS_RECORDS = 64,     /* of one answer; more are ignored */
    DNS_NAME = 256,       /* text of a domain with its NUL */
    DNS_HOPS = 8,         /* CNAMEs asked for one by one */
    DNS_RETRY_MS = 30000, /* after a failure */
    DNS_TTL_LEAST = 5,    /* seconds */
    DNS_TTL_MOST = 86400,
    DNS_TTL_NO_SOA = 60, /* of a negative answer without SOA */
};

struct dns_record {
    char name[DNS_NAME]; /* MX */
    uint16_t preference;
    uint8_t ip[16]; /* A, AAAA */
};

/* What one packet (or the chain of them) says to one question. */
struct dns_reply {
    enum dns_status status;
    uint32_t ttl;          /* seconds, bounded */
    char target[DNS_NAME]; /* the name at the end of the CNAMEs */
    bool dangling;         /* the packet ends in a CNAME and says nothing of its target: ask for it */
    int n;
    struct dns_record records[DNS_RECORDS];
};

/* Lower case, no final dot; false when it is no domain name. */
bool dns_name_normalise(const char *name, char out[DNS_NAME]);
/* Reads a packet that answers (name, type). */
void dns_reply_parse(const unsigned char *packet, int len, const char *name, int type, struct dns_reply *out);

/* dns_query.c */
/* fn is called exactly once, perhaps before the call returns; with NULL when the resolver is being freed. */
typedef void (*dns_reply_fn)(void *arg, const struct dns_reply *reply);
void dns_query_send(struct dns *d, const char *name, int type, dns_reply_fn fn, void *arg);
int dns_channel_open(struct dns *d, const struct dns_options *options) MUST_CHECK;
void dns_channel_close(struct dns *d);

enum dns_kind { DNS_KIND_MX = 'M', DNS_KIND_HOST = 'H' };

/* One name of one kind: its answer, its place in the cache, who waits. */
struct dns_entry {
    struct list lru;
    struct list finished; /* on dns->finished while waiters must be told */
    struct list waiters;
    struct dns *dns;
    enum dns_kind kind;
    bool asking;
    uint64_t retry_ms; /* the last refresh failed: not before */
    uint64_t no_mx_ms; /* until when "no MX" holds, while the fallback is looked up */
    union {
        struct dns_mx *mx;
        struct dns_host *host;
    };
    char name[];
};

struct dns_request {
    struct list link;
    union {
        dns_mx_cb mx;
        dns_host_cb host;
    } fn;
    void *arg;
};

struct dns {
    struct loop *loop;
    ares_channel channel;
    bool open;
    struct list sockets;
    struct loop_timer timer;
    struct loop_defer deliver, trim;
    struct map cache;
    struct list lru; /* most recent first */
    struct list finished;
    struct dns_options options; /* defaults filled in; servers not kept */
    struct dns_stats stats;
};

/* dns.c */
uint64_t dns_now_ms(const struct dns *d);
uint32_t dns_random(struct dns *d, uint32_t n);
/* The question of an entry is answered: takes the reference of mx or host, keeps the old answer where that is
 * better, wakes the waiters. */
void dns_entry_finish(struct dns_entry *e, struct dns_mx *mx, struct dns_host *host);

/* dns_answer.c */
struct dns_mx *dns_mx_make(enum dns_status status, uint64_t expires_ms, const struct dns_record *records,
                           int n);
struct dns_host *dns_host_make(enum dns_status status, uint64_t expires_ms, const struct addr *addrs, int n);
/* Begins to find the answer of an entry; dns_entry_finish follows, perhaps at once. */
void dns_mx_ask(struct dns_entry *e);
void dns_host_ask(struct dns_entry *e);

#endif
