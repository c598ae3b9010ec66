/* crypt(3) and the cache of its positive answers: a table in which the newer of two entries stays. */
#include "relay/ingress/password.h"

#include <crypt.h>
#include <pthread.h>
#include <stdlib.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/mac.h"

enum { PASSWORD_MOST = 512 };

bool password_check(struct span password, const char *hash)
{
    /* Settings for a user that does not exist: the answer takes as long as for one that does. */
    static const char nobody[] = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$";
    if (password.len > PASSWORD_MOST || memchr(password.ptr, '\0', password.len))
        return false;
    struct crypt_data *data = calloc(1, sizeof(*data));
    char *phrase = strndup(password.ptr, password.len);
    ENSURE(data && phrase);
    const char *made = crypt_r(phrase, hash ? hash : nobody, data);
    size_t len = hash ? strlen(hash) : 0;
    bool right = made && hash && made[0] != '*' && strlen(made) == len && mac_equal(made, hash, len);
    explicit_bzero(data, sizeof(*data));
    explicit_bzero(phrase, password.len);
    free(data);
    free(phrase);
    return right;
}

struct entry {
    uint8_t mac[MAC_BYTES];
    uint64_t until_ms; /* 0: empty */
};

struct password_cache {
    pthread_mutex_t lock;
    uint8_t key[MAC_KEY_BYTES];
    struct entry entries[PASSWORD_CACHE_ENTRIES];
};

struct password_cache *password_cache_new(void)
{
    struct password_cache *c = calloc(1, sizeof(*c));
    ENSURE(c);
    ENSURE(pthread_mutex_init(&c->lock, NULL) == 0);
    mac_key_make(c->key);
    return c;
}

void password_cache_free(struct password_cache *c)
{
    pthread_mutex_destroy(&c->lock);
    explicit_bzero(c, sizeof(*c));
    free(c);
}

static void add_part(struct buf *b, struct span part)
{
    uint64_t len = part.len; /* lengths in front: no two triples give the same bytes */
    buf_add(b, &len, sizeof(len));
    buf_add_span(b, part);
}

static struct entry *entry_of(struct password_cache *c, const struct span parts[3], uint8_t mac[MAC_BYTES])
{
    struct buf b = BUF_INIT;
    (void)buf_reserve(&b, parts[0].len + parts[1].len + parts[2].len + 3 * sizeof(uint64_t));
    for (int i = 0; i < 3; i++)
        add_part(&b, parts[i]);
    mac_make(c->key, buf_span(&b), mac);
    explicit_bzero(b.data, b.len);
    buf_fini(&b);
    uint32_t slot;
    memcpy(&slot, mac, sizeof(slot));
    return &c->entries[slot % PASSWORD_CACHE_ENTRIES];
}

bool password_cache_has(struct password_cache *c, struct span user, struct span password, const char *hash,
                        uint64_t now_ms)
{
    uint8_t mac[MAC_BYTES];
    struct entry *e = entry_of(c, (const struct span[]){user, password, span_str(hash)}, mac);
    pthread_mutex_lock(&c->lock);
    bool known = now_ms < e->until_ms && mac_equal(e->mac, mac, MAC_BYTES);
    pthread_mutex_unlock(&c->lock);
    return known;
}

void password_cache_add(struct password_cache *c, struct span user, struct span password, const char *hash,
                        uint64_t now_ms)
{
    uint8_t mac[MAC_BYTES];
    struct entry *e = entry_of(c, (const struct span[]){user, password, span_str(hash)}, mac);
    pthread_mutex_lock(&c->lock);
    memcpy(e->mac, mac, MAC_BYTES);
    e->until_ms = now_ms + PASSWORD_CACHE_MS;
    pthread_mutex_unlock(&c->lock);
}
