/* SPDX-License-Identifier: MIT */
/*
 * The engine: relocates private anonymous memory from userspace, so that it merges at its new
 * address, on kernels that have UFFDIO_MOVE (Linux 6.8), and by copying on others (Linux 5.7).
 *
 *   take      the source goes to a place of our own; its old address is gone at once
 *   park      its pages go on to a parking place; what stays is an unfaulted VMA with every
 *             attribute
 *   place     that VMA goes to the destination, where the kernel merges it with its neighbours
 *   register  a userfaultfd holds off whoever touches the destination from now on
 *   move      UFFDIO_MOVE, or copy.h, brings the pages
 *   settle    the userfaultfd lets go, the pieces become one VMA
 *
 * Invariant: at any moment every page is in exactly one of source, own, park or destination, and
 * the engine knows where. Each step can fail; after any failure the result is that of a plain
 * mremap().
 *
 * Called with all signals blocked and the fork gate held. Thread-safe, async-signal-safe.
 */
#ifndef REMAP_ENGINE_H
#define REMAP_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "process.h"
#include "remap_stats.h"

/* A move that has been looked at: page-aligned, inside one VMA of private anonymous memory. */
struct engine_request {
    uintptr_t src;
    size_t old_length;
    size_t new_length;
    unsigned long flags; /* MAYMOVE, FIXED, DONTUNMAP */
    uintptr_t dst;       /* with FIXED the destination; with DONTUNMAP alone a hint */
    int prot;            /* of the source */
    bool whole_vma;      /* the range is a VMA, not a part of one */
    bool alone;          /* no other thread exists */
    bool may_split;      /* huge pages may be split, if the kernel does that safely */
    bool must;           /* rather fail with EFAULT than move plainly */
    bool empty;          /* no page is populated: nothing is to be moved but the VMA */
    bool copy;           /* the tier is COPY: pages are copied, not moved */
};

enum engine_verdict {
    ENGINE_REFUSED,   /* the source is where and as it was; a FIXED destination may be unmapped */
    ENGINE_RELOCATED, /* the memory is at `address`, merged as far as the kernel merges */
    ENGINE_PLAIN,     /* the memory is at `address`, as a plain mremap() would have left it */
};

struct engine_report {
    enum engine_verdict verdict;
    enum remap_reason reason;
    uintptr_t address;
    uint64_t pages;  /* populated base pages moved, if they were counted on the way */
    uint64_t copied; /* ... copied, by the tier COPY */
    bool rescued;    /* some pages had to be copied to end a move that could not be completed */
};

struct engine_report engine_move(struct process *proc, const struct engine_request *req);

#endif
