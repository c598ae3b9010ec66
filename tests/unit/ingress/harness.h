/*
 * The world of a session under test: a clock that is set by hand, a log that answers when told, one tenant's
 * credentials. What the session writes is collected as text.
 */
#ifndef REMUDA_TESTS_UNIT_INGRESS_HARNESS_H
#define REMUDA_TESTS_UNIT_INGRESS_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "queue/log.h"
#include "relay/ingress/inbound.h"

enum { APPENDS_MOST = 4096 };

struct harness_append {
    enum inbound_append kind;
    uint32_t partition;
    uint64_t token;
    struct buf value; /* head and body */
    struct message *message;
};

struct harness {
    struct settings settings;
    struct settings_listener listener;
    struct settings_tenant tenants[2];
    struct inbound *session;
    struct buf out, in, scratch;
    uint64_t now_us, wall_ms;
    bool closed, tls_started, auth_waits, hold_appends, starttls;
    int network_tenant;
    /* what the environment answers */
    enum inbound_admission admission;
    int append_status;
    uint64_t quota_left;
    bool crowded, tenant_full, no_lane, auth_later, auth_busy, quota_later, quota_waits, quota_unknown;
    /* what happened */
    struct harness_append appends[APPENDS_MOST];
    int n_appends, n_answered;
    int accepted, returned, taken, lookups;
    int refused[INBOUND_REASONS];
    struct inbound_accepted last_accepted;
};

static uint64_t h_now(void *arg)
{
    return ((struct harness *)arg)->now_us;
}

static uint64_t h_wall(void *arg)
{
    return ((struct harness *)arg)->wall_ms;
}

static void h_write(void *arg, struct span bytes)
{
    struct harness *h = arg;
    assert_false(h->closed);
    buf_add_span(&h->out, bytes);
}

static void h_close(void *arg)
{
    struct harness *h = arg;
    assert_false(h->closed);
    h->closed = true;
}

static void h_start_tls(void *arg)
{
    ((struct harness *)arg)->tls_started = true;
}

static bool h_right(struct span user, struct span password)
{
    return span_eq(user, SPAN_LIT("joe")) && span_eq(password, SPAN_LIT("secret"));
}

static void h_auth(void *arg, struct span user, struct span password)
{
    struct harness *h = arg;
    bool right = h_right(user, password);
    if (h->auth_later) {
        h->auth_waits = true;
        return;
    }
    inbound_auth_done(h->session,
                      h->auth_busy ? INBOUND_AUTH_TEMPORARY
                      : right      ? INBOUND_AUTH_OK
                                   : INBOUND_AUTH_WRONG,
                      1, "joe");
}

static enum inbound_admission h_admit(void *arg)
{
    return ((struct harness *)arg)->admission;
}

static bool h_crowded(void *arg)
{
    return ((struct harness *)arg)->crowded;
}

/* The answer to one that waits (quota_later), or at once. */
static bool h_quota_answer(struct harness *h)
{
    struct inbound_quota over = {"per_minute", 7, 23};
    h->quota_waits = false;
    if (h->quota_unknown)
        return inbound_quota_done(h->session, INBOUND_QUOTA_UNKNOWN, NULL);
    if (h->quota_left == 0)
        return inbound_quota_done(h->session, INBOUND_QUOTA_OVER, &over);
    h->quota_left--;
    h->taken++;
    return inbound_quota_done(h->session, INBOUND_QUOTA_TAKEN, NULL);
}

static void h_quota_take(void *arg, int tenant)
{
    struct harness *h = arg;
    (void)tenant;
    if (h->quota_later)
        h->quota_waits = true;
    else
        assert_true(h_quota_answer(h));
}

static void h_quota_return(void *arg, int tenant, uint64_t wall_ms)
{
    struct harness *h = arg;
    (void)tenant;
    (void)wall_ms;
    h->quota_left++;
    h->returned++;
}

static bool h_tenant_enter(void *arg, int tenant)
{
    (void)tenant;
    return !((struct harness *)arg)->tenant_full;
}

static void h_lookup(void *arg, struct span domain)
{
    (void)domain;
    ((struct harness *)arg)->lookups++;
}

