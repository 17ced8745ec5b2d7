/* SPDX-License-Identifier: MIT */
/*
 * Where moves are called from (REMAP_CALLERS): the stack of each call that moved memory, into the
 * table of call sites (sites.h).
 *
 * callers_note() is async-signal-safe, thread-safe, never waits and preserves errno. A move that a
 * signal handler makes in the middle of another capture is recorded like any other. It takes
 * about 1.2 KiB of stack; where an address is met for the first time and less than RULES_ROOM is
 * left of the stack, the move is counted as dropped.
 */
#ifndef REMAP_CALLERS_H
#define REMAP_CALLERS_H

#include "options.h"
#include "process.h"
#include "stats.h"

/* From the constructor, if REMAP_CALLERS is not 0: loads libunwind. Warns if that cannot be had. */
void callers_load(const struct remap_options *o);

/* Records a call that has ended, if it moved memory. Called from inside it. */
void callers_note(struct process *p, const struct stats_call *call);

#endif
