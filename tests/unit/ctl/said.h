/* A command line run inside a test: what it printed, and its exit code. */
#ifndef REMUDA_TESTS_UNIT_CTL_SAID_H
#define REMUDA_TESTS_UNIT_CTL_SAID_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/ctl/ctl.h"

struct said {
    int rc;
    char *out, *err; /* said_free */
};

/* Runs "remuda " + line, split at spaces; relay as for ctl_run. */
static inline struct said said_by(const char *line, int (*relay)(const char *config_path, const char *roles))
{
    char words[1024], *argv[40] = {"remuda"};
    int argc = 1;
    snprintf(words, sizeof(words), "%s", line);
    for (char *save = NULL, *w = strtok_r(words, " ", &save); w && argc < 39; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    struct said s = {0};
    size_t n;
    FILE *out = open_memstream(&s.out, &n), *err = open_memstream(&s.err, &n);
    s.rc = ctl_run(argc, argv, relay, out, err);
    fclose(out);
    fclose(err);
    return s;
}

static inline void said_free(struct said *s)
{
    free(s->out);
    free(s->err);
}

#endif
