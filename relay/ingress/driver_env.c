/*
 * The environment of a session: the log, the passwords, the counters and the lanes of its shard. Appends and
 * password checks outlive the connection: they keep a pointer to the driver that is cleared at its end.
 */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "relay/classify.h"
#include "relay/feedback/return_path.h"
#include "relay/feedback/suppression.h"
#include "relay/ingress/driver_private.h"

enum { PASSWORD_CHECKS_MOST = 64 };

/* ---- the session's environment: time, bytes, figures ----------------------------------------------- */

static uint64_t env_now_us(void *arg)
{
    struct driver *d = arg;
    return loop_now_us(d->in->shard->loop);
}

static uint64_t env_wall_ms(void *arg)
{
    (void)arg;
    return clock_wall_ms();
}

static struct msgid env_make_id(void *arg, uint64_t wall_ms)
{
    struct driver *d = arg;
    return msgid_next(&d->in->ids, wall_ms);
}

static struct buf *env_scratch(void *arg)
{
    struct driver *d = arg;
    return &d->in->scratch;
}

static void env_write(void *arg, struct span bytes)
{
    struct driver *d = arg;
    conn_write(d->conn, bytes);
}

static void env_close(void *arg)
{
    struct driver *d = arg;
    d->stage = DRIVER_CLOSING;
    conn_finish(d->conn);
}

static void env_start_tls(void *arg)
{
    struct driver *d = arg;
    d->tls_pending = true;
    conn_tls_start(d->conn, d->port->tls, NULL);
}

static void env_accepted(void *arg, const struct inbound_accepted *what)
{
    struct driver *d = arg;
    const struct tenant_cells *cells = &d->view->tenants[what->tenant];
    metric_add(cells->messages, 1);
    metric_add(cells->bytes, what->bytes);
    metric_add(cells->recipients, what->recipients);
    metric_observe(d->in->accept_seconds, (double)what->waited_us / 1e6);
}

void driver_log_refused(struct driver *d, enum inbound_reason reason, int code)
{
    char client[ADDR_TEXT];
    bool chatter = reason == REASON_SYNTAX || reason == REASON_SEQUENCE || reason == REASON_TIMEOUT ||
                   reason == REASON_STOPPING;
    const char *tenant = d->tenant < 0 ? "" : driver_settings(d)->tenants[d->tenant].name;
    logger_log(driver_node(d)->logger, chatter ? LOG_DEBUG : LOG_INFO, "smtp.refused",
               LF_STR("client", addr_text(&d->client, client)), LF_STR("tenant", tenant),
               LF_STR("reason", inbound_reason_name(reason)), LF_NUM("code", code));
}

static void env_refused(void *arg, enum inbound_reason reason, int code)
{
    struct driver *d = arg;
    metric_add(d->in->refused[reason], 1);
    driver_log_refused(d, reason, code);
}

/* ---- limits, space, lanes -------------------------------------------------------------------------- */

static enum inbound_admission env_admit(void *arg)
{
    struct driver *d = arg;
    if (log_admits(driver_node(d)->log) != RM_OK)
        return ADMIT_NO_DISK;
    return blob_total_bytes() > driver_settings(d)->memory_bytes ? ADMIT_NO_MEMORY : ADMIT_OK;
}

/* What was begun below the limit may go over it by a quarter. */
static bool env_crowded(void *arg)
{
    uint64_t most = driver_settings(arg)->memory_bytes;
    return blob_total_bytes() > most + most / 4;
}

static void env_quota_return(void *arg, int tenant, uint64_t wall_ms)
{
    struct driver *d = arg;
    allowance_return(d->in->allowance, &driver_settings(d)->tenants[tenant], wall_ms);
}

static void quota_answered(struct allowance_waiter *w, enum inbound_quota_answer answer,
                           const struct inbound_quota *over)
{
    struct driver *d = CONTAINER_OF(w, struct driver, quota);
    bool used = inbound_quota_done(d->session, answer, over);
    if (answer == INBOUND_QUOTA_TAKEN && !used)
        env_quota_return(d, d->quota_tenant, clock_wall_ms());
    if (!d->asking_quota)
        driver_session_event(d);
}

static void env_quota_take(void *arg, int tenant)
{
    struct driver *d = arg;
    d->quota.answered = quota_answered;
    d->quota_tenant = tenant;
    d->asking_quota = true;
    allowance_take(d->in->allowance, &driver_settings(d)->tenants[tenant], &d->quota);
    d->asking_quota = false;
}

void driver_leave_tenant(struct driver *d)
{
    if (d->tenant >= 0)
        connections_tenant_leave(d->view->ports->shared->connections,
                                 driver_settings(d)->tenants[d->tenant].name);
    d->tenant = -1;
}

