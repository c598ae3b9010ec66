/* The quoted-printable encoder. Decoding is nobody's need here. */
#include "lib/mail/quoted.h"

enum { LINE_MOST = 76 };

static bool passes(unsigned char c)
{
    return c >= ' ' && c < 0x7f && c != '=';
}

/* One line without its end. */
static void add_line(struct buf *out, struct span line)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t column = 0;
    for (size_t i = 0; i < line.len; i++) {
        unsigned char c = (unsigned char)line.ptr[i];
        bool last_blank = i + 1 == line.len && (c == ' ' || c == '\t');
        bool plain = (passes(c) || c == '\t') && !last_blank;
        if (column + (plain ? 1 : 3) > LINE_MOST - 1) { /* one column kept for the soft break */
            buf_add(out, "=\r\n", 3);
            column = 0;
        }
        if (plain) {
            buf_add_char(out, (char)c);
            column++;
            continue;
        }
        char hex[3] = {'=', digits[c >> 4], digits[c & 15]};
        buf_add(out, hex, 3);
        column += 3;
    }
}

void mail_quoted_add(struct buf *out, struct span text)
{
    while (text.ptr != NULL && text.len > 0) {
        bool ended = memchr(text.ptr, '\n', text.len) != NULL;
        struct span line = span_cut(&text, '\n');
        if (ended && line.len > 0 && line.ptr[line.len - 1] == '\r') {
            line.len--;
        }
        add_line(out, line);
        if (ended) {
            buf_add(out, "\r\n", 2);
        }
    }
}
