/* The topics: made when absent, their settings checked by name. A wrong one is refused, never changed: what
 * it is set to may be somebody's intention. */
#include <stdio.h>
#include <stdlib.h>

#include "queue/kafka/kafka_private.h"

enum {
    CHECK_TRIES = 50, /* of 100 ms and more */
    SHOW_MS = 2000,
};

struct setting {
    const char *name, *value;
};

/* Remuda deletes, time never does. */
static const struct setting appended[] = {
    {"cleanup.policy", "delete"},
    {"retention.ms", "-1"},
    {"retention.bytes", "-1"},
    {"unclean.leader.election.enable", "false"},
    {NULL, NULL},
};

/* Void rows and claims must be there for some time, and gone by a known one. */
static const struct setting compacted[] = {
    {"cleanup.policy", "compact"},
    {"segment.bytes", "33554432"},
    {"min.cleanable.dirty.ratio", "0.1"},
    {"min.compaction.lag.ms", "3600000"},
    {"max.compaction.lag.ms", "86400000"},
    {"unclean.leader.election.enable", "false"},
    {NULL, NULL},
};

static const struct setting *settings_of(enum log_name name)
{
    return log_name_compacted(name) ? compacted : appended;
}

static int refuse(char why[KAFKA_WHY_MOST], const char *topic, const char *setting, const char *want,
                  const char *found)
{
    snprintf(why, KAFKA_WHY_MOST, "topic %s: %s is %s, Remuda needs %s", topic, setting, found, want);
    return RM_EINVAL;
}

/* ---- asking ---- */

static rd_kafka_event_t *await_result(struct kafka *k)
{
    return rd_kafka_queue_poll(k->admin_queue, KAFKA_CALL_MS + 2000);
}

static rd_kafka_AdminOptions_t *admin_options(struct kafka *k, rd_kafka_admin_op_t op)
{
    char error[100];
    rd_kafka_AdminOptions_t *o = rd_kafka_AdminOptions_new(k->producer, op);
    ENSURE(o);
    (void)rd_kafka_AdminOptions_set_request_timeout(o, KAFKA_CALL_MS, error, sizeof(error));
    return o;
}

static int metadata(struct kafka *k, const struct rd_kafka_metadata **out, char why[KAFKA_WHY_MOST])
{
    rd_kafka_resp_err_t err = rd_kafka_metadata(k->producer, 1, NULL, out, KAFKA_CALL_MS);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
        return RM_OK;
    rd_kafka_poll(k->producer, 0); /* hears why */
    const char *known = kafka_last_error(k);
    snprintf(why, KAFKA_WHY_MOST, "no answer from the Kafka brokers %s: %s", k->brokers,
             known ? known : rd_kafka_err2str(err));
    return RM_ETIMEDOUT;
}

static const struct rd_kafka_metadata_topic *find_topic(const struct rd_kafka_metadata *m, const char *topic)
{
    for (int i = 0; i < m->topic_cnt; i++)
        if (strcmp(m->topics[i].topic, topic) == 0 && m->topics[i].err == RD_KAFKA_RESP_ERR_NO_ERROR)
            return &m->topics[i];
    return NULL;
}

/* Brokers that the configuration names and that do not answer count: topics made without them would have
 * too few copies for ever. */
static int replication(const struct kafka *k, const struct rd_kafka_metadata *m)
{
    int brokers = 1;
    for (const char *c = k->brokers; *c; c++)
        brokers += *c == ',';
    if (brokers < m->broker_cnt)
        brokers = m->broker_cnt;
    return brokers < 3 ? brokers : 3;
}

/* ---- making ---- */

