/*
 * A shard: a libuv loop in a thread, with a mailbox, timers, and work that waits for the end of the turn.
 * Everything takes place on the loop's own thread unless a function says "any thread". libuv itself is
 * visible only to this folder (loop_private.h).
 *
 * A turn: timers, then sockets and messages, then what was deferred. Replies and small writes of a turn
 * therefore leave together at its end.
 *
 * Life: loop_new, then loop_start (own thread) or loop_run (the calling thread); loop_stop; loop_join;
 * loop_free.
 */
#ifndef REMUDA_LIB_NET_LOOP_H
#define REMUDA_LIB_NET_LOOP_H

#include <stdatomic.h>

#include "lib/base/err.h"
#include "lib/base/list.h"
#include "lib/base/span.h"

struct loop;

/* name: of the thread, at most 15 bytes, copied. Any thread. RM_EIO, RM_ENOMEM. */
int loop_new(const char *name, struct loop **out) MUST_CHECK;
/* Runs it in a thread of its own (signals blocked there). Any thread. RM_EIO. */
int loop_start(struct loop *l) MUST_CHECK;
/* Runs it in the calling thread until it has stopped. */
void loop_run(struct loop *l);
/*
 * Any thread, any number of times. The loop runs the messages it has, closes its listeners' acceptors and its
 * connections (their on_end is called with CONN_END_STOP), and ends. dns instances, timers and signals of the
 * owner may still exist; they do nothing any more and must be freed before loop_free.
 */
void loop_stop(struct loop *l);
/* Waits for the thread of loop_start. */
void loop_join(struct loop *l);
/* After it has ended (or was never run). No other thread may use it any more. */
void loop_free(struct loop *l);

/* True on the thread that runs l. Any thread. */
bool loop_is_current(const struct loop *l);
/* Bookkeeping of the owner, e.g. the shard that the loop drives. */
void loop_data_set(struct loop *l, void *data);
void *loop_data(const struct loop *l);

/* Time since boot (clock_boot_us), read once a turn: cheap, and at most one turn old. */
uint64_t loop_now_us(struct loop *l);
uint64_t loop_now_ms(struct loop *l);

/* ---- mailbox --------------------------------------------------------------------------------- */

/* Embedded in the sender's object; the memory belongs to the loop until run is called, then to run. */
struct loop_msg {
    struct loop_msg *next;
    void (*run)(struct loop *l, struct loop_msg *msg);
};
/*
 * Any thread, lock-free. Messages of one thread arrive in order. The loop is woken only by the first message
 * of a batch. False: the loop has ended, the message stays the caller's and is never run. The object must not
 * be posted again before it ran.
 */
bool loop_post(struct loop *l, struct loop_msg *msg);

/* ---- end of the turn ------------------------------------------------------------------------- */

/* Zeroed before first use. */
struct loop_defer {
    struct list link; /* NULLs: never queued */
    void (*run)(struct loop_defer *d);
};
/* Runs d->run once at the end of this turn (in order of the calls); called again before that it does nothing.
 * What is deferred by deferred work runs in the next turn, which starts without waiting. */
void loop_defer(struct loop *l, struct loop_defer *d, void (*run)(struct loop_defer *d));
/* Takes it off when it is queued: needed before its memory goes. */
void loop_defer_cancel(struct loop *l, struct loop_defer *d);

/* ---- timers ---------------------------------------------------------------------------------- */

/*
 * One-shot. Embedded in its owner; zeroed, then loop_timer_init. Resolution 1 ms, never early. Moving the
 * deadline later, as an idle timer does on each command, is a store: the heap is only touched when the old
 * deadline has come.
 */
struct loop_timer {
    struct loop *loop;
    void (*fire)(struct loop_timer *t);
    uint64_t due_ms;    /* what the owner asked for */
    uint64_t queued_ms; /* its place in the heap: never later than due_ms */
    uint32_t slot;      /* index in the heap + 1; 0: not in it */
};
void loop_timer_init(struct loop_timer *t, struct loop *l, void (*fire)(struct loop_timer *t));
/* (Re)starts it: fires delay_ms after loop_now_ms. */
void loop_timer_start(struct loop_timer *t, uint64_t delay_ms);
/* At a time of loop_now_ms; the past means the next turn. */
void loop_timer_at(struct loop_timer *t, uint64_t at_ms);
/* Harmless when it isn't running. Needed before its memory goes. */
void loop_timer_stop(struct loop_timer *t);
static inline bool loop_timer_running(const struct loop_timer *t)
{
    return t->slot != 0;
}

/* ---- blocking work, signals ------------------------------------------------------------------ */

/*
 * Runs work(arg) in libuv's thread pool, then done(arg) on the loop. done is always called, also while the
 * loop stops. RM_ECLOSED: the loop is ending; nothing will be called.
 */
int loop_work(struct loop *l, void (*work)(void *arg), void (*done)(void *arg), void *arg) MUST_CHECK;

/* Calls fn(arg, signo) on the loop for each delivery of the signal, until loop_signal_free. */
struct loop_signal;
int loop_signal_new(struct loop *l, int signo, void (*fn)(void *arg, int signo), void *arg,
                    struct loop_signal **out) MUST_CHECK;
void loop_signal_free(struct loop_signal *s);

#endif
