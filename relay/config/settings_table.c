/*
 * Every key of the configuration: type, default, bounds, help. The loader and docs/CONFIG.md are made from
 * these tables; what values mean together is checked elsewhere in this folder.
 */
#include "relay/config/settings_private.h"

#define AT(member)          CONF_AT(struct settings_file, s.member)
#define LIST(member, count) CONF_LIST_AT(struct settings_file, s.member, s.count)
#define ROWS(table)         .keys = (table), .n_keys = sizeof(table) / sizeof((table)[0])

static const char *const role_words[] = {"ingress", "delivery", "admin", "egress", NULL};
static const char *const backend_words[] = {"embedded", "kafka", "memory", NULL};
static const char *const mechanism_words[] = {"SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", NULL};
static const char *const egress_protocol_words[] = {"remuda", "proxy", NULL};
static const char *const level_words[] = {"debug", "info", "warn", "error", NULL};
static const char *const format_words[] = {"human", "json", NULL};
static const char *const privacy_words[] = {"plain", "hash", "hide", NULL};
static const char *const listener_tls_words[] = {"none", "starttls", "implicit", NULL};
static const char *const newline_words[] = {"refuse", "normalise", NULL};
static const char *const suppression_words[] = {"reject", "record", "off", NULL};
static const char *const tls_words[] = {"opportunistic", "required", "none", NULL};
static const char *const scope_words[] = {"source", "total", NULL};

static const struct conf_key node_keys[] = {
    {"name", CONF_NAME, AT(name),
     .help = "This node in events, logs and metrics. Default: the host's short name."},
    {"hostname", CONF_DOMAIN, AT(hostname),
     .help = "Name in greetings, Received fields and bounces. Default: the host's full name."},
    {"data", CONF_PATH, AT(data), .required = true, .help = "Data directory; relative to this file."},
    {"roles", CONF_WORDS, LIST(roles, n_roles), .words = role_words,
     .help = "What this node does. Other than all of it only with `log.backend: kafka`, but for `egress` "
             "(with or "
             "without `admin`), which needs no log. Default: all."},
    {"shards", CONF_INT, AT(shards), .initial = "0", .max = 64, .help = "Loop threads; 0: one per core."},
    {"certificate", CONF_PATH, AT(certificate),
     .help =
         "PEM chain for listeners without their own. Default: a self-signed one made in the data directory."},
    {"key", CONF_PATH, AT(key), .help = "PEM private key of the certificate."},
    {"message_size", CONF_SIZE, AT(message_bytes), .initial = "50MiB", .min = 65536, .max = 2ull << 30,
     .help = "Largest message accepted (SIZE)."},
    {"memory", CONF_SIZE, AT(memory_bytes), .initial = "1GiB", .min = 16 << 20,
     .help =
         "Memory for messages: bodies, envelopes, input without its end. Over it senders get 452, a quarter "
         "over it also for messages begun."},
    {"connections", CONF_INT, AT(connections), .initial = "20000", .min = 1, .max = 1000000,
     .help = "Inbound connections at once, all listeners."},
    {"drain", CONF_DURATION, AT(drain_ms), .initial = "30s", .max = 3600000,
     .help =
         "How long a stop waits for senders' transactions in progress, and then for deliveries in progress."},
    {"leave", CONF_DURATION, AT(leave_ms), .initial = "0s", .max = 600000,
     .help =
         "How long a node that takes mail goes on as ever after the order to stop, with /readyz at 503, so "
         "that a balancer sends it nothing more before its listeners close. A second order ends the wait."},
    {"hops", CONF_INT, AT(hops), .initial = "50", .min = 5, .max = 1000,
     .help = "Received fields from which a message is refused as looping."},
    {"bounce_from", CONF_STRING, AT(bounce_from),
     .help = "Address in the From of bounces. Default: MAILER-DAEMON@hostname."},
};
static const struct conf_section node_section = {"node", "This process.", ROWS(node_keys), 0};

static const struct conf_key log_tls_keys[] = {
    {"enabled", CONF_BOOL, AT(kafka.tls), .initial = "false",
     .help = "Connections to the brokers are encrypted and their certificates checked."},
    {"ca", CONF_PATH, AT(kafka.ca),
     .help = "PEM file of the authorities that are believed. Default: the system's."},
};
static const struct conf_section log_tls_section = {"log.tls", "TLS to the Kafka brokers.",
                                                    ROWS(log_tls_keys), 0};

static const struct conf_key log_sasl_keys[] = {
    {"mechanism", CONF_WORD, AT(kafka.mechanism), .initial = "SCRAM-SHA-512", .words = mechanism_words,
     .help = "How this node proves who it is. `PLAIN` shows the password to the broker and needs TLS."},
    {"user", CONF_STRING, AT(kafka.user), .help = "Name at the brokers. Default: none, no login."},
    {"password_file", CONF_PATH, AT(kafka.password_file), .help = "Its first line is the password."},
};
static const struct conf_section log_sasl_section = {"log.sasl", "Login at the Kafka brokers.",
                                                     ROWS(log_sasl_keys), 0};

