/* Replies: fragments make no difference, what comes out is fit to be stored, what is written can be read. */
#include "lib/smtp/address.h"
#include "lib/smtp/ehlo.h"
#include "lib/smtp/reply.h"
#include "tests/fuzz/fuzz.h"

static void check_reply(const struct smtp_reply *r)
{
    struct smtp_ehlo ehlo;
    ENSURE(r->code >= 200 && r->code <= 599);
    ENSURE(r->enhanced.class == 0 || r->enhanced.class == r->code / 100);
    ENSURE(smtp_utf8_valid(r->text));
    for (size_t i = 0; i < r->text.len; i++) {
        unsigned char c = (unsigned char)r->text.ptr[i];
        ENSURE(c == '\n' || c == '\t' || (c >= ' ' && c != 0x7f));
    }
    smtp_ehlo_parse(r, &ehlo);
    ENSURE(strlen(ehlo.name) < sizeof ehlo.name);
}

/* All replies of the stream, one after the other, and how it ended. seed 0: in one piece. */
static enum smtp_reply_status read_all(struct span in, uint32_t seed, struct buf *log)
{
    struct buf text = BUF_INIT;
    struct smtp_reply_parser p;
    enum smtp_reply_status status = SMTP_REPLY_MORE;
    smtp_reply_parser_init(&p, &text);
    while (in.len > 0 && status != SMTP_REPLY_ERROR) {
        struct smtp_reply r;
        size_t n = seed ? fuzz_step(&seed, in.len) : in.len, used;
        status = smtp_reply_parse(&p, span_of(in.ptr, n), &used, &r);
        ENSURE(used <= n && (status != SMTP_REPLY_MORE || used == n));
        in = span_of(in.ptr + used, in.len - used);
        if (status == SMTP_REPLY_DONE) {
            check_reply(&r);
            buf_printf(log, "%d %u.%u.%u ", r.code, r.enhanced.class, r.enhanced.subject, r.enhanced.detail);
            buf_add_span(log, r.text);
            buf_add_char(log, '\0');
        }
    }
    ENSURE(status != SMTP_REPLY_ERROR || p.trouble != NULL);
    buf_fini(&text);
    return status;
}

static void write_and_read(struct span text, int code)
{
    struct buf wire = BUF_INIT, kept = BUF_INIT;
    struct smtp_reply_parser p;
    struct smtp_reply r;
    size_t used, lines = 1;
    for (size_t i = 0; i < text.len; i++) {
        lines += text.ptr[i] == '\n' ? 1 : 0;
    }
    smtp_reply_write(&wire, code, SMTP_ENHANCED((uint8_t)(code / 100), 7, 13), text);
    smtp_reply_parser_init(&p, &kept);
    enum smtp_reply_status status = smtp_reply_parse(&p, buf_span(&wire), &used, &r);
    if (lines <= SMTP_REPLY_LINES_MOST) {
        ENSURE(status == SMTP_REPLY_DONE && used == wire.len && r.code == code && r.enhanced.detail == 13);
    }
    buf_fini(&wire);
    buf_fini(&kept);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    static const int codes[] = {250, 421, 451, 550};
    struct span in = span_of((const char *)data + 1, size - 1);
    struct buf whole = BUF_INIT, pieces = BUF_INIT;
    enum smtp_reply_status a = read_all(in, 0, &whole);
    enum smtp_reply_status b = read_all(in, 1u + data[0], &pieces);
    ENSURE((a == SMTP_REPLY_ERROR) == (b == SMTP_REPLY_ERROR));
    ENSURE(span_eq(buf_span(&whole), buf_span(&pieces)));
    write_and_read(in, codes[data[0] & 3]);
    buf_fini(&whole);
    buf_fini(&pieces);
    return 0;
}
