/*
 * Tables of keys applied to nodes: defaults, types, bounds, unknown and duplicate keys. What the values mean
 * together is the caller's to check.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>

#include "lib/conf/conf.h"

enum { KEYS_MOST = 64 };

static void *field(void *into, size_t offset)
{
    return (char *)into + offset;
}

static bool fail(const struct conf_fill *f, const struct conf_node *n, const char *what, const char *expected)
{
    static const char *const kinds[] = {"", "a list", "a map"};
    if (n->kind != CONF_SCALAR)
        conf_error(f->errors, n, "%s: found %s, expected %s", what, kinds[n->kind], expected);
    else if (n->text.len == 0)
        conf_error(f->errors, n, "%s: found nothing, expected %s", what, expected);
    else
        conf_error(f->errors, n, "%s: found \"%.60s\", expected %s", what, n->text.ptr, expected);
    return false;
}

static bool fail_word(const struct conf_fill *f, const struct conf_key *k, const struct conf_node *n)
{
    struct buf expected = BUF_INIT;
    buf_add_str(&expected, "one of ");
    for (int i = 0; k->words[i]; i++)
        buf_printf(&expected, "%s%s", i ? ", " : "", k->words[i]);
    fail(f, n, k->name, buf_cstr(&expected));
    buf_fini(&expected);
    return false;
}

static bool in_bounds(const struct conf_fill *f, const struct conf_key *k, const struct conf_node *n,
                      uint64_t v)
{
    uint64_t widest = k->width == 2 ? UINT16_MAX : k->width == 4 ? UINT32_MAX : UINT64_MAX;
    if (v >= k->min && (k->max == 0 || v <= k->max) && v <= widest)
        return true;
    if (k->max)
        conf_error(f->errors, n, "%s: found %.*s, expected %" PRIu64 " to %" PRIu64 "%s", k->name,
                   SPAN_FMT(n->text), k->min, k->max,
                   k->type == CONF_DURATION ? " ms"
                   : k->type == CONF_SIZE   ? " bytes"
                                            : "");
    else
        conf_error(f->errors, n, "%s: found %.*s, expected at least %" PRIu64 "%s", k->name,
                   SPAN_FMT(n->text), k->min, v > widest ? " and less" : "");
    return false;
}

static bool take_number(const struct conf_fill *f, const struct conf_key *k, const struct conf_node *n,
                        void *into)
{
    uint64_t v;
    if (k->type == CONF_INT && !span_u64(n->text, &v))
        return fail(f, n, k->name, "a whole number");
    if (k->type == CONF_DURATION && !conf_parse_duration(n->text, &v))
        return fail(f, n, k->name, "a duration such as 300ms, 5m or 2h");
    if (k->type == CONF_SIZE && !conf_parse_size(n->text, &v))
        return fail(f, n, k->name, "a size such as 512KiB or 50MiB");
    if (!in_bounds(f, k, n, v))
        return false;
    if (k->width == 2)
        *(uint16_t *)into = (uint16_t)v;
    else if (k->width == 4)
        *(uint32_t *)into = (uint32_t)v;
    else
        *(uint64_t *)into = v;
    return true;
}

static bool take_bool(const struct conf_fill *f, const struct conf_key *k, const struct conf_node *n,
                      bool *into)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    for (int i = 0; i < 6; i++) {
        if (!span_eq(n->text, span_str(words[i])))
            continue;
        *into = i & 1;
        return true;
    }
    return fail(f, n, k->name, "true or false");
}

static bool take_word(const struct conf_fill *f, const struct conf_key *k, const struct conf_node *n,
                      void *into)
{
    for (int i = 0; k->words[i]; i++) {
        if (!span_eq(n->text, span_str(k->words[i])))
            continue;
        if (k->type == CONF_ENUM)
            *(int *)into = i;
        else
            *(const char **)into = k->words[i];
        return true;
    }
    return fail_word(f, k, n);
}

static bool is_name(struct span s)
{
    if (s.len == 0 || s.len > 63)
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (!isalnum((unsigned char)s.ptr[i]) && !strchr("-_.", s.ptr[i]))
            return false;
    return true;
}

static bool is_domain(struct span s)
{
    if (span_eq(s, SPAN_LIT("*")))
        return true;
    if (s.len && s.ptr[0] == '.')
        s = span_of(s.ptr + 1, s.len - 1);
    if (s.len == 0 || s.len > 253 || s.ptr[0] == '.' || s.ptr[s.len - 1] == '.')
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (!isalnum((unsigned char)s.ptr[i]) && !strchr("-_.", s.ptr[i]))
            return false;
        if (i && s.ptr[i] == '.' && s.ptr[i - 1] == '.')
            return false;
    }
    return true;
}

static const char *take_path(const struct conf_fill *f, const struct conf_node *n)
{
    const char *slash = strrchr(n->file, '/');
    if (n->text.ptr[0] == '/' || !slash)
        return n->text.ptr;
    return arena_printf(f->arena, "%.*s/%s", (int)(slash - n->file), n->file, n->text.ptr);
}

static const char *canonical_ip(const struct conf_fill *f, struct span text)
{
    uint8_t bytes[16];
    char out[INET6_ADDRSTRLEN];
    if (!conf_parse_ip(text, bytes))
        return NULL;
    bool v4 = memchr(text.ptr, ':', text.len) == NULL;
    if (!inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? bytes + 12 : bytes, out, sizeof(out)))
        return NULL;
    return arena_strdup(f->arena, out);
}

static const char *lowered(const struct conf_fill *f, struct span text)
{
    char *out = arena_dup_span(f->arena, text);
    for (char *p = out; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return out;
}

static bool take_string(const struct conf_fill *f, const struct conf_key *k, enum conf_type type,
                        const struct conf_node *n, const char **into)
{
    if (memchr(n->text.ptr, 0, n->text.len))
        return fail(f, n, k->name, "text without a zero byte");
    switch (type) {
    case CONF_NAME:
        *into = n->text.ptr;
        return is_name(n->text) ||
               fail(f, n, k->name, "a name of letters, digits, \"-\", \"_\", \".\", at most 63");
    case CONF_DOMAIN:
        *into = lowered(f, n->text);
        return is_domain(n->text) ||
               fail(f, n, k->name, "a domain in ASCII (xn--... for others), without a trailing dot");
    case CONF_IP:
        *into = canonical_ip(f, n->text);
        return *into || fail(f, n, k->name, "an IP address");
    case CONF_ENDPOINT:
        *into = n->text.ptr;
        return conf_parse_endpoint(n->text) ||
               fail(f, n, k->name, "an address and port such as 127.0.0.1:25 or [::1]:25");
    case CONF_PATH:
        *into = n->text.len ? take_path(f, n) : NULL;
        return *into || fail(f, n, k->name, "a path");
    default:
        *into = n->text.ptr;
        return n->text.len || fail(f, n, k->name, "text");
    }
}

static bool take_rate(const struct conf_fill *f, const struct conf_key *k, const struct conf_node *n,
                      struct conf_rate *into)
{
    return conf_parse_rate(n->text, into) || fail(f, n, k->name, "a rate such as 100/s, 10/min or 200/5m");
}

/* One value at into; as the element of a list when the key's type is one. */
static bool take_scalar(const struct conf_fill *f, const struct conf_key *k, const struct conf_node *n,
                        void *into)
{
    struct conf_key element = *k;
    switch (k->type) {
    case CONF_BOOL:
        return take_bool(f, k, n, into);
    case CONF_INT:
    case CONF_DURATION:
    case CONF_SIZE:
        return take_number(f, k, n, into);
    case CONF_DURATIONS:
        element.type = CONF_DURATION;
        element.width = sizeof(uint64_t);
        element.min = 1;
        element.max = 0;
        return take_number(f, &element, n, into);
    case CONF_RATE:
        return take_rate(f, k, n, into);
    case CONF_ENUM:
    case CONF_WORD:
    case CONF_WORDS:
        return take_word(f, k, n, into);
    case CONF_NETWORKS:
        return conf_parse_network(n->text, into) ||
               fail(f, n, k->name, "a network such as 192.0.2.0/24, with no bits after its prefix");
    case CONF_DOMAINS:
        return take_string(f, k, CONF_DOMAIN, n, into);
    case CONF_ENDPOINTS:
        return take_string(f, k, CONF_ENDPOINT, n, into);
    default:
        return take_string(f, k, k->type, n, into);
    }
}

