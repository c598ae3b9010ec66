/*
 * One partition, its messages and up to N owners, one after the other or, as far as the guards let them, at the
 * same time: I1, I2, I3. README.md beside this file names the steps in the code.
 *
 * Logs are kept as a reader folds them: a record behind a newer claim of its log is void. Everything written
 * goes through `pend`: it lands at any later time, also after its writer has died, and may land again when
 * its delivery report is lost. An owner that is not scheduled is frozen; what it believes may then be stale.
 */
#ifndef N
#define N 3 /* owners */
#endif
#ifndef M
#define M 1 /* messages, in the order of their offsets */
#endif
#ifndef TRIES
#define TRIES 2 /* attempts of a message before the receiver takes it for sure */
#endif

/* owner's view of a message */
#define UNREAD 0 /* not read yet */
#define OPEN 1   /* in memory, to be sent */
#define HAND 2   /* in an attempt, or its outcome is being written */
#define DOUBT 3  /* waits for T */
#define DONE 4
#define FINISH 5 /* final by an event; its row is still to be erased */

/* row values; DOUBTED + o: in doubt since o gave the partition away */
#define NONE 0
#define DEFERRED 1
#define VOIDONLY 2
#define DOUBTED 3

/* what can be under way to a log */
#define CLAIM_STATE 1
#define CLAIM_BACKLOG 2
#define CLAIM_EVENTS 3
#define BOUNCE 4
#define EVENT 5
#define ROW 6
#define POSITION 7

/* outcomes */
#define DELIVERED 1
#define BOUNCED 2
#define DELAYED 3 /* deferred */
#define INDOUBT 4
#define ERASE 5 /* final by an event, but its row is still there */

/* an attempt */
#define IDLE 0
#define MAILED 1
#define TAKEN 2 /* the dot is given and the receiver has decided; the owner has not read it yet */
#define REFUSED 3
#define REJECTED 4
#define BROKEN 5 /* taken, but the answer will never come */

/* the outside */
bit acked[M];   /* the sender has its 250 */
bit taken[M];   /* the receiver has it */
bit bounced[M]; /* a durable bounce */
byte tries[M];
byte held[M]; /* owner + 1 of an accepted attempt after which no second one is excused */

/* the logs */
bit mail[M];
byte epochs, claim_state, claim_backlog, claim_events;
byte row[M];
byte events;   /* length of the events log */
byte event[M]; /* place of the last final of m that counts, 0: none */
bit told[M];   /* a final of m that a reader of the account counts */
bit pos_mail[M];
byte pos_events;

/* the group */
byte owner_of; /* who has the lease */
bit revoke;
bit dead[N];
byte doubt[N]; /* 1: has handed over submissions in doubt; 2: and T is past */

/* owners */
byte epoch[N], pend[N], pend_m[N], pend_v[N];
bit again[N]; /* it has landed once, its report was lost */
byte att[N], att_m[N];
byte window[N]; /* message + 1 whose final dot is given and whose outcome is not durable */
byte started; /* highest epoch that has started an attempt */

#define VISIBLE(m) (event[m] != 0 && event[m] > pos_events)
#define FINAL(m) (VISIBLE(m) || (row[m] == NONE && pos_mail[m]))

inline check_i1()
{
    for (i : 0 .. M - 1) {
        /* what a reader of the logs takes for final is final, and the account shows it */
        assert(!(acked[i] && FINAL(i)) || ((taken[i] || bounced[i]) && told[i]));
        assert(!acked[i] || mail[i]);
    }
}

inline excuse(o)
{
    if
    :: window[o] ->
        if
        :: held[window[o] - 1] == o + 1 -> held[window[o] - 1] = 0
        :: else
        fi
    :: else
    fi
}

/* ---- ingress: append, then 250 ---- */

/* A report or a 250 that is lost changes nothing here: the message is delivered, the sender just does not know. */
active proctype ingress()
{
    byte m = 0;
    do
    :: m < M ->
#ifdef NO_SYNC
        acked[m] = 1;
        if
        :: d_step { mail[m] = 1; m++ }
        :: m++
        fi
#else
        d_step { mail[m] = 1; acked[m] = 1; m++ } /* append, then 250 */
#endif
    :: else -> break
    od
}

/* ---- the group: assignment and lease ---- */

/*
 * By its own clock an owner's lease ends before its session does, so the next owner may come when it has. A
 * crash is a lost lease after which nothing more happens (what was under way may still land).
 */
