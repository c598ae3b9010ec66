/*
 * Bounces in prose. Every form is a row of a table: words by which it is known, words behind which recipients
 * are named, and words that end them. A recipient is a line that begins with a mailbox; the reason is what
 * follows up to the next one.
 */
#include "lib/mail/report_private.h"

struct form {
    const char *name;
    const char *sign;  /* the text has it */
    const char *start; /* recipients come behind it; NULL: behind sign */
    const char *end;   /* nothing behind it counts; NULL: the text's end */
    const char *delay; /* with it in the text, nothing has failed yet; "": always so; NULL: never */
};

static const struct form forms[] = {
    {"qmail", "Hi. This is the", NULL, "\n--- Below this line", NULL},
    {"exim", "could not be delivered to one or more of its recipients", "failed:", "------ This is a copy",
     NULL},
    {"exim", "has not yet been delivered to one or more of its recipients", "delivered is:", "No action is",
     ""},
    {"exim", "has not yet been delivered to one or more of its recipients", "delivered are:", "No action is",
     ""},
    {"postfix", "This is the mail system at host", NULL, NULL, "THIS IS A WARNING ONLY"},
    {"postfix", "This is the Postfix program at host", NULL, NULL, "THIS IS A WARNING ONLY"},
    {"sendmail", "The following addresses had permanent fatal errors", NULL, "Transcript of session follows",
     NULL},
    {"sendmail", "The following addresses had transient non-fatal errors", NULL,
     "Transcript of session follows", ""},
    {"exchange", "Delivery has failed to these recipients", NULL, "Original message headers:", NULL},
    {"exchange", "Delivery is delayed to these recipients", NULL, "Original message headers:", ""},
    {"exchange", "did not reach some or all of the intended recipients", "could not be reached:", NULL, NULL},
    {"exchange", "did not reach the following recipient(s):", NULL, NULL, NULL},
    {"domino", "was not delivered to:", NULL, NULL, NULL},
    {"generic", "could not be delivered to", NULL, "Original message", NULL},
    {"generic", "was undeliverable to", NULL, "Original message", NULL},
    {"generic", "delivery to the following recipient", NULL, "Original message", NULL},
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c + 'a' - 'A' : c);
}

/* Octets at the beginning of s that are these words, in any case, a blank being any white space; 0: others.
 */
static size_t match(struct span s, const char *words)
{
    size_t n = 0;
    for (; *words; words++) {
        size_t from = n;
        if (*words == ' ') {
            while (n < s.len && is_space(s.ptr[n]))
                n++;
        } else if (n < s.len && lower(s.ptr[n]) == lower(*words)) {
            n++;
        }
        if (n == from)
            return 0;
    }
    return n;
}

/* Cuts text at the first place of words: what stands before and behind them. */
static bool split(struct span text, const char *words, struct span *before, struct span *behind)
{
    for (size_t i = 0; i < text.len; i++) {
        size_t n = match(span_of(text.ptr + i, text.len - i), words);
        if (!n)
            continue;
        *before = span_of(text.ptr, i);
        *behind = span_of(text.ptr + i + n, text.len - i - n);
        return true;
    }
    return false;
}

/* Where recipients are named; false: it is not of this form. */
static bool fits(const struct form *f, struct span text, struct span *list)
{
    struct span other;
    if (!split(text, f->sign, &other, list) || (f->start && !split(*list, f->start, &other, list)))
        return false;
    if (f->end)
        (void)split(*list, f->end, list, &other);
    return true;
}

static struct mail_report_recipient *find(struct mail_report *r, struct span address)
{
    for (size_t i = 0; i < r->n_recipients; i++)
        if (span_ieq(span_str(r->recipients[i].address), address))
            return &r->recipients[i];
    return NULL;
}

/* A line that names a recipient: the mailbox stands at its beginning. "To: x" and "Subject: x" do not. */
static struct span names(struct span line)
{
    struct span s = report_mailbox(line);
    return s.len ? s : span_of(NULL, 0);
}

/* Behind the mailbox on its own line there may be more of the reason. */
static struct span reason_of(struct span address, struct span list, const char *end)
{
    const char *from = address.ptr + address.len;
    while (from < list.ptr + list.len && strchr(">':\") ", *from))
        from++;
    return span_of(from, end > from ? (size_t)(end - from) : 0);
}

static void take(struct arena *a, struct mail_report *r, struct span address, struct span reason)
{
    struct mail_report_recipient *to = find(r, address);
    if (!to) {
        to = report_add(a, r);
        if (!to)
            return;
        to->address = arena_dup_span(a, address);
    }
    if (!to->code) /* a second mention may tell more exactly */
        report_take_reply(a, reason, to);
}

static void read_list(struct arena *a, struct span list, struct mail_report *r)
{
    struct span rest = list, open = {NULL, 0};
    while (rest.len) {
        struct span line = span_cut(&rest, '\n');
        struct span address = names(line);
        if (!address.ptr)
            continue;
        if (open.ptr)
            take(a, r, open, reason_of(open, list, line.ptr));
        open = address;
    }
    if (open.ptr)
        take(a, r, open, reason_of(open, list, list.ptr + list.len));
}

bool report_read_form(struct arena *a, struct span text, struct mail_report *r)
{
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        const struct form *f = &forms[i];
        struct span list;
        if (!fits(f, text, &list))
            continue;
        r->form = f->name;
        read_list(a, list, r);
        struct span before, behind;
        bool delayed = f->delay && (!f->delay[0] || split(text, f->delay, &before, &behind));
        for (size_t k = 0; k < r->n_recipients; k++)
            r->recipients[k].action = delayed ? MAIL_REPORT_DELAYED : MAIL_REPORT_FAILED;
        return true;
    }
    return false;
}
