/*
 * What the files of delivery share. The shape of it:
 *
 *   delivery (shard) -> owner (partition) -> lane (pool, provider, shard) -> scope (the unit of limits: the
 * lane, or for provider other the site) -> flow (one tenant's submissions in a scope) -> submissions
 *
 * A scope serves its flows in rotation (I5). A submission in memory is in exactly one state; sub_move is the
 * only place that changes it. A submission without memory is a backlog row: deferred rows come back by time,
 * held rows when their scope has room. A submission that is settled stays in memory until the flush that says
 * so is durable: until then the log would still show it as waiting.
 */
#ifndef REMUDA_RELAY_DELIVERY_PRIVATE_H
#define REMUDA_RELAY_DELIVERY_PRIVATE_H

#include "lib/base/list.h"
#include "lib/base/map.h"
#include "lib/net/loop.h"
#include "queue/partition.h"
#include "relay/delivery/delivery.h"
#include "relay/delivery/outcome.h"
#include "relay/delivery/waits.h"
#include "relay/dest.h"
#include "router/decide.h"

enum {
    ROW_AFTER_US = 5000000, /* without a row for so long: gets one (DESIGN: life of a message, 7) */
    TICK_MS = 250,
    REFILL_LEAST = 2, /* held rows loaded for a flow at once: doubled while all of them start */
    REFILL_MOST = 32,
    LOADING_MOST = 256, /* rows of a partition that resolve at once: a start is no storm of DNS queries */
    FLOW_LEAST = 4,     /* submissions a flow may have in memory however full its lane is (I4) */
    DUE_ROWS = 256,     /* due rows looked at in one turn */
    FETCH_AHEAD =
        4000, /* rows of a partition whose records are fetched, in one round, along with those that come up */
    FETCH_SHARE = 4, /* a part of what is left of it for each that comes up: many flows may wait at once */
    SHOWN_ONE_IN = 1000,
    SOURCE_BROKEN_US = 60000000, /* an address that cannot be bound is not tried again for so long */
};

struct link;
struct homes;
struct owner;
struct lane;
struct scope;
struct flow;

enum sub_state {
    SUB_RESOLVING, /* its destination is being looked up */
    SUB_QUEUED,    /* in its flow, ready for a source */
    SUB_ASIDE,     /* in its flow too, but what is ready goes before it: it waits for a warm source */
    SUB_RUNNING,   /* has a link: connecting or in an attempt */
    SUB_MOVING,    /* on its way into another partition, or sealed: its row binds every owner */
    SUB_SETTLED,   /* final or only a row from now on; memory goes with the next durable flush */
};

struct sub_result {
    Remuda__RecipientState state;
    bool noticed;
    char *reply; /* owned; NULL: never tried */
    int code;    /* of the receiver's reply; 0: the words are ours */
};

/* Where a submission is transferred to. */
struct destination {
    Remuda__TransferTo to; /* its texts are owned */
    char *why;
};

struct sealed;

