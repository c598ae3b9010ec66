/*
 * What the files of this folder share about a loop. Sockets are not uv handles: they are registered in one
 * epoll set per loop, which libuv watches as a single descriptor. A connection then costs one epoll_ctl in
 * its life, no handle of 250 bytes and no asynchronous close; a turn costs one more epoll_wait.
 */
#ifndef REMUDA_LIB_NET_LOOP_PRIVATE_H
#define REMUDA_LIB_NET_LOOP_PRIVATE_H

#include <pthread.h>
#include <sys/epoll.h>
#include <uv.h>

#include "lib/net/loop.h"

enum { LOOP_EVENTS = 256 };

/* A watched descriptor, embedded in its owner. */
struct loop_io {
    int fd;
    void (*ready)(struct loop_io *io, unsigned events); /* EPOLL... */
};
/* events: EPOLLIN ... with or without EPOLLET. RM_EIO. */
int loop_io_add(struct loop *l, struct loop_io *io, unsigned events) MUST_CHECK;
void loop_io_change(struct loop *l, struct loop_io *io, unsigned events);
/* Before the descriptor is closed; ready is not called any more, not even for events already fetched. */
void loop_io_remove(struct loop *l, struct loop_io *io);

/* Something that must be told when the loop stops, and freed with it. */
struct loop_part {
    struct list link;
    void (*stop)(struct loop_part *p);
    void (*fini)(struct loop_part *p); /* may be NULL: the owner frees it */
};
void loop_part_add(struct loop *l, struct loop_part *p);

struct conn_pool;

struct loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle; /* active only while deferred work waits: the poll must not block */
    uv_timer_t timer;
    uv_poll_t poll;

    int epoll;
    struct epoll_event events[LOOP_EVENTS];
    int event_at, n_events; /* the batch being dispatched */

    _Atomic(struct loop_msg *) mailbox; /* newest first */
    atomic_bool stop_asked;
    bool stopping;
    atomic_bool running;
    int works;

    struct list deferred, deferring;
    struct list parts;

    struct loop_timer **heap;
    uint32_t n_heap, heap_cap;
    uint64_t armed_ms;  /* when the uv timer fires; UINT64_MAX: not at all */
    uint64_t firing_ms; /* while timers fire: the time they fire for; else 0 */

    uint64_t now_us;
    bool now_valid;

    _Atomic int inbound; /* accepted connections alive or under way to this loop */
    struct conn_pool *conns;
    void *data;
    pthread_t thread;   /* that runs it */
    pthread_t joinable; /* of loop_start */
    bool threaded;
    char name[16];
};

/* Fires what is due and arms the uv timer for the next. */
void loop_timers_run(struct loop *l);

#endif
