/* The order to stop, a reload, and the lane table of other nodes. */
#include "relay/run_private.h"

#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "relay/api/history.h"
#include "relay/ctl/ctl.h"
#include "relay/delivery/delivery.h"
#include "relay/descriptors.h"
#include "relay/dest.h"
#include "relay/growth.h"
#include "relay/metrics_table.h"

/* ---- stop ---- */

static void all_drained(struct loop *l, struct loop_msg *msg)
{
    (void)msg;
    loop_stop(l);
}

static void egress_drained(void *arg)
{
    struct run_shard *rs = arg;
    struct relay *r = rs->relay;
    if (atomic_fetch_sub(&r->draining_shards, 1) != 1)
        return;
    r->drained.run = all_drained;
    loop_post(r->main, &r->drained);
}

static void delivery_drained(void *arg)
{
    struct run_shard *rs = arg;
    egress_drain(rs->shard->egress, rs->shard->settings->drain_ms, egress_drained, rs);
}

static void ingress_drained(void *arg)
{
    struct run_shard *rs = arg;
    delivery_drain(rs->shard->delivery, rs->shard->settings->drain_ms, delivery_drained, rs);
}

static void drain_shard(struct loop *l, struct loop_msg *msg)
{
    struct run_shard *rs = CONTAINER_OF(msg, struct run_shard, drain);
    (void)l;
    ingress_drain(rs->shard->ingress, ingress_drained, rs);
}

void run_begin_stop(struct relay *r, int signo)
{
    if (loop_timer_running(&r->leave_timer)) {
        loop_timer_stop(&r->leave_timer);
        run_drain(&r->leave_timer);
        return;
    }
    if (r->stopping) {
        logger_log(r->node.logger, LOG_WARN, "relay.stop_now",
                   LF_STR("what", "second signal: not waiting any longer"));
        _exit(CTL_FAILED); /* as safe as any crash: what was answered 250 is in the log */
    }
    r->stopping = true;
    atomic_store(&r->node.ready, false);
    atomic_store(&r->node.draining, true);
    bool takes_mail = settings_has_role(r->node.settings, "ingress");
    uint64_t leave_ms = signo == SIGTERM && takes_mail ? r->node.settings->leave_ms : 0;
    logger_log(r->node.logger, LOG_INFO, leave_ms ? "relay.leaving" : "relay.draining",
               LF_NUM("signal", signo), LF_NUM("bound_ms", leave_ms + r->node.settings->drain_ms));
    if (leave_ms)
        loop_timer_start(&r->leave_timer, leave_ms);
    else
        run_drain(&r->leave_timer);
}

void run_drain(struct loop_timer *t)
{
    struct relay *r = CONTAINER_OF(t, struct relay, leave_timer);
    log_stop_by(r->node.log, clock_boot_us() + r->node.settings->drain_ms * 1000);
    atomic_store(&r->draining_shards, r->node.n_shards);
    for (int i = 0; i < r->node.n_shards; i++) {
        r->shards[i].drain.run = drain_shard;
        loop_post(r->node.shards[i].loop, &r->shards[i].drain);
    }
}

/* ---- reload ---- */

static void all_reloaded(struct loop *l, struct loop_msg *msg)
{
    struct relay *r = CONTAINER_OF(msg, struct relay, reloaded);
    (void)l;
    const char *ok[] = {"ok"};
    metric_add(metrics_cell(r->node.metrics, M_CONFIG_RELOADS, ok), 1);
    logger_log(r->node.logger, LOG_INFO, "config.reloaded", LF_STR("file", r->config_path));
}

static void reload_shard(struct loop *l, struct loop_msg *msg)
{
    struct run_shard *rs = CONTAINER_OF(msg, struct run_shard, reload);
    struct shard *s = rs->shard;
    (void)l;
    settings_unref(s->settings);
    s->settings = rs->next_settings;
    dests_forget(s->dests);
    delivery_reconfigure(s->delivery);
    if (ingress_reload(s->ingress, rs->next_ports) != RM_OK)
        logger_log(rs->relay->node.logger, LOG_ERROR, "ingress.reload_failed", LF_NUM("shard", s->number));
    if (egress_reload(s->egress, rs->next_egress) != RM_OK)
        logger_log(rs->relay->node.logger, LOG_ERROR, "egress.reload_failed", LF_NUM("shard", s->number));
    ingress_ports_unref(rs->next_ports);
    egress_ports_unref(rs->next_egress);
    if (atomic_fetch_sub(&rs->relay->reloading_shards, 1) != 1)
        return;
    rs->relay->reloaded.run = all_reloaded;
    loop_post(rs->relay->main, &rs->relay->reloaded);
}

