/*
 * Builds log lines and writes each, or many at once, with one write call. What is worth a line is its
 * callers' business. A line that the descriptor does not take (a full pipe, a full disk) is dropped: logging
 * never stops mail.
 */
#include "lib/base/logger.h"

#include <errno.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/base/utf8.h"

enum { KEY_MOST = 64, HASH_SHOWN = 6 };

struct style {
    enum log_format format;
    enum log_privacy privacy;
    unsigned char key[KEY_MOST];
    int key_len;
};

struct logger {
    int fd;
    atomic_int level;
    pthread_mutex_t lock; /* style, and the order of lines */
    struct style style;
};

static const char *const level_names[] = {"debug", "info", "warn", "error"};

struct logger *logger_new(const struct logger_options *options)
{
    struct logger *lg = calloc(1, sizeof(*lg));
    ENSURE(lg);
    ENSURE(pthread_mutex_init(&lg->lock, NULL) == 0);
    lg->fd = options->fd;
    logger_configure(lg, options);
    return lg;
}

void logger_free(struct logger *lg)
{
    if (!lg)
        return;
    pthread_mutex_destroy(&lg->lock);
    OPENSSL_cleanse(lg->style.key, sizeof(lg->style.key));
    free(lg);
}

/* A key longer than a hash block stands for its hash, as in HMAC itself (RFC 2104, section 2). */
static void set_key(struct style *st, struct span key)
{
    unsigned n = (unsigned)key.len;
    if (key.len > KEY_MOST)
        ENSURE(EVP_Digest(key.ptr, key.len, st->key, &n, EVP_sha256(), NULL) == 1);
    else if (key.len)
        memcpy(st->key, key.ptr, key.len);
    st->key_len = (int)n;
}

void logger_configure(struct logger *lg, const struct logger_options *options)
{
    struct style st = {.format = options->format, .privacy = options->privacy};
    set_key(&st, options->hash_key);
    pthread_mutex_lock(&lg->lock);
    lg->style = st;
    pthread_mutex_unlock(&lg->lock);
    atomic_store_explicit(&lg->level, (int)options->level, memory_order_relaxed);
}

bool logger_enabled(const struct logger *lg, enum log_level level)
{
    return (int)level >= atomic_load_explicit(&lg->level, memory_order_relaxed);
}

/* Control characters, C1 included (terminals obey both). */
static bool is_control(struct span c)
{
    unsigned char a = (unsigned char)c.ptr[0];
    if (c.len == 2)
        return a == 0xc2 && (unsigned char)c.ptr[1] < 0xa0;
    return c.len == 1 && (a < 0x20 || a == 0x7f);
}

static void put_json(struct buf *out, struct span s)
{
    buf_add_char(out, '"');
    while (s.len) {
        size_t n = utf8_sequence(s);
        struct span c = span_of(s.ptr, n ? n : 1);
        if (n == 0)
            buf_add_str(out, "\\ufffd");
        else if (n == 1 && (c.ptr[0] == '"' || c.ptr[0] == '\\'))
            buf_printf(out, "\\%c", c.ptr[0]);
        else if (is_control(c))
            buf_printf(out, "\\u%04x", (unsigned char)c.ptr[n - 1]);
        else
            buf_add_span(out, c);
        s = span_of(s.ptr + c.len, s.len - c.len);
    }
    buf_add_char(out, '"');
}

static bool needs_quotes(struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c <= ' ' || c == '"' || c == '\\' || c == '=' || c >= 0x7f)
            return true;
    }
    return s.len == 0;
}

static void put_human(struct buf *out, struct span s)
{
    if (!needs_quotes(s)) {
        buf_add_span(out, s);
        return;
    }
    buf_add_char(out, '"');
    while (s.len) {
        size_t n = utf8_sequence(s);
        struct span c = span_of(s.ptr, n ? n : 1);
        if (n == 1 && (c.ptr[0] == '"' || c.ptr[0] == '\\'))
            buf_printf(out, "\\%c", c.ptr[0]);
        else if (n == 1 && c.ptr[0] == '\n')
            buf_add_str(out, "\\n");
        else if (n == 1 && c.ptr[0] == '\r')
            buf_add_str(out, "\\r");
        else if (n == 0 || is_control(c))
            buf_printf(out, "\\x%02x", (unsigned char)c.ptr[c.len - 1]);
        else
            buf_add_span(out, c);
        s = span_of(s.ptr + c.len, s.len - c.len);
    }
    buf_add_char(out, '"');
}

