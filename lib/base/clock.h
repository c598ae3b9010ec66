/* The two clocks, handed in as plain numbers wherever a decision depends on time. */
#ifndef REMUDA_LIB_BASE_CLOCK_H
#define REMUDA_LIB_BASE_CLOCK_H

#include <stdint.h>

/* Milliseconds since 1970: for records, retry times, ages. May jump. */
uint64_t clock_wall_ms(void);
/* Microseconds since boot, suspended time included (CLOCK_BOOTTIME): for durations and leases. */
uint64_t clock_boot_us(void);

#endif
