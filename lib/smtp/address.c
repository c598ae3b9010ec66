/*
 * Mailbox and domain syntax. Lookups, tenants' domains and what is deliverable are decided elsewhere.
 */
#include "lib/smtp/address.h"

#include <arpa/inet.h>
#include <idn2.h>
#include <stdlib.h>

enum { LABEL_MOST = 63, MAILBOX_MOST = SMTP_PATH_MOST - 2, U_DOMAIN_MOST = 1023 };

static bool is_high(char c)
{
    return (unsigned char)c >= 0x80;
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* RFC 5322 atext, and with RFC 6531 anything beyond ASCII. */
static bool is_atext(char c)
{
    return is_alnum(c) || is_high(c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

bool smtp_is_ascii(struct span s)
{
    unsigned char all = 0;
    for (size_t i = 0; i < s.len; i++) {
        all |= (unsigned char)s.ptr[i];
    }
    return all < 0x80;
}

/* Length of the well-formed sequence at p (n octets are there), 0 when there is none: RFC 3629 4. */
static size_t utf8_sequence(const unsigned char *p, size_t n)
{
    unsigned char low = 0x80, high = 0xbf;
    size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (len == 0 || len > n) {
        return 0;
    }
    low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : low;
    high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : high;
    for (size_t i = 1; i < len; i++) {
        if (p[i] < (i == 1 ? low : 0x80) || p[i] > (i == 1 ? high : 0xbf)) {
            return 0;
        }
    }
    return len;
}

bool smtp_utf8_valid(struct span s)
{
    for (size_t i = 0; i < s.len;) {
        size_t n = utf8_sequence((const unsigned char *)s.ptr + i, s.len - i);
        if (n == 0) {
            return false;
        }
        i += n;
    }
    return true;
}

/* Dot-string at the beginning of s; its length, 0 when there is none. */
static size_t dot_string(struct span s)
{
    size_t i = 0;
    bool after_dot = true;
    for (; i < s.len && s.ptr[i] != '@'; i++) {
        bool dot = s.ptr[i] == '.';
        if (dot ? after_dot : !is_atext(s.ptr[i])) {
            return 0;
        }
        after_dot = dot;
    }
    return after_dot ? 0 : i;
}

/* Quoted-string at the beginning of s, its quotes included; 0 when it is malformed. */
static size_t quoted_string(struct span s)
{
    for (size_t i = 1; i < s.len; i++) {
        if (s.ptr[i] == '"') {
            return i + 1;
        }
        if (s.ptr[i] == '\\') {
            i++;
            if (i == s.len || is_high(s.ptr[i])) {
                return 0;
            }
        }
        if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f) {
            return 0;
        }
    }
    return 0;
}

/* One label: let-dig, inside also hyphens; underscores pass, because real zones have them. */
static bool label_ok(struct span label)
{
    if (label.len == 0 || label.ptr[0] == '-' || label.ptr[label.len - 1] == '-') {
        return false;
    }
    bool ascii = true;
    for (size_t i = 0; i < label.len; i++) {
        char c = label.ptr[i];
        if (!is_alnum(c) && !is_high(c) && c != '-' && c != '_') {
            return false;
        }
        ascii = ascii && !is_high(c);
    }
    return label.len <= LABEL_MOST || !ascii;
}

static bool domain_ok(struct span domain)
{
    if (domain.len == 0 || domain.ptr[domain.len - 1] == '.') {
        return false;
    }
    while (domain.ptr != NULL) {
        if (!label_ok(span_cut(&domain, '.'))) {
            return false;
        }
    }
    return true;
}

int smtp_literal_address(struct span literal, char out[46])
{
    if (literal.len < 3 || literal.ptr[0] != '[' || literal.ptr[literal.len - 1] != ']') {
        return RM_EINVAL;
    }
    struct span inner = span_of(literal.ptr + 1, literal.len - 2);
    bool six = span_istarts(inner, SPAN_LIT("IPv6:"));
    if (six) {
        inner = span_of(inner.ptr + 5, inner.len - 5);
    }
    unsigned char scratch[16];
    if (inner.len > 45 || memchr(inner.ptr, '\0', inner.len) != NULL) {
        return RM_EINVAL;
    }
    memcpy(out, inner.ptr, inner.len);
    out[inner.len] = '\0';
    return inet_pton(six ? AF_INET6 : AF_INET, out, scratch) == 1 ? RM_OK : RM_EINVAL;
}

static enum smtp_address_status check_domain(struct smtp_address *out)
{
    char scratch[46];
    out->literal = out->domain.len > 0 && out->domain.ptr[0] == '[';
    if (out->literal) {
        return smtp_literal_address(out->domain, scratch) == RM_OK ? SMTP_ADDRESS_OK : SMTP_ADDRESS_SYNTAX;
    }
    if (out->domain.len > SMTP_DOMAIN_MOST) {
        return SMTP_ADDRESS_LENGTH;
    }
    return domain_ok(out->domain) ? SMTP_ADDRESS_OK : SMTP_ADDRESS_SYNTAX;
}

enum smtp_address_status smtp_address_parse(struct span mailbox, unsigned flags, struct smtp_address *out)
{
    *out = (struct smtp_address){0};
    if (mailbox.len == 0) {
        return SMTP_ADDRESS_SYNTAX;
    }
    if (mailbox.len > MAILBOX_MOST) {
        return SMTP_ADDRESS_LENGTH;
    }
    out->utf8 = !smtp_is_ascii(mailbox);
    if (out->utf8 && !smtp_utf8_valid(mailbox)) {
        return SMTP_ADDRESS_SYNTAX;
    }
    out->quoted = mailbox.ptr[0] == '"';
    size_t n = out->quoted ? quoted_string(mailbox) : dot_string(mailbox);
    out->local = span_of(mailbox.ptr, n);
    if (n == 0) {
        return SMTP_ADDRESS_SYNTAX;
    }
    if (n > SMTP_LOCAL_MOST) {
        return SMTP_ADDRESS_LENGTH;
    }
    if (n == mailbox.len) {
        bool may = (flags & SMTP_ADDRESS_POSTMASTER) != 0 && span_ieq(out->local, SPAN_LIT("postmaster"));
        return may ? SMTP_ADDRESS_OK : SMTP_ADDRESS_SYNTAX;
    }
    if (mailbox.ptr[n] != '@') {
        return SMTP_ADDRESS_SYNTAX;
    }
    out->domain = span_of(mailbox.ptr + n + 1, mailbox.len - n - 1);
    enum smtp_address_status status = check_domain(out);
    if (status == SMTP_ADDRESS_OK && out->utf8 && (flags & SMTP_ADDRESS_UTF8) == 0) {
        return SMTP_ADDRESS_NEEDS_UTF8;
    }
    return status;
}

/* Copies ASCII in lower case and checks it as a domain. */
static int ascii_domain(struct span domain, char out[SMTP_DOMAIN_BUF])
{
    if (domain.len > SMTP_DOMAIN_MOST || !domain_ok(domain)) {
        return RM_EINVAL;
    }
    for (size_t i = 0; i < domain.len; i++) {
        char c = domain.ptr[i];
        out[i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    out[domain.len] = '\0';
    return RM_OK;
}

static int literal_domain(struct span literal, char out[SMTP_DOMAIN_BUF])
{
    char address[46];
    if (smtp_literal_address(literal, address) != RM_OK) {
        return RM_EINVAL;
    }
    for (size_t i = 0; i < literal.len; i++) {
        char c = literal.ptr[i];
        out[i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    out[literal.len] = '\0';
    return RM_OK;
}

int smtp_domain_ascii(struct span domain, char out[SMTP_DOMAIN_BUF])
{
    out[0] = '\0';
    if (domain.len > 0 && domain.ptr[0] == '[') {
        return literal_domain(domain, out);
    }
    if (domain.len > 1 && domain.ptr[domain.len - 1] == '.') {
        domain.len--;
    }
    if (smtp_is_ascii(domain)) {
        return ascii_domain(domain, out);
    }
    char u[U_DOMAIN_MOST + 1];
    if (domain.len > U_DOMAIN_MOST || memchr(domain.ptr, '\0', domain.len) != NULL ||
        !smtp_utf8_valid(domain)) {
        return RM_EINVAL;
    }
    memcpy(u, domain.ptr, domain.len);
    u[domain.len] = '\0';
    char *a = NULL;
    if (idn2_to_ascii_8z(u, &a, IDN2_NONTRANSITIONAL) != IDN2_OK) {
        return RM_EINVAL;
    }
    int rc = ascii_domain(span_str(a), out);
    idn2_free(a);
    return rc;
}

/* The next octet of a local part with its quoting taken off; -1 at the end. */
static int next_octet(struct span *local, bool quoted)
{
    if (quoted && local->len > 0 && local->ptr[0] == '\\') {
        *local = span_of(local->ptr + 1, local->len - 1);
    }
    if (local->len == 0) {
        return -1;
    }
    int c = (unsigned char)local->ptr[0];
    *local = span_of(local->ptr + 1, local->len - 1);
    return c;
}

static struct span inner_local(const struct smtp_address *a)
{
    return a->quoted ? span_of(a->local.ptr + 1, a->local.len - 2) : a->local;
}

static bool local_same(const struct smtp_address *a, const struct smtp_address *b)
{
    struct span x = inner_local(a), y = inner_local(b);
    if (span_ieq(x, SPAN_LIT("postmaster")) && span_ieq(y, SPAN_LIT("postmaster"))) {
        return true;
    }
    for (;;) {
        int c = next_octet(&x, a->quoted), d = next_octet(&y, b->quoted);
        if (c != d) {
            return false;
        }
        if (c < 0) {
            return true;
        }
    }
}

bool smtp_address_same(const struct smtp_address *a, const struct smtp_address *b)
{
    if (!local_same(a, b)) {
        return false;
    }
    if (span_ieq(a->domain, b->domain)) {
        return true;
    }
    char x[SMTP_DOMAIN_BUF], y[SMTP_DOMAIN_BUF];
    return smtp_domain_ascii(a->domain, x) == RM_OK && smtp_domain_ascii(b->domain, y) == RM_OK &&
           strcmp(x, y) == 0;
}
