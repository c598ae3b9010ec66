/* The server's side of a body: DATA and BDAT in every fragmentation, and every published smuggling sequence.
 */
#include "lib/smtp/data.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "lib/base/buf.h"

struct result {
    struct smtp_data d;
    struct buf text;
    size_t consumed;
    enum smtp_data_status status;
};

static void to_buf(void *arg, struct span run)
{
    assert_true(run.len > 0);
    buf_add_span(arg, run);
}

static void decode(struct result *r, struct span wire, const struct smtp_data_options *o, size_t step)
{
    *r = (struct result){.text = BUF_INIT, .status = SMTP_DATA_MORE};
    smtp_data_init(&r->d, o, to_buf, &r->text);
    while (r->status == SMTP_DATA_MORE && r->consumed < wire.len) {
        size_t n = wire.len - r->consumed < step ? wire.len - r->consumed : step, used;
        r->status = smtp_data_feed(&r->d, span_of(wire.ptr + r->consumed, n), &used);
        r->consumed += used;
    }
}

/* Whatever the fragments, the wire's text comes out and `left` octets stay behind the end. */
static void expect(struct span wire, struct span text, size_t left, enum smtp_bare_policy bare)
{
    struct smtp_data_options o = {.bare = bare};
    for (size_t step = 1; step <= wire.len; step++) {
        struct result r;
        decode(&r, wire, &o, step);
        assert_int_equal(r.status, SMTP_DATA_END);
        assert_int_equal(wire.len - r.consumed, left);
        assert_int_equal(r.d.faults, 0);
        assert_int_equal(r.d.bytes, text.len);
        assert_true(span_eq(buf_span(&r.text), text));
        buf_fini(&r.text);
    }
}

static void plain(void **state)
{
    (void)state;
    expect(SPAN_LIT("a\r\n.\r\n"), SPAN_LIT("a\r\n"), 0, SMTP_BARE_REFUSE);
    expect(SPAN_LIT(".\r\n"), SPAN_LIT(""), 0, SMTP_BARE_REFUSE);
    expect(SPAN_LIT("\r\n.\r\nQUIT\r\n"), SPAN_LIT("\r\n"), 6, SMTP_BARE_REFUSE);
    expect(SPAN_LIT("..\r\n...a\r\n.b\r\n.\r\n"), SPAN_LIT(".\r\n..a\r\nb\r\n"), 0, SMTP_BARE_REFUSE);
    expect(SPAN_LIT("a.\r\n b.\r\n.\r\n.\r\n"), SPAN_LIT("a.\r\n b.\r\n"), 3, SMTP_BARE_REFUSE);
    expect(SPAN_LIT("S: x\r\n\r\nbody \xff\r\n.\r\nMAIL"), SPAN_LIT("S: x\r\n\r\nbody \xff\r\n"), 4,
           SMTP_BARE_REFUSE);
    expect(SPAN_LIT("nul\0s\r\n\0.\r\n.\r\n"), SPAN_LIT("nul\0s\r\n\0.\r\n"), 0, SMTP_BARE_REFUSE);
}

static void flags(void **state)
{
    (void)state;
    struct smtp_data_options o = {0};
    struct result r;
    decode(&r, SPAN_LIT("abcdefghijklm\xc3\xbc\r\n.\r\n"), &o, 100);
    assert_true(r.d.eight_bit && !r.d.nul);
    buf_fini(&r.text);
    decode(&r, SPAN_LIT("a\0b\r\n.\r\n"), &o, 100);
    assert_true(!r.d.eight_bit && r.d.nul);
    buf_fini(&r.text);
}

/*
 * What other servers have been seen to take for the end of a message, or to hand on so that the next one does
 * (the SMTP smuggling advisories of December 2023 and what followed). For us each is text with a fault in it;
 * the second message they hide stays in the first, and the stream ends where it truly ends.
 */
