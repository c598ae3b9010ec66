/*
 * YAML text to nodes, by libfyaml's event parser: no recursion and no document of libfyaml's own, so that
 * depth and size have bounds here. Typed values are conf_value.c's and conf_fill.c's.
 */
#include <errno.h>
#include <fcntl.h>
#include <libfyaml.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/map.h"
#include "lib/conf/conf.h"

struct reader {
    struct fy_parser *parser;
    struct arena *arena;
    struct conf_errors *errors;
    const char *file;
    struct conf_node *open[CONF_DEPTH_MOST];
    const struct conf_node *pending_key[CONF_DEPTH_MOST]; /* of an open map: key that waits for its value */
    int depth;
    int nodes;
    int documents;
    struct conf_node *root;
    struct map anchors;
};

/* A line stays one, and no file can write on the terminal of who reads its errors. */
static void add_printable(struct buf *out, const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            buf_printf(out, "\\x%02x", (unsigned char)*text);
        else
            buf_add_char(out, *text);
}

void conf_error(struct conf_errors *errors, const struct conf_node *node, const char *fmt, ...)
{
    if (++errors->count > CONF_ERRORS_MOST) {
        if (errors->count == CONF_ERRORS_MOST + 1)
            buf_add_str(errors->out, "and more\n");
        return;
    }
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (node)
        buf_printf(errors->out, "%s:%d:%d: ", node->file, node->line, node->column);
    add_printable(errors->out, text);
    buf_add_char(errors->out, '\n');
}

static struct conf_node *add_node(struct reader *r, enum conf_kind kind, struct fy_event *e)
{
    struct conf_node *n = arena_alloc(r->arena, sizeof(*n));
    const struct fy_mark *mark = fy_event_start_mark(e);
    *n = (struct conf_node){.kind = kind, .file = r->file, .line = 1, .column = 1};
    if (mark) {
        n->line = mark->line + 1;
        n->column = mark->column + 1;
    }
    return n;
}

/* Hangs a node below the innermost open one. */
static bool attach(struct reader *r, const struct conf_node *n)
{
    if (r->depth == 0) {
        r->root = (struct conf_node *)n;
        return true;
    }
    struct conf_node *parent = r->open[r->depth - 1];
    const struct conf_node **key = &r->pending_key[r->depth - 1];
    if (parent->kind == CONF_MAP && !*key) {
        if (n->kind != CONF_SCALAR) {
            conf_error(r->errors, n, "found a list or a map as a key, expected a name");
            return false;
        }
        *key = n;
        return true;
    }
    struct conf_entry *entry = arena_alloc(r->arena, sizeof(*entry));
    *entry = (struct conf_entry){.key = *key, .value = n};
    *key = NULL;
    if (parent->last)
        parent->last->next = entry;
    else
        parent->entries = entry;
    parent->last = entry;
    parent->n_entries++;
    return true;
}

static struct span token_text(struct fy_token *token)
{
    size_t len = 0;
    const char *text = token ? fy_token_get_text(token, &len) : NULL;
    return span_of(text, text ? len : 0);
}

static void remember(struct reader *r, struct fy_token *anchor, struct conf_node *n)
{
    if (anchor)
        map_put(&r->anchors, token_text(anchor), n);
}

static bool open_node(struct reader *r, enum conf_kind kind, struct fy_event *e)
{
    struct conf_node *n = add_node(r, kind, e);
    bool map = kind == CONF_MAP;
    if (r->depth == CONF_DEPTH_MOST) {
        conf_error(r->errors, n, "found more than %d levels, expected fewer", CONF_DEPTH_MOST);
        return false;
    }
    if (!attach(r, n))
        return false;
    remember(r, map ? e->mapping_start.anchor : e->sequence_start.anchor, n);
    n->open = true;
    r->pending_key[r->depth] = NULL;
    r->open[r->depth++] = n;
    return true;
}

static bool close_node(struct reader *r)
{
    r->open[--r->depth]->open = false;
    return true;
}

