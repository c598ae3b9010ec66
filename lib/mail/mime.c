/* The walk over multiparts, and their transfer encodings. What the parts mean is the callers'. */
#include "lib/mail/mime.h"

#include "lib/mail/header.h"

/* ---- parameters ---------------------------------------------------------------------------------- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct span skip(struct span s, size_t n)
{
    return span_of(s.ptr + n, s.len - n);
}

static struct span skip_space(struct span s)
{
    while (s.len && is_space(s.ptr[0]))
        s = skip(s, 1);
    return s;
}

/* Takes a quoted string or a token off *rest; appends it unquoted when out is given. */
static void take_value(struct span *rest, struct buf *out)
{
    struct span s = *rest;
    bool quoted = s.len && s.ptr[0] == '"';
    if (quoted)
        s = skip(s, 1);
    while (s.len && (quoted ? s.ptr[0] != '"' : s.ptr[0] != ';' && !is_space(s.ptr[0]))) {
        if (quoted && s.ptr[0] == '\\' && s.len > 1)
            s = skip(s, 1);
        if (out && s.ptr[0] != '\r' && s.ptr[0] != '\n')
            buf_add_char(out, s.ptr[0]);
        s = skip(s, 1);
    }
    *rest = quoted && s.len ? skip(s, 1) : s;
}

bool mail_parameter(struct span value, const char *name, struct buf *out)
{
    struct span rest = value;
    (void)span_cut(&rest, ';');
    while (rest.len) {
        rest = skip_space(rest);
        size_t n = 0;
        while (n < rest.len && rest.ptr[n] != '=' && rest.ptr[n] != ';' && !is_space(rest.ptr[n]))
            n++;
        struct span key = span_of(rest.ptr, n);
        rest = skip_space(skip(rest, n));
        bool wanted = span_ieq(key, span_str(name));
        if (rest.len && rest.ptr[0] == '=') {
            rest = skip_space(skip(rest, 1));
            take_value(&rest, wanted ? out : NULL);
            if (wanted)
                return true;
        }
        if (!rest.len || !memchr(rest.ptr, ';', rest.len))
            return false;
        (void)span_cut(&rest, ';');
    }
    return false;
}

/* ---- parts --------------------------------------------------------------------------------------- */

struct walk {
    struct mail_part *parts;
    size_t n;
};

/* Whether the line is the boundary: 1 a part begins, 2 the last one has ended, 0 no. */
static int boundary_of(struct span line, struct span boundary)
{
    if (line.len < boundary.len + 2 || line.ptr[0] != '-' || line.ptr[1] != '-' ||
        memcmp(line.ptr + 2, boundary.ptr, boundary.len) != 0)
        return 0;
    struct span tail = skip(line, boundary.len + 2);
    bool last = tail.len >= 2 && tail.ptr[0] == '-' && tail.ptr[1] == '-';
    tail = skip_space(last ? skip(tail, 2) : tail);
    if (tail.len)
        return 0;
    return last ? 2 : 1;
}

static void walk_entity(struct walk *w, struct span entity, unsigned depth);

/* The line end in front of a boundary belongs to it (RFC 2046 5.1.1). */
static struct span without_line_end(struct span s)
{
    if (s.len && s.ptr[s.len - 1] == '\n')
        s.len--;
    if (s.len && s.ptr[s.len - 1] == '\r')
        s.len--;
    return s;
}

static void walk_multipart(struct walk *w, struct span body, struct span boundary, unsigned depth)
{
    const char *part = NULL; /* where the part being read begins */
    struct span rest = body;
    while (rest.len && w->n < MAIL_PARTS_MOST) {
        struct span line = span_cut(&rest, '\n');
        int found = boundary_of(line, boundary);
        if (!found)
            continue;
        if (part)
            walk_entity(w, without_line_end(span_of(part, (size_t)(line.ptr - part))), depth);
        part = found == 1 && rest.ptr ? rest.ptr : NULL;
        if (found == 2)
            return;
    }
    if (part && w->n < MAIL_PARTS_MOST)
        walk_entity(w, span_of(part, (size_t)(body.ptr + body.len - part)), depth);
}

static void walk_entity(struct walk *w, struct span entity, unsigned depth)
{
    struct mail_header_info info;
    struct mail_field type;
    if (w->n >= MAIL_PARTS_MOST)
        return;
    mail_header_scan(entity, &info);
    struct mail_part p = {
        .header = entity, .body = skip(entity, info.body_at), .type = SPAN_LIT("text/plain")};
    bool typed = mail_header_find(entity, "Content-Type", &type);
    if (typed) {
        struct span rest = type.value;
        p.type = span_trim(span_cut(&rest, ';'));
    }
    struct buf boundary = BUF_INIT;
    bool multi = typed && depth < MAIL_DEPTH_MOST && span_istarts(p.type, SPAN_LIT("multipart/")) &&
                 mail_parameter(type.value, "boundary", &boundary) && boundary.len > 0 &&
                 boundary.len <= MAIL_BOUNDARY_MOST;
    size_t before = w->n;
    if (multi)
        walk_multipart(w, p.body, buf_span(&boundary), depth + 1);
    if (w->n == before && w->n < MAIL_PARTS_MOST)
        w->parts[w->n++] = p;
    buf_fini(&boundary);
}

size_t mail_parts(struct span message, struct mail_part parts[MAIL_PARTS_MOST])
{
    struct walk w = {.parts = parts};
    walk_entity(&w, message, 0);
    return w.n;
}

/* ---- transfer encodings -------------------------------------------------------------------------- */

static int sextet(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static void add_base64(struct buf *out, struct span in, size_t end)
{
    uint32_t bits = 0;
    int have = 0;
    for (size_t i = 0; i < in.len && in.ptr[i] != '=' && out->len < end; i++) {
        int v = sextet(in.ptr[i]);
        if (v < 0)
            continue;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            buf_add_char(out, (char)(bits >> have & 0xff));
        }
    }
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void add_quoted(struct buf *out, struct span in, size_t end)
{
    for (size_t i = 0; i < in.len && out->len < end; i++) {
        if (in.ptr[i] != '=') {
            buf_add_char(out, in.ptr[i]);
        } else if (i + 2 < in.len && hex(in.ptr[i + 1]) >= 0 && hex(in.ptr[i + 2]) >= 0) {
            buf_add_char(out, (char)(hex(in.ptr[i + 1]) << 4 | hex(in.ptr[i + 2])));
            i += 2;
        } else { /* a soft line end: up to and with the LF */
            while (i + 1 < in.len && is_space(in.ptr[i + 1]) && in.ptr[i] != '\n')
                i++;
        }
    }
}

void mail_part_decode(const struct mail_part *part, size_t most, struct buf *out)
{
    struct mail_field f;
    bool encoded = mail_header_find(part->header, "Content-Transfer-Encoding", &f);
    size_t end = out->len + most;
    if (encoded && span_ieq(f.value, SPAN_LIT("base64")))
        add_base64(out, part->body, end);
    else if (encoded && span_ieq(f.value, SPAN_LIT("quoted-printable")))
        add_quoted(out, part->body, end);
    else
        buf_add(out, part->body.ptr, part->body.len < most ? part->body.len : most);
}
