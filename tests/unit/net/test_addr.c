/* Addresses: parsing, printing, classes, networks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "lib/net/addr.h"

static struct addr parsed(const char *text)
{
    struct addr a;
    assert_true(addr_parse(span_str(text), &a));
    return a;
}

static void parses_and_prints(void **state)
{
    (void)state;
    static const struct {
        const char *in, *ip, *port, *literal;
    } rows[] = {
        {"192.0.2.1:25", "192.0.2.1", "192.0.2.1:25", "[192.0.2.1]"},
        {"192.0.2.1", "192.0.2.1", "192.0.2.1:7", "[192.0.2.1]"},
        {"[2001:DB8::1]:2525", "2001:db8::1", "[2001:db8::1]:2525", "[IPv6:2001:db8::1]"},
        {"2001:db8::1", "2001:db8::1", "[2001:db8::1]:7", "[IPv6:2001:db8::1]"},
        {"[::]:0", "::", "[::]:0", "[IPv6:::]"},
        {"*:25", "::", "[::]:25", "[IPv6:::]"},
        {"[::1]", "::1", "[::1]:7", "[IPv6:::1]"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct addr a;
        char text[ADDR_TEXT];
        assert_true(addr_parse_port(span_str(rows[i].in), 7, &a));
        assert_string_equal(addr_text(&a, text), rows[i].ip);
        assert_string_equal(addr_text_port(&a, text), rows[i].port);
        assert_string_equal(addr_text_literal(&a, text), rows[i].literal);
    }
}

static void refuses_what_is_no_address(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "192.0.2",
                                      "192.0.2.1:",
                                      "192.0.2.1:65536",
                                      "a.example:25",
                                      "[192.0.2.1",
                                      "[192.0.2.1]:1",
                                      "2001:db8::1::2",
                                      "[::1]25",
                                      ":25",
                                      "192.0.2.1:+1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct addr a;
        assert_false(addr_parse_port(span_str(bad[i]), 25, &a));
    }
}

static void converts_to_socket_addresses_and_back(void **state)
{
    (void)state;
    static const char *const all[] = {"192.0.2.1:25", "[2001:db8::1]:2525"};
    for (int i = 0; i < 2; i++) {
        struct addr a, b;
        struct sockaddr_storage ss;
        assert_true(addr_parse_port(span_str(all[i]), 0, &a));
        addr_to_sockaddr(&a, &ss);
        assert_int_equal(ss.ss_family, i == 0 ? AF_INET : AF_INET6);
        assert_true(addr_of_sockaddr((struct sockaddr *)&ss, &b));
        assert_true(addr_eq(&a, &b));
    }
}

static void tells_classes(void **state)
{
    (void)state;
    static const struct {
        const char *ip;
        bool loopback, private, public;
    } rows[] = {
        {"127.3.2.1", true, false, false},
        {"::1", true, false, false},
        {"10.0.0.1", false, true, false},
        {"172.31.0.1", false, true, false},
        {"172.32.0.1", false, false, true},
        {"192.168.9.9", false, true, false},
        {"100.64.0.1", false, true, false},
        {"169.254.1.1", false, true, false},
        {"fd00::1", false, true, false},
        {"fe80::1", false, true, false},
        {"192.0.2.1", false, false, true},
        {"2001:db8::1", false, false, true},
        {"0.0.0.0", false, false, false},
        {"224.0.0.1", false, false, false},
        {"255.255.255.255", false, false, false},
        {"ff02::1", false, false, false},
        {"::", false, false, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct addr a = parsed(rows[i].ip);
        assert_int_equal(addr_is_loopback(&a), rows[i].loopback);
        assert_int_equal(addr_is_private(&a), rows[i].private);
        assert_int_equal(addr_is_public(&a), rows[i].public);
    }
    struct addr any = parsed("0.0.0.0"), any6 = parsed("::");
    assert_true(addr_is_any(&any) && addr_is_any(&any6));
}

static void matches_networks(void **state)
{
    (void)state;
    static const struct {
        const char *net, *ip;
        bool in;
    } rows[] = {
        {"192.0.2.0/24", "192.0.2.255", true},
        {"192.0.2.0/24", "192.0.3.0", false},
        {"192.0.2.77/25", "192.0.2.1", true},
        {"192.0.2.77/25", "192.0.2.128", false},
        {"0.0.0.0/0", "203.0.113.9", true},
        {"0.0.0.0/0", "2001:db8::1", false},
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "192.0.2.0", false},
        {"2001:db8::/33", "2001:db8:7fff::", true},
        {"2001:db8::/33", "2001:db8:8000::", false},
        {"::/0", "192.0.2.1", true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct addr_net net;
        struct addr a = parsed(rows[i].ip);
        assert_true(addr_net_parse(span_str(rows[i].net), &net));
        assert_int_equal(addr_net_has(&net, &a), rows[i].in);
    }
    struct addr_net net;
    assert_false(addr_net_parse(SPAN_LIT("192.0.2.0/33"), &net));
    assert_false(addr_net_parse(SPAN_LIT("192.0.2.0/"), &net));
    assert_false(addr_net_parse(SPAN_LIT("2001:db8::/129"), &net));
    assert_false(addr_net_parse(SPAN_LIT("example/24"), &net));
}

static void knows_the_hosts_own_addresses(void **state)
{
    (void)state;
    struct addr_own *own;
    assert_int_equal(addr_own_load(&own), RM_OK);
    struct addr lo = parsed("127.0.0.1"), other = parsed("192.0.2.1");
    assert_true(addr_own_has(own, &lo));
    assert_false(addr_own_has(own, &other));
    addr_own_free(own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses_and_prints),
        cmocka_unit_test(refuses_what_is_no_address),
        cmocka_unit_test(converts_to_socket_addresses_and_back),
        cmocka_unit_test(tells_classes),
        cmocka_unit_test(matches_networks),
        cmocka_unit_test(knows_the_hosts_own_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
