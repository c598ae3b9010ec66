/*
 * A whole session against any input. How the input is cut never changes a reply; every message counted is
 * accepted or given back; what is appended decodes, and its text has no line end but CRLF. With a bounce
 * domain too: what comes back is taken only with a return path of ours, which %T in the input becomes.
 */
#include <stdlib.h>

#include "queue/log.h"
#include "queue/message.h"
#include "relay/feedback/return_path.h"
#include "relay/ingress/inbound.h"
#include "tests/fuzz/fuzz.h"

enum { APPENDS_MOST = 4, INPUT_MOST = 64 * 1024, FEEDBACK = 128, DAY_MS = 86400000 };
static const uint64_t now_wall_ms = 1795000000000;
static const uint8_t keys[1][MAC_KEY_BYTES] = {{7}};

struct world {
    struct inbound *session;
    struct buf out, scratch;
    uint64_t tokens[APPENDS_MOST];
    int n_tokens;
    int taken, returned, accepted, fed; /* fed: stored as what came back, which no tenant's count shows */
    bool closed, tls_started;
    unsigned mode, asked;
};

static uint64_t w_now(void *arg)
{
    (void)arg;
    return 1000000;
}

static uint64_t w_wall(void *arg)
{
    (void)arg;
    return now_wall_ms;
}

static void w_write(void *arg, struct span bytes)
{
    struct world *w = arg;
    ENSURE(!w->closed && bytes.len >= 2 && bytes.ptr[bytes.len - 1] == '\n');
    buf_add_span(&w->out, bytes);
}

static void w_close(void *arg)
{
    struct world *w = arg;
    ENSURE(!w->closed);
    w->closed = true;
}

static void w_start_tls(void *arg)
{
    ((struct world *)arg)->tls_started = true;
}

static void w_auth(void *arg, struct span user, struct span password)
{
    struct world *w = arg;
    (void)password;
    inbound_auth_done(w->session, INBOUND_AUTH_OK, (int)(user.len & 1), "user");
}

/* Memory comes and goes: what was refused at one moment is let in at the next. */
static enum inbound_admission w_admit(void *arg)
{
    struct world *w = arg;
    return w->mode & 64 && w->asked++ % 3 == 1 ? ADMIT_NO_MEMORY : ADMIT_OK;
}

static bool w_crowded(void *arg)
{
    (void)arg; /* asked once for each packet, and the cuts must not matter */
    return false;
}

static void w_quota_take(void *arg, int tenant)
{
    struct world *w = arg;
    (void)tenant;
    w->taken++;
    (void)inbound_quota_done(w->session, INBOUND_QUOTA_TAKEN, NULL);
}

static void w_quota_return(void *arg, int tenant, uint64_t wall_ms)
{
    (void)tenant;
    (void)wall_ms;
    ((struct world *)arg)->returned++;
}

static bool w_tenant_enter(void *arg, int tenant)
{
    (void)arg;
    (void)tenant;
    return true;
}

static void w_lookup(void *arg, struct span domain)
{
    (void)arg;
    ENSURE(domain.len > 0 && domain.len < 256);
}

static int w_place(void *arg, struct arena *a, int tenant, struct span sender_domain, Remuda__Submission *s)
{
    (void)arg;
    (void)tenant;
    (void)sender_domain;
    s->pool = arena_strdup(a, "p");
    s->provider = arena_strdup(a, "other");
    return 1;
}

static const char *w_suppressed(void *arg, struct arena *a, int tenant, struct span address)
{
    (void)arg;
    return tenant == 0 && span_istarts(address, SPAN_LIT("suppressed@")) ? arena_strdup(a, "suppressed")
                                                                         : NULL;
}

static int w_place_feedback(void *arg, struct arena *a, int tenant, const struct token_claims *about,
                            Remuda__Submission *submission)
{
    const struct world *w = arg;
    ENSURE(w->mode & FEEDBACK && tenant == 0 && span_eq(about->tenant, SPAN_LIT("a")));
    return w_place(arg, a, tenant, span_str(""), submission);
}

