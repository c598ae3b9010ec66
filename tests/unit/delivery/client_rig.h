/*
 * A client's protocol over a scripted receiver, without sockets: what the client writes is kept, a kernel
 * that takes as many bytes as it is allowed to, turns that end when the test says so.
 */
#ifndef REMUDA_TESTS_UNIT_DELIVERY_CLIENT_RIG_H
#define REMUDA_TESTS_UNIT_DELIVERY_CLIENT_RIG_H

#include <stdio.h>
#include <stdlib.h>

#include "relay/delivery/client.h"

enum { RIG_ATTEMPTS = 8, RIG_RECIPIENTS = 4 };

struct parcel { /* a message and the attempt that carries it */
    struct attempt attempt;
    struct message *message;
    Remuda__Submission submission;
    Remuda__Recipient recipients[RIG_RECIPIENTS], *pointers[RIG_RECIPIENTS];
    Remuda__Submission *list[1];
    uint32_t indexes[RIG_RECIPIENTS];
};

struct rig {
    struct client *client;
    struct settings_delivery limits;
    struct buf out; /* all that was written */
    size_t seen;    /* of it, already compared */
    size_t flushed; /* of it, taken by the kernel */
    size_t kernel;  /* the kernel takes no more than this in all */
    size_t step;    /* input comes in fragments of so many bytes; 0: as it is */
    size_t pending_max;
    uint64_t deadline_ms, now_us, drain_below;
    int ups, closes, flushes, tls_starts, next_calls;
    bool drain_wanted, settle_wanted;
    struct parcel *next[RIG_ATTEMPTS]; /* what next() hands out */
    int n_next, next_at;
    struct attempt *done[RIG_ATTEMPTS];
    int n_done;
    void (*on_done)(struct rig *r, struct attempt *a);
};

/* ---- environment ---- */

static inline void rig_write(void *arg, const struct span *iov, size_t n, struct blob *hold)
{
    struct rig *r = arg;
    (void)hold;
    if (r->closes)
        return;
    for (size_t i = 0; i < n; i++)
        buf_add_span(&r->out, iov[i]);
    if (r->out.len - r->flushed > r->pending_max)
        r->pending_max = r->out.len - r->flushed;
}

static inline uint64_t rig_written(void *arg)
{
    return ((struct rig *)arg)->out.len;
}

static inline uint64_t rig_flushed(void *arg)
{
    return ((struct rig *)arg)->flushed;
}

static inline void rig_flush(void *arg)
{
    struct rig *r = arg;
    size_t most = r->out.len < r->kernel ? r->out.len : r->kernel;
    if (r->closes || most <= r->flushed)
        return;
    r->flushes++;
    r->flushed = most;
}

static inline void rig_want_drain(void *arg, uint64_t below)
{
    struct rig *r = arg;
    r->drain_wanted = true;
    r->drain_below = below;
}

static inline void rig_deadline(void *arg, uint64_t ms)
{
    ((struct rig *)arg)->deadline_ms = ms;
}

static inline void rig_start_tls(void *arg)
{
    ((struct rig *)arg)->tls_starts++;
}

static inline uint64_t rig_now(void *arg)
{
    return ((struct rig *)arg)->now_us += 10;
}

static inline void rig_want_settle(void *arg)
{
    ((struct rig *)arg)->settle_wanted = true;
}

static inline struct attempt *rig_next(void *arg)
{
    struct rig *r = arg;
    r->next_calls++;
    return r->next_at < r->n_next ? &r->next[r->next_at++]->attempt : NULL;
}

static inline void rig_up(void *arg)
{
    ((struct rig *)arg)->ups++;
}

static inline void rig_done(void *arg, struct attempt *a)
{
    struct rig *r = arg;
    for (int i = 0; i < r->n_done; i++)
        ENSURE(r->done[i] != a);
    ENSURE(r->n_done < RIG_ATTEMPTS);
    r->done[r->n_done++] = a;
    if (r->on_done)
        r->on_done(r, a);
}

static inline void rig_close(void *arg)
{
    struct rig *r = arg;
    ENSURE(r->closes == 0);
    r->closes++;
}

/* ---- turns ---- */

static inline void rig_end_turn(struct rig *r)
{
    for (;;) {
        rig_flush(r);
        if (r->drain_wanted && !r->closes && r->out.len - r->flushed <= r->drain_below) {
            r->drain_wanted = false;
            client_drained(r->client);
        } else if (r->settle_wanted) {
            r->settle_wanted = false;
            client_settle(r->client);
        } else {
            return;
        }
    }
}

/* One read. */
static inline void rig_read(struct rig *r, struct span in)
{
    if (!r->closes) {
        size_t taken = client_input(r->client, in);
        ENSURE(taken <= in.len);
    }
    rig_end_turn(r);
}

