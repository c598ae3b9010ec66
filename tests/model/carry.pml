/*
 * One waiting submission whose record is carried forward while its end is told, by its owner or late by one
 * before: its row never outlives its end, nothing is started once its end was read (I2), and what is live is
 * never deleted (I1 under I7). Chunks are space.pml's matter, the attempt's window is deliver.pml's.
 *
 * What an owner gathers goes as one flush: event, row, position, each landing after the one before. Until it
 * has landed the row that can be read is the old one. The submission stays in memory as long as a flush has
 * its row; rows of what is not in memory are put by the partition itself.
 */
#ifndef N
#define N 2 /* owners, one after the other; the earlier ones may wake at any time */
#endif
#ifndef TRIES
#define TRIES 1 /* outcomes other than a delivery, of all owners */
#endif
#ifndef COPIES
#define COPIES 1
#endif
#define END (2 + COPIES) /* offsets 1.. */
#define ERASE 99

/* the submission in an owner's memory */
#define OUT 0   /* it is not */
#define WAITS 1 /* in a flow */
#define RUNS 2  /* in an attempt */
#define KEPT 3  /* its row is gathered or in flight; then it is OUT */
#define ENDS 4  /* its end is */

/* mail: from[n]: n is a copy of the record at from[n] */
byte end = 2, low = 1, from[END];
/* backlog, events and state, as a reader folds them */
byte claim, row = 1, told; /* told: by the end of the record at that place */
byte pos = 2;
bit pos_end; /* the position is past the end in events */

byte owner_of, tries, copies;
byte epoch[N];
bit dead[N], late[N];
/* under way */
byte op[N], ev[N], mark_of[N], copy[N];
bit end_of[N];

#define LANDED(o) (mark_of[o] == 0)

inline check()
{
    found = (told || row >= low);
    for (i : 2 .. END - 1) {
        if
        :: i < end && i >= low && i >= pos && from[i] == row -> found = 1
        :: else
        fi
    }
    assert(found && (row || told));
    found = 0;
    i = 0
}

active proctype lease()
{
    do
    :: owner_of < N - 1 -> owner_of++
    od
}

/* Row, then position. */
inline land(o)
{
    if
    :: op[o] == ERASE -> row = 0 /* a tombstone of any epoch counts */
    :: op[o] != ERASE && op[o] && epoch[o] >= claim -> row = op[o]
    :: else
    fi;
    if
    :: epoch[o] >= claim -> pos = mark_of[o]; pos_end = end_of[o]
    :: else -> late[o] = 1
    fi;
    op[o] = 0;
    mark_of[o] = 0;
    end_of[o] = 0
}

proctype net(byte o)
{
    byte i;
    bit found;
    do
    :: d_step { copy[o] -> from[end] = copy[o]; end++; copy[o] = 0 } /* nothing fences mail */
    :: d_step { ev[o] -> if :: told < ev[o] -> told = ev[o] :: else fi; ev[o] = 0 }
    :: d_step { ev[o] == 0 && mark_of[o] -> land(o); check() }
    :: d_step { dead[o] -> copy[o] = 0; ev[o] = 0; op[o] = 0; mark_of[o] = 0; end_of[o] = 0 } -> break
    od
}

/* Where the row stands when all of this owner has landed. */
#ifdef FORGETS_MOVE
#define PLACE row
#else
#define PLACE (moved -> moved : (moved_flight -> moved_flight : row))
#endif
#ifdef UNTOLD_MOVE
#define FOLLOWS false
#else
#define FOLLOWS true
#endif
#ifdef MOVES_ENDED
#define MOVABLE true
#else
#define MOVABLE !(ended || ended_flight || heard)
#endif
#ifdef LOADS_ENDED
#define LOADABLE true
#else
#define LOADABLE !(ended || ended_flight || heard)
#endif

/* A copy is read: the row that still points to where it came from moves to it. */
inline take()
{
    if
    :: (mem == OUT || mem == WAITS && !FOLLOWS) && from[next] == row && MOVABLE -> gathered = next; moved = next
    :: (mem == WAITS || mem == RUNS || mem == KEPT) && FOLLOWS && from[next] == at ->
        gathered = next;
        moved = next;
        at = next
    :: else
    fi;
    next++
}

