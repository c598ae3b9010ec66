/* Signed headers, changed at every bit; freshness; answers, cut off at every place. */
#include "relay/egress/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "relay/egress/guard.h"

static const uint8_t keys[2][MAC_KEY_BYTES] = {"the first key of thirty-two byt",
                                               "another key of thirty-two bytes"};

static struct addr address(const char *text)
{
    struct addr a;
    assert_true(addr_parse_port(span_str(text), 0, &a));
    return a;
}

static struct buf written(const char *source, const char *target, const uint8_t *key)
{
    struct addr from = address(source ? source : "::"), to = address(target);
    struct egress_call call = {.source = source ? &from : NULL,
                               .target = &to,
                               .egress = "far",
                               .key = key,
                               .wall_ms = 1700000000123,
                               .nonce = "sixteen bytes..."};
    struct buf out = BUF_INIT;
    egress_header_write(&call, &out);
    return out;
}

/* False when it is no header at all, or not signed for this egress. */
static bool verify(struct span wire, const char *egress, const uint8_t (*with)[MAC_KEY_BYTES], int n,
                   struct egress_stamp *stamp)
{
    struct smtp_proxy_header h;
    size_t used;
    return smtp_proxy_header_parse(wire, &used, &h) == SMTP_PROXY_DONE && used == wire.len &&
           egress_header_verify(wire, &h, egress, with, n, stamp);
}

static void check_signed(const char *source, const char *target, size_t len)
{
    struct egress_stamp stamp;
    struct buf b = written(source, target, keys[0]);
    struct span wire = span_of(b.data, b.len);
    assert_int_equal(b.len, len);
    assert_true(verify(wire, "far", keys, 1, &stamp));
    assert_int_equal(stamp.wall_ms, 1700000000123);
    assert_memory_equal(stamp.nonce.ptr, "sixteen bytes...", EGRESS_NONCE_BYTES);
    assert_false(verify(wire, "near", keys, 1, &stamp));
    assert_false(verify(wire, "far", keys + 1, 1, &stamp));
    for (size_t bit = 0; bit < b.len * 8; bit++) {
        b.data[bit / 8] ^= (char)(1 << bit % 8);
        assert_false(verify(wire, "far", keys, 2, &stamp));
        b.data[bit / 8] ^= (char)(1 << bit % 8);
    }
    buf_fini(&b);
}

static void any_change_breaks_the_signature(void **state)
{
    (void)state;
    check_signed("192.0.2.7", "198.51.100.1:25", 16 + 12 + 60);
    check_signed("2001:db8::7", "[2001:db8::1]:25", 16 + 36 + 60);
    check_signed(NULL, "198.51.100.1:25", 16 + 60);
}

static void every_key_of_the_list_is_good(void **state)
{
    (void)state;
    struct egress_stamp stamp;
    struct buf b = written("192.0.2.7", "198.51.100.1:25", keys[1]);
    assert_true(verify(span_of(b.data, b.len), "far", keys, 2, &stamp));
    assert_false(verify(span_of(b.data, b.len), "far", keys, 1, &stamp));
    buf_fini(&b);
}

static void an_unsigned_header_is_what_haproxy_expects(void **state)
{
    (void)state;
    static const char expected[] =
        "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\0\0\0\x19";
    struct egress_stamp stamp;
    struct buf b = written("192.0.2.7", "198.51.100.1:25", NULL);
    assert_int_equal(b.len, sizeof(expected) - 1);
    assert_memory_equal(b.data, expected, b.len);
    assert_false(verify(span_of(b.data, b.len), "far", keys, 2, &stamp));
    buf_fini(&b);
}

static enum egress_answer admit(struct egress_guard *g, const char *nonce, uint64_t stamped, uint64_t now)
{
    struct egress_stamp stamp = {.wall_ms = stamped, .nonce = span_of(nonce, EGRESS_NONCE_BYTES)};
    return egress_guard_admit(g, &stamp, now);
}