static int h_place(void *arg, struct arena *a, int tenant, struct span sender_domain,
                   Remuda__Submission *submission)
{
    struct harness *h = arg;
    (void)sender_domain;
    submission->pool = arena_printf(a, "pool%d", tenant);
    submission->provider = arena_strdup(a, strcmp(submission->domain, "gmail.com") == 0 ? "gmail" : "other");
    submission->shard = 0;
    return h->no_lane ? -1 : (int)strlen(submission->domain) % 8;
}

static const char *h_suppressed(void *arg, struct arena *a, int tenant, struct span address)
{
    (void)arg;
    return tenant == 0 && span_istarts(address, SPAN_LIT("suppressed@")) ? arena_strdup(a, "suppressed")
                                                                         : NULL;
}

static int h_place_feedback(void *arg, struct arena *a, int tenant, const struct token_claims *about,
                            Remuda__Submission *submission)
{
    ENSURE(span_eq(about->tenant, SPAN_LIT("acme")) == (tenant == 0));
    return h_place(arg, a, tenant, span_str(""), submission);
}

static uint64_t h_table_version(void *arg)
{
    (void)arg;
    return 42;
}

static void h_append(void *arg, const struct inbound_value *value)
{
    struct harness *h = arg;
    assert_true(h->n_appends < APPENDS_MOST);
    struct harness_append *a = &h->appends[h->n_appends++];
    *a = (struct harness_append){.kind = value->kind, .partition = value->partition, .token = value->token};
    buf_add_span(&a->value, value->head);
    buf_add_span(&a->value, blob_span(value->body));
    assert_true(a->value.len <= LOG_VALUE_MOST);
    if (value->message)
        a->message = message_ref(value->message);
}

static void h_accepted(void *arg, const struct inbound_accepted *what)
{
    struct harness *h = arg;
    h->accepted++;
    h->last_accepted = *what;
}

static void h_refused(void *arg, enum inbound_reason reason, int code)
{
    (void)code;
    ((struct harness *)arg)->refused[reason]++;
}

static struct msgid h_make_id(void *arg, uint64_t wall_ms)
{
    (void)arg;
    return msgid_make(wall_ms);
}

static struct buf *h_scratch(void *arg)
{
    return &((struct harness *)arg)->scratch;
}

static const struct inbound_env h_env = {
    .now_us = h_now,
    .wall_ms = h_wall,
    .write = h_write,
    .close = h_close,
    .start_tls = h_start_tls,
    .auth = h_auth,
    .admit = h_admit,
    .crowded = h_crowded,
    .quota_take = h_quota_take,
    .quota_return = h_quota_return,
    .tenant_enter = h_tenant_enter,
    .suppressed = h_suppressed,
    .lookup = h_lookup,
    .place = h_place,
    .place_feedback = h_place_feedback,
    .table_version = h_table_version,
    .append = h_append,
    .accepted = h_accepted,
    .refused = h_refused,
    .make_id = h_make_id,
    .scratch = h_scratch,
};

/* The defaults: tenant 0 by network, may send from anywhere; tenant 1 is joe's. Change, then h_open. */
static struct harness *h_new(void)
{
    static const char *const any[] = {"*"};
    static const char *const own[] = {"joe.example"};
    struct harness *h = calloc(1, sizeof(*h));
    assert_non_null(h);
    h->tenants[0] =
        (struct settings_tenant){.name = "acme", .domains = any, .n_domains = 1, .null_sender = true};
    h->tenants[1] = (struct settings_tenant){.name = "joes", .domains = own, .n_domains = 1};
    h->settings.message_bytes = 10 * 1024 * 1024;
    h->settings.hops = 50;
    h->settings.tenants = h->tenants;
    h->settings.n_tenants = 2;
    h->listener = (struct settings_listener){.address = "127.0.0.1:2525",
                                             .hostname = "relay.example",
                                             .auth = true,
                                             .idle_ms = 300000,
                                             .session_ms = 3600000,
                                             .data_ms = 1500000,
                                             .errors = 20,
                                             .commands = 100000,
                                             .junk = 100};
    h->now_us = 1000000;
    h->wall_ms = 1795000000000;
    h->quota_left = 1000000;
    h->starttls = true;
    return h;
}

