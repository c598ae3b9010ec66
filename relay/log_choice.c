/* Opening the log of the settings' backend. */
#include "relay/log_choice.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "queue/embedded/embedded.h"
#include "queue/kafka/kafka.h"
#include "queue/memory/memory.h"

static void failed(struct logger *logger, const char *dir, int err, const char *why)
{
    if (!logger)
        return;
    if (err == RM_ELOCKED)
        why = "the data directory is in use by another relay";
    logger_log(logger, LOG_ERROR, "log.open_failed", LF_STR("dir", dir), LF_STR("error", rm_strerror(err)),
               LF_STR("why", why));
}

static int open_embedded(const struct settings *s, const struct log_options *common, struct logger *logger,
                         struct log **out)
{
    char dir[4096];
    const char *why = "";
    snprintf(dir, sizeof(dir), "%s/log", s->data);
    struct embedded_options o = {.dir = dir, .map_bytes = s->map_bytes, .sync = s->log_sync};
    int err = embedded_log_open(&o, common, out, &why);
    if (err != RM_OK)
        failed(logger, dir, err, why);
    else if (!s->log_sync && logger)
        logger_log(logger, LOG_WARN, "log.unsynced",
                   LF_STR("what", "log.sync is false: accepted mail can be lost when the power fails"));
    return err;
}

/* Traces and searches are for the whole cluster: whoever answers them reads all events, and all states, whose
 * claims tell who has what. So are tenants'
 * limits, and what is known of tenants: whoever may get partition 0 judges by it. */
static unsigned followed(const struct settings *s)
{
    unsigned admin = settings_has_role(s, "admin") ? 1u << LOG_EVENTS | 1u << LOG_STATE : 0;
    unsigned quota = settings_has_role(s, "ingress") ? 1u << LOG_QUOTA : 0;
    unsigned evidence = settings_has_role(s, "delivery") ? 1u << LOG_EVIDENCE : 0;
    return admin | quota | evidence;
}

static int open_kafka(const struct settings *s, const char *dir, unsigned follow,
                      const struct log_options *common, struct logger *logger, struct log **out)
{
    char why[KAFKA_WHY_MOST] = "";
    struct buf brokers = BUF_INIT;
    for (int i = 0; i < s->kafka.n_brokers; i++)
        buf_printf(&brokers, "%s%s", i ? "," : "", s->kafka.brokers[i]);
    struct kafka_options o = {.dir = dir,
                              .brokers = buf_cstr(&brokers),
                              .prefix = s->kafka.prefix,
                              .map_bytes = s->map_bytes,
                              .follow = follow,
                              .development = s->kafka.development,
                              .tls = s->kafka.tls,
                              .ca = s->kafka.ca,
                              .mechanism = s->kafka.mechanism,
                              .user = s->kafka.user,
                              .password = s->kafka.password};
    int err = kafka_log_open(&o, common, out, why);
    if (err != RM_OK)
        failed(logger, dir, err, why);
    buf_fini(&brokers);
    return err;
}

int log_choice_open(const struct settings *s, const struct log_options *common, struct logger *logger,
                    struct log **out)
{
    if (strcmp(s->log_backend, "memory") == 0)
        return memory_log_open(common, out);
    if (strcmp(s->log_backend, "kafka") == 0) {
        char dir[4096];
        snprintf(dir, sizeof(dir), "%s/kafka-cache", s->data);
        return open_kafka(s, dir, followed(s), common, logger, out);
    }
    return open_embedded(s, common, logger, out);
}

int log_choice_open_beside(const struct settings *s, const char *name, const struct log_options *common,
                           struct logger *logger, struct log **out)
{
    char dir[4096];
    snprintf(dir, sizeof(dir), "%s/%s", s->data, name);
    if (strcmp(s->log_backend, "kafka") == 0)
        return open_kafka(s, dir, 1u << LOG_QUOTA, common, logger, out);
    return log_choice_open(s, common, logger, out);
}

void log_choice_name(const struct settings *s, char *out, size_t room)
{
    char path[PATH_MAX];
    if (strcmp(s->log_backend, "kafka") != 0) {
        snprintf(out, room, "%s log in %s", s->log_backend, realpath(s->data, path) ? path : s->data);
        return;
    }
    int n = snprintf(out, room, "kafka topics %s.* at ", s->kafka.prefix);
    for (int i = 0; i < s->kafka.n_brokers && n > 0 && (size_t)n < room; i++)
        n += snprintf(out + n, room - (size_t)n, "%s%s", i ? "," : "", s->kafka.brokers[i]);
}
