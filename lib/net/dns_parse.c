/* DNS packets into records: CNAME chains, TTLs, negative TTLs from the SOA (RFC 2308). Reads with libresolv's
 * ns_ functions, which check every bound. Sends nothing. */
#include <resolv.h>

#include "lib/net/dns_private.h"

bool dns_name_normalise(const char *name, char out[DNS_NAME])
{
    size_t len = strlen(name), label = 0;
    if (len && name[len - 1] == '.')
        len--;
    if (len == 0 || len > 253)
        return false;
    for (size_t i = 0; i < len; i++) {
        char ch = name[i];
        if (ch >= 'A' && ch <= 'Z')
            ch = (char)(ch - 'A' + 'a');
        bool good = (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '-' || ch == '_';
        if (ch == '.' ? label == 0 : !good || label == 63)
            return false;
        label = ch == '.' ? 0 : label + 1;
        out[i] = ch;
    }
    out[len] = '\0';
    return label > 0;
}

struct reader {
    ns_msg msg;
    int type;
    uint32_t ttl;
    struct dns_reply *out;
};

static void lower_ttl(struct reader *r, uint32_t ttl)
{
    if (ttl < r->ttl)
        r->ttl = ttl;
}

/* Expands the compressed name at p; "." becomes the empty string. */
static bool expand(struct reader *r, const unsigned char *p, char out[DNS_NAME], bool *root)
{
    char text[NS_MAXDNAME];
    if (ns_name_uncompress(ns_msg_base(r->msg), ns_msg_end(r->msg), p, text, sizeof(text)) < 0)
        return false;
    *root = text[0] == '\0' || strcmp(text, ".") == 0;
    out[0] = '\0';
    return *root || dns_name_normalise(text, out);
}

static bool owner_is(const ns_rr *rr, const char *name)
{
    char owner[DNS_NAME];
    return dns_name_normalise(ns_rr_name(*rr), owner) && strcmp(owner, name) == 0;
}

/* One step along the chain: true when target has an alias, which becomes the target. */
static bool follow(struct reader *r)
{
    for (int i = 0; i < ns_msg_count(r->msg, ns_s_an); i++) {
        ns_rr rr;
        char next[DNS_NAME];
        bool root;
        if (ns_parserr(&r->msg, ns_s_an, i, &rr) != 0 || ns_rr_type(rr) != ns_t_cname ||
            !owner_is(&rr, r->out->target) || !expand(r, ns_rr_rdata(rr), next, &root) || root)
            continue;
        lower_ttl(r, ns_rr_ttl(rr));
        strcpy(r->out->target, next);
        return true;
    }
    return false;
}

static bool read_record(struct reader *r, const ns_rr *rr, struct dns_record *rec, bool *null_mx)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    const unsigned char *data = ns_rr_rdata(*rr);
    bool root = false;
    switch (r->type) {
    case ns_t_a:
        memcpy(rec->ip, mapped, sizeof(mapped));
        if (ns_rr_rdlen(*rr) == 4)
            memcpy(rec->ip + 12, data, 4);
        return ns_rr_rdlen(*rr) == 4;
    case ns_t_aaaa:
        if (ns_rr_rdlen(*rr) == 16)
            memcpy(rec->ip, data, 16);
        return ns_rr_rdlen(*rr) == 16;
    default:
        if (ns_rr_rdlen(*rr) < 3 || !expand(r, data + 2, rec->name, &root))
            return false;
        rec->preference = (uint16_t)ns_get16(data);
        *null_mx = *null_mx || root;
        return !root;
    }
}

static bool same_record(const struct dns_record *a, const struct dns_record *b)
{
    return a->preference == b->preference && strcmp(a->name, b->name) == 0 && memcmp(a->ip, b->ip, 16) == 0;
}

static void add_record(struct dns_reply *out)
{
    const struct dns_record *rec = &out->records[out->n];
    for (int i = 0; i < out->n; i++) {
        if (same_record(&out->records[i], rec))
            return;
    }
    out->n++;
}

/* Collects the records of the target; true when one says "no mail" (RFC 7505). */
static bool collect(struct reader *r)
{
    bool null_mx = false;
    for (int i = 0; i < ns_msg_count(r->msg, ns_s_an) && r->out->n < DNS_RECORDS; i++) {
        ns_rr rr;
        struct dns_record *rec = &r->out->records[r->out->n];
        memset(rec, 0, sizeof(*rec));
        if (ns_parserr(&r->msg, ns_s_an, i, &rr) != 0 || (int)ns_rr_type(rr) != r->type ||
            !owner_is(&rr, r->out->target))
            continue;
        lower_ttl(r, ns_rr_ttl(rr));
        if (read_record(r, &rr, rec, &null_mx))
            add_record(r->out);
    }
    return null_mx;
}

/* The negative TTL: the lesser of the SOA's own TTL and its minimum; false without SOA. */
static bool read_soa(struct reader *r)
{
    for (int i = 0; i < ns_msg_count(r->msg, ns_s_ns); i++) {
        ns_rr rr;
        if (ns_parserr(&r->msg, ns_s_ns, i, &rr) != 0 || ns_rr_type(rr) != ns_t_soa || ns_rr_rdlen(rr) < 22)
            continue;
        lower_ttl(r, ns_rr_ttl(rr));
        lower_ttl(r, (uint32_t)ns_get32(ns_rr_rdata(rr) + ns_rr_rdlen(rr) - 4));
        return true;
    }
    return false;
}

static uint32_t bound(uint32_t ttl)
{
    return ttl < DNS_TTL_LEAST ? DNS_TTL_LEAST : ttl > DNS_TTL_MOST ? DNS_TTL_MOST : ttl;
}

static enum dns_status judge(struct reader *r, bool null_mx, int aliases)
{
    struct dns_reply *out = r->out;
    if (out->n > 0)
        return DNS_OK;
    if (null_mx)
        return DNS_NULL_MX;
    bool soa = read_soa(r);
    out->dangling = aliases > 0 && !soa && ns_msg_getflag(r->msg, ns_f_rcode) == ns_r_noerror;
    if (!soa)
        lower_ttl(r, DNS_TTL_NO_SOA);
    return ns_msg_getflag(r->msg, ns_f_rcode) == ns_r_nxdomain ? DNS_NXDOMAIN : DNS_NODATA;
}

void dns_reply_parse(const unsigned char *packet, int len, const char *name, int type, struct dns_reply *out)
{
    struct reader r = {.type = type, .ttl = DNS_TTL_MOST, .out = out};
    out->status = DNS_SERVFAIL;
    out->ttl = DNS_RETRY_MS / 1000;
    out->dangling = false;
    out->n = 0;
    strcpy(out->target, name);
    if (ns_initparse(packet, len, &r.msg) != 0)
        return;
    int rcode = ns_msg_getflag(r.msg, ns_f_rcode), aliases = 0;
    if (rcode != ns_r_noerror && rcode != ns_r_nxdomain)
        return;
    while (follow(&r)) {
        if (++aliases > DNS_HOPS * 2) {
            out->status = DNS_LOOP;
            return;
        }
    }
    bool null_mx = collect(&r);
    out->status = judge(&r, null_mx, aliases);
    out->ttl = bound(r.ttl);
}
