/* Replies into what rules see. */
#include <ctype.h>
#include <stdio.h>

#include "router/rules_private.h"

/* "5.1.1" with what may stand around it: "#5.1.0", "(5.7.1)", "<5.1.1>"; the length read, 0 for none. */
static size_t read_enhanced(struct span s, int out[3])
{
    size_t i = 0;
    while (i < s.len && strchr(" #(<[", s.ptr[i]))
        i++;
    for (int part = 0; part < 3; part++) {
        size_t from = i;
        int n = 0;
        while (i < s.len && i - from < 3 && isdigit((unsigned char)s.ptr[i]))
            n = n * 10 + (s.ptr[i++] - '0');
        if (i == from || (part < 2 && (i >= s.len || s.ptr[i] != '.')))
            return 0;
        out[part] = n;
        i += part < 2;
    }
    if (i < s.len && (s.ptr[i] == '.' || isalnum((unsigned char)s.ptr[i])))
        return 0;
    while (i < s.len && strchr(")>]:-", s.ptr[i]))
        i++;
    return i;
}

static void take_enhanced(struct subject *s, const int e[3])
{
    if (s->class || (e[0] != 4 && e[0] != 5))
        return;
    s->class = e[0];
    s->subject = e[1];
    s->detail = e[2];
}

static void add_text(struct subject *s, struct span line)
{
    bool space = s->len > 0;
    for (size_t i = 0; i < line.len; i++) {
        char c = line.ptr[i];
        if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
            space = s->len > 0;
            continue;
        }
        if (s->len + 2 > sizeof(s->text))
            return;
        if (space)
            s->text[s->len++] = ' ';
        space = false;
        s->text[s->len++] = c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
    }
}

void subject_init(struct subject *s, const struct router_reply *reply)
{
    int e[3];
    s->code = reply->code;
    s->class = s->subject = s->detail = 0;
    s->len = 0;
    if (reply->enhanced.len && read_enhanced(reply->enhanced, e))
        take_enhanced(s, e);
    struct span rest = reply->text;
    while (rest.len) {
        struct span line = span_cut(&rest, '\n');
        size_t n = read_enhanced(line, e);
        if (n && e[0] >= 2 && e[0] <= 5) {
            take_enhanced(s, e);
            line = span_of(line.ptr + n, line.len - n);
        }
        add_text(s, line);
    }
}

/* The code of a line, 0 for none; *n is what it and its separator take. */
static int line_code(struct span line, size_t *n)
{
    for (int i = 0; i < 3; i++)
        if (line.len < 3 || !isdigit((unsigned char)line.ptr[i]))
            return 0;
    bool separated = line.len > 3 && (line.ptr[3] == ' ' || line.ptr[3] == '-');
    if (line.len > 3 && !separated)
        return 0;
    *n = separated ? 4 : 3;
    return (line.ptr[0] - '0') * 100 + (line.ptr[1] - '0') * 10 + (line.ptr[2] - '0');
}

bool router_reply_read(struct span raw, struct router_reply *out, char *text, size_t room)
{
    size_t len = 0, n = 0;
    out->code = 0;
    out->enhanced = SPAN_LIT("");
    while (raw.len) {
        struct span line = span_cut(&raw, '\n');
        if (line.len && line.ptr[line.len - 1] == '\r')
            line.len--;
        int code = line_code(line, &n);
        if (out->code == 0 && (code < 200 || code > 599))
            return false;
        bool first = out->code == 0;
        if (first)
            out->code = code;
        if (code == out->code)
            line = span_of(line.ptr + n, line.len - n);
        int wrote = snprintf(text + len, room - len, "%s%.*s", first ? "" : "\n", SPAN_FMT(line));
        len += (size_t)wrote < room - len ? (size_t)wrote : room - len - 1;
    }
    out->text = span_of(text, len);
    return out->code != 0;
}
