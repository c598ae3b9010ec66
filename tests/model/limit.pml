/*
 * One pair of source and provider with a cap. Its lane moves from partition 0 to 1 and back (table versions 1, 2, 3)
 * while both partitions lose their owners: I6, the cap holds; and in the end the table's home has the pair.
 *
 * state[p] holds one record of the pair, as a reader folds it: what stands behind a newer claim is void. control is
 * fenced by nothing, and each owner has read it to a place of its own: a release counts when it is the next version's,
 * and any other is passed over by every reader.
 */
#ifndef CAP
#define CAP 3
#endif
#ifndef N
#define N 2 /* owners of each partition, one after the other; the earlier ones may wake at any time */
#endif
#ifndef VERSIONS
#define VERSIONS 3
#endif
#define HOME(v) (1 - ((v) & 1))

#define GRANT 1   /* the pair's record: counted as used */
#define GIVE 2    /* (a) the same record: given away by this version, with the counter */
#define TAKE 3    /* the record that makes the pair this partition's by this version */
#define RELEASE 4 /* (b) into control */

byte table = 1;
byte sent; /* what the provider has seen */

byte claim[2];
byte home[2], given[2], granted[2]; /* the pair's record: home 0: it was never here */

byte released = 1;         /* the last version whose release counts */
byte told[VERSIONS + 1];   /* counters that the releases carry */

byte owner_of[2];
byte epoch[2 * N], pend[2 * N], pend_v[2 * N], pend_n[2 * N];
bit late[2 * N]; /* landed behind a newer claim */

active proctype world()
{
    do
    :: table < VERSIONS -> table++
    :: owner_of[0] < N - 1 -> owner_of[0]++
    :: owner_of[1] < N - 1 -> owner_of[1]++
    od
}

#ifdef ANY_RELEASE /* also one that was read before, or is not the next one's */
#define COUNTS(v) (v > 1)
#else
#define COUNTS(v) (v == released + 1)
#endif

inline land()
{
    if
    :: pend[k] == RELEASE ->
        if
        :: COUNTS(pend_v[k]) -> told[pend_v[k]] = pend_n[k]; released = pend_v[k]
        :: else
        fi
    :: pend[k] != RELEASE && epoch[k] < claim[p] -> late[k] = 1
    :: pend[k] != RELEASE && epoch[k] >= claim[p] ->
        granted[p] = pend_n[k];
        if
        :: pend[k] == GIVE -> given[p] = pend_v[k]
        :: pend[k] == TAKE -> home[p] = pend_v[k]
        :: else
        fi
    fi;
    pend[k] = 0;
    pend_v[k] = 0;
    pend_n[k] = 0
}

proctype net(byte p; byte k)
{
    do
    :: d_step { pend[k] -> land() }
    od
}

inline send(what, v, n)
{
    pend_v[k] = v;
    pend_n[k] = n;
    pend[k] = what
}

#ifdef NO_READ_BACK
#define READ_BACK true
#else
#define READ_BACK !late[k]
#endif
#ifdef NO_HOLD /* the table is enough */
#define TAKES (HOME(table) == p && table > had && table > gave)
#define TAKEN table
#define TAKEN_N 0
#else
#ifdef NO_VERSION /* a release is a release */
#define TAKES (HOME(saw) == p && saw > 1)
#else
#define TAKES (HOME(saw) == p && saw > had && saw > gave)
#endif
#define TAKEN saw
#define TAKEN_N told[saw]
#endif
#define IDLE (step == 0 && pend[k] == 0)
#define LEASE (owner_of[p] == o)
#define NEXT (mine + 1)

proctype owner(byte p; byte o; byte k)
{
    byte mine;      /* version under which the pair is used from here; 0: it is not */
    byte had, gave; /* what the pair's record says */
    byte count;     /* counted as used */
    byte left;      /* of a grant */
    byte saw = 1;   /* how far control was read */
    byte step, v;

    d_step {
        LEASE ->
        claim[p]++;
        epoch[k] = claim[p];
        had = home[p];
        gave = given[p];
        count = granted[p];
        if
        :: had > gave -> mine = had
        :: else
        fi
    }
    do
    :: d_step { saw < released -> saw++ }
    /* spend, from a grant that is durable */
#ifdef NO_GRANT
    :: d_step { mine && LEASE && count < CAP && IDLE -> sent++; assert(sent <= CAP); count++; send(GRANT, mine, count) }
#else
    :: d_step { mine && LEASE && left -> sent++; assert(sent <= CAP); left-- }
    :: d_step { mine && IDLE && count < CAP && left == 0 -> send(GRANT, mine, count + 1); step = GRANT }
    :: d_step { step == GRANT && pend[k] == 0 && READ_BACK -> count++; left++; step = 0 }
#endif
    /* give (a): from here on neither this owner nor the next one uses the pair; what was not used goes back */
#ifdef GOES_ON /* it is used until the release is on its way */
    :: d_step { mine && IDLE && table > mine -> send(GIVE, NEXT, count - left); step = GIVE; v = NEXT }
    :: d_step { step == GIVE && pend[k] == 0 && READ_BACK -> gave = v; mine = 0; left = 0; step = RELEASE }
#else
    :: d_step { mine && IDLE && table > mine -> count = count - left; left = 0; send(GIVE, NEXT, count); step = GIVE;
            v = NEXT; mine = 0 }
    :: d_step { step == GIVE && pend[k] == 0 && READ_BACK -> gave = v; step = RELEASE }
#endif
    /* release (b): when (a) was read back with no newer claim before it; also by a successor; again when it is lost */
    :: d_step { (step == RELEASE || step == 0) && pend[k] == 0 && gave > had && gave > saw -> v = gave;
            send(RELEASE, v, count); step = 0 }
    /* take: the pair's own record first */
    :: d_step { TAKES && IDLE && mine == 0 -> step = TAKE; v = TAKEN; count = TAKEN_N; send(TAKE, v, count) }
    :: d_step { step == TAKE && pend[k] == 0 && READ_BACK -> mine = v; had = v; step = 0 }
    :: d_step { !LEASE && pend[k] == 0 } -> break
    od;
    atomic { mine = 0; had = 0; gave = 0; count = 0; left = 0; step = 0; v = 0; saw = 0; late[k] = 0 }
}

/* In the end the pair is with the table's home, and nowhere else. */
active proctype the_end()
{
    timeout;
    assert(home[HOME(table)] == table && given[HOME(table)] < table && given[1 - HOME(table)] >= home[1 - HOME(table)])
}

init
{
    byte p, o;
    atomic {
        home[0] = 1;
        for (p : 0 .. 1) {
            for (o : 0 .. N - 1) {
                run net(p, N * p + o);
                run owner(p, o, N * p + o)
            }
        }
    }
}
