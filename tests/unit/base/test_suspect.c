/* Which deaths leave a mark: children die in every way, and the next life reads what they left. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/suspect.h"

struct rig {
    char path[64];
};

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    snprintf(r->path, sizeof(r->path), "/tmp/remuda-suspect-XXXXXX");
    int fd = mkstemp(r->path);
    assert_true(fd >= 0);
    close(fd);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    unlink(r->path);
    free(r);
    return 0;
}

enum way { WITHIN, OUTSIDE, NESTED, AFTER_NESTED, OVERFLOW };

static int deeper(volatile int *above)
{
    volatile int here[1024] = {*above + 1};
    return here[0] < 0 ? 0 : deeper(here) + here[1023];
}

static void *overflow(void *arg)
{
    /* A sanitizer gives each thread such a stack of its own. */
    stack_t none = {.ss_flags = SS_DISABLE};
    volatile int from = 0;
    if (sigaltstack(&none, NULL) < 0)
        _exit(1);
    suspect_stack_use();
    (void)suspect_begin(3, 77);
    *(int *)arg = deeper(&from);
    return NULL;
}

/* As a loop's thread would. */
static void overflow_a_thread(void)
{
    pthread_t thread;
    int result;
    if (pthread_create(&thread, NULL, overflow, &result) == 0)
        pthread_join(thread, NULL);
    _exit(3);
}

/* In the child. A sanitizer's own handlers would report what is meant here. */
static void die(const char *path, enum way way, int signo)
{
    struct suspects *s;
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    for (int i = 1; i < 32; i++)
        signal(i, SIG_DFL);
    if (suspects_watch(path, &s) != RM_OK)
        _exit(1);
    if (way == OVERFLOW)
        overflow_a_thread();
    if (way != OUTSIDE) {
        (void)suspect_begin(3, 77);
        if (way != WITHIN) {
            struct suspect_mark before = suspect_begin(4, 78);
            if (way == AFTER_NESTED)
                suspect_end(before);
        }
    }
    raise(signo);
    _exit(2);
}

static void live(struct rig *r, enum way way, int signo)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        die(r->path, way, signo);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), signo);
}

/* Watching is for once in a process, so a child looks. */
static unsigned count(struct rig *r, uint32_t partition, uint64_t offset)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct suspects *s;
        _exit(suspects_watch(r->path, &s) == RM_OK ? (int)suspects_count(s, partition, offset) : 99);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return (unsigned)WEXITSTATUS(status);
}

static void fatal_signals_are_counted(void **state)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    struct rig *r = *state;
    for (unsigned i = 0; i < 5; i++) {
        live(r, WITHIN, fatal[i]);
        assert_int_equal(count(r, 3, 77), i + 1);
    }
    assert_int_equal(count(r, 3, 78), 0);
    assert_int_equal(count(r, 2, 77), 0);
}

static void presence_and_kills_are_no_guilt(void **state)
{
    struct rig *r = *state;
    live(r, WITHIN, SIGKILL);
    live(r, WITHIN, SIGTERM);
    live(r, OUTSIDE, SIGSEGV);
    assert_int_equal(count(r, 3, 77), 0);
}

static void the_innermost_work_is_blamed(void **state)
{
    struct rig *r = *state;
    live(r, NESTED, SIGSEGV);
    assert_int_equal(count(r, 4, 78), 1);
    assert_int_equal(count(r, 3, 77), 0);
    live(r, AFTER_NESTED, SIGSEGV);
    assert_int_equal(count(r, 4, 78), 1);
    assert_int_equal(count(r, 3, 77), 1);
}

static void an_overflown_stack_is_counted(void **state)
{
    struct rig *r = *state;
    live(r, OVERFLOW, SIGSEGV);
    assert_int_equal(count(r, 3, 77), 1);
}

static void a_torn_file_begins_anew(void **state)
{
    struct rig *r = *state;
    live(r, WITHIN, SIGSEGV);
    assert_int_equal(truncate(r->path, 15), 0);
    assert_int_equal(count(r, 3, 77), 0);
    live(r, WITHIN, SIGSEGV);
    assert_int_equal(count(r, 3, 77), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fatal_signals_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(presence_and_kills_are_no_guilt, setup, teardown),
        cmocka_unit_test_setup_teardown(the_innermost_work_is_blamed, setup, teardown),
        cmocka_unit_test_setup_teardown(an_overflown_stack_is_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_torn_file_begins_anew, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
