/* The hash table against an array, and its stable hash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/base/map.h"

enum { KEYS = 500 };

static struct span key_of(int n, char text[16])
{
    snprintf(text, 16, "key%d", n);
    return span_str(text);
}

static void check_walk(const struct map *m, int *const values[KEYS])
{
    size_t pos = 0, seen = 0;
    struct span key;
    void *value;
    while (map_next(m, &pos, &key, &value)) {
        char text[16];
        int n = *(int *)value;
        assert_ptr_equal(values[n], value);
        assert_true(span_eq(key, key_of(n, text)));
        seen++;
    }
    assert_int_equal(seen, m->count);
}

static void test_against_array(void **state)
{
    (void)state;
    static int numbers[KEYS];
    int *values[KEYS] = {NULL};
    struct map m = MAP_INIT;
    unsigned seed = 3;
    char text[16];
    size_t count = 0;
    for (int step = 0; step < 50000; step++) {
        int n = rand_r(&seed) % KEYS;
        numbers[n] = n;
        assert_ptr_equal(map_get(&m, key_of(n, text)), values[n]);
        if (rand_r(&seed) % 2) {
            count += !values[n];
            assert_ptr_equal(map_put(&m, key_of(n, text), &numbers[n]), values[n]);
            values[n] = &numbers[n];
        } else {
            count -= values[n] != NULL;
            assert_ptr_equal(map_remove(&m, key_of(n, text)), values[n]);
            values[n] = NULL;
        }
        assert_int_equal(m.count, count);
    }
    check_walk(&m, values);
    map_fini(&m);
}

static void test_odd_keys(void **state)
{
    (void)state;
    struct map m = MAP_INIT;
    int a, b;
    assert_null(map_get(&m, SPAN_LIT("")));
    assert_null(map_remove(&m, SPAN_LIT("")));
    map_put(&m, span_str(NULL), &a);
    map_put(&m, SPAN_LIT("x\0y"), &b);
    assert_ptr_equal(map_get(&m, SPAN_LIT("")), &a);
    assert_ptr_equal(map_get(&m, SPAN_LIT("x\0y")), &b);
    assert_null(map_get(&m, SPAN_LIT("x\0z")));
    map_fini(&m);
}

/* The hash stands in stored keys: these values may never change. */
static void test_hash_is_stable(void **state)
{
    (void)state;
    assert_true(hash64("", 0) == UINT64_C(0xfdbdf6ac4fc52e7f));
    assert_true(hash64("gmail", 5) == UINT64_C(0xe0165400902454a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_array),
        cmocka_unit_test(test_odd_keys),
        cmocka_unit_test(test_hash_is_stable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