static void refuse_reload(struct relay *r, struct settings *next, struct buf *error)
{
    const char *refused[] = {"refused"};
    metric_add(metrics_cell(r->node.metrics, M_CONFIG_RELOADS, refused), 1);
    logger_log(r->node.logger, LOG_ERROR, "config.refused", LF_STR("file", r->config_path),
               LF_STR("why", buf_cstr(error)), LF_STR("what", "the running configuration stays"));
    settings_unref(next);
    buf_fini(error);
}

static void swap_settings(struct relay *r, struct settings *next, struct ingress_ports *ports,
                          struct egress_ports *egress_ports)
{
    struct logger_options o;
    run_configure_logger(&o, next);
    logger_configure(r->node.logger, &o);
    descriptors_raise(next, r->node.logger);
    if (r->node.history)
        history_configure(r->node.history, next->history_ms, run_longest_lifetime_ms(next));
    atomic_store(&r->reloading_shards, r->node.n_shards);
    for (int i = 0; i < r->node.n_shards; i++) {
        struct run_shard *rs = &r->shards[i];
        rs->next_settings = settings_ref(next);
        rs->next_ports = ingress_ports_ref(ports);
        rs->next_egress = egress_ports_ref(egress_ports);
        rs->reload.run = reload_shard;
        loop_post(r->node.shards[i].loop, &rs->reload);
    }
    ingress_ports_unref(r->ports);
    r->ports = ports;
    egress_ports_unref(r->egress_ports);
    r->egress_ports = egress_ports;
    settings_unref(r->node.settings);
    r->node.settings = next;
}

void run_reload(struct relay *r)
{
    struct settings *next = NULL;
    struct ingress_ports *ports = NULL;
    struct egress_ports *egress_ports = NULL;
    struct buf error = BUF_INIT;
    if (r->stopping || atomic_load(&r->reloading_shards) > 0 || !atomic_load(&r->node.ready))
        return;
    if (settings_load_as(r->config_path, r->roles, &next, &error) != RM_OK ||
        !settings_reloadable(r->node.settings, next, &error) ||
        ingress_ports_open(next, r->ports, &ports, &error) != RM_OK ||
        egress_ports_open(next, r->egress_ports, &egress_ports, &error) != RM_OK) {
        ingress_ports_unref(ports);
        refuse_reload(r, next, &error);
        return;
    }
    bool grows = next->partitions > log_partitions(r->node.log);
    if ((grows && growth_run(&r->node, next->partitions) != RM_OK) ||
        lanes_update(r->node.lanes, &next->router) != RM_OK) {
        buf_add_str(&error, "the lane table could not be written to the log");
        ingress_ports_unref(ports);
        egress_ports_unref(egress_ports);
        refuse_reload(r, next, &error);
        return;
    }
    buf_fini(&error);
    swap_settings(r, next, ports, egress_ports);
}

/* ---- the lane table, also of other nodes ---- */

static void tell_lanes(struct loop *l, struct loop_msg *msg)
{
    struct run_shard *rs = CONTAINER_OF(msg, struct run_shard, lanes);
    (void)l;
    atomic_store(&rs->lanes_posted, false);
    delivery_lanes_changed(rs->shard->delivery);
}

/* Its mail moves into another log: nothing runs on this one any more. */
static void follow_migration(struct relay *r)
{
    if (!r->node.log || migration_follow(r->node.log, &r->control_next, &r->migration) != RM_OK ||
        !migration_is_away(&r->migration) || r->stopping)
        return;
    logger_log(r->node.logger, LOG_WARN, "migrate.stopping", LF_STR("to", r->migration.other),
               LF_STR("what", "mail and state move to another log; nothing runs on this one"));
    run_begin_stop(r, 0);
}

void run_follow_lanes(struct loop_timer *t)
{
    struct relay *r = CONTAINER_OF(t, struct relay, lanes_timer);
    follow_migration(r);
    int err = lanes_follow(r->node.lanes);
    if (err != RM_OK && !r->lanes_failing)
        logger_log(r->node.logger, LOG_ERROR, "lanes.failed", LF_STR("error", rm_strerror(err)),
                   LF_STR("what", "the lane table in use stays"));
    r->lanes_failing = err != RM_OK;
    uint64_t changes = lanes_changes(r->node.lanes);
    if (changes != r->lanes_changes)
        for (int i = 0; i < r->node.n_shards; i++) {
            struct run_shard *rs = &r->shards[i];
            rs->lanes.run = tell_lanes;
            if (!atomic_exchange(&rs->lanes_posted, true) && !loop_post(rs->shard->loop, &rs->lanes))
                atomic_store(&rs->lanes_posted, false);
        }
    r->lanes_changes = changes;
    loop_timer_start(t, RUN_LANES_FOLLOW_MS);
}
