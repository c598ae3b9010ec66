/*
 * Whose fault a jump in deferrals is, by contrast: what happens to the others at the same provider at the
 * same time. Pure; time is handed in as wall seconds.
 */
#ifndef REMUDA_ROUTER_CONTRAST_H
#define REMUDA_ROUTER_CONTRAST_H

#include <stdbool.h>
#include <stdint.h>

/* Answers that went well and deferrals, of a source, a tenant or everybody at a provider. */
struct contrast {
    double ok, deferred;           /* lately: half-life ten minutes */
    double base_ok, base_deferred; /* usually: half-life a day */
    uint64_t at_s;
};

void contrast_decay(struct contrast *c, uint64_t now_s);
void contrast_add(struct contrast *c, bool deferred, double n, uint64_t now_s);
/*
 * The deferred share is certainly above what is usual: of at least 10 answers lately, its lower confidence
 * limit is over twice the usual share plus 5 %.
 */
bool contrast_jumps(const struct contrast *c);

enum fault {
    FAULT_UNKNOWN,  /* no jump, or nobody to compare with: the answer's own words count */
    FAULT_PROVIDER, /* others are deferred too: nobody is blamed */
    FAULT_SOURCE,   /* this source on its own */
    FAULT_TENANT,   /* this tenant's mail, from whatever source */
};
/* all: everybody at the provider, with this source and this tenant among them. All as of the same time. */
enum fault contrast_judge(const struct contrast *all, const struct contrast *source,
                          const struct contrast *tenant);

#endif