static const struct span smuggled[] = {
    SPAN_LIT("\n.\n"),       SPAN_LIT("\n.\r\n"),       SPAN_LIT("\r\n.\n"),   SPAN_LIT("\r\n.\r"),
    SPAN_LIT("\r.\r"),       SPAN_LIT("\r.\r\n"),       SPAN_LIT("\r.\n"),     SPAN_LIT("\n.\r"),
    SPAN_LIT("\r\n.\r\r\n"), SPAN_LIT("\r\r\n.\r\r\n"), SPAN_LIT("\n\n.\n\n"), SPAN_LIT("\n\r.\n\r"),
    SPAN_LIT("\r\n\r.\r\n"), SPAN_LIT("\r\n.\n\r\n"),   SPAN_LIT("\n\r\n.\n"), SPAN_LIT("\r\n.\n\n"),
    SPAN_LIT("\r\n\n.\r\n"), SPAN_LIT("\n\0.\n"),       SPAN_LIT("\r\n.\0\n"), SPAN_LIT("\r\n.\0\r"),
    SPAN_LIT("\r\0\n.\r\n"), SPAN_LIT("\r\n.\r\0\n"),   SPAN_LIT("\n.\0\r\n"), SPAN_LIT("\r\0.\r\n"),
    SPAN_LIT("\n. \r\n"),    SPAN_LIT("\x0b\n.\r\n"),   SPAN_LIT("\r\n.\t\n"), SPAN_LIT("\x85.\n"),
};

/* Harmless in themselves: no CR or LF is bare, so they are text, and end nothing. */
static const struct span only_text[] = {
    SPAN_LIT("\r\n\0.\r\n"),   SPAN_LIT("\r\n.\0\r\n"),          SPAN_LIT("\r\n. \r\n"),
    SPAN_LIT("\r\n .\r\n"),    SPAN_LIT("\r\n\t.\r\n"),          SPAN_LIT("\r\n..\r\n"),
    SPAN_LIT("\r\n\x85.\r\n"), SPAN_LIT("\r\n\xef\xbc\x8e\r\n"),
};

#define SECOND "MAIL FROM:<evil@x>\r\nRCPT TO:<b@y>\r\nDATA\r\nFrom: spoofed\r\n"

static struct buf wire_with(struct span sequence)
{
    struct buf wire = BUF_INIT;
    buf_add_str(&wire, "Subject: s\r\n\r\nfirst");
    buf_add_span(&wire, sequence);
    buf_add_str(&wire, SECOND "\r\n.\r\nNOOP\r\n");
    return wire;
}

static bool has(struct span text, struct span what)
{
    return memmem(text.ptr, text.len, what.ptr, what.len) != NULL;
}

static void refuses_smuggling(void **state)
{
    (void)state;
    struct smtp_data_options o = {.bare = SMTP_BARE_REFUSE};
    for (size_t i = 0; i < sizeof smuggled / sizeof smuggled[0]; i++) {
        struct buf wire = wire_with(smuggled[i]);
        for (size_t step = 1; step <= wire.len; step++) {
            struct result r;
            decode(&r, buf_span(&wire), &o, step);
            assert_int_equal(r.status, SMTP_DATA_END);
            assert_int_equal(wire.len - r.consumed, strlen("NOOP\r\n"));
            assert_int_not_equal(r.d.faults & (SMTP_DATA_BARE_CR | SMTP_DATA_BARE_LF), 0);
            assert_false(has(buf_span(&r.text), SPAN_LIT("MAIL FROM")));
            buf_fini(&r.text);
        }
        buf_fini(&wire);
    }
}