struct sub {
    struct list node;                /* list of its state */
    struct list move_node;           /* SUB_MOVING: the submissions that go with one copy */
    struct destination *destination; /* where it is to go, from the decision on */
    struct sealed *sealed;           /* an end of recipients that is not told yet; owned */
    struct list age_node;            /* owner->fresh until its row tells how it waits; flow->parked */
    struct sub *hash_next;
    enum sub_state state;
    struct owner *owner;
    struct lane *lane;
    struct flow *flow; /* from SUB_QUEUED on; counts in its in_memory */
    struct subid id;
    uint64_t at, first_live;
    uint64_t told_at; /* offset under which the partition counts it as open; covered by a row or final */
    struct message *message;
    const Remuda__Submission *submission;
    struct sub_result *results; /* NULL: all pending, no answers */
    uint32_t n_pending;
    uint32_t attempts, uncounted; /* uncounted: of them, those that the schedule does not know */
    char **pools_tried;           /* in this round; owned */
    uint32_t n_pools_tried;
    uint64_t accepted_ms, expires_ms, held_since_ms, last_attempt_ms, due_ms;
    uint64_t in_doubt_until_ms; /* of its row, when that is in doubt */
    uint64_t arrived_us;
    bool has_row, covered, told;
    bool unlisted; /* not in the table any more: it came back as another copy before this one was done with */
    struct flow *loaded_by; /* SUB_RESOLVING: the flow it comes from, which keeps its place */
    struct flow *parked;    /* SUB_SETTLED: the flow that loads its row later */
    bool keeps_row;         /* SUB_SETTLED: it will be a row, not gone */
    char *sticky;           /* source to go back from, owned */
    char *avoid; /* source that an answer has just blamed: not in this round, if there is another; owned */
    char *last_source, *last_host;
    Remuda__RowState row_state; /* of its last row */
    char *row_cause;
    char *scope_text;   /* scope of its row, until its destination is known again */
    int host_from;      /* next place in the order of dest's hosts to try in this round */
    uint32_t host_seed; /* what that order is made of; host_from 0: drawn anew */
    struct dest *dest;
    struct dest_waiter waiter;
    struct link *link;
    struct late_job *late; /* it came back, and is being read; NULL */
    struct waits *waits;   /* where it counts as waiting, of waits_lane */
    struct lane *waits_lane;
    enum wait_cause waits_as; /* WAIT_NONE: not by itself */
    struct shown *shown;      /* candidates of its last decision, when that is one to be shown; owned */
    bool arrival_counted;
    bool finishing; /* SUB_RUNNING: its final dot was let go */
    bool spared;    /* an attempt broke off within an egress, and was not counted: once */
};

/* Where a walk over the index of rows stands: behind the row, or, without one, at the key. */
struct index_place {
    struct log_index_key key; /* len 0: at the start */
    struct row_key row;
    bool has_row;
};

struct flow {
    struct list ring_node;  /* scope->ring; resting: scope->resting */
    struct list retry_node; /* owner->flows_retry or lane->want_room */
    struct scope *scope;
    char *tenant;
    struct list ready;  /* submissions SUB_QUEUED */
    struct list parked; /* held rows gathered or in flight: nothing reads them yet */
    struct list aside;  /* submissions SUB_ASIDE */
    uint32_t n_ready, n_aside, in_memory;
    bool resting;       /* nothing is left but what is set aside */
    uint32_t n_loading; /* on their way from the disk, SUB_RESOLVING */
    bool disk;          /* held rows may be on disk beyond the cursor, or parked */
    uint8_t refill;     /* rows to load next: grows while they start at once */
    struct index_place cursor;
    struct waits *waits; /* of the lane and the tenant */
    uint32_t n_rows;     /* held rows without memory that are counted */
    struct {
        uint32_t n;
        enum wait_cause as;
    } counted_ready, counted_rows; /* what waits knows of n_ready and n_rows */
    bool paused;                   /* its tenant is slowed down: out of the ring until the timer fires */
    struct loop_timer pause;
};

struct scope {
    struct lane *lane;
    char *site;
    struct router_scope *limits;
    struct list ring;             /* flows that have or may have work, next one first */
    struct list resting;          /* flows that wait for a warm source and for nothing else */
    bool no_warm;                 /* in this run no warm source was free */
    struct loop_timer warm_timer; /* when one may be */
    struct map flows;             /* tenant -> struct flow */
    struct list idle;             /* links up without an attempt, least recently used first */
    uint32_t n_links;
    struct loop_timer timer;
    struct loop_defer run;
    bool running;              /* its ring is being served: who enters it is seen without a wake */
    bool blocked;              /* its head could not start: only what frees something wakes it (scope_wake) */
    struct list starved_node;  /* delivery->starved: waits for a connection of the node */
    enum router_verdict cause; /* what held the head last time; ROUTER_CHOSEN: nothing */
    uint64_t shown_us;         /* when a held decision was last shown whole */
    uint32_t members_noted;    /* of its sources: show_members has seen it */
    uint64_t pause_until_us;   /* a receiver refused a further connection: none is opened before */
    uint64_t out_ms; /* when its head last waited for the receiver (router_scope_outage); 0: not yet */
};