/* The address as privacy wants it. The hash is over the whole address with the domain in lower case, so that
 * the same local part at two domains can't be told to be the same. */
static void put_address(struct buf *out, const struct style *st, struct span address)
{
    const char *at = address.len ? memrchr(address.ptr, '@', address.len) : NULL;
    size_t local = at ? (size_t)(at - address.ptr) : address.len;
    if (st->privacy == LOG_ADDRESSES_PLAIN || address.len == 0) {
        buf_add_span(out, address);
        return;
    }
    if (st->privacy == LOG_ADDRESSES_HIDE) {
        buf_add_char(out, '*');
    } else {
        struct buf folded = BUF_INIT;
        buf_add_span(&folded, address);
        for (size_t i = local; i < folded.len; i++)
            if (folded.data[i] >= 'A' && folded.data[i] <= 'Z')
                folded.data[i] = (char)(folded.data[i] + 32);
        unsigned char mac[EVP_MAX_MD_SIZE];
        ENSURE(HMAC(EVP_sha256(), st->key, st->key_len, (unsigned char *)folded.data, folded.len, mac, NULL));
        for (int i = 0; i < HASH_SHOWN; i++)
            buf_printf(out, "%02x", mac[i]);
        buf_fini(&folded);
    }
    buf_add(out, address.ptr + local, address.len - local);
}

static void put_text(struct buf *out, const struct style *st, struct span s)
{
    if (st->format == LOG_FORMAT_JSON)
        put_json(out, s);
    else
        put_human(out, s);
}

static void put_value(struct buf *out, const struct style *st, const struct log_field *f)
{
    struct buf address = BUF_INIT;
    switch (f->kind) {
    case LF_KIND_STR:
        put_text(out, st, f->str);
        break;
    case LF_KIND_ADDR:
        put_address(&address, st, f->str);
        put_text(out, st, buf_span(&address));
        break;
    case LF_KIND_U64:
        buf_printf(out, "%llu", (unsigned long long)f->num);
        break;
    case LF_KIND_I64:
        buf_printf(out, "%lld", (long long)f->num);
        break;
    case LF_KIND_MS:
        buf_printf(out, st->format == LOG_FORMAT_JSON ? "%lld" : "%lldms", (long long)f->num);
        break;
    }
    buf_fini(&address);
}

static void put_head(struct buf *out, const struct style *st, enum log_level level, const char *event)
{
    uint64_t now_ms = clock_wall_ms();
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm tm;
    char date[32];
    gmtime_r(&seconds, &tm);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    unsigned ms = (unsigned)(now_ms % 1000);
    if (st->format == LOG_FORMAT_JSON)
        buf_printf(out, "{\"time\":\"%s.%03uZ\",\"level\":\"%s\",\"event\":\"%s\"", date, ms,
                   level_names[level], event);
    else
        buf_printf(out, "%s.%03uZ %-5s %s", date, ms, level_names[level], event);
}

static void put_line(struct buf *out, const struct style *st, const struct log_field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf_add_str(out, st->format == LOG_FORMAT_JSON ? ",\"" : " ");
        buf_add_str(out, fields[i].key);
        buf_add_str(out, st->format == LOG_FORMAT_JSON ? "\":" : "=");
        put_value(out, st, &fields[i]);
    }
    buf_add_str(out, st->format == LOG_FORMAT_JSON ? "}\n" : "\n");
}

static void write_all(int fd, struct span s)
{
    while (s.len) {
        ssize_t n = write(fd, s.ptr, s.len);
        if (n < 0 && errno != EINTR)
            return;
        if (n > 0)
            s = span_of(s.ptr + n, s.len - (size_t)n);
    }
}

void logger_append(struct logger *lg, struct buf *out, enum log_level level, const char *event,
                   const struct log_field *fields, size_t n)
{
    if (!logger_enabled(lg, level))
        return;
    pthread_mutex_lock(&lg->lock);
    struct style st = lg->style;
    pthread_mutex_unlock(&lg->lock);
    put_head(out, &st, level, event);
    put_line(out, &st, fields, n);
}

void logger_write_lines(struct logger *lg, struct span lines)
{
    pthread_mutex_lock(&lg->lock);
    write_all(lg->fd, lines);
    pthread_mutex_unlock(&lg->lock);
}

void logger_write(struct logger *lg, enum log_level level, const char *event, const struct log_field *fields,
                  size_t n)
{
    struct buf line = BUF_INIT;
    logger_append(lg, &line, level, event, fields, n);
    if (line.len > 0)
        logger_write_lines(lg, buf_span(&line));
    buf_fini(&line);
}
