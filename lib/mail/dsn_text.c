/* The words of a report for people: what happened, to which recipient, and what the receiver itself said. */
#include <stdio.h>

#include "lib/mail/date.h"
#include "lib/mail/dsn_private.h"
#include "lib/mail/fold.h"

struct words {
    const char *subject;
    const char *opening;
    const char *heading; /* in front of the recipients it is about */
};

static const struct words words[] = {
    [MAIL_DSN_FAILED] = {"Undelivered: your message was refused",
                         "Your message could not be delivered to one or more recipients.",
                         "It was refused for good and will not be tried again for:"},
    [MAIL_DSN_EXPIRED] = {"Undelivered: your message could not be delivered in time",
                          "Your message could not be delivered to one or more recipients.",
                          "Delivery was tried until its time limit and has been given up for:"},
    [MAIL_DSN_DELAYED] =
        {"Delayed: your message is still being tried",
         "Your message has not been delivered yet. You need not send it again: delivery goes on.",
         "Still being tried for:"},
    [MAIL_DSN_DELIVERED] = {"Delivered: your message", "Your message was delivered.", "Delivered to:"},
    [MAIL_DSN_RELAYED] =
        {"Relayed: your message",
         "Your message was passed on to the mail server of the recipients below. That server does "
         "not report further, so this is the last notice you get from here.",
         "Passed on for:"},
};

/* The gravest action of the report leads. */
static enum mail_dsn_action leading(const struct mail_dsn *d)
{
    enum mail_dsn_action first = d->recipients[0].action;
    for (size_t i = 1; i < d->n_recipients; i++) {
        first = d->recipients[i].action < first ? d->recipients[i].action : first;
    }
    return first;
}

const char *mail_dsn_subject(const struct mail_dsn *d)
{
    return words[leading(d)].subject;
}

static void add_paragraph(struct buf *out, const char *indent, const char *text, bool utf8)
{
    struct mail_fold f;
    mail_fold_begin(&f, out, indent, indent, utf8);
    f.bare = true;
    mail_fold_text(&f, span_str(text));
    mail_fold_end(&f);
}

static void add_line_of(struct buf *out, const char *before, const char *value, const char *after)
{
    struct buf line = BUF_INIT;
    buf_printf(&line, "%s%s%s", before, value, after);
    add_paragraph(out, "    ", buf_cstr(&line), false);
    buf_fini(&line);
}

/* The receiver's words line by line, each behind its code. */
static void add_reply(struct buf *out, const struct mail_dsn_recipient *r, bool utf8)
{
    struct span text = span_str(r->text);
    if (r->code != 0) {
        const char *who = mail_dsn_given(r->remote_mta) ? r->remote_mta : "The receiving server";
        add_line_of(out, "", who, r->action >= MAIL_DSN_DELIVERED ? " answered:" : " said:");
    }
    do {
        char code[24];
        struct mail_fold f;
        struct span line = span_cut(&text, '\n');
        snprintf(code, sizeof code, r->code ? "        %03d " : "    ", r->code);
        mail_fold_begin(&f, out, code, r->code ? "            " : "    ", utf8);
        mail_fold_text(&f, line);
        mail_fold_end(&f);
    } while (text.ptr != NULL);
}

static void add_recipient(struct buf *out, const struct mail_dsn_recipient *r, bool utf8)
{
    char date[MAIL_DATE_BUF];
    buf_add_str(out, "\r\n  <");
    mail_dsn_add_printable(out, span_str(r->address), utf8);
    buf_add_str(out, ">\r\n");
    if (r->code != 0 || mail_dsn_given(r->text)) {
        add_reply(out, r, utf8);
    }
    if (r->last_attempt_ms != 0 && r->action < MAIL_DSN_DELIVERED) {
        add_line_of(out, "Last tried: ", mail_date_format(r->last_attempt_ms, date), "");
    }
    if (r->action == MAIL_DSN_DELAYED && r->retry_until_ms != 0) {
        add_line_of(out, "Will be tried until: ", mail_date_format(r->retry_until_ms, date), "");
    }
}

static void add_group(struct buf *out, const struct mail_dsn *d, enum mail_dsn_action action, bool utf8)
{
    bool any = false;
    for (size_t i = 0; i < d->n_recipients; i++) {
        if (d->recipients[i].action != action) {
            continue;
        }
        if (!any) {
            buf_add_str(out, "\r\n");
            add_paragraph(out, "", words[action].heading, utf8);
            any = true;
        }
        add_recipient(out, &d->recipients[i], utf8);
    }
}

void mail_dsn_write_text(struct buf *out, const struct mail_dsn *d, bool utf8)
{
    char date[MAIL_DATE_BUF];
    struct buf line = BUF_INIT;
    buf_printf(&line, "This is the mail relay at %s.", d->reporting_mta);
    add_paragraph(out, "", buf_cstr(&line), false);
    buf_add_str(out, "\r\n");
    add_paragraph(out, "", words[leading(d)].opening, false);
    for (int action = MAIL_DSN_FAILED; action <= MAIL_DSN_RELAYED; action++) {
        add_group(out, d, (enum mail_dsn_action)action, utf8);
    }
    buf_add_str(out, "\r\n");
    buf_clear(&line);
    buf_printf(&line, "Accepted: %s", mail_date_format(d->arrival_ms, date));
    if (mail_dsn_given(d->original_id)) {
        buf_printf(&line, ", with id %s", d->original_id);
    }
    add_paragraph(out, "", buf_cstr(&line), false);
    buf_fini(&line);
}
