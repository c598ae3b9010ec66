/*
 * Mailboxes and domains (RFC 5321 4.1.2, 4.5.3.1; RFC 6531 3.3). Pure, no DNS.
 */
#ifndef REMUDA_LIB_SMTP_ADDRESS_H
#define REMUDA_LIB_SMTP_ADDRESS_H

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/span.h"

enum {
    SMTP_LOCAL_MOST = 64,   /* octets */
    SMTP_DOMAIN_MOST = 255, /* octets */
    SMTP_PATH_MOST = 256,   /* octets, <> included */
    SMTP_DOMAIN_BUF = 256,  /* SMTP_DOMAIN_MOST and a NUL */
};

/* Spans into the mailbox that was parsed. */
struct smtp_address {
    struct span local;  /* as written: with its quotes when quoted */
    struct span domain; /* as written; empty for postmaster without domain; "[192.0.2.1]" for a literal */
    bool quoted;        /* local part is a quoted-string */
    bool literal;       /* domain is an address literal */
    bool utf8;          /* octets over 127 in it, valid UTF-8 */
};

enum smtp_address_flags {
    SMTP_ADDRESS_UTF8 = 1,       /* RFC 6531 characters are allowed */
    SMTP_ADDRESS_POSTMASTER = 2, /* "postmaster" may stand without a domain */
};

enum smtp_address_status {
    SMTP_ADDRESS_OK = 0,
    SMTP_ADDRESS_SYNTAX,
    SMTP_ADDRESS_LENGTH,     /* a part is over its limit */
    SMTP_ADDRESS_NEEDS_UTF8, /* valid only with SMTP_ADDRESS_UTF8 */
};

/* mailbox is without <>: dot-string or quoted-string, "@", domain or address literal. The domain is checked
 * by its syntax (labels of letters, digits, hyphen, underscore tolerated, at most 63 octets; one trailing dot
 * is refused), not by IDNA. */
enum smtp_address_status smtp_address_parse(struct span mailbox, unsigned flags, struct smtp_address *out);

/*
 * The canonical form of a domain: A-labels, lower case, no trailing dot (IDNA 2008 with the UTS 46 mapping,
 * not transitional); an address literal in lower case with its brackets. out is NUL-terminated. RM_EINVAL for
 * what is no domain. ASCII input does not allocate.
 */
int smtp_domain_ascii(struct span domain, char out[SMTP_DOMAIN_BUF]) MUST_CHECK;

/* True when both name the same mailbox: local parts alike octet by octet (quoting aside: "a"@x is a@x),
 * domains in canonical form. "postmaster" is compared without case (RFC 5321 4.5.1). */
bool smtp_address_same(const struct smtp_address *a, const struct smtp_address *b);

/* Valid UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF). */
bool smtp_utf8_valid(struct span s);
/* No octet over 127. */
bool smtp_is_ascii(struct span s);

/* The address of a literal "[192.0.2.1]" or "[IPv6:2001:db8::1]" in the form inet_pton takes; out holds 46
 * bytes. RM_EINVAL for a literal of another kind or a malformed one. */
int smtp_literal_address(struct span literal, char out[46]) MUST_CHECK;

#endif
