/* SPDX-License-Identifier: MIT */
#include "place.h"

#include <stdatomic.h>

#include "kernel.h"
#include "page_size.h"

/* The longest range that uses the arena: above, a reservation of its own is no noticeable cost. */
#define ARENA_LENGTH (4ul << 20)

/* Plain memory, so that a forked child knows the arena it inherits. */
static struct {
    _Atomic uintptr_t base;
    _Atomic uint32_t claimed;
    size_t dirty; /* bytes from base that may be something else than the reservation */
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

/* Puts own and park into a region: side by side if page tables cannot move whole anyway. */
static void lay_out(struct place *p, uintptr_t base, size_t length, bool want_own, uintptr_t like)
{
    uintptr_t mask = length < huge_size() ? page_size() - 1 : huge_size() - 1;
    uintptr_t first = base + ((like - base) & mask);
    p->base = base;
    p->length = length;
    p->own = want_own ? first : 0;
    p->park = want_own ? first + ((length + mask) & ~mask) : first;
}

/* How much of the region, from its base, a move may leave something in. */
static size_t extent(const struct place *p)
{
    return (size_t)(p->park - p->base) + p->length;
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
        long ret = k_reserve(0, arena_size(), 0);
        if (!k_failed(ret)) {
            base = (uintptr_t)ret;
            arena.dirty = 0;
            atomic_store_explicit(&arena.base, base, memory_order_relaxed);
        }
    }
    if (base == 0 || overlaps(base, arena_size(), avoid, avoid_length)) {
        atomic_store_explicit(&arena.claimed, 0, memory_order_release);
        return false;
    }
    lay_out(p, base, length, want_own, like);
    p->arena = true;
    p->size = arena_size();
    /* What the last move left beyond the places of this one would pile up as VMAs. */
    if (arena.dirty > extent(p)) {
        if (k_failed(k_reserve(base, arena.dirty, MAP_FIXED))) {
            atomic_store_explicit(&arena.claimed, 0, memory_order_release);
            return false;
        }
        arena.dirty = 0;
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
    long base = k_reserve(0, size, 0);
    if (k_failed(base))
        return base;
    if (overlaps((uintptr_t)base, size, avoid, avoid_length)) {
        /* The kernel chose the very hole that is the destination: choose again beside it. */
        long other = k_reserve(0, size, 0);
        k_munmap((uintptr_t)base, size);
        if (k_failed(other))
            return other;
        base = other;
        if (overlaps((uintptr_t)base, size, avoid, avoid_length)) {
            k_munmap((uintptr_t)base, size);
            return -ENOMEM;
        }
    }
    lay_out(p, (uintptr_t)base, length, want_own, like);
    p->size = size;
    return 0;
}

void place_release(struct place *p, bool keep)
{
    if (p->size == 0)
        return; /* surrendered */
    if (!p->arena) {
        k_munmap(p->base, p->size);
        return;
    }
    if (arena.dirty < extent(p))
        arena.dirty = extent(p);
    if (!keep || p->length >= huge_size()) {
        /* If this fails the remains stay until the next claim, which tries again. */
        if (!k_failed(k_reserve(p->base, arena.dirty, MAP_FIXED)))
            arena.dirty = 0;
    }
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

void place_trampled(uintptr_t addr, size_t length)
{
    uintptr_t base = atomic_load_explicit(&arena.base, memory_order_relaxed);
    if (base != 0 && overlaps(base, arena_size(), addr, length))
        atomic_store_explicit(&arena.base, 0, memory_order_relaxed);
}

void place_reset_in_child(void)
{
    if (atomic_load_explicit(&arena.base, memory_order_relaxed) != 0)
        arena.dirty = arena_size();
    atomic_store_explicit(&arena.claimed, 0, memory_order_relaxed);
}
