/* The health listener over a real loopback socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/api/health.h"
#include "relay/ctl/http.h"

struct rig {
    struct node node;
    struct health *health;
    char address[32];
};

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    assert_int_equal(health_start(&r->node, "127.0.0.1:0", &r->health), RM_OK);
    snprintf(r->address, sizeof(r->address), "127.0.0.1:%u", health_port(r->health));
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    health_stop(r->health);
    free(r);
    return 0;
}

static void expect(struct rig *r, const char *method, const char *path, int status, const char *text)
{
    struct http_answer a;
    assert_int_equal(http_request(r->address, method, path, &a), RM_OK);
    assert_int_equal(a.status, status);
    assert_non_null(strstr(buf_cstr(&a.body), text));
    buf_fini(&a.body);
}

static void readiness_follows_the_node(void **state)
{
    struct rig *r = *state;
    expect(r, "GET", "/healthz", 200, "ok");
    expect(r, "GET", "/readyz", 503, "starting");
    r->node.ready = true;
    expect(r, "GET", "/readyz", 200, "ready");
    r->node.draining = true; /* still serving, for node.leave */
    expect(r, "GET", "/readyz", 503, "stopping");
    expect(r, "GET", "/healthz", 200, "ok");
}

static void nothing_else_is_answered(void **state)
{
    struct rig *r = *state;
    r->node.ready = true;
    expect(r, "GET", "/metrics", 404, "no such path");
    expect(r, "GET", "/readyz/", 404, "no such path");
    expect(r, "POST", "/readyz", 405, "method not allowed");
}

static void an_address_that_cannot_be_had_is_told(void **state)
{
    struct rig *r = *state;
    struct health *second;
    assert_int_equal(health_start(&r->node, r->address, &second), RM_EIO);
    assert_null(second);
    assert_int_equal(health_start(&r->node, "nowhere", &second), RM_EINVAL);
    assert_null(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(readiness_follows_the_node, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_else_is_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(an_address_that_cannot_be_had_is_told, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
