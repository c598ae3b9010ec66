/* PROXY protocol headers, versions 1 and 2, cut off at every place. */
#include "lib/smtp/proxy_header.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

/* Every beginning asks for more; the whole, with SMTP behind it, is taken exactly. */
static struct smtp_proxy_header good(struct span header)
{
    struct smtp_proxy_header h;
    char wire[5000];
    size_t used;
    for (size_t n = 0; n < header.len; n++) {
        assert_int_equal(smtp_proxy_header_parse(span_of(header.ptr, n), &used, &h), SMTP_PROXY_MORE);
    }
    memcpy(wire, header.ptr, header.len);
    memcpy(wire + header.len, "EHLO\r\n", 6);
    assert_int_equal(smtp_proxy_header_parse(span_of(wire, header.len + 6), &used, &h), SMTP_PROXY_DONE);
    assert_int_equal(used, header.len);
    return h;
}

static void bad(struct span wire)
{
    struct smtp_proxy_header h;
    size_t used;
    assert_int_equal(smtp_proxy_header_parse(wire, &used, &h), SMTP_PROXY_ERROR);
    assert_int_equal(used, 0);
}

static void assert_four(const struct sockaddr_storage *s, const char *address, int port)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)s;
    assert_int_equal(in->sin_family, AF_INET);
    assert_int_equal(in->sin_addr.s_addr, inet_addr(address));
    assert_int_equal(ntohs(in->sin_port), port);
}

static void assert_six(const struct sockaddr_storage *s, const char *address, int port)
{
    const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)s;
    struct in6_addr want;
    inet_pton(AF_INET6, address, &want);
    assert_int_equal(in->sin6_family, AF_INET6);
    assert_memory_equal(&in->sin6_addr, &want, 16);
    assert_int_equal(ntohs(in->sin6_port), port);
}

static void version_1(void **state)
{
    (void)state;
    struct smtp_proxy_header h = good(SPAN_LIT("PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\r\n"));
    assert_false(h.local);
    assert_four(&h.client, "192.0.2.7", 56324);
    assert_four(&h.server, "198.51.100.1", 25);
    h = good(SPAN_LIT("PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n"));
    assert_six(&h.client, "2001:db8::7", 1);
    assert_six(&h.server, "2001:db8::1", 65535);
    assert_true(good(SPAN_LIT("PROXY UNKNOWN\r\n")).local);
    assert_true(good(SPAN_LIT("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n")).local);
}

static void version_1_bad(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "EHLO x\r\n",
        "PROXZ",
        "proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY\r\n",
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n",
        "PROXY TCP4 1.2.3 1.2.3.4 1 1\r\n",
        "PROXY TCP4 ::1 ::1 1 1\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n",
        "PROXY TCP4  1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        bad(span_str(lines[i]));
    }
    char long_line[120];
    memset(long_line, 'x', sizeof long_line);
    memcpy(long_line, "PROXY UNKNOWN ", 14);
    bad(span_of(long_line, sizeof long_line));
}

static void version_2(void **state)
{
    (void)state;
    struct smtp_proxy_header h =
        good(SPAN_LIT(SIGNATURE "\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\xdc\x04\x00\x19"));
    assert_four(&h.client, "192.0.2.7", 56324);
    assert_four(&h.server, "198.51.100.1", 25);
    h = good(SPAN_LIT(SIGNATURE "\x21\x21\x00\x29"
                                "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07"
                                "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
                                "\x00\x01\x00\x19"
                                "\x04\x00\x02\x01\x02"));
    assert_six(&h.client, "2001:db8::7", 1);
    assert_six(&h.server, "2001:db8::1", 25);
    assert_true(good(SPAN_LIT(SIGNATURE "\x20\x00\x00\x00")).local);
    assert_true(good(SPAN_LIT(SIGNATURE "\x21\x00\x00\x02xx")).local);
}

static void version_2_bad(void **state)
{
    (void)state;
    bad(SPAN_LIT("\r\n\r\n\0\r\nQUIX"));
    bad(SPAN_LIT(SIGNATURE "\x11\x11\x00\x0c"
                           "123412341212"));
    bad(SPAN_LIT(SIGNATURE "\x22\x11\x00\x0c"
                           "123412341212"));
    bad(SPAN_LIT(SIGNATURE "\x21\x11\x00\x0b"
                           "12341234121"));
    bad(SPAN_LIT(SIGNATURE "\x21\x21\x00\x0c"
                           "123412341212"));
    bad(SPAN_LIT(SIGNATURE "\x21\x11\xff\xff"
                           "1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1),
        cmocka_unit_test(version_1_bad),
        cmocka_unit_test(version_2),
        cmocka_unit_test(version_2_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
