/*
 * Two partitions: submissions of P are handed to Q while P and Q change owners. A delivery itself is one
 * step here (its window is deliver.pml's matter): each submission must be sent exactly once, from P or Q.
 */
#ifndef N
#define N 3 /* owners of P, one after the other; the earlier ones may wake at any time */
#endif
#define M 2  /* submissions of P */
#define S (2 * N + 1) /* sequence numbers 1..S-1 */
#define L (2 * N) /* copies in mail[Q] */
#define AT(o, m) (2 * (o) + (m))

/* what an owner of P does with a submission */
#define OPEN 0
#define DECIDED 1 /* (a) is under way */
#define BOUND 2   /* (a) is read back or was found: the copy may go */
#define COPIED 3  /* (b) is under way or durable */
#define CLOSED 4  /* (c) is under way or durable */

/* the logs of P */
byte claim;
byte row[M];   /* 0, or the sequence of a decision that counts */
byte final[M]; /* 0; 1: delivered here; else 1 + sequence of the transfer */
byte pos_seq;
bit pos_final[M]; /* the position is past this final: a new owner does not read it */

/* the logs of Q */
byte copies;
byte copy_m[L], copy_seq[L], copy_floor[L];
byte q_pos, q_seen[S], q_floor, q_final[M];

byte q_at; /* how far Q has read */
byte sent[M]; /* I2: at most once; at the end exactly once (I1) */
byte owner_of;
byte epoch[N];
byte pend[2 * N]; /* step under way, by owner and submission */
bit late[2 * N];  /* (a) has landed behind a newer claim */
byte seq_of[2 * N], floor_of[2 * N];
byte did[2 * N];

inline send_once(m)
{
    sent[m]++;
    assert(sent[m] <= 1)
}

active proctype lease()
{
    do
    :: owner_of < N - 1 -> owner_of++
    od
}

inline land(k, o, m)
{
    if
    :: pend[k] == DECIDED ->
        if
        :: epoch[o] >= claim -> row[m] = seq_of[k]
        :: else -> late[k] = 1
        fi
    :: pend[k] == COPIED -> /* nothing fences mail[Q]: anybody may append */
        copy_m[copies] = m;
        copy_seq[copies] = seq_of[k];
        copy_floor[copies] = floor_of[k];
        copies++
    :: pend[k] == CLOSED ->
        final[m] = 1 + seq_of[k]; /* finals of any epoch count */
        row[m] = 0;
        for (i : 0 .. copies) { /* I1: what is final here as handed over stands there */
            if
            :: i < copies && copy_m[i] == m && copy_seq[i] == seq_of[k] -> break
            :: i == copies -> assert(false)
            :: else
            fi
        }
    fi;
    pend[k] = 0
}

#ifdef Q_DIES
#define Q_READY true
#else
#define Q_READY (copies == q_at) /* Q reads at once: when it reads is another configuration's matter */
#endif

proctype net(byte o)
{
    byte i;
    do
    :: d_step { pend[AT(o, 0)] && Q_READY -> land(AT(o, 0), o, 0); i = 0 }
    :: d_step { pend[AT(o, 1)] && Q_READY -> land(AT(o, 1), o, 1); i = 0 }
    od
}

inline more(n)
{
    if
    :: n > seq -> seq = n
    :: else
    fi
}

inline load(m)
{
#ifndef SEQUENCE_OF_POSITION
    if
    :: row[m] -> more(row[m])
    :: row[m] == 0 && final[m] > 1 && !pos_final[m] -> more(final[m] - 1)
    :: else
    fi;
#endif
    if
    :: final[m] -> did[AT(o, m)] = CLOSED
#ifndef NO_BIND
    :: !final[m] && row[m] -> did[AT(o, m)] = BOUND; seq_of[AT(o, m)] = row[m]
#endif
    :: else
    fi
}

/* The lowest sequence whose final is not durable, and not above the one given. */
inline floor(k, other)
{
#ifdef FLOOR_IS_OWN
    floor_of[k] = seq_of[k];
#else
    floor_of[k] = seq_of[k];
    if
    :: seq_of[other] && seq_of[other] < seq_of[k] && !(did[other] == CLOSED && pend[other] == 0) ->
        floor_of[k] = seq_of[other]
    :: else
    fi
#endif
}

#ifdef NO_READ_BACK
#define READ_BACK(k) true
#else
#define READ_BACK(k) !late[k]
#endif
#ifdef CLOSE_BEFORE_COPY
#define SECOND CLOSED
#define THIRD COPIED
#else
#define SECOND COPIED
#define THIRD CLOSED
#endif

/* Delivered from here, whole; or decide (a); read it back; copy (b); final (c). */
#define STEPS(k, other, m)                                                                                   \
    ::d_step { did[k] == OPEN && owner_of == o -> send_once(m); final[m] = 1; did[k] = CLOSED }              \
    ::d_step { did[k] == OPEN && seq < S - 1 -> seq++; seq_of[k] = seq; did[k] = DECIDED; pend[k] = DECIDED } \
    ::d_step { did[k] == DECIDED && pend[k] == 0 && READ_BACK(k) -> did[k] = BOUND }                         \
    ::d_step { did[k] == BOUND -> floor(k, other); did[k] = SECOND; pend[k] = SECOND }                       \
    ::d_step { did[k] == SECOND && seq_of[k] && pend[k] == 0 -> did[k] = THIRD; pend[k] = THIRD }

