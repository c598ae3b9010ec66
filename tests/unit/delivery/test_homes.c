/*
 * Pairs that change their partition (I6): three partitions, each with an owner that may die or be replaced
 * while it still writes, on two nodes that read the control log when they come to it; lanes move, and sources
 * are divided among shards anew. Whatever the order, no pair sends more than its cap or has two connections,
 * and in the end the partition that the table names has it, with all that it may still send.
 */
#include "relay/delivery/homes.h"

#include "queue/memory/memory.h"
#include "tests/unit/router/pair_rig.h"

enum { PARTITIONS = 3, NODES = 2, SOURCES = 2, CAP = 6, SEQUENCES = 600, STEPS = 400, LIVES = 400 };

static const uint64_t caps[] = {CAP};
static const struct warmup_schedule schedule = {
    .name = "six", .caps = caps, .n_caps = 1, .hourly_percent = 100};

struct world;

/* One owner's life. */
struct life {
    struct world *w;
    uint32_t partition;
    uint64_t epoch;
    struct lanes *lanes; /* of its node */
    struct log_client *client;
    struct router_state *router;
    struct router_scope *scopes[2]; /* of shards 0 and 1 */
    int config;
    struct homes *homes;
    struct store *flight; /* NULL: no flush is under way */
    bool owns;            /* false: replaced, and it does not know */
    int links[SOURCES];
};

struct world {
    struct log *log;
    struct lanes *nodes[NODES];
    struct rig rigs[2]; /* sources in one shard; in two */
    struct store *state[PARTITIONS];
    struct life *owners[PARTITIONS], *lives[LIVES];
    int n_lives;
    uint64_t now_us, wall_ms, seed, epoch;
    int sent[SOURCES];
    int troubles;
};

static void wake_nobody(void *arg)
{
    (void)arg;
}

static uint32_t dice(struct world *w, uint32_t n)
{
    return rig_random(&w->seed) % n;
}

/* ---- an owner ---- */

static int source_index(const char *name)
{
    return name[1] - '0';
}

static bool in_use(void *arg, const char *source, const char *provider)
{
    const struct life *l = arg;
    return strcmp(provider, "big") == 0 && l->links[source_index(source)] > 0;
}

static void on_trouble(void *arg, const char *source, const char *provider, uint64_t at)
{
    (void)source, (void)provider, (void)at;
    ((struct life *)arg)->w->troubles++;
}

static void scopes_ref(struct life *l)
{
    for (uint32_t i = 0; i < 2; i++)
        if (!l->scopes[i])
            l->scopes[i] = router_scope_ref(l->router, 0, 1, i, span_str(""));
}

static struct life *life_begin(struct world *w, uint32_t partition, int config)
{
    assert_true(w->n_lives < LIVES);
    struct life *l = w->lives[w->n_lives++] = calloc(1, sizeof(*l));
    l->w = w;
    l->partition = partition;
    l->epoch = ++w->epoch;
    l->owns = true;
    l->lanes = w->nodes[dice(w, NODES)];
    l->client = log_client_new(w->log, wake_nobody, NULL);
    l->config = config;
    l->router = router_state_new(&w->rigs[config].config);
    router_state_epoch(l->router, l->epoch);
    router_tick(l->router, w->now_us, w->wall_ms);
    store_load(w->state[partition], l->router, w->wall_ms);
    router_tick(l->router, w->now_us, w->wall_ms);
    scopes_ref(l);
    struct homes_options o = {.partition = partition,
                              .lanes = l->lanes,
                              .log = w->log,
                              .client = l->client,
                              .router = l->router,
                              .in_use = in_use,
                              .trouble = on_trouble,
                              .arg = l};
    l->homes = homes_new(&o);
    return l;
}

static void life_end(struct life *l)
{
    homes_free(l->homes);
    log_client_flush(l->client);
    log_client_free(l->client);
    router_state_free(l->router);
    if (l->flight)
        store_fini(l->flight);
    free(l);
}

static void look(struct life *l)
{
    homes_look(l->homes, l->w->now_us, l->w->wall_ms);
    log_client_flush(l->client);
    for (int i = 0; i < SOURCES; i++)
        router_pair_here(l->router, l->w->rigs[0].names[i], "big",
                         homes_here(l->homes, l->w->rigs[0].names[i], "big"), l->w->now_us);
}

static void flush_begin(struct life *l)
{
    if (l->flight)
        return;
    l->flight = calloc(1, sizeof(*l->flight));
    router_write(l->router, ROUTER_WRITE_DUE, l->w->wall_ms, store_put, l->flight);
    homes_flush(l->homes);
}