active proctype group()
{
    do
    :: d_step { owner_of < N - 1 -> excuse(owner_of); owner_of++; revoke = 0 }
#ifndef NO_HANDOVER
    :: d_step { owner_of < N - 1 && !revoke && epoch[owner_of] -> revoke = 1 } /* rebalance */
    /* T: the old owner closes the sockets it has kept */
    :: d_step { doubt[0] == 1 -> doubt[0] = 2; excuse(0) }
#if N > 2
    :: d_step { doubt[1] == 1 -> doubt[1] = 2; excuse(1) }
#endif
#endif
    od
}

/* ---- the logs: what is under way lands ---- */

inline land(o)
{
    if
    :: pend[o] <= CLAIM_EVENTS && epoch[o] == 0 -> epochs++; epoch[o] = epochs /* the first claim's offset */
    :: else
    fi;
    if
#ifdef NO_CLAIM
    :: pend[o] <= CLAIM_EVENTS
#else
    :: pend[o] == CLAIM_STATE ->
        if
        :: epoch[o] > claim_state -> claim_state = epoch[o]
        :: else
        fi
    :: pend[o] == CLAIM_BACKLOG ->
        if
        :: epoch[o] > claim_backlog -> claim_backlog = epoch[o]
        :: else
        fi
    :: pend[o] == CLAIM_EVENTS ->
        if
        :: epoch[o] > claim_events -> claim_events = epoch[o]
        :: else
        fi
#endif
    :: pend[o] == BOUNCE -> bounced[pend_m[o]] = 1 /* its key makes a second one the same */
    :: pend[o] == EVENT ->
        if
        :: pend_v[o] == DELAYED
#ifdef VOID_BOUNCES
        :: pend_v[o] == BOUNCED && epoch[o] < claim_events
#endif
        :: else -> /* finals of any epoch count */
            events++;
            event[pend_m[o]] = events;
            told[pend_m[o]] = 1
        fi;
        if
        :: window[o] == pend_m[o] + 1 -> window[o] = 0
        :: else
        fi
    :: pend[o] == ROW ->
        if
        :: pend_v[o] == NONE || epoch[o] >= claim_backlog -> row[pend_m[o]] = pend_v[o]
        :: else /* void */
#ifdef NO_WRITE_OVER
           -> row[pend_m[o]] = VOIDONLY /* compaction leaves the last record of a key */
#endif
        fi
    :: pend[o] == POSITION ->
        if
        :: epoch[o] >= claim_state ->
            for (i : 0 .. M - 1) {
                pos_mail[i] = (pend_v[o] >> i) & 1
            }
            pos_events = pend_m[o]
        :: else
        fi
    fi
}

inline clear()
{
    pend[o] = 0;
    pend_m[o] = 0;
    pend_v[o] = 0;
    again[o] = 0
}

/* Lands; or lands without telling its writer, who repeats it; or is lost with its writer. */
proctype net(byte o)
{
    byte i;
    do
    :: d_step { pend[o] -> land(o); check_i1(); clear(); i = 0 }
#ifdef LOST_REPORTS
    :: d_step { pend[o] >= BOUNCE && !again[o] -> land(o); check_i1(); again[o] = 1; i = 0 }
#endif
    :: d_step { pend[o] && dead[o] -> clear() }
    od
}

/* ---- the owner ---- */

#ifdef NO_LEASE
#define MAY_START(o) (owner_of != o || !revoke)
#else
#define MAY_START(o) (owner_of == o && !revoke)
#endif
#ifdef STALE_EVENTS
#define CAUGHT_UP true
#else
#define CAUGHT_UP (seen == events)
#endif
#ifdef CLAIM_REVERSED
#define CLAIM_1 CLAIM_EVENTS
#define CLAIM_3 CLAIM_STATE
#else
#define CLAIM_1 CLAIM_STATE
#define CLAIM_3 CLAIM_EVENTS
#endif
#ifdef ROWS_UNCHECKED
#define SETTLED(m) (row[m] == NONE && VISIBLE(m))
#else
#define SETTLED(m) VISIBLE(m)
#endif
#if defined(ROW_BEFORE_EVENT)
#define AT_BOUNCE 1
#define AT_ROW 2
#define AT_EVENT 3
#elif defined(EVENT_BEFORE_BOUNCE)
#define AT_EVENT 1
#define AT_BOUNCE 2
#define AT_ROW 3
#else
#define AT_BOUNCE 1
#define AT_EVENT 2
#define AT_ROW 3
#endif

inline send(o, what, m, v)
{
    pend_m[o] = m;
    pend_v[o] = v;
    pend[o] = what
}