proctype owner(byte o)
{
    byte seq;
    d_step {
        owner_of == o ->
        claim++;
        epoch[o] = claim;
        seq = pos_seq;
        load(0);
        load(1)
    }
    do
    STEPS(AT(o, 0), AT(o, 1), 0)
    STEPS(AT(o, 1), AT(o, 0), 1)
    /* position: after all that stands before it */
    :: d_step { o < N - 1 && epoch[o] == claim && (pos_seq != seq || final[0] && !pos_final[0] || final[1] && !pos_final[1]) &&
                pend[AT(o, 0)] == 0 && pend[AT(o, 1)] == 0 ->
            pos_seq = seq;
            pos_final[0] = (final[0] != 0);
            pos_final[1] = (final[1] != 0) }
    :: d_step { owner_of != o && pend[AT(o, 0)] == 0 && pend[AT(o, 1)] == 0 } -> break /* a crash */
    od;
    atomic {
        seq = 0;
        did[AT(o, 0)] = 0; did[AT(o, 1)] = 0;
        seq_of[AT(o, 0)] = 0; seq_of[AT(o, 1)] = 0;
        floor_of[AT(o, 0)] = 0; floor_of[AT(o, 1)] = 0;
        late[AT(o, 0)] = 0; late[AT(o, 1)] = 0
    }
}

/* ---- the owner of Q: one dies, the next begins from what is durable ---- */

inline forget()
{
    for (i : 1 .. S - 1) {
        if
#ifdef FORGET_AT_FLOOR
        :: i < floor_at ->
#else
        :: i < floor_at && seen[i] <= q_pos -> /* and its copy is never read again */
#endif
            seen[i] = 0
        :: else
        fi
    }
}

#define at q_at
#ifdef NO_FLOOR
#define BELOW(s) false
#else
#define BELOW(s) ((s) < floor_at && seen[s] == 0)
#endif
#ifdef SEEN_NO_OFFSET
#define KNOWN(s) (seen[s] && at >= recover)
#else
#define KNOWN(s) (seen[s] && seen[s] != at + 1)
#endif

inline take()
{
    s = copy_seq[at];
    if
#ifndef NO_KEY
    :: BELOW(s) || KNOWN(s)
#endif
    :: else ->
        open[at] = (q_final[copy_m[at]] <= at);
        seen[s] = at + 1;
        if
        :: copy_floor[at] > floor_at -> floor_at = copy_floor[at]
        :: else
        fi;
        forget()
    fi;
    at++;
    s = 0;
    i = 0
}

inline watermark()
{
    mark = 0;
    do
    :: mark < at && !open[mark] -> mark++
    :: else -> break
    od
}

inline send_here(x)
{
    send_once(copy_m[x]);
    q_final[copy_m[x]] = x + 1;
    open[x] = 0
}

#define SEND(i) ::d_step { open[i] -> send_here(i) }

active proctype q_owner()
{
    byte seen[S], floor_at, s, i, mark, recover;
    bit open[L], died, seen_written;
    do
    #ifdef Q_DIES
    :: d_step { at < copies -> take() }
#else
    :: atomic { at < copies -> take(); if :: open[at - 1] -> send_here(at - 1) :: else fi; q_pos = at }
#endif
#ifdef Q_DIES
    SEND(0)
    SEND(1)
#if N > 1
    SEND(2)
    SEND(3)
#endif
#if N > 2
    SEND(4)
    SEND(5)
#endif
    /* keys, with any flush */
    :: d_step { !died && floor_at > q_floor ->
            q_floor = floor_at;
            for (i : 1 .. S - 1) {
                q_seen[i] = seen[i]
            }
            i = 0 }
    /* position, the keys before it */
    :: d_step { !died && at > q_pos ->
            watermark();
            if
            :: mark > q_pos ->
#ifndef POSITION_WITHOUT_KEYS
                q_floor = floor_at;
                for (i : 1 .. S - 1) {
                    q_seen[i] = seen[i]
                }
#endif
                q_pos = mark;
                i = 0
            :: else
            fi;
            mark = 0 }
    :: d_step { !died && at > 0 ->
            died = 1;
            at = q_pos;
            recover = copies;
            floor_at = q_floor;
            for (i : 1 .. S - 1) {
                seen[i] = q_seen[i]
            }
            for (i : 0 .. L - 1) {
                open[i] = 0
            }
            i = 0 }
#endif
    od
}

active proctype the_end()
{
    timeout;
    assert(sent[0] == 1 && sent[1] == 1) /* I1 */
}

init
{
    byte o;
    atomic {
#ifdef ONE
        sent[1] = 1; /* the second submission is long final */
        final[1] = 1;
        pos_final[1] = 1;
#endif
        for (o : 0 .. N - 1) {
            run net(o);
            run owner(o)
        }
    }
}
