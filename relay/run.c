/*
 * `remuda run`: puts the parts together, starts them in order, and takes them down in the opposite one.
 *
 *   start: settings -> log -> lane table -> history -> shards (dns, destinations, delivery, servers) ->
 * claims
 *          -> all partitions recovered -> listeners accept -> ready
 *   stop:  listeners stop, transactions end -> attempts end, outcomes are written -> loops end -> log closes
 */
#include "relay/run.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/suspect.h"
#include "lib/net/dns.h"
#include "lib/net/loop.h"
#include "lib/net/tls.h"
#include "queue/partition.h"
#include "relay/api/admin.h"
#include "relay/api/health.h"
#include "relay/api/history.h"
#include "relay/ctl/ctl.h"
#include "relay/delivery/delivery.h"
#include "relay/descriptors.h"
#include "relay/dest.h"
#include "relay/egress/egress.h"
#include "relay/ingress/ingress.h"
#include "relay/log_choice.h"
#include "relay/metrics_table.h"
#include "relay/migration.h"
#include "relay/node.h"
#include "relay/owned.h"
#include "relay/ownership.h"
#include "relay/run_private.h"
#include "relay/unknown.h"
#include "relay/version.h"

enum { READY_POLL_MS = 10 };

/* ---- settings and the log ---- */

void run_configure_logger(struct logger_options *o, const struct settings *s)
{
    *o = (struct logger_options){
        .level = s->log_level, .format = s->log_format, .privacy = s->log_privacy, .fd = STDERR_FILENO};
    o->hash_key = span_str(s->name);
}

static void on_trouble(void *arg, int err, const char *what)
{
    struct relay *r = arg;
    if (err == RM_OK) {
        logger_log(r->node.logger, LOG_WARN, "log.notice", LF_STR("what", what));
        return;
    }
    if (r->troubles)
        metric_add(r->troubles, 1);
    logger_log(r->node.logger, LOG_ERROR, "log.trouble", LF_STR("error", rm_strerror(err)),
               LF_STR("what", what));
}

static void on_commit(void *arg, uint64_t us, size_t batches)
{
    struct relay *r = arg;
    metric_observe(r->commit_seconds, (double)us / 1e6);
    metric_observe(r->commit_batches, (double)batches);
}

static int open_log(struct relay *r)
{
    struct log_options common = {.partitions = r->node.settings->partitions,
                                 .index = row_index_keys,
                                 .start = partition_start_of,
                                 .floor_free_bytes = r->node.settings->floor_free_bytes,
                                 .carry_after = r->node.settings->carry_after,
                                 .trouble = on_trouble,
                                 .arg = r};
    int err = log_choice_open(r->node.settings, &common, r->node.logger, &r->node.log);
    if (err == RM_OK && log_partitions(r->node.log) > common.partitions)
        logger_log(r->node.logger, LOG_INFO, "log.partitions", LF_NUM("configured", common.partitions),
                   LF_NUM("partitions", log_partitions(r->node.log)),
                   LF_STR("what", "the log has more partitions than log.partitions: that is at least"));
    return err;
}

/* The log has made the directory and holds its lock. */
static int open_suspects(struct relay *r)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/suspects", r->node.settings->data);
    int err = suspects_watch(path, &r->node.suspects);
    if (err != RM_OK)
        logger_log(r->node.logger, LOG_ERROR, "suspects.open_failed", LF_STR("file", path),
                   LF_STR("error", rm_strerror(err)));
    return err;
}

uint64_t run_longest_lifetime_ms(const struct settings *s)
{
    uint64_t longest = retry_default()->lifetime_ms;
    for (int i = 0; i < s->n_retries; i++)
        if (s->retries[i].lifetime_ms > longest)
            longest = s->retries[i].lifetime_ms;
    return longest;
}

static int open_history(struct relay *r)
{
    const struct settings *s = r->node.settings;
    char dir[4096];
    snprintf(dir, sizeof(dir), "%s/history", s->data);
    struct history_options o = {.dir = dir,
                                .log = r->node.log,
                                .logger = r->node.logger,
                                .history_ms = s->history_ms,
                                .lifetime_ms = run_longest_lifetime_ms(s)};
    int err = history_new(&o, &r->node.history);
    if (err != RM_OK)
        logger_log(r->node.logger, LOG_ERROR, "history.open_failed", LF_STR("dir", dir),
                   LF_STR("error", rm_strerror(err)));
    return err;
}

/* ---- shards ---- */

