/* Answers made out of questions: the MX set with its fallback to an address, and the addresses of a host from
 * A and AAAA asked together. */
#include <stdlib.h>

#include "lib/net/dns_private.h"

/* ---- making ---------------------------------------------------------------------------------- */

static int by_preference(const void *a, const void *b)
{
    const struct dns_record *x = a, *y = b;
    if (x->preference != y->preference)
        return x->preference < y->preference ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* One block: the struct, the hosts, their names. */
struct dns_mx *dns_mx_make(enum dns_status status, uint64_t expires_ms, const struct dns_record *records,
                           int n)
{
    size_t bytes = sizeof(struct dns_mx) + (size_t)n * sizeof(struct dns_mx_host);
    size_t names = bytes;
    for (int i = 0; i < n; i++)
        bytes += strlen(records[i].name) + 1;
    struct dns_mx *mx = calloc(1, bytes);
    ENSURE(mx);
    *mx = (struct dns_mx){.refs = 1, .status = status, .expires_ms = expires_ms, .n_hosts = n};
    char *at = (char *)mx + names;
    for (int i = 0; i < n; i++) {
        mx->hosts[i] = (struct dns_mx_host){.name = at, .preference = records[i].preference};
        strcpy(at, records[i].name);
        at += strlen(at) + 1;
    }
    return mx;
}

struct dns_host *dns_host_make(enum dns_status status, uint64_t expires_ms, const struct addr *addrs, int n)
{
    struct dns_host *h = calloc(1, sizeof(*h) + (size_t)n * sizeof(struct addr));
    ENSURE(h);
    *h = (struct dns_host){.refs = 1, .status = status, .expires_ms = expires_ms, .n_addrs = n};
    if (n)
        memcpy(h->addrs, addrs, (size_t)n * sizeof(struct addr));
    return h;
}

static uint64_t expiry(const struct dns *d, enum dns_status status, uint32_t ttl)
{
    uint64_t ms = (uint64_t)ttl * 1000;
    if (status != DNS_OK && ms > d->options.negative_ms)
        ms = d->options.negative_ms;
    if (dns_status_temporary(status))
        ms = DNS_RETRY_MS;
    return dns_now_ms(d) + ms;
}

/* ---- MX -------------------------------------------------------------------------------------- */

/* No MX: the domain's own address will do, preference 0 (RFC 5321 5.1). The negative MX answer and the
 * address each bound how long. */
static void on_fallback(void *arg, struct dns_host *h)
{
    struct dns_entry *e = arg;
    struct dns_record self = {.preference = 0};
    strcpy(self.name, e->name);
    uint64_t expires = h->expires_ms < e->no_mx_ms ? h->expires_ms : e->no_mx_ms;
    if (dns_host_is_stale(e->dns, h))
        expires = dns_now_ms(e->dns) + DNS_RETRY_MS;
    struct dns_mx *mx = dns_mx_make(h->status, expires, &self, h->status == DNS_OK);
    mx->implicit = h->status == DNS_OK;
    dns_entry_finish(e, mx, NULL);
}

static void on_mx(void *arg, const struct dns_reply *reply)
{
    struct dns_entry *e = arg;
    if (!reply)
        return;
    uint64_t expires = expiry(e->dns, reply->status, reply->ttl);
    if (reply->status == DNS_NODATA) {
        e->no_mx_ms = expires;
        dns_host_lookup(e->dns, e->name, on_fallback, e);
        return;
    }
    struct dns_record *sorted = malloc(sizeof(struct dns_record) * DNS_RECORDS);
    ENSURE(sorted);
    memcpy(sorted, reply->records, (size_t)reply->n * sizeof(*sorted));
    qsort(sorted, (size_t)reply->n, sizeof(*sorted), by_preference);
    int n = reply->status == DNS_OK ? reply->n : 0;
    dns_entry_finish(e, dns_mx_make(reply->status, expires, sorted, n), NULL);
    free(sorted);
}

void dns_mx_ask(struct dns_entry *e)
{
    e->asking = true;
    dns_query_send(e->dns, e->name, ns_t_mx, on_mx, e);
}

/* ---- addresses ------------------------------------------------------------------------------- */

struct host_job {
    struct dns_entry *entry;
    int open; /* questions without answer */
    int n;
    uint64_t expires_ms;
    enum dns_status status[2]; /* of AAAA, A */
    struct addr addrs[2 * DNS_RECORDS];
};

/* One family suffices; else trouble that may pass wins over "no such". */
static enum dns_status combine(const struct host_job *job)
{
    enum dns_status a = job->status[0], b = job->status[1];
    if (a == DNS_OK || b == DNS_OK)
        return DNS_OK;
    if (dns_status_temporary(a))
        return a;
    return dns_status_temporary(b) || b == DNS_NXDOMAIN ? b : a;
}

static void host_answer(struct host_job *job, int family, const struct dns_reply *reply)
{
    struct dns *d = job->entry->dns;
    if (!reply) {
        if (--job->open == 0)
            free(job);
        return;
    }
    job->status[family] = reply->status;
    uint64_t expires = expiry(d, reply->status, reply->ttl);
    if (expires < job->expires_ms)
        job->expires_ms = expires;
    int n = reply->status == DNS_OK ? reply->n : 0;
    /* IPv6 goes in front, whichever answer came first. */
    int at = family == 0 ? 0 : job->n;
    memmove(job->addrs + at + n, job->addrs + at, (size_t)(job->n - at) * sizeof(struct addr));
    for (int i = 0; i < n; i++)
        job->addrs[at + i] = addr_of_ip(reply->records[i].ip, 0);
    job->n += n;
    if (--job->open > 0)
        return;
    dns_entry_finish(job->entry, NULL, dns_host_make(combine(job), job->expires_ms, job->addrs, job->n));
    free(job);
}

static void on_aaaa(void *arg, const struct dns_reply *reply)
{
    host_answer(arg, 0, reply);
}

static void on_a(void *arg, const struct dns_reply *reply)
{
    host_answer(arg, 1, reply);
}

void dns_host_ask(struct dns_entry *e)
{
    struct host_job *job = calloc(1, sizeof(*job));
    ENSURE(job);
    bool v6 = !e->dns->options.no_ipv6;
    e->asking = true;
    *job = (struct host_job){.entry = e, .open = v6 ? 2 : 1, .expires_ms = UINT64_MAX};
    job->status[0] = DNS_NODATA;
    if (v6)
        dns_query_send(e->dns, e->name, ns_t_aaaa, on_aaaa, job);
    dns_query_send(e->dns, e->name, ns_t_a, on_a, job);
}
