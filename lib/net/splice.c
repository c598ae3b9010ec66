/* Bytes from one connection into the other; the only memory is the queue of the one that is slow. */
#include "lib/net/splice.h"

#include <stdlib.h>

enum { QUEUE_MOST = 256 * 1024, QUEUE_LOW = 64 * 1024 };

enum { NEAR, FAR };

struct side {
    struct splice *splice;
    struct conn *conn; /* NULL: it has ended */
    uint64_t bytes;    /* that came from it */
};

struct splice {
    struct side sides[2];
    struct loop_timer idle;
    struct splice_options options;
    enum splice_end why;
};

const char *splice_end_name(enum splice_end why)
{
    static const char *const names[] = {[SPLICE_CLOSED] = "closed",
                                        [SPLICE_BROKE] = "broken",
                                        [SPLICE_IDLE] = "idle for too long",
                                        [SPLICE_CUT] = "cut"};
    return names[why];
}

static struct side *other(const struct side *from)
{
    struct splice *s = from->splice;
    return &s->sides[from == &s->sides[NEAR] ? FAR : NEAR];
}

static void stay(struct splice *s)
{
    if (s->options.idle_ms)
        loop_timer_start(&s->idle, s->options.idle_ms);
}

static size_t on_read(struct conn *c, void *arg, struct span in)
{
    struct side *from = arg, *to = other(from);
    if (!to->conn)
        return in.len;
    stay(from->splice);
    from->bytes += in.len;
    conn_write(to->conn, in);
    if (conn_pending_bytes(to->conn) > QUEUE_MOST) {
        conn_read_pause(c);
        conn_drain_notify(to->conn, QUEUE_LOW);
    }
    return in.len;
}

static void on_drain(struct conn *c, void *arg)
{
    struct side *from = other(arg);
    (void)c;
    if (from->conn)
        conn_read_resume(from->conn);
}

static void on_eof(struct conn *c, void *arg)
{
    struct side *to = other(arg);
    (void)c;
    if (to->conn)
        conn_shutdown(to->conn);
}

static void end_splice(struct splice *s)
{
    struct splice_totals totals = {.forth = s->sides[NEAR].bytes, .back = s->sides[FAR].bytes};
    loop_timer_stop(&s->idle);
    s->options.gone(s->options.arg, s->why, &totals);
    free(s);
}

static void on_end(struct conn *c, void *arg, enum conn_end why)
{
    struct side *from = arg, *to = other(from);
    (void)c;
    from->conn = NULL;
    if (why != CONN_END_CLOSED && from->splice->why == SPLICE_CLOSED)
        from->splice->why = SPLICE_BROKE;
    if (to->conn)
        conn_finish(to->conn);
    else
        end_splice(from->splice);
}

static void idle_too_long(struct loop_timer *t)
{
    struct splice *s = CONTAINER_OF(t, struct splice, idle);
    s->why = SPLICE_IDLE;
    for (int i = 0; i < 2; i++)
        if (s->sides[i].conn)
            conn_close(s->sides[i].conn);
}

void splice_cut(struct splice *s)
{
    s->why = SPLICE_CUT;
    for (int i = 0; i < 2; i++)
        if (s->sides[i].conn)
            conn_close(s->sides[i].conn);
}

static const struct conn_ops half_ops = {
    .on_read = on_read, .on_eof = on_eof, .on_drain = on_drain, .on_end = on_end};
static const struct conn_ops whole_ops = {.on_read = on_read, .on_drain = on_drain, .on_end = on_end};

struct splice *splice_new(struct conn *near, struct conn *far, const struct splice_options *options)
{
    struct splice *s = calloc(1, sizeof(*s));
    ENSURE(s);
    s->options = *options;
    s->sides[NEAR] = (struct side){.splice = s, .conn = near};
    s->sides[FAR] = (struct side){.splice = s, .conn = far};
    loop_timer_init(&s->idle, conn_loop(near), idle_too_long);
    stay(s);
    for (int i = 0; i < 2; i++) {
        conn_deadline(s->sides[i].conn, 0);
        conn_ops_set(s->sides[i].conn, options->half_close ? &half_ops : &whole_ops, &s->sides[i]);
        conn_read_resume(s->sides[i].conn);
    }
    return s;
}
