/* SPDX-License-Identifier: MIT */
/* What /proc tells of this process's mappings. */
#ifndef EXAMPLES_MAPS_H
#define EXAMPLES_MAPS_H

#include <stdint.h>

/* vm.max_map_count, 0 if it cannot be read. */
unsigned long max_map_count(void);

/* VMAs: lines of /proc/self/maps. Runs: the fewest that there could be, adjacent private anonymous
 * mappings of equal protection and name counted as one. */
void count_mappings(unsigned *vmas, unsigned *runs);

/* The same, of the mappings from `start` to `end`. */
void count_mappings_within(uintptr_t start, uintptr_t end, unsigned *vmas, unsigned *runs);

#endif
