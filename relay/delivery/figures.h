/* The metrics of outcomes. On the owner's loop. */
#ifndef REMUDA_RELAY_DELIVERY_FIGURES_H
#define REMUDA_RELAY_DELIVERY_FIGURES_H

#include "relay/delivery/tell.h"

/* Counts one kind of outcome of some recipients; answers that no rule knows are kept to be looked at. */
void figures_outcome(const struct sub *s, const struct tell *t);

#endif
