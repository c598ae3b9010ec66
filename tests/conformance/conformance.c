/* Runs the conformance cases over every backend of queue/log.h: over Kafka where REMUDA_TEST_KAFKA names a
 * broker (deploy/kafka/broker starts one). A case's topics are named after its directory. */
#include "tests/conformance/cases.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "queue/embedded/embedded.h"
#include "queue/kafka/kafka.h"
#include "queue/memory/memory.h"

static int open_memory(const char *dir, const struct log_options *options, struct log **out, const char **why)
{
    (void)dir;
    (void)why;
    return memory_log_open(options, out);
}

static void refuse_memory_intake(struct log *log)
{
    memory_log_set_admits(log, RM_EFULL);
}

static int open_embedded(const char *dir, const struct log_options *options, struct log **out,
                         const char **why)
{
    struct embedded_options embedded = {.dir = dir, .map_bytes = 1ull << 30, .sync = true};
    return embedded_log_open(&embedded, options, out, why);
}

static int open_kafka_with(unsigned follow, const char *dir, const struct log_options *options,
                           struct log **out, const char **why)
{
    static char text[KAFKA_WHY_MOST];
    struct kafka_options kafka = {.dir = dir,
                                  .brokers = getenv("REMUDA_TEST_KAFKA"),
                                  .prefix = strrchr(dir, '/') + 1,
                                  .map_bytes = 1ull << 30,
                                  .follow = follow,
                                  .development = true};
    int err = kafka_log_open(&kafka, options, out, text);
    if (err != RM_OK)
        *why = text;
    return err;
}

static int open_kafka(const char *dir, const struct log_options *options, struct log **out, const char **why)
{
    return open_kafka_with((1u << LOG_NAMES) - 1, dir, options, out, why);
}

static int open_kafka_owner(const char *dir, const struct log_options *options, struct log **out,
                            const char **why)
{
    return open_kafka_with(0, dir, options, out, why);
}

static struct test_backend memory = {
    .name = "memory",
    .open = open_memory,
    .hold = memory_log_hold,
    .release = memory_log_release,
    .fail_next = memory_log_fail_next,
    .refuse_intake = refuse_memory_intake,
};

static struct test_backend embedded = {
    .name = "embedded",
    .persistent = true,
    .open = open_embedded,
};

static const struct test_backend kafka_owner = {
    .name = "kafka",
    .persistent = true,
    .open = open_kafka_owner,
};

static struct test_backend kafka = {
    .name = "kafka",
    .persistent = true,
    .open = open_kafka,
    .owner = &kafka_owner,
};

#define CASE(f) {#f, f, rig_setup, rig_teardown, backend},

static int run_shared(struct test_backend *backend)
{
    const struct CMUnitTest tests[] = {SHARED_CASES(CASE)};
    return cmocka_run_group_tests_name("shared", tests, NULL, NULL);
}

static int run(struct test_backend *backend)
{
    const struct CMUnitTest tests[] = {CONFORMANCE_CASES(CASE)};
    return cmocka_run_group_tests_name(backend->name, tests, NULL, NULL);
}

static int run_all(void)
{
    if (getenv("REMUDA_TEST_KAFKA"))
        return run(&kafka) + run_shared(&kafka);
    int failed = run(&memory);
    return failed + run(&embedded);
}

/* Until it has ended; a signal that is meant to end the tests ends it first. */
static int wait_for(pid_t child, const sigset_t *signals)
{
    int signo, status = 0;
    while (waitpid(child, &status, WNOHANG) == 0)
        if (sigwait(signals, &signo) == 0 && signo != SIGCHLD)
            kill(child, SIGKILL);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

/* The cases run in a child: whatever they die of, their directories go with the one that they stand in. */
int main(void)
{
    char dir[] = "/tmp/remuda-conformance-XXXXXX", command[64];
    sigset_t signals, before;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGCHLD);
    if (!mkdtemp(dir) || setenv("TMPDIR", dir, 1) < 0 || sigprocmask(SIG_BLOCK, &signals, &before) < 0)
        return 99;
    pid_t child = fork();
    if (child == 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        return run_all();
    }
    int status = child > 0 ? wait_for(child, &signals) : 99;
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command) == 0 ? status : 99;
}
