/* Listening sockets and their acceptors: who takes a new connection, and to which loop it goes. What is said
 * over it is the consumer's. */
#include "lib/net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/net/conn_private.h"

enum { BACKLOG = 4096, ACCEPTORS_MOST = 64, ACCEPT_ROUNDS = 16, STARVED_MS = 100, FD_FIRST = 3 };

struct listener {
    _Atomic int refs; /* the owner and hand-overs under way */
    int fd;
    struct addr address;
    _Atomic uint64_t accepted, starved;
    pthread_mutex_t lock; /* of the two below; taken for a new connection */
    struct acceptor *acceptors[ACCEPTORS_MOST];
    int n;
};

struct acceptor {
    struct loop_io io;
    struct loop_part part;
    struct loop *loop;
    struct listener *listener;
    acceptor_cb fn;
    void *arg;
    struct loop_timer timer; /* until descriptors may be free again */
    bool watching, starved;
    atomic_bool paused;
};

/* A connection on its way to another loop. */
struct handover {
    struct loop_msg msg;
    struct listener *listener;
    struct addr remote;
    int fd;
};

static void listener_unref(struct listener *ln)
{
    if (atomic_fetch_sub(&ln->refs, 1) != 1)
        return;
    pthread_mutex_destroy(&ln->lock);
    free(ln);
}

/* ---- opening --------------------------------------------------------------------------------- */

static struct listener *make(int fd)
{
    struct listener *ln = calloc(1, sizeof(*ln));
    ENSURE(ln);
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    int on = 1;
    atomic_init(&ln->refs, 1);
    pthread_mutex_init(&ln->lock, NULL);
    ln->fd = fd;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* accepted sockets inherit it */
    if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0)
        addr_of_sockaddr((struct sockaddr *)&ss, &ln->address);
    return ln;
}

/* The descriptor from systemd that listens on address; -1 when there is none. A taken one is recognised by
 * its close-on-exec flag, which systemd leaves clear. */
static int take_passed(const struct addr *address)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    if (!pid || !fds || atol(pid) != (long)getpid())
        return -1;
    for (int fd = FD_FIRST; fd < FD_FIRST + atoi(fds); fd++) {
        struct sockaddr_storage ss;
        socklen_t len = sizeof(ss);
        struct addr bound;
        int flags = fcntl(fd, F_GETFD);
        if (flags < 0 || (flags & FD_CLOEXEC) || getsockname(fd, (struct sockaddr *)&ss, &len) != 0)
            continue;
        if (addr_of_sockaddr((struct sockaddr *)&ss, &bound) && addr_eq(&bound, address))
            return fd;
    }
    return -1;
}

static int open_socket(const struct addr *address)
{
    struct sockaddr_storage ss;
    socklen_t len = addr_to_sockaddr(address, &ss);
    int on = 1;
    int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (ss.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&ss, len) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int err = errno;
    close(fd);
    errno = err;
    return -1;
}

int listener_open(const struct addr *address, struct listener **out, struct buf *error)
{
    *out = NULL;
    int fd = take_passed(address);
    if (fd < 0)
        fd = open_socket(address);
    if (fd < 0) {
        char text[ADDR_TEXT];
        buf_printf(error, "can't listen on %s: %m", addr_text_port(address, text));
        return RM_EIO;
    }
    *out = make(fd);
    return RM_OK;
}

const struct addr *listener_address(const struct listener *ln)
{
    return &ln->address;
}

void listener_free(struct listener *ln)
{
    if (!ln)
        return;
    ENSURE(ln->n == 0);
    close(ln->fd);
    listener_unref(ln);
}

uint64_t listener_accepted_total(const struct listener *ln)
{
    return atomic_load_explicit(&ln->accepted, memory_order_relaxed);
}

uint64_t listener_starved_total(const struct listener *ln)
{
    return atomic_load_explicit(&ln->starved, memory_order_relaxed);
}

/* ---- accepting ------------------------------------------------------------------------------- */

static void deliver(struct acceptor *a, int fd, const struct addr *remote)
{
    a->fn(a->arg, conn_accepted(a->loop, fd, remote));
}

static void forget(struct loop *l, int fd)
{
    atomic_fetch_sub_explicit(&l->inbound, 1, memory_order_relaxed);
    close(fd);
}

/* On the loop that was chosen. Its acceptor may be gone meanwhile. */
static void on_handover(struct loop *l, struct loop_msg *msg)
{
    struct handover *h = CONTAINER_OF(msg, struct handover, msg);
    struct listener *ln = h->listener;
    struct acceptor *mine = NULL;
    pthread_mutex_lock(&ln->lock);
    for (int i = 0; i < ln->n; i++) {
        if (ln->acceptors[i]->loop == l)
            mine = ln->acceptors[i];
    }
    pthread_mutex_unlock(&ln->lock);
    if (mine)
        deliver(mine, h->fd, &h->remote);
    else
        forget(l, h->fd);
    listener_unref(ln);
    free(h);
}

static int load(const struct loop *l)
{
    return atomic_load_explicit(&l->inbound, memory_order_relaxed);
}

