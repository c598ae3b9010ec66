/* Addresses as values: parsing, printing, classes of addresses, and the host's own. */
#include "lib/net/addr.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool copy_text(struct span text, char *out, size_t size)
{
    if (text.len == 0 || text.len >= size || memchr(text.ptr, '\0', text.len))
        return false;
    memcpy(out, text.ptr, text.len);
    out[text.len] = '\0';
    return true;
}

static bool parse_v6(char *text, struct addr *out)
{
    char *scope = strchr(text, '%');
    if (scope) {
        *scope++ = '\0';
        out->scope = if_nametoindex(scope);
        if (!out->scope)
            return false;
    }
    return inet_pton(AF_INET6, text, out->ip) == 1;
}

bool addr_parse(struct span text, struct addr *out)
{
    char buf[ADDR_TEXT];
    *out = (struct addr){.port = 0};
    bool bracket = text.len >= 2 && text.ptr[0] == '[' && text.ptr[text.len - 1] == ']';
    if (bracket)
        text = span_of(text.ptr + 1, text.len - 2);
    if (!copy_text(text, buf, sizeof(buf)))
        return false;
    if (!bracket && inet_pton(AF_INET, buf, out->ip + 12) == 1) {
        memcpy(out->ip, mapped, sizeof(mapped));
        return true;
    }
    return parse_v6(buf, out);
}

static bool parse_port(struct span text, uint16_t *out)
{
    uint64_t n;
    if (text.len > 5 || !span_u64(text, &n) || n > 65535)
        return false;
    *out = (uint16_t)n;
    return true;
}

bool addr_parse_port(struct span text, uint16_t default_port, struct addr *out)
{
    const char *colon = text.len ? memrchr(text.ptr, ':', text.len) : NULL;
    size_t head = colon ? (size_t)(colon - text.ptr) : text.len;
    bool several = colon && memchr(text.ptr, ':', head);
    bool bracket = text.len && text.ptr[0] == '[';
    if (!colon || (several && !bracket) || text.ptr[text.len - 1] == ']') {
        if (!addr_parse(text, out))
            return false;
        out->port = default_port;
        return true;
    }
    uint16_t port;
    if (!parse_port(span_of(colon + 1, text.len - head - 1), &port))
        return false;
    if (head == 1 && text.ptr[0] == '*')
        *out = (struct addr){.port = 0};
    else if (!addr_parse(span_of(text.ptr, head), out))
        return false;
    out->port = port;
    return true;
}

struct addr addr_of_ip(const uint8_t ip[16], uint16_t port)
{
    struct addr a = {.port = port};
    memcpy(a.ip, ip, 16);
    return a;
}

bool addr_of_sockaddr(const struct sockaddr *sa, struct addr *out)
{
    *out = (struct addr){.port = 0};
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;
        memcpy(out->ip, mapped, sizeof(mapped));
        memcpy(out->ip + 12, &in->sin_addr, 4);
        out->port = ntohs(in->sin_port);
        return true;
    }
    if (sa->sa_family != AF_INET6)
        return false;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;
    memcpy(out->ip, &in6->sin6_addr, 16);
    out->port = ntohs(in6->sin6_port);
    out->scope = in6->sin6_scope_id;
    return true;
}

socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof(*out));
    if (addr_is_v4(a)) {
        struct sockaddr_in *in = (struct sockaddr_in *)(void *)out;
        in->sin_family = AF_INET;
        in->sin_port = htons(a->port);
        memcpy(&in->sin_addr, a->ip + 12, 4);
        return sizeof(*in);
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)out;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(a->port);
    in6->sin6_scope_id = a->scope;
    memcpy(&in6->sin6_addr, a->ip, 16);
    return sizeof(*in6);
}

bool addr_is_v4(const struct addr *a)
{
    return memcmp(a->ip, mapped, sizeof(mapped)) == 0;
}

bool addr_same_ip(const struct addr *a, const struct addr *b)
{
    return memcmp(a->ip, b->ip, 16) == 0 && a->scope == b->scope;
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
    return a->port == b->port && addr_same_ip(a, b);
}

char *addr_text(const struct addr *a, char out[ADDR_TEXT])
{
    if (addr_is_v4(a))
        inet_ntop(AF_INET, a->ip + 12, out, ADDR_TEXT);
    else
        inet_ntop(AF_INET6, a->ip, out, ADDR_TEXT);
    return out;
}

