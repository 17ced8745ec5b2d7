/* SPDX-License-Identifier: MIT */
/*
 * The three parts of `remapstat run`: which library, the command itself, what came of it.
 */
#ifndef REMAPSTAT_RUN_H
#define REMAPSTAT_RUN_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "remapstat.h"

/*
 * The absolute path of libremap.so: `wanted` if it is not NULL, else the one beside this executable
 * (a build directory), the installed one, the one in a lib directory next to this bin directory.
 * Says what is wrong and returns false.
 */
bool run_find_library(char out[PATH_MAX], const char *wanted);

/* Puts the library at the end of LD_PRELOAD, unless one of that name is there already. False after
 * saying why it cannot be done. */
bool run_add_preload(const char *library);

/* Runs the command in the environment as it is now, passes signals on, waits. Returns the exit
 * status to end with; *started is false if the command could not be executed. */
int run_command(char **argv, bool *started);

/* Prints the summary of all processes of this run to standard error. `keep`: leave the files of the
 * dead where they are. */
void run_summarize(const struct args *a, uint64_t run_id, bool keep);

#endif
