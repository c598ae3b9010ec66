/* SMTP in front of the model: enough of a server for a relay that behaves. */
#include "bench/world_model/serve.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/world_model/moments.h"
#include "lib/net/conn.h"
#include "lib/net/listener.h"
#include "lib/smtp/command.h"

enum { RECIPIENTS_MOST = 100, LINE_MOST = 2048, TICK_MS = 20 };

/* A message that a receiver took. */
struct named {
    int tenant;
    uint32_t number;
};

/* A late bounce or a complaint that will be told. */
struct letter {
    struct named about;
    char *return_path;
};

struct server {
    const struct scenario *s;
    struct serve_options options;
    struct loop *loop;
    struct model *model;
    struct timeline later; /* complaints and late bounces: a = letter, b = source, c = receiver */
    struct letter *letters;
    uint32_t n_letters, cap_letters;
    uint64_t began_ms, hour;
    uint32_t attempts;
    struct loop_timer timer;
};

struct door { /* a receiver's listener */
    struct server *server;
    int provider;
    struct listener *listener;
    struct acceptor *acceptor;
};

struct guest { /* a connection */
    struct server *server;
    int provider, source;
    bool in_mail, in_data;
    char return_path[SMTP_PATH_MOST];
    struct named taken[RECIPIENTS_MOST];
    int n;
};

static uint64_t now_ms(struct server *v)
{
    return v->options.start_ms + (loop_now_ms(v->loop) - v->began_ms) * v->options.factor;
}

static struct attempt attempt_of(struct guest *g, struct named about)
{
    uint64_t now = now_ms(g->server);
    return (struct attempt){.source = g->source,
                            .tenant = about.tenant,
                            .provider = g->provider,
                            .number = about.number,
                            .attempt = g->server->attempts,
                            .sent_ms = now,
                            .now_ms = now};
}

/* ---- what is told ---- */

/* return_path: of the message, where something comes back about it; else NULL. */
static void tell(struct server *v, const char *what, const struct attempt *a, const char *return_path)
{
    printf("{\"at_ms\":%" PRIu64 ",\"what\":\"%s\",\"source\":\"%s\",\"receiver\":\"%s\",\"tenant\":\"%s\","
           "\"number\":%" PRIu32,
           now_ms(v), what, v->s->sources[a->source].name, v->s->receivers[a->provider].name,
           v->s->tenants[a->tenant].name, a->number);
    if (return_path)
        printf(",\"return_path\":\"%s\"", return_path);
    printf("}\n");
    fflush(stdout);
}

/* What a sender's configuration needs to know. */
static void tell_ready(const struct scenario *s)
{
    printf("{\"what\":\"ready\",\"sources\":[");
    for (int i = 0; i < s->n_sources; i++)
        printf("%s{\"name\":\"%s\",\"weight\":%u,\"quarantine\":%s}", i ? "," : "", s->sources[i].name,
               s->sources[i].weight, s->sources[i].quarantine ? "true" : "false");
    printf("],\"receivers\":[");
    for (int i = 0; i < s->n_receivers; i++)
        printf("%s{\"name\":\"%s\",\"domain\":\"%s\",\"connections\":%u,\"tells_complaints\":%s}",
               i ? "," : "", s->receivers[i].name, s->receivers[i].domain,
               s->receivers[i].published_connections, s->receivers[i].tells_complaints ? "true" : "false");
    printf("],\"tenants\":[");
    for (int i = 0; i < s->n_tenants; i++)
        printf("%s\"%s\"", i ? "," : "", s->tenants[i].name);
    printf("]}\n");
    fflush(stdout);
}

static uint32_t letter_add(struct server *v, struct named about, const char *return_path)
{
    if (v->n_letters == v->cap_letters) {
        v->cap_letters = v->cap_letters ? 2 * v->cap_letters : 64;
        v->letters = realloc(v->letters, v->cap_letters * sizeof(*v->letters));
        ENSURE(v->letters);
    }
    v->letters[v->n_letters] = (struct letter){about, strdup(return_path)};
    ENSURE(v->letters[v->n_letters].return_path);
    return v->n_letters++;
}

static void follow(struct guest *g, struct named about)
{
    struct attempt a = attempt_of(g, about);
    struct nature n = model_nature(g->server->s, &a);
    struct moment e = {.b = (uint16_t)g->source, .c = (uint8_t)g->provider};
    if (n.bad_mailbox ? !n.bounces_late : !n.complains)
        return;
    e.a = letter_add(g->server, about, g->return_path);
    e.kind = n.bad_mailbox ? MOMENT_LATE : MOMENT_COMPLAINT;
    e.at_ms = a.now_ms + (n.bad_mailbox ? n.late_lag_ms : n.complaint_lag_ms);
    timeline_add(&g->server->later, e);
    tell(g->server, n.bad_mailbox ? "bounces-later" : "complains-later", &a, NULL);
}