/* State of the partition = backlog rows + mail from the watermark on - finals in events since the position. */
inline load(m)
{
    if
    :: !mail[m] -> st[m] = UNREAD
    :: mail[m] && SETTLED(m) -> st[m] = (row[m] == NONE -> DONE : FINISH)
    :: mail[m] && !SETTLED(m) && row[m] == NONE -> st[m] = (pos_mail[m] -> DONE : OPEN)
    :: mail[m] && !SETTLED(m) && row[m] == DEFERRED -> st[m] = OPEN; has_row[m] = 1
#ifdef VOID_ABSENT
    :: mail[m] && !SETTLED(m) && row[m] == VOIDONLY -> st[m] = (pos_mail[m] -> DONE : OPEN)
#else
    :: mail[m] && !SETTLED(m) && row[m] == VOIDONLY -> st[m] = DOUBT; has_row[m] = 1; by[m] = o
#endif
    :: mail[m] && !SETTLED(m) && row[m] >= DOUBTED ->
        st[m] = DOUBT;
        has_row[m] = 1;
        by[m] = row[m] - DOUBTED
    fi
}

/* Reads events to their end: finals of other epochs count. */
inline follow()
{
    for (i : 0 .. M - 1) {
        if
        :: event[i] > seen && (st[i] == OPEN || st[i] == DOUBT) -> st[i] = FINISH
        :: else
        fi
    }
    seen = events
}

/* The position that is true now: w the records covered, e the place in events. */
inline position()
{
    w = 0;
    e = seen;
    for (i : 0 .. M - 1) {
        if
        :: (st[i] == DONE || has_row[i]) && w == (1 << i) - 1 -> w = w | (1 << i)
        :: else
        fi;
        if
        :: st[i] == FINISH || (st[i] != DONE && !has_row[i]) -> e = last_e
        :: else
        fi
    }
    if
    :: w != last_w || e != last_e -> send(o, POSITION, e, w); last_w = w; last_e = e
    :: else
    fi;
    w = 0;
    e = 0;
    i = 0
}

inline start(m)
{
    assert(epoch[o] >= started); /* I3 */
    started = epoch[o];
    att[o] = MAILED;
    att_m[o] = m;
    tries[m]++;
    st[m] = HAND
}

inline accept()
{
    taken[att_m[o]] = 1;
    assert(held[att_m[o]] == 0); /* I2 */
    held[att_m[o]] = o + 1
}

/* The final dot, and what the receiver makes of it. */
inline dot()
{
    assert(epoch[o] >= started); /* I3 */
    window[o] = att_m[o] + 1;
    if
    :: accept(); att[o] = TAKEN
    :: tries[att_m[o]] < TRIES -> att[o] = REFUSED
    :: tries[att_m[o]] < TRIES -> att[o] = REJECTED
#ifdef LOST_ANSWERS
    :: tries[att_m[o]] < TRIES ->
        accept();
#ifndef STRICT_I2
        excuse(o); /* RFC 1047: the sender must try again */
#endif
        att[o] = BROKEN
#endif
    fi
}

inline begin_job(what, m)
{
    job = what;
    jm = m;
    at = 0;
    st[m] = HAND
}

/* Appends the next piece of the outcome, each when the one before is durable, or ends it. */
inline step_job()
{
    at++;
    if
#ifdef POSITION_FIRST
    :: at == AT_ROW && job == DELAYED && !has_row[jm] -> has_row[jm] = 1; at--; position()
#endif
    :: at == AT_BOUNCE && job == BOUNCED -> send(o, BOUNCE, jm, 0)
    :: at == AT_EVENT && job <= DELAYED -> send(o, EVENT, jm, job)
    :: at == AT_ROW && job <= BOUNCED -> send(o, ROW, jm, NONE)
    :: at == AT_ROW && job == DELAYED -> send(o, ROW, jm, DEFERRED)
    :: at == AT_ROW && job == INDOUBT -> send(o, ROW, jm, DOUBTED + o)
    :: at == AT_ROW && job == ERASE -> send(o, ROW, jm, NONE)
    :: at == 4 ->
#ifdef JUMP_EVENTS
        seen = events;
#endif
        if
        :: job == 0
        :: job == DELAYED -> st[jm] = OPEN; has_row[jm] = 1
        :: job == INDOUBT -> st[jm] = DOUBT; has_row[jm] = 1; by[jm] = o
        :: else -> st[jm] = DONE; has_row[jm] = 0
        fi;
        position()
    :: at == 5 -> job = 0; at = 0; jm = 0
    :: else
    fi
}

