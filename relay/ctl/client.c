/* From a verb to the admin listener and back: address, request, errors. */
#include "relay/ctl/client.h"

#include "relay/config/settings.h"
#include "relay/ctl/text.h"

int client_address(struct ctl_call *call, char *out, size_t room)
{
    const char *given = ctl_value(call, "--admin");
    if (given) {
        snprintf(out, room, "%s", given);
        return CTL_OK;
    }
    struct settings *settings;
    struct buf error = BUF_INIT;
    int rc = settings_load(ctl_config_path(call), &settings, &error);
    if (rc != RM_OK) {
        fprintf(call->err, "%s(or name the relay's admin listener with --admin ADDR:PORT)\n",
                buf_cstr(&error));
        buf_fini(&error);
        return CTL_CONFIG;
    }
    if (settings->admin.address)
        snprintf(out, room, "%s", settings->admin.address);
    else
        fprintf(call->err, "%s: no admin listener is configured (admin.address)\n", ctl_config_path(call));
    rc = settings->admin.address ? CTL_OK : CTL_CONFIG;
    settings_unref(settings);
    buf_fini(&error);
    return rc;
}

int client_trouble(struct ctl_call *call, const char *address, int rc)
{
    if (rc == RM_EINVAL)
        fprintf(call->err, "remuda: %s is not ADDR:PORT\n", address);
    else if (rc == RM_EREFUSED)
        fprintf(call->err, "remuda: nobody answers at %s: is the relay running?\n", address);
    else
        fprintf(call->err, "remuda: %s: %s\n", address, rm_strerror(rc));
    return rc == RM_EINVAL ? CTL_USAGE : CTL_UNREACHABLE;
}

/* What an answer leaves out because it is other nodes': never silently, and beside what is for scripts. */
static void tell_elsewhere(struct ctl_call *call, const json_t *v)
{
    const json_t *elsewhere = json_object_get(v, "elsewhere"), *one;
    size_t i, n = json_array_size(elsewhere);
    if (!n)
        return;
    fprintf(call->err, "remuda: without %zu of %llu partitions, which other nodes have (ask them too):", n,
            (unsigned long long)text_num(v, "partitions"));
    json_array_foreach(elsewhere, i, one)
    {
        fprintf(call->err, "%s %llu ", i ? "," : "", (unsigned long long)text_num(one, "partition"));
        text_print(call->err, text_get(one, "node")[0] ? text_get(one, "node") : "(not known)", 8);
    }
    fputc('\n', call->err);
}

/* What the relay said, decoded; an error of its own is printed. */
static int digest(struct ctl_call *call, struct http_answer *answer, json_t **out)
{
    json_error_t error;
    json_t *v = json_loadb(answer->body.data ? answer->body.data : "", answer->body.len, 0, &error);
    bool ok = v && answer->status >= 200 && answer->status < 300;
    if (ok) {
        tell_elsewhere(call, v);
        *out = v;
        return CTL_OK;
    }
    fputs("remuda: ", call->err);
    text_print(call->err, v ? text_get(v, "error") : "the relay's answer is not understood", 8);
    fputc('\n', call->err);
    json_decref(v);
    return answer->status == 400 ? CTL_USAGE : CTL_FAILED;
}

static int ask(struct ctl_call *call, const char *address, const char *method, const char *path, json_t **out)
{
    struct http_answer answer;
    *out = NULL;
    int rc = http_request(address, method, path, &answer);
    rc = rc == RM_OK ? digest(call, &answer, out) : client_trouble(call, address, rc);
    buf_fini(&answer.body);
    return rc;
}

int client_ask(struct ctl_call *call, const char *method, const char *path, json_t **out)
{
    char address[128];
    *out = NULL;
    int rc = client_address(call, address, sizeof(address));
    return rc == CTL_OK ? ask(call, address, method, path, out) : rc;
}

int client_ask_at(struct ctl_call *call, const char *address, const char *path, json_t **out)
{
    return ask(call, address, "GET", path, out);
}

bool client_prints_json(struct ctl_call *call, const json_t *v)
{
    if (!ctl_flag(call, "--json"))
        return false;
    json_dumpf(v, call->out, JSON_INDENT(2));
    fputc('\n', call->out);
    return true;
}
