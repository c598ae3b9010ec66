/*
 * From a command line to its handler: the search for the verb, the parsing of its options, help. What the
 * verbs are is in verbs.c.
 */
#include "relay/ctl/ctl.h"

#include <stdlib.h>

#define COPTION "  %-22s %s\n"

/* ---- the table ---------------------------------------------------------------------------------------- */

/* How many words of the name the given words begin with; 0 when they differ. */
static int name_matches(const char *name, char **words, int n)
{
    struct span rest = span_str(name);
    int i = 0;
    while (rest.len > 0 && i < n) {
        if (!span_eq(span_cut(&rest, ' '), span_str(words[i])))
            return 0;
        i++;
    }
    return rest.len == 0 ? i : 0;
}

const struct ctl_verb *ctl_verb_find(char **words, int n, int *used)
{
    for (const struct ctl_verb *v = ctl_verbs; v->name; v++) {
        *used = name_matches(v->name, words, n);
        if (*used > 0)
            return v;
    }
    return NULL;
}

static int option_place(const struct ctl_verb *verb, struct span name)
{
    for (int i = 0; i < CTL_OPTIONS_MOST && verb->options[i].name; i++)
        if (span_eq(span_str(verb->options[i].name), name))
            return i;
    return -1;
}

const char *ctl_value(const struct ctl_call *call, const char *name)
{
    int place = option_place(call->verb, span_str(name));
    return place >= 0 ? call->values[place] : NULL;
}

bool ctl_flag(const struct ctl_call *call, const char *name)
{
    return ctl_value(call, name) != NULL;
}

const char *ctl_config_path(const struct ctl_call *call)
{
    const char *given = ctl_value(call, "--config");
    const char *environment = getenv("REMUDA_CONFIG");
    if (given)
        return given;
    return environment && environment[0] != '\0' ? environment : "/etc/remuda/remuda.yaml";
}

/* ---- help --------------------------------------------------------------------------------------------- */

static void verb_usage(const struct ctl_verb *verb, FILE *to)
{
    fprintf(to, "usage: remuda %s%s%s%s\n", verb->name, verb->options[0].name ? " [OPTIONS]" : "",
            verb->arguments[0] ? " " : "", verb->arguments);
}

static void verb_help(const struct ctl_verb *verb, FILE *to)
{
    verb_usage(verb, to);
    fprintf(to, "\n%s\n", verb->summary);
    if (verb->details[0])
        fprintf(to, "%s\n", verb->details);
    fputs("\noptions:\n", to);
    for (int i = 0; i < CTL_OPTIONS_MOST && verb->options[i].name; i++) {
        char left[64];
        snprintf(left, sizeof(left), "%s%s%s", verb->options[i].name, verb->options[i].argument ? " " : "",
                 verb->options[i].argument ? verb->options[i].argument : "");
        fprintf(to, COPTION, left, verb->options[i].help);
    }
    fprintf(to, COPTION, "--help", "this text");
}

static void exit_codes(FILE *to)
{
    fputs("exit codes: 0 done, 1 failed or not found, 2 wrong usage, 3 configuration error,\n"
          "            4 the relay cannot be reached\n",
          to);
}

static void program_help(FILE *to)
{
    fputs("usage: remuda VERB [OPTIONS] [ARGUMENTS]\n\nRemuda relays mail: from your servers to everyone "
          "else's.\n"
          "\nverbs:\n",
          to);
    for (const struct ctl_verb *v = ctl_verbs; v->name; v++) {
        char left[64];
        snprintf(left, sizeof(left), "%s%s%s", v->name, v->arguments[0] ? " " : "", v->arguments);
        fprintf(to, COPTION, left, v->summary);
    }
    fputs("\n`remuda VERB --help` tells more.\n", to);
    exit_codes(to);
}

void ctl_document(FILE *out)
{
    fputs("# The command line\n\nPrinted by `remuda cli document`; do not edit.\n\n```\n", out);
    program_help(out);
    fputs("```\n", out);
    for (const struct ctl_verb *v = ctl_verbs; v->name; v++) {
        fprintf(out, "\n## remuda %s\n\n```\n", v->name);
        verb_help(v, out);
        fputs("```\n", out);
    }
}

/* ---- parsing ------------------------------------------------------------------------------------------ */

