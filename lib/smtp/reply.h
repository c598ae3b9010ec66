/*
 * SMTP replies (RFC 5321 4.2, RFC 2034 enhanced codes): a parser for the client, a writer for the server.
 *
 * The parser takes any fragments. A line ends at LF with an optional CR before it: a server that sends bare
 * LF is understood, as by every other client, because replies are their author's own and carry nobody else's
 * bytes; nothing can be smuggled in them. A CR elsewhere, a NUL and every other control character but the tab
 * become "?" in the text, and so does each octet that is not valid UTF-8: the text may be stored, logged and
 * quoted as it is. A line of digits only ("250") is a reply. A line that does not begin with three digits
 * 2xx..5xx, a code that changes inside a reply, a line over 4,096 octets or more than 100 lines are errors:
 * the connection has lost its framing and must be closed.
 */
#ifndef REMUDA_LIB_SMTP_REPLY_H
#define REMUDA_LIB_SMTP_REPLY_H

#include "lib/base/buf.h"
#include "lib/base/span.h"
#include "lib/smtp/fault.h"

enum { SMTP_REPLY_LINE_MOST = 4096, SMTP_REPLY_LINES_MOST = 100, SMTP_ENHANCED_BUF = 12 };

struct smtp_reply {
    int code;                      /* 200..599 */
    struct smtp_enhanced enhanced; /* of the first line that has one of the code's class; class 0: none */
    struct span text; /* the lines behind code and separator, joined by \n, enhanced codes kept */
};

enum smtp_reply_status { SMTP_REPLY_MORE, SMTP_REPLY_DONE, SMTP_REPLY_ERROR };

struct smtp_reply_parser {
    struct buf *text; /* the caller's */
    size_t line_at;   /* where the line being read begins in text */
    unsigned lines;   /* complete ones */
    int code;         /* of the first line; 0 before */
    struct smtp_enhanced enhanced;
    const char *trouble; /* after SMTP_REPLY_ERROR: why, a constant phrase */
};

/* text is cleared at the beginning of every reply and holds its text until the next: its memory is reused, so
 * that replies cost no allocation after the first. It must outlive the parser. */
void smtp_reply_parser_init(struct smtp_reply_parser *p, struct buf *text);

/*
 * Takes bytes from in; *consumed tells how many. DONE: *out is one whole reply, its text valid until the next
 * call, and bytes behind it are left (they are the next reply's). MORE: all of in was taken. ERROR: stays.
 */
enum smtp_reply_status smtp_reply_parse(struct smtp_reply_parser *p, struct span in, size_t *consumed,
                                        struct smtp_reply *out);

/* True between a reply's first octet and its end. */
bool smtp_reply_parser_busy(const struct smtp_reply_parser *p);

/* Parses "5.1.1" at the beginning of s (followed by a space or the end); returns its length, 0 when there is
 * none. Classes 2, 4 and 5 only. */
size_t smtp_enhanced_parse(struct span s, struct smtp_enhanced *out);
/* "5.1.1", "" for class 0. out holds SMTP_ENHANCED_BUF bytes. Returns out. */
char *smtp_enhanced_text(struct smtp_enhanced e, char out[SMTP_ENHANCED_BUF]);
/* e, or what stands for a missing one: 2.0.0, 4.0.0, 5.0.0 by the code's first digit. */
struct smtp_enhanced smtp_enhanced_or_default(struct smtp_enhanced e, int code);

/*
 * Appends a reply to out, CRLF-terminated. Each \n in text begins another line; every line carries the
 * enhanced code (RFC 2034) when its class is not 0. CR and other control characters in text become "?". Lines
 * are cut at 500 octets.
 */
void smtp_reply_write(struct buf *out, int code, struct smtp_enhanced enhanced, struct span text);

/* {2, 1, 5} and so on, for calls of smtp_reply_write. */
#define SMTP_ENHANCED(c, s, d) ((struct smtp_enhanced){(c), (s), (d)})
#define SMTP_ENHANCED_NONE     ((struct smtp_enhanced){0, 0, 0})

#endif
