/* The loop: messages between threads, deferred work, timers, blocking work, signals, its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/net/loop.h"

static struct loop *new_loop(void)
{
    struct loop *l;
    assert_int_equal(loop_new("test", &l), RM_OK);
    return l;
}

/* ---- messages -------------------------------------------------------------------------------- */

enum { SENDERS = 4, EACH = 5000 };

struct tally {
    int received[SENDERS];
    bool in_order;
    int total;
};

struct numbered {
    struct loop_msg msg;
    struct tally *tally;
    int sender, number;
};

static void on_numbered(struct loop *l, struct loop_msg *msg)
{
    struct numbered *m = CONTAINER_OF(msg, struct numbered, msg);
    struct tally *t = m->tally;
    t->in_order = t->in_order && t->received[m->sender] == m->number && loop_is_current(l);
    t->received[m->sender]++;
    t->total++;
    free(m);
    if (t->total == SENDERS * EACH)
        loop_stop(l);
}

struct sender {
    struct loop *loop;
    struct tally *tally;
    int number;
};

static void *send_many(void *arg)
{
    struct sender *s = arg;
    for (int i = 0; i < EACH; i++) {
        struct numbered *m = malloc(sizeof(*m));
        *m = (struct numbered){{NULL, on_numbered}, s->tally, s->number, i};
        if (!loop_post(s->loop, &m->msg))
            abort();
    }
    return NULL;
}

static void messages_of_many_threads_arrive_in_order(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    struct tally tally = {.in_order = true};
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    assert_int_equal(loop_start(l), RM_OK);
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){l, &tally, i};
        pthread_create(&threads[i], NULL, send_many, &senders[i]);
    }
    for (int i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    loop_join(l);
    assert_int_equal(tally.total, SENDERS * EACH);
    assert_true(tally.in_order);
    struct loop_msg late = {NULL, on_numbered};
    assert_false(loop_post(l, &late));
    loop_free(l);
}

/* ---- deferred work --------------------------------------------------------------------------- */

struct order {
    struct loop *loop;
    struct loop_defer first, second, third, cancelled;
    struct loop_msg begin;
    char log[16];
};

static void note(struct order *o, char ch)
{
    o->log[strlen(o->log)] = ch;
}

static void on_third(struct loop_defer *d)
{
    struct order *o = CONTAINER_OF(d, struct order, third);
    note(o, '3');
    loop_stop(o->loop);
}

static void on_second(struct loop_defer *d)
{
    note(CONTAINER_OF(d, struct order, second), '2');
}

static void on_first(struct loop_defer *d)
{
    struct order *o = CONTAINER_OF(d, struct order, first);
    note(o, '1');
    loop_defer(o->loop, &o->third, on_third);
}

static void on_cancelled(struct loop_defer *d)
{
    note(CONTAINER_OF(d, struct order, cancelled), 'X');
}

static void on_begin(struct loop *l, struct loop_msg *msg)
{
    struct order *o = CONTAINER_OF(msg, struct order, begin);
    note(o, 'a');
    loop_defer(l, &o->first, on_first);
    loop_defer(l, &o->cancelled, on_cancelled);
    loop_defer(l, &o->second, on_second);
    loop_defer(l, &o->first, on_first);
    loop_defer_cancel(l, &o->cancelled);
    note(o, 'b');
}

static void deferred_work_runs_once_after_the_turn(void **state)
{
    (void)state;
    struct order o = {.loop = new_loop(), .begin = {NULL, on_begin}};
    assert_true(loop_post(o.loop, &o.begin));
    loop_run(o.loop);
    assert_string_equal(o.log, "ab123");
    loop_free(o.loop);
}

/* ---- timers ---------------------------------------------------------------------------------- */

struct clocked {
    struct loop_timer timer;
    uint64_t fired_ms;
    int fired;
    struct clocked *push; /* moved further by this one's firing */
    uint64_t push_ms;
};

static void on_timer(struct loop_timer *t)
{
    struct clocked *c = CONTAINER_OF(t, struct clocked, timer);
    c->fired++;
    c->fired_ms = loop_now_ms(t->loop);
    if (c->push)
        loop_timer_start(&c->push->timer, c->push_ms);
}

static void on_last(struct loop_timer *t)
{
    on_timer(t);
    loop_stop(t->loop);
}