static bool env_tenant_enter(void *arg, int tenant)
{
    struct driver *d = arg;
    driver_leave_tenant(d);
    if (!connections_tenant_enter(d->view->ports->shared->connections, &driver_settings(d)->tenants[tenant]))
        return false;
    d->tenant = tenant;
    return true;
}

/* A log that cannot be read for the moment refuses nobody: the list is looked at again before each attempt.
 */
static const char *env_suppressed(void *arg, struct arena *a, int tenant, struct span address)
{
    struct driver *d = arg;
    const struct settings_tenant *t = &driver_settings(d)->tenants[tenant];
    Remuda__Suppression *found = NULL;
    struct suppression_query q = {.tenant = span_str(t->name), .address = address, .now_ms = clock_wall_ms()};
    if (t->suppression != SUPPRESSION_REJECT ||
        suppression_find(driver_node(d)->log, a, &q, &found) != RM_OK || !found)
        return NULL;
    return suppression_words(found, a);
}

static void env_lookup(void *arg, struct span domain)
{
    struct driver *d = arg;
    classify_begin(d->in->shard, domain);
}

/* The pool of a tenant by the settings the shard has now, which a reload may have changed since we began. */
static int pool_now(const struct driver *d, int tenant)
{
    const struct settings *now = d->in->shard->settings, *ours = driver_settings(d);
    const struct settings_tenant *t = &ours->tenants[tenant];
    if (!t->n_pools)
        return -1;
    if (now == ours)
        return t->pools[0];
    return router_pool_find(&now->router, span_str(ours->router.pools[t->pools[0]].name));
}

static int env_place(void *arg, struct arena *a, int tenant, struct span sender_domain,
                     Remuda__Submission *submission)
{
    struct driver *d = arg;
    struct shard *shard = d->in->shard;
    const struct router_config *router = &shard->settings->router;
    struct span domain = span_str(submission->domain);
    int pool = pool_now(d, tenant);
    if (pool < 0)
        return -1;
    const char *pool_name = router->pools[pool].name;
    const char *provider = router->providers[classify_now(shard, domain)].name;
    uint32_t part = lanes_pool_shard(router, pool, sender_domain, domain);
    int partition = lanes_partition(shard->node->lanes, pool_name, provider, part);
    if (partition < 0) { /* the table may be a moment behind the settings: `other` takes anything */
        provider = router->providers[ROUTER_OTHER].name;
        partition = lanes_partition(shard->node->lanes, pool_name, provider, part);
    }
    submission->pool = arena_strdup(a, pool_name);
    submission->provider = arena_strdup(a, provider);
    submission->shard = part;
    return partition;
}

static int env_place_feedback(void *arg, struct arena *a, int tenant, const struct token_claims *about,
                              Remuda__Submission *submission)
{
    struct driver *d = arg;
    struct shard *shard = d->in->shard;
    const struct router_config *router = &shard->settings->router;
    int source = return_path_source(router, about), provider = return_path_provider(router, about);
    if (source < 0 || router->sources[source].pool < 0) /* it has gone: any lane of the tenant will do */
        return env_place(arg, a, tenant, span_str(NULL), submission);
    const struct router_source *from = &router->sources[source];
    submission->pool = arena_strdup(a, router->pools[from->pool].name);
    submission->provider = arena_strdup(a, router->providers[provider < 0 ? ROUTER_OTHER : provider].name);
    submission->shard = from->shard;
    int partition = lanes_partition(shard->node->lanes, submission->pool, submission->provider, from->shard);
    return partition < 0 ? env_place(arg, a, tenant, span_str(NULL), submission) : partition;
}

static uint64_t env_table_version(void *arg)
{
    struct driver *d = arg;
    return lanes_version(driver_node(d)->lanes);
}

/* ---- the log --------------------------------------------------------------------------------------- */

struct append_op {
    struct list link;      /* of driver.appends */
    struct driver *driver; /* NULL: the connection has gone */
    uint64_t token;
};

static void append_done(void *arg, struct log_batch *b, int status)
{
    struct append_op *op = arg;
    struct driver *d = op->driver;
    uint64_t offset = status == RM_OK ? log_batch_offset(b, 0) : 0;
    if (d) {
        list_remove(&op->link);
        inbound_append_done(d->session, op->token, status, offset);
        driver_session_event(d);
    }
    free(op);
}

static void env_append(void *arg, const struct inbound_value *value)
{
    struct driver *d = arg;
    struct append_op *op = malloc(sizeof(*op));
    ENSURE(op);
    op->driver = d;
    op->token = value->token;
    list_push_back(&d->appends, &op->link);
    struct log_batch *b = log_batch_new(LOG_INTAKE);
    (void)log_batch_append(b, LOG_MAIL, value->partition, value->head, value->body, value->message);
    log_submit(d->in->shard->log, b, append_done, op);
}

