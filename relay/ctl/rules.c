/* The rules by which answers are understood: list, check, try a reply; and what the relay did not understand.
 */
#include <stdlib.h>
#include <unistd.h>

#include "relay/api/json.h"
#include "relay/config/settings.h"
#include "relay/ctl/client.h"
#include "relay/ctl/text.h"

/* Rules and whom they belong to: a configuration, or nobody. */
struct loaded {
    struct settings *settings;
    struct router_rules *own;
    const struct router_rules *rules;
};

static int load_file(struct ctl_call *call, const char *path, struct loaded *out)
{
    struct buf text = BUF_INIT;
    struct conf_errors errors = {.out = &text};
    int err = router_rules_load(path, &errors, &out->own);
    if (err)
        fprintf(call->err, "%s", buf_cstr(&text));
    buf_fini(&text);
    out->rules = out->own;
    return err ? CTL_CONFIG : CTL_OK;
}

/* --rules FILE; else the configuration's; else, when none was named and there is none, those built in. */
static int load(struct ctl_call *call, struct loaded *out)
{
    struct buf error = BUF_INIT;
    const char *path = ctl_value(call, "--rules"), *config = ctl_config_path(call);
    bool named = ctl_value(call, "--config") || getenv("REMUDA_CONFIG");
    *out = (struct loaded){NULL, NULL, NULL};
    if (path || (!named && access(config, F_OK) != 0))
        return load_file(call, path, out);
    int err = settings_load(config, &out->settings, &error);
    if (err)
        fprintf(call->err, "%s\n", buf_cstr(&error));
    else
        out->rules = out->settings->rules;
    buf_fini(&error);
    return err ? CTL_CONFIG : CTL_OK;
}

static void unload(struct loaded *l)
{
    router_rules_free(l->own);
    settings_unref(l->settings);
}

static bool holds_for(const struct router_rule_view *v, const char *provider)
{
    for (int i = 0; provider && i < v->n_providers; i++)
        if (strcmp(v->providers[i], provider) == 0)
            return true;
    return !provider || v->n_providers == 0;
}

static json_t *rule_json(const struct router_rule_view *v)
{
    json_t *o = json_object(), *list = json_array();
    json_set_text(o, "name", v->name);
    for (int i = 0; i < v->n_providers; i++)
        json_array_append_new(list, json_text(span_str(v->providers[i])));
    json_object_set_new(o, "providers", list);
    json_set_text(o, "code", v->code);
    json_set_text(o, "enhanced", v->enhanced);
    json_set_text(o, "pattern", v->pattern);
    json_set_text(o, "class", answer_class_text(v->verdict.class));
    json_set_text(o, "blame", answer_blame_text(v->verdict.blame));
    json_set_text(o, "reaction", answer_reaction_text(v->verdict.reaction));
    json_set_num(o, "wait_ms", v->verdict.wait_ms);
    json_set_text(o, "file", v->file);
    json_set_num(o, "line", (uint64_t)v->line);
    return o;
}

static void print_rule(struct text_table *t, const struct router_rule_view *v)
{
    struct buf who = BUF_INIT;
    for (int i = 0; i < v->n_providers; i++)
        buf_printf(&who, "%s%s", i ? "," : "", v->providers[i]);
    text_table_cell(t, v->name);
    text_table_cell(t, v->n_providers ? buf_cstr(&who) : "any");
    text_table_cell(t, v->code ? v->code : "-");
    text_table_cell(t, v->enhanced ? v->enhanced : "-");
    text_table_cell(t, v->pattern ? "yes" : "-");
    text_table_cell(t, answer_class_text(v->verdict.class));
    text_table_cell(t, answer_blame_text(v->verdict.blame));
    text_table_cell(t, answer_reaction_text(v->verdict.reaction));
    text_table_number(t, (uint64_t)v->line);
    buf_fini(&who);
}

int ctl_rules_list(struct ctl_call *call)
{
    static const char *const header[] = {"RULE",  "PROVIDERS", "CODE",     "ENHANCED", "PATTERN",
                                         "CLASS", "BLAMES",    "REACTION", ">LINE"};
    struct loaded l;
    int rc = load(call, &l);
    if (rc != CTL_OK)
        return rc;
    struct text_table *t = text_table_new(header, 9);
    json_t *all = json_array();
    for (int i = 0; i < router_rules_count(l.rules); i++) {
        struct router_rule_view v;
        router_rules_view(l.rules, i, &v);
        if (!holds_for(&v, ctl_value(call, "--provider")))
            continue;
        if (ctl_flag(call, "--json"))
            json_array_append_new(all, rule_json(&v));
        else
            print_rule(t, &v);
    }
    bool json = client_prints_json(call, all);
    text_table_print(t, json ? call->err : call->out);
    json_decref(all);
    unload(&l);
    return CTL_OK;
}

