/* Blocking work in libuv's pool, and signals, as seen from a loop. */
#include <stdlib.h>

#include "lib/net/loop_private.h"

struct work {
    uv_work_t request;
    struct loop *loop;
    void (*work)(void *arg);
    void (*done)(void *arg);
    void *arg;
};

static void on_work(uv_work_t *request)
{
    struct work *w = CONTAINER_OF(request, struct work, request);
    w->work(w->arg);
}

static void on_work_done(uv_work_t *request, int status)
{
    struct work *w = CONTAINER_OF(request, struct work, request);
    (void)status; /* work is never cancelled */
    w->loop->works--;
    w->done(w->arg);
    free(w);
}

int loop_work(struct loop *l, void (*work)(void *arg), void (*done)(void *arg), void *arg)
{
    if (l->stopping)
        return RM_ECLOSED;
    struct work *w = malloc(sizeof(*w));
    ENSURE(w);
    *w = (struct work){.loop = l, .work = work, .done = done, .arg = arg};
    ENSURE(uv_queue_work(&l->uv, &w->request, on_work, on_work_done) == 0);
    l->works++;
    return RM_OK;
}

struct loop_signal {
    uv_signal_t uv;
    void (*fn)(void *arg, int signo);
    void *arg;
};

static void on_signal(uv_signal_t *uv, int signo)
{
    struct loop_signal *s = CONTAINER_OF(uv, struct loop_signal, uv);
    s->fn(s->arg, signo);
}

static void on_signal_closed(uv_handle_t *handle)
{
    free(CONTAINER_OF((uv_signal_t *)handle, struct loop_signal, uv));
}

int loop_signal_new(struct loop *l, int signo, void (*fn)(void *arg, int signo), void *arg,
                    struct loop_signal **out)
{
    struct loop_signal *s = calloc(1, sizeof(*s));
    ENSURE(s);
    s->fn = fn;
    s->arg = arg;
    *out = NULL;
    if (uv_signal_init(&l->uv, &s->uv) != 0) {
        free(s);
        return RM_EIO;
    }
    if (uv_signal_start(&s->uv, on_signal, signo) != 0) {
        uv_close((uv_handle_t *)&s->uv, on_signal_closed);
        return RM_EINVAL;
    }
    *out = s;
    return RM_OK;
}

void loop_signal_free(struct loop_signal *s)
{
    if (s)
        uv_close((uv_handle_t *)&s->uv, on_signal_closed);
}