/* The receiver says this, in fragments as the rig is set. */
static inline void rig_hear(struct rig *r, const char *text)
{
    struct span in = span_str(text);
    while (in.len) {
        size_t n = r->step && r->step < in.len ? r->step : in.len;
        rig_read(r, span_of(in.ptr, n));
        in = span_of(in.ptr + n, in.len - n);
    }
}

/* The connection breaks: what was pending is gone. */
static inline void rig_lose(struct rig *r, const char *why)
{
    client_lost(r->client, why);
    rig_end_turn(r);
}

static inline void rig_time_out(struct rig *r)
{
    ENSURE(r->deadline_ms);
    client_timed_out(r->client);
    rig_end_turn(r);
}

/* True when the bytes written since the last call are exactly these. */
static inline bool rig_said(struct rig *r, const char *text)
{
    size_t at = r->seen, n = strlen(text);
    r->seen = r->out.len;
    bool same = r->out.len - at == n && memcmp(r->out.data + at, text, n) == 0;
    if (!same)
        printf("said: <<%.*s>>\ninstead of: <<%s>>\n", (int)(r->out.len - at), r->out.data + at, text);
    return same;
}

static inline void rig_give(struct rig *r, struct parcel *p)
{
    client_give(r->client, &p->attempt);
    rig_end_turn(r);
}

/* ---- life ---- */

static inline void rig_init(struct rig *r, enum tls_policy tls)
{
    *r = (struct rig){.kernel = SIZE_MAX};
    r->limits = (struct settings_delivery){.greeting_ms = 1000,
                                           .ehlo_ms = 2000,
                                           .tls_ms = 3000,
                                           .mail_ms = 4000,
                                           .rcpt_ms = 5000,
                                           .data_ms = 6000,
                                           .block_ms = 7000,
                                           .dot_ms = 8000,
                                           .quit_ms = 9000};
    struct client_options o = {.ehlo = "mta1.example.net", .tls = tls, .limits = &r->limits};
    struct client_env env = {.write = rig_write,
                             .written = rig_written,
                             .flushed = rig_flushed,
                             .flush = rig_flush,
                             .want_drain = rig_want_drain,
                             .deadline = rig_deadline,
                             .start_tls = rig_start_tls,
                             .now_us = rig_now,
                             .want_settle = rig_want_settle,
                             .next = rig_next,
                             .up = rig_up,
                             .done = rig_done,
                             .close = rig_close,
                             .arg = r};
    r->client = client_new(&o, &env);
    client_connected(r->client);
}

static inline void rig_fini(struct rig *r)
{
    client_free(r->client);
    buf_fini(&r->out);
}

#define RIG_PIPELINING "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 10000000\r\n250 8BITMIME\r\n"
#define RIG_LOCK_STEP  "250-mx.example\r\n250 8BITMIME\r\n"

/* Up, with this answer to EHLO. */
static inline void rig_up_with(struct rig *r, const char *ehlo)
{
    rig_init(r, TLS_POLICY_NONE);
    rig_hear(r, "220 mx.example ESMTP\r\n");
    rig_hear(r, ehlo);
    ENSURE(r->ups == 1 && client_idle(r->client));
    r->seen = r->out.len;
}

/* ---- messages ---- */

/* n recipients r0@d.example, r1@d.example ...; the body is copied. */
static inline void parcel_init(struct parcel *p, uint32_t n, struct span body)
{
    static const char *const addresses[] = {"r0@d.example", "r1@d.example", "r2@d.example", "r3@d.example"};
    *p = (struct parcel){.message = message_new()};
    p->message->body = blob_of(body.ptr, body.len);
    Remuda__Record *record = p->message->record;
    record->sender = (char *)(uintptr_t) "s@a.example";
    record->body_bytes = body.len;
    remuda__submission__init(&p->submission);
    for (uint32_t i = 0; i < n; i++) {
        remuda__recipient__init(&p->recipients[i]);
        p->recipients[i].address = (char *)(uintptr_t)addresses[i];
        p->pointers[i] = &p->recipients[i];
        p->indexes[i] = i;
    }
    p->submission.recipients = p->pointers;
    p->submission.n_recipients = n;
    p->list[0] = &p->submission;
    record->submissions = p->list;
    record->n_submissions = 1;
    p->attempt = (struct attempt){.message = p->message,
                                  .submission = &p->submission,
                                  .recipients = p->indexes,
                                  .n_recipients = n,
                                  .sender = record->sender,
                                  .body = {.message = p->message}};
    arena_init(&p->attempt.arena);
}

static inline void parcel_fini(struct parcel *p)
{
    arena_fini(&p->attempt.arena);
    message_unref(p->message);
}

#endif
