/*
 * A decision in at most ROUTER_FRAME_MOST octets: verdict, score, and what decided among those that could, of
 * each candidate, so that it can be made once more (router_replay) from the event that carries it. Not the
 * result: that comes out of it. Where a lane has more candidates than fit, those that decide come first and
 * of the others only how many had which verdict is kept. docs/FORMATS.md has the octets.
 */
#ifndef REMUDA_ROUTER_FRAME_H
#define REMUDA_ROUTER_FRAME_H

#include "router/decide.h"

/* candidates as router_decide gave them for d at now_us; members: router_scope_members. Allocates nothing. */
void router_frame_pack(const struct router_candidate *candidates, const struct router_decision *d,
                       uint32_t members, uint64_t now_us, struct router_frame *out);

struct router_frame_view {
    uint32_t members;
    int n_all; /* of the lane */
    /* Those that are in it; source is the place in the lane. The verdict of those that could is
     * ROUTER_WEIGHED_OUT, until_us counts from the decision on. */
    struct router_candidate list[ROUTER_LANE_SOURCES_MOST];
    int n;
    uint32_t others[ROUTER_VERDICTS]; /* of those that are not, by verdict */
};
/* False: not a frame, or of another version. */
bool router_frame_read(struct span bytes, struct router_frame_view *out);

#endif
