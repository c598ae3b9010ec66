/*
 * Where a link connects next: the hosts of its destination by preference, each one's addresses, and why one
 * is passed over. What it means that none is left is relay/delivery/outcome.c's.
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/net/dns.h"
#include "relay/delivery/delivery_private.h"
#include "relay/delivery/own.h"

enum { TRIES_MOST = 8 };

/* ---- the order of hosts ---- */

/* The hosts of the preference of this one: from the first to before the end. */
static int group_begin(const struct dest *d, int place)
{
    int from = place;
    while (from > 0 && d->hosts[from - 1].preference == d->hosts[place].preference)
        from--;
    return from;
}

static int group_end(const struct dest *d, int place)
{
    int to = place + 1;
    while (to < d->n_hosts && d->hosts[to].preference == d->hosts[place].preference)
        to++;
    return to;
}

/* The host at a place in the order: a group of equal preference begins where the seed says, so that
 * connections spread over its hosts (RFC 5321 5.1) and those of one round never meet a host twice. */
static int host_at(const struct dest *d, int place, uint32_t seed)
{
    int from = group_begin(d, place), to = group_end(d, place);
    return from + (int)(((uint32_t)(place - from) + seed) % (uint32_t)(to - from));
}

static void move_to(struct link *l, int place)
{
    dns_host_unref(l->addrs);
    l->addrs = NULL;
    l->addr = 0;
    l->place = place;
    if (place < l->dest->n_hosts)
        l->host = host_at(l->dest, place, l->seed);
}

/* ---- passing over ---- */

static void pass_over(struct link *l, enum outcome_failure why, const char *text)
{
    char words[512];
    if (l->failure == OUTCOME_FAILURE_PASSING && l->trouble)
        return; /* what a host said or did tells more */
    snprintf(words, sizeof(words), "%s: %s", l->dest->hosts[l->host].name, text);
    link_failed(l, words);
    free(l->trouble);
    l->trouble = strdup(words);
    ENSURE(l->trouble);
    l->refusal = (struct session_reply){0};
    if (why > l->failure)
        l->failure = why;
}

static bool anywhere_allowed(const struct link *l)
{
    return l->dest->from_route || l->owner->settings->delivery.allow_local;
}

/* False, and the reason noted, when mail must not go there. */
static bool may_connect(struct link *l, const struct addr *a)
{
    if (anywhere_allowed(l) || addr_is_public(a))
        return true;
    pass_over(l, OUTCOME_FAILURE_HOPELESS, "its address is local, private or reserved");
    return false;
}

unsigned hops_family(const struct owner *o, int source)
{
    struct addr a;
    bool good = addr_parse(span_str(o->settings->router.sources[source].address), &a);
    return good && addr_is_v4(&a) ? DEST_HAS_V4 : DEST_HAS_V6;
}

/* Connects to the next usable address of the host; false when it has none left. */
static bool try_addresses(struct link *l)
{
    unsigned own = hops_family(l->owner, l->source_index);
    while (l->addrs && l->addr < l->addrs->n_addrs && l->tries < TRIES_MOST) {
        struct addr a = l->addrs->addrs[l->addr++];
        unsigned family = addr_is_v4(&a) ? DEST_HAS_V4 : DEST_HAS_V6;
        l->families |= family;
        if (family != own || !may_connect(l, &a))
            continue;
        l->tries++;
        l->failure = OUTCOME_FAILURE_PASSING;
        link_connect(l, a);
        return true;
    }
    return false;
}

static void take_addresses(struct link *l, struct dns_host *h)
{
    l->addrs = dns_host_ref(h);
    if (h->status == DNS_OK)
        return;
    char text[128];
    snprintf(text, sizeof(text), "address lookup: %s", dns_status_name(h->status));
    bool passing = dns_status_temporary(h->status);
    pass_over(l, passing ? OUTCOME_FAILURE_PASSING : OUTCOME_FAILURE_HOPELESS, text);
}

/* ---- our own among the hosts ---- */

/* RFC 5321 5.1: hosts of the preference of one that is ourselves, or of a worse one, would only send the mail
 * back here, so all of a preference are looked at before one of them is tried. */
static void look_at_peer(struct link *l, const struct dns_host *h)
{
    l->peer++;
    for (int i = 0; i < h->n_addrs; i++) {
        if (!own_has(l->owner->delivery->own, &h->addrs[i]))
            continue;
        l->host = l->peer - 1;
        pass_over(l, OUTCOME_FAILURE_LOOP, "the mail would come back: this is an address of the relay's own");
        move_to(l, l->dest->n_hosts);
        return;
    }
}

static void on_peer(void *arg, struct dns_host *h)
{
    struct link *l = arg;
    l->request = NULL;
    l->dns_us = loop_now_us(l->owner->delivery->shard->loop) - l->started_us;
    look_at_peer(l, h);
    link_try_next(l);
}

/* False while an answer is awaited. */
static bool peers_looked_at(struct link *l)
{
    struct dns *dns = l->owner->delivery->shard->dns;
    int n = l->dest->n_hosts;
    if (anywhere_allowed(l) || l->place < l->peers_to)
        return true;
    int from = group_begin(l->dest, l->place), to = group_end(l->dest, l->place);
    if (l->peer < from)
        l->peer = from;
    while (l->peer < to && l->place < n) {
        const char *name = l->dest->hosts[l->peer].name;
        struct dns_host *known = dns_host_get(dns, name);
        if (!known) {
            l->request = dns_host_lookup(dns, name, on_peer, l);
            return false;
        }
        look_at_peer(l, known);
    }
    l->peers_to = to;
    return true;
}

/* ---- the walk ---- */

static void on_host(void *arg, struct dns_host *h)
{
    struct link *l = arg;
    l->request = NULL;
    l->dns_us = loop_now_us(l->owner->delivery->shard->loop) - l->started_us;
    take_addresses(l, h);
    link_try_next(l);
}

void link_hops_begin(struct link *l, struct sub *s)
{
    if (s->host_from == 0)
        s->host_seed = delivery_random(l->owner->delivery);
    else
        l->failure = OUTCOME_FAILURE_PASSING; /* those before have been tried in this round */
    l->seed = s->host_seed;
    move_to(l, s->host_from);
}

/* Addresses of the other kind than the source's are no failure of theirs. When there are no others the
 * destination remembers, and sources of that kind are chosen. */
static void note_families(struct link *l)
{
    if (!(l->families & ~hops_family(l->owner, l->source_index)))
        return;
    if (l->failure != OUTCOME_FAILURE_NONE) {
        l->failure = OUTCOME_FAILURE_PASSING;
        return;
    }
    dest_note_families(l->dest, l->families);
    l->failure = OUTCOME_FAILURE_SOURCE;
}

void link_try_next(struct link *l)
{
    struct dns *dns = l->owner->delivery->shard->dns;
    while (l->source_index >= 0 && l->tries < TRIES_MOST && l->place < l->dest->n_hosts) {
        if (!l->addrs && !peers_looked_at(l))
            return;
        if (l->addrs && try_addresses(l))
            return;
        if (l->place >= l->dest->n_hosts)
            break;
        if (l->addrs) {
            move_to(l, l->place + 1);
            continue;
        }
        const char *name = l->dest->hosts[l->host].name;
        struct dns_host *known = dns_host_get(dns, name);
        if (!known) {
            l->request = dns_host_lookup(dns, name, on_host, l);
            return;
        }
        take_addresses(l, known);
    }
    if (l->source_index >= 0)
        note_families(l);
    link_fail(l);
}
