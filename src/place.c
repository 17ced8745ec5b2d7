/* SPDX-License-Identifier: MIT */
#include "place.h"

#include <stdatomic.h>

#include "kernel.h"
#include "page_size.h"
#include "zone.h"

/* The longest range that uses the arena: above, a reservation of its own is no noticeable cost. */
#define ARENA_LENGTH (4ul << 20)

/* Plain memory, so that a forked child knows the arena it inherits. */
static struct {
    _Atomic uintptr_t base;
    _Atomic uint32_t claimed;
    /* What may be something else than the reservation: so much from its base, so much to its end.
     */
    size_t dirty_low;
    size_t dirty_high;
} arena;

/* One slot holds a range at any offset within a huge page. */
static size_t slot_size(size_t length)
{
    return length < huge_size() ? length : page_align(length) + 2 * huge_size();
}

static size_t arena_size(void)
{
    return 2 * slot_size(ARENA_LENGTH);
}

/*
 * Park at the low end of a region, own at the high end: what a move leaves there does not adjoin.
 * Where page tables can move whole, both are congruent to the source.
 */
static void lay_out(struct place *p, uintptr_t base, size_t size, size_t length, bool want_own,
                    uintptr_t like)
{
    uintptr_t mask = length < huge_size() ? page_size() - 1 : huge_size() - 1;
    uintptr_t last = base + size - length;
    p->base = base;
    p->size = size;
    p->length = length;
    p->park = base + ((like - base) & mask);
    p->own = want_own ? last - ((last - like) & mask) : 0;
}

/* How much of the region a move may leave something in, from its base and to its end. */
static size_t low_extent(const struct place *p)
{
    return (size_t)(p->park - p->base) + p->length;
}

static size_t high_extent(const struct place *p)
{
    return p->own != 0 ? (size_t)(p->base + p->size - p->own) : 0;
}

/* Puts the reservation back over what moves have left in the arena. */
static long sweep_arena(uintptr_t base)
{
    long ret = 0;
    if (arena.dirty_low != 0)
        ret = k_reserve(base, arena.dirty_low, MAP_FIXED);
    if (k_failed(ret))
        return ret;
    arena.dirty_low = 0;
    if (arena.dirty_high != 0)
        ret = k_reserve(base + arena_size() - arena.dirty_high, arena.dirty_high, MAP_FIXED);
    if (!k_failed(ret))
        arena.dirty_high = 0;
    return ret;
}

static bool overlaps(uintptr_t a, size_t a_length, uintptr_t b, size_t b_length)
{
    return a < b + b_length && b < a + a_length;
}

static bool claim_arena(struct place *p, size_t length, bool want_own, uintptr_t like,
                        uintptr_t avoid, size_t avoid_length)
{
    if (length > ARENA_LENGTH ||
        atomic_exchange_explicit(&arena.claimed, 1, memory_order_acquire) != 0)
        return false;
    uintptr_t base = atomic_load_explicit(&arena.base, memory_order_relaxed);
    if (base == 0) {
        long ret = zone_reserve(arena_size());
        if (!k_failed(ret)) {
            base = (uintptr_t)ret;
            arena.dirty_low = arena.dirty_high = 0;
            atomic_store_explicit(&arena.base, base, memory_order_relaxed);
        }
    }
    if (base == 0 || overlaps(base, arena_size(), avoid, avoid_length)) {
        atomic_store_explicit(&arena.claimed, 0, memory_order_release);
        return false;
    }
    lay_out(p, base, arena_size(), length, want_own, like);
    p->arena = true;
    /* What the last move left beyond the places of this one would pile up as VMAs. */
    if ((arena.dirty_low > low_extent(p) || arena.dirty_high > high_extent(p)) &&
        k_failed(sweep_arena(base))) {
        atomic_store_explicit(&arena.claimed, 0, memory_order_release);
        return false;
    }
    return true;
}

