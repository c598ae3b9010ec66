/*
 * The configuration as an immutable, counted snapshot. Loaded from YAML by one table of keys (type, default,
 * bounds, help), from which docs/CONFIG.md is generated. A reload makes a new snapshot; who works with the
 * old one keeps a reference. All strings and arrays live in the snapshot's arena.
 */
#ifndef REMUDA_RELAY_CONFIG_SETTINGS_H
#define REMUDA_RELAY_CONFIG_SETTINGS_H

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/logger.h"
#include "relay/feedback/token.h"
#include "router/config.h"
#include "router/retry.h"
#include "router/rules.h"
#include "router/tenant.h"

enum listener_tls { LISTENER_TLS_NONE, LISTENER_TLS_STARTTLS, LISTENER_TLS_IMPLICIT };
enum bare_newline { BARE_REFUSE, BARE_NORMALISE };

struct settings_network { /* an IPv4 or IPv6 prefix, network byte order; IPv4 as v4-mapped */
    uint8_t prefix[16];
    int bits; /* 0..128 */
};

struct settings_listener {
    const char *address; /* "127.0.0.1:2525", "[::]:465" */
    enum listener_tls tls;
    const char *hostname;          /* in greeting and EHLO; default node.hostname */
    const char *certificate, *key; /* PEM files; NULL: node-wide ones */
    bool auth;                     /* offers AUTH */
    bool auth_without_tls;
    bool feedback;                          /* takes mail for the bounce domain from anyone */
    bool require_tls;                       /* MAIL only after TLS */
    const struct settings_network *proxies; /* load balancers whose PROXY header is required and believed */
    int n_proxies;
    uint32_t connections;            /* at once on this listener; 0: only the node's limit */
    uint32_t connections_per_client; /* at once from one address; 0: no limit */
    uint64_t idle_ms;                /* default 5 min (RFC 5321 4.5.3.2.7) */
    uint64_t session_ms;             /* total life, default 1 h; 0 none */
    uint64_t data_ms;                /* DATA/BDAT, default 25 min */
    uint32_t errors;                 /* replies 5xx since the last accepted message until 421, default 20 */
    uint32_t commands;               /* per session, default 100000 */
    uint32_t junk;                   /* NOOP/RSET/VRFY/HELP between messages, default 100 */
    uint32_t line_bytes; /* longest line of message text without CRLF; default 1 MiB; 0: no limit but message
                            size */
    enum bare_newline bare_newline; /* default refuse */
};

struct settings_user {
    const char *name;
    const char *password_hash; /* crypt(3) string: yescrypt preferred */
};

struct tenant_limits {            /* 0: none */
    uint64_t per_minute, per_day; /* messages accepted */
    uint32_t recipients;          /* per message; default 1000 */
    uint64_t bytes;               /* per message; default node.message_bytes */
    uint32_t connections;         /* at once */
};

enum tenant_suppression { SUPPRESSION_REJECT, SUPPRESSION_RECORD, SUPPRESSION_OFF };

struct settings_quarantine {
    int pool; /* index into router.pools; -1: tenants are slowed down, but never moved */
    struct tenant_bounds bounds;
};

struct settings_tenant {
    const char *name;
    const struct settings_user *users;
    int n_users;
    const struct settings_network *networks; /* clients that need no AUTH */
    int n_networks;
    const char *const *domains; /* allowed sender domains; "*" any; ".x" all below x */
    int n_domains;
    bool null_sender; /* may send with MAIL FROM:<>; default true */
    bool verp;        /* its mail goes out with return paths on the bounce domain; default false */
    enum tenant_suppression suppression; /* what becomes of mail for suppressed addresses; default reject */
    const int *pools; /* indexes into router.pools, first is the default, the rest take over in order */
    int n_pools;
    struct tenant_limits limits;
    const struct retry_schedule *retry; /* NULL: the provider's or the default */
    struct settings_quarantine quarantine;
};

struct settings_route {       /* transport map entry */
    const char *domain;       /* exact, ".example" all below, "*" everything */
    const char *const *hosts; /* "host:port", "ip:port", "[v6]:port"; tried in order; no MX lookup */
    int n_hosts;
    const char *tls; /* "opportunistic" (default), "required", "none" */
};

