/* Keys, values and sums of the quota log. */
#include "relay/ingress/claims.h"

#include "lib/base/buf.h"
#include "proto/codec.h"

enum { NAME_MOST = 63, KEY_MOST = NAME_MOST + 1 + MSGID_BYTES, ERASED_MOST = 1000 };

const uint64_t claims_length_ms[CLAIMS_WINDOWS] = {
    [CLAIMS_MINUTE] = 60ull * 1000,
    [CLAIMS_DAY] = 24ull * 60 * 60 * 1000,
};

/* Tenant, "/", the holder's id. Without a holder: what the keys of the tenant begin with. */
static struct span key_of(const char *tenant, const struct msgid *holder, char out[KEY_MOST])
{
    size_t n = strnlen(tenant, NAME_MOST);
    memcpy(out, tenant, n);
    out[n++] = '/';
    if (holder) {
        memcpy(out + n, holder->bytes, MSGID_BYTES);
        n += MSGID_BYTES;
    }
    return span_of(out, n);
}

static Remuda__QuotaWindow window_of(const struct claims_of *w)
{
    Remuda__QuotaWindow out = REMUDA__QUOTA_WINDOW__INIT;
    out.number = w->number;
    out.claimed = w->claimed;
    out.before = w->before;
    return out;
}

void claims_put(struct log_batch *b, const struct claims_record *r, const char *node)
{
    char key[KEY_MOST];
    struct buf packed = BUF_INIT;
    Remuda__QuotaClaim c = REMUDA__QUOTA_CLAIM__INIT;
    Remuda__QuotaWindow minute = window_of(&r->windows[CLAIMS_MINUTE]),
                        day = window_of(&r->windows[CLAIMS_DAY]);
    c.minute = &minute;
    c.day = &day;
    c.node = (char *)(uintptr_t)node;
    proto_pack(&packed, &c.base);
    log_batch_put(b, LOG_QUOTA, 0, key_of(r->tenant, r->holder, key), buf_span(&packed));
    buf_fini(&packed);
}

static uint64_t claimed_of(const Remuda__QuotaWindow *w, uint64_t number)
{
    return w->number == number ? w->claimed : w->number == number + 1 ? w->before : 0;
}

int claims_of_others(struct log *log, const struct claims_record *r, uint64_t out[CLAIMS_WINDOWS])
{
    char prefix_bytes[KEY_MOST], own_bytes[KEY_MOST];
    struct span prefix = key_of(r->tenant, NULL, prefix_bytes), own = key_of(r->tenant, r->holder, own_bytes);
    struct span key, value;
    struct arena a = ARENA_INIT;
    struct buf from = BUF_INIT;
    struct log_reader *reader;
    int err = log_read_begin(log, &reader);
    if (err != RM_OK)
        return err;
    memset(out, 0, CLAIMS_WINDOWS * sizeof(out[0]));
    buf_add_span(&from, prefix);
    while (log_read_key_next(reader, LOG_QUOTA, 0, buf_span(&from), &key, &value) && key.len >= prefix.len &&
           memcmp(key.ptr, prefix.ptr, prefix.len) == 0) {
        const Remuda__QuotaClaim *c = span_eq(key, own) ? NULL : quota_claim_decode(&a, value);
        if (c) {
            out[CLAIMS_MINUTE] += claimed_of(c->minute, r->windows[CLAIMS_MINUTE].number);
            out[CLAIMS_DAY] += claimed_of(c->day, r->windows[CLAIMS_DAY].number);
        }
        buf_clear(&from);
        buf_add_span(&from, key);
        buf_add_char(&from, '\0'); /* the next key that can be */
    }
    log_read_end(reader);
    buf_fini(&from);
    arena_fini(&a);
    return RM_OK;
}

struct log_batch *claims_erase_old(struct log *log, uint64_t wall_ms)
{
    uint64_t today = wall_ms / claims_length_ms[CLAIMS_DAY];
    struct log_reader *reader;
    struct span key, value;
    struct buf from = BUF_INIT;
    if (log_read_begin(log, &reader) != RM_OK)
        return NULL;
    struct log_batch *b = log_batch_new(LOG_OWNER);
    while (log_batch_ops(b) < ERASED_MOST &&
           log_read_key_next(reader, LOG_QUOTA, 0, buf_span(&from), &key, &value)) {
        struct arena a = ARENA_INIT;
        const Remuda__QuotaClaim *c = quota_claim_decode(&a, value);
        if (!c || c->day->number + 1 < today)
            log_batch_erase(b, LOG_QUOTA, 0, key);
        arena_fini(&a);
        buf_clear(&from);
        buf_add_span(&from, key);
        buf_add_char(&from, '\0');
    }
    log_read_end(reader);
    buf_fini(&from);
    if (log_batch_ops(b))
        return b;
    log_batch_free(b);
    return NULL;
}