static rd_kafka_NewTopic_t *new_topic(const struct kafka *k, enum log_name name, int copies)
{
    char topic[KAFKA_TOPIC_MOST], error[200];
    kafka_topic_name(k, name, topic);
    rd_kafka_NewTopic_t *t = rd_kafka_NewTopic_new(topic, (int)log_name_partitions(&k->store.log, name),
                                                   copies, error, sizeof(error));
    ENSURE(t);
    for (const struct setting *s = settings_of(name); s->name; s++)
        (void)rd_kafka_NewTopic_set_config(t, s->name, s->value);
    (void)rd_kafka_NewTopic_set_config(t, "min.insync.replicas", copies > 1 ? "2" : "1");
    return t;
}

static int check_created(rd_kafka_event_t *ev, char why[KAFKA_WHY_MOST])
{
    size_t n = 0;
    int status = RM_OK;
    const rd_kafka_CreateTopics_result_t *r = ev ? rd_kafka_event_CreateTopics_result(ev) : NULL;
    if (!r || rd_kafka_event_error(ev)) {
        snprintf(why, KAFKA_WHY_MOST, "topics cannot be created: %s",
                 ev ? rd_kafka_event_error_string(ev) : "no answer");
        return RM_ETIMEDOUT;
    }
    const rd_kafka_topic_result_t **topics = rd_kafka_CreateTopics_result_topics(r, &n);
    for (size_t i = 0; i < n; i++) {
        rd_kafka_resp_err_t err = rd_kafka_topic_result_error(topics[i]);
        if (err == RD_KAFKA_RESP_ERR_NO_ERROR || err == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
            continue; /* another node was quicker */
        const char *text = rd_kafka_topic_result_error_string(topics[i]);
        snprintf(why, KAFKA_WHY_MOST, "topic %s cannot be created: %s", rd_kafka_topic_result_name(topics[i]),
                 text ? text : rd_kafka_err2str(err));
        status = RM_EINVAL;
    }
    return status;
}

static int create_absent(struct kafka *k, const struct rd_kafka_metadata *m, bool *created,
                         char why[KAFKA_WHY_MOST])
{
    rd_kafka_NewTopic_t *absent[LOG_NAMES];
    size_t n = 0;
    for (int name = 0; name < LOG_NAMES; name++) {
        char topic[KAFKA_TOPIC_MOST];
        kafka_topic_name(k, (enum log_name)name, topic);
        if (!find_topic(m, topic))
            absent[n++] = new_topic(k, (enum log_name)name, k->development ? 1 : replication(k, m));
    }
    *created = n > 0;
    if (n == 0)
        return RM_OK;
    rd_kafka_AdminOptions_t *o = admin_options(k, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    rd_kafka_CreateTopics(k->producer, absent, n, o, k->admin_queue);
    rd_kafka_event_t *ev = await_result(k);
    int status = check_created(ev, why);
    if (ev)
        rd_kafka_event_destroy(ev);
    rd_kafka_AdminOptions_destroy(o);
    rd_kafka_NewTopic_destroy_array(absent, n);
    return status;
}

/* ---- growing ---- */

/* The logs other than mail first: a partition that a node may be given, by the group over mail, has all four.
 */
static const enum log_name growth[] = {LOG_STATE, LOG_BACKLOG, LOG_EVENTS, LOG_MAIL};
enum { GROWTHS = sizeof(growth) / sizeof(growth[0]) };

/* 0: there is no such topic. */
static uint32_t count_of(const struct kafka *k, const struct rd_kafka_metadata *m, enum log_name name)
{
    char topic[KAFKA_TOPIC_MOST];
    kafka_topic_name(k, name, topic);
    const struct rd_kafka_metadata_topic *t = find_topic(m, topic);
    return t ? (uint32_t)t->partition_cnt : 0;
}

static int check_grown(rd_kafka_event_t *ev, char why[KAFKA_WHY_MOST])
{
    size_t n = 0;
    const rd_kafka_CreatePartitions_result_t *r = ev ? rd_kafka_event_CreatePartitions_result(ev) : NULL;
    const rd_kafka_topic_result_t **topics = r ? rd_kafka_CreatePartitions_result_topics(r, &n) : NULL;
    if (n != 1) {
        snprintf(why, KAFKA_WHY_MOST, "partitions cannot be added: %s",
                 ev ? rd_kafka_event_error_string(ev) : "no answer");
        return RM_ETIMEDOUT;
    }
    rd_kafka_resp_err_t err = rd_kafka_topic_result_error(topics[0]);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR || err == RD_KAFKA_RESP_ERR_INVALID_PARTITIONS)
        return RM_OK; /* the latter: another node was quicker, which who looks next sees */
    const char *text = rd_kafka_topic_result_error_string(topics[0]);
    snprintf(why, KAFKA_WHY_MOST, "topic %s: partitions cannot be added: %s",
             rd_kafka_topic_result_name(topics[0]), text ? text : rd_kafka_err2str(err));
    return RM_EINVAL;
}

static int grow(struct kafka *k, enum log_name name, uint32_t partitions, char why[KAFKA_WHY_MOST])
{
    char topic[KAFKA_TOPIC_MOST], error[200], what[KAFKA_TOPIC_MOST + 100];
    kafka_topic_name(k, name, topic);
    rd_kafka_queue_t *answers = rd_kafka_queue_new(k->producer);
    rd_kafka_NewPartitions_t *more = rd_kafka_NewPartitions_new(topic, partitions, error, sizeof(error));
    ENSURE(more);
    rd_kafka_AdminOptions_t *o = admin_options(k, RD_KAFKA_ADMIN_OP_CREATEPARTITIONS);
    rd_kafka_CreatePartitions(k->producer, &more, 1, o, answers);
    rd_kafka_event_t *ev = rd_kafka_queue_poll(answers, KAFKA_CALL_MS + 2000);
    int status = check_grown(ev, why);
    if (ev)
        rd_kafka_event_destroy(ev);
    rd_kafka_AdminOptions_destroy(o);
    rd_kafka_NewPartitions_destroy(more);
    rd_kafka_queue_destroy(answers);
    snprintf(what, sizeof(what), "topic %s has %u partitions from now on", topic, partitions);
    if (status == RM_OK)
        kafka_trouble(k, RM_OK, what);
    return status;
}

static int grow_short(struct kafka *k, const struct rd_kafka_metadata *m, uint32_t partitions,
                      char why[KAFKA_WHY_MOST])
{
    int status = RM_OK;
    for (int i = 0; i < GROWTHS && status == RM_OK; i++) {
        uint32_t found = count_of(k, m, growth[i]);
        if (found && found < partitions)
            status = grow(k, growth[i], partitions, why);
    }
    return status;
}

int kafka_topics_grow(struct kafka *k, uint32_t partitions, char why[KAFKA_WHY_MOST])
{
    const struct rd_kafka_metadata *m;
    rd_kafka_resp_err_t err = rd_kafka_metadata(k->producer, 1, NULL, &m, KAFKA_CALL_MS);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        snprintf(why, KAFKA_WHY_MOST, "no answer from the Kafka brokers: %s", rd_kafka_err2str(err));
        return RM_ETIMEDOUT;
    }
    int status = grow_short(k, m, partitions, why);
    rd_kafka_metadata_destroy(m);
    return status;
}