/* What is behind a newer claim is void, and its writer is not told that it is durable. */
static void flush_land(struct life *l)
{
    if (!l->flight)
        return;
    for (int i = 0; l->owns && i < l->flight->n; i++)
        store_put(l->w->state[l->partition], span_str(l->flight->rows[i].key),
                  buf_span(&l->flight->rows[i].flight));
    store_land(l->w->state[l->partition], true);
    store_fini(l->flight);
    l->flight = NULL;
    if (!l->owns)
        return;
    (void)router_written(l->router);
    homes_flushed(l->homes);
}

/* ---- what happens to it ---- */

static int open_links(const struct world *w, int source)
{
    int n = 0;
    for (uint32_t p = 0; p < PARTITIONS; p++)
        n += w->owners[p]->links[source];
    return n;
}

static void send_one(struct life *l)
{
    struct world *w = l->w;
    struct router_decision d = {.source = -1};
    struct router_query q = {.now_us = w->now_us};
    struct router_scope *scope = l->scopes[dice(w, 2)];
    look(l); /* the real one is told before anything else is decided */
    router_decide(l->router, scope, &q, &d);
    if (d.source < 0)
        return;
    router_take(l->router, scope, &d, w->now_us);
    l->links[d.source]++;
    assert_true(++w->sent[d.source] <= CAP);
    assert_int_equal(open_links(w, d.source), 1);
}

static void close_links(struct life *l)
{
    for (int i = 0; i < SOURCES; i++)
        for (; l->links[i] > 0; l->links[i]--)
            for (int k = 0; k < 2; k++)
                if (router_connections(l->router, l->scopes[k], i))
                    router_connection_closed(l->router, l->scopes[k], i);
}

/* Another one claims the partition; the old one may go on writing, without a lease. */
static void replace(struct world *w, uint32_t p)
{
    struct life *old = w->owners[p];
    if (w->n_lives + PARTITIONS >= LIVES)
        return;
    close_links(old);
    old->owns = false;
    if (dice(w, 2) && old->flight) {
        old->owns = true; /* it landed just before */
        flush_land(old);
        old->owns = false;
    }
    w->owners[p] = life_begin(w, p, old->config);
    look(w->owners[p]);
}

static void move_lane(struct world *w, uint32_t shard, uint32_t to)
{
    int moved;
    struct lane_order order = {"main", "big", shard, to};
    int err = lanes_move(w->nodes[dice(w, 10) == 0], &order, &moved);
    assert_true(err == RM_OK || err == RM_ENOTFOUND);
}

/* The file is changed and read again on one node after the other. */
static void reload(struct life *l, int config)
{
    close_links(l); /* of sources that change their lane: relay/delivery/lane_pairs.c waits for them */
    l->config = config;
    router_state_configure(l->router, &l->w->rigs[config].config);
    scopes_ref(l);
    look(l);
}

/* A release of some time ago, whose writer was never answered, is written after all. */
static void echo(struct world *w)
{
    struct log_reader *r;
    struct span value;
    struct buf found = BUF_INIT;
    uint32_t n = 0;
    assert_int_equal(log_read_begin(w->log, &r), RM_OK);
    for (uint64_t at = 1; log_read_next(r, LOG_CONTROL, 0, &at, &value); at++) {
        struct arena a = ARENA_INIT;
        const Remuda__Control *c = control_decode(&a, value);
        if (c && c->release && dice(w, ++n) == 0) {
            buf_clear(&found);
            buf_add_span(&found, value);
        }
        arena_fini(&a);
    }
    log_read_end(r);
    if (found.len) {
        struct log_batch *b = log_batch_new(LOG_OWNER);
        log_batch_append(b, LOG_CONTROL, 0, buf_span(&found), NULL, NULL);
        log_submit(w->owners[0]->client, b, NULL, NULL);
        log_client_flush(w->owners[0]->client);
    }
    buf_fini(&found);
}

static void step(struct world *w)
{
    struct life *l = w->owners[dice(w, PARTITIONS)];
    struct life *any = w->lives[dice(w, (uint32_t)w->n_lives)];
    switch (dice(w, 24)) {
    case 0:
        if (dice(w, 3) == 0)
            move_lane(w, dice(w, 2), dice(w, PARTITIONS));
        break;
    case 1:
        if (dice(w, 4) == 0)
            assert_int_equal(lanes_update(w->nodes[dice(w, 10) == 0], &w->rigs[dice(w, 2)].config), RM_OK);
        break;
    case 2:
        if (dice(w, 4) == 0)
            reload(l, (int)dice(w, 2));
        break;
    case 3:
        if (dice(w, 3) == 0)
            replace(w, l->partition);
        break;
    case 4:
    case 5:
        close_links(l);
        break;
    case 6:
    case 7:
        assert_int_equal(lanes_follow(w->nodes[dice(w, 10) == 0]), RM_OK); /* the second one lags */
        break;
    case 8:
        look(any);
        if (dice(w, 4) == 0)
            echo(w);
        break;
    case 9:
    case 10:
        flush_begin(dice(w, 4) ? l : any);
        break;
    case 11:
    case 12:
        flush_land(dice(w, 4) ? l : any);
        break;
    default:
        send_one(l);
        flush_begin(l);
        w->now_us += 1000;
    }
}