static void come_back(struct server *v, const struct moment *e)
{
    const struct letter *l = &v->letters[e->a];
    struct attempt a = {
        .source = e->b, .provider = e->c, .tenant = l->about.tenant, .number = l->about.number};
    if (e->kind == MOMENT_COMPLAINT)
        model_complain(v->model, a.source, a.tenant, a.provider);
    tell(v, e->kind == MOMENT_COMPLAINT ? "complaint" : "late-bounce", &a, l->return_path);
}

static void pass_time(struct loop_timer *t)
{
    struct server *v = CONTAINER_OF(t, struct server, timer);
    uint64_t now = now_ms(v);
    for (; v->hour < now / HOUR_MS; model_hour(v->model, v->hour * HOUR_MS))
        v->hour++;
    while (v->later.n && v->later.heap[0].at_ms <= now) {
        struct moment e;
        timeline_next(&v->later, &e);
        come_back(v, &e);
    }
    loop_timer_start(t, TICK_MS);
}

/* ---- a session ---- */

static void say(struct conn *c, const char *line)
{
    conn_write(c, span_str(line));
    conn_write(c, SPAN_LIT("\r\n"));
}

/* <tenant>-<number> */
static bool named_of(const struct scenario *s, struct span local, struct named *out)
{
    uint64_t number;
    for (int i = 0; i < s->n_tenants; i++) {
        size_t n = strlen(s->tenants[i].name);
        if (local.len > n + 1 && span_ieq(span_of(local.ptr, n), span_str(s->tenants[i].name)) &&
            local.ptr[n] == '-' && span_u64(span_of(local.ptr + n + 1, local.len - n - 1), &number)) {
            *out = (struct named){i, (uint32_t)number};
            return true;
        }
    }
    return false;
}

static void on_mail(struct guest *g, struct conn *c, struct span args)
{
    struct arena arena = ARENA_INIT;
    struct smtp_mail mail;
    g->n = 0;
    /* Not quoted, so that it can be told as it is. */
    g->in_mail = smtp_mail_parse(&arena, args, 0, &mail) == SMTP_FAULT_NONE && !mail.address.quoted;
    if (g->in_mail)
        snprintf(g->return_path, sizeof(g->return_path), "%.*s", SPAN_FMT(mail.path));
    say(c, g->in_mail ? "250 2.1.0 Ok" : "501 5.1.7 no return path of this scenario");
    arena_fini(&arena);
}

static void answer(struct guest *g, struct conn *c, struct named about)
{
    char text[REPLY_MOST];
    struct attempt a = attempt_of(g, about);
    enum saying said = model_answer(g->server->model, &a);
    g->server->attempts++;
    tell(g->server, said == SAY_NETWORK ? "network" : saying_words[said], &a, NULL);
    model_text(g->server->model, &a, said, text);
    if (said == SAY_ACCEPTED && g->n < RECIPIENTS_MOST) {
        g->taken[g->n++] = about;
        say(c, "250 2.1.5 Ok");
    } else if (said == SAY_NETWORK) {
        conn_close(c);
    } else {
        say(c, said == SAY_ACCEPTED ? "452 4.5.3 Too many recipients" : text);
    }
}

static void on_rcpt(struct guest *g, struct conn *c, struct span args)
{
    struct arena arena = ARENA_INIT;
    struct smtp_rcpt rcpt;
    struct named about;
    if (!g->in_mail)
        say(c, "503 5.5.1 MAIL first");
    else if (smtp_rcpt_parse(args, 0, &rcpt) != SMTP_FAULT_NONE ||
             !named_of(g->server->s, rcpt.address.local, &about))
        say(c, "550 5.1.1 no message of this scenario");
    else
        answer(g, c, about);
    arena_fini(&arena);
}

static void end_text(struct guest *g, struct conn *c)
{
    for (int i = 0; i < g->n; i++)
        follow(g, g->taken[i]);
    g->in_mail = false;
    g->in_data = false;
    g->n = 0;
    say(c, g->server->s->receivers[g->provider].texts[SAY_ACCEPTED]);
}