struct lane {
    struct owner *owner;
    char *pool, *provider;
    uint32_t shard;
    int pool_index, provider_index; /* in owner->settings; -1: gone */
    int home;                       /* partition by the lane table; -1: in no table */
    struct map scopes;              /* site -> struct scope */
    uint32_t in_memory, n_aside;
    struct map waits;      /* tenant -> struct waits */
    struct list want_room; /* flows that would load rows when the window has room */
    struct metric_cell *delivered, *deferred, *bounced, *expired, *seconds;
    struct metric_cell *answers[ANSWER_CLASSES]; /* made at first use */
};

struct owner {
    struct list node; /* delivery->owners */
    struct delivery *delivery;
    uint32_t number;
    struct partition *partition;
    struct partition_events events;
    bool recovered;
    bool last_written; /* at a stop: the router's last records are gathered */
    bool load_due;     /* recovered, but what waits could not be read yet */
    bool flows_found;  /* those that have held rows */
    struct settings *settings;
    struct map tenants; /* name -> struct settings_tenant */
    struct router_state *router;
    struct homes *homes; /* NULL until the state is loaded */
    bool pairs_waiting;  /* sources of its lanes that have connections of another lane left */
    struct judge *judge; /* of partition 0: sums what all tell of tenants; NULL */
    bool moving_out;     /* mail of tenants may wait in lanes that it is to leave */
    struct map lanes;    /* "pool/provider/shard" -> struct lane */
    struct map members;  /* that stand in the state log by this process: router_scope_members -> the owner */
    struct sub **table;
    size_t table_cap, table_count;
    struct list fresh; /* by arrival, without a row */
    struct list resolving, running, moving;
    struct list settled, settled_flight; /* gathered; in the flush in flight */
    bool in_flight;
    uint32_t n_loading;      /* held rows whose destinations are being looked up, of all flows */
    uint32_t ahead_left;     /* of FETCH_AHEAD */
    struct list flows_retry; /* flows whose rows may become visible with the next flush */
    struct loop_timer due_timer;
    struct index_place due_cursor;
    bool due_waits; /* the row behind it is being fetched */
    uint64_t next_due_ms;
    uint64_t due_gathered, due_flight; /* earliest due time of the rows gathered, and of those in the flush in
                                        * flight: a row counts when it can be read; 0: none */
    struct list links;
    struct list moves; /* copies on their way into other partitions */
    bool was_failing;
    uint32_t n_late;          /* reports being read */
    struct list late_waiting; /* submissions whose reports wait for that, by their waiter's node */
    struct map late_gathered, late_flight;    /* keys of late.c in the next flush, in the one in flight */
    struct map late_events;                   /* keys of what owners past have told without leaving them */
    struct buf late_swept, suppression_swept; /* where their sweeps go on */
    bool lease_out;   /* nothing was started at the last tick because the lease had run out */
    bool losing;      /* another node is to have it: nothing is started */
    bool released;    /* and may have it */
    bool lost;        /* another node has it: only receivers' answers that are due are waited for */
    bool told_closed; /* lost: that no connection is left goes into events, or has gone */
    uint64_t losing_until_us;
    uint64_t lost_connections;        /* that count as open from the owners before, as of the start */
    struct row_key rows_cursor;       /* rows up to it are counted as waiting */
    bool rows_counted;                /* all are */
    uint64_t carried_told, dead_told; /* of the partition's counts, what the metrics know */
};

struct delivery {
    struct shard *shard;
    struct list owners;
    struct list idle_lru; /* links idle, all owners */
    struct list starved;  /* scopes that wait for a connection of the node */
    uint32_t n_links, max_links;
    struct loop_defer flush;
    struct loop_timer tick;
    bool draining;
    uint64_t drain_until_us;
    void (*drained)(void *arg);
    void *drained_arg;
    uint32_t random;
    uint64_t attempts_started;
    uint64_t decisions;              /* one in SHOWN_ONE_IN is shown with its candidates */
    struct pattern_scratch *scratch; /* for matching rules on this thread */
    unsigned ticks;
    struct own *own;           /* of the configuration in use */
    struct tenants *tenants;   /* what the control log says of them */
    uint64_t *broken_until_us; /* by source index: its address could not be bound; boot clock */
    uint64_t any_broken_until_us;
    struct egresses *egresses;
};

