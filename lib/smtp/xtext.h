/*
 * xtext (RFC 3461 4): printable ASCII with "+" and "=" and everything else as +XX. And the esmtp values built
 * on it.
 */
#ifndef REMUDA_LIB_SMTP_XTEXT_H
#define REMUDA_LIB_SMTP_XTEXT_H

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/base/err.h"

/* RM_EINVAL on what is no xtext. *out is in the arena, NUL-terminated behind its length; it may hold any
 * octet. */
int smtp_xtext_decode(struct arena *a, struct span in, struct span *out) MUST_CHECK;
void smtp_xtext_encode(struct buf *out, struct span in);
bool smtp_xtext_valid(struct span s);

/* ORCPT "type;value" taken apart: value is xtext for rfc822 and others; for type utf-8 (RFC 6533 3)
 * utf-8-addr-xtext or utf-8-addr-unitext. RM_EINVAL. Spans into orcpt. */
int smtp_orcpt_split(struct span orcpt, struct span *type, struct span *value) MUST_CHECK;
/* The address behind an ORCPT, decoded (xtext +XX; for type utf-8 also \x{HEX}). RM_EINVAL. */
int smtp_orcpt_decode(struct arena *a, struct span orcpt, struct span *type, struct span *address) MUST_CHECK;

#endif