#define LEAVING (owner_of == o && revoke)
#define ANSWERED (att[o] >= TAKEN)
#define QUIET (job == 0 && pend[o] == 0)

proctype owner(byte o)
{
    byte st[M], by[M], job, jm, at, seen, i, w, e, last_w, last_e;
    bit has_row[M];

    /* claim */
    d_step { owner_of == o -> send(o, CLAIM_1, 0, 0) }
    d_step { pend[o] == 0 -> send(o, CLAIM_BACKLOG, 0, 0) }
    d_step { pend[o] == 0 -> send(o, CLAIM_3, 0, 0) }
    d_step {
        pend[o] == 0 ->
        for (i : 0 .. M - 1) {
            load(i);
            last_w = last_w | (pos_mail[i] << i)
        }
        last_e = pos_events;
        seen = events;
        i = 0
    }
    do
    :: d_step { mail[0] && st[0] == UNREAD -> st[0] = OPEN }
    :: d_step { MAY_START(o) && att[o] == IDLE && st[0] == OPEN -> start(0) }
    :: d_step { st[0] == DOUBT && (by[0] == o || doubt[by[0]] == 2) && CAUGHT_UP -> st[0] = OPEN }
    :: d_step { st[0] == FINISH && QUIET -> begin_job(ERASE, 0) }
#if M > 1
    :: d_step { mail[1] && st[1] == UNREAD -> st[1] = OPEN }
    :: d_step { MAY_START(o) && att[o] == IDLE && st[1] == OPEN -> start(1) }
    :: d_step { st[1] == DOUBT && (by[1] == o || doubt[by[1]] == 2) && CAUGHT_UP -> st[1] = OPEN }
    :: d_step { st[1] == FINISH && QUIET -> begin_job(ERASE, 1) }
#endif
    :: d_step { seen < events -> follow(); i = 0 }
#ifdef GAP
    /* the lease was checked before MAIL; a freeze fits between that and the write */
    :: atomic { att[o] == MAILED && job == 0 -> dot() }
#else
    :: atomic { att[o] == MAILED && MAY_START(o) && job == 0 -> dot() }
#endif
    :: d_step { att[o] == MAILED && !MAY_START(o) -> att[o] = IDLE; tries[att_m[o]]--; st[att_m[o]] = OPEN }
    :: d_step { ANSWERED && QUIET ->
            if
            :: att[o] == TAKEN -> begin_job(DELIVERED, att_m[o])
            :: att[o] == REJECTED -> begin_job(BOUNCED, att_m[o])
            :: else -> begin_job(DELAYED, att_m[o])
            fi;
            att[o] = IDLE }
    :: d_step { job && pend[o] == 0 -> step_job() }
    /* handover: no new starts; what has no answer yet gets a row, in doubt until T; then the partition goes */
#ifndef NO_DOUBT
    :: d_step { LEAVING && QUIET && ANSWERED && st[att_m[o]] == HAND ->
            begin_job(INDOUBT, att_m[o]);
            doubt[o] = 1 }
#define DOUBTS_WRITTEN (att[o] == IDLE || st[att_m[o]] == DOUBT)
#else
#define DOUBTS_WRITTEN true
#endif
    :: d_step { LEAVING && QUIET && att[o] != MAILED && DOUBTS_WRITTEN -> owner_of++; revoke = 0 } -> break
    :: owner_of != o -> goto gone
    od;
    /* just the sockets without an answer, and the right to append their outcome to events */
    do
    :: d_step { att[o] == TAKEN && pend[o] == 0 -> send(o, EVENT, att_m[o], DELIVERED); att[o] = IDLE }
    :: d_step { excuse(o) } -> break /* a crash */
    :: (doubt[o] != 1 || att[o] > TAKEN) && pend[o] == 0 -> break
    od;
gone:
    atomic {
        dead[o] = 1;
        att[o] = IDLE; att_m[o] = 0; window[o] = 0;
        job = 0; jm = 0; at = 0; seen = 0; last_w = 0; last_e = 0;
        for (i : 0 .. M - 1) {
            st[i] = 0; by[i] = 0; has_row[i] = 0
        }
        i = 0
    }
}

/* When nothing can happen any more, everything acknowledged has come to its end. */
active proctype the_end()
{
    byte i;
    timeout;
    for (i : 0 .. M - 1) {
        assert(!acked[i] || (FINAL(i) && (taken[i] || bounced[i])))
    }
}

init
{
    byte o;
    atomic {
        for (o : 0 .. N - 1) {
            run net(o);
            run owner(o)
        }
    }
}
