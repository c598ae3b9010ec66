/* Keys, values and lookups of suppression lists. Who writes them: late.c and settle.c of delivery, the admin
 * listener. */
#include "relay/feedback/suppression.h"

#include <stdio.h>

#include "lib/base/map.h"
#include "lib/mail/date.h"
#include "lib/smtp/address.h"
#include "proto/codec.h"

char *suppression_canonical(struct arena *a, struct span address)
{
    struct smtp_address parsed;
    char domain[SMTP_DOMAIN_BUF];
    if (smtp_address_parse(address, SMTP_ADDRESS_UTF8, &parsed) != SMTP_ADDRESS_OK || !parsed.domain.len ||
        smtp_domain_ascii(parsed.domain, domain) != RM_OK)
        return NULL;
    char *out = arena_printf(a, "%.*s@%s", SPAN_FMT(parsed.local), domain);
    for (char *c = out; *c; c++)
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c + 'a' - 'A' : *c);
    return out;
}

void suppression_key_tenant(struct span tenant, struct suppression_key *out)
{
    int n = snprintf(out->bytes, sizeof(out->bytes), "%.*s/", SPAN_FMT(tenant));
    ENSURE(n > 0 && (size_t)n < sizeof(out->bytes) / 2);
    out->len = (size_t)n;
}

/* An address that is too long for a key is named by two hashes of it, which nothing else can look like: an
 * address has an "@". */
void suppression_key_make(struct span tenant, struct span canonical, struct suppression_key *out)
{
    suppression_key_tenant(tenant, out);
    if (out->len + canonical.len <= sizeof(out->bytes)) {
        memcpy(out->bytes + out->len, canonical.ptr, canonical.len);
        out->len += canonical.len;
        return;
    }
    char hex[40];
    int n = snprintf(hex, sizeof(hex), "#%016llx%016llx",
                     (unsigned long long)hash64(canonical.ptr, canonical.len),
                     (unsigned long long)hash64(canonical.ptr, canonical.len / 2));
    memcpy(out->bytes + out->len, hex, (size_t)n);
    out->len += (size_t)n;
}

Remuda__Suppression *suppression_decode(struct arena *a, struct span packed)
{
    ProtobufCAllocator allocator = arena_allocator(a);
    Remuda__Suppression *s = remuda__suppression__unpack(&allocator, packed.len, (const uint8_t *)packed.ptr);
    return s && s->tenant[0] && s->address[0] ? s : NULL;
}

int suppression_find_in(struct log_reader *r, struct arena *a, const struct suppression_query *q,
                        Remuda__Suppression **out)
{
    struct suppression_key key;
    struct span value;
    *out = NULL;
    const char *canonical = suppression_canonical(a, q->address);
    if (!canonical)
        return RM_OK;
    suppression_key_make(q->tenant, span_str(canonical), &key);
    int rc = log_read_key(r, LOG_SUPPRESSION, 0, suppression_key_span(&key), &value);
    if (rc != RM_OK)
        return rc == RM_ENOTFOUND ? RM_OK : rc;
    Remuda__Suppression *s = suppression_decode(a, value);
    if (s && strcmp(s->address, canonical) == 0 && (!s->expires_ms || s->expires_ms > q->now_ms))
        *out = s;
    return RM_OK;
}

int suppression_find(struct log *log, struct arena *a, const struct suppression_query *q,
                     Remuda__Suppression **out)
{
    struct log_reader *r;
    *out = NULL;
    int rc = log_read_begin(log, &r);
    if (rc != RM_OK)
        return rc;
    rc = suppression_find_in(r, a, q, out);
    log_read_end(r);
    return rc;
}

const char *suppression_words(const Remuda__Suppression *s, struct arena *a)
{
    char date[MAIL_DATE_BUF];
    char *out = arena_printf(a, "This address is suppressed (%s, %s)%s%.200s", suppression_reason(s->reason),
                             mail_date_format(s->added_ms, date), s->evidence[0] ? ": " : "", s->evidence);
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
            *c = *c == '\n' ? ' ' : '?';
    return out;
}

static const char *const reasons[] = {[REMUDA__SUPPRESSION_REASON__SUPPRESSED_BOUNCE] = "bounce",
                                      [REMUDA__SUPPRESSION_REASON__SUPPRESSED_COMPLAINT] = "complaint",
                                      [REMUDA__SUPPRESSION_REASON__SUPPRESSED_MANUAL] = "manual"};

const char *suppression_reason(Remuda__SuppressionReason reason)
{
    return (unsigned)reason < sizeof(reasons) / sizeof(reasons[0]) ? reasons[reason] : "manual";
}

bool suppression_reason_parse(struct span text, Remuda__SuppressionReason *out)
{
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (span_ieq(text, span_str(reasons[i]))) {
            *out = (Remuda__SuppressionReason)i;
            return true;
        }
    return false;
}
