/* SPDX-License-Identifier: MIT */
/*
 * Places of our own: address space for the two transient mappings of a move, `own` (where the
 * source is taken to) and `park` (where its pages wait). Nobody else knows these addresses, and
 * they are mapped throughout, so that no other thread's mmap() can come to lie there.
 *
 * Small moves use one arena of the process, which stays reserved and keeps its page tables (half of
 * what a small move costs otherwise). It is claimed without waiting; who finds it claimed, or needs
 * more, reserves a region for the one call. Async-signal-safe, thread-safe.
 */
#ifndef REMAP_PLACE_H
#define REMAP_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct place {
    uintptr_t own; /* 0 if it was not asked for */
    uintptr_t park;
    uintptr_t base; /* the whole region */
    size_t size;
    size_t length;  /* of own and of park */
    uintptr_t lost; /* a part that is not ours any more, 0 if none */
    size_t lost_length;
    bool arena;
};

/*
 * Two places of `length` bytes each (one, if `want_own` is false), congruent to `like` modulo the
 * size of a huge page where that matters (whole page tables and huge pages can move then), neither
 * overlapping [avoid, avoid + avoid_length). 0, or -errno: nothing is claimed.
 */
long place_claim(struct place *p, size_t length, bool want_own, uintptr_t like, uintptr_t avoid,
                 size_t avoid_length);

/*
 * Gives the places back. Whatever is mapped there goes: the engine calls it only once no page is
 * left in them. `keep`: what lies there is empty and unlocked, and may stay until the next claim.
 */
void place_release(struct place *p, bool keep);

/*
 * What lay at [addr, addr + length) of the region was moved away without MREMAP_DONTUNMAP: the hole
 * is closed again at once, or, if another thread's mmap() was faster, not touched any more.
 */
void place_vacated(struct place *p, uintptr_t addr, size_t length);

/* Gives up the claim on the region and all that lies in it: it belongs to the program now. */
void place_surrender(struct place *p);

/* Gives the arena up if nobody uses it: the process has run out of VMAs. */
void place_discard(void);

/* False if the process is so close to vm.max_map_count that our own mappings could be the ones that
 * make the program's fail. */
bool place_is_there_room(void);

/* The program mapped something over [addr, addr + length) (MREMAP_FIXED): an arena there is lost.
 */
void place_trampled(uintptr_t addr, size_t length);

/* In a forked child: the arena is inherited, what lies in it is of no use. */
void place_reset_in_child(void);

#endif
