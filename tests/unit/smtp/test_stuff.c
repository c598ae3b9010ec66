/* The client's side of a body: what leaves can be read in one way only, whatever the body holds. */
#include "lib/smtp/stuff.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "lib/base/buf.h"
#include "lib/smtp/data.h"

/* The wire form of body, fed in pieces of `step` octets with room for `most` runs. */
static struct buf stuff(struct span body, size_t step, size_t most, bool *changed)
{
    struct buf out = BUF_INIT;
    struct smtp_stuff s;
    struct iovec runs[16];
    smtp_stuff_init(&s);
    for (size_t at = 0; at < body.len; at += step) {
        struct span in = span_of(body.ptr + at, body.len - at < step ? body.len - at : step);
        while (in.len > 0) {
            size_t before = in.len, n = smtp_stuff_feed(&s, &in, runs, most);
            assert_true(n <= most);
            assert_true(in.len < before || n > 0);
            for (size_t i = 0; i < n; i++) {
                assert_true(runs[i].iov_len > 0);
                buf_add(&out, runs[i].iov_base, runs[i].iov_len);
            }
        }
    }
    buf_add_span(&out, smtp_stuff_end(&s));
    assert_int_equal(out.len, s.bytes);
    *changed = s.changed;
    return out;
}

static void expect(struct span body, struct span wire)
{
    for (size_t step = 1; step <= body.len + 1; step++) {
        for (size_t most = SMTP_STUFF_RUNS; most <= 16; most += 13) {
            bool changed;
            struct buf out = stuff(body, step, most, &changed);
            assert_true(span_eq(buf_span(&out), wire));
            assert_int_equal(changed, smtp_has_bare(body));
            buf_fini(&out);
        }
    }
}

static void stuffs(void **state)
{
    (void)state;
    expect(SPAN_LIT(""), SPAN_LIT(".\r\n"));
    expect(SPAN_LIT("a\r\n"), SPAN_LIT("a\r\n.\r\n"));
    expect(SPAN_LIT("a"), SPAN_LIT("a\r\n.\r\n"));
    expect(SPAN_LIT("."), SPAN_LIT("..\r\n.\r\n"));
    expect(SPAN_LIT(".\r\n..\r\na.\r\n.b\r\n"), SPAN_LIT("..\r\n...\r\na.\r\n..b\r\n.\r\n"));
    expect(SPAN_LIT("\r\n.\r\n"), SPAN_LIT("\r\n..\r\n.\r\n"));
    expect(SPAN_LIT("a\0b\r\n\0.\r\n"), SPAN_LIT("a\0b\r\n\0.\r\n.\r\n"));
}

static void no_bare_ends(void **state)
{
    (void)state;
    expect(SPAN_LIT("a\nb"), SPAN_LIT("a\r\nb\r\n.\r\n"));
    expect(SPAN_LIT("a\n.\nb\n"), SPAN_LIT("a\r\n..\r\nb\r\n.\r\n"));
    expect(SPAN_LIT("a\r.\rb\r"), SPAN_LIT("a\r\n..\r\nb\r\n.\r\n"));
    expect(SPAN_LIT("a\r\r\n.\r\r\n"), SPAN_LIT("a\r\n..\r\n.\r\n"));
    expect(SPAN_LIT("\r"), SPAN_LIT("\r\n.\r\n"));
    expect(SPAN_LIT("\n"), SPAN_LIT("\r\n.\r\n"));
}

static void bare(void **state)
{
    (void)state;
    assert_false(smtp_has_bare(SPAN_LIT("")));
    assert_false(smtp_has_bare(SPAN_LIT("a\r\nb\r\n\r\n")));
    assert_true(smtp_has_bare(SPAN_LIT("a\n")));
    assert_true(smtp_has_bare(SPAN_LIT("a\r")));
    assert_true(smtp_has_bare(SPAN_LIT("a\r\r\n")));
    assert_true(smtp_has_bare(SPAN_LIT("a\r\n\n")));
    char s[600];
    memset(s, 'x', sizeof s);
    memcpy(s + 255, "\r\n", 2); /* across the scan's window */
    assert_false(smtp_has_bare(span_of(s, sizeof s)));
    s[256] = 'x';
    assert_true(smtp_has_bare(span_of(s, sizeof s)));
}

static void keep(void *arg, struct span run)
{
    buf_add_span(arg, run);
}

/* No bare CR or LF, no CRLF.CRLF but the last, and a strict server reads back the same lines. */
static void check_wire(struct span body, struct span wire)
{
    static const char end[] = "\r\n.\r\n";
    assert_false(smtp_has_bare(wire));
    if (wire.len > 3) {
        assert_ptr_equal(memmem(wire.ptr, wire.len, end, 5), wire.ptr + wire.len - 5);
    }
    struct smtp_data d;
    struct buf back = BUF_INIT, again;
    size_t used;
    bool changed;
    smtp_data_init(&d, &(struct smtp_data_options){0}, keep, &back);
    assert_int_equal(smtp_data_feed(&d, wire, &used), SMTP_DATA_END);
    assert_int_equal(used, wire.len);
    assert_int_equal(d.faults, 0);
    if (!smtp_has_bare(body)) {
        assert_true(back.len == body.len || back.len == body.len + 2);
        assert_memory_equal(back.data, body.ptr, body.len);
    }
    again = stuff(buf_span(&back), 7, 16, &changed);
    assert_true(span_eq(buf_span(&again), wire));
    buf_fini(&again);
    buf_fini(&back);
}

/* Every body of up to seven octets out of the dangerous ones: all published smuggling sequences are among
 * them. */
static void nothing_gets_out(void **state)
{
    (void)state;
    static const char octets[] = {'\r', '\n', '.', '\0', 'x'};
    char body[8] = "x";
    for (size_t len = 1; len <= 6; len++) {
        size_t all = 1;
        for (size_t i = 0; i < len; i++) {
            all *= sizeof octets;
        }
        for (size_t n = 0; n < all; n++) {
            size_t rest = n;
            bool changed;
            for (size_t i = 0; i < len; i++, rest /= sizeof octets) {
                body[1 + i] = octets[rest % sizeof octets];
            }
            struct span b = span_of(body, len + 1);
            struct buf wire = stuff(b, 1 + n % (len + 1), 3 + n % 5, &changed);
            check_wire(b, buf_span(&wire));
            buf_fini(&wire);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stuffs),
        cmocka_unit_test(no_bare_ends),
        cmocka_unit_test(bare),
        cmocka_unit_test(nothing_gets_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
