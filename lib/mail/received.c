/* Builds the Received field. Whether the client's address may be shown is a setting of the listener. */
#include "lib/mail/received.h"

#include "lib/mail/date.h"
#include "lib/mail/fold.h"

enum { DATE_COLUMNS = 32 }; /* with the blank in front */

static bool given(const char *s)
{
    return s != NULL && s[0] != '\0';
}

const char *mail_received_protocol(const struct mail_received *r)
{
    static const char *const names[2][4] = {{"ESMTP", "ESMTPA", "ESMTPS", "ESMTPSA"},
                                            {"UTF8SMTP", "UTF8SMTPA", "UTF8SMTPS", "UTF8SMTPSA"}};
    if (!r->esmtp) {
        return "SMTP";
    }
    return names[r->smtputf8 ? 1 : 0][(given(r->tls_version) ? 2 : 0) + (r->authenticated ? 1 : 0)];
}

static bool could_break(char c)
{
    switch (c) {
    case '(':
    case ')':
    case '<':
    case '>':
    case ';':
    case '\\':
    case '"':
    case ',':
        return true;
    default:
        return false;
    }
}

/* A client's words inside a comment or a clause: what could close or open one becomes "?". */
static void add_plain(struct mail_fold *f, struct buf *word, const char *s, const char *before,
                      const char *after)
{
    buf_clear(word);
    buf_add_str(word, before);
    size_t n = strlen(s);
    char *to = buf_reserve(word, n);
    for (size_t i = 0; i < n; i++) {
        to[i] = could_break(s[i]) ? '?' : s[i];
    }
    word->len += n;
    buf_add_str(word, after);
    mail_fold_word(f, buf_span(word));
}

static void add_client(struct mail_fold *f, struct buf *word, const struct mail_received *r)
{
    bool name = given(r->client_name), address = given(r->client_address);
    add_plain(f, word, given(r->helo) ? r->helo : "unknown", "", "");
    if (name) {
        add_plain(f, word, r->client_name, "(", address ? "" : ")");
    }
    if (address) {
        bool six = strchr(r->client_address, ':') != NULL;
        const char *before = name ? six ? "[IPv6:" : "[" : six ? "([IPv6:" : "([";
        add_plain(f, word, r->client_address, before, "])");
    }
}

static void add_tls(struct mail_fold *f, struct buf *word, const struct mail_received *r)
{
    bool cipher = given(r->tls_cipher);
    if (given(r->tls_version)) {
        add_plain(f, word, r->tls_version, "(", cipher ? "" : ")");
        if (cipher) {
            add_plain(f, word, r->tls_cipher, "", ")");
        }
    }
}

static bool is_ascii(const char *s)
{
    while (*s && !(*s & 0x80))
        s++;
    return !*s;
}

/* The recipient in its <>: it was parsed, so it holds nothing that could end it; a quoted local part's blanks
 * would not survive folding, so such an address is left out; so is one outside of ASCII, which would be all
 * that keeps the message from hosts without SMTPUTF8. */
static void add_rcpt(struct mail_fold *f, struct buf *word, const char *rcpt)
{
    if (!given(rcpt) || strpbrk(rcpt, "<> \t\r\n") != NULL || !is_ascii(rcpt)) {
        return;
    }
    buf_clear(word);
    buf_printf(word, "<%s>", rcpt);
    mail_fold_word(f, SPAN_LIT("for"));
    mail_fold_word(f, buf_span(word));
}

void mail_received_add(struct buf *out, const struct mail_received *r)
{
    struct mail_fold f;
    struct buf word = BUF_INIT;
    char date[MAIL_DATE_BUF];
    mail_fold_begin(&f, out, "Received:", "\t", r->smtputf8);
    mail_fold_word(&f, SPAN_LIT("from"));
    add_client(&f, &word, r);
    mail_fold_word(&f, SPAN_LIT("by"));
    add_plain(&f, &word, r->by, "", "");
    mail_fold_word(&f, SPAN_LIT("with"));
    mail_fold_word(&f, span_str(mail_received_protocol(r)));
    add_tls(&f, &word, r);
    mail_fold_word(&f, SPAN_LIT("id"));
    add_plain(&f, &word, r->id, "", "");
    add_rcpt(&f, &word, r->rcpt);
    buf_add_char(out, ';');
    f.column++;
    if (f.column + DATE_COLUMNS > MAIL_FOLD_COLUMN) {
        f.column = MAIL_FOLD_COLUMN; /* the date stays whole, on a line of its own */
    }
    mail_fold_text(&f, span_str(mail_date_format(r->wall_ms, date)));
    mail_fold_end(&f);
    buf_fini(&word);
}