static void on_line(struct guest *g, struct conn *c, struct span line)
{
    struct smtp_command cmd;
    if (g->in_data) {
        if (span_eq(line, SPAN_LIT(".")))
            end_text(g, c);
        return;
    }
    smtp_command_parse(line, &cmd);
    switch (cmd.verb) {
    case SMTP_VERB_EHLO:
    case SMTP_VERB_HELO:
        say(c, "250-receiver.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES");
        break;
    case SMTP_VERB_MAIL:
        on_mail(g, c, cmd.args);
        break;
    case SMTP_VERB_RCPT:
        on_rcpt(g, c, cmd.args);
        break;
    case SMTP_VERB_DATA:
        g->in_data = g->n > 0;
        say(c, g->n ? "354 End data with <CR><LF>.<CR><LF>" : "554 5.5.1 No valid recipients");
        break;
    case SMTP_VERB_RSET:
    case SMTP_VERB_NOOP:
        g->n = 0;
        say(c, "250 2.0.0 Ok");
        break;
    case SMTP_VERB_QUIT:
        say(c, "221 2.0.0 Bye");
        conn_finish(c);
        break;
    default:
        say(c, "502 5.5.2 not known here");
        break;
    }
}

static size_t on_read(struct conn *c, void *arg, struct span in)
{
    size_t used = 0;
    while (used < in.len && !conn_ended(c)) {
        const char *end = memchr(in.ptr + used, '\n', in.len - used);
        if (!end)
            break;
        size_t n = (size_t)(end - in.ptr) - used;
        struct span line = span_of(in.ptr + used, n && end[-1] == '\r' ? n - 1 : n);
        used += n + 1;
        on_line(arg, c, line);
    }
    return used;
}

static void on_end(struct conn *c, void *arg, enum conn_end why)
{
    struct guest *g = arg;
    (void)c;
    (void)why;
    model_closed(g->server->model, g->source, g->provider);
    free(g);
}

static const struct conn_ops ops = {.on_read = on_read, .on_end = on_end};

static void on_accept(void *arg, struct conn *c)
{
    struct door *d = arg;
    int source = conn_remote(c)->ip[15] - 1;
    struct guest *g = source < d->server->s->n_sources ? calloc(1, sizeof(*g)) : NULL;
    if (source < 0 || !g) {
        conn_close(c);
        return;
    }
    *g = (struct guest){.server = d->server, .provider = d->provider, .source = source};
    model_opened(d->server->model, source, d->provider);
    conn_ops_set(c, &ops, g);
    say(c, "220 receiver.test ESMTP");
}

/* ---- life ---- */

static void on_signal(void *arg, int signo)
{
    struct server *v = arg;
    (void)signo;
    loop_stop(v->loop);
}

static bool open_doors(struct server *v, struct door *doors, struct buf *error)
{
    for (int i = 0; i < v->s->n_receivers; i++) {
        char text[ADDR_TEXT];
        struct addr at;
        doors[i] = (struct door){.server = v, .provider = i};
        snprintf(text, sizeof(text), "%s.%d:%u", v->options.net, i + 1, v->options.port);
        if (!addr_parse_port(span_str(text), 0, &at)) {
            buf_printf(error, "%s is no address\n", text);
            return false;
        }
        if (listener_open(&at, &doors[i].listener, error) ||
            acceptor_new(v->loop, doors[i].listener, on_accept, &doors[i], &doors[i].acceptor))
            return false;
    }
    return true;
}

static void close_doors(struct door *doors, int n)
{
    for (int i = 0; i < n; i++) {
        if (doors[i].acceptor)
            acceptor_free(doors[i].acceptor);
        if (doors[i].listener)
            listener_free(doors[i].listener);
    }
}

bool serve(const struct scenario *s, const struct serve_options *o, struct buf *error)
{
    struct server v = {.s = s, .options = *o, .model = model_new(s), .hour = o->start_ms / HOUR_MS};
    struct door doors[WORLD_PROVIDERS_MOST] = {{0}};
    struct loop_signal *ends[2] = {NULL};
    bool good = loop_new("serve", &v.loop) == RM_OK;
    if (good)
        good = loop_signal_new(v.loop, SIGTERM, on_signal, &v, &ends[0]) == RM_OK &&
               loop_signal_new(v.loop, SIGINT, on_signal, &v, &ends[1]) == RM_OK &&
               open_doors(&v, doors, error);
    if (good) {
        v.began_ms = loop_now_ms(v.loop);
        loop_timer_init(&v.timer, v.loop, pass_time);
        loop_timer_start(&v.timer, TICK_MS);
        tell_ready(s);
        loop_run(v.loop);
        loop_timer_stop(&v.timer);
    }
    close_doors(doors, s->n_receivers);
    for (int i = 0; i < 2; i++)
        if (ends[i])
            loop_signal_free(ends[i]);
    if (v.loop)
        loop_free(v.loop);
    timeline_fini(&v.later);
    for (uint32_t i = 0; i < v.n_letters; i++)
        free(v.letters[i].return_path);
    free(v.letters);
    model_free(v.model);
    return good;
}