/* One outbound connection: holds a connection slot of (source, scope) from router_take to its end. */
struct link {
    struct list owner_node; /* owner->links */
    struct list idle_node;  /* scope->idle while idle */
    struct list lru_node;   /* delivery->idle_lru while idle */
    struct scope *scope;
    struct owner *owner;
    char *source;     /* name; its index may change with the configuration */
    int source_index; /* -1: gone */
    int egress;       /* index it goes through, -1: none; gone with the source's */
    struct dest *dest;
    int host;  /* index of dest->hosts being tried or in use */
    int place; /* of it in the order in which they are tried */
    uint32_t seed;
    struct dns_host *addrs;
    int addr; /* next address of the host */
    struct dns_request *request;
    struct session *session;
    struct session_events events;
    enum tls_policy tls;
    bool up, ending;
    struct sub *sub;     /* waits for it to come up */
    struct run *running; /* attempt begun, not done */
    uint32_t n_running;  /* 0, 1, or 2 with a pipelined next one */
    struct loop_timer idle_timer;
    struct loop_defer later;
    int tries;
    int peers_to,
        peer; /* hosts at places below peers_to are known not to be us; next of their group to look at */
    unsigned families; /* of the addresses met: DEST_HAS_V4, DEST_HAS_V6 */
    enum outcome_failure failure;
    uint32_t per_connection;
    struct metric_cell *attempts;
    uint64_t started_us, dns_us;
    char *trouble;                   /* last failure in words */
    char *passed_over;               /* failures before the present host, with its name; NULL: none */
    char *failed;                    /* the last one, as it would stand there */
    struct session_reply refusal;    /* last answer that refused the session; code 0: none; text is trouble */
    struct router_decision decision; /* why this source, for the first attempt */
};

/* An attempt with what delivery knows of it. */
struct run {
    struct attempt attempt;
    struct sub *sub;
    struct link *link;
    struct router_decision decision;
    const char *runner_up; /* name, in attempt.arena; "" for none */
    uint64_t started_ms;
    uint32_t indexes[]; /* recipients of the attempt */
};

/* ---- sub.c: submissions in memory ---- */
struct sub *sub_find(const struct owner *o, struct subid id);
struct sub *sub_from_record(struct owner *o, struct message *m, uint64_t offset, size_t i);
/* RM_EAGAIN: its record is being fetched (delivery_fetched). Other errors: row or record cannot be read,
 * which is reported. */
int sub_from_row(struct owner *o, struct log_reader *r, struct subid id, struct sub **out) MUST_CHECK;
/* Its record was carried to at: m is what stands there. */
void sub_moved(struct sub *s, struct message *m, uint64_t at, uint64_t first_live);
/* Whether sub_from_row would not say RM_EAGAIN; if it would, the record is being fetched from now on. */
bool sub_is_fetched(struct owner *o, struct log_reader *r, struct subid id);
void sub_move(struct sub *s, enum sub_state state);
/* In its flow, without a link. */
static inline bool sub_waits(const struct sub *s)
{
    return s->state == SUB_QUEUED || s->state == SUB_ASIDE;
}
void sub_free(struct sub *s);
/* Final and only waiting for its flush: it has come back as another copy. */
void sub_make_room(struct sub *s);
void sub_results_need(struct sub *s);
/* out borrows its text. */
void sub_result_fill(const struct sub_result *r, Remuda__RecipientResult *out);
bool sub_pending(const struct sub *s, size_t i);
void sub_text_set(char **slot, const char *text);
/* Pools that it has left since its last attempt. */
bool sub_pool_tried(const struct sub *s, const char *pool);
void sub_pools_tried_add(struct sub *s, const char *pool);
void sub_pools_tried_clear(struct sub *s);
/* Writes its row in this state and covers it in the partition. */
void sub_put_row(struct sub *s, Remuda__RowState state, const char *cause);
/* No longer counted in its flow. */
void sub_leave_flow(struct sub *s);
/* Leaves memory with the next durable flush; a row in that state stays. */
void sub_unload(struct sub *s, Remuda__RowState state, const char *cause);
/* Final: erases the row, covers, leaves memory. */
void sub_finish(struct sub *s);
void owner_flush_now(struct owner *o);
void owner_free(struct owner *o);
/* Attempts may be started, and final dots be sent. */
bool owner_may_start(const struct owner *o);

