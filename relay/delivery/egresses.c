/* Probes: a connection, the LOCAL header, the answer. What follows from a dead egress is dispatch.c's. */
#include "relay/delivery/egresses.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/net/conn.h"
#include "relay/delivery/through.h"
#include "relay/metrics_table.h"

enum { EVERY_MS = 5000, FIRST_MS = 100, BACK_MS = 1000, BACK_MOST_MS = 15000 };

/* Outlives its egress until its connection has ended. */
struct probe {
    struct egress_health *health; /* NULL: nobody wants to know any more */
    struct settings *settings;
    struct through through;
    struct conn *conn;
    bool there;
};

struct egress_health {
    struct egresses *all;
    int index;
    const struct settings_egress *conf;
    bool down;
    uint64_t wait_ms; /* until the next probe, while down */
    struct loop_timer timer;
    struct probe *probe;
    char trouble[sizeof(((struct through *)0)->trouble)]; /* logged last */
};

struct egresses {
    struct shard *shard;
    struct settings *settings;
    egresses_cb changed;
    void *arg;
    int n, n_down;
    struct egress_health health[];
};

/* ---- verdicts ---- */

static void set_gauge(const struct egress_health *h)
{
    const char *labels[] = {h->conf->name};
    metric_set(metrics_cell(h->all->shard->node->metrics, M_EGRESS_UP, labels), !h->down);
}

static void log_trouble(struct egress_health *h, const char *trouble)
{
    snprintf(h->trouble, sizeof(h->trouble), "%s", trouble);
    logger_log(h->all->shard->node->logger, LOG_ERROR, "egress.down", LF_STR("egress", h->conf->name),
               LF_STR("address", h->conf->address), LF_NUM("shard", h->all->shard->number),
               LF_STR("trouble", trouble), LF_STR("what", "its sources are left out until it answers"));
}

static void went_down(struct egress_health *h, const char *trouble)
{
    const char *labels[] = {h->conf->name};
    h->down = true;
    h->wait_ms = BACK_MS;
    h->all->n_down++;
    set_gauge(h);
    metric_add(metrics_cell(h->all->shard->node->metrics, M_EGRESS_FAILURES, labels), 1);
    log_trouble(h, trouble);
    h->all->changed(h->all->arg, h->index, false);
}

static void came_back(struct egress_health *h)
{
    h->down = false;
    h->all->n_down--;
    set_gauge(h);
    logger_log(h->all->shard->node->logger, LOG_INFO, "egress.up", LF_STR("egress", h->conf->name),
               LF_NUM("shard", h->all->shard->number));
    h->all->changed(h->all->arg, h->index, true);
}

static void failed(struct egress_health *h, const char *trouble)
{
    if (!h->down) {
        went_down(h, trouble);
    } else {
        if (strcmp(h->trouble, trouble) != 0)
            log_trouble(h, trouble); /* it is another one now */
        h->wait_ms = 2 * h->wait_ms < BACK_MOST_MS ? 2 * h->wait_ms : BACK_MOST_MS;
    }
    loop_timer_start(&h->timer, h->wait_ms);
}

/* ---- the probe ---- */

static void there(struct probe *p)
{
    p->there = true;
    conn_close(p->conn);
}

static void on_connect(struct conn *c, void *arg)
{
    struct probe *p = arg;
    struct buf header = BUF_INIT;
    bool done = through_hello(&p->through, clock_wall_ms(), &header);
    conn_write(c, span_of(header.data, header.len));
    buf_fini(&header);
    conn_deadline(c, THROUGH_ACCEPT_MS);
    if (done)
        there(p);
}

static size_t on_read(struct conn *c, void *arg, struct span in)
{
    struct probe *p = arg;
    size_t used;
    enum through_step step = through_input(&p->through, in, &used);
    if (step == THROUGH_THERE)
        there(p);
    else if (step == THROUGH_FAILED)
        conn_close(c);
    return used;
}

static void on_end(struct conn *c, void *arg, enum conn_end why)
{
    struct probe *p = arg;
    struct egress_health *h = p->health;
    if (through_waits(&p->through))
        through_lost(&p->through, conn_end_text(c));
    if (h && why != CONN_END_STOP) {
        h->probe = NULL;
        if (!p->there)
            failed(h, p->through.trouble);
        else if (h->down)
            came_back(h);
        if (p->there)
            loop_timer_start(&h->timer, EVERY_MS);
    } else if (h) {
        h->probe = NULL;
    }
    settings_unref(p->settings);
    free(p);
}

static const struct conn_ops ops = {.on_connect = on_connect, .on_read = on_read, .on_end = on_end};

static void begin_probe(struct loop_timer *t)
{
    struct egress_health *h = CONTAINER_OF(t, struct egress_health, timer);
    struct conn_connect_options o = {0};
    if (h->probe)
        return;
    struct probe *p = calloc(1, sizeof(*p));
    ENSURE(p);
    p->health = h;
    p->settings = settings_ref(h->all->settings);
    through_begin(&p->through, h->conf, NULL, NULL, &o);
    h->probe = p;
    p->conn = conn_connect(h->all->shard->loop, &o, &ops, p);
}

/* ---- all of them ---- */

bool egresses_is_down(const struct egresses *e, int egress)
{
    return egress >= 0 && egress < e->n && e->health[egress].down;
}

int egresses_n_down(const struct egresses *e)
{
    return e->n_down;
}

void egresses_broke(struct egresses *e, int egress, const char *trouble)
{
    if (egress < 0 || egress >= e->n || e->health[egress].down)
        return;
    failed(&e->health[egress], trouble);
}

static bool was_down(const struct egresses *before, const char *name)
{
    for (int i = 0; before && i < before->n; i++)
        if (strcmp(before->health[i].conf->name, name) == 0)
            return before->health[i].down;
    return false;
}

struct egresses *egresses_new(struct shard *shard, struct egresses *before, egresses_cb changed, void *arg)
{
    struct settings *s = shard->settings;
    bool sends = settings_has_role(s, "delivery");
    struct egresses *e = calloc(1, sizeof(*e) + (size_t)s->n_egresses * sizeof(e->health[0]));
    ENSURE(e);
    *e = (struct egresses){
        .shard = shard, .settings = settings_ref(s), .changed = changed, .arg = arg, .n = s->n_egresses};
    for (int i = 0; i < e->n; i++) {
        struct egress_health *h = &e->health[i];
        *h = (struct egress_health){.all = e, .index = i, .conf = &s->egresses[i], .wait_ms = BACK_MS};
        loop_timer_init(&h->timer, shard->loop, begin_probe);
        if (!h->conf->used || !sends)
            continue;
        h->down = was_down(before, h->conf->name);
        e->n_down += h->down;
        set_gauge(h);
        loop_timer_start(&h->timer, FIRST_MS);
    }
    egresses_free(before);
    return e;
}

void egresses_free(struct egresses *e)
{
    if (!e)
        return;
    for (int i = 0; i < e->n; i++) {
        struct egress_health *h = &e->health[i];
        loop_timer_stop(&h->timer);
        if (!h->probe)
            continue;
        h->probe->health = NULL;
        conn_close(h->probe->conn);
    }
    settings_unref(e->settings);
    free(e);
}
