/* Line breaking for headers and paragraphs. Encoded words and quoted-printable are not its business. */
#include "lib/mail/fold.h"

#include "lib/smtp/address.h"

enum { WORD_MOST = 900 };

static void line_begin(struct mail_fold *f, const char *what)
{
    buf_add_str(f->out, what);
    f->column = strlen(what);
}

void mail_fold_begin(struct mail_fold *f, struct buf *out, const char *first, const char *indent, bool utf8)
{
    *f = (struct mail_fold){.out = out, .indent = indent, .utf8 = utf8};
    line_begin(f, first);
    f->bare = f->column == 0 || first[f->column - 1] == ' ';
}

static void break_line(struct mail_fold *f)
{
    buf_add_str(f->out, "\r\n");
    line_begin(f, f->indent);
    f->bare = true;
}

/* At most WORD_MOST octets, scrubbed. */
static void put_piece(struct mail_fold *f, struct span piece)
{
    size_t need = piece.len + (f->bare ? 0 : 1);
    if (!f->bare && f->column + need > MAIL_FOLD_COLUMN) {
        break_line(f);
    }
    if (!f->bare) {
        buf_add_char(f->out, ' ');
        f->column++;
    }
    bool high_passes = f->utf8 && smtp_utf8_valid(piece);
    char *to = buf_reserve(f->out, piece.len);
    for (size_t i = 0; i < piece.len; i++) {
        unsigned char c = (unsigned char)piece.ptr[i];
        to[i] = c <= ' ' || c == 0x7f || (c >= 0x80 && !high_passes) ? '?' : (char)c;
    }
    f->out->len += piece.len;
    f->column += piece.len;
    f->bare = false;
}

/* Where to cut an over-long word: not inside a UTF-8 sequence. */
static size_t cut_at(struct span word)
{
    size_t n = WORD_MOST;
    while (n > WORD_MOST - 4 && ((unsigned char)word.ptr[n] & 0xc0) == 0x80) {
        n--;
    }
    return n;
}

void mail_fold_word(struct mail_fold *f, struct span word)
{
    while (word.len > WORD_MOST) {
        size_t n = cut_at(word);
        put_piece(f, span_of(word.ptr, n));
        break_line(f);
        word = span_of(word.ptr + n, word.len - n);
    }
    if (word.len > 0) {
        put_piece(f, word);
    }
}

void mail_fold_text(struct mail_fold *f, struct span text)
{
    size_t from = 0;
    if (text.len == 0) {
        return;
    }
    for (size_t i = 0; i <= text.len; i++) {
        bool gap = i == text.len || text.ptr[i] == ' ' || text.ptr[i] == '\t' || text.ptr[i] == '\n' ||
                   text.ptr[i] == '\r';
        if (gap) {
            mail_fold_word(f, span_of(text.ptr + from, i - from));
            from = i + 1;
        }
    }
}

void mail_fold_end(struct mail_fold *f)
{
    buf_add_str(f->out, "\r\n");
}
