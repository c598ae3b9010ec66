/*
 * Keys and fixed values of the tables; all numbers big-endian so that byte order is number order.
 *
 * An index key of any bytes and length stands in front of the row key, so it must show its own end without
 * disturbing the order: it is cut into groups of 8 bytes, the last one filled with zeros, each followed by a
 * count: how many bytes of the group are real when it is the last one (0 to 8), 9 when more follow.
 */
#include "queue/store/store.h"

enum { GROUP_GOES_ON = INDEX_GROUP + 1 };

void key_put_u64(char *out, uint64_t n)
{
    n = __builtin_bswap64(n);
    memcpy(out, &n, sizeof(n));
}

uint64_t key_get_u64(const char *in)
{
    uint64_t n;
    memcpy(&n, in, sizeof(n));
    return __builtin_bswap64(n);
}

static void put_partition(char *out, uint32_t partition)
{
    out[0] = (char)(partition >> 8);
    out[1] = (char)partition;
}

static bool is_partition(struct span key, uint32_t partition)
{
    char want[2];
    put_partition(want, partition);
    return key.len >= 2 && memcmp(key.ptr, want, 2) == 0;
}

struct span key_of_offset(char out[OFFSET_KEY_BYTES], uint32_t partition, uint64_t offset)
{
    put_partition(out, partition);
    key_put_u64(out + 2, offset);
    return span_of(out, OFFSET_KEY_BYTES);
}

bool key_take_offset(struct span key, uint32_t partition, uint64_t *offset)
{
    if (key.len != OFFSET_KEY_BYTES || !is_partition(key, partition))
        return false;
    *offset = key_get_u64(key.ptr + 2);
    return true;
}

struct span key_of_row(char out[KEY_MOST], uint32_t partition, struct span key)
{
    ENSURE(key.len <= LOG_KEY_MOST);
    put_partition(out, partition);
    if (key.len)
        memcpy(out + 2, key.ptr, key.len);
    return span_of(out, 2 + key.len);
}

bool key_take_row(struct span key, uint32_t partition, struct span *row)
{
    if (!is_partition(key, partition))
        return false;
    *row = span_of(key.ptr + 2, key.len - 2);
    return true;
}

struct span key_of_index(char out[KEY_MOST], uint32_t partition, struct span index_key, struct span row_key)
{
    ENSURE(index_key.len <= LOG_INDEX_KEY_MOST && row_key.len <= LOG_KEY_MOST);
    put_partition(out, partition);
    char *at = out + 2;
    struct span rest = index_key;
    do {
        size_t n = rest.len < INDEX_GROUP ? rest.len : INDEX_GROUP;
        memset(at, 0, INDEX_GROUP);
        if (n)
            memcpy(at, rest.ptr, n);
        rest = span_of(rest.ptr + n, rest.len - n);
        at[INDEX_GROUP] = (char)(rest.len ? GROUP_GOES_ON : (int)n);
        at += INDEX_GROUP + 1;
    } while (rest.len);
    if (row_key.len)
        memcpy(at, row_key.ptr, row_key.len);
    return span_of(out, (size_t)(at - out) + row_key.len);
}

bool key_take_index(struct span key, uint32_t partition, char *out, struct span *index_key,
                    struct span *row_key)
{
    if (!is_partition(key, partition))
        return false;
    size_t len = 0, at = 2;
    int count;
    do {
        if (key.len - at < INDEX_GROUP + 1 || len > LOG_INDEX_KEY_MOST - INDEX_GROUP)
            return false;
        count = (unsigned char)key.ptr[at + INDEX_GROUP];
        if (count > GROUP_GOES_ON)
            return false;
        size_t n = count == GROUP_GOES_ON ? INDEX_GROUP : (size_t)count;
        memcpy(out + len, key.ptr + at, n);
        len += n;
        at += INDEX_GROUP + 1;
    } while (count == GROUP_GOES_ON);
    *index_key = span_of(out, len);
    *row_key = span_of(key.ptr + at, key.len - at);
    return true;
}

struct span key_of_stream(char out[8], enum log_name name, uint32_t partition)
{
    memcpy(out, "next:", 5);
    out[5] = (char)name;
    put_partition(out + 6, partition);
    return span_of(out, 8);
}

void stream_pack(char out[STREAM_VALUE_BYTES], const struct stream_offsets *s)
{
    key_put_u64(out, s->next);
    key_put_u64(out + 8, s->line);
    key_put_u64(out + 16, s->trimmed);
}

bool stream_unpack(struct span value, struct stream_offsets *out)
{
    if (value.len != STREAM_VALUE_BYTES)
        return false;
    *out = (struct stream_offsets){key_get_u64(value.ptr), key_get_u64(value.ptr + 8),
                                   key_get_u64(value.ptr + 16)};
    return true;
}
