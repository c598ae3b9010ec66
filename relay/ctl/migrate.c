/* migrate: the two configurations, and asking the relay that runs on the first one to stop. */
#include "relay/migrate/migrate.h"

#include "relay/ctl/client.h"

/* It answers before it stops. */
static int stop_relay(void *arg, const char *to)
{
    struct ctl_call *call = arg;
    struct buf path = BUF_INIT;
    json_t *v;
    buf_add_str(&path, "/v1/migrate");
    http_path_add(&path, "to", to);
    int rc = client_ask(call, "POST", buf_cstr(&path), &v);
    buf_fini(&path);
    json_decref(v);
    return rc == CTL_OK ? RM_OK : RM_EREFUSED;
}

static int load(struct ctl_call *call, const char *path, const char *roles, struct settings **out)
{
    struct buf error = BUF_INIT;
    int rc = settings_load_as(path, roles, out, &error);
    if (rc != RM_OK)
        fprintf(call->err, "%s", buf_cstr(&error));
    buf_fini(&error);
    return rc == RM_OK ? CTL_OK : CTL_CONFIG;
}

int ctl_migrate(struct ctl_call *call)
{
    struct settings *from = NULL, *to = NULL;
    const char *path = ctl_value(call, "--to");
    if (!path) {
        fputs("remuda: migrate needs --to FILE, the configuration of the log that it moves to\n", call->err);
        return CTL_USAGE;
    }
    int code = load(call, ctl_config_path(call), NULL, &from);
    if (code == CTL_OK)
        code = load(call, path, NULL, &to);
    if (code == CTL_OK) {
        struct migrate_options o = {.from = from,
                                    .to = to,
                                    .out = call->out,
                                    .err = call->err,
                                    .stop_relay = stop_relay,
                                    .arg = call};
        code = migrate_run(&o);
    }
    settings_unref(from);
    settings_unref(to);
    return code;
}
