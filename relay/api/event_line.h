/*
 * Events as lines of the program's log: what an operator greps for. One line per recipient that had an
 * outcome, and one for the acceptance, which comes with the first event of a message's first submission.
 *
 *   mail.accepted   id tenant from client user bytes
 *   mail.delivered  id tenant from to pool provider source host code enhanced attempt delay_ms
 *   mail.deferred   the same, with cause and next_in_ms; mail.bounced, mail.expired, ... alike
 *   mail.suppressed, mail.late-bounce, mail.complaint  alike, as far as it is known
 *   mail.held, mail.rerouted  id tenant domain pool provider cause
 *
 * Never contents, and never a receiver's words (they may quote addresses, whose privacy is the logger's to
 * keep): those are in the history.
 */
#ifndef REMUDA_RELAY_API_EVENT_LINE_H
#define REMUDA_RELAY_API_EVENT_LINE_H

#include "lib/base/logger.h"
#include "remuda.pb-c.h"

/* Appends the lines of one event, at level info, for logger_write_lines. Any thread. */
void event_line_append(struct logger *lg, struct buf *out, const Remuda__Event *e);

#endif