static const struct conf_key log_keys[] = {
    {"backend", CONF_WORD, AT(log_backend), .initial = "embedded", .words = backend_words,
     .help = "`embedded`: on this disk, one process is the relay. `kafka`: in a cluster that many nodes "
             "share. `memory` forgets everything at a stop: for tests only."},
    {"brokers", CONF_STRINGS, LIST(kafka.brokers, kafka.n_brokers),
     .help = "Kafka: host:port of some brokers of the cluster."},
    {"prefix", CONF_NAME, AT(kafka.prefix), .initial = "remuda",
     .help = "Kafka: the topics are `<prefix>.mail`, `<prefix>.events` and so on."},
    {"development", CONF_BOOL, AT(kafka.development), .initial = "false",
     .help = "Kafka: topics without replicas are allowed in a cluster of several brokers too."},
    {"tls", CONF_SECTION, .section = &log_tls_section, .help = "See below."},
    {"sasl", CONF_SECTION, .section = &log_sasl_section, .help = "See below."},
    {"partitions", CONF_INT, AT(partitions), .initial = "8", .min = 1, .max = 4096,
     .help =
         "Slices of the log when it is made, and at least from then on: the log itself knows how many it "
         "has. "
         "A larger number adds some at a reload or start; so does `remuda partitions grow`. A smaller one "
         "changes nothing: they are never taken away."},
    {"map", CONF_SIZE, AT(map_bytes), .initial = "1TiB", .min = 64 << 20,
     .help = "Upper bound of the log's file; the file is sparse."},
    {"floor", CONF_SIZE, AT(floor_free_bytes), .initial = "1GiB", .min = 1 << 20,
     .help = "Free disk space below which senders get 452; events and deletions still have room."},
    {"sync", CONF_BOOL, AT(log_sync), .initial = "true",
     .help = "`false` loses accepted mail at a power failure; said at each start."},
    {"carry_after", CONF_INT, AT(carry_after), .initial = "20000", .min = 16, .max = 100000000,
     .help = "Records between the oldest live one and the newest from which old live ones are copied "
             "forward, so that "
             "the space between is given back."},
    {"history", CONF_DURATION, AT(history_ms), .initial = "7d", .min = 60000,
     .help = "How long events are kept for traces and searches."},
};
static const struct conf_section log_section = {"log", "The mail log on disk.", ROWS(log_keys), 0};

static const struct conf_key logging_keys[] = {
    {"level", CONF_ENUM, AT(log_level), .initial = "info", .words = level_words,
     .help = "Least level written."},
    {"format", CONF_ENUM, AT(log_format), .initial = "human", .words = format_words,
     .help = "Lines for people or one JSON object a line."},
    {"addresses", CONF_ENUM, AT(log_privacy), .initial = "plain", .words = privacy_words,
     .help = "Local parts of addresses as they are, as a keyed hash, or hidden."},
};
static const struct conf_section logging_section = {"logging", "Log lines of the program, on standard error.",
                                                    ROWS(logging_keys), 0};

static const struct conf_key dns_keys[] = {
    {"servers", CONF_ENDPOINTS, LIST(dns_servers, n_dns_servers), .max = 16,
     .help = "Resolvers. Default: the system's."},
    {"timeout", CONF_DURATION, AT(dns_timeout_ms), .initial = "2s", .min = 50, .max = 60000,
     .help = "Per try."},
    {"tries", CONF_INT, AT(dns_tries), .initial = "3", .min = 1, .max = 10, .help = "Tries per server."},
    {"cache", CONF_INT, AT(dns_cache), .initial = "100000", .min = 100, .max = 100000000,
     .help = "Names kept in memory."},
};
static const struct conf_section dns_section = {"dns", "Name resolution.", ROWS(dns_keys), 0};

static const struct conf_key admin_keys[] = {
    {"address", CONF_ENDPOINT, AT(admin.address),
     .help =
         "Loopback address and port of the admin listener: metrics, health, and, in a cluster on nodes with "
         "the role `admin`, traces and searches. Default: none."},
    {"health", CONF_ENDPOINT, AT(admin.health),
     .help =
         "Address and port, any, of a listener that answers /healthz and /readyz and nothing else: for load "
         "balancers. Default: none."},
};
static const struct conf_section admin_section = {"admin", "The admin HTTP listener.", ROWS(admin_keys), 0};

