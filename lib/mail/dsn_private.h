/* What the three parts of a report share inside this folder. */
#ifndef REMUDA_LIB_MAIL_DSN_PRIVATE_H
#define REMUDA_LIB_MAIL_DSN_PRIVATE_H

#include "lib/mail/dsn.h"

static inline bool mail_dsn_given(const char *s)
{
    return s != NULL && s[0] != '\0';
}

/* Its own status, or what stands for a missing one (RFC 3463): 4.4.7 expired, 5.0.0 failed, ... */
struct smtp_enhanced mail_dsn_status(const struct mail_dsn_recipient *r);

/* Appends the words for people, lines folded at 78 columns. utf8: octets over 127 of valid UTF-8 pass. */
void mail_dsn_write_text(struct buf *out, const struct mail_dsn *d, bool utf8);
/* Appends the fields of message/delivery-status, or with global of message/global-delivery-status. */
void mail_dsn_write_fields(struct buf *out, const struct mail_dsn *d, bool global);
/* Appends an address or name as it is, blanks kept; what is not printable becomes "?". */
void mail_dsn_add_printable(struct buf *out, struct span s, bool utf8);
const char *mail_dsn_subject(const struct mail_dsn *d);

#endif
