/* SPDX-License-Identifier: MIT */
/*
 * The statistics channel: making the file, and counting. The layout is in remap_stats.h.
 *
 * Counting is a relaxed atomic add: nanoseconds, async-signal-safe, thread-safe.
 */
#ifndef REMAP_STATS_WRITER_H
#define REMAP_STATS_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "account.h"
#include "options.h"
#include "probe.h"
#include "remap_stats.h"

/* Fills in magic, versions and identity, and zeroes the counters. `sites`: the file is to have a
 * table of call sites. */
void stats_describe(struct remap_stats *s, const struct remap_options *o,
                    const struct probe_result *probe, bool sites);

/*
 * Makes the file of this process with the contents of *content and maps it. Returns the mapping, or
 * NULL if there is no place that can be trusted or no room (*error: why). path receives its name.
 * No descriptor stays open: the mapping holds the lock.
 */
struct remap_stats *stats_create_file(const struct remap_stats *content,
                                      const struct remap_options *o, char *path, size_t path_size,
                                      long *error);

/* The table of call sites behind statistics that are in a file; NULL: there is none. */
struct remap_stats_sites *stats_sites(struct remap_stats *s);

/* Removes the file at exit, if it is still the one that was made. */
void stats_remove_file(const struct remap_stats *mapping, const char *path);

/* One call has ended. */
void stats_call(struct remap_stats *s, const struct stats_call *call);
/* A step of the engine failed with a negative errno. */
void stats_step(struct remap_stats *s, enum remap_step step, long error);

#endif