#define LISTENER(member) CONF_AT(struct raw_listener, l.member)
static const struct conf_key listener_keys[] = {
    {"address", CONF_ENDPOINT, LISTENER(address), .required = true, .help = "Address and port."},
    {"tls", CONF_ENUM, LISTENER(tls), .initial = "starttls", .words = listener_tls_words,
     .help = "`implicit`: TLS from the first byte."},
    {"hostname", CONF_DOMAIN, LISTENER(hostname), .help = "In the greeting. Default: node.hostname."},
    {"certificate", CONF_PATH, LISTENER(certificate), .help = "PEM chain. Default: the node's."},
    {"key", CONF_PATH, LISTENER(key), .help = "PEM private key."},
    {"auth", CONF_BOOL, LISTENER(auth), .initial = "false",
     .help = "Offers AUTH PLAIN and LOGIN, under TLS."},
    {"auth_without_tls", CONF_BOOL, LISTENER(auth_without_tls), .initial = "false",
     .help = "Offers AUTH in the clear too: passwords can be read on the way."},
    {"feedback", CONF_BOOL, LISTENER(feedback), .initial = "false",
     .help = "Takes what comes back (feedback.domain) from anyone: the listener that the domain's MX names."},
    {"require_tls", CONF_BOOL, LISTENER(require_tls), .initial = "false",
     .help = "MAIL only after STARTTLS."},
    {"proxies", CONF_NETWORKS, CONF_LIST_AT(struct raw_listener, proxies, n_proxies),
     .help = "Load balancers whose PROXY header (v1, v2) is required and believed."},
    {"connections", CONF_INT, LISTENER(connections), .initial = "0",
     .help = "At once; 0: the node's limit only."},
    {"connections_per_client", CONF_INT, LISTENER(connections_per_client), .initial = "0",
     .help = "At once from one address; 0: no limit."},
    {"idle", CONF_DURATION, LISTENER(idle_ms), .initial = "5m", .min = 100, .max = 3600000,
     .help = "Wait for the next command (RFC 5321 4.5.3.2.7 asks for 5 minutes)."},
    {"session", CONF_DURATION, LISTENER(session_ms), .initial = "1h",
     .help = "Life of a connection; 0: no limit."},
    {"data", CONF_DURATION, LISTENER(data_ms), .initial = "25m", .min = 1000, .max = 1500000,
     .help = "Time for one message's text; parts of it are not kept much longer than this."},
    {"errors", CONF_INT, LISTENER(errors), .initial = "20", .min = 1,
     .help = "5xx replies until 421, since the last message accepted."},
    {"commands", CONF_INT, LISTENER(commands), .initial = "100000", .min = 10,
     .help = "Commands in a session."},
    {"junk", CONF_INT, LISTENER(junk), .initial = "100", .min = 1,
     .help = "NOOP, RSET, VRFY, HELP and HELO between two messages."},
    {"line", CONF_SIZE, LISTENER(line_bytes), .initial = "1MiB",
     .help = "Longest line of message text; 0: no limit but the message's."},
    {"bare_newline", CONF_ENUM, LISTENER(bare_newline), .initial = "refuse", .words = newline_words,
     .help = "CR or LF alone in message text: refused, or made CRLF. NUL is always refused."},
};
static const struct conf_section listener_section = {"listeners[]", "Where senders connect.",
                                                     ROWS(listener_keys), sizeof(struct raw_listener)};

#define EGRESS(member) CONF_AT(struct settings_egress, member)
static const struct conf_key egress_tls_keys[] = {
    {"ca", CONF_PATH, EGRESS(tls.ca),
     .help = "PEM file of the authorities that are believed, on both sides. Required. One of your own: the "
             "system's are not asked."},
    {"certificate", CONF_PATH, EGRESS(tls.certificate),
     .help = "PEM file with what this node shows, as egress or as worker, its own certificate first. "
             "Required, with `key`."},
    {"key", CONF_PATH, EGRESS(tls.key), .help = "PEM file with its key."},
    {"name", CONF_STRING, EGRESS(tls.name),
     .help = "Workers: the host name (or IP address) that the egress's certificate must bear as an "
             "alternative name. Default: the egress's `name`."},
    {"workers", CONF_STRINGS, CONF_LIST_AT(struct settings_egress, tls.workers, tls.n_workers), .max = 1000,
     .help =
         "The egress: names one of which a worker's certificate must bear as an alternative name; `.x` is "
         "all below x. Required."},
};
static const struct conf_section egress_tls_section = {
    "egresses[].tls", "Mutual TLS between workers and `remuda egress`, in place of a secret.",
    ROWS(egress_tls_keys), 0};