long place_claim(struct place *p, size_t length, bool want_own, uintptr_t like, uintptr_t avoid,
                 size_t avoid_length)
{
    *p = (struct place){.arena = false};
    if (claim_arena(p, length, want_own, like, avoid, avoid_length))
        return 0;
    size_t size = 2 * slot_size(length);
    long base = zone_reserve(size);
    if (k_failed(base))
        return base;
    if (overlaps((uintptr_t)base, size, avoid, avoid_length)) {
        k_munmap((uintptr_t)base, size); /* the program's own destination lies in the zone */
        return -ENOMEM;
    }
    lay_out(p, (uintptr_t)base, size, length, want_own, like);
    return 0;
}

void place_vacated(struct place *p, uintptr_t addr, size_t length)
{
    long ret = k_reserve(addr, length, MAP_FIXED_NOREPLACE);
    if (ret == (long)addr)
        return;
    if (!k_failed(ret))
        k_munmap((uintptr_t)ret, length);
    p->lost = addr;
    p->lost_length = length;
}

/* Unmaps what is left of a region with a hole, and, if it was the arena, gives that up. */
static void release_around_hole(struct place *p)
{
    uintptr_t after = p->lost + p->lost_length;
    if (p->lost > p->base)
        k_munmap(p->base, p->lost - p->base);
    if (after < p->base + p->size)
        k_munmap(after, p->base + p->size - after);
    if (p->arena) {
        arena.dirty_low = arena.dirty_high = 0;
        atomic_store_explicit(&arena.base, 0, memory_order_relaxed);
        atomic_store_explicit(&arena.claimed, 0, memory_order_release);
    }
}

void place_release(struct place *p, bool keep)
{
    if (p->size == 0)
        return; /* surrendered */
    if (p->lost != 0) {
        release_around_hole(p);
        return;
    }
    if (!p->arena) {
        k_munmap(p->base, p->size);
        return;
    }
    if (arena.dirty_low < low_extent(p))
        arena.dirty_low = low_extent(p);
    if (arena.dirty_high < high_extent(p))
        arena.dirty_high = high_extent(p);
    /* Congruent places lie apart from the ends: with both in use there would be five VMAs. If the
     * sweep fails the remains stay until the next claim, which tries again. */
    if (!keep || (p->length >= huge_size() && p->own != 0))
        sweep_arena(p->base);
    if (!keep)
        k_munlock(p->base, p->size); /* under mlockall(MCL_FUTURE) a reservation counts as locked */
    atomic_store_explicit(&arena.claimed, 0, memory_order_release);
}

void place_surrender(struct place *p)
{
    p->size = 0;
    if (p->arena) {
        atomic_store_explicit(&arena.base, 0, memory_order_relaxed);
        atomic_store_explicit(&arena.claimed, 0, memory_order_release);
    }
}

void place_discard(void)
{
    if (atomic_exchange_explicit(&arena.claimed, 1, memory_order_acquire) != 0)
        return;
    uintptr_t base = atomic_load_explicit(&arena.base, memory_order_relaxed);
    if (base != 0 && !k_failed(k_munmap(base, arena_size())))
        atomic_store_explicit(&arena.base, 0, memory_order_relaxed);
    atomic_store_explicit(&arena.claimed, 0, memory_order_release);
}

bool place_is_there_room(void)
{
    enum { VMAS = 16 };
    long base = k_reserve(0, VMAS * page_size(), 0);
    bool room = !k_failed(base);
    for (unsigned i = 1; room && i < VMAS; i += 2)
        room = !k_failed(k_mprotect((uintptr_t)base + i * page_size(), page_size(), PROT_READ));
    if (!k_failed(base))
        k_munmap((uintptr_t)base, VMAS * page_size());
    return room;
}

void place_trampled(uintptr_t addr, size_t length)
{
    uintptr_t base = atomic_load_explicit(&arena.base, memory_order_relaxed);
    if (base != 0 && overlaps(base, arena_size(), addr, length))
        atomic_store_explicit(&arena.base, 0, memory_order_relaxed);
}

void place_reset_in_child(void)
{
    if (atomic_load_explicit(&arena.base, memory_order_relaxed) != 0)
        arena.dirty_low = arena_size();
    atomic_store_explicit(&arena.claimed, 0, memory_order_relaxed);
}
