/*
 * Puts a body into DATA's framing. Where the bytes come from and when they leave is the delivery session's
 * part.
 */
#include "lib/smtp/stuff.h"

#include "lib/base/err.h"
#include "lib/smtp/line_ends.h"

enum state { LINE_BEGIN, IN_LINE, HELD_CR };

static const char crlf[] = "\r\n";
static const char dot[] = ".";

struct runs {
    struct iovec *out;
    size_t n;
};

void smtp_stuff_init(struct smtp_stuff *s)
{
    *s = (struct smtp_stuff){.state = LINE_BEGIN};
}

static void push(struct smtp_stuff *s, struct runs *r, const char *from, size_t n)
{
    if (n > 0) {
        r->out[r->n++] = (struct iovec){(void *)(uintptr_t)from, n};
        s->bytes += n;
    }
}

/* Behind a held CR: LF completes it, another CR is dropped, anything else begins a line behind a made CRLF.
 */
static const char *take_held(struct smtp_stuff *s, struct runs *r, const char *p)
{
    if (*p == '\r') {
        s->changed = true;
        return p + 1;
    }
    push(s, r, crlf, 2);
    s->state = LINE_BEGIN;
    s->changed = s->changed || *p != '\n';
    return *p == '\n' ? p + 1 : p;
}

/* Lines from p up to the next that begins with a dot, or to a bare CR or LF: at most SMTP_STUFF_RUNS runs. */
static const char *take_lines(struct smtp_stuff *s, struct runs *r, const char *p, const char *end)
{
    const char *run = p, *at;
    if (s->state == LINE_BEGIN && *p == '.') {
        push(s, r, dot, 1);
    }
    for (;;) {
        enum smtp_mark mark = smtp_mark_next(p, end, &at);
        if (mark == SMTP_MARK_CRLF) {
            p = at + 2;
            if (p < end && *p != '.') {
                continue;
            }
            s->state = LINE_BEGIN;
            push(s, r, run, (size_t)(p - run));
            return p;
        }
        push(s, r, run, (size_t)(at - run));
        if (mark == SMTP_MARK_LF) {
            push(s, r, crlf, 2);
            s->changed = true;
            s->state = LINE_BEGIN;
            return at + 1;
        }
        s->state = mark == SMTP_MARK_CR ? HELD_CR : IN_LINE;
        return mark == SMTP_MARK_CR ? at + 1 : at;
    }
}

size_t smtp_stuff_feed(struct smtp_stuff *s, struct span *in, struct iovec *out, size_t most)
{
    struct runs r = {out, 0};
    ENSURE(most >= SMTP_STUFF_RUNS);
    if (in->len == 0) {
        return 0;
    }
    const char *p = in->ptr, *end = in->ptr + in->len;
    while (p < end && r.n + SMTP_STUFF_RUNS <= most) {
        p = s->state == HELD_CR ? take_held(s, &r, p) : take_lines(s, &r, p, end);
    }
    *in = span_of(p, (size_t)(end - p));
    return r.n;
}

struct span smtp_stuff_end(struct smtp_stuff *s)
{
    bool at_begin = s->state == LINE_BEGIN;
    s->changed = s->changed || s->state == HELD_CR;
    s->state = LINE_BEGIN;
    struct span end = at_begin ? SPAN_LIT(".\r\n") : SPAN_LIT("\r\n.\r\n");
    s->bytes += end.len;
    return end;
}

bool smtp_has_bare(struct span s)
{
    if (s.len == 0) {
        return false;
    }
    const char *p = s.ptr, *end = s.ptr + s.len, *at;
    while (p < end) {
        enum smtp_mark mark = smtp_mark_next(p, end, &at);
        if (mark != SMTP_MARK_CRLF) {
            return mark != SMTP_MARK_NONE;
        }
        p = at + 2;
    }
    return false;
}
