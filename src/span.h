/* SPDX-License-Identifier: MIT */
/*
 * One mremap() over a range that holds several VMAs. Linux does that since 6.17, for moves that
 * change nothing but the address (MREMAP_FIXED, equal sizes), VMA by VMA, gaps kept as gaps. Here
 * it is done so on every kernel, with each anonymous VMA relocated where that is possible.
 *
 * A range that cannot be taken apart (a VMA is watched by a userfaultfd, or is a device's or the
 * kernel's own) goes to the kernel whole: its rules and its errno. Before 6.17 that is EFAULT and
 * nothing has moved; since then a range whose first VMA is ineligible moves nothing, and a later
 * one ends the move where it is.
 *
 * A VMA that cannot be moved (no memory, sealed, MREMAP_MUST_RELOCATE_ANON not feasible) ends the
 * call with its errno, as in the kernel: the VMAs before it are at their destination, it and those
 * behind it are where they were. Before 6.17 the destinations of these are unmapped then.
 *
 * Not one step to other threads (though to this thread's signal handlers): they can see some VMAs
 * at the old address and some at the new. Async-signal-safe, thread-safe.
 */
#ifndef REMAP_SPAN_H
#define REMAP_SPAN_H

#include <stdbool.h>

#include "decision.h"

/* True if such a call may span VMAs: FIXED, equal sizes, REMAP_MULTI=on. */
bool span_is_allowed(const struct wrap_call *call);

/* True if the kernel cannot do such calls itself and this range holds several VMAs. Costs one short
 * system call where it does not. */
bool span_is_ours(const struct decision *d);

/* Ends the call: moves the VMAs, or hands it on whole. The arguments have been found valid. */
void span_move(struct decision *d);

#endif