static const struct conf_key egress_keys[] = {
    {"name", CONF_NAME, EGRESS(name), .required = true, .help = "Unique."},
    {"address", CONF_ENDPOINT, EGRESS(address), .required = true,
     .help = "Address and port at which workers reach it, and at which its node listens."},
    {"node", CONF_NAME, EGRESS(node),
     .help = "`node.name` of the node that serves it (role `egress`). Default: the egress's own name."},
    {"protocol", CONF_ENUM, EGRESS(protocol), .initial = "remuda", .words = egress_protocol_words,
     .help = "`remuda`: a node of the relay. `proxy`: HAProxy or another that takes a PROXY v2 header."},
    {"secret_file", CONF_PATH, EGRESS(secret_file),
     .help =
         "A line of 32 characters or more that workers and the egress share; never sent. Further lines are "
         "believed too: for changing it. `protocol: remuda` requires this or `tls`."},
    {"tls", CONF_SECTION, .offset = 0, .section = &egress_tls_section, .help = "See below."},
    {"ports", CONF_STRINGS, CONF_LIST_AT(struct settings_egress, ports, n_ports), .min = 1, .max = 16,
     .help = "Ports to which it connects. Default: 25, 465, 587 and 24."},
    {"allow_local", CONF_BOOL, EGRESS(allow_local), .initial = "false",
     .help = "It connects to loopback, private and its own addresses too."},
    {"connections", CONF_INT, EGRESS(connections), .initial = "10000", .min = 1, .max = 1000000,
     .help = "At once through it."},
    {"idle", CONF_DURATION, EGRESS(idle_ms), .initial = "15m", .min = 100, .max = 86400000,
     .help = "A connection without a byte in either direction for so long is closed; receivers may think for "
             "10 minutes."},
};
static const struct conf_section egress_section = {"egresses[]", "Ways to sources on other machines.",
                                                   ROWS(egress_keys), sizeof(struct settings_egress)};

static const struct conf_key source_keys[] = {
    {"name", CONF_NAME, CONF_AT(struct raw_source, name), .required = true, .help = "Unique."},
    {"address", CONF_IP, CONF_AT(struct raw_source, address), .required = true,
     .help = "The IP address that mail leaves from. Unique."},
    {"ehlo", CONF_DOMAIN, CONF_AT(struct raw_source, ehlo),
     .help = "Name in EHLO; should resolve to the address, and back. Default: node.hostname."},
    {"enabled", CONF_BOOL, CONF_AT(struct raw_source, enabled), .initial = "true",
     .help = "`false` drains it: open transactions end, no new one starts."},
    {"egress", CONF_NAME, CONF_AT(struct raw_source, egress),
     .help = "Name of the egress on the machine that has the address. Default: this machine has it."},
    {"warmup", CONF_STRING, CONF_AT(struct raw_source, warmup),
     .help = "Warm-up schedule at each provider. Default: the pool's, else the provider's."},
};
static const struct conf_section source_section = {"sources[]", "Sending IP addresses.", ROWS(source_keys),
                                                   sizeof(struct raw_source)};

static const struct conf_key member_keys[] = {
    {"source", CONF_NAME, CONF_AT(struct raw_member, source), .required = true,
     .help = "Name of a source. A source is in one pool only."},
    {"weight", CONF_INT, CONF_AT(struct raw_member, weight), .initial = "1", .min = 1, .max = 1000,
     .help = "Share of the pool's mail, compared with the other members'."},
};
static const struct conf_section member_section = {"pools[].members[]", "Sources of a pool.",
                                                   ROWS(member_keys), sizeof(struct raw_member)};

static const struct conf_key pool_keys[] = {
    {"name", CONF_NAME, CONF_AT(struct raw_pool, name), .required = true, .help = "Unique."},
    {"members", CONF_SECTIONS, CONF_LIST_AT(struct raw_pool, members, n_members), .required = true, .min = 1,
     .max = ROUTER_SOURCES_MOST, .section = &member_section, .help = "Its sources and their weights."},
    {"shards", CONF_INT, CONF_AT(struct raw_pool, shards), .initial = "1", .min = 1,
     .max = ROUTER_SHARDS_MOST,
     .help = "Fixed subsets of the members, taken in turn; each works alone, at most 256 sources in one."},
    {"fallback", CONF_NAME, CONF_AT(struct raw_pool, fallback),
     .help = "Pool that takes the mail which this one cannot send for long."},
    {"warmup", CONF_STRING, CONF_AT(struct raw_pool, warmup),
     .help = "Warm-up schedule of its sources. Default: the provider's."},
};
static const struct conf_section pool_section = {"pools[]", "Weighted sets of sources.", ROWS(pool_keys),
                                                 sizeof(struct raw_pool)};

