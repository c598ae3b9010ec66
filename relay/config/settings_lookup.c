/* Questions that sessions ask a snapshot: whose client, whose login, which sender domains, which route. */
#include "relay/config/settings_private.h"

static const struct settings_file *file_of(const struct settings *s)
{
    return (const struct settings_file *)s;
}

bool settings_network_has(const struct settings_network *n, const uint8_t address[16])
{
    int whole = n->bits / 8, rest = n->bits % 8;
    if (memcmp(n->prefix, address, (size_t)whole) != 0)
        return false;
    return rest == 0 || ((n->prefix[whole] ^ address[whole]) >> (8 - rest)) == 0;
}

int settings_tenant_by_address(const struct settings *s, const uint8_t address[16])
{
    int best = -1, longest = -1;
    for (int t = 0; t < s->n_tenants; t++) {
        for (int i = 0; i < s->tenants[t].n_networks; i++) {
            const struct settings_network *n = &s->tenants[t].networks[i];
            if (n->bits <= longest || !settings_network_has(n, address))
                continue;
            longest = n->bits;
            best = t;
        }
    }
    return best;
}

int settings_tenant_by_user(const struct settings *s, struct span user, const struct settings_user **out)
{
    const struct settings_login *login = map_get(&file_of(s)->logins, user);
    *out = login ? login->user : NULL;
    return login ? login->tenant : -1;
}

bool settings_tenant_may_send(const struct settings_tenant *t, struct span sender_domain)
{
    for (int i = 0; i < t->n_domains; i++) {
        struct span pattern = span_str(t->domains[i]);
        if (span_eq(pattern, SPAN_LIT("*")) || span_ieq(pattern, sender_domain))
            return true;
        if (pattern.ptr[0] == '.' && sender_domain.len > pattern.len && span_iends(sender_domain, pattern))
            return true;
    }
    return false;
}

const struct settings_route *settings_route_find(const struct settings *s, struct span domain)
{
    const struct map *routes = &file_of(s)->routes;
    const struct settings_route *found = map_get(routes, domain);
    if (!routes->count || found)
        return found;
    for (size_t i = 0; i < domain.len; i++) {
        if (i == 0 || domain.ptr[i] != '.')
            continue;
        found = map_get(routes, span_of(domain.ptr + i, domain.len - i));
        if (found)
            return found;
    }
    return map_get(routes, SPAN_LIT("*"));
}