static void run_wake(struct loop *l, struct loop_msg *msg)
{
    struct run_shard *rs = CONTAINER_OF(msg, struct run_shard, wake);
    (void)l;
    atomic_store(&rs->wake_posted, false);
    log_client_poll(rs->shard->log);
}

static void wake_shard(void *arg)
{
    struct run_shard *rs = arg;
    if (!atomic_exchange(&rs->wake_posted, true) && !loop_post(rs->shard->loop, &rs->wake))
        atomic_store(&rs->wake_posted, false);
}

static int shard_init(struct relay *r, int i)
{
    struct node *node = &r->node;
    struct shard *s = &node->shards[i];
    struct run_shard *rs = &r->shards[i];
    char name[24];
    snprintf(name, sizeof(name), "shard%d", i);
    *s = (struct shard){.number = i, .node = node, .settings = settings_ref(node->settings)};
    rs->shard = s;
    rs->relay = r;
    rs->wake.run = run_wake;
    if (loop_new(name, &s->loop) != RM_OK)
        return RM_EIO;
    s->log = log_client_new(node->log, wake_shard, rs);
    struct dns_options dns = {.servers = node->settings->dns_servers,
                              .n_servers = node->settings->n_dns_servers,
                              .timeout_ms = node->settings->dns_timeout_ms,
                              .tries = node->settings->dns_tries,
                              .cache_entries = node->settings->dns_cache};
    int err = dns_new(s->loop, &dns, &s->dns);
    if (err != RM_OK) {
        logger_log(node->logger, LOG_ERROR, "dns.failed", LF_STR("error", rm_strerror(err)));
        return err;
    }
    struct buf error = BUF_INIT;
    err = tls_client_new(TLS_VERIFY_NONE, NULL, &s->client_tls, &error);
    if (err != RM_OK)
        logger_log(node->logger, LOG_ERROR, "tls.failed", LF_STR("why", buf_cstr(&error)));
    buf_fini(&error);
    if (err != RM_OK)
        return err;
    s->dests = dests_new(s);
    s->delivery = delivery_new(s);
    s->ingress = ingress_new(s, r->ports);
    s->egress = egress_new(s, r->egress_ports);
    return RM_OK;
}

static int join(struct relay *r)
{
    if (!settings_has_role(r->node.settings, "delivery"))
        return RM_OK;
    struct log_client *clients[SHARDS_MOST];
    for (int i = 0; i < r->node.n_shards; i++) {
        clients[i] = r->node.shards[i].log;
        r->ownership[i] = ownership_table(&r->node.shards[i]);
    }
    return log_join(r->node.log, clients, r->ownership, r->node.n_shards, r->node.settings->name);
}

/* ---- ready ---- */

static void start_shard(struct loop *l, struct loop_msg *msg)
{
    struct run_shard *rs = CONTAINER_OF(msg, struct run_shard, start);
    (void)l;
    if (ingress_start(rs->shard->ingress) != RM_OK)
        logger_log(rs->relay->node.logger, LOG_ERROR, "ingress.start_failed",
                   LF_NUM("shard", rs->shard->number));
    if (egress_start(rs->shard->egress) != RM_OK)
        logger_log(rs->relay->node.logger, LOG_ERROR, "egress.start_failed",
                   LF_NUM("shard", rs->shard->number));
}

/* With the log to itself it waits for all partitions; in a cluster for those it has got by now. */
static bool all_recovered(const struct relay *r)
{
    if (settings_egress_only(r->node.settings))
        return true;
    bool alone = log_capabilities(r->node.log) & LOG_ATOMIC;
    int want = alone ? (int)log_partitions(r->node.log) : atomic_load(&r->node.owned);
    return atomic_load(&r->node.recovered) >= want;
}

static void poll_ready(struct loop_timer *t)
{
    struct relay *r = CONTAINER_OF(t, struct relay, ready_timer);
    if (r->stopping)
        return;
    if (!all_recovered(r)) {
        loop_timer_start(t, READY_POLL_MS);
        return;
    }
    for (int i = 0; i < r->node.n_shards; i++) {
        r->shards[i].start.run = start_shard;
        loop_post(r->node.shards[i].loop, &r->shards[i].start);
    }
    for (int i = 0; i < ingress_ports_count(r->ports); i++)
        logger_log(r->node.logger, LOG_INFO, "relay.listening",
                   LF_STR("address", ingress_ports_address(r->ports, i)));
    for (int i = 0; i < egress_ports_count(r->egress_ports); i++)
        logger_log(r->node.logger, LOG_INFO, "egress.listening",
                   LF_STR("address", egress_ports_address(r->egress_ports, i)));
    atomic_store(&r->node.ready, true);
    logger_log(r->node.logger, LOG_INFO, "relay.ready", LF_STR("node", r->node.settings->name),
               LF_NUM("partitions", log_partitions(r->node.log)), LF_NUM("shards", r->node.n_shards),
               LF_STR("version", REMUDA_VERSION));
}

