/*
 * Posting a question to every shard and waiting for the answers, bounded. What the shards say is the delivery
 * module's business; this owns only the memory and the waiting.
 */
#include "relay/api/query.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* One reference for the asker and one for each question that is under way: the last one frees. */
struct admin_wait {
    pthread_mutex_t lock;
    pthread_cond_t answered;
    int refs;
    int missing;
    json_t *answers;
    char error[160];
    admin_query_fn fn;
    char *from, *to, *tenant, *source, *provider, *text;
};

static char *copy(const char *text)
{
    char *own = strdup(text ? text : "");
    ENSURE(own != NULL);
    return own;
}

static struct admin_wait *wait_new(const struct admin_question *question, admin_query_fn fn, int shards)
{
    struct admin_wait *w = calloc(1, sizeof(*w));
    ENSURE(w != NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->answered, &attr);
    pthread_condattr_destroy(&attr);
    w->refs = shards + 1;
    w->missing = shards;
    w->answers = json_array();
    w->fn = fn;
    w->from = copy(question->from);
    w->to = copy(question->to);
    w->tenant = copy(question->tenant);
    w->source = copy(question->source);
    w->provider = copy(question->provider);
    w->text = copy(question->text);
    ENSURE(w->answers != NULL);
    return w;
}

/* With the lock held; gives it up. */
static void wait_unref_locked(struct admin_wait *w)
{
    bool last = --w->refs == 0;
    pthread_mutex_unlock(&w->lock);
    if (!last)
        return;
    json_decref(w->answers);
    free(w->from);
    free(w->to);
    free(w->tenant);
    free(w->source);
    free(w->provider);
    free(w->text);
    pthread_cond_destroy(&w->answered);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

static void query_on_shard(struct loop *loop, struct loop_msg *msg)
{
    (void)loop;
    struct admin_query *q = CONTAINER_OF(msg, struct admin_query, msg);
    q->wait->fn(q);
}

void admin_query_done(struct admin_query *q)
{
    struct admin_wait *w = q->wait;
    pthread_mutex_lock(&w->lock);
    if (q->answer && json_array_extend(w->answers, q->answer) != 0)
        json_array_append(w->answers, q->answer);
    if (q->error[0] != '\0' && w->error[0] == '\0')
        memcpy(w->error, q->error, sizeof(w->error));
    w->missing--;
    pthread_cond_signal(&w->answered);
    /* Freed before the reference goes: the asker may take answers apart as soon as the lock is free. */
    json_decref(q->answer);
    free(q);
    wait_unref_locked(w);
}

static void post(struct node *node, int shard, const struct admin_question *question, struct admin_wait *w)
{
    struct admin_query *q = calloc(1, sizeof(*q));
    ENSURE(q != NULL);
    q->kind = question->kind;
    q->from = w->from;
    q->to = w->to;
    q->tenant = w->tenant;
    q->source = w->source;
    q->provider = w->provider;
    q->text = w->text;
    q->shard = &node->shards[shard];
    q->wait = w;
    q->msg.run = query_on_shard;
    if (loop_post(node->shards[shard].loop, &q->msg))
        return;
    snprintf(q->error, sizeof(q->error), "the relay is stopping");
    admin_query_done(q);
}

static struct timespec deadline_in(uint32_t ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

void admin_ask(struct node *node, const struct admin_question *question, admin_query_fn fn,
               struct admin_answers *out)
{
    struct admin_wait *w = wait_new(question, fn, node->n_shards);
    for (int i = 0; i < node->n_shards; i++)
        post(node, i, question, w);
    struct timespec until = deadline_in(question->timeout_ms > 0 ? question->timeout_ms : ADMIN_QUERY_MS);
    pthread_mutex_lock(&w->lock);
    while (w->missing > 0 && pthread_cond_timedwait(&w->answered, &w->lock, &until) != ETIMEDOUT)
        continue;
    out->missing = w->missing;
    out->answers = w->answers;
    w->answers = json_array(); /* what comes too late goes here */
    memcpy(out->error, w->error, sizeof(out->error));
    wait_unref_locked(w);
}
