/* The cache of answers and who waits for them. Finding an answer is dns_answer.c's; packets and sockets are
 * dns_parse.c's and dns_query.c's. */
#include "lib/net/dns.h"

#include <stdlib.h>

#include "lib/net/dns_private.h"

enum { TRIM_LOOKS = 16 };

static const uint64_t day_ms = 24 * 3600 * 1000;

const char *dns_status_name(enum dns_status s)
{
    static const char *const names[] = {
        [DNS_OK] = "ok",           [DNS_NODATA] = "no such record",     [DNS_NXDOMAIN] = "NXDOMAIN",
        [DNS_NULL_MX] = "null MX", [DNS_SERVFAIL] = "SERVFAIL",         [DNS_TIMEOUT] = "timeout",
        [DNS_LOOP] = "CNAME loop", [DNS_BADNAME] = "not a domain name",
    };
    return names[s];
}

bool dns_status_temporary(enum dns_status s)
{
    return s == DNS_SERVFAIL || s == DNS_TIMEOUT || s == DNS_LOOP;
}

uint64_t dns_now_ms(const struct dns *d)
{
    return d->options.now_ms ? d->options.now_ms(d->options.arg) : loop_now_ms(d->loop);
}

uint32_t dns_random(struct dns *d, uint32_t n)
{
    return d->options.random ? d->options.random(d->options.arg, n) : arc4random_uniform(n);
}

/* ---- answers --------------------------------------------------------------------------------- */

struct dns_mx *dns_mx_ref(struct dns_mx *mx)
{
    mx->refs++;
    return mx;
}

void dns_mx_unref(struct dns_mx *mx)
{
    if (mx && --mx->refs == 0)
        free(mx);
}

struct dns_host *dns_host_ref(struct dns_host *h)
{
    h->refs++;
    return h;
}

void dns_host_unref(struct dns_host *h)
{
    if (h && --h->refs == 0)
        free(h);
}

bool dns_mx_is_stale(const struct dns *d, const struct dns_mx *mx)
{
    return mx->status == DNS_OK && dns_now_ms(d) >= mx->expires_ms;
}

bool dns_host_is_stale(const struct dns *d, const struct dns_host *h)
{
    return h->status == DNS_OK && dns_now_ms(d) >= h->expires_ms;
}

void dns_mx_order(struct dns *d, const struct dns_mx *mx, int *order)
{
    for (int i = 0; i < mx->n_hosts; i++)
        order[i] = i;
    for (int from = 0, to; from < mx->n_hosts; from = to) {
        for (to = from + 1; to < mx->n_hosts && mx->hosts[to].preference == mx->hosts[from].preference;)
            to++;
        for (int i = to - 1; i > from; i--) {
            int j = from + (int)dns_random(d, (uint32_t)(i - from + 1));
            int swap = order[i];
            order[i] = order[j];
            order[j] = swap;
        }
    }
}

/* ---- entries --------------------------------------------------------------------------------- */

static void drop_answer(struct dns_entry *e)
{
    if (e->kind == DNS_KIND_MX)
        dns_mx_unref(e->mx);
    else
        dns_host_unref(e->host);
}

static enum dns_status status_of(const struct dns_entry *e)
{
    return e->kind == DNS_KIND_MX ? e->mx->status : e->host->status;
}

static uint64_t expires_of(const struct dns_entry *e)
{
    return e->kind == DNS_KIND_MX ? e->mx->expires_ms : e->host->expires_ms;
}

static bool has_answer(const struct dns_entry *e)
{
    return e->kind == DNS_KIND_MX ? e->mx != NULL : e->host != NULL;
}

static bool fresh(const struct dns_entry *e)
{
    uint64_t now = dns_now_ms(e->dns);
    return has_answer(e) && (now < expires_of(e) || now < e->retry_ms);
}

static struct span key_of(enum dns_kind kind, const char *name, char key[DNS_NAME + 1])
{
    key[0] = (char)kind;
    strcpy(key + 1, name);
    return span_of(key, strlen(name) + 1);
}

static void entry_free(struct dns_entry *e)
{
    char key[DNS_NAME + 1];
    map_remove(&e->dns->cache, key_of(e->kind, e->name, key));
    list_remove(&e->lru);
    list_remove(&e->finished);
    for (struct list *it; (it = list_pop_front(&e->waiters));)
        free(CONTAINER_OF(it, struct dns_request, link));
    drop_answer(e);
    free(e);
}

