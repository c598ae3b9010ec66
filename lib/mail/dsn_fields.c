/* The machine-readable part of a report: RFC 3464 2, and its form for UTF-8 addresses, RFC 6533 3. */
#include "lib/base/arena.h"
#include "lib/mail/date.h"
#include "lib/mail/dsn_private.h"
#include "lib/mail/fold.h"
#include "lib/smtp/address.h"
#include "lib/smtp/xtext.h"

static const char *const action_words[] = {
    [MAIL_DSN_FAILED] = "failed",       [MAIL_DSN_EXPIRED] = "failed",  [MAIL_DSN_DELAYED] = "delayed",
    [MAIL_DSN_DELIVERED] = "delivered", [MAIL_DSN_RELAYED] = "relayed",
};

struct smtp_enhanced mail_dsn_status(const struct mail_dsn_recipient *r)
{
    if (r->status.class != 0) {
        return r->status;
    }
    switch (r->action) {
    case MAIL_DSN_EXPIRED:
        return SMTP_ENHANCED(4, 4, 7);
    case MAIL_DSN_DELAYED:
        return SMTP_ENHANCED(4, 0, 0);
    case MAIL_DSN_DELIVERED:
    case MAIL_DSN_RELAYED:
        return SMTP_ENHANCED(2, 0, 0);
    default:
        return SMTP_ENHANCED(5, 0, 0);
    }
}

/* "Name: type; value" with the value's words folded. */
static void add_field(struct buf *out, const char *first, struct span value, bool utf8)
{
    struct mail_fold f;
    mail_fold_begin(&f, out, first, " ", utf8);
    mail_fold_text(&f, value);
    mail_fold_end(&f);
}

static void add_date(struct buf *out, const char *first, uint64_t wall_ms)
{
    char date[MAIL_DATE_BUF];
    if (wall_ms != 0) {
        add_field(out, first, span_str(mail_date_format(wall_ms, date)), false);
    }
}

void mail_dsn_add_printable(struct buf *out, struct span s, bool utf8)
{
    bool high = utf8 && smtp_utf8_valid(s);
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        buf_add_char(out, c < ' ' || c == 0x7f || (c >= 0x80 && !high) ? '?' : (char)c);
    }
}

static void add_address(struct buf *out, const char *name, struct span type, struct span address, bool global)
{
    buf_printf(out, "%s: %.*s; ", name, SPAN_FMT(type));
    mail_dsn_add_printable(out, address, global);
    buf_add_str(out, "\r\n");
}

/* RFC 3464 2.3.1: the type and the address as the sender gave it, its xtext taken off. An address that is not
 * ASCII can stand decoded only in the global form; else it stays in its encoding (RFC 6533 3). */
static void add_original(struct buf *out, struct arena *a, const char *orcpt, bool global)
{
    struct span type, value, address;
    if (!mail_dsn_given(orcpt) || smtp_orcpt_split(span_str(orcpt), &type, &value) != RM_OK ||
        smtp_orcpt_decode(a, span_str(orcpt), &type, &address) != RM_OK) {
        return;
    }
    bool decoded = global || smtp_is_ascii(address);
    add_address(out, "Original-Recipient", type, decoded ? address : value, global);
}

/* The receiver's answer with its code in front of each line, as it was on the wire; or our own words. */
static void add_diagnostic(struct buf *out, const struct mail_dsn_recipient *r, bool global)
{
    struct buf words = BUF_INIT;
    struct span text = span_str(r->text);
    if (text.len == 0 && r->code == 0) {
        return;
    }
    do {
        struct span line = span_cut(&text, '\n');
        if (r->code != 0) {
            buf_printf(&words, "%03d%s", r->code, text.ptr ? "-" : " ");
        }
        buf_add_span(&words, line);
        buf_add_char(&words, '\n');
    } while (text.ptr != NULL);
    add_field(out, r->code ? "Diagnostic-Code: smtp;" : "Diagnostic-Code: X-Remuda;", buf_span(&words),
              global);
    buf_fini(&words);
}

static void add_recipient(struct buf *out, struct arena *a, const struct mail_dsn_recipient *r, bool global)
{
    char status[SMTP_ENHANCED_BUF];
    struct span address = span_str(r->address);
    buf_add_str(out, "\r\n");
    add_original(out, a, r->orcpt, global);
    add_address(out, "Final-Recipient", smtp_is_ascii(address) ? SPAN_LIT("rfc822") : SPAN_LIT("utf-8"),
                address, global);
    add_field(out, "Action:", span_str(action_words[r->action]), false);
    add_field(out, "Status:", span_str(smtp_enhanced_text(mail_dsn_status(r), status)), false);
    if (mail_dsn_given(r->remote_mta)) {
        add_field(out, "Remote-MTA: dns;", span_str(r->remote_mta), false);
    }
    add_diagnostic(out, r, global);
    add_date(out, "Last-Attempt-Date:", r->last_attempt_ms);
    if (r->action == MAIL_DSN_DELAYED) {
        add_date(out, "Will-Retry-Until:", r->retry_until_ms);
    }
}

void mail_dsn_write_fields(struct buf *out, const struct mail_dsn *d, bool global)
{
    struct arena a = ARENA_INIT;
    add_field(out, "Reporting-MTA: dns;", span_str(d->reporting_mta), false);
    if (mail_dsn_given(d->envid)) {
        add_field(out, "Original-Envelope-Id:", span_str(d->envid), false);
    }
    if (mail_dsn_given(d->original_id)) {
        add_field(out, "X-Remuda-Id:", span_str(d->original_id), false);
    }
    add_date(out, "Arrival-Date:", d->arrival_ms);
    for (size_t i = 0; i < d->n_recipients; i++) {
        add_recipient(out, &a, &d->recipients[i], global);
    }
    arena_fini(&a);
}
