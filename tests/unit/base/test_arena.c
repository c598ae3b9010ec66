/* Arenas: alignment, zeroed memory, large blocks, copies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/arena.h"

static void test_aligned_and_zero(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    for (size_t n = 0; n < 3000; n += 7) {
        unsigned char *p = arena_alloc(&a, n);
        assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xff, n);
    }
    assert_true(a.used_bytes > 0);
    arena_fini(&a);
    assert_null(a.head);
    assert_int_equal(a.used_bytes, 0);
}

static void test_larger_than_a_block(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    char *small = arena_strdup(&a, "small");
    char *large = arena_alloc(&a, 1 << 20);
    memset(large, 'x', 1 << 20);
    char *after = arena_strdup(&a, "after");
    assert_string_equal(small, "small");
    assert_string_equal(after, "after");
    arena_fini(&a);
}

static void test_copies(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    assert_string_equal(arena_strndup(&a, "abcdef", 3), "abc");
    assert_string_equal(arena_dup_span(&a, span_str(NULL)), "");
    assert_string_equal(arena_printf(&a, "%d-%s", 42, "x"), "42-x");
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_aligned_and_zero),
        cmocka_unit_test(test_larger_than_a_block),
        cmocka_unit_test(test_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