int ctl_rules_check(struct ctl_call *call)
{
    struct loaded l = {NULL, NULL, NULL};
    int rc = load_file(call, call->arguments[0], &l);
    if (rc == CTL_OK)
        fprintf(call->out, "%s: valid, %d rules\n", call->arguments[0], router_rules_count(l.rules));
    unload(&l);
    return rc;
}

static json_t *answer_json(const struct router_answer *a)
{
    json_t *o = json_object();
    json_set_text(o, "rule", a->rule);
    json_set_text(o, "class", answer_class_text(a->class));
    json_set_text(o, "blame", answer_blame_text(a->blame));
    json_set_text(o, "reaction", answer_reaction_text(a->reaction));
    json_object_set_new(o, "hard", json_boolean(a->hard));
    json_object_set_new(o, "elsewhere", json_boolean(answer_elsewhere(a)));
    json_set_num(o, "wait_ms", a->wait_ms);
    json_set_true(o, "asked", a->asked);
    json_set_text(o, "list", a->list);
    return o;
}

static void print_answer(const struct router_answer *a, FILE *out)
{
    char room[TEXT_ROOM];
    fprintf(out, "rule      %s\nclass     %s", a->rule, answer_class_text(a->class));
    if (a->list[0]) {
        fputs(" (", out);
        text_print(out, a->list, 0);
        fputc(')', out);
    }
    fprintf(out, "\nblames    %s\nreaction  %s\n", answer_blame_text(a->blame),
            answer_reaction_text(a->reaction));
    fprintf(out, "message   %s\n",
            a->class == ANSWER_ACCEPTED ? "accepted"
            : a->hard                   ? "bounces"
            : answer_elsewhere(a)       ? "is tried again, at once from another source"
                                        : "is tried again");
    if (a->wait_ms)
        fprintf(out, "wait      %s, %s\n", text_age(a->wait_ms, room),
                a->asked ? "asked for by the reply" : "by the rule");
}

int ctl_rules_test(struct ctl_call *call)
{
    char text[ROUTER_REPLY_MOST * 2];
    struct router_reply reply = {.code = 0};
    const char *provider = ctl_value(call, "--provider");
    if (!router_reply_read(span_str(call->arguments[0]), &reply, text, sizeof(text))) {
        fputs("remuda: REPLY: expected a reply with its code in front, such as \"550 5.1.1 No such user\"\n",
              call->err);
        return CTL_USAGE;
    }
    struct loaded l;
    int rc = load(call, &l);
    if (rc != CTL_OK)
        return rc;
    reply.provider = span_str(provider ? provider : "other");
    struct pattern_scratch *scratch = pattern_scratch_new();
    struct router_answer answer;
    router_rules_judge(l.rules, scratch, &reply, &answer);
    json_t *v = answer_json(&answer);
    if (!client_prints_json(call, v))
        print_answer(&answer, call->out);
    json_decref(v);
    pattern_scratch_free(scratch);
    unload(&l);
    return CTL_OK;
}

static void print_unknown(const json_t *v, FILE *out)
{
    static const char *const header[] = {">TIMES", "PROVIDER", ">CODE", "LAST", "WORDS"};
    const json_t *list = json_object_get(v, "unknown");
    size_t i;
    json_t *k;
    if (json_array_size(list) == 0) {
        fputs("no answer was unknown since the start\n", out);
        return;
    }
    struct text_table *t = text_table_new(header, 5);
    json_array_foreach(list, i, k)
    {
        char room[TEXT_ROOM];
        text_table_number(t, text_num(k, "count"));
        text_table_cell(t, text_get(k, "provider"));
        text_table_number(t, text_num(k, "code"));
        text_table_cell(t, text_time(text_num(k, "last_ms"), room));
        text_table_cell(t, text_get(k, "masked"));
    }
    text_table_print(t, out);
}

int ctl_rules_unknown(struct ctl_call *call)
{
    struct buf path = BUF_INIT;
    json_t *v;
    buf_add_str(&path, "/v1/rules/unknown");
    http_path_add(&path, "limit", ctl_value(call, "--limit"));
    int rc = client_ask(call, "GET", buf_cstr(&path), &v);
    buf_fini(&path);
    if (rc == CTL_OK && !client_prints_json(call, v))
        print_unknown(v, call->out);
    json_decref(v);
    return rc;
}
