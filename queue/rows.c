/* Keys of backlog rows and the index over them. Who reads the index, and when, is the owner's matter. */
#include "lib/base/map.h"
#include "queue/partition.h"

static void put_u64(struct log_index_key *k, uint64_t n)
{
    for (int i = 0; i < 8; i++)
        k->bytes[k->len++] = (unsigned char)(n >> (56 - 8 * i));
}

static uint64_t get_be(const unsigned char *p, int bytes)
{
    uint64_t n = 0;
    for (int i = 0; i < bytes; i++)
        n = n << 8 | p[i];
    return n;
}

struct row_key row_key_make(struct subid id)
{
    struct row_key k;
    for (int i = 0; i < 8; i++)
        k.bytes[i] = (unsigned char)(id.offset >> (56 - 8 * i));
    for (int i = 0; i < 4; i++) {
        k.bytes[8 + i] = (unsigned char)(id.index >> (24 - 8 * i));
        k.bytes[12 + i] = (unsigned char)(id.partition >> (24 - 8 * i));
    }
    return k;
}

struct subid row_key_parse(struct span key)
{
    ENSURE(key.len == ROW_KEY_BYTES);
    const unsigned char *p = (const unsigned char *)key.ptr;
    return (struct subid){.offset = get_be(p, 8),
                          .index = (uint32_t)get_be(p + 8, 4),
                          .partition = (uint32_t)get_be(p + 12, 4)};
}

struct subid subid_of(const Remuda__SubmissionId *id)
{
    return (struct subid){.offset = id->offset, .partition = id->partition, .index = id->index};
}

int record_find(const Remuda__Record *r, uint32_t partition, uint64_t at, struct subid id)
{
    for (size_t i = 0; i < r->n_submissions; i++) {
        Remuda__SubmissionId sid = record_submission_id(r, partition, at, i);
        struct subid found = subid_of(&sid);
        if (found.offset == id.offset && found.index == id.index && found.partition == id.partition)
            return (int)i;
    }
    return -1;
}

static struct log_index_key *key_begin(struct log_index_key *k, char prefix)
{
    k->bytes[0] = (unsigned char)prefix;
    k->len = 1;
    return k;
}

static uint64_t lane_hash(const char *pool, const char *provider, uint32_t shard)
{
    uint64_t parts[3] = {hash64(pool, strlen(pool)), hash64(provider, strlen(provider)), shard};
    return hash64(parts, sizeof(parts));
}

void row_cause_prefix(const char *pool, const char *provider, uint32_t shard, const char *scope,
                      const char *tenant, struct log_index_key *out)
{
    key_begin(out, 'C');
    put_u64(out, lane_hash(pool, provider, shard));
    put_u64(out, hash64(scope, strlen(scope)));
    if (tenant)
        put_u64(out, hash64(tenant, strlen(tenant)));
}

void row_due_key(uint64_t due_ms, struct log_index_key *out)
{
    put_u64(key_begin(out, 'T'), due_ms);
}

static void state_key(const Remuda__BacklogRow *row, struct log_index_key *out)
{
    switch (row->state) {
    case REMUDA__ROW_STATE__ROW_HELD:
        row_cause_prefix(row->pool, row->provider, row->shard, row->scope, row->tenant, out);
        put_u64(out, row->expires_ms);
        break;
    case REMUDA__ROW_STATE__ROW_DEFERRED:
        row_due_key(row->due_ms, out);
        break;
    case REMUDA__ROW_STATE__ROW_IN_DOUBT:
        row_due_key(row->in_doubt_until_ms, out);
        break;
    default:
        key_begin(out, 'H');
        break;
    }
}

int row_index_keys(struct span value, struct log_index_key out[LOG_INDEX_KEYS_MOST])
{
    struct arena a = ARENA_INIT;
    const Remuda__BacklogRow *row = row_decode(&a, value);
    int n = 0;
    if (row) {
        state_key(row, &out[n++]);
        if (row->state == REMUDA__ROW_STATE__ROW_HELD)
            row_due_key(row->due_ms, &out[n++]);
        put_u64(key_begin(&out[n++], 'A'), row->first_live);
    }
    arena_fini(&a);
    return n;
}
