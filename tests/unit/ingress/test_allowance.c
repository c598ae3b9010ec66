/* Tenants' limits over several holders of one log: never more than the limit, next to nothing less. */
#include "relay/ingress/allowance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/base/err.h"
#include "queue/memory/memory.h"
#include "relay/ingress/claims.h"

enum { MINUTE = 60000, DAY = 24 * 60 * 60000, NODES_MOST = 4, LATER = -1 };

static uint64_t now_ms = 100ull * DAY + 10000;

static uint64_t wall_ms(void)
{
    return now_ms;
}

static void wake_nobody(void *arg)
{
    (void)arg;
}

struct node {
    struct log_client *client;
    struct allowance *allowance;
};

struct world {
    struct log *log;
    struct node nodes[NODES_MOST];
    struct settings_tenant tenant;
};

struct asked {
    struct allowance_waiter waiter;
    int answer; /* LATER: none yet */
    struct inbound_quota over;
};

static void answered(struct allowance_waiter *w, enum inbound_quota_answer answer,
                     const struct inbound_quota *over)
{
    struct asked *a = CONTAINER_OF(w, struct asked, waiter);
    assert_int_equal(a->answer, LATER);
    a->answer = (int)answer;
    if (answer == INBOUND_QUOTA_OVER)
        a->over = *over;
}

static void node_start(struct world *w, int i)
{
    struct node *n = &w->nodes[i];
    n->client = log_client_new(w->log, wake_nobody, NULL);
    struct allowance_options o = {
        .log = w->log, .client = n->client, .node = "n", .shards = 1, .wall_ms = wall_ms};
    n->allowance = allowance_new(&o);
}

/* As when the process dies: nothing is given back. */
static void node_end(struct world *w, int i)
{
    struct node *n = &w->nodes[i];
    log_client_flush(n->client);
    allowance_free(n->allowance);
    log_client_flush(n->client);
    log_client_free(n->client);
    n->client = NULL;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct log_options options = {.partitions = 1};
    assert_non_null(w);
    assert_int_equal(memory_log_open(&options, &w->log), RM_OK);
    w->tenant = (struct settings_tenant){.name = "acme"};
    for (int i = 0; i < 2; i++)
        node_start(w, i);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < NODES_MOST; i++)
        if (w->nodes[i].client)
            node_end(w, i);
    log_close(w->log);
    free(w);
    return 0;
}

static void ask(struct world *w, int node, struct asked *a)
{
    *a = (struct asked){.waiter.answered = answered, .answer = LATER};
    list_init(&a->waiter.node);
    allowance_take(w->nodes[node].allowance, &w->tenant, &a->waiter);
}

/* Asks and waits for the answer. */
static int take_as(struct world *w, int node, struct asked *a)
{
    ask(w, node, a);
    while (a->answer == LATER)
        log_client_flush(w->nodes[node].client);
    return a->answer;
}

static bool take(struct world *w, int node)
{
    struct asked a;
    return take_as(w, node, &a) == INBOUND_QUOTA_TAKEN;
}

static void tick(struct world *w, int node)
{
    allowance_tick(w->nodes[node].allowance, false);
    log_client_flush(w->nodes[node].client);
}

/* Messages that a node gets until it is refused. */
static int take_all(struct world *w, int node)
{
    int n = 0;
    while (take(w, node))
        n++;
    return n;
}

static void test_minute_and_day(void **state)
{
    struct world *w = *state;
    struct asked a;
    uint64_t before = now_ms;
    w->tenant.limits = (struct tenant_limits){.per_minute = 2, .per_day = 3};
    assert_true(take(w, 0) && take(w, 0));
    assert_int_equal(take_as(w, 0, &a), INBOUND_QUOTA_OVER);
    assert_string_equal(a.over.limit, "per_minute");
    assert_int_equal(a.over.most, 2);
    assert_int_equal(a.over.retry_s, 50);
    allowance_return(w->nodes[0].allowance, &w->tenant, now_ms);
    assert_true(take(w, 0));
    now_ms += MINUTE;
    assert_true(take(w, 0));
    allowance_return(w->nodes[0].allowance, &w->tenant,
                     before); /* the day gets it back, this minute does not */
    assert_true(take(w, 0));
    assert_false(take(w, 0));
    now_ms += MINUTE;
    assert_int_equal(take_as(w, 0, &a), INBOUND_QUOTA_OVER);
    assert_string_equal(a.over.limit, "per_day");
    now_ms += DAY;
    assert_true(take(w, 0));
}

