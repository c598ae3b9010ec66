/* The loop: its turn, mailbox, deferred work, watched descriptors, thread and end. Timers are in timer.c,
 * blocking work and signals in work.c; what travels over the descriptors is conn's, listener's and dns's. */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/suspect.h"
#include "lib/net/loop_private.h"

/* ---- time ------------------------------------------------------------------------------------ */

uint64_t loop_now_us(struct loop *l)
{
    if (!l->now_valid) {
        l->now_us = clock_boot_us();
        l->now_valid = l->running;
    }
    return l->now_us;
}

uint64_t loop_now_ms(struct loop *l)
{
    return loop_now_us(l) / 1000;
}

/* ---- mailbox --------------------------------------------------------------------------------- */

/* Stands in the mailbox of a loop that has ended. An address, never a message. */
static struct loop_msg *closed_mark(struct loop *l)
{
    return (struct loop_msg *)(void *)&l->mailbox;
}

bool loop_post(struct loop *l, struct loop_msg *msg)
{
    struct loop_msg *top = atomic_load_explicit(&l->mailbox, memory_order_relaxed);
    do {
        if (top == closed_mark(l))
            return false;
        msg->next = top;
    } while (!atomic_compare_exchange_weak_explicit(&l->mailbox, &top, msg, memory_order_release,
                                                    memory_order_relaxed));
    if (!top)
        uv_async_send(&l->wake);
    return true;
}

static void run_messages(struct loop *l)
{
    struct loop_msg *newest = atomic_exchange_explicit(&l->mailbox, NULL, memory_order_acquire);
    struct loop_msg *oldest = NULL;
    while (newest) {
        struct loop_msg *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct loop_msg *next = oldest->next;
        oldest->run(l, oldest);
        oldest = next;
    }
}

static void begin_stop(struct loop *l)
{
    l->stopping = true;
    LIST_FOREACH_SAFE(it, next, &l->parts)
    {
        struct loop_part *p = CONTAINER_OF(it, struct loop_part, link);
        p->stop(p);
    }
}

static void on_wake(uv_async_t *wake)
{
    struct loop *l = CONTAINER_OF(wake, struct loop, wake);
    run_messages(l);
    if (!l->stopping && atomic_load(&l->stop_asked))
        begin_stop(l);
}

/* ---- end of the turn ------------------------------------------------------------------------- */

void loop_defer(struct loop *l, struct loop_defer *d, void (*run)(struct loop_defer *d))
{
    if (d->link.next && !list_empty(&d->link))
        return;
    d->run = run;
    list_push_back(&l->deferred, &d->link);
}

void loop_defer_cancel(struct loop *l, struct loop_defer *d)
{
    (void)l;
    if (d->link.next)
        list_remove(&d->link);
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* its being active is what counts */
}

static void run_deferred(struct loop *l)
{
    if (!list_empty(&l->deferred)) {
        l->deferring.next = l->deferred.next;
        l->deferring.prev = l->deferred.prev;
        l->deferring.next->prev = l->deferring.prev->next = &l->deferring;
        list_init(&l->deferred);
    }
    for (struct list *it; (it = list_pop_front(&l->deferring));) {
        struct loop_defer *d = CONTAINER_OF(it, struct loop_defer, link);
        d->run(d);
    }
    if (list_empty(&l->deferred))
        uv_idle_stop(&l->idle);
    else
        uv_idle_start(&l->idle, on_idle);
    l->now_valid = false;
}

/* Deferred work of timers runs before the poll can block, that of sockets and messages after it. */
static void on_prepare(uv_prepare_t *prepare)
{
    run_deferred(CONTAINER_OF(prepare, struct loop, prepare));
}

static void on_check(uv_check_t *check)
{
    run_deferred(CONTAINER_OF(check, struct loop, check));
}

/* ---- watched descriptors --------------------------------------------------------------------- */

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct loop *l = CONTAINER_OF(poll, struct loop, poll);
    (void)status;
    (void)events;
    l->n_events = epoll_wait(l->epoll, l->events, LOOP_EVENTS, 0);
    for (l->event_at = 0; l->event_at < l->n_events; l->event_at++) {
        struct epoll_event *e = &l->events[l->event_at];
        struct loop_io *io = e->data.ptr;
        if (io)
            io->ready(io, e->events);
    }
    l->n_events = 0;
}

int loop_io_add(struct loop *l, struct loop_io *io, unsigned events)
{
    struct epoll_event e = {.events = events, .data.ptr = io};
    return epoll_ctl(l->epoll, EPOLL_CTL_ADD, io->fd, &e) == 0 ? RM_OK : RM_EIO;
}

