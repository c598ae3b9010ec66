/* The Received field that a relay adds: RFC 5321 4.4, protocol names of RFC 3848 and RFC 6531 4.3. */
#ifndef REMUDA_LIB_MAIL_RECEIVED_H
#define REMUDA_LIB_MAIL_RECEIVED_H

#include "lib/base/buf.h"

/* Strings may be NULL or "" where they are absent. Octets that would break the field become "?". */
struct mail_received {
    const char *helo;           /* what the client called itself */
    const char *client_name;    /* its verified name by DNS, if any */
    const char *client_address; /* "192.0.2.1" or "2001:db8::1"; NULL hides it */
    const char *by;             /* our name; required */
    const char *id;             /* the message's id; required */
    const char *rcpt;           /* the recipient, only when there is exactly one */
    const char *tls_version;    /* "TLSv1.3" */
    const char *tls_cipher;     /* "TLS_AES_256_GCM_SHA384" */
    bool esmtp;                 /* EHLO was said */
    bool authenticated;
    bool smtputf8;
    uint64_t wall_ms;
};

/* Appends "Received: from ...; date" CRLF, folded at 78 columns where words allow. */
void mail_received_add(struct buf *out, const struct mail_received *r);
/* The protocol word: SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA, UTF8SMTP, UTF8SMTPS, UTF8SMTPA, UTF8SMTPSA. */
const char *mail_received_protocol(const struct mail_received *r);

#endif