static int wrong(const struct ctl_call *call, const char *what, const char *word)
{
    fprintf(call->err, "remuda %s: %s%s%s\n", call->verb->name, what, word[0] ? ": " : "", word);
    verb_usage(call->verb, call->err);
    fprintf(call->err, "`remuda %s --help` tells more.\n", call->verb->name);
    return CTL_USAGE;
}

/* Takes the option at words[0] ("--name value", "--name=value" or a flag); returns the words used, 0:
 * reported. */
static int take_option(struct ctl_call *call, char **words, int n)
{
    struct span value = span_str(words[0]);
    struct span name = span_cut(&value, '=');
    int place = option_place(call->verb, name);
    if (place < 0) {
        (void)wrong(call, "unknown option", words[0]);
        return 0;
    }
    bool wants = call->verb->options[place].argument != NULL, inlined = value.ptr != NULL;
    if (call->values[place] || (!wants && inlined) || (wants && !inlined && n < 2)) {
        (void)wrong(call,
                    call->values[place] ? "option given twice"
                    : wants             ? "option needs a value"
                                        : "option takes no value",
                    words[0]);
        return 0;
    }
    call->values[place] = !wants ? "" : inlined ? value.ptr : words[1];
    return wants && !inlined ? 2 : 1;
}

static int parse(struct ctl_call *call, char **words, int n)
{
    int n_arguments = 0;
    for (int i = 0; i < n;) {
        bool option = strncmp(words[i], "--", 2) == 0 && words[i][2] != '\0';
        if (!option && n_arguments == call->verb->n_arguments)
            return wrong(call, "unexpected argument", words[i]);
        int used = 1;
        if (option)
            used = take_option(call, words + i, n - i);
        else
            call->arguments[n_arguments++] = words[i];
        if (used == 0)
            return CTL_USAGE;
        i += used;
    }
    if (n_arguments < call->verb->n_arguments && call->verb->arguments[0] != '[')
        return wrong(call, "an argument is missing", call->verb->arguments);
    return CTL_OK;
}

static bool asks_help(char **words, int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(words[i], "--help") == 0 || strcmp(words[i], "-h") == 0)
            return true;
    return false;
}

/* "remuda dead": the verbs that begin with the words; false when there are none. */
static bool family_help(char **words, int n, FILE *to)
{
    bool any = false;
    size_t len = n > 0 ? strlen(words[0]) : 0;
    for (const struct ctl_verb *v = ctl_verbs; n > 0 && v->name; v++) {
        if (strncmp(v->name, words[0], len) != 0 || v->name[len] != ' ')
            continue;
        fprintf(to, "%sremuda %s%s%s\n", any ? "       " : "usage: ", v->name, v->arguments[0] ? " " : "",
                v->arguments);
        any = true;
    }
    return any;
}

static int no_verb(char **words, int n, FILE *out, FILE *err)
{
    bool help = asks_help(words, n) || (n > 0 && strcmp(words[0], "help") == 0);
    if (family_help(words, n, help ? out : err))
        return help ? CTL_OK : CTL_USAGE;
    if (help) {
        program_help(out);
        return CTL_OK;
    }
    if (n > 0)
        fprintf(err, "remuda: no such verb: %s\n`remuda --help` lists them.\n", words[0]);
    else
        program_help(err);
    return CTL_USAGE;
}

int ctl_run(int argc, char **argv, int (*relay)(const char *config_path, const char *roles), FILE *out,
            FILE *err)
{
    int used, n = argc > 0 ? argc - 1 : 0;
    char **words = argv + 1;
    if (n > 0 && strcmp(words[0], "--version") == 0)
        return ctl_version(&(struct ctl_call){.out = out, .err = err});
    struct ctl_call call = {.verb = ctl_verb_find(words, n, &used), .relay = relay, .out = out, .err = err};
    if (!call.verb)
        return no_verb(words, n, out, err);
    if (asks_help(words + used, n - used)) {
        verb_help(call.verb, out);
        return CTL_OK;
    }
    int rc = parse(&call, words + used, n - used);
    return rc == CTL_OK ? call.verb->run(&call) : rc;
}

int ctl_main(int argc, char **argv, int (*relay)(const char *config_path, const char *roles))
{
    int rc = ctl_run(argc, argv, relay, stdout, stderr);
    if (fflush(stdout) != 0 && rc == CTL_OK)
        rc = CTL_FAILED;
    return rc;
}
