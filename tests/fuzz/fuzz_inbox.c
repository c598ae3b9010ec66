/*
 * What strangers send to the bounce domain: parts and reports of any shape are read without harm, and what is
 * read of them stays within its bounds.
 */
#include "lib/mail/mime.h"
#include "lib/mail/report.h"
#include "lib/smtp/address.h"
#include "tests/fuzz/fuzz.h"

static void check_text(const char *s)
{
    struct span text = span_str(s);
    ENSURE(text.len <= MAIL_REPORT_TEXT_MOST && smtp_utf8_valid(text) && fuzz_printable(text));
}

static void check_address(const char *s)
{
    struct smtp_address a;
    ENSURE(!s[0] || smtp_address_parse(span_str(s), SMTP_ADDRESS_UTF8, &a) == SMTP_ADDRESS_OK);
}

static void check_parts(struct span in)
{
    struct mail_part parts[MAIL_PARTS_MOST];
    size_t n = mail_parts(in, parts);
    ENSURE(n >= 1 && n <= MAIL_PARTS_MOST);
    for (size_t i = 0; i < n; i++) {
        struct buf out = BUF_INIT;
        ENSURE(fuzz_inside(parts[i].header, in) && fuzz_inside(parts[i].body, in));
        mail_part_decode(&parts[i], 100, &out);
        ENSURE(out.len <= 100);
        buf_fini(&out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span in = span_of((const char *)data, size);
    struct arena a = ARENA_INIT;
    struct mail_report r;
    check_parts(in);
    mail_report_read(&a, in, &r);
    ENSURE(r.n_recipients <= MAIL_REPORT_RECIPIENTS_MOST && fuzz_inside(r.original, in));
    ENSURE((r.kind == MAIL_REPORT_NONE) == (r.form[0] == '\0') || r.n_recipients == 0);
    check_text(r.envid);
    check_text(r.feedback_type);
    for (size_t i = 0; i < r.n_recipients; i++) {
        check_address(r.recipients[i].address);
        check_address(r.recipients[i].original);
        check_text(r.recipients[i].text);
        ENSURE(r.recipients[i].code == 0 || (r.recipients[i].code >= 400 && r.recipients[i].code < 560));
    }
    arena_fini(&a);
    return 0;
}
