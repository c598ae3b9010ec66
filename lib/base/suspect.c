/* Marks of work and what a fatal signal does with them. */
#include "lib/base/suspect.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAGIC = 0x53555350, ENTRIES_MOST = 4096 };

struct entry {
    uint32_t magic, partition;
    uint64_t offset;
};

struct suspects {
    size_t n;
    struct entry entries[ENTRIES_MOST];
};

static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
enum { FATAL = sizeof(fatal) / sizeof(fatal[0]) };

/* A signal handler is given nothing: what it needs can only stand here. */
static _Thread_local volatile struct suspect_mark working;
static struct {
    int fd;
    atomic_flag told;
    struct sigaction before[FATAL];
} watch = {.fd = -1, .told = ATOMIC_FLAG_INIT};

struct suspect_mark suspect_begin(uint32_t partition, uint64_t offset)
{
    struct suspect_mark before = {working.offset, working.partition};
    suspect_end((struct suspect_mark){offset, partition});
    return before;
}

void suspect_end(struct suspect_mark before)
{
    working.offset = 0; /* no moment with one's offset and the other's partition */
    atomic_signal_fence(memory_order_seq_cst);
    working.partition = before.partition;
    atomic_signal_fence(memory_order_seq_cst);
    working.offset = before.offset;
}

static pthread_key_t stack_key;
static pthread_once_t stack_once = PTHREAD_ONCE_INIT;

static void stack_free(void *stack)
{
    stack_t off = {.ss_flags = SS_DISABLE};
    sigaltstack(&off, NULL);
    free(stack);
}

static void stack_key_make(void)
{
    ENSURE(pthread_key_create(&stack_key, stack_free) == 0);
}

void suspect_stack_use(void)
{
    stack_t mine = {.ss_size = (size_t)sysconf(_SC_SIGSTKSZ)}, before;
    if (sigaltstack(NULL, &before) < 0 || !(before.ss_flags & SS_DISABLE))
        return; /* it has one: a sanitizer's, or this one */
    ENSURE(pthread_once(&stack_once, stack_key_make) == 0);
    mine.ss_sp = malloc(mine.ss_size);
    ENSURE(mine.ss_sp && sigaltstack(&mine, NULL) == 0 && pthread_setspecific(stack_key, mine.ss_sp) == 0);
}

/* Only async-signal-safe calls. Whoever handled the signal before does it again when it comes back at once.
 */
static void on_fatal(int signo, siginfo_t *info, void *context)
{
    (void)context;
    if (working.offset && !atomic_flag_test_and_set(&watch.told)) {
        struct entry e = {MAGIC, working.partition, working.offset};
        (void)!write(watch.fd, &e, sizeof(e));
    }
    for (size_t i = 0; i < FATAL; i++)
        if (fatal[i] == signo)
            sigaction(signo, &watch.before[i], NULL);
    if (info->si_code <= 0) /* sent, not caused by an instruction that would fault again */
        raise(signo);
}

static int load(int fd, struct suspects *s)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return RM_EIO;
    if (st.st_size % (off_t)sizeof(struct entry) || st.st_size > (off_t)sizeof(s->entries))
        return ftruncate(fd, 0) < 0 ? RM_EIO : RM_OK; /* torn, or of hundreds of deaths: begins anew */
    ssize_t n = pread(fd, s->entries, sizeof(s->entries), 0);
    if (n < 0)
        return RM_EIO;
    s->n = (size_t)n / sizeof(struct entry);
    return RM_OK;
}

int suspects_watch(const char *path, struct suspects **out)
{
    struct suspects *s = calloc(1, sizeof(*s));
    ENSURE(s);
    *out = s;
    watch.fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (watch.fd < 0 || load(watch.fd, s) != RM_OK)
        return RM_EIO;
    suspect_stack_use();
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_sigaction = on_fatal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (size_t i = 0; i < FATAL; i++)
        ENSURE(sigaction(fatal[i], &action, &watch.before[i]) == 0);
    return RM_OK;
}

void suspects_free(struct suspects *s)
{
    free(s);
}

unsigned suspects_count(const struct suspects *s, uint32_t partition, uint64_t offset)
{
    unsigned n = 0;
    for (size_t i = 0; s && i < s->n; i++)
        n += s->entries[i].magic == MAGIC && s->entries[i].partition == partition &&
             s->entries[i].offset == offset;
    return n;
}