struct settings_admin {
    const char *address; /* loopback "127.0.0.1:8025"; NULL: none */
    const char *health;  /* any address "192.0.2.1:8026"; NULL: none */
};

struct settings_delivery {
    bool allow_local; /* deliver to loopback, private and own addresses; default false */
    uint16_t port;    /* of MX hosts: 25 */
    uint64_t connect_ms, greeting_ms, ehlo_ms, tls_ms, mail_ms, rcpt_ms, data_ms, block_ms, dot_ms, quit_ms;
    uint64_t idle_ms;     /* default for providers without their own */
    uint64_t lost_ms;     /* connections of a lost owner count for so long; 0: not at all */
    const char *tls;      /* "opportunistic" (default), "required", "none" */
    uint32_t connections; /* of the whole node; default 2000 */
    uint64_t overflow_ms; /* held this long by its pool: goes to the tenant's next pool; 0: never; default 10
                             min */
    uint32_t window;      /* submissions in memory per lane, default 2000 */
    uint32_t window_tenant; /* and per tenant of a lane, default 500 */
};

struct settings_feedback {
    const char *domain;  /* of return paths, A-labels, lower case; NULL: none, nothing comes back */
    const char *address; /* where complaints are sent to; NULL: none */
    struct token_keys keys;
    const char *const *secrets; /* as the file has them */
    int n_secrets;
    const char *key_file;
    uint64_t lifetime_ms; /* of a token; default 10 d */
    bool forward;         /* what comes back goes on to the message's own sender; default true */
};

struct settings_suppression { /* how long an entry holds; 0: for ever */
    uint64_t bounce_ms;       /* default 30 d */
    uint64_t complaint_ms;    /* default 365 d */
};

enum egress_protocol {
    EGRESS_REMUDA, /* `remuda egress`: signed headers, answers */
    EGRESS_PROXY,  /* HAProxy or the like: a PROXY v2 header, no answers */
};

/* Mutual TLS between workers and `remuda egress`. */
struct settings_egress_tls {
    const char *ca, *certificate, *key; /* PEM files; ca NULL: no TLS, but a secret */
    const char *name;           /* that the egress's certificate must bear; default: the egress's own */
    const char *const *workers; /* names one of which a worker's must bear */
    int n_workers;
    struct tls_context *server, *client; /* made where this node needs them, else NULL */
};

/* A proxy on the host that has a source's address. */
struct settings_egress {
    const char *name;
    const char *address; /* where workers connect, and its node listens */
    const char *node;    /* name of the node that serves it; default: the egress's own */
    int protocol;        /* enum egress_protocol */
    const char *secret_file;
    const uint8_t (*keys)[32]; /* one of each line of the file; the first signs, all are good */
    int n_keys;
    struct settings_egress_tls tls;
    const char *const *ports; /* as text; none: 25, 465, 587, 24 */
    int n_ports;
    bool allow_local;     /* to loopback, private and own addresses too */
    uint32_t connections; /* at once */
    uint64_t idle_ms;     /* without a byte in either direction */
    bool used;            /* an enabled source is reached through it */
};

struct settings_kafka {
    const char *const *brokers; /* "host:port" */
    int n_brokers;
    const char *prefix; /* of topics; default remuda */
    bool development;
    bool tls;
    const char *ca;                       /* NULL: the system's */
    const char *mechanism, *user;         /* user NULL: no login */
    const char *password_file, *password; /* the file's first line */
};

