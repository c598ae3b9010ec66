/* The cache of destinations, filled from static routes and the shard's DNS. What a status means for mail is
 * decided in relay/delivery/settle.c. */
#include "relay/dest.h"

#include <stdlib.h>

#include "lib/base/map.h"
#include "lib/net/dns.h"
#include "lib/net/loop.h"
#include "lib/smtp/address.h"
#include "relay/classify.h"

enum { DESTS_MOST = 100000, ROUTE_MS = 60000, FAILED_MS = 30000 };

struct dests {
    struct shard *shard;
    struct map by_domain;
    struct list lru; /* least recently used first */
};

struct dests *dests_new(struct shard *shard)
{
    struct dests *d = calloc(1, sizeof(*d));
    ENSURE(d);
    d->shard = shard;
    list_init(&d->lru);
    return d;
}

struct dest *dest_ref(struct dest *d)
{
    ENSURE(d->refs > 0);
    d->refs++;
    return d;
}

void dest_unref(struct dest *d)
{
    if (!d || --d->refs > 0)
        return;
    if (d->request)
        dns_cancel(d->request);
    free((void *)(uintptr_t)d->bad_text);
    arena_fini(&d->arena);
    free(d);
}

static void forget(struct dests *all, struct dest *d)
{
    if (!d->cached)
        return;
    d->cached = false;
    list_remove(&d->lru);
    map_remove(&all->by_domain, span_str(d->domain));
    dest_unref(d);
}

void dests_forget(struct dests *d)
{
    while (!list_empty(&d->lru))
        forget(d, CONTAINER_OF(d->lru.next, struct dest, lru));
}

void dests_free(struct dests *d)
{
    dests_forget(d);
    map_fini(&d->by_domain);
    free(d);
}

/* ---- filling ---- */

static enum tls_policy policy_of(const char *word)
{
    if (word && strcmp(word, "required") == 0)
        return TLS_POLICY_REQUIRED;
    if (word && strcmp(word, "none") == 0)
        return TLS_POLICY_NONE;
    return TLS_POLICY_OPPORTUNISTIC;
}

static void classify(struct dest *d)
{
    const struct router_config *router = &d->cache->shard->settings->router;
    const char **names = arena_alloc(&d->arena, sizeof(*names) * (size_t)(d->n_hosts + 1));
    for (int i = 0; i < d->n_hosts; i++)
        names[i] = d->hosts[i].name;
    d->provider = router_classify(router, span_str(d->domain), names, d->n_hosts);
    d->provider_name = arena_strdup(&d->arena, router->providers[d->provider].name);
    if (router->providers[d->provider].tls_required && d->tls == TLS_POLICY_OPPORTUNISTIC && !d->from_route)
        d->tls = TLS_POLICY_REQUIRED;
    if (d->provider != ROUTER_OTHER)
        return;
    char site[ROUTER_SITE_MOST];
    if (d->from_route)
        d->site = arena_printf(&d->arena, "route:%s", d->domain);
    else {
        router_site(names, d->n_hosts, site);
        d->site = arena_strdup(&d->arena, site);
    }
}

static void wake(struct dest *d)
{
    dest_ref(d);
    struct list *node;
    while ((node = list_pop_front(&d->waiters))) {
        struct dest_waiter *w = CONTAINER_OF(node, struct dest_waiter, node);
        w->ready(w);
    }
    dest_unref(d);
}

/* "host:port", "[v6]:port", "host": cuts the port off. */
static void parse_route_host(struct dest *d, const char *text, int i)
{
    struct dest_host *h = &d->hosts[i];
    const char *colon = strrchr(text, ':');
    uint64_t port = 25;
    size_t len = strlen(text);
    bool bare_v6 = colon && strchr(text, ':') != colon && text[0] != '[';
    if (colon && !bare_v6 && span_u64(span_str(colon + 1), &port))
        len = (size_t)(colon - text);
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    *h = (struct dest_host){
        .name = arena_strndup(&d->arena, text, len), .preference = (uint16_t)i, .port = (uint16_t)port};
}

static void fill_from_route(struct dest *d, const struct settings_route *route)
{
    d->n_hosts = route->n_hosts;
    d->hosts = arena_alloc(&d->arena, sizeof(*d->hosts) * (size_t)route->n_hosts);
    for (int i = 0; i < route->n_hosts; i++)
        parse_route_host(d, route->hosts[i], i);
    d->from_route = true;
    d->tls = policy_of(route->tls);
    d->status = DEST_OK;
    d->expires_ms = loop_now_ms(d->cache->shard->loop) + ROUTE_MS;
    classify(d);
}

static enum dest_status status_of(enum dns_status s)
{
    switch (s) {
    case DNS_OK:
        return DEST_OK;
    case DNS_NXDOMAIN:
        return DEST_NO_DOMAIN;
    case DNS_NULL_MX:
        return DEST_NULL_MX;
    case DNS_NODATA:
    case DNS_BADNAME:
        return DEST_NO_HOST;
    default:
        return DEST_DNS_FAILED;
    }
}