/* ---- park.c: waiting, told to waits.h ---- */
/* Made at first use, for as long as the lane. */
struct waits *lane_waits(struct lane *l, const char *tenant);
/* Its state or lane has changed. */
void park_sub(struct sub *s);
void park_sub_end(struct sub *s);
/* n_ready, n_rows, or what binds the scope, has changed. A change of the latter alone is seen within a
 * second. */
void park_flow(struct flow *f);
void park_flows(struct owner *o);
/* It is done for: delivered, bounced or expired. */
void park_final(struct sub *s);
/* An attempt has ended: what its time went into. */
void park_attempt(const struct run *r);
/* It leaves memory: a row that stays counts from now on. */
void park_row_left(struct sub *s);
/* A row has come into memory, or is buried. */
void park_row_taken(struct owner *o, struct subid id, const Remuda__BacklogRow *row);
/* The next piece of the rows of earlier lives. */
void park_count_rows(struct owner *o);

/* ---- show.c: decisions with all their candidates, for events ---- */
struct shown {
    struct arena arena;
    struct router_frame frame;
    Remuda__Decision decision;
};
/* Decides again, changes nothing, and notes the candidates for the submission's next event. Before
 * router_take. */
void show_chosen(struct scope *scope, struct sub *s);
/* The same when it is held or goes elsewhere: at most once a second for a scope, else packed into a frame. */
void show_held(struct sub *s);
/* Packs the candidates of a decision made now into its frame, and sees that the names of the scope's sources
 * stand in the state log. */
void show_frame(struct scope *scope, struct router_decision *d);
void show_free(struct sub *s);

/* ---- handover.c: leases, partitions that move to another node ---- */
void handover_tick(struct delivery *d);

/* ---- lane.c: lanes, scopes, flows ---- */
struct lane *lane_get(struct owner *o, const char *pool, const char *provider, uint32_t shard);
struct scope *scope_get(struct lane *l, const char *site);
struct flow *flow_get(struct scope *s, const char *tenant);
void lane_memory_freed(struct lane *l);
/* By the lane table it is another partition's, or its shard is gone: what is here goes to where it belongs.
 */
bool lane_has_left(const struct lane *l);
void scope_free_if_idle(struct scope *s);
void owner_lanes_free(struct owner *o);
void owner_lanes_reconfigure(struct owner *o);
/* The scope may be able to start something: looks at the end of this turn. */
void scope_wake(struct scope *s);
/* What is held there waits for the receiver, not for room in this pool. */
bool scope_is_out(const struct scope *s);
void flow_enter_ring(struct flow *f);
/* It has room for one more: loads again if it waits for that. */
void flow_room_freed(struct flow *f);
/* Why its queue waits, for rows and queue listings. */
enum router_verdict flow_verdict(const struct flow *f);
const char *flow_cause(const struct flow *f);
/* The same for a submission in a flow. */
const char *sub_cause(const struct sub *s);
/* Its tenant may send nothing to the provider until then: the others of the scope go on. */
void flow_pause(struct flow *f, uint64_t until_us);
/* Looks again whether it may. */
void flow_unpause(struct flow *f);

/* ---- aside.c: what waits for a warm source lets the others pass ---- */
/* Sets one aside that no warm source can take now though others could take what is new; until_us: when one
 * may by itself, 0: when one frees. False: too many are. */
bool aside_put(struct sub *s, uint64_t until_us);
/* A warm source may be free: the flows of those set aside have work again. */
void aside_return(struct scope *s);
/* The flow has left the ring: it rests if only what is set aside is left. */
void aside_rest(struct flow *f);

