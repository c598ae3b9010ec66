/*
 * Takes a body out of its framing. Lines inside a fragment pass by as one run (take_lines); what a fragment's
 * end cuts apart (a CR, a dot at a line's beginning) goes octet by octet through take_held. The message's
 * storage, and the reply to a fault, belong to the server.
 */
#include "lib/smtp/data.h"

#include "lib/base/err.h"
#include "lib/smtp/line_ends.h"

enum state {
    LINE_BEGIN, /* behind a true CRLF, or at the very beginning: a dot here means something */
    IN_LINE,
    HELD_CR,     /* a CR not given out yet */
    HELD_DOT,    /* a dot at LINE_BEGIN */
    HELD_DOT_CR, /* dot and CR at LINE_BEGIN */
    ENDED,
};

static const char crlf[] = {'\r', '\n'};

void smtp_data_init(struct smtp_data *d, const struct smtp_data_options *options, smtp_data_sink sink,
                    void *arg)
{
    *d = (struct smtp_data){.options = *options, .sink = sink, .arg = arg, .state = LINE_BEGIN};
}

/* Octets over 127 in run? Eight at a time; two sums that do not wait for each other. */
static bool has_high(struct span run)
{
    uint64_t all = 0, other = 0, one, two;
    size_t i = 0;
    for (; i + 16 <= run.len; i += 16) {
        memcpy(&one, run.ptr + i, 8);
        memcpy(&two, run.ptr + i + 8, 8);
        all |= one;
        other |= two;
    }
    all |= other;
    for (; i < run.len; i++) {
        all |= (uint64_t)(unsigned char)run.ptr[i];
    }
    return (all & UINT64_C(0x8080808080808080)) != 0;
}

static void give(struct smtp_data *d, const char *from, const char *to)
{
    struct span run = span_of(from, (size_t)(to - from));
    if (run.len == 0) {
        return;
    }
    d->bytes += run.len;
    if (d->options.size_most > 0 && d->bytes > d->options.size_most) {
        d->faults |= SMTP_DATA_TOO_BIG;
    }
    if (d->faults != 0) {
        return;
    }
    d->eight_bit = d->eight_bit || has_high(run);
    d->nul = d->nul || memchr(run.ptr, '\0', run.len) != NULL;
    d->sink(d->arg, run);
}

static void count_line(struct smtp_data *d, size_t n)
{
    d->line += n;
    if (d->options.line_most > 0 && d->line > d->options.line_most) {
        d->faults |= SMTP_DATA_LINE_LONG;
    }
}

static void end_line(struct smtp_data *d)
{
    d->line = 0;
    d->state = LINE_BEGIN;
}

static void note_bare(struct smtp_data *d, enum smtp_data_fault what)
{
    d->bare |= what;
    if (d->options.bare == SMTP_BARE_REFUSE) {
        d->faults |= what;
    }
}

/* A bare CR or LF becomes a line end, but not one behind which a dot means anything. */
static void make_line_end(struct smtp_data *d, enum smtp_data_fault what)
{
    note_bare(d, what);
    give(d, crlf, crlf + 2);
    d->line = 0;
    d->state = IN_LINE;
}

/* Ordinary lines from p on, up to what needs take_held; returns where it stopped. */
static const char *take_lines(struct smtp_data *d, const char *p, const char *end, bool dots)
{
    const char *run = p, *at;
    while (p < end) {
        if (dots && d->state == LINE_BEGIN && *p == '.') {
            give(d, run, p);
            d->state = HELD_DOT;
            return p + 1;
        }
        enum smtp_mark mark = smtp_mark_next(p, end, &at);
        count_line(d, (size_t)(at - p));
        if (mark == SMTP_MARK_CRLF) {
            end_line(d);
            p = at + 2;
            continue;
        }
        give(d, run, at);
        d->state = mark == SMTP_MARK_CR ? HELD_CR : IN_LINE;
        if (mark == SMTP_MARK_LF) {
            make_line_end(d, SMTP_DATA_BARE_LF);
        }
        return mark == SMTP_MARK_NONE ? at : at + 1;
    }
    give(d, run, p);
    return p;
}

static bool take_after_cr(struct smtp_data *d, char c)
{
    if (c == '\n') {
        give(d, crlf, crlf + 2);
        end_line(d);
        return true;
    }
    if (c == '\r') {
        note_bare(d, SMTP_DATA_BARE_CR);
        return true;
    }
    make_line_end(d, SMTP_DATA_BARE_CR);
    return false;
}

/* The octet after something held back. False when c was not taken and is to be looked at again. */
static bool take_held(struct smtp_data *d, char c)
{
    switch (d->state) {
    case HELD_DOT:
        if (c == '\r') {
            d->state = HELD_DOT_CR;
        } else if (c == '\n') {
            make_line_end(d, SMTP_DATA_BARE_LF);
        } else {
            d->state = IN_LINE; /* the dot was stuffing; c is text even if it is a dot */
            return false;
        }
        return true;
    case HELD_DOT_CR:
        d->state = c == '\n' ? ENDED : HELD_CR;
        return c == '\n';
    default:
        ENSURE(d->state == HELD_CR);
        return take_after_cr(d, c);
    }
}

static size_t take(struct smtp_data *d, struct span in, bool dots)
{
    const char *p = in.ptr, *end = in.ptr + in.len;
    while (p < end && d->state != ENDED) {
        if (d->state == LINE_BEGIN || d->state == IN_LINE) {
            p = take_lines(d, p, end, dots);
        } else if (take_held(d, *p)) {
            p++;
        }
    }
    return (size_t)(p - in.ptr);
}

enum smtp_data_status smtp_data_feed(struct smtp_data *d, struct span in, size_t *consumed)
{
    *consumed = in.len > 0 ? take(d, in, true) : 0;
    return d->state == ENDED ? SMTP_DATA_END : SMTP_DATA_MORE;
}

void smtp_data_chunk(struct smtp_data *d, uint64_t size, bool last)
{
    ENSURE(d->left == 0 && !d->last);
    d->left = size;
    d->last = last;
}

enum smtp_data_status smtp_data_feed_chunk(struct smtp_data *d, struct span in, size_t *consumed)
{
    if (in.len > d->left) {
        in.len = (size_t)d->left;
    }
    *consumed = in.len > 0 ? take(d, in, false) : 0;
    d->left -= *consumed;
    if (d->left > 0) {
        return SMTP_DATA_MORE;
    }
    if (d->last && d->state == HELD_CR) {
        make_line_end(d, SMTP_DATA_BARE_CR);
    }
    return SMTP_DATA_END;
}