static bool take_scalar(struct reader *r, struct fy_event *e)
{
    struct conf_node *n = add_node(r, CONF_SCALAR, e);
    struct span text = token_text(e->scalar.value);
    n->text = span_of(arena_dup_span(r->arena, text), text.len);
    enum fy_scalar_style style = fy_token_scalar_style(e->scalar.value);
    n->plain = style == FYSS_PLAIN;
    if (style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED)
        n->column--; /* its mark is behind the quote */
    remember(r, e->scalar.anchor, n);
    return attach(r, n);
}

static bool take_alias(struct reader *r, struct fy_event *e)
{
    struct span name = token_text(e->alias.anchor);
    const struct conf_node *n = map_get(&r->anchors, name);
    if (n && !n->open)
        return attach(r, n);
    const char *why =
        n ? "found an alias inside what it names: *%.*s" : "found the alias *%.*s, expected &%.*s before";
    struct conf_node *place = add_node(r, CONF_SCALAR, e);
    place->column--; /* its mark is behind the star */
    conf_error(r->errors, place, why, SPAN_FMT(name), SPAN_FMT(name));
    return false;
}

static bool take_event(struct reader *r, struct fy_event *e)
{
    if (++r->nodes > CONF_NODES_MOST) {
        conf_error(r->errors, add_node(r, CONF_SCALAR, e), "found more than %d values, expected fewer",
                   CONF_NODES_MOST);
        return false;
    }
    switch (e->type) {
    case FYET_DOCUMENT_START:
        if (++r->documents == 1)
            return true;
        conf_error(r->errors, add_node(r, CONF_SCALAR, e), "found a second document, expected one");
        return false;
    case FYET_MAPPING_START:
        return open_node(r, CONF_MAP, e);
    case FYET_SEQUENCE_START:
        return open_node(r, CONF_LIST, e);
    case FYET_MAPPING_END:
    case FYET_SEQUENCE_END:
        return close_node(r);
    case FYET_SCALAR:
        return take_scalar(r, e);
    case FYET_ALIAS:
        return take_alias(r, e);
    default:
        return true;
    }
}

/* What the parser found wrong, with its place. */
static void take_diagnostics(struct reader *r, struct fy_diag *diag)
{
    void *at = NULL;
    const struct fy_diag_error *found = fy_diag_errors_iterate(diag, &at);
    struct conf_node place = {.file = r->file, .line = 1, .column = 1};
    if (found && found->line > 0) {
        place.line = found->line;
        place.column = found->column > 0 ? found->column : 1;
    }
    conf_error(r->errors, &place, "found no valid YAML: %s",
               found && found->msg ? found->msg : "syntax error");
}

static void be_quiet(struct fy_diag *diag, void *user, const char *text, size_t len)
{
    (void)diag, (void)user, (void)text, (void)len;
}

static int run(struct reader *r, struct fy_diag *diag)
{
    struct fy_event *e;
    bool good = true;
    while (good && (e = fy_parser_parse(r->parser))) {
        good = take_event(r, e);
        bool end = e->type == FYET_STREAM_END;
        fy_parser_event_free(r->parser, e);
        if (end)
            break;
    }
    if (!good)
        return RM_EINVAL;
    if (fy_parser_get_stream_error(r->parser) || fy_diag_got_error(diag)) {
        take_diagnostics(r, diag);
        return RM_EINVAL;
    }
    if (r->root)
        return RM_OK;
    conf_error(r->errors, &(struct conf_node){.file = r->file, .line = 1, .column = 1},
               "found nothing, expected a map of keys");
    return RM_EINVAL;
}

/* The length of the UTF-8 character at the front, 0 when there is none that a YAML file may hold. */
static size_t character(const unsigned char *p, size_t left)
{
    size_t n = p[0] < 0x80                   ? 1
               : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
               : (p[0] & 0xf0) == 0xe0       ? 3
               : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
                                             : 0;
    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool outside = (p[0] == 0xed && p[1] >= 0xa0) || (p[0] == 0xf4 && p[1] >= 0x90);
    bool control = (p[0] < 0x20 && !strchr("\t\n\r", p[0])) || p[0] == 0 || p[0] == 0x7f;
    return overlong || outside || control ? 0 : n;
}

