/*
 * Writes header fields and plain paragraphs word by word, breaking lines at 78 columns. For the builders of
 * this folder only.
 */
#ifndef REMUDA_LIB_MAIL_FOLD_H
#define REMUDA_LIB_MAIL_FOLD_H

#include "lib/base/buf.h"

enum { MAIL_FOLD_COLUMN = 78, MAIL_LINE_MOST = 998 };

struct mail_fold {
    struct buf *out;
    const char *indent; /* begins every line but the first: "\t" or blanks */
    size_t column;      /* octets on the current line */
    bool utf8;          /* valid UTF-8 passes; else octets over 127 become "?" */
    bool bare; /* nothing but the indent (or nothing) stands on the line: no blank before the next word */
};

/* first begins the first line as it is ("Received:", "    "). */
void mail_fold_begin(struct mail_fold *f, struct buf *out, const char *first, const char *indent, bool utf8);
/* A word that stays whole where it can: before it a blank, or a line break when the line would pass
 * column 78. One over 900 octets is cut by line breaks. Controls and blanks inside it become "?". Empty:
 * nothing. */
void mail_fold_word(struct mail_fold *f, struct span word);
/* Text cut into words at blanks and line ends. */
void mail_fold_text(struct mail_fold *f, struct span text);
/* CRLF. */
void mail_fold_end(struct mail_fold *f);

#endif
