/* SPDX-License-Identifier: MIT */
/*
 * Numbers on the command line. All return false after saying what is wrong.
 */
#ifndef REMAPSTAT_PARSE_H
#define REMAPSTAT_PARSE_H

#include <stdbool.h>
#include <stdint.h>

bool parse_pid(const char *text, uint64_t *out);
bool parse_interval(const char *text, double *seconds); /* 0.01 to 86400 seconds */
bool parse_count(const char *text, uint64_t *out);      /* 1 and up */

#endif