#define WARMUP(member) CONF_AT(struct raw_warmup, member)
static const struct conf_key warmup_keys[] = {
    {"name", CONF_NAME, WARMUP(name), .required = true,
     .help = "Unique. Built in are `none`, `stages` (29 caps from 200 to 10,000,000) and `geometric` or "
             "`geometric F` (480 a day, F times more each day, up to 1,000,000; without F 1.4 times, and "
             "quick)."},
    {"steps", CONF_STRINGS, CONF_LIST_AT(struct raw_warmup, steps, n_steps), .min = 1,
     .max = WARMUP_STAGES_MOST,
     .help = "Messages a day, stage by stage, rising; after the last there is no cap."},
    {"start", CONF_INT, WARMUP(start), .initial = "480", .min = 1, .max = UINT32_MAX,
     .help = "Instead of steps: messages of the first day."},
    {"factor", CONF_STRING, WARMUP(factor), .initial = "1.4",
     .help = "Growth from stage to stage, 1.05 to 10."},
    {"full", CONF_INT, WARMUP(full), .initial = "1000000", .min = 1, .max = UINT32_MAX,
     .help = "The first stage with this cap or more is the last."},
    {"hourly", CONF_INT, WARMUP(hourly), .initial = "20", .min = 5, .max = 100,
     .help = "At most so many percent of a day's cap in one clock hour."},
    {"quick", CONF_BOOL, WARMUP(quick), .initial = "false",
     .help = "A good day whose cap was used up counts twice, as long as that is not more than double."},
};
static const struct conf_section warmup_section = {
    "warmups[]", "How fast new sources may grow at a receiver, by results: see docs/ROUTER.md.",
    ROWS(warmup_keys), sizeof(struct raw_warmup)};

static const struct conf_key user_keys[] = {
    {"name", CONF_STRING, CONF_AT(struct settings_user, name), .required = true,
     .help = "Login name; unique over all tenants."},
    {"password_hash", CONF_STRING, CONF_AT(struct settings_user, password_hash), .required = true,
     .help = "A crypt(3) hash, as `remuda hash-password` prints; never the password."},
};
static const struct conf_section user_section = {"tenants[].users[]", "Logins.", ROWS(user_keys),
                                                 sizeof(struct settings_user)};

#define LIMIT(member) CONF_AT(struct raw_tenant, t.limits.member)
static const struct conf_key limit_keys[] = {
    {"per_minute", CONF_INT, LIMIT(per_minute), .initial = "0", .help = "Messages accepted; 0: no limit."},
    {"per_day", CONF_INT, LIMIT(per_day), .initial = "0", .help = "Messages accepted; 0: no limit."},
    {"recipients", CONF_INT, LIMIT(recipients), .initial = "1000", .help = "Of one message; 0: no limit."},
    {"size", CONF_SIZE, LIMIT(bytes), .help = "Of one message. Default: node.message_size."},
    {"connections", CONF_INT, LIMIT(connections), .initial = "0", .help = "At once; 0: no limit."},
};
static const struct conf_section limit_section = {"tenants[].limits", "What a tenant may do; over it: 4xx.",
                                                  ROWS(limit_keys), 0};

#define QUARANTINE(member) CONF_AT(struct raw_quarantine, member)
static const struct conf_key quarantine_keys[] = {
    {"pool", CONF_NAME, QUARANTINE(pool),
     .help = "Pool that takes its mail to the provider. Default: none, it is slowed down only."},
    {"bad_mailbox", CONF_STRING, QUARANTINE(bad_mailbox),
     .help = "Share of recipients that do not exist over which it is quarantined; over half of it, slowed "
             "down. Default: 10%."},
    {"complaint", CONF_STRING, QUARANTINE(complaint),
     .help = "Share of recipients that complain over which it is quarantined; over a fifth of it, slowed "
             "down. Default: 0.5%."},
    {"minimum", CONF_INT, QUARANTINE(minimum), .min = 1, .max = UINT32_MAX,
     .help = "Recipients of a day at the provider below which nothing is judged. Default: 100."},
};
static const struct conf_section quarantine_section = {
    "quarantine",
    "When a tenant's mail goes apart from its neighbours', provider by provider: see docs/ROUTER.md. At the "
    "top for all tenants; a tenant's own keys replace those.",
    ROWS(quarantine_keys), 0};