char *addr_text_port(const struct addr *a, char out[ADDR_TEXT])
{
    char ip[ADDR_TEXT];
    addr_text(a, ip);
    snprintf(out, ADDR_TEXT, addr_is_v4(a) ? "%.47s:%u" : "[%.47s]:%u", ip, (unsigned)a->port);
    return out;
}

char *addr_text_literal(const struct addr *a, char out[ADDR_TEXT])
{
    char ip[ADDR_TEXT];
    addr_text(a, ip);
    snprintf(out, ADDR_TEXT, addr_is_v4(a) ? "[%.47s]" : "[IPv6:%.47s]", ip);
    return out;
}

/* ---- classes --------------------------------------------------------------------------------- */

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static bool in_any(const struct addr *a, const char *const *nets, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct addr_net net;
        ENSURE(addr_net_parse(span_str(nets[i]), &net));
        if (addr_net_has(&net, a))
            return true;
    }
    return false;
}

bool addr_is_any(const struct addr *a)
{
    static const char *const nets[] = {"0.0.0.0/32", "::/128"};
    return in_any(a, nets, COUNT(nets));
}

bool addr_is_loopback(const struct addr *a)
{
    static const char *const nets[] = {"127.0.0.0/8", "::1/128"};
    return in_any(a, nets, COUNT(nets));
}

bool addr_is_private(const struct addr *a)
{
    static const char *const nets[] = {"10.0.0.0/8",     "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10",
                                       "169.254.0.0/16", "fc00::/7",      "fe80::/10"};
    return in_any(a, nets, COUNT(nets));
}

bool addr_is_public(const struct addr *a)
{
    /* ::/96 holds the unspecified, loopback and the long dead IPv4-compatible addresses. */
    static const char *const nets[] = {"0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/96", "ff00::/8"};
    return !addr_is_loopback(a) && !addr_is_private(a) && !in_any(a, nets, COUNT(nets));
}

/* ---- networks -------------------------------------------------------------------------------- */

static void mask(uint8_t prefix[16], unsigned bits)
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned keep = bits > i * 8 ? bits - i * 8 : 0;
        if (keep < 8)
            prefix[i] &= (uint8_t)(0xff00u >> keep);
    }
}

bool addr_net_parse(struct span text, struct addr_net *out)
{
    struct span rest = text;
    struct span head = span_cut(&rest, '/');
    struct addr a;
    if (!addr_parse(head, &a) || a.scope)
        return false;
    uint64_t most = addr_is_v4(&a) ? 32 : 128, bits = most;
    if (rest.ptr && (rest.len > 3 || !span_u64(rest, &bits) || bits > most))
        return false;
    out->bits = (uint8_t)(bits + 128 - most);
    memcpy(out->prefix, a.ip, 16);
    mask(out->prefix, out->bits);
    return true;
}

bool addr_net_has(const struct addr_net *net, const struct addr *a)
{
    unsigned whole = net->bits / 8, rest = net->bits % 8;
    if (memcmp(net->prefix, a->ip, whole) != 0)
        return false;
    return rest == 0 || ((net->prefix[whole] ^ a->ip[whole]) & (0xff00u >> rest) & 0xffu) == 0;
}

/* ---- the host's own -------------------------------------------------------------------------- */

struct addr_own {
    size_t n;
    struct addr addrs[];
};

int addr_own_load(struct addr_own **out)
{
    struct ifaddrs *all;
    *out = NULL;
    if (getifaddrs(&all) != 0)
        return RM_EIO;
    size_t n = 0;
    for (struct ifaddrs *i = all; i; i = i->ifa_next)
        n++;
    struct addr_own *own = calloc(1, sizeof(*own) + n * sizeof(struct addr));
    ENSURE(own);
    for (struct ifaddrs *i = all; i; i = i->ifa_next) {
        if (i->ifa_addr && addr_of_sockaddr(i->ifa_addr, &own->addrs[own->n]))
            own->n++;
    }
    freeifaddrs(all);
    *out = own;
    return RM_OK;
}

void addr_own_free(struct addr_own *own)
{
    free(own);
}

bool addr_own_has(const struct addr_own *own, const struct addr *a)
{
    for (size_t i = 0; i < own->n; i++) {
        if (memcmp(own->addrs[i].ip, a->ip, 16) == 0)
            return true;
    }
    return false;
}