/* ---- passwords ------------------------------------------------------------------------------------- */

struct auth_job {
    struct driver *driver; /* NULL: the connection has gone */
    struct ingress_view *view;
    struct buf user, password;
    const struct settings_user *account; /* NULL: no such user */
    int tenant;
    bool right;
};

static void auth_work(void *arg)
{
    struct auth_job *job = arg;
    job->right = password_check(buf_span(&job->password), job->account ? job->account->password_hash : NULL);
}

static void auth_job_free(struct auth_job *job)
{
    explicit_bzero(job->password.data, job->password.len);
    buf_fini(&job->password);
    buf_fini(&job->user);
    ingress_view_unref(job->view);
    free(job);
}

static void auth_answer(struct driver *d, bool right, int tenant, const struct settings_user *account)
{
    char client[ADDR_TEXT];
    if (!right)
        logger_log(driver_node(d)->logger, LOG_INFO, "smtp.auth_failed",
                   LF_STR("client", addr_text(&d->client, client)),
                   LF_STR("user", account ? account->name : "(unknown)"));
    inbound_auth_done(d->session, right ? INBOUND_AUTH_OK : INBOUND_AUTH_WRONG, tenant,
                      right ? account->name : NULL);
}

static void auth_done(void *arg)
{
    struct auth_job *job = arg;
    struct ingress_shared *shared = job->view->ports->shared;
    struct driver *d = job->driver;
    atomic_fetch_sub_explicit(&shared->password_checks, 1, memory_order_relaxed);
    if (job->right)
        password_cache_add(shared->passwords, buf_span(&job->user), buf_span(&job->password),
                           job->account->password_hash, clock_boot_us() / 1000);
    if (d) {
        d->auth = NULL;
        metric_add(d->in->auth[job->right ? AUTH_METRIC_OK : AUTH_METRIC_FAILED], 1);
        auth_answer(d, job->right, job->tenant, job->account);
        driver_session_event(d);
    }
    auth_job_free(job);
}

static void auth_refuse_busy(struct driver *d)
{
    metric_add(d->in->auth[AUTH_METRIC_BUSY], 1);
    inbound_auth_done(d->session, INBOUND_AUTH_TEMPORARY, -1, NULL);
}

static void auth_start(struct driver *d, struct auth_job *job)
{
    struct ingress_shared *shared = d->view->ports->shared;
    uint32_t before = atomic_fetch_add_explicit(&shared->password_checks, 1, memory_order_relaxed);
    if (before < PASSWORD_CHECKS_MOST && loop_work(d->in->shard->loop, auth_work, auth_done, job) == RM_OK) {
        d->auth = job;
        return;
    }
    atomic_fetch_sub_explicit(&shared->password_checks, 1, memory_order_relaxed);
    auth_job_free(job);
    auth_refuse_busy(d);
}

static void env_auth(void *arg, struct span user, struct span password)
{
    struct driver *d = arg;
    const struct settings_user *account = NULL;
    int tenant = settings_tenant_by_user(driver_settings(d), user, &account);
    if (tenant < 0)
        account = NULL;
    if (account && password_cache_has(d->view->ports->shared->passwords, user, password,
                                      account->password_hash, clock_boot_us() / 1000)) {
        metric_add(d->in->auth[AUTH_METRIC_CACHED], 1);
        auth_answer(d, true, tenant, account);
        return;
    }
    struct auth_job *job = calloc(1, sizeof(*job));
    ENSURE(job);
    job->driver = d;
    job->view = ingress_view_ref(d->view);
    job->tenant = tenant;
    job->account = account;
    buf_add_span(&job->user, user);
    buf_add_span(&job->password, password);
    auth_start(d, job);
}

void driver_detach(struct driver *d)
{
    for (struct list *l; (l = list_pop_front(&d->appends)) != NULL;)
        CONTAINER_OF(l, struct append_op, link)->driver = NULL;
    allowance_forget(&d->quota);
    if (d->auth)
        d->auth->driver = NULL;
}

const struct inbound_env driver_env = {
    .now_us = env_now_us,
    .wall_ms = env_wall_ms,
    .write = env_write,
    .close = env_close,
    .start_tls = env_start_tls,
    .auth = env_auth,
    .admit = env_admit,
    .crowded = env_crowded,
    .quota_take = env_quota_take,
    .quota_return = env_quota_return,
    .tenant_enter = env_tenant_enter,
    .suppressed = env_suppressed,
    .lookup = env_lookup,
    .place = env_place,
    .place_feedback = env_place_feedback,
    .table_version = env_table_version,
    .append = env_append,
    .accepted = env_accepted,
    .refused = env_refused,
    .make_id = env_make_id,
    .scratch = env_scratch,
};