static void a_header_is_good_once_and_for_a_minute(void **state)
{
    (void)state;
    enum { START = 1000000 };
    struct egress_guard *g = egress_guard_new(START);
    assert_int_equal(admit(g, "nonce-1.........", START + 10, START + 20), EGRESS_ACCEPTED);
    assert_int_equal(admit(g, "nonce-1.........", START + 10, START + 30), EGRESS_AUTH);
    assert_int_equal(admit(g, "nonce-2.........", START + 10, START + 30), EGRESS_ACCEPTED);
    assert_int_equal(admit(g, "nonce-3.........", START - 1, START + 30), EGRESS_CLOCK);
    uint64_t now = START + 200000;
    assert_int_equal(admit(g, "nonce-4.........", now - EGRESS_CLOCK_MS - 1, now), EGRESS_CLOCK);
    assert_int_equal(admit(g, "nonce-4.........", now - EGRESS_CLOCK_MS, now), EGRESS_ACCEPTED);
    assert_int_equal(admit(g, "nonce-5.........", now + EGRESS_CLOCK_MS + 1, now), EGRESS_CLOCK);
    /* Stamped ahead, it stays good for two minutes; it is remembered as long. */
    assert_int_equal(admit(g, "nonce-6.........", now + EGRESS_CLOCK_MS, now), EGRESS_ACCEPTED);
    for (uint64_t later = now; later <= now + 2 * EGRESS_CLOCK_MS; later += 1000)
        assert_int_equal(admit(g, "nonce-6.........", now + EGRESS_CLOCK_MS, later), EGRESS_AUTH);
    assert_int_equal(admit(g, "nonce-6.........", now + EGRESS_CLOCK_MS, now + 2 * EGRESS_CLOCK_MS + 1),
                     EGRESS_CLOCK);
    egress_guard_unref(g);
}

static void answers_come_back_as_they_were_written(void **state)
{
    (void)state;
    for (int a = 0; a < EGRESS_ANSWERS; a++) {
        struct buf b = BUF_INIT;
        egress_answer_write((enum egress_answer)a, a % 2 ? "Connection\nrefused" : NULL, &b);
        size_t len = b.len, used;
        enum egress_answer got;
        struct span text;
        buf_add_str(&b, "220 mx.test\r\n");
        for (size_t n = 0; n < len; n++)
            assert_int_equal(egress_answer_parse(span_of(b.data, n), &used, &got, &text), EGRESS_PARSE_MORE);
        assert_int_equal(egress_answer_parse(span_of(b.data, b.len), &used, &got, &text), EGRESS_PARSE_DONE);
        assert_int_equal(used, len);
        assert_int_equal(got, a);
        assert_true(span_eq(text, span_str(a % 2 ? "Connection refused" : "")));
        buf_fini(&b);
    }
}

static void what_is_no_answer(void **state)
{
    (void)state;
    static const char *const bad[] = {"220 mx.test ESMTP\r\n", "remuda-egress/2 accepted\n",
                                      "remuda-egress/1 yes\n", "remuda-egress/1 \n"};
    size_t used;
    enum egress_answer a;
    struct span text;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(egress_answer_parse(span_str(bad[i]), &used, &a, &text), EGRESS_PARSE_ERROR);
    struct buf b = BUF_INIT;
    buf_add_str(&b, "remuda-egress/1 unreachable ");
    while (b.len < EGRESS_LINE_MOST)
        buf_add_char(&b, 'x');
    assert_int_equal(egress_answer_parse(span_of(b.data, b.len), &used, &a, &text), EGRESS_PARSE_ERROR);
    b.len--;
    assert_int_equal(egress_answer_parse(span_of(b.data, b.len), &used, &a, &text), EGRESS_PARSE_MORE);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_change_breaks_the_signature),
        cmocka_unit_test(every_key_of_the_list_is_good),
        cmocka_unit_test(an_unsigned_header_is_what_haproxy_expects),
        cmocka_unit_test(a_header_is_good_once_and_for_a_minute),
        cmocka_unit_test(answers_come_back_as_they_were_written),
        cmocka_unit_test(what_is_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
