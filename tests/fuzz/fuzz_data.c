/*
 * Bodies in and out. Fragments make no difference to what DATA and BDAT give; the end is where a plain search
 * for CRLF.CRLF finds it; whatever goes out through smtp_stuff has one reading only, and that is what was put
 * in.
 */
#include "lib/smtp/data.h"
#include "lib/smtp/stuff.h"
#include "tests/fuzz/fuzz.h"

struct result {
    struct smtp_data d;
    struct buf text;
    size_t consumed;
    enum smtp_data_status status;
};

static void keep(void *arg, struct span run)
{
    ENSURE(run.len > 0);
    buf_add_span(arg, run);
}

static void read_data(struct result *r, struct span in, const struct smtp_data_options *o, uint32_t seed)
{
    *r = (struct result){.text = BUF_INIT};
    smtp_data_init(&r->d, o, keep, &r->text);
    while (r->consumed < in.len && r->status != SMTP_DATA_END) {
        size_t left = in.len - r->consumed, used;
        size_t n = seed ? fuzz_step(&seed, left) : left;
        r->status = smtp_data_feed(&r->d, span_of(in.ptr + r->consumed, n), &used);
        ENSURE(used <= n && (used == n || r->status == SMTP_DATA_END));
        r->consumed += used;
    }
}

/* As BDAT chunks whose sizes come from one seed and whose fragments from another. */
static void read_chunks(struct result *r, struct span in, const struct smtp_data_options *o, uint32_t seed)
{
    uint32_t sizes = seed * 7919;
    *r = (struct result){.text = BUF_INIT};
    smtp_data_init(&r->d, o, keep, &r->text);
    do {
        size_t chunk =
            seed && in.len > r->consumed ? fuzz_step(&sizes, in.len - r->consumed) : in.len - r->consumed;
        size_t end = r->consumed + chunk;
        smtp_data_chunk(&r->d, chunk, end == in.len);
        do {
            size_t left = in.len - r->consumed, used;
            size_t n = seed && left > 0 ? fuzz_step(&seed, left) : left;
            r->status = smtp_data_feed_chunk(&r->d, span_of(in.ptr + r->consumed, n), &used);
            r->consumed += used;
        } while (r->status == SMTP_DATA_MORE);
        ENSURE(r->consumed == end);
    } while (r->consumed < in.len);
}

static void compare(const struct result *a, const struct result *b)
{
    ENSURE(a->status == b->status && a->consumed == b->consumed);
    ENSURE(a->d.faults == b->d.faults && a->d.bare == b->d.bare && a->d.bytes == b->d.bytes);
    if (a->d.faults == 0) {
        ENSURE(span_eq(buf_span(&a->text), buf_span(&b->text)));
        ENSURE(a->d.eight_bit == b->d.eight_bit && a->d.nul == b->d.nul);
    }
}

/* RFC 5321 4.1.1.4: the end, found the slow way. The CRLF of the DATA command counts. */
static size_t true_end(struct span in)
{
    if (in.len >= 3 && memcmp(in.ptr, ".\r\n", 3) == 0) {
        return 3;
    }
    const char *end = in.len > 0 ? memmem(in.ptr, in.len, "\r\n.\r\n", 5) : NULL;
    return end ? (size_t)(end - in.ptr) + 5 : 0;
}

static void incoming(struct span in, const struct smtp_data_options *o, uint32_t seed)
{
    struct result whole, pieces;
    read_data(&whole, in, o, 0);
    read_data(&pieces, in, o, seed);
    compare(&whole, &pieces);
    size_t end = true_end(in);
    ENSURE((whole.status == SMTP_DATA_END) == (end > 0) && (end == 0 || whole.consumed == end));
    if (whole.d.faults == 0) {
        ENSURE(whole.text.len == whole.d.bytes);
        ENSURE(end == 0 || !smtp_has_bare(buf_span(&whole.text)));
    }
    buf_fini(&whole.text);
    buf_fini(&pieces.text);
    read_chunks(&whole, in, o, 0);
    read_chunks(&pieces, in, o, seed);
    compare(&whole, &pieces);
    ENSURE(whole.d.faults != 0 || !smtp_has_bare(buf_span(&whole.text)));
    ENSURE((whole.d.bare != 0) == smtp_has_bare(in));
    ENSURE(whole.d.faults != 0 || whole.d.bare != 0 || span_eq(buf_span(&whole.text), in));
    buf_fini(&whole.text);
    buf_fini(&pieces.text);
}

static void stuff_all(struct span in, uint32_t seed, struct buf *out)
{
    struct smtp_stuff s;
    struct iovec runs[8];
    smtp_stuff_init(&s);
    while (in.len > 0) {
        size_t n = seed ? fuzz_step(&seed, in.len) : in.len;
        struct span piece = span_of(in.ptr, n);
        in = span_of(in.ptr + n, in.len - n);
        while (piece.len > 0) {
            size_t k = smtp_stuff_feed(&s, &piece, runs, 3 + seed % 6);
            for (size_t i = 0; i < k; i++) {
                buf_add(out, runs[i].iov_base, runs[i].iov_len);
            }
        }
    }
    buf_add_span(out, smtp_stuff_end(&s));
    ENSURE(out->len == s.bytes);
}

static void outgoing(struct span in, uint32_t seed)
{
    struct buf whole = BUF_INIT, pieces = BUF_INIT;
    struct result back;
    stuff_all(in, 0, &whole);
    stuff_all(in, seed, &pieces);
    ENSURE(span_eq(buf_span(&whole), buf_span(&pieces)));
    ENSURE(!smtp_has_bare(buf_span(&whole)));
    ENSURE(true_end(buf_span(&whole)) == whole.len);
    read_data(&back, buf_span(&whole), &(struct smtp_data_options){.bare = SMTP_BARE_REFUSE}, 0);
    ENSURE(back.status == SMTP_DATA_END && back.d.faults == 0);
    if (!smtp_has_bare(in)) {
        ENSURE(back.text.len - in.len <= 2 && (in.len == 0 || memcmp(back.text.data, in.ptr, in.len) == 0));
    }
    buf_fini(&back.text);
    buf_fini(&whole);
    buf_fini(&pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    struct span in = span_of((const char *)data + 2, size - 2);
    struct smtp_data_options o = {
        .bare = data[0] & 1 ? SMTP_BARE_NORMALISE : SMTP_BARE_REFUSE,
        .line_most = data[0] & 2 ? 16 : 0,
        .size_most = data[0] & 4 ? 64 : 0,
    };
    incoming(in, &o, 1u + data[1]);
    outgoing(in, 1u + data[1]);
    return 0;
}
