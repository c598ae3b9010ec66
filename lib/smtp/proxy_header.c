/* The PROXY protocol's two header forms. Who may send one is decided where connections are accepted. */
#include "lib/smtp/proxy_header.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "lib/base/err.h"

enum { V1_MOST = 107, V2_FIXED = 16, V2_FOUR = 12, V2_SIX = 36, V2_TLVS_MOST = 1000 };

static const char v2_signature[12] = {'\r', '\n', '\r', '\n', '\0', '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};

/* ---- version 1: "PROXY TCP4 src dst sport dport" CRLF ---- */

static bool v1_port(struct span s, in_port_t *out)
{
    uint64_t n;
    if (s.len == 0 || s.len > 5 || (s.len > 1 && s.ptr[0] == '0') || !span_u64(s, &n) || n > 65535) {
        return false;
    }
    *out = htons((uint16_t)n);
    return true;
}

static bool v1_end(struct span address, struct span port, bool six, struct sockaddr_storage *out)
{
    char text[INET6_ADDRSTRLEN];
    if (address.len == 0 || address.len >= sizeof text || memchr(address.ptr, '\0', address.len) != NULL) {
        return false;
    }
    memcpy(text, address.ptr, address.len);
    text[address.len] = '\0';
    struct sockaddr_in *four = (struct sockaddr_in *)out;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
    out->ss_family = six ? AF_INET6 : AF_INET;
    void *to = six ? (void *)&in6->sin6_addr : (void *)&four->sin_addr;
    return inet_pton(out->ss_family, text, to) == 1 && v1_port(port, six ? &in6->sin6_port : &four->sin_port);
}

static bool v1_line(struct span line, struct smtp_proxy_header *out)
{
    struct span protocol = span_cut(&line, ' ');
    if (span_eq(protocol, SPAN_LIT("UNKNOWN"))) {
        out->local = true;
        return true;
    }
    bool six = span_eq(protocol, SPAN_LIT("TCP6"));
    if (!six && !span_eq(protocol, SPAN_LIT("TCP4"))) {
        return false;
    }
    struct span client = span_cut(&line, ' '), server = span_cut(&line, ' ');
    struct span client_port = span_cut(&line, ' '), server_port = line;
    return v1_end(client, client_port, six, &out->client) && v1_end(server, server_port, six, &out->server);
}

static enum smtp_proxy_status v1(struct span in, size_t *consumed, struct smtp_proxy_header *out)
{
    static const char word[] = "PROXY ";
    size_t most = in.len < V1_MOST ? in.len : V1_MOST;
    size_t begun = most < 6 ? most : 6;
    if (memcmp(in.ptr, word, begun) != 0) {
        return SMTP_PROXY_ERROR;
    }
    const char *lf = memchr(in.ptr, '\n', most);
    if (lf == NULL) {
        return most == V1_MOST ? SMTP_PROXY_ERROR : SMTP_PROXY_MORE;
    }
    size_t n = (size_t)(lf - in.ptr);
    if (n < 7 || lf[-1] != '\r' || !v1_line(span_of(in.ptr + 6, n - 7), out)) {
        return SMTP_PROXY_ERROR;
    }
    *consumed = n + 1;
    return SMTP_PROXY_DONE;
}

/* ---- version 2: signature, version and command, family, length, addresses, TLVs ---- */

static void v2_four(const char *p, struct smtp_proxy_header *out)
{
    struct sockaddr_in *client = (struct sockaddr_in *)&out->client,
                       *server = (struct sockaddr_in *)&out->server;
    client->sin_family = server->sin_family = AF_INET;
    memcpy(&client->sin_addr, p, 4);
    memcpy(&server->sin_addr, p + 4, 4);
    memcpy(&client->sin_port, p + 8, 2);
    memcpy(&server->sin_port, p + 10, 2);
}

static void v2_six(const char *p, struct smtp_proxy_header *out)
{
    struct sockaddr_in6 *client = (struct sockaddr_in6 *)&out->client,
                        *server = (struct sockaddr_in6 *)&out->server;
    client->sin6_family = server->sin6_family = AF_INET6;
    memcpy(&client->sin6_addr, p, 16);
    memcpy(&server->sin6_addr, p + 16, 16);
    memcpy(&client->sin6_port, p + 32, 2);
    memcpy(&server->sin6_port, p + 34, 2);
}

/* LOCAL: addresses, if any, mean nothing. */
static struct span v2_behind_addresses(struct span rest, int family)
{
    size_t n = family == 0x11 ? V2_FOUR : family == 0x21 ? V2_SIX : 0;
    return n < rest.len ? span_of(rest.ptr + n, rest.len - n) : span_of(NULL, 0);
}

static bool v2_addresses(struct span rest, int command, int family, struct smtp_proxy_header *out)
{
    if (command == 0x20) { /* LOCAL: the balancer's own health check */
        out->local = true;
        out->tlvs = v2_behind_addresses(rest, family);
        return true;
    }
    if (command != 0x21) {
        return false;
    }
    if (family == 0x11) {
        if (rest.len < V2_FOUR) {
            return false;
        }
        v2_four(rest.ptr, out);
        out->tlvs = span_of(rest.ptr + V2_FOUR, rest.len - V2_FOUR);
    } else if (family == 0x21) {
        if (rest.len < V2_SIX) {
            return false;
        }
        v2_six(rest.ptr, out);
        out->tlvs = span_of(rest.ptr + V2_SIX, rest.len - V2_SIX);
    } else {
        out->local = true;
    }
    return true;
}

static enum smtp_proxy_status v2(struct span in, size_t *consumed, struct smtp_proxy_header *out)
{
    size_t begun = in.len < sizeof v2_signature ? in.len : sizeof v2_signature;
    if (memcmp(in.ptr, v2_signature, begun) != 0) {
        return SMTP_PROXY_ERROR;
    }
    if (in.len < V2_FIXED) {
        return SMTP_PROXY_MORE;
    }
    const unsigned char *p = (const unsigned char *)in.ptr;
    size_t n = V2_FIXED + ((size_t)p[14] << 8 | p[15]);
    if (n > SMTP_PROXY_HEADER_MOST) {
        return SMTP_PROXY_ERROR;
    }
    if (in.len < n) {
        return SMTP_PROXY_MORE;
    }
    if (!v2_addresses(span_of(in.ptr + V2_FIXED, n - V2_FIXED), p[12], p[13], out)) {
        return SMTP_PROXY_ERROR;
    }
    *consumed = n;
    return SMTP_PROXY_DONE;
}

enum smtp_proxy_status smtp_proxy_header_parse(struct span in, size_t *consumed,
                                               struct smtp_proxy_header *out)
{
    *out = (struct smtp_proxy_header){0};
    *consumed = 0;
    if (in.len == 0) {
        return SMTP_PROXY_MORE;
    }
    return in.ptr[0] == '\r' ? v2(in, consumed, out) : v1(in, consumed, out);
}

/* ---- writing ---- */

static void write_four(const struct smtp_proxy_header *h, struct buf *out)
{
    const struct sockaddr_in *client = (const struct sockaddr_in *)&h->client,
                             *server = (const struct sockaddr_in *)&h->server;
    buf_add(out, &client->sin_addr, 4);
    buf_add(out, &server->sin_addr, 4);
    buf_add(out, &client->sin_port, 2);
    buf_add(out, &server->sin_port, 2);
}

static void write_six(const struct smtp_proxy_header *h, struct buf *out)
{
    const struct sockaddr_in6 *client = (const struct sockaddr_in6 *)&h->client,
                              *server = (const struct sockaddr_in6 *)&h->server;
    buf_add(out, &client->sin6_addr, 16);
    buf_add(out, &server->sin6_addr, 16);
    buf_add(out, &client->sin6_port, 2);
    buf_add(out, &server->sin6_port, 2);
}

void smtp_proxy_header_write(const struct smtp_proxy_header *h, size_t tlv_bytes, struct buf *out)
{
    bool six = !h->local && h->client.ss_family == AF_INET6;
    size_t n = tlv_bytes + (h->local ? 0 : six ? V2_SIX : V2_FOUR);
    ENSURE(tlv_bytes <= V2_TLVS_MOST && (h->local || h->client.ss_family == h->server.ss_family));
    const uint8_t fixed[4] = {h->local ? 0x20 : 0x21,
                              h->local ? 0x00
                              : six    ? 0x21
                                       : 0x11,
                              (uint8_t)(n >> 8), (uint8_t)n};
    buf_add(out, v2_signature, sizeof v2_signature);
    buf_add(out, fixed, sizeof fixed);
    if (h->local) {
        return;
    }
    if (six) {
        write_six(h, out);
    } else {
        write_four(h, out);
    }
}
