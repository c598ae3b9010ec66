/*
 * `remuda migrate`: one waiting submission, and what was learned of a pair, move from one log into another by
 * runs that are killed, or replaced, at any step. The submission is sent exactly once (I1, I2), and when it is
 * started in the new log, what both logs have spent of the pair's cap is known there, once (I6).
 *
 * Steps of a run, each awaited: word, claim, send, erase, decide (a), copy (b), final (c), left. A relay may
 * come to the old log too; the owner in the new log dies once. Floors are transfer.pml's matter.
 */
#ifndef N
#define N 2 /* runs */
#endif
#ifndef DIED
#define DIED 0 /* 1: the owner in the new log lives on */
#endif
#define RELAY N
#define OWNERS (N + 1)
#define L (2 * N) /* records that can come to the new log */
#define KEYS (OWNERS * (OWNERS + 2))
#define KEY(id, number) ((id) * (OWNERS + 1) + (number))

/* steps that can be under way */
#define WORD 1
#define SEND 2
#define ERASE 3
#define DECIDE 4
#define COPY 5
#define FINAL 6
#define LEFT 7

/* the old log */
byte word;                   /* control: the id of the migration that it is on; 0: it is in use */
byte claim, row, spent = 1;  /* row: the number that the submission is bound to; spent: the pair's record */
bit final;

/* the new log: a record brings the pair's count or, under a key, the submission */
byte records, count_of[L], id_of[L], key_of[L];
byte pos, kept_spent, kept_taken, kept_seen[KEYS]; /* seen: place of the first copy, plus 1 */
bit done[L];

byte sent, used_old = 1, used_new, to_claim = N;
byte epoch[OWNERS], pend[OWNERS], value[OWNERS], id[OWNERS];
bit late[OWNERS], dead[OWNERS];

inline send_once()
{
    sent++;
    assert(sent <= 1)
}

inline arrive(count, key)
{
    count_of[records] = count;
    key_of[records] = key;
    id_of[records] = id[o];
    records++
}

inline land(o)
{
    if
#ifdef NEWEST_WORD
    :: pend[o] == WORD -> word = value[o]
#else
    :: pend[o] == WORD -> if :: word == 0 -> word = value[o] :: else fi /* nothing fences control */
#endif
    :: pend[o] == SEND -> arrive(value[o], 0) /* nor the other log */
    :: pend[o] == COPY -> arrive(0, KEY(id[o], value[o]))
    :: pend[o] == ERASE && epoch[o] >= claim -> spent = 0
    :: pend[o] == DECIDE && epoch[o] >= claim -> row = value[o]
    :: (pend[o] == ERASE || pend[o] == DECIDE) && epoch[o] < claim -> late[o] = 1
    :: pend[o] == FINAL -> final = 1; row = 0
    :: pend[o] == LEFT -> assert(final)
    fi;
    pend[o] = 0;
    value[o] = 0
}

proctype net(byte o)
{
    do
    :: d_step { pend[o] -> land(o) }
    :: d_step { dead[o] -> pend[o] = 0; value[o] = 0 } -> break
    od
}

#define write(what, v) value[o] = v; pend[o] = what
/* The last one to claim goes through. */
#define KILLABLE to_claim > (epoch[o] == 0)
#define AWAIT                                                                                                \
    if                                                                                                       \
    :: pend[o] == 0 && !late[o]                                                                              \
    :: pend[o] == 0 && late[o] -> goto gone                                                                  \
    :: d_step { KILLABLE -> to_claim = to_claim - (epoch[o] == 0) } goto gone                                \
    fi
#ifdef NO_READ_BACK
#define AWAIT_DECIDED pend[o] == 0
#else
#define AWAIT_DECIDED AWAIT
#endif

inline move_state()
{
    if
#ifdef ERASE_FIRST
    :: d_step { spent -> sending = spent; write(ERASE, 0) }
        AWAIT;
        d_step { write(SEND, sending) }
        AWAIT
#else
    :: d_step { spent -> write(SEND, spent) }
        AWAIT;
        d_step { write(ERASE, 0) }
        AWAIT
#endif
    :: spent == 0
    fi
}

