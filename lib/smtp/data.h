/*
 * The body as a server receives it: DATA with its dots (RFC 5321 4.5.2) and BDAT chunks (RFC 3030), in any
 * fragments, one pass. Only CRLF "." CRLF ends DATA; nothing else is ever taken for an end of line at a dot.
 *
 * The text goes to the sink in runs that point into the fragment (or into constants): nothing is copied, and
 * a run is as long as the fragment where no dot had to be removed. Line ends are kept as CRLF.
 *
 * Bare CR and bare LF. Under SMTP_BARE_REFUSE (the default) they are a fault: the stream is consumed to its
 * true end, without output from there on, and the caller refuses the message. Under SMTP_BARE_NORMALISE each
 * becomes CRLF, and a run of CRs before one LF counts once. A dot that follows such a made line end is
 * ordinary text: it is neither removed nor can it end the message (smtp_stuff doubles it on the way out).
 * BINARYMIME is not supported: BDAT text obeys the same rules.
 */
#ifndef REMUDA_LIB_SMTP_DATA_H
#define REMUDA_LIB_SMTP_DATA_H

#include "lib/base/span.h"

enum smtp_bare_policy { SMTP_BARE_REFUSE, SMTP_BARE_NORMALISE };

enum smtp_data_fault {
    SMTP_DATA_BARE_CR = 1,
    SMTP_DATA_BARE_LF = 2,
    SMTP_DATA_LINE_LONG = 4, /* a line over line_most */
    SMTP_DATA_TOO_BIG = 8,   /* the text is over size_most; bytes says by how much */
};

struct smtp_data_options {
    enum smtp_bare_policy bare;
    uint32_t line_most; /* octets of a line without its CRLF; 0: no limit */
    uint64_t size_most; /* octets of the text; 0: no limit */
};

/* run is valid only during the call; never empty. */
typedef void (*smtp_data_sink)(void *arg, struct span run);

/* Plain data, no memory of its own: copy or forget it at will. Read the public part at any time. */
struct smtp_data {
    /* ---- results ---- */
    unsigned faults; /* bits of enum smtp_data_fault that the caller must refuse for; output has stopped */
    unsigned bare;   /* SMTP_DATA_BARE_CR, _BARE_LF seen, under either policy */
    uint64_t bytes;  /* of the text so far, counted on when output has stopped */
    bool eight_bit;  /* octets over 127 in what went to the sink */
    bool nul;        /* NUL octets in it */
    /* ---- private ---- */
    struct smtp_data_options options;
    smtp_data_sink sink;
    void *arg;
    uint8_t state;
    uint64_t line; /* octets of the current line */
    uint64_t left; /* of the current BDAT chunk */
    bool last;
};

void smtp_data_init(struct smtp_data *d, const struct smtp_data_options *options, smtp_data_sink sink,
                    void *arg);

enum smtp_data_status { SMTP_DATA_MORE, SMTP_DATA_END };

/* DATA: takes bytes from in; *consumed tells how many. END: the final CRLF.CRLF was seen (and not given to
 * the sink, but for the CRLF that ends the last line) and what follows is left: pipelined commands. MORE: all
 * taken. */
enum smtp_data_status smtp_data_feed(struct smtp_data *d, struct span in, size_t *consumed);

/* BDAT: announces the next chunk of the same message; then smtp_data_feed_chunk until END. */
void smtp_data_chunk(struct smtp_data *d, uint64_t size, bool last);
/* END: the chunk is complete (at once for one of size 0); with last, the message is, and a CR that ended it
 * has been judged. Bytes behind the chunk are left. */
enum smtp_data_status smtp_data_feed_chunk(struct smtp_data *d, struct span in, size_t *consumed);

#endif