/* ---- the whole ---- */

static void on_signal(void *arg, int signo)
{
    struct relay *r = arg;
    if (signo == SIGHUP)
        run_reload(r);
    else
        run_begin_stop(r, signo);
}

static void set_metrics(struct relay *r)
{
    struct metrics *m = r->node.metrics;
    const char *version[] = {REMUDA_VERSION};
    r->commit_seconds = metrics_cell(m, M_LOG_COMMIT_SECONDS, NULL);
    r->commit_batches = metrics_cell(m, M_LOG_GROUP_BATCHES, NULL);
    r->troubles = metrics_cell(m, M_LOG_TROUBLES, NULL);
    metric_set(metrics_cell(m, M_BUILD_INFO, version), 1);
    log_on_commit(r->node.log, on_commit, r);
}

static int open_parts(struct relay *r)
{
    struct node *node = &r->node;
    struct buf error = BUF_INIT;
    int err = open_log(r);
    if (err == RM_OK)
        err = migration_check(r->node.log, &r->control_next, &r->migration, r->node.logger);
    if (err == RM_OK && strcmp(node->settings->log_backend, "memory") != 0)
        err = open_suspects(r);
    if (err != RM_OK)
        return err;
    set_metrics(r);
    err = lanes_load(node->log, &node->settings->router, &node->lanes);
    if (err != RM_OK)
        logger_log(node->logger, LOG_ERROR, "lanes.failed", LF_STR("error", rm_strerror(err)));
    bool reads_events =
        !settings_egress_only(node->settings) &&
        (settings_has_role(node->settings, "delivery") || settings_has_role(node->settings, "admin"));
    if (err == RM_OK && reads_events)
        err = open_history(r);
    if (err == RM_OK) {
        err = ingress_ports_open(node->settings, NULL, &r->ports, &error);
        if (err == RM_OK)
            err = egress_ports_open(node->settings, NULL, &r->egress_ports, &error);
        if (err != RM_OK)
            logger_log(node->logger, LOG_ERROR, "listen.failed", LF_STR("why", buf_cstr(&error)));
    }
    buf_fini(&error);
    return err;
}

/* Before the shards' loops run. */
static void tell_of_life_before(const struct node *node)
{
    if (settings_has_role(node->settings, "delivery") && !(log_capabilities(node->log) & LOG_ATOMIC))
        owned_tell(node, node->shards[0].log);
}

static int start_parts(struct relay *r)
{
    struct node *node = &r->node;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    node->n_shards = node->settings->shards ? node->settings->shards : cores > 0 ? (int)cores : 1;
    if (node->n_shards > SHARDS_MOST)
        node->n_shards = SHARDS_MOST;
    if (node->n_shards > (int)log_partitions(node->log))
        node->n_shards = (int)log_partitions(node->log);
    for (int i = 0; i < node->n_shards; i++) {
        int err = shard_init(r, i);
        if (err != RM_OK)
            return err;
    }
    const char *why = "";
    if (node->settings->admin.address && admin_start(node, node->settings->admin.address,
                                                     delivery_query_posted, &node->admin, &why) != RM_OK) {
        logger_log(node->logger, LOG_ERROR, "admin.failed", LF_STR("address", node->settings->admin.address),
                   LF_STR("why", why));
        return RM_EIO;
    }
    if (node->settings->admin.health &&
        health_start(node, node->settings->admin.health, &node->health) != RM_OK) {
        logger_log(node->logger, LOG_ERROR, "health.failed", LF_STR("address", node->settings->admin.health),
                   LF_STR("why", "the health listener's address cannot be bound"));
        return RM_EIO;
    }
    tell_of_life_before(node);
    for (int i = 0; i < node->n_shards; i++)
        if (loop_start(node->shards[i].loop) != RM_OK)
            return RM_EIO;
    return join(r);
}