static void test_no_limit(void **state)
{
    struct world *w = *state;
    struct asked a;
    for (int i = 0; i < 1000; i++) {
        ask(w, 0, &a);
        assert_int_equal(a.answer, INBOUND_QUOTA_TAKEN); /* nothing is waited for */
    }
    allowance_return(w->nodes[0].allowance, &w->tenant, now_ms);
}

/* In turns and in bursts: the two together get the limit. */
static void test_two_nodes_share(void **state)
{
    struct world *w = *state;
    int n = 0;
    w->tenant.limits.per_day = 1000;
    for (int i = 0; i < 300; i++)
        n += take(w, i % 2);
    assert_int_equal(n, 300);
    n += take_all(w, 0);
    assert_true(n >= 990 && n <= 1000); /* what the other one holds ahead */
    now_ms += 1500;
    tick(w, 1); /* it gives that back */
    n += take_all(w, 0) + take_all(w, 1);
    assert_int_equal(n, 1000);
    now_ms += 1500;
    assert_int_equal(take_all(w, 0) + take_all(w, 1), 0);
}

static void test_small_limits_are_exact(void **state)
{
    struct world *w = *state;
    w->tenant.limits.per_minute = 7;
    for (int i = 0; i < 7; i++)
        assert_true(take(w, i % 2));
    assert_false(take(w, 0));
    assert_false(take(w, 1));
}

/* A new life of a node gets nothing that the old one has claimed. */
/* Another shard need not wait until it is seen to be unused. */
static void test_what_comes_back_is_everybodys(void **state)
{
    struct world *w = *state;
    w->tenant.limits.per_day = 2;
    for (int i = 0; i < 3; i++) {
        assert_true(take(w, 0));
        allowance_return(w->nodes[0].allowance, &w->tenant, now_ms);
    }
    assert_int_equal(take_all(w, 1), 2);
    assert_false(take(w, 0));
}

static void test_restarts(void **state)
{
    struct world *w = *state;
    int n = 0;
    w->tenant.limits.per_day = 500;
    for (int life = 0; life < 10; life++) {
        for (int i = 0; i < 20; i++)
            n += take(w, 0);
        node_end(w, 0);
        node_start(w, 0);
    }
    assert_int_equal(n, 200);
    n += take_all(w, 0);
    assert_true(n <= 500 && n >= 500 - 10 * (500 / ALLOWANCE_AHEAD_DAY));
    now_ms += 1500;
    assert_int_equal(take_all(w, 1), 0);
    now_ms += DAY;
    assert_true(take(w, 0) && take(w, 1));
}

/* One that stops in an orderly way leaves all of it to the others. */
static void test_stopping_gives_back(void **state)
{
    struct world *w = *state;
    w->tenant.limits.per_day = 500;
    assert_true(take(w, 0));
    allowance_stop(w->nodes[0].allowance); /* while a claim is on its way */
    log_client_flush(w->nodes[0].client);
    node_end(w, 0);
    assert_int_equal(take_all(w, 1), 499);
}

/* Of many tenants 200 are looked at in a second. */
static void test_giving_back_by_turns(void **state)
{
    struct world *w = *state;
    char name[16];
    int before = 0, after = 0;
    w->tenant = (struct settings_tenant){.name = name, .limits.per_day = 200};
    for (int i = 0; i < 250; i++) {
        (void)snprintf(name, sizeof(name), "t%d", i);
        assert_true(take(w, 0));
        before += i % 25 == 0 ? take_all(w, 1) : 0;
    }
    assert_true(before >= 10 * 197 && before < 10 * 199); /* the rest is held ahead */
    log_client_flush(w->nodes[0].client);
    for (int second = 0; second < 2; second++) {
        now_ms += 1500;
        tick(w, 0);
        for (int i = 0; i < 250; i += 25) {
            (void)snprintf(name, sizeof(name), "t%d", i);
            after += take_all(w, 1);
        }
        assert_true(second == 1 || before + after < 10 * 199);
    }
    assert_int_equal(before + after, 10 * 199);
    w->tenant.name = "acme";
}

/* Claims that are on their way at the same time. */
static void test_at_the_same_moment(void **state)
{
    struct world *w = *state;
    struct asked a[4][10];
    int n = 0;
    node_start(w, 2);
    node_start(w, 3);
    w->tenant.limits.per_minute = 25;
    memory_log_hold(w->log);
    for (int i = 0; i < 10; i++)
        for (int node = 0; node < 4; node++)
            ask(w, node, &a[node][i]);
    assert_int_equal(a[0][0].answer, LATER);
    memory_log_release(w->log);
    for (int round = 0; round < 10; round++)
        for (int node = 0; node < 4; node++)
            log_client_flush(w->nodes[node].client);
    for (int i = 0; i < 40; i++) {
        assert_int_not_equal(a[i / 10][i % 10].answer, LATER);
        n += a[i / 10][i % 10].answer == INBOUND_QUOTA_TAKEN;
    }
    assert_true(n <= 25);
    for (int second = 0; second < 5; second++) {
        now_ms += 1100;
        for (int node = 0; node < 4; node++) {
            tick(w, node);
            n += take_all(w, node);
        }
    }
    assert_int_equal(n, 25); /* who lost asks again after a second */
}

