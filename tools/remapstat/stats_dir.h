/* SPDX-License-Identifier: MIT */
/*
 * Where the library makes its files: the rule of remap_stats.h, for readers.
 */
#ifndef REMAPSTAT_STATS_DIR_H
#define REMAPSTAT_STATS_DIR_H

#include <stdbool.h>
#include <stddef.h>

#include "options.h"

/*
 * The n-th directory that processes with these options may use, in the order in which the library
 * tries them (it takes the second where the first cannot be made). False if there is none.
 */
bool stats_dir_path(char *out, size_t size, const struct remap_options *o, unsigned n);

/* Opens such a directory if it is one and ours; else -errno. */
int stats_dir_open(const char *path);

/* 0, or why no file can be made in such a directory that is there: a negative errno. Leaves nothing
 * behind. */
int stats_dir_try(const char *path);

#endif
