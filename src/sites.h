/* SPDX-License-Identifier: MIT */
/*
 * The table of call sites behind the statistics (remap_stats.h): finding a site by its frames, and
 * counting in it.
 *
 * Lock-free, async-signal-safe, thread-safe: whoever is interrupted or killed at any point leaves a
 * table that the others go on with. Sites are told apart by a hash of 64 bits alone.
 */
#ifndef REMAP_SITES_H
#define REMAP_SITES_H

#include <stddef.h>
#include <stdint.h>

#include "account.h"
#include "remap_stats.h"

#define SITES_CAPACITY 256u /* a power of two */

/* Bytes of a table. */
#define SITES_SIZE                                                                                 \
    (sizeof(struct remap_stats_sites) + SITES_CAPACITY * sizeof(struct remap_stats_site))

/* Writes the head of a table that is all zero otherwise. The head is for readers: nothing here
 * believes what the file says of its size. */
void sites_describe(struct remap_stats_sites *t, uint32_t depth);

/* Counts a move from such a stack: 1 to REMAP_STATS_FRAMES frames, the innermost first. */
void sites_count(struct remap_stats_sites *t, const struct stats_call *call, const uint64_t *frames,
                 size_t depth);

/* Counts a move that belongs to no site. */
void sites_drop(struct remap_stats_sites *t);

#endif