/* Under the other policy they come out as lines; the whole of the second message is text of the first. */
static void normalises_smuggling(void **state)
{
    (void)state;
    struct smtp_data_options o = {.bare = SMTP_BARE_NORMALISE};
    for (size_t i = 0; i < sizeof smuggled / sizeof smuggled[0]; i++) {
        struct buf wire = wire_with(smuggled[i]);
        struct result whole;
        decode(&whole, buf_span(&wire), &o, wire.len);
        for (size_t step = 1; step <= wire.len; step++) {
            struct result r;
            decode(&r, buf_span(&wire), &o, step);
            assert_int_equal(r.status, SMTP_DATA_END);
            assert_int_equal(wire.len - r.consumed, strlen("NOOP\r\n"));
            assert_int_equal(r.d.faults, 0);
            assert_int_not_equal(r.d.bare, 0);
            assert_true(has(buf_span(&r.text), SPAN_LIT(SECOND)));
            assert_true(span_eq(buf_span(&r.text), buf_span(&whole.text)));
            buf_fini(&r.text);
        }
        buf_fini(&whole.text);
        buf_fini(&wire);
    }
}

static void keeps_what_is_text(void **state)
{
    (void)state;
    struct smtp_data_options o = {.bare = SMTP_BARE_REFUSE};
    for (size_t i = 0; i < sizeof only_text / sizeof only_text[0]; i++) {
        struct buf wire = wire_with(only_text[i]);
        struct result r;
        decode(&r, buf_span(&wire), &o, 3);
        assert_int_equal(r.status, SMTP_DATA_END);
        assert_int_equal(wire.len - r.consumed, strlen("NOOP\r\n"));
        assert_int_equal(r.d.faults, 0);
        assert_true(has(buf_span(&r.text), SPAN_LIT(SECOND)));
        buf_fini(&r.text);
        buf_fini(&wire);
    }
}

static void normalised_text(void **state)
{
    (void)state;
    enum smtp_bare_policy n = SMTP_BARE_NORMALISE;
    expect(SPAN_LIT("a\nb\rc\r\r\nd\r\n.\r\n"), SPAN_LIT("a\r\nb\r\nc\r\nd\r\n"), 0, n);
    expect(SPAN_LIT("a\n.\nb\r\n.\r\n"), SPAN_LIT("a\r\n.\r\nb\r\n"), 0, n);
    expect(SPAN_LIT("a\n.\r\n.\r\n"), SPAN_LIT("a\r\n.\r\n"), 0, n);
    expect(SPAN_LIT("a\r\n.\nb\r\n.\r\n"), SPAN_LIT("a\r\n\r\nb\r\n"), 0, n);
    expect(SPAN_LIT("a\r\n.\rb\r\n.\r\n"), SPAN_LIT("a\r\n\r\nb\r\n"), 0, n);
    expect(SPAN_LIT("a\r.\r\n.\r\n"), SPAN_LIT("a\r\n.\r\n"), 0, n);
    expect(SPAN_LIT("\n\n.\r\n.\r\n"), SPAN_LIT("\r\n\r\n.\r\n"), 0, n);
}

static void limits(void **state)
{
    (void)state;
    struct span wire = SPAN_LIT("12345678\r\n12\r\n.\r\nX");
    for (size_t step = 1; step <= wire.len; step++) {
        struct result r;
        decode(&r, wire, &(struct smtp_data_options){.line_most = 8, .size_most = 14}, step);
        assert_int_equal(r.d.faults, 0);
        buf_fini(&r.text);
        decode(&r, wire, &(struct smtp_data_options){.line_most = 7}, step);
        assert_int_equal(r.d.faults, SMTP_DATA_LINE_LONG);
        assert_int_equal(r.consumed, wire.len - 1);
        buf_fini(&r.text);
        decode(&r, wire, &(struct smtp_data_options){.size_most = 13}, step);
        assert_int_equal(r.d.faults, SMTP_DATA_TOO_BIG);
        assert_int_equal(r.d.bytes, 14);
        assert_true(r.text.len <= 13);
        assert_int_equal(r.consumed, wire.len - 1);
        buf_fini(&r.text);
    }
}

