/*
 * The offsets of each log and partition: in memory for the one who writes, in table meta for readers and the
 * next start. Each is written once per commit that touched it, so offsets are never given twice, also when
 * everything was deleted. After a failed transaction all fall back to what is durable.
 */
#include <stdlib.h>

#include "queue/store/store.h"

void streams_init(struct store *e)
{
    list_init(&e->trims);
    for (int name = 0; name < LOG_NAMES; name++) {
        uint32_t n = log_name_partitions_most((enum log_name)name);
        e->streams[name] = calloc(n, sizeof(struct stream));
        ENSURE(e->streams[name]);
        for (uint32_t p = 0; p < n; p++) {
            e->streams[name][p].name = (enum log_name)name;
            e->streams[name][p].partition = p;
            e->streams[name][p].now = e->streams[name][p].durable = STREAM_NEW;
            list_init(&e->streams[name][p].trim_link);
        }
    }
}

void streams_fini(struct store *e)
{
    for (int name = 0; name < LOG_NAMES; name++)
        free(e->streams[name]);
    free(e->touched);
}

void stream_trim_later(struct store *e, struct stream *s)
{
    if (list_empty(&s->trim_link) && s->now.trimmed < s->now.line)
        list_push_back(&e->trims, &s->trim_link);
}

static int load_one(struct store *e, struct kv_txn *txn, struct stream *s)
{
    char key[8];
    struct span value;
    int err = kv_get(txn, e->tables.meta, key_of_stream(key, s->name, s->partition), &value);
    struct stream_offsets found = STREAM_NEW;
    if (err == RM_OK && !stream_unpack(value, &found))
        return RM_ECORRUPT;
    if (err != RM_OK && err != RM_ENOTFOUND)
        return err;
    s->now = s->durable = found;
    s->touched = false;
    stream_trim_later(e, s);
    return RM_OK;
}

int streams_load(struct store *e)
{
    struct kv_txn *txn;
    int err = kv_read_begin(e->env, &txn);
    if (err != RM_OK)
        return err;
    e->n_touched = 0;
    for (int name = 0; name < LOG_NAMES && err == RM_OK; name++)
        for (uint32_t p = 0; p < log_name_partitions(&e->log, (enum log_name)name) && err == RM_OK; p++)
            err = load_one(e, txn, &e->streams[name][p]);
    kv_read_end(txn);
    return err;
}

struct stream *stream_touch(struct store *e, enum log_name name, uint32_t partition)
{
    struct stream *s = &e->streams[name][partition];
    if (s->touched)
        return s;
    if (e->n_touched == e->cap_touched) {
        e->cap_touched = e->cap_touched ? e->cap_touched * 2 : 64;
        e->touched = realloc(e->touched, e->cap_touched * sizeof(*e->touched));
        ENSURE(e->touched);
    }
    e->touched[e->n_touched++] = s;
    s->touched = true;
    return s;
}

void streams_store(struct store *e)
{
    for (size_t i = 0; i < e->n_touched; i++) {
        struct stream *s = e->touched[i];
        char key[8], value[STREAM_VALUE_BYTES];
        stream_pack(value, &s->now);
        kv_put(e->txn, e->tables.meta, key_of_stream(key, s->name, s->partition),
               span_of(value, sizeof(value)));
    }
}

void streams_committed(struct store *e)
{
    for (size_t i = 0; i < e->n_touched; i++) {
        e->touched[i]->durable = e->touched[i]->now;
        e->touched[i]->touched = false;
    }
    e->n_touched = 0;
}

void streams_rolled_back(struct store *e)
{
    for (size_t i = 0; i < e->n_touched; i++) {
        struct stream *s = e->touched[i];
        s->now = s->durable;
        s->touched = false;
        stream_trim_later(e, s);
    }
    e->n_touched = 0;
}
