/* Walks the header section. What is added to a message is built in received.c and by the ingress. */
#include "lib/mail/header.h"

#include "lib/smtp/address.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

void mail_header_begin(struct mail_header_iter *it, struct span message)
{
    it->rest = message;
}

/* Length of the field name at s, 0 when the line is no field. RFC 5322 4.5.8's blanks before the colon count
 * with the colon. */
static size_t name_length(struct span s, size_t *colon)
{
    size_t n = 0;
    while (n < s.len && s.ptr[n] > ' ' && s.ptr[n] < 0x7f && s.ptr[n] != ':') {
        n++;
    }
    *colon = n;
    while (*colon < s.len && is_blank(s.ptr[*colon])) {
        (*colon)++;
    }
    return *colon < s.len && s.ptr[*colon] == ':' ? n : 0;
}

/* Length of the field at s with its folded lines and its last line end. */
static size_t field_length(struct span s)
{
    size_t at = 0;
    for (;;) {
        const char *lf = memchr(s.ptr + at, '\n', s.len - at);
        if (lf == NULL) {
            return s.len;
        }
        at = (size_t)(lf - s.ptr) + 1;
        if (at == s.len || !is_blank(s.ptr[at])) {
            return at;
        }
    }
}

static bool is_space(char c)
{
    return is_blank(c) || c == '\r' || c == '\n';
}

static struct span trim_value(struct span s)
{
    while (s.len > 0 && is_space(s.ptr[0])) {
        s = span_of(s.ptr + 1, s.len - 1);
    }
    while (s.len > 0 && is_space(s.ptr[s.len - 1])) {
        s.len--;
    }
    return s;
}

bool mail_header_next(struct mail_header_iter *it, struct mail_field *out)
{
    struct span s = it->rest;
    size_t colon, name = s.len > 0 ? name_length(s, &colon) : 0;
    if (name == 0) {
        return false;
    }
    size_t n = field_length(s);
    out->name = span_of(s.ptr, name);
    out->raw = span_of(s.ptr, n);
    out->value = trim_value(span_of(s.ptr + colon + 1, n - colon - 1));
    it->rest = span_of(s.ptr + n, s.len - n);
    return true;
}

static void keep_first(struct span *slot, const struct mail_field *f)
{
    if (slot->ptr == NULL) {
        *slot = f->value;
    }
}

static void note_field(struct mail_header_info *info, const struct mail_field *f)
{
    struct span name = f->name;
    switch (name.len) {
    case 4:
        if (span_ieq(name, SPAN_LIT("Date"))) {
            keep_first(&info->date, f);
        } else if (span_ieq(name, SPAN_LIT("From"))) {
            keep_first(&info->from, f);
        }
        break;
    case 7:
        if (span_ieq(name, SPAN_LIT("Subject"))) {
            keep_first(&info->subject, f);
        }
        break;
    case 8:
        info->received += span_ieq(name, SPAN_LIT("Received")) ? 1 : 0;
        break;
    case 10:
        if (span_ieq(name, SPAN_LIT("Message-ID"))) {
            keep_first(&info->message_id, f);
        }
        break;
    case 14:
        if (span_ieq(name, SPAN_LIT("Auto-Submitted"))) {
            keep_first(&info->auto_submitted, f);
        }
        break;
    default:
        break;
    }
}

/* Octets of the blank line at s; 0 when there is none. */
static size_t blank_line(struct span s)
{
    if (s.len >= 2 && s.ptr[0] == '\r' && s.ptr[1] == '\n') {
        return 2;
    }
    return s.len >= 1 && s.ptr[0] == '\n' ? 1 : 0;
}

/* A line that is no field ends the section, but bytes that stop inside a line may still become one. */
static bool is_cut_off(struct span rest)
{
    return rest.len == 0 || memchr(rest.ptr, '\n', rest.len) == NULL;
}

void mail_header_scan(struct span message, struct mail_header_info *out)
{
    *out = (struct mail_header_info){0};
    struct span head = message;
    head.len = head.len > MAIL_HEADER_SCAN_MOST ? MAIL_HEADER_SCAN_MOST : head.len;
    struct mail_header_iter it;
    struct mail_field f;
    mail_header_begin(&it, head);
    while (mail_header_next(&it, &f)) {
        out->fields++;
        note_field(out, &f);
    }
    out->header_bytes = head.len - it.rest.len;
    size_t blank = blank_line(it.rest);
    out->body_at = out->header_bytes + blank;
    out->complete = blank > 0 || !is_cut_off(it.rest);
    out->eight_bit = !smtp_is_ascii(span_of(message.ptr, out->header_bytes));
}

bool mail_header_find(struct span message, const char *name, struct mail_field *out)
{
    struct mail_header_iter it;
    mail_header_begin(&it, message);
    while (mail_header_next(&it, out)) {
        if (span_ieq(out->name, span_str(name))) {
            return true;
        }
    }
    return false;
}

void mail_header_unfold(struct buf *out, struct span value)
{
    while (value.len > 0) {
        const char *lf = memchr(value.ptr, '\n', value.len);
        size_t n = lf ? (size_t)(lf - value.ptr) : value.len;
        size_t keep = lf && n > 0 && value.ptr[n - 1] == '\r' ? n - 1 : n;
        buf_add(out, value.ptr, keep);
        n += lf ? 1 : 0;
        value = span_of(value.ptr + n, value.len - n);
    }
}