#define TENANT(member) CONF_AT(struct raw_tenant, member)
static const struct conf_key tenant_keys[] = {
    {"name", CONF_NAME, TENANT(t.name), .required = true, .help = "Unique."},
    {"users", CONF_SECTIONS, CONF_LIST_AT(struct raw_tenant, t.users, t.n_users), .section = &user_section,
     .help = "Logins that submit as this tenant."},
    {"networks", CONF_NETWORKS, CONF_LIST_AT(struct raw_tenant, networks, n_networks),
     .help = "Clients that are this tenant without a login; the longest prefix wins."},
    {"domains", CONF_DOMAINS, CONF_LIST_AT(struct raw_tenant, t.domains, t.n_domains), .required = true,
     .help = "Sender domains it may use: exact, `.x` for all below x, `*` for any."},
    {"null_sender", CONF_BOOL, TENANT(t.null_sender), .initial = "true",
     .help = "May send bounces (`MAIL FROM:<>`)."},
    {"verp", CONF_BOOL, TENANT(t.verp), .initial = "false",
     .help =
         "Its mail leaves with a return path on feedback.domain, so that late bounces are understood. SPF "
         "is then that domain's; DMARC needs DKIM."},
    {"suppression", CONF_ENUM, TENANT(t.suppression), .initial = "reject", .words = suppression_words,
     .help = "Mail for addresses on its suppression list: refused at RCPT, accepted and recorded as "
             "suppressed, or sent."},
    {"pool", CONF_NAME, TENANT(pool), .help = "Its pool. One of `pool` and `pools` is required."},
    {"pools", CONF_STRINGS, CONF_LIST_AT(struct raw_tenant, pools, n_pools), .min = 1, .max = 16,
     .help = "Its pools: the first, and those that take over, in order."},
    {"limits", CONF_SECTION, .offset = 0, .section = &limit_section, .help = "See below."},
    {"retry", CONF_NAME, TENANT(retry), .help = "Retry schedule. Default: the provider's."},
    {"quarantine", CONF_SECTION, .offset = offsetof(struct raw_tenant, quarantine),
     .section = &quarantine_section, .help = "See below."},
};
static const struct conf_section tenant_section = {"tenants[]", "Who submits mail.", ROWS(tenant_keys),
                                                   sizeof(struct raw_tenant)};

static const struct conf_key route_keys[] = {
    {"domain", CONF_DOMAIN, CONF_AT(struct settings_route, domain), .required = true,
     .help = "Recipient domain: exact, `.x` for all below x, `*` for all others."},
    {"hosts", CONF_STRINGS, CONF_LIST_AT(struct settings_route, hosts, n_hosts), .required = true, .min = 1,
     .max = 16, .help = "`host:port`, `192.0.2.1:25` or `[2001:db8::1]:25`, tried in order; no MX lookup."},
    {"tls", CONF_WORD, CONF_AT(struct settings_route, tls), .initial = "opportunistic", .words = tls_words,
     .help = "Whether TLS is tried, demanded or left out."},
};
static const struct conf_section route_section = {"routes[]", "Where the mail of some domains goes.",
                                                  ROWS(route_keys), sizeof(struct settings_route)};

static const struct conf_key retry_keys[] = {
    {"name", CONF_NAME, CONF_AT(struct retry_schedule, name), .required = true,
     .help = "Unique; `default` replaces the built-in one (5, 10, 20, 40, 80 min, then 2 h)."},
    {"steps", CONF_DURATIONS, CONF_LIST_AT(struct retry_schedule, steps_ms, n_steps), .required = true,
     .min = 1, .max = 64, .help = "Wait after attempt 1, 2, ...; the last repeats."},
    {"jitter", CONF_INT, CONF_AT(struct retry_schedule, jitter_percent), .initial = "10", .max = 50,
     .help = "Each wait is drawn from this many percent more or less."},
    {"lifetime", CONF_DURATION, CONF_AT(struct retry_schedule, lifetime_ms), .initial = "72h", .min = 1000,
     .help = "From acceptance until the message is returned."},
    {"delay_notice", CONF_DURATION, CONF_AT(struct retry_schedule, delay_notice_ms), .initial = "4h",
     .help = "Age at which the sender is told of a delay; 0: never."},
};
static const struct conf_section retry_section = {"retries[]", "Schedules of attempts.", ROWS(retry_keys),
                                                  sizeof(struct retry_schedule)};

#define TIMEOUT(name, member, text, about)                                                                   \
    {                                                                                                        \
        name, CONF_DURATION, AT(delivery.member), .initial = text, .min = 10, .max = 3600000, .help = about  \
    }
static const struct conf_key timeout_keys[] = {
    TIMEOUT("connect", connect_ms, "30s", "TCP connection."),
    TIMEOUT("greeting", greeting_ms, "5m", "Greeting of the server."),
    TIMEOUT("ehlo", ehlo_ms, "5m", "EHLO or HELO."),
    TIMEOUT("tls", tls_ms, "1m", "STARTTLS and handshake."),
    TIMEOUT("mail", mail_ms, "5m", "MAIL."),
    TIMEOUT("rcpt", rcpt_ms, "5m", "RCPT."),
    TIMEOUT("data", data_ms, "2m", "DATA."),
    TIMEOUT("block", block_ms, "3m", "A block of message text."),
    TIMEOUT("dot", dot_ms, "10m", "The final dot; a shorter time makes duplicates."),
    TIMEOUT("quit", quit_ms, "10s", "QUIT."),
};
static const struct conf_section timeout_section = {
    "delivery.timeouts", "Waits for a server's answers (RFC 5321 4.5.3.2).", ROWS(timeout_keys), 0};

