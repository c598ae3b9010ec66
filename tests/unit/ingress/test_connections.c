/* Tenants' and clients' connections. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "relay/ingress/connections.h"

static void test_tenants(void **state)
{
    (void)state;
    struct connections *c = connections_new();
    struct settings_tenant t = {.name = "a", .limits = {.connections = 1}}, any = {.name = "b"};
    assert_true(connections_tenant_enter(c, &t));
    assert_false(connections_tenant_enter(c, &t));
    connections_tenant_leave(c, "a");
    assert_true(connections_tenant_enter(c, &t));
    for (int i = 0; i < 100; i++)
        assert_true(connections_tenant_enter(c, &any));
    connections_free(c);
}

static void test_clients(void **state)
{
    (void)state;
    struct connections *c = connections_new();
    const uint8_t one[16] = {1}, two[16] = {2};
    assert_true(connections_client_enter(c, "l", one, 2));
    assert_true(connections_client_enter(c, "l", one, 2));
    assert_false(connections_client_enter(c, "l", one, 2));
    assert_true(connections_client_enter(c, "l", two, 2));
    assert_true(connections_client_enter(c, "m", one, 2));
    connections_client_leave(c, "l", one);
    assert_true(connections_client_enter(c, "l", one, 2));
    connections_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tenants), cmocka_unit_test(test_clients)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