/* ---- place.c: from arrival to its flow ---- */
void place_begin(struct sub *s);    /* looks the destination up */
void place_resolved(struct sub *s); /* decides where it belongs */
/* Comes with a time before which it is not to be tried: a row at once. */
void place_later(struct sub *s, const char *cause);
/* Back into its flow, at the front: nothing of the attempt reached the receiver. */
void place_again(struct sub *s);
/* Queued for long: gets its row, and leaves memory where the window is short. */
void place_wait_on(struct sub *s);
/* Writes its row as held. */
void place_hold_row(struct sub *s, const char *cause);
/* The held row of a parked submission is durable: its flow may load it. */
void place_parked(struct sub *s);
bool flow_refill(struct flow *f);
/* The scope is blocked: what it has in memory only because of its rows gives its place to others. */
void flow_shed(struct flow *f);
void owner_due_arm(struct owner *o, uint64_t due_ms);
void owner_due_run(struct owner *o);
/* Flows that wait for a flush or a fetch look for their rows again. */
void owner_retry_flows(struct owner *o);
/* Held rows of it are in the log, maybe before its cursor. */
void flow_has_rows(struct flow *f);

/* ---- rows.c: rows as they stand in the log ---- */
/* The next entry of the index that begins with prefix: the place moves there. False: none. */
bool rows_next(const struct owner *o, struct log_reader *r, const struct log_index_key *prefix,
               struct index_place *at);
/* The row that a place stands behind. */
struct subid rows_id(const struct index_place *at);
/* The record of the row behind the place has to be fetched: so are those of rows that follow, as many as
 * there is room for in this round. */
void rows_fetch_ahead(struct owner *o, struct log_reader *r, const struct log_index_key *prefix,
                      struct index_place at);
/* Loads what waits after a start; false: the log cannot be read now, or not all of it: try again. */
bool owner_load_after_start(struct owner *o);

/* ---- dispatch.c: who goes next, from which source ---- */
void scope_run(struct scope *s);
/* A connection of the node is free: the next scope that waits for one may try. */
void dispatch_starved(struct delivery *d);
/* Those of the scope's sources that cannot carry mail to dest now, whatever the limits say; returns how many.
 */
int dispatch_unfit(const struct owner *o, const struct router_scope *scope, const struct dest *dest,
                   int out[ROUTER_LANE_SOURCES_MOST]);
/* Those of the scope's sources whose egress is dead; returns how many. */
int dispatch_cut_off(const struct owner *o, const struct router_scope *scope,
                     int out[ROUTER_LANE_SOURCES_MOST]);
/* The source has been blamed for the answer that this submission got. True: another one can carry it now, and
 * the blamed one is left out until it is deferred. Once in a round. */
bool dispatch_elsewhere(struct sub *sub, const char *source);
/* What the router says now; bound: by the source that it has to go back to. Changes nothing. d->candidates as
 * router_decide wants it. */
void dispatch_decide(struct scope *s, const struct sub *sub, struct router_decision *d);
/* A further submission for a link, or NULL: what session_events.next asks. */
struct run *dispatch_next(struct link *l);
struct run *run_new(struct sub *s, struct link *l, const struct router_decision *d);
void run_free(struct run *r);

/* ---- link.c: connections ---- */
void link_open(struct scope *s, struct sub *sub, const struct router_decision *d);
void link_give(struct link *l, struct run *r);
void link_end(struct link *l);
void link_abort(struct link *l, const char *why);
bool link_serves(const struct link *l, const struct sub *s);
void link_connect(struct link *l, struct addr to);
/* A place where it was tried to connect, or would have been, is none. */
void link_failed(struct link *l, const char *words);
/* No session came up: settles the submission that waits for it, ends the link. */
void link_fail(struct link *l);

/* ---- hops.c: where a link connects ---- */
void link_hops_begin(struct link *l, struct sub *s);
/* Connects to the next address, now or when DNS has answered; link_fail when there is none. */
void link_try_next(struct link *l);
/* DEST_HAS_V4 or DEST_HAS_V6. */
unsigned hops_family(const struct owner *o, int source);