/* Outcomes that could not be written happen again, as after a crash; what was answered 250 is in the log. */
static void end_without_brokers(struct relay *r)
{
    logger_log(r->node.logger, LOG_WARN, "relay.stopped", LF_STR("node", r->node.settings->name),
               LF_STR("trouble", "no broker could be reached: what was not acknowledged was refused"));
    logger_free(r->node.logger);
    _exit(CTL_OK);
}

static void stop_parts(struct relay *r)
{
    struct node *node = &r->node;
    health_stop(node->health);
    admin_stop(node->admin);
    for (int i = 0; i < node->n_shards; i++)
        loop_stop(node->shards[i].loop);
    for (int i = 0; i < node->n_shards; i++)
        loop_join(node->shards[i].loop);
    bool told = true;
    for (int i = 0; i < node->n_shards; i++) {
        struct shard *s = &node->shards[i];
        log_client_flush(s->log);
        ingress_free(s->ingress);
        egress_free(s->egress);
        told = told && (!s->delivery || delivery_told(s->delivery));
        delivery_free(s->delivery);
        log_client_flush(s->log);
        dests_free(s->dests);
        tls_context_unref(s->client_tls);
        dns_free(s->dns);
    }
    log_leave(node->log);
    if (log_gave_up(node->log))
        end_without_brokers(r);
    if (told)
        owned_forget(node->settings->data);
    for (int i = 0; i < node->n_shards; i++) {
        log_client_free(node->shards[i].log);
        loop_free(node->shards[i].loop);
        settings_unref(node->shards[i].settings);
    }
}

static void close_parts(struct relay *r)
{
    ingress_ports_unref(r->ports);
    egress_ports_unref(r->egress_ports);
    history_free(r->node.history);
    lanes_free(r->node.lanes);
    if (r->node.log)
        log_close(r->node.log);
    suspects_free(r->node.suspects);
}

/* A SIGHUP during the start waits until it can be obeyed, instead of ending the program. */
static void hold_reload(bool hold)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    ENSURE(pthread_sigmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL) == 0);
}

static void serve(struct relay *r)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < 3; i++)
        ENSURE(loop_signal_new(r->main, signals[i], on_signal, r, &r->signals[i]) == RM_OK);
    hold_reload(false);
    loop_timer_init(&r->ready_timer, r->main, poll_ready);
    loop_timer_start(&r->ready_timer, READY_POLL_MS);
    loop_timer_init(&r->leave_timer, r->main, run_drain);
    loop_timer_init(&r->lanes_timer, r->main, run_follow_lanes);
    loop_timer_start(&r->lanes_timer, RUN_LANES_FOLLOW_MS);
    loop_run(r->main);
    loop_timer_stop(&r->ready_timer);
    loop_timer_stop(&r->lanes_timer);
    loop_timer_stop(&r->leave_timer);
    for (size_t i = 0; i < 3; i++)
        loop_signal_free(r->signals[i]);
}

static int run_relay(struct relay *r)
{
    struct logger_options o;
    run_configure_logger(&o, r->node.settings);
    r->node.logger = logger_new(&o);
    descriptors_raise(r->node.settings, r->node.logger);
    r->node.metrics = metrics_new(metric_table, METRIC_ROWS);
    r->node.unknown = unknown_new();
    if (loop_new("main", &r->main) != RM_OK)
        return CTL_FAILED;
    int code = CTL_FAILED;
    if (open_parts(r) == RM_OK) {
        if (start_parts(r) != RM_OK)
            _exit(CTL_FAILED); /* shards may be running; nothing was accepted yet */
        serve(r);
        stop_parts(r);
        logger_log(r->node.logger, LOG_INFO, "relay.stopped", LF_STR("node", r->node.settings->name));
        code = CTL_OK;
    }
    close_parts(r);
    loop_free(r->main);
    metrics_free(r->node.metrics);
    unknown_free(r->node.unknown);
    settings_unref(r->node.settings);
    logger_free(r->node.logger);
    return code;
}

int run_command(const char *config_path, const char *roles)
{
    struct relay *r = calloc(1, sizeof(*r));
    struct buf error = BUF_INIT;
    ENSURE(r);
    hold_reload(true);
    r->config_path = config_path;
    r->roles = roles;
    if (settings_load_as(config_path, roles, &r->node.settings, &error) != RM_OK) {
        fprintf(stderr, "%s", buf_cstr(&error));
        buf_fini(&error);
        free(r);
        return CTL_CONFIG;
    }
    int code = run_relay(r);
    free(r);
    return code;
}
