/*
 * The mail log of one partition: a waiting message in a chunk and a record is carried forward, another one
 * comes in as a chunk and later its record, and the space below the delete line is given back, while owners
 * change: what is live is never deleted (I1 under I7).
 */
#ifndef N
#define N 3 /* owners, one after the other; the earlier ones may wake at any time */
#endif
#define END (5 + 2 * N) /* offsets 1.. */
#define NOWHERE 99

/* mail: from[n] > 0: n is a copy of the record at from[n]; chunk[n] > 0: n is a record whose bytes are there */
byte end = 3, low = 1;
byte from[END], chunk[END];
bit is_chunk[END];
byte in_chunk, in_record; /* the message that comes in */

/* backlog and state, as a reader folds them */
byte claim;
byte row_at = 2, row_first = 1;
byte pos = 3, pos_young;

byte owner_of;
byte epoch[N], pend[N], pend_a[N], pend_b[N];
bit late[N];
byte got[N]; /* the offset an append got */

#define CHUNK 1    /* append a copy of the chunk */
#define RECORD 2   /* append a copy of the record */
#define ROW 3      /* the row's new place */
#define POSITION 4
#define LINE 5     /* delete below */

inline check()
{
    /* the waiting message: its bytes are where the row says, or a copy stands where the next owner reads */
    found = (row_at >= low && row_first >= low);
    for (i : 1 .. END - 1) {
        if
        :: i < end && i >= low && i >= pos && from[i] && from[i] == row_at && chunk[i] >= low -> found = 1
        :: else
        fi
    }
    assert(found);
    /* the one that came in */
    assert(in_record == 0 || (in_record >= low && in_chunk >= low));
    found = 0;
    i = 0
}

/* In chunks younger than the time limit: one that is too old is refused, so is not modelled. */
#ifndef NO_INGRESS
active proctype ingress()
{
    d_step { in_chunk = end; is_chunk[end] = 1; end++ }
    d_step { in_record = end; chunk[end] = in_chunk; end++ }
}
#endif

active proctype lease()
{
    do
    :: owner_of < N - 1 -> owner_of++
    od
}

inline land(o)
{
    if
    :: pend[o] == CHUNK -> is_chunk[end] = 1; got[o] = end; end++
    :: pend[o] == RECORD -> from[end] = pend_a[o]; chunk[end] = pend_b[o]; got[o] = end; end++
    :: pend[o] == ROW && epoch[o] >= claim -> row_at = pend_a[o]; row_first = pend_b[o]
    :: pend[o] == POSITION && epoch[o] >= claim -> pos = pend_a[o]; pos_young = pend_b[o]
    :: (pend[o] == ROW || pend[o] == POSITION) && epoch[o] < claim -> late[o] = 1
    :: pend[o] == LINE && pend_a[o] > low -> low = pend_a[o] /* nothing fences a deletion */
    :: else
    fi;
    pend[o] = 0;
    pend_a[o] = 0;
    pend_b[o] = 0
}

proctype net(byte o)
{
    byte i;
    bit found;
    do
    :: d_step { pend[o] -> land(o); check() }
    od
}

inline send(what, a, b)
{
    pend_a[o] = a;
    pend_b[o] = b;
    pend[o] = what
}

inline lower(x)
{
    if
    :: (x) && (x) < line -> line = x
    :: else
    fi
}

inline find_line()
{
    line = mark;
#ifndef LINE_WITHOUT_ROWS
    lower(first);
#endif
#ifndef LINE_WITHOUT_CHUNKS
    lower(young_in);
    lower(young_copy);
    lower(young_old);
#endif
    lower(pin)
}

/* Reads the next record of mail. */
inline follow()
{
    if
    :: is_chunk[next] && next == in_chunk -> young_in = next
    :: is_chunk[next] && next != in_chunk && young_copy == 0 -> young_copy = next
    :: from[next] && from[next] == at -> step = ROW; /* take: the row moves to the copy */
        send(ROW, next, chunk[next]);
        new_at = next;
        new_first = chunk[next]
    :: next == in_record -> pin = in_chunk; young_in = 0; blocked = 1 /* open: the watermark waits here */
    :: else
    fi;
    if
    :: from[next] && chunk[next] == young_copy -> young_copy = 0
    :: else
    fi;
    next++
}

#ifdef NO_READ_BACK
#define READ_BACK true
#else
#define READ_BACK !late[o]
#endif
#ifdef LINE_BEFORE_RECOVERED
#define RECOVERED true
#else
#define RECOVERED (next >= recover)
#endif
#ifdef ONE_CARRY
#define CARRIES (o == 0)
#else
#define CARRIES true
#endif
#define IDLE (step == 0 && pend[o] == 0)

proctype owner(byte o)
{
    byte at, first, next, mark, recover, young_in, young_copy, young_old, pin, step, new_at, new_first, line;
    bit blocked, carried;

    d_step {
        owner_of == o ->
        claim++;
        epoch[o] = claim;
        at = row_at;
        first = row_first;
        next = pos;
        mark = pos;
        young_old = pos_young; /* of an unknown message: until it is too old, which does not come here */
        recover = end
    }
    do
    :: d_step { next < end && step != ROW && pend[o] == 0 -> follow() }
    :: d_step { step == ROW && pend[o] == 0 && READ_BACK -> at = new_at; first = new_first; step = 0; new_at = 0; new_first = 0 }
    /* carry: the chunk, then the record that lists the chunk's new place */
    :: d_step { IDLE && !carried && RECOVERED && CARRIES -> carried = 1; new_at = at; send(CHUNK, 0, 0); step = CHUNK }
    :: d_step { step == CHUNK && pend[o] == 0 -> send(RECORD, new_at, got[o]); new_at = 0; step = RECORD }
    :: d_step { step == RECORD && pend[o] == 0 -> step = 0; got[o] = 0 }
    /* position */
    :: d_step { IDLE && (blocked -> in_record : next) > mark && !late[o] ->
            mark = (blocked -> in_record : next);
            step = POSITION;
            line = NOWHERE;
            lower(young_in);
            lower(young_copy);
            lower(young_old);
            send(POSITION, mark, (line == NOWHERE -> 0 : line));
            line = 0 }
    :: d_step { step == POSITION && pend[o] == 0 && READ_BACK -> step = 0 }
    /* line */
    :: d_step { IDLE && RECOVERED && mark > low -> find_line(); if :: line > low -> send(LINE, line, 0) :: else fi; line = 0 }
    :: d_step { owner_of != o && pend[o] == 0 } -> break
    od;
    atomic {
        at = 0; first = 0; next = 0; mark = 0; recover = 0; young_in = 0; young_copy = 0; young_old = 0; pin = 0; step = 0; new_at = 0; new_first = 0;
        got[o] = 0; late[o] = 0; blocked = 0; carried = 0
    }
}

init
{
    byte o;
    atomic {
        is_chunk[1] = 1;
        chunk[2] = 1;
        for (o : 0 .. N - 1) {
            run net(o);
            run owner(o)
        }
    }
}
