/* The messages of AUTH PLAIN and LOGIN. Passwords are checked, and wiped, by the caller. */
#include "lib/smtp/auth.h"

int smtp_auth_plain_parse(struct span message, struct smtp_auth_plain *out)
{
    struct span rest = message;
    if (message.len == 0) {
        return RM_EINVAL;
    }
    out->authzid = span_cut(&rest, '\0');
    if (rest.ptr == NULL) {
        return RM_EINVAL;
    }
    out->user = span_cut(&rest, '\0');
    out->password = rest;
    if (rest.ptr == NULL || rest.len == 0 || out->user.len == 0 || memchr(rest.ptr, '\0', rest.len) != NULL) {
        return RM_EINVAL;
    }
    return RM_OK;
}

bool smtp_auth_cancelled(struct span line)
{
    return span_eq(line, SPAN_LIT("*"));
}