bool kafka_topics_show(const struct kafka *k, rd_kafka_t *handle, uint32_t partitions)
{
    const struct rd_kafka_metadata *m;
    if (rd_kafka_metadata(handle, 1, NULL, &m, SHOW_MS) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return false;
    bool all = true;
    for (int i = 0; i < GROWTHS; i++) {
        char topic[KAFKA_TOPIC_MOST];
        kafka_topic_name(k, growth[i], topic);
        const struct rd_kafka_metadata_topic *t = find_topic(m, topic);
        all = all && t && (uint32_t)t->partition_cnt >= partitions;
        for (int p = 0; all && p < t->partition_cnt; p++)
            all = t->partitions[p].leader >= 0 || (uint32_t)p < log_partitions(&k->store.log);
    }
    rd_kafka_metadata_destroy(m);
    return all;
}

/* ---- checking ---- */

static int check_shape(struct kafka *k, const struct rd_kafka_metadata *m, enum log_name name,
                       char why[KAFKA_WHY_MOST])
{
    char topic[KAFKA_TOPIC_MOST], want[12], found[12];
    kafka_topic_name(k, name, topic);
    const struct rd_kafka_metadata_topic *t = find_topic(m, topic);
    if (!t || (uint32_t)t->partition_cnt < log_name_partitions(&k->store.log, name))
        return RM_ENOTFOUND; /* just made or added, and not known to this broker yet */
    int least = k->development ? 1 : replication(k, m);
    for (int i = 0; i < t->partition_cnt; i++) {
        if (t->partitions[i].leader < 0)
            return RM_ENOTFOUND;
        snprintf(want, sizeof(want), "%d", least);
        snprintf(found, sizeof(found), "%d", t->partitions[i].replica_cnt);
        if (t->partitions[i].replica_cnt < least)
            return refuse(why, topic, "its replication", want, found);
    }
    return RM_OK;
}

/* New topics take a moment until each has its leaders. */
static int check_shapes(struct kafka *k, char why[KAFKA_WHY_MOST], int *brokers)
{
    int status = RM_ENOTFOUND;
    for (int tries = 0; tries < CHECK_TRIES && status == RM_ENOTFOUND; tries++) {
        const struct rd_kafka_metadata *m;
        if (tries)
            rd_kafka_poll(k->producer, 100);
        status = metadata(k, &m, why);
        for (int name = 0; name < LOG_NAMES && status == RM_OK; name++)
            status = check_shape(k, m, (enum log_name)name, why);
        if (status == RM_ETIMEDOUT)
            return status;
        *brokers = m->broker_cnt;
        rd_kafka_metadata_destroy(m);
    }
    if (status == RM_ENOTFOUND)
        snprintf(why, KAFKA_WHY_MOST, "the topics have no leaders");
    return status == RM_ENOTFOUND ? RM_ETIMEDOUT : status;
}

static const char *config_value(const rd_kafka_ConfigResource_t *r, const char *name)
{
    size_t n;
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(r, &n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), name) == 0)
            return rd_kafka_ConfigEntry_value(entries[i]);
    return NULL;
}

