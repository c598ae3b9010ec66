/*
 * The PROXY protocol, versions 1 and 2 (HAProxy's doc/proxy-protocol.txt), as a receiver reads it, and
 * version 2 as a sender writes it. Pure. Read only on connections from configured load balancers, and of an
 * egress, and then it is required: there is no guessing.
 */
#ifndef REMUDA_LIB_SMTP_PROXY_HEADER_H
#define REMUDA_LIB_SMTP_PROXY_HEADER_H

#include <sys/socket.h>

#include "lib/base/buf.h"
#include "lib/base/span.h"

enum { SMTP_PROXY_HEADER_MOST = 4096 }; /* a longer version 2 header is refused */

enum smtp_proxy_status { SMTP_PROXY_MORE, SMTP_PROXY_DONE, SMTP_PROXY_ERROR };

struct smtp_proxy_header {
    bool local; /* no client behind it (LOCAL, UNKNOWN, or a family that is not IP): use the connection's own
                   ends */
    struct sockaddr_storage client; /* with port; AF_UNSPEC when local */
    struct sockaddr_storage server;
    struct span tlvs; /* version 2: what follows the addresses, borrowed from the input */
};

/*
 * in is all that was received so far, from the first byte. MORE: call again with more bytes (nothing is kept
 * here). DONE: the header took *consumed bytes, the SMTP (or TLS) stream follows. ERROR: close the
 * connection. The TLVs of version 2 are not looked at; a CRC32c TLV is not checked.
 */
enum smtp_proxy_status smtp_proxy_header_parse(struct span in, size_t *consumed,
                                               struct smtp_proxy_header *out);

/*
 * Appends a version 2 header: LOCAL without addresses when h->local, else both ends, which must be of one
 * family. Its length says that tlv_bytes (at most 1000) of TLVs follow: the caller appends them.
 */
void smtp_proxy_header_write(const struct smtp_proxy_header *h, size_t tlv_bytes, struct buf *out);

#endif
