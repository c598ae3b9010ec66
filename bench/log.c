/*
 * How fast the embedded log is by itself: S threads keep W appends each in flight; optionally each record is
 * deleted again when LAG newer ones of its partition are durable, the steady state of a relay that delivers.
 *   bench_log DIR [records N] [bytes B] [submitters S] [window W] [delete LAG] [spread 0|1]
 *             [sync 0|1]
 * spread: bodies of a quarter to twice B bytes instead of B, which fragments the free list.
 * Prints a line per tenth of the run, so that a slowing free list shows, and a sum.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "queue/embedded/embedded.h"

enum { SUBMITTERS_MOST = 64, DELETE_EVERY = 100, BODIES = 8 };

struct setup {
    const char *dir;
    uint64_t records, bytes, submitters, window, delete, spread, sync;
};

struct submitter {
    const struct setup *setup;
    struct log *log;
    struct log_client *client;
    struct blob *bodies[BODIES];
    pthread_t thread;
    int wake_fd;
    uint32_t partition;
    uint64_t sent, done, share, deleted;
    _Atomic uint64_t shown; /* done, for the printing thread */
};

struct reading {
    uint64_t us, cpu_us, records, commits;
};

static void wake(void *arg)
{
    struct submitter *s = arg;
    uint64_t one = 1;
    ENSURE(write(s->wake_fd, &one, sizeof(one)) == sizeof(one));
}

static void on_done(void *arg, struct log_batch *b, int status);

static void send_one(struct submitter *s)
{
    char head[600];
    memset(head, 'h', sizeof(head));
    struct log_batch *b = log_batch_new(LOG_INTAKE);
    log_batch_append(b, LOG_MAIL, s->partition, span_of(head, sizeof(head)),
                     s->bodies[s->sent * 5 % 7 + s->sent % 2], NULL);
    log_submit(s->client, b, on_done, s);
    s->sent++;
}

static void delete_old(struct submitter *s, uint64_t offset)
{
    if (!s->setup->delete || offset < s->setup->delete + s->deleted + DELETE_EVERY)
        return;
    s->deleted = offset - s->setup->delete;
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_delete_below(b, LOG_MAIL, s->partition, s->deleted);
    log_submit(s->client, b, NULL, NULL);
}

static void on_done(void *arg, struct log_batch *b, int status)
{
    struct submitter *s = arg;
    ENSURE(status == RM_OK);
    s->done++;
    atomic_store_explicit(&s->shown, s->done, memory_order_relaxed);
    delete_old(s, log_batch_offset(b, 0));
    if (s->sent < s->share)
        send_one(s);
}

static void *submit_all(void *arg)
{
    struct submitter *s = arg;
    for (uint64_t i = 0; i < s->setup->window && s->sent < s->share; i++)
        send_one(s);
    while (s->done < s->share) {
        uint64_t count;
        ENSURE(read(s->wake_fd, &count, sizeof(count)) == sizeof(count));
        log_client_poll(s->client);
    }
    log_client_flush(s->client);
    return NULL;
}

