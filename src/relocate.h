/* SPDX-License-Identifier: MIT */
/*
 * Relocation of one range inside one VMA: by the kernel's own flag, or by the engine. Decides from
 * what is mapped and populated there. Async-signal-safe, thread-safe.
 */
#ifndef REMAP_RELOCATE_H
#define REMAP_RELOCATE_H

#include <stdbool.h>

#include "decision.h"

/* True while the kernel's own flag is the tier to use. */
bool relocate_is_native(const struct process *proc);

/* With the kernel's own flag. False: the kernel answered EINVAL, nothing has happened; whether it
 * was the flag (d->native_refused is set) is seen by what a plain call gets. */
bool relocate_natively(struct decision *d);

/* Where plain moves merge by themselves: plainly, but MUST still refuses what it refuses. */
void relocate_by_plain_move(struct decision *d);

/* With the best tier of our own, else plainly or not at all. False: the range spans several VMAs,
 * nothing has happened. */
bool relocate(struct decision *d);

#endif