static bool is_list(enum conf_type t)
{
    return (t >= CONF_STRINGS && t <= CONF_NETWORKS) || t == CONF_SECTIONS;
}

static size_t element_size(const struct conf_key *k)
{
    if (k->type == CONF_SECTIONS)
        return k->section->size;
    return k->type == CONF_NETWORKS    ? sizeof(struct conf_network)
           : k->type == CONF_DURATIONS ? sizeof(uint64_t)
                                       : sizeof(const char *);
}

static void take_list(const struct conf_fill *f, const struct conf_key *k, const struct conf_node *n,
                      void *into)
{
    size_t size = element_size(k);
    if (n->kind != CONF_LIST) {
        fail(f, n, k->name, "a list");
        return;
    }
    if ((uint64_t)n->n_entries < k->min || (k->max && (uint64_t)n->n_entries > k->max))
        conf_error(f->errors, n, "%s: found %d elements, expected %" PRIu64 " to %" PRIu64, k->name,
                   n->n_entries, k->min, k->max ? k->max : INT32_MAX);
    char *array = arena_alloc(f->arena, size * (size_t)n->n_entries);
    int i = 0;
    for (const struct conf_entry *e = n->entries; e; e = e->next, i++) {
        if (k->type == CONF_SECTIONS)
            conf_fill(f, k->section, e->value, array + size * (size_t)i);
        else if (e->value->kind != CONF_SCALAR)
            fail(f, e->value, k->name, "a single value");
        else
            take_scalar(f, k, e->value, array + size * (size_t)i);
    }
    *(void **)field(into, k->offset) = array;
    *(int *)field(into, k->count_offset) = n->n_entries;
}

