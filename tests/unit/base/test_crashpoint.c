/* Crash points: names, and that the process dies at the pass that was asked for and at no other. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/crashpoint.h"

static void test_names_differ(void **state)
{
    (void)state;
    for (int i = 0; i < CRASH_POINTS; i++) {
        assert_true(strlen(crash_point_name((enum crash_point)i)) > 0);
        assert_true(strlen(crash_point_what((enum crash_point)i)) > 0);
        assert_null(strchr(crash_point_name((enum crash_point)i), ':'));
        for (int k = 0; k < i; k++)
            assert_string_not_equal(crash_point_name((enum crash_point)i),
                                    crash_point_name((enum crash_point)k));
    }
}

/* How many passes of CARRY_READ, at most 5, a process survives with REMUDA_CRASH_AT=at; each of them comes
 * after a pass of another place. */
static int survived(const char *at)
{
    int pipes[2], status, n = 0;
    char byte;
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (at)
            (void)setenv("REMUDA_CRASH_AT", at, 1);
        for (int i = 0; i < 5; i++) {
            crash_point_pass(CRASH_CARRY_RECORD);
            crash_point_pass(CRASH_CARRY_READ);
            if (write(pipes[1], "x", 1) != 1)
                _exit(1);
        }
        _exit(0);
    }
    close(pipes[1]);
    while (read(pipes[0], &byte, 1) == 1)
        n++;
    close(pipes[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (n < 5)
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    else
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return n;
}

static void test_dies_at_the_pass_asked_for(void **state)
{
    (void)state;
    assert_int_equal(survived("carry-read"), 0);
    assert_int_equal(survived("carry-read:1"), 0);
    assert_int_equal(survived("carry-read:4"), 3);
    assert_int_equal(survived("carry-read:9"), 5);
}

static void test_lives_otherwise(void **state)
{
    (void)state;
    assert_int_equal(survived(NULL), 5);
    assert_int_equal(survived(""), 5);
    assert_int_equal(survived("carry"), 5);
    assert_int_equal(survived("carry-readable"), 5);
    assert_int_equal(survived("carry-read:0"), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_differ),
        cmocka_unit_test(test_dies_at_the_pass_asked_for),
        cmocka_unit_test(test_lives_otherwise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