static uint64_t w_table_version(void *arg)
{
    (void)arg;
    return 1;
}

static void check_lines(struct span text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '\n')
            ENSURE(i > 0 && text.ptr[i - 1] == '\r');
        if (text.ptr[i] == '\r')
            ENSURE(i + 1 < text.len && text.ptr[i + 1] == '\n');
    }
}

static void w_append(void *arg, const struct inbound_value *value)
{
    struct world *w = arg;
    struct buf b = BUF_INIT;
    struct message *m;
    ENSURE(w->n_tokens < APPENDS_MOST && value->kind == INBOUND_APPEND_RECORD);
    w->tokens[w->n_tokens++] = value->token;
    buf_add_span(&b, value->head);
    buf_add_span(&b, blob_span(value->body));
    ENSURE(b.len <= LOG_VALUE_MOST);
    ENSURE(message_decode(buf_span(&b), true, &m) == RM_OK);
    ENSURE(m->record->body_bytes == m->body->len);
    bool feedback = m->record->kind == REMUDA__RECORD_KIND__RECORD_FEEDBACK;
    ENSURE(!feedback || w->mode & FEEDBACK);
    w->fed += feedback;
    check_lines(blob_span(m->body));
    check_lines(span_of((const char *)m->record->prefix.data, m->record->prefix.len));
    message_unref(m);
    buf_fini(&b);
}

static void w_accepted(void *arg, const struct inbound_accepted *what)
{
    (void)what;
    ((struct world *)arg)->accepted++;
}

static void w_refused(void *arg, enum inbound_reason reason, int code)
{
    (void)arg;
    ENSURE(inbound_reason_name(reason) && code >= 400 && code < 600);
}

static struct msgid w_make_id(void *arg, uint64_t wall_ms)
{
    (void)arg;
    return msgid_make(wall_ms);
}

static struct buf *w_scratch(void *arg)
{
    return &((struct world *)arg)->scratch;
}

static const struct inbound_env world_env = {
    .now_us = w_now,
    .wall_ms = w_wall,
    .write = w_write,
    .close = w_close,
    .start_tls = w_start_tls,
    .auth = w_auth,
    .admit = w_admit,
    .crowded = w_crowded,
    .quota_take = w_quota_take,
    .quota_return = w_quota_return,
    .tenant_enter = w_tenant_enter,
    .suppressed = w_suppressed,
    .lookup = w_lookup,
    .place = w_place,
    .place_feedback = w_place_feedback,
    .table_version = w_table_version,
    .append = w_append,
    .accepted = w_accepted,
    .refused = w_refused,
    .make_id = w_make_id,
    .scratch = w_scratch,
};

/* Ids are made of randomness: 26 letters behind "queued as " become x. */
static void mask_ids(struct buf *b)
{
    static const char mark[] = "queued as ";
    for (size_t i = 0; i + sizeof(mark) - 1 + 26 <= b->len; i++)
        if (memcmp(b->data + i, mark, sizeof(mark) - 1) == 0)
            memset(b->data + i + sizeof(mark) - 1, 'x', 26);
}

/* Everything that can move, moves. What STARTTLS leaves behind is dropped, as the connection would. */
static void run(struct world *w, struct buf *in)
{
    for (bool more = true; more && !w->closed;) {
        size_t used = inbound_feed(w->session, buf_span(in));
        ENSURE(used <= in->len);
        buf_drop(in, used);
        more = used > 0;
        if (w->tls_started && !w->closed) {
            w->tls_started = false;
            inbound_tls_done(w->session, "TLSv1.3", "C");
        }
        if (w->n_tokens) {
            more = true;
            uint64_t token = w->tokens[--w->n_tokens];
            inbound_append_done(w->session, token, w->mode & 32 ? RM_EIO : RM_OK, 7);
        }
    }
}

