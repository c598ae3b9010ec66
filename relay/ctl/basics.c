/* The verbs that need no running relay, and alive: run, version, check, the printed references. */
#include "lib/base/crashpoint.h"
#include "lib/base/metrics.h"
#include "relay/api/admin.h"
#include "relay/config/settings.h"
#include "relay/ctl/client.h"
#include "relay/ctl/text.h"
#include "relay/metrics_table.h"
#include "relay/version.h"

int ctl_run_relay(struct ctl_call *call)
{
    return call->relay(ctl_config_path(call), ctl_value(call, "--roles"));
}

int ctl_run_egress(struct ctl_call *call)
{
    return call->relay(ctl_config_path(call), "egress,admin");
}

int ctl_version(struct ctl_call *call)
{
    fprintf(call->out, "remuda %s\n", REMUDA_VERSION);
    return CTL_OK;
}

int ctl_crash_points(struct ctl_call *call)
{
    if (!crash_points_built()) {
        fprintf(call->err, "this build has no crash points\n");
        return CTL_FAILED;
    }
    for (int p = 0; p < CRASH_POINTS; p++)
        fprintf(call->out, "%-20s %s\n", crash_point_name((enum crash_point)p),
                crash_point_what((enum crash_point)p));
    return CTL_OK;
}

static void print_summary(const struct settings *s, FILE *out)
{
    fprintf(
        out,
        "node %s: %d listener(s), %d tenant(s), %d source(s) in %d pool(s), %d provider(s), %d route(s)\n",
        s->name ? s->name : "", s->n_listeners, s->n_tenants, s->router.n_sources, s->router.n_pools,
        s->router.n_providers, s->n_routes);
}

int ctl_check(struct ctl_call *call)
{
    struct settings *s;
    struct buf error = BUF_INIT;
    const char *path = ctl_config_path(call), *why = "";
    int rc = settings_load(path, &s, &error);
    if (rc != RM_OK) {
        fputs(buf_cstr(&error), call->err);
        buf_fini(&error);
        return CTL_CONFIG;
    }
    rc = s->admin.address ? admin_address_check(s->admin.address, &why) : RM_OK;
    if (rc == RM_OK) {
        fprintf(call->out, "%s: valid\n", path);
        print_summary(s, call->out);
    } else {
        fprintf(call->err, "%s: admin.address %s: %s\n", path, s->admin.address, why);
    }
    settings_unref(s);
    buf_fini(&error);
    return rc == RM_OK ? CTL_OK : CTL_CONFIG;
}

static int print_buf(struct ctl_call *call, struct buf *text)
{
    size_t n = fwrite(text->data ? text->data : "", 1, text->len, call->out);
    bool whole = n == text->len;
    buf_fini(text);
    return whole ? CTL_OK : CTL_FAILED;
}

int ctl_config_document(struct ctl_call *call)
{
    struct buf text = BUF_INIT;
    settings_document(&text);
    return print_buf(call, &text);
}

int ctl_metrics_document(struct ctl_call *call)
{
    struct buf text = BUF_INIT;
    buf_add_str(
        &text,
        "# Metrics\n\nPrinted by `remuda metrics document`; do not edit. Served at /metrics of the admin "
        "listener.\n\n");
    metrics_document(metric_table, METRIC_ROWS, &text);
    return print_buf(call, &text);
}

int ctl_cli_document(struct ctl_call *call)
{
    ctl_document(call->out);
    return CTL_OK;
}

int ctl_alive(struct ctl_call *call)
{
    char address[128];
    int rc = client_address(call, address, sizeof(address));
    if (rc != CTL_OK)
        return rc;
    struct http_answer answer;
    rc = http_request(address, "GET", "/readyz", &answer);
    if (rc == RM_OK)
        text_print(answer.status == 200 ? call->out : call->err, buf_cstr(&answer.body), 0);
    bool ready = answer.status == 200;
    buf_fini(&answer.body);
    if (rc != RM_OK)
        return client_trouble(call, address, rc);
    return ready ? CTL_OK : CTL_FAILED;
}
