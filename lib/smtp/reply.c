/*
 * Reading and writing replies. What a reply means for a message is decided in the delivery's outcome table.
 */
#include "lib/smtp/reply.h"

#include <stdio.h>

#include "lib/base/err.h"
#include "lib/smtp/address.h"

enum { WRITE_LINE_MOST = 500, FIRST_ROOM = 512 };

/* ---- enhanced codes ---- */

/* Up to three digits at s; returns how many. */
static size_t number(struct span s, uint16_t *out)
{
    size_t n = 0;
    *out = 0;
    while (n < s.len && n < 3 && s.ptr[n] >= '0' && s.ptr[n] <= '9') {
        *out = (uint16_t)(*out * 10 + (s.ptr[n] - '0'));
        n++;
    }
    return n;
}

size_t smtp_enhanced_parse(struct span s, struct smtp_enhanced *out)
{
    *out = SMTP_ENHANCED_NONE;
    if (s.len < 5 || s.ptr[1] != '.' || (s.ptr[0] != '2' && s.ptr[0] != '4' && s.ptr[0] != '5')) {
        return 0;
    }
    struct smtp_enhanced e = {.class = (uint8_t)(s.ptr[0] - '0')};
    size_t n = number(span_of(s.ptr + 2, s.len - 2), &e.subject);
    size_t at = 2 + n;
    if (n == 0 || at >= s.len || s.ptr[at] != '.') {
        return 0;
    }
    at++;
    n = number(span_of(s.ptr + at, s.len - at), &e.detail);
    at += n;
    if (n == 0 || (at < s.len && s.ptr[at] != ' ' && s.ptr[at] != '\n')) {
        return 0;
    }
    *out = e;
    return at;
}

char *smtp_enhanced_text(struct smtp_enhanced e, char out[SMTP_ENHANCED_BUF])
{
    out[0] = '\0';
    if (e.class != 0) {
        snprintf(out, SMTP_ENHANCED_BUF, "%u.%u.%u", e.class % 10u, e.subject % 1000u, e.detail % 1000u);
    }
    return out;
}

struct smtp_enhanced smtp_enhanced_or_default(struct smtp_enhanced e, int code)
{
    if (e.class != 0) {
        return e;
    }
    return SMTP_ENHANCED((uint8_t)(code >= 500 ? 5 : code >= 400 ? 4 : 2), 0, 0);
}

/* ---- reading ---- */

void smtp_reply_parser_init(struct smtp_reply_parser *p, struct buf *text)
{
    *p = (struct smtp_reply_parser){.text = text};
    buf_clear(text);
    buf_reserve(text, FIRST_ROOM);
}

bool smtp_reply_parser_busy(const struct smtp_reply_parser *p)
{
    return p->lines > 0 || p->line_at < p->text->len;
}

static enum smtp_reply_status fail(struct smtp_reply_parser *p, const char *why)
{
    p->trouble = why;
    return SMTP_REPLY_ERROR;
}

static int three_digits(const char *s)
{
    for (int i = 0; i < 3; i++) {
        if (s[i] < '0' || s[i] > '9') {
            return 0;
        }
    }
    return (s[0] - '0') * 100 + (s[1] - '0') * 10 + (s[2] - '0');
}

/* Length of the UTF-8 sequence that begins with a lead octet at s, 1 when there is none. */
static size_t sequence(const unsigned char *s, size_t n)
{
    size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 1;
    return len <= n && smtp_utf8_valid(span_of((const char *)s, len)) ? len : 1;
}

/* Makes text fit to be stored and shown: see the header. */
static void scrub(char *text, size_t n)
{
    unsigned char *s = (unsigned char *)text;
    for (size_t i = 0; i < n;) {
        if (s[i] >= 0x80) {
            size_t len = sequence(s + i, n - i);
            if (len == 1) {
                s[i] = '?';
            }
            i += len;
            continue;
        }
        if ((s[i] < ' ' && s[i] != '\t') || s[i] == 0x7f) {
            s[i] = '?';
        }
        i++;
    }
}