static void play(struct world *w, const struct settings *settings, struct span input, uint32_t seed)
{
    const struct settings_listener listener = {
        .address = "l",
        .hostname = "h",
        .auth = true,
        .auth_without_tls = w->mode & 1,
        .require_tls = w->mode & 2,
        .errors = 20,
        .bare_newline = w->mode & 4 ? BARE_NORMALISE : BARE_REFUSE,
        .line_bytes = w->mode & 8 ? 20 : 0,
        .feedback = w->mode & FEEDBACK,
    };
    struct inbound_options options = {
        .env = &world_env, .arg = w, .settings = settings, .listener = &listener, .client = "::1"};
    struct buf in = BUF_INIT;
    w->session = inbound_new(&options);
    inbound_start(w->session);
    for (size_t at = 0; at < input.len && !w->closed;) {
        size_t n = seed ? fuzz_step(&seed, input.len - at) : input.len - at;
        buf_add(&in, input.ptr + at, n);
        at += n;
        run(w, &in);
    }
    inbound_free(w->session);
    int rest = w->taken - w->returned - w->accepted;
    ENSURE(rest >= 0 && rest <= w->fed);
    mask_ids(&w->out);
    buf_fini(&in);
    buf_fini(&w->scratch);
}

static void settings_of(unsigned mode, struct settings *out)
{
    static const char *const any[] = {"*"};
    static const struct settings_tenant tenants[2] = {
        {.name = "a", .domains = any, .n_domains = 1, .null_sender = true, .verp = true},
        {.name = "b", .domains = any, .n_domains = 1},
    };
    *out =
        (struct settings){.message_bytes = mode & 16 ? 64 : 0, .hops = 5, .tenants = tenants, .n_tenants = 2};
    if (mode & FEEDBACK)
        out->feedback = (struct settings_feedback){.domain = "b.example",
                                                   .address = "fbl@b.example",
                                                   .keys = {keys, 1},
                                                   .lifetime_ms = 10ull * DAY_MS};
}

/* A return path that was made a while ago. */
static void add_token(const struct settings *settings, struct buf *out)
{
    struct arena a = ARENA_INIT;
    struct msgid id = {.bytes = {0}};
    for (int i = 0; i < 6; i++) /* its time stands in front, big-endian */
        id.bytes[i] = (uint8_t)((now_wall_ms - DAY_MS) >> (40 - 8 * i));
    struct return_path p = {.tenant = &settings->tenants[0],
                            .source = "s",
                            .provider = "gmail",
                            .message = id.bytes,
                            .submission = {.partition = 1, .offset = 77},
                            .now_ms = now_wall_ms - DAY_MS};
    const char *made = return_path_make(settings, &p, &a);
    struct span all = span_str(made);
    ENSURE(made);
    buf_add_span(out, span_cut(&all, '@'));
    arena_fini(&a);
}

static void with_tokens(const struct settings *settings, struct span input, struct buf *out)
{
    for (size_t i = 0; i < input.len; i++) {
        bool mark = input.ptr[i] == '%' && i + 1 < input.len && input.ptr[i + 1] == 'T';
        if (mark && settings->feedback.domain && out->len < INPUT_MOST) {
            add_token(settings, out);
            i++;
        } else {
            buf_add_char(out, input.ptr[i]);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > INPUT_MOST)
        return 0;
    struct settings settings;
    struct buf input = BUF_INIT;
    struct world whole = {.mode = data[0]}, cut = {.mode = data[0]};
    settings_of(data[0], &settings);
    with_tokens(&settings, span_of((const char *)data + 2, size - 2), &input);
    play(&whole, &settings, buf_span(&input), 0);
    play(&cut, &settings, buf_span(&input), data[1] + 1u);
    ENSURE(span_eq(buf_span(&whole.out), buf_span(&cut.out)) && whole.closed == cut.closed);
    buf_fini(&whole.out);
    buf_fini(&cut.out);
    buf_fini(&input);
    return 0;
}
