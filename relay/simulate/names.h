/* Texts as small numbers, from 0 on in the order in which they came. Zeroed: empty. */
#ifndef REMUDA_RELAY_SIMULATE_NAMES_H
#define REMUDA_RELAY_SIMULATE_NAMES_H

#include "lib/base/map.h"

enum { NAME_NONE = UINT32_MAX };

struct names {
    struct map numbers;
    char **texts; /* copies, owned */
    uint32_t n, cap;
};

/* Its number, given at first use. */
uint32_t names_number(struct names *s, struct span text);
/* NAME_NONE when it never came. */
uint32_t names_find(const struct names *s, struct span text);
/* "-" for NAME_NONE. */
const char *names_text(const struct names *s, uint32_t number);
void names_fini(struct names *s);

#endif