/* ---- delivery.c ---- */
/* Wakes the scopes that wait for cause; ROUTER_CHOSEN: all. */
void owner_wake(struct owner *o, enum router_verdict cause);
uint32_t delivery_random(struct delivery *d);
/* Its address cannot be bound here: decisions leave it out for SOURCE_BROKEN_US. */
void delivery_source_broke(struct delivery *d, int source, const char *trouble);

/* ---- settle.c: outcomes and what follows ---- */
void settle_attempt(struct run *r);
/* No host could be reached for it. */
void settle_unreachable(struct link *l, struct sub *s);
/* Its hosts could not be reached just now, for another message. */
void settle_not_tried(struct sub *s);
void settle_dest_trouble(struct sub *s);
void settle_expired(struct sub *s);
/* Ends it for those recipients that are on their tenant's suppression list. True: nobody is left. */
bool settle_suppressed(struct sub *s);
/* Defers it without an attempt, in words of ours. */
void settle_defer_local(struct sub *s, const char *enhanced, const char *text, uint64_t wait_ms);
/* First event about it when nothing else could be told for a while. */
void settle_tell_waiting(struct sub *s, const char *cause);
const struct retry_schedule *settle_schedule(const struct sub *s);
/* Takes what was sealed for the recipients' end: results, report under the number of bound (NULL: atomic),
 * event.
 */
void settle_sealed(struct sub *s, const Remuda__Event *sealed, const struct transfer *bound);
/* Its end, or its deferred row with this time, or with 0 the next attempt at once. */
void settle_go_on(struct sub *s, uint64_t due_ms);

/* ---- seal.c: failures that bind every owner before they are reported ---- */
/* What is told and the report are durable together or not at all. */
bool seal_is_needless(const struct sub *s);
/* Keeps the event (copied): from here on seal_put has to follow in the same turn. */
void seal_event(struct sub *s, const Remuda__Event *e);
/* The one of its row; nothing when it has none. */
void seal_take_row(struct sub *s, const Remuda__BacklogRow *row);
/* How many recipients will be pending when it is told. */
uint32_t seal_left(const struct sub *s);
/* Step decide: its row. When that binds it is told, and what is left goes on at due_ms (settle_go_on). */
void seal_put(struct sub *s, uint64_t due_ms);
/* Goes on with what its row is bound to. */
void seal_resume(struct sub *s);
/* partition_events.transfer, for kind TRANSFER_BOUNCE. */
void seal_transfer(struct transfer *t);
void seal_fill_row(const struct sub *s, Remuda__BacklogRow *row);
/* Another owner has told its end. */
void seal_drop(struct sub *s);
void seal_free(struct sub *s);

/* ---- reroute.c: transfers ---- */
/* Into the lane (pool, the destination's provider); owner's choice of pool shard. */
void reroute(struct sub *s, const char *pool, const char *provider, const char *why);
/* The tenant's next pool, or its pool's fallback, that has an enabled source and that it has not been in
 * since its last attempt; NULL. */
const char *reroute_next_pool(const struct sub *s);
/* When it has been held long enough for another pool: delivery.overflow, not counting what it waited for the
 * receiver, which no pool can help; many times that while it does so or when it has been in all of them;
 * 0: there is none. */
uint64_t reroute_due_ms(const struct sub *s);
/* When to ask that again at the latest; 0 likewise. */
uint64_t reroute_look_ms(const struct sub *s);
/* That pool, when the time has come; NULL. Begins the next round of all pools. */
const char *reroute_overflow(struct sub *s);
void reroute_free_all(struct owner *o);
/* Goes on with what its row is bound to; moves: by number, those begun in this pass. */
void reroute_resume(struct sub *s, struct map *moves);
/* partition_events.transfer, for all other kinds. */
void reroute_transfer(void *arg, struct transfer *t, int status);
struct destination *destination_new(const Remuda__TransferTo *to, const char *why);
void destination_free(struct destination *d);

#endif