inline move_mail()
{
    if
    :: d_step { !final && row -> number = row }
#ifdef NO_BIND
        d_step { number = epoch[o]; write(DECIDE, number) }
        AWAIT_DECIDED
#endif
    :: d_step { !final && !row -> number = epoch[o]; write(DECIDE, number) }
        AWAIT_DECIDED
    :: final -> goto moved
    fi;
#ifdef FINAL_FIRST
    d_step { write(FINAL, 0) }
    AWAIT;
    d_step { write(COPY, number) }
    AWAIT;
#else
    d_step { write(COPY, number) }
    AWAIT;
    d_step { write(FINAL, 0) }
    AWAIT;
#endif
moved:
    skip
}

proctype migrate(byte o)
{
    byte number, sending, known_word;
    known_word = word;
    if
    :: d_step { known_word == 0 -> write(WORD, o + 1) }
        AWAIT
    :: else
    fi;
#ifdef OWN_ID
    id[o] = (known_word -> known_word : o + 1);
#elif defined(NEW_ID)
    id[o] = o + 1;
#else
    id[o] = word; /* as it is read back */
#endif
    d_step { claim++; epoch[o] = claim; to_claim-- }
#ifdef MAIL_FIRST
    move_mail();
    move_state();
#else
    move_state();
    move_mail();
#endif
    d_step { write(LEFT, 0) }
    AWAIT;
gone:
    skip;
    d_step { dead[o] = 1; number = 0; sending = 0; known_word = 0 }
}

/* The old log's relay: it looks at control when it starts, and again each 250 ms. */
#ifdef NO_RELAY
#define MAY_COME false
#elif defined(LATE_RELAY)
#define MAY_COME true
#else
#define MAY_COME (word == 0)
#endif
#ifdef TAKES_BOUND
#define MAY_SEND true
#else
#define MAY_SEND (row == 0)
#endif
active proctype relay()
{
    d_step { MAY_COME -> claim++; epoch[RELAY] = claim }
    d_step { epoch[RELAY] == claim && !final && MAY_SEND -> send_once(); final = 1; row = 0; used_old++; spent++ }
}

/* The owner in the new log. */
inline take()
{
    if
#ifdef NO_TAKEN
    :: count_of[at] -> known = known + count_of[at]
#else
    :: count_of[at] && taken != id_of[at] -> known = known + count_of[at]; taken = id_of[at]
#endif
#ifdef NO_KEY
    :: count_of[at] == 0 ->
#else
    :: count_of[at] == 0 && (seen[key_of[at]] == 0 || seen[key_of[at]] == at + 1) ->
#endif
        seen[key_of[at]] = at + 1;
        open = (done[at] -> 0 : at + 1)
    :: else
    fi;
    at++
}

inline keep()
{
    kept_spent = known;
    kept_taken = taken
}

inline spend()
{
    known++;
    used_new++;
    keep()
}

active proctype there()
{
    byte at, known, taken, open, i, seen[KEYS];
    bit fresh, died = DIED;
    do
    :: d_step { at < records && open == 0 -> take() }
    :: d_step { !fresh -> fresh = 1; spend() } /* mail of its own */
    :: d_step { open -> assert(known == used_old + used_new); send_once(); spend(); done[open - 1] = 1; open = 0 } /* I6 */
    :: d_step { at > pos && open == 0 -> /* what was taken over and the keys, before the position */
#ifndef POSITION_FIRST
            keep();
#endif
            for (i : 0 .. KEYS - 1) {
                kept_seen[i] = seen[i]
            }
            i = 0;
            pos = at }
    :: d_step { !died ->
            died = 1;
            at = pos;
            known = kept_spent;
            taken = kept_taken;
            open = 0;
            for (i : 0 .. KEYS - 1) {
                seen[i] = kept_seen[i]
            }
            i = 0 }
    od
}

active proctype the_end()
{
    timeout;
    assert(sent == 1 || row && epoch[RELAY] == claim) /* I1; there the relay waits for another run */
}

init
{
    byte o;
    atomic {
        for (o : 0 .. N - 1) {
            run net(o);
            run migrate(o)
        }
    }
}
