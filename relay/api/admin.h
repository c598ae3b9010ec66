/*
 * The admin listener: HTTP on a loopback address, for operators' tools, Prometheus and the command line.
 * It has its own threads (libmicrohttpd); what it tells comes from the log and the history index, and from
 * the shards only by questions posted to their loops (relay/api/query.h).
 *
 *   GET  /metrics                    Prometheus text
 *   GET  /healthz                    200 while the process serves
 *   GET  /readyz                     200 when it takes and delivers mail, else 503 with the reason
 *   GET  /v1/trace/ID                the events of a message and of the bounces made of it
 *   GET  /v1/search                  recipient, sender, tenant, since, until (ms), before (id), limit
 *   GET  /v1/queue                   what waits by lane, state and cause; with limit also the rows;
 *                                    lane, cause, tenant, state, domain select
 *   GET  /v1/explain                 from, to, tenant: what the router would decide now
 *   GET  /v1/pairs                   what the router has learned of each (source, provider); with records=1
 *                                    also the records to be imported elsewhere
 *   POST /v1/pairs/mark              source, provider, reason: past its warm-up
 *   POST /v1/pairs/clear             source, provider, reason: alert cleared, suspension lifted
 *   POST /v1/pairs/import            record
 *   GET  /v1/events                  partition, since (offset), limit (batches): NDJSON, for tools
 *   GET  /v1/audit/mail              since (ms): whether all mail has had its end or waits
 * (relay/api/account.h) GET  /v1/dead, /v1/dead/OFFSET   records put aside POST /v1/dead/OFFSET/replay
 * appends one to its partition again; needs the header X-Remuda: 1
 *
 * A request whose Host is not an IP address or "localhost" is refused (403): a web page that makes its own
 * name point to 127.0.0.1 gets nothing.
 */
#ifndef REMUDA_RELAY_API_ADMIN_H
#define REMUDA_RELAY_API_ADMIN_H

#include "relay/api/query.h"
#include "relay/node.h"

struct admin;

/*
 * Listens on address ("127.0.0.1:8025", "[::1]:8025"; port 0: any free one). node is borrowed until
 * admin_stop; its log, metrics, history (may be NULL) and shards must be set up, loops may not run yet. ask
 * is posted to the shards. RM_EINVAL: the address does not parse or is not a loopback one; RM_EIO: it can't
 * be bound. *why, if given, becomes a constant phrase.
 */
int admin_start(struct node *node, const char *address, admin_query_fn ask, struct admin **out,
                const char **why) MUST_CHECK;
/* Ends the requests in progress and the threads. Before history_free, log_close and the loops' end. NULL is
 * allowed. */
void admin_stop(struct admin *a);
/* The port that it listens on. */
uint16_t admin_port(const struct admin *a);

/* What admin_start would say of an address, without listening: RM_OK or RM_EINVAL. For the configuration
 * check. */
int admin_address_check(const char *address, const char **why) MUST_CHECK;

#endif
