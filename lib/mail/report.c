/* Which kind of report a message is, and what all kinds share. */
#include <stdio.h>

#include "lib/mail/header.h"
#include "lib/mail/report_private.h"
#include "lib/smtp/address.h"

/* ---- what all kinds share ------------------------------------------------------------------------ */

struct mail_report_recipient *report_add(struct arena *a, struct mail_report *r)
{
    if (r->n_recipients == MAIL_REPORT_RECIPIENTS_MOST)
        return NULL;
    if (!r->recipients)
        r->recipients = arena_alloc(a, MAIL_REPORT_RECIPIENTS_MOST * sizeof(*r->recipients));
    struct mail_report_recipient *out = &r->recipients[r->n_recipients++];
    *out = (struct mail_report_recipient){.address = "", .original = "", .text = ""};
    return out;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

char *report_text(struct arena *a, struct span s)
{
    while (s.len && is_space(s.ptr[0]))
        s = span_of(s.ptr + 1, s.len - 1);
    if (s.len > MAIL_REPORT_TEXT_MOST * 2)
        s.len = MAIL_REPORT_TEXT_MOST * 2;
    char *out = arena_alloc(a, s.len + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.len && n < MAIL_REPORT_TEXT_MOST; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (!is_space((char)c))
            out[n++] = c < ' ' || c == 0x7f ? '?' : (char)c;
        else if (n && out[n - 1] != ' ')
            out[n++] = ' ';
    }
    while (n && out[n - 1] == ' ')
        n--;
    out[n] = '\0';
    bool valid = smtp_utf8_valid(span_of(out, n));
    for (size_t i = 0; !valid && i < n; i++)
        if ((unsigned char)out[i] > 0x7f)
            out[i] = '?';
    return out;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* An enhanced code at the beginning, with or without "#" in front; its length. */
static size_t enhanced_at(struct span s, struct smtp_enhanced *out)
{
    size_t hash = s.len && s.ptr[0] == '#' ? 1 : 0;
    struct span rest = span_of(s.ptr + hash, s.len - hash);
    size_t n = 0;
    while (n < rest.len && (is_digit(rest.ptr[n]) || rest.ptr[n] == '.'))
        n++;
    size_t used = smtp_enhanced_parse(span_of(rest.ptr, n), out);
    return used ? used + hash : 0;
}

/* A word begins here: what stands before is neither letter, digit nor part of a number or an address. */
static bool word_begins(struct span s, size_t i)
{
    if (i == 0)
        return true;
    char c = s.ptr[i - 1];
    return is_space(c) || c == '(' || c == '<' || c == ':' || c == ';' || c == '"' || c == '#' || c == '\'';
}

static int reply_code_at(struct span s)
{
    if (s.len < 3 || (s.ptr[0] != '4' && s.ptr[0] != '5') || s.ptr[1] < '0' || s.ptr[1] > '5' ||
        !is_digit(s.ptr[2]))
        return 0;
    if (s.len > 3 && s.ptr[3] != ' ' && s.ptr[3] != '-' && s.ptr[3] != '\n' && s.ptr[3] != '\r' &&
        s.ptr[3] != ',')
        return 0;
    return (s.ptr[0] - '0') * 100 + (s.ptr[1] - '0') * 10 + (s.ptr[2] - '0');
}

void report_take_reply(struct arena *a, struct span text, struct mail_report_recipient *r)
{
    struct smtp_enhanced e = {0};
    size_t from = 0;
    for (size_t i = 0; i < text.len && !r->code; i++) {
        struct span s = span_of(text.ptr + i, text.len - i);
        if (!word_begins(text, i))
            continue;
        r->code = reply_code_at(s);
        if (r->code)
            from = i + 3 + (s.len > 3 ? 1 : 0);
        else if (!e.class)
            (void)enhanced_at(s, &e);
    }
    struct span rest = span_trim(span_of(text.ptr + from, text.len - from));
    struct smtp_enhanced own = {0};
    if (r->code && enhanced_at(rest, &own))
        e = own;
    if (e.class)
        r->status = e;
    if (rest.len)
        r->text = report_text(a, rest);
}

static bool is_wrapper(char c)
{
    return is_space(c) || c == '<' || c == '\'' || c == '"' || c == '(';
}

struct span report_mailbox(struct span s)
{
    struct smtp_address parsed;
    while (s.len && is_wrapper(s.ptr[0]))
        s = span_of(s.ptr + 1, s.len - 1);
    if (span_istarts(s, SPAN_LIT("mailto:")))
        s = span_of(s.ptr + 7, s.len - 7);
    size_t n = 0;
    while (n < s.len && n < SMTP_PATH_MOST && !is_wrapper(s.ptr[n]) && !strchr(">),;:", s.ptr[n]))
        n++;
    while (n && s.ptr[n - 1] == '.')
        n--;
    struct span found = span_of(s.ptr, n);
    if (!n || smtp_address_parse(found, SMTP_ADDRESS_UTF8, &parsed) != SMTP_ADDRESS_OK)
        return span_of(s.ptr, 0);
    return found;
}

/* ---- which kind ---------------------------------------------------------------------------------- */

static const struct mail_part *find_part(const struct mail_part *parts, size_t n, const char *type)
{
    for (size_t i = 0; i < n; i++)
        if (span_ieq(parts[i].type, span_str(type)))
            return &parts[i];
    return NULL;
}

/* The first of these types that there is. */
static const struct mail_part *find_first(const struct mail_part *parts, size_t n, const char *const *types)
{
    const struct mail_part *found = NULL;
    for (; *types && !found; types++)
        found = find_part(parts, n, *types);
    return found;
}

static struct span original_of(const struct mail_part *parts, size_t n)
{
    static const char *const types[] = {"message/rfc822",         "text/rfc822-headers",    "message/global",
                                        "message/global-headers", "message/rfc822-headers", NULL};
    const struct mail_part *p = find_first(parts, n, types);
    return p ? p->body : span_of(NULL, 0);
}

static bool field_has(struct span message, const char *name, const char *const *words)
{
    struct mail_field f;
    if (!mail_header_find(message, name, &f))
        return false;
    for (; *words; words++)
        if (span_istarts(f.value, span_str(*words)))
            return true;
    return false;
}

/* What only a person's mail program says. Bounces are Auto-Submitted: auto-replied too, so that alone proves
 * nothing. */
static bool is_absence(struct span message)
{
    static const char *const any[] = {"", NULL};
    static const char *const precedence[] = {"auto_reply", "auto-reply", NULL};
    static const char *const vacation[] = {"auto-replied (vacation", "auto-replied; owner", NULL};
    static const char *const subjects[] = {"out of office",
                                           "out of the office",
                                           "automatic reply",
                                           "auto-reply",
                                           "autoreply",
                                           "auto reply",
                                           "auto response",
                                           "auto:",
                                           "abwesen",
                                           "automatische antwort",
                                           "r\xc3\xa9ponse automatique",
                                           "respuesta autom",
                                           "risposta automatica",
                                           "vacation",
                                           "resposta autom",
                                           "=?utf-8?q?out_of",
                                           "=?utf-8?q?automat",
                                           "automatisch antwoord",
                                           NULL};
    return field_has(message, "X-Autoreply", any) || field_has(message, "X-Autorespond", any) ||
           field_has(message, "X-Auto-Reply-From", any) || field_has(message, "X-Vacation", any) ||
           field_has(message, "Precedence", precedence) || field_has(message, "Auto-Submitted", vacation) ||
           field_has(message, "Subject", subjects);
}

/* Outlook's Junk Mail Reporting Program: the message itself, with the complainer in a header of its own. */
static bool read_jmrp(struct arena *a, struct span message, struct span original, struct mail_report *r)
{
    static const char *const subjects[] = {"complaint about message from", NULL};
    struct mail_field f;
    bool named = mail_header_find(original, "X-HmXmrOriginalRecipient", &f) ||
                 mail_header_find(message, "X-HmXmrOriginalRecipient", &f);
    if (!named && !field_has(message, "Subject", subjects))
        return false;
    r->kind = MAIL_REPORT_COMPLAINT;
    r->form = "jmrp";
    r->feedback_type = "abuse";
    struct span address = named ? report_mailbox(f.value) : span_of(NULL, 0);
    struct mail_report_recipient *to = address.len ? report_add(a, r) : NULL;
    if (to)
        to->address = arena_dup_span(a, address);
    return true;
}

typedef void (*read_fn)(struct arena *a, struct span body, struct mail_report *r);

static void read_part(struct arena *a, const struct mail_part *p, read_fn read, struct mail_report *r)
{
    struct buf body = BUF_INIT;
    mail_part_decode(p, REPORT_PART_MOST, &body);
    read(a, buf_span(&body), r);
    buf_fini(&body);
}

static void read_prose(struct arena *a, const struct mail_part *p, struct mail_report *r)
{
    struct buf body = BUF_INIT;
    mail_part_decode(p, REPORT_PROSE_MOST, &body);
    if (report_read_form(a, buf_span(&body), r))
        r->kind = MAIL_REPORT_DELIVERY;
    buf_fini(&body);
}

/* Behind the prose of a report that is no multipart the original stands as text, if it does. */
static struct span original_in_text(struct span body)
{
    struct span rest = body;
    while (rest.len) {
        if (span_istarts(rest, SPAN_LIT("Return-Path:")))
            return rest;
        (void)span_cut(&rest, '\n');
    }
    return span_of(NULL, 0);
}

void mail_report_read(struct arena *a, struct span message, struct mail_report *out)
{
    static const char *const status[] = {"message/delivery-status", "message/global-delivery-status", NULL};
    struct mail_part parts[MAIL_PARTS_MOST];
    size_t n = mail_parts(message, parts);
    *out =
        (struct mail_report){.form = "", .envid = "", .feedback_type = "", .original = original_of(parts, n)};
    const struct mail_part *p;
    if ((p = find_part(parts, n, "message/feedback-report"))) {
        read_part(a, p, report_read_feedback, out);
    } else if (read_jmrp(a, message, out->original, out)) {
        return;
    } else if ((p = find_first(parts, n, status))) {
        read_part(a, p, report_read_status, out);
    } else if (find_part(parts, n, "message/disposition-notification") || is_absence(message)) {
        out->kind = MAIL_REPORT_AUTOMATIC;
        out->form = "automatic";
    }
    if (out->kind != MAIL_REPORT_NONE)
        return;
    if ((p = find_part(parts, n, "text/plain"))) {
        read_prose(a, p, out);
        if (!out->original.ptr)
            out->original = original_in_text(p->body);
    }
}
