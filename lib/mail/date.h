/* Dates as mail writes them (RFC 5322 3.3), always in UTC. */
#ifndef REMUDA_LIB_MAIL_DATE_H
#define REMUDA_LIB_MAIL_DATE_H

#include <stdint.h>

enum { MAIL_DATE_BUF = 40 };

/* "Mon, 23 Nov 2026 21:08:04 +0000". wall_ms: milliseconds since 1970. Returns out. Any thread. */
char *mail_date_format(uint64_t wall_ms, char out[MAIL_DATE_BUF]);

#endif
