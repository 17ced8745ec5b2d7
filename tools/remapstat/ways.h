/* SPDX-License-Identifier: MIT */
/*
 * The ways by which calls arrive (REMAP_CATCH), as the statistics have them since version 1.2: how
 * many calls, whether they are seen, why not.
 */
#ifndef REMAPSTAT_WAYS_H
#define REMAPSTAT_WAYS_H

#include <jansson.h>

#include "remap_stats.h"

/* A section of `remapstat PID`; nothing for a file that has no such part. */
void ways_show(const struct remap_stats *s);
/* By name of the way; null for such a file. */
json_t *ways_json(const struct remap_stats *s);

/* Adds the calls of one file to another's. */
void ways_add(struct remap_stats *sum, const struct remap_stats *s);
/* One line for the end of `remapstat run`: calls by way, if there is more to tell than `symbol`. */
void ways_summarize(const struct remap_stats *sum);
/* Says of each way that was asked for and is not to be had why. */
void ways_say_refused(const struct remap_stats *s);

#endif