/* At the end of the turn, so that what dns_mx_get lent stays. */
static void trim(struct loop_defer *defer)
{
    struct dns *d = CONTAINER_OF(defer, struct dns, trim);
    struct list *it = d->lru.prev;
    for (int looks = 0; d->cache.count > d->options.cache_entries && it != &d->lru && looks < TRIM_LOOKS;
         looks++) {
        struct dns_entry *e = CONTAINER_OF(it, struct dns_entry, lru);
        it = it->prev;
        if (!e->asking && list_empty(&e->waiters) && list_empty(&e->finished)) {
            entry_free(e);
            looks = 0;
        }
    }
}

static struct dns_entry *entry_find(struct dns *d, enum dns_kind kind, const char *name)
{
    char key[DNS_NAME + 1];
    struct dns_entry *e = map_get(&d->cache, key_of(kind, name, key));
    if (e) {
        list_remove(&e->lru);
        list_push_front(&d->lru, &e->lru);
    }
    return e;
}

static struct dns_entry *entry_get(struct dns *d, enum dns_kind kind, const char *name)
{
    struct dns_entry *e = entry_find(d, kind, name);
    if (e)
        return e;
    size_t len = strlen(name) + 1;
    char key[DNS_NAME + 1];
    e = calloc(1, sizeof(*e) + len);
    ENSURE(e);
    e->dns = d;
    e->kind = kind;
    memcpy(e->name, name, len);
    list_init(&e->finished);
    list_init(&e->waiters);
    list_push_front(&d->lru, &e->lru);
    map_put(&d->cache, key_of(kind, name, key), e);
    if (d->cache.count > d->options.cache_entries)
        loop_defer(d->loop, &d->trim, trim);
    return e;
}

/* ---- waiters --------------------------------------------------------------------------------- */

static void tell(struct dns_entry *e)
{
    struct list now;
    list_init(&now);
    /* Who asks from inside a callback waits for the next turn. */
    for (struct list *it; (it = list_pop_front(&e->waiters));)
        list_push_back(&now, it);
    struct dns_mx *mx = e->kind == DNS_KIND_MX ? dns_mx_ref(e->mx) : NULL;
    struct dns_host *host = mx ? NULL : dns_host_ref(e->host);
    for (struct list *it; (it = list_pop_front(&now));) {
        struct dns_request *r = CONTAINER_OF(it, struct dns_request, link);
        if (mx)
            r->fn.mx(r->arg, mx);
        else
            r->fn.host(r->arg, host);
        free(r);
    }
    dns_mx_unref(mx);
    dns_host_unref(host);
}

static void deliver(struct loop_defer *defer)
{
    struct dns *d = CONTAINER_OF(defer, struct dns, deliver);
    struct list now;
    list_init(&now);
    for (struct list *it; (it = list_pop_front(&d->finished));)
        list_push_back(&now, it);
    for (struct list *it; (it = list_pop_front(&now));)
        tell(CONTAINER_OF(it, struct dns_entry, finished));
}

static void tell_later(struct dns_entry *e)
{
    if (list_empty(&e->finished))
        list_push_back(&e->dns->finished, &e->finished);
    loop_defer(e->dns->loop, &e->dns->deliver, deliver);
}

/* A failed refresh leaves a good answer in place as long as it may be served stale. */
static bool keeps_old(const struct dns_entry *e, enum dns_status status)
{
    return dns_status_temporary(status) && has_answer(e) && status_of(e) == DNS_OK &&
           dns_now_ms(e->dns) < expires_of(e) + e->dns->options.stale_ms;
}

void dns_entry_finish(struct dns_entry *e, struct dns_mx *mx, struct dns_host *host)
{
    struct dns *d = e->dns;
    ENSURE(mx || host);
    enum dns_status status = mx ? mx->status : host->status;
    e->asking = false;
    if (dns_status_temporary(status))
        d->stats.failures++;
    if (keeps_old(e, status)) {
        e->retry_ms = dns_now_ms(d) + DNS_RETRY_MS;
        dns_mx_unref(mx);
        dns_host_unref(host);
    } else {
        drop_answer(e);
        e->retry_ms = 0;
        if (mx)
            e->mx = mx;
        else
            e->host = host;
    }
    tell_later(e);
}

static struct dns_request *wait_for(struct dns_entry *e, void *arg)
{
    struct dns_request *r = calloc(1, sizeof(*r));
    ENSURE(r);
    r->arg = arg;
    list_push_back(&e->waiters, &r->link);
    return r;
}

void dns_cancel(struct dns_request *r)
{
    list_remove(&r->link);
    free(r);
}

/* ---- asking ---------------------------------------------------------------------------------- */