/* Under the lock: the acceptor with the fewest connections, when it has clearly fewer than ours. */
static struct acceptor *choose(struct acceptor *self)
{
    struct listener *ln = self->listener;
    struct acceptor *best = self;
    for (int i = 0; i < ln->n; i++) {
        struct acceptor *a = ln->acceptors[i];
        if (load(a->loop) < load(best->loop) && !atomic_load_explicit(&a->paused, memory_order_relaxed))
            best = a;
    }
    int mine = load(self->loop);
    return mine > load(best->loop) + mine / 16 ? best : self;
}

static void route(struct acceptor *self, int fd, const struct addr *remote)
{
    struct listener *ln = self->listener;
    atomic_fetch_add_explicit(&ln->accepted, 1, memory_order_relaxed);
    pthread_mutex_lock(&ln->lock);
    struct acceptor *to = choose(self);
    atomic_fetch_add_explicit(&to->loop->inbound, 1, memory_order_relaxed);
    if (to != self) {
        struct handover *h = malloc(sizeof(*h));
        ENSURE(h);
        *h = (struct handover){.msg.run = on_handover, .listener = ln, .remote = *remote, .fd = fd};
        atomic_fetch_add(&ln->refs, 1);
        if (!loop_post(to->loop, &h->msg)) {
            atomic_fetch_sub(&ln->refs, 1);
            forget(to->loop, fd);
            free(h);
        }
    }
    pthread_mutex_unlock(&ln->lock);
    if (to == self)
        deliver(self, fd, remote);
}

/* Watches the socket, or not, as pauses and starvation ask. */
static void update(struct acceptor *a)
{
    bool want = !atomic_load_explicit(&a->paused, memory_order_relaxed) && !a->starved;
    if (want == a->watching)
        return;
    a->watching = want;
    if (want)
        ENSURE(loop_io_add(a->loop, &a->io, EPOLLIN) == RM_OK);
    else
        loop_io_remove(a->loop, &a->io);
}

static void on_fed(struct loop_timer *t)
{
    struct acceptor *a = CONTAINER_OF(t, struct acceptor, timer);
    a->starved = false;
    update(a);
}

static void on_acceptable(struct loop_io *io, unsigned events)
{
    struct acceptor *a = CONTAINER_OF(io, struct acceptor, io);
    (void)events;
    for (int i = 0; i < ACCEPT_ROUNDS && a->watching; i++) {
        struct sockaddr_storage ss;
        socklen_t len = sizeof(ss);
        struct addr remote;
        int fd = accept4(a->io.fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            addr_of_sockaddr((struct sockaddr *)&ss, &remote);
            route(a, fd, &remote);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            a->starved = true;
            atomic_fetch_add_explicit(&a->listener->starved, 1, memory_order_relaxed);
            loop_timer_start(&a->timer, STARVED_MS);
            update(a);
        }
        if (errno != ECONNABORTED && errno != EINTR)
            return;
    }
}

/* ---- acceptors ------------------------------------------------------------------------------- */

static void acceptor_stop(struct loop_part *part)
{
    acceptor_pause(CONTAINER_OF(part, struct acceptor, part));
}

int acceptor_new(struct loop *l, struct listener *ln, acceptor_cb fn, void *arg, struct acceptor **out)
{
    *out = NULL;
    struct acceptor *a = calloc(1, sizeof(*a));
    ENSURE(a);
    /* Its own descriptor: two loops may not watch one number differently, and each closes its own. */
    *a = (struct acceptor){.loop = l, .listener = ln, .fn = fn, .arg = arg};
    a->io = (struct loop_io){.fd = fcntl(ln->fd, F_DUPFD_CLOEXEC, 0), .ready = on_acceptable};
    if (a->io.fd < 0) {
        free(a);
        return RM_EIO;
    }
    a->part.stop = acceptor_stop;
    loop_timer_init(&a->timer, l, on_fed);
    loop_part_add(l, &a->part);
    pthread_mutex_lock(&ln->lock);
    ENSURE(ln->n < ACCEPTORS_MOST);
    ln->acceptors[ln->n++] = a;
    pthread_mutex_unlock(&ln->lock);
    update(a);
    *out = a;
    return RM_OK;
}

void acceptor_pause(struct acceptor *a)
{
    atomic_store(&a->paused, true);
    update(a);
}

void acceptor_resume(struct acceptor *a)
{
    if (a->loop->stopping)
        return;
    atomic_store(&a->paused, false);
    update(a);
}

void acceptor_free(struct acceptor *a)
{
    if (!a)
        return;
    struct listener *ln = a->listener;
    acceptor_pause(a);
    loop_timer_stop(&a->timer);
    pthread_mutex_lock(&ln->lock);
    for (int i = 0; i < ln->n; i++) {
        if (ln->acceptors[i] == a)
            ln->acceptors[i--] = ln->acceptors[--ln->n];
    }
    pthread_mutex_unlock(&ln->lock);
    list_remove(&a->part.link);
    close(a->io.fd);
    free(a);
}