void loop_io_change(struct loop *l, struct loop_io *io, unsigned events)
{
    struct epoll_event e = {.events = events, .data.ptr = io};
    ENSURE(epoll_ctl(l->epoll, EPOLL_CTL_MOD, io->fd, &e) == 0);
}

void loop_io_remove(struct loop *l, struct loop_io *io)
{
    epoll_ctl(l->epoll, EPOLL_CTL_DEL, io->fd, NULL);
    for (int i = l->event_at; i < l->n_events; i++) {
        if (l->events[i].data.ptr == io)
            l->events[i].data.ptr = NULL;
    }
}

void loop_part_add(struct loop *l, struct loop_part *p)
{
    list_push_back(&l->parts, &p->link);
}

/* ---- life ------------------------------------------------------------------------------------ */

int loop_new(const char *name, struct loop **out)
{
    *out = NULL;
    struct loop *l = calloc(1, sizeof(*l));
    ENSURE(l);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll < 0 || uv_loop_init(&l->uv) != 0) {
        if (l->epoll >= 0)
            close(l->epoll);
        free(l);
        return RM_EIO;
    }
    strncpy(l->name, name, sizeof(l->name) - 1);
    list_init(&l->deferred);
    list_init(&l->deferring);
    list_init(&l->parts);
    l->armed_ms = UINT64_MAX;
    ENSURE(uv_async_init(&l->uv, &l->wake, on_wake) == 0);
    uv_prepare_init(&l->uv, &l->prepare);
    uv_check_init(&l->uv, &l->check);
    uv_idle_init(&l->uv, &l->idle);
    uv_timer_init(&l->uv, &l->timer);
    ENSURE(uv_poll_init(&l->uv, &l->poll, l->epoll) == 0);
    uv_prepare_start(&l->prepare, on_prepare);
    uv_check_start(&l->check, on_check);
    uv_poll_start(&l->poll, UV_READABLE, on_poll);
    *out = l;
    return RM_OK;
}

/* True once nothing is left to do and the mailbox has been closed to others. */
static bool try_end(struct loop *l)
{
    if (!l->stopping || l->works > 0 || !list_empty(&l->deferred))
        return false;
    struct loop_msg *empty = NULL;
    return atomic_compare_exchange_strong(&l->mailbox, &empty, closed_mark(l));
}

void loop_run(struct loop *l)
{
    l->thread = pthread_self();
    l->running = true;
    do
        uv_run(&l->uv, UV_RUN_ONCE);
    while (!try_end(l));
    l->running = false;
    l->now_valid = false;
}

static void *thread_main(void *arg)
{
    struct loop *l = arg;
    pthread_setname_np(pthread_self(), l->name);
    suspect_stack_use();
    loop_run(l);
    return NULL;
}

int loop_start(struct loop *l)
{
    sigset_t all, before;
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    sigfillset(&all);
    for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
        sigdelset(&all, fatal[i]); /* blocked, a fault would kill the process past its handlers */
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pthread_t thread;
    int err = pthread_create(&thread, NULL, thread_main, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err)
        return RM_EIO;
    l->threaded = true;
    l->joinable = thread;
    return RM_OK;
}

void loop_stop(struct loop *l)
{
    atomic_store(&l->stop_asked, true);
    uv_async_send(&l->wake);
}

void loop_join(struct loop *l)
{
    if (l->threaded)
        pthread_join(l->joinable, NULL);
    l->threaded = false;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    ENSURE(!l->running && !l->threaded);
    LIST_FOREACH_SAFE(it, next, &l->parts)
    {
        struct loop_part *p = CONTAINER_OF(it, struct loop_part, link);
        if (p->fini)
            p->fini(p);
    }
    uv_close((uv_handle_t *)&l->wake, NULL);
    uv_close((uv_handle_t *)&l->prepare, NULL);
    uv_close((uv_handle_t *)&l->check, NULL);
    uv_close((uv_handle_t *)&l->idle, NULL);
    uv_close((uv_handle_t *)&l->timer, NULL);
    uv_close((uv_handle_t *)&l->poll, NULL);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    ENSURE(uv_loop_close(&l->uv) == 0);
    close(l->epoll);
    free(l->heap);
    free(l);
}

bool loop_is_current(const struct loop *l)
{
    return l->running && pthread_equal(l->thread, pthread_self());
}

void loop_data_set(struct loop *l, void *data)
{
    l->data = data;
}

void *loop_data(const struct loop *l)
{
    return l->data;
}