static void take_value(const struct conf_fill *f, const struct conf_key *k, const struct conf_node *n,
                       void *into)
{
    if (k->type == CONF_SECTION)
        conf_fill(f, k->section, n, field(into, k->offset));
    else if (k->type == CONF_NODE)
        *(const struct conf_node **)field(into, k->offset) = n;
    else if (is_list(k->type))
        take_list(f, k, n, into);
    else if (n->kind != CONF_SCALAR)
        fail(f, n, k->name, "a single value");
    else
        take_scalar(f, k, n, field(into, k->offset));
}

/* A default as if it stood in a file; it always parses, or the table is wrong. */
static void take_default(const struct conf_fill *f, const struct conf_key *k, void *into)
{
    if (k->type == CONF_SECTION)
        conf_fill(f, k->section, NULL, field(into, k->offset));
    if (!k->initial)
        return;
    struct conf_node scalar = {.kind = CONF_SCALAR, .file = "", .text = span_str(k->initial), .plain = true};
    int before = f->errors->count;
    if (is_list(k->type)) {
        struct conf_entry entry = {.value = &scalar};
        struct conf_node list = {.kind = CONF_LIST, .file = "", .entries = &entry, .n_entries = 1};
        take_list(f, k, &list, into);
    } else {
        take_value(f, k, &scalar, into);
    }
    ENSURE(f->errors->count == before);
}

static void report_unknown(const struct conf_fill *f, const struct conf_section *section,
                           const struct conf_node *key)
{
    const char *words[KEYS_MOST + 1] = {NULL};
    for (int i = 0; i < section->n_keys; i++)
        words[i] = section->keys[i].name;
    const char *near = conf_nearest(key->text, words);
    if (near)
        conf_error(f->errors, key, "found the unknown key \"%.60s\" in %s; did you mean \"%s\"?",
                   key->text.ptr, section->title, near);
    else
        conf_error(f->errors, key, "found the unknown key \"%.60s\" in %s", key->text.ptr, section->title);
}

static int key_index(const struct conf_section *section, struct span name)
{
    for (int i = 0; i < section->n_keys; i++)
        if (span_eq(span_str(section->keys[i].name), name))
            return i;
    return -1;
}

void conf_fill(const struct conf_fill *f, const struct conf_section *section, const struct conf_node *node,
               void *into)
{
    const struct conf_node *seen[KEYS_MOST] = {NULL};
    ENSURE(section->n_keys <= KEYS_MOST);
    for (int i = 0; i < section->n_keys; i++)
        take_default(f, &section->keys[i], into);
    if (!node)
        return;
    if (node->kind != CONF_MAP) {
        fail(f, node, section->title, "a map of keys");
        return;
    }
    for (const struct conf_entry *e = node->entries; e; e = e->next) {
        int i = key_index(section, e->key->text);
        if (i < 0) {
            report_unknown(f, section, e->key);
        } else if (seen[i]) {
            conf_error(f->errors, e->key, "found \"%s\" a second time, expected it once (first in line %d)",
                       section->keys[i].name, seen[i]->line);
        } else {
            seen[i] = e->key;
            take_value(f, &section->keys[i], e->value, into);
        }
    }
    for (int i = 0; i < section->n_keys; i++)
        if (section->keys[i].required && !seen[i])
            conf_error(f->errors, node, "found no \"%s\" in %s, expected one", section->keys[i].name,
                       section->title);
}
