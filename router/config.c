/* Looking up names, classifying MX sets, naming sites. */
#include "router/config.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/err.h"
#include "lib/base/map.h"

int router_source_find(const struct router_config *c, struct span name)
{
    for (int i = 0; i < c->n_sources; i++)
        if (span_eq(span_str(c->sources[i].name), name))
            return i;
    return -1;
}

int router_pool_find(const struct router_config *c, struct span name)
{
    for (int i = 0; i < c->n_pools; i++)
        if (span_eq(span_str(c->pools[i].name), name))
            return i;
    return -1;
}

int router_provider_find(const struct router_config *c, struct span name)
{
    for (int i = 0; i < c->n_providers; i++)
        if (span_eq(span_str(c->providers[i].name), name))
            return i;
    return -1;
}

/* Provider with the longest suffix that the host ends in; -1 for none. */
static int provider_of_host(const struct router_config *c, struct span host)
{
    int best = -1;
    size_t longest = 0;
    for (int i = 0; i < c->n_providers; i++) {
        const struct router_provider *p = &c->providers[i];
        for (int s = 0; s < p->n_mx_suffixes; s++) {
            struct span suffix = span_str(p->mx_suffixes[s]);
            if (suffix.len > longest && span_iends(host, suffix)) {
                longest = suffix.len;
                best = i;
            }
        }
    }
    return best;
}

static int provider_of_domain(const struct router_config *c, struct span domain)
{
    for (int i = 0; i < c->n_providers; i++)
        for (int d = 0; d < c->providers[i].n_domains; d++)
            if (span_ieq(span_str(c->providers[i].domains[d]), domain))
                return i;
    return -1;
}

static struct span without_dot(const char *host)
{
    struct span s = span_str(host);
    if (s.len && s.ptr[s.len - 1] == '.')
        s.len--;
    return s;
}

int router_classify(const struct router_config *c, struct span domain, const char *const *hosts, int n_hosts)
{
    int found = provider_of_domain(c, domain);
    if (found >= 0)
        return found;
    for (int i = 0; i < n_hosts; i++) {
        int p = provider_of_host(c, without_dot(hosts[i]));
        if (p < 0 || (found >= 0 && p != found))
            return ROUTER_OTHER;
        found = p;
    }
    return found < 0 ? ROUTER_OTHER : found;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static char *lower_copy(const char *host)
{
    struct span s = without_dot(host);
    char *copy = strndup(s.ptr, s.len);
    ENSURE(copy);
    for (char *p = copy; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p + 32);
    return copy;
}

void router_site(const char *const *hosts, int n_hosts, char out[ROUTER_SITE_MOST])
{
    enum { PLAIN_MOST = 160 };
    char **sorted = calloc((size_t)n_hosts + 1, sizeof(*sorted));
    ENSURE(sorted);
    size_t total = 0;
    for (int i = 0; i < n_hosts; i++) {
        sorted[i] = lower_copy(hosts[i]);
        total += strlen(sorted[i]) + 1;
    }
    qsort(sorted, (size_t)n_hosts, sizeof(*sorted), compare);
    char *all = malloc(total + 1);
    ENSURE(all);
    size_t len = 0;
    for (int i = 0; i < n_hosts; i++) {
        if (i && strcmp(sorted[i], sorted[i - 1]) == 0)
            continue;
        len += (size_t)sprintf(all + len, "%s%s", len ? "|" : "", sorted[i]);
    }
    all[len] = '\0';
    if (len <= PLAIN_MOST)
        memcpy(out, all, len + 1);
    else
        snprintf(out, ROUTER_SITE_MOST, "%.*s#%016llx", PLAIN_MOST, all,
                 (unsigned long long)hash64(all, len));
    for (int i = 0; i < n_hosts; i++)
        free(sorted[i]);
    free(sorted);
    free(all);
}
