/* A verb's question to the running relay, and the exit codes of what can go wrong on the way. */
#ifndef REMUDA_RELAY_CTL_CLIENT_H
#define REMUDA_RELAY_CTL_CLIENT_H

#include "relay/ctl/ctl.h"
#include "relay/ctl/http.h"

/*
 * Where the relay's admin listener is: --admin, or what the configuration says. Writes a NUL-terminated
 * address; CTL_CONFIG (reported on call->err) when the configuration cannot be loaded or has none.
 */
int client_address(struct ctl_call *call, char *out, size_t room);

/* Reports on call->err why http_request at the address gave rc (not RM_OK); returns the exit code for it. */
int client_trouble(struct ctl_call *call, const char *address, int rc);

/*
 * Asks; CTL_OK and a new reference in *out. Otherwise what went wrong was reported: CTL_UNREACHABLE,
 * CTL_CONFIG, CTL_USAGE (it does not understand an argument), CTL_FAILED (any other error of the relay's);
 * both in its words.
 */
int client_ask(struct ctl_call *call, const char *method, const char *path, json_t **out);

/* GET from the relay at that address; likewise. */
int client_ask_at(struct ctl_call *call, const char *address, const char *path, json_t **out);

/* `explain ID` (past.c). */
int past_explain(struct ctl_call *call);

/* With --json: prints v and returns true. */
bool client_prints_json(struct ctl_call *call, const json_t *v);

#endif