/* ---- to the end ---- */

static void settle(struct world *w)
{
    assert_int_equal(lanes_update(w->nodes[0], &w->rigs[1].config), RM_OK);
    for (int i = 0; i < 50; i++) {
        w->now_us += 11000000;
        for (int n = 0; n < NODES; n++)
            assert_int_equal(lanes_follow(w->nodes[n]), RM_OK);
        for (uint32_t p = 0; p < PARTITIONS; p++) {
            struct life *l = w->owners[p];
            close_links(l);
            if (l->config != 1)
                reload(l, 1);
            look(l);
            flush_begin(l);
            flush_land(l);
            look(l);
            send_one(l);
        }
    }
}

static void check_end(const struct world *w)
{
    for (int i = 0; i < SOURCES; i++) {
        int home = lanes_partition(w->nodes[0], "main", "big", (uint32_t)i);
        for (int p = 0; p < PARTITIONS; p++)
            assert_int_equal(homes_here(w->owners[p]->homes, w->rigs[0].names[i], "big"), p == home);
    }
    for (uint32_t p = 0; p < PARTITIONS; p++)
        assert_false(homes_unsettled(w->owners[p]->homes));
    assert_int_equal(w->troubles, 0);
}

static void world_init(struct world *w, uint64_t seed)
{
    *w = (struct world){.now_us = 1000000000, .seed = seed};
    w->wall_ms = 20000ull * RIG_DAY_MS + 9 * RIG_HOUR_MS;
    struct log_options options = {.partitions = PARTITIONS};
    assert_int_equal(memory_log_open(&options, &w->log), RM_OK);
    for (int k = 0; k < 2; k++) {
        rig_init(&w->rigs[k], SOURCES, (struct router_limits){.connections = 1});
        w->rigs[k].pool.shards = (uint32_t)k + 1;
        for (int i = 0; i < SOURCES; i++) {
            w->rigs[k].sources[i].shard = k ? (uint32_t)i : 0;
            w->rigs[k].sources[i].warmup = &schedule;
        }
    }
    for (int n = 0; n < NODES; n++)
        assert_int_equal(lanes_load(w->log, &w->rigs[0].config, &w->nodes[n]), RM_OK);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        w->state[p] = calloc(1, sizeof(*w->state[p]));
        w->owners[p] = life_begin(w, p, 0);
    }
}

static void world_fini(struct world *w)
{
    for (int i = 0; i < w->n_lives; i++)
        life_end(w->lives[i]);
    for (uint32_t p = 0; p < PARTITIONS; p++)
        store_fini(w->state[p]);
    for (int n = 0; n < NODES; n++)
        lanes_free(w->nodes[n]);
    log_close(w->log);
    free(w);
}

static void no_order_exceeds_a_limit(void **state)
{
    (void)state;
    int sent = 0;
    for (uint64_t i = 1; i <= SEQUENCES; i++) {
        struct world *w = calloc(1, sizeof(*w));
        world_init(w, i * 0x9e3779b97f4a7c15ull);
        for (int k = 0; k < STEPS; k++)
            step(w);
        for (int k = 0; k < SOURCES; k++)
            sent += w->sent[k];
        settle(w);
        check_end(w);
        world_fini(w);
    }
    assert_true(sent > SEQUENCES * SOURCES); /* they did send meanwhile */
}

/* A move in good order costs nothing of the cap. */
static void what_was_granted_and_not_used_goes_along(void **state)
{
    (void)state;
    struct world *w = calloc(1, sizeof(*w));
    world_init(w, 1);
    for (uint32_t round = 0; round < 3 * PARTITIONS; round++) {
        move_lane(w, 0, round % PARTITIONS);
        for (int i = 0; i < 20; i++) {
            assert_int_equal(lanes_follow(w->nodes[0]), RM_OK);
            assert_int_equal(lanes_follow(w->nodes[1]), RM_OK);
            for (uint32_t p = 0; p < PARTITIONS; p++) {
                look(w->owners[p]);
                flush_begin(w->owners[p]);
                flush_land(w->owners[p]);
            }
        }
    }
    settle(w);
    assert_int_equal(w->sent[0], CAP);
    assert_int_equal(w->sent[1], CAP);
    world_fini(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_order_exceeds_a_limit),
        cmocka_unit_test(what_was_granted_and_not_used_goes_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