static int check_settings(const rd_kafka_ConfigResource_t *r, enum log_name name, int brokers,
                          char why[KAFKA_WHY_MOST])
{
    const char *topic = rd_kafka_ConfigResource_name(r);
    for (const struct setting *s = settings_of(name); s->name; s++) {
        const char *found = config_value(r, s->name);
        if (!found || strcmp(found, s->value) != 0)
            return refuse(why, topic, s->name, s->value, found ? found : "not known");
    }
    const char *in_sync = config_value(r, "min.insync.replicas");
    if (brokers >= 2 && (!in_sync || atoi(in_sync) < 2))
        return refuse(why, topic, "min.insync.replicas", "2", in_sync ? in_sync : "not known");
    const char *most = config_value(r, "max.message.bytes");
    if (!most || atoll(most) < LOG_VALUE_MOST + 100 * 1024)
        return refuse(why, topic, "max.message.bytes", "1048588", most ? most : "not known");
    return RM_OK;
}

static int check_described(struct kafka *k, rd_kafka_event_t *ev, int brokers, char why[KAFKA_WHY_MOST])
{
    size_t n = 0;
    const rd_kafka_DescribeConfigs_result_t *r = ev ? rd_kafka_event_DescribeConfigs_result(ev) : NULL;
    if (!r || rd_kafka_event_error(ev)) {
        snprintf(why, KAFKA_WHY_MOST, "the topics' settings cannot be read: %s",
                 ev ? rd_kafka_event_error_string(ev) : "no answer");
        return RM_ETIMEDOUT;
    }
    const rd_kafka_ConfigResource_t **all = rd_kafka_DescribeConfigs_result_resources(r, &n);
    int status = n == LOG_NAMES ? RM_OK : RM_EINVAL;
    for (size_t i = 0; i < n && status == RM_OK; i++) {
        if (rd_kafka_ConfigResource_error(all[i])) {
            snprintf(why, KAFKA_WHY_MOST, "topic %s: its settings cannot be read: %s",
                     rd_kafka_ConfigResource_name(all[i]),
                     rd_kafka_err2str(rd_kafka_ConfigResource_error(all[i])));
            return RM_ENOTFOUND;
        }
        for (int name = 0; name < LOG_NAMES && status == RM_OK; name++) {
            char topic[KAFKA_TOPIC_MOST];
            kafka_topic_name(k, (enum log_name)name, topic);
            if (strcmp(topic, rd_kafka_ConfigResource_name(all[i])) == 0)
                status = check_settings(all[i], (enum log_name)name, brokers, why);
        }
    }
    return status;
}