static const struct conf_key delivery_keys[] = {
    {"allow_local", CONF_BOOL, AT(delivery.allow_local), .initial = "false",
     .help = "Deliver to loopback, private and own addresses."},
    {"port", CONF_INT, CONF_AT(struct settings_file, s.delivery.port), .initial = "25", .min = 1,
     .max = 65535, .help = "Port of MX hosts."},
    {"timeouts", CONF_SECTION, .offset = 0, .section = &timeout_section, .help = "See below."},
    {"lost_connections", CONF_DURATION, AT(delivery.lost_ms), .initial = "10m", .max = 3600000,
     .help =
         "In a cluster: for so long the connections that a worker may have left open when it was lost count "
         "against the limits of their sources, unless its node is started again. A shorter time counts at a "
         "reload too. Shorter than timeouts.dot means that limits may be exceeded; 0: they do not count."},
    {"idle", CONF_DURATION, AT(delivery.idle_ms), .initial = "60s", .max = 3600000,
     .help = "An unused connection is kept this long, where the provider says nothing else."},
    {"tls", CONF_WORD, AT(delivery.tls), .initial = "opportunistic", .words = tls_words,
     .help = "Whether TLS is tried, demanded or left out."},
    {"connections", CONF_INT, AT(delivery.connections), .initial = "2000", .min = 1, .max = 1000000,
     .help = "Outbound connections at once."},
    {"overflow", CONF_DURATION, AT(delivery.overflow_ms), .initial = "10m",
     .help = "Held this long by its pool, a message goes to the tenant's next one; 0: never. To the same one "
             "again "
             "only after an attempt, or ten times this long when all have been tried."},
    {"window", CONF_INT, AT(delivery.window), .initial = "2000", .min = 1, .max = 1000000,
     .help = "Waiting deliveries in memory, per lane."},
    {"window_tenant", CONF_INT, AT(delivery.window_tenant), .initial = "500", .min = 1, .max = 1000000,
     .help = "The same, per tenant of a lane."},
};
static const struct conf_section delivery_section = {"delivery", "Sending.", ROWS(delivery_keys), 0};

static const struct conf_key feedback_keys[] = {
    {"domain", CONF_DOMAIN, AT(feedback.domain),
     .help = "Domain of return paths; its MX is this relay. Default: none, nothing can come back."},
    {"address", CONF_STRING, AT(feedback.address),
     .help = "Address to which providers send complaints (ARF)."},
    {"keys", CONF_STRINGS, LIST(feedback.secrets, feedback.n_secrets), .max = 8,
     .help = "Secrets of at least 16 characters that sign return paths: the first signs, all are believed. "
             "The same on all nodes. To change it, put the new one first and keep the old one for "
             "token_lifetime."},
    {"key_file", CONF_PATH, AT(feedback.key_file),
     .help = "The same, one in a line. One of keys and key_file."},
    {"token_lifetime", CONF_DURATION, AT(feedback.lifetime_ms), .initial = "10d", .min = 3600000,
     .help = "A return path is good for so long after the message left."},
    {"forward", CONF_BOOL, AT(feedback.forward), .initial = "true",
     .help = "Bounces and complaints that come back go on to the sender of the message they are about."},
};
static const struct conf_section feedback_section = {"feedback", "What comes back about mail that was sent.",
                                                     ROWS(feedback_keys), 0};

static const struct conf_key suppression_keys[] = {
    {"bounce", CONF_DURATION, AT(suppression.bounce_ms), .initial = "30d",
     .help = "How long an address that does not exist stays on its tenant's list; 0: for ever."},
    {"complaint", CONF_DURATION, AT(suppression.complaint_ms), .initial = "365d",
     .help = "The same for one that complained."},
};
static const struct conf_section suppression_section = {
    "suppression", "Addresses that a tenant's mail is not sent to.", ROWS(suppression_keys), 0};

