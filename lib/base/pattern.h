/*
 * Regular expressions: PCRE2 with its JIT, on bytes, without regard to the case of ASCII letters. The only
 * place that names PCRE2. A pattern is immutable and may be matched on any thread; what a match needs besides
 * is a scratch, one per thread. Matching allocates nothing and gives up after a bounded effort, which then
 * counts as no match.
 */
#ifndef REMUDA_LIB_BASE_PATTERN_H
#define REMUDA_LIB_BASE_PATTERN_H

#include "lib/base/err.h"
#include "lib/base/span.h"

struct pattern;
struct pattern_scratch;

/* RM_EINVAL: *why (room bytes) says what is wrong and at which octet. Where the system forbids memory that is
 * writable and executable, the pattern works without JIT, slower. */
int pattern_new(struct span text, struct pattern **out, char *why, size_t room) MUST_CHECK;
void pattern_free(struct pattern *p);
/* Octets that a match has at least. */
size_t pattern_least(const struct pattern *p);

struct pattern_scratch *pattern_scratch_new(void);
void pattern_scratch_free(struct pattern_scratch *s);

/* Whether it matches anywhere in the subject. */
bool pattern_match(const struct pattern *p, struct pattern_scratch *s, struct span subject);
/* After a match: what the named group has matched, empty when there is none. Points into the subject. */
struct span pattern_group(const struct pattern *p, const struct pattern_scratch *s, const char *name,
                          struct span subject);

#endif