/* Counts what an entry that is served fresh or asked anew means. */
static void count(struct dns_entry *e, bool hit)
{
    struct dns_stats *s = &e->dns->stats;
    if (!hit)
        s->misses++;
    else if (dns_now_ms(e->dns) >= expires_of(e))
        s->stale++;
    else
        s->hits++;
}

struct dns_mx *dns_mx_get(struct dns *d, const char *domain)
{
    char name[DNS_NAME];
    struct dns_entry *e = dns_name_normalise(domain, name) ? entry_find(d, DNS_KIND_MX, name) : NULL;
    if (!e || !fresh(e))
        return NULL;
    count(e, true);
    return e->mx;
}

struct dns_request *dns_mx_lookup(struct dns *d, const char *domain, dns_mx_cb fn, void *arg)
{
    char name[DNS_NAME];
    bool good = dns_name_normalise(domain, name);
    struct dns_entry *e = entry_get(d, DNS_KIND_MX, good ? name : "");
    struct dns_request *r = wait_for(e, arg);
    r->fn.mx = fn;
    bool hit = fresh(e);
    count(e, hit);
    if (hit)
        tell_later(e);
    else if (!good)
        dns_entry_finish(e, dns_mx_make(DNS_BADNAME, dns_now_ms(d) + day_ms, NULL, 0), NULL);
    else if (!e->asking)
        dns_mx_ask(e);
    return r;
}

/* The key of a host: its normalised name, or an address in its usual form. */
static bool host_key(const char *host, char name[DNS_NAME], struct addr *literal, bool *is_literal)
{
    char text[ADDR_TEXT];
    *is_literal = addr_parse(span_str(host), literal);
    if (!*is_literal)
        return dns_name_normalise(host, name);
    strcpy(name, addr_text(literal, text));
    return true;
}

struct dns_host *dns_host_get(struct dns *d, const char *host)
{
    char name[DNS_NAME];
    struct addr literal;
    bool is_literal;
    struct dns_entry *e =
        host_key(host, name, &literal, &is_literal) ? entry_find(d, DNS_KIND_HOST, name) : NULL;
    if (!e || !fresh(e))
        return NULL;
    count(e, true);
    return e->host;
}

struct dns_request *dns_host_lookup(struct dns *d, const char *host, dns_host_cb fn, void *arg)
{
    char name[DNS_NAME];
    struct addr literal;
    bool is_literal, good = host_key(host, name, &literal, &is_literal);
    struct dns_entry *e = entry_get(d, DNS_KIND_HOST, good ? name : "");
    struct dns_request *r = wait_for(e, arg);
    r->fn.host = fn;
    bool hit = fresh(e);
    count(e, hit);
    if (hit)
        tell_later(e);
    else if (!good || is_literal)
        dns_entry_finish(e, NULL,
                         dns_host_make(good ? DNS_OK : DNS_BADNAME, dns_now_ms(d) + day_ms, &literal, good));
    else if (!e->asking)
        dns_host_ask(e);
    return r;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void fill_defaults(struct dns_options *o)
{
    o->timeout_ms = o->timeout_ms ? o->timeout_ms : 2000;
    o->tries = o->tries > 0 ? o->tries : 3;
    o->cache_entries = o->cache_entries ? o->cache_entries : 100000;
    o->stale_ms = o->stale_ms ? o->stale_ms : 7 * day_ms;
    o->negative_ms = o->negative_ms ? o->negative_ms : 3600 * 1000;
    o->servers = NULL;
    o->n_servers = 0;
}

int dns_new(struct loop *l, const struct dns_options *options, struct dns **out)
{
    *out = NULL;
    struct dns *d = calloc(1, sizeof(*d));
    ENSURE(d);
    d->loop = l;
    d->options = *options;
    fill_defaults(&d->options);
    map_init(&d->cache);
    list_init(&d->lru);
    list_init(&d->finished);
    int err = dns_channel_open(d, options);
    if (err) {
        dns_free(d);
        return err;
    }
    *out = d;
    return RM_OK;
}

void dns_free(struct dns *d)
{
    if (!d)
        return;
    dns_channel_close(d);
    loop_defer_cancel(d->loop, &d->deliver);
    loop_defer_cancel(d->loop, &d->trim);
    while (!list_empty(&d->lru))
        entry_free(CONTAINER_OF(d->lru.next, struct dns_entry, lru));
    map_fini(&d->cache);
    free(d);
}

struct dns_stats dns_stats(const struct dns *d)
{
    struct dns_stats s = d->stats;
    s.entries = (uint32_t)d->cache.count;
    return s;
}
