/*
 * What a worker and an egress say to each other before they pass SMTP through. Pure; bytes in, bytes out.
 *
 * The worker sends one PROXY protocol version 2 header: PROXY with the source's address (port 0) and the MX
 * host's address and port, or LOCAL to ask whether the egress lives. To `remuda egress` the header ends in a
 * TLV of type 0xE0: version 1 (1 byte), time (8, milliseconds since 1970), nonce (16) and HMAC-SHA-256 (32)
 * under the shared secret over the egress's name, a NUL, and the header up to the HMAC. So nothing secret is
 * sent, a header is good at one egress only, for EGRESS_CLOCK_MS, and once.
 *
 * Where egress and worker know each other by certificates, all of this is inside TLS and the TLV is left out.
 *
 * `remuda egress` answers with lines, each "remuda-egress/1 WORD[ TEXT]" LF: `accepted` at once, then
 * `connected`, behind which the MX host's bytes follow; or another word, and closes. HAProxy answers nothing.
 */
#ifndef REMUDA_RELAY_EGRESS_WIRE_H
#define REMUDA_RELAY_EGRESS_WIRE_H

#include "lib/base/buf.h"
#include "lib/base/mac.h"
#include "lib/net/addr.h"
#include "lib/smtp/proxy_header.h"

enum { EGRESS_NONCE_BYTES = 16, EGRESS_LINE_MOST = 300, EGRESS_CLOCK_MS = 60000 };

/* ---- the header ---- */

struct egress_call {
    const struct addr *source, *target; /* source NULL: LOCAL */
    const char *egress;                 /* its name */
    const uint8_t *key;                 /* MAC_KEY_BYTES; NULL: no TLV */
    uint64_t wall_ms;
    uint8_t nonce[EGRESS_NONCE_BYTES];
};
/* Appends it. source and target must be of one kind. */
void egress_header_write(const struct egress_call *call, struct buf *out);

struct egress_stamp {
    uint64_t wall_ms;
    struct span nonce; /* borrowed from the header */
};
/*
 * True when the header (all of it, as parsed into h) carries a signature by one of the keys for this egress.
 * Whether its time and nonce are acceptable is for the caller to say.
 */
bool egress_header_verify(struct span header, const struct smtp_proxy_header *h, const char *egress,
                          const uint8_t (*keys)[MAC_KEY_BYTES], int n_keys, struct egress_stamp *out);

/* ---- answers ---- */

enum egress_answer {
    EGRESS_ACCEPTED,    /* the header is good; the connection is under way. To LOCAL: it lives */
    EGRESS_CONNECTED,   /* the MX host's bytes follow */
    EGRESS_UNREACHABLE, /* the MX host could not be reached: text says why */
    EGRESS_DENIED,      /* its configuration forbids the target */
    EGRESS_SOURCE,      /* the source is none of its own, or cannot be bound */
    EGRESS_BUSY,        /* too many connections */
    EGRESS_AUTH,  /* not signed, or with another secret, or seen before; or the certificate will not do */
    EGRESS_CLOCK, /* signed at a time too far from its own clock's */
    EGRESS_ANSWERS
};
const char *egress_answer_word(enum egress_answer a);
/* text is cut to fit; control characters become spaces. */
void egress_answer_write(enum egress_answer a, const char *text, struct buf *out);

enum egress_parse { EGRESS_PARSE_MORE, EGRESS_PARSE_DONE, EGRESS_PARSE_ERROR };
/* in: all that was received and not consumed yet. text is borrowed from it. A word that is not known is an
 * ERROR. */
enum egress_parse egress_answer_parse(struct span in, size_t *consumed, enum egress_answer *out,
                                      struct span *text);

#endif
