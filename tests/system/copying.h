/* SPDX-License-Identifier: MIT */
/* What the tests of the tier `copy` share: whether it is here, and one move by it, counted. */
#ifndef TESTS_COPYING_H
#define TESTS_COPYING_H

#include "lib.h"

#define COPYING "REMAP_ENGINE=copy" /* for the environment of a case */

/* Skips where it is not possible; fails where it is and is not used. */
void need_copy(void);

/* The counters now, to be compared with later: ADDED(calls). */
extern struct remap_stats counted_before;
void begin_move(void);
#define ADDED(field) (stats_now().counters.field - counted_before.counters.field)
/* One call since then, and it copied just these pages. */
void check_copied(size_t pages);

/* A filled page (pattern 99), and room for `size` behind it. */
char *beside(size_t size);
/* Moves to such a place; the piece merges with the page. */
char *move_and_merge(char *src, size_t old_size, size_t new_size, int flags, size_t pages);

#endif