/* The end that another owner has told. */
inline erase()
{
    gathered = ERASE;
    ended = 1;
    moved = 0
}

#ifdef END_BY_PLACE
#define OF_THIS told >= row
#else
#define OF_THIS true
#endif
#ifdef END_BY_ROW
#define HAS_ROW row
#else
#define HAS_ROW (row || moved || moved_flight)
#endif
#ifdef BUSY_IS_DEAF
#define HEARS false
#else
#define HEARS (mem == RUNS || mem == KEPT)
#endif

/* What is busy is not called back: the end is looked at again when it is no more. */
inline hear()
{
    if
    :: mem == OUT && HAS_ROW && OF_THIS -> erase()
    :: mem == WAITS -> erase(); mem = ENDS
    :: HEARS -> heard = 1
    :: else
    fi
}

#ifdef JUMP_END
#define PASSES seen
#else
#define PASSES (seen && !ended && !heard)
#endif

inline flush()
{
    ev[o] = gathered_event;
    op[o] = gathered;
    mark_of[o] = next;
    end_of[o] = PASSES;
    gathered = 0;
    gathered_event = 0;
    ended_flight = ended;
    ended = 0;
    moved_flight = moved;
    moved = 0;
    leaves = (mem == KEPT || mem == ENDS);
    in_flight = 1
}

inline flushed()
{
    in_flight = 0;
    ended_flight = 0;
    moved_flight = 0;
    mark = pos;
    if
    :: own && !seen -> seen = 1
    :: else
    fi;
    if
    :: leaves -> mem = OUT; at = 0; leaves = 0
    :: else
    fi
}

#define RECOVERED (next >= recover)
#define IDLE (!in_flight && gathered == 0)

proctype owner(byte o)
{
    byte mem, at, next, recover, mark, gathered, gathered_event, moved, moved_flight, i;
    bit ended, ended_flight, seen, heard, own, in_flight, leaves, known, found;

    d_step {
        owner_of == o ->
        claim++;
        epoch[o] = claim;
        next = pos;
        mark = pos;
        recover = end;
        known = pos_end;
        seen = (told != 0);
        if
        :: seen && !known && row && OF_THIS -> erase() /* events from the position on */
        :: else
        fi
    }
    do
    :: d_step { next < end -> take() }
    :: d_step { told && !seen && !own -> seen = 1; hear() }
    :: d_step { heard && (mem == OUT || mem == WAITS) -> heard = 0; hear() }
    :: d_step { mem == OUT && row && LOADABLE && RECOVERED -> mem = WAITS; at = PLACE }
    :: d_step { mem == WAITS && owner_of == o && !heard ->
            assert(!seen && !known); /* I2 */
            assert(at >= low || told); /* I1: its body is there */
            mem = RUNS }
    :: d_step { mem == RUNS -> mem = ENDS; own = 1; gathered_event = at; gathered = ERASE; moved = 0; heard = 0 }
    :: d_step { mem == RUNS && tries < TRIES -> tries++; mem = KEPT; gathered = at } /* deferred */
    :: d_step { mem == RUNS && tries < TRIES -> tries++; mem = WAITS }               /* at once, elsewhere */
    :: d_step { !in_flight && (gathered || next > mark || seen && !known && !pos_end) -> flush() }
    :: d_step { in_flight && LANDED(o) && !late[o] -> flushed() }
    :: d_step { in_flight && LANDED(o) && late[o] } -> break /* it ends with RM_ECLOSED */
    :: d_step { mem == OUT && row && row < mark && copies < COPIES && RECOVERED && copy[o] == 0 -> copies++; copy[o] = row }
    :: d_step { RECOVERED && low < (row && row < mark -> row : mark) -> low = (row && row < mark -> row : mark); check() }
    :: owner_of != o -> break /* a crash */
    od;
    atomic {
        dead[o] = 1;
        mem = 0; at = 0; next = 0; recover = 0; mark = 0; gathered = 0; gathered_event = 0; moved = 0; moved_flight = 0;
        ended = 0; ended_flight = 0; seen = 0; heard = 0; own = 0; in_flight = 0; leaves = 0; known = 0
    }
}

/* When nothing can happen any more, the end is told and no row is left. */
active proctype the_end()
{
    timeout;
    assert(told && row == 0)
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
