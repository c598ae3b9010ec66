/* Mailboxes and domains: parts add up to the whole, canonical forms are stable. */
#include "lib/smtp/address.h"
#include "tests/fuzz/fuzz.h"

static void try_domain(struct span domain, bool must)
{
    char once[SMTP_DOMAIN_BUF], twice[SMTP_DOMAIN_BUF];
    if (smtp_domain_ascii(domain, once) != RM_OK) {
        ENSURE(!must);
        return;
    }
    struct span s = span_str(once);
    ENSURE(s.len > 0 && s.len <= SMTP_DOMAIN_MOST && smtp_is_ascii(s) && fuzz_printable(s));
    for (size_t i = 0; i < s.len; i++) {
        ENSURE(s.ptr[i] < 'A' || s.ptr[i] > 'Z');
    }
    ENSURE(smtp_domain_ascii(s, twice) == RM_OK && strcmp(once, twice) == 0);
}

static void check_parts(struct span mailbox, const struct smtp_address *a)
{
    ENSURE(a->local.ptr == mailbox.ptr && a->local.len > 0 && a->local.len <= SMTP_LOCAL_MOST);
    ENSURE(fuzz_printable(mailbox) && smtp_utf8_valid(mailbox));
    ENSURE(a->utf8 == !smtp_is_ascii(mailbox));
    if (a->domain.len > 0) {
        ENSURE(a->local.len + 1 + a->domain.len == mailbox.len && mailbox.ptr[a->local.len] == '@');
        try_domain(a->domain, smtp_is_ascii(a->domain));
    } else {
        ENSURE(span_ieq(mailbox, SPAN_LIT("postmaster")));
    }
    ENSURE(smtp_address_same(a, a));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct span mailbox = span_of((const char *)data + 1, size - 1);
    struct smtp_address a, wide;
    unsigned flags = data[0] & 3;
    enum smtp_address_status status = smtp_address_parse(mailbox, flags, &a);
    if (status == SMTP_ADDRESS_OK) {
        check_parts(mailbox, &a);
        ENSURE(!a.utf8 || (flags & SMTP_ADDRESS_UTF8) != 0);
    }
    if (status == SMTP_ADDRESS_OK || status == SMTP_ADDRESS_NEEDS_UTF8) {
        ENSURE(smtp_address_parse(mailbox, flags | SMTP_ADDRESS_UTF8, &wide) == SMTP_ADDRESS_OK);
    }
    try_domain(mailbox, false);
    return 0;
}
