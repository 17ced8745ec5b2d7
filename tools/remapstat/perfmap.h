/* SPDX-License-Identifier: MIT */
/*
 * /tmp/perf-PID.map: where JIT compilers tell profilers the names of their code, a line each:
 * START SIZE NAME, numbers in hexadecimal. (A JVM writes one with -XX:+DumpPerfMapAtExit or on
 * `jcmd PID Compiler.perfmap`.) Anybody can put anything there, so it is believed only from the
 * process's own user or root, it is read up to a limit, and names are raw bytes.
 */
#ifndef REMAPSTAT_PERFMAP_H
#define REMAPSTAT_PERFMAP_H

#include <stdint.h>

#include "procfs.h"

struct perfmap;

/* The map of a process; NULL if there is none to be believed. */
struct perfmap *perfmap_open(const struct procfs *p, const struct procfs_status *status);
void perfmap_close(struct perfmap *m);

/* The name of the code at `address` and its start; NULL if there is none, or no map. The name lives
 * as long as the map. */
const char *perfmap_find(const struct perfmap *m, uint64_t address, uint64_t *start);

#endif