/* A node whose clock is behind is still in the minute that another one has left. */
static void test_clocks_apart(void **state)
{
    struct world *w = *state;
    w->tenant.limits.per_minute = 10;
    assert_int_equal(take_all(w, 0), 10);
    now_ms += MINUTE;
    assert_int_equal(take_all(w, 0), 10);
    now_ms -= MINUTE;
    assert_int_equal(take_all(w, 1), 0);
    assert_int_equal(take_all(w, 0), 0); /* set back: the window that it was in goes on */
}

static void test_log_fails(void **state)
{
    struct world *w = *state;
    struct asked a;
    w->tenant.limits.per_day = 2;
    memory_log_fail_next(w->log, RM_EIO, 1);
    assert_int_equal(take_as(w, 0, &a), INBOUND_QUOTA_UNKNOWN);
    assert_true(take(w, 0) && take(w, 1));
    assert_false(take(w, 0));
}

/* A connection that ends while it waits takes nothing. */
static void test_forget(void **state)
{
    struct world *w = *state;
    struct asked gone, other;
    w->tenant.limits.per_day = 1;
    ask(w, 0, &gone);
    assert_int_equal(gone.answer, LATER);
    allowance_forget(&gone.waiter);
    assert_int_equal(take_as(w, 0, &other), INBOUND_QUOTA_TAKEN);
    assert_int_equal(gone.answer, LATER);
}

static int count_records(struct world *w)
{
    struct log_reader *r;
    struct span key, value;
    struct buf from = BUF_INIT;
    int n = 0;
    assert_int_equal(log_read_begin(w->log, &r), RM_OK);
    while (log_read_key_next(r, LOG_QUOTA, 0, buf_span(&from), &key, &value)) {
        n++;
        buf_clear(&from);
        buf_add_span(&from, key);
        buf_add_char(&from, '\0');
    }
    log_read_end(r);
    buf_fini(&from);
    return n;
}

/* The log does not grow with the lives of nodes. */
static void test_old_records_go(void **state)
{
    struct world *w = *state;
    w->tenant.limits.per_day = 100000;
    for (int i = 0; i < 5; i++) {
        assert_true(take(w, 0));
        node_end(w, 0);
        node_start(w, 0);
    }
    assert_int_equal(count_records(w), 5);
    now_ms += DAY;
    allowance_tick(w->nodes[0].allowance, true);
    log_client_flush(w->nodes[0].client);
    assert_int_equal(count_records(w), 5); /* yesterday's: there may be clocks that are behind */
    now_ms += DAY;
    allowance_tick(w->nodes[1].allowance, true);
    log_client_flush(w->nodes[1].client);
    assert_int_equal(count_records(w), 0);
}

/* A busy tenant costs few records. */
static void test_few_records(void **state)
{
    struct world *w = *state;
    struct metrics *m;
    static const struct metric_def def[] = {{.name = "n_total", .type = METRIC_COUNTER, .help = "n"}};
    m = metrics_new(def, 1);
    struct allowance_options o = {.log = w->log,
                                  .client = w->nodes[0].client,
                                  .node = "n",
                                  .shards = 2,
                                  .wall_ms = wall_ms,
                                  .claims = metrics_cell(m, 0, NULL)};
    struct allowance *own = w->nodes[0].allowance;
    w->nodes[0].allowance = allowance_new(&o);
    w->tenant.limits.per_minute = 100000;
    assert_int_equal(take_all(w, 0), 100000);
    assert_true(metric_value(o.claims) <= 2 * 2 * ALLOWANCE_AHEAD_MINUTE + 2);
    allowance_free(w->nodes[0].allowance);
    w->nodes[0].allowance = own;
    metrics_free(m);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_minute_and_day),
        TEST(test_no_limit),
        TEST(test_two_nodes_share),
        TEST(test_small_limits_are_exact),
        TEST(test_what_comes_back_is_everybodys),
        TEST(test_restarts),
        TEST(test_stopping_gives_back),
        TEST(test_giving_back_by_turns),
        TEST(test_at_the_same_moment),
        TEST(test_clocks_apart),
        TEST(test_log_fails),
        TEST(test_forget),
        TEST(test_old_records_go),
        TEST(test_few_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
