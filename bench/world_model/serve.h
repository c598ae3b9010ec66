/*
 * The same model over real sockets: one SMTP server per receiver, whose clock runs faster than ours.
 *
 * net is three octets of loopback, such as "127.100.1"; receiver i listens at net.(i + 1):port. What comes
 * from an address that ends in .n is source n. A recipient is <tenant>-<number>@<receiver's domain>. Lines of
 * JSON on standard output: "ready", each answer, "bounces-later" and "complains-later" when such a message is
 * taken, and when their time has come "late-bounce" and "complaint" with the message's return path; who reads
 * them sends the mail. Each recipient is judged at RCPT; an outage breaks the connection there. Ends on
 * SIGTERM or SIGINT.
 */
#ifndef REMUDA_BENCH_SERVE_H
#define REMUDA_BENCH_SERVE_H

#include "bench/world_model/model.h"

struct serve_options {
    const char *net;
    uint16_t port;
    uint32_t factor;   /* seconds of the run in one of ours */
    uint64_t start_ms; /* time of the run at the beginning */
};

/* False: error says why. */
bool serve(const struct scenario *s, const struct serve_options *o, struct buf *error);

#endif
