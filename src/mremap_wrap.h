/* SPDX-License-Identifier: MIT */
/*
 * The decision: turns an intercepted mremap() into an outcome and accounts for it.
 *
 * Async-signal-safe, thread-safe, never waits for long: for a moment while another thread is
 * making the process state, and under MREMAP_MUST_RELOCATE_ANON while a fork is under way. Does not
 * touch errno.
 */
#ifndef REMAP_MREMAP_WRAP_H
#define REMAP_MREMAP_WRAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel.h"
#include "page_size.h"
#include "remap_stats.h"

/* The arguments as the program gave them; dst is 0 unless FIXED or DONTUNMAP is set. */
struct wrap_call {
    uintptr_t addr;
    size_t old_length;
    size_t new_length;
    unsigned long flags;
    uintptr_t dst;
    enum remap_way way; /* by which it arrived */
};

/* The next mremap() in line: a value or a negative errno. */
typedef long (*wrap_plain)(const struct wrap_call *call);

/* Returns what the program gets: an address, or a negative errno. */
long wrap_mremap(const struct wrap_call *call, wrap_plain plain);

/* False for calls that cannot move anything, whatever is mapped: no MAYMOVE, same size, shrinking.
 */
static inline bool wrap_could_move(const struct wrap_call *c)
{
    return (c->flags & K_MREMAP_MAYMOVE) != 0 &&
           ((c->flags & (K_MREMAP_FIXED | K_MREMAP_DONTUNMAP)) != 0 ||
            page_align(c->new_length) > page_align(c->old_length));
}

/* Counts one such call; `failed`: it returned an error. One atomic add. */
void wrap_count_unmoved(enum remap_way way, bool failed);

/* Counts the calls in that came before there was a process state. */
struct process;
void wrap_hand_over(struct process *p);
/* pthread_atfork child handler: the child counts from zero. */
void wrap_reset_in_child(void);

#endif
