/*
 * The command line: one table of verbs (name, arguments, help, options, handler), from which dispatch, --help
 * and usage errors come. Handlers write to call->out and say what went wrong to call->err, so that tests can
 * run them whole.
 */
#ifndef REMUDA_RELAY_CTL_CTL_H
#define REMUDA_RELAY_CTL_CTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "lib/base/span.h"

enum ctl_exit {
    CTL_OK = 0,
    CTL_FAILED = 1,      /* it was tried and did not work, or what was asked for is not there */
    CTL_USAGE = 2,       /* the command line does not parse */
    CTL_CONFIG = 3,      /* the configuration cannot be loaded */
    CTL_UNREACHABLE = 4, /* the relay's admin listener does not answer */
};

enum { CTL_OPTIONS_MOST = 12, CTL_ARGUMENTS_MOST = 4 };

struct ctl_option {
    const char *name;     /* "--lane" */
    const char *argument; /* "LANE"; NULL for a flag */
    const char *help;
};

struct ctl_call;
typedef int (*ctl_handler)(struct ctl_call *call);

struct ctl_verb {
    const char *name;                            /* "trace", "dead list" */
    const char *arguments;                       /* "ID", "" for none */
    int n_arguments;                             /* exactly so many; with "[ID]" also none */
    const char *summary;                         /* one line, for `remuda --help` */
    const char *details;                         /* for `remuda VERB --help`; "" for none */
    struct ctl_option options[CTL_OPTIONS_MOST]; /* ends with name NULL */
    ctl_handler run;
};

/* A command line in its handler's hands. */
struct ctl_call {
    const struct ctl_verb *verb;
    const char
        *values[CTL_OPTIONS_MOST]; /* of the options, by place in the table; "" for a flag that is set */
    const char *arguments[CTL_ARGUMENTS_MOST];
    int (*relay)(const char *config_path, const char *roles); /* what "run" does */
    FILE *out, *err;
};

/* The verbs, ending with name NULL. */
extern const struct ctl_verb ctl_verbs[];

/* The verb of which the words (n of them) begin with the name; *used: how many words that were. NULL: none.
 */
const struct ctl_verb *ctl_verb_find(char **words, int n, int *used);

/* The whole program: returns its exit code. relay is called for "run" with the
 * configuration's path and the value of --roles, or NULL. */
int ctl_main(int argc, char **argv, int (*relay)(const char *config_path, const char *roles));
/* The same with other streams than stdout and stderr, for tests. */
int ctl_run(int argc, char **argv, int (*relay)(const char *config_path, const char *roles), FILE *out,
            FILE *err);

/* Value of an option by name, NULL when it was not given. */
const char *ctl_value(const struct ctl_call *call, const char *name);
bool ctl_flag(const struct ctl_call *call, const char *name);
/* --config, else $REMUDA_CONFIG, else /etc/remuda/remuda.yaml. */
const char *ctl_config_path(const struct ctl_call *call);

/* docs/CLI.md. */
void ctl_document(FILE *out);

/* Handlers, in the files of this folder named for what they do. */
int ctl_run_relay(struct ctl_call *call);
int ctl_run_egress(struct ctl_call *call);
int ctl_version(struct ctl_call *call);
int ctl_check(struct ctl_call *call);
int ctl_config_document(struct ctl_call *call);
int ctl_metrics_document(struct ctl_call *call);
int ctl_cli_document(struct ctl_call *call);
int ctl_trace(struct ctl_call *call);
int ctl_search(struct ctl_call *call);
int ctl_queue(struct ctl_call *call);
int ctl_explain(struct ctl_call *call);
int ctl_why(struct ctl_call *call);
int ctl_simulate(struct ctl_call *call);
int ctl_events(struct ctl_call *call);
int ctl_warmup(struct ctl_call *call);
int ctl_warmup_mark(struct ctl_call *call);
int ctl_warmup_export(struct ctl_call *call);
int ctl_warmup_import(struct ctl_call *call);
int ctl_quarantine_list(struct ctl_call *call);
int ctl_quarantine_review(struct ctl_call *call);
int ctl_quarantine_lift(struct ctl_call *call);
int ctl_quarantine_keep(struct ctl_call *call);
int ctl_lanes_list(struct ctl_call *call);
int ctl_lanes_move(struct ctl_call *call);
int ctl_lanes_spread(struct ctl_call *call);
int ctl_partitions_grow(struct ctl_call *call);
int ctl_alerts_list(struct ctl_call *call);
int ctl_alerts_clear(struct ctl_call *call);
int ctl_alive(struct ctl_call *call);
int ctl_audit_mail(struct ctl_call *call);
int ctl_dead_list(struct ctl_call *call);
int ctl_dead_show(struct ctl_call *call);
int ctl_dead_replay(struct ctl_call *call);
int ctl_hash_password(struct ctl_call *call);
int ctl_compact(struct ctl_call *call);
int ctl_migrate(struct ctl_call *call);
int ctl_suppression_list(struct ctl_call *call);
int ctl_suppression_lookup(struct ctl_call *call);
int ctl_suppression_add(struct ctl_call *call);
int ctl_suppression_remove(struct ctl_call *call);
int ctl_suppression_export(struct ctl_call *call);
int ctl_suppression_import(struct ctl_call *call);
int ctl_crash_points(struct ctl_call *call);
int ctl_rules_list(struct ctl_call *call);
int ctl_rules_check(struct ctl_call *call);
int ctl_rules_test(struct ctl_call *call);
int ctl_rules_unknown(struct ctl_call *call);

#endif
