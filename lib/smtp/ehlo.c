/* The extensions of a server's EHLO answer. What they are used for is the delivery session's business. */
#include "lib/smtp/ehlo.h"

#include "lib/smtp/command_private.h"

static void take_size(struct smtp_ehlo *e, struct span rest)
{
    if (!span_u64(smtp_word_take(&rest), &e->size_most)) {
        e->size_most = 0;
    }
}

static void take_auth(struct smtp_ehlo *e, struct span rest)
{
    while (rest.len > 0) {
        struct span word = smtp_word_take(&rest);
        e->auth |= span_ieq(word, SPAN_LIT("PLAIN")) ? SMTP_AUTH_PLAIN : 0;
        e->auth |= span_ieq(word, SPAN_LIT("LOGIN")) ? SMTP_AUTH_LOGIN : 0;
    }
}

/* RFC 9422 3: NAME=value words. */
static void take_limits(struct smtp_ehlo *e, struct span rest)
{
    while (rest.len > 0) {
        struct span value = smtp_word_take(&rest);
        struct span name = span_cut(&value, '=');
        uint64_t n;
        if (!span_u64(value, &n)) {
            continue;
        }
        if (span_ieq(name, SPAN_LIT("MAILMAX"))) {
            e->limit_mail = n;
        } else if (span_ieq(name, SPAN_LIT("RCPTMAX"))) {
            e->limit_rcpt = n;
        } else if (span_ieq(name, SPAN_LIT("RCPTDOMAINMAX"))) {
            e->limit_rcpt_domains = n;
        }
    }
}

static const struct {
    const char *name;
    enum smtp_extension bit;
    void (*take)(struct smtp_ehlo *e, struct span rest);
} extensions[] = {
    {"PIPELINING", SMTP_EXT_PIPELINING, NULL},
    {"SIZE", SMTP_EXT_SIZE, take_size},
    {"8BITMIME", SMTP_EXT_8BITMIME, NULL},
    {"SMTPUTF8", SMTP_EXT_SMTPUTF8, NULL},
    {"DSN", SMTP_EXT_DSN, NULL},
    {"STARTTLS", SMTP_EXT_STARTTLS, NULL},
    {"CHUNKING", SMTP_EXT_CHUNKING, NULL},
    {"ENHANCEDSTATUSCODES", SMTP_EXT_ENHANCEDSTATUSCODES, NULL},
    {"AUTH", SMTP_EXT_AUTH, take_auth},
    {"REQUIRETLS", SMTP_EXT_REQUIRETLS, NULL},
    {"LIMITS", SMTP_EXT_LIMITS, take_limits},
    {"BINARYMIME", SMTP_EXT_BINARYMIME, NULL},
};

static void take_line(struct smtp_ehlo *e, struct span line)
{
    struct span word = smtp_word_take(&line);
    if (span_istarts(word, SPAN_LIT("AUTH="))) { /* the form from before RFC 2554, still sent by some */
        take_auth(e, span_of(word.ptr + 5, word.len - 5));
        take_auth(e, line);
        e->extensions |= SMTP_EXT_AUTH;
        return;
    }
    for (size_t i = 0; i < sizeof extensions / sizeof extensions[0]; i++) {
        if (span_ieq(word, span_str(extensions[i].name))) {
            e->extensions |= extensions[i].bit;
            if (extensions[i].take) {
                extensions[i].take(e, line);
            }
            return;
        }
    }
}

void smtp_ehlo_parse(const struct smtp_reply *reply, struct smtp_ehlo *out)
{
    *out = (struct smtp_ehlo){0};
    struct span text = reply->text;
    struct span first = span_cut(&text, '\n');
    struct span name = smtp_word_take(&first);
    size_t n = name.len < sizeof out->name ? name.len : sizeof out->name - 1;
    if (n > 0) {
        memcpy(out->name, name.ptr, n);
    }
    while (text.ptr != NULL) {
        take_line(out, span_cut(&text, '\n'));
    }
}
