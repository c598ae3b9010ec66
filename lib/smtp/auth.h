/*
 * The SASL messages of AUTH PLAIN (RFC 4616) and LOGIN (draft-murchison-sasl-login), base64 undone. The
 * caller gives the memory, so that it can wipe it.
 */
#ifndef REMUDA_LIB_SMTP_AUTH_H
#define REMUDA_LIB_SMTP_AUTH_H

#include "lib/base/buf.h"
#include "lib/base/err.h"

enum { SMTP_AUTH_LINE_MOST = 12288 }; /* RFC 4954 4: a line of the exchange, CRLF included */

struct smtp_auth_plain {
    struct span authzid; /* may be empty */
    struct span user;
    struct span password;
};
/* message is decoded: [authzid] NUL authcid NUL passwd. User and password must not be empty, and hold no NUL.
 * Spans into message. RM_EINVAL. */
int smtp_auth_plain_parse(struct span message, struct smtp_auth_plain *out) MUST_CHECK;

/* The prompts of AUTH LOGIN, base64: what follows "334 ". */
#define SMTP_AUTH_LOGIN_USER     "VXNlcm5hbWU6"
#define SMTP_AUTH_LOGIN_PASSWORD "UGFzc3dvcmQ6"

/* A client that gives up sends "*" (RFC 4954 4): answer 501 5.7.0. */
bool smtp_auth_cancelled(struct span line);

#endif
