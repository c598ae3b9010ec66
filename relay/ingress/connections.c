/* Counters by name under one lock. What a limit means for a session is inbound.c's and driver.c's. */
#include "relay/ingress/connections.h"

#include <pthread.h>
#include <stdlib.h>

#include "lib/base/err.h"
#include "lib/base/map.h"

enum { CLIENT_KEY = 96 };

struct connections {
    pthread_mutex_t lock;
    struct map tenants; /* name -> uint32_t */
    struct map clients; /* listener and address -> uint32_t; only those with connections */
};

struct connections *connections_new(void)
{
    struct connections *c = calloc(1, sizeof(*c));
    ENSURE(c);
    ENSURE(pthread_mutex_init(&c->lock, NULL) == 0);
    map_init(&c->tenants);
    map_init(&c->clients);
    return c;
}

static void free_values(struct map *m)
{
    size_t pos = 0;
    struct span key;
    void *value;
    while (map_next(m, &pos, &key, &value))
        free(value);
    map_fini(m);
}

void connections_free(struct connections *c)
{
    free_values(&c->tenants);
    free_values(&c->clients);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* most of 0: no limit. */
static bool enter(struct map *m, struct span key, uint32_t most)
{
    uint32_t *n = map_get(m, key);
    if (n && most && *n >= most)
        return false;
    if (!n) {
        n = calloc(1, sizeof(*n));
        ENSURE(n);
        (void)map_put(m, key, n);
    }
    ++*n;
    return true;
}

static void leave(struct map *m, struct span key)
{
    uint32_t *n = map_get(m, key);
    ENSURE(n && *n > 0);
    if (--*n == 0)
        free(map_remove(m, key));
}

bool connections_tenant_enter(struct connections *c, const struct settings_tenant *t)
{
    pthread_mutex_lock(&c->lock);
    bool ok = enter(&c->tenants, span_str(t->name), t->limits.connections);
    pthread_mutex_unlock(&c->lock);
    return ok;
}

void connections_tenant_leave(struct connections *c, const char *tenant)
{
    pthread_mutex_lock(&c->lock);
    leave(&c->tenants, span_str(tenant));
    pthread_mutex_unlock(&c->lock);
}

static struct span client_key(char out[CLIENT_KEY], const char *listener, const uint8_t ip[16])
{
    size_t n = strnlen(listener, CLIENT_KEY - 16);
    memcpy(out, ip, 16);
    memcpy(out + 16, listener, n);
    return span_of(out, 16 + n);
}

bool connections_client_enter(struct connections *c, const char *listener, const uint8_t ip[16],
                              uint32_t most)
{
    char bytes[CLIENT_KEY];
    struct span key = client_key(bytes, listener, ip);
    pthread_mutex_lock(&c->lock);
    bool ok = enter(&c->clients, key, most);
    pthread_mutex_unlock(&c->lock);
    return ok;
}

void connections_client_leave(struct connections *c, const char *listener, const uint8_t ip[16])
{
    char bytes[CLIENT_KEY];
    struct span key = client_key(bytes, listener, ip);
    pthread_mutex_lock(&c->lock);
    leave(&c->clients, key);
    pthread_mutex_unlock(&c->lock);
}