static void fill_from_mx(struct dest *d, struct dns_mx *mx)
{
    struct shard *shard = d->cache->shard;
    d->status = status_of(mx->status);
    d->expires_ms = mx->expires_ms;
    if (d->status == DEST_DNS_FAILED || dns_mx_is_stale(shard->dns, mx))
        d->expires_ms = loop_now_ms(shard->loop) + FAILED_MS;
    if (d->status != DEST_OK) {
        d->trouble = dns_status_name(mx->status);
        return;
    }
    int *order = arena_alloc(&d->arena, sizeof(*order) * (size_t)mx->n_hosts);
    dns_mx_order(shard->dns, mx, order);
    d->n_hosts = mx->n_hosts;
    d->hosts = arena_alloc(&d->arena, sizeof(*d->hosts) * (size_t)mx->n_hosts);
    for (int i = 0; i < mx->n_hosts; i++) {
        const struct dns_mx_host *from = &mx->hosts[order[i]];
        d->hosts[i] = (struct dest_host){.name = arena_strdup(&d->arena, from->name),
                                         .preference = from->preference,
                                         .port = shard->settings->delivery.port};
    }
    classify(d);
}

static void on_mx(void *arg, struct dns_mx *mx)
{
    struct dest *d = arg;
    d->request = NULL;
    fill_from_mx(d, mx);
    wake(d);
}

/* "[192.0.2.1]": the host itself, without DNS (RFC 5321 5.1). */
static void fill_from_literal(struct dest *d)
{
    char address[46];
    struct shard *shard = d->cache->shard;
    d->expires_ms = loop_now_ms(shard->loop) + ROUTE_MS;
    d->status = DEST_NO_HOST;
    d->trouble = "not an address";
    if (smtp_literal_address(span_str(d->domain), address) != RM_OK)
        return;
    d->n_hosts = 1;
    d->hosts = arena_alloc(&d->arena, sizeof(*d->hosts));
    d->hosts[0] =
        (struct dest_host){.name = arena_strdup(&d->arena, address), .port = shard->settings->delivery.port};
    d->status = DEST_OK;
    classify(d);
}

static void begin(struct dest *d)
{
    struct shard *shard = d->cache->shard;
    d->tls = policy_of(shard->settings->delivery.tls);
    const struct settings_route *route = settings_route_find(shard->settings, span_str(d->domain));
    if (route) {
        fill_from_route(d, route);
        return;
    }
    if (d->domain[0] == '[') {
        fill_from_literal(d);
        return;
    }
    struct dns_mx *known = dns_mx_get(shard->dns, d->domain);
    if (known)
        fill_from_mx(d, known);
    else
        d->request = dns_mx_lookup(shard->dns, d->domain, on_mx, d);
}

/* ---- asking ---- */

bool dest_fresh(const struct dest *d)
{
    return d->status == DEST_PENDING || loop_now_ms(d->cache->shard->loop) < d->expires_ms;
}

static struct dest *create(struct dests *all, struct span domain)
{
    struct dest *d = calloc(1, sizeof(*d));
    ENSURE(d);
    d->refs = 1;
    d->cache = all;
    d->domain = arena_dup_span(&d->arena, domain);
    d->site = d->trouble = "";
    d->provider_name = "other";
    d->provider = ROUTER_OTHER;
    list_init(&d->waiters);
    list_init(&d->lru);
    d->cached = true;
    map_put(&all->by_domain, domain, d);
    list_push_back(&all->lru, &d->lru);
    begin(d);
    return d;
}

struct dest *dest_get(struct dests *all, struct span domain)
{
    struct dest *d = map_get(&all->by_domain, domain);
    struct dest *old = NULL;
    if (d && !dest_fresh(d)) {
        old = dest_ref(d);
        forget(all, d);
        d = NULL;
    }
    if (!d) {
        if (all->by_domain.count >= DESTS_MOST)
            forget(all, CONTAINER_OF(all->lru.next, struct dest, lru));
        d = create(all, domain);
        if (old && old->bad_until_us)
            dest_mark_bad(d, old->bad_until_us, old->bad_text);
    } else if (d->lru.next != &all->lru) {
        list_remove(&d->lru);
        list_push_back(&all->lru, &d->lru);
    }
    dest_unref(old);
    return dest_ref(d);
}

void dest_wait(struct dest *d, struct dest_waiter *w)
{
    ENSURE(d->status == DEST_PENDING);
    list_push_back(&d->waiters, &w->node);
}

void dest_mark_bad(struct dest *d, uint64_t until_us, const char *text)
{
    char *copy = strdup(text ? text : "");
    ENSURE(copy);
    free((void *)(uintptr_t)d->bad_text);
    d->bad_text = copy;
    d->bad_until_us = until_us;
}

void dest_note_families(struct dest *d, unsigned families)
{
    uint64_t again_ms = loop_now_ms(d->cache->shard->loop) + FAILED_MS;
    d->families = families;
    if (again_ms < d->expires_ms)
        d->expires_ms = again_ms;
}

void dest_mark_good(struct dest *d)
{
    d->bad_until_us = 0;
}

bool dest_has_host(const struct dest *d, const struct dest_host *host)
{
    for (int i = 0; i < d->n_hosts; i++)
        if (d->hosts[i].port == host->port && strcmp(d->hosts[i].name, host->name) == 0)
            return true;
    return false;
}

void classify_begin(struct shard *shard, struct span domain)
{
    dest_unref(dest_get(shard->dests, domain));
}

int classify_now(struct shard *shard, struct span domain)
{
    struct dest *d = dest_get(shard->dests, domain);
    int provider = d->status == DEST_OK ? d->provider : ROUTER_OTHER;
    dest_unref(d);
    return provider;
}