#define PROVIDER(member) CONF_AT(struct raw_provider, member)
static const struct conf_key provider_keys[] = {
    {"name", CONF_NAME, PROVIDER(name), .required = true,
     .help = "Unique. `other` stands for all sites of no provider; its limits hold per source and site."},
    {"mx", CONF_DOMAINS, CONF_LIST_AT(struct raw_provider, mx, n_mx),
     .help = "Suffixes of MX host names, with a leading dot; all hosts of a domain must end in one."},
    {"domains", CONF_DOMAINS, CONF_LIST_AT(struct raw_provider, domains, n_domains),
     .help = "Recipient domains that belong to it whatever their MX hosts are."},
    {"connections", CONF_INT, PROVIDER(connections), .initial = "10", .max = 100000,
     .help = "Open at once, per source; 0: no limit. In a cluster a worker leaves one of four or more to its "
             "successor."},
    {"messages_per_connection", CONF_INT, PROVIDER(per_connection), .initial = "100", .max = 1000000,
     .help = "Messages over one connection; 0: no limit."},
    {"rate", CONF_RATE, PROVIDER(rate), .initial = "100/s",
     .help = "Messages per time, per source; 0: no limit."},
    {"limits", CONF_ENUM, PROVIDER(scope), .initial = "source", .words = scope_words,
     .help = "`total`: connections and rate are for all sources together."},
    {"tls_required", CONF_BOOL, PROVIDER(tls_required), .initial = "false", .help = "Never in the clear."},
    {"idle", CONF_DURATION, PROVIDER(idle_ms), .max = 3600000,
     .help = "An unused connection is kept this long. Default: delivery.idle."},
    {"rate_floor", CONF_RATE, PROVIDER(rate_floor), .initial = "6/min",
     .help = "No answer slows a source down below this rate."},
    {"retry", CONF_NAME, PROVIDER(retry), .help = "Retry schedule. Default: the one named `default`."},
    {"warmup", CONF_STRING, PROVIDER(warmup),
     .help = "Warm-up schedule of sources that have none themselves, nor by their pool. Default: none."},
};
const struct conf_section settings_provider_section = {
    "providers[]", "Receivers seen as one for limits, in the providers file (a list) or in this file.",
    ROWS(provider_keys), sizeof(struct raw_provider)};

static const struct conf_key providers_keys[] = {
    {"file", CONF_PATH, CONF_AT(struct settings_providers_map, file), .required = true,
     .help = "A file with a list of providers; relative to this one."},
    {"override", CONF_NODE, CONF_AT(struct settings_providers_map, override),
     .help = "Providers whose keys replace those of the same name in the file; others are added."},
};
const struct conf_section settings_providers_section = {
    "providers", "A path, a list of providers, or a map of these keys.", ROWS(providers_keys), 0};

#define TOP(member)      CONF_AT(struct settings_file, member)
#define TOP_ROWS(member) CONF_LIST_AT(struct settings_file, member, n_##member)
static const struct conf_key root_keys[] = {
    {"node", CONF_SECTION, .section = &node_section, .required = true, .help = "This process."},
    {"log", CONF_SECTION, .section = &log_section, .help = "The mail log on disk."},
    {"logging", CONF_SECTION, .section = &logging_section, .help = "Log lines."},
    {"dns", CONF_SECTION, .section = &dns_section, .help = "Name resolution."},
    {"admin", CONF_SECTION, .section = &admin_section, .help = "The admin HTTP listener."},
    {"listeners", CONF_SECTIONS, TOP_ROWS(listeners), .section = &listener_section,
     .help = "Where senders connect."},
    {"egresses", CONF_SECTIONS, TOP_ROWS(egresses), .section = &egress_section,
     .help = "Ways to sources on other machines."},
    {"sources", CONF_SECTIONS, TOP_ROWS(sources), .section = &source_section, .max = ROUTER_SOURCES_MOST,
     .help = "Sending IP addresses."},
    {"pools", CONF_SECTIONS, TOP_ROWS(pools), .section = &pool_section, .help = "Weighted sets of sources."},
    {"warmups", CONF_SECTIONS, TOP_ROWS(warmups), .section = &warmup_section,
     .help = "Warm-up schedules of your own."},
    {"quarantine", CONF_SECTION, .offset = offsetof(struct settings_file, quarantine),
     .section = &quarantine_section, .help = "Tenants that harm their neighbours."},
    {"tenants", CONF_SECTIONS, TOP_ROWS(tenants), .section = &tenant_section, .help = "Who submits mail."},
    {"providers", CONF_NODE, TOP(providers), .help = "Receivers: a path, a list, or a map; see below."},
    {"rules", CONF_PATH, TOP(rules),
     .help = "File of the rules by which answers are understood; see RULES.md. Default: those built in."},
    {"routes", CONF_SECTIONS, CONF_LIST_AT(struct settings_file, s.routes, s.n_routes),
     .section = &route_section, .help = "Where the mail of some domains goes."},
    {"retries", CONF_SECTIONS, TOP_ROWS(retries), .section = &retry_section,
     .help = "Schedules of attempts."},
    {"delivery", CONF_SECTION, .section = &delivery_section, .help = "Sending."},
    {"feedback", CONF_SECTION, .section = &feedback_section,
     .help = "What comes back about mail that was sent."},
    {"suppression", CONF_SECTION, .section = &suppression_section,
     .help = "Addresses that a tenant's mail is not sent to."},
};
const struct conf_section settings_root_section = {"the file", "The keys at the top.", ROWS(root_keys),
                                                   sizeof(struct settings_file)};
