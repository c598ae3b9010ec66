/* The log's settings that more than one key decides: the way to the Kafka brokers. */
#include <errno.h>
#include <stdio.h>

#include "relay/config/settings_private.h"

enum { PASSWORD_MOST = 1000 };

static const char *read_password(const struct settings_load *l, const struct conf_node *place,
                                 const char *path)
{
    char line[PASSWORD_MOST + 2];
    FILE *f = fopen(path, "re");
    bool read = f && fgets(line, sizeof(line), f);
    int why = errno;
    if (f)
        (void)fclose(f);
    if (!read) {
        conf_error(l->errors, place, "password_file: found %s, which cannot be read (%s)", path,
                   f ? "it is empty" : strerror(why));
        return NULL;
    }
    line[strcspn(line, "\r\n")] = '\0';
    return arena_strdup(settings_arena(l), line);
}

static void check_broker(const struct settings_load *l, const struct conf_node *place, const char *text)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;
    if (!colon || colon == text || strpbrk(text, ", \t/") || !span_u64(span_str(colon + 1), &port) ||
        port == 0 || port > 65535)
        conf_error(l->errors, place, "brokers: found \"%s\", expected host:port", text);
}

void settings_take_log(const struct settings_load *l)
{
    struct settings_kafka *k = &l->file->s.kafka;
    const struct conf_node *log = conf_get(l->root, "log");
    if (strcmp(l->file->s.log_backend, "kafka") != 0)
        return;
    if (k->n_brokers == 0)
        conf_error(l->errors, conf_place(log, "backend"), "brokers: found none, expected host:port of some");
    for (int i = 0; i < k->n_brokers; i++)
        check_broker(l, conf_at(conf_get(log, "brokers"), i), k->brokers[i]);
    const struct conf_node *sasl = log ? conf_get(log, "sasl") : NULL;
    if (!k->user != !k->password_file)
        conf_error(l->errors, sasl ? sasl : log, "sasl: found one of user and password_file, expected both");
    else if (k->user && strcmp(k->mechanism, "PLAIN") == 0 && !k->tls)
        conf_error(l->errors, conf_place(sasl, "mechanism"),
                   "mechanism: found PLAIN without tls, expected tls: { enabled: true }");
    else if (k->user)
        k->password = read_password(l, conf_place(sasl, "password_file"), k->password_file);
}
