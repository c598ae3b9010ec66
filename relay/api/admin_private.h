/* Inside of the admin listener: what its handlers share. */
#ifndef REMUDA_RELAY_API_ADMIN_PRIVATE_H
#define REMUDA_RELAY_API_ADMIN_PRIVATE_H

#include <jansson.h>
#include <microhttpd.h>
#include <pthread.h>

#include "relay/api/admin.h"
#include "relay/api/history.h"

struct admin {
    struct node *node;
    admin_query_fn ask;
    bool all_events; /* those of the whole cluster are here: traces and searches can be answered */
    struct MHD_Daemon *daemon;
    uint16_t port;
    pthread_mutex_t lock;       /* of what follows */
    struct log_client *client;  /* for replays: used by one thread at a time */
    uint64_t index_reads;       /* last value seen of the log's figure */
    pthread_mutex_t accounting; /* held while an account is made */
};

/* A request in its handler's hands. Arguments are borrowed and valid during the call. */
struct admin_request {
    struct admin *admin;
    struct MHD_Connection *connection;
    const char *rest; /* of the path, behind the route's prefix */
};

/* body is sent with the type; both are set by the functions below. */
struct admin_reply {
    unsigned status;
    const char *type;
    struct buf body;
};

typedef void (*admin_handler)(const struct admin_request *q, struct admin_reply *r);

/* False, and r says so: this node cannot tell what became of every message. */
bool admin_history_here(const struct admin_request *q, struct admin_reply *r);

/* Takes the reference of v. */
void admin_reply_json(struct admin_reply *r, unsigned status, json_t *v);
/* {"error": text} */
void admin_reply_error(struct admin_reply *r, unsigned status, const char *text);
void admin_reply_text(struct admin_reply *r, unsigned status, const char *text);

/* A query argument, NULL when absent. */
const char *admin_arg(const struct admin_request *q, const char *name);
/* "" when absent. */
struct span admin_arg_span(const struct admin_request *q, const char *name);
/* A decimal argument, at most `most`; fallback when absent. False when it does not parse: answered with 400.
 */
bool admin_arg_num(const struct admin_request *q, struct admin_reply *r, const char *name, uint64_t fallback,
                   uint64_t most, uint64_t *out);

/* ---- admin_answers.c ---- */

enum { ADMIN_OWNER_MOST = 80 };

/* True when the partition is not this node's; then owner is the node that claimed it last, "" when that is
 * not known here. */
bool admin_elsewhere(struct log *log, uint32_t partition, char owner[ADMIN_OWNER_MOST]);
/* Says in an answer about partitions of this node which ones it is not about: "partitions": their number, and
 * "elsewhere": [{"partition": n, "node": s}, ...], empty when it is about all. */
void admin_add_elsewhere(const struct admin_request *q, json_t *v);

struct admin_form {
    const char *list;  /* member that holds what the shards answered */
    bool may_be_empty; /* else nothing is 404, none says why */
    const char *none;
    bool whole; /* the answer is about all partitions, wherever they are */
};
/* Asks all shards and replies with all of their answers, "now_ms", "silent_shards", and where the rest is. */
void admin_reply_answers(const struct admin_request *q, struct admin_reply *r,
                         const struct admin_question *question, const struct admin_form *form);

/*
 * All rows of the backlog, of the partitions owned here, in the order of acceptance; a row is borrowed for
 * the call. *whole is false when 20 s were not enough. RM_EIO, RM_ECORRUPT.
 */
typedef void (*admin_row_cb)(void *arg, const Remuda__BacklogRow *row);
int admin_rows_each(struct log *log, admin_row_cb each, void *arg, bool *whole) MUST_CHECK;

/* ---- admin_pair_metrics.c ---- */

/* The gauges of pairs, and in the registry how many pairs were left out. */
void admin_add_pair_metrics(const struct admin_request *q, struct buf *out);

void admin_metrics(const struct admin_request *q, struct admin_reply *r);
void admin_healthz(const struct admin_request *q, struct admin_reply *r);
void admin_readyz(const struct admin_request *q, struct admin_reply *r);
void admin_trace(const struct admin_request *q, struct admin_reply *r);
void admin_search(const struct admin_request *q, struct admin_reply *r);
void admin_events(const struct admin_request *q, struct admin_reply *r);
void admin_queue(const struct admin_request *q, struct admin_reply *r);
void admin_why(const struct admin_request *q, struct admin_reply *r);
void admin_explain_past(const struct admin_request *q, struct admin_reply *r);
void admin_explain(const struct admin_request *q, struct admin_reply *r);
void admin_rules_unknown(const struct admin_request *q, struct admin_reply *r);
void admin_pairs(const struct admin_request *q, struct admin_reply *r);
void admin_pair_mark(const struct admin_request *q, struct admin_reply *r);
void admin_pair_clear(const struct admin_request *q, struct admin_reply *r);
void admin_pair_import(const struct admin_request *q, struct admin_reply *r);
void admin_quarantine(const struct admin_request *q, struct admin_reply *r);
void admin_quarantine_lift(const struct admin_request *q, struct admin_reply *r);
void admin_quarantine_keep(const struct admin_request *q, struct admin_reply *r);
void admin_audit_mail(const struct admin_request *q, struct admin_reply *r);
void admin_lanes(const struct admin_request *q, struct admin_reply *r);
void admin_lanes_move(const struct admin_request *q, struct admin_reply *r);
void admin_lanes_spread(const struct admin_request *q, struct admin_reply *r);
void admin_partitions_grow(const struct admin_request *q, struct admin_reply *r);
void admin_migrate(const struct admin_request *q, struct admin_reply *r);
void admin_dead(const struct admin_request *q, struct admin_reply *r);
void admin_dead_replay(const struct admin_request *q, struct admin_reply *r);

void admin_suppression(const struct admin_request *q, struct admin_reply *r);
void admin_suppression_add(const struct admin_request *q, struct admin_reply *r);
void admin_suppression_remove(const struct admin_request *q, struct admin_reply *r);

/* ---- admin_dead.c, for admin_replay.c ---- */

/* The record's header when it decodes, else NULL. */
Remuda__Record *admin_dead_record(struct arena *a, const Remuda__DeadRecord *dead, struct mail_view *view);
/* The header of a chunk that was put aside with its record, else NULL. */
Remuda__ChunkHeader *admin_dead_chunk(struct arena *a, const Remuda__DeadRecord *dead);
/* The first dead record at or after *offset, decoded into a; NULL at the end or when it does not decode. */
Remuda__DeadRecord *admin_dead_next(struct log *log, struct arena *a, uint64_t *offset, int *rc);
/* Offset of the first dead record, below offset, that is of the same place in mail; offset when there is
 * none. */
uint64_t admin_dead_first(struct log *log, const Remuda__DeadRecord *dead, uint64_t offset);
/* The record at exactly this offset, or NULL and a reply. */
Remuda__DeadRecord *admin_dead_at(const struct admin_request *q, struct admin_reply *r, struct span number,
                                  struct arena *a);

#endif