static struct reading look(struct log *log, const struct submitter *all, uint64_t n)
{
    struct rusage usage;
    struct log_figures figures;
    struct reading r = {.us = clock_boot_us()};
    getrusage(RUSAGE_SELF, &usage);
    log_figures(log, &figures);
    r.cpu_us = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
               (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    r.commits = figures.commits;
    for (uint64_t i = 0; i < n; i++)
        r.records += atomic_load_explicit(&all[i].shown, memory_order_relaxed);
    return r;
}

static void print(struct log *log, const char *what, const struct reading *a, const struct reading *b)
{
    struct log_figures f;
    log_figures(log, &f);
    double seconds = (double)(b->us - a->us) / 1e6, records = (double)(b->records - a->records);
    double commits = (double)(b->commits - a->commits);
    printf(
        "%-10s %9.0f records/s %7.0f commits/s %6.1f records/commit %6.1f us CPU/record   file %llu MB, free "
        "%llu MB\n",
        what, records / seconds, commits / seconds, records / commits,
        (double)(b->cpu_us - a->cpu_us) / records, (unsigned long long)f.file_bytes >> 20,
        (unsigned long long)f.free_bytes >> 20);
    fflush(stdout);
}

static void watch(struct log *log, const struct submitter *all, const struct setup *setup)
{
    struct reading first = look(log, all, setup->submitters), last = first, now = first;
    for (uint64_t part = 1; part <= 10; part++) {
        while (now.records < setup->records / 10 * part) {
            usleep(20000);
            now.records = 0;
            for (uint64_t i = 0; i < setup->submitters; i++)
                now.records += atomic_load_explicit(&all[i].shown, memory_order_relaxed);
        }
        now = look(log, all, setup->submitters);
        char what[32];
        snprintf(what, sizeof(what), "%llu0 %%", (unsigned long long)part);
        print(log, what, &last, &now);
        last = now;
    }
    print(log, "all", &first, &last);
}

static bool parse(struct setup *s, int argc, char **argv)
{
    const struct {
        const char *name;
        uint64_t *value;
    } numbers[] = {{"records", &s->records}, {"bytes", &s->bytes},   {"submitters", &s->submitters},
                   {"window", &s->window},   {"spread", &s->spread}, {"delete", &s->delete},
                   {"sync", &s->sync}};
    if (argc < 2 || argc % 2)
        return false;
    s->dir = argv[1];
    for (int i = 2; i < argc; i += 2) {
        bool known = false;
        for (size_t k = 0; k < sizeof(numbers) / sizeof(numbers[0]); k++)
            if (strcmp(argv[i], numbers[k].name) == 0)
                known = span_u64(span_str(argv[i + 1]), numbers[k].value);
        if (!known)
            return false;
    }
    return s->submitters >= 1 && s->submitters <= SUBMITTERS_MOST && s->records >= 10;
}

static void start(struct submitter *s, const struct setup *setup, struct log *log, uint32_t number)
{
    *s = (struct submitter){.setup = setup, .log = log, .partition = number};
    s->share = setup->records / setup->submitters + (number < setup->records % setup->submitters);
    s->wake_fd = eventfd(0, EFD_CLOEXEC);
    for (uint64_t i = 0; i < BODIES; i++) {
        size_t len = setup->spread ? setup->bytes * (i + 1) / 4 : setup->bytes;
        s->bodies[i] = blob_new(len);
        s->bodies[i]->len = len;
        memset(s->bodies[i]->data, 'b', len);
    }
    s->client = log_client_new(log, wake, s);
    ENSURE(pthread_create(&s->thread, NULL, submit_all, s) == 0);
}

int main(int argc, char **argv)
{
    struct setup setup = {.records = 200000, .bytes = 10240, .submitters = 2, .window = 50, .sync = 1};
    if (!parse(&setup, argc, argv)) {
        fputs("usage: bench_log DIR [records N] [bytes B] [submitters S] [window W] [delete LAG] "
              "[spread 0|1] [sync 0|1]\n",
              stderr);
        return 2;
    }
    struct embedded_options options = {.dir = setup.dir, .sync = setup.sync != 0};
    struct log_options common = {.partitions = (uint32_t)setup.submitters};
    struct log *log;
    const char *why = "";
    if (embedded_log_open(&options, &common, &log, &why) != RM_OK) {
        fprintf(stderr, "bench_log: %s\n", why);
        return 1;
    }
    struct submitter all[SUBMITTERS_MOST];
    for (uint64_t i = 0; i < setup.submitters; i++)
        start(&all[i], &setup, log, (uint32_t)i);
    watch(log, all, &setup);
    for (uint64_t i = 0; i < setup.submitters; i++) {
        pthread_join(all[i].thread, NULL);
        log_client_free(all[i].client);
        for (int k = 0; k < BODIES; k++)
            blob_unref(all[i].bodies[k]);
        close(all[i].wake_fd);
    }
    log_close(log);
    return 0;
}
