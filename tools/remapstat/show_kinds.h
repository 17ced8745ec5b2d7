/* SPDX-License-Identifier: MIT */
#ifndef REMAPSTAT_SHOW_KINDS_H
#define REMAPSTAT_SHOW_KINDS_H

#include "kinds.h"

/* The table of VMAs by kind, against vm.max_map_count, and what it rests on. */
void show_kinds(const struct kinds *k, uint64_t limit);

#endif
