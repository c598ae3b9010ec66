/*
 * What is built from other people's bytes: a report quotes a receiver's words and a sender's header, and
 * stays a well-formed message that only claims what we put there.
 */
#include "lib/mail/dsn.h"
#include "lib/mail/header.h"
#include "lib/smtp/address.h"
#include "lib/smtp/stuff.h"
#include "tests/fuzz/fuzz.h"

static size_t count(struct span text, const char *what)
{
    size_t n = 0;
    const char *at = text.ptr, *end = text.ptr + text.len;
    while ((at = memmem(at, (size_t)(end - at), what, strlen(what))) != NULL) {
        n++;
        at++;
    }
    return n;
}

static void check_header(struct span message)
{
    struct mail_header_info info;
    struct mail_header_iter it;
    struct mail_field f;
    unsigned fields = 0;
    mail_header_scan(message, &info);
    mail_header_begin(&it, message);
    while (mail_header_next(&it, &f)) {
        ENSURE(fuzz_inside(f.name, f.raw) && fuzz_inside(f.value, f.raw) && fuzz_inside(f.raw, message));
        fields++;
    }
    ENSURE(fields == info.fields && info.received <= fields);
    ENSURE(info.header_bytes <= info.body_at && info.body_at <= message.len);
    ENSURE(fuzz_inside(info.message_id, message) && fuzz_inside(info.date, message));
}

static void check_report(struct span words, struct span original, unsigned flags)
{
    struct buf text = BUF_INIT, out = BUF_INIT;
    buf_add_span(&text, words);
    struct mail_dsn_recipient r = {.address = "b@y.example",
                                   .orcpt = buf_cstr(&text),
                                   .action = flags & 1 ? MAIL_DSN_DELAYED : MAIL_DSN_FAILED,
                                   .code = flags & 2 ? 550 : 0,
                                   .text = buf_cstr(&text),
                                   .remote_mta = buf_cstr(&text)};
    struct mail_dsn d = {.id = "01hf",
                         .reporting_mta = "relay.example",
                         .to = "a@x.example",
                         .envid = buf_cstr(&text),
                         .recipients = &r,
                         .n_recipients = 1,
                         .original = original,
                         .smtputf8 = (flags & 4) != 0};
    struct mail_dsn_made made = mail_dsn_write(&out, &d);
    struct span all = buf_span(&out);
    ENSURE(made.eight_bit || smtp_is_ascii(all));
    ENSURE(made.smtputf8 == false || d.smtputf8);
    if (original.len == 0) {
        ENSURE(!smtp_has_bare(all));
        ENSURE(count(all, "\r\nFinal-Recipient:") == 1 && count(all, "\r\nAction:") == 1);
        ENSURE(count(all, "\r\n--=_report-01hf") == 3);
        for (struct span rest = all; rest.len > 0;) {
            ENSURE(span_cut(&rest, '\n').len <= 999);
        }
    }
    buf_fini(&out);
    buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct span in = span_of((const char *)data + 1, size - 1);
    check_header(in);
    check_report(in, (struct span){NULL, 0}, data[0]);
    check_report(SPAN_LIT("no"), in, data[0]);
    return 0;
}
