/*
 * Senders that cost little, for measuring a node that does nothing but accept: S connections in one thread,
 * each sends its messages one after another, MAIL, RCPT and DATA of the next in one write with the end of the
 * one before (RFC 2920), and nothing is built anew. Ends when the last one is answered.
 *
 *   bench_flood PORT SESSIONS MESSAGES BYTES [DOMAINS]
 *
 * The recipients of a session are in one of so many domains, d0.bench.test and on, in turn. Prints the
 * seconds that took. Exit code 1: an answer that was not wanted, which is printed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"

enum { SESSIONS_MOST = 1000, DOMAINS_MOST = 64, EVENTS = 64, LINE = 76 };

/* What is waited for, in this order; after END comes MAIL again. */
enum step { GREETING, HELLO, MAIL, RCPT, DATA, END };

static const char *const wanted[] = {
    [GREETING] = "220", [HELLO] = "250", [MAIL] = "250", [RCPT] = "250", [DATA] = "354", [END] = "250"};

struct session {
    int fd;
    enum step step;
    int domain;
    struct span out; /* still to be written */
    bool held;       /* waits until it can be */
    char line[512];
    size_t line_len;
};

struct flood {
    int epoll;
    struct session sessions[SESSIONS_MOST];
    int domains;
    struct buf hello, body;
    struct buf envelope[DOMAINS_MOST], body_and_envelope[DOMAINS_MOST];
    uint64_t to_begin, to_end;
};

static void die(const char *what)
{
    fprintf(stderr, "bench_flood: %s\n", what);
    exit(1);
}

static void build(struct flood *f, uint64_t bytes)
{
    buf_add_str(&f->hello, "EHLO bench.test\r\n");
    buf_add_str(&f->body, "From: s@bench.test\r\nTo: r@bench.test\r\nSubject: bench\r\n\r\n");
    while (f->body.len < bytes) {
        for (int i = 0; i < LINE; i++)
            buf_add_char(&f->body, 'x');
        buf_add_str(&f->body, "\r\n");
    }
    buf_add_str(&f->body, ".\r\n");
    for (int i = 0; i < f->domains; i++) {
        struct buf *envelope = &f->envelope[i], *both = &f->body_and_envelope[i];
        buf_printf(envelope, "MAIL FROM:<s@bench.test>\r\nRCPT TO:<r@d%d.bench.test>\r\nDATA\r\n", i);
        buf_add_span(both, buf_span(&f->body));
        buf_add_span(both, buf_span(envelope));
    }
}

static void watch(struct flood *f, struct session *s, int how)
{
    struct epoll_event e = {.events = EPOLLIN | (s->held ? EPOLLOUT : 0), .data.ptr = s};
    if (epoll_ctl(f->epoll, how, s->fd, &e) != 0)
        die("epoll_ctl");
}

static void write_on(struct flood *f, struct session *s)
{
    ssize_t n = send(s->fd, s->out.ptr, s->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN)
        die(strerror(errno));
    if (n > 0)
        s->out = (struct span){s->out.ptr + n, s->out.len - (size_t)n};
    if (s->held == (s->out.len > 0))
        return;
    s->held = s->out.len > 0;
    watch(f, s, EPOLL_CTL_MOD);
}

static void say(struct flood *f, struct session *s, struct buf *what)
{
    s->out = buf_span(what);
    write_on(f, s);
}

static void begin_message(struct flood *f, struct session *s)
{
    s->step = MAIL;
    f->to_begin--;
    say(f, s, &f->envelope[s->domain]);
}

static void send_body(struct flood *f, struct session *s)
{
    bool more = f->to_begin > 0;
    f->to_begin -= more;
    s->step = END;
    say(f, s, more ? &f->body_and_envelope[s->domain] : &f->body);
}

static void answered(struct flood *f, struct session *s)
{
    if (strncmp(s->line, wanted[s->step], 3) != 0)
        die(s->line);
    if (s->line[3] == '-')
        return;
    switch (s->step) {
    case GREETING:
        s->step = HELLO;
        say(f, s, &f->hello);
        break;
    case HELLO:
        if (f->to_begin)
            begin_message(f, s);
        break;
    case DATA:
        send_body(f, s);
        break;
    case END:
        f->to_end--;
        s->step = MAIL; /* if it had one more to begin */
        break;
    default:
        s->step++;
    }
}

static void read_on(struct flood *f, struct session *s)
{
    char in[4096];
    ssize_t n = recv(s->fd, in, sizeof(in), MSG_DONTWAIT);
    if (n == 0)
        die("the other side has closed");
    for (ssize_t i = 0; i < n; i++) {
        if (s->line_len + 1 < sizeof(s->line))
            s->line[s->line_len++] = in[i];
        if (in[i] != '\n')
            continue;
        s->line[s->line_len] = '\0';
        s->line_len = 0;
        answered(f, s);
    }
}

static void open_session(struct flood *f, struct session *s, int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (s->fd < 0 || connect(s->fd, (struct sockaddr *)&to, sizeof(to)) != 0)
        die(strerror(errno));
    (void)setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    watch(f, s, EPOLL_CTL_ADD);
}

int main(int argc, char **argv)
{
    static struct flood f;
    if (argc != 5 && argc != 6)
        die("usage: bench_flood PORT SESSIONS MESSAGES BYTES [DOMAINS]");
    int sessions = atoi(argv[2]);
    f.to_begin = f.to_end = strtoull(argv[3], NULL, 10);
    f.domains = argc == 6 ? atoi(argv[5]) : 1;
    f.epoll = epoll_create1(0);
    if (sessions < 1 || sessions > SESSIONS_MOST || f.domains < 1 || f.domains > DOMAINS_MOST || f.epoll < 0)
        die("1 to 1000 sessions, 1 to 64 domains");
    build(&f, strtoull(argv[4], NULL, 10));
    uint64_t began = clock_boot_us();
    for (int i = 0; i < sessions; i++) {
        f.sessions[i].domain = i % f.domains;
        open_session(&f, &f.sessions[i], atoi(argv[1]));
    }
    while (f.to_end) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(f.epoll, events, EVENTS, 30000);
        if (n == 0)
            die("nothing for 30 s");
        for (int i = 0; i < n; i++) {
            struct session *s = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                write_on(&f, s);
            if (events[i].events & ~(uint32_t)EPOLLOUT)
                read_on(&f, s);
        }
    }
    printf("%.6f\n", (double)(clock_boot_us() - began) / 1e6);
    return 0;
}