static int describe(struct kafka *k, int brokers, char why[KAFKA_WHY_MOST])
{
    rd_kafka_ConfigResource_t *topics[LOG_NAMES];
    for (int name = 0; name < LOG_NAMES; name++) {
        char topic[KAFKA_TOPIC_MOST];
        kafka_topic_name(k, (enum log_name)name, topic);
        topics[name] = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    }
    rd_kafka_AdminOptions_t *o = admin_options(k, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_DescribeConfigs(k->producer, topics, LOG_NAMES, o, k->admin_queue);
    rd_kafka_event_t *ev = await_result(k);
    int status = check_described(k, ev, k->development ? 1 : brokers, why);
    if (ev)
        rd_kafka_event_destroy(ev);
    rd_kafka_AdminOptions_destroy(o);
    rd_kafka_ConfigResource_destroy_array(topics, LOG_NAMES);
    return status;
}

/* The broker asked may not have heard yet of topics that another node has just made. */
static int check_all_settings(struct kafka *k, int brokers, char why[KAFKA_WHY_MOST])
{
    int status = RM_ENOTFOUND;
    for (int tries = 0; tries < CHECK_TRIES && status == RM_ENOTFOUND; tries++) {
        if (tries)
            rd_kafka_poll(k->producer, 100);
        status = describe(k, brokers, why);
    }
    return status == RM_ENOTFOUND ? RM_ETIMEDOUT : status;
}

static int refuse_more(const struct kafka *k, uint32_t found, char why[KAFKA_WHY_MOST])
{
    char topic[KAFKA_TOPIC_MOST];
    kafka_topic_name(k, LOG_MAIL, topic);
    snprintf(why, KAFKA_WHY_MOST, "topic %s: it has %u partitions, Remuda works with %d at most", topic,
             found, LOG_PARTITIONS_MOST);
    return RM_EINVAL;
}

/* How many partitions there are says mail, the last that grows; the configuration only says how many at
 * least. */
int kafka_topics_ensure(struct kafka *k, char why[KAFKA_WHY_MOST])
{
    const struct rd_kafka_metadata *m;
    bool created = false;
    int brokers = 0;
    int status = metadata(k, &m, why);
    if (status != RM_OK)
        return status;
    uint32_t found = count_of(k, m, LOG_MAIL);
    if (found <= LOG_PARTITIONS_MOST)
        log_set_partitions(&k->store.log, found);
    else
        status = refuse_more(k, found, why);
    if (status == RM_OK)
        status = create_absent(k, m, &created, why);
    if (status == RM_OK)
        status = grow_short(k, m, log_partitions(&k->store.log), why);
    rd_kafka_metadata_destroy(m);
    if (status == RM_OK)
        status = check_shapes(k, why, &brokers);
    if (status == RM_OK)
        status = check_all_settings(k, brokers, why);
    if (status == RM_OK && brokers < 2)
        kafka_trouble(k, RM_OK, "one Kafka broker: what it loses is lost; for development only");
    return status;
}
