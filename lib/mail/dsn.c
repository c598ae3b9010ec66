/*
 * Puts a report together: its header, the words for people, the fields for machines, what is returned of the
 * message. When one is sent, and to which lane, is decided by the delivery.
 */
#include "lib/mail/dsn.h"

#include "lib/base/err.h"
#include "lib/mail/date.h"
#include "lib/mail/dsn_private.h"
#include "lib/mail/fold.h"
#include "lib/mail/header.h"
#include "lib/mail/quoted.h"
#include "lib/smtp/address.h"
#include "lib/smtp/command.h"

bool mail_dsn_wanted(unsigned notify, enum mail_dsn_action action, bool next_dsn)
{
    unsigned asked = notify == 0 ? SMTP_NOTIFY_FAILURE | SMTP_NOTIFY_DELAY : notify;
    if ((asked & SMTP_NOTIFY_NEVER) != 0) {
        return false;
    }
    switch (action) {
    case MAIL_DSN_FAILED:
    case MAIL_DSN_EXPIRED:
        return (asked & SMTP_NOTIFY_FAILURE) != 0;
    case MAIL_DSN_DELAYED:
        return (asked & SMTP_NOTIFY_DELAY) != 0;
    case MAIL_DSN_RELAYED:
        return (asked & SMTP_NOTIFY_SUCCESS) != 0 && !next_dsn;
    default:
        return (asked & SMTP_NOTIFY_SUCCESS) != 0;
    }
}

/* The part of the original that goes back, and how. */
struct returned {
    struct span bytes;
    bool whole;
    bool headers_high; /* octets over 127 in its header section */
};

static struct returned choose_returned(const struct mail_dsn *d)
{
    struct mail_header_info info;
    mail_header_scan(d->original, &info);
    struct returned r = {.whole = d->full && d->original_whole, .headers_high = info.eight_bit};
    r.bytes = r.whole ? d->original : span_of(d->original.ptr, info.header_bytes);
    return r;
}

static bool ascii(const char *s)
{
    return smtp_is_ascii(span_str(s));
}

/* RFC 6533: the UTF-8 forms are used only for what was sent with SMTPUTF8 and does need them. */
static bool is_global(const struct mail_dsn *d, const struct returned *r)
{
    bool plain = ascii(d->to) && !r->headers_high;
    for (size_t i = 0; i < d->n_recipients; i++) {
        plain = plain && ascii(d->recipients[i].address) && ascii(d->recipients[i].orcpt);
    }
    return d->smtputf8 && !plain;
}

static void add_header(struct buf *out, const struct mail_dsn *d, const char *boundary)
{
    char date[MAIL_DATE_BUF];
    buf_printf(out, "Date: %s\r\n", mail_date_format(d->now_ms, date));
    buf_printf(out, "From: Mail Delivery System <MAILER-DAEMON@%s>\r\n", d->reporting_mta);
    buf_printf(out, "To: <%s>\r\n", d->to);
    buf_printf(out, "Subject: %s\r\n", mail_dsn_subject(d));
    buf_printf(out, "Message-ID: <%s@%s>\r\n", d->id, d->reporting_mta);
    buf_add_str(out, "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n");
    buf_printf(out,
               "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"\r\n\r\n"
               "This is a delivery report in MIME form.\r\n",
               boundary);
}

static void add_part(struct buf *out, const char *boundary, const char *type, const char *encoding)
{
    buf_printf(out, "\r\n--%s\r\nContent-Type: %s\r\n", boundary, type);
    if (encoding != NULL) {
        buf_printf(out, "Content-Transfer-Encoding: %s\r\n", encoding);
    }
    buf_add_str(out, "\r\n");
}

/* The receiver's words may be UTF-8: then the part is, in quoted-printable where the report must be 7-bit. */
static void add_text(struct buf *out, const struct mail_dsn *d, const char *boundary, bool global)
{
    struct buf text = BUF_INIT;
    mail_dsn_write_text(&text, d, true);
    if (smtp_is_ascii(buf_span(&text))) {
        add_part(out, boundary, "text/plain; charset=us-ascii", NULL);
        buf_add_span(out, buf_span(&text));
    } else {
        add_part(out, boundary, "text/plain; charset=utf-8", global ? "8bit" : "quoted-printable");
        if (global) {
            buf_add_span(out, buf_span(&text));
        } else {
            mail_quoted_add(out, buf_span(&text));
        }
    }
    buf_fini(&text);
}

static void add_bytes(struct buf *out, struct span bytes)
{
    buf_add_span(out, bytes);
    if (bytes.len < 2 || memcmp(bytes.ptr + bytes.len - 2, "\r\n", 2) != 0) {
        buf_add_str(out, "\r\n");
    }
}

/* True when the part holds octets over 127. */
static bool add_returned(struct buf *out, const struct mail_dsn *d, const char *boundary, bool global)
{
    struct returned r = choose_returned(d);
    bool high = !smtp_is_ascii(r.bytes);
    if (r.bytes.len == 0) {
        return false;
    }
    if (r.whole) {
        add_part(out, boundary, global ? "message/global" : "message/rfc822", high ? "8bit" : NULL);
        add_bytes(out, r.bytes);
        return high;
    }
    const char *type = global ? "message/global-headers" : "text/rfc822-headers";
    bool encode = high && !global;
    add_part(out, boundary, type, encode ? "quoted-printable" : high ? "8bit" : NULL);
    if (encode) {
        mail_quoted_add(out, r.bytes);
    } else {
        add_bytes(out, r.bytes);
    }
    return high && !encode;
}

struct mail_dsn_made mail_dsn_write(struct buf *out, const struct mail_dsn *d)
{
    ENSURE(d->n_recipients > 0 && d->to != NULL && d->to[0] != '\0');
    struct returned r = choose_returned(d);
    bool global = is_global(d, &r);
    struct buf boundary = BUF_INIT;
    buf_printf(&boundary, "=_report-%s", d->id); /* "=_" stands in no quoted-printable text */
    const char *b = buf_cstr(&boundary);
    add_header(out, d, b);
    add_text(out, d, b, global);
    add_part(out, b, global ? "message/global-delivery-status" : "message/delivery-status",
             global ? "8bit" : NULL);
    mail_dsn_write_fields(out, d, global);
    bool high = add_returned(out, d, b, global);
    buf_printf(out, "\r\n--%s--\r\n", b);
    buf_fini(&boundary);
    return (struct mail_dsn_made){.eight_bit = high || global, .smtputf8 = global};
}
