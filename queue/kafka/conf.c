/* Settings of librdkafka's handles, names of topics. */
#include <stdio.h>

#include "queue/kafka/kafka_private.h"

const char *const kafka_log_names[LOG_NAMES] = {
    [LOG_MAIL] = "mail",         [LOG_EVENTS] = "events",           [LOG_BACKLOG] = "backlog",
    [LOG_STATE] = "state",       [LOG_CONTROL] = "control",         [LOG_AUDIT] = "audit",
    [LOG_DEAD] = "dead",         [LOG_SUPPRESSION] = "suppression", [LOG_QUOTA] = "quota",
    [LOG_EVIDENCE] = "evidence",
};

void kafka_topic_name(const struct kafka *k, enum log_name name, char out[KAFKA_TOPIC_MOST])
{
    snprintf(out, KAFKA_TOPIC_MOST, "%s.%s", k->prefix, kafka_log_names[name]);
}

/* A name or value that librdkafka does not know is a bug here: users' values are checked before. */
void kafka_conf_set(rd_kafka_conf_t *c, const char *name, const char *value)
{
    char error[256];
    ENSURE(rd_kafka_conf_set(c, name, value, error, sizeof(error)) == RD_KAFKA_CONF_OK);
}

/* Its own log lines: what matters comes as an error, through kafka_trouble. */
static void drop_line(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    (void)level;
    (void)facility;
    (void)text;
}

const char *kafka_last_error(struct kafka *k)
{
    char why[KAFKA_LOGIN_WHY_MOST];
    if (k->login && kafka_login_error(k->login, why))
        snprintf(k->last_error, sizeof(k->last_error), "%s: %s", k->mechanism, why);
    return k->last_error[0] ? k->last_error : NULL;
}

static void on_error(rd_kafka_t *rk, int err, const char *reason, void *opaque)
{
    struct kafka *k = opaque;
    (void)rk;
    if (err != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
        snprintf(k->last_error, sizeof(k->last_error), "%.300s", reason);
    if (!k->opened)
        return; /* kafka_log_open says it */
    if (err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
        kafka_trouble(k, RM_EIO, "no Kafka broker can be reached");
    else if (err == RD_KAFKA_RESP_ERR__AUTHENTICATION || err == RD_KAFKA_RESP_ERR__SSL ||
             err == RD_KAFKA_RESP_ERR__FATAL)
        kafka_trouble(k, RM_EIO, k->last_error);
}

static int connect_by_login(int fd, const struct sockaddr *to, int len, const char *id, void *opaque)
{
    struct kafka *k = opaque;
    (void)len;
    (void)id;
    return kafka_login_connect(k->login, fd, to);
}

static void set_security(struct kafka *k, rd_kafka_conf_t *c)
{
    if (k->login) {
        rd_kafka_conf_set_resolve_cb(c, kafka_login_resolve);
        rd_kafka_conf_set_connect_cb(c, connect_by_login);
        return;
    }
    const char *protocol =
        k->tls ? (k->user ? "SASL_SSL" : "SSL") : (k->user ? "SASL_PLAINTEXT" : "PLAINTEXT");
    kafka_conf_set(c, "security.protocol", protocol);
    if (k->tls && k->ca)
        kafka_conf_set(c, "ssl.ca.location", k->ca);
    if (k->user) {
        kafka_conf_set(c, "sasl.mechanism", k->mechanism);
        kafka_conf_set(c, "sasl.username", k->user);
        kafka_conf_set(c, "sasl.password", k->password);
    }
}

rd_kafka_conf_t *kafka_conf_new(struct kafka *k)
{
    rd_kafka_conf_t *c = rd_kafka_conf_new();
    ENSURE(c);
    kafka_conf_set(c, "client.id", "remuda");
    kafka_conf_set(c, "bootstrap.servers", k->brokers);
    kafka_conf_set(c, "socket.keepalive.enable", "true");
    kafka_conf_set(c, "socket.nagle.disable", "true");
    kafka_conf_set(c, "socket.timeout.ms", "10000"); /* a broker that is gone without a word */
    kafka_conf_set(c, "reconnect.backoff.ms", "50");
    kafka_conf_set(c, "reconnect.backoff.max.ms", "1000");
    set_security(k, c);
    rd_kafka_conf_set_log_cb(c, drop_line);
    rd_kafka_conf_set_error_cb(c, on_error);
    rd_kafka_conf_set_opaque(c, k);
    return c;
}

rd_kafka_t *kafka_handle_new(struct kafka *k, rd_kafka_type_t type, rd_kafka_conf_t *c,
                             char why[KAFKA_WHY_MOST])
{
    char error[200] = "";
    (void)k;
    rd_kafka_t *rk = rd_kafka_new(type, c, error, sizeof(error));
    if (!rk) {
        rd_kafka_conf_destroy(c);
        snprintf(why, KAFKA_WHY_MOST, "the Kafka client refuses its settings: %s", error);
    }
    return rk;
}
