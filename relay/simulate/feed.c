/*
 * Events in the order of their times. A relay gives those of one partition after another in pieces; they are
 * merged by time, with one piece of each partition in memory.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "relay/ctl/http.h"
#include "relay/ctl/text.h"
#include "relay/simulate/recorded.h"

enum { PIECE_BATCHES = 64, TOLD_LATE_MS = 60000, DISORDER_MS = 3600000 };

/* The events of one partition that have been fetched and not given away. */
struct stream {
    struct buf piece; /* lines */
    size_t at;
    uint64_t since; /* batch to go on from */
    bool ended;
    json_t *next;
};

struct recorded_feed {
    FILE *file;
    const char *path;
    uint64_t line, newest_ms;
    char *room;
    size_t room_bytes;
    const char *address;
    uint64_t since_ms, until_ms;
    struct stream *streams;
    uint32_t n;
};

static struct recorded_feed *feed_new(void)
{
    struct recorded_feed *f = calloc(1, sizeof(*f));
    ENSURE(f);
    return f;
}

struct recorded_feed *recorded_feed_file(const char *path)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (!file)
        return NULL;
    struct recorded_feed *f = feed_new();
    f->file = file;
    f->path = path;
    return f;
}

struct recorded_feed *recorded_feed_admin(const char *address, uint32_t partitions, uint64_t since_ms,
                                          uint64_t until_ms)
{
    struct recorded_feed *f = feed_new();
    f->address = address;
    f->since_ms = since_ms;
    f->until_ms = until_ms;
    f->n = partitions;
    f->streams = calloc(partitions, sizeof(*f->streams));
    ENSURE(f->streams);
    return f;
}

void recorded_feed_free(struct recorded_feed *f)
{
    for (uint32_t i = 0; i < f->n; i++) {
        buf_fini(&f->streams[i].piece);
        json_decref(f->streams[i].next);
    }
    if (f->file && f->file != stdin)
        fclose(f->file);
    free(f->room);
    free(f->streams);
    free(f);
}

/* ---- a file ---- */

static json_t *next_line(struct recorded_feed *f, struct buf *error)
{
    for (;;) {
        errno = 0;
        ssize_t n = getline(&f->room, &f->room_bytes, f->file);
        if (n < 0) {
            if (errno)
                buf_printf(error, "%s: %s\n", f->path, strerror(errno));
            return NULL;
        }
        f->line++;
        struct span line = span_of(f->room, (size_t)n);
        while (line.len && strchr("\r\n\t ", line.ptr[line.len - 1]))
            line.len--;
        if (!line.len)
            continue;
        json_error_t why;
        json_t *v = json_loadb(line.ptr, line.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
        if (!json_is_object(v) || !text_num(v, "time_ms")) {
            buf_printf(error, "%s:%" PRIu64 ": %s, expected an event as `remuda events` prints it\n", f->path,
                       f->line, v ? "found something else" : why.text);
            json_decref(v);
            return NULL;
        }
        uint64_t at = text_num(v, "time_ms");
        if (at + DISORDER_MS < f->newest_ms) {
            buf_printf(error,
                       "%s:%" PRIu64
                       ": over an hour older than the event before, expected the order of time, "
                       "as `remuda events` prints them\n",
                       f->path, f->line);
            json_decref(v);
            return NULL;
        }
        f->newest_ms = at > f->newest_ms ? at : f->newest_ms;
        return v;
    }
}

/* ---- a relay ---- */

static bool fetch(const struct recorded_feed *f, struct stream *s, struct buf *error)
{
    struct buf path = BUF_INIT;
    struct http_answer answer;
    buf_printf(&path, "/v1/events?partition=%td&since=%" PRIu64 "&limit=%d", s - f->streams, s->since,
               PIECE_BATCHES);
    int rc = http_request(f->address, "GET", buf_cstr(&path), &answer);
    bool good = rc == RM_OK && answer.status == 200;
    if (!good && rc == RM_OK)
        buf_printf(error, "remuda: %s: its events cannot be read (HTTP %d)\n", f->address, answer.status);
    else if (!good)
        buf_printf(error, "remuda: %s: %s\n", f->address, rm_strerror(rc));
    buf_fini(&s->piece);
    s->piece = answer.body;
    s->at = 0;
    s->ended = !good || s->piece.len == 0;
    buf_fini(&path);
    return good;
}

static json_t *stream_line(struct stream *s)
{
    struct span rest = span_of(s->piece.data + s->at, s->piece.len - s->at);
    struct span line = span_cut(&rest, '\n');
    s->at = s->piece.len - rest.len;
    json_error_t why;
    json_t *v = json_loadb(line.ptr, line.len, JSON_ALLOW_NUL, &why);
    if (v)
        s->since = text_num(v, "offset") + 1;
    return v;
}

/* Fills s->next; leaves it NULL at the end of the partition's events, or of the time asked for. */
static bool advance(const struct recorded_feed *f, struct stream *s, struct buf *error)
{
    while (!s->next && !s->ended) {
        if (s->at == s->piece.len && !fetch(f, s, error))
            return false;
        if (s->ended)
            break;
        json_t *v = stream_line(s);
        uint64_t at = text_num(v, "time_ms");
        if (f->until_ms && at >= f->until_ms + TOLD_LATE_MS)
            s->ended = true;
        if (v && at >= f->since_ms && (!f->until_ms || at < f->until_ms))
            s->next = v;
        else
            json_decref(v);
    }
    return true;
}

static json_t *next_merged(struct recorded_feed *f, struct buf *error)
{
    struct stream *first = NULL;
    for (uint32_t i = 0; i < f->n; i++) {
        struct stream *s = &f->streams[i];
        if (!advance(f, s, error))
            return NULL;
        if (s->next && (!first || text_num(s->next, "time_ms") < text_num(first->next, "time_ms")))
            first = s;
    }
    json_t *v = first ? first->next : NULL;
    if (first)
        first->next = NULL;
    return v;
}

json_t *recorded_feed_next(struct recorded_feed *f, struct buf *error)
{
    return f->file ? next_line(f, error) : next_merged(f, error);
}
