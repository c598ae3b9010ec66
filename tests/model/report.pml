/*
 * A submission that is refused for good, and the report of it: up to N owners of P, one after the other; the
 * earlier ones may wake at any time. The receiver answers at once (that window is deliver.pml's matter), and it
 * may take what it has refused before: nothing may be sent whose sender has been told that it failed.
 */
#ifndef N
#define N 3 /* owners */
#endif

/* what an owner does with it */
#define OPEN 0
#define DECIDED 1  /* (a) is under way */
#define BOUND 2    /* (a) is read back or was found */
#define REPORTED 3 /* (b), the report, is under way or durable */
#define TOLD 4     /* (c), the event of its end, is under way or durable */
#define CLOSED 5   /* its row is being erased, or is */
#define READ 6     /* another owner has told its end: the row is still to be erased */
#define HAND 7     /* in an attempt */

/* what can be under way to a log; the steps above, and */
#define DELIVERED 8

/* the logs */
byte claim;
byte row;               /* 0, or the number of a decision that counts */
bit delivered, bounced; /* events: finals of any epoch count */
bit copied[N + 1];      /* numbers of the reports that stand in mail[Q] */
byte reports;           /* how many Q has taken: it drops a number that it knows */

bit taken; /* the receiver has it */
byte owner_of;
byte epoch[N], did[N], number[N], pend[N];
bit late[N]; /* (a) has landed behind a newer claim */
bit knows[N]; /* it has read that the submission was delivered */

#ifdef NO_READ_BACK
#define READ_BACK(o) true
#else
#define READ_BACK(o) !late[o]
#endif
#ifdef EVENT_BEFORE_REPORT
#define SECOND TOLD
#define THIRD REPORTED
#else
#define SECOND REPORTED
#define THIRD TOLD
#endif
#ifdef IGNORES_ENDS
#define MAY_END(o) (did[o] == OPEN)
#else
#define MAY_END(o) (did[o] <= BOUND)
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
    :: pend[o] == DECIDED ->
        if
        :: epoch[o] >= claim -> row = number[o]
        :: else -> late[o] = 1
        fi
    :: pend[o] == REPORTED -> /* nothing fences mail[Q] */
        reports = reports + (1 - copied[number[o]]);
        copied[number[o]] = 1;
        assert(reports == 1)
    :: pend[o] == TOLD ->
        bounced = 1;
        assert(reports) /* I1: what is final as bounced was reported */
    :: pend[o] == DELIVERED -> delivered = 1
    :: pend[o] == CLOSED -> row = 0
    fi;
    pend[o] = 0
}

proctype net(byte o)
{
    do
    :: d_step { pend[o] -> land(o) }
    od
}

inline load(o)
{
    knows[o] = delivered;
    if
    :: delivered || bounced -> did[o] = READ
#ifndef NO_BIND
    :: !(delivered || bounced) && row ->
        did[o] = BOUND;
#ifdef NEW_NUMBER
        number[o] = o + 1
#else
        number[o] = row
#endif
#endif
    :: else
    fi
}

/* The dot, and what the receiver makes of it. */
inline dot(o)
{
    assert(!reports); /* its sender has been told that it failed */
    if
    :: taken = 1; did[o] = TOLD; pend[o] = DELIVERED
#ifndef FORGETS_ENDS
    :: knows[o] -> did[o] = READ /* refused, and delivered before */
    :: !knows[o] ->
#else
    ::
#endif
        number[o] = o + 1;
#ifdef NO_DECISION
        did[o] = BOUND
#else
        did[o] = DECIDED;
        pend[o] = DECIDED
#endif
    fi
}

proctype owner(byte o)
{
    d_step { owner_of == o -> claim++; epoch[o] = claim; load(o) }
    do
    :: d_step { did[o] == OPEN && owner_of == o -> did[o] = HAND }
    :: atomic { did[o] == HAND && owner_of == o -> dot(o) }
    :: d_step { did[o] == DECIDED && pend[o] == 0 && READ_BACK(o) -> did[o] = BOUND }
    :: d_step { did[o] == BOUND ->
            assert(!knows[o]); /* nobody reports what it knows to be delivered */
            did[o] = SECOND;
            pend[o] = SECOND }
    :: d_step { did[o] == SECOND && number[o] && pend[o] == 0 -> did[o] = THIRD; pend[o] = THIRD }
    :: d_step { (did[o] == TOLD && THIRD == TOLD || did[o] == REPORTED && THIRD == REPORTED ||
                 did[o] == TOLD && !number[o] || did[o] == READ) && pend[o] == 0 ->
            did[o] = CLOSED;
            pend[o] = CLOSED }
    /* follow: ends that other owners tell */
    :: d_step { delivered && !knows[o] && did[o] != TOLD && did[o] != CLOSED ->
            knows[o] = 1;
            if
            :: MAY_END(o) -> did[o] = READ
            :: else
            fi }
    :: d_step { bounced && MAY_END(o) -> did[o] = READ }
    :: d_step { owner_of != o && pend[o] == 0 } -> break /* a crash */
    od
}

/* When nothing can happen any more it has come to its end, and its sender knows what the receiver does not have. */
active proctype the_end()
{
    timeout;
    assert((delivered || bounced) && (taken || reports) && row == 0)
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