struct settings {
    /* node */
    const char *name;
    const char *hostname; /* default: the system's FQDN */
    const char *data;     /* data directory */
    const char *const *roles;
    int n_roles;
    int shards;                    /* 0: one per core */
    const char *certificate, *key; /* NULL: a self-signed pair made in data/ */
    uint64_t message_bytes;        /* largest message; default 50 MiB */
    uint64_t memory_bytes;         /* message bytes in memory: over it 452; default 1 GiB */
    uint32_t connections;          /* inbound, whole node; default 20000 */
    uint64_t drain_ms;             /* how long a stop waits for transactions; default 30 s */
    uint64_t leave_ms;             /* how long mail is taken after the order to stop; default 0 */
    uint32_t hops;                 /* Received fields until "loop"; default 50 */
    const char *bounce_from;       /* MAILER-DAEMON address; default MAILER-DAEMON@hostname */
    /* log */
    const char *log_backend; /* "embedded", "kafka" or "memory" (tests) */
    struct settings_kafka kafka;
    uint32_t partitions;       /* default 8; the log may have more */
    uint64_t map_bytes;        /* default 1 TiB */
    uint64_t floor_free_bytes; /* default 1 GiB */
    bool log_sync;             /* default true; false loses mail at a power loss and is announced at start */
    uint64_t history_ms;       /* events kept; default 7 d */
    uint32_t carry_after; /* records from the oldest live one on before it is copied forward; default 20000 */
    /* logging of the program */
    enum log_level log_level;
    enum log_format log_format;
    enum log_privacy log_privacy;
    /* dns */
    const char *const *dns_servers; /* "ip:port"; none: the system's */
    int n_dns_servers;
    uint64_t dns_timeout_ms; /* per try, default 2 s */
    int dns_tries;           /* default 3 */
    uint32_t dns_cache;      /* names, default 100000 */

    const struct settings_listener *listeners;
    int n_listeners;
    const struct settings_egress *egresses;
    int n_egresses;
    struct settings_quarantine quarantine; /* of tenants that are in the file no more */
    const struct settings_tenant *tenants;
    int n_tenants;
    const struct settings_route *routes;
    int n_routes;
    const struct retry_schedule *retries;
    int n_retries;
    struct settings_admin admin;
    struct settings_delivery delivery;
    struct settings_feedback feedback;
    struct settings_suppression suppression;
    struct router_config router;
    struct router_rules *rules; /* how answers are understood; never NULL */

    /* private to settings.c */
    _Atomic int refs;
    struct arena arena;
};

/*
 * Loads path (and the providers file it names, relative to it). On error returns RM_EINVAL (or RM_ENOTFOUND,
 * RM_EIO), *out NULL and in error one line per trouble: "file:line:column: what was found, what was
 * expected". Unknown keys, duplicates, a source in two pools, names that are not defined are errors.
 */
int settings_load(const char *path, struct settings **out, struct buf *error) MUST_CHECK;
/* The same with other roles than the file's: "ingress,delivery"; NULL: the file's. */
int settings_load_as(const char *path, const char *roles, struct settings **out,
                     struct buf *error) MUST_CHECK;
/* Neither takes mail nor delivers: it needs no log and no data directory. */
bool settings_egress_only(const struct settings *s);
/* This node listens for the egress of that index. */
bool settings_egress_here(const struct settings *s, int egress);
/* Target ports of an egress. */
bool settings_egress_port_ok(const struct settings_egress *e, uint16_t port);
bool settings_has_role(const struct settings *s, const char *role);
struct settings *settings_ref(struct settings *s);
void settings_unref(struct settings *s);
/*
 * What a reload cannot change (data, partitions, backend, shards, node name): appends a line per difference
 * and returns false when there is one.
 */
bool settings_reloadable(const struct settings *running, const struct settings *next, struct buf *why);
/* docs/CONFIG.md from the table of keys. */
void settings_document(struct buf *out);

/* The tenant whose network holds the address (16 bytes, v4-mapped for IPv4), longest prefix; -1 for none. */
int settings_tenant_by_address(const struct settings *s, const uint8_t address[16]);
/* The tenant and user of a login name; -1 for none. */
int settings_tenant_by_user(const struct settings *s, struct span user, const struct settings_user **out);
bool settings_tenant_may_send(const struct settings_tenant *t, struct span sender_domain);
/* The route of a recipient domain (A-label, lower case): exact, then the longest ".suffix", then "*"; NULL.
 */
const struct settings_route *settings_route_find(const struct settings *s, struct span domain);
bool settings_network_has(const struct settings_network *n, const uint8_t address[16]);

#endif
