/*
 * Structured log lines: one event name, then key/value fields; as JSON (one object a line) or for humans.
 * Lines carry ids, never message contents. The level, format and the privacy of addresses come from the
 * configuration and may be swapped while running. Writes whole lines to one descriptor; any thread.
 */
#ifndef REMUDA_LIB_BASE_LOGGER_H
#define REMUDA_LIB_BASE_LOGGER_H

#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/span.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_FORMAT_HUMAN, LOG_FORMAT_JSON };
/* What stands for the local part of an address: itself, a keyed hash (same address, same text), or "*". */
enum log_privacy { LOG_ADDRESSES_PLAIN, LOG_ADDRESSES_HASH, LOG_ADDRESSES_HIDE };

struct logger;

struct logger_options {
    enum log_level level;
    enum log_format format;
    enum log_privacy privacy;
    int fd;               /* borrowed; 2 for stderr */
    struct span hash_key; /* copied; for LOG_ADDRESSES_HASH */
};

struct logger *logger_new(const struct logger_options *options);
void logger_free(struct logger *lg);
/* Replaces level, format, privacy and key; the descriptor stays. Any thread. */
void logger_configure(struct logger *lg, const struct logger_options *options);
bool logger_enabled(const struct logger *lg, enum log_level level);

/* One field of a line. Build with the LF_ macros. */
struct log_field {
    const char *key;
    enum { LF_KIND_STR, LF_KIND_U64, LF_KIND_I64, LF_KIND_MS, LF_KIND_ADDR } kind;
    struct span str;
    int64_t num;
};
#define LF_STR(k, s)  ((struct log_field){(k), LF_KIND_STR, span_str(s), 0})
#define LF_SPAN(k, s) ((struct log_field){(k), LF_KIND_STR, (s), 0})
#define LF_NUM(k, n)  ((struct log_field){(k), LF_KIND_I64, {NULL, 0}, (int64_t)(n)})
/* An e-mail address, subject to the privacy setting. */
#define LF_ADDR(k, s) ((struct log_field){(k), LF_KIND_ADDR, (s), 0})

/* event: a constant lower-case dotted name ("smtp.accepted"). fields: n of them, borrowed. */
void logger_write(struct logger *lg, enum log_level level, const char *event, const struct log_field *fields,
                  size_t n);
/* Many lines at once: appends one to out (nothing when the level is off) ... */
void logger_append(struct logger *lg, struct buf *out, enum log_level level, const char *event,
                   const struct log_field *fields, size_t n);
/* ... and writes whole lines so made. */
void logger_write_lines(struct logger *lg, struct span lines);
#define logger_log(lg, level, event, ...)                                                                    \
    do {                                                                                                     \
        if (logger_enabled((lg), (level))) {                                                                 \
            const struct log_field lf_[] = {__VA_ARGS__};                                                    \
            logger_write((lg), (level), (event), lf_, sizeof(lf_) / sizeof(lf_[0]));                         \
        }                                                                                                    \
    } while (0)

#endif
