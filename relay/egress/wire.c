/* The header's signature and the answers' lines. Who may what is relay/egress/passage.c's. */
#include "relay/egress/wire.h"

#include <string.h>

enum {
    TLV_TYPE = 0xe0,
    TLV_VERSION = 1,
    TLV_HEAD = 3,
    TIME_AT = 1,
    NONCE_AT = TIME_AT + 8,
    MAC_AT = NONCE_AT + EGRESS_NONCE_BYTES,
    TLV_VALUE = MAC_AT + MAC_BYTES,
    TLV_BYTES = TLV_HEAD + TLV_VALUE,
};

static const char prefix[] = "remuda-egress/1 ";

/* ---- the header ---- */

static void sign(const uint8_t *key, const char *egress, struct span header, uint8_t out[MAC_BYTES])
{
    struct buf input = BUF_INIT;
    buf_add(&input, egress, strlen(egress) + 1);
    buf_add(&input, header.ptr, header.len);
    mac_make(key, span_of(input.data, input.len), out);
    buf_fini(&input);
}

static void add_time(struct buf *out, uint64_t ms)
{
    for (int shift = 56; shift >= 0; shift -= 8)
        buf_add_char(out, (char)(ms >> shift));
}

static uint64_t read_time(const char *p)
{
    uint64_t ms = 0;
    for (int i = 0; i < 8; i++)
        ms = ms << 8 | (unsigned char)p[i];
    return ms;
}

void egress_header_write(const struct egress_call *call, struct buf *out)
{
    struct smtp_proxy_header h = {.local = !call->source};
    size_t from = out->len;
    uint8_t mac[MAC_BYTES];
    if (call->source) {
        addr_to_sockaddr(call->source, &h.client);
        addr_to_sockaddr(call->target, &h.server);
    }
    smtp_proxy_header_write(&h, call->key ? TLV_BYTES : 0, out);
    if (!call->key)
        return;
    const uint8_t head[] = {TLV_TYPE, TLV_VALUE >> 8, TLV_VALUE & 0xff, TLV_VERSION};
    buf_add(out, head, sizeof(head));
    add_time(out, call->wall_ms);
    buf_add(out, call->nonce, sizeof(call->nonce));
    sign(call->key, call->egress, span_of(out->data + from, out->len - from), mac);
    buf_add(out, mac, sizeof(mac));
}

bool egress_header_verify(struct span header, const struct smtp_proxy_header *h, const char *egress,
                          const uint8_t (*keys)[MAC_KEY_BYTES], int n_keys, struct egress_stamp *out)
{
    static const uint8_t head[] = {TLV_TYPE, TLV_VALUE >> 8, TLV_VALUE & 0xff, TLV_VERSION};
    if (h->tlvs.len != TLV_BYTES || memcmp(h->tlvs.ptr, head, sizeof(head)) != 0)
        return false;
    const char *value = h->tlvs.ptr + TLV_HEAD;
    *out = (struct egress_stamp){.wall_ms = read_time(value + TIME_AT),
                                 .nonce = span_of(value + NONCE_AT, EGRESS_NONCE_BYTES)};
    bool good = false;
    for (int i = 0; i < n_keys; i++) {
        uint8_t mac[MAC_BYTES];
        sign(keys[i], egress, span_of(header.ptr, header.len - MAC_BYTES), mac);
        good |= mac_equal(mac, value + MAC_AT, MAC_BYTES);
    }
    return good;
}

/* ---- answers ---- */

const char *egress_answer_word(enum egress_answer a)
{
    static const char *const words[EGRESS_ANSWERS] = {
        [EGRESS_ACCEPTED] = "accepted",
        [EGRESS_CONNECTED] = "connected",
        [EGRESS_UNREACHABLE] = "unreachable",
        [EGRESS_DENIED] = "denied",
        [EGRESS_SOURCE] = "source",
        [EGRESS_BUSY] = "busy",
        [EGRESS_AUTH] = "auth",
        [EGRESS_CLOCK] = "clock",
    };
    return words[a];
}

void egress_answer_write(enum egress_answer a, const char *text, struct buf *out)
{
    size_t from = out->len;
    buf_printf(out, "%s%s", prefix, egress_answer_word(a));
    if (text && text[0])
        buf_printf(out, " %s", text);
    if (out->len - from > EGRESS_LINE_MOST - 1)
        out->len = from + EGRESS_LINE_MOST - 1;
    for (size_t i = from; i < out->len; i++)
        if ((unsigned char)out->data[i] < ' ')
            out->data[i] = ' ';
    buf_add_char(out, '\n');
}

enum egress_parse egress_answer_parse(struct span in, size_t *consumed, enum egress_answer *out,
                                      struct span *text)
{
    size_t begun = in.len < sizeof(prefix) - 1 ? in.len : sizeof(prefix) - 1;
    size_t most = in.len < EGRESS_LINE_MOST ? in.len : EGRESS_LINE_MOST;
    if (memcmp(in.ptr, prefix, begun) != 0)
        return EGRESS_PARSE_ERROR;
    const char *lf = most ? memchr(in.ptr, '\n', most) : NULL;
    if (!lf)
        return most == EGRESS_LINE_MOST ? EGRESS_PARSE_ERROR : EGRESS_PARSE_MORE;
    *consumed = (size_t)(lf - in.ptr) + 1;
    *text = span_of(in.ptr + begun, (size_t)(lf - in.ptr) - begun);
    struct span word = span_cut(text, ' ');
    for (int i = 0; i < EGRESS_ANSWERS; i++)
        if (span_eq(word, span_str(egress_answer_word((enum egress_answer)i)))) {
            *out = (enum egress_answer)i;
            return EGRESS_PARSE_DONE;
        }
    return EGRESS_PARSE_ERROR;
}