/* libfyaml 0.7 can loop for ever on bytes that are no UTF-8 and on broken directives: neither gets that far.
 */
static bool is_text(struct reader *r, struct span text)
{
    struct conf_node place = {.file = r->file, .line = 1, .column = 1};
    for (size_t i = 0, n; i < text.len; i += n) {
        const unsigned char *p = (const unsigned char *)text.ptr + i;
        n = character(p, text.len - i);
        if (n == 0)
            conf_error(r->errors, &place,
                       "found the byte 0x%02x, expected UTF-8 text without control characters", *p);
        else if (place.column == 1 && *p == '%')
            conf_error(r->errors, &place, "found a YAML directive, expected none");
        if (n == 0 || (place.column == 1 && *p == '%'))
            return false;
        place.column = *p == '\n' ? 1 : place.column + 1;
        place.line += *p == '\n';
    }
    return true;
}

int conf_parse(const char *name, struct span text, struct arena *arena, struct conf_errors *errors,
               const struct conf_node **root)
{
    struct reader r = {
        .arena = arena, .errors = errors, .file = arena_strdup(arena, name), .anchors = MAP_INIT};
    struct fy_diag_cfg quiet;
    fy_diag_cfg_default(&quiet);
    quiet.fp = NULL;
    quiet.output_fn = be_quiet;
    quiet.colorize = false;
    struct fy_diag *diag = fy_diag_create(&quiet);
    ENSURE(diag);
    fy_diag_set_collect_errors(diag, true);
    struct fy_parse_cfg config = {.search_path = "", .flags = FYPCF_COLLECT_DIAG, .diag = diag};
    r.parser = fy_parser_create(&config);
    ENSURE(r.parser);
    int err = RM_EINVAL;
    if (!is_text(&r, text))
        err = RM_EINVAL;
    else if (fy_parser_set_string(r.parser, text.len ? text.ptr : "", text.len) == 0)
        err = run(&r, diag);
    else
        conf_error(errors, &(struct conf_node){.file = name, .line = 1, .column = 1},
                   "found nothing to parse");
    fy_parser_destroy(r.parser);
    fy_diag_destroy(diag);
    map_fini(&r.anchors);
    *root = err ? NULL : r.root;
    return err;
}

static int read_all(int fd, struct buf *text)
{
    for (;;) {
        ssize_t n = read(fd, buf_reserve(text, 65536), 65536);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return RM_EIO;
        if (n == 0)
            return RM_OK;
        text->len += (size_t)n;
        if (text->len > CONF_FILE_MOST)
            return RM_EFULL;
    }
}

int conf_read(const char *path, struct arena *arena, struct conf_errors *errors,
              const struct conf_node **root)
{
    *root = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        conf_error(errors, NULL, "%s: cannot be read: %s", path, strerror(errno));
        return errno == ENOENT ? RM_ENOTFOUND : RM_EIO;
    }
    struct buf text = BUF_INIT;
    int err = read_all(fd, &text);
    if (err == RM_EFULL)
        conf_error(errors, NULL, "%s: is larger than %d MiB", path, CONF_FILE_MOST >> 20);
    else if (err)
        conf_error(errors, NULL, "%s: cannot be read: %s", path, strerror(errno));
    else
        err = conf_parse(path, buf_span(&text), arena, errors, root);
    close(fd);
    buf_fini(&text);
    return err == RM_EFULL ? RM_EINVAL : err;
}

const struct conf_node *conf_get(const struct conf_node *node, const char *key)
{
    if (!node || node->kind != CONF_MAP)
        return NULL;
    for (const struct conf_entry *e = node->entries; e; e = e->next)
        if (span_eq(e->key->text, span_str(key)))
            return e->value;
    return NULL;
}

const struct conf_node *conf_place(const struct conf_node *node, const char *key)
{
    const struct conf_node *value = conf_get(node, key);
    return value ? value : node;
}

const struct conf_node *conf_at(const struct conf_node *list, int i)
{
    if (!list || list->kind != CONF_LIST)
        return NULL;
    const struct conf_entry *e = list->entries;
    while (e && i-- > 0)
        e = e->next;
    return e ? e->value : NULL;
}