static struct harness *h_open(struct harness *h)
{
    struct inbound_options o = {.env = &h_env,
                                .arg = h,
                                .settings = &h->settings,
                                .listener = &h->listener,
                                .tls_available = h->starttls,
                                .client = "192.0.2.7",
                                .tenant = h->network_tenant};
    h->session = inbound_new(&o);
    inbound_start(h->session);
    return h;
}

static void h_free(struct harness *h)
{
    inbound_free(h->session);
    for (int i = 0; i < h->n_appends; i++) {
        buf_fini(&h->appends[i].value);
        message_unref(h->appends[i].message);
    }
    buf_fini(&h->out);
    buf_fini(&h->in);
    buf_fini(&h->scratch);
    free(h);
}

/* Answers the oldest append that waits; false: none. */
static bool h_answer_one(struct harness *h)
{
    if (h->n_answered == h->n_appends)
        return false;
    struct harness_append *a = &h->appends[h->n_answered++];
    inbound_append_done(h->session, a->token, h->append_status, 100 + (uint64_t)h->n_answered);
    return true;
}

/* One step of what a driver does; false: nothing moves any more. */
static bool h_step(struct harness *h)
{
    size_t used = h->closed ? h->in.len : inbound_feed(h->session, buf_span(&h->in));
    assert_true(used <= h->in.len);
    buf_drop(&h->in, used);
    if (h->tls_started) {
        h->tls_started = false;
        buf_clear(&h->in);
        inbound_tls_done(h->session, "TLSv1.3", "TLS_AES_256_GCM_SHA384");
        return true;
    }
    bool answered = !h->hold_appends && h_answer_one(h);
    return used > 0 || answered;
}

static void h_run(struct harness *h)
{
    while (h_step(h))
        ;
}

static void h_send_span(struct harness *h, struct span bytes)
{
    buf_add_span(&h->in, bytes);
    h_run(h);
}

static void h_send(struct harness *h, const char *text)
{
    h_send_span(h, span_str(text));
}

/* Ids differ from run to run: the text behind "queued as " becomes "ID". */
static void h_mask(struct buf *b)
{
    static const char mark[] = "queued as ";
    char *at = (char *)(uintptr_t)buf_cstr(b);
    while ((at = strstr(at, mark)) != NULL) {
        at += sizeof(mark) - 1;
        char *end = strstr(at, "\r\n");
        assert_non_null(end);
        memmove(at + 2, end, strlen(end) + 1);
        memcpy(at, "ID", 2);
        b->len = strlen(b->data);
    }
}

/* What was written since the last call. */
static const char *h_take(struct harness *h)
{
    static char text[65536];
    h_mask(&h->out);
    (void)snprintf(text, sizeof(text), "%s", buf_cstr(&h->out));
    buf_clear(&h->out);
    return text;
}

#define h_expect(h, text) assert_string_equal(h_take(h), text)
/* Sends and expects. */
#define h_talk(h, send, text)                                                                                \
    do {                                                                                                     \
        h_send((h), (send));                                                                                 \
        h_expect((h), (text));                                                                               \
    } while (0)

static void h_advance_ms(struct harness *h, uint64_t ms)
{
    h->now_us += ms * 1000;
    h->wall_ms += ms;
    inbound_timeout(h->session);
    h_run(h);
}

/* Greeted and said EHLO, replies thrown away. */
static struct harness *h_hello(struct harness *h)
{
    h_open(h);
    h_send(h, "EHLO client.example\r\n");
    (void)h_take(h);
    return h;
}

/* The last record given to the log: decoded from its value, so that the framing is tested too. */
static struct message *h_record(struct harness *h)
{
    struct message *m = NULL;
    for (int i = h->n_appends; i-- > 0;)
        if (h->appends[i].kind == INBOUND_APPEND_RECORD) {
            assert_int_equal(message_decode(buf_span(&h->appends[i].value), true, &m), RM_OK);
            return m;
        }
    fail_msg("no record");
    return NULL;
}

#endif
