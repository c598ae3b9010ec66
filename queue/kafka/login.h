/*
 * Logins at brokers by SCRAM, in place of librdkafka's own: before 2.6.1 (Debian 12 has 2.0.2) it sends its
 * nonce twice in the last message, which brokers from Kafka 4.0 on refuse (RFC 5802 5.1; CVE-2024-56128). No
 * setting of it helps, so it is given a connection whose login is over: its socket becomes one end of a pair
 * of sockets, and a loop with a thread of its own connects the other end to the broker, makes TLS and the
 * login there, and then passes on what comes. To be dropped when librdkafka 2.6.1 is the oldest that is built
 * with.
 */
#ifndef REMUDA_QUEUE_KAFKA_LOGIN_H
#define REMUDA_QUEUE_KAFKA_LOGIN_H

#include <librdkafka/rdkafka.h>
#include <netdb.h>
#include <stdbool.h>

#include "lib/base/err.h"

struct kafka_login;

enum { KAFKA_LOGIN_WHY_MOST = 700 };

/* Strings are copied. */
struct kafka_login_options {
    bool tls;       /* encrypted, and the name and chain of the broker are checked */
    const char *ca; /* PEM file; NULL: the system's */
    const char *mechanism, *user, *password;
};

/* Whether this librdkafka needs it. */
bool kafka_login_needed(const char *mechanism);
/* Reads the file of the authorities. RM_ENOTFOUND, RM_EINVAL: that; RM_EIO: no thread. why: a line. */
int kafka_login_new(const struct kafka_login_options *o, struct kafka_login **out,
                    char why[KAFKA_LOGIN_WHY_MOST]) MUST_CHECK;
/* After all handles that use it are destroyed. NULL allowed. */
void kafka_login_free(struct kafka_login *l);

/* What a handle's connect_cb and resolve_cb do. Both are needed: the name to check is the one resolved last
 * in the thread. The first returns 0 or an errno, the second what getaddrinfo does. Threads of librdkafka. */
int kafka_login_connect(struct kafka_login *l, int fd, const struct sockaddr *to);
int kafka_login_resolve(const char *node, const char *service, const struct addrinfo *hints,
                        struct addrinfo **res, void *opaque);

/* Why the last attempt failed; false when it did not. Any thread. */
bool kafka_login_error(struct kafka_login *l, char why[KAFKA_LOGIN_WHY_MOST]);

#endif