/* The line at line_at is complete, without its end: takes its code off. */
static enum smtp_reply_status end_line(struct smtp_reply_parser *p)
{
    struct buf *t = p->text;
    size_t n = t->len - p->line_at;
    char *line = t->data + p->line_at;
    if (n > 0 && line[n - 1] == '\r') {
        n--;
    }
    int code = n >= 3 ? three_digits(line) : 0;
    if (code < 200 || code > 599) {
        return fail(p, "reply without a code");
    }
    if (n > 3 && line[3] != ' ' && line[3] != '-') {
        return fail(p, "reply with a malformed code");
    }
    if (p->lines > 0 && code != p->code) {
        return fail(p, "reply whose code changes between lines");
    }
    if (p->lines == SMTP_REPLY_LINES_MOST) {
        return fail(p, "reply of too many lines");
    }
    p->code = code;
    bool more = n > 3 && line[3] == '-';
    size_t skip = n > 3 ? 4 : n;
    n -= skip;
    memmove(line, line + skip, n);
    scrub(line, n);
    struct smtp_enhanced e;
    if (p->enhanced.class == 0 && smtp_enhanced_parse(span_of(line, n), &e) > 0 && e.class == code / 100) {
        p->enhanced = e;
    }
    t->len = p->line_at + n;
    p->lines++;
    if (more) {
        buf_add_char(t, '\n');
    }
    p->line_at = t->len;
    return more ? SMTP_REPLY_MORE : SMTP_REPLY_DONE;
}

static void begin(struct smtp_reply_parser *p)
{
    buf_clear(p->text);
    p->line_at = 0;
    p->enhanced = SMTP_ENHANCED_NONE;
}

enum smtp_reply_status smtp_reply_parse(struct smtp_reply_parser *p, struct span in, size_t *consumed,
                                        struct smtp_reply *out)
{
    *consumed = 0;
    if (p->trouble) {
        return SMTP_REPLY_ERROR;
    }
    if (in.len > 0 && p->lines == 0 && p->line_at == p->text->len) {
        begin(p);
    }
    while (*consumed < in.len) {
        const char *at = in.ptr + *consumed;
        size_t left = in.len - *consumed;
        const char *lf = memchr(at, '\n', left);
        size_t n = lf ? (size_t)(lf - at) : left;
        if (p->text->len - p->line_at + n > SMTP_REPLY_LINE_MOST) {
            return fail(p, "reply line too long");
        }
        buf_add(p->text, at, n);
        *consumed += lf ? n + 1 : n;
        if (!lf) {
            break;
        }
        enum smtp_reply_status status = end_line(p);
        if (status == SMTP_REPLY_DONE) {
            *out = (struct smtp_reply){.code = p->code, .enhanced = p->enhanced, .text = buf_span(p->text)};
            p->lines = 0;
        }
        if (status != SMTP_REPLY_MORE) {
            return status;
        }
    }
    return SMTP_REPLY_MORE;
}

/* ---- writing ---- */

static void write_line(struct buf *out, struct span prefix, struct span line, bool last)
{
    size_t room = WRITE_LINE_MOST - prefix.len;
    line.len = line.len > room ? room : line.len;
    char *to = buf_reserve(out, prefix.len + line.len + 2);
    memcpy(to, prefix.ptr, prefix.len);
    to[3] = last ? ' ' : '-';
    for (size_t i = 0; i < line.len; i++) {
        char c = line.ptr[i];
        to[prefix.len + i] = (c >= 0 && c < ' ') || c == 0x7f ? '?' : c;
    }
    to[prefix.len + line.len] = '\r';
    to[prefix.len + line.len + 1] = '\n';
    out->len += prefix.len + line.len + 2;
}

void smtp_reply_write(struct buf *out, int code, struct smtp_enhanced enhanced, struct span text)
{
    char prefix[SMTP_ENHANCED_BUF + 8], e[SMTP_ENHANCED_BUF];
    ENSURE(code >= 200 && code <= 599);
    smtp_enhanced_text(enhanced, e);
    int n = snprintf(prefix, sizeof prefix, "%03d %s%s", code, e, e[0] ? " " : "");
    if (text.ptr == NULL) {
        text = SPAN_LIT("");
    }
    do {
        struct span line = span_cut(&text, '\n');
        write_line(out, span_of(prefix, (size_t)n), line, text.ptr == NULL);
    } while (text.ptr != NULL);
}
