/* The verb "run": the relay itself, in the foreground. */
#ifndef REMUDA_RELAY_RUN_H
#define REMUDA_RELAY_RUN_H

/*
 * Loads the configuration, opens the log, starts the shards and returns after a stop (SIGTERM, SIGINT).
 * The exit code of the process: see relay/ctl/ctl.h.
 */
int run_command(const char *config_path, const char *roles);

#endif