/* Feeds wire as chunks of `chunk` octets (the last one LAST), each in fragments of `step`. */
static void decode_chunks(struct result *r, struct span wire, const struct smtp_data_options *o, size_t chunk,
                          size_t step)
{
    *r = (struct result){.text = BUF_INIT};
    smtp_data_init(&r->d, o, to_buf, &r->text);
    do {
        size_t size = wire.len - r->consumed < chunk ? wire.len - r->consumed : chunk;
        smtp_data_chunk(&r->d, size, r->consumed + size == wire.len);
        do {
            size_t n = wire.len - r->consumed < step ? wire.len - r->consumed : step, used;
            r->status = smtp_data_feed_chunk(&r->d, span_of(wire.ptr + r->consumed, n), &used);
            r->consumed += used;
        } while (r->status == SMTP_DATA_MORE);
    } while (r->consumed < wire.len);
}

static void chunks(void **state)
{
    (void)state;
    struct span wire = SPAN_LIT("S: x\r\n\r\n.\r\n..\r\nend.\r\n.\r\nno line end");
    struct result r;
    for (size_t chunk = 1; chunk <= wire.len; chunk++) {
        for (size_t step = 1; step <= chunk + 1; step++) {
            decode_chunks(&r, wire, &(struct smtp_data_options){0}, chunk, step);
            assert_int_equal(r.d.faults, 0);
            assert_true(span_eq(buf_span(&r.text), wire));
            buf_fini(&r.text);
        }
    }
    decode_chunks(&r, SPAN_LIT(""), &(struct smtp_data_options){0}, 1, 1);
    assert_int_equal(r.text.len, 0);
    buf_fini(&r.text);
    decode_chunks(&r, SPAN_LIT("a\r\nb\r"), &(struct smtp_data_options){0}, 3, 2);
    assert_int_equal(r.d.faults, SMTP_DATA_BARE_CR);
    buf_fini(&r.text);
    decode_chunks(&r, SPAN_LIT("a\nb\r"), &(struct smtp_data_options){.bare = SMTP_BARE_NORMALISE}, 3, 2);
    assert_true(span_eq(buf_span(&r.text), SPAN_LIT("a\r\nb\r\n")));
    buf_fini(&r.text);
}

static void chunk_leaves_the_rest(void **state)
{
    (void)state;
    struct result r = {.text = BUF_INIT};
    size_t used;
    smtp_data_init(&r.d, &(struct smtp_data_options){0}, to_buf, &r.text);
    smtp_data_chunk(&r.d, 3, false);
    assert_int_equal(smtp_data_feed_chunk(&r.d, SPAN_LIT("a\r\nBDAT"), &used), SMTP_DATA_END);
    assert_int_equal(used, 3);
    smtp_data_chunk(&r.d, 0, true);
    assert_int_equal(smtp_data_feed_chunk(&r.d, SPAN_LIT("BDAT"), &used), SMTP_DATA_END);
    assert_int_equal(used, 0);
    assert_true(span_eq(buf_span(&r.text), SPAN_LIT("a\r\n")));
    buf_fini(&r.text);
}

/* A run is as long as its fragment when there is nothing to take out. */
static void count_runs(void *arg, struct span run)
{
    (void)run;
    ++*(int *)arg;
}

static void long_runs(void **state)
{
    (void)state;
    struct buf wire = BUF_INIT;
    for (int i = 0; i < 500; i++) {
        buf_add_str(&wire, "an ordinary line of a message, no dots in front\r\n");
    }
    buf_add_str(&wire, ".\r\n");
    int runs = 0;
    size_t used;
    struct smtp_data d;
    smtp_data_init(&d, &(struct smtp_data_options){.line_most = 998}, count_runs, &runs);
    assert_int_equal(smtp_data_feed(&d, buf_span(&wire), &used), SMTP_DATA_END);
    assert_int_equal(runs, 1);
    buf_fini(&wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),
        cmocka_unit_test(flags),
        cmocka_unit_test(refuses_smuggling),
        cmocka_unit_test(normalises_smuggling),
        cmocka_unit_test(keeps_what_is_text),
        cmocka_unit_test(normalised_text),
        cmocka_unit_test(limits),
        cmocka_unit_test(chunks),
        cmocka_unit_test(chunk_leaves_the_rest),
        cmocka_unit_test(long_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