static void timers_fire_in_time_and_never_early(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    struct clocked many[50] = {0}, last = {0};
    uint64_t begin = loop_now_ms(l);
    for (int i = 0; i < 50; i++) {
        loop_timer_init(&many[i].timer, l, on_timer);
        loop_timer_start(&many[i].timer, (uint64_t)(i * 37 % 50) + 1);
    }
    for (int i = 0; i < 50; i += 5)
        loop_timer_stop(&many[i].timer);
    loop_timer_init(&last.timer, l, on_last);
    loop_timer_start(&last.timer, 80);
    loop_run(l);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(many[i].fired, i % 5 != 0);
        if (many[i].fired)
            assert_true(many[i].fired_ms - begin >= (uint64_t)(i * 37 % 50) + 1);
    }
    assert_true(last.fired_ms - begin >= 80 && last.fired_ms - begin < 2000);
    loop_free(l);
}

static void a_deadline_moves_both_ways(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    struct clocked later = {0}, pusher = {.push = &later, .push_ms = 50}, earlier = {0}, last = {0};
    uint64_t begin = loop_now_ms(l);
    loop_timer_init(&later.timer, l, on_timer);
    loop_timer_init(&pusher.timer, l, on_timer);
    loop_timer_init(&earlier.timer, l, on_timer);
    loop_timer_init(&last.timer, l, on_last);
    loop_timer_start(&later.timer, 20);
    loop_timer_start(&pusher.timer, 10);
    loop_timer_start(&earlier.timer, 10000);
    loop_timer_start(&earlier.timer, 5);
    loop_timer_start(&last.timer, 120);
    loop_run(l);
    assert_int_equal(later.fired, 1);
    assert_true(later.fired_ms - begin >= 60);
    assert_int_equal(earlier.fired, 1);
    assert_true(earlier.fired_ms < later.fired_ms);
    loop_free(l);
}

static void on_again(struct loop_timer *t)
{
    struct clocked *c = CONTAINER_OF(t, struct clocked, timer);
    if (++c->fired == 5)
        loop_stop(t->loop);
    else
        loop_timer_start(t, 0);
}

static void a_timer_restarted_at_once_does_not_spin(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    struct clocked c = {0};
    loop_timer_init(&c.timer, l, on_again);
    loop_timer_start(&c.timer, 0);
    loop_run(l);
    assert_int_equal(c.fired, 5);
    loop_free(l);
}

/* ---- work, signals --------------------------------------------------------------------------- */

struct job {
    struct loop *loop;
    pthread_t worker;
    bool worked, done, elsewhere;
};

static void do_work(void *arg)
{
    struct job *j = arg;
    j->elsewhere = !loop_is_current(j->loop);
    usleep(5000);
    j->worked = true;
}

static void work_done(void *arg)
{
    struct job *j = arg;
    j->done = j->worked && loop_is_current(j->loop);
}

static void work_completes_even_while_stopping(void **state)
{
    (void)state;
    struct job j = {.loop = new_loop()};
    assert_int_equal(loop_work(j.loop, do_work, work_done, &j), RM_OK);
    loop_stop(j.loop);
    loop_run(j.loop);
    assert_true(j.done && j.elsewhere);
    assert_int_equal(loop_work(j.loop, do_work, work_done, &j), RM_ECLOSED);
    loop_free(j.loop);
}

static void on_signal(void *arg, int signo)
{
    assert_int_equal(signo, SIGUSR1);
    loop_stop(arg);
}

static void on_raise(struct loop *l, struct loop_msg *msg)
{
    (void)l;
    (void)msg;
    raise(SIGUSR1);
}

static void signals_arrive_on_the_loop(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    struct loop_signal *s;
    struct loop_msg msg = {NULL, on_raise};
    assert_int_equal(loop_signal_new(l, SIGUSR1, on_signal, l, &s), RM_OK);
    loop_post(l, &msg);
    loop_run(l);
    loop_signal_free(s);
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_of_many_threads_arrive_in_order),
        cmocka_unit_test(deferred_work_runs_once_after_the_turn),
        cmocka_unit_test(timers_fire_in_time_and_never_early),
        cmocka_unit_test(a_deadline_moves_both_ways),
        cmocka_unit_test(a_timer_restarted_at_once_does_not_spin),
        cmocka_unit_test(work_completes_even_while_stopping),
        cmocka_unit_test(signals_arrive_on_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
