/*
 * Internet addresses as plain values: IPv6, or IPv4 as v4-mapped (::ffff:a.b.c.d), with a port.
 * Pure, any thread; only addr_own_load asks the system. Names are never resolved here.
 */
#ifndef REMUDA_LIB_NET_ADDR_H
#define REMUDA_LIB_NET_ADDR_H

#include <sys/socket.h>

#include "lib/base/err.h"
#include "lib/base/span.h"

/* "[" IPv6 "%scope" "]:65535" and a NUL fit. */
enum { ADDR_TEXT = 64 };

struct addr {
    uint8_t ip[16]; /* network byte order; IPv4 as v4-mapped */
    uint16_t port;  /* host byte order; 0 none */
    uint32_t scope; /* interface of a link-local IPv6 address, else 0 */
};

struct addr_net {
    uint8_t prefix[16];
    uint8_t bits; /* 0..128; an IPv4 /24 has 96 + 24 */
};

/* "192.0.2.1", "2001:db8::1", "[2001:db8::1]". Port 0. False on anything else. */
bool addr_parse(struct span text, struct addr *out);
/* "192.0.2.1:25", "[2001:db8::1]:25", or an address alone, which gets default_port. An address without
 * brackets and with more than one colon is IPv6 without a port. "*:25" is [::]:25. */
bool addr_parse_port(struct span text, uint16_t default_port, struct addr *out);
struct addr addr_of_ip(const uint8_t ip[16], uint16_t port);

/* IPv4 becomes v4-mapped; false for other families. */
bool addr_of_sockaddr(const struct sockaddr *sa, struct addr *out);
/* AF_INET for v4-mapped addresses, else AF_INET6. Returns the length to hand to the system. */
socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *out);

bool addr_is_v4(const struct addr *a);
bool addr_same_ip(const struct addr *a, const struct addr *b);
bool addr_eq(const struct addr *a, const struct addr *b); /* port too */

/* "192.0.2.1" or "2001:db8::1"; out is returned. */
char *addr_text(const struct addr *a, char out[ADDR_TEXT]);
/* "192.0.2.1:25" or "[2001:db8::1]:25". */
char *addr_text_port(const struct addr *a, char out[ADDR_TEXT]);
/* The address literal of RFC 5321 4.1.3: "[192.0.2.1]" or "[IPv6:2001:db8::1]". */
char *addr_text_literal(const struct addr *a, char out[ADDR_TEXT]);

bool addr_is_any(const struct addr *a);      /* 0.0.0.0 or :: */
bool addr_is_loopback(const struct addr *a); /* 127/8, ::1 */
/* RFC 1918, 100.64/10, 169.254/16, fc00::/7, fe80::/10. */
bool addr_is_private(const struct addr *a);
/* None of: any, 0/8, loopback, private, multicast, broadcast and reserved (240/4), documentation excepted. */
bool addr_is_public(const struct addr *a);

/* "192.0.2.0/24", "2001:db8::/32", or an address alone (/32, /128). Bits beyond the prefix are cleared. */
bool addr_net_parse(struct span text, struct addr_net *out);
bool addr_net_has(const struct addr_net *net, const struct addr *a);

/* The addresses of this host's interfaces: what mail must not be sent to. Immutable once loaded. */
struct addr_own;
int addr_own_load(struct addr_own **out) MUST_CHECK; /* RM_EIO */
void addr_own_free(struct addr_own *own);
bool addr_own_has(const struct addr_own *own, const struct addr *a);

#endif
